"""SQL engines behind one protocol: DuckDB by default."""

from lakecat.engines.duckdb import DuckDBEngine
from lakecat.engines.protocol import Engine, Modification, RowCounts, Session

__all__ = ["DuckDBEngine", "Engine", "Modification", "RowCounts", "Session"]
