"""DuckDB as lakecat's engine: reads pinned snapshots by field id, in memory limits, with SQL text locked in."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
from pyiceberg.expressions import BooleanExpression

from lakecat.config import EngineSettings
from lakecat.engines._binding import Describer, Result, bind, fitted
from lakecat.engines._errors import translate
from lakecat.engines._instance import (
    Connection,
    Relation,
    connect,
    define,
    divided,
    one_statement,
    populate,
    scratch_folder,
    sql_name,
)
from lakecat.engines._modify import (
    FILE_COLUMN,
    Change,
    find_files,
    read_change,
    refuse_ambiguous_merge,
    run_change,
)
from lakecat.engines._pruning import pruning_predicates
from lakecat.engines._references import parsed, referenced
from lakecat.engines._relations import FileLists, empty_relation, file_relation, is_direct
from lakecat.engines.protocol import Modification, Parameter, RowCounts, Session
from lakecat.errors import EngineError
from lakecat.store import LakeStore
from lakecat.tables import PlannedFile, Scan
from lakecat.tables.relation import DIALECT, total_rows, with_uuid_fields, with_uuids
from lakecat.tables.snapshot_files import engine_path
from lakecat.types import DatasetName

#: Rows in a batch of a result: large enough to be cheap, small enough to hold several wide ones.
BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True)
class _Shared:
    """What an engine keeps between its sessions."""

    files: FileLists
    describer: Describer


class DuckDBEngine:
    """The default engine, in this process."""

    name = "duckdb"
    dialect = DIALECT

    def __init__(self, store: LakeStore, settings: EngineSettings) -> None:
        self._store = store
        self._settings = settings
        self._shared = _Shared(FileLists(store), Describer(store, settings))

    def shared_by(self, sessions: int) -> DuckDBEngine:
        """The same engine for so many sessions at a time; each gets its part of the memory, threads and spill space."""
        parts = DuckDBEngine(self._store, divided(self._settings, sessions))
        parts._shared = self._shared
        return parts

    @contextmanager
    def session(self, relations: Mapping[DatasetName, Scan]) -> Iterator[Session]:
        """A session in which exactly these snapshots can be read; its spilled data goes when it ends."""
        session = DuckDBSession(self._store, self._settings, relations, self._shared)
        try:
            yield session
        finally:
            session.close()


class DuckDBSession:
    """Pinned relations and the statements run on them; every statement has a locked DuckDB of its own."""

    def __init__(
        self,
        store: LakeStore,
        settings: EngineSettings,
        relations: Mapping[DatasetName, Scan],
        shared: _Shared,
    ) -> None:
        self._files = shared.files
        self._describer = shared.describer
        self._store = store
        self._settings = settings
        self._relations = dict(relations)
        self._scratch: Path | None = None
        self._lock = threading.Lock()
        self._live: dict[int, Connection] = {}
        self._stopped: set[int] = set()
        self._closed = False

    def describe(self, sql: str, parameters: Mapping[str, Parameter] | None = None) -> pa.Schema:
        """Names and Arrow types of a query's result; reads no file. See the protocol."""
        if self._closed:
            raise EngineError("the session has ended")
        relations = [empty_relation(name, scan) for name, scan in self._relations.items()]
        return self._describer.describe(relations, sql, parameters)

    def query(
        self, sql: str, parameters: Mapping[str, Parameter] | None = None, *, storable: bool = True
    ) -> pa.RecordBatchReader:
        """Run one SELECT and stream its result. See the protocol."""
        con = self._open()
        try:
            one_statement(con, sql, ("SELECT",))
            self._populate(con, self._inputs(con, sql, parameters or {}))
            result = bind(con, sql, parameters)
            uuids: tuple[int, ...] = ()
            if storable:
                result, uuids = fitted(result)
            return self._stream(con, result, sql, uuids)
        except duckdb.Error as err:
            self._discard(con)
            raise translate(err, sql) from err
        except BaseException:  # whatever it was, nobody gets the connection to close it
            self._discard(con)
            raise

    def modify(self, sql: str, target: DatasetName, parameters: Mapping[str, Parameter] | None = None) -> Modification:
        """Run one MERGE, UPDATE or DELETE by copy-on-write. See the protocol."""
        values = dict(parameters or {})
        if target not in self._relations:
            raise EngineError(f"{target} is not one of the session's relations")
        scan = self._relations[target]
        con = self._open()
        try:
            change = read_change(con, sql, parsed(sql), target)
            if change.is_merge and any(name.lower() == "rowid" for name in scan.schema.column_names):
                raise EngineError(
                    f"MERGE cannot tell the rows of {target} apart: it has a column named rowid",
                    hint="rename the column, or use UPDATE and INSERT",
                )
            files = self._files.plan(scan, self._target_predicate(con, change, target, values))
            found = file_relation(self._store, target, scan, files, filename_column=FILE_COLUMN)
            others = [relation for relation in self._inputs(con, sql, values) if relation.name != target]
            self._populate(con, [*others, replace(found, rest=None)])
            # One transaction, so that now() is one moment for finding the files and for changing them.
            con.execute("BEGIN TRANSACTION")
            concerned = self._concerned(con, change, scan, files, values)
            con.execute(f"DROP VIEW {sql_name(target)}")
            define(con, self._store, file_relation(self._store, target, scan, concerned, as_table=True))
            if change.is_merge:
                refuse_ambiguous_merge(con, change, values)
            counts = run_change(con, sql, change, values)
            con.execute("COMMIT")
            removed, rows = _outcome(con, target, concerned, counts)
            result, uuids = fitted(rows)
            return Modification(removed, self._stream(con, result, sql, uuids), counts)
        except duckdb.Error as err:
            self._discard(con)
            raise translate(err, sql) from err
        except BaseException:  # whatever it was, nobody gets the connection to close it
            self._discard(con)
            raise

    def interrupt(self) -> None:
        """Stop whatever runs now in this session, from any thread."""
        with self._lock:
            for con in self._live.values():
                con.interrupt()
            self._stopped.update(self._live)

    def close(self) -> None:
        """End the session: what still runs is stopped, readers end, memory and spilled data are freed."""
        self.interrupt()
        with self._lock:
            self._closed = True
            live, self._live = self._live, {}
        for con in live.values():
            con.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _inputs(self, con: Connection, sql: str, parameters: Mapping[str, Parameter]) -> list[Relation]:
        """The relations that the text names, with the files that its predicates leave."""
        tree = parsed(sql)
        scans = {name: self._relations[name] for name in referenced(tree, self._relations)}
        predicates: Mapping[DatasetName, BooleanExpression] = {}
        if tree is not None:
            schemas = {name: scan.schema for name, scan in scans.items()}
            predicates = pruning_predicates(con, tree, schemas, parameters)
        return [
            file_relation(self._store, name, scan, self._files.plan(scan, predicates.get(name)))
            for name, scan in scans.items()
        ]

    def _target_predicate(
        self, con: Connection, change: Change, target: DatasetName, values: Mapping[str, Parameter]
    ) -> BooleanExpression | None:
        """What rows that meet the statement's condition satisfy, as far as its text says."""
        if change.finder is None:
            return None
        schemas = {name: scan.schema for name, scan in self._relations.items()}
        return pruning_predicates(con, change.finder, schemas, values).get(target)

    def _concerned(
        self,
        con: Connection,
        change: Change,
        scan: Scan,
        files: Sequence[PlannedFile],
        values: Mapping[str, Parameter],
    ) -> tuple[PlannedFile, ...]:
        """The files with rows that meet the statement's condition, and those that DuckDB cannot look into."""
        paths = None if change.finder is None else find_files(con, change.finder, values)
        if paths is None:
            return self._files.plan(scan) if change.finder is not None else tuple(files)
        return tuple(
            file for file in files if not is_direct(scan, file) or engine_path(self._store, file.location) in paths
        )

    def _open(self) -> Connection:
        """A DuckDB of its own for one statement, from now on stopped by :meth:`interrupt` and :meth:`close`.

        Raises:
            EngineError: the folder for spilled data cannot be used.
        """
        with self._lock:
            if self._closed:
                raise EngineError("the session has ended")
            if self._scratch is None:
                self._scratch = scratch_folder(self._settings.temp_directory)
            con = connect(self._settings, self._scratch)
            self._live[id(con)] = con
        return con

    def _populate(self, con: Connection, relations: Sequence[Relation]) -> None:
        populate(con, self._store, relations)
        with self._lock:
            # DuckDB forgets an interruption that comes while nothing runs, as when files are planned.
            if id(con) in self._stopped:
                raise EngineError("the query was interrupted")

    def _discard(self, con: Connection) -> None:
        with self._lock:
            self._live.pop(id(con), None)
            self._stopped.discard(id(con))
        con.close()

    def _stream(self, con: Connection, result: Result, sql: str, uuids: Sequence[int]) -> pa.RecordBatchReader:
        """The result as a reader that frees its instance at the end and raises lakecat's errors."""
        reader = result.to_arrow_reader(BATCH_ROWS)

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                for batch in reader:
                    yield with_uuids(batch, uuids)
            except (duckdb.Error, pa.ArrowException, OSError) as err:
                raise translate(err, sql) from err
            finally:
                self._discard(con)

        return pa.RecordBatchReader.from_batches(with_uuid_fields(reader.schema, uuids), batches())


def _outcome(
    con: Connection, target: DatasetName, concerned: tuple[PlannedFile, ...], counts: RowCounts
) -> tuple[tuple[PlannedFile, ...], Result]:
    """The files that go, and the rows that come, once the statement has run on the rows of ``concerned``."""
    table = sql_name(target)
    if counts.updated == 0 and counts.deleted == 0 and counts.inserted is not None:
        # Nothing that was there has changed: only what was put behind it is new.
        new = f"SELECT * FROM {table} WHERE rowid >= {total_rows(concerned):d}"
        if con.execute(f"SELECT count(*) FROM ({new})").fetchall() == [(counts.inserted,)]:
            return (), con.sql(new)
    return concerned, con.sql(f"SELECT * FROM {table}")
