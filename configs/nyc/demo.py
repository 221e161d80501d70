"""The demo: land January 2013 day by day, transform after each day, and show what came from where.

    python configs/nyc/demo.py [FOLDER]

The project is copied to FOLDER (./demo without it), and each day's files go to its landing/ folder one after the other,
as a scheduler would bring them. Run again, it finds nothing to do.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import lakecat
from lakecat.cli.app import run as shell

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "source"


def main() -> int:
    """Run the demo; returns the exit code."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    started = time.monotonic()
    copy_project(folder)
    days = sorted(path.name.removesuffix(".csv.gz") for path in (SOURCE / "flights").iterdir())
    with lakecat.connect(folder) as lake:
        landed = [day for day in days if still_to_land(day, folder / "landing")]
        made = one_by_one(lake, landed, folder) if landed else work(lake, "again")
    if not made:
        print("\nNothing to do: every day has landed, and nothing changed since.\n")
    else:
        print(f"\n{len(landed)} days, {made} new table versions, {time.monotonic() - started:.0f} seconds\n")
    return tour(folder)


def copy_project(folder: Path) -> None:
    """Lay out the project, as `git clone` would; the small tables come at once."""
    for name in ("ingest", "transforms"):
        shutil.copytree(HERE / name, folder / name, dirs_exist_ok=True)
    shutil.copyfile(HERE / "lakecat.yaml", folder / "lakecat.yaml")
    for name in ("airlines", "airports", "planes"):
        bring(SOURCE / f"{name}.csv", folder / "landing" / f"{name}.csv")


def bring(source: Path, target: Path) -> bool:
    """Copy a file that is not there yet, whole or not at all; returns whether it was copied."""
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, half)
    half.rename(target)
    return True


def still_to_land(day: str, landing: Path) -> bool:
    """Whether a day has still to land."""
    return not all((landing / kind / f"{day}.csv.gz").exists() for kind in ("flights", "weather"))


def one_by_one(lake: lakecat.Lake, days: list[str], folder: Path) -> int:
    """Land each day and transform after it; returns how many versions were made."""
    made = 0
    for day in days:
        for kind in ("flights", "weather"):
            bring(SOURCE / kind / f"{day}.csv.gz", folder / "landing" / kind / f"{day}.csv.gz")
        made += work(lake, day)
    return made


def work(lake: lakecat.Lake, label: str) -> int:
    """One round of what a scheduler does: ingest, then transform."""
    started = time.monotonic()
    ingested, transformed = lake.ingest(), lake.run()
    report = ingested + transformed
    report.raise_failures()
    flights = next((v for v in ingested.versions if str(v.dataset) == "raw.flights"), None)
    arrived = f"{flights.added_rows:>5,} flights" if flights else "no new flights"
    print(f"{label}  {arrived}  {len(report.versions):>2} new versions  {time.monotonic() - started:.1f} s", flush=True)
    return len(report.versions)


def tour(folder: Path) -> int:
    """Show what is there now, with the commands that anyone can type."""
    for title, *arguments in (
        ("The tables", "ls"),
        (
            "Which carriers were late",
            "query",
            "SELECT carrier_name, flights, avg_arr_delay FROM warehouse.delay_by_carrier_month ORDER BY 3 DESC",
            "--limit",
            "5",
        ),
        ("Where one column came from", "lineage", "warehouse.delay_by_carrier_month.avg_arr_delay"),
        (
            "What changed between two versions",
            "diff",
            "warehouse.delay_by_carrier_month@v1",
            "warehouse.delay_by_carrier_month@v2",
            "--rows",
            "--sample",
            "2",
        ),
        (
            "Time travel: flights known after the first day, after the tenth, and now",
            "query",
            (
                "SELECT (SELECT count(*) FROM raw.flights@v1) AS first_day, "
                "(SELECT count(*) FROM raw.flights@v10) AS tenth_day, (SELECT count(*) FROM raw.flights) AS now"
            ),
        ),
    ):
        shown = " ".join(f'"{word}"' if " " in word else word for word in arguments)
        print(f"── {title}\n$ lakecat {shown}", flush=True)
        code = shell(["--config", str(folder), *arguments])
        print(flush=True)
        if code:
            return code
    print(f"Look around: cd {folder}, then lakecat show raw.flights, lakecat status, lakecat doctor, lakecat plan")
    return 0


if __name__ == "__main__":
    sys.exit(main())
