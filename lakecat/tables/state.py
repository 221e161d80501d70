"""One version of a table's metadata, held as the JSON it is.

Only the current schema and partition spec become objects: what we wrote ourselves need not be validated at every
commit, and that is what makes a commit's cost independent of the number of snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from lakecat.errors import CorruptFileError, TableError, Where
from lakecat.store import LakeStore
from lakecat.tables.history import History, decode


@dataclass(frozen=True, slots=True, kw_only=True)
class TableState:
    """A table as one metadata file describes it.

    ``head`` is the metadata's JSON without snapshots and snapshot log, which ``history`` has. Both are shared between
    states: never change them in place.
    """

    metadata_location: str
    head: Mapping[str, Any]
    history: History
    schema: Schema
    spec: PartitionSpec

    @property
    def raw(self) -> dict[str, Any]:
        """The whole metadata as Iceberg's JSON; parses every snapshot."""
        snapshots, log = list(self.history.parsed()), list(self.history.parsed_log())
        return {**self.head, "snapshots": snapshots, "snapshot-log": log}

    @property
    def uuid(self) -> str:
        """The table's identity, from creation to drop."""
        return str(self.head["table-uuid"])

    @property
    def location(self) -> str:
        """The table's folder."""
        return str(self.head["location"])

    @property
    def properties(self) -> Mapping[str, str]:
        """The table's properties."""
        return self.head.get("properties") or {}

    @property
    def last_column_id(self) -> int:
        """The highest field id that was ever given out."""
        return int(self.head["last-column-id"])

    @property
    def last_updated_ms(self) -> int:
        """When the metadata was written, in milliseconds since 1970 UTC."""
        return int(self.head["last-updated-ms"])

    @property
    def current_snapshot_id(self) -> int | None:
        """The current snapshot, or None for a table that has none yet."""
        current = self.head.get("current-snapshot-id")
        return None if current in (None, -1) else int(current)

    @property
    def snapshots(self) -> tuple[Mapping[str, Any], ...]:
        """The snapshots that have not expired, oldest first, as Iceberg's JSON."""
        return self.history.parsed()

    def snapshot(self, snapshot_id: int) -> Mapping[str, Any]:
        """One snapshot as Iceberg's JSON. Raises TableError when it is not there (it may have expired)."""
        found = self.find_snapshot(snapshot_id)
        if found is None:
            raise TableError(
                f"snapshot {snapshot_id} is not in the table {self.location}: it has expired, or was never there",
                hint="choose a younger version, or raise retention.age",
            )
        return found

    def find_snapshot(self, snapshot_id: int | None) -> Mapping[str, Any] | None:
        """One snapshot, or None."""
        return self.history.find(snapshot_id)

    def schema_of(self, snapshot_id: int) -> Schema:
        """The schema that a snapshot was written with. Raises TableError."""
        schema_id = self.snapshot(snapshot_id).get("schema-id")
        if schema_id is None or schema_id == self.schema.schema_id:
            return self.schema
        raw = next((schema for schema in self.head["schemas"] if schema["schema-id"] == schema_id), None)
        if raw is None:
            raise CorruptFileError(f"schema {schema_id} is missing", where=Where(self.metadata_location))
        return parse_schema(raw)

    def spec_by_id(self, spec_id: int) -> PartitionSpec:
        """One of the table's partition specs. Raises TableError."""
        if spec_id == self.spec.spec_id:
            return self.spec
        raw = next((spec for spec in self.head["partition-specs"] if spec["spec-id"] == spec_id), None)
        if raw is None:
            raise CorruptFileError(f"partition spec {spec_id} is missing", where=Where(self.metadata_location))
        return parse_spec(raw)


def parse_schema(raw: Mapping[str, Any]) -> Schema:
    """A schema of Iceberg's JSON; one object for equal JSON. Raises ValidationError."""
    return _schema(to_json(raw))


def parse_spec(raw: Mapping[str, Any]) -> PartitionSpec:
    """A partition spec of Iceberg's JSON; one object for equal JSON. Raises ValidationError."""
    return _spec(to_json(raw))


# Every version of a table repeats its schemas, and each piece of work loads a table several times.
@lru_cache(maxsize=512)
def _schema(text: bytes) -> Schema:
    return Schema.model_validate(from_json(text))


@lru_cache(maxsize=512)
def _spec(text: bytes) -> PartitionSpec:
    return PartitionSpec.model_validate(from_json(text))


def load_state(store: LakeStore, metadata_location: str) -> TableState:
    """Read a metadata file.

    Raises ObjectMissingError, StoreUnavailableError, CorruptFileError, and TableError for another format version.
    """
    return make_state(metadata_location, *decode(store.read(metadata_location), metadata_location))


def make_state(metadata_location: str, head: Mapping[str, Any], history: History) -> TableState:
    """Parse what a state parses. Raises CorruptFileError, TableError."""
    where = Where(metadata_location)
    if head.get("format-version") != 2:
        raise TableError(
            f"Iceberg format version {head.get('format-version')} is not supported, only 2 is", where=where
        )
    try:
        schema = next(schema for schema in head["schemas"] if schema["schema-id"] == head["current-schema-id"])
        spec = next(spec for spec in head["partition-specs"] if spec["spec-id"] == head["default-spec-id"])
        return TableState(
            metadata_location=metadata_location,
            head=head,
            history=history,
            schema=parse_schema(schema),
            spec=parse_spec(spec),
        )
    except (KeyError, TypeError, StopIteration, ValidationError) as err:
        raise CorruptFileError("the table's metadata is incomplete", where=where) from err
