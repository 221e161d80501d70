"""XML to Arrow: each record element is a row; attributes and children are columns, repeated children lists.

Texts get their types by the rules of CSV, at any depth, over every value of the slice.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.nested import may_grow
from lakecat.connector.shapes import as_json
from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import decompressed
from lakecat_connectors._expat import Element, Handler, parse_xml
from lakecat_connectors._faults import empty_file, excerpt
from lakecat_connectors._job import Job
from lakecat_connectors._options import FilesOptions, file_compression
from lakecat_connectors._reader import Reader, SliceFile, grouped, settled
from lakecat_connectors._trees import TEXT, Conversion, Repeated, Tree, TreeError, build

_NIL: Final = "\0nil"
_KEPT_BYTES: Final = 4 << 20
_MAX_RECORD: Final = 64 << 20

_GROUP_ROWS: Final = 4_096


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its number from 1, its line, its parts, and what is wrong with it by itself."""

    number: int
    line: int
    row: dict[str, Any]
    error: ParseError | None = None


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
        """Read everything once to see every name, what repeats, and every text; again when a record was set aside."""
        sound = False
        while not sound:
            sound = True
            self._tree = Tree(self._job.options)
            left = _KEPT_BYTES
            for item in self._files:
                sound = self._observe_file(item, keep=item.file.size <= left) and sound
                left -= item.file.size
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
                fitting = self._fitting(item, group, self._columns) if self._job.rejects.allowed else group
                if fitting:
                    rows += len(fitting)
                    yield self._batch(item, fitting)
            self._finished(item, rows)

    def _observe_file(self, item: _File, *, keep: bool) -> bool:
        """Whether every record could be taken into account."""
        item.names, kept = {}, []
        sound = True
        for record in self._known_fitting(item):
            try:
                for name, value in record.row.items():
                    self._tree.child(name, "").observe(value, name)
                    item.names.setdefault(fold(name), name)
            except TreeError as err:
                self._refuse(item, record, ParseError(err.what, where=Where(item.file.shown, record.line, err.path)))
                sound = False
                continue
            if keep:
                kept.append(record)
        item.kept = kept if keep else None
        return sound

    def _refuse(self, item: _File, record: Record, error: ParseError) -> None:
        """Set a record aside under its number, for several may stand on one line; raises the error otherwise."""
        if not self._job.rejects.allowed:
            raise error
        where = Where(item.file.shown, record.number, None if error.where is None else error.where.column)
        told = ParseError(f"{error.what} (line {record.line})", where=where, hint=error.hint)
        self._job.rejects.take(item.index, as_json(record.row).encode("utf-8", "replace"), told)

    def _known_fitting(self, item: _File) -> Iterator[Record]:
        """The records; without those whose values are not of the types that are known already."""
        known = [self._job.wanted.column(name) for name in self._job.wanted.names()]
        if not self._job.rejects.allowed or not known:
            yield from self._records(item)
            return
        for group in grouped(self._records(item), _GROUP_ROWS):
            yield from self._fitting(item, group, known, surplus=True)

    def _fitting(
        self, item: _File, records: list[Record], columns: Sequence[Column], *, surplus: bool = False
    ) -> list[Record]:
        """The records whose values are all of their columns' types; the others are set aside."""
        bad: dict[int, ParseError] = {}
        rows = [{fold(name): value for name, value in record.row.items()} for record in records]
        for column in columns:
            values = [row.get(fold(column.name)) for row in rows]
            conversion = self._conversion(column, surplus=surplus and may_grow(column))
            if _holds(values, column, conversion):
                continue
            for index, (record, value) in enumerate(zip(records, values, strict=True)):
                if index not in bad and (error := _misfit(value, column, conversion)) is not None:
                    bad[index] = self._placed(item, record.line, column, error)
        for index, refused in bad.items():
            self._refuse(item, records[index], refused)
        return [record for index, record in enumerate(records) if index not in bad]

    def _records(self, item: _File) -> Iterator[Record]:
        options = self._job.options
        with item.opened() as raw:
            if item.file.size:
                tolerant = self._job.rejects.allowed
                handler = _Records(item.file.shown, options, tolerant=tolerant)
                left_out = self._job.rejects.lines(item.index)
                chunks = decompressed(raw, file_compression(options, item.file.shown))
                declared = options.encoding if "encoding" in options.model_fields_set else None
                if declared is not None and declared != "utf-8":
                    chunks, declared = _as_utf8(chunks, declared, item.file.shown), "utf-8"
                for _ in parse_xml(chunks, handler, Where(item.file.shown), encoding=declared, namespaces=True):
                    found, handler.found = handler.found, []
                    for record in found:
                        if record.error is not None:
                            self._refuse(item, record, record.error)
                        elif record.number not in left_out:
                            yield record
                if options.empty == "error":
                    handler.refuse_nothing()
            elif options.empty == "error":
                raise empty_file(item.file.shown)

    def _conversion(self, column: Column, *, surplus: bool = False) -> Conversion:
        return Conversion(self._rule(column), frozenset(self._job.options.null), surplus)

    def _batch(self, item: _File, records: list[Record]) -> pa.RecordBatch:
        arrays = []
        for column in self._columns:
            name = item.names.get(fold(column.name))
            if name is None:
                arrays.append(pa.nulls(len(records), column.type))
            else:
                arrays.append(self._array(item, records, name, column))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema())

    def _array(self, item: _File, records: list[Record], name: str, column: Column) -> pa.Array:
        conversion = self._conversion(column)
        values = [record.row.get(name) for record in records]
        try:
            return build(values, column.type, conversion)
        except TreeError as err:
            for record, value in zip(records, values, strict=True):
                if (misfit := _misfit(value, column, conversion)) is not None:
                    raise self._placed(item, record.line, column, misfit) from misfit
            raise self._placed(item, records[0].line, column, err) from err

    def _placed(self, item: _File, line: int, column: Column, err: TreeError) -> ParseError:
        return ParseError(
            err.what,
            where=Where(item.file.shown, line, column.name + err.path),
            hint=f"mend the value, name it in null: [...], or declare another type for {column.name} under columns:",
        )


def _holds(values: Sequence[Any], column: Column, conversion: Conversion) -> bool:
    try:
        build(values, column.type, conversion)
    except TreeError:
        return False
    return True


def _misfit(value: Any, column: Column, conversion: Conversion) -> TreeError | None:
    try:
        build([value], column.type, conversion)
    except TreeError as err:
        return err
    return None


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

    def __init__(self, shown: str, options: FilesOptions, *, tolerant: bool) -> None:
        """``tolerant``: records that contradict themselves come with their error, instead of raising it."""
        record = options.record
        self._shown = shown
        self._path = None if record is None else tuple(record.strip("/").split("/"))
        self._anchored = record is not None and ("/" in record)
        self._prefix = options.attribute_prefix
        self._trim = options.trim
        self._tolerant = tolerant
        self.found: list[Record] = []
        self._count = 0
        self._passed = False
        self._reached = False
        self._error: ParseError | None = None
        self._above: list[str] = []
        self._open: list[_Element] = []
        self._size = 0

    def start(self, element: Element) -> None:
        if self._open:
            self._open.append(_Element(element, self.line, self._attributes(element)))
        elif self._is_record(element.name):
            self._size, self._error = 0, None
            self._count += 1
            self._open = [_Element(element, self.line, self._attributes(element))]
        else:
            self._above.append(element.name)
            self._passed = self._passed or len(self._above) > 1
            self._reached = self._reached or (self._anchored and tuple(self._above) == (self._path or ())[:-1])

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].pieces.append(data)
            self._size += len(data)
            if self._size > _MAX_RECORD:
                raise ParseError(f"a record is longer than {_MAX_RECORD >> 20} MiB", where=self._here())
        elif self._path is None and data.strip():
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
            self.found.append(Record(self._count, done.line, value, self._error))

    def _contradicts(self, what: str, line: int, hint: str | None = None) -> None:
        """Refuse the record, or keep it with its first error."""
        error = ParseError(what, where=Where(self._shown, line), hint=hint)
        if not self._tolerant:
            raise error
        self._error = self._error or error

    def refuse_nothing(self) -> None:
        """Raises ParseError for a document that holds other things, and nothing that looks like a list of records."""
        if self._path is not None and not self._count and not self._reached and (self._anchored or self._passed):
            raise ParseError(
                f"holds no element {'/'.join(self._path)!r}",
                where=Where(self._shown),
                hint="mend record: in the job; or say empty: skip, and files without records are no rows",
            )

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
                key = self._prefix + name
                if key in values:
                    self._contradicts(f"two attributes are named {name!r}", self.line)
                    key = tag
                values[key] = value
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
            what = f"element {done.name!r} mixes text and elements: {excerpt(text.strip())}"
            self._contradicts(what, done.line, "such documents are no records")
        if text.strip() and not nil:
            if TEXT in done.values:
                self._twice(done, TEXT)
            _put(done.values, TEXT, text)
        return done.values

    def _add(self, parent: _Element, name: str, space: str, value: Any) -> None:
        earlier = parent.children.get(name)
        if earlier is None:
            if name in parent.values:
                self._twice(parent, name)
            parent.children[name] = space
        elif earlier != space:
            self._contradicts(f"elements {name!r} of two namespaces stand in one {parent.name!r}", self.line)
        _put(parent.values, name, value)

    def _twice(self, parent: _Element, name: str) -> None:
        what = f"element {parent.name!r} has an attribute and a part named {name!r}"
        self._contradicts(what, parent.line, 'tell the attributes apart: attribute_prefix: "@"')


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """One more value of a name; the second makes a list of them."""
    if name not in values:
        values[name] = value
        return
    if not isinstance(values[name], Repeated):
        values[name] = Repeated([values[name]])
    values[name].append(value)


def _as_utf8(chunks: Iterator[bytes], encoding: str, shown: str) -> Iterator[bytes]:
    """The document in UTF-8, whatever encoding it declares: the job knows better."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as err:
        raise ParseError(f"is not {encoding} text", where=Where(shown), hint="say the encoding that it has") from err
