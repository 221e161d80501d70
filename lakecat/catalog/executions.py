"""The life of an execution before and beside the commit: begin, fail."""

from __future__ import annotations

import hashlib
import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import leases, registry, restored, search_index, trips
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, now_ms
from lakecat.catalog.enums import EventType, TypeKind
from lakecat.catalog.enums import ExecutionState as MlmdState
from lakecat.catalog.reading import versions_of_execution
from lakecat.catalog.registry import NewArtifact, NewEvent
from lakecat.catalog.values import CompletedExecution, ExecutionStart, Lease, RunningExecution, Script
from lakecat.errors import UsageError
from lakecat.types import ExecutionState, Json

_ERROR_CHARACTERS: Final = 100_000


def begin(
    database: Database, types: Mapping[str, int], lease: Lease, start: ExecutionStart, uuid: str
) -> RunningExecution | CompletedExecution:
    """Record a RUNNING execution with its write intent, pinned inputs and script.

    Raises LeaseLostError, CatalogBehindError; answers with the completed execution where the run key has been done.
    """
    if start.run_key is not None and len(start.run_key) > 255:
        raise UsageError("a run key has at most 255 characters", hint="hash it")
    uuids.UUID(uuid)
    tried: list[RunningExecution] = []

    def work(connection: sa.Connection) -> RunningExecution | CompletedExecution:
        row, now = leases.lock(connection, lease.resource)
        if row is None or row.fence != lease.fence or not row.held:
            raise leases.lost(lease)
        restored.refuse(row.restored)
        if tried and _begun(connection, uuid) == tried[-1].execution_id:
            return tried[-1]  # an attempt whose COMMIT was not answered had been applied
        if start.run_key is not None and (done := _completed(connection, start.run_key)):
            return done
        execution_id = record_start(connection, types, lease, start, uuid, now)
        running = RunningExecution(
            execution_id=execution_id, uuid=uuid, start=start, lease=lease, started_at=leases.moment(now)
        )
        tried.append(running)
        return running

    return database.write(work)


def record_start(
    connection: sa.Connection, types: Mapping[str, int], lease: Lease, start: ExecutionStart, uuid: str, now: int
) -> int:
    """Write every row of an execution that begins ``now``, and is RUNNING; its id."""
    contexts, inputs = _contexts(connection, types, start, now), _inputs(connection, types, start, now)
    execution_id = _insert(connection, types, start, uuid, now)
    with trips.together(connection):
        _describe(connection, lease, start, uuid, execution_id, now)
        _associate(connection, execution_id, contexts)
        registry.insert_events(connection, execution_id, inputs, now)
    search_index.add_work(connection, start.job, None if start.script is None else start.script.path)
    return execution_id


def fail(database: Database, execution: RunningExecution, error: str) -> ExecutionState:
    """Record a RUNNING execution as FAILED; the state it is in then (CANCELED or COMPLETE ones stay as they are)."""
    table = s.lake_execution
    # PostgreSQL holds no NUL in text, and nothing may keep a failure from being recorded.
    text = error.replace("\x00", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()[:_ERROR_CHARACTERS]

    def work(connection: sa.Connection) -> ExecutionState:
        now = connection.execute(sa.select(now_ms())).scalar_one()
        changed = connection.execute(
            sa.update(table)
            .where(table.c.execution_id == execution.execution_id, table.c.state == ExecutionState.RUNNING.value)
            .values(state=ExecutionState.FAILED.value, finished_ms=now, error=text)
        ).rowcount
        if changed:
            set_state(connection, execution.execution_id, MlmdState.FAILED, now)
            rows = registry.property_rows("execution_id", execution.execution_id, {"error": text}, {"error"})
            registry.upsert(connection, s.execution_property, rows)
            return ExecutionState.FAILED
        state = connection.execute(
            sa.select(table.c.state).where(table.c.execution_id == execution.execution_id)
        ).scalar_one()
        return ExecutionState(state)

    return database.write(work)


def set_state(connection: sa.Connection, execution_id: int, state: MlmdState, now: int) -> None:
    """Set MLMD's state of an execution."""
    connection.execute(
        sa.update(s.execution)
        .where(s.execution.c.id == execution_id)
        .values(last_known_state=int(state), last_update_time_since_epoch=now)
    )


def script_key(script: Script) -> str:
    """The artifact name of a script: one for each text, dialect and path."""
    return hashlib.sha256(f"{script.sha256}\0{script.dialect}\0{script.path}".encode()).hexdigest()


def _begun(connection: sa.Connection, uuid: str) -> int | None:
    table = s.lake_execution
    return connection.execute(sa.select(table.c.execution_id).where(table.c.uuid == uuid)).scalar_one_or_none()


def _completed(connection: sa.Connection, run_key: str) -> CompletedExecution | None:
    table = s.lake_execution
    row = connection.execute(
        sa.select(table.c.execution_id, table.c.uuid).where(table.c.complete_run_key == run_key)
    ).one_or_none()
    if row is None:
        return None
    return CompletedExecution(
        execution_id=row.execution_id,
        uuid=row.uuid,
        versions=versions_of_execution(connection, row.execution_id),
    )


@dataclass(frozen=True, slots=True)
class _Contexts:
    """Ids of the contexts that an execution belongs to."""

    datasets: tuple[int, ...]
    job: int
    project: int | None


def _contexts(connection: sa.Connection, types: Mapping[str, int], start: ExecutionStart, now: int) -> _Contexts:
    dataset, job, project = (types[name] for name in (registry.DATASET, registry.JOB, registry.PROJECT))
    wanted = [(dataset, str(target)) for target in start.targets] + [(job, start.job)]
    if start.project is not None:
        wanted.append((project, start.project))
    ids = registry.ensure_contexts(connection, wanted, now)
    return _Contexts(
        datasets=tuple(key for (kind, _), key in ids.items() if kind == dataset),
        job=ids[job, start.job],
        project=None if start.project is None else ids[project, start.project],
    )


def _inputs(connection: sa.Connection, types: Mapping[str, int], start: ExecutionStart, now: int) -> list[NewEvent]:
    events = [NewEvent(v.artifact_id, EventType.INPUT, str(v.dataset)) for v in start.inputs]
    if start.script is not None:
        script = start.script
        properties: dict[str, Any] = {"sha256": script.sha256, "text": script.text, "dialect": script.dialect}
        artifact = NewArtifact(registry.SCRIPT, script_key(script), script.path, properties)
        found = registry.ensure_artifacts(connection, types, [artifact], now)
        events.append(NewEvent(found[artifact.name], EventType.INPUT, "script"))
    return events


def _insert(connection: sa.Connection, types: Mapping[str, int], start: ExecutionStart, uuid: str, now: int) -> int:
    row = {
        "type_id": types[start.type.value], "last_known_state": int(MlmdState.RUNNING), "name": uuid,
        "create_time_since_epoch": now, "last_update_time_since_epoch": now,
    }  # fmt: skip
    return registry.insert_one(connection, s.execution, row)


def _describe(
    connection: sa.Connection, lease: Lease, start: ExecutionStart, uuid: str, execution_id: int, now: int
) -> None:
    """The execution's own row, its write intents and its properties."""
    connection.execute(
        sa.insert(s.lake_execution).values(
            execution_id=execution_id,
            uuid=uuid,
            type=start.type.value,
            job=start.job,
            run_key=start.run_key,
            lease_resource=lease.resource,
            fence=lease.fence,
            attempt=0,
            state=ExecutionState.RUNNING.value,
            started_ms=now,
        )
    )
    prefixes = start.prefixes if start.prefix is None else (start.prefix, *start.prefixes)
    if prefixes:
        intents = [{"execution_id": execution_id, "prefix": p} for p in prefixes]
        connection.execute(sa.insert(s.intent).inline(), intents)
    holder = lease.holder
    properties: dict[str, Json] = {
        "host": holder.host, "pid": holder.pid, "user": holder.user, "command": holder.command,
        **start.properties,
        "uuid": uuid, "job": start.job, "run_key": start.run_key,
    }  # fmt: skip
    declared = registry.TYPES[start.type.value, TypeKind.EXECUTION].keys()
    rows = registry.property_rows("execution_id", execution_id, properties, declared)
    connection.execute(sa.insert(s.execution_property), rows)


def _associate(connection: sa.Connection, execution_id: int, contexts: _Contexts) -> None:
    ids = [*contexts.datasets, contexts.job]
    if contexts.project is not None:
        ids.append(contexts.project)
        parent = {"context_id": contexts.job, "parent_context_id": contexts.project}
        registry.insert_absent(connection, s.parent_context, [parent])
    rows = [{"context_id": c, "execution_id": execution_id} for c in ids]
    connection.execute(sa.insert(s.association).inline(), rows)


def abandoned_prefixes(connection: sa.Connection, limit: int) -> tuple[str, ...]:
    """Write intents of executions that ended without a commit, newest first."""
    ended = (ExecutionState.FAILED.value, ExecutionState.CANCELED.value)
    query = (
        sa.select(s.intent.c.prefix)
        .join(s.lake_execution, s.lake_execution.c.execution_id == s.intent.c.execution_id)
        .where(s.lake_execution.c.state.in_(ended))
        .order_by(s.intent.c.execution_id.desc())
        .limit(limit)
    )
    return tuple(str(prefix) for prefix in connection.execute(query).scalars())
