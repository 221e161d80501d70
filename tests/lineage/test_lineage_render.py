"""Lineage as text, Mermaid, DOT and JSON."""

import json

import pytest

from lakecat.catalog.values import ColumnPath, ColumnRef, LineageEdge, LineageGraph, LineageNode
from lakecat.errors import UsageError
from lakecat.lineage.render import render_columns, render_graph
from lakecat.types import EdgeKind

ROOT = ColumnRef("mart.delay", "avg_delay", 2)
FLIGHTS = ColumnRef("raw.flights", "dep_delay", 5)


def step(output, source, kind, depth=1, expression=None, line=None, execution_id=7, masked=False):
    return ColumnPath(
        depth=depth,
        output=output,
        input=source,
        kind=kind,
        expression=expression,
        line=line,
        execution_id=execution_id,
        masked=masked,
    )


PATHS = (
    step(ROOT, FLIGHTS, EdgeKind.AGGREGATION, expression="AVG(f.dep_delay)", line=12),
    step(
        ColumnRef("mart.delay", None, 2),
        ColumnRef("raw.flights", "origin", 5),
        EdgeKind.FILTER,
        expression="f.origin = 'JFK'",
        line=14,
    ),
    step(
        FLIGHTS,
        ColumnRef("file:///land/1.csv", "dep_delay"),
        EdgeKind.IDENTITY,
        depth=2,
        execution_id=3,
    ),
)
SCRIPTS = {7: "transforms/mart/delay.sql"}


def test_a_column_is_traced_to_its_files_with_script_and_line():
    assert render_columns(PATHS, ROOT, scripts=SCRIPTS) == (
        "mart.delay.avg_delay @v2\n"
        "├─ raw.flights.dep_delay @v5  aggregation  AVG(f.dep_delay)  (transforms/mart/delay.sql:12)\n"
        "│  └─ file:///land/1.csv [dep_delay]  identity\n"
        "└─ raw.flights.origin @v5  filter  f.origin = 'JFK'  (transforms/mart/delay.sql:14)\n"
    )


def test_influences_can_be_left_out():
    text = render_columns(PATHS, ROOT, influences=False)
    assert "origin" not in text
    assert "dep_delay" in text


def test_a_column_that_only_conditions_decide_still_shows_them():
    paths = (step(ROOT, FLIGHTS, EdgeKind.CONDITIONAL, expression="f.dep_delay > 15"),)
    assert "raw.flights.dep_delay @v5  conditional  f.dep_delay > 15" in render_columns(paths, ROOT, influences=False)


def test_many_files_are_counted():
    files = tuple(
        step(FLIGHTS, ColumnRef(f"file:///land/{i}.csv", "dep_delay"), EdgeKind.IDENTITY, execution_id=i)
        for i in range(1, 32)
    )
    lines = render_columns(files, FLIGHTS).splitlines()
    assert len(lines) == 1 + 3 + 1
    assert lines[-1] == "└─ … and 28 more like these"


def test_a_dataset_shows_all_its_columns():
    paths = (
        step(ColumnRef("m.x", "a", 1), ColumnRef("r.y", "p", 1), EdgeKind.IDENTITY),
        step(ColumnRef("m.x", "b", 1), ColumnRef("r.y", "p", 1), EdgeKind.TRANSFORMATION, masked=True),
    )
    assert render_columns(paths, ColumnRef("m.x", None, 1)).splitlines() == [
        "m.x.a @v1",
        "└─ r.y.p @v1  identity",
        "m.x.b @v1",
        "└─ r.y.p @v1  transformation, masked",
    ]


def test_down_follows_what_was_made():
    assert render_columns(PATHS[:1], FLIGHTS, direction="down").splitlines() == [
        "raw.flights.dep_delay @v5",
        "└─ mart.delay.avg_delay @v2  aggregation  AVG(f.dep_delay)",
    ]


def test_unresolved_says_why():
    path = step(ROOT, None, EdgeKind.UNRESOLVED, expression="x is ambiguous; candidates: a, b", line=3)
    assert "unresolved: x is ambiguous; candidates: a, b  (transforms/mart/delay.sql:3)" in render_columns(
        (path,), ROOT, scripts=SCRIPTS
    )


def test_a_column_that_feeds_itself_ends():
    loop = (step(ROOT, ROOT, EdgeKind.TRANSFORMATION, expression="avg_delay + 1"),)
    assert render_columns(loop, ROOT).splitlines() == [
        "mart.delay.avg_delay @v2",
        "└─ mart.delay.avg_delay @v2  transformation  avg_delay + 1 (see above)",
    ]


def test_a_chain_of_three_thousand_steps_is_no_recursion():
    refs = [ColumnRef("m.x", f"c{i}", 1) for i in range(3001)]
    paths = tuple(step(refs[i], refs[i + 1], EdgeKind.IDENTITY, depth=i + 1) for i in range(3000))
    assert len(render_columns(paths, refs[0]).splitlines()) == 3001


GRAPH = LineageGraph(
    root="a3",
    nodes=(
        LineageNode("a1", "source", "file:///land/1.csv"),
        LineageNode("e1", "execution", "flights"),
        LineageNode("a2", "version", "raw.flights@v1"),
        LineageNode("e2", "execution", 'mart "x"'),
        LineageNode("a3", "version", "mart.delay@v1"),
    ),
    edges=(
        LineageEdge("a1", "e1", "source"),
        LineageEdge("e1", "a2"),
        LineageEdge("a2", "e2"),
        LineageEdge("e2", "a3"),
    ),
)


def test_graph_as_tree():
    assert render_graph(GRAPH).splitlines() == [
        "mart.delay@v1",
        '└─ execution mart "x"',
        "   └─ raw.flights@v1",
        "      └─ execution flights",
        "         └─ source file:///land/1.csv (source)",
    ]


def test_graph_as_mermaid_escapes_labels():
    lines = render_graph(GRAPH, "mermaid").splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n3(["mart #quot;x#quot;"])' in lines
    assert '  n0 -->|"source"| n1' in lines
    assert "  n3 --> n4" in lines


def test_graph_as_dot_escapes_labels():
    text = render_graph(GRAPH, "dot")
    assert text.startswith("digraph lineage {\n")
    assert '[label="mart \\"x\\"", shape=ellipse]' in text
    assert text.rstrip().endswith("}")


def test_json_holds_everything():
    graph = json.loads(render_graph(GRAPH, "json"))
    assert [node["key"] for node in graph["nodes"]] == ["a1", "e1", "a2", "e2", "a3"]
    assert {"source": "a1", "target": "e1", "role": "source"} in graph["edges"]
    columns = json.loads(render_columns(PATHS, ROOT, "json", scripts=SCRIPTS))
    assert columns["root"] == {"dataset": "mart.delay", "column": "avg_delay", "version": 2}
    assert columns["steps"][0]["kind"] == "AGGREGATION"
    assert columns["steps"][0]["script"] == "transforms/mart/delay.sql"


def test_influences_are_dashed_in_diagrams():
    assert '-.->|"filter"|' in render_columns(PATHS, ROOT, "mermaid")
    assert "style=dashed" in render_columns(PATHS, ROOT, "dot")


def test_unknown_format_is_a_usage_error():
    with pytest.raises(UsageError, match="svg"):
        render_graph(GRAPH, "svg")


def test_the_tree_goes_on_behind_a_condition():
    middle = ColumnRef(FLIGHTS.dataset, FLIGHTS.column, FLIGHTS.version)
    paths = (
        step(ROOT, middle, EdgeKind.CONDITIONAL, expression="f.dep_delay > 15"),
        step(middle, ColumnRef("file:///land/1.csv", "dep_delay"), EdgeKind.IDENTITY, depth=2),
    )
    assert "file:///land/1.csv" in render_columns(paths, ROOT, influences=False)


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"])
def test_a_line_end_in_a_name_cannot_pass_for_a_line(end):
    hostile = f"file:///land/a{end}└─ raw.secret.csv"
    graph = LineageGraph(
        root="v",
        nodes=(
            LineageNode("v", "version", "raw.flights@v5", {}),
            LineageNode("s", "source", hostile, {}),
        ),
        edges=(LineageEdge("s", "v", "source"),),
        truncated=False,
    )
    assert len(render_graph(graph).splitlines()) == 2
    paths = (step(ROOT, ColumnRef(hostile, "dep_delay"), EdgeKind.IDENTITY),)
    assert len(render_columns(paths, ROOT).splitlines()) == 2


@pytest.mark.parametrize(("files", "lines"), [(3, 5), (4, 6), (5, 6), (2000, 6)])
def test_the_sources_of_an_execution_are_few_and_counted(files, lines):
    graph = LineageGraph(
        root="v",
        nodes=(
            LineageNode("v", "version", "raw.t@v1"),
            LineageNode("e", "execution", "load"),
            *(LineageNode(f"s{n}", "source", f"file:///in/{n:04}.csv") for n in range(files)),
        ),
        edges=(LineageEdge("e", "v", "raw.t"), *(LineageEdge(f"s{n}", "e", "source") for n in range(files))),
    )
    text = render_graph(graph)
    assert len(text.splitlines()) == lines
    assert text.count("file:///in/") == (files if files < 5 else 3)
    assert (f"└─ … and {files - 3} more sources" in text) == (files >= 5)


def shared(root: str = "a5") -> LineageGraph:
    """One execution loaded 1.csv into raw.a, 2.csv into raw.b and 3.csv into neither; a script read both tables."""
    return LineageGraph(
        root=root,
        nodes=(
            *(LineageNode(f"a{n}", "source", f"{n}.csv") for n in (1, 2, 3)),
            LineageNode("e1", "execution", "round"),
            LineageNode("a11", "version", "raw.a@v1"),
            LineageNode("a12", "version", "raw.b@v1"),
            LineageNode("e2", "execution", "script"),
            LineageNode("a5", "version", "mart.m@v1"),
        ),
        edges=(
            LineageEdge("a1", "e1", outputs=("a11",)),
            LineageEdge("a2", "e1", outputs=("a12", "a99")),
            LineageEdge("a3", "e1", outputs=()),
            LineageEdge("e1", "a11"),
            LineageEdge("e1", "a12"),
            LineageEdge("a11", "e2"),
            LineageEdge("a12", "e2"),
            LineageEdge("e2", "a5"),
        ),
    )


def test_under_each_table_of_an_execution_only_what_went_to_it():
    assert render_graph(shared()).splitlines() == [
        "mart.m@v1",
        "└─ execution script",
        "   ├─ raw.a@v1",
        "   │  └─ execution round",
        "   │     └─ source 1.csv",
        "   └─ raw.b@v1",
        "      └─ execution round",
        "         └─ source 2.csv",
    ]


def test_from_a_file_only_to_the_tables_that_it_went_to():
    assert render_graph(shared("a2"), direction="down").splitlines() == [
        "source 2.csv",
        "└─ execution round",
        "   └─ raw.b@v1",
        "      └─ execution script",
        "         └─ mart.m@v1",
    ]
    assert render_graph(shared("a3"), direction="down").splitlines() == [
        "source 3.csv",
        "└─ execution round",
    ]


def test_an_execution_itself_shows_all_that_it_read():
    assert render_graph(shared("e1")).splitlines() == [
        "execution round",
        "├─ source 1.csv",
        "├─ source 2.csv",
        "└─ source 3.csv",
    ]


@pytest.mark.parametrize(("form", "arrow"), [("mermaid", "-->"), ("dot", "->")])
def test_the_arrows_of_a_diagram_lead_from_each_file_to_its_tables_alone(form, arrow):
    """Whoever follows the arrows from 1.csv must not come to raw.b, though one execution loaded both."""
    lines = render_graph(shared(), form).splitlines()
    names = {line.split('"')[1]: line.split()[0].split("[")[0].split("(")[0] for line in lines if '"' in line}
    following: dict[str, set[str]] = {}
    for line in lines:
        if f" {arrow} " in line:
            source, _, target = line.split(" [")[0].strip().partition(f" {arrow} ")
            following.setdefault(source, set()).add(target)

    def reached(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            for node in following.get(waiting.pop(), ()):
                if node not in found:
                    found.add(node)
                    waiting.append(node)
        return found

    tables = {names[name]: name for name in ("raw.a@v1", "raw.b@v1", "mart.m@v1")}
    ways = {name: {tables[node] for node in reached(names[name]) if node in tables} for name in ("1.csv", "2.csv")}
    assert ways == {"1.csv": {"raw.a@v1", "mart.m@v1"}, "2.csv": {"raw.b@v1", "mart.m@v1"}}
    assert reached(names["3.csv"]).isdisjoint(tables)
    assert sum("round" in line for line in lines) == 3, "the execution is drawn once for each way through it"


def test_json_says_where_the_inputs_of_an_execution_went():
    edges = json.loads(render_graph(shared(), "json"))["edges"]
    assert {"source": "a1", "target": "e1", "role": "", "outputs": ["a11"]} in edges
    assert {"source": "a3", "target": "e1", "role": "", "outputs": []} in edges
    assert {"source": "a11", "target": "e2", "role": ""} in edges
