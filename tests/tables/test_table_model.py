"""Any sequence of commits, against rows kept in plain dictionaries; every version read by lakecat and by PyIceberg."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThanOrEqual, IsNull, LessThan, Or
from table_lab import TableLab

from lakecat.store import LakeStore
from lakecat.tables import (
    ALL,
    PARTITIONS,
    AddColumn,
    DropColumn,
    MoveColumn,
    Operation,
    RenameColumn,
    Scan,
    WidenColumn,
    alter,
    plan,
    read,
)

Row = dict[str, Any]
PARTS = ["a", "b", "c", None]
SPECS = [(), ("part",), ("bucket(3, id)",), ("truncate(4, id)", "part")]


@dataclass
class Model:
    """Rows by id; a column is a token that outlives its name, so that a name that comes back is another column."""

    names: list[tuple[int, str]] = field(default_factory=lambda: [(0, "id"), (1, "part"), (2, "n")])
    types: dict[int, pa.DataType] = field(default_factory=lambda: {0: pa.int64(), 1: pa.string(), 2: pa.int32()})
    rows: dict[int, dict[int, Any]] = field(default_factory=dict)
    next_id: int = 0
    next_token: int = 3

    def new_rows(self, parts: Iterable[str | None], seed: int) -> pa.Table:
        added = []
        for part in parts:
            values = {0: self.next_id, 1: part}
            for token, _ in self.names[:]:
                if token > 1:
                    values[token] = (
                        None if (seed + self.next_id + token) % 5 == 0 else (self.next_id * 7 + token) % 1000
                    )
            self.rows[self.next_id] = values
            added.append(values)
            self.next_id += 1
        return self.arrow(added)

    def arrow(self, rows: list[dict[int, Any]]) -> pa.Table:
        schema = pa.schema([(name, self.types[token]) for token, name in self.names])
        return pa.Table.from_pylist([self.named(row) for row in rows], schema=schema)

    def named(self, row: dict[int, Any]) -> Row:
        return {name: row.get(token) for token, name in self.names}

    def expected(self) -> list[Row]:
        return [self.named(self.rows[key]) for key in sorted(self.rows)]


parts = st.lists(st.sampled_from(PARTS), min_size=1, max_size=6)
seeds = st.integers(0, 1000)
steps = st.one_of(
    st.tuples(st.just("append"), parts, seeds),
    st.tuples(st.just("append"), parts, seeds),
    st.tuples(st.just("replace"), parts, seeds),
    st.tuples(st.just("partitions"), parts, seeds),
    st.tuples(st.just("overwrite"), st.integers(0, 2**16), seeds),
    st.tuples(st.just("delete"), st.integers(0, 2**16), seeds),
    st.tuples(st.just("add"), st.sampled_from(["x", "y", "z"]), seeds),
    st.tuples(st.just("drop"), st.integers(0, 9), seeds),
    st.tuples(st.just("rename"), st.integers(0, 9), seeds),
    st.tuples(st.just("widen"), st.integers(0, 9), seeds),
    st.tuples(st.just("move"), st.integers(0, 9), seeds),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(spec=st.sampled_from(SPECS), sequence=st.lists(steps, min_size=1, max_size=14), data=st.data())
def test_any_sequence_of_commits(
    spec: tuple[str, ...], sequence: list[tuple[str, Any, int]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lab, model = TableLab(LakeStore.open(folder)), Model()
        lab.create(model.new_rows(["a", "b", None], 0), *spec)
        history = {lab.history[-1].snapshot_id: model.expected()}
        for kind, argument, seed in sequence:
            apply(lab, model, kind, argument, seed)
            history[lab.history[-1].snapshot_id] = model.expected()
            assert lab.history[-1].totals.rows == len(model.rows)
            assert by_id(lab.rows()) == model.expected()
        static = lab.static()
        assert by_id(static.scan().to_arrow().to_pylist()) == model.expected()
        for snapshot_id, expected in history.items():
            assert by_id(static.scan(snapshot_id=snapshot_id).to_arrow().to_pylist()) == expected
            assert by_id(lab.rows(snapshot_id)) == expected
        check_predicates(lab, model, data)


def apply(lab: TableLab, model: Model, kind: str, argument: Any, seed: int) -> None:
    if kind in ("append", "replace", "partitions"):
        write(lab, model, kind, argument, seed)
    elif kind in ("overwrite", "delete"):
        rewrite(lab, model, kind, argument)
    else:
        evolve(lab, model, kind, argument)


def write(lab: TableLab, model: Model, kind: str, new_parts: list[str | None], seed: int) -> None:
    before = dict(model.rows)
    added = lab.write(model.new_rows(new_parts, seed))
    if kind == "append":
        lab.commit(Operation.APPEND, added=added)
        return
    if kind == "replace":
        lab.commit(Operation.REPLACE, added=added, removed=ALL)
        gone = set(before)
    else:
        lab.commit(Operation.OVERWRITE, added=added, removed=PARTITIONS)
        keys = {key_of(lab, row) for key, row in model.rows.items() if key not in before}
        gone = {key for key, row in before.items() if key_of(lab, row) in keys}
    for key in gone:
        del model.rows[key]


def key_of(lab: TableLab, row: dict[int, Any]) -> tuple[Any, ...]:
    """The partition of a row, by the transforms' definition in the specification."""
    values = {1: row[0], 2: row[1]}
    schema = lab.current.schema
    return tuple(
        column.transform.transform(schema.find_type(column.source_id))(values[column.source_id])
        for column in lab.current.spec.fields
    )


def rewrite(lab: TableLab, model: Model, kind: str, mask: int) -> None:
    files = plan(lab.store, Scan(lab.current))
    chosen = [file for number, file in enumerate(files) if mask >> (number % 16) & 1]
    removed = tuple(file.data_file for file in chosen)
    here = [row["id"] for row in read(lab.store, Scan(lab.current, None, tuple(chosen))).read_all().to_pylist()]
    base = lab.current.current_snapshot_id
    if kind == "delete":
        lab.commit(Operation.DELETE, removed=removed, base_snapshot_id=base)
        for key in here:
            del model.rows[key]
        return
    for key in here[::2]:  # half of the rows go, the others get a new value
        del model.rows[key]
    kept = [key for key in here if key in model.rows]
    for key in kept:
        model.rows[key] |= {token: 1 for token, _ in model.names if token > 1}
    added = lab.write(model.arrow([model.rows[key] for key in kept])) if kept else ()
    lab.commit(Operation.OVERWRITE, added=added, removed=removed, base_snapshot_id=base)


def evolve(lab: TableLab, model: Model, kind: str, argument: Any) -> None:
    state = lab.current
    free = [(token, name) for token, name in model.names if token > 1]
    change: AddColumn | DropColumn | RenameColumn | MoveColumn | WidenColumn
    if kind == "add":
        if argument in {name for _, name in model.names}:
            return
        change = AddColumn((argument,), pa.int32())
        model.names.append((model.next_token, argument))
        model.types[model.next_token] = pa.int32()
        model.next_token += 1
    elif not free:
        return
    else:
        token, name = free[argument % len(free)]
        place = model.names.index((token, name))
        if kind == "drop":
            change = DropColumn((name,))
            model.names.pop(place)
        elif kind == "rename":
            new = f"renamed_{len(lab.history)}"
            change = RenameColumn((name,), new)
            model.names[place] = (token, new)
        elif kind == "widen":
            change = WidenColumn((name,), pa.int64())
            model.types[token] = pa.int64()
        else:
            change = MoveColumn((name,))
            model.names.insert(0, model.names.pop(place))
    schema = alter(state.schema, [change], last_column_id=state.last_column_id)
    if schema is not None:
        lab.commit(Operation.APPEND, schema=schema)


def check_predicates(lab: TableLab, model: Model, data: st.DataObject) -> None:
    bound = data.draw(st.integers(0, max(1, model.next_id)), label="bound")
    cases: list[tuple[BooleanExpression, Any]] = [
        (EqualTo("part", "a"), lambda row: row[1] == "a"),
        (IsNull("part"), lambda row: row[1] is None),
        (GreaterThanOrEqual("id", bound), lambda row: row[0] >= bound),
        (And(LessThan("id", bound), EqualTo("part", "b")), lambda row: row[0] < bound and row[1] == "b"),
        (Or(EqualTo("id", bound), IsNull("part")), lambda row: row[0] == bound or row[1] is None),
    ]
    for predicate, holds in cases:
        expected = [model.named(row) for _, row in sorted(model.rows.items()) if holds(row)]
        found = read(lab.store, Scan(lab.current), predicate=predicate).read_all().to_pylist()
        assert by_id(found) == expected


def by_id(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["id"])
