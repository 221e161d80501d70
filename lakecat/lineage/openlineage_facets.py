"""The facets of OpenLineage that the catalog keeps, each as properties by name, or as a value of its own.

Formats: https://openlineage.io/spec/facets/ (versions up to those of spec 2-0-2; older shapes are understood).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from lakecat.catalog.foreign_values import ForeignEdge, ForeignName, ForeignSql
from lakecat.types import EdgeKind

Reader: TypeAlias = Callable[[dict[str, Any]], Iterator[tuple[str, Any]]]

MAX_NAME: Final = 4096
MAX_TEXT: Final = 100_000
MAX_COLUMNS: Final = 20_000
MAX_EDGES: Final = 200_000


class FacetError(ValueError):
    """A part of an event that is not as the spec says."""


def name_text(value: Any, place: str) -> str:
    """A text that names something: not empty, of sane length, and Unicode that every database keeps."""
    if not isinstance(value, str) or not value:
        raise FacetError(f"{place} is {'missing' if value is None or value == '' else 'no text'}")
    if len(value) > MAX_NAME:
        raise FacetError(f"{place} has more than {MAX_NAME} characters")
    if any(char < " " or "\ud800" <= char <= "\udfff" for char in value):
        raise FacetError(f"{place} holds a control character or half a surrogate pair")
    return value


def free_text(value: Any, place: str) -> str | None:
    """A text for people, cut where it is very long; what a database cannot keep is replaced."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise FacetError(f"{place} is no text")
    return value[:MAX_TEXT].replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()


def number(value: Any, place: str) -> int | float | None:
    """A number that a property can hold."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63:
        raise FacetError(f"{place} is no number of at most 64 bits")
    return int(value) if float(value).is_integer() else value


def _texts(*names: tuple[str, str]) -> Reader:
    """Facets whose fields are texts: (property, field) each."""

    def read(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, key in names:
            yield name, free_text(facet.get(key), key)

    return read


def _numbers(*names: tuple[str, str]) -> Reader:
    def read(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, key in names:
            yield name, number(facet.get(key), key)

    return read


def _owners(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    owners = [
        {"name": name_text(item.get("name"), "owners.name"), "type": free_text(item.get("type"), "owners.type")}
        for item in _list(facet.get("owners"), "owners")
    ]
    yield "owners", json.dumps(owners, ensure_ascii=False) if owners else None


def _schema(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The columns as a JSON list; fields of structs under dotted names."""
    found: list[dict[str, str | None]] = []
    stack = [("", item) for item in reversed(_list(facet.get("fields"), "fields"))]
    while stack:
        above, item = stack.pop()
        name = f"{above}{name_text(item.get('name'), 'fields.name')}"
        column = {"name": name, "type": free_text(item.get("type"), "fields.type")}
        if (doc := free_text(item.get("description"), "fields.description")) is not None:
            column["doc"] = doc
        found.append(column)
        if len(found) > MAX_COLUMNS or len(name) > MAX_NAME:
            raise FacetError(f"more than {MAX_COLUMNS} columns, or nested too deeply")
        stack += [(f"{name}.", child) for child in reversed(_list(item.get("fields"), "fields"))]
    yield "schema", json.dumps(found, ensure_ascii=False) if found else None


def _tags(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Tags as a JSON list; ``field`` is the column that one is about."""
    yield "tags", _json_list(facet, "tags", ("key", "value", "source", "field"))


def _parameters(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "parameters", _json_list(facet, "parameters", ("key", "value", "name", "description"))


def _json_list(facet: dict[str, Any], name: str, keys: tuple[str, ...]) -> str | None:
    """A list of objects of texts as JSON, what is not set left out; None where there is none."""
    found: list[dict[str, str]] = []
    for item in _list(facet.get(name), name):
        name_text(item.get("key"), f"{name}.key")
        texts = {key: free_text(item.get(key), f"{name}.{key}") for key in keys}
        found.append({key: text for key, text in texts.items() if text is not None})
    return json.dumps(found, ensure_ascii=False) if found else None


def _lifecycle(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "lifecycle", free_text(facet.get("lifecycleStateChange"), "lifecycleStateChange")
    if (before := facet.get("previousIdentifier")) is not None:
        yield "previous_uri", _input_name(_object(before, "previousIdentifier")).uri


def _engine(facet: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    name, version = free_text(facet.get("name"), "name"), free_text(facet.get("version"), "version")
    yield "engine", " ".join(part for part in (name, version) if part) or None


RUN_FACETS: Final[dict[str, Reader]] = {
    "errorMessage": _texts(("error", "message"), ("stack_trace", "stackTrace"), ("language", "programmingLanguage")),
    "nominalTime": _texts(("nominal_start", "nominalStartTime"), ("nominal_end", "nominalEndTime")),
    "processing_engine": _engine,
    "executionParameters": _parameters,
    "tags": _tags,
    "externalQuery": _texts(("query_id", "externalQueryId"), ("query_source", "source")),
}
JOB_FACETS: Final[dict[str, Reader]] = {
    "tags": _tags,
    "documentation": _texts(("documentation", "description")),
    "ownership": _owners,
    "sourceCodeLocation": _texts(
        ("source_url", "url"), ("source_repo", "repoUrl"), ("source_path", "path"), ("source_version", "version"),
        ("source_branch", "branch"), ("source_tag", "tag"),
    ),
    "sourceCode": _texts(("source_language", "language"), ("source_code", "sourceCode")),
    "jobType": _texts(
        ("processing_type", "processingType"), ("integration", "integration"), ("job_type", "jobType")
    ),
}  # fmt: skip
DATASET_FACETS: Final[dict[str, Reader]] = {
    "tags": _tags,
    "documentation": _texts(("documentation", "description")),
    "ownership": _owners,
    "dataSource": _texts(("source_name", "name"), ("source_uri", "uri")),
    "storage": _texts(("storage_layer", "storageLayer"), ("file_format", "fileFormat")),
    "datasetType": _texts(("dataset_type", "datasetType")),
}
STATISTICS_FACETS: Final[dict[str, Reader]] = {
    "schema": _schema,
    "lifecycleStateChange": _lifecycle,
    "outputStatistics": _numbers(("rows", "rowCount"), ("bytes", "size"), ("files", "fileCount")),
    "inputStatistics": _numbers(("rows", "rowCount"), ("bytes", "size"), ("files", "fileCount")),
}


def sql_of(facets: dict[str, Any]) -> ForeignSql | None:
    """The job's SQL."""
    if (facet := facets.get("sql")) is None:
        return None
    text = free_text(_object(facet, "sql").get("query"), "query")
    return ForeignSql(text, (free_text(facet.get("dialect"), "dialect") or "")[:100]) if text else None


def version_of(facets: dict[str, Any]) -> str | None:
    """The DatasetVersion facet's version."""
    if (facet := facets.get("version")) is None:
        return None
    return name_text(_object(facet, "version").get("datasetVersion"), "datasetVersion")


def other_names(facets: dict[str, Any]) -> tuple[ForeignName, ...]:
    """The names under which the dataset is known elsewhere."""
    if (facet := facets.get("symlinks")) is None:
        return ()
    items = _list(_object(facet, "symlinks").get("identifiers"), "identifiers")
    return tuple(_input_name(item) for item in items[:100])


def column_edges(facets: dict[str, Any]) -> tuple[ForeignEdge, ...]:
    """The columnLineage facet, each step once."""
    if (facet := facets.get("columnLineage")) is None:
        return ()
    found: dict[ForeignEdge, None] = {}
    fields = _object(facet, "columnLineage").get("fields")
    for column, lineage in _object({} if fields is None else fields, "fields").items():
        name, told = name_text(column, "fields"), _object(lineage, "fields")
        for source in _list(told.get("inputFields"), "inputFields"):
            found.update(dict.fromkeys(_steps(name, source, told)))
        if len(found) > MAX_EDGES:
            raise FacetError(f"more than {MAX_EDGES} steps")
    for source in _list(facet.get("dataset"), "dataset"):
        found.update(dict.fromkeys(_steps(None, source, {})))
    return tuple(found)


_WHOLE: Final = frozenset({EdgeKind.JOIN, EdgeKind.FILTER, EdgeKind.GROUP_BY, EdgeKind.SORT})
"""Kinds that decide which rows there are: they concern the whole output."""


def _steps(output: str | None, source: Any, told: dict[str, Any]) -> Iterator[ForeignEdge]:
    item = _object(source, "inputFields")
    name, column = _input_name(item), name_text(item.get("field"), "field")
    transformations = _list(item.get("transformations"), "transformations")
    if not transformations:
        yield _old_step(output, name, column, told)
    for one in transformations:
        kind = _kind(one.get("type"), one.get("subtype"))
        whole = output is None or kind in _WHOLE
        yield ForeignEdge(
            None if whole else output,
            name,
            column,
            EdgeKind.FILTER if whole and kind not in _WHOLE else kind,
            free_text(one.get("description") or None, "description"),
            one.get("masking") is True,
        )


def _old_step(output: str | None, name: ForeignName, column: str, told: dict[str, Any]) -> ForeignEdge:
    """A step as facet 1-0-1 tells it: one type and description for all inputs of a column."""
    if output is None:
        return ForeignEdge(None, name, column, EdgeKind.FILTER)
    kind = EdgeKind.IDENTITY if told.get("transformationType") == "IDENTITY" else EdgeKind.TRANSFORMATION
    expression = free_text(told.get("transformationDescription") or None, "transformationDescription")
    return ForeignEdge(output, name, column, kind, expression, told.get("transformationType") == "MASKED")


def _kind(type_: Any, subtype: Any) -> EdgeKind:
    direct = type_ != "INDIRECT"
    if isinstance(subtype, str) and subtype.upper() in EdgeKind.__members__:
        kind = EdgeKind[subtype.upper()]
        if kind.direct == direct and kind is not EdgeKind.UNRESOLVED:
            return kind
    return EdgeKind.TRANSFORMATION if direct else EdgeKind.CONDITIONAL


def _input_name(item: dict[str, Any]) -> ForeignName:
    return ForeignName(name_text(item.get("namespace"), "namespace"), name_text(item.get("name"), "name"))


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FacetError(f"{place} is no object")
    return value


def _list(value: Any, place: str) -> list[dict[str, Any]]:
    """A list of objects; nothing where it is absent."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise FacetError(f"{place} is no list of objects")
    return value
