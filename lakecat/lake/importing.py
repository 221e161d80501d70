"""The part of the facade that takes in what other programs recorded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from lakecat.catalog import Catalog
    from lakecat.lake.openlineage_import import OnProgress, OpenLineageReport


class _Imported(Protocol):
    """What imports need of a lake."""

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
