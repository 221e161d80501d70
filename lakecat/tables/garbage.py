"""Which files of a table nobody needs any more. It names them; removing them, and for whom, is the catalog's decision.

A file may be named for one of two reasons only: it lies in the folder of an execution that can never commit again,
or only expired snapshots reach it. Nothing is ever named by its age, and what can be reached from metadata that is in
use is not named, whatever its folder. A read that fails, fails the whole: half a picture deletes live files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from lakecat.errors import ObjectMissingError
from lakecat.store import LakeStore, StoredObject
from lakecat.tables.layout import METADATA_SUFFIX, sidecar_location
from lakecat.tables.manifests import read_all_entries, read_entries, read_manifests
from lakecat.tables.state import TableState


@dataclass(slots=True)
class Reach:
    """What some snapshots need: manifest lists, manifests and data files, by location."""

    lists: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    def __contains__(self, location: object) -> bool:
        return location in self.lists or location in self.manifests or location in self.files

    def locations(self) -> Iterator[str]:
        """All of them."""
        yield from self.files
        yield from self.manifests
        yield from self.lists


def reachable(store: LakeStore, state: TableState, *, snapshots: Iterable[int] | None = None) -> Reach:
    """Everything that snapshots of a table need; by default of all that have not expired.

    Raises TableError for a snapshot that is not there, and what reading raises; there is no partial answer.
    """
    wanted = [snapshot["snapshot-id"] for snapshot in state.snapshots] if snapshots is None else list(snapshots)
    reach = Reach()
    for snapshot_id in wanted:
        location = str(state.snapshot(snapshot_id)["manifest-list"])
        if location not in reach.lists:
            _extend(store, reach, location)
    for kind in ("statistics", "partition-statistics"):
        reach.files.update(str(entry["statistics-path"]) for entry in state.head.get(kind) or ())
    return reach


def abandoned(
    store: LakeStore, states: Iterable[TableState], prefixes: Iterable[str], *, metadata: Iterable[str]
) -> tuple[StoredObject, ...]:
    """Files under the folders of executions that can never commit any more, and that nothing in use reaches.

    ``states``: the current state of every table that may hold files there. ``metadata``: every metadata location that
    the catalog still shows (current pointers and versions); they and their sidecars stay. ``prefixes`` must lie inside
    the lake and be no table's whole folder. Raises StoreError, TableError.
    """
    states = tuple(states)
    kept = set(metadata)
    reaches = [reachable(store, state) for state in states]
    for state in states:
        kept.add(state.metadata_location)
        kept.update(str(entry["metadata-file"]) for entry in state.head.get("metadata-log") or ())
    kept.update([sidecar_location(location) for location in kept if location.endswith(METADATA_SUFFIX)])
    tables = {state.location for state in states} | {store.url}
    found: dict[str, StoredObject] = {}
    for prefix in prefixes:
        store.confine(prefix)
        if any(table == prefix or table.startswith(prefix.rstrip("/") + "/") for table in tables):
            raise ValueError(f"{prefix} is more than one execution's folder")
        found.update((one.location, one) for one in store.list(prefix))
    return tuple(
        one for where, one in found.items() if where not in kept and not any(where in reach for reach in reaches)
    )


def unreferenced(store: LakeStore, state: TableState, expired: Iterable[str]) -> tuple[str, ...]:
    """Files that only expired snapshots reach. ``expired`` are the manifest lists of expired snapshots.

    Data files come first, then manifests, then lists: removed in this order, an interrupted removal can be repeated.
    What is gone already was cleaned before and counts as empty, which can only make the answer shorter.
    Raises what reading raises.
    """
    live = reachable(store, state)
    gone = Reach()
    for location in expired:
        if location not in live.lists and location not in gone.lists:
            with suppress(ObjectMissingError):
                _extend_expired(store, gone, location, live)
    return tuple(location for location in gone.locations() if location not in live)


def _extend(store: LakeStore, reach: Reach, manifest_list: str) -> None:
    """Add what a manifest list reaches; manifests that are known are not read again."""
    reach.lists.add(manifest_list)
    manifests = read_manifests(store, manifest_list)
    fresh = [manifest for manifest in manifests if manifest.manifest_path not in reach.manifests]
    for entries in read_all_entries(store, fresh):
        reach.files.update(entry.data_file.file_path for entry in entries)
    reach.manifests.update(manifest.manifest_path for manifest in fresh)


def _extend_expired(store: LakeStore, reach: Reach, manifest_list: str, live: Reach) -> None:
    """Add what an expired manifest list reaches beyond what is live; manifests that are gone count as empty."""
    for manifest in read_manifests(store, manifest_list):
        path = manifest.manifest_path
        if path in live.manifests or path in reach.manifests:
            continue
        with suppress(ObjectMissingError):
            reach.files.update(entry.data_file.file_path for entry in read_entries(store, manifest))
            reach.manifests.add(path)
    reach.lists.add(manifest_list)
