"""CSV whose dialect is found out: decided over a sample, then held to by the strict reader over every byte.

So a dialect that does not hold for the whole file is refused, and one of several that would hold is never picked.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import RawFile, decompressed
from lakecat_connectors._csv import CsvReader
from lakecat_connectors._infer import Evidence
from lakecat_connectors._job import FileResult, Job, JobFile
from lakecat_connectors._needs import needed
from lakecat_connectors._options import FilesOptions, file_compression

_SAMPLE: Final = 1 << 18
_DELIMITERS: Final = (",", ";", "\t", "|")
_QUOTINGS: Final = (('"', None), ('"', "\\"), ("'", None), (None, None))
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A dialect, and the sample's records under it."""

    delimiter: str
    quote: str | None
    escape: str | None
    records: tuple[tuple[str, ...], ...]


class DetectingReader(CsvReader):
    """Reads one slice of CSV files in the dialect of the first; what the job's options say is not looked for."""

    def __init__(self, job: Job) -> None:
        super().__init__(replace(job, options=detected(job.options, job.files[0])))

    @property
    def results(self) -> tuple[FileResult, ...]:
        """What each file became, with the dialect for the lineage."""
        options = self._options
        dialect = f"delimiter {options.delimiter!r}, quote {options.quote!r}, escape {options.escape!r}"
        facts: dict[str, str | int] = {"dialect": f"{dialect}, header {options.header}, encoding {options.encoding}"}
        return tuple(replace(result, facts=facts) for result in super().results)


def detected(options: FilesOptions, file: JobFile) -> FilesOptions:
    """The options with what was found out in one file. Raises ParseError when nothing fits, or more than one does."""
    data, whole = _sample(options, file)
    if not data:
        return options
    given = options.model_fields_set
    encoding = options.encoding if "encoding" in given else _encoding(data, file.shown, whole=whole)
    text = _decoded(data, encoding, file.shown, whole=whole)
    for _ in range(options.skip_lines):
        text = text.partition("\n")[2]
    found = _dialect(text, options, file.shown, whole=whole)
    update: dict[str, Any] = {"encoding": encoding, "delimiter": found.delimiter, "quote": found.quote}
    update["escape"] = found.escape
    if "header" not in given and "names" not in given:
        update["header"] = _has_header(found.records, options)
        if not update["header"]:
            update["names"] = [f"column{number}" for number in range(1, len(found.records[0]) + 1)]
    return options.model_copy(update=update)


def _sample(options: FilesOptions, file: JobFile) -> tuple[bytes, bool]:
    """The first bytes, and whether they are all."""
    raw = RawFile(file.path, file.shown, file.size)
    pieces: list[bytes] = []
    size = 0
    try:
        for chunk in decompressed(raw, file_compression(options, file.shown)):
            pieces.append(chunk)
            size += len(chunk)
            if size > _SAMPLE:
                return b"".join(pieces)[:_SAMPLE], False
    finally:
        raw.close()
    return b"".join(pieces), True


def _encoding(data: bytes, shown: str, *, whole: bool) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        best = needed("charset_normalizer", "detect", "detecting an encoding").from_bytes(data).best()
        if best is not None:
            return codecs.lookup(best.encoding).name
        raise ParseError("is text in no encoding that is known", where=Where(shown), hint="say encoding:") from None
    return "utf-8"


def _decoded(data: bytes, encoding: str, shown: str, *, whole: bool) -> str:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data, final=whole)
    except UnicodeDecodeError as err:
        raise ParseError(f"is not {encoding} text", where=Where(shown), hint="say encoding:") from err
    return text.removeprefix("\ufeff")


def _dialect(text: str, options: FilesOptions, shown: str, *, whole: bool) -> Found:
    given = options.model_fields_set
    quotings = [(options.quote, options.escape)] if given & {"quote", "escape"} else _QUOTINGS
    delimiters = (options.delimiter,) if options.delimiter else _DELIMITERS
    for quote, escape in quotings:
        found = [_read(text, delimiter, quote, escape, whole=whole) for delimiter in delimiters]
        fitting = [item for item in found if item is not None and len(item.records[0]) > 1]
        if len(fitting) > 1:
            raise ParseError(
                f"could be read with the delimiters {' and '.join(repr(item.delimiter) for item in fitting)}",
                where=Where(shown),
                hint="say which one: delimiter:",
            )
        if fitting:
            return fitting[0]
        single = [item for item in found if item is not None]
        if len(single) == len(delimiters):
            return single[0]
    raise ParseError(
        "no delimiter and no quote give every record the same number of fields",
        where=Where(shown),
        hint="say delimiter:, quote: and escape:, then the first record that does not fit is named",
    )


def _read(text: str, delimiter: str, quote: str | None, escape: str | None, *, whole: bool) -> Found | None:
    """The sample in one dialect; None unless all records have as many fields."""
    records: list[tuple[str, ...]] = []
    try:
        records.extend(map(tuple, _records(text, delimiter, quote, escape)))
    except csv.Error:
        if whole or not records:
            return None
    if not whole:
        records = records[:-1]  # it may go on after the sample
    while records and not records[-1]:
        records.pop()
    if not records or len({len(record) for record in records}) > 1:
        return None
    return Found(delimiter, quote, escape, tuple(records))


def _records(text: str, delimiter: str, quote: str | None, escape: str | None) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 30)
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quotechar=quote,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        doublequote=escape is None,
        escapechar=escape,
        strict=True,
    )


def _has_header(records: tuple[tuple[str, ...], ...], options: FilesOptions) -> bool:
    """Whether the first record names columns: its fields differ, none is empty, and none is a number, date or boolean.

    So a file all of text is taken to have a header, as RFC 4180's media type does.
    """
    first = records[0]
    if len(set(first)) != len(first) or not all(field.strip() for field in first):
        return False
    return all(pa.types.is_string(_kind(field, options)) for field in first)


def _kind(text: str, options: FilesOptions) -> pa.DataType:
    evidence = Evidence(options.decimals, tuple(options.date_formats), tuple(options.timestamp_formats))
    evidence.observe(pa.array([text], pa.string()))
    return evidence.decide()
