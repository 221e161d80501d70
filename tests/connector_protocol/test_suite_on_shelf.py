"""The conformance suite holds for a connector that keeps its promises, and fails for each that breaks one."""

from __future__ import annotations

import importlib
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import shelf_connector

from lakecat.connector import Slice
from lakecat.errors import ConfigError
from lakecat.types import Position

sys.path.insert(0, str(Path(__file__).parent))
ShelfSuite = importlib.import_module("shelf_hooks").ShelfSuite


class TestShelf(ShelfSuite):  # type: ignore[misc, valid-type]
    pass


class Broken(shelf_connector.Shelf):
    """Base of connectors that break one promise."""

    reader: type[Any] = shelf_connector.ShelfReader

    def plan(self, request: Any, state: Any) -> Any:
        return map(self.slice, super().plan(request, state))

    def slice(self, one: Slice) -> Slice:
        return one

    def read(self, slice_: Any, options: Any) -> Any:
        reader = super().read(slice_, options)
        return self.reader(reader.slice, reader.content, reader.ranges, options)


COUNTER = itertools.count()


class OtherKeysEachTime(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, key=f"{one.key}-{next(COUNTER)}")


class KeysOfTheProcess(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, key=f"{one.key}-{id(Broken)}")


class KeysThatComeAgain(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, key="always")


class PositionsAhead(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, position=Position({"rows": int(str(one.payload["stop"])) + 1}))


class PositionsBehind(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, position=Position({"rows": int(str(one.payload["stop"])) - 1}))


class HugePositions(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, position=Position({"rows": one.payload["stop"], "all": ["x" * 80] * 1000}))


class NoPositions(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, position=None)


class SplitsThatOverlap(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, splits=tuple({**split, "start": 0} for split in one.splits))

    def read(self, slice_: Any, options: Any) -> Any:
        if len(slice_.splits) > 1:
            slice_ = replace(slice_, splits=())
        return super().read(slice_, options)


class AnyOptions(Broken):
    @classmethod
    def open(cls, options: Any, context: Any) -> Any:
        return super().open({name: value for name, value in options.items() if name == "folder"}, context)


class ErrorsOfOthers(Broken):
    def _content(self, name: str) -> Any:
        return {**super()._content(name)} if (self.folder / f"{name}.json").exists() else {}["missing"]


class OpenSlices(Broken):
    def slice(self, one: Slice) -> Slice:
        return replace(one, splits=())

    def read(self, slice_: Any, options: Any) -> Any:
        end = len(self._content(slice_.payload["stream"])["rows"])
        return super().read(replace(slice_, payload={**slice_.payload, "stop": end}), options)


class NoSuchColumns(Broken):
    def discover(self) -> Any:
        return tuple(replace(one, key=("uuid",)) for one in super().discover())


class OtherTypes(Broken):
    def discover(self) -> Any:
        return tuple(replace(one, schema=one.schema.set(0, pa.field("id", pa.int32()))) for one in super().discover())


class TwoStreamsOfOneName(Broken):
    def discover(self) -> Any:
        return (*super().discover(), *super().discover())


class EmptyTexts(shelf_connector.ShelfReader):
    def _is_good(self, line: int, row: Any) -> bool:
        row[1] = row[1] or ""
        return super()._is_good(line, row)


class SilentRejects(shelf_connector.ShelfReader):
    def _is_good(self, line: int, row: Any) -> bool:
        return row[1] != "bad"


class SpentReader(shelf_connector.ShelfReader):
    opened: set[str] = set()  # noqa: RUF012 - what such a connector would do

    def __iter__(self) -> Any:
        again = self.slice.key in self.opened
        self.opened.add(self.slice.key)
        self.finished = again
        return iter(()) if again else super().__iter__()


class EarlySummary(shelf_connector.ShelfReader):
    def summary(self) -> Any:
        self.finished = True
        return super().summary()


class WrongCount(shelf_connector.ShelfReader):
    def summary(self) -> Any:
        return replace(super().summary(), rows=1)


class CloseOnce(shelf_connector.ShelfReader):
    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class OtherSchema(shelf_connector.ShelfReader):
    def __iter__(self) -> Any:
        for batch in super().__iter__():
            yield batch.rename_columns(["id", "TEXT"])


class DeclaredIsIgnored(shelf_connector.ShelfReader):
    @property
    def schema(self) -> Any:
        return (
            shelf_connector.SCHEMA.set(0, pa.field("id", pa.int32()))
            if self.options.expected
            else shelf_connector.SCHEMA
        )

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            yield batch.cast(self.schema)


def reading(kind: type[Any]) -> type[Any]:
    return type(f"With{kind.__name__}", (Broken,), {"reader": kind})


@pytest.mark.parametrize(
    ("connector", "test"),
    [
        (OtherKeysEachTime, "test_slice_keys_are_the_same_in_any_process"),
        (KeysThatComeAgain, "test_resuming_loses_and_repeats_nothing"),
        (PositionsAhead, "test_resuming_loses_and_repeats_nothing"),
        (PositionsBehind, "test_nothing_is_new_after_the_commit"),
        (PositionsBehind, "test_resuming_loses_and_repeats_nothing"),
        (HugePositions, "test_positions_are_small_json_and_something_is_remembered"),
        (NoPositions, "test_positions_are_small_json_and_something_is_remembered"),
        (SplitsThatOverlap, "test_splits_together_are_the_slice"),
        (ErrorsOfOthers, "test_a_source_that_is_gone_is_an_error_of_lakecats"),
        (OpenSlices, "test_a_planned_slice_does_not_grow"),
        (NoSuchColumns, "test_discovery_agrees_with_the_data"),
        (OtherTypes, "test_discovery_agrees_with_the_data"),
        (TwoStreamsOfOneName, "test_discovery_is_the_same_each_time"),
        (AnyOptions, "test_an_unknown_option_is_refused_by_its_name"),
        (reading(EmptyTexts), "test_everything_arrives_as_it_is"),
        (reading(SilentRejects), "test_rows_that_cannot_be_read_are_refused_or_set_aside"),
        (reading(SpentReader), "test_a_slice_can_be_read_twice"),
        (reading(EarlySummary), "test_the_summary_is_known_at_the_end_only"),
        (reading(WrongCount), "test_batches_have_the_schema_and_are_bounded"),
        (reading(CloseOnce), "test_closing_twice_and_halfway"),
        (reading(OtherSchema), "test_batches_have_the_schema_and_are_bounded"),
        (reading(DeclaredIsIgnored), "test_types_stay_when_the_table_has_them"),
    ],
)
def test_a_broken_promise_is_found(connector: type[Any], test: str, tmp_path: Path) -> None:
    suite = type("Suite", (ShelfSuite,), {"connector": connector, "seeds": 8})()
    root = tmp_path / "source"
    root.mkdir()
    suite.fill(root)
    arguments = (root, tmp_path) if test.startswith("test_resuming") else (root,)
    found = KeyError if connector is ErrorsOfOthers else (AssertionError, pytest.fail.Exception)
    with pytest.raises(found) as caught:
        getattr(suite, test)(*arguments)
    assert "in a process of its own" not in str(caught.value)


def test_keys_of_one_process_are_found_by_another(tmp_path: Path) -> None:
    suite = type("Suite", (ShelfSuite,), {"connector": KeysOfTheProcess})()
    suite.fill(tmp_path)
    with pytest.raises(AssertionError, match="differ between processes"):
        suite.test_slice_keys_are_the_same_in_any_process(tmp_path)


class Talkative(Broken):
    """Its streams' addresses hold the password."""

    def discover(self) -> Any:
        return tuple(replace(one, uri=f"{one.uri}?password=hunter2") for one in super().discover())


def test_a_secret_that_is_shown_is_found(tmp_path: Path) -> None:
    suite = type("Suite", (ShelfSuite,), {"connector": Talkative, "secrets": {"env:PASSWORD": "hunter2"}})()
    suite.fill(tmp_path)
    for test in (suite.test_secrets_are_shown_nowhere, suite.test_discovery_is_the_same_each_time):
        with pytest.raises(AssertionError, match="a secret is shown"):
            test(tmp_path)


def test_the_suite_has_some_twenty_tests_and_each_says_what_it_is_for() -> None:
    tests = {name: test for name, test in vars(ShelfSuite.__mro__[1]).items() if name.startswith("test_")}
    assert len(tests) >= 20
    assert all(test.__doc__ for test in tests.values())


def test_a_secret_that_is_not_the_suites_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        ShelfSuite().context(tmp_path).secret("env:OTHER")
