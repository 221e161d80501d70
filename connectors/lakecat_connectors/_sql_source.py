"""What the ``sql`` connector asks of a database: the protocol between planning and the sources, one for each database.

A source knows one database: how to connect, what its catalogue says, how its types become Arrow's, how rows are
fetched fast. What is read when (cursor, windows, edges, checkpoints, splits) is planned by ``_sql_plan`` in terms of
this module only. To add a database, write ``_sql_<name>.py`` with a class that has the methods of :class:`SqlSource`
and register its URL schemes in ``_sql_registry``.

What a source must hold:

- **Texts of cursor values are exact**: ``bounds`` and ``after`` give a value as text that, compared again by
  ``rows`` (cast to the column's own type on the server), is the same value to the last digit. Times are ISO 8601 with
  ``T`` or a blank, at most microseconds, those with zone in UTC and ending in ``+00`` or ``+00:00``; numbers have no
  exponent where the type is exact.
- **One snapshot**: everything asked of one instance sees the same state of the database, where the database can do
  it; else ``consistent`` is False and the documentation says so. ``rows`` may be called from several threads at once.
- **Nothing changes unseen**: a table that is dropped, altered, emptied or rewritten between ``describe`` and the last
  row raises SourceChangedError.
- **Types are exact or refused** by the policy; a value that its column cannot hold raises ParseError, or is set aside
  (``Rows.rejected``) when ``ReadOptions.rejects`` allows. ``ReadOptions.declared`` binds, by column name.
- **Errors** are SourceError and its children; texts of drivers that may hold secrets are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

import pyarrow as pa

from lakecat.connector import ConnectorContext, ReadOptions
from lakecat.types import Json
from lakecat_connectors._sql_edge import Sieve
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions

XMIN = "xmin"
"""The name under which PostgreSQL's transaction ids are asked for as a cursor."""


class CursorKind(StrEnum):
    """On which scale a cursor's values lie; ``text`` knows no distances."""

    NUMBER = "number"
    DATE = "date"
    TIME = "time"
    TEXT = "text"


def cursor_kind(type_: pa.DataType) -> CursorKind | None:
    """The scale of a column of this type; None where its values have no order that a cursor could follow."""
    if pa.types.is_integer(type_) or pa.types.is_decimal(type_) or pa.types.is_floating(type_):
        return CursorKind.NUMBER
    if pa.types.is_date(type_):
        return CursorKind.DATE
    if pa.types.is_timestamp(type_):
        return CursorKind.TIME
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        return CursorKind.TEXT
    return None


@dataclass(frozen=True, slots=True)
class Relation:
    """What a stream reads: a table or view by schema and name, or the text of a query."""

    schema: str | None = None
    name: str | None = None
    query: str | None = None

    @property
    def shown(self) -> str:
        """How streams and messages call it: what would be read otherwise stands in double quotes."""
        if self.name is None:
            return "the query"
        if self.schema is None:
            return _spelled(self.name, dots=False)
        return f"{_spelled(self.schema, dots=False)}.{_spelled(self.name, dots=True)}"

    @property
    def digest(self) -> str:
        """A short name for the query's text."""
        return hashlib.sha256((self.query or "").encode()).hexdigest()[:16]


def _spelled(name: str, *, dots: bool) -> str:
    """A name, quoted where it begins with a quote, or holds a dot where none may stand."""
    if not name.startswith('"') and (dots or "." not in name):
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its Arrow type by the policy, and its type as the database spells it.

    ``numeric``: it holds numbers, though they may be handed out as text.
    """

    name: str
    type: pa.DataType
    native: str
    nullable: bool = True
    comment: str | None = None
    numeric: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A relation as the database's catalogue knows it. ``uri`` is what lineage calls it, without credentials.

    ``estimated_rows`` and ``estimated_bytes`` come from statistics, None where there are none. ``steady``: its rows
    are of the source's snapshot; else each statement sees those that are there at its time.
    """

    relation: Relation
    uri: str
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    comment: str | None = None
    estimated_rows: int | None = None
    estimated_bytes: int | None = None
    steady: bool = True

    def column(self, name: str) -> Column | None:
        """The column of that name, spelled exactly so."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Rows by their cursor: from ``low`` to ``high``, as exact texts, None without a bound.

    ``nulls``: the rows whose cursor is NULL as well; ``only_nulls``: those and no others.
    """

    column: str
    low: str | None = None
    low_closed: bool = True
    high: str | None = None
    high_closed: bool = True
    nulls: bool = False
    only_nulls: bool = False

    def to_json(self) -> dict[str, Json]:
        """As JSON, for the payload of a slice."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> Window:
        """The window that ``to_json`` described."""
        return cls(**value)  # type: ignore[arg-type]  # it was made by to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What is fetched: some columns of a table, of the rows that the job's ``where``, a window and a split leave.

    ``split`` is what ``SqlSource.splits`` gave, JSON whose meaning only the source knows. ``sieve`` sees each row by
    the hash of its ``identity``: columns that are fetched besides, in their own types, and not handed out.
    """

    table: Table
    columns: tuple[Column, ...]
    policy: StreamOptions
    window: Window | None = None
    split: Mapping[str, Json] | None = None
    identity: tuple[Column, ...] = ()
    sieve: Sieve | None = None

    @property
    def fetched(self) -> tuple[Column, ...]:
        """All columns that are asked for, those of the identity last."""
        return (*self.columns, *self.identity)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The least and greatest cursor of some rows as exact text, None where there are none.

    ``open_top``: rows above ``greatest`` belong to the snapshot as well (transaction ids); the next run starts there.
    """

    least: str | None
    greatest: str | None
    open_top: bool = False


class Rows(Protocol):
    """The rows of one scan on their way."""

    @property
    def schema(self) -> pa.Schema:
        """The columns, in the order of ``Scan.columns``."""

    @property
    def rejected(self) -> pa.Table | None:
        """Rows set aside so far, with the columns of ``lakecat.connector.REJECTED``."""

    @property
    def bytes(self) -> int | None:
        """What came over the wire so far, where it is known."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of bounded size. Raises SourceError."""

    def close(self) -> None:
        """Free the connection, also in the midst; safe to call twice."""


class SqlSource(Protocol):
    """One database, opened for one run. Connects when first asked, not before."""

    consistent: bool
    """Whether everything that this instance gives comes from one snapshot."""

    @classmethod
    def open(cls, options: ConnectionOptions, context: ConnectorContext) -> SqlSource:
        """Check what can be checked without connecting. Raises ConfigError."""

    def tables(self, policy: StreamOptions) -> Sequence[Table]:
        """Every table and view that this user may read, by schema and name; the database's own are left out."""

    def describe(self, relation: Relation, policy: StreamOptions) -> Table:
        """Columns, key and statistics as they are now. Raises SourceError when it is not there or not to be read."""

    def default_schema(self) -> str | None:
        """The schema of tables that are named without one."""

    def bounds(self, scan: Scan, column: str) -> Bounds:
        """The least and greatest value of a column over the scan's rows, NULL left out."""

    def has_nulls(self, scan: Scan, column: str) -> bool:
        """Whether some row of the scan has NULL there."""

    def after(self, scan: Scan, column: str, rows: int) -> str | None:
        """The value of a column in the ``rows``-th row of the scan in its order; None when there are fewer rows."""

    def splits(self, scan: Scan, wanted: int | Literal["auto"]) -> tuple[Mapping[str, Json], ...]:
        """Parts that hold every row of the scan once, to be read at the same time; none where it cannot be cut."""

    def rows(self, scan: Scan, options: ReadOptions) -> Rows:
        """Fetch a scan. Raises SourceError; SourceChangedError when columns are not those of ``scan.table``."""

    def identity_type(self, column: str) -> Column | None:
        """A column that no table lists but every row has, such as ``xmin``; None when there is none of that name."""

    def close(self) -> None:
        """End every connection; safe to call twice."""
