"""The get methods of MLMD's client, over lakecat's metadata store."""

# ruff: noqa: ARG002 - extra_options are MLMD's, and its own client ignores them, too

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar

from lakecat.catalog.metadata_store import MetadataStore as Store
from lakecat.catalog.mlmd import convert
from lakecat.catalog.mlmd.failures import translating
from lakecat.catalog.mlmd.protos import errors, service

T = TypeVar("T")
Message: TypeAlias = Any
"""One of MLMD's protobuf messages; the method's name says which."""


def request(name: str, **fields: Any) -> Message:
    """A request of MLMD's service, filled as its own client fills it: what has the wrong type raises TypeError."""
    message = getattr(service, f"{name}Request")()
    for field, value in fields.items():
        target = getattr(message, field)
        if hasattr(target, "extend"):
            target.extend(() if value is None else value)
        elif hasattr(target, "CopyFrom"):
            target.CopyFrom(value)
        else:
            setattr(message, field, value)
    return message


class Asking:
    """What MetadataStore answers. ``extra_options`` are taken and ignored, as MLMD's client does."""

    _store: Store

    @staticmethod
    def _all(to_message: Callable[[T], Message], ask: Callable[..., Iterable[T]], *args: Any) -> list[Message]:
        with translating():
            return [to_message(value) for value in ask(*args)]

    def _some(
        self, what: str, to_message: Callable[[T], Message], ask: Callable[..., Iterable[T]], given: Any
    ) -> list[Message]:
        """As ``_all``, but where there is nothing MLMD raises NotFoundError."""
        found = self._all(to_message, ask, given)
        if not found and given != []:
            raise errors.NotFoundError(f"No {what}.")
        return found

    @staticmethod
    def _one(to_message: Callable[[T], Message], ask: Callable[..., T | None], *args: Any) -> Message | None:
        with translating():
            value = ask(*args)
        return None if value is None else to_message(value)

    # artifacts

    def get_artifacts(self, list_options: Any = None, extra_options: Any = None) -> list[Message]:
        """All artifacts, or those that the options choose."""
        options = convert.list_options_of(list_options)
        return self._all(convert.to_artifact, self._store.get_artifacts, options)

    def get_artifacts_by_id(self, artifact_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The artifacts with these ids; ids that are not there are left out."""
        asked = request("GetArtifactsByID", artifact_ids=artifact_ids)
        return self._all(convert.to_artifact, self._store.get_artifacts_by_id, list(asked.artifact_ids))

    def get_artifacts_and_types_by_artifact_ids(
        self, artifact_ids: Iterable[int], extra_options: Any = None
    ) -> tuple[list[Message], list[Message]]:
        """The artifacts with these ids, and their types."""
        asked = request("GetArtifactsByID", artifact_ids=artifact_ids)
        with translating():
            artifacts, types = self._store.get_artifacts_and_types_by_artifact_ids(list(asked.artifact_ids))
        return [convert.to_artifact(a) for a in artifacts], [convert.to_artifact_type(t) for t in types]

    def get_artifacts_by_type(
        self, type_name: str, type_version: str | None = None, extra_options: Any = None
    ) -> list[Message]:
        """The artifacts of a type; none where there is no such type."""
        asked = request("GetArtifactsByType", type_name=type_name, type_version=type_version or "")
        return self._all(
            convert.to_artifact, self._store.get_artifacts_by_type, asked.type_name, asked.type_version or None
        )

    def get_artifact_by_type_and_name(
        self, type_name: str, artifact_name: str, type_version: str | None = None, extra_options: Any = None
    ) -> Message | None:
        """The artifact of this type and name; None where there is none."""
        asked = request(
            "GetArtifactByTypeAndName",
            type_name=type_name,
            artifact_name=artifact_name,
            type_version=type_version or "",
        )
        ask = self._store.get_artifact_by_type_and_name
        return self._one(convert.to_artifact, ask, asked.type_name, asked.artifact_name, asked.type_version or None)

    def get_artifacts_by_uri(self, uri: str, extra_options: Any = None) -> list[Message]:
        """The artifacts with this uri."""
        asked = request("GetArtifactsByURI", uris=[uri])
        return self._all(convert.to_artifact, self._store.get_artifacts_by_uri, asked.uris[0])

    def get_artifacts_by_external_ids(self, external_ids: Iterable[str], extra_options: Any = None) -> list[Message]:
        """The artifacts with these external ids. Raises NotFoundError where there are none."""
        asked = request("GetArtifactsByExternalIds", external_ids=external_ids)
        ask = self._store.get_artifacts_by_external_ids
        return self._some("artifacts found for external_ids", convert.to_artifact, ask, list(asked.external_ids))

    def get_artifacts_by_context(
        self, context_id: int, list_options: Any = None, extra_options: Any = None
    ) -> list[Message]:
        """The artifacts that are attributed to a context."""
        asked = request("GetArtifactsByContext", context_id=context_id)
        options = convert.list_options_of(list_options)
        return self._all(convert.to_artifact, self._store.get_artifacts_by_context, asked.context_id, options)

    # executions

    def get_executions(self, list_options: Any = None, extra_options: Any = None) -> list[Message]:
        """All executions, or those that the options choose."""
        options = convert.list_options_of(list_options)
        return self._all(convert.to_execution, self._store.get_executions, options)

    def get_executions_by_id(self, execution_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The executions with these ids; ids that are not there are left out."""
        asked = request("GetExecutionsByID", execution_ids=execution_ids)
        return self._all(convert.to_execution, self._store.get_executions_by_id, list(asked.execution_ids))

    def get_executions_by_type(
        self, type_name: str, type_version: str | None = None, extra_options: Any = None
    ) -> list[Message]:
        """The executions of a type; none where there is no such type."""
        asked = request("GetExecutionsByType", type_name=type_name, type_version=type_version or "")
        return self._all(
            convert.to_execution, self._store.get_executions_by_type, asked.type_name, asked.type_version or None
        )

    def get_execution_by_type_and_name(
        self, type_name: str, execution_name: str, type_version: str | None = None, extra_options: Any = None
    ) -> Message | None:
        """The execution of this type and name; None where there is none."""
        asked = request(
            "GetExecutionByTypeAndName",
            type_name=type_name,
            execution_name=execution_name,
            type_version=type_version or "",
        )
        ask = self._store.get_execution_by_type_and_name
        return self._one(convert.to_execution, ask, asked.type_name, asked.execution_name, asked.type_version or None)

    def get_executions_by_external_ids(self, external_ids: Iterable[str], extra_options: Any = None) -> list[Message]:
        """The executions with these external ids. Raises NotFoundError where there are none."""
        asked = request("GetExecutionsByExternalIds", external_ids=external_ids)
        ask = self._store.get_executions_by_external_ids
        return self._some("executions found for external_ids", convert.to_execution, ask, list(asked.external_ids))

    def get_executions_by_context(
        self, context_id: int, list_options: Any = None, extra_options: Any = None
    ) -> list[Message]:
        """The executions that are associated with a context; without options the newest first."""
        asked = request("GetExecutionsByContext", context_id=context_id)
        options = convert.list_options_of(list_options)
        return self._all(convert.to_execution, self._store.get_executions_by_context, asked.context_id, options)

    # contexts

    def get_contexts(self, list_options: Any = None, extra_options: Any = None) -> list[Message]:
        """All contexts, or those that the options choose."""
        options = convert.list_options_of(list_options)
        return self._all(convert.to_context, self._store.get_contexts, options)

    def get_contexts_by_id(self, context_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The contexts with these ids; ids that are not there are left out."""
        asked = request("GetContextsByID", context_ids=context_ids)
        return self._all(convert.to_context, self._store.get_contexts_by_id, list(asked.context_ids))

    def get_contexts_by_type(
        self, type_name: str, type_version: str | None = None, extra_options: Any = None
    ) -> list[Message]:
        """The contexts of a type; none where there is no such type."""
        asked = request("GetContextsByType", type_name=type_name, type_version=type_version or "")
        return self._all(
            convert.to_context, self._store.get_contexts_by_type, asked.type_name, asked.type_version or None
        )

    def get_context_by_type_and_name(
        self, type_name: str, context_name: str, type_version: str | None = None, extra_options: Any = None
    ) -> Message | None:
        """The context of this type and name; None where there is none."""
        asked = request(
            "GetContextByTypeAndName",
            type_name=type_name,
            context_name=context_name,
            type_version=type_version or "",
        )
        ask = self._store.get_context_by_type_and_name
        return self._one(convert.to_context, ask, asked.type_name, asked.context_name, asked.type_version or None)

    def get_contexts_by_external_ids(self, external_ids: Iterable[str], extra_options: Any = None) -> list[Message]:
        """The contexts with these external ids. Raises NotFoundError where there are none."""
        asked = request("GetContextsByExternalIds", external_ids=external_ids)
        ask = self._store.get_contexts_by_external_ids
        return self._some("contexts found for external_ids", convert.to_context, ask, list(asked.external_ids))

    def get_contexts_by_artifact(self, artifact_id: int, extra_options: Any = None) -> list[Message]:
        """The contexts that an artifact is attributed to. Raises NotFoundError where there are none."""
        asked = request("GetContextsByArtifact", artifact_id=artifact_id)
        ask, what = self._store.get_contexts_by_artifact, f"contexts found for artifact_id: {artifact_id}"
        return self._some(what, convert.to_context, ask, asked.artifact_id)

    def get_contexts_by_execution(self, execution_id: int, extra_options: Any = None) -> list[Message]:
        """The contexts that an execution is associated with. Raises NotFoundError where there are none."""
        asked = request("GetContextsByExecution", execution_id=execution_id)
        ask, what = self._store.get_contexts_by_execution, f"contexts found for execution_id: {execution_id}"
        return self._some(what, convert.to_context, ask, asked.execution_id)

    def get_parent_contexts_by_context(self, context_id: int, extra_options: Any = None) -> list[Message]:
        """The contexts that a context lies directly within."""
        asked = request("GetParentContextsByContext", context_id=context_id)
        return self._all(convert.to_context, self._store.get_parent_contexts_by_context, asked.context_id)

    def get_children_contexts_by_context(self, context_id: int, extra_options: Any = None) -> list[Message]:
        """The contexts that lie directly within a context."""
        asked = request("GetChildrenContextsByContext", context_id=context_id)
        return self._all(convert.to_context, self._store.get_children_contexts_by_context, asked.context_id)

    # types

    def get_artifact_type(self, type_name: str, type_version: str | None = None, extra_options: Any = None) -> Message:
        """An artifact type. Raises NotFoundError."""
        asked = request("GetArtifactType", type_name=type_name, type_version=type_version or "")
        ask = self._store.get_artifact_type
        return self._one(convert.to_artifact_type, ask, asked.type_name, asked.type_version or None)

    def get_artifact_types(self, extra_options: Any = None) -> list[Message]:
        """All artifact types but MLMD's simple ones."""
        return self._all(convert.to_artifact_type, self._store.get_artifact_types)

    def get_artifact_types_by_id(self, type_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The artifact types with these ids."""
        asked = request("GetArtifactTypesByID", type_ids=type_ids)
        return self._all(convert.to_artifact_type, self._store.get_artifact_types_by_id, list(asked.type_ids))

    def get_artifact_types_by_external_ids(
        self, external_ids: Iterable[str], extra_options: Any = None
    ) -> list[Message]:
        """The artifact types with these external ids. Raises NotFoundError where there are none."""
        asked = request("GetArtifactTypesByExternalIds", external_ids=external_ids)
        ask = self._store.get_artifact_types_by_external_ids
        return self._some("types found for external_ids", convert.to_artifact_type, ask, list(asked.external_ids))

    def get_execution_type(self, type_name: str, type_version: str | None = None, extra_options: Any = None) -> Message:
        """An execution type. Raises NotFoundError."""
        asked = request("GetExecutionType", type_name=type_name, type_version=type_version or "")
        ask = self._store.get_execution_type
        return self._one(convert.to_execution_type, ask, asked.type_name, asked.type_version or None)

    def get_execution_types(self, extra_options: Any = None) -> list[Message]:
        """All execution types but MLMD's simple ones."""
        return self._all(convert.to_execution_type, self._store.get_execution_types)

    def get_execution_types_by_id(self, type_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The execution types with these ids."""
        asked = request("GetExecutionTypesByID", type_ids=type_ids)
        return self._all(convert.to_execution_type, self._store.get_execution_types_by_id, list(asked.type_ids))

    def get_execution_types_by_external_ids(
        self, external_ids: Iterable[str], extra_options: Any = None
    ) -> list[Message]:
        """The execution types with these external ids. Raises NotFoundError where there are none."""
        asked = request("GetExecutionTypesByExternalIds", external_ids=external_ids)
        ask = self._store.get_execution_types_by_external_ids
        return self._some("types found for external_ids", convert.to_execution_type, ask, list(asked.external_ids))

    def get_context_type(self, type_name: str, type_version: str | None = None, extra_options: Any = None) -> Message:
        """A context type. Raises NotFoundError."""
        asked = request("GetContextType", type_name=type_name, type_version=type_version or "")
        ask = self._store.get_context_type
        return self._one(convert.to_context_type, ask, asked.type_name, asked.type_version or None)

    def get_context_types(self, extra_options: Any = None) -> list[Message]:
        """All context types."""
        return self._all(convert.to_context_type, self._store.get_context_types)

    def get_context_types_by_id(self, type_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The context types with these ids."""
        asked = request("GetContextTypesByID", type_ids=type_ids)
        return self._all(convert.to_context_type, self._store.get_context_types_by_id, list(asked.type_ids))

    def get_context_types_by_external_ids(
        self, external_ids: Iterable[str], extra_options: Any = None
    ) -> list[Message]:
        """The context types with these external ids. Raises NotFoundError where there are none."""
        asked = request("GetContextTypesByExternalIds", external_ids=external_ids)
        ask = self._store.get_context_types_by_external_ids
        return self._some("types found for external_ids", convert.to_context_type, ask, list(asked.external_ids))

    # events

    def get_events_by_execution_ids(self, execution_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The events of these executions."""
        asked = request("GetEventsByExecutionIDs", execution_ids=execution_ids)
        return self._all(convert.to_event, self._store.get_events_by_execution_ids, list(asked.execution_ids))

    def get_events_by_artifact_ids(self, artifact_ids: Iterable[int], extra_options: Any = None) -> list[Message]:
        """The events of these artifacts."""
        asked = request("GetEventsByArtifactIDs", artifact_ids=artifact_ids)
        return self._all(convert.to_event, self._store.get_events_by_artifact_ids, list(asked.artifact_ids))

    # lineage

    def get_lineage_subgraph(
        self, query_options: Message, field_mask_paths: Sequence[str] | None = None, extra_options: Any = None
    ) -> Message:
        """The lineage around the starting nodes, with the fields that the mask names, or with all.

        Unlike MLMD's it goes as far as ``max_num_hops`` says, without an end at 100, and to the end where it is not
        set. Raises InvalidArgumentError, NotFoundError where nothing fits the filter of the starting nodes.
        """
        asked = service.GetLineageSubgraphRequest(lineage_subgraph_query_options=query_options)
        options = convert.query_options_of(asked.lineage_subgraph_query_options)
        with translating():
            graph = self._store.get_lineage_subgraph(options, list(field_mask_paths or ()) or None)
        return convert.to_graph(graph, field_mask_paths or ())
