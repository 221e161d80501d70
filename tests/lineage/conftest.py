"""A small notation for expected edges, so that a case reads as: dialect, SQL, what must come out.

One line for each output column, ``a <- t.a, u.b T``; ``* <-`` holds what concerns the whole output. Kinds:
none = IDENTITY, T = TRANSFORMATION, A = AGGREGATION, C = CONDITIONAL, W = WINDOW, and for the whole output
JOIN, FILTER, GROUP, SORT; ``!`` = masked; ``?name`` = an unresolved name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from lakecat.lineage import trace
from lakecat.types import ColumnEdge, EdgeKind

SCHEMAS = {
    "t": ["a", "b", "c"],
    "u": ["b", "d"],
    "v": ["a", "d", "e"],
    "raw.flights": ["carrier", "tailnum", "origin", "dep_delay", "arr_delay"],
    "raw.airlines": ["carrier", "name"],
    "arr": ["id", "items", "info"],
    "wide": ["id", "jan", "feb", "mar"],
    "sales": ["shop", "month", "amount"],
}
KINDS = {
    "": EdgeKind.IDENTITY,
    "T": EdgeKind.TRANSFORMATION,
    "A": EdgeKind.AGGREGATION,
    "C": EdgeKind.CONDITIONAL,
    "W": EdgeKind.WINDOW,
    "JOIN": EdgeKind.JOIN,
    "FILTER": EdgeKind.FILTER,
    "GROUP": EdgeKind.GROUP_BY,
    "SORT": EdgeKind.SORT,
}
Edge = tuple[str | None, str | None, str, EdgeKind, bool]


def parse_expected(text: str) -> tuple[set[Edge], list[str]]:
    edges: set[Edge] = set()
    columns: list[str] = []
    for line in text.strip().splitlines():
        output, _, inputs = line.strip().partition("<-")
        name: str | None = output.strip()
        if name == "*":
            name = None
        elif name not in columns:
            columns.append(str(name))
        for item in filter(None, (part.strip() for part in inputs.split(","))):
            source, _, code = item.partition(" ")
            masked = code.endswith("!")
            if source.startswith("?"):
                edges.add((name, None, source[1:], EdgeKind.UNRESOLVED, False))
            else:
                dataset, _, column = source.rpartition(".")
                edges.add((name, dataset, column, KINDS[code.rstrip("!").strip()], masked))
    return edges, columns


def found_edges(edges: Iterable[ColumnEdge]) -> set[Edge]:
    return {(e.output_column, e.input_dataset, str(e.input_column), e.kind, e.masked) for e in edges}


@pytest.fixture
def check() -> Callable[..., None]:
    def run(dialect: str, sql: str, expected: str, **options: object) -> None:
        result = trace(sql, dialect=dialect, schemas=SCHEMAS, **options)  # type: ignore[arg-type]
        edges, columns = parse_expected(expected)
        assert found_edges(result.edges) == edges
        assert list(result.columns) == columns

    return run


class Expected:
    parse = staticmethod(parse_expected)
    found = staticmethod(found_edges)


@pytest.fixture
def expected_edges() -> type[Expected]:
    return Expected
