"""Fetched columns to Arrow batches; a row that does not convert is found, and set aside where that is allowed.

:class:`ScanRows` is what the scans of all databases have in common: a database says how its blocks arrive.
"""

from __future__ import annotations

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias, TypeVar

import pyarrow as pa

from lakecat.connector import REJECTED, ReadOptions, type_name
from lakecat.connector.columns import fold
from lakecat.connector.fit import MisfitError, Rule, fit, is_text_type
from lakecat.errors import ParseError, Where
from lakecat_connectors._faults import excerpt
from lakecat_connectors._sql_edge import Sieve, misfit_hash, row_hashes
from lakecat_connectors._sql_source import Column, Scan, Table

Cells: TypeAlias = Sequence[Any]
"""One column of a block: an Arrow array, or the driver's own values."""

Conversion = Callable[[Any], pa.Array]
"""From cells to an array of the column's type; raises one of :data:`MISFITS` for a value that it cannot hold."""

MISFITS: Final = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    MisfitError,
    ValueError,
    TypeError,
    OverflowError,
    InvalidOperation,
)
_SHOWN_ROW: Final = 64 * 1024
_C = TypeVar("_C", bound=Column)
_T = TypeVar("_T", bound="Target")
_S = TypeVar("_S")


@dataclass(frozen=True, slots=True)
class Target:
    """A column as it leaves. ``without`` gives the cells with NULL in the place of values ``out_of_range``.

    ``number``: its texts are numbers, so that 1.50 is 1.5, and stays so when the column gets a precision.
    """

    name: str
    type: pa.DataType
    native: str
    convert: Conversion
    without: Conversion | None = None
    number: bool = False


def targets_of(
    columns: Sequence[_C], scan: Scan, options: ReadOptions, make: Callable[[_C, pa.DataType | None], _T]
) -> list[_T]:
    """A target for each fetched column, made for the type that the job declares for it.

    Those of the identity have their own types: what is known of a row does not depend on the job.
    """
    declared = declared_of(options)
    own = [make(column, declared.get(fold(column.name))) for column in columns[: len(scan.columns)]]
    identity = columns[len(scan.columns) :]
    return own + [replace(make(column, None), number=column.numeric) for column in identity]


def declared_of(options: ReadOptions) -> dict[str, pa.DataType]:
    """The types that the job declares, by folded names."""
    return {fold(name): type_ for name, type_ in options.declared.items()}


def from_texts(type_: pa.DataType) -> Conversion:
    """What a person declared, from text."""
    if not is_text_type(type_):
        return lambda texts: texts.cast(type_)
    return lambda texts: fit(texts, Rule(type_, declared=True))


def then_cast(before: Conversion, type_: pa.DataType) -> Conversion:
    """A conversion and what was declared instead of its type: exactly, or not at all."""
    return lambda cells: before(cells).cast(type_)


@dataclass(slots=True)
class Converter:
    """Blocks of cells to batches. ``identity``: what the last cells of a block are, by which ``sieve`` sees rows."""

    targets: Sequence[Target]
    table: Table
    nulls_out_of_range: bool
    rejects: int | None
    identity: Sequence[Target] = ()
    sieve: Sieve | None = None
    _aside: list[dict[str, Any]] = field(default_factory=list)
    _rows: int = 0

    @property
    def schema(self) -> pa.Schema:
        """That of every batch."""
        return pa.schema([(target.name, target.type) for target in self.targets])

    def batch(self, columns: Sequence[Cells], rows: int) -> pa.RecordBatch:
        """A block of rows. Raises ParseError."""
        columns, rows = self._sieved(columns, rows, self._hashes)
        try:
            arrays = [target.convert(cells) for target, cells in zip(self.targets, columns, strict=True)]
        except MISFITS:
            arrays = self._slowly(columns, rows)
        return self._made(arrays, rows)

    def converted(self, arrays: Sequence[pa.Array], rows: int) -> pa.RecordBatch:
        """A block whose columns have their types."""
        return self._made(*self._sieved(arrays, rows, self._hashes_of))

    def _made(self, arrays: Sequence[pa.Array], rows: int) -> pa.RecordBatch:
        self._rows += rows  # those set aside as well
        return pa.RecordBatch.from_arrays(list(arrays), schema=self.schema)

    def _sieved(
        self, columns: Sequence[_S], rows: int, hashes: Callable[[Sequence[_S]], Sequence[bytes]]
    ) -> tuple[Sequence[_S], int]:
        """The block without the identity, and without the rows that do not go on."""
        own, identity = columns[: len(self.targets)], columns[len(self.targets) :]
        if self.sieve is None:
            return own, rows
        keep = self.sieve.keep(rows, lambda: hashes(identity))
        if all(keep):
            return own, rows
        left = [row for row, stays in enumerate(keep) if stays]
        return [_take(column, left) for column in own], len(left)

    def _hashes(self, identity: Sequence[Cells]) -> Sequence[bytes]:
        try:
            return self._hashes_of([own.convert(cells) for own, cells in zip(self.identity, identity, strict=True)])
        except MISFITS:
            return [self._hash([cells[row : row + 1] for cells in identity]) for row in range(len(identity[0]))]

    def _hash(self, row: Sequence[Cells]) -> bytes:
        try:
            return self._hashes_of([own.convert(cell) for own, cell in zip(self.identity, row, strict=True)])[0]
        except MISFITS:
            return misfit_hash([shown(cell[0]) for cell in row])

    def _hashes_of(self, arrays: Sequence[pa.Array]) -> list[bytes]:
        return row_hashes([_values(own, array) for own, array in zip(self.identity, arrays, strict=True)])

    def rejected(self) -> pa.Table | None:
        """Rows set aside so far."""
        return pa.Table.from_pylist(self._aside, REJECTED) if self._aside else None

    def _slowly(self, columns: Sequence[Cells], rows: int) -> list[pa.Array]:
        """The same, with the rows that do not convert taken out, or changed as the policy says."""
        cells = [self._within(target, column) for target, column in zip(self.targets, columns, strict=True)]
        bad: set[int] = set()
        for number, target in enumerate(self.targets):
            for row in misfits(cells[number], target.convert):
                if row not in bad:
                    bad.add(row)
                    self._set_aside(row, number, cells)
        if bad:
            keep = [row for row in range(rows) if row not in bad]
            cells = [_take(column, keep) for column in cells]
        return [target.convert(column) for target, column in zip(self.targets, cells, strict=True)]

    def _within(self, target: Target, cells: Cells) -> Cells:
        if not self.nulls_out_of_range or target.without is None or not pa.types.is_temporal(target.type):
            return cells
        within: Cells = target.without(cells)
        return within

    def _set_aside(self, row: int, number: int, columns: Sequence[Cells]) -> None:
        target, value = self.targets[number], shown(columns[number][row])
        reason = f"{excerpt(value)} does not fit {target.name!r}, {target.native} read as {type_name(target.type)}"
        if self.rejects is None or len(self._aside) >= self.rejects:
            raise ParseError(
                f"{self._named(row, columns)}: {reason}",
                where=Where(self.table.uri, column=target.name),
                hint=_hint(target),
            )
        whole = {one.name: shown(column[row]) for one, column in zip(self.targets, columns, strict=True)}
        self._aside.append(
            {
                "source": self.table.uri,
                "line": None,
                "column": target.name,
                "text": json.dumps(whole, ensure_ascii=False)[:_SHOWN_ROW],
                "reason": f"{self._named(row, columns)}: {reason}",
            }
        )

    def _named(self, row: int, columns: Sequence[Cells]) -> str:
        """The row by its key, else by its number among those read."""
        names = [target.name for target in self.targets]
        if self.table.key and all(name in names for name in self.table.key):
            parts = (f"{name} = {excerpt(shown(columns[names.index(name)][row]))}" for name in self.table.key)
            return f"the row with {', '.join(parts)}"
        return f"row {self._rows + row + 1} of those read"


class ScanRows(ABC):
    """The rows of one scan on their way (:class:`~lakecat_connectors._sql_source.Rows`)."""

    def __init__(self, targets: Sequence[Target], scan: Scan, options: ReadOptions) -> None:
        self._converter = Converter(
            targets=targets[: len(scan.columns)],
            table=scan.table,
            nulls_out_of_range=scan.policy.out_of_range == "null",
            rejects=options.rejects,
            identity=targets[len(scan.columns) :],
            sieve=scan.sieve,
        )
        self._batch_rows = options.batch_rows
        self._stack = contextlib.ExitStack()

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._converter.schema

    @property
    def rejected(self) -> pa.Table | None:
        """Rows set aside so far."""
        return self._converter.rejected()

    @property
    def bytes(self) -> int | None:
        """What came so far; not known unless the database tells."""
        return None

    @abstractmethod
    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of bounded size. What has to be ended goes onto the stack. Raises SourceError."""

    def close(self) -> None:
        """End what is under way, also in the midst."""
        self._stack.close()


def shown(value: Any) -> str | None:
    """A cell as text for people: bytes that are no text in hexadecimal digits."""
    if isinstance(value, pa.Scalar):
        try:
            value = value.as_py()
        except (ValueError, OverflowError):  # a date or time that Python has not
            value = pa.repeat(value, 1).to_string(skip_new_lines=True)[1:-1]
    if isinstance(value, bytes | bytearray | memoryview):
        return f"0x{bytes(value).hex()}"
    if value is None:
        return None
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def misfits(cells: Cells, convert: Conversion) -> Iterator[int]:
    """Rows whose value does not convert, in order, by halving."""
    waiting = [(0, len(cells))]
    while waiting:
        first, last = waiting.pop()
        try:
            convert(cells[first:last])
        except MISFITS:
            if last - first == 1:
                yield first
                continue
            middle = (first + last) // 2
            waiting += [(middle, last), (first, middle)]


def _values(target: Target, array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    if target.number and pa.types.is_string(array.type):
        return [None if text is None else Decimal(text) for text in values]
    return values


def _take(cells: Any, rows: Sequence[int]) -> Any:
    if isinstance(cells, pa.Array):
        return cells.take(pa.array(rows, pa.int64()))
    return [cells[row] for row in rows]


def _hint(target: Target) -> str:
    if pa.types.is_temporal(target.type):
        return "say out_of_range: null to read it as NULL, declare the column as string, or say quarantine: true"
    return "declare the column under columns: with a type that holds it (string holds all), or say quarantine: true"
