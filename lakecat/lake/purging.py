"""The part of the facade that removes what is old from the catalog; and its use case."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from lakecat.errors import LakecatError, StoreUnavailableError, UsageError
from lakecat.types import Json

if TYPE_CHECKING:
    from lakecat.catalog import Catalog
    from lakecat.catalog.metadata_store.purge import OnProgress, PurgeKind, PurgeReport
    from lakecat.landing import Services
    from lakecat.store import LakeStore

LEASE: Final = "purge"


class _Purged(Protocol):
    """What a purge needs of a lake."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def store(self) -> LakeStore: ...

    @property
    def services(self) -> Services: ...


class Purging:
    """The part of :class:`lakecat.lake.Lake` that removes from the catalog what is old."""

    def purge(
        self: _Purged,
        kind: PurgeKind = "execution",
        *,
        filter_query: str | None = None,
        older_than: timedelta | str | None = None,
        keep_last: int | None = None,
        of_contexts: str | None = None,
        orphans: bool = False,
        apply: bool = False,
        on_progress: OnProgress | None = None,
    ) -> PurgeReport:
        """Find executions, artifacts, contexts or unused types to remove; with ``apply`` remove them.

        Versions of datasets, what explains them, and where they came from always stay; see ``PurgeReport.kept``.

        Args:
            kind: ``execution``, ``artifact``, ``context`` or ``type`` (those without nodes)
            filter_query: only what fits this filter, such as ``type = 'lakecat.Ingest' AND last_known_state = FAILED``
            older_than: only what nobody changed for so long: a timedelta, or text such as ``90d``
            keep_last: only executions that are not among the newest so many of any of their contexts
            of_contexts: a filter that says which contexts count for ``keep_last``
            orphans: also remove artifacts that are left without any event
            apply: without it nothing is changed; with it exactly that goes which goes by the answer without it, but
                for what came into use or was changed in between
            on_progress: gets what is removed, and how many of how many are done

        Raises:
            InvalidValueError: nothing says which to remove.
            FilterError: a filter is wrong.
            LeaseHeldError: another purge runs.
        """
        age, is_empty = _age(older_than), _Folders(self.store)

        store = self.catalog.metadata_store
        plan = store.plan_purge(
            kind, filter_query=filter_query, older_than=age, keep_last=keep_last, of_contexts=of_contexts,
            orphans=orphans, is_empty=is_empty,
        )  # fmt: skip
        if not apply:
            return plan.report
        # Planned before, the purge's own execution is not among those that it counts.
        return _recorded(self.services, lambda: store.carry_out(plan, on_progress=on_progress))


def _recorded(services: Services, purge: Callable[[], PurgeReport]) -> PurgeReport:
    """Purge as an execution of its own, so that the catalog says who removed what, and when."""
    from lakecat.landing import maintain

    def work(_held: object, _execution: object) -> tuple[PurgeReport, dict[str, Json]]:
        report = purge()
        return report, {"kind": report.kind, "removed": dict(report.removed), "kept": dict(report.kept)}

    return maintain(services, LEASE, work)


class _Folders:
    """Which folders of the lake are empty; each is asked for once."""

    def __init__(self, store: LakeStore) -> None:
        self._store = store
        self._known: dict[str, bool] = {}

    def __call__(self, prefix: str) -> bool:
        if prefix not in self._known:
            try:
                self._known[prefix] = next(iter(self._store.list(prefix)), None) is None
            except StoreUnavailableError:
                raise
            except LakecatError:  # it lies outside of this lake
                self._known[prefix] = False
        return self._known[prefix]


def _age(older_than: timedelta | str | None) -> timedelta | None:
    if not isinstance(older_than, str):
        return older_than
    from lakecat.config.values import parse_duration

    try:
        age = parse_duration(older_than)
    except (ValueError, OverflowError) as err:
        raise UsageError(f"older_than: {err}") from err
    if not isinstance(age, timedelta):
        raise AssertionError(age)
    return age
