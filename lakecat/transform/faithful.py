"""Where sqlglot's translation for DuckDB changes what a statement computes, the statement is put in words that do not.

Each rule names what differs; the sources are the manuals of the dialects. What has no faithful words is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlglot import exp

from lakecat.errors import ScriptError
from lakecat.transform.scripts import Script

_SPARKS: Final = frozenset({"spark", "spark2", "databricks", "hive"})
_MYSQLS: Final = frozenset({"mysql", "doris", "starrocks"})
_TRINOS: Final = frozenset({"trino", "presto", "athena", "dune"})
_POSTGRESES: Final = frozenset({"postgres", "redshift", "materialize", "risingwave"})

_SUNDAY_IS_1: Final = _SPARKS | _MYSQLS | {"bigquery", "tsql", "fabric"}
_MONDAY_IS_0: Final = _SPARKS | _MYSQLS
_CASTS_CUT: Final = _SPARKS | {"tsql", "fabric", "sqlite", "clickhouse"}
_WHOLE_UNITS: Final = _TRINOS | {"databricks"}
_WEEKS_OF_THEIR_OWN: Final = _MYSQLS | {"bigquery", "tsql", "fabric"}
# There a float divided by zero is infinite, as in DuckDB; elsewhere it is an error.
_INFINITE: Final = _TRINOS | {"clickhouse"}

_DAYS: Final = ("DOW", "DAYOFWEEK", "DAY_OF_WEEK", "WEEKDAY")
_FRACTIONS: Final = (*exp.DataType.REAL_TYPES, exp.DType.DECIMAL)
# Wider than any integer, and finer than a double's digits.
_EXACT: Final = "DECIMAL(38, 15)"


def faithful(script: Script, statement: exp.Expr) -> exp.Expr:
    """The statement, changed where DuckDB would give other values for the same words.

    Raises ScriptError for what cannot be said, with the place.
    """
    if script.dialect == "duckdb":
        return statement
    # Inner ones first: what a rule says of a node takes the words for its parts along.
    for node in reversed(list(statement.walk(bfs=False))):
        for kind, rule in _RULES:
            if isinstance(node, kind) and (words := rule(script, node)) is not None:
                if node is statement:
                    statement = words
                else:
                    node.replace(words)
                break
    return statement


def _division(script: Script, node: exp.Expr) -> exp.Expr | None:
    """By zero it is an error where DuckDB gives infinity; integers by integers give an integer in some dialects."""
    left, right = node.this, node.expression
    if node.args.get("typed") and "fraction" not in (kinds := (_kind(left), _kind(right))):
        if kinds != ("integer", "integer"):
            raise ScriptError(
                f"{script.dialect} divides integers by cutting, and from the text alone the operands may be integers",
                where=script.where(node),
                hint="cast them: CAST(a AS bigint) / CAST(b AS bigint), or one of them to a float or decimal",
            )
        return exp.paren(exp.IntDiv(this=left.copy(), expression=_checked(right)))
    if node.args.get("safe") or script.dialect in _INFINITE:
        return None
    return exp.paren(exp.Div(this=left.copy(), expression=_checked(right)))


def _kind(node: exp.Expr) -> str | None:
    """Whether an operand is surely an integer or surely not, by its text."""
    node = node.unnest()
    if isinstance(node, exp.Neg):
        return _kind(node.this)
    if isinstance(node, exp.Literal) and not node.is_string:
        return "integer" if node.is_int else "fraction"
    if isinstance(node, exp.Cast):
        if node.is_type(*exp.DataType.INTEGER_TYPES):
            return "integer"
        return "fraction" if node.is_type(*_FRACTIONS) else None
    if isinstance(node, exp.Mul | exp.Div | exp.Add | exp.Sub):
        kinds = {_kind(node.this), _kind(node.expression)}
        return "fraction" if "fraction" in kinds else None
    if isinstance(node, exp.Case):
        return _kind(node.args["default"]) if node.args.get("default") is not None else None
    return "integer" if isinstance(node, exp.Count | exp.IntDiv) else None


def _checked(divisor: exp.Expr) -> exp.Expr:
    inner = divisor.unnest()
    if isinstance(inner, exp.Nullif) or (isinstance(inner, exp.Literal) and float(inner.name or 0) != 0):
        return divisor.copy()
    zero = exp.EQ(this=exp.paren(divisor.copy()), expression=exp.Literal.number(0))
    return exp.case().when(zero, _error("division by zero")).else_(divisor.copy())


def _error(text: str) -> exp.Expr:
    return exp.Anonymous(this="error", expressions=[exp.Literal.string(text)])


def _day_of_week(script: Script, node: exp.Expr) -> exp.Expr | None:
    if script.dialect not in _SUNDAY_IS_1:
        return None
    return exp.paren(exp.Add(this=node.copy(), expression=exp.Literal.number(1)))


def _extract(script: Script, node: exp.Expr) -> exp.Expr | None:
    part = node.this.name.upper()
    if part in _DAYS:
        if script.dialect in _TRINOS:
            return exp.Anonymous(this="isodow", expressions=[node.expression.copy()])
        return _day_of_week(script, node)
    if part.startswith("WEEK") and script.dialect in _WEEKS_OF_THEIR_OWN:
        return _week(script, node)
    return None


def _week(script: Script, node: exp.Expr) -> exp.Expr | None:
    if script.dialect not in _WEEKS_OF_THEIR_OWN:
        return None
    raise ScriptError(
        f"weeks are counted differently by {script.dialect} and by the engine",
        where=script.where(node),
        hint="use the ISO week: weekofyear(…), or EXTRACT(ISOWEEK FROM …)",
    )


def _function(script: Script, node: exp.Expr) -> exp.Expr | None:
    name = node.name.lower()
    arguments = node.expressions
    if name == "weekday" and script.dialect in _MONDAY_IS_0 and len(arguments) == 1:
        days = exp.Anonymous(this="isodow", expressions=[exp.cast(arguments[0].copy(), "DATE")])
        return exp.paren(exp.Sub(this=days, expression=exp.Literal.number(1)))
    if name == "date_part" and script.dialect in _SPARKS and arguments and arguments[0].name.upper() in _DAYS:
        return _day_of_week(script, node)
    return None


def _difference(script: Script, node: exp.Expr) -> exp.Expr | None:
    """Some count whole units that have passed; DuckDB's date_diff counts the boundaries crossed, date_sub the units."""
    unit = node.args.get("unit")
    if unit is None or (isinstance(node, exp.DateDiff) and script.dialect not in _WHOLE_UNITS):
        return None
    words = exp.Literal.string(unit.name.lower())
    return exp.Anonymous(this="date_sub", expressions=[words, node.expression.copy(), node.this.copy()])


def _cast(script: Script, node: exp.Expr) -> exp.Expr | None:
    """Casts to integers cut the fraction off in some dialects; DuckDB rounds."""
    if script.dialect not in _CASTS_CUT or not node.args["to"].is_type(*exp.DataType.INTEGER_TYPES):
        return None
    if _kind(node.this) == "integer":
        return None
    cast = type(node)
    exact = cast(this=node.this.copy(), to=exp.DataType.build(_EXACT, dialect="duckdb"))
    return cast(this=exp.Anonymous(this="trunc", expressions=[exact]), to=node.args["to"].copy())


def _assignments(_: Script, node: exp.Expr) -> None:
    """``SET t.a = …`` can only mean the target; DuckDB takes the column's name alone."""
    for assignment in node.args.get("expressions") or ():
        if isinstance(assignment, exp.EQ) and isinstance(assignment.this, exp.Column):
            assignment.set("this", exp.Column(this=assignment.this.this))


_RULES: Final[tuple[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Callable[..., exp.Expr | None]], ...]] = (
    (exp.Div, _division),
    (exp.Update, _assignments),
    (exp.DayOfWeek, _day_of_week),
    (exp.Extract, _extract),
    (exp.Week, _week),
    (exp.Anonymous, _function),
    ((exp.TimestampDiff, exp.DateDiff), _difference),
    ((exp.Cast, exp.TryCast), _cast),
)
