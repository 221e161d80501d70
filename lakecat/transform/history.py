"""What a script's last executions read and made, as the catalog remembers it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields

from lakecat.catalog import Catalog
from lakecat.errors import NotFoundError
from lakecat.tables import Operation
from lakecat.transform.compile import Value
from lakecat.transform.scripts import Script
from lakecat.types import DatasetName, ExecutionState, Json, Version

PROPERTY = "transform"
"""Property of an execution that holds what the next plan compares with, as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Everything that decides a script's result: equal footprints, equal result.

    ``inputs`` are version numbers of what it reads, its target left out; ``target`` is the version that a script which
    looks at its target's rows started from (0: there was none), None for others. ``table`` is the name of its target,
    and ``dialect`` what its text was read as.
    """

    sha256: str
    inputs: Mapping[str, int]
    parameters: Mapping[str, Value]
    engine: str
    dialect: str
    table: str
    target: int | None = None

    def to_json(self) -> str:
        """As kept in the execution's properties."""
        return json.dumps(
            {
                "sha256": self.sha256,
                "inputs": dict(self.inputs),
                "parameters": dict(self.parameters),
                "engine": self.engine,
                "dialect": self.dialect,
                "table": self.table,
                "target": self.target,
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, text: str) -> Footprint | None:
        """What ``to_json`` made; None for what another version of lakecat wrote, so that the script runs again."""
        found = json.loads(text)
        names = [known.name for known in fields(cls)]
        return cls(**{name: found[name] for name in names}) if found.keys() >= set(names) else None


@dataclass(frozen=True, slots=True)
class Consumed:
    """Up to where ``table_changes`` of one dataset has been read."""

    version: int
    snapshot_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A script's past. ``last`` and what belongs to it come from its newest COMPLETE execution.

    ``failed``: a newer execution failed or was canceled. ``positions``: by dataset, up to where ``table_changes`` has
    been consumed. ``rivals``: by job, the newest version of the target that another job made after ``last`` started.
    ``replacers``: those of them that replaced all rows of the target.
    """

    failed: bool = False
    execution_id: int | None = None
    last: Footprint | None = None
    positions: Mapping[DatasetName, Consumed]
    rivals: Mapping[str, int]
    replacers: Collection[str] = ()


def stream_of(script: Script, dataset: DatasetName) -> str:
    """The name of the position up to which a script has consumed a dataset's changes."""
    return f"{script.job}:{dataset}"


def read_history(catalog: Catalog, script: Script, target: Version | None) -> History:
    """Ask the catalog about a script; ``target`` is the target's current version."""
    positions = _positions(catalog, script)
    newest = catalog.latest_execution(script.job)
    if newest is None:
        return History(positions=positions, rivals={})
    complete = newest
    if newest.state is not ExecutionState.COMPLETE:
        found = catalog.latest_execution(script.job, ExecutionState.COMPLETE)
        if found is None:
            return History(failed=True, positions=positions, rivals={})
        complete = found
    detail = catalog.execution(complete.execution_id)
    text = detail.info.properties.get(PROPERTY)
    last = Footprint.from_json(text) if isinstance(text, str) else None
    started_from = last.target if last is not None and last.target is not None else 0
    made = max((version.version for version in detail.outputs), default=0)
    rivals, replacers = _rivals(catalog, script, target, after=max(made, started_from))
    return History(
        failed=newest.state is not ExecutionState.COMPLETE,
        execution_id=complete.execution_id,
        last=last,
        positions=positions,
        rivals=rivals,
        replacers=replacers,
    )


def _positions(catalog: Catalog, script: Script) -> Mapping[DatasetName, Consumed]:
    found = {}
    for dataset in script.changes:
        position = catalog.position(stream_of(script, dataset))
        if position is not None:
            found[dataset] = Consumed(_number(position.value.get("version")), _number(position.value.get("snapshot")))
    return found


def _rivals(
    catalog: Catalog, script: Script, target: Version | None, *, after: int
) -> tuple[Mapping[str, int], Collection[str]]:
    if target is None or target.version <= after or script.kind.creates:
        return {}, ()
    found: dict[str, int] = {}
    replacers: set[str] = set()
    jobs: dict[int, str] = {}
    for version in catalog.versions(script.target, target.version - after):
        if version.version <= after:
            break
        if version.execution_id not in jobs:
            jobs[version.execution_id] = _job(catalog, version.execution_id)
        found.setdefault(jobs[version.execution_id], version.version)
        if version.operation == Operation.REPLACE:
            replacers.add(jobs[version.execution_id])
    return {job: number for job, number in found.items() if job != script.job}, replacers - {script.job}


def _job(catalog: Catalog, execution_id: int) -> str:
    try:
        return catalog.execution(execution_id).info.job
    except NotFoundError:
        return ""


def _number(value: Json) -> int:
    return value if isinstance(value, int) else 0
