"""CPU time of searches with the same finds among 10 thousand, 100 thousand and 1 million index entries, on SQLite.

Each dataset has nine columns, so a tenth of the entries are datasets. Twenty entries, the same at every size, have what
is searched for: in their names, in columns' names or in descriptions; the others have words of a vocabulary that grows
with them. Each query is measured at the median of several rounds, by the CPU of this process, driver and all.

Run: ``python benchmarks/search_growth.py [--sizes 10000,100000,1000000] [--rounds 30]``. Exits with 1 where a search
among the most entries takes more than twice what it takes among the fewest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, search_index
from lakecat.catalog.search_index import Entry, SearchKind

QUERIES = ("haystack.needle_3", "needle", "needle_1", "sharp pointed", "needle sharp", "absent words")
BATCH = 20_000
LIMIT = 2.0


def entries(first: int, last: int) -> Iterator[Entry]:
    """Made-up entries: a dataset, then nine of its columns, and so on."""
    for number in range(first, last):
        dataset = f"ns{number // 10 % 89}.table{number // 10}_of_things"
        said = (("description", f"what system{number % 4001} knew about thing{number}"),)
        if number % 10 == 0:
            yield Entry(kind=SearchKind.DATASET, key=dataset, name=dataset, leaf=dataset.split(".")[1], said=said)
        else:
            column = f"value{number % 997}_amount{number}"
            name = f"{dataset}.{column}"
            yield Entry(kind=SearchKind.COLUMN, key=str(number), name=name, leaf=column, path=dataset, said=said)


def needles() -> Iterator[Entry]:
    """The twenty that are searched for."""
    for number in range(8):
        name = f"haystack.needle_{number}"
        yield Entry(kind=SearchKind.DATASET, key=name, name=name, leaf=f"needle_{number}")
        column = f"needle{number}Amount"
        yield Entry(
            kind=SearchKind.COLUMN, key=column, name=f"other.pins.{column}", leaf=column, path="other.pins"
        )  # fmt: skip
    for number in range(4):
        name = f"other.pin{number}"
        said = (("description", "a sharp, pointed thing"),)
        yield Entry(kind=SearchKind.DATASET, key=name, name=name, leaf=f"pin{number}", said=said)


def grow(catalog: Catalog, first: int, last: int) -> None:
    """Add entries in batches, as a catalog's own transactions do."""
    for start in range(first, last, BATCH):
        part = list(entries(start, min(last, start + BATCH)))
        catalog.database.write(lambda connection, part=part: search_index.add(connection, part))


def measure(catalog: Catalog, text: str, rounds: int) -> tuple[float, tuple[str, ...]]:
    """Milliseconds of CPU of one search, and what it found."""
    found = tuple(hit.name for hit in catalog.search(text).hits)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        catalog.search(text)
        times.append(time.process_time() - start)
    return statistics.median(times) * 1000, found


def run(sizes: tuple[int, ...], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each query at each size. Raises AssertionError where the finds differ between sizes."""
    results: dict[str, list[float]] = {text: [] for text in QUERIES}
    finds: dict[str, tuple[str, ...]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="lakecat-search-") as folder,
        Catalog.open(URL.create("sqlite", database=str(Path(folder) / "catalog.db")), create=True) as catalog,
    ):
        catalog.database.write(lambda connection: search_index.add(connection, needles()))
        done = 0
        for size in sizes:
            start = time.process_time()
            grow(catalog, done, size)
            print(f"{size:,} entries; {time.process_time() - start:.1f} s CPU to add {size - done:,}", flush=True)
            done = size
            for text in QUERIES:
                milliseconds, found = measure(catalog, text, rounds)
                assert finds.setdefault(text, found) == found, text
                results[text].append(milliseconds)
    return results


def main() -> int:
    """Measure and print; the exit code says whether every search kept its price."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    sizes = tuple(int(text) for text in arguments.sizes.split(","))
    results = run(sizes, arguments.rounds)
    print(f"{'query':<20}" + "".join(f"{size:>12,}" for size in sizes) + f"{'ratio':>8}")
    for text, times in results.items():
        print(f"{text:<20}" + "".join(f"{one:>9.2f} ms" for one in times) + f"{times[-1] / times[0]:>8.2f}")
    return int(any(times[-1] > LIMIT * times[0] for times in results.values()))


if __name__ == "__main__":
    sys.exit(main())
