"""ML Metadata's Python interface over lakecat's catalog, for code that was written for ``ml-metadata``.

::

    from lakecat.catalog import mlmd              # was: import ml_metadata as mlmd
    from ml_metadata.proto import metadata_store_pb2

    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = "catalog.db"
    store = mlmd.MetadataStore(config)

It needs the package ``ml-metadata`` for its protobuf messages and errors; its native library opens no database.
"""

from lakecat.catalog.mlmd.protos import errors, pb
from lakecat.catalog.mlmd.store import ListOptions, MetadataStore, OrderByField, downgrade_schema

__all__ = ["ListOptions", "MetadataStore", "OrderByField", "downgrade_schema", "errors", "pb"]
