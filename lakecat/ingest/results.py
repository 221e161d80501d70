"""What an ingest did."""

from __future__ import annotations

from dataclasses import dataclass

from lakecat.types import DatasetName, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """One commit of an ingest.

    ``version`` is None where no version was made, for there was nothing to change. ``rows`` were read from
    ``sources``; ``files`` with ``bytes`` were written; ``schema_changes`` says each step in words. ``already`` tells
    that an earlier run had done this work.
    """

    dataset: DatasetName
    version: Version | None
    execution_id: int
    rows: int
    bytes: int
    files: int
    seconds: float
    sources: tuple[str, ...] = ()
    schema_changes: tuple[str, ...] = ()
    already: bool = False
