"""Filters: what they mean in plain cases, what is refused and where, and that they cost little."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from lakecat.catalog import MetadataStore
from lakecat.catalog import schema as s
from lakecat.catalog.enums import TypeKind
from lakecat.catalog.metadata_store import ListOptions, codec, filters
from lakecat.catalog.metadata_store.filters import condition, prepare
from lakecat.catalog.metadata_store.kinds import ARTIFACT, CONTEXT, EXECUTION, KINDS, Kind
from lakecat.errors import FilterError

COLUMNS = ("int_value", "double_value", "string_value", "byte_value", "proto_value", "bool_value")


class Store:
    """A few nodes; filters answer with the ids of those that fit, by every way to ask."""

    def __init__(self, store: MetadataStore) -> None:
        self.store = store
        self.database = store.database
        with self.database.reading() as connection:
            query = sa.select(s.type_.c.type_kind, sa.func.min(s.type_.c.id)).group_by(s.type_.c.type_kind)
            self.types = {TypeKind(kind): key for kind, key in connection.execute(query)}

    def put(self, kind: Kind, key: int, **more: Any) -> None:
        properties: Mapping[str, Any] = more.pop("properties", {})
        row = {"id": key, "type_id": self.types[kind.type_kind], "name": f"n{key}", **more}

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.insert(kind.table), row)
            for name, value in properties.items():
                columns = dict(zip(COLUMNS, codec.encode(name, value), strict=True))
                owner = {kind.key: key, "name": name, "is_custom_property": True}
                connection.execute(sa.insert(kind.properties), {**owner, **columns})

        self.database.write(work)

    def insert(self, table: sa.Table, *rows: Mapping[str, Any]) -> None:
        self.database.write(lambda connection: [connection.execute(sa.insert(table), row) for row in rows])

    def find(self, text: str, kind: Kind = ARTIFACT) -> list[int]:
        found = prepare(kind, text, self.database.backend)
        query = sa.select(kind.table.c.id).where(found.condition).order_by(kind.table.c.id)
        with self.database.reading() as connection:
            ids = list(connection.execute(query, dict(found.parameters)).scalars())
            whole = sa.select(kind.table.c.id).where(condition(kind, text, self.database.backend))
            assert sorted(connection.execute(whole).scalars()) == ids
        listing = getattr(self.store, f"get_{kind.name}s")
        assert [node.id for node in listing(ListOptions(filter_query=text))] == ids
        return ids


@pytest.fixture
def empty(store: MetadataStore) -> Store:
    return Store(store)


@pytest.fixture(scope="module")
def stocked(module_store: MetadataStore) -> Store:
    """Four artifacts; 1 is in contexts 1 and 2, 2 in context 2; execution 1 reads 1 and writes 2."""
    store = Store(module_store)
    store.put(ARTIFACT, 1, uri="s3://a", state=2, properties={"n": 1, "who": "Ann", "ok": True})
    store.put(ARTIFACT, 2, uri="s3://B", state=1, properties={"n": 2.5, "0:b": "x"})
    store.put(ARTIFACT, 3, uri=None, properties={"n": "1"})
    store.put(ARTIFACT, 4, uri="s3://a%b")
    store.put(EXECUTION, 1, last_known_state=3)
    for key in (1, 2):
        store.put(CONTEXT, key, properties={"stage": f"s{key}"})
    store.insert(s.attribution, *({"artifact_id": a, "context_id": c} for a, c in ((1, 1), (1, 2), (2, 2))))
    store.insert(s.association, {"execution_id": 1, "context_id": 1})
    store.insert(s.parent_context, {"context_id": 1, "parent_context_id": 2})
    store.insert(s.event, *({"artifact_id": a, "execution_id": 1, "type": t} for a, t in ((1, 3), (2, 4))))
    return store


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("custom_properties.n.int_value = 1", [1]),
        ("custom_properties.n = 1", [1]),
        ("custom_properties.n > 1", [2]),
        ("custom_properties.n = '1'", [3]),
        ("custom_properties.n != 1", [2]),  # text is not compared with a number
        ("custom_properties.n IS NULL", [4]),
        ("NOT custom_properties.n.int_value = 1", []),
        ("NOT custom_properties.n.int_value IS NOT NULL", [2, 3, 4]),
        ("custom_properties.`0:b` = 'x'", [2]),
        ("custom_properties.ok", [1]),
        ("custom_properties.ok.bool_value IS NOT TRUE", [2, 3, 4]),
        ("uri LIKE 's3://b'", []),
        ("uri LIKE 's3://_'", [1, 2]),
        ("uri LIKE '%!%%' ESCAPE '!'", [4]),
        ("uri NOT LIKE '%a%'", [2]),
        ("uri IS NULL OR uri = 's3://B'", [2, 3]),
        ("uri BETWEEN 's3://B' AND 's3://a'", [1, 2]),
        ("state = LIVE", [1]),
        ("state != LIVE", [2, 3, 4]),  # as in ML Metadata; NOT (…) is plain SQL
        ("NOT (state = LIVE)", [2]),
        ("state IN (LIVE, PENDING)", [1, 2]),
        ("type = 'mlmd.Dataset'", [1, 2, 3, 4]),
        ("contexts_0.name = 'n1'", [1]),
        ("contexts_0.name != 'n1'", [1, 2]),
        ("NOT (contexts_0.name = 'n1')", [1, 2]),
        ("NOT EXISTS (contexts_0.name = 'n1')", [2, 3, 4]),
        ("contexts_0.name = 'n1' AND contexts_0.name = 'n2'", []),
        ("contexts_0.name = 'n1' AND contexts_1.name = 'n2'", [1]),
        ("contexts_0.name = 'n1' OR id = 4", [1, 4]),
        ("contexts_0.id IS NULL", [3, 4]),
        ("contexts_a.custom_properties.stage = 's2' AND id < 2", [1]),
        ("events_0.type = INPUT", [1]),
        ("events_0.type != INPUT", [2]),
        ("NOT EXISTS (events_0.type = INPUT)", [2, 3, 4]),
        ("events_0.type = OUTPUT AND events_0.execution_id = 1", [2]),
        ("id IN (1, 3) AND NOT id = 3", [1]),
        ("id NOT IN (1, NULL)", []),
        ("1 = 1 AND id = 2", [2]),
        ("id < 9223372036854775808", [1, 2, 3, 4]),
        ("id = 1.0 OR id = 2.5", [1]),
        ("id > -1e300", [1, 2, 3, 4]),
        ("(id) = (1) OR id IN ((2), (3))", [1, 2, 3]),
        ("9007199254740993 = 9007199254740992.0", []),
        ("custom_properties.who LIKE 'A\\000n'", []),
        ("EXISTS (contexts_0.name = 'n1')", [1]),
        ("EXISTS (contexts_0.name = 'n2' AND events_0.type = INPUT)", [1]),
        ("EXISTS (contexts_0.name = 'n2' OR events_0.type = INPUT)", [1, 2]),
        ("TRUE", [1, 2, 3, 4]),
        ("name = NULL", []),
        ('NAME = "n1" -- a comment', [1]),
    ],
)  # fmt: skip
def test_what_fits(stocked: Store, text: str, ids: list[int]) -> None:
    assert stocked.find(text) == ids


def test_executions_and_contexts_have_names_of_their_own(stocked: Store) -> None:
    assert stocked.find("last_known_state = COMPLETE AND contexts_0.id = 1", EXECUTION) == [1]
    assert stocked.find("events_0.artifact_id = 2 AND events_0.type = OUTPUT", EXECUTION) == [1]
    assert stocked.find("parent_contexts_0.name = 'n2'", CONTEXT) == [1]
    assert stocked.find("child_contexts_0.name = 'n1'", CONTEXT) == [2]
    assert stocked.find("artifacts_0.uri = 's3://B'", CONTEXT) == [2]
    assert stocked.find("executions_0.last_known_state = COMPLETE", CONTEXT) == [1]


def test_values_that_no_column_holds_exactly_are_found_by_what_is_kept_of_them(empty: Store) -> None:
    infinity = float("inf")
    for key, value in enumerate(("a\0b", infinity, -infinity, 2**70, -0.0), start=1):
        empty.put(ARTIFACT, key, properties={"v": value})
    assert empty.find(r"custom_properties.v.string_value = 'a\000b'") == [1]
    assert empty.find(r"custom_properties.v.string_value LIKE 'a\000%'") == [1]
    assert empty.find("custom_properties.v.double_value > 1e308") == [2]
    assert empty.find("custom_properties.v.double_value = 1.7976931348623157e308") == [2]
    assert empty.find("custom_properties.v.double_value < 0") == [3]
    assert empty.find("custom_properties.v.int_value = 9223372036854775807") == [4]
    assert empty.find("custom_properties.v.double_value = 0") == [5]


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("", 1, "empty"),
        ("  nothing = 1", 3, "there is no 'nothing' on artifacts"),
        ("id = 'a'", 6, "id is a number, and this is text"),
        ("properties.a.b.c = 1", 1, "names no property"),
        ("properties.a.int = 1", 1, "a property has no int"),
        ("contexts_0 = 1", 1, "contexts_0 alone is no value"),
        ("contexts.id = 1", 1, "there is no contexts"),
        ("parent_contexts_0.id = 1", 1, "there is no 'parent_contexts_0'"),
        ("events_0.name = 'a'", 1, "there is no 'name' on events"),
        ("state = LIVING", 9, "'LIVING' is no state"),
        ("id = 1 AND", 8, "does not parse"),
        ("id = 1 AND (id = 2", 12, "never closed"),
        ("(id = 1 OR (id = 2)", 1, "never closed"),
        ("id = 1)", 7, "closes nothing"),
        ("name = 'abc", 8, "never ends"),
        ("id = 1; DROP TABLE x", 7, "';' means nothing here"),
        ("id = 1 2", 8, "no condition that filters know"),
        ("id = 1 OR lower(name) = 'a'", 11, "there is no function lower"),
        ("last_known_state = RUNNING", 1, "there is no 'last_known_state' on artifacts"),
        ("state = RUNNING", 9, "'RUNNING' is no state"),
        ("id < 1e309", 6, "1e309 is beyond what a double holds"),
        ("id < -1e999", 6, "-1e999 is beyond what a double holds"),
        ("id = 1 OR id < 1e99999999999999999999", 16, "1e99999999999999999999 is beyond"),
        ("id < 1" + "0" * 309, 6, "000… is beyond what a double holds"),
        ("properties.`a\\000` = 1", 1, "NUL"),
        ("properties.`\\ud800` = 1", 1, "surrogate"),
        ("id IN (SELECT 1)", 15, "does not parse"),
        ("id + 1 = 2", 4, "do not calculate"),
        ("name = '\\q'", 9, "no escape"),
        ("name = '\\ud800'", 8, "surrogate"),
        ("name LIKE 'a!' ESCAPE '!'", 11, "ends with the escape character"),
        ("name LIKE 'a' ESCAPE 'ab'", 22, "one character"),
        ("id LIKE 'a'", 1, "LIKE needs text"),
        ("properties.a IN (1, 'a')", 1, "a number and text"),
        ("properties.a = properties.b", 16, "compared by the kind"),
        ("custom_properties.ok.bool_value < TRUE", 1, "no order"),
        ("EXISTS (id = 1)", 9, "no linked row"),
        ("contexts_0.id = 1 AND EXISTS (contexts_0.id = 2)", 31, "inside and outside"),
        ("id\n = 1 AND\nnothing = 2", 1, "nothing"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, column: int, what: str) -> None:
    with pytest.raises(FilterError, match=re.escape(what)) as caught:
        prepare(ARTIFACT, text, "sqlite")
    error = caught.value
    assert error.field == "filter_query"
    assert error.where is not None
    assert error.where.column == column
    assert error.where.line == 1 + text.count("\n")


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(FilterError, match=r"create_time_since_epoch, .*uri, state, .*events_0"):
        prepare(ARTIFACT, "created = 1", "sqlite")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "id = 1" + ")" * 10_000,
        "NOT " * 10_000 + "id = 1",
        "NOT (" * 5_000 + "id = 1" + ")" * 5_000,
        "id = " + "9" * 100_000,
        "name = '" + "a" * 200_000 + "'",
        "id = 1 OR " * 9_000 + "id = 1",
        "id IN (" + ", ".join("1" for _ in range(20_000)) + ")",
        "id = " + "-" * 10_000 + "1",
        "`" * 99_999,
        "'" * 99_999,
        "a." * 49_000 + "a = 1",
        "\0id = 1",
        "id = 1\ufeff",
        "id = ①",
        "name LIKE '" + "%a" * 20_000 + "'",
        " AND ".join(f"contexts_{n}.id < contexts_{n + 1}.id" for n in range(300)),
        "EXISTS (" + " AND ".join(f"contexts_{n}.id = 1" for n in range(300)) + ")",
        "(id = 1 OR id = 2 AND " * 14 + "id = 3" + ")" * 14,
        # Where a linked row may be missing, values are needed twice, and for a property of any kind again twice.
        f"(custom_properties.p IN ({', '.join('1' * 9_000)}) OR contexts_0.name = 'a') AND contexts_0.id IS NULL",
        "id = " + chr(0x661),
    ],
    ids=lambda text: f"{text[:12]!r}… {len(text)}",
)
def test_hostile_text_is_refused_in_time(text: str) -> None:
    with pytest.raises(FilterError):
        prepare(ARTIFACT, text, "sqlite")


def test_a_number_with_an_endless_exponent_is_a_number(stocked: Store) -> None:
    assert stocked.find("id < 1e308") == [1, 2, 3, 4]
    assert stocked.find("id > 1e-" + "9" * 30) == [1, 2, 3, 4]
    assert stocked.find("id >= 0e" + "9" * 30) == [1, 2, 3, 4]


def test_many_conditions_and_long_lists_are_taken_by_every_database(stocked: Store) -> None:
    """Servers try the orders of a join's tables: without a bound, a dozen linked rows keep MariaDB busy for hours."""
    n = range(60)
    some = " OR ".join(f"(custom_properties.p{i} = {i} AND contexts_{i}.name = 'x{i}')" for i in n)
    assert stocked.find(f"{some} OR id = 2") == [2]
    assert stocked.find(" AND ".join(f"(custom_properties.p{i} = {i} OR id = 1)" for i in n)) == [1]
    assert stocked.find(" AND ".join(f"custom_properties.p{i} = {i}" for i in n)) == []
    assert stocked.find(" AND ".join(f"custom_properties.n < {i + 2}" for i in n)) == [1]
    assert stocked.find(" AND ".join(f"contexts_{i}.name = 'n1'" for i in range(120))) == [1]
    assert stocked.find(" AND ".join(f"contexts_{i}.custom_properties.stage != 's{i}'" for i in n)) == [1]
    assert stocked.find(" AND ".join(f"EXISTS (contexts_{i}.name != 'n{i}')" for i in n)) == [1]
    assert stocked.find(" AND ".join(f"NOT EXISTS (events_{i}.type = INPUT)" for i in n)) == [2, 3, 4]
    assert stocked.find(" AND ".join(f"contexts_0.custom_properties.p{i} IS NULL" for i in range(500))) == [1, 2, 3, 4]
    assert stocked.find(" OR ".join(f"contexts_{i}.custom_properties.p IS NULL" for i in range(500))) == [1, 2, 3, 4]
    assert stocked.find(" AND ".join(f"type != 'x{i}'" for i in n)) == [1, 2, 3, 4]
    assert stocked.find(f"id IN ({', '.join(map(str, range(2, 9_000)))})") == [2, 3, 4]


def nested(levels: int, inner: str) -> str:
    """A filter of so many ORs and ANDs in turn, that is what ``inner`` is."""
    for level in range(levels):
        inner = f"(id > 0 AND {inner})" if level % 2 else f"(id < 0 OR {inner})"
    return inner


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (nested(24, "id = 1"), [1]),
        (nested(20, "contexts_0.custom_properties.stage = 's1'"), [1]),
        (nested(20, "NOT EXISTS (contexts_0.custom_properties.stage = 's1')"), [2, 3, 4]),
        (nested(11, "EXISTS (contexts_0.id < contexts_1.id AND contexts_1.type = contexts_2.type)"), [1]),
        # The middle row comes first; then what it is compared with falls apart into single rows.
        (" AND ".join(f"contexts_{n}.id <= contexts_{n + 1}.id" for n in range(5)), [1, 2]),
        (" AND ".join(f"contexts_{n}.id <= contexts_{m}.id" for n in range(5) for m in range(n)), [1, 2]),
    ],
    ids=lambda value: f"{str(value)[:12]}… {len(str(value))}",
)
def test_what_lies_deepest_is_taken_at_every_place_of_a_filter(stocked: Store, text: str, ids: list[int]) -> None:
    assert stocked.find(text) == ids
    store = stocked.store
    assert store.purge("artifact", filter_query=text).selected == len(ids)
    found = store.lineage(artifact_ids=[1], direction="down", until_artifacts=text)
    assert len(found.artifacts) == (1 if 1 in ids else 2)


def test_texts_that_differ_in_their_literals_share_one_statement() -> None:
    first = prepare(ARTIFACT, "custom_properties.n = 3 AND name LIKE 'a%'", "sqlite")
    second = prepare(ARTIFACT, "custom_properties.n = 4  AND name LIKE 'b%'", "sqlite")
    assert first.condition is second.condition
    assert list(first.parameters.values()) == [3, 3.0, "a*"]
    assert list(second.parameters.values()) == [4, 4.0, "b*"]
    third = prepare(ARTIFACT, "custom_properties.n = 4.5 AND name LIKE 'b%'", "sqlite")
    assert third.condition is not first.condition
    assert prepare(ARTIFACT, "id < 2.5", "sqlite").parameters != prepare(ARTIFACT, "id < 9.5", "sqlite").parameters


def test_the_cache_is_bounded() -> None:
    for n in range(2_000):
        prepare(ARTIFACT, f"custom_properties.p{n} = 1", "sqlite")
    assert len(filters._templates) <= 512


def test_no_text_of_a_filter_reaches_the_statement() -> None:
    mark = "zzz'; DROP TABLE Artifact; --"
    text = "custom_properties.`{0}` = '{0}' AND name LIKE '{0}'".format(mark.replace("'", "\\'"))
    for backend in ("sqlite", "postgresql", "mysql"):
        found = prepare(ARTIFACT, text, backend)
        dialect = sa.create_engine({"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}.get(backend, backend)
                                   + "://").dialect  # fmt: skip
        assert "zzz" not in str(found.condition.compile(dialect=dialect))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_property_is_looked_up_by_an_index_on_every_database(empty: Store, kind: Kind) -> None:
    """Of 3,000 nodes one fits; every database finds it without reading them all."""
    rows = [{"id": n, "type_id": empty.types[kind.type_kind], "name": f"n{n}"} for n in range(1, 3_001)]
    values = [
        {kind.key: n, "name": "p", "is_custom_property": True, "int_value": n if text is None else None,
         "string_value": text} for n in range(1, 3_001) for text in [None if n % 2 else f"s{n}"]
    ]  # fmt: skip

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(kind.table), rows)
        connection.execute(sa.insert(kind.properties), values)

    empty.database.write(work)
    analyze = {"sqlite": "ANALYZE", "postgresql": "ANALYZE"}.get(empty.database.backend)
    with empty.database.connect() as connection:
        if analyze:
            connection.exec_driver_sql(analyze)
            connection.commit()
        for text in ("custom_properties.p.string_value = 's2000'", "custom_properties.p.int_value = 1999"):
            found = prepare(kind, text, empty.database.backend)
            query = sa.select(kind.table.c.id).where(found.condition).params(dict(found.parameters))
            plan = explain(connection, query)
            assert "_property_" in plan, plan  # the indexes on values
            assert not re.search(rf"(SCAN|Seq Scan on) {kind.table.name}\b", plan, re.IGNORECASE), plan


def explain(connection: sa.Connection, query: sa.Select[Any]) -> str:
    compiled = query.compile(connection.engine, compile_kwargs={"render_postcompile": True})
    command = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    parameters: Any = compiled.params
    if compiled.positional:
        parameters = tuple(compiled.params[name] for name in compiled.positiontup or ())
    rows = connection.exec_driver_sql(command + str(compiled), parameters).all()
    return "\n".join(str(tuple(row)) for row in rows)
