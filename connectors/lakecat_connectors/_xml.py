"""XML to Arrow: each record element is a row; attributes and children are columns, repeated children lists.

Texts get their types by the rules of CSV, at any depth, over every value of the slice.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import decompressed
from lakecat_connectors._expat import Element, Handler, parse_xml
from lakecat_connectors._faults import empty_file, excerpt
from lakecat_connectors._job import Job
from lakecat_connectors._options import file_compression
from lakecat_connectors._reader import Reader, SliceFile, grouped, settled
from lakecat_connectors._trees import TEXT, Conversion, Repeated, Tree, TreeError, build

_NIL: Final = "\0nil"
_KEPT_BYTES: Final = 4 << 20
_MAX_RECORD: Final = 64 << 20

Record = tuple[int, dict[str, Any]]


@dataclass(slots=True)
class _File(SliceFile):
    """One file, the names that its records have, and the records while they are kept."""

    names: dict[str, str] = field(default_factory=dict)
    kept: list[Record] | None = None


class XmlReader(Reader):
    """Reads one slice of XML files."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._files = [_File(index, file) for index, file in enumerate(job.files)]
        self._tree = Tree(job.options)

    def open(self) -> pa.Schema:
        """Read everything once to see every name, what repeats, and every text."""
        left = _KEPT_BYTES
        for item in self._files:
            kept: list[Record] | None = [] if item.file.size <= left else None
            left -= item.file.size
            for record in self._records(item):
                self._observe(item, record)
                if kept is not None:
                    kept.append(record)
            item.kept = kept
        self._tree.flush()
        names = list(self._tree.fields)
        check_names(names, Where(self._files[0].file.shown))
        headers = [(Where(item.file.shown), list(item.names.values())) for item in self._files]
        columns = unite(headers, self._job.wanted, "null")
        trees = {fold(name): tree for name, tree in self._tree.fields.items()}
        self._columns = settled(
            columns, lambda column: tree.decide() if (tree := trees.get(fold(column.name))) is not None else None
        )
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every record, typed."""
        for item in self._files:
            at_file(item.index)
            rows = 0
            kept, item.kept = item.kept, None
            for group in grouped(iter(kept) if kept is not None else self._records(item), self._job.batch_rows):
                rows += len(group)
                yield self._batch(item, group)
            self._finished(item, rows)

    def _observe(self, item: _File, record: Record) -> None:
        line, row = record
        try:
            for name, value in row.items():
                self._tree.child(name, "").observe(value, name)
                item.names.setdefault(fold(name), name)
        except TreeError as err:
            raise ParseError(err.what, where=Where(item.file.shown, line, err.path)) from err

    def _records(self, item: _File) -> Iterator[Record]:
        options = self._job.options
        with item.opened() as raw:
            if item.file.size:
                handler = _Records(item.file.shown, options.record, options.attribute_prefix, trim=options.trim)
                chunks = decompressed(raw, file_compression(options, item.file.shown))
                declared = options.encoding if "encoding" in options.model_fields_set else None
                if declared is not None and declared != "utf-8":
                    chunks, declared = _as_utf8(chunks, declared, item.file.shown), "utf-8"
                for _ in parse_xml(chunks, handler, Where(item.file.shown), encoding=declared, namespaces=True):
                    found, handler.found = handler.found, []
                    yield from found
            elif options.empty == "error":
                raise empty_file(item.file.shown)

    def _batch(self, item: _File, rows: list[Record]) -> pa.RecordBatch:
        arrays = []
        for column in self._columns:
            name = item.names.get(fold(column.name))
            if name is None:
                arrays.append(pa.nulls(len(rows), column.type))
            else:
                arrays.append(self._array(item, rows, name, column))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema())

    def _array(self, item: _File, rows: list[Record], name: str, column: Column) -> pa.Array:
        conversion = Conversion(self._rule(column), frozenset(self._job.options.null))
        values = [row.get(name) for _, row in rows]
        try:
            return build(values, column.type, conversion)
        except TreeError as err:
            error = err
        for (line, _), value in zip(rows, values, strict=True):
            try:
                build([value], column.type, conversion)
            except TreeError as err:
                raise self._misfit(item, line, column, err) from err
        raise self._misfit(item, rows[0][0], column, error)

    def _misfit(self, item: _File, line: int, column: Column, err: TreeError) -> ParseError:
        return ParseError(
            err.what,
            where=Where(item.file.shown, line, column.name + err.path),
            hint=f"mend the value, name it in null: [...], or declare another type for {column.name} under columns:",
        )


@dataclass(slots=True)
class _Element:
    """An element that is open: its attributes and what its children became, and its own text."""

    tag: Element
    line: int
    values: dict[str, Any]
    children: dict[str, str] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.tag.name

    @property
    def space(self) -> str:
        return self.tag.space


class _Records(Handler):
    """Builds a dict of each record: texts, dicts for elements with parts of their own, lists for what repeats."""

    def __init__(self, shown: str, record: str | None, prefix: str, *, trim: bool) -> None:
        self._shown = shown
        self._path = None if record is None else tuple(record.strip("/").split("/"))
        self._anchored = record is not None and ("/" in record)
        self._prefix = prefix
        self._trim = trim
        self.found: list[Record] = []
        self._above: list[str] = []
        self._open: list[_Element] = []
        self._size = 0

    def start(self, element: Element) -> None:
        if self._open:
            self._open.append(_Element(element, self.line, self._attributes(element)))
        elif self._is_record(element.name):
            self._size = 0
            self._open = [_Element(element, self.line, self._attributes(element))]
        else:
            self._above.append(element.name)

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].pieces.append(data)
            self._size += len(data)
            if self._size > _MAX_RECORD:
                raise ParseError(f"a record is longer than {_MAX_RECORD >> 20} MiB", where=self._here())
        elif self._path is None and data.strip() and len(self._above) > 1:
            raise ParseError(f"text stands outside the records: {excerpt(data.strip())}", where=self._here())

    def end(self, name: str) -> None:
        if not self._open:
            self._above.pop()
            return
        done = self._open.pop()
        value = self._value(done, top=not self._open)
        if self._open:
            self._add(self._open[-1], name, done.space, value)
        else:
            self.found.append((done.line, value))

    def _here(self) -> Where:
        return Where(self._shown, self._open[-1].line if self._open else self.line)

    def _is_record(self, name: str) -> bool:
        """Whether the element is the one that is named, at the path that is named; else any child of the root."""
        if self._path is None:
            return len(self._above) == 1
        if not self._anchored:
            return name == self._path[0]
        return (*self._above, name) == self._path

    def _attributes(self, element: Element) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for tag, value in element.attributes.items():
            space, _, name = tag.rpartition(" ")
            if space != "http://www.w3.org/2001/XMLSchema-instance":
                if self._prefix + name in values:
                    raise ParseError(f"two attributes are named {name!r}", where=Where(self._shown, self.line))
                values[self._prefix + name] = value
                self._size += len(value)
            elif name == "nil" and value.strip() in ("true", "1"):
                values[_NIL] = value
        return values

    def _value(self, done: _Element, *, top: bool) -> Any:
        text = "".join(done.pieces)
        if self._trim:
            text = text.strip()
        nil = done.values.pop(_NIL, None)
        if not done.values and not top:
            return None if nil else text
        if text.strip() and done.children:
            raise ParseError(
                f"element {done.name!r} mixes text and elements: {excerpt(text.strip())}",
                where=Where(self._shown, done.line),
                hint="such documents are no records",
            )
        if text.strip() and not nil:
            if TEXT in done.values:
                raise self._twice(done, TEXT)
            done.values[TEXT] = text
        return done.values

    def _add(self, parent: _Element, name: str, space: str, value: Any) -> None:
        earlier = parent.children.get(name)
        if earlier is None:
            if name in parent.values:
                raise self._twice(parent, name)
            parent.children[name] = space
            parent.values[name] = value
            return
        if earlier != space:
            raise ParseError(
                f"elements {name!r} of two namespaces stand in one {parent.name!r}", where=Where(self._shown, self.line)
            )
        if not isinstance(parent.values[name], Repeated):
            parent.values[name] = Repeated([parent.values[name]])
        parent.values[name].append(value)

    def _twice(self, parent: _Element, name: str) -> ParseError:
        return ParseError(
            f"element {parent.name!r} has an attribute and a part named {name!r}",
            where=Where(self._shown, parent.line),
            hint='tell the attributes apart: attribute_prefix: "@"',
        )


def _as_utf8(chunks: Iterator[bytes], encoding: str, shown: str) -> Iterator[bytes]:
    """The document in UTF-8, whatever encoding it declares: the job knows better."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as err:
        raise ParseError(f"is not {encoding} text", where=Where(shown), hint="say the encoding that it has") from err
