"""Queries over pinned versions, and the rows that tell two versions apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, TypeVar

import pyarrow as pa
from sqlglot import exp

from lakecat.catalog import Catalog
from lakecat.engines import Engine
from lakecat.errors import TableError
from lakecat.lake.answers import Difference, RowDifference
from lakecat.lake.differ import except_all, shared_columns
from lakecat.lake.travel import read_query
from lakecat.store import LakeStore
from lakecat.tables import Scan, load_state
from lakecat.types import DatasetName, Version, VersionRef

T = TypeVar("T")


class Interruptible(Protocol):
    """What works in an engine and can be stopped."""

    def interrupt(self) -> None:
        """Stop it, from any thread."""


def scan_of(catalog: Catalog, store: LakeStore, version: Version) -> Scan:
    """A version's snapshot, through the table's newest metadata, which knows all that have not expired.

    Raises TableError for an expired version.
    """
    if version.expired:
        raise TableError(
            f"{version} has expired: its record is kept, its rows are not",
            hint="choose a younger version; retention.snapshots and retention.age say how long versions stay",
            next_command=f"lakecat show {version.dataset}",
        )
    return Scan(load_state(store, catalog.metadata_location(version.dataset)), version.snapshot_id)


@contextmanager
def run_query(
    catalog: Catalog,
    store: LakeStore,
    engine: Engine,
    sql: str,
    *,
    dialect: str,
    parameters: Mapping[str, object] | None = None,
) -> Iterator[pa.RecordBatchReader]:
    """The result of one SELECT, streamed while the block lasts.

    Raises UsageError, SelectorError, NotFoundError, TableError (an expired version), EngineError.
    """
    query = read_query(sql, dialect=dialect, engine_dialect=engine.dialect)
    relations = {name: scan_of(catalog, store, catalog.resolve(ref)) for name, ref in query.relations.items()}
    with engine.session(relations) as session, ThreadPoolExecutor(1, "lakecat-query") as pool:
        reader = wait_for(pool, session, lambda: session.query(query.sql, parameters, storable=False))
        yield pa.RecordBatchReader.from_batches(reader.schema, batches_of(pool, session, reader))


def batches_of(pool: Executor, session: Interruptible, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The reader's batches, each waited for as ``wait_for`` does."""
    while (batch := wait_for(pool, session, lambda: next(reader, None))) is not None:
        yield batch


def wait_for(pool: Executor, session: Interruptible, work: Callable[[], T]) -> T:
    """Do the work in another thread: Ctrl-C reaches Python only while this one is not inside the engine."""
    future = pool.submit(work)
    try:
        return future.result()
    except KeyboardInterrupt:
        session.interrupt()
        raise


def sample(catalog: Catalog, store: LakeStore, engine: Engine, ref: VersionRef, rows: int) -> pa.Table:
    """Up to ``rows`` rows of a version. Raises NotFoundError, TableError, EngineError."""
    version = catalog.resolve(ref)
    name = version.dataset
    query = exp.select("*").from_(exp.table_(name.name, db=name.namespace, quoted=True)).limit(rows)
    with engine.session({name: scan_of(catalog, store, version)}) as session:
        return session.query(query.sql(dialect=engine.dialect), storable=False).read_all()


def compare_rows(catalog: Catalog, store: LakeStore, engine: Engine, found: Difference, *, sample: int) -> Difference:
    """``found`` with the rows that differ, over the columns that both versions have. Raises EngineError, TableError."""
    pairs = shared_columns(catalog.schema(found.before), catalog.schema(found.after))
    names = DatasetName("diff", "before"), DatasetName("diff", "after")
    relations = {
        names[0]: scan_of(catalog, store, found.before),
        names[1]: scan_of(catalog, store, found.after),
    }
    tables = [exp.table_(name.name, db=name.namespace, quoted=True) for name in names]
    columns = [old.name for old, _ in pairs], [new.name for _, new in pairs]
    removed = except_all(tables[0], tables[1], columns[0], columns[1])
    added = except_all(tables[1], tables[0], columns[1], columns[0])
    with engine.session(relations) as session:

        def run(query: exp.Query) -> pa.Table:
            return session.query(query.sql(dialect=engine.dialect), storable=False).read_all()

        counts = [
            run(exp.select(exp.Count(this=exp.Star())).from_(query.subquery("d")))[0][0].as_py()
            for query in (removed, added)
        ]
        samples = [run(exp.select("*").from_(query.subquery("d")).limit(sample)) for query in (removed, added)]
    rows = RowDifference(
        columns=tuple(columns[1]),
        removed=counts[0],
        added=counts[1],
        sample_removed=_rows(samples[0]),
        sample_added=_rows(samples[1]),
    )
    return replace(found, rows=rows)


def _rows(table: pa.Table) -> tuple[tuple[object, ...], ...]:
    return tuple(zip(*(column.to_pylist() for column in table.columns), strict=True))
