"""Queries over pinned snapshots: results, streaming, parameters, types, errors, interrupts."""

from __future__ import annotations

import datetime as dt
import threading
import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from lakecat.engines import Engine
from lakecat.errors import EngineError

ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name": pa.array(["a", "b", None]),
        "price": pa.array([Decimal("1.50"), None, Decimal("2.25")], pa.decimal128(9, 2)),
    }
)


def test_query_joins_pinned_tables(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    lake.create("raw.sold", pa.table({"item": [1, 1, 3], "n": [2, 3, 4]}))
    assert lake.rows(
        "SELECT i.id, sum(s.n * i.price) AS total FROM raw.items i JOIN raw.sold s ON s.item = i.id"
        " GROUP BY 1 ORDER BY 1"
    ) == [{"id": 1, "total": Decimal("7.50")}, {"id": 3, "total": Decimal("9.00")}]


def test_the_engine_is_an_engine(lake: Any) -> None:
    engine: Engine = lake.engine
    assert (engine.name, engine.dialect) == ("duckdb", "duckdb")


def test_an_empty_table_has_its_columns_and_types(lake: Any) -> None:
    lake.create("raw.items", ROWS.slice(0, 0))
    with lake.engine.session(lake.relations()) as session:
        result = session.query("SELECT * FROM raw.items").read_all()
    assert result.schema == ROWS.schema
    assert result.num_rows == 0


def test_names_fold_case_and_quotes(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    assert lake.rows('SELECT count(*) AS n FROM RAW."Items"') == [{"n": 3}]


def test_describe_equals_what_the_query_gives(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    sql = (
        "SELECT id, sum(id) OVER () AS total, uuid() AS u, 'a'::ENUM('a') AS e, [id::UBIGINT] AS l,"
        " {'x': id::TINYINT, 'y z': 1::UTINYINT} AS s, TIMESTAMP_S '2020-01-01' AS ts,"
        " '{}'::JSON AS j, [1]::INT[1] AS fixed,"
        " MAP {'k': 1::UINTEGER} AS m, TIMESTAMPTZ '2020-01-01' AS tz FROM raw.items"
    )
    with lake.engine.session(lake.relations()) as session:
        described = session.describe(sql)
        result = session.query(sql).read_all()
    assert described == result.schema
    kinds = dict(zip(described.names, described.types, strict=True))
    assert kinds["total"] == pa.decimal128(38, 0)
    assert kinds["u"] == pa.uuid()
    assert kinds["e"] == pa.string()
    assert kinds["l"].value_type == pa.decimal128(20, 0)
    assert [field.type for field in kinds["s"].fields] == [pa.int32(), pa.int32()]
    assert kinds["ts"] == pa.timestamp("us")
    assert kinds["j"] == pa.string()
    assert kinds["fixed"].value_type == pa.int32()
    assert kinds["m"].item_type == pa.int64()
    assert kinds["tz"] == pa.timestamp("us", tz="UTC")
    assert isinstance(result.column("u")[0].as_py(), UUID)


def test_describing_leaves_nothing_behind(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    with lake.engine.session(lake.relations()) as session:
        assert session.describe("SELECT id FROM raw.items").names == ["id"]
        with pytest.raises(EngineError) as caught:
            session.describe("SELECT id,\n nope FROM raw.items")
        assert (caught.value.where.line, caught.value.where.column) == (2, 2)
        with pytest.raises(EngineError, match="nothing_here"):
            session.describe("SELECT * FROM raw.nothing_here")
        assert session.describe("SELECT $a + 1 AS b", {"a": 1}).names == ["b"]
    with pytest.raises(EngineError, match="ended"):
        session.describe("SELECT 1 AS one")
    with lake.engine.session({}) as other, pytest.raises(EngineError, match="items"):
        other.describe("SELECT id FROM raw.items")


def test_a_uuid_keeps_its_value(lake: Any) -> None:
    value = UUID("00112233-4455-6677-8899-aabbccddeeff")
    lake.create("raw.t", pa.table({"u": pa.array([value.bytes, None], pa.binary(16)).cast(pa.uuid())}))
    assert lake.rows("SELECT u FROM raw.t ORDER BY u NULLS LAST") == [{"u": value}, {"u": None}]


@pytest.mark.parametrize(
    ("expression", "advice"),
    [
        ("INTERVAL 1 DAY", "VARCHAR"),
        ("'101'::BIT", "VARCHAR"),
        ("'2020-01-01'::TIMESTAMP_NS", "TIMESTAMP"),
        ("'01:00'::TIMETZ", "TIME"),
        ("[INTERVAL 1 DAY]", "VARCHAR"),
        ("{'a': '101'::BIT}", "VARCHAR"),
        ("union_value(a := 1)", "VARCHAR"),
    ],
)
def test_types_that_no_table_holds_are_refused_by_name(lake: Any, expression: str, advice: str) -> None:
    with lake.engine.session({}) as session:
        for run in (session.query, session.describe):
            with pytest.raises(EngineError, match="column 'odd one'") as caught:
                run(f'SELECT 1 AS fine, {expression} AS "odd one"')
            assert caught.value.hint is not None
            assert advice in caught.value.hint
        assert session.query(f"SELECT {expression} AS x", storable=False).schema.names == ["x"]


def test_a_sum_beyond_38_digits_is_an_error_and_not_a_number(lake: Any) -> None:
    with (
        lake.engine.session({}) as session,
        pytest.raises(EngineError, match="170141183460469231731687303715884105727"),
    ):
        session.query("SELECT 170141183460469231731687303715884105727::HUGEINT AS x").read_all()


def test_two_columns_of_one_name_are_refused(lake: Any) -> None:
    with lake.engine.session({}) as session:
        with pytest.raises(EngineError, match="two columns"):
            session.query("SELECT 1 AS a, 2 AS A")
        assert session.query("SELECT 1 AS a, 2 AS b").read_all().num_rows == 1


def test_parameters_are_bound_and_never_text(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    evil = "a' OR 1=1 --"
    assert lake.rows("SELECT id FROM raw.items WHERE name = $name", name=evil) == []
    assert lake.rows("SELECT id FROM raw.items WHERE name = $name", name="a") == [{"id": 1}]
    assert lake.rows("SELECT $d AS d", d=dt.date(2020, 1, 2)) == [{"d": dt.date(2020, 1, 2)}]
    with pytest.raises(EngineError, match="name"):
        lake.rows("SELECT id FROM raw.items WHERE name = $name")


def test_results_stream_in_bounded_memory(lake: Any) -> None:
    rows = pa.table({"id": pa.array(range(200_000), pa.int64())})
    lake.create("raw.t", rows)
    with lake.engine.session(lake.relations()) as session:
        reader = session.query("SELECT a.id, repeat('x', 100) AS filler FROM raw.t a, range(100)")
        first = reader.read_next_batch()
        assert 0 < first.num_rows <= 200_000
        # 20 million rows of 100 bytes would be 2 GB: the instance may hold 400 MB.
        seen = first.num_rows + sum(batch.num_rows for batch in reader)
    assert seen == 20_000_000


def test_readers_of_one_session_are_independent(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    with lake.engine.session(lake.relations()) as session:
        one = session.query("SELECT id FROM raw.items ORDER BY id")
        two = session.query("SELECT name FROM raw.items ORDER BY id")
        assert one.read_all().column("id").to_pylist() == [1, 2, 3]
        assert two.read_all().column("name").to_pylist() == ["a", "b", None]


def test_sessions_see_their_own_snapshot(lake: Any) -> None:
    lake.create("raw.items", ROWS)
    before = lake.relations()
    lake.append("raw.items", ROWS)
    with lake.engine.session(before) as session:
        assert session.query("SELECT count(*) AS n FROM raw.items").read_all().to_pylist() == [{"n": 3}]
    assert lake.rows("SELECT count(*) AS n FROM raw.items") == [{"n": 6}]


@pytest.mark.parametrize(
    ("sql", "line", "column", "what"),
    [
        ("SELECT id,\n  nope FROM raw.items", 2, 3, "nope"),
        ("SELECT id FROM raw.items\nWHERE", 2, None, "syntax error"),
        ("SELECT *\nFROM raw.absent", 2, 6, "absent"),
        ("\n\n\n\n\n\n\n\n\nSELECT id,\n\n nope(id) FROM raw.items", 12, 2, "nope"),
        ("SELECT id\nFROM raw.items WHERE CAST(coalesce(name, 'c') AS INTEGER) = 1", 2, 22, "convert"),
    ],
)
def test_errors_name_their_place(lake: Any, sql: str, line: int, column: int | None, what: str) -> None:
    lake.create("raw.items", ROWS)
    with pytest.raises(EngineError, match=what) as caught:
        lake.rows(sql)
    where = caught.value.where
    assert where is not None
    assert where.line == line
    if column is not None:
        assert where.column == column
    assert "Traceback" not in str(caught.value)


def test_an_error_late_in_the_stream_is_lakecats(lake: Any) -> None:
    with lake.engine.session({}) as session:
        reader = session.query(
            "SELECT CAST(CASE WHEN range = 3000000 THEN 'x' ELSE range::VARCHAR END AS INTEGER) AS n"
            " FROM range(4000000)"
        )
        with pytest.raises(EngineError, match="convert"):
            for _ in reader:
                pass


def test_out_of_memory_says_what_to_do(lake: Any) -> None:
    with lake.engine.session({}) as session, pytest.raises(EngineError, match="ran out of memory") as caught:
        session.query("SELECT list(range) AS l FROM range(400000000)").read_all()
    assert caught.value.hint is not None
    assert "memory_limit" in caught.value.hint


def test_a_sort_larger_than_memory_spills_and_leaves_nothing(lake: Any) -> None:
    with lake.engine.session({}) as session:
        reader = session.query(
            "SELECT range AS r, md5(range::VARCHAR) || repeat('x', 100) AS m FROM range(4000000) ORDER BY m"
        )
        assert sum(batch.num_rows for batch in reader) == 4_000_000
    assert list((lake.root / "spill").iterdir()) == []


def test_spill_space_has_a_limit(lake: Any) -> None:
    lake.engine = type(lake.engine)(lake.store, lake.settings.model_copy(update={"max_temp_size": "10MB"}))
    with lake.engine.session({}) as session, pytest.raises(EngineError, match="space for spilled data") as caught:
        session.query(
            "SELECT range AS r, md5(range::VARCHAR) || repeat('x', 100) AS m FROM range(8000000) ORDER BY m"
        ).read_all()
    assert caught.value.hint is not None
    assert "max_temp_size" in caught.value.hint


def test_interrupt_stops_a_query_from_another_thread(lake: Any) -> None:
    with lake.engine.session({}) as session:
        timer = threading.Timer(0.3, session.interrupt)
        timer.start()
        started = time.monotonic()
        with pytest.raises(EngineError, match="interrupted"):
            session.query("SELECT count(*) AS n FROM range(1000000000) a, range(1000000) b WHERE a.range + b.range = 7")
        assert time.monotonic() - started < 20
        timer.join()
        assert session.query("SELECT 1 AS one").read_all().num_rows == 1


def test_an_interruption_while_files_are_planned_counts(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.create("raw.items", ROWS)
    with lake.engine.session(lake.relations()) as session:
        inputs = session._inputs
        monkeypatch.setattr(session, "_inputs", lambda *args: (session.interrupt(), inputs(*args))[1])
        with pytest.raises(EngineError, match="interrupted"):
            session.query("SELECT * FROM raw.items")
        monkeypatch.undo()
        assert session.query("SELECT * FROM raw.items").read_all().num_rows == 3


def test_a_closed_session_answers_nothing(lake: Any) -> None:
    with lake.engine.session({}) as session:
        reader = session.query("SELECT range AS n FROM range(10000000)")
    with pytest.raises(EngineError, match="ended"):
        session.query("SELECT 1 AS one")
    with pytest.raises(EngineError):
        reader.read_all()


def test_temp_directory_that_cannot_be_made(lake: Any) -> None:
    (lake.root / "file").write_text("")
    settings = lake.settings.model_copy(update={"temp_directory": lake.root / "file" / "below"})
    with (
        pytest.raises(EngineError, match="spilled data") as caught,
        type(lake.engine)(lake.store, settings).session({}) as session,
    ):
        session.query("SELECT 1 AS one")
    assert caught.value.hint is not None
