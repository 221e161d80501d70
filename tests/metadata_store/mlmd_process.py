"""Writes and reads a whole store through MLMD's Python interface: the real one, or lakecat's adapter.

A process of its own, in the environment of ``LAKECAT_MLMD_PYTHON``. Reads from stdin
``{"library": "ml-metadata" | "lakecat", "connect": {…ConnectionConfig as JSON}, "steps": [{"do": …}]}`` and prints a
list with each step's answer. Values are tagged, so that JSON keeps their types: ``["double", "0x1.8p+1"]``.
"""

from __future__ import annotations

import base64
import json
import sys

from google.protobuf import json_format
from ml_metadata.proto import metadata_store_pb2 as pb

KINDS = ("artifact", "execution", "context")
STATES = {"artifact": "state", "execution": "last_known_state", "context": None}


def number(value):
    return float(value).hex()


def pack_json(value):
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return ["struct", {name: pack_json(item) for name, item in value.struct_value.fields.items()}]
    if kind == "list_value":
        return ["list", [pack_json(item) for item in value.list_value.values]]
    if kind == "number_value":
        return ["number", number(value.number_value)]
    return ["null"] if kind in (None, "null_value") else [kind, getattr(value, kind)]


def unpack_json(packed, target):
    kind = packed[0]
    if kind == "struct":
        target.struct_value.SetInParent()
        for name, item in packed[1].items():
            unpack_json(item, target.struct_value.fields[name])
    elif kind == "list":
        target.list_value.SetInParent()
        for item in packed[1]:
            unpack_json(item, target.list_value.values.add())
    elif kind == "number":
        target.number_value = float.fromhex(packed[1])
    elif kind == "null":
        target.null_value = 0
    else:
        setattr(target, kind, packed[1])


def pack(value):
    kind = value.WhichOneof("value")
    if kind == "double_value":
        return ["double", number(value.double_value)]
    if kind == "struct_value":
        return ["struct", {name: pack_json(item) for name, item in value.struct_value.fields.items()}]
    if kind == "proto_value":
        return ["proto", value.proto_value.type_url, base64.b64encode(value.proto_value.value).decode()]
    return [kind.removesuffix("_value"), getattr(value, kind)]


def unpack(packed, target):
    kind = packed[0]
    if kind == "double":
        target.double_value = float.fromhex(packed[1])
    elif kind == "struct":
        target.struct_value.SetInParent()
        for name, item in packed[1].items():
            unpack_json(item, target.struct_value.fields[name])
    elif kind == "proto":
        target.proto_value.type_url, target.proto_value.value = packed[1], base64.b64decode(packed[2])
    else:
        setattr(target, f"{kind}_value", packed[1])


def make_type(kind, given):
    message = getattr(pb, f"{kind.capitalize()}Type")()
    for name in ("name", "version", "description", "external_id"):
        if given.get(name) is not None:
            setattr(message, name, given[name])
    for name, value in given.get("properties", {}).items():
        message.properties[name] = value
    if given.get("base_type"):
        message.base_type = given["base_type"]
    for name in ("input_type", "output_type"):
        if given.get(name) is not None:
            getattr(message, name).SetInParent()
            json_format.ParseDict(given[name], getattr(message, name))
    return message


def make_node(kind, given, type_id):
    message = getattr(pb, kind.capitalize())(type_id=type_id)
    for name in ("id", "name", "uri", "external_id", STATES[kind]):
        if name and given.get(name) is not None:
            setattr(message, name, given[name])
    for place in ("properties", "custom_properties"):
        for name, value in given.get(place, {}).items():
            unpack(value, getattr(message, place)[name])
    return message


def make_event(given, ids):
    message = pb.Event(
        artifact_id=ids["artifact"][given["artifact"]],
        execution_id=ids["execution"][given["execution"]],
        type=given["type"],
    )
    if given.get("time") is not None:
        message.milliseconds_since_epoch = given["time"]
    for step in given.get("path", ()):
        message.path.steps.add(**({"index": step} if isinstance(step, int) else {"key": step}))
    return message


def write(store, given):
    """Put a described store; the ids of its nodes. What it refers to is named by position."""
    types = {
        kind: [getattr(store, f"put_{kind}_type")(make_type(kind, t)) for t in given.get(f"{kind}_types", ())]
        for kind in KINDS
    }
    ids = {}
    for kind in KINDS:
        nodes = [make_node(kind, n, types[kind][n["type"]]) for n in given.get(f"{kind}s", ())]
        ids[kind] = list(getattr(store, f"put_{kind}s")(nodes)) if nodes else []
    if given.get("events"):
        store.put_events([make_event(e, ids) for e in given["events"]])
    attributions = [
        pb.Attribution(artifact_id=ids["artifact"][a], context_id=ids["context"][c])
        for a, c in given.get("attributions", ())
    ]
    associations = [
        pb.Association(execution_id=ids["execution"][e], context_id=ids["context"][c])
        for e, c in given.get("associations", ())
    ]
    if attributions or associations:
        store.put_attributions_and_associations(attributions, associations)
    parents = [
        pb.ParentContext(child_id=ids["context"][c], parent_id=ids["context"][p])
        for c, p in given.get("parent_contexts", ())
    ]
    if parents:
        store.put_parent_contexts(parents)
    return ids


def read_type(message, with_id):
    read = {
        name: getattr(message, name)
        for name in ("name", "version", "description", "external_id")
        if message.HasField(name)
    }
    if with_id:
        read["id"] = message.id
    if message.HasField("base_type"):
        read["base_type"] = message.base_type
    for name in ("input_type", "output_type"):
        if name in message.DESCRIPTOR.fields_by_name and message.HasField(name):
            read[name] = json_format.MessageToDict(getattr(message, name))
    return read | {"properties": dict(sorted(message.properties.items()))}


def read_node(kind, message):
    names = [
        "id",
        "name",
        "type",
        "type_id",
        "uri",
        "external_id",
        "create_time_since_epoch",
        "last_update_time_since_epoch",
        *filter(None, [STATES[kind]]),
    ]
    known = message.DESCRIPTOR.fields_by_name
    read = {name: getattr(message, name) for name in names if name in known and message.HasField(name)}
    for place in ("properties", "custom_properties"):
        read[place] = {name: pack(value) for name, value in sorted(getattr(message, place).items())}
    return read


def read_event(message):
    steps = [getattr(step, step.WhichOneof("value")) for step in message.path.steps]
    return [message.artifact_id, message.execution_id, message.type, steps, message.milliseconds_since_epoch]


def read(store):
    """Everything that is in a store."""
    found = {}
    for kind in KINDS:
        types = getattr(store, f"get_{kind}_types")()
        found[f"{kind}_types"] = sorted((read_type(t, with_id=True) for t in types), key=lambda t: t["id"])
        nodes = getattr(store, f"get_{kind}s")()
        found[f"{kind}s"] = sorted((read_node(kind, n) for n in nodes), key=lambda n: n["id"])
    artifacts = [a["id"] for a in found["artifacts"]]
    contexts = [c["id"] for c in found["contexts"]]
    found["events"] = sorted(map(read_event, store.get_events_by_artifact_ids(artifacts)))
    found["attributions"] = sorted([a.id, c] for c in contexts for a in store.get_artifacts_by_context(c))
    found["associations"] = sorted([e.id, c] for c in contexts for e in store.get_executions_by_context(c))
    found["parent_contexts"] = sorted([c, p.id] for c in contexts for p in store.get_parent_contexts_by_context(c))
    return found


def update(store, given):
    """Put nodes again; each has its id and its type's name."""
    for kind in KINDS:
        for node in given.get(f"{kind}s", ()):
            type_id = getattr(store, f"get_{kind}_type")(node["type"]).id
            getattr(store, f"put_{kind}s")([make_node(kind, node, type_id)])


def bulk(store, count):
    """Many artifacts with five properties, each the output of an execution, all in one context."""
    kinds = {"i": pb.INT, "d": pb.DOUBLE, "s": pb.STRING, "t": pb.STRING, "b": pb.BOOLEAN}
    a_type = store.put_artifact_type(pb.ArtifactType(name="Bulk", properties=kinds))
    e_type = store.put_execution_type(pb.ExecutionType(name="BulkRun"))
    c_type = store.put_context_type(pb.ContextType(name="BulkGroup"))
    [context] = store.put_contexts([pb.Context(type_id=c_type, name="all")])
    for start in range(0, count, 10_000):
        numbers = range(start, min(count, start + 10_000))
        artifacts = [pb.Artifact(type_id=a_type, name=f"a{n}", uri=f"s3://bulk/{n}") for n in numbers]
        for n, artifact in zip(numbers, artifacts, strict=True):
            artifact.properties["i"].int_value = n
            artifact.properties["d"].double_value = n / 7
            artifact.properties["s"].string_value = f"text {n}"
            artifact.properties["t"].string_value = "the same"
            artifact.properties["b"].bool_value = n % 2 == 0
        a = store.put_artifacts(artifacts)
        e = store.put_executions([pb.Execution(type_id=e_type) for _ in numbers])
        store.put_events(
            [pb.Event(artifact_id=x, execution_id=y, type=pb.Event.OUTPUT) for x, y in zip(a, e, strict=True)]
        )
        store.put_attributions_and_associations(
            [pb.Attribution(artifact_id=x, context_id=context) for x in a],
            [pb.Association(execution_id=y, context_id=context) for y in e],
        )


def open_store(library, connect):
    config = json_format.ParseDict(connect, pb.ConnectionConfig())
    if library == "lakecat":
        from lakecat.catalog import mlmd
    else:
        import ml_metadata as mlmd
    return mlmd.MetadataStore(config)


def main():
    asked = json.load(sys.stdin)
    answers = []
    store = open_store(asked["library"], asked["connect"])
    for step in asked["steps"]:
        do = step["do"]
        if do == "write":
            answers.append(write(store, step["store"]))
        elif do == "read":
            answers.append(read(store))
        elif do == "update":
            answers.append(update(store, step["store"]))
        else:
            answers.append(bulk(store, step["count"]))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
