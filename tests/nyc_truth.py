"""January 2013 counted with nothing but Python's csv module: what the demo's tables must say."""

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "configs" / "nyc" / "source"
Row = dict[str, str]


def rows_of(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


@cache
def flights() -> dict[str, list[Row]]:
    """Flights by the day of their file, in order."""
    return {path.name[:10]: list(rows_of(path)) for path in sorted((SOURCE / "flights").iterdir())}


@cache
def all_flights() -> list[Row]:
    return [row for rows in flights().values() for row in rows]


@cache
def weather() -> dict[tuple[str, str], Row]:
    """Observations by airport and hour; a later file wins."""
    found = {}
    for path in sorted((SOURCE / "weather").iterdir()):
        for row in rows_of(path):
            found[row["origin"], row["time_hour"]] = row
    return found


def number(text: str) -> float | None:
    return None if text == "NA" else float(text)


def by_carrier() -> dict[str, tuple[int, int, float, float]]:
    """Carrier: flights, cancelled ones, mean arrival delay, share later than 15 minutes."""
    groups = defaultdict(list)
    for row in all_flights():
        groups[row["carrier"]].append(row)
    found = {}
    for carrier, rows in groups.items():
        delays = [float(row["arr_delay"]) for row in rows if row["arr_delay"] != "NA"]
        cancelled = sum(row["dep_time"] == "NA" for row in rows)
        late = sum(delay > 15 for delay in delays)
        found[carrier] = (len(rows), cancelled, sum(delays) / len(delays), late / len(delays))
    return found


def condition(row: Row | None) -> str:
    """The class of weather, as transforms/staging/weather.sql defines it."""
    if row is None:
        return "not observed"
    precip, temp = number(row["precip"]) or 0, number(row["temp"])
    if precip > 0:
        return "snow or ice" if temp is not None and temp <= 32 else "rain"
    sight = number(row["visib"])
    if sight is not None and sight < 3:
        return "poor sight"
    return "strong wind" if (number(row["wind_speed"]) or 0) >= 20 else "fair"


def by_weather() -> dict[tuple[str, str], tuple[int, int, int]]:
    """Condition and airport: flights, cancelled ones, those more than an hour late."""
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in all_flights():
        counts = found[condition(weather().get((row["origin"], row["time_hour"]))), row["origin"]]
        counts[0] += 1
        counts[1] += row["dep_time"] == "NA"
        counts[2] += (number(row["dep_delay"]) or 0) > 60
    return {key: (counts[0], counts[1], counts[2]) for key, counts in found.items()}


def by_aircraft() -> dict[str, tuple[int, int]]:
    """Tail number: flights, minutes of arrival delay."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for row in all_flights():
        if row["tailnum"] != "NA":
            found[row["tailnum"]][0] += 1
            found[row["tailnum"]][1] += 0 if row["arr_delay"] == "NA" else int(row["arr_delay"])
    return {tailnum: (counts[0], counts[1]) for tailnum, counts in found.items()}
