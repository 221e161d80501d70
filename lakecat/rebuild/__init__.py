"""Use case: make the catalog again from the lake alone, or let one that was restored catch up with the lake."""

from lakecat.rebuild.report import Heads, RebuildReport, RebuiltDataset, UndecidedCommit
from lakecat.rebuild.work import rebuild

__all__ = ["Heads", "RebuildReport", "RebuiltDataset", "UndecidedCommit", "rebuild"]
