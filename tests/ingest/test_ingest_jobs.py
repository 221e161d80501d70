"""What a job does to its table, by mode; what it records; what it refuses, leaving everything as it was."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import sqlite3
from collections import Counter
from contextlib import closing

import pytest

from lakecat.connector import ReadOptions
from lakecat.errors import (
    ConfigError,
    LakecatError,
    NotFoundError,
    ParseError,
    SchemaError,
    SourceChangedError,
    SourceError,
)
from lakecat.ingest import plan_job, run_job
from lakecat.types import DatasetName, EdgeKind, ExecutionState, VersionRef

T = DatasetName.parse("raw.t")


def touched(path, text):
    """The same path with other content, and surely another modification time."""
    later = path.stat().st_mtime_ns + 1_000_000_000
    path.write_text(text)
    os.utime(path, ns=(later, later))


def snapshot(project):
    """Everything that a run could change: the catalog's rows and the lake's files."""
    with closing(sqlite3.connect(project.root / "catalog.db")) as connection, connection:
        dump = [line for line in connection.iterdump() if '"lakecat_lease"' not in line]
    files = {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in (project.root / "lake").rglob("*") if p.is_file()
    }
    return dump, files


def test_each_file_is_one_version_and_a_second_run_finds_nothing(project):
    project.put("in/a.csv", "id,name\n1,x\n2,y\n")
    project.put("in/b.csv", "id,name\n3,z\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, batch="file")
    first, second = project.run(job)
    assert (first.rows, second.rows) == (2, 1)
    assert (first.version.version, second.version.version) == (1, 2)
    assert first.schema_changes == ("create",)
    assert first.sources == (f"file://{project.root}/in/a.csv",)
    before = snapshot(project)
    assert project.run(job) == ()
    assert snapshot(project) == before
    assert project.rows("raw.t") == Counter({(1, "x"): 1, (2, "y"): 1, (3, "z"): 1})
    project.put("in/c.csv", "name,id\nw,4\n")
    (third,) = project.run(job)
    assert third.rows == 1
    assert project.rows("raw.t")[4, "w"] == 1
    project.clean()


def test_all_new_files_can_be_one_version(project):
    project.put("in/a.csv", "id\n1\n")
    project.put("in/b.csv", "id\n2\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, batch="all")
    (result,) = project.run(job)
    assert (result.rows, result.version.version, len(result.sources)) == (2, 1, 2)
    assert project.run(job) == ()


def test_replace_loads_again_whenever_the_source_changed_and_only_then(project):
    path = project.put("in.csv", "id,name\n1,a\n2,b\n")
    job = project.job("t", target="raw.t", options={"path": "in.csv"}, mode="replace")
    project.run(job)
    assert project.run(job) == ()
    touched(path, "id,name\n3,c\n")
    (result,) = project.run(job)
    assert project.rows("raw.t") == Counter({(3, "c"): 1})
    assert (result.version.added_rows, result.version.removed_rows) == (1, 2)
    stat = path.stat()
    touched(path, "id,name\n1,a\n")
    project.run(job)
    path.write_text("id,name\n3,c\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (result,) = project.run(job)
    assert not result.already
    assert project.rows("raw.t") == Counter({(3, "c"): 1})
    project.clean()


def test_an_empty_source_replaces_nothing(project):
    path = project.put("in.csv", "id,name\n1,a\n")
    job = project.job("t", target="raw.t", options={"path": "in.csv"}, mode="replace")
    project.run(job)
    touched(path, "id,name\n")
    with pytest.raises(SourceError, match="would be emptied"):
        project.run(job)
    assert project.rows("raw.t") == Counter({(1, "a"): 1})
    assert len(project.data_files()) == 1


def test_a_header_alone_makes_an_empty_table_and_is_not_read_again(project):
    project.put("in/a.csv", "id,name\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, columns={"id": "long", "name": "string"})
    (result,) = project.run(job)
    assert (result.rows, result.version.version) == (0, 1)
    assert project.run(job) == ()
    project.put("in/b.csv", "id,name\n")
    (result,) = project.run(job)
    assert result.version is None
    assert project.run(job) == ()
    project.clean()


def test_replace_partitions_leaves_the_others(project):
    project.put("in/1.csv", "day,n\n2020-01-01,1\n2020-01-02,2\n")
    job = project.job(
        "t", target="raw.t", options={"path": "in/*.csv"}, mode="replace_partitions", partition=["day(day)"]
    )
    project.run(job)
    project.put("in/2.csv", "day,n\n2020-01-02,3\n2020-01-03,4\n")
    project.run(job)
    days = {n: dt.date(2020, 1, n) for n in (1, 2, 3)}
    assert project.rows("raw.t") == Counter({(days[1], 1): 1, (days[2], 3): 1, (days[3], 4): 1})


def test_replace_partitions_needs_partitions(project):
    project.put("in.csv", "n\n1\n")
    job = project.job("t", target="raw.t", options={"path": "in.csv"}, mode="replace_partitions")
    with pytest.raises(ConfigError, match="needs partition") as caught:
        project.run(job)
    assert (caught.value.where.file, caught.value.where.line) == (str(project.root / "ingest/t.yaml"), 4)


def test_merge_keeps_one_row_for_each_key_the_last_one(project):
    project.put("in/1.csv", "k,part,v\n1,a,one\n2,a,two\n1,a,uno\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, mode="merge", key=["k", "part"])
    (result,) = project.run(job)
    assert result.rows == 3
    assert project.rows("raw.t") == Counter({(1, "a", "uno"): 1, (2, "a", "two"): 1})
    project.put("in/2.csv", "k,part,v\n2,a,dos\n2,b,new\n3,a,tres\n2,a,due\n")
    project.run(job)
    assert project.rows("raw.t") == Counter(
        {(1, "a", "uno"): 1, (2, "a", "due"): 1, (2, "b", "new"): 1, (3, "a", "tres"): 1}
    )
    assert project.run(job) == ()
    project.clean()


def test_merge_can_bring_new_columns(project):
    project.put("in/1.csv", "k,v\n1,a\n2,b\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, mode="merge", key="k")
    project.run(job)
    project.put("in/2.csv", "k,v,w\n2,c,9\n3,d,8\n")
    (result,) = project.run(job)
    assert result.schema_changes == ("add w long",)
    assert project.rows("raw.t") == Counter({(1, "a", None): 1, (2, "c", 9): 1, (3, "d", 8): 1})


def test_a_null_key_is_refused_by_row(project):
    project.put("in.csv", "k,v\n1,a\n,b\n")
    job = project.job("t", target="raw.t", options={"path": "in.csv"}, mode="merge", key="k")
    with pytest.raises(SchemaError, match="'k' is NULL in row 2"):
        project.run(job)
    assert not project.exists("raw.t")


def test_delete_removes_the_rows_whose_key_appears(project):
    project.put("in.csv", "k,v\n1,a\n2,b\n3,c\n2,d\n")
    project.run(project.job("t", target="raw.t", options={"path": "in.csv"}))
    project.put("gone/1.csv", "k\n2\n9\n")
    job = project.job("gone", target="raw.t", options={"path": "gone/*.csv"}, mode="delete", key="k")
    (result,) = project.run(job)
    assert project.rows("raw.t") == Counter({(1, "a"): 1, (3, "c"): 1})
    assert result.version.removed_rows - result.version.added_rows == 2
    assert project.run(job) == ()
    project.put("gone/2.csv", "k\n77\n")
    (result,) = project.run(job)
    assert result.version is None
    project.clean()


def test_deleting_from_a_table_that_is_not_there(project):
    project.put("in.csv", "k\n2\n")
    job = project.job("t", target="raw.t", options={"path": "in.csv"}, mode="delete", key="k")
    with pytest.raises(NotFoundError, match=r"no table raw\.t"):
        project.run(job)


def test_a_new_column_is_added_and_a_missing_one_is_refused_by_file_and_name(project):
    project.put("in/1.csv", "id,name\n1,x\n")
    keys = {"target": "raw.t", "batch": "file"}
    job = project.job("t", options={"path": "in/*.csv"}, **keys)
    project.run(job)
    project.put("in/2.csv", "id,name,size\n2,y,1.5\n")
    (result,) = project.run(job)
    assert result.schema_changes == ("add size double",)
    late = project.put("in/3.csv", "id,size\n3,2.5\n")
    before = snapshot(project)[1]
    with pytest.raises(LakecatError, match="name") as caught:
        project.run(job)
    assert caught.value.exit_code == 1
    assert str(late) in str(caught.value)
    assert snapshot(project)[1] == before
    job = project.job("t", options={"path": "in/*.csv", "missing_columns": None}, **keys)
    project.run(job)
    assert project.rows("raw.t") == Counter({(1, "x", None): 1, (2, "y", 1.5): 1, (3, None, 2.5): 1})


def test_a_value_that_does_not_fit_is_refused_by_file_line_and_column(project):
    project.put("in/1.csv", "id,name\n1,x\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, batch="file")
    project.run(job)
    project.put("in/2.csv", "id,name\n2,y\nthree,z\n")
    version = project.catalog.resolve(VersionRef(T)).version
    with pytest.raises(ParseError) as caught:
        project.run(job)
    assert (caught.value.where.file.split("/")[-1], caught.value.where.line) == ("2.csv", 3)
    assert "id" in str(caught.value)
    assert project.catalog.resolve(VersionRef(T)).version == version
    assert len(project.data_files()) == 1
    failed = project.catalog.latest_execution("t")
    assert failed.state is ExecutionState.FAILED
    assert "2.csv:3" in failed.error
    project.clean()


def test_what_was_committed_before_an_error_stays_and_is_told(project):
    project.put("in/1.csv", "id\n1\n")
    project.put("in/2.csv", "id\n2\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, batch="file", columns={"id": "long"})
    project.put("in/3.csv", "id\nx\n")
    project.put("in/4.csv", "id\n4\n")
    told = []
    with pytest.raises(ParseError):
        run_job(project.services, job, on_result=told.append)
    assert [result.version.version for result in told] == [1, 2]
    assert project.rows("raw.t") == Counter({(1,): 1, (2,): 1})
    project.put("in/3.csv", "id\n3\n")
    project.run(job)
    assert project.rows("raw.t") == Counter({(n,): 1 for n in (1, 2, 3, 4)})


def test_other_partitions_than_the_table_has_are_refused_at_the_jobs_line(project):
    project.put("in/1.csv", "id,at\n1,2020-01-01\n")
    project.run(project.job("t", target="raw.t", options={"path": "in/*.csv"}, partition=["month(at)"]))
    project.put("in/2.csv", "id,at\n2,2020-01-01\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, partition=["day(at)"])
    with pytest.raises(ConfigError, match="partitioned by") as caught:
        project.run(job)
    assert caught.value.where.line == 4


@pytest.mark.parametrize(
    ("keys", "message", "line"),
    [
        ({"connector": "fils"}, "did you mean files", 2),
        ({"connector": "no_such_module:Thing"}, "cannot be imported", 2),
        ({"connector": "json:JSONDecoder"}, "is no connector", 2),
        ({"connector": "files", "options": {"path": "x.csv", "delimitr": ";"}}, "delimitr", 3),
    ],
)
def test_a_wrong_connector_or_option_is_refused_at_the_jobs_line(project, keys, message, line):
    job = project.job("t", target="raw.t", **keys)
    with pytest.raises(ConfigError, match=message) as caught:
        project.run(job)
    assert caught.value.where.line == line


def test_planning_writes_nothing(project):
    project.put("in/1.csv", "id\n1\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"}, batch="file")
    before = snapshot(project)
    (plan,) = plan_job(project.services, job).streams
    assert snapshot(project) == before
    assert [s.files for s in plan.slices] == [(f"file://{project.root}/in/1.csv",)]
    assert not plan.table_exists
    project.run(job)
    (plan,) = plan_job(project.services, job).streams
    assert (plan.slices, plan.table_exists) == ((), True)


def test_lineage_leads_from_the_column_to_the_source(project):
    project.put("in/1.csv", "id,name\n1,x\n")
    job = project.job("t", target="raw.t", options={"path": "in/*.csv"})
    (result,) = project.run(job)
    (path,) = project.catalog.column_lineage(T, "name")
    assert (path.input.dataset, path.input.column, path.kind) == ("in/*.csv", "name", EdgeKind.IDENTITY)
    detail = project.catalog.execution(result.execution_id)
    (source,) = detail.sources
    assert (source.uri, source.rows, source.bytes) == (f"file://{project.root}/in/1.csv", 1, 12)
    assert source.properties["sha256"] == hashlib.sha256(b"id,name\n1,x\n").hexdigest()
    assert detail.info.properties["user"] == "tester"
    assert detail.outputs == (result.version,)


def test_a_source_that_changes_while_it_is_read_commits_nothing(project, monkeypatch):
    project.put(
        "flaky.py",
        """
from lakecat_connectors.files import Files

class Changing(Files):
    def read(self, slice_, options):
        reader = super().read(slice_, options)
        with open(slice_.files[0].uri.removeprefix("file://"), "a") as file:
            file.write("3,z\\n")
        return reader
""",
    )
    monkeypatch.syspath_prepend(str(project.root))
    project.put("in/1.csv", "id,name\n1,x\n")
    job = project.job("t", target="raw.t", connector="flaky:Changing", options={"path": "in/*.csv"})
    with pytest.raises(SourceChangedError):
        project.run(job)
    assert not project.exists("raw.t")
    assert project.data_files() == []
    good = project.job("t", target="raw.t", options={"path": "in/*.csv"})
    project.run(good)
    assert project.rows("raw.t") == Counter({(1, "x"): 1, (3, "z"): 1})
    project.clean()


def test_the_connector_is_told_what_the_table_has_and_what_the_job_declares(project, monkeypatch):
    seen: list[ReadOptions] = []
    from lakecat_connectors.files import Files

    read = Files.read
    monkeypatch.setattr(Files, "read", lambda self, s, options: (seen.append(options), read(self, s, options))[1])
    project.put("in/1.csv", "code,n\n00501,1\n")
    keys = {"target": "raw.t", "options": {"path": "in/*.csv"}, "columns": {"n": "decimal(9, 2)"}}
    job = project.job("t", **keys)
    project.run(job)
    project.put("in/2.csv", "code,n\n501,2.25\n")
    project.run(job)
    assert seen[0].expected is None
    assert str(seen[0].declared["n"]) == "decimal128(9, 2)"
    assert {f.name: str(f.type) for f in seen[1].expected} == {"code": "string", "n": "decimal128(9, 2)"}
    assert [str(row[0]) for row in sorted(project.rows("raw.t"))] == ["00501", "501"]
