"""Which datasets of other programs are lakecat's own, and at which version.

A dataset is lakecat's when a rule says so for its namespace, or when its URI is where one of lakecat's tables lies; its
other names (symlinks) count as well. It is then the version that the event names (an Iceberg snapshot id, or ``7`` or
``v7``), else the one that was current at the time. Without such a version it stays a dataset of the other program's:
lakecat's versions come from lakecat's commits alone.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.foreign_values import ForeignName
from lakecat.catalog.reading import dataset_id
from lakecat.errors import SelectorError, UsageError
from lakecat.types import DatasetName

OWN_NAMESPACE: Final = "lakecat"
"""The OpenLineage namespace whose datasets are lakecat's, by ``namespace.name``, without any rule."""


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version of a lakecat dataset that an event means."""

    dataset: str
    context_id: int
    artifact_id: int
    version: int


def parse_rules(rules: Iterable[str]) -> dict[str, str | None]:
    """``NAMESPACE`` or ``NAMESPACE=LAKECAT_NAMESPACE`` each. Raises UsageError."""
    found: dict[str, str | None] = {OWN_NAMESPACE: None}
    for rule in rules:
        # A URI may hold "=" itself; a namespace of lakecat's cannot.
        theirs, equals, ours = rule.rpartition("=") if "=" in rule else (rule, "", "")
        if not theirs or (equals and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,126}", ours)):
            raise UsageError(
                f"{rule!r} does not say which datasets are lakecat's",
                hint="NAMESPACE: its datasets end in namespace.name; NAMESPACE=raw: their last part is a name in raw",
            )
        found[theirs] = ours or None
    return found


@dataclass(slots=True)
class Places:
    """Finds lakecat's own versions behind the names of others. What it has read of a dataset it keeps."""

    rules: Mapping[str, str | None]
    locations: dict[str, str] | None = None
    versions: dict[str, _Versions] = field(default_factory=dict)

    def find(
        self, connection: sa.Connection, names: Iterable[ForeignName], version: str | None, time: int, *, exact: bool
    ) -> KnownVersion | None:
        """The version that is meant; ``exact``: only one that the event names itself."""
        for name in names:
            ours = self._dataset(connection, name)
            if ours is None:
                continue
            if ours not in self.versions:
                self.versions[ours] = _load(connection, ours)
            found = self.versions[ours].named(version) if version is not None else None
            if found is None and not exact:
                found = self.versions[ours].at(time)
            if found is not None:
                return found
        return None

    def _dataset(self, connection: sa.Connection, name: ForeignName) -> str | None:
        if self.locations is None:
            self.locations = _locations(connection)
        ours = self.locations.get(_plain(name.uri))
        if ours is not None or name.namespace not in self.rules:
            return ours
        parts = name.name.replace("/", ".").split(".")
        namespace = self.rules[name.namespace] or (parts[-2] if len(parts) > 1 else "")
        try:
            return str(DatasetName(namespace, parts[-1]))
        except SelectorError:  # no name that lakecat could have
            return None


@dataclass(frozen=True, slots=True)
class _Versions:
    """The versions of one dataset, oldest first."""

    dataset: str
    times: tuple[int, ...]
    snapshots: tuple[int, ...]
    found: tuple[KnownVersion, ...]

    def named(self, version: str) -> KnownVersion | None:
        if not re.fullmatch(r"v?[0-9]{1,19}", version):
            return None
        number = int(version.removeprefix("v"))
        if not version.startswith("v") and number in self.snapshots:
            return self.found[self.snapshots.index(number)]
        return next((one for one in self.found if one.version == number), None)

    def at(self, time: int) -> KnownVersion | None:
        index = bisect.bisect_right(self.times, time)
        return self.found[index - 1] if index else None


def _load(connection: sa.Connection, dataset: str) -> _Versions:
    table = s.version
    rows = connection.execute(
        sa.select(
            table.c.dataset_id, table.c.artifact_id, table.c.version, table.c.snapshot_id, table.c.committed_ms
        )
        .where(table.c.dataset_id == dataset_id(dataset))
        .order_by(table.c.committed_ms, table.c.version)
    ).all()  # fmt: skip
    return _Versions(
        dataset,
        tuple(row.committed_ms for row in rows),
        tuple(row.snapshot_id for row in rows),
        tuple(KnownVersion(dataset, row.dataset_id, row.artifact_id, row.version) for row in rows),
    )


def _locations(connection: sa.Connection) -> dict[str, str]:
    """Where each of lakecat's tables lies."""
    table = s.iceberg_tables
    rows = connection.execute(
        sa.select(table.c.table_namespace, table.c.table_name, table.c.metadata_location).where(
            table.c.catalog_name == s.ICEBERG_CATALOG
        )
    )
    return {
        _plain(row.metadata_location.rpartition("/metadata/")[0]): f"{row.table_namespace}.{row.table_name}"
        for row in rows
        if row.metadata_location
    }


def _plain(uri: str) -> str:
    """A location in one spelling: Hadoop's names of S3, and slashes at the end, make no difference."""
    return re.sub(r"^s3[an]://", "s3://", re.sub(r"^file:/+", "file:///", uri)).rstrip("/")
