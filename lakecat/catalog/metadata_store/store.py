"""The metadata store: ML Metadata's whole model behind one class."""

from __future__ import annotations

from typing import Self

from sqlalchemy.engine import URL

from lakecat.catalog import opening
from lakecat.catalog.metadata_store.combined import CombinedMethods
from lakecat.catalog.metadata_store.getting import GetMethods
from lakecat.catalog.metadata_store.nodes import NodeMethods
from lakecat.catalog.metadata_store.paging import PagingMethods
from lakecat.catalog.metadata_store.purge import PurgeMethods
from lakecat.catalog.metadata_store.relations import RelationMethods
from lakecat.catalog.metadata_store.subgraph import LineageMethods
from lakecat.catalog.metadata_store.type_loading import TypeFileMethods


class MetadataStore(
    TypeFileMethods,
    NodeMethods,
    GetMethods,
    PagingMethods,
    RelationMethods,
    CombinedMethods,
    LineageMethods,
    PurgeMethods,
):
    """Types, artifacts, executions, contexts and what joins them; the names and meanings are ML Metadata's.

    Safe to use from several threads. Every method raises CatalogError where the database does not do what it should,
    and MetadataError (a CatalogError), which has the field and the value, where what it is given is wrong.
    """

    @classmethod
    def open(cls, url: str | URL, *, create: bool = False, adopt: bool = False) -> Self:
        """Open the catalog at ``url``; ``create`` makes it, ``adopt`` makes ML Metadata's own database one.

        Raises ConfigError, CatalogUnavailableError, CatalogVersionError.
        """
        return cls(opening.open_database(url, create=create, adopt=adopt))

    @classmethod
    def in_memory(cls) -> Self:
        """An empty store that is gone when it is closed; for experiments and tests."""
        return cls(opening.open_in_memory())

    def close(self) -> None:
        """Close all connections; safe to call twice."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
