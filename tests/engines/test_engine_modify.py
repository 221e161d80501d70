"""MERGE, UPDATE and DELETE by copy-on-write give what the statement gives on a plain table, rewriting few files."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lakecat.engines import RowCounts
from lakecat.errors import AccessDeniedError, EngineError
from lakecat.tables import read
from lakecat.types import DatasetName

T = DatasetName("raw", "t")
DAYS = [dt.date(2020, 1, d) for d in (1, 1, 2, 2, 3, 3)]


def make(lake: Any) -> None:
    """Three files of two rows."""
    rows = {"k": [1, 2, 3, 4, 5, 6], "v": [10, 20, 30, 40, 50, None], "d": DAYS}
    lake.create("raw.t", pa.table(rows), file_rows=2)
    lake.create("raw.s", pa.table({"k": [2, 7], "v": [200, 700], "gone": [False, False]}))


def change(lake: Any, sql: str, **parameters: object) -> tuple[int, int, RowCounts]:
    """Run it, commit what it says, and compare with the same statement on a plain DuckDB table."""
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA raw")
        for name in ("raw.t", "raw.s"):
            rows = read(lake.store, lake.scan(name)).read_all()
            con.register("rows", rows)
            con.execute(f"CREATE TABLE {name} AS FROM rows")
        con.execute(sql, parameters or None)
        expected = con.sql("SELECT * FROM raw.t").to_arrow_table().to_pylist()
    with lake.engine.session(lake.relations()) as session:
        modification = session.modify(sql, T, parameters)
        table = modification.rows.read_all()
        lake.overwrite("raw.t", modification.removed, table.to_reader())
    assert sorted(map(repr, lake.rows("SELECT * FROM raw.t"))) == sorted(map(repr, expected))
    return len(modification.removed), table.num_rows, modification.counts


@pytest.mark.parametrize(
    ("sql", "removed", "rows", "counts"),
    [
        ("UPDATE raw.t SET v = v + 1 WHERE k = 3", 1, 2, RowCounts(inserted=0, updated=1, deleted=0)),
        ("UPDATE raw.t AS x SET v = 0 WHERE x.v IS NULL OR x.k < 2", 2, 4, RowCounts(inserted=0, updated=2, deleted=0)),
        ("UPDATE raw.t SET v = s.v FROM raw.s s WHERE t.k = s.k", 1, 2, RowCounts(inserted=0, updated=1, deleted=0)),
        ("UPDATE raw.t SET v = 1", 3, 6, RowCounts(inserted=0, updated=6, deleted=0)),
        (
            "UPDATE raw.t SET v = (SELECT max(v) FROM raw.t) WHERE k = 1",
            3,
            6,
            RowCounts(inserted=0, updated=1, deleted=0),
        ),
        ("UPDATE raw.t SET v = 1 WHERE k = 99", 0, 0, RowCounts(inserted=0, updated=0, deleted=0)),
        (
            "UPDATE raw.t SET d = DATE '2021-01-01' WHERE d = '2020-01-02'",
            1,
            2,
            RowCounts(inserted=0, updated=2, deleted=0),
        ),
        (
            "UPDATE raw.t SET v = v * 2 WHERE k IN (SELECT k FROM raw.s)",
            1,
            2,
            RowCounts(inserted=0, updated=1, deleted=0),
        ),
        ("DELETE FROM raw.t WHERE k >= 5", 1, 0, RowCounts(inserted=0, updated=0, deleted=2)),
        ("DELETE FROM raw.t USING raw.s WHERE t.k = s.k", 1, 1, RowCounts(inserted=0, updated=0, deleted=1)),
        (
            "DELETE FROM raw.t x WHERE EXISTS (FROM raw.s s WHERE s.k = x.k)",
            1,
            1,
            RowCounts(inserted=0, updated=0, deleted=1),
        ),
        ("DELETE FROM raw.t WHERE v < (SELECT avg(v) FROM raw.t)", 3, 4, RowCounts(inserted=0, updated=0, deleted=2)),
        ("DELETE FROM raw.t", 3, 0, RowCounts(inserted=0, updated=0, deleted=6)),
        ("TRUNCATE raw.t", 3, 0, RowCounts(inserted=0, updated=0, deleted=6)),
        (
            (
                "MERGE INTO raw.t USING raw.s ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v"
                " WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v); -- and a comment"
            ),
            1,
            3,
            RowCounts(inserted=1, updated=1, deleted=0),
        ),
        (
            (
                "MERGE INTO raw.t AS x USING (SELECT k + 3 AS k, v FROM raw.s) AS y ON x.k = y.k AND y.v < 500"
                " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (k) VALUES (y.k)"
            ),
            1,
            2,
            RowCounts(inserted=1, updated=0, deleted=1),
        ),
        (
            "MERGE INTO raw.t USING raw.s USING (k) WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)",
            0,
            1,
            RowCounts(inserted=1, updated=0, deleted=0),
        ),
        (
            "MERGE INTO raw.t USING raw.s ON t.k = s.k WHEN NOT MATCHED BY SOURCE AND t.k > 4 THEN DELETE",
            3,
            4,
            RowCounts(inserted=0, updated=0, deleted=2),
        ),
        (
            (
                "WITH s AS (SELECT * FROM raw.s WHERE v = 200) MERGE INTO raw.t USING s ON t.k = s.k"
                " WHEN MATCHED AND t.v < 5 THEN DELETE WHEN MATCHED THEN UPDATE SET v = 5"
            ),
            1,
            2,
            RowCounts(inserted=0, updated=1, deleted=0),
        ),
        (
            "MERGE INTO raw.t USING raw.s ON t.k = s.k AND t.d = DATE '2020-01-01' WHEN MATCHED THEN DO NOTHING",
            0,
            0,
            RowCounts(inserted=0, updated=0, deleted=0),
        ),
    ],
)
def test_statements(lake: Any, sql: str, removed: int, rows: int, counts: RowCounts) -> None:
    make(lake)
    assert change(lake, sql) == (removed, rows, counts)


def test_parameters(lake: Any) -> None:
    make(lake)
    assert change(lake, "UPDATE raw.t SET v = $new WHERE k = $key", new=-1, key=3)[0] == 1
    assert change(lake, "DELETE FROM raw.t WHERE d = $day", day=dt.date(2020, 1, 3))[0] == 1


def test_several_source_rows_for_one_target_row(lake: Any) -> None:
    make(lake)
    merge = "MERGE INTO raw.t USING (VALUES (1, 1, true), (1, 2, false)) s(k, v, keep) ON t.k = s.k"
    with lake.engine.session(lake.relations()) as session:
        for clause in ("WHEN MATCHED THEN UPDATE SET v = s.v", "WHEN MATCHED AND s.v > 0 THEN DELETE"):
            with pytest.raises(EngineError, match="several rows of its source") as caught:
                session.modify(f"{merge} {clause}", T)
            assert caught.value.hint is not None
        # SQL's rule counts only the rows that would change the target.
        for clause in ("WHEN MATCHED AND s.keep THEN UPDATE SET v = s.v", "WHEN MATCHED THEN DO NOTHING"):
            session.modify(f"{merge} {clause}", T)
        session.modify(f"{merge} WHEN MATCHED AND NOT s.keep THEN DO NOTHING WHEN MATCHED THEN DELETE", T)


def test_merge_refuses_a_table_whose_rows_it_cannot_tell_apart(lake: Any) -> None:
    lake.create("raw.t", pa.table({"RowId": [1, 1]}))
    with lake.engine.session(lake.relations()) as session, pytest.raises(EngineError, match="rowid"):
        session.modify("MERGE INTO raw.t USING (SELECT 1 AS k) s ON t.rowid = s.k WHEN MATCHED THEN DELETE", T)


@pytest.mark.parametrize(
    ("sql", "error", "what"),
    [
        ("UPDATE raw.s SET v = 1", EngineError, "not raw.t"),
        ("UPDATE t SET v = 1", EngineError, "not raw.t"),
        ("SELECT 1", EngineError, "SELECT"),
        ("INSERT INTO raw.t VALUES (1, 2, NULL)", EngineError, "INSERT"),
        ("DROP TABLE raw.t", AccessDeniedError, "DROP"),
        ("COPY raw.t TO '/tmp/x.csv'", AccessDeniedError, "COPY"),
        ("DELETE FROM raw.t; DELETE FROM raw.s", EngineError, "one SQL statement"),
        ("UPDATE raw.t SET nope = 1 WHERE k = 1", EngineError, "nope"),
        ("UPDATE raw.t SET v = 'abc' WHERE k = 1", EngineError, "abc"),
        ("DELETE FROM raw.t WHERE k = (SELECT content FROM read_text('/etc/passwd'))", AccessDeniedError, "passwd"),
        ("UPDATE raw.t SET v = (SELECT count(*) FROM '/etc/passwd.csv')", AccessDeniedError, "passwd"),
    ],
)
def test_what_is_refused(lake: Any, sql: str, error: type[EngineError], what: str) -> None:
    make(lake)
    with lake.engine.session(lake.relations()) as session, pytest.raises(error, match=what):
        session.modify(sql, T)


def test_binding_errors_name_their_place(lake: Any) -> None:
    make(lake)
    with lake.engine.session(lake.relations()) as session, pytest.raises(EngineError) as caught:
        session.modify("UPDATE raw.t\nSET v = nope + 1 WHERE k = 1", T)
    assert caught.value.where is not None
    assert (caught.value.where.line, caught.value.where.column) == (2, 9)


def test_only_the_files_concerned_are_opened(lake: Any) -> None:
    make(lake)
    for file in (lake.root / "lake" / "raw" / "t").rglob("*.parquet"):
        if 3 not in pq.read_table(file).column("k").to_pylist():
            file.unlink()
    with lake.engine.session(lake.relations()) as session:
        modification = session.modify("UPDATE raw.t SET v = 0 WHERE d = '2020-01-02' AND v > 30", T)
        assert sorted(modification.rows.read_all().column("v").to_pylist()) == [0, 30]


def test_uuid_and_nested_columns_survive_a_rewrite(lake: Any) -> None:
    value = UUID(int=7)
    rows = pa.table(
        {
            "k": [1, 2],
            "u": pa.array([value.bytes, None], pa.binary(16)).cast(pa.uuid()),
            "l": pa.array([[1], None], pa.list_(pa.int32())),
            "m": pa.array([[("a", {"x": 1})], []], pa.map_(pa.string(), pa.struct([("x", pa.int32())]))),
            "b": [b"\x00", None],
            "t": [dt.time(1), None],
            "tz": pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("us", tz="UTC")),
        }
    )
    lake.create("raw.t", rows)
    with lake.engine.session(lake.relations()) as session:
        modification = session.modify("DELETE FROM raw.t WHERE k = 2", T)
        lake.overwrite("raw.t", modification.removed, modification.rows)
    assert lake.rows("SELECT * FROM raw.t") == rows.slice(0, 1).to_pylist()


def test_many_rows_spill_instead_of_failing(lake: Any) -> None:
    """The file is larger than the engine's memory once it is decoded."""
    n = 3_000_000
    numbers = pa.array(range(n), pa.int64())
    lake.create(
        "raw.t",
        pa.table(
            {
                "k": numbers,
                "v": pc.binary_join_element_wise(numbers.cast(pa.string()), pa.scalar("x" * 150), "-"),
            }
        ),
    )
    with lake.engine.session(lake.relations()) as session:
        modification = session.modify("DELETE FROM raw.t WHERE k % 2 = 0", T)
        kept = sum(batch.num_rows for batch in modification.rows)
    assert kept == n // 2
    assert modification.counts.deleted == n // 2
