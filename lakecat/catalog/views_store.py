"""The views of the metadata store: ML Metadata's own nouns, whoever wrote them."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.enums import ArtifactState, EventType, ExecutionState
from lakecat.catalog.view import (
    Join,
    View,
    ViewColumn,
    double_column,
    flag_column,
    integer_column,
    text_column,
    time_column,
)


def _names(enum: type[ArtifactState | ExecutionState | EventType], value: sa.ColumnElement[Any]) -> dict[str, Any]:
    """A number of one of MLMD's enumerations as its name."""
    known = {int(member): member.name for member in enum}
    return {"value": value, "decode": lambda number: known.get(number, str(number))}


def store_views() -> tuple[View, ...]:
    """Nodes, events and relations, and the properties of nodes."""
    artifact, execution, context, event = s.artifact, s.execution, s.context, s.event
    return (
        _node_view(
            "artifacts",
            "Every artifact of the metadata store: versions, schemas, sources, scripts, and those of others.",
            artifact,
            (
                text_column("uri", artifact.c.uri, "where it is"),
                text_column("state", doc="`LIVE`, `PENDING`, `DELETED`, …", **_names(ArtifactState, artifact.c.state)),
            ),
        ),
        _node_view(
            "store_executions",
            "Every execution of the metadata store, those of other programs too.",
            execution,
            (
                text_column(
                    "state",
                    doc="`NEW`, `RUNNING`, `COMPLETE`, `FAILED`, `CACHED` or `CANCELED`",
                    **_names(ExecutionState, execution.c.last_known_state),
                ),
            ),
        ),
        _node_view("contexts", "Every context of the metadata store: datasets, jobs, projects, …", context, ()),
        View(
            "events",
            "Every event of the metadata store: an execution read or wrote an artifact.",
            (
                integer_column("event_id", event.c.id, "its id", ordered=True),
                integer_column("execution_id", event.c.execution_id, "the execution"),
                integer_column("artifact_id", event.c.artifact_id, "the artifact"),
                text_column("type", doc="`INPUT`, `OUTPUT`, `DECLARED_INPUT`, …", **_names(EventType, event.c.type)),
                time_column("at", event.c.milliseconds_since_epoch, "when"),
            ),
            event,
        ),
        _pairs("attributions", "Which artifacts belong to which contexts.", s.attribution, ("context", "artifact")),
        _pairs("associations", "Which executions belong to which contexts.", s.association, ("context", "execution")),
        _pairs("parent_contexts", "Which contexts lie within which.", s.parent_context, ("context", "parent_context")),
        *(_properties(kind, table) for kind, table in _PROPERTIES),
    )


_PROPERTIES: Final = (
    ("artifact", s.artifact_property),
    ("execution", s.execution_property),
    ("context", s.context_property),
)


def _node_view(name: str, doc: str, table: sa.Table, more: tuple[ViewColumn, ...]) -> View:
    kind = table.name.lower()
    return View(
        name,
        doc,
        (
            integer_column(f"{kind}_id", table.c.id, "its id", ordered=True),
            text_column("type", s.type_.c.name, "name of its type, as `lakecat.TableVersion`", joins=("type",)),
            text_column("type_version", s.type_.c.version, "version of its type", joins=("type",)),
            text_column("name", table.c.name, "its name, unique within its type"),
            *more,
            text_column("external_id", table.c.external_id, "its id in another program"),
            time_column("created_at", table.c.create_time_since_epoch, "when it was put first"),
            time_column("updated_at", table.c.last_update_time_since_epoch, "when it was put last"),
        ),
        table,
        {"type": Join(s.type_, s.type_.c.id == table.c.type_id)},
    )


def _pairs(name: str, doc: str, table: sa.Table, kinds: tuple[str, str]) -> View:
    return View(
        name,
        doc,
        tuple(integer_column(f"{k}_id", table.c[f"{k}_id"], f"the {k.replace('_', ' ')}") for k in kinds),
        table,
    )


def _properties(kind: str, table: sa.Table) -> View:
    text, number = table.c.string_value, table.c.double_value
    return View(
        f"{kind}_properties",
        f"The properties of {kind}s. One of the values is set: the nearest where a database cannot hold it (NaN).",
        (
            integer_column(f"{kind}_id", table.c[f"{kind}_id"], f"the {kind}"),
            text_column("name", table.c.name, "the property's name"),
            flag_column("custom", table.c.is_custom_property, "whether it is not of the type, but of this one alone"),
            text_column(
                "text_value", text, "text; lakecat's lists and objects as JSON, a struct in ML Metadata's encoding"
            ),
            integer_column("int_value", table.c.int_value, "an integer"),
            double_column("double_value", number, "a double"),
            flag_column("bool_value", table.c.bool_value, "true or false"),
        ),
        table,
    )
