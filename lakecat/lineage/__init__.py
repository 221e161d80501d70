"""Column lineage out of SQL text: one pass over a statement's query blocks, typed edges, nothing dropped silently."""

from lakecat.lineage.trace import StatementError, StatementLineage, trace, trace_script

__all__ = ["StatementError", "StatementLineage", "trace", "trace_script"]
