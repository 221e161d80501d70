"""The part of the facade that takes in what other programs recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lakecat.catalog import Catalog
    from lakecat.catalog.adopt import Adoption
    from lakecat.catalog.mlmd_import import ImportReport
    from lakecat.config import Settings
    from lakecat.lake.openlineage_import import OnProgress, OpenLineageReport


class _Imported(Protocol):
    """What imports need of a lake."""

    _environ: Mapping[str, str]

    def close(self) -> None: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def catalog(self) -> Catalog: ...


class Importing:
    """The part of :class:`lakecat.lake.Lake` that imports into the catalog."""

    def import_openlineage(
        self: _Imported,
        files: str | Path | Iterable[str | Path],
        *,
        strict: bool = False,
        namespaces: Iterable[str] = (),
        on_progress: OnProgress | None = None,
    ) -> OpenLineageReport:
        """Import OpenLineage events; what was imported before is not added again.

        Args:
            files: files of JSON lines, also gzipped; ``-`` is the standard input.
            strict: all or nothing, in one transaction; else what is wrong is left out and told in the report.
            namespaces: whose datasets are lakecat's own: an OpenLineage namespace whose datasets' names end in
                ``namespace.name``, or ``THEIRS=ours`` where only their last part counts.
            on_progress: gets a file's name, how many of its lines are done, and None.

        Raises:
            NotFoundError: a file is not there.
            SourceError: a file cannot be read to its end; what came before is imported.
            ParseError: with ``strict``, the first line that is wrong.
        """
        from lakecat.lake.openlineage_import import import_openlineage

        given = [files] if isinstance(files, str | Path) else files
        return import_openlineage(self.catalog, given, strict=strict, namespaces=namespaces, on_progress=on_progress)

    def import_mlmd(
        self: _Imported,
        source: str | Path,
        *,
        origin: str | None = None,
        prefix: str = "",
        password: str | None = None,
        apply: bool = True,
        on_progress: Callable[[str, int, int | None], None] | None = None,
    ) -> ImportReport:
        """Copy a database of ML Metadata's (schema 10) into the catalog; the database itself stays as it is.

        Args:
            source: its URL, or the path of its SQLite file.
            origin: its name in the catalog, by which the next import knows what came in before; its URL when absent.
            prefix: put before its names and external ids, where some of them are taken here.
            password: the URL's, where the URL has none.
            apply: without it nothing is written: the report says what would come in.
            on_progress: gets what is copied, how much of it, and None.

        Raises:
            TypeConflictError: types contradict the catalog's; nothing was written.
            NameTakenError: names are taken in the catalog; nothing was written.
            CatalogVersionError: it is not ML Metadata's database (ForeignDatabaseError), or has another schema.
            CatalogUnavailableError: it cannot be read.
        """
        from lakecat.catalog.mlmd_import import import_mlmd, source_url

        url = source_url(source)
        if password is not None:
            url = url.set(password=password)
        shown = on_progress
        return import_mlmd(
            self.catalog.database,
            url,
            origin=origin,
            prefix=prefix,
            apply=apply,
            on_progress=(lambda what, done: shown(what, done, None)) if shown else (lambda _what, _done: None),
        )

    def adopt_mlmd(self: _Imported, *, apply: bool = False) -> Adoption:
        """Make the database that the project names as its catalog, and that is ML Metadata's, a lakecat catalog.

        Nothing moves, ids stay, and ml-metadata can open it afterwards, too. Without ``apply`` nothing is changed:
        the report says what would be.

        Raises:
            CatalogVersionError: it is a catalog already, not ML Metadata's (ForeignDatabaseError), or has another
                schema than 10.
            CatalogUnavailableError: it cannot be opened.
        """
        from lakecat.catalog.adopt import adopt_database, inspect_database

        self.close()
        url = self.settings.catalog_url(self._environ)
        return adopt_database(url) if apply else inspect_database(url)
