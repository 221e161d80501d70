"""Where a stream's rows went: to its own dataset, to those of its lists, and what was set aside to its quarantine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from lakecat.config import StreamJob
from lakecat.connector import ReadSummary
from lakecat.ingest.children import datasets_of
from lakecat.ingest.quarantine import quarantine_of
from lakecat.types import ColumnEdge, EdgeKind, SourceRead


def sources_of(stream: StreamJob, summary: ReadSummary) -> Iterator[SourceRead]:
    """What was read, each source with the datasets that its rows went to."""
    datasets = tuple(map(str, datasets_of(stream)))
    quarantined = (*datasets, str(quarantine_of(stream)))
    rejected = _rejected(summary.sources, summary.rejected)
    for source in summary.sources:
        yield replace(source, datasets=quarantined if source.uri in rejected else datasets)


def rejected_edges(stream: StreamJob, edges: Iterable[ColumnEdge]) -> Iterator[ColumnEdge]:
    """What the quarantine's columns came from, where rows were set aside: the inputs of these edges of the stream.

    What stands in any column of the input may stand in the text and the reason; the other columns come from none.
    """
    quarantine = str(quarantine_of(stream))
    for name in dict.fromkeys(edge.input_dataset for edge in edges):
        for column in ("text", "reason"):
            yield ColumnEdge(quarantine, column, name, "*", EdgeKind.TRANSFORMATION)


def _rejected(sources: Sequence[SourceRead], rows: pa.Table | None) -> frozenset[str]:
    """The URIs of the sources that rejected rows came from; of all, where the rows name something else."""
    if rows is None or not rows.num_rows:
        return frozenset()
    named = set(rows["source"].unique().to_pylist())
    # For people a local file is shown by its path.
    known = {source.uri.removeprefix("file://"): source.uri for source in sources}
    known |= {source.uri: source.uri for source in sources}
    return frozenset(known[name] for name in named) if named <= known.keys() else frozenset(known.values())
