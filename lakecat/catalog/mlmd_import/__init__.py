"""Import of an ML Metadata database into the catalog, by copying."""

from lakecat.catalog.mlmd_import.run import ImportReport, LinkCount, NodeCount, TypeCount, import_mlmd
from lakecat.catalog.mlmd_import.source import source_url

__all__ = ["ImportReport", "LinkCount", "NodeCount", "TypeCount", "import_mlmd", "source_url"]
