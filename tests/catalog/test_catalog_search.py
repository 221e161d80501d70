"""Search: the same finds in the same order on every database; text is only text; the index follows what it tells of."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, Holder, Script, migrate, search_index
from lakecat.catalog import schema as s
from lakecat.catalog.annotations import AnnotationEdit
from lakecat.catalog.search_index import SearchKind
from lakecat.catalog.search_words import Place, fold, may_go_on, query_words, token, tokens
from lakecat.catalog.tagging import Tagging
from lakecat.errors import UsageError
from lakecat.types import DatasetName, VersionRef

COLUMNS = {"customerId": [1], "amount": [2.0], "the_in": ["x"], "Größe": ["y"]}


def load(bench, name: str, *columns: str) -> None:
    bench.load(name, rows=pa.table({column: pa.array([1]) for column in columns}))


def found(catalog: Catalog, text: str, *kinds: SearchKind) -> list[tuple[str, str]]:
    """Class and name of each find."""
    return [(hit.match.value, hit.name) for hit in catalog.search(text, kinds=kinds, limit=100).hits]


def say(bench, name: str, column: str | None = None, **edit) -> None:
    bench.catalog.annotate(DatasetName.parse(name), column, AnnotationEdit(**edit), by="ada@host")


@pytest.fixture
def shop(bench):
    load(bench, "raw.orders", "orderId", "customer_id", "amount")
    load(bench, "raw.orders_archive", "orderId", "note")
    load(bench, "mart.daily_orders", "day", "orders", "net_amount")
    load(bench, "mart.customers", "email", "Größe", "the_in")
    say(
        bench,
        "mart.customers",
        description="Who has placed orders; the e-mail in lower case",
        owners=("data/crm",),
    )
    say(bench, "mart.customers", "email", labels=("pii",), description="never shown to anybody")
    return bench


DATASETS = (SearchKind.DATASET,)


def test_the_exact_name_first_then_beginnings_then_words(shop) -> None:
    """OpenMetadata#10789 and #18413, amundsen#759: the table of that name must be the first find."""
    assert found(shop.catalog, "orders", SearchKind.DATASET, SearchKind.COLUMN) == [
        ("exact", "raw.orders"),
        ("prefix", "raw.orders_archive"),
        ("name", "mart.daily_orders"),
        ("column", "mart.daily_orders.orders"),
        ("description", "mart.customers"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raw.orders", [("exact", "raw.orders"), ("prefix", "raw.orders_archive")]),
        ("RAW.Orders", [("exact", "raw.orders"), ("prefix", "raw.orders_archive")]),
        ("raw.orders.am", [("prefix", "raw.orders.amount")]),
        ("raw.orders.amount", [("exact", "raw.orders.amount")]),
        ("daily orders", [("name", "mart.daily_orders"), ("column", "mart.daily_orders.orders")]),
        ("dailyorders", [("name", "mart.daily_orders")]),
        ("customer id", [("column", "raw.orders.customer_id")]),
        ("customerId", [("column", "raw.orders.customer_id")]),
        ("amount", [("column", "raw.orders.amount"), ("column", "mart.daily_orders.net_amount")]),
        ("mart amount", [("column", "mart.daily_orders.net_amount")]),
        ("grosse", [("column", "mart.customers.Größe")]),
        ("GRÖSSE", [("column", "mart.customers.Größe")]),
        ("the", [("column", "mart.customers.the_in"), ("description", "mart.customers")]),
        ("in", [("column", "mart.customers.the_in"), ("description", "mart.customers")]),
        ("pii", [("description", "mart.customers.email")]),
        ("data/crm", [("description", "mart.customers")]),
        ("crm customers", [("description", "mart.customers")]),
        ("placed nothing", []),
        ("order amou", [("column", "mart.daily_orders.net_amount"), ("column", "raw.orders.amount")]),
        ("cust em", []),
        ("cust ema", [("column", "mart.customers.email")]),
    ],
)
def test_words(shop, text: str, expected: list[tuple[str, str]]) -> None:
    assert found(shop.catalog, text, SearchKind.DATASET, SearchKind.COLUMN) == expected


HOSTILE = (
    '"', "'", '"orders', "orders'; DROP TABLE lakecat_search; --", "%", "_", "or%", "orders AND", "NEAR(a b, 3)",
    "a OR", "NOT", "(", "orders^2", "name:orders", "{a}", "+-*<>~@", "\\", "\0", "orders\0", "🚀", "\ud800",
    "a" * 10_000, "wort " * 2_000, "-", ":*", "''", "\u202eorders", "%s", ":text", "$1", "?",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_only_text(shop, text: str) -> None:
    hits = shop.catalog.search(text).hits
    words = query_words(text)
    for hit in hits:
        whole = fold(" ".join((hit.name, *(match.text for match in hit.matches))))
        assert words
        assert all(word in whole.replace("_", "") for word in words), hit
    with shop.catalog.database.reading() as connection:
        assert search_index.differences(connection) == ()


def test_wildcards_find_themselves_only(shop) -> None:
    say(shop, "raw.orders", description="100% of 5_6 🚀")
    assert found(shop.catalog, "🚀") == [("description", "raw.orders")]
    assert found(shop.catalog, "%") == []
    assert found(shop.catalog, "100%") == [("description", "raw.orders")]


def test_an_empty_text_or_limit_is_refused(shop) -> None:
    for text in ("", " \n"):
        with pytest.raises(UsageError, match="nothing is searched for"):
            shop.catalog.search(text)
    with pytest.raises(UsageError, match="limit"):
        shop.catalog.search("a", limit=0)


def test_the_limit_cuts_and_says_so(shop) -> None:
    everything = shop.catalog.search("orders", limit=100)
    assert not everything.more
    for limit in range(1, len(everything.hits) + 1):
        cut = shop.catalog.search("orders", limit=limit)
        assert cut.hits == everything.hits[:limit]
        assert cut.more == (limit < len(everything.hits))


def test_where_the_text_stands(shop) -> None:
    def marked(text: str) -> dict[str, list[str]]:
        hit = shop.catalog.search(text, kinds=DATASETS).hits[0]
        return {m.field: [m.text[start:end] for start, end in m.ranges] for m in hit.matches}

    assert marked("orders")["name"] == ["orders"]
    assert marked("daily ord") == {"name": ["daily", "ord"]}
    assert marked("placed LOW") == {"description": ["placed", "low"]}
    assert marked("crm") == {"owner": ["crm"]}
    say(shop, "raw.orders", description="x" * 500 + " needle " + "y" * 500)
    hit = shop.catalog.search("needle").hits[0]
    (match,) = hit.matches
    assert len(match.text) <= 162
    assert [match.text[start:end] for start, end in match.ranges] == ["needle"]


def test_jobs_and_scripts_are_found_from_their_first_run_on(bench) -> None:
    script = Script("SELECT 1", "ab" * 32, "transforms/mart/revenue_by_day.sql", "duckdb")
    bench.begin("mart.revenue", script=script, job="mart.revenue_by_day")
    assert found(bench.catalog, "revenue_by_day", SearchKind.JOB, SearchKind.SCRIPT) == [
        ("exact", "mart.revenue_by_day"),
        ("exact", "transforms/mart/revenue_by_day.sql"),
    ]
    assert found(bench.catalog, "day revenue", SearchKind.SCRIPT) == [("name", script.path)]
    assert found(bench.catalog, "revenue", SearchKind.DATASET) == []


def test_what_is_named_in_the_metadata_store(bench) -> None:
    with bench.catalog.database.writing() as connection:
        types = {}
        for kind in range(3):
            made = connection.execute(sa.insert(s.type_).values(name="My.Model", type_kind=kind))
            types[kind] = made.inserted_primary_key[0]
        for number, name in enumerate(("model/1", "model/10", "Model/1", None)):
            connection.execute(sa.insert(s.artifact).values(type_id=types[1], name=name, uri=str(number)))
        connection.execute(sa.insert(s.execution).values(type_id=types[0], name="model/1"))
        connection.execute(sa.insert(s.context).values(type_id=types[2], name="model/1"))
        connection.commit()
    hits = bench.catalog.search("model/1").hits
    assert [(hit.kind.value, hit.match.value, hit.name, hit.type) for hit in hits] == [
        ("artifact", "exact", "model/1", "My.Model"),
        ("execution", "exact", "model/1", "My.Model"),
        ("context", "exact", "model/1", "My.Model"),
        ("artifact", "prefix", "model/10", "My.Model"),
    ]
    assert [hit.match.value for hit in bench.catalog.search("My.", kinds=[SearchKind.TYPE]).hits] == ["prefix"] * 3
    assert found(bench.catalog, "raw", SearchKind.ARTIFACT) == []


class TestTheIndexFollows:
    def test_columns_that_come_and_go(self, bench) -> None:
        load(bench, "raw.t", "alpha")
        assert found(bench.catalog, "alpha") == [("column", "raw.t.alpha")]
        load(bench, "raw.t", "alpha", "beta")
        assert found(bench.catalog, "beta") == [("column", "raw.t.beta")]
        with bench.catalog.database.reading() as connection:
            assert search_index.differences(connection) == ()

    def test_tags(self, bench) -> None:
        load(bench, "raw.t", "a")
        work = Tagging(
            catalog=bench.catalog, store=bench.store, holder=Holder("h", 1, "u", "c"), retention=bench.retention,
            now=bench.clock,
        )  # fmt: skip
        work.tag(VersionRef(DatasetName("raw", "t")), "quarter-end")
        assert found(bench.catalog, "quarter end") == [("description", "raw.t")]
        work.untag(DatasetName("raw", "t"), "quarter-end")
        assert found(bench.catalog, "quarter end") == []

    def test_what_is_taken_back_with_its_transaction(self, bench) -> None:
        lease, execution = bench.begin("raw.gone")
        change = bench.change(execution, "raw.gone", pa.table({"never": [1]}))
        bench.catalog.release(lease)
        bench.catalog.acquire("raw.gone", Holder("h", 1, "u", "c"))
        with pytest.raises(Exception, match="lease"):
            bench.commit(execution, change)
        assert found(bench.catalog, "never") == []

    def test_drift_is_found_and_mended(self, shop) -> None:
        with shop.catalog.database.writing() as connection:
            connection.execute(sa.delete(s.search).where(s.search.c.name == "raw.orders"))
            connection.execute(sa.update(s.search).where(s.search.c.name == "mart.customers").values(words="namzzz"))
            connection.commit()
        (problem,) = shop.catalog.integrity()
        assert (problem.code, problem.warning) == ("search.drift", True)
        assert "2 entries" in problem.message
        entries = shop.catalog.reindex()
        assert shop.catalog.integrity() == ()
        assert found(shop.catalog, "raw.orders", SearchKind.DATASET)[0] == ("exact", "raw.orders")
        with shop.catalog.database.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(s.search)).scalar_one() == entries

    def test_an_index_of_another_format_is_made_anew(self, shop) -> None:
        with shop.catalog.database.writing() as connection:
            connection.execute(sa.update(s.setting).where(s.setting.c.name == search_index.SETTING).values(value="0"))
            connection.execute(sa.delete(s.search))
            connection.commit()
        assert found(shop.catalog, "raw.orders", SearchKind.DATASET)[0] == ("exact", "raw.orders")

    def test_what_is_said_while_it_is_made_anew(self, shop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody describes a dataset between the reading of what there is and the end of it."""
        real, threads = search_index.entries, []

        def entries(connection: sa.Connection):
            yield from list(real(connection))
            work = threading.Thread(target=lambda: say(shop, "raw.orders", description="needle"))
            threads.append(work)
            work.start()
            work.join(1)  # it waits for the end of this transaction

        monkeypatch.setattr(search_index, "entries", entries)
        shop.catalog.reindex()
        monkeypatch.undo()
        threads[0].join()
        assert found(shop.catalog, "needle") == [("description", "raw.orders")]
        assert shop.catalog.integrity() == ()

    def test_an_upgraded_catalog_can_be_searched(self, shop) -> None:
        with migrate.locked(shop.catalog.database) as connection:
            connection.execute(sa.delete(s.search))
            migrate.upgrade(connection)
        assert found(shop.catalog, "orders", SearchKind.DATASET)[0] == ("exact", "raw.orders")


def test_a_name_is_found_by_its_words_however_much_is_said_of_it(bench) -> None:
    """As many different words as a description can have: more than one entry of the index holds."""
    load(bench, "raw.web_orders", "x")
    say(bench, "raw.web_orders", description="".join(chr(0x4E00 + n) for n in range(10_000)))
    assert found(bench.catalog, "orders web", SearchKind.DATASET) == [("name", "raw.web_orders")]
    assert found(bench.catalog, chr(0x4E00), SearchKind.DATASET) == [("description", "raw.web_orders")]


def test_who_may_only_read_searches_an_index_of_another_format_as_it_is(shop, catalog_url: URL) -> None:
    if catalog_url.get_backend_name() == "sqlite":
        pytest.skip("a file that may only be read is told before")
    change = sa.update(s.setting).where(s.setting.c.name == search_index.SETTING).values(value="0")
    shop.catalog.database.write(lambda connection: connection.execute(change))
    with shop.catalog.database.connect() as connection:
        for statement in READER[catalog_url.get_backend_name()]:
            connection.exec_driver_sql(statement.format(database=catalog_url.database))
        connection.commit()
    try:
        with Catalog.open(catalog_url.set(username="reader", password="r")) as catalog:
            assert found(catalog, "raw.orders", SearchKind.DATASET)[0] == ("exact", "raw.orders")
    finally:
        with shop.catalog.database.connect() as connection:
            if catalog_url.get_backend_name() == "postgresql":
                connection.exec_driver_sql("DROP OWNED BY reader")
            connection.exec_driver_sql("DROP USER reader")
            connection.commit()


READER = {
    "postgresql": (
        "CREATE USER reader PASSWORD 'r'",
        "GRANT USAGE ON SCHEMA public TO reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    ),
    "mysql": ("CREATE USER reader IDENTIFIED BY 'r'", "GRANT SELECT ON {database}.* TO reader"),
}


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
class TestWithoutFts5:
    def test_the_finds_are_the_same(self, shop, monkeypatch: pytest.MonkeyPatch) -> None:
        texts = [text for text, *_ in TEXTS]
        before = {text: shop.catalog.search(text) for text in texts}
        monkeypatch.setattr(search_index, "has_fts5", lambda _connection: False)
        assert {text: shop.catalog.search(text) for text in texts} == before

    def test_what_was_written_without_it_is_found_with_it(self, shop, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(search_index, "has_fts5", lambda _connection: False)
            load(shop, "raw.late", "needle")
            assert found(shop.catalog, "needle") == [("column", "raw.late.needle")]
        assert found(shop.catalog, "needle") == [("column", "raw.late.needle")]
        load(shop, "raw.later", "needle")
        with shop.catalog.database.reading() as connection:
            assert search_index.follows(connection)
        assert found(shop.catalog, "needle") == [("column", "raw.late.needle"), ("column", "raw.later.needle")]


TEXTS = [("orders",), ("customer id",), ("the",), ("crm customers",), ("amount",), ("mart amount",), ("zz",), ("🚀",)]


@given(st.text(max_size=30), st.text(max_size=30))
def test_a_text_has_the_words_that_are_asked_of_it(before: str, after: str) -> None:
    """Whatever a text is, and however its letters change case: asking for all of it finds it."""
    said = tokens(Place.SAID, f"{before} {after}")
    for word in query_words(after):
        whole = token(Place.SAID, word)
        assert whole in said or (may_go_on(word) and any(one.startswith(whole) for one in said))


@given(st.text(max_size=40), st.text(max_size=10))
def test_tokens_are_plain_and_keep_beginnings(word: str, more: str) -> None:
    one, other = token(Place.NAME, word), token(Place.NAME, word + more)
    assert one.isalnum()
    assert one.isascii()
    assert one == one.lower()
    assert len(one) <= 63
    assert other.startswith(one) or len(one) > 40


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_no_text_breaks_a_search(bench, text: str) -> None:
    if text.strip():
        assert bench.catalog.search(text, kinds=[SearchKind.DATASET]).hits == ()
