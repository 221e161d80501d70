"""History tables: whatever is told, in whatever order, the rows say what held when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyed_table_lab import KeyedTable

from lakecat.errors import SchemaError
from lakecat.tables.validity import Validity, rewrite_history

START = datetime(2026, 1, 1, tzinfo=UTC)
STAMP = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        ("k", pa.int64()),
        ("v", pa.string()),
        ("at", STAMP),
        ("gone", pa.bool_()),
        ("valid_from", STAMP),
        ("valid_to", STAMP),
    ]
)


def day(number: int) -> datetime:
    return START + timedelta(days=number)


def tell(
    table: KeyedTable,
    *events: tuple[int, str | None, int | None, bool],
    now: int = 0,
    at: str | None = "at",
    present: list[int] | None = None,
    **more: Any,
) -> tuple[int, int]:
    """Tell of events: key, value, day (None: no time is given), gone."""
    columns = list(zip(*events, strict=True)) if events else [(), (), (), ()]
    source = pa.table(
        {
            "k": pa.array(columns[0], pa.int64()),
            "v": pa.array(columns[1], pa.string()),
            "at": pa.array([None if number is None else day(number) for number in columns[2]], STAMP),
            "gone": pa.array(columns[3], pa.bool_()),
        }
    )
    validity = Validity(valid_from="valid_from", valid_to="valid_to", now=day(now), at=at, **more)
    keys = None if present is None else pa.table({"k": pa.array(present, pa.int64())}).to_reader()
    return table.apply(
        rewrite_history(
            table.store,
            table.scan,
            source.to_reader(),
            ["k"],
            validity,
            settings=table.settings,
            schema=table.state.schema,
            deleted="gone",
            present=keys,
        )
    )


def spans(table: KeyedTable) -> list[tuple[Any, ...]]:
    """Key, value, first day, day of the end, of every row."""

    def number(moment: datetime | None) -> int | None:
        return None if moment is None else (moment - START).days

    found = [(row["k"], row["v"], number(row["valid_from"]), number(row["valid_to"])) for row in table.rows()]
    return sorted(found, key=lambda span: (span[0], span[2]))


@pytest.fixture
def table(tmp_path: Path) -> KeyedTable:
    return KeyedTable(tmp_path, SCHEMA.empty_table())


def test_a_change_ends_what_held_and_begins_what_holds(table: KeyedTable) -> None:
    tell(table, (1, "a", 1, False), (2, "x", 1, False))
    tell(table, (1, "b", 5, False))
    assert spans(table) == [(1, "a", 1, 5), (1, "b", 5, None), (2, "x", 1, None)]


def test_a_deletion_ends_and_a_return_begins_again(table: KeyedTable) -> None:
    tell(table, (1, "a", 1, False))
    tell(table, (1, None, 3, True))
    tell(table, (1, "a", 7, False))
    assert spans(table) == [(1, "a", 1, 3), (1, "a", 7, None)]


def test_a_late_event_finds_its_place(table: KeyedTable) -> None:
    tell(table, (1, "a", 1, False), (1, "c", 9, False))
    tell(table, (1, "b", 4, False))
    assert spans(table) == [(1, "a", 1, 4), (1, "b", 4, 9), (1, "c", 9, None)]


def test_a_snapshot_without_times_is_compared(table: KeyedTable) -> None:
    tell(table, (1, "a", None, False), (2, "x", None, False), at=None, now=1)
    assert tell(table, (1, "a", None, False), (2, "x", None, False), at=None, now=2) == (0, 0)
    tell(table, (1, "b", None, False), (2, "x", None, False), at=None, now=3)
    assert spans(table) == [(1, "a", 1, 3), (1, "b", 3, None), (2, "x", 1, None)]


def test_what_is_not_present_any_more_ends_now(table: KeyedTable) -> None:
    tell(table, (1, "a", None, False), (2, "x", None, False), at=None, now=1)
    tell(table, (1, "a", None, False), at=None, now=4, present=[1])
    assert spans(table) == [(1, "a", 1, None), (2, "x", 1, 4)]
    tell(table, (1, "a", None, False), at=None, now=5, present=[1])
    assert spans(table) == [(1, "a", 1, None), (2, "x", 1, 4)]


def test_an_ignored_column_makes_no_row(table: KeyedTable) -> None:
    tell(table, (1, "a", 1, False))
    tell(table, (1, "a", 6, False), ignored=frozenset({"at"}))
    tell(table, (1, "b", 7, False), ignored=frozenset({"at"}))
    assert spans(table) == [(1, "a", 1, 7), (1, "b", 7, None)]


def test_two_rows_at_one_instant_and_no_instant_are_refused(table: KeyedTable) -> None:
    with pytest.raises(SchemaError, match="more than once"):
        tell(table, (1, "a", 1, False), (1, "b", 1, False))
    with pytest.raises(SchemaError, match="is NULL in 1 rows"):
        tell(table, (1, "a", None, False))
    with pytest.raises(SchemaError, match="is no time"):
        tell(table, (1, "a", 1, False), at="v")
    assert spans(table) == []


event = st.tuples(st.integers(0, 2), st.integers(0, 8))
told = st.dictionaries(event, st.sampled_from("abc"), min_size=1, max_size=8)


def expected(events: dict[tuple[int, int], str | None]) -> list[tuple[Any, ...]]:
    """The rows that these events make, worked out key by key."""
    found = []
    for key in sorted({key for key, _ in events}):
        instants = sorted(instant for other, instant in events if other == key)
        for instant, following in zip(instants, [*instants[1:], None], strict=True):
            if (value := events[key, instant]) is not None:
                found.append((key, value, instant, following))
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told, st.randoms(use_true_random=False), st.integers(1, 3), st.booleans())
def test_the_order_and_repetition_of_events_do_not_matter(tmp_path: Path, events, random, parts, twice) -> None:
    table = KeyedTable(tmp_path, SCHEMA.empty_table())
    order = list(events.items())
    random.shuffle(order)
    for part in [order[at::parts] for at in range(parts)] * (2 if twice else 1):
        tell(table, *((key, value, instant, False) for (key, instant), value in part))
    assert spans(table) == expected(events)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.integers(0, 2), st.sampled_from(["a", "b", None]), max_size=3), max_size=5))
def test_deletions_in_the_order_of_time(tmp_path: Path, days) -> None:
    """Each day some keys change or are gone; the model keeps what held last."""
    table = KeyedTable(tmp_path, SCHEMA.empty_table())
    holds: dict[int, tuple[str, int]] = {}
    ended: list[tuple[Any, ...]] = []
    for number, change in enumerate(days):
        tell(table, *((key, value, number, value is None) for key, value in change.items()), ignored=frozenset({"at"}))
        for key, value in change.items():
            if key in holds and holds[key][0] != value:
                ended.append((key, *holds.pop(key), number))
            if value is not None and key not in holds:
                holds[key] = (value, number)
    rows = [*ended, *((key, value, since, None) for key, (value, since) in holds.items())]
    assert spans(table) == sorted(rows, key=lambda span: (span[0], span[2]))
