"""What ``lakecat init`` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lakecat.config import FILE_NAME
from lakecat.errors import ConfigError, Where

_PROJECT: Final = """\
# A lakecat project. Every key is explained in docs/settings.md.
lake: ./lake                          # a folder, or s3://bucket/prefix
catalog: sqlite:///./catalog.db       # or {url: postgresql://user@host/database, password: env:PGPASSWORD}
engine: duckdb
dialect: duckdb                       # dialect of the scripts under transforms/
"""

_IGNORE: Final = """\
lake/
catalog.db*
"""

_JOB: Final = """\
# Lands every new file of landing/ as new rows of raw.orders.
connector: files
target: raw.orders
mode: append
options:
  path: landing/orders-*.csv
columns:
  order_id: long
  ordered_at: timestamptz
  amount: decimal(12,2)
"""

_ORDERS: Final = {
    "landing/orders-2026-11-01.csv": """\
order_id,ordered_at,customer,amount
1,2026-11-01T09:15:00Z,ada,19.90
2,2026-11-01T11:40:00Z,grace,250.00
3,2026-11-01T17:05:00Z,ada,5.25
""",
    "landing/orders-2026-11-02.csv": """\
order_id,ordered_at,customer,amount
4,2026-11-02T08:30:00Z,edsger,99.00
5,2026-11-02T13:20:00Z,grace,12.50
""",
}

_TRANSFORM: Final = """\
-- A bare SELECT makes the table that its path names: mart.revenue_by_day.
SELECT
  CAST(ordered_at AS DATE) AS day,
  COUNT(*) AS orders,
  SUM(amount) AS revenue
FROM raw.orders
GROUP BY 1
"""

_EXAMPLE: Final = {
    "ingest/orders.yaml": _JOB,
    **_ORDERS,
    "transforms/mart/revenue_by_day.sql": _TRANSFORM,
}


def init_project(folder: Path | str = ".", *, example: bool = False) -> tuple[str, ...]:
    """Make a project in ``folder``, which may exist; with ``example``, one that can be run at once.

    Returns the files made, relative to the folder. Raises ConfigError, having written nothing, when one of them
    exists already.
    """
    root = Path(folder)
    files = {FILE_NAME: _PROJECT, ".gitignore": _IGNORE, **(_EXAMPLE if example else {})}
    if (root / ".gitignore").exists():
        del files[".gitignore"]
    for name in files:
        if (root / name).exists():
            raise ConfigError(
                "exists already, and is not overwritten",
                where=Where(str(root / name)),
                hint="choose another folder",
                next_command="lakecat plan" if name == FILE_NAME else None,
            )
    try:
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name in ("ingest", "transforms"):
            (root / name).mkdir(exist_ok=True)
    except OSError as err:
        raise ConfigError(f"cannot be written: {err.strerror}", where=Where(str(err.filename or root))) from err
    return tuple(files)
