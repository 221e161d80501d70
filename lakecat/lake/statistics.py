"""Statistics of two versions, column by column, out of their manifests."""

from __future__ import annotations

from dataclasses import replace

from lakecat.catalog import Catalog
from lakecat.lake.answers import Difference, StatisticsDifference
from lakecat.lake.querying import scan_of
from lakecat.store import LakeStore
from lakecat.tables.summary import summarize


def with_statistics(catalog: Catalog, store: LakeStore, found: Difference) -> Difference:
    """``found`` with statistics, in the order of the newer version, dropped columns last. Raises TableError."""
    old, new = (
        {one.field_id: one for one in summarize(store, scan_of(catalog, store, version))}
        for version in (found.before, found.after)
    )
    pairs = [(old.get(key), new.get(key)) for key in (*new, *(key for key in old if key not in new))]
    return replace(
        found,
        statistics=tuple(
            StatisticsDifference((after or before).name, before, after)  # type: ignore[union-attr] # one is there
            for before, after in pairs
        ),
    )
