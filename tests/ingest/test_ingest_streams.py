"""Jobs of several streams: one commit for all of them, each failing alone, bad rows set aside."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import shelf_connector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.errors import CommitConflictError, ConfigError, ParseError, SourceError, StreamsFailedError
from lakecat.ingest import plan_job
from lakecat.types import DatasetName, ExecutionState

SHELF = "shelf_connector:Shelf"


def fill(project, name: str, *texts: str, **more: Any) -> None:
    rows = [[number, text] for number, text in enumerate(texts)]
    project.put(f"shelf/{name}.json", json.dumps({"rows": rows, **more}))


def texts(project, name: str) -> list[str]:
    return sorted(project.table(name)["text"].to_pylist())


def shop(project, **keys: Any):
    return project.job("shop", connector=SHELF, **{"target": "raw.*", "streams": ["a", "b"], **keys})


def test_streams_are_committed_together(project) -> None:
    fill(project, "a", "x", "y")
    fill(project, "b", "z")
    one, two = project.run(shop(project))
    assert (one.stream, one.rows, two.stream, two.rows) == ("a", 2, "b", 1)
    assert one.execution_id == two.execution_id
    assert (texts(project, "raw.a"), texts(project, "raw.b")) == (["x", "y"], ["z"])
    assert one.sources == ((project.root / "shelf" / "a.json").as_uri(),)
    project.clean()
    assert project.run(shop(project)) == ()


def test_a_stream_that_fails_does_not_hold_the_others_and_is_due_again(project) -> None:
    fill(project, "a", "x")
    fill(project, "b", "y", "z", "w", fail="midway")
    job = shop(project)
    with pytest.raises(StreamsFailedError) as caught:
        project.run(job)
    assert {name: err.what for name, err in caught.value.failures.items()} == {"raw.b": "the shelf fell down midway"}
    assert texts(project, "raw.a") == ["x"]
    assert not project.exists("raw.b")
    fill(project, "b", "y", "z", "w")
    (result,) = project.run(job)
    assert (result.stream, texts(project, "raw.b"), texts(project, "raw.a")) == ("b", ["w", "y", "z"], ["x"])
    project.clean()


@pytest.mark.parametrize("how", ["plan", "read", "midway"])
def test_with_on_error_fail_nothing_of_the_run_is_committed(project, how: str) -> None:
    fill(project, "a", "x")
    fill(project, "b", "y", fail=how)
    with pytest.raises(SourceError):
        project.run(shop(project, on_error="fail"))
    assert not project.exists("raw.a")
    assert not project.exists("raw.b")
    project.clean()


def test_when_all_streams_fail_so_does_the_execution(project) -> None:
    fill(project, "a", "x", fail="read")
    fill(project, "b", "y", fail="midway")
    with pytest.raises(StreamsFailedError) as caught:
        project.run(shop(project))
    assert set(caught.value.failures) == {"raw.a", "raw.b"}
    last = project.catalog.latest_execution("shop")
    assert last is not None
    assert last.state is ExecutionState.FAILED
    assert project.data_files() == []


def test_a_long_load_goes_on_from_its_last_checkpoint(project) -> None:
    fill(project, "a", *"abcdefg", fail="")
    job = shop(project, streams=["a"], checkpoint=3)
    results = []
    original = shelf_connector.Shelf.read

    def breaking(self, slice_, options):
        if slice_.payload["start"] == 6:
            raise SourceError("the line is cut")
        return original(self, slice_, options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf_connector.Shelf, "read", breaking)
        with pytest.raises(SourceError, match="the line is cut"):
            project.run(job)
    assert texts(project, "raw.a") == list("abcdef")
    results = project.run(job)
    assert [result.rows for result in results] == [1]
    assert texts(project, "raw.a") == list("abcdefg")
    assert [version.added_rows for version in project.catalog.versions(DatasetName("raw", "a"), 9)] == [1, 3, 3]


def test_patterns_find_streams_and_the_sources_key_serves(project) -> None:
    fill(project, "orders", "x", key=["id"])
    fill(project, "order_lines", "y", key=["id"])
    fill(project, "other", "z")
    job = shop(project, streams={"order*": {"mode": "merge", "target": "raw.s_*"}})
    assert {result.stream for result in project.run(job)} == {"orders", "order_lines"}
    fill(project, "orders", "changed", "new", key=["id"])
    project.run(job)  # the row that was read already is not read again, whatever became of it
    assert texts(project, "raw.s_orders") == ["new", "x"]
    assert job.targets == ()


def test_streams_that_cannot_be_meant_are_refused_with_their_line(project) -> None:
    fill(project, "a", "x")
    fill(project, "b", "x")
    for keys, line, message in (
        ({"streams": ["zz*"]}, 4, "no stream 'zz*'"),
        ({"streams": {"a": {"mode": "merge"}}}, 5, "needs key"),
        ({"streams": {"a": {"target": "raw.t"}, "b": {"target": "raw.t"}}}, 7, "both go to raw.t"),
    ):
        with pytest.raises(ConfigError) as caught:
            project.run(shop(project, **keys))
        assert message in caught.value.what
        assert caught.value.where is not None
        assert caught.value.where.line == line
    assert not project.exists("raw.a")


def test_a_connector_without_positions_may_not_append_beside_others(project) -> None:
    fill(project, "a", "x")
    fill(project, "b", "y", forgetful=True)
    with pytest.raises(StreamsFailedError, match="gives no position"):
        project.run(shop(project))
    assert texts(project, "raw.a") == ["x"]
    assert not project.exists("raw.b")


def test_bad_rows_are_set_aside_in_the_same_commit(project) -> None:
    fill(project, "a", "x", "bad", "y", "bad")
    fill(project, "b", "bad", "z")
    job = shop(project, quarantine={"target": "raw.rejects"})
    one, two = project.run(job)
    assert (one.rows, one.rejected, two.rows, two.rejected) == (2, 2, 1, 1)
    assert one.quarantine == DatasetName("raw", "rejects")
    kept = project.table("raw.rejects").to_pylist()
    assert sorted((row["dataset"], row["line"], row["text"]) for row in kept) == [
        ("raw.a", 2, '[1, "bad"]'),
        ("raw.a", 4, '[3, "bad"]'),
        ("raw.b", 1, '[0, "bad"]'),
    ]
    (execution,) = {row["execution"] for row in kept}
    last = project.catalog.latest_execution("shop")
    assert last is not None
    assert last.uuid == execution
    assert {row["reason"] for row in kept} == {"the text is bad"}
    project.clean()


def test_without_quarantine_the_first_bad_row_fails(project) -> None:
    fill(project, "a", "x", "bad")
    with pytest.raises(ParseError) as caught:
        project.run(shop(project, streams=["a"]))
    assert caught.value.where is not None
    assert caught.value.where.line == 2
    assert not project.exists("raw.a")


@pytest.mark.parametrize("limits", [{"max_rows": 1}, {"max_fraction": 0.4}])
def test_too_many_bad_rows_fail_the_stream(project, limits) -> None:
    fill(project, "a", "x", "bad", "bad", "y")
    with pytest.raises(ParseError):
        project.run(shop(project, streams=["a"], quarantine=limits))
    assert not project.exists("raw.a")
    assert not project.exists("raw.a_quarantine")
    project.run(shop(project, streams=["a"], quarantine={"max_rows": 2, "max_fraction": 0.5}))
    assert texts(project, "raw.a") == ["x", "y"]
    assert project.table("raw.a_quarantine").num_rows == 2


def test_splits_are_read_at_the_same_time_and_make_one_source(project) -> None:
    words = [f"w{number}" for number in range(101)] + ["bad"]
    fill(project, "a", *words)
    job = shop(project, streams=["a"], options={"splits": 7}, quarantine=True)
    (result,) = project.run(job)
    assert (result.rows, result.rejected, result.sources) == (101, 1, ((project.root / "shelf/a.json").as_uri(),))
    assert texts(project, "raw.a") == sorted(words[:-1])


def test_a_split_that_fails_fails_the_slice(project) -> None:
    fill(project, "a", *map(str, range(50)), "bad")
    with pytest.raises(ParseError):
        project.run(shop(project, streams=["a"], options={"splits": 5}))
    assert not project.exists("raw.a")


def test_a_plan_shows_each_stream(project) -> None:
    fill(project, "a", *"abc")
    fill(project, "b")
    one, two = plan_job(project.services, shop(project, checkpoint=2)).streams
    assert (one.stream, [slice_.key for slice_ in one.slices], one.open_ended) == ("a", ["a:0-2"], True)
    assert (two.stream, two.slices, two.table_exists) == ("b", (), False)
    assert (one.problem, two.problem) == (None, None)


def test_a_plan_shows_what_stops_a_stream_beside_the_others(project) -> None:
    fill(project, "a", "x", fail="plan")
    fill(project, "b", "y")
    one, two = plan_job(project.services, shop(project)).streams
    assert str(one.problem) == "a cannot be planned"
    assert (one.slices, len(two.slices)) == ((), 1)
    assert project.catalog.executions(job="shop") == ()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["", "read", "midway"])), max_size=6),
    st.sampled_from([None, 2]),
)
def test_whatever_fails_nothing_is_lost_or_doubled(tmp_path_factory, make_project, steps, checkpoint) -> None:
    """Rows grow and streams fail at random; after a last good run every table holds each row once."""
    project = make_project(tmp_path_factory.mktemp("model") / "project")
    grown: dict[str, list[str]] = {"a": [], "b": []}
    keys = {} if checkpoint is None else {"checkpoint": checkpoint}
    for name, more, fail in [*steps, ("a", 1, ""), ("b", 1, "")]:
        grown[name] += [f"{name}{len(grown[name]) + n}" for n in range(more)]
        for stream, words in grown.items():
            fill(project, stream, *words, fail=fail if stream == name else "")
        try:
            project.run(shop(project, **keys))
        except (SourceError, CommitConflictError):
            continue
    for stream, words in grown.items():
        assert Counter(project.table(f"raw.{stream}")["text"].to_pylist()) == Counter(words)
    project.clean()
