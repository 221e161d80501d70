"""What ``diff`` looks at beside the schemas: whom the change breaks; statistics and rows when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lakecat.catalog import Catalog
from lakecat.errors import UsageError
from lakecat.lake.answers import Difference
from lakecat.lake.compatibility import judged
from lakecat.store import LakeStore

if TYPE_CHECKING:
    from lakecat.engines import Engine


def compare_contents(
    catalog: Catalog,
    store: LakeStore,
    engine: Callable[[], Engine],
    found: Difference,
    *,
    rows: bool,
    key: Sequence[str],
    statistics: bool,
    sample: int,
) -> Difference:
    """``found`` with a verdict on its columns, and the statistics and rows that are asked for.

    Raises UsageError (a key without rows, or one that is not unique), EngineError, TableError.
    """
    if key and not rows:
        raise UsageError("a key is for comparing rows", hint="say --rows too")
    found = judged(catalog, found)
    if statistics:
        from lakecat.lake.statistics import with_statistics

        found = with_statistics(catalog, store, found)
    if rows and key:
        from lakecat.lake.keyed_rows import compare_by_key

        return compare_by_key(catalog, store, engine(), found, key, sample=sample)
    if rows:
        from lakecat.lake.querying import compare_rows

        return compare_rows(catalog, store, engine(), found, sample=sample)
    return found
