"""docs/json.md is a promise: each document has exactly the fields that it names."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlmd_lab import make_database
from openlineage_lab import EVENTS
from shell_lab import Shell

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


@pytest.fixture(scope="module")
def promised() -> dict[str, list[str]]:
    rows = re.findall(r"^\| (\w+) \| ((?:`\w+`,? ?)+)\|$", PAGE.read_text(), flags=re.MULTILINE)
    return {name: re.findall(r"`(\w+)`", fields) for name, fields in rows}


def at(document: Any, path: str) -> Any:
    for step in path.split("."):
        document = document[int(step) if step.isdigit() else step]
    return document


@pytest.mark.parametrize(
    ("command", "objects"),
    [
        ("plan", {"work.0": "work"}),
        ("run --dry-run", {"work.0": "work"}),
        ("ingest", {"outcomes.0": "outcome"}),
        ("run --full-refresh", {"outcomes.0": "outcome", "outcomes.0.version": "version"}),
        ("streams orders", {"streams.0": "stream"}),
        ("reset orders", {"streams.0": "reset"}),
        ("ls", {"datasets.0": "dataset", "datasets.0.latest": "version"}),
        (
            "show raw.orders",
            {
                "description": "description",
                "description.version": "version",
                "description.columns.0": "column",
                "description.made_by": "made_by",
                "description.made_by.info": "execution",
                "description.made_by.sources.0": "source",
                "description.history.0": "version",
            },
        ),
        ("diff mart.revenue_by_day@v1", {"difference": "difference", "difference.before": "version"}),
        (
            "lineage mart.revenue_by_day.revenue",
            {"lineage": "lineage", "lineage.graph": "graph", "lineage.columns.0": "step"},
        ),
        ("search ord", {"search": "find", "search.hits.0": "hit", "search.hits.0.matches.0": "match"}),
        ("tag set prod raw.orders", {"tag": "tag"}),
        ("annotate raw.orders --label gold --history", {"annotation": "annotation", "changes.0": "remark"}),
        (
            "history raw.orders",
            {"history": "history", "history.entries.0": "entry", "history.entries.0.version": "version"},
        ),
        ("executions", {"executions.0": "execution"}),
        ("execution 2", {"execution": "report", "execution.info": "execution", "execution.inputs.0": "version"}),
        ("compare 1 2", {"comparison": "comparison", "comparison.before": "report"}),
        (
            "impact raw.orders.amount",
            {"impact": "impact", "impact.affected.0": "affected", "impact.readers.0": "reader"},
        ),
        ("where orders-2026-11-01.csv", {"trace": "trace", "trace.loads.0": "load", "trace.holdings.0": "holding"}),
        ("status", {"status.0": "status", "status.0.version": "version", "status.0.last_run": "execution"}),
        ("doctor", {"checks.0": "check"}),
        ("catalog purge --older-than 90d", {"purge": "removal"}),
    ],
)
def test_a_document_has_the_fields_that_are_promised(
    stocked: Path, shell: Shell, promised: dict[str, list[str]], command: str, objects: dict[str, str]
) -> None:
    document = shell("--json", *command.split()).json
    for path, name in objects.items():
        assert list(at(document, path)) == promised[name], path


def test_gc_and_errors(stocked: Path, shell: Shell, promised: dict[str, list[str]]) -> None:
    assert list(shell("--json", "gc").json) == promised["collection"]
    failed = shell("--json", "show", "raw.absent")
    assert failed.out == ""
    (line,) = failed.err.splitlines()
    assert re.findall(r'"(\w+)":', line) == promised["error"]


def test_an_import(stocked: Path, shell: Shell, promised: dict[str, list[str]]) -> None:
    path = stocked / "events.jsonl"
    path.write_text((EVENTS / "dbt.jsonl").read_text() + "{")
    document = shell("--json", "catalog", "import", "openlineage", path).json["import"]
    assert list(document) == promised["import"]
    assert list(document["added"]) == promised["added"]
    assert list(document["problems"][0]) == promised["problem"]


def test_a_copy_and_an_adoption_of_ml_metadata(
    stocked: Path, shell: Shell, promised: dict[str, list[str]], tmp_path: Path
) -> None:
    make_database(tmp_path / "mlmd.db")
    document = shell("--json", "catalog", "import", "mlmd", tmp_path / "mlmd.db").json["import"]
    assert list(document) == promised["copy"]
    assert list(document["artifacts"]) == promised["copied"]
    assert list(document["events"]) == promised["linked"]
    assert shell("init", tmp_path / "theirs").code == 0
    make_database(tmp_path / "theirs" / "catalog.db")
    adopted = shell("--json", "--config", tmp_path / "theirs", "catalog", "import", "mlmd", "--adopt").json
    assert list(adopted) == ["adopted", "adoption"]
    assert list(adopted["adoption"]) == promised["adoption"]


def test_a_query_names_types_as_tables_do(stocked: Path, shell: Shell) -> None:
    document = shell("--json", "query", "SELECT * FROM raw.orders ORDER BY order_id LIMIT 1").json
    assert list(document) == ["columns", "rows"]
    shown = {column["name"]: column["type"] for column in document["columns"]}
    described = shell("--json", "show", "raw.orders").json["description"]["columns"]
    assert shown == {column["name"]: column["type"] for column in described}
    assert shown["amount"] == "decimal(12, 2)"
