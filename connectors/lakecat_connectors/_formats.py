"""Which reader reads which format; each is imported when a file of its kind comes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Final

from lakecat.errors import ConfigError
from lakecat_connectors._archives import ArchiveReader
from lakecat_connectors._job import FormatReader, Job
from lakecat_connectors._options import Format, file_archive

_READERS: Final[Mapping[Format, tuple[str, str]]] = {
    "csv": ("_csv", "CsvReader"),
    "fixed": ("_fixed", "FixedWidthReader"),
    "jsonl": ("_jsonl_fast", "FastJsonLinesReader"),
    "json": ("_json", "JsonReader"),
    "parquet": ("_parquet", "ParquetReader"),
    "avro": ("_avro", "AvroReader"),
    "arrow": ("_arrow", "ArrowReader"),
    "orc": ("_arrow", "OrcReader"),
    "excel": ("_excel", "ExcelReader"),
    "xml": ("_xml", "XmlReader"),
}


def reader_for(job: Job) -> FormatReader:
    """The reader of the job's format, or of archives of such files."""
    kinds = {file_archive(job.options, file.shown) for file in job.files} if job.folder is not None else {"none"}
    if kinds != {"none"}:
        if "none" in kinds:
            raise ConfigError(
                "files connector: one slice holds archives and other files", hint="make the path match one kind of file"
            )
        return ArchiveReader(job, _plain_reader)
    return _plain_reader(job)


def _plain_reader(job: Job) -> FormatReader:
    detecting = job.format == "csv" and job.options.dialect == "detect"
    module, name = ("_detect", "DetectingReader") if detecting else _READERS[job.format]
    reader: Callable[[Job], FormatReader] = getattr(importlib.import_module(f"lakecat_connectors.{module}"), name)
    return reader(job)
