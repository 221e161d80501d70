"""MLMD's MetadataStore over lakecat's catalog: same methods, same arguments, same protobuf objects, same errors."""

# ruff: noqa: ARG002, FBT001, FBT002 - the signatures are MLMD's; its own client ignores extra_options, too

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Any, TypeVar

from lakecat.catalog.metadata_store import MetadataStore as Store
from lakecat.catalog.metadata_store.values import Artifact, Event
from lakecat.catalog.mlmd import convert
from lakecat.catalog.mlmd.asking import Asking, Message, request
from lakecat.catalog.mlmd.connection import Target, create_database, skips_creation, target_of
from lakecat.catalog.mlmd.failures import connecting, translating
from lakecat.catalog.mlmd.protos import errors, pb, service
from lakecat.catalog.schema import MLMD_SCHEMA_VERSION

T = TypeVar("T")
DEFAULT_RETRIES = 5


@unique
class OrderByField(Enum):
    """What a listing is ordered by; MLMD's names and numbers."""

    CREATE_TIME = 1
    UPDATE_TIME = 2
    ID = 3


@dataclass
class ListOptions:
    """Which nodes a listing returns, and in which order; MLMD's fields. MLMD's own class is taken too."""

    limit: int | None = None
    order_by: OrderByField | None = None
    is_asc: bool = True
    filter_query: str | None = None


class MetadataStore(Asking):
    """Code written for ``ml_metadata.MetadataStore`` runs unchanged on this one.

    Methods raise ``ml_metadata.errors``, with lakecat's own error as the cause, and TypeError for arguments of
    another type. ``extra_options`` are taken and ignored, as MLMD's client does.
    """

    def __init__(self, config: Any, enable_upgrade_migration: bool = False) -> None:
        """Open the database that a ConnectionConfig names; MLMD's own database is adopted as it is.

        Args:
            config: ``ml_metadata.proto.ConnectionConfig``.
            enable_upgrade_migration: taken and ignored; lakecat upgrades its own schema when it opens one, and never
                another version of MLMD's.

        Raises:
            ValueError: ``config`` is something else; a MetadataStoreClientConfig too, as there is no gRPC server.
            RuntimeError: there is no such database, or it cannot be opened.
        """
        if isinstance(config, pb.MetadataStoreClientConfig):
            raise ValueError(
                "lakecat opens the database itself and speaks to no gRPC server: give it the ConnectionConfig "
                "that the server has"
            )
        if not isinstance(config, pb.ConnectionConfig):
            raise ValueError("MetadataStore is expecting proto.ConnectionConfig")
        del enable_upgrade_migration
        self._config = config
        retries = config.HasField("retry_options")
        self._max_num_retries = config.retry_options.max_num_retries if retries else DEFAULT_RETRIES
        with connecting():
            target = target_of(config)
            self._read_only = target.read_only
            self._store = _open(target, create_missing=not skips_creation(config))

    @property
    def store(self) -> Store:
        """The metadata store underneath, which has more to it than MLMD's interface."""
        return self._store

    def close(self) -> None:
        """Close the database's connections; MLMD's store has no such method, and leaves it to the interpreter."""
        self._store.close()

    @property
    def pipeline_asset(self) -> None:
        """None, as in MLMD's open-source client."""
        return None

    def _put(self, put: Callable[[], T]) -> T:
        if self._read_only:
            raise errors.PermissionDeniedError("the store was opened READONLY")
        with translating(putting=True):
            return put()

    # types

    def put_artifact_type(
        self,
        artifact_type: Message,
        can_add_fields: bool = False,
        can_omit_fields: bool = False,
        extra_options: Any = None,
    ) -> int:
        """Insert or extend an artifact type; its id. Raises AlreadyExistsError where it would change otherwise."""
        asked = request("PutArtifactType", artifact_type=artifact_type)
        value = convert.artifact_type_of(asked.artifact_type)
        return self._put(
            lambda: self._store.put_artifact_type(value, can_add_fields=can_add_fields, can_omit_fields=can_omit_fields)
        )

    def put_execution_type(
        self,
        execution_type: Message,
        can_add_fields: bool = False,
        can_omit_fields: bool = False,
        extra_options: Any = None,
    ) -> int:
        """Insert or extend an execution type; its id. Raises AlreadyExistsError where it would change otherwise."""
        asked = request("PutExecutionType", execution_type=execution_type)
        value = convert.execution_type_of(asked.execution_type)
        return self._put(
            lambda: self._store.put_execution_type(
                value, can_add_fields=can_add_fields, can_omit_fields=can_omit_fields
            )
        )

    def put_context_type(
        self,
        context_type: Message,
        can_add_fields: bool = False,
        can_omit_fields: bool = False,
        extra_options: Any = None,
    ) -> int:
        """Insert or extend a context type; its id. Raises AlreadyExistsError where it would change otherwise."""
        asked = request("PutContextType", context_type=context_type)
        value = convert.context_type_of(asked.context_type)
        return self._put(
            lambda: self._store.put_context_type(value, can_add_fields=can_add_fields, can_omit_fields=can_omit_fields)
        )

    # nodes

    def put_artifacts(
        self, artifacts: Sequence[Message], field_mask_paths: Sequence[str] | None = None, extra_options: Any = None
    ) -> list[int]:
        """Insert artifacts, or update those that have an id; their ids. With a mask only the fields it names."""
        asked = request("PutArtifacts", artifacts=artifacts)
        values = [convert.artifact_of(message) for message in asked.artifacts]
        return self._put(lambda: list(self._store.put_artifacts(values, _mask(field_mask_paths))))

    def put_executions(
        self, executions: Sequence[Message], field_mask_paths: Sequence[str] | None = None, extra_options: Any = None
    ) -> list[int]:
        """Insert executions, or update those that have an id; their ids. With a mask only the fields it names."""
        asked = request("PutExecutions", executions=executions)
        values = [convert.execution_of(message) for message in asked.executions]
        return self._put(lambda: list(self._store.put_executions(values, _mask(field_mask_paths))))

    def put_contexts(
        self, contexts: Sequence[Message], field_mask_paths: Sequence[str] | None = None, extra_options: Any = None
    ) -> list[int]:
        """Insert contexts, or update those that have an id; their ids. With a mask only the fields it names."""
        asked = request("PutContexts", contexts=contexts)
        values = [convert.context_of(message) for message in asked.contexts]
        return self._put(lambda: list(self._store.put_contexts(values, _mask(field_mask_paths))))

    # what joins them

    def put_events(self, events: Sequence[Message], extra_options: Any = None) -> None:
        """Insert events; their execution and artifact must be there."""
        asked = request("PutEvents", events=events)
        values = [convert.event_of(message) for message in asked.events]
        self._put(lambda: self._store.put_events(values))

    def put_attributions_and_associations(
        self, attributions: Sequence[Message], associations: Sequence[Message], extra_options: Any = None
    ) -> None:
        """Join artifacts and executions to contexts; what is joined already stays so."""
        asked = request("PutAttributionsAndAssociations", attributions=attributions, associations=associations)
        artifacts = [convert.attribution_of(message) for message in asked.attributions]
        executions = [convert.association_of(message) for message in asked.associations]
        self._put(lambda: self._store.put_attributions_and_associations(artifacts, executions))

    def put_parent_contexts(self, parent_contexts: Sequence[Message], extra_options: Any = None) -> None:
        """Put contexts within others. Raises AlreadyExistsError where they are already."""
        asked = request("PutParentContexts", parent_contexts=parent_contexts)
        values = [convert.parent_context_of(message) for message in asked.parent_contexts]
        self._put(lambda: self._store.put_parent_contexts(values))

    # all at once

    def put_execution(
        self,
        execution: Message,
        artifact_and_events: Sequence[tuple[Message, Message | None]],
        contexts: Sequence[Message] | None,
        reuse_context_if_already_exist: bool = False,
        reuse_artifact_if_already_exist_by_external_id: bool = False,
        force_reuse_context: bool = False,
        force_update_time: bool = False,
        extra_options: Any = None,
    ) -> tuple[int, list[int], list[int]]:
        """Insert or update an execution with its artifacts, events and contexts, in one transaction.

        Returns:
            The execution's id, the artifacts' and the contexts', in the order given.
        """
        asked = request("PutExecution", execution=execution, contexts=contexts)
        for pair in artifact_and_events:
            if pair:
                asked.artifact_event_pairs.add(artifact=pair[0], event=pair[1] if len(pair) == 2 else None)
        made = self._put(
            lambda: self._store.put_execution(
                convert.execution_of(asked.execution),
                [_pair(pair) for pair in asked.artifact_event_pairs],
                [convert.context_of(message) for message in asked.contexts],
                reuse_context_if_already_exist=reuse_context_if_already_exist,
                reuse_artifact_if_already_exist_by_external_id=reuse_artifact_if_already_exist_by_external_id,
                force_reuse_context=force_reuse_context,
                force_update_time=force_update_time,
            )
        )
        return made[0], list(made[1]), list(made[2])

    def put_lineage_subgraph(
        self,
        executions: Sequence[Message],
        artifacts: Sequence[Message],
        contexts: Sequence[Message],
        event_edges: Sequence[tuple[int | None, int | None, Message]],
        reuse_context_if_already_exist: bool = False,
        reuse_artifact_if_already_exist_by_external_id: bool = False,
        extra_options: Any = None,
    ) -> tuple[list[int], list[int], list[int]]:
        """Insert or update executions, artifacts, contexts and events, in one transaction.

        Returns:
            The ids of the executions, artifacts and contexts, in the order given.
        """
        asked = request("PutLineageSubgraph", executions=executions, artifacts=artifacts, contexts=contexts)
        for execution_index, artifact_index, event in event_edges:
            asked.event_edges.add(execution_index=execution_index, artifact_index=artifact_index, event=event)
        made = self._put(
            lambda: self._store.put_lineage_subgraph(
                [convert.execution_of(message) for message in asked.executions],
                [convert.artifact_of(message) for message in asked.artifacts],
                [convert.context_of(message) for message in asked.contexts],
                [_edge(edge) for edge in asked.event_edges],
                reuse_context_if_already_exist=reuse_context_if_already_exist,
                reuse_artifact_if_already_exist_by_external_id=reuse_artifact_if_already_exist_by_external_id,
            )
        )
        return list(made[0]), list(made[1]), list(made[2])


def downgrade_schema(config: Any, downgrade_to_schema_version: int) -> None:
    """Refused: lakecat's catalog is MLMD's schema 10, and stays so.

    Raises InvalidArgumentError for a version that there cannot be, UnimplementedError for the others.
    """
    del config
    if downgrade_to_schema_version < 0:
        raise errors.InvalidArgumentError("downgrade_to_schema_version not specified")
    if downgrade_to_schema_version > MLMD_SCHEMA_VERSION:
        raise errors.InvalidArgumentError(f"MLMD cannot be downgraded to schema_version {downgrade_to_schema_version}")
    raise errors.UnimplementedError("a lakecat catalog is not downgraded: restore a backup of the older one")


def _open(target: Target, *, create_missing: bool) -> Store:
    """The store of a database; MLMD's own is adopted, unless it is only to be read."""
    if target.url is None:
        return Store.in_memory()
    if target.url.get_backend_name() != "sqlite" and create_missing:
        create_database(target.url)
    return Store.open(target.url, create=target.create, adopt=not target.read_only)


def _mask(paths: Iterable[str] | None) -> list[str] | None:
    mask = service.PutArtifactsRequest().update_mask
    mask.paths.extend(paths or ())
    return list(mask.paths) or None


def _pair(pair: Message) -> tuple[Artifact, Event | None]:
    return convert.artifact_of(pair.artifact), convert.event_of(pair.event) if pair.HasField("event") else None


def _edge(edge: Message) -> tuple[int | None, int | None, Event]:
    return convert.given(edge, "execution_index"), convert.given(edge, "artifact_index"), convert.event_of(edge.event)
