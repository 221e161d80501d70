"""What an ingest did."""

from __future__ import annotations

from dataclasses import dataclass

from lakecat.ingest.target import Loaded
from lakecat.landing import Landed
from lakecat.types import DatasetName, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """One commit of an ingest.

    ``version`` is None where no version was made, for there was nothing to change. ``rows`` were read from
    ``sources``; ``files`` with ``bytes`` were written; ``schema_changes`` says each step in words. ``already`` tells
    that an earlier run had done this work. ``rejected`` rows could not be read and went to ``quarantine``. ``gone``
    files that were loaded once are no longer there.
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
    stream: str | None = None
    rejected: int = 0
    quarantine: DatasetName | None = None
    gone: tuple[str, ...] = ()


def result_of(
    dataset: DatasetName,
    landed: Landed,
    loaded: Loaded | None,
    seconds: float,
    *,
    stream: str | None = None,
    rejected: int = 0,
    quarantine: DatasetName | None = None,
) -> IngestResult:
    """What an execution did, told from what landed and what became of the rows (None when they were not read)."""
    version = next((version for version in landed.versions if version.dataset == dataset), None)
    sources = landed.harvest.sources if landed.harvest else ()
    return IngestResult(
        dataset=dataset,
        version=version,
        execution_id=landed.execution_id,
        rows=loaded.rows if loaded else 0,
        bytes=loaded.written.bytes if loaded else 0,
        files=len(loaded.written.files) if loaded else 0,
        seconds=seconds,
        sources=tuple(source.uri for source in sources),
        schema_changes=loaded.schema_changes if loaded else (),
        already=landed.already,
        stream=stream,
        rejected=rejected,
        quarantine=quarantine if rejected else None,
    )
