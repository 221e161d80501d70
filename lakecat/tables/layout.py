"""Where the files of a table lie.

::

    <location>/data/<execution>/…                                data files of one execution
    <location>/metadata/<execution>/<version>-<uuid>.metadata.json   table metadata, as other Iceberg catalogs name it
    <location>/metadata/<execution>/<version>-<uuid>.lakecat.json    the commit's sidecar
    <location>/metadata/<execution>/<version>-<uuid>.lakecat.committed   its receipt: the commit has happened
    <location>/metadata/<execution>/<uuid>-m<n>.avro                 manifests
    <location>/metadata/<execution>/snap-<snapshot>-<uuid>.avro      manifest list

Everything that an execution writes lies in its two folders, so that garbage collection decides by execution alone.
"""

from __future__ import annotations

import re
from typing import Final

from lakecat.types import DatasetName

METADATA_SUFFIX: Final = ".metadata.json"
SIDECAR_SUFFIX: Final = ".lakecat.json"
RECEIPT_SUFFIX: Final = ".lakecat.committed"
_UUID: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WRITTEN: Final = re.compile(
    rf"data/{_UUID}/{_UUID}\.parquet|metadata/{_UUID}/(?:\d{{5,}}-{_UUID}\.(?:metadata|lakecat)\.json"
    rf"|{_UUID}-m\d+\.avro|snap-\d+-{_UUID}\.avro)"
)
_VERSION: Final = re.compile(r"(\d+)-[0-9A-Za-z-]+\.metadata\.json\Z")


def table_location(root: str, dataset: DatasetName) -> str:
    """The folder of a dataset's table under a lake's root."""
    return f"{root}/{dataset.namespace}/{dataset.name}"


def data_prefix(location: str, execution: str) -> str:
    """The folder of one execution's data files."""
    return f"{location}/data/{execution}"


def metadata_prefix(location: str, execution: str | None) -> str:
    """The folder of one execution's metadata, manifests and sidecar."""
    return f"{location}/metadata" if execution is None else f"{location}/metadata/{execution}"


def metadata_location(prefix: str, version: int, uuid: str) -> str:
    """The table metadata file of one commit."""
    return f"{prefix}/{version:05d}-{uuid}{METADATA_SUFFIX}"


def sidecar_location(metadata: str) -> str:
    """The sidecar beside a metadata file."""
    return metadata.removesuffix(METADATA_SUFFIX) + SIDECAR_SUFFIX


def receipt_location(metadata: str) -> str:
    """The receipt of the commit that published a metadata file: an empty file, left once the commit has happened."""
    return metadata.removesuffix(METADATA_SUFFIX) + RECEIPT_SUFFIX


def is_written_by_execution(table: str, location: str) -> bool:
    """Whether a file in a table's folder has a name as an execution gives it; receipts, which come after it, do not."""
    return location.startswith(table + "/") and _WRITTEN.fullmatch(location[len(table) + 1 :]) is not None


def metadata_version(location: str | None) -> int:
    """The number in a metadata file's name; -1 when there is none."""
    match = _VERSION.search(location or "")
    return int(match.group(1)) if match else -1
