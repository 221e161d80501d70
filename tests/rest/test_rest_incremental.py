"""By a cursor only what is new is read: nothing is lost or doubled, whatever the API makes of its parameter."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.connector import Cursor, Nulls, ReadOptions
from lakecat.errors import ConfigError, ParseError, SourceChangedError, SourceError
from lakecat.types import Position, WriteMode

APPEND = {"mode": WriteMode.APPEND}
PARAM = {"incremental": {"param": "since"}}


def stamp(seconds: float) -> str:
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


class Source:
    """An API over rows in memory. ``include``: whether ``since`` itself is given; ``coarse``: it compares days only."""

    def __init__(self, api: Any, *, include: bool = True, filters: bool = True, coarse: bool = False) -> None:
        self.rows: list[dict[str, Any]] = []
        self.include = include
        self.filters = filters
        self.coarse = coarse
        api.on("/items", self.answer)

    def answer(self, request: Any) -> Any:
        rows = self.rows
        since = request.query.get("since")
        if since is not None and self.filters:
            rows = [row for row in rows if row["at"] is None or self._is_due(row["at"], since)]
        start = int(request.query.get("offset", 0))
        return rows[start : start + 3]

    def _is_due(self, value: Any, since: str) -> bool:
        if isinstance(value, int):
            return value >= int(since) if self.include else value > int(since)
        left, right = (value[:10], since[:10]) if self.coarse else (moment(value), moment(since))
        return left >= right if self.include else left > right


def moment(text: str) -> Any:
    return datetime.fromisoformat(text)


def counted(loaded: Any) -> Counter[str]:
    return Counter(json.dumps(row, default=str, sort_keys=True) for row in loaded.rows)


PAGED = {"paginator": {"type": "offset", "limit": 3}}


def run(lab: Any, state: Any, cursor: Cursor, mode: WriteMode = WriteMode.APPEND, **resource: Any) -> Any:
    read = ReadOptions(declared={"at": pa.string()}) if cursor.column == "at" and resource.pop("text", False) else None
    return lab.load(mode=mode, state=state, cursor=cursor, read=read, **{**PARAM, **PAGED, **resource})


@pytest.mark.parametrize("include", [True, False])
def test_reads_what_is_new_and_equal_values_that_come_later(lab, api, state, include):
    source = Source(api, include=include)
    source.rows = [{"id": 1, "at": stamp(0)}, {"id": 2, "at": stamp(10)}]
    cursor = Cursor(column="at")
    assert [row["id"] for row in run(lab, state, cursor).rows] == [1, 2]
    assert run(lab, state, cursor).keys == []
    source.rows += [{"id": 3, "at": stamp(10)}]
    assert [row["id"] for row in run(lab, state, cursor).rows] == [3]
    source.rows += [{"id": 4, "at": stamp(20)}]
    assert [row["id"] for row in run(lab, state, cursor).rows] == [4]
    assert "since" not in api.requests[0].query
    assert api.requests[-1].query["since"] == stamp(9)


STEP = st.lists(st.tuples(st.integers(-4, 6), st.booleans()), max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(STEP, min_size=1, max_size=6),
    kind=st.sampled_from(["number", "time", "local", "date"]),
    include=st.booleans(),
    filters=st.booleans(),
    lag=st.sampled_from([0, 2, 4]),
    data=st.data(),
)
def test_the_table_follows_the_source(lab, api, new_state, steps, kind, include, filters, lag, data):
    """Rows come at any value down to ``lag`` below the greatest that was read; some are equal in all columns."""
    source = Source(api, include=include, filters=filters)
    state, table = new_state(), Counter()
    unit = {"number": 1, "time": 1, "local": 1, "date": 86_400}[kind]
    cursor = Cursor(column="at", lag=lag * unit)
    greatest, number = 10, 0
    for step in steps:
        for distance, twin in step:
            value = max(greatest + max(distance, -lag), 0)
            number += 0 if twin else 1
            source.rows.append({"id": number, "at": written(kind, value)})
        if source.rows:
            data.draw(st.randoms(use_true_random=False)).shuffle(source.rows)
        loaded = run(lab, state, cursor, allow_repeats=True)  # a page may be twins only, as the one before
        table += counted(loaded)
        assert table == Counter(json.dumps(row, sort_keys=True) for row in source.rows)
        assert len(json.dumps(state.position.value if state.position else {})) < 65_536
        values = [place(kind, row["at"]) for row in source.rows]
        greatest = max([10, *values])
    assert run(lab, state, cursor, allow_repeats=True).keys == []


def written(kind: str, value: int) -> Any:
    if kind == "number":
        return value
    if kind == "date":
        return stamp(value * 86_400)[:10]
    return stamp(value) if kind == "time" else stamp(value)[:-1]


def place(kind: str, text: Any) -> int:
    if kind == "number":
        return int(text)
    seconds = (datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime(2026, 1, 1, tzinfo=UTC)).total_seconds()
    return int(seconds // (86_400 if kind == "date" else 1))


def test_a_row_that_an_answer_left_out_once_does_not_come_twice(lab, api, state):
    """As from an API whose copies lag behind each other."""
    source = Source(api)
    first, second, third = ({"id": number, "at": stamp(10)} for number in (1, 2, 3))
    source.rows = [first, second]
    run(lab, state, Cursor(column="at"))
    source.rows = [first, third]
    assert [row["id"] for row in run(lab, state, Cursor(column="at")).rows] == [3]
    source.rows = [first, second, third]
    assert run(lab, state, Cursor(column="at")).keys == []


def test_digits_finer_than_a_microsecond_count(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": "2026-01-01T00:00:00.123456789Z"}]
    cursor = Cursor(column="at")
    run(lab, state, cursor)
    source.rows += [{"id": 2, "at": "2026-01-01T00:00:00.123456788Z"}, {"id": 3, "at": "2026-01-01T00:00:00.12345679Z"}]
    assert [row["id"] for row in run(lab, state, cursor).rows] == [3]


def test_zones_are_moments_and_not_text(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": "2026-01-01T12:00:00+02:00"}]  # 10:00 UTC
    cursor = Cursor(column="at")
    run(lab, state, cursor)
    source.rows += [{"id": 2, "at": "2026-01-01T10:30:00Z"}, {"id": 3, "at": "2026-01-01T11:30:00+02:00"}]
    assert [row["id"] for row in run(lab, state, cursor).rows] == [2]


def test_numbers_are_compared_as_numbers(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": "9"}]
    cursor = Cursor(column="at")
    declared = {"incremental": {"type": "number"}}
    run(lab, state, cursor, **declared)
    source.rows += [{"id": 2, "at": "10"}]
    assert [row["id"] for row in run(lab, state, cursor, **declared).rows] == [2]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("iso", "2026-01-01T11:59:59Z"),
        ("date", "2025-12-31"),
        ("epoch_seconds", "1767268799"),
        ("epoch_milliseconds", "1767268799500"),
        ("%d.%m.%Y %H:%M", "01.01.2026 11:59"),
        ("%Y%m%d", "20251231"),
    ],
)
def test_asks_in_the_apis_own_format(lab, api, state, form, expected):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": "2026-01-01T12:00:00.5Z"}]
    incremental = {"incremental": {"param": "since", "format": form}}
    run(lab, state, Cursor(column="at"), **incremental)
    run(lab, state, Cursor(column="at"), **incremental)
    assert api.requests[-1].query["since"] == expected


def test_asks_in_the_body_of_a_post(lab, api, state):
    api.on("/items", lambda r: {"data": [{"id": 1, "at": 5}]})
    resource = {"method": "POST", "json": {"filter": {"kind": "x"}}, "paginator": "single"}
    incremental = {"param": "filter.from", "end_param": "filter.to", "in": "body"}
    cursor = Cursor(column="at", start=3, end=9)
    lab.load(mode=WriteMode.APPEND, state=state, cursor=cursor, incremental=incremental, **resource)
    assert api.requests[0].json == {"filter": {"kind": "x", "from": "2", "to": "9"}}


def test_start_is_included_and_end_is_not(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": number, "at": stamp(number)} for number in range(6)]
    loaded = run(lab, state, Cursor(column="at", start=stamp(2), end=stamp(4)))
    assert [row["id"] for row in loaded.rows] == [2, 3]


def test_a_date_bounds_times(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": "2025-12-31T23:59:59Z"}, {"id": 2, "at": "2026-01-01T00:00:00Z"}]
    assert [row["id"] for row in run(lab, state, Cursor(column="at", start="2026-01-01")).rows] == [2]
    assert api.requests[0].query["since"] == "2025-12-31"


def test_nulls_go_by_policy(lab, api, new_state):
    source = Source(api)
    source.rows = [{"id": 1, "at": stamp(1)}, {"id": 2, "at": None}]
    with pytest.raises(SourceError, match="NULL: such rows would never be read"):
        run(lab, new_state(), Cursor(column="at"))
    state = new_state()
    assert [row["id"] for row in run(lab, state, Cursor(column="at", nulls=Nulls.SKIP)).rows] == [1]
    state, include = new_state(), Cursor(column="at", nulls=Nulls.INCLUDE)
    assert [row["id"] for row in run(lab, state, include).rows] == [1, 2]
    assert run(lab, state, include).keys == []
    source.rows += [{"id": 3, "at": None}]
    assert [row["id"] for row in run(lab, state, include).rows] == [3]


def test_only_nulls_are_remembered_too(lab, api, state):
    source = Source(api)
    source.rows = [{"id": 1, "at": None}]
    include = Cursor(column="at", nulls=Nulls.INCLUDE)
    assert len(run(lab, state, include).rows) == 1
    assert run(lab, state, include).keys == []
    source.rows += [{"id": 2, "at": stamp(1)}]
    assert [row["id"] for row in run(lab, state, include).rows] == [2]


def test_a_cursor_may_lie_deeper_in_the_row(lab, api, state):
    api.on("/items", [{"id": 1, "meta": {"seq": 4}}, {"id": 2, "meta": {"seq": 5}}])
    resource = {"incremental": {"path": "meta.seq"}, "paginator": "single"}
    assert len(lab.load(mode=WriteMode.APPEND, state=state, cursor=Cursor(column="seq"), **resource).rows) == 2
    assert state.position.value["cursor"] == "5"
    assert lab.load(mode=WriteMode.APPEND, state=state, cursor=Cursor(column="seq"), **resource).keys == []


@pytest.mark.parametrize(
    "values", [[1, "x"], [stamp(1), 5], [stamp(1), stamp(1)[:-1]], [stamp(1), "2026-01-01"], [True], ["soon"], [[1]]]
)
def test_values_of_different_kinds_are_refused(lab, api, state, values):
    source = Source(api, filters=False)
    source.rows = [{"id": number, "at": value} for number, value in enumerate(values)]
    with pytest.raises(ParseError, match="the cursor 'at' holds"):
        run(lab, state, Cursor(column="at"))


def test_a_cursor_of_another_kind_goes_to_quarantine_once(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": stamp(1)}, {"id": 2, "at": "soon"}]
    read = ReadOptions(rejects=5)
    resource = {**PARAM, **PAGED, "state": state, "cursor": Cursor(column="at"), **APPEND}
    loaded = lab.load(read=read, **resource)
    assert [row["id"] for row in loaded.rows] == [1]
    assert [(row["line"], row["column"]) for row in loaded.rejected] == [(2, "at")]
    assert lab.load(read=read, **resource).keys == []


def test_text_cursors_need_a_word_about_their_edge(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": 1, "at": "a"}, {"id": 2, "at": "b"}]
    with pytest.raises(ConfigError, match="must be said"):
        run(lab, state, Cursor(column="at"), incremental={"param": "since", "type": "text"})
    said = {"incremental": {"param": "since", "type": "text", "boundary": "inclusive"}}
    run(lab, state, Cursor(column="at"), **said)
    source.rows += [{"id": 3, "at": "b"}, {"id": 4, "at": "c"}]
    assert [row["id"] for row in run(lab, state, Cursor(column="at"), **said).rows] == [3, 4]
    assert api.requests[-1].query["since"] == "b"
    with pytest.raises(ConfigError, match="lag means nothing"):
        run(lab, state, Cursor(column="at", lag=3), **said)


def test_more_rows_at_the_edge_than_can_be_known_are_an_error(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": number, "at": 1} for number in range(10_000)]
    everything = {"paginator": "single", "state": state, "cursor": Cursor(column="at")}
    api.on("/items", lambda _r: source.rows)
    with pytest.raises(SourceError, match="too many rows lie at the edge") as caught:
        lab.load(mode=WriteMode.APPEND, **everything)
    assert "mode: merge" in caught.value.hint
    assert len(lab.load(mode=WriteMode.MERGE, key=("id",), **everything).rows) == 10_000
    source.rows += [{"id": 10_001, "at": 2}]
    loaded = lab.load(mode=WriteMode.MERGE, key=("id",), **everything)
    assert {row["id"] for row in loaded.rows} >= {10_001}
    assert lab.load(mode=WriteMode.MERGE, key=("id",), **everything).keys == []


def test_many_rows_at_one_value_are_no_matter_once_it_is_passed(lab, api, state):
    rows = [{"id": number, "at": number // 9_000} for number in range(18_001)]
    api.on("/items", lambda _r: rows)
    everything = {"paginator": "single", "state": state, "cursor": Cursor(column="at"), "mode": WriteMode.APPEND}
    assert len(lab.load(**everything).rows) == 18_001
    assert state.position.value["cursor"] == "2"
    assert lab.load(**everything).keys == []


def test_changed_rows_come_again_in_merge(lab, api, state):
    source = Source(api)
    source.rows = [{"id": 1, "at": stamp(1), "v": "a"}]
    merge = {"mode": WriteMode.MERGE, "key": ("id",), "cursor": Cursor(column="at"), "state": state, **PARAM, **PAGED}
    lab.load(**merge)
    source.rows = [{"id": 1, "at": stamp(1), "v": "b"}]
    assert [row["v"] for row in lab.load(**merge).rows] == ["b"]
    source.rows = [{"id": 1, "at": stamp(1), "v": "a"}]
    assert [row["v"] for row in lab.load(**merge).rows] == ["a"]


def test_a_source_that_went_back_is_an_error(lab, api, state):
    source = Source(api)
    source.rows = [{"id": number, "at": stamp(number)} for number in range(5)]
    run(lab, state, Cursor(column="at"))
    del source.rows[3:]
    with pytest.raises(SourceChangedError, match="no row any more at or behind"):
        run(lab, state, Cursor(column="at"))
    ignoring = {"incremental": {"param": "since", "went_back": "ignore"}}
    assert run(lab, state, Cursor(column="at"), **ignoring).keys == []


def test_windows_are_committed_one_by_one(lab, api, state, clock):
    """Six hours of data in steps of two: three commits, each with its own position."""
    source = Source(api, filters=False)
    start = clock.now - timedelta(hours=6)
    source.rows = [
        {"id": number, "at": (start + timedelta(hours=hours)).isoformat()}
        for number, hours in enumerate([0, 1, 1.99, 2, 5, 5.5])
    ]
    cursor = Cursor(column="at", start=start.isoformat(), step=7200)
    windowed = {"incremental": {"param": "since", "end_param": "until"}}
    loaded = run(lab, state, cursor, **windowed)
    assert [one.rows for one in loaded.summaries] == [3, 1, 2]
    assert [row["id"] for row in loaded.rows] == list(range(6))
    firsts = [request for request in api.requests if request.query["offset"] == "0"]
    assert [request.query.get("until") for request in firsts] == ["2026-01-01T08:00:00Z", "2026-01-01T10:00:00Z", None]
    assert run(lab, state, cursor, **windowed).keys == []


def test_steps_need_a_start(lab, api, state):
    Source(api).rows = [{"id": 1, "at": stamp(1)}]
    with pytest.raises(ConfigError, match="step needs to know"):
        run(lab, state, Cursor(column="at", step=10))


def test_a_long_load_in_order_is_committed_in_parts_and_resumed(lab, api, new_state):
    source = Source(api)
    source.rows = [{"id": number, "at": stamp(number // 2)} for number in range(20)]
    ordered = {**PAGED, "incremental": {"param": "since", "order": "ascending"}}
    everything = {"mode": WriteMode.APPEND, "cursor": Cursor(column="at"), "checkpoint": 5, **ordered}
    state = new_state()
    loaded = lab.load(state=state, **everything)
    assert [one.rows for one in loaded.summaries] == [6, 6, 6, 2]
    assert [row["id"] for row in loaded.rows] == list(range(20))
    # Broken off after the second part: the next run goes on from there.
    state = new_state(Position(loaded.summaries[1].position.value))
    assert [row["id"] for row in lab.load(state=state, **everything).rows] == list(range(12, 20))


def test_a_declared_order_is_checked(lab, api, state):
    source = Source(api)
    source.rows = [{"id": 1, "at": stamp(2)}, {"id": 2, "at": stamp(1)}]
    with pytest.raises(SourceError, match="do not come in ascending order"):
        run(lab, state, Cursor(column="at"), incremental={"order": "ascending"})


def test_newest_first_stops_at_what_is_known(lab, api, state):
    source = Source(api, filters=False)
    source.rows = [{"id": number, "at": stamp(number)} for number in range(30, 0, -1)]
    newest_first = {"incremental": {"order": "descending"}}
    assert len(run(lab, state, Cursor(column="at"), **newest_first).rows) == 30
    source.rows.insert(0, {"id": 31, "at": stamp(31)})
    api.requests.clear()
    assert [row["id"] for row in run(lab, state, Cursor(column="at"), **newest_first).rows] == [31]
    assert len(api.requests) == 1


def test_another_cursor_is_refused(lab, api, state):
    Source(api).rows = [{"id": 1, "at": stamp(1)}]
    run(lab, state, Cursor(column="at"))
    with pytest.raises(ConfigError, match="was read by 'at' so far, not by 'id'"):
        run(lab, state, Cursor(column="id"))


def test_a_stream_read_whole_is_not_appended_once_more(lab, api, state):
    api.on("/items", [{"id": 1, "at": 1}])
    lab.load(mode=WriteMode.REPLACE, state=state)
    with pytest.raises(ConfigError, match="was read whole so far"):
        lab.load(mode=WriteMode.APPEND, state=state, cursor=Cursor(column="at"))


def test_append_needs_a_cursor(lab, api, state):
    with pytest.raises(ConfigError, match="mode append needs cursor"):
        lab.load(mode=WriteMode.APPEND, state=state)


def test_partitions_are_not_replaced_by_what_is_new(lab, api, state):
    with pytest.raises(ConfigError, match="replace_partitions"):
        lab.load(mode=WriteMode.REPLACE_PARTITIONS, state=state, cursor=Cursor(column="at"))


def test_the_same_state_of_the_source_gives_the_same_slice(lab, api, new_state):
    Source(api).rows = [{"id": 1, "at": stamp(1)}]
    keys = [run(lab, new_state(), Cursor(column="at")).keys for _ in range(2)]
    assert keys[0] == keys[1] != []


@pytest.mark.parametrize(("kind", "unit"), [("epoch_seconds", 1), ("epoch_milliseconds", 1000)])
def test_numbers_that_mean_moments(lab, api, state, kind, unit):
    """Asked for in the same numbers, or as ``format`` says; the lag and the start are those of times."""
    start = int(moment("2026-01-01T00:00:00Z").timestamp())
    rows = [{"id": 1, "at": start * unit}, {"id": 2, "at": (start + 100) * unit}]
    api.on("/items", lambda r: [row for row in rows if row["at"] >= int(r.query.get("since", 0))])
    cursor = Cursor(column="at", start="2026-01-01T00:01:00Z", lag=10)
    resource = {"incremental": {"param": "since", "type": kind}, "paginator": "single"}
    assert [row["id"] for row in lab.load(**APPEND, state=state, cursor=cursor, **resource).rows] == [2]
    assert api.requests[-1].query["since"] == str((start + 59) * unit)
    rows.append({"id": 3, "at": (start + 95) * unit})
    assert [row["id"] for row in lab.load(**APPEND, state=state, cursor=cursor, **resource).rows] == [3]
    assert api.requests[-1].query["since"] == str((start + 89) * unit)
    resource["incremental"]["format"] = "iso"
    api.on("/items", rows)
    lab.load(**APPEND, state=state, cursor=cursor, **resource)
    assert api.requests[-1].query["since"] == stamp(89)


def test_a_key_and_a_cursor_are_found_whatever_their_case(lab, api, state):
    pages = {"1": [{"ID": 1, "At": 5}], "2": [{"ID": 1, "At": 5, "x": None}, {"ID": 2, "At": 6}]}
    api.on("/items", lambda r: pages.get(r.query["page"], []))
    paged = {"paginator": {"type": "page"}}
    with pytest.raises(SourceChangedError, match="two different rows have id 1"):
        lab.load(key=("id",), **paged)
    pages["2"][0] = pages["1"][0]
    assert [row["ID"] for row in lab.load(key=("id",), **paged).rows] == [1, 2]
    pages["2"][0] = {"ID": 3, "At": 7}
    loaded = lab.load(**APPEND, state=state, cursor=Cursor(column="at"), **paged)
    assert [row["ID"] for row in loaded.rows] == [1, 3, 2]
    assert state.position.value["cursor"] == "7"
