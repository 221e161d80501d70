"""Which snapshots leave a table's metadata. Their files are garbage collection's business, not a commit's."""

from __future__ import annotations

from typing import Any

from lakecat.config import Retention


def expire(raw: dict[str, Any], retention: Retention, now_ms: int) -> tuple[int, ...]:
    """Take expired snapshots out of new metadata; answers their ids, oldest first.

    Kept are the newest ``retention.snapshots``, all that are younger than ``retention.age``, and what a branch or tag
    points to. Statistics of expired snapshots go too, and the log up to the last expired entry (specification,
    "Snapshot Retention Policy" and ``snapshot-log``).
    """
    snapshots = raw["snapshots"]
    candidates = snapshots[: max(0, len(snapshots) - retention.snapshots)]
    oldest = now_ms - int(retention.age.total_seconds() * 1000)
    if not candidates or candidates[0]["timestamp-ms"] > oldest:
        return ()
    referenced = {ref["snapshot-id"] for ref in raw["refs"].values()} | {raw["current-snapshot-id"]}
    gone = {
        snapshot["snapshot-id"]
        for snapshot in candidates
        if snapshot["timestamp-ms"] <= oldest and snapshot["snapshot-id"] not in referenced
    }
    if not gone:
        return ()
    raw["snapshots"] = [snapshot for snapshot in snapshots if snapshot["snapshot-id"] not in gone]
    log = raw["snapshot-log"]
    last = max((index for index, entry in enumerate(log) if entry["snapshot-id"] in gone), default=-1)
    raw["snapshot-log"] = log[last + 1 :]
    for kind in ("statistics", "partition-statistics"):
        if raw.get(kind):
            raw[kind] = [entry for entry in raw[kind] if entry["snapshot-id"] not in gone]
    return tuple(snapshot["snapshot-id"] for snapshot in snapshots if snapshot["snapshot-id"] in gone)
