"""Whether what reads one version of a dataset can read another, by their columns, and whom it concerns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from lakecat.catalog import Catalog, ColumnInfo
from lakecat.lake.answers import Difference
from lakecat.lake.tracing import readers_of

_DECIMAL = re.compile(r"decimal\((\d+), (\d+)\)")
_WIDER = {("int", "long"), ("float", "double")}


def judged(catalog: Catalog, found: Difference) -> Difference:
    """``found`` with a verdict on its columns, the reasons, and the scripts that read what breaks."""
    reasons = list(_breaks(catalog.schema(found.before), catalog.schema(found.after)))
    affected = [one for field_id, _ in reasons for one in catalog.impact(found.before, field_id)]
    return replace(
        found,
        verdict="breaking" if reasons else "compatible" if found.columns else "same",
        reasons=tuple(reason for _, reason in reasons),
        readers=readers_of(catalog, affected),
    )


def _breaks(before: Sequence[ColumnInfo], after: Sequence[ColumnInfo]) -> Iterator[tuple[int, str]]:
    """Field id and reason of each column that what reads ``before`` no longer finds as it was."""
    now = {column.field_id: column for column in after}
    for column in before:
        new = now.get(column.field_id)
        if new is None:
            yield column.field_id, f"{column.name} is gone"
        elif new.name != column.name:
            yield column.field_id, f"{column.name} is now called {new.name}"
        elif new.type != column.type and not _widened(column.type, new.type):
            yield column.field_id, f"{column.name} was {column.type} and is {new.type}"
        elif column.required and not new.required:
            yield column.field_id, f"{column.name} may now be NULL"


def _widened(before: str, after: str) -> bool:
    """Iceberg's type promotions: every value stays what it was."""
    old, new = _DECIMAL.fullmatch(before), _DECIMAL.fullmatch(after)
    if old and new:
        return old[2] == new[2] and int(old[1]) <= int(new[1])
    return (before, after) in _WIDER
