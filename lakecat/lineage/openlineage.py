"""OpenLineage events out of JSON text: RunEvent, JobEvent and DatasetEvent of spec 2-0-2, with the facets we keep.

Format: https://openlineage.io/spec/2-0-2/OpenLineage.json and https://openlineage.io/spec/facets/. What a producer must
say (times, names, ids) makes the event wrong when it is missing or of the wrong type; a facet that is wrong is left
out, and told. Facets that nobody here asks for are not read.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

from lakecat.catalog.foreign_values import (
    ForeignDataset,
    ForeignEvent,
    ForeignName,
    ForeignParent,
    ForeignState,
)
from lakecat.lineage.openlineage_facets import (
    DATASET_FACETS,
    JOB_FACETS,
    RUN_FACETS,
    STATISTICS_FACETS,
    FacetError,
    column_edges,
    name_text,
    other_names,
    sql_of,
    version_of,
)

MAX_DATASETS: Final = 10_000
"""Inputs and outputs of one event."""


_RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
"""A date-time; seconds may be missing, as Java leaves them out, and the offset is asked for by its own message."""


class EventError(ValueError):
    """A line that is no OpenLineage event, and why."""


Told = Callable[[str], None]
"""Takes what was left out of an event, and why."""


def parse_event(text: str | bytes, told: Told) -> ForeignEvent:
    """Read one event. ``told`` gets the facets that are wrong and were left out. Raises EventError."""
    value = _load(text)
    if not isinstance(value, dict):
        raise EventError("is no JSON object")
    try:
        return _event(value, told)
    except FacetError as err:
        raise EventError(str(err)) from err


def _load(text: str | bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise EventError("is nested too deeply") from None
    except UnicodeDecodeError:
        raise EventError("is not UTF-8 text") from None
    except EventError:
        raise
    except json.JSONDecodeError as err:
        raise EventError(f"is not JSON: {err.msg} at character {err.pos + 1}") from None
    except ValueError:  # an integer of more digits than Python reads
        raise EventError("holds a number that is too long") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise EventError(f"has the key {twice[:80]!r} twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise EventError(f"holds {name}, which JSON does not have")


def _event(value: dict[str, Any], told: Told) -> ForeignEvent:
    time = _time(value.get("eventTime"))
    if "run" in value:
        return _run_event(value, time, told)
    if "job" in value:
        job, facts, facets = _job(value["job"], told)
        return ForeignEvent(
            kind="job",
            time=time,
            job=job,
            job_facts=facts,
            sql=_facet(sql_of, facets, "job.facets.sql", told),
            inputs=_datasets(value, "inputs", told),
            outputs=_datasets(value, "outputs", told),
        )
    if "dataset" in value:
        return ForeignEvent(kind="dataset", time=time, outputs=(_dataset(value["dataset"], "dataset", told),))
    raise FacetError("has neither run, job nor dataset, so it is no OpenLineage event")


def _run_event(value: dict[str, Any], time: int, told: Told) -> ForeignEvent:
    run = _mapping(value["run"], "run")
    facets = _optional(run.get("facets"), "run.facets")
    facts = _facts(RUN_FACETS, facets, "run.facets", told)
    if isinstance(parent := facets.get("parent"), dict):
        facts |= _facts({"root": _root}, parent, "run.facets.parent", told)
    job, job_facts, job_facets = _job(value.get("job"), told)
    if isinstance(producer := value.get("producer"), str):
        facts["producer"] = producer[:2000]
    return ForeignEvent(
        kind="run",
        time=time,
        state=_state(value.get("eventType")),
        run_id=run_id(run.get("runId"), "run.runId"),
        job=job,
        run_facts=facts,
        job_facts=job_facts,
        sql=_facet(sql_of, job_facets, "job.facets.sql", told),
        parent=_facet(_parent, facets, "run.facets.parent", told),
        inputs=_datasets(value, "inputs", told),
        outputs=_datasets(value, "outputs", told),
    )


def _time(value: Any) -> int:
    """RFC 3339, with its offset; in milliseconds."""
    if not isinstance(value, str):
        raise FacetError("eventTime is missing" if value is None else "eventTime is no text")
    try:
        # The RFC allows small letters and a space; Python's reader takes much that the RFC does not.
        moment = datetime.fromisoformat(value.upper() if _RFC_3339.fullmatch(value) else "")
    except ValueError:
        raise FacetError(f"eventTime {value[:40]!r} is no time like 2026-11-25T04:00:00Z") from None
    if moment.tzinfo is None:
        raise FacetError(f"eventTime {value[:40]!r} has no time zone")
    try:
        return int(moment.timestamp() * 1000 // 1)
    except (OverflowError, ValueError):
        raise FacetError(f"eventTime {value[:40]!r} is out of range") from None


def _state(value: Any) -> ForeignState:
    if value is None:
        return ForeignState.OTHER
    if isinstance(value, str) and value.upper() in ForeignState.__members__:
        return ForeignState[value.upper()]
    raise FacetError(f"eventType {str(value)[:40]!r} is not one of {', '.join(ForeignState)}")


def run_id(value: Any, place: str) -> str:
    """A run's id, a UUID in its one usual spelling."""
    text = name_text(value, place)
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise FacetError(f"{place} {str(value)[:60]!r} is no UUID") from None


def _job(value: Any, told: Told) -> tuple[ForeignName, dict[str, Any], dict[str, Any]]:
    job = _mapping(value, "job")
    facets = _optional(job.get("facets"), "job.facets")
    return _name(job, "job"), _facts(JOB_FACETS, facets, "job.facets", told), facets


def _parent(facets: dict[str, Any]) -> ForeignParent | None:
    value = facets.get("parent")
    if value is None:
        return None
    parent = _mapping(value, "parent")
    found = _mapping(parent.get("run"), "parent.run").get("runId")
    return ForeignParent(run_id(found, "parent.run.runId"), _name(_mapping(parent.get("job"), "parent.job"), "parent"))


def _root(root: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The run above all parents, as a DAG's."""
    yield "root_run", run_id(_mapping(root.get("run"), "root.run").get("runId"), "root.run.runId")
    yield "root_job", str(_name(_mapping(root.get("job"), "root.job"), "root.job"))


def _datasets(value: dict[str, Any], key: str, told: Told) -> tuple[ForeignDataset, ...]:
    items = [] if value.get(key) is None else value[key]
    if not isinstance(items, list):
        raise FacetError(f"{key} is no list")
    if len(items) > MAX_DATASETS:
        raise FacetError(f"has more than {MAX_DATASETS} {key}")
    return tuple(_dataset(item, f"{key}[{number}]", told) for number, item in enumerate(items))


def _dataset(value: Any, place: str, told: Told) -> ForeignDataset:
    item = _mapping(value, place)
    facets = _optional(item.get("facets"), f"{place}.facets")
    more: dict[str, Any] = {}
    for key in ("inputFacets", "outputFacets"):
        more |= _optional(item.get(key), f"{place}.{key}")
    facts = _facts(DATASET_FACETS, facets, f"{place}.facets", told)
    state = _facts(STATISTICS_FACETS, {**facets, **more}, f"{place}.facets", told)
    return ForeignDataset(
        name=_name(item, place),
        version=_facet(version_of, facets, f"{place}.facets.version", told),
        other_names=_facet(other_names, facets, f"{place}.facets.symlinks", told) or (),
        edges=_facet(column_edges, facets, f"{place}.facets.columnLineage", told) or (),
        facts=facts,
        state=state,
    )


def _name(item: dict[str, Any], place: str) -> ForeignName:
    return ForeignName(
        name_text(item.get("namespace"), f"{place}.namespace"), name_text(item.get("name"), f"{place}.name")
    )


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FacetError(f"{place} is missing" if value is None else f"{place} is no object")
    return value


def _optional(value: Any, place: str) -> dict[str, Any]:
    return {} if value is None else _mapping(value, place)


def _facts(
    readers: dict[str, Callable[[dict[str, Any]], Iterator[tuple[str, Any]]]],
    facets: dict[str, Any],
    place: str,
    told: Told,
) -> dict[str, Any]:
    """What the facets that we know say; one that is wrong is left out."""
    found: dict[str, Any] = {}
    for name in readers.keys() & facets.keys():
        try:
            if (value := facets[name]) is not None:
                found.update(readers[name](_mapping(value, name)))
        except FacetError as err:
            told(f"{place}.{name} was left out: {err}")
    return {name: value for name, value in found.items() if value is not None}


def _facet(reader: Callable[[dict[str, Any]], Any], facets: dict[str, Any], place: str, told: Told) -> Any:
    try:
        return reader(facets)
    except FacetError as err:
        told(f"{place} was left out: {err}")
        return None
