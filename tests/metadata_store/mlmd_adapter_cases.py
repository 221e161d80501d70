"""Cases of lakecat's adapter for MLMD, which need its protobuf messages; run by test_metadata_mlmd_adapter.py.

A process of its own, in the environment of ``LAKECAT_MLMD_PYTHON``, with a folder as its argument.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import ml_metadata
import pytest
from ml_metadata import errors
from ml_metadata.proto import metadata_store_pb2 as pb

from lakecat.catalog import mlmd
from lakecat.errors import LakecatError, NameTakenError, UnknownNodeError

FOLDER = Path(sys.argv[1])


def opened(name=None, mode=None):
    config = pb.ConnectionConfig()
    if name is None:
        config.fake_database.SetInParent()
    else:
        config.sqlite.filename_uri = name if name.startswith("file:") else str(FOLDER / name)
        if mode is not None:
            config.sqlite.connection_mode = mode
    return mlmd.MetadataStore(config)


def refused(kind, call, *parts, cause=None):
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind, caught.value
    for part in parts:
        assert part in str(caught.value), caught.value
    if cause is not None:
        assert isinstance(caught.value.__cause__, cause), repr(caught.value.__cause__)


def case_errors_are_those_of_ml_metadata():
    store = opened()
    kind = store.put_artifact_type(pb.ArtifactType(name="A", properties={"i": pb.INT}))
    context_type = store.put_context_type(pb.ContextType(name="C"))
    step = store.put_execution_type(pb.ExecutionType(name="E"))
    [key] = store.put_artifacts([pb.Artifact(type_id=kind, name="n")])
    [run] = store.put_executions([pb.Execution(type_id=step)])
    invalid, absent, taken = errors.InvalidArgumentError, errors.NotFoundError, errors.AlreadyExistsError

    def artifact(**fields):
        return lambda: store.put_artifacts([pb.Artifact(**fields)])

    refused(invalid, artifact(), cause=LakecatError)
    refused(invalid, artifact(id=99, type_id=kind), "99", cause=UnknownNodeError)
    refused(absent, artifact(type_id=99), "99")
    refused(taken, artifact(type_id=kind, name="n"), "'n'", cause=NameTakenError)
    refused(invalid, artifact(type_id=kind, properties={"x": pb.Value(int_value=1)}))
    refused(invalid, artifact(type_id=kind, properties={"i": pb.Value(string_value="1")}))
    refused(invalid, artifact(type_id=kind, custom_properties={"c": pb.Value()}), "Found unmatched property type: c")
    refused(invalid, lambda: store.put_contexts([pb.Context(type_id=context_type)]))
    refused(invalid, lambda: store.put_events([pb.Event(artifact_id=key, execution_id=run)]), "No event type")
    refused(invalid, lambda: store.put_events([pb.Event(artifact_id=99, execution_id=run, type=3)]))
    refused(invalid, lambda: store.get_artifacts(mlmd.ListOptions(limit=-1)))
    refused(invalid, lambda: store.get_artifacts(ml_metadata.ListOptions(filter_query="uri = ")))
    refused(absent, lambda: store.get_artifact_type("none"))
    refused(absent, lambda: store.get_artifacts_by_external_ids(["none"]))
    refused(absent, lambda: store.get_contexts_by_artifact(key))
    refused(invalid, lambda: store.put_artifact_type(pb.ArtifactType(name="U", properties={"x": 0})), "x is UNKNOWN")
    refused(invalid, lambda: store.put_artifact_type(pb.ArtifactType()))
    refused(taken, lambda: store.put_artifact_type(pb.ArtifactType(name="A", properties={"i": pb.STRING}), True, True))
    base = pb.ArtifactType
    store.put_artifact_type(base(name="B", base_type=base.DATASET))
    refused(errors.UnimplementedError, lambda: store.put_artifact_type(base(name="B", base_type=base.MODEL)))
    refused(errors.UnimplementedError, lambda: store.put_artifact_type(base(name="B", base_type=base.UNSET)))
    edge = [(3, None, pb.Event(type=3, artifact_id=key))]
    refused(errors.OutOfRangeError, lambda: store.put_lineage_subgraph([pb.Execution(type_id=step)], [], [], edge))


def case_arguments_of_another_type_are_type_errors():
    store = opened()
    for call in (
        lambda: store.put_artifacts([pb.Execution()]),
        lambda: store.put_artifacts(5),
        lambda: store.put_artifact_type(pb.ContextType(name="x")),
        lambda: store.get_artifact_type(5),
        lambda: store.get_artifact_type(None),
        lambda: store.get_artifacts_by_id(["1"]),
        lambda: store.get_artifacts_by_uri(b"x" if False else 3),
        lambda: store.put_events([pb.Artifact()]),
    ):
        refused(TypeError, call)
    refused(ValueError, lambda: mlmd.MetadataStore(5), "ConnectionConfig")
    refused(ValueError, lambda: mlmd.MetadataStore(pb.MetadataStoreClientConfig(host="h", port=1)), "gRPC")


def case_connection_modes():
    modes = pb.SqliteMetadataSourceConfig
    refused(RuntimeError, lambda: opened("none.db", modes.READWRITE), "no catalog")
    refused(RuntimeError, lambda: opened("none.db", modes.READONLY))
    refused(RuntimeError, lambda: opened("no/folder/x.db"))
    refused(RuntimeError, lambda: mlmd.MetadataStore(pb.ConnectionConfig()), "names no database")
    with contextlib.closing(opened("made.db", modes.READWRITE_OPENCREATE)) as store:
        kind = store.put_artifact_type(pb.ArtifactType(name="A"))
        store.put_artifacts([pb.Artifact(type_id=kind, uri="kept")])
    with contextlib.closing(opened("made.db", modes.READONLY)) as store:
        assert [a.uri for a in store.get_artifacts()] == ["kept"]
        refused(errors.PermissionDeniedError, lambda: store.put_artifacts([pb.Artifact(type_id=kind)]), "READONLY")
    with contextlib.closing(opened(f"file:{FOLDER}/made.db?mode=rw")) as store:
        assert store.get_artifact_type("A").id == kind
    with contextlib.closing(opened("file:anything?mode=memory")) as store:
        assert store.get_artifacts() == []
    config = pb.ConnectionConfig()
    config.mysql.ssl_options.cipher = "x"
    refused(RuntimeError, lambda: mlmd.MetadataStore(config), "mysql.ssl_options.cipher")
    config = pb.ConnectionConfig()
    config.postgresql.host, config.postgresql.port, config.postgresql.dbname = "127.0.0.1", "1", "x"
    config.postgresql.user, config.postgresql.password = "u", "verysecret"
    with pytest.raises(RuntimeError) as caught:
        mlmd.MetadataStore(config)
    assert "verysecret" not in str(caught.value)


def case_masks_graphs_and_structures():
    store = opened()
    kind = store.put_artifact_type(pb.ArtifactType(name="A", properties={"i": pb.INT}, base_type=pb.ArtifactType.MODEL))
    step = pb.ExecutionType(name="E")
    step.input_type.dict.properties["a"].simple.name = "A"
    step.input_type.dict.none_type_not_required = True
    step.output_type.list.element.any.SetInParent()
    step_id = store.put_execution_type(step)
    assert store.get_execution_type("E").input_type == step.input_type
    assert store.get_execution_type("E").output_type == step.output_type
    assert store.get_artifact_type("A").base_type == pb.ArtifactType.MODEL
    made = pb.Artifact(type_id=kind, uri="one", properties={"i": pb.Value(int_value=1)})
    [key] = store.put_artifacts([made])
    store.put_artifacts([pb.Artifact(id=key, uri="two")], ["uri"])
    [read] = store.get_artifacts_by_id([key])
    assert (read.uri, read.properties["i"].int_value, read.type) == ("two", 1, "A")
    event = pb.Event(type=pb.Event.INPUT)
    event.path.steps.add(key="k")
    event.path.steps.add(index=2)
    run, [same], _ = store.put_execution(pb.Execution(type_id=step_id), [(read, event)], None)
    assert same == key
    options = pb.LineageSubgraphQueryOptions(max_num_hops=5)
    options.starting_artifacts.filter_query = "uri = 'two'"
    graph = store.get_lineage_subgraph(options)
    assert [e.id for e in graph.executions] == [run]
    assert graph.events[0].path == event.path
    assert [t.name for t in graph.artifact_types] == ["A"]
    only = store.get_lineage_subgraph(options, ["events"])
    assert (len(only.events), len(only.artifacts), len(only.artifact_types)) == (1, 0, 0)
    nothing = pb.LineageSubgraphQueryOptions()
    nothing.starting_artifacts.filter_query = "uri = 'none'"
    refused(errors.NotFoundError, lambda: store.get_lineage_subgraph(nothing))
    refused(errors.InvalidArgumentError, lambda: store.get_lineage_subgraph(pb.LineageSubgraphQueryOptions()))


def case_the_schema_is_not_downgraded():
    config = pb.ConnectionConfig()
    refused(errors.InvalidArgumentError, lambda: mlmd.downgrade_schema(config, -1), "not specified")
    refused(errors.InvalidArgumentError, lambda: mlmd.downgrade_schema(config, 99), "cannot be downgraded")
    refused(errors.UnimplementedError, lambda: mlmd.downgrade_schema(config, 0))


if __name__ == "__main__":
    for name, case in list(globals().items()):
        if name.startswith("case_"):
            case()
            print(name)
