"""Object stores, a page of their listings at a time: S3, Google Cloud Storage, Azure Blob Storage."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from fsspec.asyn import sync

from lakecat_connectors._walking import has_magic, matcher

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing: objects as fsspec describes them, their ``name`` the key, and the folders beside them."""

    objects: Sequence[Mapping[str, Any]]
    folders: Sequence[str]


Pages = Callable[[str, str, str], Iterator[Page]]
"""From bucket, prefix and delimiter to the pages of the listing."""


def objects(pages: Pages, pattern: str) -> Iterator[Mapping[str, Any]]:
    """The objects that match ``bucket/key``.

    Folders are gone into level by level, so that none is listed that cannot hold a match.
    """
    bucket, _, key = pattern.partition("/")
    for found in _keys(pages, bucket, "", key.split("/")):
        yield {**found, "name": f"{bucket}/{found['name']}", "type": "file"}


def _keys(pages: Pages, bucket: str, prefix: str, parts: list[str]) -> Iterator[Mapping[str, Any]]:
    while len(parts) > 1 and not has_magic(parts[0]):
        prefix, parts = f"{prefix}{parts[0]}/", parts[1:]
    head, *rest = parts
    literal = re.split(r"[*?\[]", head, maxsplit=1)[0]
    match = matcher(head).match
    if "**" in head:
        whole = matcher(prefix + "/".join(parts)).match
        for page in pages(bucket, prefix, ""):
            yield from (one for one in page.objects if whole(one["name"]) and not one["name"].endswith("/"))
        return
    for page in pages(bucket, prefix + literal, "/"):
        if not rest:
            yield from (one for one in page.objects if match(one["name"][len(prefix) :]))
            continue
        for folder in page.folders:
            if match(folder[len(prefix) : -1]):
                yield from _keys(pages, bucket, folder, rest)


def pages_of(filesystem: Any, scheme: str) -> Pages | None:
    """How a store of this scheme is listed; None where it is no object store."""
    makers: Mapping[str, Callable[..., Iterator[Page]]] = {"s3": _s3, "gs": _google, "az": _azure}
    make = makers.get(scheme)
    return None if make is None else lambda bucket, prefix, delimiter: make(filesystem, bucket, prefix, delimiter)


def _s3(filesystem: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[Page]:
    more: dict[str, Any] = {}
    while True:
        page = filesystem.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter=delimiter, MaxKeys=PAGE, **more
        )
        found = [
            {"name": one["Key"], "size": one["Size"], "ETag": one.get("ETag"), "LastModified": one.get("LastModified")}
            for one in page.get("Contents", ())
        ]
        yield Page(found, [one["Prefix"] for one in page.get("CommonPrefixes", ())])
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _google(filesystem: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[Page]:
    """The JSON API's objects.list (cloud.google.com/storage/docs/json_api/v1/objects/list)."""
    more: dict[str, Any] = {}
    while True:
        page = filesystem.call(
            "GET",
            "b/{}/o",
            bucket,
            json_out=True,
            prefix=prefix,
            **({"delimiter": delimiter} if delimiter else {}),
            maxResults=PAGE,
            **more,
        )
        yield Page([google_info(one) for one in page.get("items", ())], page.get("prefixes", ()))
        if not page.get("nextPageToken"):
            return
        more = {"pageToken": page["nextPageToken"]}


def google_info(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """An object as the listing describes it. What changes with its bytes, and with nothing else, is the generation."""
    moment = str(metadata.get("timeCreated", ""))
    return {
        "name": metadata["name"],
        "size": int(metadata["size"]),
        "ETag": str(metadata["generation"]),
        "LastModified": datetime.fromisoformat(moment) if moment else None,
    }


def _azure(filesystem: Any, bucket: str, prefix: str, delimiter: str) -> Iterator[Page]:
    """List Blobs (learn.microsoft.com/rest/api/storageservices/list-blobs)."""
    container = filesystem.service_client.get_container_client(bucket)
    ask = {"name_starts_with": prefix or None, "results_per_page": PAGE, "include": ["metadata"]}
    found = container.walk_blobs(delimiter=delimiter, **ask) if delimiter else container.list_blobs(**ask)
    pages = found.by_page()
    while (page := sync(filesystem.loop, _next_page, pages)) is not None:
        blobs = [one for one in page if hasattr(one, "last_modified")]
        folders = [one.name for one in page if not hasattr(one, "last_modified")]
        yield Page([_azure_info(one) for one in blobs if not _is_marker(one)], folders)


async def _next_page(pages: Any) -> list[Any] | None:
    try:
        page = await anext(pages)
    except StopAsyncIteration:
        return None
    return [one async for one in page]


def _azure_info(blob: Any) -> dict[str, Any]:
    return {"name": blob.name, "size": blob.size, "ETag": blob.etag, "LastModified": blob.last_modified}


def _is_marker(blob: Any) -> bool:
    """Whether a blob only stands for a folder of the store's hierarchical namespace."""
    return bool((blob.metadata or {}).get("hdi_isfolder") == "true")
