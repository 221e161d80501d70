"""The same corridor with production's parts: PostgreSQL or MariaDB for the catalog, S3 for the lake."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
import yaml
from s3_servers import ceph_s3, moto_s3

__all__ = ["ceph_s3", "moto_s3"]


@pytest.fixture(params=["postgres", "mariadb"])
def production(request, tmp_path, monkeypatch, make_project):
    url = request.getfixturevalue(f"{request.param}_url")
    server = request.getfixturevalue("moto_s3")
    for name, value in {**server.environ, "LAKECAT_TEST_PASSWORD": url.password or ""}.items():
        monkeypatch.setenv(name, value)
    catalog = {"url": url._replace(password=None).render_as_string().replace("+psycopg", "").replace("+pymysql", "")}
    if url.password:
        catalog["password"] = "env:LAKECAT_TEST_PASSWORD"
    settings = {
        "project": "tests",
        "lake": f"s3://{server.new_bucket()}/lake",
        "catalog": catalog,
        "storage": server.storage(),
    }
    return make_project(tmp_path / "production", yaml.safe_dump(settings))


@pytest.mark.parametrize("name", ["data.written", "commit.pointer_swapped", "commit.after"])
def test_killed_and_run_again(production, name, expire_leases):
    project = production
    project.put("in/1.csv", "id,name\n1,a\n2,b\n")
    job = project.job("load", target="raw.t", options={"path": "in/*.csv"}, mode="merge", key="id", partition="id")
    project.run(job)
    project.put("in/2.csv", "id,name\n2,B\n3,c\n")
    code, said = project.process("job", "load", failpoint=f"{name}:1:kill")
    assert code == -signal.SIGKILL, said
    expire_leases(project)
    assert len(project.run(job)) == (0 if name == "commit.after" else 1)
    assert project.rows("raw.t") == Counter({(1, "a"): 1, (2, "B"): 1, (3, "c"): 1})
    assert project.run(job) == ()
    project.clean()
    assert "LAKECAT_FAILPOINT" not in os.environ


def test_four_processes_append_at_once(production):
    running = [production.start("appends", str(number), "5", "0") for number in range(4)]
    for process in running:
        with process:
            out, err = process.communicate(timeout=200)
        assert (process.returncode, err) == (0, ""), out
    expected = Counter({(w, step, row): 1 for w in range(4) for step in range(5) for row in range(3)})
    assert production.rows("raw.events") == expected
    production.clean()
