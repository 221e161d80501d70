"""What a table holds of files that come, change, come late, and go; and of lines that cannot be read."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from lakecat.errors import ConfigError, ParseError, SchemaError, SourceError
from lakecat.ingest import plan_job
from lakecat.types import DatasetName

ORDERS = DatasetName.parse("raw.orders")
STREAM = "ingest/orders/raw.orders"


def by_file(**keys) -> dict:
    return {
        "connector": "files",
        "target": "raw.orders",
        "mode": "replace_files",
        "options": {"path": "in/*.csv"},
        **keys,
    }


def rows(project) -> Counter:
    table = project.table("raw.orders").select(["id", "_lakecat_file"]).to_pydict()
    return Counter(zip(table["id"], [Path(uri).name for uri in table["_lakecat_file"]], strict=True))


def rewrite(project, name: str, text: str) -> None:
    """A new version of a file, whatever the file system's clock."""
    path = project.put(name, text)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))


def test_a_late_file_with_an_old_time_is_loaded(project) -> None:
    job = project.job("orders", connector="files", target="raw.orders", options={"path": "in/*.csv"})
    project.put("in/b.csv", "id\n1\n")
    project.run(job)
    late = project.put("in/a.csv", "id\n2\n")
    os.utime(late, (0, 0))
    (result,) = project.run(job)
    assert result.rows == 1
    assert project.rows("raw.orders") == Counter([(1,), (2,)])
    assert project.run(job) == ()


@pytest.mark.parametrize("batch", ["file", "all"])
def test_a_changed_file_takes_the_place_of_its_old_rows(project, batch: str) -> None:
    job = project.job("orders", **by_file(batch=batch))
    project.put("in/a.csv", "id\n1\n1\n2\n")
    project.put("in/b.csv", "id\n1\n3\n")
    project.run(job)
    assert rows(project) == Counter({(1, "a.csv"): 2, (2, "a.csv"): 1, (1, "b.csv"): 1, (3, "b.csv"): 1})
    rewrite(project, "in/a.csv", "id\n9\n")
    project.put("in/c.csv", "id\n1\n")
    project.run(job)
    assert rows(project) == Counter({(9, "a.csv"): 1, (1, "b.csv"): 1, (3, "b.csv"): 1, (1, "c.csv"): 1})
    assert project.run(job) == ()
    rewrite(project, "in/b.csv", "id\n")
    project.run(job)
    assert rows(project) == Counter({(9, "a.csv"): 1, (1, "c.csv"): 1})
    project.clean()


def test_a_file_that_is_gone_is_noted_once(project) -> None:
    job = project.job("orders", connector="files", target="raw.orders", options={"path": "in/*.csv"})
    gone = project.put("in/a.csv", "id\n1\n")
    project.put("in/b.csv", "id\n2\n")
    project.run(job)
    before = project.catalog.dataset(ORDERS).latest
    gone.unlink()
    (planned,) = plan_job(project.services, job).streams
    assert [(slice_.files, slice_.gone) for slice_ in planned.slices] == [((), (f"file://{gone}",))]
    (result,) = project.run(job)
    assert (result.gone, result.version, result.rows) == ((f"file://{gone}",), None, 0)
    assert project.catalog.dataset(ORDERS).latest == before
    assert [Path(file.uri).name for file in project.catalog.ledger(STREAM)] == ["b.csv"]
    assert project.run(job) == ()
    project.put("in/a.csv", "id\n5\n")
    (result,) = project.run(job)
    assert (result.gone, result.rows) == ((), 1)
    assert project.rows("raw.orders") == Counter([(1,), (2,), (5,)])
    project.clean()


def test_rows_of_a_file_that_is_gone_stay_or_go_as_the_job_says(project) -> None:
    stays, goes = project.job("orders", **by_file()), project.job("orders", **by_file(gone="remove"))
    for name in "abc":
        project.put(f"in/{name}.csv", f"id\n{ord(name)}\n")
    project.run(stays)
    (project.root / "in/a.csv").unlink()
    (noted,) = project.run(stays)
    assert len(noted.gone) == 1
    assert len(rows(project)) == 3
    renamed = (project.root / "in/b.csv").rename(project.root / "in/d.csv")
    (result,) = project.run(goes)
    assert [Path(uri).name for uri in result.gone] == ["b.csv"]
    assert rows(project) == Counter({(97, "a.csv"): 1, (98, "d.csv"): 1, (99, "c.csv"): 1})
    renamed.unlink()
    (result,) = project.run(goes)
    assert result.version is not None
    assert rows(project) == Counter({(97, "a.csv"): 1, (99, "c.csv"): 1})
    project.put("in/b.csv", "id\n98\n")
    project.run(goes)
    assert rows(project) == Counter({(97, "a.csv"): 1, (98, "b.csv"): 1, (99, "c.csv"): 1})
    project.clean()


def test_a_folder_that_is_empty_all_at_once_empties_no_table(project) -> None:
    job = project.job("orders", **by_file(gone="remove"))
    for name in "ab":
        project.put(f"in/{name}.csv", f"id\n{ord(name)}\n")
    project.run(job)
    for name in "ab":
        (project.root / f"in/{name}.csv").unlink()
    with pytest.raises(SourceError, match="every file is gone"):
        project.run(job)
    assert len(rows(project)) == 2


def test_files_that_the_path_does_not_name_any_more_are_not_gone(project) -> None:
    project.put("in/a.csv", "id\n1\n")
    project.run(project.job("orders", **by_file(gone="remove")))
    project.put("new/b.csv", "id\n2\n")
    (result,) = project.run(project.job("orders", **by_file(gone="remove", options={"path": "new/*.csv"})))
    assert result.gone == ()
    assert rows(project) == Counter({(1, "a.csv"): 1, (2, "b.csv"): 1})


def test_any_job_can_ask_for_the_file_of_each_row(project) -> None:
    project.put("in/a.csv", "id\n1\n")
    keys = {"connector": "files", "target": "raw.orders", "options": {"path": "in/*.csv"}}
    project.run(project.job("orders", **keys, file_column=True, names="snake"))
    assert rows(project) == Counter({(1, "a.csv"): 1})
    project.put("in/b.csv", "id\n2\n")
    project.run(project.job("orders", **keys))
    assert project.table("raw.orders").sort_by("id")["_lakecat_file"].to_pylist()[1] is None


def test_a_table_loaded_without_files_is_not_replaced_by_file(project) -> None:
    project.put("in/a.csv", "id\n1\n")
    keys = {"connector": "files", "target": "raw.orders", "options": {"path": "in/*.csv"}}
    project.run(project.job("orders", **keys))
    rewrite(project, "in/a.csv", "id\n2\n")
    with pytest.raises(ConfigError, match="do not say which file"):
        project.run(project.job("orders", **by_file()))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("in/a.csv", b"id,name\n1,x\n2\n3,\xff\nfour,x\n5,z\n"),
        (
            "in/a.jsonl",
            b'{"id":1,"name":"x"}\n{"id":2\n{"id":3,"name":"\xff"}\n{"id":"four","name":"x"}\n{"id":5,"name":"z"}',
        ),
    ],
)
def test_lines_that_cannot_be_read_are_in_quarantine(project, name: str, text: bytes) -> None:
    path = project.put(name, text)
    keys = {"connector": "files", "target": "raw.orders", "options": {"path": name}, "columns": {"id": "long"}}
    with pytest.raises(ParseError):
        project.run(project.job("orders", **keys))
    with pytest.raises(ParseError, match="more than 2 lines"):
        project.run(project.job("orders", **keys, quarantine={"max_rows": 2}))
    assert not project.exists("raw.orders")
    job = project.job("orders", **keys, quarantine=True)
    (result,) = project.run(job)
    assert (result.rows, result.rejected, str(result.quarantine)) == (2, 3, "raw.orders_quarantine")
    assert project.rows("raw.orders") == Counter([(1, "x"), (5, "z")])
    aside = project.table("raw.orders_quarantine")
    first = 3 if name == "in/a.csv" else 2
    assert aside["line"].to_pylist() == [first, first + 1, first + 2]
    assert set(aside["source"].to_pylist()) == {str(path)}
    assert aside["text"].to_pylist() == [
        line.decode(errors="replace") for line in text.splitlines()[first - 1 : first + 2]
    ]
    assert aside["column"].to_pylist() == [None, None, "id"]
    assert project.run(job) == ()
    project.clean()


def test_a_source_with_a_column_of_our_name_is_refused(project) -> None:
    project.put("in/a.csv", "id,_lakecat_file\n1,2\n")
    with pytest.raises((ParseError, SchemaError), match="_lakecat_file"):
        project.run(project.job("orders", **by_file()))
