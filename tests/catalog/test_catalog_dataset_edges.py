"""Which inputs of an execution went to which of its outputs: recorded where not all went to all. On every engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openlineage_lab import columns, dataset, edge, event, record

from lakecat.catalog import LineageGraph
from lakecat.catalog import schema as s
from lakecat.lineage.render import render_graph
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, ExecutionType, SourceRead, Version


def commit(bench, sources: Sequence[SourceRead], outputs: Sequence[str], **more: object) -> dict[str, Version]:
    """One execution that writes these tables; the versions by dataset."""
    lease, execution = bench.begin("raw.round", targets=tuple(map(DatasetName.parse, outputs)))
    changes = [bench.change(execution, name) for name in outputs]
    made = bench.commit(execution, *changes, sources=tuple(sources), **more).versions
    bench.catalog.release(lease)
    return {str(version.dataset): version for version in made}


def read(uri: str, *datasets: str) -> SourceRead:
    return SourceRead(uri, 1, datasets=datasets)


def rows(bench) -> set[tuple[str, str | None]]:
    """What is recorded: input and output, by name."""
    found, given_name = s.artifact.alias(), s.artifact.alias()
    with bench.catalog.database.reading() as connection:
        query = (
            sa.select(found.c.uri, given_name.c.name)
            .select_from(s.dataset_edge)
            .join(found, found.c.id == s.dataset_edge.c.input_artifact_id)
            .outerjoin(given_name, given_name.c.id == s.dataset_edge.c.output_artifact_id)
        )
        return {(row.uri, row.name) for row in connection.execute(query)}


def sources(graph: LineageGraph) -> set[str]:
    return {node.label for node in graph.nodes if node.kind == "source"}


def holders(bench, uri: str) -> set[str]:
    loads = bench.catalog.source_loads(uri)
    return {held.dataset for held in bench.catalog.holdings(load.artifact_id for load in loads)}


@pytest.fixture
def shop(bench):
    """``a.csv`` to raw.a, ``c.csv`` to raw.c, ``both.csv`` to both, ``none.csv`` to neither; mart.m of both tables."""
    made = commit(
        bench,
        [
            read("a.csv", "raw.a"), read("c.csv", "raw.c"), read("both.csv", "raw.a", "raw.c"),
            read("none.csv", "raw.unchanged"),
        ],
        ["raw.a", "raw.c"],
    )  # fmt: skip
    mart = bench.load("mart.m", inputs=(made["raw.a"], made["raw.c"]))
    return bench, made, mart


def test_only_what_did_not_go_everywhere_is_recorded(shop) -> None:
    bench, *_ = shop
    assert rows(bench) == {("a.csv", "raw.a@v1"), ("c.csv", "raw.c@v1"), ("none.csv", None)}


def test_upwards(shop) -> None:
    bench, made, mart = shop
    assert sources(bench.catalog.lineage(made["raw.a"])) == {"a.csv", "both.csv"}
    assert sources(bench.catalog.lineage(made["raw.c"], depth=1)) == {"c.csv", "both.csv"}
    assert sources(bench.catalog.lineage(mart)) == {"a.csv", "both.csv", "c.csv"}
    assert bench.catalog.source_uris(made["raw.c"]) == ("both.csv", "c.csv")
    assert bench.catalog.source_uris(mart) == ("a.csv", "both.csv", "c.csv")


def test_downwards(shop) -> None:
    bench, *_ = shop
    assert holders(bench, "a.csv") == {"raw.a", "mart.m"}
    assert holders(bench, "both.csv") == {"raw.a", "raw.c", "mart.m"}
    assert holders(bench, "none.csv") == set()
    (load,) = bench.catalog.source_loads("c.csv")
    for depth in (None, 2):
        down = bench.catalog.node_lineage("artifact", load.artifact_id, "down", depth)
        assert {node.label for node in down.nodes if node.kind == "version"} == {"raw.c@v1", "mart.m@v1"}


def test_an_execution_still_read_all_that_it_read(shop) -> None:
    """ML Metadata's events are those of the execution; of each source it is told where it went."""
    bench, made, _ = shop
    detail = bench.catalog.execution(made["raw.a"].execution_id)
    assert {source.uri: source.datasets for source in detail.sources} == {
        "a.csv": ("raw.a",), "c.csv": ("raw.c",), "both.csv": None, "none.csv": (),
    }  # fmt: skip
    around = bench.catalog.node_lineage("execution", made["raw.a"].execution_id, "up")
    assert sources(around) == {"a.csv", "c.csv", "both.csv", "none.csv"}
    assert bench.catalog.integrity() == ()


def test_the_tree_of_a_table_made_of_two_shows_under_each_what_it_came_from(shop) -> None:
    bench, _, mart = shop
    assert render_graph(bench.catalog.lineage(mart)) == (
        "mart.m@v1\n"
        "└─ execution load mart.m (mart.m)\n"
        "   ├─ raw.a@v1 (raw.a)\n"
        "   │  └─ execution load raw.round (raw.a)\n"
        "   │     ├─ source a.csv (source)\n"
        "   │     └─ source both.csv (source)\n"
        "   └─ raw.c@v1 (raw.c)\n"
        "      └─ execution load raw.round (raw.c)\n"
        "         ├─ source both.csv (source)\n"
        "         └─ source c.csv (source)\n"
    )


def test_a_source_that_says_nothing_went_to_all(bench) -> None:
    made = commit(bench, [read("a.csv", "raw.a"), SourceRead("x.csv", 1)], ["raw.a", "raw.c"])
    assert bench.catalog.source_uris(made["raw.a"]) == ("a.csv", "x.csv")
    assert bench.catalog.source_uris(made["raw.c"]) == ("x.csv",)


def test_one_file_that_is_read_twice_goes_where_either_went(bench) -> None:
    made = commit(bench, [read("a.csv", "raw.a"), read("a.csv", "raw.c")], ["raw.a", "raw.b", "raw.c"])
    assert holders(bench, "a.csv") == {"raw.a", "raw.c"}
    assert bench.catalog.source_uris(made["raw.b"]) == ()
    once_everywhere = commit(bench, [read("b.csv", "raw.a"), SourceRead("b.csv", 1)], ["raw.a", "raw.b"])
    assert bench.catalog.source_uris(once_everywhere["raw.b"]) == ("b.csv",)


def test_what_was_recorded_before_there_were_dataset_edges_goes_to_all(shop) -> None:
    bench, made, _ = shop
    with bench.catalog.database.writing() as connection:
        connection.execute(sa.delete(s.dataset_edge))
        connection.commit()
    everything = {"a.csv", "both.csv", "c.csv", "none.csv"}
    assert sources(bench.catalog.lineage(made["raw.a"])) == everything
    assert set(bench.catalog.source_uris(made["raw.c"])) == everything
    assert holders(bench, "none.csv") == {"raw.a", "raw.c", "mart.m"}


def test_an_edge_of_what_was_not_read_or_written_is_found(shop) -> None:
    bench, made, mart = shop
    row = {"execution_id": mart.execution_id, "input_artifact_id": made["raw.a"].artifact_id}
    with bench.catalog.database.writing() as connection:
        connection.execute(sa.insert(s.dataset_edge), [{**row, "output_artifact_id": made["raw.c"].artifact_id}])
        connection.commit()
    assert [problem.code for problem in bench.catalog.integrity()] == ["edge.astray"]


def test_columns_lead_to_the_files_of_their_own_table_that_other_programs_wrote(bench) -> None:
    """Column edges name what a job was told to read (a pattern), the events its files."""
    made = commit(
        bench,
        [read("s3://shop/a/1.csv", "raw.a"), read("s3://shop/c/1.csv", "raw.c")],
        ["raw.a", "raw.c"],
        edges=(
            ColumnEdge("raw.a", "x", "s3://shop/a/*.csv", "x", EdgeKind.IDENTITY),
            ColumnEdge("raw.c", "x", "s3://shop/c/*.csv", "x", EdgeKind.IDENTITY),
        ),
    )
    told = [
        event(
            number, "COMPLETE", "09:00", [dataset(f"pg://db|{table}")],
            [dataset(f"s3://shop|{table}/1.csv", columnLineage=columns(x=[edge(f"pg://db|{table}", "n")]))],
            job=f"export {table}",
        )
        for number, table in enumerate("ac", start=1)
    ]  # fmt: skip
    record(bench.catalog, *told)
    up = {step.input.dataset for step in bench.catalog.column_lineage(made["raw.a"].dataset) if step.input}
    assert up == {"s3://shop/a/*.csv", "s3://shop/a/1.csv", "pg://db/a"}
    base = bench.load("db.c")
    record(bench.catalog, event(7, "COMPLETE", "2999-01-01T00:00:00Z", [dataset("lakecat|db.c")], [
        dataset("s3://shop|c/1.csv", columnLineage=columns(x=[edge("lakecat|db.c", "x")]))], job="copy"))  # fmt: skip
    down = {step.output.dataset for step in bench.catalog.column_lineage(base.dataset, "x", direction="down")}
    assert down == {"s3://shop/c/1.csv", "s3://shop/c/*.csv", "raw.c"}


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rounds=st.lists(
        st.dictionaries(
            st.sampled_from(["f1", "f2", "f3"]),
            st.none() | st.sets(st.sampled_from(["raw.a", "raw.b", "raw.c"])),
            min_size=1,
        ),
        min_size=1,
        max_size=3,
    ),
    outputs=st.sets(st.sampled_from(["raw.a", "raw.b", "raw.c"]), min_size=1),
)
def test_whatever_went_wherever_every_question_says_the_same(
    bench, rounds: list[Mapping[str, set[str] | None]], outputs: set[str]
) -> None:
    """Against a model: pairs of file and table, by version. The names are of this example alone."""
    mark = bench.clock.isoformat()
    names = {output: f"{output}_{bench.clock:%H%M%S}" for output in sorted(outputs)}
    pairs: set[tuple[str, str]] = set()
    latest: dict[str, Version] = {}
    for one in rounds:
        told = [
            SourceRead(f"{mark}/{uri}", 1, datasets=None if went is None else tuple(names.get(n, n) for n in went))
            for uri, went in sorted(one.items())
        ]
        latest = commit(bench, told, list(names.values()))
        pairs |= {
            (f"{mark}/{uri}", names[output])
            for uri, went in one.items()
            for output in names
            if went is None or output in went
        }
    for name, version in latest.items():
        assert set(bench.catalog.source_uris(version)) == {uri for uri, output in pairs if output == name}
    for uri in {f"{mark}/{uri}" for one in rounds for uri in one}:
        assert holders(bench, uri) == {output for read_uri, output in pairs if read_uri == uri}
    assert bench.catalog.integrity() == ()


@pytest.mark.parametrize("catalog_url", ["postgres"], indirect=True)
def test_it_costs_one_statement_in_a_flight_that_was_there(bench) -> None:
    """Where a commit's inputs went everywhere it costs nothing; else an INSERT that nobody waits for."""
    statements: list[str] = []
    sa.event.listen(bench.catalog.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    counts = []
    for datasets in (("raw.a", "raw.c"), ("raw.a", "raw.c"), ("raw.a",)):
        lease, execution = bench.begin("raw.round", targets=(DatasetName("raw", "a"), DatasetName("raw", "c")))
        changes = [bench.change(execution, name) for name in ("raw.a", "raw.c")]
        del statements[:]
        bench.commit(execution, *changes, sources=(read(f"{len(counts)}.csv", *datasets),))
        counts.append(list(statements))
        bench.catalog.release(lease)
    assert not any("lakecat_dataset_edge" in text for text in counts[1])
    assert len(counts[2]) == len(counts[1]) + 1
    assert sum("lakecat_dataset_edge" in text for text in counts[2]) == 1


def test_what_an_execution_had_pinned_went_to_all_that_it_wrote(bench) -> None:
    base = bench.load("raw.base", sources=(SourceRead("base.csv", 1),))
    lease, execution = bench.begin("mart.x", inputs=(base,), type=ExecutionType.TRANSFORM)
    changes = [bench.change(execution, name) for name in ("mart.x", "mart.y")]
    made = bench.commit(execution, *changes, sources=(read("extra.csv", "mart.x"),)).versions
    bench.catalog.release(lease)
    by_name = {str(version.dataset): version for version in made}
    assert bench.catalog.source_uris(by_name["mart.x"]) == ("base.csv", "extra.csv")
    assert bench.catalog.source_uris(by_name["mart.y"]) == ("base.csv",)
    assert {one.dataset for one in bench.catalog.impact(base, None)} == {"mart.x", "mart.y"}
