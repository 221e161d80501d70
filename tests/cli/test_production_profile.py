"""Production is the same project with two keys changed: an S3 lake and a database server."""

import json
from pathlib import Path

import pytest
from s3_servers import S3Server, moto_s3  # noqa: F401 - a fixture
from shell_lab import Shell
from sqlalchemy.engine import URL


@pytest.mark.parametrize("database", ["postgres_url", "mariadb_url"])
def test_the_example_runs_on_s3_and_a_database_server(
    shop: Path,
    shell: Shell,
    moto_s3: S3Server,  # noqa: F811 - the fixture
    database: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url: URL = request.getfixturevalue(database)
    catalog: dict[str, str] = {"url": url._replace(password=None).render_as_string()}
    if url.password:
        catalog["password"] = "env:LAKECAT_TEST_DB_PASSWORD"
        monkeypatch.setenv("LAKECAT_TEST_DB_PASSWORD", str(url.password))
    for name, value in moto_s3.environ.items():
        monkeypatch.setenv(name, value)
    prod = {"lake": f"s3://{moto_s3.new_bucket()}/tables", "catalog": catalog, "storage": moto_s3.storage()}
    text = (shop / "lakecat.yaml").read_text()
    (shop / "lakecat.yaml").write_text(f"{text}\nprofiles: {json.dumps({'prod': prod})}\n")
    monkeypatch.setenv("LAKECAT_PROFILE", "prod")

    assert shell("ingest").code == 0
    assert shell("run").code == 0
    assert "nothing to do" in shell("run").out
    assert shell("query", "SELECT sum(revenue) FROM mart.revenue_by_day", "--json").json["rows"] == [["386.65"]]
    assert shell("doctor", "--deep").code == 0
    assert shell("show", "raw.orders", "--json").json["description"]["location"].startswith("s3://")
    assert not (shop / "lake").exists()
    assert not (shop / "catalog.db").exists()
    everything = "".join(str(shell(*words)) for words in (["doctor"], ["status"], ["ls", "--json"], ["show", "raw.x"]))
    assert moto_s3.secret_key not in everything
