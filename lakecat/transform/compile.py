"""A script's statement in the engine's dialect: names resolved and quoted, parameters bound, nothing guessed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from sqlglot import exp
from sqlglot.errors import ErrorLevel, SqlglotError

from lakecat.errors import ScriptError
from lakecat.transform.faithful import faithful
from lakecat.transform.names import dataset_of, is_changes, table_nodes, target_node
from lakecat.transform.scripts import Kind, Script
from lakecat.types import DatasetName

CHANGES_NAMESPACE: Final = "lakecat_changes"
"""Namespace of the engine's relations that hold only what arrived in a table."""

Value: TypeAlias = "str | int | float | bool"
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the engine gets.

    ``sql`` is one SELECT, or for MERGE, UPDATE and DELETE the statement itself. ``relations`` maps the names in it to
    the dataset behind each, and whether only its changes are meant. ``traced`` is the same statement in the script's
    own dialect, with datasets' names, for lineage. Shared between callers: nothing in it may be changed.
    """

    sql: str
    parameters: Mapping[str, Value]
    relations: Mapping[DatasetName, tuple[DatasetName, bool]]
    traced: exp.Expr


def changes_relation(dataset: DatasetName) -> DatasetName:
    """The engine's name for what arrived in a dataset."""
    # The length keeps a.b_c and a_b.c apart.
    name = f"{dataset.namespace}_{len(dataset.namespace)}_{dataset.name}"
    if len(name) > 127:
        name = f"changes_{hashlib.sha256(str(dataset).encode()).hexdigest()}"
    return DatasetName(CHANGES_NAMESPACE, name)


def compile_script(script: Script, *, dialect: str, variables: Mapping[str, Value]) -> Compiled:
    """Translate a script for an engine.

    Args:
        script: the script.
        dialect: sqlglot's name of the engine's dialect.
        variables: values of named parameters; those that the script does not use are ignored.

    Raises:
        ScriptError: a parameter has no value, or the statement can't be said faithfully in the engine's dialect.
    """
    return _compiled(script, dialect, _used(script, variables), first=False)


def first_merge(script: Script, *, dialect: str, variables: Mapping[str, Value]) -> Compiled:
    """A MERGE into a table that is not there yet, as the SELECT of the rows that it inserts.

    Every source row is unmatched then, so that only WHEN NOT MATCHED THEN INSERT counts. Raises ScriptError as
    ``compile_script`` does, and when there is not exactly one such clause with its columns named.
    """
    return _compiled(script, dialect, _used(script, variables), first=True)


_Used: TypeAlias = tuple[tuple[str, str, Value], ...]


def _used(script: Script, variables: Mapping[str, Value]) -> _Used:
    """The values that the script uses; with their texts, as 1, 1.0 and true are equal in Python, and 0.0 and -0.0."""
    return tuple((name, repr(variables[name]), variables[name]) for name in used_variables(script) if name in variables)


# A plan compiles what the run compiles again; a scheduler's process does so at each turn.
@lru_cache(maxsize=1024)
def _compiled(script: Script, dialect: str, used: _Used, *, first: bool) -> Compiled:
    traced, _ = _resolve(script, for_engine=False)
    statement, relations = _resolve(script, for_engine=True)
    parameters = _bind(script, statement, {name: value for name, _, value in used})
    query = _inserted_rows(script, statement) if first else _executable(script, statement)
    return Compiled(_said(script, query, dialect), parameters, relations, traced)


@lru_cache(maxsize=1024)
def used_variables(script: Script) -> tuple[str, ...]:
    """Names of the parameters in a script's text, each once. Raises ScriptError for those without a name."""
    return tuple(dict.fromkeys(_parameter_name(script, node) for node in _parameter_nodes(script.statement)))


def _inserted_rows(script: Script, merge: exp.Expr) -> exp.Expr:
    inserts = [
        when
        for when in merge.args["whens"].expressions
        if isinstance(when.args["then"], exp.Insert) and not when.args.get("matched") and not when.args.get("source")
    ]
    if len(inserts) != 1:
        raise _no_table(script)
    then = inserts[0].args["then"]
    query = exp.select(*_insert_projection(script, then)).from_(merge.args["using"])
    if (condition := inserts[0].args.get("condition")) is not None:
        query = query.where(condition)
    if isinstance(merge.args.get("with_"), exp.With):
        query.set("with_", merge.args["with_"])
    return query


def _insert_projection(script: Script, then: exp.Expr) -> list[exp.Expr]:
    columns, values = then.args.get("this"), then.args.get("expression")
    if isinstance(columns, exp.Star) or (columns is None and not values):
        return [exp.Star()]
    if columns is None or not values:
        raise _no_table(script)
    return [
        exp.alias_(value.copy(), column.name, quoted=True)
        for column, value in zip(columns.expressions, values.expressions, strict=True)
    ]


def _no_table(script: Script) -> ScriptError:
    return ScriptError(
        f"there is no table {script.target} to merge into, and its columns do not follow from the MERGE",
        where=script.where(script.statement),
        hint="write one WHEN NOT MATCHED THEN INSERT (columns) VALUES (…), or create the table by a script",
    )


def _said(script: Script, statement: exp.Expr, dialect: str) -> str:
    statement = faithful(script, statement)
    try:
        return statement.sql(dialect=dialect, identify=True, comments=False, unsupported_level=ErrorLevel.RAISE)
    except SqlglotError as err:
        raise ScriptError(
            f"cannot be said in the engine's SQL ({dialect}): {str(err).splitlines()[0]}",
            where=script.where(script.statement),
            hint=f"write that part in another way, or the script in {dialect} with -- lakecat: {{dialect: {dialect}}}",
        ) from err


def _resolve(script: Script, *, for_engine: bool) -> tuple[exp.Expr, Mapping[DatasetName, tuple[DatasetName, bool]]]:
    statement = script.statement.copy()
    namespace = script.name.partition(".")[0] if "." in script.name else None
    relations: dict[DatasetName, tuple[DatasetName, bool]] = {}
    for node in table_nodes(statement):
        use = dataset_of(node, text=script.text, path=script.path, namespace=namespace)
        if use is None:
            continue
        relation = changes_relation(use.dataset) if use.changes and for_engine else use.dataset
        relations[relation] = (use.dataset, use.changes)
        if is_changes(node) and not node.alias:
            node.set("alias", exp.TableAlias(this=exp.to_identifier(use.dataset.name)))
        _rename(node, relation, quoted=for_engine)
    target = target_node(statement)
    if target is not None:
        _rename(target, script.target, quoted=for_engine)
    return statement, relations


def _rename(node: exp.Table, name: DatasetName, *, quoted: bool) -> None:
    start = next((found.meta for found in node.walk() if "start" in found.meta), {})
    table = exp.to_identifier(name.name, quoted=quoted)
    table.meta.update(start)
    node.set("this", table)
    node.set("db", exp.to_identifier(name.namespace, quoted=quoted))


def _executable(script: Script, statement: exp.Expr) -> exp.Expr:
    if script.kind.modifies or script.kind is Kind.SELECT:
        return _as_select(statement)
    query: exp.Expr = statement.expression
    outer = statement.args.get("with_")
    if isinstance(outer, exp.With):
        inner = query.args.get("with_")
        if isinstance(inner, exp.With):
            outer.set("expressions", [*outer.expressions, *inner.expressions])
            outer.set("recursive", bool(outer.args.get("recursive") or inner.args.get("recursive")))
        query.set("with_", outer)
    if script.kind.inserts and not script.by_name:
        _name_apart(query)
    return _as_select(query)


def _name_apart(query: exp.Expr) -> None:
    """Give unnamed and repeated columns names of their own: an INSERT goes by position, the engine's result by name."""
    while isinstance(query, exp.SetOperation | exp.Subquery):
        query = query.this
    if not isinstance(query, exp.Select) or any(column.is_star for column in query.expressions):
        return
    seen: set[str] = set()
    columns = []
    for number, column in enumerate(query.expressions, start=1):
        name = column.output_name.lower()
        apart = name and name not in seen
        columns.append(column if apart else exp.alias_(column.unalias().copy(), f"column{number}", quoted=True))
        seen.add(name or f"column{number}")
    query.set("expressions", columns)


def _as_select(statement: exp.Expr) -> exp.Expr:
    if isinstance(statement, exp.Values):
        return exp.select("*").from_(exp.alias_(statement, "rows", table=True))
    return statement


def _parameter_nodes(statement: exp.Expr) -> tuple[exp.Expr, ...]:
    return tuple(statement.find_all(exp.Placeholder, exp.Parameter))


def _parameter_name(script: Script, node: exp.Expr) -> str:
    name = node.name
    if not _NAME.match(name):
        raise ScriptError(
            "a parameter without a name",
            where=script.where(node.parent),
            hint="write $name or :name, and give it with --var name=value",
        )
    return name


def _bind(script: Script, statement: exp.Expr, variables: Mapping[str, Value]) -> Mapping[str, Value]:
    declared = script.header.variables
    bound: dict[str, Value] = {}
    for node in _parameter_nodes(statement):
        name = _parameter_name(script, node)
        default = declared[name].default if name in declared else None
        value = variables.get(name, default)
        if value is None and re.search(rf"\w\.\w+@{name}\b", script.text):
            raise ScriptError(
                "time travel inside a script is refused",
                where=script.where(node.parent),
                hint=f"@{name} would be a version or tag, but inputs are pinned for each run",
            )
        if value is None:
            raise ScriptError(
                f"the parameter {name!r} has no value",
                where=script.where(node.parent),
                hint=f"give it with --var {name}=…, in transforms.variables of lakecat.yaml or in the header",
            )
        bound[name] = value
        held: exp.Expr = exp.Placeholder(this=name)
        if name in declared:
            held = exp.Cast(this=held, to=exp.DataType.build(declared[name].type, dialect="duckdb"))
        node.replace(held)
    return bound
