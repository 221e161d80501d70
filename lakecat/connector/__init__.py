"""The connector protocol: what a source of rows offers, and what lakecat hands it. See docs/writing-connectors.md."""

from lakecat.connector.protocol import (
    REJECTED,
    Connector,
    ConnectorContext,
    Cursor,
    KeyedReader,
    Nulls,
    ReadOptions,
    ReadSummary,
    Slice,
    SliceReader,
    Stream,
    StreamRequest,
    StreamState,
    type_name,
)

__all__ = [
    "REJECTED",
    "Connector",
    "ConnectorContext",
    "Cursor",
    "KeyedReader",
    "Nulls",
    "ReadOptions",
    "ReadSummary",
    "Slice",
    "SliceReader",
    "Stream",
    "StreamRequest",
    "StreamState",
    "type_name",
]
