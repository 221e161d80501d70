"""The views of what people say: tags of versions; labels, owners and descriptions of datasets and columns."""

from __future__ import annotations

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.view import (
    Join,
    View,
    ViewColumn,
    double_column,
    integer_column,
    named_by,
    text_column,
    time_column,
)


def annotation_views() -> tuple[View, ...]:
    """Tags, labels, owners, descriptions."""
    tag, note = s.tag, s.annotation
    return (
        View(
            "tags",
            "Which version each tag names now.",
            (
                text_column(
                    "dataset",
                    s.context.c.name,
                    "the dataset",
                    joins=("dataset",),
                    implied=named_by(tag.c.dataset_id),
                ),
                text_column("tag", tag.c.name, "the tag"),
                integer_column("version", tag.c.version, "the version that it names"),
                time_column("moved_at", tag.c.changed_ms, "when it was put there"),
                text_column("moved_by", tag.c.changed_by, "by whom"),
            ),
            tag,
            {"dataset": Join(s.context, s.context.c.id == tag.c.dataset_id)},
        ),
        _marks("labels", "label", "The labels of datasets and columns."),
        _marks("owners", "owner", "The owners of datasets and columns."),
        View(
            "descriptions",
            "What is said of datasets and columns, and how fresh they should be.",
            (
                *_subject(note),
                text_column("description", note.c.description, "the description"),
                double_column(
                    "fresh_within_seconds",
                    note.c.fresh_within_ms / sa.literal(1000.0, sa.Double()),
                    "how old a dataset's newest version may be",
                ),
                time_column("changed_at", note.c.changed_ms, "when it was changed last"),
                text_column("changed_by", note.c.changed_by, "by whom"),
            ),
            note,
            _subject_joins(note),
        ),
    )


def _marks(name: str, kind: str, doc: str) -> View:
    mark = s.mark
    return View(
        name,
        doc,
        (*_subject(mark), text_column(kind, mark.c.value, f"the {kind}")),
        mark,
        _subject_joins(mark),
        where=mark.c.kind == kind,
    )


def _subject(table: sa.Table) -> tuple[ViewColumn, ViewColumn, ViewColumn]:
    field_id = sa.case((table.c.field_id == 0, sa.null()), else_=table.c.field_id)
    column = s.schema_column.c.name
    return (
        text_column(
            "dataset", s.context.c.name, "the dataset", joins=("dataset",), implied=named_by(table.c.dataset_id)
        ),
        text_column("column", column, "its column, as it is named now; NULL: the dataset itself", joins=("column",)),
        integer_column("field_id", field_id, "the column's field id, also when the column is gone"),
    )


def _subject_joins(table: sa.Table) -> dict[str, Join]:
    version, column = s.version, s.schema_column
    newest = version.alias("newest")
    top = sa.select(sa.func.max(newest.c.version)).where(newest.c.dataset_id == table.c.dataset_id).scalar_subquery()
    return {
        "dataset": Join(s.context, s.context.c.id == table.c.dataset_id),
        "version": Join(
            version, sa.and_(version.c.dataset_id == table.c.dataset_id, version.c.version == top), outer=True
        ),
        "column": Join(
            column,
            sa.and_(column.c.fingerprint == version.c.fingerprint, column.c.field_id == table.c.field_id),
            outer=True,
            after=("version",),
        ),
    }
