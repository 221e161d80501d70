"""Whole jobs over PostgreSQL: many streams, one snapshot, deletes, resumed loads, processes killed."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from contextlib import closing
from decimal import Decimal

import pyarrow as pa
import pytest

from lakecat.connector import ConnectorContext, Cursor, ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceAccessError, SourceChangedError, SourceError, StreamsFailedError
from lakecat.ingest import plan_job, run_job
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql


def test_discovery_tells_tables_views_types_keys_and_comments(pg, pg_project) -> None:
    pg.execute("CREATE SCHEMA shop; CREATE SCHEMA other; CREATE TABLE other.x (a integer)")
    pg.execute(
        "CREATE TABLE shop.orders (day date, id bigint, total numeric(9,2), updated_at timestamptz, "
        "PRIMARY KEY (id, day))"
    )
    pg.execute("COMMENT ON TABLE shop.orders IS 'What was ordered'")
    pg.execute("INSERT INTO shop.orders VALUES ('2024-01-01', 1, 1, now())")
    pg.execute("CREATE VIEW shop.v AS SELECT id FROM shop.orders")
    pg.execute("CREATE MATERIALIZED VIEW shop.m AS SELECT id FROM shop.orders")
    pg.execute("CREATE TABLE shop.parted (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    pg.execute("CREATE TABLE shop.parted_1 PARTITION OF shop.parted FOR VALUES FROM (0) TO (10)")
    pg.execute('CREATE TABLE shop."We""ird %s {} näme" ("a.b" integer, "select" text)')
    pg.execute("ANALYZE shop.orders")
    connector = Sql.open({"connection": pg_project.connection, "schemas": ["shop"]}, None)
    streams = {stream.name: stream for stream in connector.discover()}
    connector.close()
    assert list(streams) == ['shop.We"ird %s {} näme', "shop.m", "shop.orders", "shop.parted", "shop.v"]
    orders = streams["shop.orders"]
    assert (orders.key, orders.estimated_rows, orders.description) == (("id", "day"), 1, "What was ordered")
    assert orders.schema == pa.schema(
        [
            ("day", pa.date32()),
            ("id", pa.int64()),
            ("total", pa.decimal128(9, 2)),
            ("updated_at", pa.timestamp("us", "UTC")),
        ]
    )
    assert orders.cursors[0] == "updated_at"
    assert orders.uri.startswith("postgresql://127.0.0.1:")
    assert orders.uri.endswith("/shop.orders")


def test_many_streams_of_one_job(pg, pg_project) -> None:
    pg.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id integer PRIMARY KEY, v text, at integer NOT NULL)")
    pg.execute('CREATE TABLE shop."We""ird %s {} näme" ("a.b" integer PRIMARY KEY, "select" text)')
    pg.execute("CREATE TABLE shop.parted (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)")
    for part in (0, 10):
        pg.execute(
            f"CREATE TABLE shop.parted_{part} PARTITION OF shop.parted FOR VALUES FROM ({part}) TO ({part + 10})"
        )
    pg.execute("INSERT INTO shop.orders VALUES (1, 'a', 5)")
    pg.execute("""INSERT INTO shop."We""ird %s {} näme" VALUES (1, 'x')""".replace("%", "%%"), ())
    pg.execute("INSERT INTO shop.parted VALUES (1, 'a'), (11, 'b')")
    pg.execute("CREATE MATERIALIZED VIEW shop.m AS SELECT v FROM shop.orders")
    job = pg_project.job(
        target="raw.*",
        mode="merge",
        options={"schemas": ["shop"]},
        streams={
            "shop.*": {},
            "shop.m": {"mode": "replace"},
            "shop.orders": {"mode": "append", "cursor": "at"},
            "big": {"mode": "replace", "options": {"query": "SELECT id * 10 AS ten FROM shop.parted"}},
        },
    )
    results = {result.stream: result.rows for result in pg_project.run(job)}
    assert results == {"shop.orders": 1, "shop.m": 1, 'shop.We"ird %s {} näme': 1, "shop.parted": 2, "big": 2}
    assert pg_project.rows("raw.we_ird_s_n_me") == {(1, "x"): 1}
    assert pg_project.rows("raw.parted") == {(1, "a"): 1, (11, "b"): 1}
    assert pg_project.rows("raw.big") == {(10,): 1, (110,): 1}
    pg.execute("UPDATE shop.parted SET v = 'B' WHERE id = 11")
    pg.execute("INSERT INTO shop.orders VALUES (2, 'b', 5)")
    pg_project.run(job)
    assert pg_project.rows("raw.parted") == {(1, "a"): 1, (11, "B"): 1}
    assert pg_project.rows("raw.orders") == {(1, "a", 5): 1, (2, "b", 5): 1}
    assert pg_project.catalog.integrity() == ()


def test_all_tables_and_splits_are_of_one_snapshot(pg, pg_project, pg_connect) -> None:
    """Money moves between two tables all the time; together they hold the same, whenever it is read."""
    pg.execute("CREATE TABLE a (id integer PRIMARY KEY, v integer); CREATE TABLE b (id integer PRIMARY KEY, v integer)")
    pg.execute("INSERT INTO a SELECT n, 100 FROM generate_series(1, 2000) n; INSERT INTO b SELECT * FROM a")
    stop = threading.Event()
    mover = pg_connect()

    def move() -> None:
        number = 0
        while not stop.is_set():
            number = number % 2000 + 1
            mover.execute(
                "WITH x AS (UPDATE a SET v = v - 1 WHERE id = %s) UPDATE b SET v = v + 1 WHERE id = %s",
                (number, 2001 - number),
            )

    thread = threading.Thread(target=move)
    thread.start()
    try:
        job = pg_project.job(target="raw.*", mode="replace", options={"splits": 4}, streams=["public.a", "public.b"])
        for _ in range(3):
            pg_project.run(job)
            tables = [pg_project.table(name) for name in ("raw.a", "raw.b")]
            assert [table.num_rows for table in tables] == [2000, 2000]
            assert sum(sum(table["v"].to_pylist()) for table in tables) == 400_000
    finally:
        stop.set()
        thread.join()


def test_names_with_dots_and_quotes(pg, pg_project) -> None:
    pg.execute('CREATE SCHEMA "o.dd"; CREATE TABLE "o.dd"."a.b" (id integer PRIMARY KEY)')
    pg.execute('CREATE TABLE "q""t.x" (id integer PRIMARY KEY)')
    pg.execute('INSERT INTO "o.dd"."a.b" VALUES (7); INSERT INTO "q""t.x" VALUES (8)')
    (one,) = pg_project.run(pg_project.job(target="raw.found", mode="replace", streams=['"o.dd".*']))
    assert one.stream == '"o.dd".a.b'
    pg_project.run(pg_project.job("two", target="raw.one", mode="replace", stream='"o.dd"."a.b"'))
    pg_project.run(pg_project.job("three", target="raw.two", mode="replace", stream='"q""t.x"'))
    assert (pg_project.rows("raw.found"), pg_project.rows("raw.one"), pg_project.rows("raw.two")) == (
        {(7,): 1}, {(7,): 1}, {(8,): 1},
    )  # fmt: skip


@pytest.mark.parametrize("relation", ["t", "parted", "m", "v", "child"])
@pytest.mark.parametrize("splits", [1, 5])
def test_splits_hold_every_row_once(pg, postgres_url, make_landed, relation, splits) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    pg.execute("CREATE TABLE parted (id integer PRIMARY KEY, v text) PARTITION BY HASH (id)")
    for part in range(3):
        pg.execute(f"CREATE TABLE parted_{part} PARTITION OF parted FOR VALUES WITH (MODULUS 3, REMAINDER {part})")
    pg.execute("CREATE TABLE child (id integer PRIMARY KEY, v text); CREATE TABLE grandchild () INHERITS (child)")
    pg.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(-3, 996) n")
    pg.execute("INSERT INTO parted TABLE t; INSERT INTO child SELECT * FROM t WHERE id < 100")
    pg.execute("INSERT INTO grandchild SELECT * FROM t WHERE id >= 100")
    pg.execute("CREATE VIEW v AS TABLE t; CREATE MATERIALIZED VIEW m AS TABLE t")
    landed = make_landed(postgres_url, splits=splits)
    assert landed.run(StreamRequest(name=relation, mode=WriteMode.REPLACE)) == 1000
    assert sorted(row["id"] for row in landed.rows) == list(range(-3, 997))
    (slice_,) = landed.slices
    assert len(slice_.splits) == (5 if splits == 5 and relation != "v" else 0)


def test_rows_that_were_deleted_are_found_by_comparing_keys(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, at integer NOT NULL, v text)")
    pg.execute("INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b'), (3, 3, 'c')")
    job = pg_project.job(
        target="raw.t", mode="merge", stream="public.t", cursor={"column": "at", "lag": 5}, deletes="absent",
        options={"splits": 3},
    )  # fmt: skip
    pg_project.run(job)
    pg.execute("DELETE FROM t WHERE id = 2")
    pg_project.run(job)
    assert pg_project.rows("raw.t") == {(1, 1, "a"): 1, (3, 3, "c"): 1}
    pg.execute(
        "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (4, 4, 'd'); UPDATE t SET v = 'C', at = 5 WHERE id = 3"
    )
    pg_project.run(job)
    assert pg_project.rows("raw.t") == {(3, 5, "C"): 1, (4, 4, "d"): 1}
    pg_project.run(job)
    assert pg_project.rows("raw.t") == {(3, 5, "C"): 1, (4, 4, "d"): 1}


def test_xmin_and_absent_keys_make_a_true_copy(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    job = pg_project.job(target="raw.t", mode="merge", stream="public.t", cursor="xmin", deletes="absent")
    pg.execute("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 20) n")
    pg_project.run(job)
    for statement in (
        "UPDATE t SET v = 'y' WHERE id % 3 = 0",
        "DELETE FROM t WHERE id < 8",
        "INSERT INTO t VALUES (1, 'again')",
    ):
        pg.execute(statement)
        pg_project.run(job)
        assert pg_project.rows("raw.t") == Counter(pg.execute("TABLE t").fetchall())


def test_no_rights_on_one_table_of_many(pg, pg_project) -> None:
    pg.execute("CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY, secret text, v text)")
    pg.execute("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 's', 'v')")
    role = f"reader_{pg.info.dbname}"
    pg.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON a TO {role}")
    pg_project.connection = pg_project.connection.replace("postgres@", f"{role}@")
    try:
        job = pg_project.job(target="raw.*", mode="replace", streams=["public.a", "public.b"])
        with pytest.raises(StreamsFailedError) as caught:
            pg_project.run(job)
        assert isinstance(caught.value.failures["raw.b"], SourceAccessError)
        assert pg_project.rows("raw.a") == {(1,): 1}
        # A pattern finds what may be read; of a table of which some columns may be read, those come.
        (result,) = pg_project.run(pg_project.job("some", target="raw2.*", mode="replace", streams=["public.*"]))
        assert result.stream == "public.a"
        pg.execute(f"GRANT SELECT (id, v) ON b TO {role}")
        pg_project.run(job)
        assert pg_project.rows("raw.b") == {(1, "v"): 1}
    finally:
        pg.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_column_that_is_added_or_widened_comes_and_one_that_is_gone_is_told(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, n integer, d numeric(5,2))")
    pg.execute("INSERT INTO t VALUES (1, 1, 1.25)")
    job = pg_project.job(target="raw.t", mode="merge", stream="public.t", cursor="id")
    pg_project.run(job)
    pg.execute("ALTER TABLE t ADD COLUMN x text DEFAULT 'd', ALTER n TYPE bigint, ALTER d TYPE numeric(9,2)")
    pg.execute("INSERT INTO t VALUES (2, 3000000000, 1234567.25, 'x')")
    pg_project.run(job)
    assert pg_project.rows("raw.t") == {
        (1, 1, Decimal("1.25"), None): 1,
        (2, 3000000000, Decimal("1234567.25"), "x"): 1,
    }


def test_a_plan_reads_nothing_and_moves_nothing(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1)")
    job = pg_project.job(target="raw.t", stream="public.t", cursor="id")
    (stream,) = plan_job(pg_project.services, job).streams
    assert len(stream.slices) == 1
    (again,) = plan_job(pg_project.services, job).streams
    assert again == stream
    assert not pg_project.exists("raw.t")
    (result,) = pg_project.run(job)
    assert result.rows == 1
    (nothing,) = plan_job(pg_project.services, job).streams
    assert nothing.slices == ()


def test_names_that_are_not_there_are_told_with_what_is(pg, pg_project) -> None:
    pg.execute("CREATE TABLE orders (id integer PRIMARY KEY, total integer)")
    with pytest.raises(SourceError, match=r"did you mean public\.orders"):
        pg_project.run(pg_project.job(target="raw.t", mode="replace", stream="public.order"))
    with pytest.raises(ConfigError, match="has no column 'totl'"):
        pg_project.run(
            pg_project.job(target="raw.t", mode="replace", stream="public.orders", options={"exclude": ["totl"]})
        )
    with pytest.raises(ConfigError, match="which table"):
        pg_project.run(pg_project.job(target="raw.t", mode="replace"))


def test_killed_while_rows_come_and_run_again(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    pg.execute("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 40000) n")
    # The second slice comes so slowly that it is killed in its midst.
    pg.execute("CREATE VIEW slow AS SELECT id, v FROM t WHERE id <= 30000 OR pg_sleep(0.001) IS NOT NULL")
    job = pg_project.job(target="raw.t", stream="public.slow", cursor={"column": "id", "start": 0, "step": 20000})
    process = pg_project.start("job", "load", "1")
    deadline = time.monotonic() + 60
    busy = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'lakecat' AND datname = current_database() "
        "AND state = 'active' AND query LIKE 'COPY%'"
    )
    while not pg_project.exists("raw.t") or pg.execute(busy).fetchone() is None:
        assert time.monotonic() < deadline
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert pg_project.table("raw.t").num_rows == 19_999
    pg.execute("CREATE OR REPLACE VIEW slow AS SELECT id, v FROM t")
    threading.Event().wait(1.2)
    pg_project.run(job)
    assert sorted(pg_project.table("raw.t")["id"].to_pylist()) == list(range(1, 40001))
    assert pg_project.catalog.integrity() == ()


@pytest.mark.parametrize("failpoint", ["data.written", "commit.pointer_swapped", "commit.after"])
def test_killed_in_the_midst_and_run_again(pg, pg_project, failpoint) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, at integer NOT NULL)")
    pg.execute("INSERT INTO t SELECT n, n / 10 FROM generate_series(0, 99) n")
    job = pg_project.job(target="raw.t", stream="public.t", cursor="at", checkpoint=30, options={"splits": 2})
    process = pg_project.start("job", "load", "1", failpoint=f"{failpoint}:2:kill")
    assert process.wait(120) == -signal.SIGKILL
    process.communicate()
    pg.execute("INSERT INTO t VALUES (100, 9), (101, 9), (102, 10)")
    # The killed run's lease lasts a second more.
    threading.Event().wait(1.2)
    pg_project.run(job)
    assert sorted(pg_project.table("raw.t")["id"].to_pylist()) == list(range(103))
    assert pg_project.catalog.integrity() == ()


class Nothing:
    position = None


def connections(pg) -> int:
    """Of lakecat, once those that were closed are gone."""
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lakecat' AND datname = current_database()"
    for _ in range(20):
        if not (found := pg.execute(count).fetchone()[0]):
            break
        threading.Event().wait(0.05)
    return found


def test_the_snapshot_is_let_go_of_when_the_last_row_has_been_read(pg, pg_project) -> None:
    """It holds VACUUM back: it must not wait for the last commit, nor go before the last stream has been read."""
    pg.execute("CREATE TABLE a (id integer PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 9)")
    pg.execute("CREATE TABLE b AS TABLE a; CREATE TABLE c AS TABLE a; ALTER TABLE b ADD PRIMARY KEY (id)")
    job = pg_project.job(
        target="raw.*",
        streams={
            "public.a": {"mode": "append", "cursor": "id", "checkpoint": 4},
            "public.b": {"mode": "merge", "deletes": "absent", "cursor": "id"},
            "public.c": {"mode": "replace"},
        },
    )
    seen: list[int] = []
    results = run_job(
        pg_project.services, job, on_result=lambda _: seen.append(connections(pg) if len(seen) in (0, 4) else -1)
    )
    assert [result.rows for result in results] == [4, 9, 9, 4, 1]
    assert seen[0] == 1
    assert seen[-1] == 0


def test_a_slice_that_is_read_again_after_the_snapshot_has_gone(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, at integer); INSERT INTO t VALUES (1, 5), (2, 5)")
    connector = Sql.open({"connection": pg_project.connection}, ConnectorContext(root=pg_project.root))
    with closing(connector):
        request = StreamRequest(name="public.t", cursor=Cursor(column="at"))
        slices = connector.plan(request, Nothing())
        connector.settled()
        (slice_,) = slices
        for _ in range(2):
            with closing(connector.read(slice_, ReadOptions())) as reader:
                assert sum(batch.num_rows for batch in reader) == 2
                assert connections(pg) > 0
            assert connections(pg) == 0
        pg.execute("INSERT INTO t VALUES (3, 5)")
        with pytest.raises(SourceChangedError):
            connector.read(slice_, ReadOptions())
        assert connections(pg) == 0
