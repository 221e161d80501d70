"""Lineage of versions and of columns, at any depth. On every engine."""

from __future__ import annotations

import pyarrow as pa
import pytest
import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.errors import NotFoundError
from lakecat.tables import Operation
from lakecat.types import ColumnEdge, DatasetName, EdgeKind, SourceRead, VersionRef

RAW, STAGE, MART = DatasetName("raw", "o"), DatasetName("stage", "o"), DatasetName("mart", "o")


def edge(output: str, input_: str | None, kind: EdgeKind = EdgeKind.IDENTITY, **more: object) -> ColumnEdge:
    """``edge("stage.o:y", "raw.o:x")``; no column after the colon means the whole output."""
    output_dataset, _, output_column = output.rpartition(":")
    dataset, _, column = (input_ or "").rpartition(":")
    return ColumnEdge(output_dataset, output_column or None, dataset or None, column or None, kind, **more)


def labels(graph, kind: str = "version") -> set[str]:
    return {node.label for node in graph.nodes if node.kind == kind}


@pytest.fixture
def chain(bench):
    """Two files into raw; stage v1 from raw v1, stage v2 from raw v2 (both appends); mart from stage v2, replaced."""
    files = [SourceRead(f"f{n}.csv", 3) for n in (1, 2)]
    raw1 = bench.load("raw.o", sources=files[:1], edges=(edge("raw.o:x", "f1.csv:x"),))
    stage1 = bench.load("stage.o", inputs=(raw1,), edges=(edge("stage.o:x", "raw.o:x"),))
    raw2 = bench.load("raw.o", sources=files[1:], edges=(edge("raw.o:x", "f2.csv:x"),))
    stage2 = bench.load("stage.o", inputs=(raw2,), edges=(edge("stage.o:x", "raw.o:X"),))
    mart_edges = (
        edge("mart.o:total", "stage.o:x", EdgeKind.AGGREGATION, expression="sum(x)", line=3),
        edge("mart.o:", "stage.o:flag", EdgeKind.FILTER, line=4),
        edge("mart.o:odd", None, EdgeKind.UNRESOLVED, expression="unknown function"),
    )
    bench.load("mart.o", inputs=(stage1,), edges=mart_edges)
    mart2 = bench.load("mart.o", inputs=(stage2,), operation=Operation.REPLACE, edges=mart_edges)
    return bench, raw1, raw2, stage1, stage2, mart2


def test_up_reaches_the_files_of_the_versions_read(chain):
    bench, *_ = chain
    up = bench.catalog.lineage(VersionRef(MART))
    assert labels(up) == {"mart.o@v2", "stage.o@v2", "raw.o@v2"}
    assert labels(up, "source") == {"f2.csv"}
    assert labels(up, "execution") == {"load mart.o", "load stage.o", "load raw.o"}
    keys = {node.key for node in up.nodes}
    assert {e.source for e in up.edges} | {e.target for e in up.edges} == keys
    assert len(up.edges) == 6
    assert up.root in keys
    assert not up.truncated


def test_down_and_both_and_depth(chain):
    bench, raw1, *_ = chain
    down = bench.catalog.lineage(raw1, "down")
    assert labels(down) == {"raw.o@v1", "stage.o@v1", "mart.o@v1"}
    one = bench.catalog.lineage(raw1, "down", 1)
    assert labels(one) == {"raw.o@v1", "stage.o@v1"}
    assert one.truncated
    assert not bench.catalog.lineage(raw1, "down", 2).truncated
    both = bench.catalog.lineage(VersionRef(STAGE, version=1), "both")
    assert labels(both) == {"raw.o@v1", "stage.o@v1", "mart.o@v1"}
    assert labels(both, "source") == {"f1.csv"}
    with pytest.raises(NotFoundError):
        bench.catalog.lineage(VersionRef(DatasetName("no", "where")))


def test_a_chain_of_3000_and_a_lattice_are_walked_in_few_statements(bench):
    """No limit of 100 hops (MLMD's), of 1,000 recursions (the servers' default), nor a cost by number of paths."""
    base = bench.load("raw.o")
    types = bench.catalog.type_ids
    with bench.catalog.database.writing() as connection:
        highest = connection.execute(sa.select(sa.func.max(s.artifact.c.id))).scalar_one()
        runs = connection.execute(sa.select(sa.func.max(s.execution.c.id))).scalar_one()
        artifacts = [base.artifact_id, *range(highest + 1, highest + 3001)]
        connection.execute(
            sa.insert(s.artifact),
            [{"id": a, "type_id": types["lakecat.Source"], "uri": f"u{a}", "name": f"n{a}"} for a in artifacts[1:]],
        )
        connection.execute(
            sa.insert(s.execution),
            [
                {"id": runs + n, "type_id": types["lakecat.External"], "name": f"x{n}", "last_known_state": 3}
                for n in range(1, 3001)
            ],
        )
        events = []
        for n in range(1, 3001):
            # Each execution writes artifact n and reads the next two: a number of paths beyond all counting.
            events.append({"artifact_id": artifacts[n - 1], "execution_id": runs + n, "type": 4})
            events += [{"artifact_id": a, "execution_id": runs + n, "type": 3} for a in artifacts[n : n + 2]]
        connection.execute(sa.insert(s.event), events)
        connection.commit()
    statements = []
    sa.event.listen(bench.catalog.database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    graph = bench.catalog.lineage(base)
    assert len(labels(graph, "source")) == 3000
    assert len(statements) <= 5


def steps(found):
    return [
        (p.depth, f"{p.output.dataset}:{p.output.column}", p.input and f"{p.input.dataset}:{p.input.column}", p.kind)
        for p in found
    ]


def test_a_column_goes_back_to_every_file_its_content_came_from(chain):
    bench, *_ = chain
    found = bench.catalog.column_lineage(MART, "TOTAL")
    assert steps(found) == [
        (1, "mart.o:total", "stage.o:x", EdgeKind.AGGREGATION),
        (1, "mart.o:None", "stage.o:flag", EdgeKind.FILTER),
        (2, "stage.o:x", "raw.o:X", EdgeKind.IDENTITY),
        (2, "stage.o:x", "raw.o:x", EdgeKind.IDENTITY),
        (3, "raw.o:x", "f2.csv:x", EdgeKind.IDENTITY),
        (3, "raw.o:x", "f1.csv:x", EdgeKind.IDENTITY),
    ]
    assert (found[0].expression, found[0].line, found[0].input.version) == ("sum(x)", 3, 2)
    assert steps(bench.catalog.column_lineage(MART, "total", depth=1)) == steps(found)[:2]


def test_an_older_version_has_its_own_column_lineage(chain):
    bench, *_ = chain
    found = bench.catalog.column_lineage(MART, "total", version=1)
    assert steps(found)[-1] == (3, "raw.o:x", "f1.csv:x", EdgeKind.IDENTITY)
    assert len(found) == 4


def test_all_columns_tell_the_unresolved_too(chain):
    bench, *_ = chain
    found = [p for p in bench.catalog.column_lineage(MART) if p.kind is EdgeKind.UNRESOLVED]
    assert [(p.output.column, p.input, p.expression) for p in found] == [("odd", None, "unknown function")]


def test_a_replaced_table_forgets_what_it_was_made_of(bench):
    bench.load("raw.o", edges=(edge("raw.o:x", "old.csv:x"),))
    bench.load("raw.o", operation=Operation.REPLACE, edges=(edge("raw.o:x", "new.csv:x"),))
    bench.load("raw.o", edges=(edge("raw.o:x", "more.csv:x"),))
    assert {p.input.dataset for p in bench.catalog.column_lineage(RAW)} == {"new.csv", "more.csv"}
    assert bench.catalog.column_lineage(RAW, "nothing") == ()


def test_down_finds_what_was_made_of_a_column(chain):
    bench, *_ = chain
    found = bench.catalog.column_lineage(RAW, "x", direction="down")
    assert {(p.depth, f"{p.output.dataset}:{p.output.column}") for p in found} == {
        (1, "stage.o:x"),
        (2, "mart.o:total"),
    }
    bench.load("mart.o", operation=Operation.REPLACE, rows=pa.table({"y": [1]}))
    found = bench.catalog.column_lineage(RAW, "x", direction="down")
    assert {p.output.dataset for p in found} == {"stage.o"}, "mart was written whole since, of something else"


def test_tables_that_read_each_other_end(bench):
    first = bench.load("a.a", edges=(edge("a.a:x", "b.b:x"),))
    second = bench.load("b.b", inputs=(first,), edges=(edge("b.b:x", "a.a:x"),))
    bench.load("a.a", inputs=(second,), edges=(edge("a.a:x", "b.b:x"),))
    found = bench.catalog.column_lineage(DatasetName("a", "a"), "x")
    assert steps(found) == [(1, "a.a:x", "b.b:x", EdgeKind.IDENTITY), (2, "b.b:x", "a.a:x", EdgeKind.IDENTITY)]
    assert len(bench.catalog.column_lineage(DatasetName("a", "a"), "x", direction="down")) == 2


def test_a_column_decided_by_conditions_goes_back_to_its_files(bench):
    """``avg(CASE WHEN arr_delay > 15 THEN 1.0 ELSE 0.0 END)``: no value of arr_delay flows, and yet all comes of it."""
    raw = bench.load("raw.o", edges=(edge("raw.o:arr_delay", "f1.csv:arr_delay"), edge("raw.o:day", "f1.csv:day")))
    stage = bench.load(
        "stage.o", inputs=(raw,),
        edges=(edge("stage.o:delay", "raw.o:arr_delay"), edge("stage.o:", "raw.o:day", EdgeKind.FILTER)),
    )  # fmt: skip
    bench.load(
        "mart.o", inputs=(stage,),
        edges=(
            edge("mart.o:share_late", "stage.o:delay", EdgeKind.CONDITIONAL),
            edge("mart.o:rank", "stage.o:delay", EdgeKind.WINDOW),
        ),
    )  # fmt: skip
    for column, kind in (("share_late", EdgeKind.CONDITIONAL), ("rank", EdgeKind.WINDOW)):
        assert steps(bench.catalog.column_lineage(MART, column)) == [
            (1, f"mart.o:{column}", "stage.o:delay", kind),
            (2, "stage.o:delay", "raw.o:arr_delay", EdgeKind.IDENTITY),
            (2, "stage.o:None", "raw.o:day", EdgeKind.FILTER),  # told, and not followed to f1.csv:day
            (3, "raw.o:arr_delay", "f1.csv:arr_delay", EdgeKind.IDENTITY),
        ]
    down = bench.catalog.column_lineage(RAW, "arr_delay", direction="down")
    assert {p.output.column for p in down} == {"delay", "share_late", "rank"}
    assert {p.output.column for p in bench.catalog.column_lineage(RAW, "day", direction="down")} == {None}


def test_two_readers_of_a_table_that_was_replaced_between_them_find_both_contents(bench):
    old = bench.load("raw.o", edges=(edge("raw.o:x", "old.csv:x"),))
    late = bench.load("stage.late", inputs=(old,), edges=(edge("stage.late:x", "raw.o:x"),))
    new = bench.load("raw.o", operation=Operation.REPLACE, edges=(edge("raw.o:x", "new.csv:x"),))
    fresh = bench.load("stage.fresh", inputs=(new,), edges=(edge("stage.fresh:x", "raw.o:x"),))
    both = (edge("mart.o:x", "stage.fresh:x"), edge("mart.o:x", "stage.late:x"))
    bench.load("mart.o", inputs=(fresh, late), edges=both)
    found = bench.catalog.column_lineage(MART, "x")
    assert {p.input.dataset for p in found if p.depth == 3} == {"new.csv", "old.csv"}


def test_a_column_whose_name_is_not_ascii_is_found(bench):
    raw = bench.load("raw.o", edges=(edge("raw.o:Österreich", "f.csv:Österreich"),))
    bench.load("stage.o", inputs=(raw,), edges=(edge("stage.o:y", "raw.o:Österreich"),))
    assert len(bench.catalog.column_lineage(STAGE, "y")) == 2
    assert len(bench.catalog.column_lineage(RAW, "Österreich", direction="down")) == 1
