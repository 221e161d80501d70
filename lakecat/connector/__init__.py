"""The connector protocol: what a source of rows offers, and what lakecat hands it. See docs/writing-connectors.md."""

from lakecat.connector.authoring import RowsConnector, RowsStream, stream
from lakecat.connector.options import Secret
from lakecat.connector.protocol import (
    REJECTED,
    Connector,
    ConnectorContext,
    Cursor,
    KeyedReader,
    Nulls,
    ReadOptions,
    ReadSummary,
    SettlingConnector,
    Slice,
    SliceReader,
    Stream,
    StreamRequest,
    StreamState,
    type_name,
)
from lakecat.connector.rows import rows_reader

__all__ = [
    "REJECTED",
    "Connector",
    "ConnectorContext",
    "Cursor",
    "KeyedReader",
    "Nulls",
    "ReadOptions",
    "ReadSummary",
    "RowsConnector",
    "RowsStream",
    "Secret",
    "SettlingConnector",
    "Slice",
    "SliceReader",
    "Stream",
    "StreamRequest",
    "StreamState",
    "rows_reader",
    "stream",
    "type_name",
]
