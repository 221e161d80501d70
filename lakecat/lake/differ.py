"""Differences between two versions: their schemas by field id, their rows by the engine."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from lakecat.catalog import ColumnInfo
from lakecat.lake.answers import ColumnChangeKind, ColumnDifference


def compare_columns(before: Sequence[ColumnInfo], after: Sequence[ColumnInfo]) -> tuple[ColumnDifference, ...]:
    """How two schemas of one table differ, in the order of the newer one, dropped columns last."""
    old = {column.field_id: column for column in before}
    new = {column.field_id for column in after}
    found: list[ColumnDifference] = []
    for column in after:
        if (was := old.get(column.field_id)) is None:
            found.append(ColumnDifference(ColumnChangeKind.ADDED, column.field_id, None, _shown(column)))
        else:
            found += _changes(was, column)
    return tuple(found) + tuple(
        ColumnDifference(ColumnChangeKind.DROPPED, column.field_id, _shown(column), None)
        for column in before
        if column.field_id not in new
    )


def _shown(column: ColumnInfo) -> str:
    return f"{column.name} {column.type}"


def _changes(was: ColumnInfo, now: ColumnInfo) -> list[ColumnDifference]:
    found = []
    if was.name != now.name:
        found.append(ColumnDifference(ColumnChangeKind.RENAMED, now.field_id, was.name, now.name))
    if was.type != now.type:
        found.append(ColumnDifference(ColumnChangeKind.TYPE, now.field_id, _shown(was), _shown(now)))
    if was.required != now.required:
        words = [f"{now.name} {'required' if column.required else 'optional'}" for column in (was, now)]
        found.append(ColumnDifference(ColumnChangeKind.REQUIRED, now.field_id, *words))
    return found


def shared_columns(
    before: Sequence[ColumnInfo], after: Sequence[ColumnInfo]
) -> tuple[tuple[ColumnInfo, ColumnInfo], ...]:
    """The columns that both schemas have, as pairs, in the order of the newer one."""
    old = {column.field_id: column for column in before}
    return tuple((old[column.field_id], column) for column in after if column.field_id in old)


def except_all(
    left: exp.Table, right: exp.Table, left_columns: Sequence[str], right_columns: Sequence[str]
) -> exp.Query:
    """SELECT of the rows of ``left`` that ``right`` has not, with repetition, over columns paired by place."""
    first = exp.select(*(_column(name) for name in left_columns)).from_(left)
    second = exp.select(*(_column(name) for name in right_columns)).from_(right)
    return first.except_(second, distinct=False)


def _column(name: str) -> exp.Column:
    return exp.Column(this=exp.to_identifier(name, quoted=True))
