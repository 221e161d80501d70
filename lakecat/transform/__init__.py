"""SQL scripts that make warehouse tables: found, ordered, planned, run, recorded."""

from lakecat.transform.graph import Graph, build_graph, select
from lakecat.transform.header import Header, Variable
from lakecat.transform.plan import PlannedScript, TransformPlan, plan
from lakecat.transform.run import OnEvent, Status, TransformEvent, TransformResult, run
from lakecat.transform.scripts import Kind, Script, load_scripts, parse_script

__all__ = [
    "Graph",
    "Header",
    "Kind",
    "OnEvent",
    "PlannedScript",
    "Script",
    "Status",
    "TransformEvent",
    "TransformPlan",
    "TransformResult",
    "Variable",
    "build_graph",
    "load_scripts",
    "parse_script",
    "plan",
    "run",
    "select",
]
