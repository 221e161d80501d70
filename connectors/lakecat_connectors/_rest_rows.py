"""A spooled slice as Arrow: types decided over all of its rows, every value exact or the row rejected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa

from lakecat.connector import REJECTED, ReadOptions, ReadSummary
from lakecat.connector.columns import Column, Wanted, check_names, fold, unite
from lakecat.connector.fit import Rule, fit
from lakecat.connector.nested import cast, typed
from lakecat.connector.once import Once
from lakecat.connector.shapes import NOT_OF_THE_TYPE, array_of, misfit_values
from lakecat.errors import LakecatError, ParseError, Where
from lakecat.types import Position, SourceRead
from lakecat_connectors._faults import excerpt
from lakecat_connectors._json_fast import DoubtError, Lines, parse
from lakecat_connectors._reader import cut
from lakecat_connectors._rest_spool import Spool, SpooledRow

_BATCH_BYTES: Final = 16 << 20


class RestReader:
    """One slice; see the protocol."""

    def __init__(
        self,
        spool: Spool,
        uri: str,
        position: Position | None,
        options: ReadOptions,
        hide: Callable[[str], str],
    ) -> None:
        """Decide the schema. Raises ParseError for names that no table can hold apart."""
        self._spool = spool
        self._uri = uri
        self._position = position
        self._options = options
        self._hide = hide
        self._rejected: list[dict[str, Any]] = []
        self._rows = 0
        self._taken = 0
        self._once = Once()
        self._columns = self._decide()

    @property
    def schema(self) -> pa.Schema:
        """The table's columns and those that were found."""
        return pa.schema([pa.field(column.name, column.type) for column, _ in self._columns])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._once.through(self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        if self._spool.natural is not None and not self._spool.flaws:
            for batch in self._by_blocks(self._spool.natural):
                self._rows += batch.num_rows
                yield batch
        if self._taken and self._taken == self._spool.rows:
            return
        for group in self._groups(self._taken):
            batch = self._batch(group)
            self._rows += batch.num_rows
            if batch.num_rows:
                yield batch

    def summary(self) -> ReadSummary:
        """Rows, and the source with its pages. Raises UsageError before the last batch was taken."""
        self._once.check_finished()
        properties: dict[str, str | int | float] = {"pages": self._spool.pages, "sha256": self._spool.digest}
        return ReadSummary(
            rows=self._rows,
            sources=(SourceRead(self._uri, self._rows, self._spool.bytes, properties),),
            position=self._position,
            rejected=pa.Table.from_pylist(self._rejected, REJECTED) if self._rejected else None,
        )

    def close(self) -> None:
        """Nothing is held; the rows stay for a second reading."""

    def _decide(self) -> list[tuple[Column, str]]:
        """The columns, each with the key under which rows have it."""
        fields = self._spool.columns
        where = Where(self._uri)
        if not fields and self._spool.rows:
            raise ParseError("none of its rows has a key", where=where, hint="check data_path:")
        check_names(list(fields), where)
        wanted = Wanted(self._options.expected, dict(self._options.declared))
        columns = unite([(where, list(fields))], wanted, "null")
        found = {fold(name): (name, kind) for name, kind in fields.items()}
        decided = []
        for column in columns:
            name, kind = found.get(fold(column.name), (column.name, None))
            decided.append((typed(column, kind), name))
        return decided

    def _by_blocks(self, natural: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Batches as pyarrow parses them, as far as every value fits its column without a second look."""
        try:
            for block in self._spool.blocks():
                batch = self._parsed(block, natural)
                yield from cut(batch, self._options.batch_rows)
        except (DoubtError, *NOT_OF_THE_TYPE):
            return

    def _parsed(self, block: Lines, natural: pa.Schema) -> pa.RecordBatch:
        """Raises DoubtError and what ``NOT_OF_THE_TYPE`` holds."""
        table = parse(block, natural, strict=True)
        arrays = [self._fitted(table, column, key) for column, key in self._columns]
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        first = self._taken
        self._taken += block.count
        dropped = [number - first for number in self._spool.dropped if first <= number < self._taken]
        if not dropped:
            return batch
        kept = np.ones(block.count, dtype=bool)
        kept[dropped] = False
        return batch.filter(pa.array(kept))

    def _fitted(self, table: pa.Table, column: Column, key: str) -> pa.Array:
        if key not in table.column_names:
            return pa.nulls(table.num_rows, column.type)
        values = pa.concat_arrays(table.column(key).chunks)
        if values.type == column.type:
            return values
        if pa.types.is_temporal(column.type) and pa.types.is_string(values.type):
            return fit(values, Rule(column.type, declared=column.declared))
        if pa.types.is_int64(values.type) and pa.types.is_float64(column.type):
            return cast(values, column.type)
        raise DoubtError

    def _groups(self, first: int) -> Iterator[list[SpooledRow]]:
        group: list[SpooledRow] = []
        size = 0
        for row in self._spool.lines(first):
            if row.flaw is not None:
                self._reject(row, row.flaw[0], row.flaw[1])
                continue
            group.append(row)
            size += len(row.text)
            if len(group) >= self._options.batch_rows or size >= _BATCH_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _batch(self, group: list[SpooledRow]) -> pa.RecordBatch:
        values = [row.value for row in group]
        wrong: dict[int, tuple[Column, Any]] = {}
        arrays = []
        for column, key in self._columns:
            rule = Rule(column.type, declared=column.declared)
            found = [row.get(key) for row in values]
            try:
                arrays.append(self._convert(found, rule, column))
            except NOT_OF_THE_TYPE as err:
                bad = misfit_values(found, rule, (self._options.rejects or 0) + 1)
                if not bad:
                    raise ParseError("values too large for one batch", where=Where(self._uri, column=key)) from err
                for index in bad:
                    wrong.setdefault(index, (column, found[index]))
        if not wrong:
            return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        for index, (column, value) in sorted(wrong.items()):
            what = f"{excerpt(value)} is not {column.shown}"
            self._reject(group[index], what, column.name)
        return self._batch([row for index, row in enumerate(group) if index not in wrong])

    def _convert(self, values: list[Any], rule: Rule, column: Column) -> pa.Array:
        try:
            return array_of(values, rule)
        except LakecatError as err:
            raise ParseError(err.what, where=Where(self._uri, column=column.name)) from err

    def _reject(self, row: SpooledRow, reason: str, column: str | None) -> None:
        """Set a row aside. Raises ParseError where that is not asked for, or too many are."""
        limit = self._options.rejects
        if limit is None or self._options.keys or len(self._rejected) >= limit:
            hint = f"declare another type for {column} under columns:, or " if column and row.flaw is None else ""
            if self._options.keys:
                hint = "a row that cannot be read would count as deleted (deletes: absent); "
            raise ParseError(
                self._hide(reason),
                where=Where(row.source, row.line, column),
                hint=f"{hint}say quarantine: to set such rows aside" if limit is None else hint or None,
            )
        self._rejected.append(
            {"source": row.source, "line": row.line, "column": column, "text": row.text, "reason": reason}
        )
