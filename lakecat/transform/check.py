"""What is wrong with a script, said with the place in its file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Final

from sqlglot import exp

from lakecat.errors import EngineError, TransformError, Where
from lakecat.transform.graph import Graph
from lakecat.transform.names import place
from lakecat.transform.scripts import Script
from lakecat.types import DatasetName

_QUOTED: Final = re.compile(r"[\"'`]([^\"'`]{1,128})[\"'`]")


def missing_table(dataset: DatasetName, where: Where, known: Collection[DatasetName], graph: Graph) -> TransformError:
    """The error for a table that is neither there nor made by this run."""
    maker = next((script for script in graph.order if script.target == dataset), None)
    if maker is not None:
        return TransformError(
            f"there is no table {dataset} yet; {maker.path} makes it, and is not part of this run",
            where=where,
            next_command=f"lakecat run --select {maker.name}",
        )
    names = sorted({str(name) for name in known} | {str(script.target) for script in graph.order})
    close = difflib.get_close_matches(str(dataset), names, n=3, cutoff=0.6)
    return TransformError(
        f"there is no table {dataset}",
        where=where,
        hint=f"did you mean {', '.join(close)}?" if close else "ingest it first, or correct the name",
        next_command="lakecat ls",
    )


def placed(script: Script, err: EngineError) -> TransformError:
    """An engine's error with the place in the script of the name that it complains about.

    The engine saw translated text, so its own positions mean nothing in the file.
    """
    where = script.where(script.statement)
    for name in _QUOTED.findall(err.what):
        found = _named(script.statement, name)
        if found is not None:
            line, column = place(found, script.text)
            where = Where(script.path, line, column)
            break
    return TransformError(err.what, where=where, hint=err.hint, next_command=err.next_command)


def _named(statement: exp.Expr, name: str) -> exp.Expr | None:
    wanted = name.rpartition(".")[2].lower()
    for node in statement.find_all(exp.Identifier, exp.Anonymous):
        if node.name.lower() == wanted and "start" in node.meta:
            return node
    return None
