"""ML Metadata's protobuf messages to lakecat's frozen values and back; nothing is lost either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lakecat.catalog.enums import ArtifactState, EventType, ExecutionState, PropertyType
from lakecat.catalog.metadata_store.values import (
    Artifact,
    ArtifactType,
    Association,
    Attribution,
    Context,
    ContextType,
    EndingNodes,
    Event,
    Execution,
    ExecutionType,
    LineageDirection,
    LineageSubgraph,
    LineageSubgraphQueryOptions,
    ListOptions,
    OrderByField,
    ParentContext,
    PropertyValue,
    ProtoValue,
    StartingNodes,
)
from lakecat.catalog.mlmd.protos import errors, json_format, pb
from lakecat.types import Json


def _base_names(message: Any) -> dict[int, str]:
    """The simple types' names by the numbers of SystemDefinedBaseType; from its extension, as MLMD has it."""
    extension = pb.system_type_extension
    values = message.SystemDefinedBaseType.DESCRIPTOR.values
    return {value.number: value.GetOptions().Extensions[extension].type_name for value in values if value.number}


_ARTIFACT_BASES: Final = _base_names(pb.ArtifactType)
_EXECUTION_BASES: Final = _base_names(pb.ExecutionType)


def given(message: Any, name: str) -> Any:
    """The field's value; None where it is not set."""
    return getattr(message, name) if message.HasField(name) else None


def set_given(message: Any, **values: Any) -> None:
    """Set the fields that are not None."""
    for name, value in values.items():
        if value is not None:
            setattr(message, name, value)


# properties


def values_of(properties: Mapping[str, Any]) -> dict[str, PropertyValue]:
    """A message's map of properties. Raises InvalidArgumentError for a Value that holds nothing."""
    return {name: _value(name, value) for name, value in properties.items()}


def _value(name: str, value: Any) -> PropertyValue:
    kind = value.WhichOneof("value")
    if kind is None:
        raise errors.InvalidArgumentError(f"Found unmatched property type: {name}")
    if kind == "struct_value":
        return struct_of(value.struct_value)
    if kind == "proto_value":
        return ProtoValue(value.proto_value.type_url, value.proto_value.value)
    plain: int | float | str | bool = getattr(value, kind)
    return plain


def struct_of(struct: Any) -> dict[str, Json]:
    """A google.protobuf.Struct as a mapping; its numbers are doubles."""
    return {name: _json(value) for name, value in struct.fields.items()}


def _json(value: Any) -> Json:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return struct_of(value.struct_value)
    if kind == "list_value":
        return [_json(item) for item in value.list_value.values]
    if kind is None or kind == "null_value":
        return None
    plain: str | float | bool = getattr(value, kind)
    return plain


def set_values(target: Any, properties: Mapping[str, PropertyValue]) -> None:
    """Fill a message's map of properties."""
    for name, value in properties.items():
        _set_value(target[name], value)


def _set_value(target: Any, value: PropertyValue) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, ProtoValue):
        target.proto_value.type_url = value.type_url
        target.proto_value.value = value.value
    else:
        target.struct_value.SetInParent()
        set_struct(target.struct_value, value)


def set_struct(target: Any, value: Mapping[str, Json]) -> None:
    """Fill a google.protobuf.Struct."""
    for name, item in value.items():
        _set_json(target.fields[name], item)


def _set_json(target: Any, value: Json) -> None:
    if value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        set_struct(target.struct_value, value)
    else:
        target.list_value.SetInParent()
        for item in value:
            _set_json(target.list_value.values.add(), item)


# nodes


def _common(message: Any) -> dict[str, Any]:
    names = ("id", "type_id", "type", "external_id", "create_time_since_epoch", "last_update_time_since_epoch")
    return {
        "properties": values_of(message.properties),
        "custom_properties": values_of(message.custom_properties),
        **{name: given(message, name) for name in names},
    }


def artifact_of(message: Any) -> Artifact:
    """A ``ml_metadata.Artifact``."""
    state = given(message, "state")
    return Artifact(
        name=given(message, "name"),
        uri=given(message, "uri"),
        state=None if state is None else ArtifactState(state),
        **_common(message),
    )


def execution_of(message: Any) -> Execution:
    """A ``ml_metadata.Execution``."""
    state = given(message, "last_known_state")
    return Execution(
        name=given(message, "name"),
        last_known_state=None if state is None else ExecutionState(state),
        **_common(message),
    )


def context_of(message: Any) -> Context:
    """A ``ml_metadata.Context``; its name is empty where it is not set."""
    return Context(name=message.name, **_common(message))


def _fill_node(message: Any, node: Artifact | Execution | Context) -> Any:
    set_given(
        message,
        id=node.id,
        name=node.name,
        type_id=node.type_id,
        type=node.type,
        external_id=node.external_id,
        create_time_since_epoch=node.create_time_since_epoch,
        last_update_time_since_epoch=node.last_update_time_since_epoch,
    )
    set_values(message.properties, node.properties)
    set_values(message.custom_properties, node.custom_properties)
    return message


def to_artifact(node: Artifact) -> Any:
    """The message of an artifact."""
    message = _fill_node(pb.Artifact(), node)
    set_given(message, uri=node.uri, state=node.state)
    return message


def to_execution(node: Execution) -> Any:
    """The message of an execution."""
    message = _fill_node(pb.Execution(), node)
    set_given(message, last_known_state=node.last_known_state)
    return message


def to_context(node: Context) -> Any:
    """The message of a context."""
    return _fill_node(pb.Context(), node)


# types


def _common_type(message: Any) -> dict[str, Any]:
    return {
        "name": message.name,
        "properties": {name: _kind(name, kind) for name, kind in message.properties.items()},
        **{name: given(message, name) for name in ("id", "version", "description", "external_id")},
    }


def _kind(name: str, kind: int) -> PropertyType:
    if kind == 0:
        raise errors.InvalidArgumentError(f"Property {name} is UNKNOWN.")
    return PropertyType(kind)


def _base_of(message: Any, names: Mapping[int, str]) -> str | None:
    number = given(message, "base_type")
    if number == 0:  # UNSET, where it is said
        raise errors.UnimplementedError("base_type deletion is not supported yet")
    return None if number is None else names[number]


def artifact_type_of(message: Any) -> ArtifactType:
    """A ``ml_metadata.ArtifactType``."""
    return ArtifactType(base_type=_base_of(message, _ARTIFACT_BASES), **_common_type(message))


def execution_type_of(message: Any) -> ExecutionType:
    """A ``ml_metadata.ExecutionType``."""
    return ExecutionType(
        base_type=_base_of(message, _EXECUTION_BASES),
        input_type=_structure(message, "input_type"),
        output_type=_structure(message, "output_type"),
        **_common_type(message),
    )


def context_type_of(message: Any) -> ContextType:
    """A ``ml_metadata.ContextType``."""
    return ContextType(base_type=_base_of(message, {}), **_common_type(message))


def _structure(message: Any, name: str) -> Mapping[str, Json] | None:
    if not message.HasField(name):
        return None
    structure: Mapping[str, Json] = json_format.MessageToDict(getattr(message, name))
    return structure


def _fill_type(message: Any, type_: ArtifactType | ExecutionType | ContextType, bases: Mapping[int, str]) -> Any:
    set_given(
        message,
        id=type_.id,
        name=type_.name,
        version=type_.version,
        description=type_.description,
        external_id=type_.external_id,
        base_type=next((number for number, name in bases.items() if name == type_.base_type), None),
    )
    for name, kind in type_.properties.items():
        message.properties[name] = kind
    return message


def to_artifact_type(type_: ArtifactType) -> Any:
    """The message of an artifact type."""
    return _fill_type(pb.ArtifactType(), type_, _ARTIFACT_BASES)


def to_execution_type(type_: ExecutionType) -> Any:
    """The message of an execution type."""
    message = _fill_type(pb.ExecutionType(), type_, _EXECUTION_BASES)
    for name, structure in (("input_type", type_.input_type), ("output_type", type_.output_type)):
        if structure is not None:
            getattr(message, name).SetInParent()
            json_format.ParseDict(dict(structure), getattr(message, name))
    return message


def to_context_type(type_: ContextType) -> Any:
    """The message of a context type."""
    return _fill_type(pb.ContextType(), type_, {})


# what joins them


def event_of(message: Any) -> Event:
    """A ``ml_metadata.Event``. Raises InvalidArgumentError where it has no type."""
    if not message.HasField("type"):
        raise errors.InvalidArgumentError("No event type is specified.")
    steps = (given(step, step.WhichOneof("value")) for step in message.path.steps if step.WhichOneof("value"))
    return Event(
        type=EventType(message.type),
        artifact_id=given(message, "artifact_id"),
        execution_id=given(message, "execution_id"),
        path=tuple(steps),
        milliseconds_since_epoch=given(message, "milliseconds_since_epoch"),
    )


def to_event(event: Event) -> Any:
    """The message of an event."""
    message = pb.Event(type=event.type)
    set_given(
        message,
        artifact_id=event.artifact_id,
        execution_id=event.execution_id,
        milliseconds_since_epoch=event.milliseconds_since_epoch,
    )
    for step in event.path:
        if isinstance(step, int):
            message.path.steps.add(index=step)
        else:
            message.path.steps.add(key=step)
    return message


def attribution_of(message: Any) -> Attribution:
    """A ``ml_metadata.Attribution``."""
    return Attribution(artifact_id=message.artifact_id, context_id=message.context_id)


def to_attribution(value: Attribution) -> Any:
    """The message of an attribution."""
    return pb.Attribution(artifact_id=value.artifact_id, context_id=value.context_id)


def association_of(message: Any) -> Association:
    """A ``ml_metadata.Association``."""
    return Association(execution_id=message.execution_id, context_id=message.context_id)


def to_association(value: Association) -> Any:
    """The message of an association."""
    return pb.Association(execution_id=value.execution_id, context_id=value.context_id)


def parent_context_of(message: Any) -> ParentContext:
    """A ``ml_metadata.ParentContext``."""
    return ParentContext(child_id=message.child_id, parent_id=message.parent_id)


# questions


def list_options_of(options: Any) -> ListOptions | None:
    """MLMD's ListOptions, or ours of that name. Raises InvalidArgumentError for a limit below 1."""
    if options is None:
        return None
    if options.limit and options.limit < 1:
        raise errors.InvalidArgumentError(
            "Invalid list_options.limit value passed. list_options.limit is expected to be greater than 1"
        )
    return ListOptions(
        limit=options.limit or None,
        order_by=OrderByField(options.order_by.value) if options.order_by else None,
        is_asc=bool(options.is_asc),
        filter_query=getattr(options, "filter_query", None) or None,
    )


def query_options_of(message: Any) -> LineageSubgraphQueryOptions:
    """A ``ml_metadata.LineageSubgraphQueryOptions``."""

    def starting(name: str) -> StartingNodes | None:
        return StartingNodes(filter_query=getattr(message, name).filter_query) if message.HasField(name) else None

    def ending(name: str) -> EndingNodes | None:
        if not message.HasField(name):
            return None
        given_ = getattr(message, name)
        return EndingNodes(filter_query=given_.filter_query, include_ending_nodes=given_.include_ending_nodes)

    return LineageSubgraphQueryOptions(
        starting_artifacts=starting("starting_artifacts"),
        starting_executions=starting("starting_executions"),
        ending_artifacts=ending("ending_artifacts"),
        ending_executions=ending("ending_executions"),
        max_num_hops=given(message, "max_num_hops"),
        direction=LineageDirection(message.direction),
    )


_GRAPH: Final[Mapping[str, Callable[[Any], Any]]] = {
    "artifact_types": to_artifact_type,
    "execution_types": to_execution_type,
    "context_types": to_context_type,
    "artifacts": to_artifact,
    "executions": to_execution,
    "contexts": to_context,
    "events": to_event,
    "attributions": to_attribution,
    "associations": to_association,
}


def to_graph(graph: LineageSubgraph, paths: Iterable[str]) -> Any:
    """The message of a part of the lineage, with the fields that ``paths`` names, or with all."""
    wanted = set(paths) or set(_GRAPH)
    message = pb.LineageGraph()
    for name, convert in _GRAPH.items():
        if name in wanted:
            getattr(message, name).extend(convert(value) for value in getattr(graph, name))
    return message
