"""The project's corpus of bad and odd files, each with the verdict it should get; read where it is mounted."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lakecat.errors import ConfigError, LakecatError, ParseError
from lakecat_connectors._options import FilesOptions, file_format

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("LAKECAT_CORPUS", ROOT.parent / "shared" / "corpus"))
MADE, FETCHED = CORPUS / "made", CORPUS / "fetched"
KINDS = ("csv/", "json/", "parquet/")
FUZZED = {"parquet_fuzz": "parquet", "csv_fuzz": "csv"}
OTHERS = ("archives", "avro", "orc", "arrow", "excel", "office", "json")
SECONDS = 120


def verdicts() -> list[dict[str, Any]]:
    listing = MADE / "EXPECT.jsonl"
    if not listing.exists():
        return []
    return [item for item in map(json.loads, listing.read_text().splitlines()) if item["file"].startswith(KINDS)]


def categories() -> list[str]:
    """Those of text and Parquet; test_formats_corpus.py has the others."""
    folders = (folder.name for folder in FETCHED.iterdir()) if FETCHED.exists() else iter(("missing",))
    return sorted(name for name in folders if not name.startswith(OTHERS))


needs_corpus = pytest.mark.skipif(not verdicts(), reason="the corpus is not here: set LAKECAT_CORPUS to its folder")


@needs_corpus
def test_every_file_gets_its_verdict(load) -> None:
    wrong = {}
    for item in verdicts():
        try:
            got = f"load:{load(str(MADE / item['file'])).table.num_rows}"
        except LakecatError as err:
            got = (
                "reject" if err.where and err.where.file == str(MADE / item["file"]) else f"error without place: {err}"
            )
        wanted = item["expect"]
        if wanted not in (got, "load_or_reject") or got.startswith("error"):
            wrong[item["file"]] = (wanted, got)
    assert len(verdicts()) > 100
    assert wrong == {}


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail what hangs."""

    def late(_signal: int, _frame: object) -> None:
        raise AssertionError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def format_of(path: Path) -> str | None:
    """The format to read a file as; None for what no connector of files reads."""
    try:
        return file_format(FilesOptions(path="x"), path.name)
    except ConfigError:
        return FUZZED.get(path.parent.name)


def verdict(load, path: Path, format_: str) -> str:
    """What became of one file: loaded, quarantined or refused; anything else is what is wrong."""
    options: dict[str, Any] = {"missing_columns": "null"}
    if path.parent.name in FUZZED:
        options["format"] = format_
    try:
        loaded = load(str(path), rejects=100_000, **options)
    except ParseError as err:
        if "exit code" in err.what and "Panic" not in err.what:
            return err.what  # an exception that the parser does not answer with an error of ours
        return "refused" if err.where is not None and path.name in err.where.file else f"error without place: {err}"
    except LakecatError as err:
        return f"{type(err).__name__}: {err}"
    if format_ == "csv" and (lost := _lost(path, loaded.table.num_rows + len(loaded.rejected))):
        return lost
    if not loaded.rejected:
        return "loaded"
    places = [(row["source"], row["line"]) for row in loaded.rejected]
    if len(set(places)) != len(places):
        return "a line is set aside twice"
    try:
        load(str(path), **options)
    except ParseError:
        return "quarantined"
    return "lines are set aside that can be read"


def _lost(path: Path, rows: int) -> str | None:
    """Whether fewer rows came than lines hold text, for a file of which Python's own parser is sure."""
    if path.suffix not in (".csv", ".txt"):
        return None
    try:
        text = path.read_bytes().decode("utf-8-sig")
        csv.field_size_limit(1 << 30)
        records = [record for record in csv.reader(io.StringIO(text, newline=""), strict=True) if record]
    except (csv.Error, UnicodeDecodeError):
        return None
    if "\0" in text or "\r" in text.replace("\r\n", ""):  # to Python a bare CR ends a record
        return None
    return f"{len(records) - 1} records became {rows} rows" if rows < len(records) - 1 else None


@needs_corpus
@pytest.mark.parametrize("category", categories())
def test_every_odd_file_is_loaded_quarantined_or_refused(load, category: str) -> None:
    found: Counter[str] = Counter()
    wrong = {}
    for path in sorted((FETCHED / category).iterdir()):
        format_ = format_of(path)
        if format_ is None:
            found["of no format that is read"] += 1
            continue
        with within(SECONDS):
            got = verdict(load, path, format_)
        found[got if got in ("loaded", "quarantined", "refused") else "wrong"] += 1
        if got not in ("loaded", "quarantined", "refused"):
            wrong[path.name] = got
    print(category, dict(found), file=sys.stderr)
    assert wrong == {}
