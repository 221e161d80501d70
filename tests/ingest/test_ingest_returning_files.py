"""Files that change and change back, go and come back, and listings that come out empty."""

import os
from collections import Counter

from lakecat.types import WriteMode


def put(project, name, text, at):
    """A file with a modification time of its own: the same text and time are the same state of the file."""
    path = project.put(name, text)
    os.utime(path, (at, at))
    return path


def test_a_merged_file_that_got_its_old_content_back_is_merged_again(make_project, tmp_path):
    project = make_project(tmp_path / "p")
    job = project.job("load", target="raw.t", options={"path": "in/*.csv"}, mode="merge", key="id")
    for text, at, value in (("id,v\n1,a\n", 1000, "a"), ("id,v\n1,b\n", 2000, "b"), ("id,v\n1,a\n", 1000, "a")):
        put(project, "in/1.csv", text, at)
        assert len(project.run(job)) == 1
        assert project.rows("raw.t") == Counter({(1, value): 1})
        assert project.run(job) == ()
    project.clean()


def test_an_appended_state_of_a_file_is_appended_once_ever(make_project, tmp_path):
    project = make_project(tmp_path / "p")
    job = project.job("load", target="raw.t", options={"path": "in/*.csv"}, mode="append")
    path = put(project, "in/1.csv", "id\n1\n", 1000)
    project.run(job)
    path.unlink()
    (noted,) = project.run(job)
    assert (noted.gone, noted.version) == ((f"file://{path}",), None)
    put(project, "in/1.csv", "id\n1\n", 1000)
    assert project.run(job) == ()
    assert project.rows("raw.t") == Counter({(1,): 1})


def test_a_replaced_table_survives_an_empty_folder_and_comes_back(make_project, tmp_path):
    project = make_project(tmp_path / "p")
    job = project.job("load", target="raw.t", options={"path": "in/*.csv"}, mode=WriteMode.REPLACE.value)
    first = put(project, "in/1.csv", "id\n1\n", 1000)
    second = put(project, "in/2.csv", "id\n2\n", 1000)
    project.run(job)
    second.unlink()
    project.run(job)
    assert project.rows("raw.t") == Counter({(1,): 1})
    first.unlink()
    assert project.run(job) == ()
    assert project.rows("raw.t") == Counter({(1,): 1})
    put(project, "in/1.csv", "id\n1\n", 1000)
    put(project, "in/2.csv", "id\n2\n", 1000)
    assert len(project.run(job)) == 1
    assert project.rows("raw.t") == Counter({(1,): 1, (2,): 1})
    assert project.run(job) == ()
