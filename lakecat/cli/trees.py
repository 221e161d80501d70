"""Lineage as indented text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from lakecat.cli.output import Line, Style

if TYPE_CHECKING:
    from lakecat.catalog import ColumnPath, ColumnRef
    from lakecat.lake import Lineage

SOURCES: Final = 6
"""How many sources of one execution or column are listed before the rest is only counted."""

_KIND_STYLES: Final[dict[str, Style]] = {"version": "strong", "execution": "dim"}
_Place: TypeAlias = tuple[str, int | None, str | None]


def version_tree(found: Lineage, *, down: bool) -> Iterator[Line]:
    """A version, the execution that made it (or read it), that execution's inputs (or outputs), and so on."""
    yield from _VersionTree(found, down=down).walk(found.graph.root, 0)
    if found.graph.truncated:
        yield Line("… more beyond --depth", "dim")


class _VersionTree:
    def __init__(self, found: Lineage, *, down: bool) -> None:
        self._nodes = {node.key: node for node in found.graph.nodes}
        self._arrow = "→ " if down else "← "
        self._next: dict[str, list[str]] = defaultdict(list)
        for edge in found.graph.edges:
            start, end = (edge.source, edge.target) if down else (edge.target, edge.source)
            self._next[start].append(end)
        self._seen: set[str] = set()

    def walk(self, key: str, depth: int) -> Iterator[Line]:
        node = self._nodes[key]
        again = key in self._seen and bool(self._next[key])
        label = f"{self._arrow if depth else ''}{node.kind} {node.label}{' (see above)' if again else ''}"
        yield Line(label, _KIND_STYLES.get(node.kind, "plain"), depth)
        if again:
            return
        self._seen.add(key)
        following = sorted(self._next[key], key=lambda other: (self._nodes[other].kind, self._nodes[other].label))
        sources = [other for other in following if self._nodes[other].kind == "source"]
        for other in following:
            if other not in sources[SOURCES:]:
                yield from self.walk(other, depth + 1)
        if len(sources) > SOURCES:
            yield Line(f"… and {len(sources) - SOURCES} more sources", "dim", depth + 1)


def column_tree(found: Lineage, *, down: bool, influences: bool) -> Iterator[Line]:
    """A column, and step by step the columns whose values went into it (or that its values went into).

    With ``influences`` also those that only decide which rows there are: filters, joins, groups, orders.
    """
    yield Line(f"{found.version}.{found.column}", "strong")
    if not found.columns:
        yield Line("nothing is recorded", "dim", 1)
        return
    root = (str(found.version.dataset), found.version.version, found.column)
    yield from _ColumnTree(found, down=down, influences=influences).walk(root, 1)


class _ColumnTree:
    def __init__(self, found: Lineage, *, down: bool, influences: bool) -> None:
        self._down = down
        self._seen: set[_Place] = set()
        self._steps: dict[_Place, list[ColumnPath]] = defaultdict(list)
        for path in found.columns:
            start = path.input if down else path.output
            if start is not None and (influences or path.kind.direct or path.input is None):
                self._steps[_place(start)].append(path)

    def walk(self, place: _Place, depth: int) -> Iterator[Line]:
        if place in self._seen:
            return
        self._seen.add(place)
        groups: dict[tuple[str, str | None, str], list[ColumnPath]] = defaultdict(list)
        for path in self._steps[place]:
            end = self._end(path)
            groups[end.dataset if end else "", end.column if end else None, path.kind.value].append(path)
        shown = list(groups.values())
        sources = [paths for paths in shown if (end := self._end(paths[0])) is not None and end.version is None]
        for paths in shown:
            if paths not in sources[SOURCES:]:
                yield from self._group(paths, depth)
        if len(sources) > SOURCES:
            yield Line(f"… and {len(sources) - SOURCES} more sources", "dim", depth)

    def _group(self, paths: list[ColumnPath], depth: int) -> Iterator[Line]:
        """One column at one or more versions; the newest is named, the others are counted."""
        paths = sorted(paths, key=self._version, reverse=True)
        yield Line(_step(paths[0], self._end(paths[0]), others=len(paths) - 1, down=self._down), indent=depth)
        for path in paths:
            end = self._end(path)
            if end is not None and end.version is not None:
                yield from self.walk(_place(end), depth + 1)

    def _end(self, path: ColumnPath) -> ColumnRef | None:
        return path.output if self._down else path.input

    def _version(self, path: ColumnPath) -> int:
        end = self._end(path)
        return (end.version or 0) if end is not None else 0


def _place(ref: ColumnRef) -> _Place:
    return ref.dataset, ref.version, ref.column


def _step(path: ColumnPath, end: ColumnRef | None, *, others: int, down: bool) -> str:
    name = "unresolved" if end is None else _column(end)
    more = f" and {others} older" if others else ""
    expression = f"  {' '.join(path.expression.split())}" if path.expression else ""
    line = f" (line {path.line})" if path.line else ""
    return f"{'→' if down else '←'} {name}{more}  [{path.kind.value.lower()}]{expression}{line}"


def _column(ref: ColumnRef) -> str:
    version = f"@v{ref.version}" if ref.version is not None else ""
    return f"{ref.dataset}{version}.{ref.column}" if ref.column else f"{ref.dataset}{version}"
