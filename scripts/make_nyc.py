"""Cut the demo's source files out of the nycflights13 data set: January 2013.

    python scripts/make_nyc.py [--source ../shared/data/nycflights13] [--target configs/nyc/source]

Rows are kept as they are, byte for byte. Flights and weather become one gzipped CSV for each day of their own
``year, month, day`` columns (local time of New York). A day's weather file repeats the day before, as weather
services do that send corrected observations, so that landing it needs a merge. Airlines, airports and planes are
copied whole. The same input gives the same bytes: gzip headers hold no time and no name.
"""

from __future__ import annotations

import argparse
import gzip
import io
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

YEAR, MONTH = "2013", "1"
WHOLE = ("airlines.csv", "airports.csv", "planes.csv")


def days(lines: Iterable[bytes], day_columns: tuple[int, int, int]) -> tuple[bytes, dict[int, list[bytes]]]:
    """The header, and the lines of January by day; the columns are those of year, month and day."""
    rows = iter(lines)
    header = next(rows)
    found: dict[int, list[bytes]] = defaultdict(list)
    year, month, day = day_columns
    for line in rows:
        fields = line.split(b",")
        if fields[year].decode() == YEAR and fields[month].decode() == MONTH:
            found[int(fields[day])].append(line)
    return header, dict(found)


def write_gzip(path: Path, lines: Iterable[bytes]) -> None:
    """Write lines as gzip with an empty header, so that the bytes depend on the lines alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as file:
        file.writelines(lines)
    path.write_bytes(buffer.getvalue())


def make(source: Path, target: Path) -> None:
    """Write the demo's source files under ``target``."""
    with zipfile.ZipFile(source / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        header, flights = days(file, (0, 1, 2))
    for day, lines in flights.items():
        write_gzip(target / "flights" / f"{YEAR}-01-{day:02}.csv.gz", [header, *lines])
    with (source / "weather.csv").open("rb") as file:
        header, weather = days(file, (1, 2, 3))
    for day, lines in weather.items():
        write_gzip(target / "weather" / f"{YEAR}-01-{day:02}.csv.gz", [header, *weather.get(day - 1, []), *lines])
    for name in WHOLE:
        shutil.copyfile(source / name, target / name)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("../shared/data/nycflights13"))
    parser.add_argument("--target", type=Path, default=Path("configs/nyc/source"))
    arguments = parser.parse_args()
    make(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
