"""Asks ml-metadata and lakecat's adapter for what is not there; prints both sides' answers, by question, as JSON.

A process of its own, in the environment of ``LAKECAT_MLMD_PYTHON``; PYTHONPATH names lakecat. Both stores are in
memory, with one node of each kind that nothing joins.
"""

from __future__ import annotations

import json

import ml_metadata
from ml_metadata import errors
from ml_metadata.metadata_store import ListOptions
from ml_metadata.proto import metadata_store_pb2 as pb

from lakecat.catalog import mlmd

KNOWN = 1
UNKNOWN = (99, 0, -1)
OF_ONE = (
    "get_contexts_by_artifact",
    "get_contexts_by_execution",
    "get_artifacts_by_context",
    "get_executions_by_context",
    "get_parent_contexts_by_context",
    "get_children_contexts_by_context",
)
OF_MANY = (
    *(f"get_{kind}s_by_id" for kind in ("artifact", "execution", "context")),
    *(f"get_{kind}_types_by_id" for kind in ("artifact", "execution", "context")),
    "get_events_by_execution_ids",
    "get_events_by_artifact_ids",
    "get_artifacts_and_types_by_artifact_ids",
)
KINDS = ("artifact", "execution", "context")


def questions():
    """Method and arguments, of everything that finds nothing."""
    for name in OF_ONE:
        yield from ((name, [key]) for key in (KNOWN, *UNKNOWN))
    for name in ("get_artifacts_by_context", "get_executions_by_context"):
        yield name, [99, ListOptions(limit=2)]
        yield name, [99, ListOptions(filter_query="id = 1")]
    for name in OF_MANY:
        yield from ((name, [keys]) for keys in ([], [99], [0], [-1]))
    for kind in KINDS:
        for name in (f"get_{kind}s_by_external_ids", f"get_{kind}_types_by_external_ids"):
            yield from ((name, [ids]) for ids in ([], ["none"], [""], ["none", ""]))
        yield f"get_{kind}s_by_type", ["none"]
        yield f"get_{kind}s_by_type", ["T", "v2"]
        yield f"get_{kind}_by_type_and_name", ["none", "n"]
        yield f"get_{kind}_by_type_and_name", ["T", "none"]
        yield f"get_{kind}_by_type_and_name", ["T", "n", "v2"]
        yield f"get_{kind}_type", ["none"]
        yield f"get_{kind}_type", ["T", "v2"]
        yield f"get_{kind}s", [ListOptions(filter_query="id = 99")]
    yield "get_artifacts_by_uri", ["none"]


def answers(library):
    config = pb.ConnectionConfig()
    config.fake_database.SetInParent()
    store = library.MetadataStore(config)
    for kind in KINDS:
        type_id = getattr(store, f"put_{kind}_type")(getattr(pb, f"{kind.capitalize()}Type")(name="T"))
        made = getattr(store, f"put_{kind}s")([getattr(pb, kind.capitalize())(type_id=type_id, name="n")])
        assert made == [KNOWN]
    found = {}
    for name, arguments in questions():
        shown = [vars(a) if isinstance(a, ListOptions) else a for a in arguments]
        asked = f"{name}{shown}"
        assert asked not in found
        try:
            found[asked] = repr(getattr(store, name)(*arguments))
        except errors.StatusError as err:
            found[asked] = f"raises {type(err).__name__}"
    return found


if __name__ == "__main__":
    print(json.dumps({"ml-metadata": answers(ml_metadata), "lakecat": answers(mlmd)}))
