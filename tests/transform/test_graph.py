from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakecat.errors import CycleError, NotFoundError, ScriptError, SelectorError
from lakecat.transform.graph import Graph, build_graph, select
from lakecat.transform.scripts import Script, parse_script
from lakecat.types import DatasetName


def scripts(texts: Mapping[str, str]) -> list[Script]:
    return [
        parse_script(text, f"{path}.sql", path=f"transforms/{path}.sql", dialect="duckdb")
        for path, text in texts.items()
    ]


def graph(texts: Mapping[str, str]) -> Graph:
    return build_graph(scripts(texts))


def order(built: Graph) -> list[str]:
    return [script.name for script in built.order]


CHAIN = {
    "mart/c": "SELECT * FROM wh.b",
    "wh/b": "SELECT * FROM staging.a",
    "staging/a": "SELECT * FROM raw.x",
}


def test_a_reader_runs_after_the_script_that_makes_what_it_reads() -> None:
    built = graph(CHAIN)
    assert order(built) == ["staging.a", "wh.b", "mart.c"]
    assert built.needs["mart.c"] == {"wh.b"}


def test_inserts_follow_the_script_that_makes_their_table_and_readers_follow_both() -> None:
    built = graph(
        {
            "s/a_insert": "INSERT INTO s.t SELECT * FROM raw.x",
            "s/t": "SELECT * FROM raw.y",
            "s/reader": "SELECT * FROM s.t",
        }
    )
    assert order(built) == ["s.t", "s.a_insert", "s.reader"]
    assert built.needs["s.reader"] == {"s.t", "s.a_insert"}


def test_changes_of_one_table_go_in_path_order_but_do_not_need_each_other() -> None:
    built = graph({"s/b": "DELETE FROM s.t", "s/a": "INSERT INTO s.t SELECT * FROM raw.x"})
    assert order(built) == ["s.a", "s.b"]
    assert built.needs["s.b"] == frozenset()
    assert built.follows["s.b"] == {"s.a"}


def test_an_insert_that_reads_its_own_table_does_not_wait_for_itself() -> None:
    built = graph({"s/a": "INSERT INTO s.t SELECT * FROM raw.x WHERE id NOT IN (SELECT id FROM s.t)"})
    assert built.needs["s.a"] == frozenset()


def test_a_cycle_names_its_files() -> None:
    with pytest.raises(CycleError) as caught:
        graph({"s/a": "SELECT * FROM s.b", "s/b": "SELECT * FROM s.c", "s/c": "SELECT * FROM s.a"})
    assert {f"transforms/s/{name}.sql" for name in "abc"} <= set(caught.value.what.replace(":", "").split())


def test_two_scripts_that_make_one_table_are_refused() -> None:
    with pytest.raises(ScriptError, match=r"s\.t is already made by transforms/s/t\.sql") as caught:
        graph({"s/t": "SELECT 1 AS x", "s/u": "CREATE TABLE s.t AS SELECT 1 AS x"})
    assert str(caught.value.where) == "transforms/s/u.sql:1"


def test_a_script_may_not_replace_what_an_ingest_job_fills() -> None:
    with pytest.raises(ScriptError, match=r"ingest/x\.yaml"):
        build_graph(scripts({"raw/x": "SELECT 1 AS x"}), {DatasetName("raw", "x"): "ingest/x.yaml"})


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        ([], {"staging.a", "wh.b", "mart.c"}),
        (["wh.b"], {"wh.b"}),
        (["+wh.b"], {"staging.a", "wh.b"}),
        (["wh.b+"], {"wh.b", "mart.c"}),
        (["+mart.c"], {"staging.a", "wh.b", "mart.c"}),
        (["1+mart.c"], {"wh.b", "mart.c"}),
        (["staging.a+1"], {"staging.a", "wh.b"}),
        (["*.b", "staging.*"], {"staging.a", "wh.b"}),
    ],
)
def test_selectors(selectors: list[str], expected: set[str]) -> None:
    assert select(graph(CHAIN), selectors) == expected


def test_a_table_means_all_its_scripts_and_a_scripts_name_that_script() -> None:
    built = graph({"s/a": "INSERT INTO s.t SELECT 1", "s/b": "DELETE FROM s.t", "s/u": "SELECT 1 AS x"})
    assert select(built, ["s.t"]) == {"s.a", "s.b"}
    assert select(built, ["s.b", "s.u"]) == {"s.b", "s.u"}


def test_selectors_that_mean_nothing() -> None:
    with pytest.raises(NotFoundError) as caught:
        select(graph(CHAIN), ["stagin.a"])
    assert "staging.a" in (caught.value.hint or "")
    with pytest.raises(SelectorError):
        select(graph(CHAIN), ["a&b"])


@given(st.lists(st.sets(st.integers(0, 9), max_size=3), min_size=1, max_size=10))
def test_every_script_comes_after_all_it_needs(reads: list[set[int]]) -> None:
    """Random acyclic projects: script i reads only tables of scripts below i."""
    texts = {}
    for number, wanted in enumerate(reads):
        sources = [f"s.t{other}" for other in sorted(wanted) if other < number] or ["raw.x"]
        texts[f"s/t{number}"] = " UNION ALL ".join(f"SELECT * FROM {source}" for source in sources)
    built = graph(dict(reversed(texts.items())))
    placed = {name: index for index, name in enumerate(order(built))}
    assert len(placed) == len(reads)
    for name, needed in built.needs.items():
        assert all(placed[other] < placed[name] for other in needed)
