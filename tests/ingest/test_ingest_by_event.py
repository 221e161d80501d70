"""A job that is told of new files by a queue: killed wherever, each file is loaded once and no message is lost."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import boto3
import pytest
import yaml
from s3_servers import S3Server, moto_s3

__all__ = ["moto_s3"]


@pytest.fixture
def source(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A bucket whose events go to a queue that hands a message out again at once."""
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    for name, value in moto_s3.environ.items():
        monkeypatch.setenv(name, value)
    keys = {
        "endpoint_url": moto_s3.endpoint,
        "aws_access_key_id": moto_s3.access_key,
        "aws_secret_access_key": moto_s3.secret_key,
        "region_name": "us-east-1",
    }
    s3, sqs = boto3.client("s3", **keys), boto3.client("sqs", **keys)
    bucket = moto_s3.new_bucket()
    url = sqs.create_queue(QueueName=bucket, Attributes={"VisibilityTimeout": "0"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )

    def waiting() -> int:
        name = "ApproximateNumberOfMessages"
        return int(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])

    yield SimpleNamespace(
        put=lambda key, text: s3.put_object(Bucket=bucket, Key=key, Body=text.encode()),
        waiting=waiting,
        options={
            "path": f"s3://{bucket}/*.csv",
            "events": {"queue": url, "endpoint": moto_s3.endpoint, "wait": 0},
        },
        storage=moto_s3.storage(),
    )
    s3.close()
    sqs.close()


@pytest.mark.parametrize("point", ["ingest.planned", "data.written", "commit.after"])
def test_killed_and_run_again(source, make_project, tmp_path, expire_leases, point: str) -> None:
    settings = {
        "project": "tests",
        "lake": "./lake",
        "catalog": "sqlite:///./catalog.db",
        "storage": source.storage,
    }
    project = make_project(tmp_path / "project", yaml.safe_dump(settings))
    job = project.job("load", connector="files", target="raw.t", batch="file", options=source.options)
    source.put("a.csv", "id\n1\n")
    source.put("b.csv", "id\n2\n")
    code, said = project.process("job", "load", failpoint=f"{point}:1:kill")
    assert code == -signal.SIGKILL, said
    assert source.waiting() > 0
    expire_leases(project)
    project.run(job)
    assert project.rows("raw.t") == Counter({(1,): 1, (2,): 1})
    assert source.waiting() == 0
    assert project.run(job) == ()
    project.clean()
