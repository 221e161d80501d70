"""DuckDB as lakecat's engine: reads pinned snapshots by field id, in memory limits, with SQL text locked in."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import duckdb
import pyarrow as pa

from lakecat.config import EngineSettings
from lakecat.engines._errors import locate, translate
from lakecat.engines._instance import Connection, Relation, one_statement, open_instance
from lakecat.engines._references import parsed, referenced
from lakecat.engines._relations import empty_relation, file_relation
from lakecat.engines.protocol import Parameter, Session
from lakecat.engines.types import storable_projection, uuid_columns, with_uuid_fields, with_uuids
from lakecat.errors import EngineError
from lakecat.store import LakeStore
from lakecat.tables import Scan, plan
from lakecat.tables.relation import DIALECT
from lakecat.types import DatasetName

#: Rows in a batch of a result: large enough to be cheap, small enough to hold several wide ones.
BATCH_ROWS: Final = 65_536

#: duckdb's relations have no types.
_Result: TypeAlias = Any


class DuckDBEngine:
    """The default engine, in this process."""

    name = "duckdb"
    dialect = DIALECT

    def __init__(self, store: LakeStore, settings: EngineSettings) -> None:
        self._store = store
        self._settings = settings

    @contextmanager
    def session(self, relations: Mapping[DatasetName, Scan]) -> Iterator[Session]:
        """A session in which exactly these snapshots can be read; its spilled data goes when it ends.

        Raises:
            EngineError: the folder for spilled data cannot be used.
        """
        scratch = _scratch_folder(self._settings.temp_directory)
        session = DuckDBSession(self._store, self._settings, relations, scratch)
        try:
            yield session
        finally:
            session.close()
            shutil.rmtree(scratch, ignore_errors=True)


class DuckDBSession:
    """Pinned relations and the statements run on them; every statement has a locked DuckDB of its own."""

    def __init__(
        self, store: LakeStore, settings: EngineSettings, relations: Mapping[DatasetName, Scan], scratch: Path
    ) -> None:
        self._store = store
        self._settings = settings
        self._relations = dict(relations)
        self._scratch = scratch
        self._lock = threading.Lock()
        self._live: list[Connection] = []
        self._interrupts = 0
        self._closed = False

    def describe(self, sql: str, parameters: Mapping[str, Parameter] | None = None) -> pa.Schema:
        """Names and Arrow types of a query's result; reads no file. See the protocol."""
        con = self._open([empty_relation(name, scan) for name, scan in self._relations.items()], self._interrupts)
        try:
            result, uuids = _fitted(_bind(con, sql, parameters))
            return with_uuid_fields(result.limit(0).to_arrow_table().schema, uuids)
        except duckdb.Error as err:
            raise translate(err, sql) from err
        finally:
            self._discard(con)

    def query(
        self, sql: str, parameters: Mapping[str, Parameter] | None = None, *, storable: bool = True
    ) -> pa.RecordBatchReader:
        """Run one SELECT and stream its result. See the protocol."""
        interrupts = self._interrupts
        con = self._open(self._inputs(sql), interrupts)
        try:
            result = _bind(con, sql, parameters)
            uuids: tuple[int, ...] = ()
            if storable:
                result, uuids = _fitted(result)
            return self._stream(con, result, sql, uuids)
        except duckdb.Error as err:
            self._discard(con)
            raise translate(err, sql) from err
        except BaseException:
            self._discard(con)
            raise

    def interrupt(self) -> None:
        """Stop whatever runs now in this session, from any thread."""
        with self._lock:
            self._interrupts += 1
            for con in self._live:
                con.interrupt()

    def close(self) -> None:
        """End the session: what still runs is stopped, readers end, memory and spilled data are freed."""
        self.interrupt()
        with self._lock:
            self._closed = True
            live, self._live = self._live, []
        for con in live:
            con.close()

    def _inputs(self, sql: str) -> list[Relation]:
        """The relations that the text names, with the files that its predicates leave."""
        tree = parsed(sql)
        return [
            file_relation(self._store, name, scan, plan(self._store, scan, None))
            for name in referenced(tree, self._relations)
            for scan in (self._relations[name],)
        ]

    def _open(self, relations: Iterable[Relation], interrupts: int) -> Connection:
        con = open_instance(self._store, self._settings, relations, self._scratch)
        with self._lock:
            if not self._closed and interrupts == self._interrupts:
                self._live.append(con)
                return con
        con.close()
        raise EngineError("the session has ended" if self._closed else "the query was interrupted")

    def _discard(self, con: Connection) -> None:
        with self._lock:
            if con in self._live:
                self._live.remove(con)
        con.close()

    def _stream(self, con: Connection, result: _Result, sql: str, uuids: Sequence[int]) -> pa.RecordBatchReader:
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


def _bind(con: Connection, sql: str, parameters: Mapping[str, Parameter] | None) -> _Result:
    """The SELECT as a lazy relation.

    Raises:
        EngineError: with the place in the text.
    """
    statement = one_statement(con, sql, ("SELECT",))
    try:
        result = con.sql(statement, params=dict(parameters) if parameters else None)
    except duckdb.Error as err:
        raise locate(con, err, sql, parameters) from err
    if result is None:
        raise EngineError("the statement returned no result")
    return result


def _fitted(result: _Result) -> tuple[_Result, tuple[int, ...]]:
    """The result with every column storable, and the positions of its UUID columns.

    Raises:
        EngineError: a column has no storable type, or two have one name.
    """
    names = list(result.columns)
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise EngineError(
                f"two columns of the result are named {name!r}", hint="give one of them another name with AS"
            )
        seen.add(name.lower())
    uuids = uuid_columns(result.types)
    projection = storable_projection(names, result.types)
    return (result if projection is None else result.project(projection)), uuids


def _scratch_folder(parent: Path | None) -> Path:
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp makes the folder for this user only: spilled rows are nobody else's business.
        return Path(tempfile.mkdtemp(prefix="lakecat-engine-", dir=parent))
    except OSError as err:
        raise EngineError(
            f"no folder for spilled data can be made in {parent or tempfile.gettempdir()}: {err.strerror}",
            hint="set engine.temp_directory in lakecat.yaml to a folder that can be written",
        ) from err
