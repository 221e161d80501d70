"""Rows by a cursor: none lost, none twice, whatever values are equal, late, NULL or at an end."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.connector import Cursor, Nulls, StreamRequest
from lakecat.errors import ConfigError, SourceError
from lakecat.types import WriteMode

LAST = Cursor(column="at")


def asked(cursor: Cursor = LAST, **keys) -> StreamRequest:
    return StreamRequest(name="public.t", cursor=cursor, **keys)


@pytest.fixture
def landed(pg, postgres_url, make_landed):
    pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at integer, v text DEFAULT '')")
    return make_landed(postgres_url)


def add(pg, *values: int | None) -> None:
    for value in values:
        pg.execute("INSERT INTO t (at) VALUES (%s)", [value])


def ids(landed) -> list[int]:
    return sorted(row["id"] for row in landed.rows)


def test_equal_values_at_the_edge_come_once(pg, landed) -> None:
    add(pg, 1, 5, 5)
    assert landed.run(asked()) == 3
    assert landed.run(asked()) == 0
    add(pg, 5, 5)
    assert landed.run(asked()) == 2
    add(pg, 5, 6)
    assert landed.run(asked()) == 2
    assert landed.run(asked()) == 0
    assert ids(landed) == [1, 2, 3, 4, 5, 6, 7]
    assert len({slice_.key for slice_ in landed.slices}) == 3


def test_nothing_new_is_no_slice(pg, landed) -> None:
    assert landed.run(asked()) == 0
    add(pg, 1)
    landed.run(asked())
    landed.run(asked())
    pg.execute("DELETE FROM t")
    landed.run(asked())
    assert len(landed.slices) == 1


def test_equal_rows_without_a_key_are_counted(pg, postgres_url, make_landed) -> None:
    pg.execute("CREATE TABLE t (at integer, v text)")
    landed = make_landed(postgres_url)
    pg.execute("INSERT INTO t VALUES (1, 'x'), (1, 'x'), (1, 'y')")
    assert landed.run(asked()) == 3
    pg.execute("INSERT INTO t VALUES (1, 'x'), (1, 'y')")
    assert landed.run(asked()) == 2
    pg.execute("ALTER TABLE t ADD COLUMN w integer DEFAULT 3")
    assert landed.run(asked()) == 0
    pg.execute("ALTER TABLE t ALTER COLUMN at TYPE bigint")
    assert landed.run(asked()) == 0
    pg.execute("ALTER TABLE t DROP COLUMN v")
    with pytest.raises(SourceError, match="has lost a column"):
        landed.run(asked())


def test_a_lag_finds_what_was_committed_late(pg, landed, pg_connect) -> None:
    late = pg_connect(autocommit=False)
    late.execute("INSERT INTO t (at) VALUES (7)")
    add(pg, 5, 10)
    cursor = Cursor(column="at", lag=4)
    assert landed.run(asked(cursor)) == 2
    late.commit()
    assert landed.run(asked(cursor)) == 1
    add(pg, 6)
    assert landed.run(asked(cursor)) == 1
    assert landed.run(asked(cursor)) == 0
    # A greater lag than before does not bring back what was not remembered.
    assert landed.run(asked(Cursor(column="at", lag=100))) == 0
    assert ids(landed) == [1, 2, 3, 4]


def test_more_rows_at_the_edge_than_are_remembered(pg, landed) -> None:
    pg.execute("INSERT INTO t (at) SELECT 1 FROM generate_series(1, 5001)")
    with pytest.raises(SourceError, match=r"5001 rows of public\.t stand at the edge"):
        landed.run(asked())
    assert landed.position is None
    merge = asked(mode=WriteMode.MERGE, key=("id",))
    assert landed.run(merge) == 5001
    assert landed.run(merge) == 0
    add(pg, 1)
    landed.run(merge)
    assert len(landed.keyed) == 5002


def test_as_many_rows_at_the_edge_as_are_remembered(pg, landed) -> None:
    pg.execute("INSERT INTO t (at) SELECT 1 FROM generate_series(1, 4999)")
    assert landed.run(asked()) == 4999
    add(pg, 1)
    assert landed.run(asked()) == 1
    assert landed.run(asked()) == 0


def test_holding_back_the_greatest_value(pg, postgres_url, make_landed, landed) -> None:
    holding = make_landed(postgres_url, edge="hold")
    pg.execute("INSERT INTO t (at) SELECT 1 FROM generate_series(1, 5001)")
    assert holding.run(asked()) == 0
    add(pg, 2, 2)
    assert holding.run(asked()) == 5001
    add(pg, 2)
    assert holding.run(asked()) == 0
    add(pg, 3)
    assert holding.run(asked()) == 3
    assert len({row["id"] for row in holding.rows}) == len(holding.rows) == 5004


@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.MERGE])
def test_null_cursors(pg, landed, mode) -> None:
    add(pg, 1, None)
    request = {"mode": mode, "key": ("id",) if mode is WriteMode.MERGE else ()}
    with pytest.raises(SourceError, match="is NULL"):
        landed.run(asked(**request))
    assert landed.run(asked(Cursor(column="at", nulls=Nulls.SKIP), **request)) == 1
    including = asked(Cursor(column="at", nulls=Nulls.INCLUDE), **request)
    assert landed.run(including) == 1
    assert landed.run(including) == 0
    add(pg, None, 2, None)
    assert landed.run(including) == 3
    assert landed.run(including) == 0
    assert ids(landed) == [1, 2, 3, 4, 5]


def test_only_nulls(pg, landed) -> None:
    including = asked(Cursor(column="at", nulls=Nulls.INCLUDE))
    add(pg, None)
    assert landed.run(including) == 1
    assert landed.run(including) == 0
    add(pg, None, 4)
    assert landed.run(including) == 2
    assert landed.run(including) == 0


def test_start_is_inside_and_end_outside(pg, landed) -> None:
    add(pg, 1, 2, 3, 4, 5)
    bounded = asked(Cursor(column="at", start=2, end=4))
    assert landed.run(bounded) == 2
    add(pg, 3, 4)
    assert landed.run(bounded) == 1
    assert landed.run(bounded) == 0
    assert sorted(row["at"] for row in landed.rows) == [2, 3, 3]


def test_steps_are_slices_of_a_grid_and_can_be_broken_off(pg, landed) -> None:
    add(pg, 0, 3, 9, 10, 11, 35)
    stepping = asked(Cursor(column="at", start=0, step=10))
    assert landed.run(stepping, commits=1) == 3
    assert landed.run(stepping) == 3
    assert [slice_.position.value["cursor"] for slice_ in landed.slices] == ["10", "20", "35"]
    add(pg, 35, 99)
    assert landed.run(stepping) == 2
    assert sorted(row["at"] for row in landed.rows) == [0, 3, 9, 10, 11, 35, 35, 99]


def test_checkpoints_bound_a_slice_and_can_be_broken_off(pg, landed) -> None:
    add(pg, *[n // 3 for n in range(20)])
    request = asked(checkpoint=5)
    assert landed.run(request, commits=2) == 12
    assert landed.run(request) == 8
    assert landed.run(request) == 0
    assert ids(landed) == list(range(1, 21))


def test_a_source_that_was_set_back_is_an_error(pg, landed, postgres_url, make_landed) -> None:
    add(pg, 1, 2, 3)
    landed.run(asked())
    pg.execute("DELETE FROM t WHERE at = 3")
    with pytest.raises(SourceError, match="went back from 3 to 2"):
        landed.run(asked())
    landed.options["went_back"] = "ignore"
    assert landed.run(asked()) == 0


def test_another_cursor_than_before_is_refused(pg, landed) -> None:
    add(pg, 1)
    landed.run(asked())
    with pytest.raises(ConfigError, match="was read by 'at' so far"):
        landed.run(asked(Cursor(column="id")))


@pytest.mark.parametrize(
    ("cursor", "what"),
    [
        (Cursor(column="nope"), "has no column 'nope'"),
        (Cursor(column="v", lag=1), "lag means nothing"),
        (Cursor(column="at", lag=0.5), "whole number"),
        (Cursor(column="xmin"), "mode: merge"),
        (Cursor(column="flag"), "no order"),
    ],
)
def test_cursors_that_cannot_be_meant(pg, landed, cursor, what) -> None:
    pg.execute("ALTER TABLE t ADD COLUMN flag boolean")
    with pytest.raises(ConfigError, match=what):
        landed.run(asked(cursor))


def test_append_without_a_cursor_is_refused(pg, landed) -> None:
    with pytest.raises(ConfigError, match="needs cursor"):
        landed.run(StreamRequest(name="public.t"))


@pytest.mark.parametrize(
    ("type_", "values", "lag"),
    [
        ("timestamptz", ["2024-03-31 00:59:59.999999+00", "2024-03-31 01:00+00", "2024-03-31 01:00:00.000001+00"], 1),
        ("timestamp", ["1900-01-01 00:00:00", "2024-01-01 00:00:00.5", "2024-01-01 00:00:00.500001"], 60),
        ("date", ["2024-02-28", "2024-02-29", "2024-03-01"], 86400),
        ("smallint", ["-32768", "0", "32767"], 100),
        ("oid", ["0", "7", "4294967295"], 100),
        ("bigint", ["-9223372036854775808", "9007199254740992", "9007199254740993"], 1),
        ("numeric", ["0.1", "12345678901234567890.1", "12345678901234567890.2"], 0),
        ("numeric(30,5)", ["0.00001", "1234567890123456789012345.00001", "1234567890123456789012345.00002"], 1),
        ("double precision", ["0.1", "0.30000000000000004", "0.3000000000000001"], 0),
        ("text", ["", "a'b\\", "b"], 0),
        ("char(4)", ["a", "b", "c"], 0),
        ("varchar(3)", ["a", "b", "c"], 0),
    ],
)  # fmt: skip
def test_cursors_of_every_type_are_exact(pg, postgres_url, make_landed, type_, values, lag) -> None:
    pg.execute(f"CREATE TABLE t (id serial PRIMARY KEY, at {type_})")
    landed = make_landed(postgres_url, numeric="decimal(38, 5)")
    request = asked(Cursor(column="at", lag=lag))
    for value in values:
        pg.execute("INSERT INTO t (at) VALUES (%s)", [value])
        assert landed.run(request) == 1
        pg.execute("INSERT INTO t (at) VALUES (%s)", [value])
        assert landed.run(request) == 1
        assert landed.run(request) == 0
    assert ids(landed) == list(range(1, 2 * len(values) + 1))


def test_xmin_finds_every_change_also_of_transactions_that_took_long(pg, landed, pg_connect) -> None:
    request = asked(Cursor(column="xmin"), mode=WriteMode.MERGE, key=("id",))
    add(pg, 1, 1, 1)
    assert landed.run(request) == 3
    assert landed.run(request) == 0
    slow = pg_connect(autocommit=False)
    slow.execute("UPDATE t SET v = 'slow' WHERE id = 1")
    with slow.transaction():
        slow.execute("INSERT INTO t (at, v) VALUES (9, 'in a savepoint')")
    pg.execute("UPDATE t SET v = 'fast' WHERE id = 2")
    landed.run(request)
    assert landed.run(request) == 0
    slow.commit()
    landed.run(request)
    assert landed.run(request) == 0
    truth = {(row[0],): row[1] for row in pg.execute("SELECT id, v FROM t").fetchall()}
    assert {key: row["v"] for key, row in landed.keyed.items()} == truth
    assert "in a savepoint" in truth.values()


def test_a_filter_and_chosen_columns(pg, landed) -> None:
    add(pg, 1, 2, 3)
    landed.options |= {"where": "at <> 2 -- not two\n AND '{}%s' <> ''", "include": ["v", "at"]}
    assert landed.run(asked()) == 2
    add(pg, 3)
    assert landed.run(asked()) == 1
    assert landed.rows == [{"at": 1, "v": ""}, {"at": 3, "v": ""}, {"at": 3, "v": ""}]


def test_a_query_is_a_stream(pg, postgres_url, make_landed) -> None:
    pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at integer)")
    add(pg, 1, 2)
    landed = make_landed(postgres_url, query="SELECT id AS n, at * 10 AS at, '{}%' AS s FROM t -- the end")
    request = StreamRequest(cursor=Cursor(column="at"))
    assert landed.run(request) == 2
    add(pg, 2, 3)
    assert landed.run(request) == 2
    assert sorted((row["n"], row["at"], row["s"]) for row in landed.rows) == [
        (1, 10, "{}%"), (2, 20, "{}%"), (3, 20, "{}%"), (4, 30, "{}%"),
    ]  # fmt: skip


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 4)),
        st.tuples(st.just("late_begin"), st.just(0)),
        st.tuples(st.just("late_commit"), st.just(0)),
        st.tuples(st.just("run"), st.sampled_from([0, 1, 2, 9])),  # killed before that commit
        st.tuples(st.just("update"), st.integers(0, 30)),
    ),
    max_size=14,
)


class World:
    """A table whose times grow, by at most ``lag`` while another transaction is open with a time of its beginning."""

    lag = 3

    def __init__(self, pg) -> None:
        self.pg = pg
        self.now = self.opened = 0
        self.late: psycopg.Connection | None = None
        pg.execute("DROP TABLE IF EXISTS t")
        pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at timestamptz, v integer DEFAULT 0)")

    def add(self, seconds: int) -> None:
        self._pass(seconds)
        self.pg.execute("INSERT INTO t (at) VALUES (%s)", [self._time()])

    def late_begin(self, _number: int) -> None:
        if self.late is None:
            self.late = psycopg.connect(self.pg.info.dsn, password=self.pg.info.password)
            self.opened = self.now
            self.late.execute("INSERT INTO t (at) VALUES (%s)", [self._time()])

    def late_commit(self, _number: int = 0) -> None:
        if self.late is not None:
            self.late.commit()
            self.late.close()
            self.late = None

    def update(self, number: int) -> None:
        """An update moves the row to a time of its own: a cursor tells changes by it alone."""
        self._pass(1)
        self.pg.execute("UPDATE t SET at = %s, v = v + 1 WHERE id = %s", [self._time(), number])

    def _pass(self, seconds: int) -> None:
        if self.now + seconds - self.opened > self.lag:
            self.late_commit()
        self.now += seconds

    def _time(self) -> datetime:
        return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


@pytest.mark.parametrize("merge", [False, True])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, cut=st.sampled_from([{}, {"step": 2}, {"checkpoint": 3}]))
def test_whatever_happens_every_row_comes_once(pg, postgres_url, make_landed, merge, steps, cut) -> None:
    world, landed = World(pg), make_landed(postgres_url)
    cursor = Cursor(column="at", lag=world.lag, step=cut.get("step"))
    mode = {"mode": WriteMode.MERGE, "key": ("id",)} if merge else {}
    request = asked(cursor, checkpoint=cut.get("checkpoint"), **mode)
    for what, number in [*steps, ("late_commit", 0), ("run", 9)]:
        if what == "run":
            landed.run(request, commits=None if number == 9 else number)
        elif merge or what != "update":
            getattr(world, what)(number)
    truth = pg.execute("SELECT id, v FROM t").fetchall()
    if merge:
        assert {key[0]: row["v"] for key, row in landed.keyed.items()} == dict(truth)
    else:
        assert Counter(row["id"] for row in landed.rows) == Counter(row[0] for row in truth)
