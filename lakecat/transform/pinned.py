"""The versions that a run reads, as scans; each table's metadata is read once."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from lakecat.landing import Services
from lakecat.tables import Scan, TableState, load_state
from lakecat.types import DatasetName, Version


class Pinned:
    """One state of the lake: the version of each dataset at the run's start, moved only by the run itself.

    Safe to use from several threads.
    """

    def __init__(self, services: Services, versions: Mapping[DatasetName, Version]) -> None:
        self._services = services
        self._versions = dict(versions)
        self._states: dict[str, TableState] = {}
        self._lock = threading.Lock()

    @property
    def versions(self) -> Mapping[DatasetName, Version]:
        """The pinned versions, as they are now."""
        with self._lock:
            return dict(self._versions)

    def move(self, version: Version) -> None:
        """Pin what this run has made."""
        with self._lock:
            self._versions[version.dataset] = version

    def state(self, dataset: DatasetName) -> TableState:
        """The table's metadata that knows the pinned snapshot. Raises StoreError, TableError."""
        with self._lock:
            version = self._versions[dataset]
            known = self._states.get(version.metadata_location)
        if known is not None:
            return known
        # The table's newest metadata knows every snapshot that is left; the version's own may have been removed.
        location = self._services.catalog.metadata_location(dataset)
        state = load_state(self._services.store, location)
        with self._lock:
            self._states[version.metadata_location] = state
        return state

    def scan(self, dataset: DatasetName) -> Scan:
        """The pinned snapshot. Raises StoreError, TableError."""
        return Scan(self.state(dataset), self.versions[dataset].snapshot_id)
