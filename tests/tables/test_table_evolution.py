"""Schema changes keep ids; whatever reads the old files by id reads the right values."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from table_lab import TableLab

from lakecat.errors import SchemaError, UnsupportedTypeError
from lakecat.tables import (
    AddColumn,
    ColumnChange,
    DropColumn,
    MoveColumn,
    Operation,
    RenameColumn,
    WidenColumn,
    alter,
    arrow_to_iceberg,
    evolve,
)

NESTED = pa.schema(
    [
        ("id", pa.int32()),
        ("who", pa.struct([("first", pa.string()), ("age", pa.int32())])),
        ("tags", pa.list_(pa.struct([("k", pa.string()), ("v", pa.float32())]))),
        ("m", pa.map_(pa.string(), pa.struct([("n", pa.int32())]))),
    ]
)


def described(schema: Schema) -> dict[str, tuple[int, str]]:
    return {name: (schema.find_field(name).field_id, str(schema.find_type(name))) for name in schema.column_names}


class TestIncomingData:
    def test_nothing_new_is_no_change(self) -> None:
        current = arrow_to_iceberg(NESTED)
        assert evolve(current, NESTED, last_column_id=13) is None
        assert evolve(current, pa.schema([NESTED.field("m"), NESTED.field("id")]), last_column_id=13) is None

    def test_new_columns_come_last_with_new_ids(self) -> None:
        current = arrow_to_iceberg(pa.schema([("a", pa.int64())]))
        change = evolve(current, pa.schema([("z", pa.string()), ("a", pa.int64())]), last_column_id=7)
        assert change is not None
        assert described(change.schema) == {"a": (1, "long"), "z": (8, "string")}
        assert (change.last_column_id, change.base_schema_id, change.summary) == (8, 0, ("add z string",))

    def test_new_fields_deep_inside(self) -> None:
        current = arrow_to_iceberg(NESTED)
        last = current.highest_field_id
        incoming = pa.schema(
            [
                ("who", pa.struct([("last", pa.string())])),
                ("tags", pa.list_(pa.struct([("extra", pa.list_(pa.int8()))]))),
                ("m", pa.map_(pa.string(), pa.struct([("n", pa.int64())]))),
            ]
        )
        change = evolve(current, incoming, last_column_id=last)
        assert change is not None
        after = described(change.schema)
        assert after["who.last"] == (last + 1, "string")
        assert after["tags.element.extra"][0] == last + 2
        assert after["tags.element.extra.element"] == (last + 3, "int")
        assert after["m.value.n"] == (described(current)["m.value.n"][0], "long")
        assert after["who.age"] == described(current)["who.age"]

    @pytest.mark.parametrize(
        ("table", "data", "after"),
        [
            (pa.int32(), pa.int64(), "long"),
            (pa.float32(), pa.float64(), "double"),
            (pa.decimal128(5, 2), pa.decimal128(9, 2), "decimal(9, 2)"),
        ],
        ids=str,
    )
    def test_widening(self, table: pa.DataType, data: pa.DataType, after: str) -> None:
        change = evolve(arrow_to_iceberg(pa.schema([("x", table)])), pa.schema([("x", data)]), last_column_id=1)
        assert change is not None
        assert described(change.schema) == {"x": (1, after)}

    @pytest.mark.parametrize(
        ("table", "data"),
        [
            (pa.int64(), pa.int8()),
            (pa.int64(), pa.null()),
            (pa.float64(), pa.float32()),
            (pa.float64(), pa.int32()),
            (pa.decimal128(9, 2), pa.decimal128(5, 1)),
            (pa.decimal128(20, 0), pa.int64()),
            (pa.decimal128(12, 2), pa.int32()),
            (pa.string(), pa.dictionary(pa.int32(), pa.large_string())),
            (pa.list_(pa.int64()), pa.list_(pa.null())),
        ],
        ids=str,
    )
    def test_what_fits_is_no_change(self, table: pa.DataType, data: pa.DataType) -> None:
        assert evolve(arrow_to_iceberg(pa.schema([("x", table)])), pa.schema([("x", data)]), last_column_id=9) is None

    @pytest.mark.parametrize(
        ("table", "data"),
        [
            (pa.int64(), pa.string()),
            (pa.int64(), pa.float64()),
            (pa.float64(), pa.int64()),
            (pa.string(), pa.int64()),
            (pa.date32(), pa.timestamp("us")),
            (pa.timestamp("us"), pa.timestamp("us", "UTC")),
            (pa.decimal128(9, 2), pa.decimal128(9, 3)),
            (pa.decimal128(18, 0), pa.int64()),
            (pa.struct([("a", pa.int8())]), pa.int8()),
            (pa.list_(pa.int8()), pa.map_(pa.string(), pa.int8())),
            (pa.list_(pa.int64()), pa.list_(pa.string())),
        ],
        ids=str,
    )
    def test_what_does_not_fit_names_the_column(self, table: pa.DataType, data: pa.DataType) -> None:
        current = arrow_to_iceberg(pa.schema([("the column", table)]))
        with pytest.raises(SchemaError, match="'the column"):
            evolve(current, pa.schema([("the column", data)]), last_column_id=9)

    def test_other_case_is_another_mistake(self) -> None:
        current = arrow_to_iceberg(pa.schema([("Id", pa.int8())]))
        with pytest.raises(SchemaError, match="only in upper and lower case"):
            evolve(current, pa.schema([("id", pa.int8())]), last_column_id=1)

    def test_a_new_column_of_nothing_but_nulls_has_no_type(self) -> None:
        with pytest.raises(UnsupportedTypeError, match="'n'"):
            evolve(arrow_to_iceberg(pa.schema([("a", pa.int8())])), pa.schema([("n", pa.null())]), last_column_id=1)


class TestExplicitChanges:
    def test_ids_survive_everything_but_a_drop(self) -> None:
        current = arrow_to_iceberg(NESTED)
        last = current.highest_field_id
        before = described(current)
        change = alter(
            current,
            [
                RenameColumn(("who", "first"), "given"),
                RenameColumn(("who",), "person"),
                WidenColumn(("tags", "element", "v"), pa.float64()),
                WidenColumn(("m", "value", "n"), pa.int64()),
                AddColumn(("person", "born"), pa.date32(), doc="day of birth", after="given"),
                MoveColumn(("m",)),
                MoveColumn(("id",), after="tags"),
                DropColumn(("person", "age")),
            ],
            last_column_id=last,
        )
        assert change is not None
        after = described(change.schema)
        assert [column.name for column in change.schema.fields] == ["m", "person", "tags", "id"]
        assert after["person.given"] == before["who.first"]
        assert after["tags.element.v"] == (before["tags.element.v"][0], "double")
        assert after["m.value.n"] == (before["m.value.n"][0], "long")
        assert after["person.born"] == (last + 1, "date")
        assert change.schema.find_field("person.born").doc == "day of birth"
        assert "person.age" not in after
        assert len(change.summary) == 8

    def test_a_name_that_comes_back_is_a_new_column(self) -> None:
        current = arrow_to_iceberg(pa.schema([("a", pa.int64()), ("b", pa.int64())]))
        change = alter(current, [DropColumn(("a",)), AddColumn(("a",), pa.int64())], last_column_id=2)
        assert change is not None
        assert described(change.schema) == {"b": (2, "long"), "a": (3, "long")}

    @pytest.mark.parametrize(
        "change",
        [
            DropColumn(("nothing",)),
            DropColumn(("who", "nothing")),
            DropColumn(("id", "x")),
            DropColumn(("tags", "element")),
            DropColumn(("m", "key")),
            RenameColumn(("id",), "who"),
            RenameColumn(("id",), "WHO"),
            RenameColumn(("id",), ""),
            RenameColumn(("tags", "element"), "x"),
            AddColumn(("id",), pa.int8()),
            AddColumn(("who", "AGE"), pa.int8()),
            AddColumn(("tags", "x"), pa.int8()),
            AddColumn(("x",), pa.int8(), after="nothing"),
            WidenColumn(("id",), pa.int16()),
            WidenColumn(("id",), pa.string()),
            WidenColumn(("who", "first"), pa.binary()),
            MoveColumn(("id",), after="nothing"),
            MoveColumn(("nothing",)),
        ],
        ids=str,
    )
    def test_what_cannot_be(self, change: ColumnChange) -> None:
        current = arrow_to_iceberg(NESTED)
        if change == WidenColumn(("id",), pa.int16()):
            assert alter(current, [change], last_column_id=20) is None  # 16 bits are an Iceberg int already
            return
        with pytest.raises(SchemaError):
            alter(current, [change], last_column_id=20)

    def test_the_last_column_stays(self) -> None:
        with pytest.raises(SchemaError, match="at least one"):
            alter(arrow_to_iceberg(pa.schema([("a", pa.int8())])), [DropColumn(("a",))], last_column_id=1)


class TestOldFiles:
    """Files written before a change, read after it, by lakecat and by PyIceberg."""

    def test_nested_and_flat_changes(self, lab: TableLab) -> None:
        old = {
            "id": 1,
            "who": {"first": "Ada", "age": 36},
            "tags": [{"k": "x", "v": 0.5}],
            "m": [("a", {"n": 5})],
        }
        lab.create(pa.Table.from_pylist([old], schema=NESTED))
        change = alter(
            lab.current.schema,
            [
                RenameColumn(("who", "first"), "given"),
                AddColumn(("who", "born"), pa.date32()),
                DropColumn(("who", "age")),
                AddColumn(("who", "age"), pa.int32()),
                WidenColumn(("tags", "element", "v"), pa.float64()),
                WidenColumn(("id",), pa.int64()),
                MoveColumn(("id",), after="m"),
            ],
            last_column_id=lab.current.last_column_id,
        )
        lab.commit(Operation.APPEND, schema=change)
        expected = {
            "who": {"given": "Ada", "born": None, "age": None},
            "tags": [{"k": "x", "v": 0.5}],
            "m": [("a", {"n": 5})],
            "id": 1,
        }
        assert lab.rows() == lab.static().scan().to_arrow().to_pylist() == [expected]
        assert lab.rows(lab.history[0].snapshot_id) == [old]
        assert lab.current.last_column_id == change.last_column_id

    def test_widened_values(self, lab: TableLab) -> None:
        narrow = pa.schema([("i", pa.int32()), ("f", pa.float32()), ("d", pa.decimal128(4, 2))])
        wide = pa.schema([("i", pa.int64()), ("f", pa.float64()), ("d", pa.decimal128(20, 2))])
        lab.create(pa.Table.from_pylist([{"i": 7, "f": 0.5, "d": Decimal("12.34")}], schema=narrow))
        change = evolve(lab.current.schema, wide, last_column_id=lab.current.last_column_id)
        rows = [{"i": 2**40, "f": 1e300, "d": Decimal("123456789012345678.90")}]
        lab.append(pa.Table.from_pylist(rows, schema=wide), change)
        expected = [{"i": 7, "f": 0.5, "d": Decimal("12.34")}, *rows]
        for found in (lab.rows(), lab.static().scan().to_arrow().to_pylist()):
            assert sorted(found, key=lambda row: row["i"]) == expected

    def test_ids_are_never_used_again_even_after_many_drops(self, lab: TableLab) -> None:
        lab.create(pa.table({"k": [1], "x": ["old"]}))
        seen = {2}
        for _ in range(3):
            state = lab.current
            gone = alter(state.schema, [DropColumn(("x",))], last_column_id=state.last_column_id)
            lab.commit(Operation.APPEND, schema=gone)
            again = evolve(
                lab.current.schema, pa.schema([("x", pa.string())]), last_column_id=lab.current.last_column_id
            )
            lab.append(pa.table({"k": [2], "x": ["new"]}), again)
            new_id = lab.current.schema.find_field("x").field_id
            assert new_id not in seen
            seen.add(new_id)
        first = [row for row in lab.static().scan().to_arrow().to_pylist() if row["k"] == 1]
        assert first == [{"k": 1, "x": None}]
        assert sorted(str(row["x"]) for row in lab.rows()) == ["None", "None", "None", "new"]

    def test_a_schema_that_was_there_before_keeps_its_id(self, lab: TableLab) -> None:
        lab.create(pa.table({"a": [1], "b": [2]}))
        for name in ("c", "b"):
            state = lab.current
            change = alter(state.schema, [RenameColumn((state.schema.fields[1].name,), name)], last_column_id=2)
            lab.commit(Operation.APPEND, schema=change)
        assert [schema["schema-id"] for schema in lab.current.raw["schemas"]] == [0, 1]
        assert lab.current.schema.schema_id == 0

    def test_times_survive(self, lab: TableLab) -> None:
        at = dt.datetime(1583, 1, 1, 0, 0, 0, 1, tzinfo=dt.UTC)
        lab.create(pa.table({"t": pa.array([at], pa.timestamp("us", "America/New_York"))}))
        assert lab.rows() == [{"t": at}]
