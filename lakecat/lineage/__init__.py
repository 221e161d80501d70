"""Column lineage out of SQL text: one pass over a statement's query blocks, typed edges, nothing dropped silently.

Rendering is in ``lakecat.lineage.render``, which imports the catalog; tracing needs neither it nor a lake.
"""

from lakecat.lineage.trace import StatementError, StatementLineage, trace, trace_script

__all__ = ["StatementError", "StatementLineage", "trace", "trace_script"]
