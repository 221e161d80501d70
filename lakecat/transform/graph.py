"""The order of scripts: what waits for what, who conflicts, and which ones a selector means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError as NoOrder
from graphlib import TopologicalSorter

from lakecat.errors import CycleError, ScriptError, Where
from lakecat.selector import Node, choose
from lakecat.transform.scripts import Script
from lakecat.types import DatasetName


@dataclass(frozen=True, slots=True)
class Graph:
    """Scripts in an order in which they can run.

    ``needs``: by script name, the scripts whose results it reads or adds to; it is skipped when one of them fails.
    ``follows``: scripts that change the same table and stand before it; only the order matters.
    """

    order: tuple[Script, ...]
    needs: Mapping[str, frozenset[str]]
    follows: Mapping[str, frozenset[str]]

    def script(self, name: str) -> Script:
        """The script of that name."""
        return next(script for script in self.order if script.name == name)

    def fillers(self, script: Script) -> tuple[Script, ...]:
        """The other scripts that bring rows into the same table, in order."""
        return tuple(
            other
            for other in self.order
            if other.target == script.target and other.name != script.name and other.kind.fills
        )

    def waits_for(self, name: str) -> frozenset[str]:
        """Everything that must have ended before ``name`` starts."""
        return self.needs[name] | self.follows[name]


def build_graph(scripts: Sequence[Script], ingested: Mapping[DatasetName, str] | None = None) -> Graph:
    """Order scripts by what they read and write.

    Args:
        scripts: all scripts of the project.
        ingested: tables that ingest jobs fill, with the job's file; a script may not replace those.

    Raises:
        ScriptError: two scripts decide one table, or a script replaces what an ingest job fills.
        CycleError: scripts wait for each other; the message names their files.
    """
    creators = _creators(scripts, ingested or {})
    writers: dict[DatasetName, list[Script]] = {}
    for script in scripts:
        writers.setdefault(script.target, []).append(script)
    needs = {script.name: _needs(script, creators, writers) for script in scripts}
    follows = {script.name: _follows(script, writers[script.target]) for script in scripts}
    sorter = TopologicalSorter({name: sorted(needs[name] | follows[name]) for name in sorted(needs)})
    try:
        order = tuple(sorter.static_order())
    except NoOrder as err:
        raise _cycle(err.args[1], {script.name: script for script in scripts}) from None
    by_name = {script.name: script for script in scripts}
    return Graph(tuple(by_name[name] for name in order), needs, follows)


def _creators(scripts: Iterable[Script], ingested: Mapping[DatasetName, str]) -> dict[DatasetName, Script]:
    found: dict[DatasetName, Script] = {}
    for script in scripts:
        if not script.kind.creates:
            continue
        other = found.setdefault(script.target, script)
        if other is not script:
            raise ScriptError(
                f"{script.target} is already made by {other.path}",
                where=Where(script.path, 1),
                hint="one table is made by one script; others may INSERT or MERGE into it",
            )
        if script.target in ingested:
            raise ScriptError(
                f"{script.target} is filled by the ingest job {ingested[script.target]}, and this script replaces it",
                where=Where(script.path, 1),
                hint="give the script's table another name",
            )
    return found


def _needs(
    script: Script, creators: Mapping[DatasetName, Script], writers: Mapping[DatasetName, list[Script]]
) -> frozenset[str]:
    found = {
        writer.name for dataset in script.inputs if dataset != script.target for writer in writers.get(dataset, ())
    }
    creator = creators.get(script.target)
    if creator is not None and creator is not script:
        found.add(creator.name)
    return frozenset(found)


def _follows(script: Script, writers: Iterable[Script]) -> frozenset[str]:
    if script.kind.creates:
        return frozenset()
    return frozenset(other.name for other in writers if not other.kind.creates and other.path < script.path)


def _cycle(names: Sequence[str], scripts: Mapping[str, Script]) -> CycleError:
    chain = " -> ".join(scripts[name].path for name in names)
    first = scripts[names[0]]
    return CycleError(
        f"scripts wait for each other: {chain}",
        where=Where(first.path),
        hint="let one of them read the tables that the other was made of",
    )


def select(graph: Graph, selectors: Sequence[str]) -> frozenset[str]:
    """Names of the scripts that selectors mean; all of them without selectors.

    A selector that is a script's name means that script alone; otherwise names and patterns match scripts and the
    tables that they write. Raises SelectorError and NotFoundError, as ``lakecat.selector`` does.
    """
    known = {script.name for script in graph.order}
    others = [text for text in selectors if text not in known]
    if not others:
        return frozenset(selectors) or frozenset(known)
    nodes = [
        Node(script.name, frozenset({script.name, str(script.target)}), graph.needs[script.name])
        for script in graph.order
    ]
    return choose(nodes, others) | (frozenset(selectors) & known)
