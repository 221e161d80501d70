"""Which tables a statement reads and writes, found in its syntax tree; names of CTEs are not tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from lakecat.errors import ScriptError, SelectorError, Where
from lakecat.types import DatasetName

CHANGES: Final = "table_changes"


@dataclass(frozen=True, slots=True)
class TableUse:
    """One place where a statement reads a table; ``changes``: only what arrived since the last execution."""

    dataset: DatasetName
    changes: bool
    line: int | None
    column: int | None


def place(node: exp.Expr, text: str) -> tuple[int | None, int | None]:
    """Line and column (1-based) of the first token under ``node`` that sqlglot kept a position for."""
    starts = [found.meta["start"] for found in node.walk() if "start" in found.meta]
    if not starts:
        return None, None
    start = min(starts)
    return text.count("\n", 0, start) + 1, start - (text.rfind("\n", 0, start) + 1) + 1


def dataset_of(table: exp.Table, *, text: str, path: str, namespace: str | None) -> TableUse | None:
    """The dataset that a table node names, or None for a table function. Raises ScriptError with the place."""
    line, column = place(table, text)
    where = Where(path, line, column)
    if is_changes(table):
        return TableUse(_changes_argument(table, where), True, line, column)
    if isinstance(table.this, exp.Func):
        return None
    if not isinstance(table.this, exp.Identifier):
        raise ScriptError(f"{table.sql()} is not a table", where=where, hint="tables are written namespace.name")
    if table.args.get("when") is not None or table.args.get("version") is not None:
        raise ScriptError("time travel inside a script is refused", where=where, hint="inputs are pinned for each run")
    if table.catalog:
        raise ScriptError(
            f"{table.sql()} has three parts", where=where, hint="write namespace.name; there is one catalog"
        )
    owner = table.db or namespace
    if not owner:
        raise ScriptError(f"{table.name!r} has no namespace", where=where, hint=f"write <namespace>.{table.name}")
    try:
        return TableUse(DatasetName(owner, table.name), False, line, column)
    except SelectorError as err:
        raise ScriptError(err.what, where=where, hint=err.hint) from err


def is_changes(table: exp.Table) -> bool:
    """Whether a table node is ``table_changes(…)``."""
    return isinstance(table.this, exp.Anonymous) and table.this.name.lower() == CHANGES


def _changes_argument(table: exp.Table, where: Where) -> DatasetName:
    arguments = table.this.expressions
    if len(arguments) != 1 or not (isinstance(arguments[0], exp.Literal) and arguments[0].is_string):
        raise ScriptError(f"{CHANGES} takes one table", where=where, hint=f"write {CHANGES}('namespace.name')")
    try:
        return DatasetName.parse(arguments[0].name)
    except SelectorError as err:
        raise ScriptError(err.what, where=where, hint=err.hint) from err


def written_table(statement: exp.Expr, *, text: str, path: str, namespace: str | None) -> DatasetName | None:
    """The table that a statement changes; None for a bare SELECT. Raises ScriptError with the place."""
    node = target_node(statement)
    if node is None:
        return None
    use = dataset_of(node, text=text, path=path, namespace=namespace)
    if use is None or use.changes:
        line, column = place(node, text)
        raise ScriptError("a function cannot be written to", where=Where(path, line, column))
    return use.dataset


def target_node(statement: exp.Expr) -> exp.Table | None:
    """The node that names the table which a statement changes."""
    if not isinstance(statement, exp.Create | exp.Insert | exp.Merge | exp.Update | exp.Delete):
        return None
    node = statement.this
    node = node.this if isinstance(node, exp.Schema) else node
    return node if isinstance(node, exp.Table) else None


def table_nodes(statement: exp.Expr) -> tuple[exp.Table, ...]:
    """Every node that names a stored table which is read, in the order of the text; CTE names are left out."""
    target = target_node(statement)
    found = [table for table in statement.find_all(exp.Table) if table is not target and not _names_cte(table)]
    return tuple(sorted(found, key=_start))


def _start(node: exp.Expr) -> int:
    return min((found.meta["start"] for found in node.walk() if "start" in found.meta), default=-1)


def tables_read(statement: exp.Expr, *, text: str, path: str, namespace: str | None) -> tuple[TableUse, ...]:
    """Every place where a statement reads a stored table, in the order of the text. Raises ScriptError."""
    uses = (dataset_of(table, text=text, path=path, namespace=namespace) for table in table_nodes(statement))
    return tuple(use for use in uses if use is not None)


def _names_cte(table: exp.Table) -> bool:
    if table.db or not isinstance(table.this, exp.Identifier):
        return False
    name = table.name.lower()
    child: exp.Expr = table
    parent = table.parent
    while parent is not None:
        clause = parent if isinstance(parent, exp.With) else parent.args.get("with_")
        if isinstance(clause, exp.With) and clause is not child and name in _visible(clause, child):
            return True
        child, parent = parent, parent.parent
    return False


def _visible(clause: exp.With, child: exp.Expr) -> frozenset[str]:
    """Names of the CTEs that ``child`` sees: all from the body; from inside a CTE only those before it.

    A recursive WITH shows a CTE to itself and to the others of its clause.
    """
    names: list[str] = []
    for cte in clause.expressions:
        if cte is child and not clause.args.get("recursive"):
            break
        names.append(cte.alias.lower())
    return frozenset(names)
