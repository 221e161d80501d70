"""What each kind of script leaves in the catalog: column edges with kinds and lines, inputs, positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakecat.types import DatasetName, EdgeKind

if TYPE_CHECKING:
    from conftest import Project

Edge = tuple[str | None, str | None, str | None, str, int | None]


def edges(project: Project, name: str) -> set[Edge]:
    """(output column, input dataset, input column, kind, line) of what scripts made of the newest version."""
    found = project.services.catalog.column_lineage(DatasetName.parse(name), depth=1)
    return {
        (
            step.output.column,
            step.input.dataset if step.input else None,
            step.input.column if step.input else None,
            str(step.kind),
            step.line,
        )
        for step in found
        if step.input is None or not step.input.dataset.startswith("python:")
    }


def test_insert_by_list_through_table_changes(project: Project) -> None:
    project.put("raw.x", [{"id": 1, "n": 2}])
    project.put("wh.t", [{"a": 0, "b": 0, "c": 0}])
    project.script(
        "wh/i.sql",
        "-- A header moves the lines.\nINSERT INTO wh.t (b, a)\n"
        "SELECT id,\n  n + 1\nFROM table_changes('raw.x')\nWHERE n > 1",
    )
    project.done()
    assert edges(project, "wh.t") == {
        ("b", "raw.x", "id", "IDENTITY", 3),
        ("a", "raw.x", "n", "TRANSFORMATION", 4),
        (None, "raw.x", "n", "FILTER", 6),
    }


def test_merge(project: Project) -> None:
    project.put("raw.x", [{"id": 1, "n": 2}])
    project.script(
        "wh/m.sql",
        "MERGE INTO wh.t AS t USING raw.x AS s ON t.id = s.id\n"
        "WHEN MATCHED THEN UPDATE SET total = t.total + s.n\n"
        "WHEN NOT MATCHED THEN INSERT (id, total) VALUES (s.id, s.n)",
    )
    project.done()
    project.replace("raw.x", [{"id": 1, "n": 5}])
    project.done()
    values = {edge[:4] for edge in edges(project, "wh.t") if EdgeKind(edge[3]).direct}
    assert {("id", "raw.x", "id", "IDENTITY"), ("total", "raw.x", "n", "IDENTITY")} <= values
    assert ("total", "raw.x", "n", "TRANSFORMATION") in values
    assert not any(edge[3] == "UNRESOLVED" for edge in edges(project, "wh.t"))


def test_a_star_of_a_snowflake_script_is_resolved_with_the_catalogs_columns(project: Project) -> None:
    project.put("raw.x", [{"Id": 1, "n": 2}])
    project.script("wh/t.sql", "-- lakecat: {dialect: snowflake}\nCREATE OR REPLACE TABLE WH.T AS SELECT * FROM RAW.X")
    project.done()
    columns = [column.name for column in project.services.catalog.schema(project.version("wh.t"))]
    assert columns == ["Id", "n"]
    assert {edge[:4] for edge in edges(project, "wh.t")} == {
        ("Id", "raw.x", "Id", "IDENTITY"),
        ("n", "raw.x", "n", "IDENTITY"),
    }


def test_columns_go_back_through_all_scripts_to_the_source(project: Project) -> None:
    project.put("raw.x", [{"id": 1, "n": 2}])
    project.script("a/t.sql", "SELECT id, n * 2 AS double FROM raw.x")
    project.script("b/t.sql", "SELECT sum(double) AS total FROM a.t")
    project.done()
    steps = project.services.catalog.column_lineage(DatasetName.parse("b.t"), "total")
    chain = {
        (step.depth, step.output.dataset, step.output.column, step.input.dataset, step.input.column)
        for step in steps
        if step.input is not None and step.kind.direct
    }
    assert (1, "b.t", "total", "a.t", "double") in chain
    assert (2, "a.t", "double", "raw.x", "n") in chain
    assert any(depth == 3 and output == "raw.x" for depth, output, *_ in chain)


def test_positions_name_script_and_input(project: Project) -> None:
    version = project.put("raw.x", [{"id": 1}])
    project.script("wh/log.sql", "INSERT INTO wh.log SELECT id FROM table_changes('raw.x')")
    project.done()
    position = project.services.catalog.position("transform:wh.log:raw.x")
    assert position is not None
    assert position.value == {"version": 1, "snapshot": version.snapshot_id}
