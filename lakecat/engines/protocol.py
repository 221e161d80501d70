"""What an SQL engine does for lakecat: read pinned snapshots, answer queries, rewrite files."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import pyarrow as pa

from lakecat.tables import PlannedFile, Scan
from lakecat.types import DatasetName

#: A value bound to a named parameter ``$name``.
Parameter: TypeAlias = object


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows a statement changed; None where the engine cannot tell."""

    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None


@dataclass(frozen=True, slots=True)
class Modification:
    """The outcome of MERGE, UPDATE or DELETE by copy-on-write.

    ``rows`` replaces what was in ``removed``; it streams, once, while the session lives. With nothing removed and no
    rows the statement changed nothing.
    """

    removed: tuple[PlannedFile, ...]
    rows: pa.RecordBatchReader
    counts: RowCounts


class Session(Protocol):
    """Pinned relations, under their names, and the statements run on them. SQL text is in the engine's dialect."""

    def describe(self, sql: str, parameters: Mapping[str, Parameter] | None = None) -> pa.Schema:
        """Names and Arrow types of a query's result, as :meth:`query` would give them, without running it.

        Raises:
            EngineError: the text does not parse, bind, or is not one SELECT.
        """
        ...

    def query(
        self, sql: str, parameters: Mapping[str, Parameter] | None = None, *, storable: bool = True
    ) -> pa.RecordBatchReader:
        """Run one SELECT and stream its result, in bounded memory, while the session lives.

        Args:
            sql: one SELECT statement.
            parameters: values for ``$name`` in the text.
            storable: refuse results that a table cannot hold (INTERVAL, BIT, …); False for results only to be shown.

        Raises:
            EngineError: the query fails; the reader raises it too, for what fails later.
            AccessDeniedError: the text reaches for something outside the session's relations.
        """
        ...

    def modify(self, sql: str, target: DatasetName, parameters: Mapping[str, Parameter] | None = None) -> Modification:
        """Run one MERGE, UPDATE or DELETE on ``target`` by copy-on-write over the files concerned only.

        Raises:
            EngineError: the statement fails, or its MERGE source has several rows for one row of the target.
            AccessDeniedError: the text reaches for something outside the session's relations.
        """
        ...

    def interrupt(self) -> None:
        """Stop whatever runs in this session, from any thread; it raises EngineError there."""
        ...


class Engine(Protocol):
    """An SQL engine."""

    @property
    def name(self) -> str:
        """The engine's name in the configuration."""
        ...

    @property
    def dialect(self) -> str:
        """The sqlglot dialect of the SQL text it takes."""
        ...

    def session(self, relations: Mapping[DatasetName, Scan]) -> AbstractContextManager[Session]:
        """A session in which exactly these snapshots can be read."""
        ...

    def shared_by(self, sessions: int) -> Engine:
        """The same engine for work that has so many sessions open at a time, which share its memory and threads."""
        ...
