"""What is said of datasets and columns: kept with its history, by field id, and only if it can be meant."""

from __future__ import annotations

import threading
from datetime import timedelta

import pyarrow as pa
import pytest

from lakecat import tables
from lakecat.catalog.annotations import Annotation, AnnotationEdit
from lakecat.errors import NotFoundError, UsageError
from lakecat.tables import DropColumn, Operation, RenameColumn, TableChange
from lakecat.types import DatasetName

ORDERS = DatasetName("raw", "orders")


def say(bench, column: str | None = None, by: str = "ada@host", **edit) -> Annotation:
    return bench.catalog.annotate(ORDERS, column, AnnotationEdit(**edit), by=by)


@pytest.fixture
def orders(bench):
    bench.load("raw.orders", rows=pa.table({"id": [1], "Email": ["x"]}))
    return bench


def alter(bench, *changes) -> None:
    lease, execution = bench.begin("raw.orders")
    state = tables.load_state(bench.store, bench.catalog.metadata_location(ORDERS))
    schema = tables.alter(state.schema, changes, last_column_id=state.last_column_id)
    bench.commit(
        execution,
        TableChange(dataset=ORDERS, operation=Operation.APPEND, location=state.location, schema=schema),
    )
    bench.catalog.release(lease)


def history(bench, field_id: int | None = None) -> list[tuple]:
    changes = bench.catalog.annotation_changes(ORDERS, field_id)
    return [(c.column, c.aspect, c.before, c.after, c.changed_by) for c in reversed(changes)]


def test_what_is_not_named_stays(orders) -> None:
    say(orders, description="All orders", labels=("gold", "PII"), owners=("crm",))
    found = say(orders, labels=("raw",), unlabel=("gold",), fresh_within=timedelta(hours=24))
    expected = Annotation(
        description="All orders", labels=("pii", "raw"), owners=("crm",), fresh_within=timedelta(hours=24)
    )
    assert found == expected
    assert orders.catalog.annotations(ORDERS).dataset == expected
    assert orders.catalog.annotated() == {"raw.orders": expected}
    gone = say(orders, description=" ", disown=("crm",), unlabel=("pii", "raw"), fresh_within=timedelta())
    assert gone == Annotation()


def test_every_change_is_kept_with_who_made_it(orders) -> None:
    say(orders, description="one", labels=("pii",))
    say(orders, by="bob@host", description="two", unlabel=("pii",), fresh_within=timedelta(minutes=90))
    say(orders, description="two", unlabel=("pii",))
    assert history(orders) == [
        (None, "description", None, "one", "ada@host"),
        (None, "label", None, "pii", "ada@host"),
        (None, "description", "one", "two", "bob@host"),
        (None, "fresh_within", None, "5400", "bob@host"),
        (None, "label", "pii", None, "bob@host"),
    ]


def test_a_column_keeps_its_annotations_when_it_is_renamed(orders) -> None:
    say(orders, "email", labels=("pii",), description="where to write")
    alter(orders, RenameColumn(("Email",), "mail"))
    (field,) = orders.catalog.annotations(ORDERS).columns
    columns = orders.catalog.schema(orders.catalog.dataset(ORDERS).latest)
    assert [column.name for column in columns if column.field_id == field] == ["mail"]
    assert [hit.name for hit in orders.catalog.search("where to write").hits] == ["raw.orders.mail"]
    say(orders, "mail", unlabel=("pii",))
    assert [change[:2] for change in history(orders, field)] == [
        ("Email", "description"), ("Email", "label"), ("mail", "label"),
    ]  # fmt: skip
    assert orders.catalog.labels_of_columns() == {}


def test_what_was_said_of_a_dropped_column_stays_in_the_history_only(orders) -> None:
    say(orders, "Email", labels=("pii",), description="where to write")
    (field,) = orders.catalog.annotations(ORDERS).columns
    alter(orders, DropColumn(("Email",)))
    assert orders.catalog.search("where to write").hits == ()
    assert orders.catalog.labels_of_columns() == {}
    assert len(history(orders, field)) == 2
    with pytest.raises(NotFoundError, match="no column 'Email'"):
        say(orders, "Email", labels=("x",))
    bench_again = pa.table({"id": [2], "Email": ["y"]})
    orders.load("raw.orders", rows=bench_again)
    assert orders.catalog.labels_of_columns() == {}, "a new column of the same name is another column"
    assert orders.catalog.integrity() == ()


@pytest.mark.parametrize(
    ("column", "edit", "message"),
    [
        (None, {"labels": ("no spaces",)}, "is no label"),
        (None, {"labels": ("",)}, "is no label"),
        (None, {"labels": ("x" * 129,)}, "is no label"),
        (None, {"unlabel": ("a,b",)}, "is no label"),
        (None, {"owners": ("Ada Lovelace",)}, "is no owner"),
        (None, {"owners": ("a\x1b[31m",)}, "is no owner"),
        (None, {"owners": ("x" * 256,)}, "is no owner"),
        (None, {"description": "x" * 10_001}, "too long"),
        (None, {"description": "a\x00b"}, "control character"),
        (None, {"description": "\ud800"}, "control character"),
        (None, {"fresh_within": timedelta(seconds=-1)}, "fresher than now"),
        ("id", {"fresh_within": timedelta(hours=1)}, "no freshness of its own"),
    ],
)
def test_what_cannot_be_said(orders, column: str | None, edit: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        say(orders, column, **edit)
    assert history(orders) == []


def test_hostile_texts_are_kept_as_they_are(orders) -> None:
    text = '\'; DROP TABLE x; -- %s "quoted" 🚀 \u202e ünï\n\tline'
    assert say(orders, description=text, owners=("a'b\"%;--",)).description == text
    assert orders.catalog.annotations(ORDERS).dataset.owners == ("a'b\"%;--",)


def test_of_what_is_not_there(orders) -> None:
    with pytest.raises(NotFoundError, match=r"no dataset raw\.order"):
        orders.catalog.annotate(DatasetName("raw", "order"), None, AnnotationEdit(labels=("x",)), by="a")
    assert orders.catalog.annotations(DatasetName("raw", "order")).dataset == Annotation()


def test_a_commit_and_annotations_at_the_same_time_all_land(orders) -> None:
    errors: list[BaseException] = []

    def guarded(work) -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001 - a thread's error is the test's
            errors.append(err)

    def load() -> None:
        for number in range(4):
            columns = {"id": [1], "Email": ["x"], **{f"c{n}": [1] for n in range(number + 1)}}
            orders.load("raw.orders", rows=pa.table(columns))

    def label(prefix: str) -> None:
        for number in range(4):
            say(orders, labels=(f"{prefix}{number}",))
            say(orders, "id", labels=(f"{prefix}{number}",))

    threads = [threading.Thread(target=guarded, args=(w,)) for w in (load, lambda: label("a"), lambda: label("b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    labels = tuple(f"{prefix}{number}" for prefix in "ab" for number in range(4))
    assert orders.catalog.annotations(ORDERS).dataset.labels == labels
    assert orders.catalog.labels_of_columns() == {"raw.orders": frozenset(labels)}
    assert orders.catalog.dataset(ORDERS).versions == 5
    assert orders.catalog.integrity() == ()
