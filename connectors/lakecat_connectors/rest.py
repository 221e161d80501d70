"""The ``rest`` connector: HTTP APIs with JSON answers, declared in the job; see docs/connectors-rest.md."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from lakecat.connector import (
    ConnectorContext,
    ReadOptions,
    Slice,
    SliceReader,
    Stream,
    StreamRequest,
    StreamState,
)
from lakecat.connector.options import did_you_mean
from lakecat.errors import ConfigError, LakecatError, UsageError, Where
from lakecat.types import Json, WriteMode
from lakecat_connectors._rest_address import Resolve, resolve
from lakecat_connectors._rest_fetch import Fetcher
from lakecat_connectors._rest_http import Http
from lakecat_connectors._rest_options import RestOptions, parse_options, resource_with
from lakecat_connectors._rest_pace import Times
from lakecat_connectors._rest_plan import Asked, Desk, Incremental, Planned, plan_whole
from lakecat_connectors._rest_rows import RestReader
from lakecat_connectors._rest_secrets import Secrets
from lakecat_connectors._rest_spool import Spool


class Rest:
    """Reads REST APIs; see docs/connectors-rest.md for its options."""

    def __init__(
        self,
        options: RestOptions,
        context: ConnectorContext,
        times: Times,
        resolver: Resolve = resolve,
    ) -> None:
        """Fetch the secrets. Raises ConfigError."""
        self._options = options
        self._secrets = Secrets(context.secret)
        self._http = Http(options, self._secrets, context.root, times, resolver)
        self._fetcher = Fetcher(options, self._http, self._secrets)
        self._desk = Desk(fetcher=self._fetcher, new_spool=self._new_spool, keep=self._keep, clock=times.clock)
        self._numbers = itertools.count(1)
        self._planned: dict[str, Planned] = {}
        self._spools: list[Spool] = []
        self._lock = threading.Lock()

    @classmethod
    def open(cls, options: Mapping[str, Json], context: ConnectorContext) -> Rest:
        """Validate the options and fetch the secrets; connects later. Raises ConfigError naming the option."""
        times = Times(context.clock, time.monotonic, time.sleep, random.random)
        return cls(parse_options(options), context, times)

    def discover(self) -> Sequence[Stream]:
        """The resources that the job declares; only reading them shows their columns."""
        return tuple(
            Stream(
                name=name,
                uri=self._fetcher.uri(resource),
                key=tuple(resource.primary_key),
                description=resource.description,
            )
            for name, resource in self._options.resources.items()
        )

    def plan(self, request: StreamRequest, state: StreamState) -> Iterable[Slice]:
        """What is new, fetched to a temporary file. Raises ConfigError for what cannot be meant, SourceError."""
        with self._hiding():
            asked = self._ask(request)
            if request.cursor is None or not request.incremental:
                self._refuse_append(asked)
                return plan_whole(self._desk, asked, state)
            if request.mode is WriteMode.REPLACE_PARTITIONS:
                raise ConfigError(
                    f"mode replace_partitions and cursor: do not go together for {asked.name}: what is new may be only "
                    "a part of a partition",
                    hint="use mode: merge",
                )
            return self._hidden(Incremental(self._desk, asked, request.cursor, state).slices())

    def read(self, slice_: Slice, options: ReadOptions) -> SliceReader:
        """Read what was fetched. Raises SourceError."""
        planned = self._planned.get(str(slice_.payload.get("spool")))
        if planned is None:
            raise UsageError("a slice is read by the connector that planned it")
        if options.keys and planned.asked.request.cursor is not None:
            raise ConfigError(
                "deletes: absent needs all keys that the source has, and cursor: asks only for what is new",
                hint="leave cursor: out, or say deletes: {flag: column}",
            )
        with self._hiding():
            return RestReader(planned.spool, planned.asked.uri, planned.position, options, self._secrets.hide)

    def close(self) -> None:
        """Close the connections and remove what was fetched."""
        self._http.close()
        with self._lock:
            self._planned.clear()
            for spool in self._spools:
                spool.delete()
            self._spools.clear()

    def _ask(self, request: StreamRequest) -> Asked:
        resources = self._options.resources
        name = request.name
        if name is None:
            if len(resources) > 1:
                raise ConfigError(
                    "rest connector: which resource? The job names none",
                    hint=f"say streams: [{', '.join(resources)}], or stream: with one of them",
                )
            name = next(iter(resources))
        if name not in resources:
            raise ConfigError(
                f"rest connector: there is no resource {name!r}",
                hint=did_you_mean(name, resources) or f"there are {', '.join(resources)}",
            )
        resource = resource_with(resources[name], request.options)
        return Asked(name=name, resource=resource, request=request, uri=self._fetcher.uri(resource))

    def _refuse_append(self, asked: Asked) -> None:
        if asked.request.mode is WriteMode.APPEND:
            raise ConfigError(
                f"mode append needs cursor: for {asked.name}; without one all of its rows would come at every run",
                hint="name a column that grows under cursor:, or use mode: replace or merge",
            )

    def _new_spool(self, asked: Asked) -> Spool:
        with self._lock:
            spool = Spool(asked.key)
            self._spools.append(spool)
            return spool

    def _keep(self, planned: Planned) -> str:
        with self._lock:
            name = str(next(self._numbers))
            self._planned[name] = planned
        return name

    def _hidden(self, slices: Iterator[Slice]) -> Iterator[Slice]:
        while True:
            with self._hiding():
                slice_ = next(slices, None)
            if slice_ is None:
                return
            yield slice_

    @contextmanager
    def _hiding(self) -> Iterator[None]:
        """Take secrets out of errors on their way out, wherever they came from (an API may repeat what it was sent)."""
        try:
            yield
        except LakecatError as err:
            err.what = self._secrets.hide(err.what)
            err.args = (err.what,)
            err.hint = None if err.hint is None else self._secrets.hide(err.hint)
            if err.where is not None:
                err.where = Where(self._secrets.hide(err.where.file), err.where.line, err.where.column)
            raise


__all__ = ["Rest"]
