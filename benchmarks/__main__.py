"""Run every benchmark, one after the other: ``python -m benchmarks [--scale 1]``. Each prints its ratios."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    """Run them; the number of those that failed is the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", default="1", help="TPC-H scale factor of the data")
    scale = ["--scale", parser.parse_args().scale]
    dlt = ["--dlt-python", sys.executable] if importlib.util.find_spec("dlt") else []
    failed = 0
    with tempfile.TemporaryDirectory(prefix="lakecat-bench-") as folder:
        for name, arguments in (
            ("metadata_store", []),
            ("metadata_growth", ["--folder", folder]),
            ("search_growth", []),
            ("catalog_sql_growth", []),
            ("commit_growth", []),
            ("csv_to_table", [*scale, "--folder", f"{folder}/csv", *dlt]),
            ("postgres_to_table", []),
            ("databases_to_table", []),
            ("rest_to_table", dlt),
            ("many_files", []),
            ("tpch_transforms", [*scale, "--folder", f"{folder}/tpch"]),
        ):
            print(f"\n=== {name} {' '.join(arguments)}", flush=True)
            failed += subprocess.run([sys.executable, HERE / f"{name}.py", *arguments], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
