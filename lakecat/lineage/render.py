"""Lineage for people and programs: indented text, Mermaid, Graphviz DOT, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

from lakecat.catalog.values import ColumnPath, ColumnRef, LineageEdge, LineageGraph, LineageNode
from lakecat.errors import UsageError

Format: TypeAlias = Literal["text", "mermaid", "dot", "json"]
Direction: TypeAlias = Literal["up", "down"]

MAX_SOURCES: Final = 3
"""A column or an execution with more files than this shows the first ones and counts the rest."""
_MAX_TEXT: Final = 72


def render_graph(graph: LineageGraph, output: Format = "text", *, direction: Direction = "up") -> str:
    """A graph of versions, executions and sources. Raises UsageError for an unknown format."""
    if output == "text":
        return _lines(_graph_lines(graph, direction))
    if output == "json":
        return _json(graph_json(graph))
    return _diagram_text(_graph_diagram(graph), output)


def render_columns(
    paths: Sequence[ColumnPath],
    root: ColumnRef,
    output: Format = "text",
    *,
    direction: Direction = "up",
    scripts: Mapping[int, str] | None = None,
    influences: bool = True,
) -> str:
    """The lineage of one column, or of all columns of a dataset where ``root.column`` is None.

    ``scripts`` names the script of an execution by its id, so that a step can show ``file.sql:12``. ``influences``
    False leaves out what concerns whole outputs: joins, filters, groups, order. Raises UsageError: unknown format.
    """
    chosen = [path for path in paths if influences or path.output.column is not None]
    named = scripts or {}
    if output == "text":
        return _lines(_ColumnTree(chosen, direction, named).lines(root))
    if output == "json":
        return _json({"root": _ref_json(root), "steps": [_path_json(path, named) for path in chosen]})
    return _diagram_text(_column_diagram(chosen, root), output)


def graph_json(graph: LineageGraph) -> dict[str, Any]:
    """A graph as plain values."""
    return {
        "root": graph.root,
        "truncated": graph.truncated,
        "nodes": [
            {"key": node.key, "kind": node.kind, "label": node.label, "properties": dict(node.properties)}
            for node in graph.nodes
        ],
        "edges": [_edge_json(edge) for edge in graph.edges],
    }


def _edge_json(edge: LineageEdge) -> dict[str, Any]:
    ends = {"source": edge.source, "target": edge.target, "role": edge.role}
    return ends if edge.outputs is None else {**ends, "outputs": list(edge.outputs)}


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _ref_json(ref: ColumnRef | None) -> dict[str, Any] | None:
    return None if ref is None else {"dataset": ref.dataset, "column": ref.column, "version": ref.version}


def _path_json(path: ColumnPath, scripts: Mapping[int, str]) -> dict[str, Any]:
    return {
        "depth": path.depth,
        "output": _ref_json(path.output),
        "input": _ref_json(path.input),
        "kind": path.kind.value,
        "masked": path.masked,
        "expression": path.expression,
        "script": scripts.get(path.execution_id),
        "line": path.line,
        "execution_id": path.execution_id,
    }


# --- text

_LINE_ENDS: Final = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


def _lines(lines: Iterable[str]) -> str:
    """The tree as text; a line end inside a name becomes an escape, so that it cannot pass for a line of the tree."""
    return "".join(_LINE_ENDS.sub(lambda end: end[0].encode("unicode_escape").decode(), line) + "\n" for line in lines)


def _branches(prefix: str, count: int) -> Iterator[tuple[str, str]]:
    """For each of ``count`` children: what stands before it, and before its own children."""
    for i in range(count):
        last = i == count - 1
        yield prefix + ("└─ " if last else "├─ "), prefix + ("   " if last else "│  ")


def _graph_lines(graph: LineageGraph, direction: Direction) -> Iterator[str]:
    nodes = {node.key: node for node in graph.nodes}
    steps = _Steps(graph, direction)
    seen: set[tuple[str, str]] = set()
    stack = [(graph.root, "", "", "", "")]
    while stack:
        key, before, role, lead, prefix = stack.pop()
        place = (key, before if key in steps.parted else "")
        following = steps.after(key, before)
        again = place in seen and bool(following)
        yield f"{lead}{_node_text(nodes.get(key), key)}{f' ({role})' if role else ''}{' (see above)' if again else ''}"
        if again:
            continue
        seen.add(place)
        children = _few_sources(sorted(following, key=lambda item: _node_text(nodes.get(item[0]), item[0])), nodes)
        below = zip(children, _branches(prefix, len(children)), strict=True)
        stack += [(child, key, child_role, *marks) for (child, child_role), marks in list(below)[::-1]]
    if graph.truncated:
        yield "… more beyond this depth"


class _Steps:
    """Where one goes on from a node of a graph. ``parted`` are executions whose inputs did not all go everywhere."""

    def __init__(self, graph: LineageGraph, direction: Direction) -> None:
        self._up = direction == "up"
        self._next: dict[str, list[LineageEdge]] = {}
        self._read: dict[tuple[str, str], LineageEdge] = {}
        self.parted = {edge.target for edge in graph.edges if edge.outputs is not None}
        for edge in graph.edges:
            self._next.setdefault(edge.target if self._up else edge.source, []).append(edge)
            if edge.target in self.parted:
                self._read[edge.source, edge.target] = edge

    def after(self, key: str, before: str) -> list[tuple[str, str]]:
        """The nodes next to ``key``, where one came to it from ``before``, with the roles of their edges."""
        steps = self._next.get(key, [])
        if self._up:
            return [(edge.source, edge.role) for edge in steps if not before or edge.goes_to(before)]
        read = self._read.get((before, key))
        return [(edge.target, edge.role) for edge in steps if read is None or read.goes_to(edge.target)]


def _few_sources(children: list[tuple[str, str]], nodes: Mapping[str, LineageNode]) -> list[tuple[str, str]]:
    """The children with at most MAX_SOURCES sources, and a line that counts the others."""
    sources = [child for child in children if (node := nodes.get(child[0])) is not None and node.kind == "source"]
    more = sources[MAX_SOURCES:]
    if len(more) < 2:
        return children
    return [child for child in children if child not in set(more)] + [(f"… and {len(more)} more sources", "")]


def _node_text(node: LineageNode | None, key: str) -> str:
    if node is None:
        return key
    return node.label if node.kind == "version" else f"{node.kind} {node.label}"


@dataclass(slots=True)
class _Line:
    """One line of the tree: its text, and the column to go on with, if any."""

    text: str
    follow: ColumnRef | None = None


def _key(ref: ColumnRef) -> tuple[str, str | None]:
    return ref.dataset, None if ref.column is None else ref.column.lower()


def ref_text(ref: ColumnRef) -> str:
    """A column for people: ``raw.flights.carrier @v3``; of a source, its URI and the column in brackets."""
    if ref.version is None and "/" in ref.dataset:
        return f"{ref.dataset} [{ref.column or '*'}]"
    version = "" if ref.version is None else f" @v{ref.version}"
    return f"{ref.dataset}.{ref.column or '*'}{version}"


@dataclass(slots=True)
class _ColumnTree:
    """Walks steps away from a column, without recursion; what was shown once is not repeated."""

    paths: Sequence[ColumnPath]
    direction: Direction
    scripts: Mapping[int, str]
    steps: dict[tuple[str, str | None], list[ColumnPath]] = field(default_factory=dict)
    whole: dict[str, list[ColumnPath]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in self.paths:
            near = path.output if self.direction == "up" else path.input
            if near is None:
                continue
            if near.column is None:
                self.whole.setdefault(near.dataset, []).append(path)
            else:
                self.steps.setdefault(_key(near), []).append(path)

    def lines(self, root: ColumnRef) -> Iterator[str]:
        seen: set[tuple[str, str | None]] = set()
        told: set[str] = set()
        for start in self._starts(root):
            stack = [(_Line(ref_text(start), start), "", "")]
            while stack:
                line, lead, prefix = stack.pop()
                ref = line.follow
                again = ref is not None and _key(ref) in seen and bool(self.steps.get(_key(ref)))
                yield f"{lead}{line.text}{' (see above)' if again else ''}"
                if ref is None or again:
                    continue
                seen.add(_key(ref))
                children = self._children(ref, told)
                below = zip(children, _branches(prefix, len(children)), strict=True)
                stack += [(child, *marks) for child, marks in list(below)[::-1]]

    def _starts(self, root: ColumnRef) -> list[ColumnRef]:
        if root.column is not None:
            return [root]
        columns: dict[str, ColumnRef] = {}
        for dataset, column in self.steps:
            if dataset == root.dataset and column is not None:
                near = self.steps[dataset, column][0]
                ref = near.output if self.direction == "up" else near.input
                if ref is not None:
                    columns.setdefault(column, ColumnRef(ref.dataset, ref.column, root.version))
        return list(columns.values()) or [root]

    def _children(self, ref: ColumnRef, told: set[str]) -> list[_Line]:
        steps = list(self.steps.get(_key(ref), ()))
        if ref.dataset not in told:  # what decides a table's rows is told once, under its first column
            told.add(ref.dataset)
            steps += self.whole.get(ref.dataset, ())
        direct = [path for path in steps if path.followed]
        other = [path for path in steps if not path.followed]
        return [*self._direct(direct), *(_Line(self._text(path)) for path in other)]

    def _direct(self, paths: Sequence[ColumnPath]) -> Iterator[_Line]:
        sources = [path for path in paths if self._is_source(path)]
        for path in paths:
            if not self._is_source(path):
                yield _Line(self._text(path), path.input if self.direction == "up" else path.output)
        for path in sources[:MAX_SOURCES]:
            yield _Line(self._text(path))
        if len(sources) > MAX_SOURCES:
            yield _Line(f"… and {len(sources) - MAX_SOURCES} more like these")

    def _is_source(self, path: ColumnPath) -> bool:
        """Whether the lineage ends there: nothing is known of how it came to be."""
        far = path.input
        return self.direction == "up" and far is not None and far.version is None and _key(far) not in self.steps

    def _text(self, path: ColumnPath) -> str:
        far = path.input if self.direction == "up" else path.output
        if far is None:
            return f"unresolved: {path.expression or 'no reason was recorded'}{self._place(path)}"
        kind = path.kind.value.lower().replace("_", " ") + (", masked" if path.masked else "")
        shown = "" if path.expression is None else f"  {_short(path.expression)}"
        return f"{ref_text(far)}  {kind}{shown}{self._place(path)}"

    def _place(self, path: ColumnPath) -> str:
        script = self.scripts.get(path.execution_id)
        if script is None:
            return ""
        return f"  ({script}:{path.line})" if path.line is not None else f"  ({script})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TEXT else f"{line[: _MAX_TEXT - 1]}…"


# --- diagrams


@dataclass(slots=True)
class _Diagram:
    """Boxes and arrows, whatever the language that draws them."""

    boxes: dict[str, tuple[str, str]] = field(default_factory=dict)
    arrows: dict[tuple[str, str, str, bool], None] = field(default_factory=dict)


def _graph_diagram(graph: LineageGraph) -> _Diagram:
    parts = _parts(graph)
    diagram = _Diagram()
    for node in graph.nodes:
        for key in parts.get(node.key, {node.key: ()}):
            diagram.boxes[key] = (node.label, node.kind)
    for edge in graph.edges:
        for source, target in _arrows(edge, parts):
            diagram.boxes.setdefault(source, (source, "artifact"))
            diagram.boxes.setdefault(target, (target, "artifact"))
            diagram.arrows[source, target, edge.role, False] = None
    return diagram


def _parts(graph: LineageGraph) -> dict[str, dict[str, frozenset[str]]]:
    """Executions that are drawn once for each of the sets of nodes that went the same way: the nodes next to each.

    An arrow says that all that comes into a box goes out of it.
    """
    read: dict[str, list[LineageEdge]] = {}
    written: dict[str, list[str]] = {}
    for edge in graph.edges:
        read.setdefault(edge.target, []).append(edge)
        written.setdefault(edge.source, []).append(edge.target)
    found: dict[str, dict[str, frozenset[str]]] = {}
    for key, inputs in read.items():
        if all(edge.outputs is None for edge in inputs):
            continue
        ways: dict[frozenset[str], list[str]] = {}
        for output in written.get(key, ()):
            ways.setdefault(frozenset(edge.source for edge in inputs if edge.goes_to(output)), []).append(output)
        lost = frozenset(edge.source for edge in inputs) - frozenset[str]().union(*ways)
        nodes = [sources.union(outputs) for sources, outputs in ways.items()] + ([lost] if lost else [])
        found[key] = {f"{key}/{number}": near for number, near in enumerate(nodes)}
    return found


def _arrows(edge: LineageEdge, parts: Mapping[str, Mapping[str, frozenset[str]]]) -> Iterator[tuple[str, str]]:
    """The arrows that an edge is drawn as."""
    if edge.target in parts:
        yield from ((edge.source, part) for part, near in parts[edge.target].items() if edge.source in near)
    elif edge.source in parts:
        yield from ((part, edge.target) for part, near in parts[edge.source].items() if edge.target in near)
    else:
        yield edge.source, edge.target


def _column_diagram(paths: Sequence[ColumnPath], root: ColumnRef) -> _Diagram:
    diagram = _Diagram()
    if root.column is not None:
        diagram.boxes[_box(root)] = (ref_text(root), "version")
    for path in paths:
        source = path.input or ColumnRef(f"unresolved: {path.expression}", None)
        target = _box(path.output)
        diagram.boxes.setdefault(target, (ref_text(path.output), "version"))
        kind = "version" if source.version is not None else "source"
        label = ref_text(source) if path.input is not None else source.dataset
        diagram.boxes.setdefault(_box(source), (label, kind))
        arrow = path.kind.value.lower().replace("_", " ") + (", masked" if path.masked else "")
        diagram.arrows[_box(source), target, arrow, not path.kind.direct] = None
    return diagram


def _box(ref: ColumnRef) -> str:
    return f"{ref.dataset}\0{(ref.column or '').lower()}"


def _diagram_text(diagram: _Diagram, output: str) -> str:
    ids = {key: f"n{i}" for i, key in enumerate(diagram.boxes)}
    if output == "mermaid":
        return "\n".join(_mermaid(diagram, ids)) + "\n"
    if output == "dot":
        return "\n".join(_dot(diagram, ids)) + "\n"
    raise UsageError(f"{output!r} is not a lineage format", hint=f"one of {', '.join(get_args(Format))}")


def _mermaid(diagram: _Diagram, ids: Mapping[str, str]) -> Iterator[str]:
    shapes = {"execution": ("([", "])"), "source": ("[/", "/]"), "script": ("[/", "/]")}
    yield "flowchart LR"
    for key, (label, kind) in diagram.boxes.items():
        left, right = shapes.get(kind, ("[", "]"))
        yield f'  {ids[key]}{left}"{_mermaid_text(label)}"{right}'
    for source, target, label, dashed in diagram.arrows:
        arrow = "-.->" if dashed else "-->"
        text = f'|"{_mermaid_text(label)}"|' if label else ""
        yield f"  {ids[source]} {arrow}{text} {ids[target]}"


def _mermaid_text(text: str) -> str:
    """Mermaid reads entity codes in quoted labels; its own delimiters must not appear as they are."""
    escapes = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;", "`": "#96;", "|": "#124;"}
    return "".join(escapes.get(char, char) for char in " ".join(text.split()))


def _dot(diagram: _Diagram, ids: Mapping[str, str]) -> Iterator[str]:
    shapes = {"execution": "ellipse", "source": "note", "script": "note"}
    yield "digraph lineage {"
    yield "  rankdir=LR;"
    for key, (label, kind) in diagram.boxes.items():
        yield f"  {ids[key]} [label={_dot_text(label)}, shape={shapes.get(kind, 'box')}];"
    for source, target, label, dashed in diagram.arrows:
        style = ", style=dashed" if dashed else ""
        yield f"  {ids[source]} -> {ids[target]} [label={_dot_text(label)}{style}];"
    yield "}"


def _dot_text(text: str) -> str:
    """A quoted DOT string: backslashes would start escapes, quotes would end it."""
    flat = " ".join(text.split())
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'
