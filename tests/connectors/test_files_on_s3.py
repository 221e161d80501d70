"""The files connector against S3 servers: globs, etags as versions, changes noticed."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import boto3
import pytest
from s3_servers import S3Server, ceph_s3, moto_s3

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import SourceChangedError, SourceError

__all__ = ["ceph_s3", "moto_s3"]

Put = Callable[[str, bytes], None]


@pytest.fixture(params=["moto", "ceph"])
def s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    server: S3Server = request.getfixturevalue(f"{request.param}_s3")
    return server


def storage_of(server: S3Server, **changes: str) -> dict[str, str]:
    return {
        "endpoint": server.endpoint,
        "region": "us-east-1",
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "path_style": "true",
        "connect_timeout": "2.0",
        "read_timeout": "20.0",
        "attempts": "2",
        **changes,
    }


@pytest.fixture
def bucket(s3: S3Server) -> tuple[str, Put]:
    name = s3.new_bucket()
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name="us-east-1",
    )
    return name, lambda key, body: client.put_object(Bucket=name, Key=key, Body=body) and None


def test_files_on_s3(s3: S3Server, bucket: tuple[str, Put], connectors, ledger_type) -> None:
    name, put = bucket
    put("in/b.csv.gz", gzip.compress(b"a,b\n3,z\n"))
    put("in/a.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\n"))
    put("in/readme.txt", b"no")
    connector = connectors(f"s3://{name}/in/*.csv.gz", storage=storage_of(s3))
    ledger = ledger_type()
    slices = connector.plan(StreamRequest(), ledger)
    assert [slice_.files[0].uri for slice_ in slices] == [f"s3://{name}/in/a.csv.gz", f"s3://{name}/in/b.csv.gz"]
    assert all(slice_.files[0].etag for slice_ in slices)
    for slice_, rows in zip(slices, (2, 1), strict=True):
        reader = connector.read(slice_, ReadOptions())
        assert sum(batch.num_rows for batch in reader) == rows
        ledger.files.update(item.file for item in reader.summary().files)
    assert connector.plan(StreamRequest(), ledger) == ()
    put("in/b.csv.gz", gzip.compress(b"a,b\n4,z\n"))
    (slice_,) = connector.plan(StreamRequest(), ledger)
    put("in/b.csv.gz", gzip.compress(b"a,b\n5,z\n"))
    with pytest.raises(SourceChangedError):
        connector.read(slice_, ReadOptions())


def test_what_s3_refuses_is_said_without_secrets(
    s3: S3Server, bucket: tuple[str, Put], connectors, ledger_type
) -> None:
    name, _ = bucket
    with pytest.raises(SourceError, match="no such file"):
        connectors(f"s3://{name}/nothing.csv", storage=storage_of(s3)).plan(StreamRequest(), ledger_type())
    silent = storage_of(s3, endpoint="http://127.0.0.1:9", connect_timeout="0.2", attempts="1")
    with pytest.raises(SourceError) as error:
        connectors(f"s3://{name}/x.csv", storage=silent).plan(StreamRequest(), ledger_type())
    assert s3.secret_key not in str(error.value)
    assert s3.access_key not in str(error.value)


def test_a_hidden_file_is_read_by_its_name_or_a_dot(s3: S3Server, bucket: tuple[str, Put], connectors) -> None:
    name, put = bucket
    put("in/.a.csv", b"a\n1\n")
    put("in/b.csv", b"a\n1\n")
    site = f"s3://{name}/in"
    for path, found in ((".a.csv", [".a.csv"]), ("*.csv", ["b.csv"]), (".*.csv", [".a.csv"]), ("**", ["b.csv"])):
        scanned = connectors(f"{site}/{path}", storage=storage_of(s3))._listing.scan()
        assert [version.uri for version in scanned] == [f"{site}/{key}" for key in found], path


def test_keys_as_odd_as_stores_allow(s3: S3Server, bucket: tuple[str, Put], connectors, ledger_type) -> None:
    name, put = bucket
    keys = ["in/ sp ace.csv", "in/d#e?f.csv", "in/g%2Fh.csv", "in/i+j.csv", "in/é.csv", "in/*.csv", "in/o[1].csv"]
    for key in keys:
        put(key, b"a\n1\n")
    put("in/folder.csv/", b"")
    connector = connectors(f"s3://{name}/in/*.csv", storage=storage_of(s3), batch="all")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    assert sorted(file.uri for file in slice_.files) == sorted(f"s3://{name}/{key}" for key in keys)
    assert sum(batch.num_rows for batch in connector.read(slice_, ReadOptions())) == len(keys)
