"""Executions: one in full, and two side by side."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Final

from lakecat.catalog import Catalog, ExecutionDetail
from lakecat.errors import NotFoundError, UsageError
from lakecat.lake.answers import Change
from lakecat.lake.asked import ExecutionComparison, ExecutionReport
from lakecat.lake.differ import compare_columns
from lakecat.types import ExecutionState, ExecutionType, Json, VersionRef

_ENVIRONMENT: Final = ("lakecat_version", "python_version", "platform", "engine")
_NUMBERS: Final = ("seconds", "rows_read", "bytes_read", "rows_written", "bytes_written", "files_written")


def execution_type(text: str) -> ExecutionType:
    """``ingest``, ``transform``, ``maintenance`` or ``external``; also ``lakecat.Ingest``, …. Raises UsageError."""
    known = {kind.value.partition(".")[2].lower(): kind for kind in ExecutionType}
    kind = known.get(text.lower().removeprefix("lakecat."))
    if kind is None:
        raise UsageError(f"there are no executions of type {text!r}", hint=f"one of {', '.join(known)}")
    return kind


def execution_state(state: str | ExecutionState) -> ExecutionState:
    """``running``, ``complete``, ``failed`` or ``canceled``, in any case. Raises UsageError."""
    try:
        return ExecutionState(str(state).upper())
    except ValueError:
        names = ", ".join(known.value.lower() for known in ExecutionState)
        raise UsageError(f"an execution is never {state!r}", hint=f"one of {names}") from None


def find(catalog: Catalog, text: str) -> int:
    """The execution that is meant: its id, its UUID (or how it begins), or a version that it made.

    Raises NotFoundError, SelectorError.
    """
    if "." in text:
        return catalog.resolve(VersionRef.parse(text)).execution_id
    found = catalog.find_executions(text)
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"more than one execution's UUID begins with {text}", hint="write more of it")
    other = catalog.other_execution(text)
    if other is not None:
        raise NotFoundError(
            f"execution {text} was recorded by another program, as {other[1]}; lakecat knows its lineage alone",
            hint="its properties: lakecat query --catalog over store_executions and execution_properties",
            next_command=f"lakecat lineage execution:{other[0]}",
        )
    raise NotFoundError(
        f"there is no execution {text}",
        hint="write an execution's id or UUID, or a version that it made: raw.orders@v7",
        next_command="lakecat executions",
    )


def report(catalog: Catalog, execution_id: int) -> ExecutionReport:
    """An execution in full. Raises NotFoundError."""
    detail = catalog.execution(execution_id)
    info, told = detail.info, detail.info.properties
    done = info.finished_at
    return ExecutionReport(
        info=info,
        seconds=None if done is None else (done - info.started_at).total_seconds(),
        user=_text(told, "user"),
        host=_text(told, "host"),
        command=_text(told, "command"),
        git_commit=_text(told, "git_commit"),
        parameters=_decoded(told, "parameters"),
        environment={name: told[name] for name in _ENVIRONMENT if name in told},
        inputs=detail.inputs,
        sources=detail.sources,
        script=detail.script,
        outputs=detail.outputs,
        rows_read=_number(told, "rows_read", _rows_read(detail)),
        bytes_read=_number(told, "bytes_read", None),
        rows_written=_number(told, "rows_written", sum(version.added_rows for version in detail.outputs)),
        bytes_written=_number(told, "bytes_written", None),
        files_written=_number(told, "files_written", None),
        failed_streams=_failed_streams(told),
    )


def _rows_read(detail: ExecutionDetail) -> int:
    return sum(source.rows for source in detail.sources) + sum(version.rows for version in detail.inputs)


def _text(told: Mapping[str, Json], name: str) -> str | None:
    value = told.get(name)
    return value if isinstance(value, str) else None


def _number(told: Mapping[str, Json], name: str, otherwise: int | None) -> int | None:
    value = told.get(name)
    return value if isinstance(value, int) else otherwise


def _failed_streams(told: Mapping[str, Json]) -> dict[str, str]:
    found = _decoded(told, "failed_streams")
    return {name: str(text) for name, text in found.items()} if isinstance(found, dict) else {}


def _decoded(told: Mapping[str, Json], name: str) -> Json:
    """Lists and objects are kept as JSON text."""
    value = told.get(name)
    if not isinstance(value, str):
        return value
    try:
        found: Json = json.loads(value)
    except ValueError:
        return value
    return found


def compare(catalog: Catalog, before: int, after: int) -> ExecutionComparison:
    """How two executions differ. Raises NotFoundError."""
    first, second = report(catalog, before), report(catalog, after)
    outputs = {version.dataset: version for version in first.outputs}
    columns = {
        str(version.dataset): changes
        for version in second.outputs
        if (was := outputs.get(version.dataset)) is not None
        and (changes := compare_columns(catalog.schema(was), catalog.schema(version)))
    }
    return ExecutionComparison(
        before=first,
        after=second,
        script=_script_diff(first, second),
        parameters=_changes(_object(first.parameters), _object(second.parameters)),
        inputs=_changes(_versions(first.inputs), _versions(second.inputs)),
        sources=_changes(_sources(first), _sources(second)),
        outputs=_changes(_versions(first.outputs), _versions(second.outputs)),
        columns=columns,
        environment=_changes(_environment(first), _environment(second)),
        numbers=_changes(*({name: getattr(one, name) for name in _NUMBERS} for one in (first, second))),
    )


def _changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Change, ...]:
    names = dict.fromkeys((*before, *after))
    return tuple(
        Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    )


def _object(parameters: Json) -> Mapping[str, Json]:
    return parameters if isinstance(parameters, dict) else {} if parameters is None else {"parameters": parameters}


def _versions(versions: Iterable[object]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for version in versions:
        name, _, number = str(version).partition("@")
        found[name] = f"{found[name]}, {number}" if name in found else number
    return found


def _sources(one: ExecutionReport) -> dict[str, Json]:
    return {source.uri: source.rows for source in one.sources}


def _environment(one: ExecutionReport) -> dict[str, Json]:
    return {"git_commit": one.git_commit, "user": one.user, "host": one.host, **one.environment}


def _script_diff(before: ExecutionReport, after: ExecutionReport) -> tuple[str, ...]:
    old, new = before.script, after.script
    texts = [script.text.splitlines() if script is not None else [] for script in (old, new)]
    names = [
        f"{script.path if script is not None else '(no script)'} (execution {one.info.execution_id})"
        for script, one in ((old, before), (new, after))
    ]
    return tuple(difflib.unified_diff(texts[0], texts[1], names[0], names[1], lineterm=""))
