"""ML Metadata's own modules, loaded where they are installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final


def _load(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as err:
        raise ModuleNotFoundError(
            "lakecat.catalog.mlmd takes and returns ML Metadata's protobuf objects, so it needs its package: "
            "pip install ml-metadata==1.17.1. Without it use lakecat.catalog.MetadataStore, which has the same methods",
            name=err.name,
        ) from err


pb: Final = _load("ml_metadata.proto.metadata_store_pb2")
"""The messages."""
service: Final = _load("ml_metadata.proto.metadata_store_service_pb2")
"""The requests; a request's fields check the types of arguments as MLMD's own client does."""
errors: Final = _load("ml_metadata.errors")
"""MLMD's exceptions."""
json_format: Final = _load("google.protobuf.json_format")
