"""Odd cursors, names, columns and moments of change on PostgreSQL: nothing lost, nothing twice, or a clear error."""

from __future__ import annotations

import random
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from uuid import UUID

import psycopg
import pytest

from lakecat.connector import ConnectorContext, Cursor, Nulls, ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceChangedError, SourceError
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql

LAST = Cursor(column="at")


def asked(cursor: Cursor | None = LAST, **keys) -> StreamRequest:
    return StreamRequest(**{"name": "public.t", "cursor": cursor, **keys})


class Nothing:
    position = None


@contextmanager
def opened(pg_project, **options):
    with closing(
        Sql.open({"connection": pg_project.connection, **options}, ConnectorContext(root=pg_project.root))
    ) as connector:
        yield connector


def whole(connector: Sql, name: str = "public.t"):
    (slice_,) = connector.plan(StreamRequest(name=name, mode=WriteMode.REPLACE), Nothing())
    return slice_


def count(connector: Sql, slice_) -> int:
    with closing(connector.read(slice_, ReadOptions())) as reader:
        return sum(batch.num_rows for batch in reader)


def test_rows_at_the_edge_are_known_whatever_type_the_job_declares_for_them(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, at integer)")
    pg.execute("INSERT INTO t VALUES (1, 5), (2, 5)")
    columns = {"id": "string", "at": "decimal(9, 2)"}
    job = pg_project.job(mode="append", target="raw.t", stream="public.t", cursor="at", columns=columns)
    pg_project.run(job)
    pg.execute("INSERT INTO t VALUES (3, 5)")
    pg_project.run(job)
    assert sorted(pg_project.table("raw.t")["id"].to_pylist()) == ["1", "2", "3"]


def test_rows_at_the_edge_are_known_whatever_the_policy_was(pg, postgres_url, make_landed) -> None:
    pg.execute("CREATE TABLE t (id uuid PRIMARY KEY, at numeric, span interval)")
    landed = make_landed(postgres_url, uuid="uuid", numeric="string")
    row = "INSERT INTO t VALUES (%s, 1.50, '1 day')"
    policies = [
        {"uuid": "string", "numeric": "decimal(38, 4)"},
        {"uuid": "uuid", "interval": "struct"},
        {"numeric": "string"},
    ]
    for number, policy in enumerate(policies):
        landed.options |= policy
        pg.execute(row, [UUID(int=number)])
        assert landed.run(asked()) == 1
        assert landed.run(asked()) == 0
    pg.execute("ALTER TABLE t ALTER at TYPE numeric(9, 4)")
    pg.execute(row, [UUID(int=9)])
    assert landed.run(asked()) == 1
    assert sorted(str(row["id"])[-1] for row in landed.rows) == ["0", "1", "2", "9"]


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_a_row_at_the_edge_is_set_aside_once(pg, pg_project, key) -> None:
    pg.execute(f"CREATE TABLE t (id integer {key}, at integer, d date)")
    pg.execute("INSERT INTO t VALUES (1, 5, '2024-01-01'), (2, 5, 'infinity'), (3, 5, '-infinity')")
    job = pg_project.job(mode="append", target="raw.t", stream="public.t", cursor="at", quarantine=True)
    pg_project.run(job)
    assert pg_project.run(job) == ()
    pg.execute("INSERT INTO t VALUES (4, 5, '2024-01-01'), (5, 5, 'infinity')")
    (result,) = pg_project.run(job)
    assert (result.rows, result.rejected) == (1, 1)
    assert sorted(pg_project.table("raw.t")["id"].to_pylist()) == [1, 4]
    texts = sorted(pg_project.table("raw.t_quarantine")["text"].to_pylist())
    assert [text[:10] for text in texts] == ['{"id": "2"', '{"id": "3"', '{"id": "5"']


@pytest.mark.parametrize(
    ("type_", "top", "other", "end"),
    [
        ("timestamp", "infinity", "2024-01-01", "9000-01-01"),
        ("timestamptz", "10000-01-01 00:00:00+00", "2024-01-01", "9000-01-01"),
        ("date", "infinity", "2024-01-01", "9000-01-01"),
        ("real", "Infinity", "1", 10),
        ("double precision", "NaN", "1", 10),
        ("numeric", "NaN", "1", 10),
    ],
)
def test_a_cursor_that_nothing_can_pass_is_an_error(pg, postgres_url, make_landed, type_, top, other, end) -> None:
    """Taken as the position, it would hide every row that comes later."""
    pg.execute(f"CREATE TABLE t (id serial PRIMARY KEY, at {type_})")
    pg.execute("INSERT INTO t (at) VALUES (%s), (%s)", [top, other])
    landed = make_landed(postgres_url, out_of_range="null")
    with pytest.raises(SourceError, match="no later row will pass"):
        landed.run(asked())
    bounded = asked(Cursor(column="at", end=end))
    assert landed.run(bounded) == 1
    pg.execute("INSERT INTO t (at) VALUES (%s)", [other])
    assert landed.run(bounded) == 1
    assert [row["id"] for row in landed.rows] == [2, 3]


def test_numbers_without_a_precision_have_distances_though_they_come_as_text(pg, postgres_url, make_landed) -> None:
    pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at numeric)")
    pg.execute("INSERT INTO t (at) VALUES (0.5), (12345678901234567890.25), (9), (10)")
    landed = make_landed(postgres_url)
    cursor = Cursor(column="at", lag=0.5, step=5)
    assert landed.run(asked(cursor)) == 4
    pg.execute("INSERT INTO t (at) VALUES (12345678901234567889.75), (12345678901234567889.74)")
    assert landed.run(asked(cursor)) == 1
    assert [row["id"] for row in landed.rows] == [1, 3, 4, 2, 5]


def test_text_that_looks_like_infinity_is_a_cursor_like_any_other(pg, postgres_url, make_landed) -> None:
    pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at text COLLATE \"C\"); INSERT INTO t (at) VALUES ('NaN')")
    landed = make_landed(postgres_url)
    assert landed.run(asked()) == 1
    pg.execute("INSERT INTO t (at) VALUES ('Nb')")
    assert landed.run(asked()) == 1


@pytest.mark.parametrize("collation", ["without_case", "english"])
def test_text_is_followed_in_its_own_collation(pg, postgres_url, make_landed, collation) -> None:
    try:
        pg.execute(
            "CREATE COLLATION without_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
            "CREATE COLLATION english (provider = icu, locale = 'en')"
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL was built without ICU")
    pg.execute(f"CREATE TABLE t (id serial PRIMARY KEY, at text COLLATE {collation})")
    values = ["a", "A", "b", "B", "a", "c", "C", "é", "E", "f"]
    pg.execute("INSERT INTO t (at) SELECT unnest(%s::text[])", [values])
    landed = make_landed(postgres_url)
    assert landed.run(asked(checkpoint=2)) == 10
    assert len(landed.slices) > 2
    pg.execute("INSERT INTO t (at) VALUES ('F')")  # equal to the last one, or after it
    assert landed.run(asked()) == 1
    assert landed.run(asked()) == 0
    assert sorted(row["id"] for row in landed.rows) == list(range(1, 12))


def test_a_bound_with_a_zone_is_in_utc_for_times_without_one(pg, postgres_url, make_landed) -> None:
    pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at timestamp)")
    pg.execute("INSERT INTO t (at) VALUES ('2024-06-30 23:59'), ('2024-07-01 00:30'), ('2024-07-01 02:30')")
    landed = make_landed(postgres_url)
    cursor = Cursor(column="at", start="2024-07-01T02:00:00+02:00", end="2024-07-01T03:00:00+02:00")
    assert landed.run(asked(cursor)) == 1
    assert [row["id"] for row in landed.rows] == [2]


def test_a_change_that_waits_does_not_stop_the_run_that_it_waits_for(pg, pg_project, pg_connect) -> None:
    """It stands in the lock's queue between the run's first connection and those that come later."""
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    pg.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 2000) n")
    with opened(pg_project, splits=2, lock_timeout=5) as connector:
        slice_ = whole(connector)
        other = pg_connect()
        changing = threading.Thread(target=other.execute, args=("TRUNCATE t",))
        changing.start()
        waits = "SELECT 1 FROM pg_locks WHERE relation = 't'::regclass AND NOT granted"
        for _ in range(200):
            if pg.execute(waits).fetchone():
                break
            threading.Event().wait(0.02)
        parts = [replace(slice_, splits=(split,)) for split in slice_.splits]
        assert len(parts) == 2
        assert sum(count(connector, part) for part in parts) == 2000
    changing.join(20)
    assert pg.execute("SELECT count(*) FROM t").fetchone() == (0,)


@pytest.mark.parametrize("change", ["TRUNCATE t", "DROP TABLE t CASCADE; CREATE TABLE t (id integer, v text)"])
@pytest.mark.parametrize("kind", ["view", "query"])
def test_what_a_view_or_query_is_made_of_was_changed_after_the_snapshot(pg, pg_project, change, kind) -> None:
    """To the snapshot it looks empty."""
    pg.execute("CREATE TABLE t (id integer, v text); CREATE TABLE first (id integer); INSERT INTO t VALUES (1, 'x')")
    pg.execute("CREATE VIEW w AS SELECT * FROM t")
    with opened(pg_project) as connector:
        whole(connector, "public.first")
        pg.execute(change)
        if kind == "view" and "DROP" in change:
            pg.execute("CREATE VIEW w AS SELECT * FROM t")
        request = StreamRequest(
            name="public.w" if kind == "view" else "q",
            mode=WriteMode.REPLACE,
            options={} if kind == "view" else {"query": "SELECT * FROM t"},
        )
        with pytest.raises(SourceError) as caught:
            list(connector.plan(request, Nothing()))
        assert isinstance(caught.value, SourceChangedError) or "DROP" in change
        whole(connector, "public.first")


def test_a_table_that_took_anothers_name_after_the_snapshot(pg, pg_project) -> None:
    """As tools do that copy a table to change it: the snapshot may see the copy half filled."""
    pg.execute("CREATE TABLE t AS SELECT generate_series(1, 9) AS id; CREATE TABLE copy AS SELECT 1 AS id")
    pg.execute("CREATE TABLE first (id integer)")
    with opened(pg_project) as connector:
        whole(connector, "public.first")
        pg.execute("ALTER TABLE t RENAME TO old; ALTER TABLE copy RENAME TO t")
        with pytest.raises(SourceChangedError):
            whole(connector)
    with opened(pg_project) as connector:
        assert count(connector, whole(connector)) == 1


@pytest.mark.parametrize("splits", [1, 2])
def test_a_partition_that_is_attached_in_the_midst_is_told(pg, pg_project, splits) -> None:
    if pg.info.server_version < 120000:
        pytest.skip("this version cannot list partitions as they are now")
    pg.execute("CREATE TABLE t (id integer, v text) PARTITION BY RANGE (id); CREATE TABLE later (id integer, v text)")
    pg.execute("CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1000)")
    for name, first in (("t", 1), ("later", 1000)):
        pg.execute(f"INSERT INTO {name} SELECT n, repeat('x', 500) FROM generate_series({first}, {first + 900}) n")
    with opened(pg_project, splits=splits) as connector:
        slice_ = whole(connector)
        parts = [replace(slice_, splits=(split,)) for split in slice_.splits] or [slice_]
        assert len(parts) == splits
        assert count(connector, parts[0]) > 0
        pg.execute("ALTER TABLE t ATTACH PARTITION later FOR VALUES FROM (1000) TO (2000)")
        with pytest.raises(SourceChangedError):
            count(connector, parts[-1])
    with opened(pg_project, splits=splits) as connector:
        slice_ = whole(connector)
        assert count(connector, slice_) == 1802


def test_names_that_could_be_read_in_two_ways_are_quoted(pg, postgres_url, make_landed) -> None:
    pg.execute(
        'CREATE SCHEMA "a.b"; CREATE SCHEMA a; CREATE TABLE "a.b".c AS SELECT 1 AS id;'
        'CREATE TABLE a."b.c" AS SELECT 2 AS id; CREATE TABLE public."""q" AS SELECT 3 AS id'
    )
    landed = make_landed(postgres_url)
    with closing(Sql.open(landed.options, landed.context)) as connector:
        names = [stream.name for stream in connector.discover()]
    assert names == ["a.b.c", '"a.b".c', 'public."""q"']
    for name in names:
        landed.run(asked(None, name=name, mode=WriteMode.REPLACE))
    assert [row["id"] for row in landed.rows] == [2, 1, 3]


ODD = ["50% :x", "Ünïcødé 漢字", 'quote"d', "back\\slash", "x" * 63, "select", " a ", "a.b", "{}"]


def test_odd_names_of_tables_and_columns(pg, postgres_url, make_landed) -> None:
    quoted = [psycopg.sql.Identifier(name).as_string(pg) for name in ODD]
    landed = make_landed(postgres_url)
    for table in quoted:
        columns = ", ".join(f"{column} integer[]" for column in quoted)
        pg.execute(f"CREATE TABLE {table} (at integer PRIMARY KEY, {columns})")
        pg.execute(f"INSERT INTO {table} VALUES (1, {', '.join(f'ARRAY[{n}]' for n in range(len(ODD)))})")
    with closing(Sql.open(landed.options, landed.context)) as connector:
        names = [stream.name for stream in connector.discover()]
    assert len(names) == len(ODD)
    for name in names:
        assert landed.run(asked(name=name)) == 1
        landed.position = None
    assert landed.rows == [{"at": 1, **{name: [n] for n, name in enumerate(ODD)}}] * len(ODD)


def test_what_is_declared_as_string_is_what_the_server_writes(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (a integer[], b integer[], c date[], d uuid, e interval, f uuid[], g date)")
    ident = "00112233-4455-6677-8899-aabbccddeeff"
    pg.execute(
        "INSERT INTO t VALUES ('{1,NULL}', '{{1},{2}}', '{infinity}', %(u)s, '1 day', ARRAY[%(u)s::uuid], 'infinity')",
        {"u": ident},
    )
    columns = dict.fromkeys("abcdefg", "string")
    job = pg_project.job(
        mode="replace", target="raw.t", stream="public.t", columns=columns, options={"interval": "struct"}
    )
    pg_project.run(job)
    assert pg_project.rows("raw.t") == {
        ("{1,NULL}", "{{1},{2}}", "{infinity}", ident, "P1D", f"{{{ident}}}", "infinity"): 1
    }


def test_columns_of_domains_ranges_and_arrays_of_them(pg, pg_project) -> None:
    pg.execute("CREATE DOMAIN code AS char(3); CREATE DOMAIN codes AS code[]")
    pg.execute(
        "CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY, a code, b code[], c codes, d interval[], "
        "e int4range[], g integer GENERATED ALWAYS AS (array_length(b, 1)) STORED)"
    )
    pg.execute("INSERT INTO t (a, b, c, d, e) VALUES ('x', '{a,NULL}', '{bc}', '{1 day}', '{\"[1,2)\"}')")
    pg_project.run(pg_project.job(mode="replace", target="raw.t", stream="public.t"))
    table = pg_project.table("raw.t").to_pylist()[0]
    assert table == {
        "id": 1, "a": "x  ", "b": ["a  ", None], "c": table["c"], "d": ["P1D"], "e": ["[1,2)"],
        "g": 2,
    }  # fmt: skip
    assert table["c"] in ('{"bc "}', ["bc "])


def test_rows_of_a_foreign_table_are_not_appended_by_an_edge_that_others_can_join(pg, pg_project) -> None:
    if not pg.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'postgres_fdw'").fetchone():
        pytest.skip("this PostgreSQL has no postgres_fdw")
    pg.execute("CREATE TABLE far (id integer PRIMARY KEY, at integer); INSERT INTO far VALUES (1, 5), (2, 5)")
    pg.execute("CREATE EXTENSION postgres_fdw")
    pg.execute(
        f"CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '{pg.info.dbname}', "
        f"host '127.0.0.1', port '{pg.info.port}');"
        "CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'postgres', password 'x');"
        "CREATE FOREIGN TABLE t (id integer, at integer) SERVER s OPTIONS (table_name 'far')"
    )
    keys = {"target": "raw.t", "stream": "public.t", "cursor": "at"}
    with pytest.raises(ConfigError, match="not read in one snapshot"):
        pg_project.run(pg_project.job(mode="append", **keys))
    (result,) = pg_project.run(pg_project.job(mode="merge", key="id", **keys))
    assert result.rows == 2
    pg.execute("INSERT INTO far VALUES (3, 5)")
    pg_project.run(pg_project.job(mode="merge", key="id", **keys))
    assert sorted(pg_project.table("raw.t")["id"].to_pylist()) == [1, 2, 3]


def test_row_level_security_shows_what_the_user_may_see(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, owner text); INSERT INTO t VALUES (1, 'x'), (2, 'y')")
    role = f"limited_{pg.info.dbname}"
    pg.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON t TO {role}; ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    pg.execute(f"CREATE POLICY p ON t TO {role} USING (owner = 'x')")
    pg_project.connection = pg_project.connection.replace("postgres@", f"{role}@")
    try:
        (result,) = pg_project.run(pg_project.job(mode="replace", target="raw.t", stream="public.t"))
        assert result.rows == 1
    finally:
        pg.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_key_is_named_as_the_source_spells_it(pg, pg_project) -> None:
    pg.execute('CREATE TABLE t ("Id" integer PRIMARY KEY); INSERT INTO t VALUES (1), (2)')
    keys = {"mode": "merge", "target": "raw.t", "stream": "public.t", "deletes": "absent"}
    with pytest.raises(ConfigError, match=r"key: public\.t has no column 'id'"):
        pg_project.run(pg_project.job(key="id", cursor="Id", **keys))
    job = pg_project.job(key="Id", cursor="Id", options={"went_back": "ignore"}, **keys)
    pg_project.run(job)
    pg.execute('DELETE FROM t WHERE "Id" = 2')
    pg_project.run(job)
    assert pg_project.table("raw.t")["Id"].to_pylist() == [1]


def test_rows_that_are_written_while_runs_go_on_come_once(pg, pg_connect, postgres_url, make_landed) -> None:
    """Transactions that are committed late, within the lag, NULLs among them; runs in the midst, in small slices."""
    pg.execute("CREATE TABLE t (id serial PRIMARY KEY, at integer)")
    chance = random.Random(5)
    landed = make_landed(postgres_url)
    request = asked(Cursor(column="at", lag=10, nulls=Nulls.INCLUDE), checkpoint=7)
    writers = [pg_connect(autocommit=False) for _ in range(4)]
    since: dict[int, int] = {}
    for tick in range(40):
        number = chance.randrange(4)
        for _ in range(chance.randrange(1, 4)):
            writers[number].execute("INSERT INTO t (at) VALUES (%s)", [chance.choice([tick, tick, None])])
        since.setdefault(number, tick)
        for late in [one for one, then in since.items() if tick - then >= chance.randrange(10)]:
            writers[late].commit()
            del since[late]
        if chance.random() < 0.3:
            landed.run(request)
    for writer in writers:
        writer.commit()
    landed.run(request)
    assert sorted(row["id"] for row in landed.rows) == [row[0] for row in pg.execute("SELECT id FROM t ORDER BY 1")]
