"""Rows that could not be read are kept in a table of their own, in the same commit as those that could."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from lakecat.config import StreamJob
from lakecat.errors import ParseError, Where
from lakecat.ingest.target import Target, load
from lakecat.landing import Services, Work
from lakecat.tables import TableChange
from lakecat.types import DatasetName, WriteMode


@dataclass(slots=True)
class Rejects:
    """The rejected rows of one commit, by the dataset that they go to."""

    tables: dict[DatasetName, list[pa.Table]] = field(default_factory=dict)

    def add(self, stream: StreamJob, rows: int, rejected: pa.Table | None) -> int:
        """Keep the rejected rows of a slice that handed out ``rows`` others. Raises ParseError for too many."""
        count = 0 if rejected is None else rejected.num_rows
        if rejected is None or not count:
            return 0
        keys = stream.quarantine
        limit = 0 if keys is None else keys.max_rows
        fraction = 0.0 if keys is None else keys.max_fraction
        if count > limit or count > fraction * (rows + count):
            first = rejected.slice(0, 1).to_pylist()[0]
            raise ParseError(
                f"{count} of {rows + count} rows cannot be read, the first: {first['reason']}",
                where=Where(first["source"], first["line"], first["column"]),
                hint="mend the source, or raise max_rows or max_fraction under quarantine:",
            )
        named = rejected.add_column(0, "dataset", pa.array([str(stream.target)] * count))
        self.tables.setdefault(quarantine_of(stream), []).append(named)
        return count

    def write(self, services: Services, work: Work, now: datetime) -> tuple[TableChange, ...]:
        """Write what was kept, a change for each dataset."""
        stamp = {"execution": pa.scalar(work.execution.uuid), "rejected_at": pa.scalar(now, pa.timestamp("us", "UTC"))}
        return tuple(
            change
            for dataset, tables in self.tables.items()
            if (change := _written(services, work, dataset, tables, stamp)) is not None
        )


def quarantine_of(stream: StreamJob) -> DatasetName:
    """Where a stream's rejected rows go."""
    if stream.quarantine is not None and stream.quarantine.target is not None:
        return stream.quarantine.target
    return DatasetName(stream.target.namespace, f"{stream.target.name}_quarantine")


def _written(
    services: Services, work: Work, dataset: DatasetName, tables: Sequence[pa.Table], stamp: Mapping[str, pa.Scalar]
) -> TableChange | None:
    rows = pa.concat_tables(tables)
    for name, value in stamp.items():
        rows = rows.append_column(name, pa.repeat(value, rows.num_rows))
    target = Target(dataset=dataset, mode=WriteMode.APPEND, source=str(dataset))
    return load(services, work, target, work.state(dataset), rows.to_reader()).change
