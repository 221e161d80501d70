"""Connectors made of generators: every row arrives once, whatever the cursor does; options, streams and errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import desk_connector as desk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakecat.connector import (
    Connector,
    ConnectorContext,
    Cursor,
    Nulls,
    ReadOptions,
    RowsConnector,
    Secret,
    StreamRequest,
    stream,
)
from lakecat.errors import ConfigError, ParseError, SourceAccessError, SourceError
from lakecat.testing import ConnectorSuite
from lakecat.testing.lab import Landing, MemoryState, counted, read
from lakecat.types import Json, Position, WriteMode


class DeskSuite(ConnectorSuite):
    connector = desk.Desk
    secrets = {"env:TOKEN": "s3cret-token"}  # noqa: RUF012 - as an author writes it

    def options(self, root: Path) -> Mapping[str, Json]:
        return {"folder": ".", "token": "env:TOKEN"}

    def destroy(self, root: Path) -> None:
        for file in root.glob("*.json"):
            file.unlink()


class TestTickets(DeskSuite):
    def fill(self, root: Path) -> None:
        desk.put(root, "tickets", [self.ticket(at) for at in (5, 3, 3, 0, 7, 7, 7, 1, 2, 4, 6, 7)])

    def ticket(self, at: int) -> dict[str, Any]:
        self.made = getattr(self, "made", 0) + 1
        return {"id": self.made, "changed_at": desk.moment(at), "note": None if at % 2 else f"at {at}"}

    def grow(self, root: Path) -> None:
        """More at the very moment that was the last one, and later."""
        rows = desk.get(root, "tickets")
        latest = max(datetime.fromisoformat(row["changed_at"]).timestamp() for row in rows) - 1_700_000_000
        desk.put(root, "tickets", [*rows, *(self.ticket(int(latest) + more) for more in (1, 0, 1))])

    def spoil(self, root: Path) -> None:
        desk.put(root, "tickets", [*desk.get(root, "tickets"), {**self.ticket(50), "id": "no number"}])

    def requests(self) -> Sequence[StreamRequest]:
        return (StreamRequest(name="tickets"), StreamRequest(name="tickets", cursor=Cursor(column="changed_at", lag=2)))

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        rows = desk.get(root, "tickets")
        return [{**row, "changed_at": datetime.fromisoformat(row["changed_at"])} for row in rows]


class TestOrderedLog(DeskSuite):
    def fill(self, root: Path) -> None:
        desk.put(root, "log", [{"seq": at // 3, "line": f"l{at}"} for at in range(14)])

    def grow(self, root: Path) -> None:
        rows = desk.get(root, "log")
        last = rows[-1]["seq"]
        new = [{"seq": last + more, "line": f"l{len(rows)}.{more}"} for more in (0, 0, 1)]
        desk.put(root, "log", [*rows, *new])

    def requests(self) -> Sequence[StreamRequest]:
        return (StreamRequest(name="log"),)

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]]:
        return desk.get(root, "log")


class TestVersionedPeople(DeskSuite):
    connector = desk.Versioned
    notices_unchanged = True

    def fill(self, root: Path) -> None:
        desk.put(root, "people", [{"name": f"n{at}", "age": None if at == 3 else at} for at in range(9)])

    def grow(self, root: Path) -> None:
        rows = desk.get(root, "people")
        desk.put(root, "people", [*rows, {"name": f"n{len(rows)}", "age": 1}])

    def requests(self) -> Sequence[StreamRequest]:
        return (StreamRequest(name="people", mode=WriteMode.MERGE, key=("name",)),)


def context(root: Path = Path()) -> ConnectorContext:
    def secret(reference: str) -> str:
        if reference != "env:TOKEN":
            raise ConfigError("no reference")
        return "s3cret-token"

    return ConnectorContext(root=root, secret=secret)


def test_streams_are_the_marked_methods(tmp_path: Path) -> None:
    opened = desk.Desk.open({"folder": ".", "missing_columns": "null"}, context(tmp_path))
    assert isinstance(opened, Connector)
    log, people, tickets = opened.discover()
    assert (log.name, log.cursors, log.description) == ("log", ("seq",), None)
    assert (people.name, people.key, people.cursors) == ("people", ("name",), ())
    assert (tickets.name, tickets.key, tickets.description) == ("tickets", ("id",), "Tickets.")
    assert tickets.uri == (tmp_path / "tickets").as_uri()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "'folder' is missing"),
        ({"folder": None}, "'folder' is missing"),
        ({"folder": 5}, "'folder' must be text"),
        ({"folder": "x", "page": "3"}, "'page' must be a whole number"),
        ({"folder": "x", "page": True}, "'page' must be a whole number"),
        ({"folder": "x", "token": "plain text"}, "no reference"),
        ({"folder": "x", "token": 5}, "'token'"),
        ({"folder": "x", "tokn": "env:TOKEN"}, "unknown option 'tokn'"),
        ({"folder": "x", "batch": "all"}, "unknown option 'batch'"),
    ],
)
def test_options_are_checked(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        desk.Desk.open(options, context())


@dataclass(frozen=True)
class ManyOptions:
    names: list[str]
    weights: dict[str, float] = field(default_factory=dict)
    either: int | str = 0
    key: Secret | None = None

    def __post_init__(self) -> None:
        if not self.names:
            raise ValueError("names must not be empty")


def test_options_of_every_kind() -> None:
    class Many(RowsConnector):
        Options = ManyOptions

    opened = Many.open({"names": ["a"], "weights": {"x": 1}, "either": "t", "key": "env:TOKEN"}, context())
    assert (opened.options.names, opened.options.weights, opened.options.either) == (["a"], {"x": 1.0}, "t")
    assert opened.options.key.reveal() == "s3cret-token"
    assert "s3cret" not in repr(opened.options)
    for options, says in (
        ({"names": "a"}, "'names' must be a list"),
        ({"names": ["a", 1]}, "'names' must be text"),
        ({"names": ["a"], "weights": {"x": "y"}}, "'weights.x' must be a number"),
        ({"names": []}, "names must not be empty"),
    ):
        with pytest.raises(ConfigError, match=says):
            Many.open(options, context())


class Given(RowsConnector):
    """Gives what it is told to, and remembers what it was asked."""

    rows: list[dict[str, Any]]
    asked: list[Any]

    @stream(cursor="c")
    def only(self, since: Any) -> Any:
        self.asked.append(since)
        return list(self.rows)


def given_rows(*rows: Any) -> Given:
    opened = Given.open({}, context())
    opened.rows = [row if isinstance(row, dict) else {"c": row} for row in rows]
    opened.asked = []
    return opened


def load(connector: Given, landing: Landing, **cursor: Any) -> list[Any]:
    """What one run brings, as cursors."""
    request = StreamRequest(cursor=Cursor(column="c", **cursor)) if cursor else StreamRequest()
    before = Counter(landing.rows)
    landing.drain(connector, request)
    return sorted(dict(row).get("c", "-") for row in (landing.rows - before).elements())


def shown(*values: Any) -> list[str]:
    landing = Landing()
    return load(given_rows(*values), landing)


def test_equal_rows_at_the_edge_are_counted() -> None:
    connector, landing = given_rows(1, 2, 2), Landing()
    assert load(connector, landing) == shown(1, 2, 2)
    connector.rows += [{"c": 2}, {"c": 2, "x": 1}]
    assert load(connector, landing) == shown(2, 2)
    assert load(connector, landing) == []
    assert connector.asked[0] is None
    assert connector.asked[-1] == 2


def test_rows_within_the_lag_come_late_but_once() -> None:
    connector, landing = given_rows(10, 20), Landing()
    load(connector, landing, lag=5)
    connector.rows += [{"c": 16}, {"c": 12}]
    assert load(connector, landing, lag=5) == shown(16), "12 is before the window"
    assert connector.asked[-1] == 15
    assert load(connector, landing, lag=5) == []
    connector.rows += [{"c": 21}, {"c": 17}]
    assert load(connector, landing, lag=5) == shown(17, 21)


@pytest.mark.parametrize(
    ("values", "lag", "since"),
    [
        ([datetime(2024, 1, 1, 0, 1, tzinfo=UTC)], 60, datetime(2024, 1, 1, tzinfo=UTC)),
        ([date(2024, 1, 3)], 86_401, date(2024, 1, 1)),
        ([Decimal("1.5")], 0.5, Decimal("1.0")),
        ([2**70], 1, 2**70 - 1),
        ([2.5], 1, 1.5),
        (["b", "a"], 0, "b"),
        ([datetime(1, 1, 1, tzinfo=UTC)], 60, datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_cursors_of_any_kind(values: list[Any], lag: float, since: Any) -> None:
    connector, landing = given_rows(*values), Landing()
    load(connector, landing, lag=lag)
    assert load(connector, landing, lag=lag) == []
    assert connector.asked[-1] == since
    assert type(connector.asked[-1]) is type(since)


def test_start_and_end_bound_what_is_read() -> None:
    moments = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3, 4)]
    connector, landing = given_rows(*moments), Landing()
    assert load(connector, landing, start="2024-01-02", end="2024-01-04T00:00:00Z") == shown(*moments[1:3])
    assert load(given_rows(1, 2, 3), Landing(), start=2, end=3) == shown(2)
    with pytest.raises(ConfigError, match="no date"):
        load(given_rows(date(2024, 1, 1)), Landing(), start="soon")
    with pytest.raises(ConfigError, match="step"):
        load(given_rows(1), Landing(), step=1)
    with pytest.raises(ConfigError, match="no cursor 'd'"):
        list(given_rows(1).plan(StreamRequest(cursor=Cursor(column="d")), MemoryState()))


def test_rows_without_a_cursor() -> None:
    with pytest.raises(ParseError, match="NULL") as caught:
        load(given_rows(1, None), Landing())
    assert caught.value.where is not None
    assert caught.value.where.line == 2
    connector, landing = given_rows(1, None), Landing()
    assert load(connector, landing, nulls=Nulls.SKIP) == shown(1)
    assert load(connector, landing, nulls=Nulls.SKIP) == []
    connector, landing = given_rows(1, {"c": None, "x": 1}), Landing()
    assert load(connector, landing, nulls=Nulls.INCLUDE) == [*["-"], *shown(1)]
    assert load(connector, landing, nulls=Nulls.INCLUDE) == ["-"], "they come once at every run"


@pytest.mark.parametrize(
    "values", [(1, "a"), (date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)), (True,), (float("nan"),), ([1],)]
)
def test_cursors_without_an_order_are_refused(values: tuple[Any, ...]) -> None:
    with pytest.raises(ParseError, match="cursor") as caught:
        load(given_rows(*values), Landing())
    assert caught.value.where is not None
    assert caught.value.where.column == "c"


def test_an_edge_that_no_position_can_hold() -> None:
    many = [{"c": 5, "n": number} for number in range(3_000)]
    with pytest.raises(SourceError, match="more than 2000 rows") as caught:
        load(given_rows(*many), Landing())
    assert caught.value.hint is not None
    connector, landing = given_rows(*many), Landing(appends=False)
    merge = StreamRequest(mode=WriteMode.MERGE, key=("n",))
    landing.drain(connector, merge)
    assert sum(landing.rows.values()) == 3_000
    assert landing.state.position is not None
    assert landing.state.position.value["edge"] is None
    landing = Landing()
    assert len(load(given_rows(*({"c": n, "n": n} for n in range(30_000))), landing)) == 30_000
    assert landing.state.position is not None
    assert len(landing.state.position.value["edge"]) == 1  # type: ignore[arg-type]


def test_a_position_of_another_cursor_is_refused() -> None:
    state = MemoryState(position=Position({"column": "other", "cursor": ["int", "1"], "edge": {}, "commits": 1}))
    with pytest.raises(ConfigError, match="'other'"):
        list(given_rows(1).plan(StreamRequest(), state))


def test_a_stream_without_cursor_may_not_append(tmp_path: Path) -> None:
    desk.put(tmp_path, "people", [{"name": "n"}])
    opened = desk.Desk.open({"folder": "."}, context(tmp_path))
    with pytest.raises(ConfigError, match="has no cursor"):
        list(opened.plan(StreamRequest(name="people"), MemoryState()))
    merge = StreamRequest(name="people", mode=WriteMode.MERGE, key=("name",))
    landing = Landing()
    for _ in range(3):
        assert landing.drain(opened, merge) == 1, "it is read at every run, under a key of its own"
    assert sum(landing.rows.values()) == 3


def test_order_that_is_promised_is_held(tmp_path: Path) -> None:
    desk.put(tmp_path, "log", [{"seq": 2}, {"seq": 1}])
    opened = desk.Desk.open({"folder": "."}, context(tmp_path))
    with pytest.raises(SourceError, match="do not come by their cursor"):
        Landing().drain(opened, StreamRequest(name="log"))


def test_errors_of_the_authors_code(tmp_path: Path) -> None:
    opened = desk.Desk.open(
        {"folder": ".", "token": "env:TOKEN"}, ConnectorContext(root=tmp_path, secret=lambda _: "wrong")
    )
    with pytest.raises(SourceAccessError):
        list(opened.plan(StreamRequest(name="tickets"), MemoryState()))

    class Buggy(RowsConnector):
        @stream(cursor="c")
        def broken(self, since: Any) -> Any:
            raise KeyError("hunter2")

        @stream()
        def nothing(self) -> Any:
            return None

    buggy = Buggy.open({}, context())
    with pytest.raises(SourceError) as caught:
        list(buggy.plan(StreamRequest(name="broken"), MemoryState()))
    assert "KeyError" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    whole = StreamRequest(name="nothing", mode=WriteMode.REPLACE)
    (slice_,) = buggy.plan(whole, MemoryState())
    with pytest.raises(SourceError, match="NoneType"):
        buggy.read(slice_, ReadOptions())
    with pytest.raises(ConfigError, match="there are: broken, nothing"):
        list(buggy.plan(StreamRequest(name="other"), MemoryState()))
    with pytest.raises(ConfigError, match="name a stream"):
        list(buggy.plan(StreamRequest(), MemoryState()))


def test_an_empty_stream_is_no_slice_or_no_rows() -> None:
    assert list(given_rows().plan(StreamRequest(), MemoryState())) == []
    (slice_,) = given_rows().plan(StreamRequest(mode=WriteMode.REPLACE), MemoryState())
    schema, batches, summary = read(given_rows(), slice_, ReadOptions())
    assert (len(schema), batches, summary.rows) == (0, [], 0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 4), max_size=4), st.booleans()), max_size=8),
    st.sampled_from([0, 1, 3]),
    st.randoms(use_true_random=False),
)
def test_every_row_arrives_once_whatever_comes_when(steps: list[tuple[list[int], bool]], lag: int, dice: Any) -> None:
    """Rows come with cursors that are not older than the greatest less the lag, equal ones and twins among them."""
    connector, landing = given_rows(), Landing()
    greatest = 0
    for more, fails in [*steps, ([], False)]:
        for step in more:
            connector.rows.append({"c": greatest - min(lag, step) if step < 3 else greatest + step - 3})
            dice.shuffle(connector.rows)
        request = StreamRequest(cursor=Cursor(column="c", lag=lag))
        for slice_ in connector.plan(request, landing.state):
            if not fails:
                landing.take(connector, slice_)
        if not fails:
            greatest = max([greatest, *(row["c"] for row in connector.rows)])
    assert landing.rows == counted(connector.rows)


def test_time_zones_do_not_matter_to_an_edge() -> None:
    here = datetime(2024, 1, 1, 12, tzinfo=UTC)
    connector, landing = given_rows(here), Landing()
    load(connector, landing)
    connector.rows = [{"c": here.astimezone(timezone(timedelta(hours=5)))}]
    assert load(connector, landing) == []


def test_a_replaced_table_can_be_appended_to() -> None:
    connector, landing = given_rows(1, 2, None, 2), Landing()
    landing.drain(connector, StreamRequest(mode=WriteMode.REPLACE))
    assert landing.rows == counted(connector.rows)
    connector.rows += [{"c": 2}, {"c": 3}]
    assert load(connector, landing, nulls=Nulls.SKIP) == shown(2, 3)


def test_an_edge_that_was_lost_to_merging_is_not_appended_to() -> None:
    connector, landing = given_rows(*({"c": 5, "n": n} for n in range(3_000))), Landing()
    landing.drain(connector, StreamRequest(mode=WriteMode.MERGE, key=("n",)))
    connector.rows += [{"c": 6, "n": -1}]
    with pytest.raises(SourceError, match="cannot tell apart"):
        load(connector, landing)
