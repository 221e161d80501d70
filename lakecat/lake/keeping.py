"""Care of the catalog: back it up, restore it, make it again from the lake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from lakecat.catalog import restored
from lakecat.errors import LakecatError

if TYPE_CHECKING:
    from lakecat.catalog import Catalog
    from lakecat.catalog.backup import Manifest
    from lakecat.catalog.restore import Restored
    from lakecat.landing import Services
    from lakecat.rebuild import RebuildReport
    from lakecat.store import LakeStore

    OnProgress = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a restore did, and how the catalog compares with the lake after it.

    ``lake`` is None where the lake was not looked at: nothing was restored, or it does not answer (``error``).
    ``ready``: they agree. If not, the catalog can be read, and is written to again once ``rebuild`` has caught up.
    """

    restored: Restored
    lake: RebuildReport | None = None
    error: LakecatError | None = None

    @property
    def ready(self) -> bool:
        """Whether work can go on."""
        return self.lake is not None and _agrees(self.lake)


class _Kept(Protocol):
    """What care of the catalog needs of a lake."""

    _clock: Callable[[], datetime]

    def close(self) -> None: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def store(self) -> LakeStore: ...

    @property
    def services(self) -> Services: ...


class Keeping:
    """The part of :class:`lakecat.lake.Lake` that takes care of the catalog."""

    def backup(self: _Kept, path: Path | str, *, replace: bool = False, check: bool = False) -> Manifest:
        """Write the whole catalog, as it is at one moment, into one file that any database can be restored from.

        Others may go on writing. With ``check`` an existing backup is read and compared with its own manifest instead.

        Raises:
            UsageError: there is a file of that name, and ``replace`` is not given.
            CatalogError: the catalog cannot be read, or the file not be written; or it is damaged.
        """
        from lakecat.catalog.backup import check_backup, write_backup

        if check:
            return check_backup(Path(path))
        return write_backup(self.catalog.database, Path(path), now=self._clock(), replace=replace)

    def restore(self: _Kept, path: Path | str, *, replace: bool = False) -> RestoreReport:
        """Make the catalog what a backup holds, all or nothing, and compare it with the lake.

        A catalog that holds something is replaced only with ``replace``, and backed up beside ``path`` first.

        Raises:
            UsageError: there is no such file, or it is the backup of another lake's catalog.
            CatalogError: it is damaged, or of a newer lakecat; or the database cannot hold what is in it.
            LeaseHeldError: somebody works with the catalog.
        """
        from lakecat.catalog.restore import restore
        from lakecat.rebuild import rebuild

        done = restore(self.catalog.database, Path(path), now=self._clock(), replace=replace, lake=self.store.url)
        if not done.applied:
            return RestoreReport(restored=done)
        self.close()  # what this process has read of the catalog is not so any more
        try:
            found = rebuild(self.services)
        except LakecatError as err:
            return RestoreReport(restored=done, error=err)
        if _agrees(found):
            self.catalog.database.write(restored.settle)
        return RestoreReport(restored=done, lake=found)

    def rebuild(
        self: _Kept, *, apply: bool = False, heads: str | None = None, on_progress: OnProgress | None = None
    ) -> RebuildReport:
        """Find in the lake what the catalog lacks, and with ``apply`` record it: from nothing, or from a backup on.

        Args:
            apply: record it; without it nothing is changed.
            heads: what becomes of a table's last commit where the lake does not say whether it has happened:
                ``newest`` takes it, ``certain`` does not. Without it none is taken, and a restored catalog waits for
                the decision.
            on_progress: gets what is done, how much of it, and of how much.

        Raises:
            StoreError: the lake cannot be read.
            CatalogError: the catalog cannot be written.
        """
        from lakecat.rebuild import Heads, rebuild

        report = rebuild(self.services, apply=apply, heads=Heads(heads) if heads else None, on_progress=on_progress)
        if apply:
            self.close()
        return report


def _agrees(found: RebuildReport) -> bool:
    return not (found.missing or found.undecided or found.unreadable)
