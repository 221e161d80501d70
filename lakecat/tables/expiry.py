"""Which snapshots leave a table's metadata. Their files are garbage collection's business, not a commit's."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from lakecat.config import Retention
from lakecat.tables.history import History


def expire(raw: dict[str, Any], history: History, retention: Retention) -> tuple[History, tuple[int, ...]]:
    """The history without expired snapshots, and their ids, oldest first; ``raw`` loses their statistics.

    Kept are the newest ``retention.snapshots``, all that are younger than ``retention.age`` when ``raw`` was updated,
    and what a branch or tag points to. The log loses all up to the last expired entry (specification, "Snapshot
    Retention Policy" and ``snapshot-log``). Only as many snapshots are parsed as leave, and one more.
    """
    gone: list[int] = []
    kept: list[bytes] = []
    oldest = raw["last-updated-ms"] - int(retention.age.total_seconds() * 1000)
    referenced = {ref["snapshot-id"] for ref in raw["refs"].values()} | {raw["current-snapshot-id"]}
    candidates = history.snapshots[: max(0, len(history.snapshots) - retention.snapshots)]
    for text in candidates:
        snapshot = from_json(text)
        if snapshot["timestamp-ms"] > oldest:
            break
        if snapshot["snapshot-id"] in referenced:
            kept.append(text)
        else:
            gone.append(snapshot["snapshot-id"])
    if not gone:
        return history, ()
    for kind in ("statistics", "partition-statistics"):
        if raw.get(kind):
            raw[kind] = [entry for entry in raw[kind] if entry["snapshot-id"] not in gone]
    log = history.parsed_log()
    last = max((index for index, entry in enumerate(log) if entry["snapshot-id"] in set(gone)), default=-1)
    rest = history.snapshots[len(kept) + len(gone) :]
    return History((*kept, *rest), history.log[last + 1 :]), tuple(gone)
