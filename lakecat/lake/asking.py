"""Questions of the facade: which executions, what they did, what would break, where rows went, what happened when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from lakecat.lake import runs, tracing
from lakecat.lake.moments import parse_moment
from lakecat.types import DatasetName, ExecutionState

if TYPE_CHECKING:
    from lakecat.catalog import Catalog, ExecutionInfo
    from lakecat.config import Settings
    from lakecat.lake.asked import ExecutionComparison, ExecutionReport, FileTrace, History, Impact


class _Asked(Protocol):
    """What the questions need of a lake."""

    _clock: Callable[[], datetime]

    @property
    def catalog(self) -> Catalog: ...

    @property
    def settings(self) -> Settings: ...


class Asking:
    """The part of :class:`lakecat.lake.Lake` that answers questions out of the catalog. No data file is read."""

    def executions(
        self: _Asked,
        *,
        job: str | None = None,
        dataset: str | DatasetName | None = None,
        state: str | ExecutionState | None = None,
        type: str | None = None,  # noqa: A002 - the word that executions use themselves
        since: str | datetime | None = None,
        limit: int | None = 50,
    ) -> tuple[ExecutionInfo, ...]:
        """Executions that fit every filter, newest first.

        Args:
            job: the ingest job's or script's name.
            dataset: one that they were to write.
            state: ``running``, ``complete``, ``failed`` or ``canceled``.
            type: ``ingest``, ``transform``, ``maintenance`` or ``external``.
            since: those that began then or later: ``yesterday``, ``2h``, ``2026-11-01`` (UTC), or an aware time.
            limit: how many at most; None: all.

        Raises:
            UsageError: a filter cannot be read.
        """
        return self.catalog.executions(
            job=job,
            dataset=DatasetName.parse(dataset) if isinstance(dataset, str) else dataset,
            state=None if state is None else runs.execution_state(state),
            type_=None if type is None else runs.execution_type(type),
            since=parse_moment(since, self._clock()) if isinstance(since, str) else since,
            limit=limit,
        )

    def execution(self: _Asked, execution: int | str) -> ExecutionReport:
        """One execution in full: by id, by UUID (or how it begins), or by a version that it made.

        Raises NotFoundError, UsageError.
        """
        return runs.report(self.catalog, runs.find(self.catalog, str(execution)))

    def compare(self: _Asked, before: int | str, after: int | str) -> ExecutionComparison:
        """How two executions differ: script, parameters, inputs, outputs, columns, environment, amounts.

        Each is meant as in ``execution``. Raises NotFoundError, UsageError.
        """
        first, second = (runs.find(self.catalog, str(execution)) for execution in (before, after))
        return runs.compare(self.catalog, first, second)

    def impact(self: _Asked, target: str) -> Impact:
        """What is downstream of a column (``raw.orders.amount``) or dataset, by what holds now.

        ``raw.orders.amount@v3`` means the column that had this name then. Raises NotFoundError, SelectorError.
        """
        return tracing.impact(self.catalog, target)

    def where(self: _Asked, file: str) -> FileTrace:
        """Which versions a source's rows ended up in.

        ``file`` is a URI, a path (relative to the working folder or the project), or how a single source's URI ends.
        Raises NotFoundError, UsageError (several sources end so).
        """
        return tracing.where(self.catalog, self.settings.root, file)

    def history(self: _Asked, target: str, *, limit: int | None = 20) -> History:
        """The versions of a dataset, newest first, with what made them and how the columns changed.

        Of a column (``raw.orders.amount``) only the versions that added, changed or dropped it. Raises NotFoundError.
        """
        return tracing.history(self.catalog, target, limit=limit)
