"""What is not there: the adapter answers as ml-metadata does, the store with nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from mlmd_lab import ROOT, find_python

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import (
    Artifact,
    ArtifactType,
    Context,
    ContextType,
    Execution,
    ExecutionType,
    ListOptions,
)
from lakecat.errors import UnknownTypeError

CASES = Path(__file__).parent / "mlmd_nothing_cases.py"


def test_the_adapter_finds_nothing_in_ml_metadatas_way(missing) -> None:
    done = subprocess.run(
        [find_python(missing), str(CASES)],
        check=False, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["lakecat"] == found["ml-metadata"]
    answers = found["ml-metadata"]
    # Of nodes that nothing joins, and of those that are not there, two methods raise and four do not.
    for key in (1, 99, 0, -1):
        for other in ("artifact", "execution"):
            assert answers[f"get_contexts_by_{other}[{key}]"] == "raises NotFoundError"
        for method in ("artifacts", "executions", "parent_contexts", "children_contexts"):
            assert answers[f"get_{method}_by_context[{key}]"] == "[]"


@pytest.mark.parametrize("key", [1, 99, 0, -1])
def test_the_store_answers_with_an_empty_list(store: MetadataStore, key: int) -> None:
    artifact_type = store.put_artifact_type(ArtifactType(name="T"))
    execution_type = store.put_execution_type(ExecutionType(name="T"))
    context_type = store.put_context_type(ContextType(name="T"))
    store.put_artifacts([Artifact(type_id=artifact_type, name="n")])
    store.put_executions([Execution(type_id=execution_type, name="n")])
    store.put_contexts([Context(type_id=context_type, name="n")])
    assert store.get_contexts_by_artifact(key) == []
    assert store.get_contexts_by_execution(key) == []
    assert store.get_parent_contexts_by_context(key) == []
    assert store.get_children_contexts_by_context(key) == []
    for options in (None, ListOptions(limit=2), ListOptions(filter_query="id > 0")):
        assert store.get_artifacts_by_context(key, options) == []
        assert store.get_executions_by_context(key, options) == []
    assert store.get_events_by_execution_ids([key]) == store.get_events_by_artifact_ids([key]) == []


def test_only_a_type_that_is_asked_for_by_its_name_must_be_there(store: MetadataStore) -> None:
    store.put_artifact_type(ArtifactType(name="T"))
    assert store.get_artifacts_by_id([99]) == store.get_artifacts_by_type("none") == []
    assert store.get_artifacts_by_external_ids(["none"]) == store.get_artifact_types_by_external_ids(["none"]) == []
    for name, version in (("none", None), ("T", "v2"), ("T", None)):
        assert store.get_artifact_by_type_and_name(name, "n", version) is None
    with pytest.raises(UnknownTypeError):
        store.get_artifact_type("T", "v2")
