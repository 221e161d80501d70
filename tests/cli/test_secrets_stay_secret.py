"""A secret is nowhere but in the requests it signs: not in output, errors, the catalog, the lineage or the lake."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import boto3
import pytest
from s3_servers import S3Server, moto_s3  # noqa: F401 - a fixture
from shell_lab import Shell

CANARY = "cAnArY/sEcReT+key="
WRONG = "wRoNg/CaNaRy+key="


def spellings(secret: str) -> Iterator[bytes]:
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")
    yield json.dumps(secret).encode().strip(b'"')


def refuse(secret: str, what: str, content: bytes) -> None:
    for spelling in spellings(secret):
        assert spelling not in content, f"{spelling!r} is in {what}"


@pytest.fixture
def server(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:  # noqa: F811 - the fixture
    monkeypatch.setenv("LAKECAT_TEST_KEY", moto_s3.access_key)
    monkeypatch.setenv("LAKECAT_TEST_SECRET", CANARY)
    return replace(moto_s3, secret_key=CANARY)


def use(shop: Path, server: S3Server, bucket: str, **changes: object) -> None:
    settings = {"lake": f"s3://{bucket}/lake", "catalog": "sqlite:///./catalog.db"}
    (shop / "lakecat.yaml").write_text(json.dumps({**settings, "storage": server.storage(**changes)}))


COMMANDS = (
    ["plan"],
    ["ingest", "--verbose"],
    ["--json", "ingest"],
    ["run"],
    ["--json", "show", "raw.orders"],
    ["--json", "lineage", "raw.orders"],
    ["--json", "status"],
    ["query", "SELECT * FROM raw.orders"],
    ["query", "SELECT * FROM read_csv('s3://x/y')"],
    ["doctor", "--deep"],
)


def test_good_credentials(shop: Path, shell: Shell, server: S3Server) -> None:
    bucket = server.new_bucket()
    client = boto3.client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.put_object(
        Bucket=bucket, Key="in/orders.csv", Body=(shop / "landing" / "orders-2026-11-01.csv").read_bytes()
    )
    use(shop, server, bucket)
    (shop / "ingest" / "orders.yaml").write_text(f"target: raw.orders\noptions: {{path: ['s3://{bucket}/in/*.csv']}}\n")
    for words in COMMANDS:
        result = shell(*words)
        refuse(CANARY, " ".join(words), f"{result.out}\n{result.err}".encode())
    assert shell("--json", "ls").json["datasets"]
    refuse(CANARY, "the catalog", (shop / "catalog.db").read_bytes())
    for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
        refuse(CANARY, item["Key"], client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
    client.close()


def test_a_store_that_refuses(shop: Path, shell: Shell, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKECAT_TEST_SECRET", WRONG)
    use(shop, server, "no-such-bucket-here", attempts=1)
    for words in COMMANDS:
        result = shell(*words)
        refuse(WRONG, " ".join(words), f"{result.out}\n{result.err}".encode())
    refuse(WRONG, "the catalog", (shop / "catalog.db").read_bytes())


@pytest.mark.parametrize("url", ["s3://KEY:{}@bucket/a.csv", "https://user:{}@host/a.csv", "ftp://{}@host/a.csv"])
def test_credentials_in_a_path_are_refused_and_not_repeated(shop: Path, shell: Shell, url: str) -> None:
    secret = "pAsSwOrD1234"
    (shop / "ingest" / "orders.yaml").write_text(f"target: raw.orders\noptions: {{path: '{url.format(secret)}'}}\n")
    for words in (["ingest"], ["--json", "ingest"], ["plan"], ["doctor"]):
        result = shell(*words)
        assert result.code != 0
        refuse(secret, " ".join(words), f"{result.out}\n{result.err}".encode())
    refuse(secret, "the catalog", (shop / "catalog.db").read_bytes())


def test_a_plain_secret_in_the_settings_is_refused_and_not_repeated(shop: Path, shell: Shell, server: S3Server) -> None:
    use(shop, server, "bucket", secret_key=CANARY)
    for words in (["ls"], ["--json", "ls"], ["doctor"]):
        result = shell(*words)
        assert result.code == 2
        refuse(CANARY, " ".join(words), f"{result.out}\n{result.err}".encode())
