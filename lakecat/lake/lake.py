"""The facade: everything the command line can do, from Python."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from lakecat.catalog import Catalog, DatasetInfo
from lakecat.config import Settings
from lakecat.lake import questions
from lakecat.lake.annotating import Annotating
from lakecat.lake.answers import Check, DatasetStatus, Description, Difference, Lineage
from lakecat.lake.asking import Asking
from lakecat.lake.differing import compare_contents
from lakecat.lake.discovering import Discovering
from lakecat.lake.holder import this_process
from lakecat.lake.importing import Importing
from lakecat.lake.keeping import Keeping
from lakecat.lake.project import Project
from lakecat.lake.purging import Purging
from lakecat.lake.selection import Selectors, select_datasets, texts_of
from lakecat.lake.working import Working
from lakecat.store import LakeStore
from lakecat.types import DatasetName, Version, VersionRef, WriteMode

if TYPE_CHECKING:
    import pyarrow as pa

    from lakecat.engines import Engine
    from lakecat.ingest import IngestResult
    from lakecat.lake.work import ArrowSource, OnProgress
    from lakecat.landing import Services
    from lakecat.maintenance import GcReport
    from lakecat.tables import ColumnChange


def connect(
    path: Path | str | None = None, *, profile: str | None = None, environ: Mapping[str, str] | None = None
) -> Lake:
    """Open a project.

    Args:
        path: its ``lakecat.yaml``, or the folder of it; without it the nearest one above the working folder.
        profile: one of the project's profiles; without it ``LAKECAT_PROFILE`` decides.
        environ: where ``env:`` secrets are looked up; the process's environment when absent.

    Raises:
        ConfigError: there is no project, or it is wrong; with file and line.
    """
    variables = os.environ if environ is None else environ
    return Lake(Project.open(path, profile=profile, environ=variables), environ=variables)


class Lake(Annotating, Asking, Discovering, Importing, Keeping, Purging, Working):
    """An open project. Use it as a context manager, or call ``close()``. Safe to use from several threads.

    Methods raise LakecatError and its children only. What takes ``select`` takes selectors: one text or several,
    ``raw.*``, ``+x``, ``x+``, ``2+x+1``, ``tag:pii``, ``owner:x``, ``col:x``.
    """

    def __init__(
        self,
        project: Project,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Take an opened project; use ``connect``."""
        self._project = project
        self._environ = environ
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalog's connections; safe to call twice."""
        if (catalog := self.__dict__.pop("catalog", None)) is not None:
            catalog.close()
        self.__dict__.pop("services", None)

    # what it is made of

    @property
    def settings(self) -> Settings:
        """The project's settings, with the profile applied."""
        return self._project.settings

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, for questions that the facade does not ask."""
        return Catalog.open(self.settings.catalog_url(self._environ), create=True)

    @cached_property
    def store(self) -> LakeStore:
        """The lake's bytes."""
        return LakeStore.open(self.settings.lake, self.settings.storage, environ=self._environ)

    @cached_property
    def services(self) -> Services:
        """What use cases work with."""
        from lakecat.landing import Services

        return Services(
            settings=self.settings,
            store=self.store,
            catalog=self.catalog,
            clock=self._clock,
            holder=this_process(),
            environ=self._environ,
        )

    @cached_property
    def engine(self) -> Engine:
        """The SQL engine."""
        from lakecat.transform.plan import engine_of

        return engine_of(self.services)

    # questions

    def datasets(self, select: Selectors = None, *, exclude: Selectors = None) -> tuple[DatasetInfo, ...]:
        """The datasets that have a version, by name."""
        infos = self._with_annotations(self.catalog.datasets())
        if not texts_of(select) and not texts_of(exclude):
            return infos
        names = [info.name for info in infos]
        chosen = select_datasets(
            names, self._project.scripts(), texts_of(select), texts_of(exclude), self.selection_attributes
        )
        return tuple(info for info in infos if info.name in chosen)

    def show(self, ref: str | VersionRef, *, history: int = 10) -> Description:
        """A dataset, or a version of it (``raw.orders@v7``), in full, with its newest ``history`` versions."""
        return questions.describe(self.catalog, self.store, _ref(ref), history=history)

    def diff(
        self,
        before: str | VersionRef,
        after: str | VersionRef | None = None,
        *,
        rows: bool = False,
        key: str | Iterable[str] = (),
        statistics: bool = False,
        sample: int = 10,
    ) -> Difference:
        """What changed from one version to another (the current one when ``after`` is absent), and whom it breaks.

        A dataset alone, ``raw.orders``, means the version before the current one, and the current one.

        With ``rows`` the rows are compared too, told apart by the columns of ``key`` where there is one, and up to
        ``sample`` of each side shown. ``statistics`` compares counts and bounds by column; no data file is read.
        """
        first = _ref(before)
        found = questions.differ(self.catalog, first, VersionRef(first.dataset) if after is None else _ref(after))
        return compare_contents(
            self.catalog,
            self.store,
            lambda: self.engine,
            found,
            rows=rows,
            key=texts_of(key),
            statistics=statistics,
            sample=sample,
        )

    def lineage(
        self,
        target: str,
        *,
        up: bool = True,
        direction: Literal["up", "down", "both"] | None = None,
        depth: int | None = None,
    ) -> Lineage:
        """Where a version or column (``mart.revenue.amount@v3``) came from, or with ``up=False`` what came of it.

        ``direction`` says it in a word, or asks for both. ``depth`` counts executions; all of them when absent.
        ``artifact:17`` and ``execution:5`` are nodes of the metadata store, whoever put them there.
        """
        return questions.trace(self.catalog, target, direction=direction or ("up" if up else "down"), depth=depth)

    def status(self, select: Selectors = None, *, exclude: Selectors = None) -> tuple[DatasetStatus, ...]:
        """How fresh each dataset is and how its last run ended; those too that are still to be filled first."""
        scripts = self._project.scripts()
        found = questions.status(self.catalog, self._project.jobs(), scripts, self._clock())
        names = [item.dataset for item in found]
        chosen = select_datasets(names, scripts, texts_of(select), texts_of(exclude), self.selection_attributes)
        return tuple(item for item in found if item.dataset in chosen)

    def sample(self, ref: str | VersionRef, rows: int = 10) -> pa.Table:
        """Some rows of a dataset, or of a version of it."""
        from lakecat.lake.querying import sample

        return sample(self.catalog, self.store, self.engine, _ref(ref), rows)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        dialect: str | None = None,
        catalog: bool = False,
    ) -> pa.Table:
        """The result of one SELECT. ``raw.orders@v7`` reads an old version; ``$name`` takes a parameter.

        With ``catalog`` it reads the catalog's views: ``SELECT * FROM executions WHERE state = 'FAILED'``.
        """
        with self.stream(sql, parameters, dialect=dialect, catalog=catalog) as reader:
            return reader.read_all()

    @contextmanager
    def stream(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        dialect: str | None = None,
        catalog: bool = False,
    ) -> Iterator[pa.RecordBatchReader]:
        """Like ``query``, in batches, for results that may be larger than memory."""
        language = dialect or self.settings.dialect
        if catalog:
            from lakecat.lake.catalog_sql import query_catalog

            with query_catalog(
                self.catalog, self.settings.engine, sql, dialect=language, now=self._clock(), parameters=parameters
            ) as reader:
                yield reader
            return
        from lakecat.lake.querying import run_query

        with run_query(self.catalog, self.store, self.engine, sql, dialect=language, parameters=parameters) as reader:
            yield reader

    def doctor(self, *, deep: bool = False) -> tuple[Check, ...]:
        """Look for anything wrong in project, store, catalog, engine and files; ``deep`` reads every file whole."""
        from lakecat.lake.checkup import examine

        return examine(self.services, self.engine, self._project, deep=deep)

    def gc(
        self,
        *,
        apply: bool = False,
        max_delete_fraction: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> GcReport:
        """Find files that no readable version needs and no execution will; with ``apply`` remove them.

        A dataset that would lose more than ``max_delete_fraction`` (0.5) of its bytes is left alone, and so is one
        that cannot be read whole: see ``GcReport.failures``. ``on_progress`` gets a dataset's name and how many of how
        many files are removed.
        """
        from lakecat.maintenance import collect_garbage

        return collect_garbage(
            self.services, apply=apply, max_delete_fraction=max_delete_fraction, on_progress=on_progress
        )

    # Arrow in

    def append(self, dataset: str | DatasetName, data: ArrowSource) -> IngestResult:
        """Add rows to a dataset, making it when it is new. ``data``: anything that speaks Arrow's PyCapsule."""
        from lakecat import ingest

        return ingest.append(self.services, _name(dataset), data)

    def replace(self, dataset: str | DatasetName, data: ArrowSource) -> IngestResult:
        """Make ``data`` all the rows of a dataset."""
        from lakecat import ingest

        return ingest.replace(self.services, _name(dataset), data)

    def merge(self, dataset: str | DatasetName, data: ArrowSource, *, key: Iterable[str]) -> IngestResult:
        """Update rows that agree in ``key``, insert the others."""
        from lakecat import ingest

        return ingest.merge(self.services, _name(dataset), data, key=tuple(key))

    def delete(self, dataset: str | DatasetName, data: ArrowSource, *, key: Iterable[str]) -> IngestResult:
        """Delete the rows that agree with a row of ``data`` in ``key``."""
        from lakecat import ingest

        return ingest.load(self.services, _name(dataset), data, mode=WriteMode.DELETE, key=tuple(key))

    def alter(self, dataset: str | DatasetName, *changes: ColumnChange) -> Version | None:
        """Change columns in order, all or none, in a new version; None when nothing changes. Data files stay.

        Changes are ``AddColumn``, ``RenameColumn``, ``WidenColumn``, ``MoveColumn`` and ``DropColumn`` of
        ``lakecat.tables``. Raises SchemaError.
        """
        from lakecat.alter import alter

        return alter(self.services, _name(dataset), changes)


def _ref(ref: str | VersionRef) -> VersionRef:
    return VersionRef.parse(ref) if isinstance(ref, str) else ref


def _name(name: str | DatasetName) -> DatasetName:
    return DatasetName.parse(name) if isinstance(name, str) else name
