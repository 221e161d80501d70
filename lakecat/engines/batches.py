"""Queries over batches that come from elsewhere than files: in a DuckDB that can reach nothing at all.

Only the columns and rows that the query's text asks for are fetched. They are copied into DuckDB, batch by batch, so
that they spill to disk beyond the memory limit, and are at one moment however long the result is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, Self, TypeAlias

import duckdb
import pyarrow as pa
from pyiceberg.schema import Schema

from lakecat.config import EngineSettings
from lakecat.engines._binding import Result, bind
from lakecat.engines._errors import translate
from lakecat.engines._instance import connect, scratch_folder, sql_name
from lakecat.engines._needs import Link, Need, links, needs
from lakecat.engines._references import parsed
from lakecat.engines.protocol import Parameter
from lakecat.tables.relation import DIALECT, duckdb_type, quoted
from lakecat.types import DatasetName

__all__ = ["DIALECT", "BatchSession", "Fetch", "Need"]

Fetch: TypeAlias = Callable[[DatasetName, Need], Generator[pa.RecordBatch]]
"""Gives the rows of a relation: the needed columns, in order; more rows than needed do no harm. It is closed."""

_BATCH: Final = "lakecat_batch"
_RESULT_ROWS: Final = 65_536
_FEW_ROWS: Final = 100_000
_KEYS: Final = 1_000
"""Keys that are sent to narrow down a joined relation: far below what any database takes in one statement."""


class BatchSession:
    """One query over relations that are fetched for it. Use it as a context manager."""

    def __init__(self, settings: EngineSettings, relations: Mapping[DatasetName, Schema]) -> None:
        """Open a DuckDB of its own.

        Args:
            settings: memory, threads and spill space.
            relations: what the text may name, each at one place only.

        Raises:
            EngineError: the settings are refused.
        """
        self._relations = dict(relations)
        self._counts: dict[DatasetName, int] = {}
        self._scratch = scratch_folder(settings.temp_directory)
        self._con = connect(settings, self._scratch)
        try:
            self._con.execute("SET enable_external_access = false")
            for namespace in {name.namespace for name in relations}:
                self._con.execute(f"CREATE SCHEMA {quoted(namespace)}")
            for name, schema in relations.items():
                self._make(name, schema.column_names)
            self._con.execute("SET lock_configuration = true")
        except BaseException:  # whatever it was, nobody gets the session to close it
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Free memory and spilled data."""
        self._con.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def interrupt(self) -> None:
        """Stop what runs, from any thread; it raises EngineError there."""
        self._con.interrupt()

    def prepare(self, sql: str, parameters: Mapping[str, Parameter], fetch: Fetch) -> None:
        """Check the SELECT, and fetch what it needs.

        Raises:
            EngineError: the text does not parse or bind, with the place.
            AccessDeniedError: it reaches for something else than the relations.
        """
        # Over all columns, so that an error names what there is, and before anything is fetched.
        bind(self._con, sql, parameters)
        tree = parsed(sql)
        wanted = needs(self._con, tree, self._relations, parameters)
        bound = links(tree, self._relations)
        # First what the text narrows down by itself; its values may then narrow down what is joined with it.
        for name in sorted(wanted, key=lambda one: wanted[one].predicate is None):
            need = self._narrowed(name, wanted[name], bound)
            self._con.execute(f"DROP TABLE {sql_name(name)}")
            self._make(name, need.columns)
            with closing(fetch(name, need)) as batches:
                self._fill(name, batches)
            self._counts[name] = self._con.execute(f"SELECT count(*) FROM {sql_name(name)}").fetchall()[0][0]

    def _narrowed(self, name: DatasetName, need: Need, bound: Sequence[Link]) -> Need:
        """The need with the keys of relations that are there already, where these are few."""
        for link in bound:
            if link.target != name or self._counts.get(link.source, _FEW_ROWS + 1) > _FEW_ROWS:
                continue
            column = quoted(link.source_column)
            query = (
                f"SELECT DISTINCT {column} FROM {sql_name(link.source)} WHERE {column} IS NOT NULL LIMIT {_KEYS + 1}"
            )
            keys = [row[0] for row in self._con.execute(query).fetchall()]
            if len(keys) <= _KEYS and all(isinstance(key, int | str) for key in keys):
                need = need.narrowed(link.target_column, keys)
        return need

    def run(self, sql: str, parameters: Mapping[str, Parameter]) -> pa.RecordBatchReader:
        """The result, streamed while the session lives.

        Raises:
            EngineError: the query fails; the reader raises it too, for what fails later.
        """
        try:
            return _stream(bind(self._con, sql, parameters), sql)
        except duckdb.Error as err:
            raise translate(err, sql) from err

    def _make(self, name: DatasetName, columns: Iterable[str]) -> None:
        schema = self._relations[name]
        described = (f"{quoted(column)} {duckdb_type(schema.find_field(column).field_type)}" for column in columns)
        self._con.execute(f"CREATE TABLE {sql_name(name)} ({', '.join(described)})")

    def _fill(self, name: DatasetName, batches: Iterable[pa.RecordBatch]) -> None:
        for batch in batches:
            try:
                self._con.register(_BATCH, pa.Table.from_batches([batch]))
                self._con.execute(f"INSERT INTO {sql_name(name)} SELECT * FROM {quoted(_BATCH)}")
                self._con.unregister(_BATCH)
            except duckdb.Error as err:
                raise translate(err, "") from err


def _stream(result: Result, sql: str) -> pa.RecordBatchReader:
    reader = result.to_arrow_reader(_RESULT_ROWS)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except (duckdb.Error, pa.ArrowException, OSError) as err:
            raise translate(err, sql) from err

    return pa.RecordBatchReader.from_batches(reader.schema, batches())
