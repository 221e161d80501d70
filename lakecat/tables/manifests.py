"""Manifests and manifest lists (Iceberg table specification, "Manifests"), read and written through the store.

Manifests are merged by size tiers: eight manifests of one tier become one of the next, up to a largest size. So a table
of n files has O(log n) small manifests beside the full ones, each file is rewritten O(log n) times in its life, and
neither planning nor committing slows down with the number of commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from pyiceberg.avro.file import SYNC_SIZE, AvroFile, AvroOutputFile
from pyiceberg.manifest import (
    MANIFEST_ENTRY_SCHEMAS,
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
    read_manifest_list,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema

from lakecat.errors import CorruptFileError, TableError, Where
from lakecat.store import LakeStore
from lakecat.store.fileio import MemoryInput, MemoryOutput

CODEC: Final = "deflate"  # every Iceberg reader has it
TIER: Final = 8
LARGEST: Final = 4096  # entries of a manifest that is merged no further
_BLOCK: Final = 256
_THREADS: Final = 8


def read_manifests(store: LakeStore, manifest_list: str) -> tuple[ManifestFile, ...]:
    """The manifests of a snapshot. Raises CorruptFileError, ObjectMissingError, StoreUnavailableError."""
    data = store.read(manifest_list)
    try:
        _check_end(manifest_list, data)
        return tuple(read_manifest_list(MemoryInput(manifest_list, data)))
    except Exception as err:  # PyIceberg's Avro decoder raises whatever it stumbles over
        raise CorruptFileError("the manifest list cannot be read", where=Where(manifest_list)) from err


def _check_end(location: str, data: bytes) -> None:
    """Refuse Avro that does not end with its sync marker: it was cut off, even if all its records can be decoded."""
    if data.find(data[-SYNC_SIZE:]) < len(data) - SYNC_SIZE:
        return  # it ends the header, too
    with AvroFile[ManifestFile](MemoryInput(location, data)) as reader:
        if not data.endswith(reader.header.sync):
            raise EOFError(location)


def snapshot_manifests(store: LakeStore, snapshot: Mapping[str, Any]) -> tuple[ManifestFile, ...]:
    """The manifests of a snapshot, all of them: Avro that is cut off between two blocks reads as if it ended there.

    Raises as ``read_manifests``, and CorruptFileError when files are missing from what lakecat committed.
    """
    location = str(snapshot["manifest-list"])
    manifests = read_manifests(store, location)
    summary = snapshot.get("summary") or {}
    # Other writers' totals are sometimes wrong, and nobody relies on them.
    total = summary.get("total-data-files") if "lakecat.execution" in summary else None
    if total is not None and (found := sum(map(live_files, manifests))) != int(total):
        raise CorruptFileError(
            f"the manifest list names {found} data files, its snapshot has {total}", where=Where(location)
        )
    return manifests


def read_entries(
    store: LakeStore, manifest: ManifestFile, keep: Callable[[ManifestEntry], bool] | None = None
) -> list[ManifestEntry]:
    """The live entries of one manifest, with inherited values filled in.

    Raises CorruptFileError, ObjectMissingError, StoreUnavailableError; TableError for delete files.
    """
    if manifest.content != ManifestContent.DATA:
        raise TableError(
            "the table has rows deleted by another engine through delete files, which lakecat does not read",
            where=Where(manifest.manifest_path),
            hint="rewrite the data files with that engine, so that no delete files are left",
        )
    data = store.read(manifest.manifest_path)
    if len(data) != manifest.manifest_length:
        raise CorruptFileError(
            f"the manifest has {len(data)} bytes, its manifest list says {manifest.manifest_length}",
            where=Where(manifest.manifest_path),
        )
    try:
        entries = _decode(manifest, data)
    except Exception as err:  # PyIceberg's Avro decoder raises whatever it stumbles over
        raise CorruptFileError("the manifest cannot be read", where=Where(manifest.manifest_path)) from err
    return entries if keep is None else [entry for entry in entries if keep(entry)]


def read_all_entries(
    store: LakeStore,
    manifests: Sequence[ManifestFile],
    keep: Callable[[ManifestEntry], bool] | None = None,
) -> list[list[ManifestEntry]]:
    """``read_entries`` of several manifests, in their order; side by side where the store is far away."""
    if len(manifests) < 2 or store.url.startswith("file:"):
        return [read_entries(store, manifest, keep) for manifest in manifests]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda manifest: read_entries(store, manifest, keep), manifests))


def _decode(manifest: ManifestFile, data: bytes) -> list[ManifestEntry]:
    with AvroFile[ManifestEntry](
        MemoryInput(manifest.manifest_path, data),
        MANIFEST_ENTRY_SCHEMAS[2],
        read_types={-1: ManifestEntry, 2: DataFile},
        read_enums={0: ManifestEntryStatus, 101: FileFormat, 134: DataFileContent},
    ) as reader:
        return [_inherit(entry, manifest) for entry in reader if entry.status != ManifestEntryStatus.DELETED]


def _inherit(entry: ManifestEntry, manifest: ManifestFile) -> ManifestEntry:
    """Fill in what an entry takes from its manifest (specification, "Sequence Number Inheritance")."""
    if entry.snapshot_id is None and manifest.added_snapshot_id is not None:
        entry.snapshot_id = manifest.added_snapshot_id
    fresh = manifest.sequence_number == 0 or entry.status == ManifestEntryStatus.ADDED
    if entry.sequence_number is None and fresh:
        entry.sequence_number = manifest.sequence_number
    if entry.file_sequence_number is None and fresh:
        entry.file_sequence_number = manifest.sequence_number
    entry.data_file.spec_id = manifest.partition_spec_id
    return entry


class _Blocks(AvroOutputFile[ManifestEntry]):
    """PyIceberg writes one Avro block for each entry; this collects a few hundred, which compress far better."""

    _pending: list[ManifestEntry]

    def __enter__(self) -> Self:
        self._pending = []
        super().__enter__()
        return self

    def write_block(self, objects: list[ManifestEntry]) -> None:
        self._pending.extend(objects)
        if len(self._pending) >= _BLOCK:
            self._flush()

    def __exit__(
        self, exctype: type[BaseException] | None, excinst: BaseException | None, exctb: TracebackType | None
    ) -> None:
        if self._pending:
            self._flush()
        super().__exit__(exctype, excinst, exctb)

    def _flush(self) -> None:
        super().write_block(self._pending)
        self._pending = []


class _Writer(ManifestWriterV2):
    def new_writer(self) -> AvroOutputFile[ManifestEntry]:
        return _Blocks(
            output_file=self._output_file,
            file_schema=self._with_partition(2),
            record_schema=self._with_partition(2),
            schema_name="manifest_entry",
            metadata=self._meta,
        )


@dataclass(slots=True, kw_only=True)
class ManifestBuilder:
    """Makes the manifests of one snapshot; ``files`` holds their bytes until somebody writes them."""

    prefix: str
    uuid: str
    snapshot_id: int
    schema: Schema
    specs: Callable[[int], PartitionSpec]
    files: dict[str, bytes] = field(default_factory=dict)

    def add(self, spec_id: int, added: Iterable[DataFile]) -> ManifestFile:
        """A manifest of new files."""
        entries = [
            ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, snapshot_id=self.snapshot_id, data_file=file)
            for file in added
        ]
        return self.write(spec_id, entries)

    def write(self, spec_id: int, entries: Iterable[ManifestEntry]) -> ManifestFile:
        """A manifest of entries as they are."""
        output = MemoryOutput(f"{self.prefix}/{self.uuid}-m{len(self.files)}.avro")
        with _Writer(self.specs(spec_id), self.schema, output, self.snapshot_id, CODEC) as writer:
            for entry in entries:
                writer.add_entry(entry)
        manifest = writer.to_manifest_file()
        self.files[output.location] = output.data
        return manifest

    def write_list(self, manifests: Sequence[ManifestFile], parent: int | None, sequence_number: int) -> str:
        """The manifest list; answers its location."""
        output = MemoryOutput(f"{self.prefix}/snap-{self.snapshot_id}-{self.uuid}.avro")
        with write_manifest_list(2, output, self.snapshot_id, parent, sequence_number, CODEC) as writer:
            if manifests:
                writer.add_manifests(list(manifests))
        self.files[output.location] = output.data
        return output.location


def existing(entry: ManifestEntry) -> ManifestEntry:
    """The entry as it stands in a later snapshot's manifest."""
    return _entry(ManifestEntryStatus.EXISTING, entry.snapshot_id, entry)


def deleted(entry: ManifestEntry, snapshot_id: int) -> ManifestEntry:
    """The entry as it stands in the manifest of the snapshot that removed it."""
    return _entry(ManifestEntryStatus.DELETED, snapshot_id, entry)


def _entry(status: ManifestEntryStatus, snapshot_id: int | None, entry: ManifestEntry) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=status,
        snapshot_id=snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=entry.data_file,
    )


def live_files(manifest: ManifestFile) -> int:
    """How many files of a manifest are in its snapshot."""
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def live_rows(manifest: ManifestFile) -> int:
    """How many rows of a manifest are in its snapshot."""
    return (manifest.added_rows_count or 0) + (manifest.existing_rows_count or 0)
