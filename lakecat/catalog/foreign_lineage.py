"""Recording what other programs tell of their lineage: jobs, runs, datasets, columns; each event counts once.

A batch of events is one transaction. Runs are known by their ids, datasets by their URIs, jobs by their names; what is
told again changes nothing, and events may come in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import foreign_links as links
from lakecat.catalog import foreign_types as types_of
from lakecat.catalog import registry
from lakecat.catalog import schema as s
from lakecat.catalog.database import Database, now_ms
from lakecat.catalog.enums import ArtifactState, EventType, TypeKind
from lakecat.catalog.foreign_links import Link, Links
from lakecat.catalog.foreign_merge import DatasetDraft, Drafts, RunDraft, merge
from lakecat.catalog.foreign_places import KnownVersion, Places, parse_rules
from lakecat.catalog.foreign_runs import Runs, Scripts, add_edges, associate, group
from lakecat.catalog.foreign_types import fit, tell
from lakecat.catalog.foreign_values import ForeignEvent, ForeignName, Recorded
from lakecat.catalog.queries import uri_hash
from lakecat.types import Json


class ForeignLineage:
    """Records events of other programs in a catalog.

    ``namespaces`` says which of their datasets are lakecat's own (see ``foreign_places``). Raises UsageError.
    """

    def __init__(self, database: Database, namespaces: Iterable[str] = ()) -> None:
        self._database = database
        self._rules = parse_rules(namespaces)
        self._places = Places(self._rules)

    def record(self, events: Sequence[ForeignEvent]) -> Recorded:
        """Record these events in one transaction; what they added. Raises CatalogError."""
        return self._database.write(lambda connection: self.record_in(connection, events))

    def record_in(self, connection: sa.Connection, events: Sequence[ForeignEvent]) -> Recorded:
        """Record these events in the caller's transaction."""
        types = types_of.ensure_types(connection)
        drafts = merge(events)
        own = _own_runs(connection, drafts)
        for key in own:
            del drafts.runs[key]
        now = int(connection.execute(sa.select(now_ms())).scalar_one())
        batch = _Batch(connection, types, self._places, drafts, now)
        return replace(batch.run(), own=len(own))


def _own_runs(connection: sa.Connection, drafts: Drafts) -> list[tuple[tuple[str, TypeKind], str]]:
    """Runs that are lakecat's own executions: those are recorded already, and better."""
    table, found = s.lake_execution, set[str]()
    for part in registry.chunks(key for kind, key in drafts.runs if kind == types_of.RUN):
        found.update(connection.execute(sa.select(table.c.uuid).where(table.c.uuid.in_(part))).scalars())
    return [key for key in drafts.runs if key[0] == types_of.RUN and key[1] in found]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run's input or output is in the catalog."""

    context_id: int
    artifact_id: int
    key: str
    role: str
    exact: bool


@dataclass(slots=True)
class _Batch:
    """One transaction's worth of drafts on its way into the catalog."""

    connection: sa.Connection
    types: Mapping[tuple[str, TypeKind], int]
    places: Places
    drafts: Drafts
    now: int
    recorded: Recorded = field(default_factory=Recorded)
    runs: Runs = field(init=False)
    jobs: dict[str, int] = field(default_factory=dict)
    datasets: dict[str, int] = field(default_factory=dict)

    def run(self) -> Recorded:
        """Write all of it."""
        runs = list(self.drafts.runs.values())
        self.jobs = self._contexts(types_of.JOB, {str(run.job) for run in runs})
        self.runs = Runs(self.connection, self.types, self.now)
        self.runs.write(runs)
        mapped = self._mapped(runs)
        self.datasets = self._contexts(types_of.DATASET, self._foreign(runs, mapped))
        self._describe(runs)
        places = self._artifacts(runs, mapped)
        self._link(runs, places)
        scripts = Scripts(self.connection, self.runs, self.now)
        scripts.write(runs)
        parents = {str(run.parent.job) for run in runs if run.parent is not None}
        group(self.connection, self.types, self.runs, runs, self._contexts(types_of.JOB, parents))
        return self.recorded + self.runs.recorded + Recorded(links=scripts.added)

    def _contexts(self, key: tuple[str, TypeKind], names: Iterable[str]) -> dict[str, int]:
        """The ids of contexts by their whole names, made where they are missing."""
        wanted = {name: fit(name) for name in names}
        found, added = types_of.make_contexts(self.connection, self.types[key], wanted.values(), self.now)
        self.recorded += Recorded(jobs=added) if key == types_of.JOB else Recorded(datasets=added)
        return {name: found[fitted] for name, fitted in wanted.items()}

    # datasets

    def _mapped(self, runs: Sequence[RunDraft]) -> dict[tuple[int, EventType, str, str | None], KnownVersion]:
        """Which inputs and outputs are lakecat's own versions, by execution, event type, URI and version."""
        found: dict[tuple[int, EventType, str, str | None], KnownVersion] = {}
        for run in runs:
            execution_id = self.runs.ids[run.type, run.key]
            for type_, uri, draft in _datasets(run):
                for version in _versions(draft):
                    known = self.places.find(
                        self.connection,
                        (draft.name, *draft.other_names),
                        version,
                        self.runs.starts[execution_id],
                        exact=type_ is EventType.OUTPUT,
                    )
                    if known is not None:
                        found[execution_id, type_, uri, version] = known
        return found

    def _foreign(
        self, runs: Sequence[RunDraft], mapped: Mapping[tuple[int, EventType, str, str | None], KnownVersion]
    ) -> set[str]:
        names = set(self.drafts.datasets)
        for run in runs:
            execution_id = self.runs.ids[run.type, run.key]
            names.update(
                uri
                for type_, uri, draft in _datasets(run)
                for version in _versions(draft)
                if (execution_id, type_, uri, version) not in mapped
            )
        return names

    def _describe(self, runs: Sequence[RunDraft]) -> None:
        """What is told of jobs and datasets themselves."""
        jobs: dict[int, tuple[int, Mapping[str, Json]]] = {}
        datasets: dict[int, tuple[int, Mapping[str, Json]]] = {}
        for run in sorted(runs, key=lambda one: one.last):
            facts = {**run.job_facts, "namespace": run.job.namespace, "name": run.job.name}
            _join(jobs, self.jobs[str(run.job)], run.last, facts)
            for _, uri, draft in _datasets(run):
                if uri in self.datasets:
                    _join(datasets, self.datasets[uri], draft.time, _dataset_facts(draft))
        for uri, draft in self.drafts.datasets.items():
            _join(datasets, self.datasets[uri], draft.time, {**_dataset_facts(draft), **draft.state})
        tell(self.connection, s.context_property, types_of.JOB, jobs)
        tell(self.connection, s.context_property, types_of.DATASET, datasets)

    def _artifacts(
        self, runs: Sequence[RunDraft], mapped: Mapping[tuple[int, EventType, str, str | None], KnownVersion]
    ) -> dict[tuple[int, EventType, str], list[_Place]]:
        """Where each input and output is, its states made where they are missing."""
        wanted: dict[str, tuple[str, dict[str, Json]]] = {}
        uses: list[tuple[tuple[int, EventType, str], str, str | None]] = []
        places: dict[tuple[int, EventType, str], list[_Place]] = {}
        for run in runs:
            execution_id = self.runs.ids[run.type, run.key]
            for type_, uri, draft in _datasets(run):
                for version in _versions(draft):
                    key = (execution_id, type_, uri)
                    known = mapped.get((*key, version))
                    if known is not None:
                        role = f"{known.dataset}@v{known.version}"
                        place = _Place(known.context_id, known.artifact_id, known.dataset, role, exact=True)
                        places.setdefault(key, []).append(place)
                        continue
                    state, properties = _state_of(run, type_, uri, version)
                    wanted[state] = (uri, properties)
                    uses.append((key, state, version))
        ids = self._states(wanted)
        for key, name, version in uses:
            uri = key[-1]
            role = fit(uri) if version is None else f"{fit(uri)}@{version}"
            place = _Place(self.datasets[uri], ids[name], uri, role, exact=version is not None)
            places.setdefault(key, []).append(place)
        return places

    def _states(self, wanted: Mapping[str, tuple[str, Mapping[str, Json]]]) -> dict[str, int]:
        """The ids of states by name, made and attributed to their datasets where they are missing."""
        type_id = self.types[types_of.STATE]
        fitted = {name: fit(name) for name in wanted}
        found = registry.find_named(self.connection, s.artifact, type_id, fitted.values())
        fresh = {fitted[name]: name for name in wanted if fitted[name] not in found}
        rows = [
            {"type_id": type_id, "name": short, "uri": wanted[name][0], "state": int(ArtifactState.LIVE),
             "create_time_since_epoch": self.now, "last_update_time_since_epoch": self.now}
            for short, name in sorted(fresh.items())
        ]  # fmt: skip
        registry.insert_absent(self.connection, s.artifact, rows)
        found |= registry.find_named(self.connection, s.artifact, type_id, fresh)
        declared = types_of.TYPES[types_of.STATE].keys()
        properties = [
            row
            for short, name in sorted(fresh.items())
            for row in registry.property_rows("artifact_id", found[short], wanted[name][1], declared)
        ]
        registry.insert_absent(self.connection, s.artifact_property, properties)
        registry.insert_attributions(
            self.connection, [(self.datasets[wanted[name][0]], found[short]) for short, name in fresh.items()]
        )
        self.recorded += Recorded(artifacts=len(fresh))
        return {name: found[short] for name, short in fitted.items()}

    # what joins them

    def _link(self, runs: Sequence[RunDraft], places: Mapping[tuple[int, EventType, str], list[_Place]]) -> None:
        names = {place.context_id: fit(place.key) for found in places.values() for place in found}
        writer = Links(self.connection, names)
        wanted: dict[tuple[tuple[int, EventType, str], int], Link] = {}
        for key, found in places.items():
            execution_id, type_, _ = key
            time = self.runs.starts[execution_id] if type_ is EventType.INPUT else self.runs.ends[execution_id]
            for number, place in enumerate(found):
                wanted[key, number] = Link(
                    execution_id, type_, place.context_id, place.artifact_id, time, place.role, place.exact
                )
        placed = writer.write(list(wanted.values()))
        links.set_ends(self.connection, {one: self.runs.ends[one] for one in self.runs.changed | writer.changed})
        self.recorded += Recorded(links=writer.added)
        self._belong(runs, places, {key: placed[link] for (key, _), link in wanted.items()})
        self._tell_states(runs, wanted, placed)
        changed = self.runs.changed | writer.changed
        if not changed:
            return
        touched = links.written_by(self.connection, sorted(changed), self.types[types_of.DATASET])
        touched |= {
            place.context_id
            for (execution_id, _, _), found in places.items()
            for place in found
            if execution_id in changed and not place.exact
        }
        since = min(min(self.runs.starts[one], self.runs.ends[one]) for one in changed)
        links.relink(self.connection, touched, since, self.types)
        links.remove_unused(self.connection, writer.left)

    def _tell_states(
        self,
        runs: Sequence[RunDraft],
        wanted: Mapping[tuple[tuple[int, EventType, str], int], Link],
        placed: Mapping[Link, int],
    ) -> None:
        """What is told of the states that were written: schema, rows, bytes."""
        told: dict[int, tuple[int, Mapping[str, Json]]] = {}
        for run in sorted(runs, key=lambda one: one.last):
            execution_id = self.runs.ids[run.type, run.key]
            for uri, draft in run.outputs.items():
                link = wanted.get(((execution_id, EventType.OUTPUT, uri), 0))
                if link is not None and draft.state and uri in self.datasets and "@v" not in link.role[len(uri) :]:
                    _join(told, placed[link], draft.time, draft.state)
        tell(self.connection, s.artifact_property, types_of.STATE, told)

    def _belong(
        self,
        runs: Sequence[RunDraft],
        places: Mapping[tuple[int, EventType, str], list[_Place]],
        artifacts: Mapping[tuple[int, EventType, str], int],
    ) -> None:
        """Associations and attributions, and the column edges of what was written."""
        pairs: set[tuple[int, int]] = set()
        made: set[tuple[int, int]] = set()
        edges: list[dict[str, Any]] = []
        for run in runs:
            execution_id = self.runs.ids[run.type, run.key]
            pairs.add((self.jobs[str(run.job)], execution_id))
            for uri, draft in run.outputs.items():
                place = places[execution_id, EventType.OUTPUT, uri][0]
                artifact_id = artifacts[execution_id, EventType.OUTPUT, uri]
                pairs.add((place.context_id, execution_id))
                made.add((self.jobs[str(run.job)], artifact_id))
                edges += self._edges(execution_id, artifact_id, place.key, draft, places)
        associate(self.connection, pairs)
        registry.insert_attributions(self.connection, made)
        self.recorded += Recorded(columns=add_edges(self.connection, edges))

    def _edges(
        self,
        execution_id: int,
        artifact_id: int,
        output: str,
        draft: DatasetDraft,
        places: Mapping[tuple[int, EventType, str], list[_Place]],
    ) -> Iterable[dict[str, Any]]:
        for edge in draft.edges:
            found = places.get((execution_id, EventType.INPUT, edge.source.uri))
            source = found[0].key if found else self._own_name(edge.source, self.runs.starts[execution_id])
            yield {
                "execution_id": execution_id, "output_artifact_id": artifact_id, "output_dataset": fit(output),
                "output_column": edge.output, "input_dataset": source, "input_hash": uri_hash(source),
                "input_column": edge.column, "kind": edge.kind.value, "expression": edge.expression, "line": None,
                "masked": edge.masked,
            }  # fmt: skip

    def _own_name(self, name: ForeignName, time: int) -> str:
        known = self.places.find(self.connection, (name,), None, time, exact=False)
        return name.uri if known is None else known.dataset


def _datasets(run: RunDraft) -> Iterable[tuple[EventType, str, DatasetDraft]]:
    for uri, draft in run.inputs.items():
        yield EventType.INPUT, uri, draft
    for uri, draft in run.outputs.items():
        yield EventType.OUTPUT, uri, draft


def _versions(draft: DatasetDraft) -> list[str | None]:
    """The versions that were named; None where none was."""
    return [*sorted(draft.versions)] or [None]


def _state_of(run: RunDraft, type_: EventType, uri: str, version: str | None) -> tuple[str, dict[str, Json]]:
    """The name and properties of the state of a dataset that a run read or wrote."""
    if version is not None:
        return f"{uri}@{version}", {"dataset": uri, "version": version}
    if type_ is EventType.OUTPUT:
        return f"{uri}#{run.key}", {"dataset": uri, "run": run.key}
    return uri, {"dataset": uri}


def _dataset_facts(draft: DatasetDraft) -> dict[str, Json]:
    return {**draft.facts, "namespace": draft.name.namespace, "name": draft.name.name}


def _join(
    told: dict[int, tuple[int, Mapping[str, Json]]], node: int, time: int, facts: Mapping[str, Json]
) -> None:  # fmt: skip
    """Add what is told later to what was told of a node."""
    before = told.get(node, (0, {}))
    told[node] = (max(before[0], time), {**before[1], **facts})
