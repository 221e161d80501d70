"""A server that goes away while types are put together: all of them are there, or none; or it is said to be unknown."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from fault_proxy import Proxy
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.catalog.enums import PropertyType
from lakecat.catalog.metadata_store.type_loading import TypeFileMethods
from lakecat.catalog.metadata_store.values import ArtifactType
from lakecat.errors import CatalogReadOnlyError, CatalogUnavailableError, CommitUnknownError

COUNT = 5


def some(word: str) -> list[ArtifactType]:
    properties = {"accuracy": PropertyType.DOUBLE, "note": PropertyType.STRING, "blob": PropertyType.PROTO}
    return [ArtifactType(name=f"{word} {n}", description="d" * 50, properties=properties) for n in range(COUNT)]


def counts(catalog: Catalog, word: str) -> tuple[int, int]:
    """Types whose names begin so, and their properties."""
    with catalog.database.reading() as connection:
        mine = sa.select(s.type_.c.id).where(s.type_.c.name.like(f"{word} %"))
        types = connection.execute(sa.select(sa.func.count()).select_from(mine.subquery())).scalar_one()
        properties = connection.execute(
            sa.select(sa.func.count()).where(s.type_property.c.type_id.in_(mine))
        ).scalar_one()
    return types, properties


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_is_put_together_is_there_whole_and_once_or_not_at_all(server_url: URL, proxy: Proxy, way: str):
    whole, nothing = (COUNT, 3 * COUNT), (0, 0)
    with (
        Catalog.open(server_url, create=True) as direct,
        Catalog.open(server_url.set(port=proxy.port)) as through,
    ):
        store = TypeFileMethods(through.database)
        store.put_types(some("first"))
        assert counts(direct, "first") == whole
        for number, count in enumerate(range(0, 8000 if way == "up" else 2500, 167)):
            word = f"n{number}"
            proxy.cut_after(way, count)
            try:
                store.put_types(some(word))
            except CommitUnknownError:
                wanted = [whole, nothing]
            except CatalogUnavailableError:
                wanted = [nothing]
            else:
                wanted = [whole]
            proxy.heal()
            assert counts(direct, word) in wanted, count
            store.put_types(some(word))
            assert counts(direct, word) == whole
        assert proxy.cuts > 5


def test_a_user_who_may_only_read(postgres_url: URL):
    with Catalog.open(postgres_url, create=True) as catalog:
        ids = TypeFileMethods(catalog.database).put_types(some("first"))
        with catalog.database.writing() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {postgres_url.database} SET default_transaction_read_only = on")
            connection.commit()
    with Catalog.open(postgres_url) as catalog:
        store = TypeFileMethods(catalog.database)
        assert store.get_artifact_type("first 0").id == ids[0]
        with pytest.raises(CatalogReadOnlyError):
            store.put_types(some("second"))
        with pytest.raises(CatalogReadOnlyError):
            store.put_artifact_type(some("second")[0])
        assert store.put_types(some("first")) == ids, "what is there already is not written"
