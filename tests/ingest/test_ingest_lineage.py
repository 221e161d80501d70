"""Of a commit of several streams each table's lineage names what that table was made of, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import shelf_connector
import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.lake import connect
from lakecat.types import DatasetName, EdgeKind

SHELF = "shelf_connector:Shelf"
LETTERS = "shelf_connector:LetterShelf"


def fill(project, name: str, *texts: str, **more: Any) -> None:
    project.put(f"shelf/{name}.json", json.dumps({"rows": list(enumerate(texts)), **more}))


def shop(project, connector: str = SHELF, **keys: Any):
    return project.job("shop", connector=connector, **{"target": "raw.*", "streams": ["a", "b", "c"], **keys})


def files(project, dataset: str) -> set[str]:
    """The files that a dataset's lineage leads to, by every question that tells; all must agree."""
    with connect(project.root) as lake:
        found = lake.lineage(dataset)
    by_uris = {uri.rpartition("/")[2] for uri in found.sources}
    by_graph = {node.label.rpartition("/")[2] for node in found.graph.nodes if node.kind == "source"}
    assert by_uris == by_graph
    return by_uris


def tables(project, file: str) -> set[str]:
    """The tables that a file's rows went to, by every question that tells; all must agree."""
    with connect(project.root) as lake:
        trace = lake.where(file)
        graphs = [lake.lineage(f"artifact:{load.artifact_id}", direction="down").graph for load in trace.loads]
    by_where = {held.dataset for held in trace.holdings}
    by_graph = {node.label.partition("@")[0] for graph in graphs for node in graph.nodes if node.kind == "version"}
    assert by_where == by_graph
    return by_where


def read_by(project, execution_id: int) -> set[str]:
    """What ML Metadata's events say that an execution read."""
    with project.catalog.database.reading() as connection:
        rows = connection.execute(
            sa.select(s.artifact.c.uri)
            .join(s.event, s.event.c.artifact_id == s.artifact.c.id)
            .where(s.event.c.execution_id == execution_id, s.event.c.type == 3)
        )
        return {uri.rpartition("/")[2] for uri in rows.scalars()}


def edges(project) -> int:
    with project.catalog.database.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(s.dataset_edge)).scalar_one())


def test_each_table_of_a_round_comes_from_its_own_file(project) -> None:
    for name in ("a", "b", "c"):
        fill(project, name, "x")
    results = project.run(shop(project))
    assert len({result.execution_id for result in results}) == 1
    for name in ("a", "b", "c"):
        assert files(project, f"raw.{name}") == {f"{name}.json"}
        assert tables(project, f"{name}.json") == {f"raw.{name}"}
    assert read_by(project, results[0].execution_id) == {"a.json", "b.json", "c.json"}
    project.clean()


def test_sql_over_the_catalog_says_the_same(project) -> None:
    for name in ("a", "b", "c"):
        fill(project, name, "x")
    project.run(shop(project))
    fill(project, "a", "x", "y")
    project.run(shop(project))
    project.put("transforms/mart/both.sql", "SELECT a.id FROM raw.a AS a JOIN raw.b AS b USING (id)")
    sql = (
        "SELECT output_dataset, output_version, coalesce(input_dataset, regexp_extract(input_uri, '[^/]+$')) AS came,"
        " input_version, current FROM dataset_lineage WHERE input_type <> 'lakecat.Script'"
    )
    with connect(project.root) as lake:
        lake.run().raise_failures()
        found = {tuple(row.values()) for row in lake.query(sql, catalog=True).to_pylist()}
    assert found == {
        ("raw.a", 1, "a.json", None, True),
        ("raw.b", 1, "b.json", None, True),
        ("raw.c", 1, "c.json", None, True),
        ("raw.a", 2, "a.json", None, True),
        ("mart.both", 1, "raw.a", 2, True),
        ("mart.both", 1, "raw.b", 1, True),
    }


def test_the_execution_says_of_each_source_where_it_went(project) -> None:
    for name in ("a", "b"):
        fill(project, name, "x")
    result, _ = project.run(shop(project, streams=["a", "b"]))
    with connect(project.root) as lake:
        report = lake.execution(str(result.execution_id))
    assert {source.uri.rpartition("/")[2]: source.datasets for source in report.sources} == {
        "a.json": ("raw.a",),
        "b.json": ("raw.b",),
    }


def test_one_stream_alone_costs_no_rows(project) -> None:
    fill(project, "a", "x")
    project.run(shop(project, streams=["a"]))
    assert edges(project) == 0
    assert files(project, "raw.a") == {"a.json"}


@pytest.mark.parametrize("mode", ["append", "replace", "merge", "append_new", "history"])
def test_in_every_mode(project, mode: str) -> None:
    for name in ("a", "b", "c"):
        fill(project, name, "x", "y")
    keyed = {} if mode in ("append", "replace") else {"key": "id"}
    job = shop(project, mode=mode, **keyed)
    project.run(job)
    fill(project, "a", "x", "y", "z")
    fill(project, "b", "x", "y", "z")
    project.run(job)
    for name in ("a", "b", "c"):
        assert files(project, f"raw.{name}") == {f"{name}.json"}
        assert tables(project, f"{name}.json") == {f"raw.{name}"}
    project.clean()


def test_a_file_that_changed_nothing_leads_nowhere(project) -> None:
    """In the second round ``a`` is merged as it was, so that all that the execution wrote came from ``b``."""
    fill(project, "a", "x")
    fill(project, "b", "x")
    project.run(shop(project, streams=["a"], mode="merge", key="id"))
    job = shop(project, streams=["a", "b"], mode="merge", key="id")
    fill(project, "a", "x")
    (result, *_) = project.run(job)
    assert files(project, "raw.b") == {"b.json"}
    assert files(project, "raw.a") == {"a.json"}
    assert tables(project, "a.json") == {"raw.a"}
    assert "b.json" in read_by(project, result.execution_id)
    project.clean()


def test_the_tables_of_lists_come_from_their_stream(project) -> None:
    fill(project, "a", "xy")
    fill(project, "b", "uvw")
    fill(project, "c", "z")
    project.run(shop(project, LETTERS, key="id", unnest=["letters"], mode="merge"))
    for name in ("a", "b", "c"):
        assert files(project, f"raw.{name}") == {f"{name}.json"}
        assert files(project, f"raw.{name}__letters") == {f"{name}.json"}
        assert tables(project, f"{name}.json") == {f"raw.{name}", f"raw.{name}__letters"}
    project.clean()


def test_what_was_set_aside_comes_from_the_files_that_had_it(project) -> None:
    fill(project, "a", "x", "bad")
    fill(project, "b", "y")
    fill(project, "c", "bad", "z")
    project.run(shop(project, quarantine={"target": "raw.rejects", "max_rows": 5, "max_fraction": 0.9}))
    assert files(project, "raw.rejects") == {"a.json", "c.json"}
    assert files(project, "raw.b") == {"b.json"}
    assert tables(project, "a.json") == {"raw.a", "raw.rejects"}
    assert tables(project, "b.json") == {"raw.b"}
    project.clean()


def test_the_text_and_reason_of_what_was_set_aside_come_from_the_whole_row(project) -> None:
    fill(project, "a", "x", "bad")
    fill(project, "b", "y")
    project.run(shop(project, streams=["a", "b"], quarantine={"max_rows": 5, "max_fraction": 0.9}))
    steps = project.catalog.column_lineage(DatasetName("raw", "a_quarantine"))
    assert {(step.output.column, step.input.dataset.rpartition("/")[2], step.input.column) for step in steps} == {
        ("text", "a.json", "*"),
        ("reason", "a.json", "*"),
    }
    assert {step.kind for step in steps} == {EdgeKind.TRANSFORMATION}


def test_one_bad_file_among_many_of_one_stream(project) -> None:
    for n in range(5):
        project.put(f"land/{n}.csv", f"id,n\n{n},{'x' if n == 3 else n}\n")
    job = project.job(
        "things", connector="files", target="raw.things", columns={"n": "long"}, options={"path": "land/*.csv"},
        quarantine={"max_rows": 5, "max_fraction": 0.9},
    )  # fmt: skip
    project.run(job)
    assert files(project, "raw.things") == {f"{n}.csv" for n in range(5)}
    assert files(project, "raw.things_quarantine") == {"3.csv"}
    assert tables(project, "2.csv") == {"raw.things"}
    assert tables(project, "3.csv") == {"raw.things", "raw.things_quarantine"}


def test_rejected_rows_that_name_no_source_may_be_of_any(project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connector may say in ``source`` what helps people, such as a page of an answer."""
    whole = shelf_connector.ShelfReader.summary

    def summary(self):
        found = whole(self)
        if found.rejected is None:
            return found
        at = found.rejected.schema.get_field_index("source")
        named = found.rejected.set_column(at, found.rejected.schema.field(at), [["page 7"] * found.rejected.num_rows])
        return replace(found, rejected=named)

    monkeypatch.setattr(shelf_connector.ShelfReader, "summary", summary)
    fill(project, "a", "x", "bad")
    fill(project, "b", "y")
    project.run(shop(project, streams=["a", "b"], quarantine={"max_rows": 5, "max_fraction": 0.9}))
    assert files(project, "raw.a_quarantine") == {"a.json"}


def test_a_file_that_two_streams_read_goes_to_both_tables(project) -> None:
    fill(project, "a", "x")
    fill(project, "b", "y")
    job = project.job(
        "shop", connector=SHELF, target="raw.*",
        streams={"a": {"target": "raw.one"}, "b": {"target": "raw.two"}},
    )  # fmt: skip
    project.run(job)
    assert files(project, "raw.one") == {"a.json"}
    assert tables(project, "b.json") == {"raw.two"}


def test_a_stream_that_failed_is_no_source_of_the_others(project) -> None:
    fill(project, "a", "x")
    fill(project, "b", "y", "z", fail="midway")
    fill(project, "c", "z")
    with pytest.raises(Exception, match="fell down"):
        project.run(shop(project))
    assert files(project, "raw.a") == {"a.json"}
    assert files(project, "raw.c") == {"c.json"}
    project.clean()


def test_files_that_are_gone_are_nobodys_source(project) -> None:
    for n in (1, 2):
        project.put(f"land/{n}.csv", f"id\n{n}\n")
    job = project.job(
        "things", connector="files", target="raw.things", mode="replace_files", gone="remove",
        options={"path": "land/*.csv"},
    )  # fmt: skip
    project.run(job)
    (project.root / "land/1.csv").unlink()
    (result,) = project.run(job)
    assert read_by(project, result.execution_id) == set()
    assert tables(project, "1.csv") == {"raw.things"}, "its rows were there, in the version before"
    project.clean()


def test_a_script_with_two_inputs_comes_from_both(project) -> None:
    for name in ("a", "b", "c"):
        fill(project, name, "x")
    project.run(shop(project))
    project.put("transforms/mart/both.sql", "SELECT a.id FROM raw.a AS a JOIN raw.b AS b USING (id)")
    with connect(project.root) as lake:
        lake.run().raise_failures()
        assert {one.dataset for one in lake.impact("raw.a").affected} == {"mart.both"}
        assert lake.impact("raw.c").affected == ()
        assert {str(version.dataset) for version in lake.show("mart.both").made_by.inputs} == {"raw.a", "raw.b"}
    assert files(project, "mart.both") == {"a.json", "b.json"}
    assert tables(project, "a.json") == {"raw.a", "mart.both"}
    assert tables(project, "c.json") == {"raw.c"}
