"""What people say of datasets and columns: description, owners, labels, how fresh it should be. Every change is kept.

A column's annotations belong to its field id: they stay with it when it is renamed, and end with it when it is dropped;
what was said of it before stays in the history. Tags, which name versions, are in ``tagging``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import queries, registry, search_index
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, Row, now_ms
from lakecat.catalog.leases import moment
from lakecat.catalog.reading import dataset_id, dataset_type
from lakecat.catalog.values import ColumnInfo
from lakecat.errors import NotFoundError, UsageError
from lakecat.types import DatasetName, VersionRef

DESCRIPTION_CHARACTERS: Final = search_index.TEXT_CHARACTERS
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9_./-]{0,127}")
_OWNER: Final = re.compile(r"[^\s,]{1,255}")
_MILLI: Final = timedelta(milliseconds=1)

Aspect: TypeAlias = Literal["description", "fresh_within", "label", "owner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What is said of a dataset or column. ``fresh_within``: how old its newest version may be; of datasets only."""

    description: str | None = None
    labels: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    fresh_within: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationEdit:
    """How to change an annotation; what is not named stays.

    An empty ``description`` and a ``fresh_within`` of nothing (``timedelta(0)``) take away what there is.
    """

    description: str | None = None
    labels: tuple[str, ...] = ()
    unlabel: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    disown: tuple[str, ...] = ()
    fresh_within: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationChange:
    """One change: who changed what, when. ``column`` is the name that the column had then.

    A label or owner that was added has no ``before``, one that was taken away no ``after``; ``fresh_within`` is in
    seconds.
    """

    dataset: str
    column: str | None
    aspect: Aspect
    before: str | None
    after: str | None
    changed_at: datetime
    changed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetAnnotations:
    """A dataset's own annotation, and by field id those of its columns, dropped ones too."""

    dataset: Annotation
    columns: Mapping[int, Annotation]


def annotate(
    database: Database, dataset: DatasetName, column: str | None, edit: AnnotationEdit, *, by: str
) -> Annotation:
    """Change what is said of a dataset, or of a column that it has now; what is said then.

    Raises NotFoundError, UsageError (a text that cannot be meant), CatalogError.
    """
    wanted = _checked(edit, column)

    def work(connection: sa.Connection) -> Annotation:
        lock_pointer(connection, dataset)
        version = queries.resolve(connection, VersionRef(dataset))
        columns = queries.columns(connection, version.schema_fingerprint)
        field = None if column is None else _field(dataset, columns, column)
        owner = connection.execute(sa.select(dataset_id(str(dataset)))).scalar_one()
        target = _Target(owner, 0 if field is None else field.field_id, None if field is None else field.name)
        changes = _changes(_read(connection, target), wanted)
        if changes:
            _apply(connection, target, changes, by)
            search_index.keep_dataset(connection, owner, str(dataset), columns)
        return _read(connection, target)

    return database.write(work)


def lock_pointer(connection: sa.Connection, dataset: DatasetName) -> None:
    """Keep commits to a dataset, and whoever annotates or tags it, away until the transaction ends."""
    table = s.iceberg_tables
    connection.execute(
        sa.select(table.c.metadata_location)
        .where(
            table.c.catalog_name == s.ICEBERG_CATALOG,
            table.c.table_namespace == dataset.namespace,
            table.c.table_name == dataset.name,
        )
        .with_for_update()
    ).all()


def of_dataset(connection: sa.Connection, dataset: DatasetName) -> DatasetAnnotations:
    """What is said of a dataset and its columns; nothing is said of one that is not there."""
    found = _read_all(connection, dataset)
    columns = {field: note for (_, field), note in found.items() if field}
    own = next((note for (_, field), note in found.items() if not field), Annotation())
    return DatasetAnnotations(dataset=own, columns=columns)


def of_datasets(connection: sa.Connection) -> dict[str, Annotation]:
    """The annotation of every dataset that has one, by its name."""
    return {name: note for (name, field), note in _read_all(connection, None).items() if not field}


def labels_of_columns(connection: sa.Connection) -> dict[str, frozenset[str]]:
    """The labels of all the columns that a dataset has now, by its name."""
    table, newest = s.mark, s.version.alias("newest")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == table.c.dataset_id).scalar_subquery()
    rows = connection.execute(
        sa.select(s.context.c.name, table.c.value)
        .select_from(table)
        .join(s.context, s.context.c.id == table.c.dataset_id)
        .join(s.version, sa.and_(s.version.c.dataset_id == table.c.dataset_id, s.version.c.version == top))
        .join(
            s.schema_column,
            sa.and_(
                s.schema_column.c.fingerprint == s.version.c.fingerprint,
                s.schema_column.c.field_id == table.c.field_id,
            ),
        )
        .where(table.c.kind == "label", table.c.field_id != 0)
    )
    found: dict[str, set[str]] = {}
    for name, label in rows:
        found.setdefault(name, set()).add(label)
    return {name: frozenset(labels) for name, labels in found.items()}


def columns_of_datasets(connection: sa.Connection) -> dict[str, frozenset[str]]:
    """The names of every dataset's columns now, by its name."""
    newest = s.version.alias("newest")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == s.context.c.id).scalar_subquery()
    rows = connection.execute(
        sa.select(s.context.c.name, s.schema_column.c.name)
        .select_from(s.context)
        .join(s.version, sa.and_(s.version.c.dataset_id == s.context.c.id, s.version.c.version == top))
        .join(s.schema_column, s.schema_column.c.fingerprint == s.version.c.fingerprint)
        .where(s.context.c.type_id == dataset_type())
    )
    found: dict[str, set[str]] = {}
    for name, column in rows:
        found.setdefault(name, set()).add(column)
    return {name: frozenset(columns) for name, columns in found.items()}


def changes(
    connection: sa.Connection, dataset: DatasetName, field_id: int | None = None, limit: int | None = None
) -> tuple[AnnotationChange, ...]:
    """Every change of what is said of a dataset (of one column, with ``field_id``; 0: of itself), newest first."""
    table = s.annotation_change
    query = (
        sa.select(table).where(table.c.dataset_id == dataset_id(str(dataset))).order_by(table.c.id.desc()).limit(limit)
    )
    if field_id is not None:
        query = query.where(table.c.field_id == field_id)
    return tuple(
        AnnotationChange(
            dataset=str(dataset),
            column=row.column_name,
            aspect=row.aspect,
            before=row.old_value,
            after=row.new_value,
            changed_at=moment(row.changed_ms),
            changed_by=row.changed_by,
        )
        for row in connection.execute(query)
    )


@dataclass(frozen=True, slots=True)
class _Target:
    dataset_id: int
    field_id: int
    column: str | None

    def where(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(table.c.dataset_id == self.dataset_id, table.c.field_id == self.field_id)


@dataclass(frozen=True, slots=True)
class _Change:
    aspect: Aspect
    before: str | None
    after: str | None


def _checked(edit: AnnotationEdit, column: str | None) -> AnnotationEdit:
    """The edit with its texts as they are kept. Raises UsageError."""
    description = edit.description
    if description is not None:
        description = description.strip()
        if len(description) > DESCRIPTION_CHARACTERS:
            raise UsageError(
                f"a description of {len(description):,} characters is too long", hint="10,000 are the most"
            )
        if any((ord(c) < 32 and c not in "\n\r\t") or "\ud800" <= c <= "\udfff" for c in description):
            raise UsageError("the description holds a control character", hint="only line ends and tabs may be in it")
    if edit.fresh_within is not None and column is not None:
        raise UsageError("a column has no freshness of its own", hint="say it of the dataset")
    if edit.fresh_within is not None and edit.fresh_within < timedelta():
        raise UsageError("a dataset cannot be fresher than now", hint="give a time such as 24h")
    return AnnotationEdit(
        description=description,
        labels=tuple(map(_label, edit.labels)),
        unlabel=tuple(map(_label, edit.unlabel)),
        owners=tuple(map(_owner, edit.owners)),
        disown=tuple(map(_owner, edit.disown)),
        fresh_within=edit.fresh_within,
    )


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text.lower()):
        raise UsageError(f"{text!r} is no label", hint="letters a-z, digits and _ . / - only, at most 128: pii")
    return text.lower()


def _owner(text: str) -> str:
    if not (_OWNER.fullmatch(text) and text.isprintable()):
        raise UsageError(f"{text!r} is no owner", hint="a name without spaces or commas: data-team, ada@example.com")
    return text


def _field(dataset: DatasetName, columns: Iterable[ColumnInfo], name: str) -> ColumnInfo:
    known = tuple(columns)
    for fits in (lambda c: c.name == name, lambda c: c.name.lower() == name.lower()):
        if found := next(filter(fits, known), None):
            return found
    raise NotFoundError(
        f"{dataset} has no column {name!r}",
        hint=f"its columns: {', '.join(column.name for column in known)}",
        next_command=f"lakecat show {dataset}",
    )


def _changes(before: Annotation, edit: AnnotationEdit) -> list[_Change]:
    found: list[_Change] = []
    if edit.description is not None and (edit.description or None) != before.description:
        found.append(_Change("description", before.description, edit.description or None))
    if edit.fresh_within is not None and (edit.fresh_within or None) != before.fresh_within:
        found.append(_Change("fresh_within", _seconds(before.fresh_within), _seconds(edit.fresh_within or None)))
    for aspect, there, added, removed in (
        ("label", before.labels, edit.labels, edit.unlabel),
        ("owner", before.owners, edit.owners, edit.disown),
    ):
        kind: Aspect = "label" if aspect == "label" else "owner"
        found += [_Change(kind, value, None) for value in dict.fromkeys(removed) if value in there]
        fresh = [value for value in dict.fromkeys(added) if value not in there and value not in removed]
        found += [_Change(kind, None, value) for value in fresh]
    return found


def _seconds(time: timedelta | None) -> str | None:
    return None if time is None else f"{time.total_seconds():g}"


def _apply(connection: sa.Connection, target: _Target, found: list[_Change], by: str) -> None:
    now = connection.execute(sa.select(now_ms())).scalar_one()
    key = {"dataset_id": target.dataset_id, "field_id": target.field_id}
    values: dict[str, Any] = {}
    for change in found:
        if change.aspect == "description":
            values["description"] = change.after
        elif change.aspect == "fresh_within":
            values["fresh_within_ms"] = None if change.after is None else round(float(change.after) * 1000)
        elif change.after is None:
            same = sa.and_(target.where(s.mark), s.mark.c.kind == change.aspect, s.mark.c.value == change.before)
            connection.execute(sa.delete(s.mark).where(same))
        else:
            connection.execute(sa.insert(s.mark).values(**key, kind=change.aspect, value=change.after))
    registry.upsert(connection, s.annotation, [{**key, **values, "changed_ms": now, "changed_by": by}])
    rows = [
        {**key, "column_name": target.column, "aspect": change.aspect, "old_value": change.before,
         "new_value": change.after, "changed_ms": now, "changed_by": by}
        for change in found
    ]  # fmt: skip
    connection.execute(sa.insert(s.annotation_change).inline(), rows)


def _read(connection: sa.Connection, target: _Target) -> Annotation:
    row = connection.execute(sa.select(s.annotation).where(target.where(s.annotation))).one_or_none()
    marks = connection.execute(sa.select(s.mark.c.kind, s.mark.c.value).where(target.where(s.mark))).all()
    return _annotation(row, [(kind, value) for kind, value in marks])


def _annotation(row: Row | None, marks: Iterable[tuple[str, str]]) -> Annotation:
    by_kind: dict[str, list[str]] = {"label": [], "owner": []}
    for kind, value in sorted(marks):
        by_kind[kind].append(value)
    fresh = None if row is None else row.fresh_within_ms
    return Annotation(
        description=None if row is None else row.description,
        labels=tuple(by_kind["label"]),
        owners=tuple(by_kind["owner"]),
        fresh_within=None if fresh is None else fresh * _MILLI,
    )


def _read_all(connection: sa.Connection, dataset: DatasetName | None) -> dict[tuple[str, int], Annotation]:
    """By dataset name and field id; of all datasets, where none is named."""

    def rows(table: sa.Table) -> Iterable[Row]:
        query = sa.select(s.context.c.name.label("dataset"), *table.c).join_from(
            table, s.context, s.context.c.id == table.c.dataset_id
        )
        if dataset is not None:
            query = query.where(table.c.dataset_id == dataset_id(str(dataset)))
        return connection.execute(query).all()

    marks: dict[tuple[str, int], list[tuple[str, str]]] = {}
    for row in rows(s.mark):
        marks.setdefault((row.dataset, row.field_id), []).append((row.kind, row.value))
    said = {(row.dataset, row.field_id): row for row in rows(s.annotation)}
    found = {key: _annotation(said.get(key), marks.get(key, ())) for key in {**said, **marks}}
    return {key: note for key, note in found.items() if note != Annotation()}
