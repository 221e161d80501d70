"""History tables: each row holds from one instant until another (type 2 of Kimball's slowly changing dimensions).

What is known of a key is a set of events: from an instant on it had these values, or was gone. Old rows are taken apart
into the events that they stand for, the new events are added, and the rows are made again out of all of them. So events
that come late or twice find their place. (Two things are not kept: the end of something not known yet, and an end
within an absence.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import DateType, NestedField, TimestampType, TimestamptzType

from lakecat.config import EngineSettings
from lakecat.errors import SchemaError
from lakecat.store import LakeStore
from lakecat.tables.relation import duckdb_type, quoted, text
from lakecat.tables.rewrite import is_deleted
from lakecat.tables.rewriting import GONE, PRESENT, SOURCE, TABLE, Rewrite, Rewriting, rewriting
from lakecat.tables.scan import Scan

_AT: Final = "__lakecat_at"
_RANK: Final = "__lakecat_rank"
_NEWS: Final = "__lakecat_news"
_TICK: Final = "INTERVAL 1 MICROSECOND"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """How a table keeps its history.

    ``valid_from`` and ``valid_to`` are its columns of type timestamptz: the row held from the one until the other,
    which is NULL for the row that holds now. ``at`` is the source's column that says when a change happened; None:
    ``now``, when it is written, and in any case later than what is known already. Columns that are ``ignored`` make no
    new row when they alone change.
    """

    valid_from: str
    valid_to: str
    now: datetime
    at: str | None = None
    ignored: frozenset[str] = frozenset()


@contextmanager
def rewrite_history(
    store: LakeStore,
    scan: Scan | None,
    source: pa.RecordBatchReader,
    key: Sequence[str],
    validity: Validity,
    *,
    settings: EngineSettings,
    schema: Schema,
    deleted: str | None = None,
    present: pa.RecordBatchReader | None = None,
) -> Iterator[Rewrite]:
    """Rows whose values changed end the row that held before, and hold from then on.

    Args:
        store: the lake.
        scan: the table as it is; None where there is none yet.
        source: rows by column name, each key once (at each instant, where ``validity`` has a column for it).
        key: the columns that tell what the rows are about.
        validity: the columns that say when a row holds.
        settings: memory, threads and spill space.
        schema: what the rows are written with, the two columns of ``validity`` among them.
        deleted: a column that says that the thing is gone from then on, as in ``merge_upsert``.
        present: every key that the source has now; what has another key is gone now.

    Raises:
        SchemaError: a key or instant that is NULL, or comes twice; a column that is missing; a value that does not fit.
        SourceError: no key is present any more, and all that holds would end.
        TableError: the rewrite failed, as when memory or spill space ran out.
    """
    with rewriting(store, scan, source, key, settings, schema, source_schema=schema) as work:
        chain = _Chain(work, validity)
        chain.check()
        chain.take_events(deleted)
        if present is not None:
            work.load_present(present)
        work.open_files(everything=present is not None)
        if present is not None:
            chain.end_absent()
        chain.take_old()
        chain.go_on()
        chain.leave_out_known()
        removed = work.concerned()
        kept = f"{work.kept_sql(removed)} UNION ALL " if removed else ""
        yield Rewrite(removed, work.stream(kept + chain.rows_sql()), work.matched)


class _Chain:
    """The statements that make rows out of events; all names are quoted."""

    def __init__(self, work: Rewriting, validity: Validity) -> None:
        self._work = work
        self._validity = validity
        self._from, self._to = quoted(validity.valid_from), quoted(validity.valid_to)
        self._key = ", ".join(work.keys)
        times = {validity.valid_from, validity.valid_to}
        fields = [
            field for field in work.schema.fields if field.name not in times and quoted(field.name) not in work.keys
        ]
        self._values = [quoted(field.name) for field in fields]
        self._compared = [quoted(field.name) for field in fields if field.name not in validity.ignored]

    def check(self) -> None:
        """Raise SchemaError for an instant that is no time, NULL, or comes twice for a key."""
        at = self._validity.at
        if at is None:
            self._work.check_unique()
            return
        field = _field(self._work.schema, at)
        if not isinstance(field.field_type, DateType | TimestampType | TimestamptzType):
            raise SchemaError(f"column {at!r} is no time and cannot say when a row began to hold")
        if missing := self._work.count(f"SELECT count(*) FROM source WHERE {quoted(at)} IS NULL"):
            raise SchemaError(f"column {at!r}, which says when a row began to hold, is NULL in {missing} rows")

    def take_events(self, deleted: str | None) -> None:
        """Say of each row of the source from when on it holds, and whether the thing was gone then."""
        gone = is_deleted(self._work.schema, deleted) if deleted else "false"
        self._work.execute(f"ALTER TABLE source ADD COLUMN {GONE} BOOLEAN")
        self._work.execute(f"UPDATE source SET {self._from} = {self._instant()}, {GONE} = {gone}")
        if self._validity.at is not None:
            self._work.check_unique(also=self._validity.valid_from)

    def take_old(self) -> None:
        """Keep the table's rows for the source's keys as a table ``old``."""
        rows = self._work.rows_sql(self._work.concerned())
        self._work.execute(
            f"CREATE TABLE old AS SELECT {TABLE}.* FROM ({rows}) AS {TABLE}"
            f" SEMI JOIN source AS {SOURCE} ON {self._work.on(SOURCE)}"
        )

    def go_on(self) -> None:
        """Without times of its own, what is told holds after what is known already, whatever the clock says."""
        if self._validity.at is None:
            last = f"SELECT {self._key}, max(greatest({self._from}, {self._to})) AS {_AT} FROM old GROUP BY ALL"
            self._work.execute(
                f"UPDATE source AS {SOURCE} SET {self._from} = greatest({SOURCE}.{self._from}, {TABLE}.{_AT} + {_TICK})"
                f" FROM ({last}) AS {TABLE} WHERE {self._work.on(SOURCE)}"
            )

    def end_absent(self) -> None:
        """What holds now and is not present any more is gone from now on."""
        rows, key = self._work.rows_sql(self._work.opened), self._work.keys
        whole = " AND ".join(f"{TABLE}.{name} IS NOT NULL" for name in key)
        names = ", ".join(f"{TABLE}.{name}" for name in key)
        lost = (
            f"SELECT {names}, max({TABLE}.{self._from}) AS {_AT} FROM ({rows}) AS {TABLE}"
            f" WHERE {TABLE}.{self._to} IS NULL AND {whole}"
            f" AND NOT EXISTS (SELECT 1 FROM present AS {PRESENT} WHERE {self._work.on(PRESENT)}) GROUP BY ALL"
        )
        now = f"greatest({self._now()}, {_AT} + {_TICK}) AS {self._from}, true AS {GONE}"
        before = self._work.count("SELECT count(*) FROM source")
        self._work.execute(f"INSERT INTO source BY NAME SELECT * EXCLUDE ({_AT}), {now} FROM ({lost})")
        self._work.refuse_emptying(self._work.count("SELECT count(*) FROM source") - before)

    def leave_out_known(self) -> None:
        """Forget the events of keys for which nothing new is said, and the old rows of these keys."""
        same = " AND ".join(f"{TABLE}.{name} IS NOT DISTINCT FROM {SOURCE}.{name}" for name in self._compared) or "true"
        begun, ended = f"{TABLE}.{self._from} <= {SOURCE}.{self._from}", f"{TABLE}.{self._to} <= {SOURCE}.{self._from}"
        holds = f"{begun} AND coalesce(NOT {ended}, true)"
        held = f"EXISTS (SELECT 1 FROM old AS {TABLE} WHERE {self._work.on(SOURCE)} AND {holds}"
        news = f"CASE WHEN {SOURCE}.{GONE} THEN {held}) ELSE NOT {held} AND {same}) END"
        self._work.execute(f"CREATE TABLE news AS SELECT DISTINCT {self._key} FROM source AS {SOURCE} WHERE {news}")
        for name in ("source", "old"):
            told = f"SELECT 1 FROM news AS {_NEWS} WHERE {self._work.on(_NEWS)}"
            self._work.execute(f"DELETE FROM {name} AS {TABLE} WHERE NOT EXISTS ({told})")

    def rows_sql(self) -> str:
        """The rows of the keys with news, as they are written."""
        columns = ", ".join((self._key, *self._values))
        empty = ", ".join((self._key, *(f"NULL AS {name}" for name in self._values)))
        before = " AND ".join(f"lag({name}) OVER w IS NOT DISTINCT FROM {name}" for name in self._compared) or "true"
        unchanged = f"lag({GONE}) OVER w = {GONE} AND ({GONE} OR ({before}))"
        over = f"OVER (PARTITION BY {self._key} ORDER BY {_AT})"
        events = " UNION ALL BY NAME ".join(
            (
                f"SELECT {columns}, {self._from} AS {_AT}, false AS {GONE}, 1 AS {_RANK} FROM old",
                f"SELECT {empty}, {self._to} AS {_AT}, true AS {GONE}, 0 AS {_RANK} FROM ended",
                f"SELECT {columns}, {self._from} AS {_AT}, {GONE}, 2 AS {_RANK} FROM source",
            )
        )
        return (
            f"SELECT {self._work.columns} FROM (WITH ended AS (SELECT * FROM old WHERE {self._to} IS NOT NULL)"
            f", events AS ({events}), one AS (SELECT * FROM events"
            f" QUALIFY row_number() OVER (PARTITION BY {self._key}, {_AT} ORDER BY {_RANK} DESC) = 1"
            f"), changes AS (SELECT * FROM one WINDOW w AS (PARTITION BY {self._key} ORDER BY {_AT})"
            f" QUALIFY coalesce(NOT ({unchanged}), true)"
            f") SELECT {columns}, {GONE}, {_AT} AS {self._from}, lead({_AT}) {over} AS {self._to}"
            f" FROM changes) WHERE NOT {GONE}"
        )

    def _instant(self) -> str:
        if self._validity.at is None:
            return self._now()
        name = quoted(self._validity.at)
        field = _field(self._work.schema, self._validity.at)
        return (
            name if isinstance(field.field_type, TimestamptzType) else f"CAST({name} AS TIMESTAMP) AT TIME ZONE 'UTC'"
        )

    def _now(self) -> str:
        return f"CAST({text(self._validity.now.isoformat())} AS {duckdb_type(TimestamptzType())})"


def _field(schema: Schema, name: str) -> NestedField:
    found = next((field for field in schema.fields if field.name == name), None)
    if found is None:
        raise SchemaError(f"there is no column {name!r}", hint=f"the columns are {', '.join(schema.column_names)}")
    return found
