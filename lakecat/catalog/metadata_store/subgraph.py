"""Lineage as values: MLMD's ``get_lineage_subgraph``, and ``lineage`` with any number of hops and limits that tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store import rows, types, walking
from lakecat.catalog.metadata_store.base import StoreBase
from lakecat.catalog.metadata_store.drafts import making
from lakecat.catalog.metadata_store.filters import prepare
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, Kind
from lakecat.catalog.metadata_store.nodes import nodes_of
from lakecat.catalog.metadata_store.relations import THERE, check_there, events_of
from lakecat.catalog.metadata_store.session import IDS, Query, Session, one_of
from lakecat.catalog.metadata_store.values import (
    Association,
    Attribution,
    EndingNodes,
    LineageDirection,
    LineageSubgraph,
    LineageSubgraphQueryOptions,
)
from lakecat.errors import InvalidValueError, UnknownNodeError

Direction: TypeAlias = Literal["up", "down", "both", "around"]

FIELDS: Final = (
    "artifacts", "executions", "contexts", "artifact_types", "execution_types", "context_types", "events",
    "attributions", "associations",
)  # fmt: skip
"""What a subgraph can hold, as MLMD's field mask names it."""

_WAYS: Final[Mapping[str, tuple[walking.Way, ...]]] = {
    "up": ("up",), "down": ("down",), "both": ("up", "down"), "around": ("around",),
}  # fmt: skip
_DIRECTIONS: Final[Mapping[LineageDirection, Direction]] = {
    LineageDirection.UPSTREAM: "up",
    LineageDirection.DOWNSTREAM: "down",
    LineageDirection.BIDIRECTIONAL: "around",
    LineageDirection.DIRECTION_UNSPECIFIED: "around",
}
_ATTRIBUTIONS: Final = Query(
    lambda backend: (
        sa.select(s.attribution.c.artifact_id, s.attribution.c.context_id)
        .where(one_of(s.attribution.c.artifact_id, backend))
        .order_by(s.attribution.c.id)
    ),
    by_ids=True,
)
_ASSOCIATIONS: Final = Query(
    lambda backend: (
        sa.select(s.association.c.execution_id, s.association.c.context_id)
        .where(one_of(s.association.c.execution_id, backend))
        .order_by(s.association.c.id)
    ),
    by_ids=True,
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A walk, and what of it is asked for."""

    walk: walking.Walk
    fields: frozenset[str]

    @property
    def artifact_ids(self) -> list[int]:
        return sorted([node for node in self.walk.nodes if node > 0])

    @property
    def execution_ids(self) -> list[int]:
        return sorted([-node for node in self.walk.nodes if node < 0])


class LineageMethods(StoreBase):
    """Lineage of artifacts and executions."""

    def get_lineage_subgraph(
        self, query_options: LineageSubgraphQueryOptions, field_mask_paths: Sequence[str] | None = None
    ) -> LineageSubgraph:
        """The lineage around the starting nodes, as far as the options say; all of it where they say nothing.

        Unlike MLMD's, which stops at 100 hops and 101 starting nodes without a word. ``field_mask_paths``: which
        fields of the answer are filled, see ``FIELDS``; all without it.

        Raises InvalidValueError (no starting nodes are asked for, negative hops), FilterError, UnknownNodeError
        (nothing fits the filters of the starting nodes).
        """
        options = query_options
        starts = {
            kind: starting.filter_query
            for kind, starting in ((ARTIFACT, options.starting_artifacts), (EXECUTION, options.starting_executions))
            if starting is not None
        }
        if not starts:
            raise InvalidValueError(
                "no starting nodes are asked for",
                field="starting_artifacts",
                hint="give a filter for artifacts or executions",
            )
        for kind, text in starts.items():
            if not text:
                raise InvalidValueError(
                    f"the filter of the starting {kind.name}s is empty",
                    field=f"starting_{kind.name}s.filter_query",
                    value=text,
                    hint="id > 0 means all",
                )
        endings = {ARTIFACT: options.ending_artifacts, EXECUTION: options.ending_executions}
        with self._reading() as session:
            begin = _fitting(session, starts)
            if not begin:
                raise UnknownNodeError(
                    "nothing fits the filters of the starting nodes", field="filter_query", value=list(starts.values())
                )
            limits = _limits(session.backend, endings, options.max_num_hops, None)
            return self._subgraph(
                session, begin, _DIRECTIONS[options.direction], limits, _mask(field_mask_paths, strict=False)
            )

    def lineage(
        self,
        *,
        artifact_ids: Sequence[int] = (),
        execution_ids: Sequence[int] = (),
        artifacts: str | None = None,
        executions: str | None = None,
        direction: Direction = "up",
        until_artifacts: str | None = None,
        until_executions: str | None = None,
        include_until: bool = True,
        max_num_hops: int | None = None,
        max_nodes: int | None = None,
        fields: Sequence[str] | None = None,
    ) -> LineageSubgraph:
        """Where nodes came from (``up``), what came of them (``down``), or both; to any depth.

        Args:
            artifact_ids: start from these artifacts
            execution_ids: and from these executions
            artifacts: and from the artifacts that fit this filter
            executions: and from the executions that fit this filter
            direction: ``both`` is up and down; ``around`` follows every event of every node, as MLMD's BIDIRECTIONAL
            until_artifacts: go no further from artifacts that fit this filter
            until_executions: go no further from executions that fit this filter
            include_until: whether the nodes where it ends so are part of the answer
            max_num_hops: how many events lie between a start and the farthest node, at most
            max_nodes: how many artifacts and executions there are, at most; the nearest
            fields: what of the answer is filled, see ``FIELDS``; all without it

        The answer's ``truncated`` says which of the limits left something out; where ``max_nodes`` did, the others as
        far as the answer reaches.

        Raises UnknownNodeError (an id that is not there), InvalidValueError, FilterError.
        """
        if direction not in _WAYS:
            raise InvalidValueError(
                f"{direction!r} is no direction", field="direction", value=direction, hint=f"one of {', '.join(_WAYS)}"
            )
        mask = _mask(fields, strict=True)
        if max_nodes is not None and max_nodes < 1:
            raise InvalidValueError("max_nodes is at least 1", field="max_nodes", value=max_nodes)
        starts = {kind: text for kind, text in ((ARTIFACT, artifacts), (EXECUTION, executions)) if text is not None}
        endings = {
            kind: None if text is None else EndingNodes(text, include_until)
            for kind, text in ((ARTIFACT, until_artifacts), (EXECUTION, until_executions))
        }
        with self._reading() as session:
            begin = _existing(session, ARTIFACT, artifact_ids) | _existing(session, EXECUTION, execution_ids)
            begin |= _fitting(session, starts)
            limits = _limits(session.backend, endings, max_num_hops, max_nodes)
            return self._subgraph(session, begin, direction, limits, mask)

    def _subgraph(
        self,
        session: Session,
        starts: Collection[int],
        direction: Direction,
        limits: walking.Limits,
        mask: frozenset[str],
    ) -> LineageSubgraph:
        with making():
            walks = [walking.walk(session, starts, way, limits) for way in _WAYS[direction]]
            found = _Found(walks[0] if len(walks) == 1 else walking.join(walks, limits), mask)
            return self._filled(session, found)

    def _filled(self, session: Session, found: _Found) -> LineageSubgraph:
        """What was found, with its values."""
        mask, artifact_ids, execution_ids = found.fields, found.artifact_ids, found.execution_ids
        about_contexts = mask & {"contexts", "context_types"}
        pairs_a = _pairs(session, _ATTRIBUTIONS, artifact_ids, wanted=bool(about_contexts or "attributions" in mask))
        pairs_e = _pairs(session, _ASSOCIATIONS, execution_ids, wanted=bool(about_contexts or "associations" in mask))
        context_ids = sorted({context_id for _, context_id in (*pairs_a, *pairs_e)})
        parts = [
            self._nodes(session, kind, ids, mask)
            for kind, ids in ((ARTIFACT, artifact_ids), (EXECUTION, execution_ids), (CONTEXT, context_ids))
        ]
        return LineageSubgraph(
            artifacts=parts[0][0],
            executions=parts[1][0],
            contexts=parts[2][0],
            artifact_types=parts[0][1],
            execution_types=parts[1][1],
            context_types=parts[2][1],
            events=tuple(events_of(session, sorted(found.walk.edges))) if "events" in mask else (),
            attributions=tuple(Attribution(*pair) for pair in pairs_a) if "attributions" in mask else (),
            associations=tuple(Association(*pair) for pair in pairs_e) if "associations" in mask else (),
            truncated=found.walk.truncated,
        )

    def _nodes(
        self, session: Session, kind: Kind, ids: list[int], mask: frozenset[str]
    ) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The nodes of one kind, and their types; as far as they are asked for."""
        with_nodes, with_types = f"{kind.name}s" in mask, f"{kind.name}_types" in mask
        if not ids or not (with_nodes or with_types):
            return (), ()
        found = sorted(session.ask(rows.NODES[kind.name], {IDS: ids}))
        nodes = nodes_of(session, self._types, kind, found) if with_nodes else []
        type_ids = sorted({row[1] for row in found})
        known = types.load_types(session.connection, type_ids, kind.type_kind) if with_types else []
        return tuple(nodes), tuple(known)


def _mask(fields: Sequence[str] | None, *, strict: bool) -> frozenset[str]:
    """The fields to fill. MLMD takes names that do not exist, and fills nothing for them; ``strict`` refuses them."""
    if not fields:
        return frozenset(FIELDS)
    for name in fields:
        if strict and name not in FIELDS:
            raise InvalidValueError(
                f"a lineage has no {name!r}", field="fields", value=name, hint=f"it has {', '.join(FIELDS)}"
            )
    return frozenset(fields)


def _limits(
    backend: str, endings: Mapping[Kind, EndingNodes | None], hops: int | None, nodes: int | None
) -> walking.Limits:
    if hops is not None and hops < 0:
        raise InvalidValueError("max_num_hops cannot be negative", field="max_num_hops", value=hops)
    filters = {}
    parameters: dict[str, Any] = {}
    for kind, ending in endings.items():
        if ending is not None:
            # As in MLMD every node fits an empty filter.
            found = prepare(kind, ending.filter_query or "TRUE", backend, prefix=f"ending_{kind.name}")
            filters[kind.name] = found.condition
            parameters |= found.parameters
    artifacts, executions = endings[ARTIFACT], endings[EXECUTION]
    return walking.Limits(
        artifacts=filters.get("artifact"),
        executions=filters.get("execution"),
        include_artifacts=artifacts is None or artifacts.include_ending_nodes,
        include_executions=executions is None or executions.include_ending_nodes,
        parameters=parameters,
        hops=hops,
        nodes=nodes,
    )


def _fitting(session: Session, filters: Mapping[Kind, str]) -> set[int]:
    """The nodes that fit, as numbers."""
    found: set[int] = set()
    for kind, text in filters.items():
        one = prepare(kind, text, session.backend)
        query = sa.select(kind.table.c.id).where(one.condition)
        sign = 1 if kind is ARTIFACT else -1
        found.update(sign * key for key in session.connection.execute(query, dict(one.parameters)).scalars())
    return found


def _existing(session: Session, kind: Kind, ids: Sequence[int]) -> set[int]:
    """Nodes by their ids, as numbers. Raises UnknownNodeError for those that are not there."""
    wanted = sorted(set(ids))
    if wanted:
        check_there(kind, wanted, session.ask(THERE[kind.name], {IDS: wanted}))
    return {key if kind is ARTIFACT else -key for key in wanted}


def _pairs(session: Session, query: Query, ids: Sequence[int], *, wanted: bool) -> list[tuple[int, int]]:
    return session.ask(query, {IDS: list(ids)}) if wanted and ids else []
