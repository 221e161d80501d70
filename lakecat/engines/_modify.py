"""MERGE, UPDATE and DELETE by copy-on-write: which files they concern, and what they leave of them.

The user's statement runs unchanged on a table of the target's name that holds just the files concerned; what that
table holds afterwards replaces them. A file is concerned when one of its rows meets the statement's condition.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
from sqlglot import TokenType, exp, tokenize

from lakecat.engines._errors import locate, translate
from lakecat.engines._instance import Connection, one_statement
from lakecat.engines.protocol import Parameter, RowCounts
from lakecat.errors import EngineError
from lakecat.tables.relation import DIALECT
from lakecat.types import DatasetName

#: The column that tells the file of each row; no name that a schema can have clashes with it in case.
FILE_COLUMN: Final = "__lakecat_file"

_KINDS: Final[Mapping[str, type[exp.Expr] | tuple[type[exp.Expr], ...]]] = {
    "MERGE_INTO": exp.Merge,
    "UPDATE": exp.Update,
    "DELETE": (exp.Delete, exp.TruncateTable),
}
# Their values differ from one evaluation to the next, so that files found by one say nothing about the other.
_VOLATILE: Final = frozenset({"random", "rand", "uuid", "gen_random_uuid", "uuidv4", "uuidv7", "nextval"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A statement that changes one table. ``finder`` selects the files concerned; None means every file is."""

    tree: exp.Expr
    target: exp.Table
    finder: exp.Select | None

    @property
    def is_merge(self) -> bool:
        """Whether it is a MERGE."""
        return isinstance(self.tree, exp.Merge)


def read_change(con: Connection, sql: str, tree: exp.Expr | None, target: DatasetName) -> Change:
    """Check that the statement changes ``target`` and nothing else.

    Raises:
        AccessDeniedError: a statement of a kind that reaches outside.
        EngineError: another statement, another target, or text that cannot be read surely.
    """
    statement = one_statement(con, sql, tuple(_KINDS))
    if tree is None or not isinstance(tree, _KINDS[statement.type.name]):
        raise EngineError(
            f"this {statement.type.name.replace('_', ' ')} cannot be read surely enough to rewrite files by it",
            hint="write it in plainer SQL, without functions that name tables in strings",
        )
    table = tree.expressions[0] if isinstance(tree, exp.TruncateTable) else tree.this
    if not isinstance(table, exp.Table) or not _is(table, target):
        raise EngineError(f"the statement changes {table.sql(dialect=DIALECT)}, not {target}")
    return Change(tree=tree, target=table, finder=_finder(tree, table, target))


def find_files(con: Connection, finder: exp.Select, parameters: Mapping[str, Parameter]) -> frozenset[str] | None:
    """The paths of the files with rows that meet the condition; None when the finder does not bind.

    Raises:
        EngineError: it failed while running.
    """
    sql = finder.sql(dialect=DIALECT)
    try:
        rows = con.execute(sql, bound(con, sql, parameters)).fetchall()
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException):
        return None  # the statement itself will say what is wrong, in its own words
    except duckdb.Error as err:
        raise translate(err, sql) from err
    return frozenset(path for (path,) in rows if path is not None)


def refuse_ambiguous_merge(con: Connection, change: Change, parameters: Mapping[str, Parameter]) -> None:
    """SQL's rule for MERGE (ISO 9075-2, "cardinality violation"), which DuckDB does not hold.

    Raises:
        EngineError: the merge would update or delete one row for several rows of its source.
    """
    doubled = _doubled(change)
    if doubled is None:
        return
    sql = doubled.sql(dialect=DIALECT)
    try:
        found = con.execute(sql, bound(con, sql, parameters)).fetchall()
    except duckdb.Error as err:
        raise translate(err, sql) from err
    if found:
        raise EngineError(
            f"MERGE matches one row of the target with several rows of its source ({found[0][0]} for one of them)",
            hint="make the source unique by the merge condition, with GROUP BY or QUALIFY row_number() OVER (…) = 1",
        )


def run_change(con: Connection, sql: str, change: Change, parameters: Mapping[str, Parameter]) -> RowCounts:
    """Run the user's statement on the loaded table.

    Raises:
        EngineError: with the place in the text.
    """
    try:
        if change.is_merge and not change.tree.args.get("returning"):
            return _merge_counts(con, sql, parameters)
        done = con.execute(sql, dict(parameters) or None).fetchall()
    except duckdb.Error as err:
        if isinstance(err, duckdb.BinderException | duckdb.CatalogException):
            raise locate(con, err, sql, parameters) from err
        raise translate(err, sql) from err
    if change.is_merge or change.tree.args.get("returning"):
        return RowCounts()
    count = int(done[0][0])
    if isinstance(change.tree, exp.Update):
        return RowCounts(inserted=0, updated=count, deleted=0)
    return RowCounts(inserted=0, updated=0, deleted=count)


def bound(con: Connection, sql: str, parameters: Mapping[str, Parameter]) -> dict[str, Parameter] | None:
    """Those of the parameters that the text has: DuckDB refuses others."""
    names: Collection[str] = con.extract_statements(sql)[0].named_parameters
    return {name: value for name, value in parameters.items() if name in names} or None


def _merge_counts(con: Connection, sql: str, parameters: Mapping[str, Parameter]) -> RowCounts:
    # RETURNING is the statement's last clause; on a line of its own, as the text may end in a comment.
    actions = con.sql(f"{_without_semicolon(sql)}\nRETURNING merge_action", params=dict(parameters) or None)
    counted = dict(actions.aggregate("merge_action, count(*)").fetchall())
    return RowCounts(
        inserted=counted.get("INSERT", 0), updated=counted.get("UPDATE", 0), deleted=counted.get("DELETE", 0)
    )


def _without_semicolon(sql: str) -> str:
    ends = [token.start for token in tokenize(sql, read=DIALECT) if token.token_type == TokenType.SEMICOLON]
    return sql[: ends[0]] if ends else sql


def _is(table: exp.Table, name: DatasetName) -> bool:
    return not table.catalog and (table.db.lower(), table.name.lower()) == (name.namespace, name.name)


def _finder(tree: exp.Expr, table: exp.Table, target: DatasetName) -> exp.Select | None:
    """The query for the files concerned; None when the statement may concern, or read, all of the target."""
    again = sum(_is(other, target) for other in tree.find_all(exp.Table)) > 1
    volatile = any(_called(node) in _VOLATILE for node in tree.find_all(exp.Func))
    if again or volatile or isinstance(tree, exp.TruncateTable):
        return None
    if isinstance(tree, exp.Merge):
        if any(when.args.get("source") for when in _whens(tree)):
            return None
        sources = [_merge_join(tree)]
    elif tree.args.get("where") is None:
        return None
    else:
        from_ = tree.args.get("from_")
        items = [from_.this] if from_ else tree.args.get("using") or []
        sources = [exp.Join(this=item.copy()) for item in items]
    return _select_over(tree, table, sources, exp.column(FILE_COLUMN, table=_name(table), quoted=True).as_(FILE_COLUMN))


def _select_over(tree: exp.Expr, table: exp.Table, sources: Sequence[exp.Join], item: exp.Expr) -> exp.Select:
    """SELECT DISTINCT item FROM target, sources WHERE the statement's condition."""
    select = exp.Select(expressions=[item], distinct=exp.Distinct())
    select.set("from_", exp.From(this=table.copy()))
    select.set("joins", list(sources))
    for key in ("where", "with_"):
        if tree.args.get(key):
            select.set(key, tree.args[key].copy())
    return select


def _merge_join(tree: exp.Expr) -> exp.Join:
    join = exp.Join(this=tree.args["using"].copy())
    if tree.args.get("on"):
        join.set("on", tree.args["on"].copy())
    if tree.args.get("using_cond"):
        join.set("using", [column.copy() for column in tree.args["using_cond"]])
    return join


def _doubled(change: Change) -> exp.Select | None:
    """The query for a target row that several source rows would change; None when the merge changes no such row."""
    cases = exp.Case(default=exp.false())
    changes = False
    for when in _whens(change.tree):
        if not when.args.get("matched"):
            continue
        acts = _acts(when)
        changes = changes or acts
        condition = when.args.get("condition")
        cases = cases.when(condition.copy() if condition else exp.true(), exp.true() if acts else exp.false())
    if not changes:
        return None
    row = exp.column("rowid", table=_name(change.target))
    select = _select_over(change.tree, change.target, [_merge_join(change.tree)], exp.Count(this=exp.Star()))
    select.set("distinct", None)
    return (
        select.where(cases)
        .group_by(row)
        .having(exp.GT(this=exp.Count(this=exp.Star()), expression=exp.Literal.number(1)))
        .limit(1)
    )


def _acts(when: exp.Expr) -> bool:
    """Whether a WHEN MATCHED clause changes the row it matched."""
    then = when.args["then"]
    return isinstance(then, exp.Update) or (isinstance(then, exp.Var) and then.name.upper() == "DELETE")


def _whens(tree: exp.Expr) -> list[exp.Expr]:
    whens = tree.args.get("whens")
    return list(whens.expressions) if whens else []


def _name(table: exp.Table) -> exp.Identifier:
    alias = table.args.get("alias")
    identifier = alias.this if isinstance(alias, exp.TableAlias) and alias.this else table.this
    return exp.Identifier(this=identifier.name, quoted=bool(identifier.args.get("quoted")))


def _called(node: exp.Expr) -> str:
    return node.name.lower() if isinstance(node, exp.Anonymous) else str(node.key).lower()
