"""The conformance suite of connectors: an author says how to fill a source, and gets the tests for nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pytest

from lakecat.connector import (
    REJECTED,
    Connector,
    ConnectorContext,
    KeyedReader,
    ReadOptions,
    Slice,
    Stream,
    StreamRequest,
)
from lakecat.errors import ConfigError, LakecatError, ParseError, SourceChangedError, SourceError, UsageError
from lakecat.testing.hooks import ConnectorHooks
from lakecat.testing.lab import (
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    MAX_POSITION,
    Landing,
    Rows,
    check,
    counted,
    difference,
    keys_in_another_process,
    parts_of,
    read,
    remembered,
    rows_of,
    secret_of,
)
from lakecat.types import Json, WriteMode

_NO_NAME: Final = "no_such_name_anywhere"


class ConnectorSuite(ConnectorHooks):
    """Subclass it in a test module, under a name that pytest collects, and write the hooks."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        """The filled source's folder."""
        folder = tmp_path / "source"
        folder.mkdir()
        self.fill(folder)
        return folder

    def open(self, root: Path, **more: Json) -> Connector:
        """An instance of the connector, as a run opens it."""
        opened: Connector = self.connector.open({**self.options(root), **more}, self.context(root))
        return opened

    def context(self, root: Path) -> ConnectorContext:
        """Where it is opened."""
        return ConnectorContext(
            root=root, storage=self.storage, secret=lambda reference: secret_of(self.secrets, reference)
        )

    def landing(self, request: StreamRequest) -> Landing:
        """A table without rows."""
        return Landing(appends=request.mode is WriteMode.APPEND)

    def everything(self, root: Path, request: StreamRequest) -> Rows:
        """All rows of a stream: as the author knows them, else as an unbroken load gives them."""
        known = self.truth(root, request)
        if known is not None:
            return counted(known)
        with closing(self.open(root)) as connector:
            landing = self.landing(request)
            landing.drain(connector, request)
            return landing.rows

    def first(self, connector: Connector, request: StreamRequest) -> Slice:
        """The first slice of a source that was never read."""
        found = next(iter(connector.plan(request, Landing().state)), None)
        if found is None:
            raise AssertionError(f"plan gives no slice of {request.name!r}, though the source holds rows")
        return found

    def test_an_unknown_option_is_refused_by_its_name(self, root: Path) -> None:
        """``open`` raises ConfigError that names the option."""
        self.open(root).close()
        with pytest.raises(ConfigError) as caught:
            self.open(root, **{_NO_NAME: 1}).close()
        check(_NO_NAME in str(caught.value), "the error for an unknown option must name it")

    def test_an_unknown_stream_is_refused(self, root: Path) -> None:
        """A stream that is not there is an error of lakecat's tree, not an empty table."""
        with closing(self.open(root)) as connector:
            names = {one.name for one in connector.discover()}
            if all(request.name is None for request in self.requests()):
                pytest.skip("the source has one stream, which jobs do not name")
            check(_NO_NAME not in names, "discover invents streams")
            with pytest.raises((UsageError, SourceError)):
                list(connector.plan(StreamRequest(name=_NO_NAME), Landing().state))

    def test_discovery_is_the_same_each_time(self, root: Path) -> None:
        """Two instances find the same streams, each with a name of its own, a URI and no secret."""
        found: list[list[Stream]] = []
        for _ in range(2):
            with closing(self.open(root)) as connector:
                found.append(list(connector.discover()))
        check(found[0] == found[1], "discover must give the same streams for the same source")
        names = [one.name for one in found[0]]
        check(len(set(names)) == len(names), f"stream names must differ: {names}")
        check(all(one.uri for one in found[0]), "every stream needs a uri, for lineage")
        self._no_secret(found)

    def test_discovery_agrees_with_the_data(self, root: Path) -> None:
        """Columns, types, keys and cursors that ``discover`` tells are among those that ``read`` gives."""
        with closing(self.open(root)) as connector:
            streams = {one.name: one for one in connector.discover()}
            for request in self.requests():
                found = next(iter(streams.values())) if request.name is None else streams[request.name]
                for slice_ in islice(connector.plan(request, Landing().state), 1):
                    schema, batches, _ = read(connector, slice_, ReadOptions())
                    self._agrees(found, schema, batches)

    def _agrees(self, stream: Stream, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
        if stream.schema is not None:
            told = {column.name: column.type for column in stream.schema}
            read_as = {column.name: column.type for column in schema}
            check(told.items() <= read_as.items(), f"discover tells {told}, read gives {read_as}")
        for name in (*stream.key, *stream.cursors):
            check(name in schema.names, f"discover names the column {name!r}, which read does not give")
        if stream.key:
            keys = [tuple(row[name] for name in stream.key) for batch in batches for row in batch.to_pylist()]
            check(len(set(keys)) == len(keys), f"the key {stream.key} is not unique in {stream.name!r}")
            check(not any(None in key for key in keys), f"the key {stream.key} is NULL in some row")

    def test_everything_arrives_as_it_is(self, root: Path) -> None:
        """The rows of all slices are the source's rows, values and NULLs unchanged."""
        for request in self.requests():
            with closing(self.open(root)) as connector:
                landing = self.landing(request)
                landing.drain(connector, request)
            check(landing.rows, f"the stream {request.name!r} gives no rows: fill() must make some")
            self._same(landing.rows, self.everything(root, request))

    def test_nothing_is_new_after_the_commit(self, root: Path) -> None:
        """What was committed is not planned again, by the same instance or another."""
        for request in self.requests():
            landing = self.landing(request)
            with closing(self.open(root)) as connector:
                landing.drain(connector, request)
                check(not list(connector.plan(request, landing.state)), "plan gives slices though nothing is new")
            with closing(self.open(root)) as connector:
                check(not list(connector.plan(request, landing.state)), "a new instance plans what was committed")

    def test_the_whole_source_is_one_slice(self, root: Path) -> None:
        """A request that is not incremental gives everything in one slice; nothing while the source is as it was."""
        for request in self.requests():
            whole = StreamRequest(name=request.name, mode=WriteMode.REPLACE, options=request.options)
            with closing(self.open(root)) as connector:
                landing = Landing(appends=False)
                slices = list(connector.plan(whole, landing.state))
                check(len(slices) == 1, f"mode replace needs one slice with everything, not {len(slices)}")
                landing.take(connector, slices[0])
                self._same(landing.rows, self.everything(root, request))
                if self.notices_unchanged:
                    check(not list(connector.plan(whole, landing.state)), "the source is as it was: plan no slice")

    def test_slice_keys_are_the_same_in_any_process(self, root: Path) -> None:
        """The run key depends on them: no ``hash()``, no addresses, no times of now."""
        requests = self.requests()
        with closing(self.open(root)) as connector:
            first = [self.first(connector, request).key for request in requests]
            check(first == [self.first(connector, request).key for request in requests], "planning again changes keys")
        others = keys_in_another_process(
            self.connector,
            self.options(root),
            root=root,
            storage=self.storage,
            secrets=self.secrets,
            requests=requests,
        )
        check(first == others, f"slice keys differ between processes: {first} and {others}")

    def test_a_slice_can_be_read_twice(self, root: Path) -> None:
        """A failed commit means reading again; the rows are the same, and so are those of a plan made anew."""
        for request in self.requests():
            with closing(self.open(root)) as connector:
                slice_ = self.first(connector, request)
                one = read(connector, slice_, ReadOptions())
                two = read(connector, slice_, ReadOptions())
            with closing(self.open(root)) as connector:
                three = read(connector, self.first(connector, request), ReadOptions())
            check(one[0] == two[0] == three[0], "reading a slice again gives other columns")
            self._same(rows_of(two[1]), rows_of(one[1]))
            self._same(rows_of(three[1]), rows_of(one[1]))

    def test_a_planned_slice_does_not_grow(self, root: Path) -> None:
        """A slice with a position of its own is closed: rows that come after ``plan`` belong to the next one."""
        for request in self.requests():
            with closing(self.open(root)) as connector:
                slice_ = self.first(connector, request)
                before = rows_of(read(connector, slice_, ReadOptions())[1])
            self.grow(root)
            with closing(self.open(root)) as connector:
                try:
                    _, batches, summary = read(connector, slice_, ReadOptions())
                except (SourceChangedError, UsageError):
                    continue  # what changed is told of, or the slice belongs to the instance that planned it
                if summary.position is None:
                    self._same(rows_of(batches), before)

    def test_batches_have_the_schema_and_are_bounded(self, root: Path) -> None:
        """Every batch has the reader's schema, and few enough rows and bytes."""
        for request in self.requests():
            with closing(self.open(root)) as connector:
                schema, batches, summary = read(connector, self.first(connector, request), ReadOptions())
            for batch in batches:
                check(batch.schema == schema, f"a batch has the columns {batch.schema}, the reader said {schema}")
                batch.validate(full=True)
                check(len(batch) <= MAX_BATCH_ROWS, f"a batch has {len(batch)} rows; about 65,536 are meant")
                check(batch.nbytes <= MAX_BATCH_BYTES, f"a batch has {batch.nbytes} bytes; about 32 MiB are meant")
            check(len(set(schema.names)) == len(schema.names), f"columns have one name: {schema.names}")
            check(summary.rows == sum(map(len, batches)), "the summary's rows are not those that were handed out")

    def test_the_summary_is_known_at_the_end_only(self, root: Path) -> None:
        """Before the last batch ``summary`` raises; after it, it tells the sources."""
        for request in self.requests():
            with (
                closing(self.open(root)) as connector,
                closing(connector.read(self.first(connector, request), ReadOptions())) as reader,
            ):
                with pytest.raises(LakecatError):
                    reader.summary()
                list(reader)
                summary = reader.summary()
                check(summary.sources, "the summary must tell the sources, for lineage")
                check(all(source.uri for source in summary.sources), "every source needs a uri")
                total = sum(source.rows for source in summary.sources)
                check(total == summary.rows, f"the sources have {total} rows together, the summary {summary.rows}")
                reader.close()

    def test_closing_twice_and_halfway(self, root: Path) -> None:
        """Readers and connectors can be closed twice, and a reader before its end; the next one reads everything."""
        for request in self.requests():
            connector = self.open(root)
            slice_ = self.first(connector, request)
            reader = connector.read(slice_, ReadOptions(batch_rows=2))
            next(iter(reader), None)
            reader.close()
            reader.close()
            connector.read(slice_, ReadOptions()).close()
            again = rows_of(read(connector, slice_, ReadOptions())[1])
            connector.close()
            connector.close()
            with closing(self.open(root)) as other:
                self._same(rows_of(read(other, self.first(other, request), ReadOptions())[1]), again)

    def test_positions_are_small_json_and_something_is_remembered(self, root: Path) -> None:
        """A position is a JSON object of at most 64 KiB; an incremental slice has one, or files."""
        for request in self.requests():
            with closing(self.open(root)) as connector:
                slice_ = self.first(connector, request)
                _, _, summary = read(connector, slice_, ReadOptions())
            check(json.loads(json.dumps(dict(slice_.payload))) == dict(slice_.payload), "a payload must be JSON")
            check(
                remembered(slice_, summary) or slice_.files or request.mode is not WriteMode.APPEND,
                "a slice needs a position or files, or its rows would be appended at every run",
            )
            for position in remembered(slice_, summary):
                text = json.dumps(dict(position.value), allow_nan=False)
                check(json.loads(text) == dict(position.value), "a position must survive JSON unchanged")
                check(len(text.encode()) <= MAX_POSITION, "a position has at most 64 KiB")

    def test_resuming_loses_and_repeats_nothing(self, root: Path, tmp_path: Path) -> None:
        """Random histories of growth, crashes at any batch and restarts: every row arrives once."""
        for seed in range(self.seeds):
            folder = root if seed == 0 else tmp_path / f"source{seed}"
            if seed:
                folder.mkdir()
                self.fill(folder)
            for request in self.requests():
                self._history(folder, request, random.Random(seed))  # noqa: S311 - a history to repeat, no secret

    def _history(self, root: Path, request: StreamRequest, dice: random.Random) -> None:
        landing = self.landing(request)
        for _ in range(6):
            with closing(self.open(root)) as connector:
                for slice_ in islice(connector.plan(request, landing.state), dice.randint(1, 3)):
                    if dice.random() < 0.4:
                        self._crash(connector, slice_, landing, dice)
                        break
                    landing.take(connector, slice_)
            if dice.random() < 0.6:
                self.grow(root)
        with closing(self.open(root)) as connector:
            landing.drain(connector, request)
        wanted = self.everything(root, request)
        if request.mode is WriteMode.APPEND:
            self._same(landing.rows, wanted)
        else:
            self._same(landing.rows & wanted, wanted)

    def _crash(self, connector: Connector, slice_: Slice, landing: Landing, dice: random.Random) -> None:
        """Read some batches; what a run that is killed has read is nowhere."""
        with closing(connector.read(slice_, ReadOptions(expected=landing.schema, batch_rows=2))) as reader:
            for _ in islice(reader, dice.randint(0, 4)):
                pass

    def test_checkpoints_together_are_the_whole(self, root: Path) -> None:
        """Slices of a load that is committed every few rows hold each row once."""
        for request in self.requests():
            small = replace(request, checkpoint=3)
            landing = self.landing(request)
            with closing(self.open(root)) as connector:
                landing.drain(connector, small)
            self._same(landing.rows, self.everything(root, request))

    def test_splits_together_are_the_slice(self, root: Path) -> None:
        """Each part read by itself, one after the other and at the same time, gives its rows of the slice."""
        tried = False
        for request in self.requests():
            with closing(self.open(root)) as connector:
                slice_ = self.first(connector, request)
                if len(slice_.splits) < 2:
                    continue
                tried = True
                schema, batches, _ = read(connector, slice_, ReadOptions())
                alone = [read(connector, part, ReadOptions()) for part in parts_of(slice_)]
                check(all(part[0] == schema for part in alone), "a split has other columns than the slice")
                self._same(rows_of(batch for part in alone for batch in part[1]), rows_of(batches))
                with ThreadPoolExecutor(4) as pool:
                    beside = pool.map(lambda part: read(connector, part, ReadOptions()), parts_of(slice_))
                    together = rows_of(batch for part in beside for batch in part[1])
                self._same(together, rows_of(batches))
        if not tried:
            pytest.skip("plan gives no slices with splits")

    def test_types_stay_when_the_table_has_them(self, root: Path) -> None:
        """Read with the table's columns, and with declared types, a slice has the same types and values."""
        for request in self.requests():
            with closing(self.open(root)) as connector:
                slice_ = self.first(connector, request)
                schema, batches, _ = read(connector, slice_, ReadOptions())
                for options in (
                    ReadOptions(expected=schema),
                    ReadOptions(declared={column.name: column.type for column in schema}),
                ):
                    again, others, _ = read(connector, slice_, options)
                    types = {column.name: column.type for column in again}
                    check(types == {column.name: column.type for column in schema}, f"types changed to {types}")
                    self._same(rows_of(others), rows_of(batches))

    def test_rows_that_cannot_be_read_are_refused_or_set_aside(self, root: Path) -> None:
        """Without ``rejects`` the first bad row raises, with its place; else it is set aside, and the others come."""
        good = {request.name: self.everything(root, request) for request in self.requests()}
        self.spoil(root)
        tried = False
        for request in self.requests():
            refused = [self._refused(root, request, rejects) for rejects in (None, 0)]
            with closing(self.open(root)) as connector:
                landing = self._drain(connector, request, ReadOptions(rejects=100))
            lost = good[request.name] - landing.rows
            check(not lost, f"good rows are lost beside bad ones: {difference(landing.rows, good[request.name])}")
            check(refused == [bool(landing.rejected)] * 2, "a bad row raises without rejects, and is set aside with it")
            tried |= bool(landing.rejected)
            for row in landing.rejected:
                check(set(row) == set(REJECTED.names), f"a rejected row has the columns of REJECTED, not {set(row)}")
                check(row["reason"] and row["source"], "a rejected row needs its source and a reason")
        check(tried, "spoil() must make a row that cannot be read")

    def _refused(self, root: Path, request: StreamRequest, rejects: int | None) -> bool:
        """Whether reading raises ParseError."""
        try:
            with closing(self.open(root)) as connector:
                self._drain(connector, request, ReadOptions(rejects=rejects))
        except ParseError as err:
            check(err.where is not None, f"an error about a row must say where it is: {err}")
            self._no_secret(str(err))
            return True
        return False

    def _drain(self, connector: Connector, request: StreamRequest, options: ReadOptions) -> Landing:
        landing = self.landing(request)
        for slice_ in connector.plan(request, landing.state):
            landing.take(connector, slice_, options)
        return landing

    def test_a_source_that_is_gone_is_an_error_of_lakecats(self, root: Path) -> None:
        """A source that cannot be read raises SourceError, in ``plan`` or ``read``; it helps, and holds no secret."""
        requests = self.requests()
        with closing(self.open(root)) as connector:
            slices = [self.first(connector, request) for request in requests]
        self.destroy(root)
        for request, slice_ in zip(requests, slices, strict=True):
            failures = [self._failure(root, request, slice_), self._failure(root, request, None)]
            check(any(failures), "the source is gone, and yet read")

    def _failure(self, root: Path, request: StreamRequest, slice_: Slice | None) -> SourceError | None:
        """The error of reading a slice that was planned before, or of a whole run."""
        try:
            with closing(self.open(root)) as connector:
                if slice_ is None:
                    self._drain(connector, request, ReadOptions())
                else:
                    read(connector, slice_, ReadOptions())
        except SourceError as err:
            check(err.where is not None or err.hint is not None, f"an error must say where, or how to mend: {err}")
            self._no_secret(str(err))
            return err
        except UsageError as err:  # such a stream is not there any more, or a slice is its planner's own
            self._no_secret(str(err))
        return None

    def test_secrets_are_shown_nowhere(self, root: Path) -> None:
        """Not in streams, slices, positions, summaries or the connector's own text."""
        if not self.secrets:
            pytest.skip("the suite knows no secrets")
        for request in self.requests():
            with closing(self.open(root)) as connector:
                slice_ = self.first(connector, request)
                _, _, summary = read(connector, slice_, ReadOptions())
                self._no_secret([repr(connector), list(connector.discover()), slice_, summary])

    def test_keys_of_now_are_all_keys(self, root: Path) -> None:
        """A reader that can tell the stream's keys tells each once."""
        tried = False
        for request in self.requests():
            with closing(self.open(root)) as connector:
                found = (one.key for one in connector.discover() if request.name in (None, one.name))
                key = request.key or next(found, ())
                keys = self._keys(connector, request, key) if key else None
            if keys is None:
                continue
            tried = True
            rows = self.everything(root, request)
            wanted = {frozenset(pair for pair in row if pair[0] in key) for row in rows}
            check(set(keys) == wanted, "keys() must give the keys of all rows, and no others")
            check(max(keys.values(), default=1) == 1, "keys() gives a key twice")
        if not tried:
            pytest.skip("its readers tell no keys")

    def _keys(self, connector: Connector, request: StreamRequest, key: tuple[str, ...]) -> Rows | None:
        """What a reader tells as the stream's keys; None where it does not, or not for such a request."""
        asked = replace(request, mode=WriteMode.MERGE, key=key, checkpoint=None, absent=True)
        try:
            slice_ = self.first(connector, asked)
            reader = connector.read(slice_, ReadOptions(keys=key))
        except ConfigError:
            return None
        with closing(reader):
            if not isinstance(reader, KeyedReader):
                return None
            for _ in reader:
                pass
            return counted(reader.keys().read_all().select(list(key)).to_pylist())

    def _same(self, got: Rows, wanted: Rows) -> None:
        check(got == wanted, difference(got, wanted))

    def _no_secret(self, shown: object) -> None:
        text = shown if isinstance(shown, str) else repr(shown)
        check(not any(secret in text for secret in self.secrets.values()), "a secret is shown")


__all__ = ["ConnectorHooks", "ConnectorSuite"]
