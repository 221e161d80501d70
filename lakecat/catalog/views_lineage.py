"""The catalog's views of lineage: from dataset to dataset, and from column to column."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from lakecat.catalog import dataset_edges
from lakecat.catalog import schema as s
from lakecat.catalog.enums import INPUT_EVENTS, OUTPUT_EVENTS
from lakecat.catalog.view import Join, View, flag_column, hashed, integer_column, named_by, text_column
from lakecat.types import EdgeKind

_CURRENT: Final = "whether the output was not written whole again since"


def lineage_views() -> tuple[View, View]:
    """Both."""
    return _dataset_lineage(), _column_lineage()


def _current(version: sa.FromClause) -> sa.ColumnElement[bool]:
    later = s.version.alias("later")
    superseded = sa.exists().where(
        later.c.dataset_id == version.c.dataset_id, later.c.version > version.c.version, later.c.whole
    )
    return sa.not_(superseded)


def _dataset_lineage() -> View:
    read, made, edge = s.event, s.event.alias("made"), s.dataset_edge
    theirs, ours = s.version.alias("theirs"), s.version.alias("ours")
    read_name, made_name = s.context.alias("read_name"), s.context.alias("made_name")
    inputs, outputs = (sorted(int(kind) for kind in kinds) for kinds in (INPUT_EVENTS, OUTPUT_EVENTS))
    joins = {
        "made": Join(made, sa.and_(made.c.execution_id == read.c.execution_id, made.c.type.in_(outputs))),
        "edge": Join(edge, dataset_edges.of_input(edge, read), outer=True),
        "artifact": Join(s.artifact, s.artifact.c.id == read.c.artifact_id),
        "type": Join(s.type_, s.type_.c.id == s.artifact.c.type_id, after=("artifact",)),
        "theirs": Join(theirs, theirs.c.artifact_id == read.c.artifact_id, outer=True),
        "read_name": Join(read_name, read_name.c.id == theirs.c.dataset_id, outer=True, after=("theirs",)),
        "ours": Join(ours, ours.c.artifact_id == made.c.artifact_id, outer=True),
        "made_name": Join(made_name, made_name.c.id == ours.c.dataset_id, outer=True, after=("ours",)),
    }
    named = {
        "output_dataset": text_column(
            "output_dataset", made_name.c.name, "the dataset written; NULL: another program's", joins=("made_name",),
            implied=named_by(ours.c.dataset_id, made_name),
        ),
        "input_dataset": text_column(
            "input_dataset", read_name.c.name, "of a version read: its dataset", joins=("read_name",),
            implied=named_by(theirs.c.dataset_id, read_name),
        ),
    }  # fmt: skip
    return View(
        "dataset_lineage",
        "Each step from an input to an output: what each version was made of.",
        (
            integer_column("execution_id", read.c.execution_id, "the execution that took the step"),
            named["output_dataset"],
            integer_column("output_version", ours.c.version, "its version", joins=("ours",)),
            integer_column("output_artifact_id", made.c.artifact_id, "its artifact"),
            named["input_dataset"],
            integer_column("input_version", theirs.c.version, "its version", joins=("theirs",)),
            integer_column("input_artifact_id", read.c.artifact_id, "the artifact read"),
            text_column("input_type", s.type_.c.name, "its type, as `lakecat.Source`", joins=("type",)),
            text_column("input_uri", s.artifact.c.uri, "its URI: file, script or metadata", joins=("artifact",)),
            flag_column("current", _current(ours), _CURRENT, joins=("ours",)),
        ),
        read,
        joins,
        where=sa.and_(read.c.type.in_(inputs), dataset_edges.went(edge, made.c.artifact_id)),
        always=("made", "edge"),
    )


def _column_lineage() -> View:
    edge, version = s.column_edge, s.version
    direct = [kind.value for kind in EdgeKind if kind.direct]
    return View(
        "column_lineage",
        "Each step from an input column to an output column.",
        (
            integer_column("execution_id", edge.c.execution_id, "the execution that took the step"),
            text_column("output_dataset", edge.c.output_dataset, "the dataset written"),
            integer_column("output_version", version.c.version, "its version", joins=("version",)),
            text_column("output_column", edge.c.output_column, "its column; NULL: all columns (a filter, a join, …)"),
            text_column(
                "input_dataset",
                edge.c.input_dataset,
                "the dataset or source URI read; NULL: not resolved",
                implied=hashed(edge.c.input_hash),
            ),
            text_column("input_column", edge.c.input_column, "its column"),
            text_column("kind", edge.c.kind, "as in [column lineage](lineage.md#kinds): `IDENTITY`, `FILTER`, …"),
            flag_column("direct", edge.c.kind.in_(direct), "whether the value itself flows, not only its influence"),
            text_column("expression", edge.c.expression, "the SQL that made it, or why it is not resolved"),
            integer_column("line", edge.c.line, "line of the script"),
            flag_column("masked", edge.c.masked, "whether the value cannot be read back (a hash, a count)"),
            flag_column("current", _current(version), _CURRENT, joins=("version",)),
        ),
        edge,
        {"version": Join(version, version.c.artifact_id == edge.c.output_artifact_id, outer=True)},
    )
