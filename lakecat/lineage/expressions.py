"""What a value expression depends on. An explicit stack, so that a chain of ten thousand ANDs is no problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from sqlglot import exp

from lakecat.lineage.relation import NOTHING, Deps, MutableDeps, lift, merge
from lakecat.lineage.scope import Scope, resolve, whole_row
from lakecat.types import EdgeKind

_MASKS: Final = frozenset(
    [
        "md5",
        "md5_hex",
        "md5_digest",
        "sha",
        "sha1",
        "sha1_hex",
        "sha2",
        "sha2_hex",
        "sha224",
        "sha256",
        "sha384",
        "sha512",
        "hash",
        "hashbytes",
        "checksum",
        "crc32",
        "xxhash32",
        "xxhash64",
        "murmur_hash",
        "murmur_hash3_32",
        "hive_hash",
        "farm_fingerprint",
        "fnv_hash",
        "cityhash64",
        "siphash64",
        "mask",
        "mask_hash",
        "mask_show_last_n",
        "aes_encrypt",
        "hmac",
        "count",
        "count_if",
        "approx_distinct",
        "approx_count_distinct",
    ]
)
_MASK_PREFIXES: Final = ("md5", "sha1", "sha2", "sha5", "murmur", "xxhash")
_AGGREGATES: Final = frozenset(
    [
        "any_value",
        "arbitrary",
        "first",
        "last",
        "list",
        "product",
        "fsum",
        "favg",
        "sumkahan",
        "kahan_sum",
        "mode",
        "median",
        "mad",
        "entropy",
        "kurtosis",
        "kurtosis_pop",
        "skewness",
        "histogram",
        "arg_min",
        "arg_max",
        "min_by",
        "max_by",
        "bitstring_agg",
        "bit_xor",
        "bool_and",
        "bool_or",
        "every",
        "group_concat",
        "listagg",
        "string_agg",
        "array_agg",
        "json_agg",
        "jsonb_agg",
        "json_object_agg",
        "jsonb_object_agg",
        "xmlagg",
        "regr_slope",
        "regr_intercept",
        "regr_count",
        "regr_r2",
        "collect_list",
        "collect_set",
    ]
)
_NOT_AGGREGATES: Final = (exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue, exp.NthValue)


class Task(NamedTuple):
    """A node still to visit. ``origin`` is the expression to show; ``bound`` are parameters of lambdas around it."""

    node: exp.Expr
    kind: EdgeKind
    origin: exp.Expr
    masked: bool = False
    bound: frozenset[str] = frozenset()

    def child(self, node: exp.Expr) -> Task:
        """The step into an operand: identity becomes transformation."""
        return self._replace(node=node, kind=_step(self.kind))

    def condition(self, node: exp.Expr) -> Task:
        """The step into what only decides which value is taken."""
        if not self.kind.direct:
            return self._replace(node=node)
        return self._replace(node=node, kind=EdgeKind.CONDITIONAL, origin=node, masked=False)


def _step(kind: EdgeKind) -> EdgeKind:
    return EdgeKind.TRANSFORMATION if kind is EdgeKind.IDENTITY else kind


def flows(
    scope: Scope,
    node: exp.Expr | None,
    *,
    kind: EdgeKind = EdgeKind.IDENTITY,
    alias_first: bool = False,
) -> Deps:
    """Where the value of ``node`` comes from. ``alias_first``: a bare name means an output alias before a column."""
    while isinstance(node, (exp.Alias, exp.Paren)):
        node = node.this
    if node is None:
        return NOTHING
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
        return lift(resolve(scope, column_parts(scope, node), node, alias_first=alias_first), kind, node)
    sink: MutableDeps = {}
    stack = [Task(node, kind, node)]
    while stack:
        task = stack.pop()
        children = list(_handler(type(task.node))(scope, task, sink))
        stack.extend(reversed(children))
    return sink


def conjuncts(node: object) -> Iterator[exp.Expr]:
    """The parts of an AND chain, left to right. sqlglot fills absent parts with None or False."""
    stack = [node] if isinstance(node, exp.Expr) else []
    while stack:
        current = stack.pop()
        if isinstance(current, exp.Paren):
            stack.append(current.this)
        elif isinstance(current, exp.And):
            stack.extend((current.expression, current.this))
        else:
            yield current


def influence(scope: Scope, node: object, kind: EdgeKind, *, alias_first: bool = False) -> None:
    """A predicate, key or condition that decides rows or order of the scope's result."""
    for part in conjuncts(node):
        deps = flows(scope, part, kind=EdgeKind.TRANSFORMATION, alias_first=alias_first)
        scope.influence.add(deps, kind, part)


def column_parts(scope: Scope, column: exp.Column) -> list[str]:
    """The names of a dotted reference, first to last."""
    return [scope.ctx.rules.column(part) for part in column.parts]


Handler = Callable[[Scope, Task, MutableDeps], Iterable[Task]]


def _children(node: exp.Expr, skip: str | None = None) -> Iterator[exp.Expr]:
    for key, value in node.args.items():
        if key == skip:
            continue
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, exp.Expr))
        elif isinstance(value, exp.Expr):
            yield value


def _default(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    return [task.child(child) for child in _children(task.node)]


def _leaf(_scope: Scope, _task: Task, _sink: MutableDeps) -> Iterable[Task]:
    return ()


def _same(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    return (task._replace(node=task.node.this),)


def _parameter(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    """A bound value has no column behind it; Snowflake's ``$1`` is the first column of the one source."""
    if isinstance(task.node.this, exp.Literal) and len(scope.sources) == 1:
        found = next(iter(scope.sources.values())).find(f"${task.node.name}")
        if found is not None:
            _give(found.deps, task, sink)
    return ()


def _give(deps: Deps, task: Task, sink: MutableDeps) -> None:
    merge(sink, lift(deps, task.kind, task.origin, masked=task.masked))


def _column(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    node = task.node
    assert isinstance(node, exp.Column)  # noqa: S101 - narrows the handler's type
    if isinstance(node.this, exp.Star):
        key = scope.source_key(column_parts(scope, node)[:-1])
        if key is not None:
            _give(whole_row(scope.sources[key], node), task, sink)
        return ()
    parts = column_parts(scope, node)
    if parts[0].lower() not in task.bound:
        _give(resolve(scope, parts, node), task, sink)
    return ()


def _dot(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    node: exp.Expr = task.node
    path: list[str] = []
    extra: list[Task] = []
    while isinstance(node, exp.Dot):
        step = node.expression
        if isinstance(step, exp.Identifier):
            path.append(scope.ctx.rules.column(step))
        elif isinstance(step, exp.Expr) and not isinstance(step, exp.Star):
            extra.append(task.child(step))
        node = node.this
    if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star) and not extra:
        parts = column_parts(scope, node) + path[::-1]
        if parts[0].lower() not in task.bound:
            _give(resolve(scope, parts, node), task, sink)
        return ()
    return [*extra, task.child(node)]


def _star(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    for _, relation in scope.visible():
        _give(whole_row(relation, task.node), task, sink)
    return ()


def _subquery(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    relation = scope.ctx.query(task.node, scope.env, scope)
    for column in relation.columns:
        merge(sink, lift(column.deps, _step(task.kind), task.origin, masked=task.masked))
    scope.influence.include(relation.influence)
    return ()


def _exists(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    if not isinstance(task.node.this, exp.Query):
        return _function(scope, task, sink)
    # Which columns EXISTS selects never matters; only which rows there are.
    scope.influence.include(scope.ctx.query(task.node.this, scope.env, scope).influence)
    return ()


def _case(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    node = task.node
    if node.this is not None:
        yield task.condition(node.this)
    for branch in node.args.get("ifs") or ():
        yield task.condition(branch.this)
        yield task.child(branch.args["true"])
    if node.args.get("default") is not None:
        yield task.child(node.args["default"])


def _if(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    yield task.condition(task.node.this)
    for key in ("true", "false"):
        if task.node.args.get(key) is not None:
            yield task.child(task.node.args[key])


def _nullif(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    return (task.child(task.node.this), task.condition(task.node.expression))


def _decode(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    arguments = task.node.expressions
    last = len(arguments) - 1
    for i, argument in enumerate(arguments):
        # DECODE(value, search, result, search, result, …, default)
        is_result = i > 0 and (i % 2 == 0 or i == last)
        yield task.child(argument) if is_result else task.condition(argument)


def _window(scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    node = task.node
    yield task._replace(node=node.this)
    seen: set[str] = set()
    part: exp.Expr | None = node
    while part is not None:
        for child in _children(part, skip="this"):
            if isinstance(child, exp.Identifier):
                continue
            if task.kind.direct:
                yield Task(child, EdgeKind.WINDOW, node, bound=task.bound)
            else:
                yield task._replace(node=child)
        name = part.args.get("alias")
        named = name.name.lower() if isinstance(name, exp.Expr) else ""
        part = scope.windows.get(named) if named not in seen else None
        seen.add(named)


def _filter(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    predicate = task.node.expression
    yield task._replace(node=task.node.this)
    yield task.condition(predicate.this if isinstance(predicate, exp.Where) else predicate)


def _within_group(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    yield task._replace(node=task.node.this)
    order = task.node.expression
    kind = EdgeKind.AGGREGATION if task.kind.direct else task.kind
    if isinstance(task.node.this, (exp.GroupConcat, exp.ArrayAgg)):
        kind = EdgeKind.WINDOW if task.kind.direct else task.kind
    for key in order.expressions:
        yield task._replace(node=key.this, kind=kind)


def _order(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    """ORDER BY inside an aggregate's parentheses: the keys only decide the order of what is collected."""
    if isinstance(task.node.this, exp.Expr):
        yield task._replace(node=task.node.this)
    for key in task.node.expressions:
        yield task._replace(node=key, kind=EdgeKind.WINDOW) if task.kind.direct else task._replace(node=key)


def _lambda(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    names = {parameter.name.lower() for parameter in task.node.expressions}
    return (task.child(task.node.this)._replace(bound=task.bound | names),)


def _comprehension(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    node = task.node
    names = {node.args[key].name.lower() for key in ("expression", "position") if node.args.get(key) is not None}
    inner = task._replace(bound=task.bound | names)
    yield inner.child(node.this)
    yield task.child(node.args["iterator"])
    if node.args.get("condition") is not None:
        yield inner.condition(node.args["condition"])


def _value_only(_scope: Scope, task: Task, _sink: MutableDeps) -> Iterable[Task]:
    return (task.child(task.node.expression),)


def _function(scope: Scope, task: Task, sink: MutableDeps) -> Iterable[Task]:
    node = task.node
    name = (node.name if isinstance(node, exp.Anonymous) else _sql_name(type(node))).lower()
    kind = task.kind
    if kind.direct and kind is not EdgeKind.AGGREGATION:
        kind = EdgeKind.AGGREGATION if is_aggregate(node) else EdgeKind.TRANSFORMATION
    masked = task.masked or name in _MASKS or name.startswith(_MASK_PREFIXES)
    if name == "values" and "excluded" in scope.sources:  # MySQL: the value that was to be inserted
        for column in node.expressions:
            _give(resolve(scope, ["excluded", scope.ctx.rules.column(column)], node), task, sink)
        return
    counting = isinstance(node, exp.Count)
    for child in _children(node):
        if not (counting and isinstance(child, exp.Star)):
            yield task._replace(node=child, kind=kind, masked=masked and kind.direct)


def _sql_name(kind: type[exp.Expr]) -> str:
    names: list[str] = kind.sql_names() if issubclass(kind, exp.Func) else []
    return names[0] if names else ""


def is_aggregate(node: exp.Expr) -> bool:
    """Whether a function makes one value of many rows."""
    if isinstance(node, exp.AggFunc):
        return not isinstance(node, _NOT_AGGREGATES)
    return isinstance(node, exp.Anonymous) and node.name.lower() in _AGGREGATES


_HANDLERS: Final[tuple[tuple[type[exp.Expr] | tuple[type[exp.Expr], ...], Handler], ...]] = (
    ((exp.Literal, exp.Identifier, exp.DataType, exp.Null, exp.Boolean, exp.Var, exp.Hint), _leaf),
    (exp.Parameter, _parameter),
    (exp.Column, _column),
    (exp.Dot, _dot),
    (exp.Star, _star),
    (exp.Exists, _exists),
    (exp.Query, _subquery),
    (exp.Case, _case),
    (exp.If, _if),
    (exp.Nvl2, _if),
    (exp.Nullif, _nullif),
    (exp.DecodeCase, _decode),
    (exp.Window, _window),
    (exp.Filter, _filter),
    (exp.WithinGroup, _within_group),
    (exp.Order, _order),
    (exp.Lambda, _lambda),
    (exp.Comprehension, _comprehension),
    ((exp.PropertyEQ, exp.Kwarg), _value_only),
    ((exp.Alias, exp.Paren, exp.IgnoreNulls, exp.RespectNulls), _same),
    ((exp.And, exp.Or), _default),
    (exp.Func, _function),
)


_KNOWN: dict[type[exp.Expr], Handler] = {}


def _handler(kind: type[exp.Expr]) -> Handler:
    handler = _KNOWN.get(kind)
    if handler is None:
        handler = next((handle for types, handle in _HANDLERS if issubclass(kind, types)), _default)
        _KNOWN[kind] = handler
    return handler
