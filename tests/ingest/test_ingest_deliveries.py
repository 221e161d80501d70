"""Deliveries that are not as the last one was: empty, out of time, with other names, tried again, or broken off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import shelf_connector

from lakecat import landing
from lakecat.connector import ReadSummary
from lakecat.errors import (
    CommitConflictError,
    ConfigError,
    LeaseHeldError,
    SourceAccessError,
    SourceError,
    StreamsFailedError,
)
from lakecat.ingest import run_job
from lakecat.lake.runs import report
from lakecat.landing import hold
from lakecat.types import DatasetName, ExecutionState, FileVersion, LoadedFile

SHELF = "shelf_connector:Shelf"


def fill(project, name: str, *texts: str, **more: Any) -> None:
    rows = [[number, text] for number, text in enumerate(texts)]
    project.put(f"shelf/{name}.json", json.dumps({"rows": rows, **more}))


def shop(project, **keys: Any):
    return project.job("shop", connector=SHELF, **{"target": "raw.*", "streams": ["a", "b"], **keys})


def deliver(project, name: str, text: str, **keys: Any):
    project.put(f"in/{name}.csv", text)
    return project.run(project.job("t", target="raw.t", options={"path": "in/*.csv"}, **keys))


def found(project, name: str = "raw.t") -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in project.table(name).to_pylist()), key=repr)


def test_a_stream_that_fails_before_a_conflict_may_succeed_after_it(project, monkeypatch) -> None:
    fill(project, "a", "x")
    fill(project, "b", "y", fail="read")
    commit, tried = landing.commit, []

    def conflicting(*arguments: Any, **more: Any) -> Any:
        tried.append(arguments)
        if len(tried) == 1:
            fill(project, "b", "y")
            raise CommitConflictError("somebody was faster")
        return commit(*arguments, **more)

    monkeypatch.setattr(landing, "commit", conflicting)
    assert {result.stream for result in project.run(shop(project))} == {"a", "b"}
    assert len(tried) == 2
    assert found(project, "raw.b") == [(0, "y")]
    project.clean()


def test_a_conflict_doubles_neither_rows_nor_rejects_nor_files(project, monkeypatch) -> None:
    fill(project, "a", "x", "bad")
    fill(project, "b", "y")
    commit, tried = landing.commit, []

    def conflicting(*arguments: Any, **more: Any) -> Any:
        tried.append(arguments)
        if len(tried) < 4:
            raise CommitConflictError("somebody was faster")
        return commit(*arguments, **more)

    monkeypatch.setattr(landing, "commit", conflicting)
    project.run(shop(project, quarantine={"target": "raw.aside"}))
    assert [project.table(f"raw.{name}").num_rows for name in ("a", "b", "aside")] == [1, 1, 1]
    assert len(project.data_files()) == 3
    project.clean()


def test_a_stream_that_fails_after_it_wrote_leaves_no_files(project) -> None:
    fill(project, "a", "x")
    fill(project, "b", "x", "bad", "y", "z")
    with pytest.raises(StreamsFailedError, match="1 of 4 rows cannot be read"):
        project.run(shop(project, quarantine={"max_fraction": 0.2}))
    assert [file.parent.parent.parent.name for file in project.data_files()] == ["a"]
    project.clean()


@pytest.mark.parametrize("target", ["raw.b", "raw.a"])
def test_a_quarantine_is_no_target(project, target: str) -> None:
    fill(project, "a", "x", "bad")
    fill(project, "b", "x")
    with pytest.raises(ConfigError, match=f"{target} is the quarantine of 'b'") as caught:
        project.run(shop(project, quarantine={"target": target}))
    assert caught.value.where is not None
    assert caught.value.where.line == 7


class Knowing(shelf_connector.ShelfReader):
    """Tells only after reading which files it has read."""

    def summary(self) -> ReadSummary:
        file = FileVersion(str(self.slice.uri), 1, "v1", None)
        return replace(super().summary(), files=(LoadedFile(file, self.rows),))


def test_files_that_only_reading_shows_are_remembered(project, monkeypatch) -> None:
    fill(project, "a", "x", forgetful=True)
    fill(project, "b", "y")
    monkeypatch.setattr(shelf_connector, "ShelfReader", Knowing)
    monkeypatch.setattr(shelf_connector.Shelf, "plan", once(shelf_connector.Shelf.plan))
    project.run(shop(project))
    ledger = list(project.catalog.ledger("ingest/shop/a/raw.a"))
    assert [file.uri for file in ledger] == [(project.root / "shelf/a.json").as_uri()]


def once(plan: Any) -> Any:
    """A plan of one slice, for a source without positions."""

    def first(self: Any, request: Any, state: Any) -> Any:
        return tuple(slice_ for slice_, _ in zip(plan(self, request, state), range(1), strict=False))

    return first


class Keyless(shelf_connector.ShelfReader):
    """May not tell its keys."""

    def keys(self) -> pa.RecordBatchReader:
        def refused() -> Iterator[pa.RecordBatch]:
            raise SourceAccessError("the keys are nobody's business")
            yield

        return pa.RecordBatchReader.from_batches(pa.schema([("id", pa.int64())]), refused())


def test_what_goes_wrong_with_keys_is_told_as_it_is(project, monkeypatch) -> None:
    monkeypatch.setattr(shelf_connector, "ShelfReader", Keyless)
    job = shop(project, streams=["a"], mode="merge", key="id", deletes="absent")
    fill(project, "a", "x")
    project.run(job)
    fill(project, "a", "x", "y")
    with pytest.raises(SourceAccessError, match=r"^the keys are nobody's business$"):
        project.run(job)
    assert found(project, "raw.a") == [(0, "x")]


@pytest.mark.parametrize("mode", ["merge", "history"])
def test_an_empty_delivery_deletes_nothing(project, mode: str) -> None:
    keys = {"mode": mode, "key": "id", "deletes": "absent"}
    deliver(project, "1", "id,v\n1,a\n2,b\n", **keys)
    before = found(project)
    with pytest.raises(SourceError, match="the source has no rows, and 2 in"):
        deliver(project, "2", "id,v\n", **keys)
    assert found(project) == before
    deliver(project, "2", "id,v\n2,b\n", **keys)
    assert len([row for row in found(project) if mode == "merge" or row[3] is None]) == 1


def test_an_empty_table_stays_empty(project) -> None:
    keys = {"mode": "merge", "key": "id", "deletes": "absent"}
    deliver(project, "1", "id,v\n", columns={"id": "int", "v": "string"}, **keys)
    deliver(project, "2", "id,v\n", columns={"id": "int", "v": "string"}, **keys)
    assert found(project) == []


def test_history_goes_on_where_the_clock_went_back(project) -> None:
    deliver(project, "1", "id,v\n1,a\n2,x\n", mode="history", key="id")
    project.put("in/2.csv", "id,v\n1,b\n2,x\n")
    back = replace(project.services, clock=lambda: datetime.now(UTC) - timedelta(hours=1))
    run_job(back, project.job("t", target="raw.t", options={"path": "in/*.csv"}, mode="history", key="id"))
    rows = {row["v"]: row for row in project.table("raw.t").to_pylist()}
    assert rows["a"]["valid_to"] == rows["b"]["valid_from"] == rows["a"]["valid_from"] + timedelta(microseconds=1)
    assert rows["b"]["valid_to"] is None
    assert rows["x"]["valid_to"] is None


def test_what_is_absent_ends_where_the_clock_went_back(project) -> None:
    keys = {"mode": "history", "key": "id", "deletes": "absent"}
    deliver(project, "1", "id,v\n1,a\n2,x\n", **keys)
    project.put("in/2.csv", "id,v\n2,x\n")
    back = replace(project.services, clock=lambda: datetime.now(UTC) - timedelta(hours=1))
    run_job(back, project.job("t", target="raw.t", options={"path": "in/*.csv"}, **keys))
    rows = {row["v"]: row for row in project.table("raw.t").to_pylist()}
    assert rows["a"]["valid_to"] == rows["a"]["valid_from"] + timedelta(microseconds=1)
    assert rows["x"]["valid_to"] is None


def test_a_table_that_kept_its_names_can_take_the_rule(project) -> None:
    deliver(project, "1", "id,v\n1,a\n")
    deliver(project, "2", "id,v,New One\n2,b,c\n", names="snake")
    assert project.table("raw.t").column_names == ["id", "v", "new_one"]
    assert found(project) == [(1, "a", None), (2, "b", "c")]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"streams": ["a"]}, "SourceError: a cannot be planned"),
        ({"streams": ["a", "b"]}, "StreamsFailedError: 1 stream failed: raw.a; raw.a: a cannot be planned"),
        ({"streams": ["a", "b"], "on_error": "fail"}, "SourceError: a cannot be planned"),
        ({"streams": ["zz*"]}, "ConfigError: "),
        ({"streams": ["a"], "options": {"splits": "many"}}, "ValueError: invalid literal"),
    ],
)
def test_a_run_that_cannot_begin_is_a_failed_execution(project, keys, message: str) -> None:
    fill(project, "a", "x", fail="plan")
    fill(project, "b")
    with pytest.raises((SourceError, ConfigError, ValueError)):
        project.run(shop(project, **keys))
    (execution,) = project.catalog.executions(job="shop")
    assert execution.state is ExecutionState.FAILED
    assert (execution.error or "").startswith(message)
    project.clean()


def test_what_another_run_holds_is_no_failure(project) -> None:
    fill(project, "a", "x")
    with hold(project.services, "ingest/shop"), pytest.raises(LeaseHeldError):
        project.run(shop(project))
    assert project.catalog.executions(job="shop") == ()


def test_an_execution_tells_which_streams_failed_and_why(project) -> None:
    fill(project, "a", "x", fail="plan")
    fill(project, "b", "y")
    fill(project, "c", "z", "w", fail="midway")
    with pytest.raises(StreamsFailedError, match="2 streams failed"):
        project.run(shop(project, streams=["a", "b", "c"]))
    failed, complete = project.catalog.executions(job="shop")
    assert (failed.state, complete.state) == (ExecutionState.FAILED, ExecutionState.COMPLETE)
    assert report(project.catalog, complete.execution_id).failed_streams == {
        "raw.a": "SourceError: a cannot be planned",
        "raw.c": "SourceError: the shelf fell down midway",
    }
    assert "raw.a, raw.c; raw.a: a cannot be planned" in (failed.error or "")
    runs = {str(name): run.state.value for name, run in project.catalog.last_runs().items()}
    assert runs == {"raw.a": "FAILED", "raw.b": "COMPLETE", "raw.c": "FAILED"}
    project.clean()


def test_streams_that_fail_in_different_rounds_are_all_recorded(project) -> None:
    fill(project, "a", "x", fail="read")
    fill(project, "b", *"yzw")
    original = shelf_connector.Shelf.read

    def breaking(self: Any, slice_: Any, options: Any) -> Any:
        if slice_.payload["stream"] == "b" and slice_.payload["start"] == 2:
            raise SourceError("the line is cut")
        return original(self, slice_, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf_connector.Shelf, "read", breaking)
        with pytest.raises(StreamsFailedError, match="2 streams failed"):
            project.run(shop(project, checkpoint=2))
    runs = {str(name): run.state.value for name, run in project.catalog.last_runs().items()}
    assert runs == {"raw.a": "FAILED", "raw.b": "FAILED"}
    assert found(project, "raw.b") == [(0, "y"), (1, "z")]


def test_an_execution_keeps_what_the_job_said_but_no_secrets(project) -> None:
    fill(project, "a", "x")
    options = {
        "folder": "shelf",
        "url": "https://ann:hunter2@api.example/v1?page=1&access_token=hunter2&size=9",
        "hook": "https://hunter2@hooks.example/in",
        "dsn": "host=db user=ann password='hunter 2' dbname=shop",
        "password": "hunter2",
        "auth": {"client_secret": "env:SHOP_SECRET", "headers": [{"Authorization": "Bearer hunter2"}]},
    }
    with pytest.raises(ConfigError, match="unknown option"):  # what was refused is kept as well
        project.run(shop(project, streams=["a"], options=options, checkpoint=5))
    (execution,) = project.catalog.executions(job="shop")
    told = report(project.catalog, execution.execution_id).parameters
    assert isinstance(told, dict)
    assert told["connector"] == SHELF
    assert told["checkpoint"] == 5
    assert told["options"] == {
        "folder": "shelf",
        "url": "https://ann:***@api.example/v1?page=1&access_token=***&size=9",
        "hook": "https://***@hooks.example/in",
        "dsn": "host=db user=ann password=*** dbname=shop",
        "password": "***",
        "auth": {"client_secret": "env:SHOP_SECRET", "headers": [{"Authorization": "***"}]},
    }


def test_parameters_that_are_too_long_are_a_digest(project) -> None:
    fill(project, "a", "x")
    with pytest.raises(ConfigError, match="unknown option"):
        project.run(shop(project, streams=["a"], options={"folder": "shelf", "note": "x" * 20_000}))
    (execution,) = project.catalog.executions(job="shop")
    told = report(project.catalog, execution.execution_id).parameters
    assert isinstance(told, str)
    assert len(told) == 64


def test_two_streams_of_one_job_do_not_stand_for_one_another(project, monkeypatch) -> None:
    fill(project, "a", "x", forgetful=True)
    fill(project, "b", "y", forgetful=True)
    plan = once(shelf_connector.Shelf.plan)

    def nameless(self: Any, request: Any, state: Any) -> Any:
        return tuple(replace(slice_, key="0-1") for slice_ in plan(self, request, state))

    monkeypatch.setattr(shelf_connector.Shelf, "plan", nameless)
    for stream in ("a", "b"):
        project.run(project.job("t", connector=SHELF, target="raw.t", stream=stream))
    assert found(project) == [(0, "x"), (0, "y")]
    assert len(project.catalog.versions(DatasetName("raw", "t"), 9)) == 2
