"""New files as an SQS queue tells of them, against moto: each is loaded once, and no message is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from s3_servers import S3Server, moto_s3

from lakecat.connector import StreamRequest
from lakecat.errors import ConfigError, ParseError, SourceError
from lakecat.types import WriteMode
from lakecat_connectors._events import uris_of

__all__ = ["moto_s3"]


@dataclass
class Bucket:
    """A bucket whose events go to a queue."""

    name: str
    url: str
    s3: Any
    sqs: Any
    options: dict[str, Any]

    def put(self, key: str, text: str = "a\n1\n") -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=text.encode())

    def waiting(self) -> tuple[int, int]:
        """Messages that can be taken, and those that somebody has."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])


@pytest.fixture
def bucket(moto_s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
    keys = {
        "endpoint_url": moto_s3.endpoint,
        "aws_access_key_id": moto_s3.access_key,
        "aws_secret_access_key": moto_s3.secret_key,
        "region_name": "us-east-1",
    }
    s3, sqs = boto3.client("s3", **keys), boto3.client("sqs", **keys)
    name = moto_s3.new_bucket()
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
    s3.put_bucket_notification_configuration(
        Bucket=name, NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": events}]}
    )
    storage = {
        "endpoint": moto_s3.endpoint,
        "region": "us-east-1",
        "access_key": moto_s3.access_key,
        "secret_key": moto_s3.secret_key,
        "path_style": "true",
    }
    options = {"storage": storage, "events": {"queue": url, "endpoint": moto_s3.endpoint, "wait": 0}}
    yield Bucket(name, url, s3, sqs, options)
    s3.close()
    sqs.close()


def names(slice_) -> list[str]:
    return [file.uri.rpartition("/")[2] for file in slice_.files]


def test_messages_are_deleted_when_their_files_are_committed(bucket: Bucket, connectors, ledger_type) -> None:
    ledger = ledger_type()
    for key in ("in/a b+ü.csv", "in/c.csv", "in/c.csv", "other/d.csv"):
        bucket.put(key)
    connector = connectors(f"s3://{bucket.name}/in/*.csv", batch="file", **bucket.options)
    slices = iter(connector.plan(StreamRequest(), ledger))
    first = next(slices)
    assert names(first) == ["a b+ü.csv"]
    ledger.files |= set(first.files)
    second = next(slices)
    assert names(second) == ["c.csv"]
    assert bucket.waiting()[0] == 0
    assert sum(bucket.waiting()) >= 4
    ledger.files |= set(second.files)
    bucket.put("in/e.csv")
    third = next(slices)
    assert names(third) == ["e.csv"]
    assert sum(bucket.waiting()) == 1
    ledger.files |= set(third.files)
    assert list(slices) == []
    assert bucket.waiting() == (0, 0)


def test_a_run_that_fails_leaves_its_messages(bucket: Bucket, connectors, ledger_type) -> None:
    ledger = ledger_type()
    bucket.put("a.csv")
    connector = connectors(f"s3://{bucket.name}/*.csv", batch="all", **bucket.options)
    slices = iter(connector.plan(StreamRequest(), ledger))
    assert names(next(slices)) == ["a.csv"]
    connector.close()
    assert bucket.waiting()[1] == 0
    again = connectors(f"s3://{bucket.name}/*.csv", batch="all", **bucket.options)
    slices = iter(again.plan(StreamRequest(), ledger))
    found = next(slices)
    assert names(found) == ["a.csv"]
    ledger.files |= set(found.files)  # committed, but killed before the message was deleted
    again.close()
    third = connectors(f"s3://{bucket.name}/*.csv", batch="all", **bucket.options)
    assert list(third.plan(StreamRequest(), ledger)) == []
    assert bucket.waiting() == (0, 0)


def test_a_removed_file_is_gone(bucket: Bucket, connectors, ledger_type) -> None:
    ledger = ledger_type()
    bucket.put("a.csv")
    bucket.put("b.csv")
    bucket.s3.delete_object(Bucket=bucket.name, Key="a.csv")
    connector = connectors(f"s3://{bucket.name}/*.csv", batch="all", **bucket.options)
    (slice_,) = connector.plan(StreamRequest(), ledger)
    assert names(slice_) == ["b.csv"]
    assert [file.uri for file in slice_.gone] == [f"s3://{bucket.name}/a.csv"]


def test_events_may_come_twice_late_and_in_any_order(bucket: Bucket, connectors, ledger_type) -> None:
    """What counts is what is there when the run looks."""
    bucket.sqs.purge_queue(QueueUrl=bucket.url)
    bucket.put("in/a.csv", "a\n1\n")
    bucket.put("in/a.csv", "a\n2\n")
    bucket.put("in/b.csv")
    bucket.s3.delete_object(Bucket=bucket.name, Key="in/b.csv")
    bucket.put("in/b.csv", "a\n3\n")
    bucket.put("in/c.csv")
    bucket.s3.delete_object(Bucket=bucket.name, Key="in/c.csv")
    messages = []
    while got := bucket.sqs.receive_message(QueueUrl=bucket.url, MaxNumberOfMessages=10).get("Messages", []):
        messages += got
    for message in messages:
        bucket.sqs.delete_message(QueueUrl=bucket.url, ReceiptHandle=message["ReceiptHandle"])
    for message in [*reversed(messages), *messages]:
        bucket.sqs.send_message(QueueUrl=bucket.url, MessageBody=message["Body"])
    connector = connectors(f"s3://{bucket.name}/in/*.csv", batch="all", **bucket.options)
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    assert names(slice_) == ["a.csv", "b.csv"]
    assert [file.uri for file in slice_.gone] == [f"s3://{bucket.name}/in/c.csv"]
    assert bucket.waiting() == (0, 0)


def test_events_of_folders_and_hidden_files_are_none(bucket: Bucket, connectors, ledger_type) -> None:
    for key in ("in/", "in/deep/", "in/.part.csv", "in/deep/a.csv"):
        bucket.put(key, "" if key.endswith("/") else "a\n1\n")
    connector = connectors(f"s3://{bucket.name}/in/**", format="csv", batch="all", **bucket.options)
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    assert (names(slice_), slice_.gone) == (["a.csv"], ())


def test_what_is_no_event_is_refused_and_stays(bucket: Bucket, connectors, ledger_type) -> None:
    bucket.sqs.purge_queue(QueueUrl=bucket.url)
    bucket.sqs.send_message(QueueUrl=bucket.url, MessageBody="hello")
    connector = connectors(f"s3://{bucket.name}/*.csv", **bucket.options)
    with pytest.raises(ParseError, match="no event of S3") as error:
        list(connector.plan(StreamRequest(), ledger_type()))
    assert error.value.where is not None
    assert error.value.where.file == bucket.url
    connector.close()
    assert sum(bucket.waiting()) == 1


def test_a_queue_that_is_not_there(bucket: Bucket, connectors, ledger_type) -> None:
    bucket.options["events"]["queue"] = f"{bucket.url}-other"
    connector = connectors(f"s3://{bucket.name}/*.csv", **bucket.options)
    with pytest.raises(SourceError, match="refuses") as error:
        list(connector.plan(StreamRequest(), ledger_type()))
    assert "lakecat-test-secret" not in str(error.value)


def test_events_are_for_new_files_on_s3(bucket: Bucket, connectors, ledger_type) -> None:
    with pytest.raises(ConfigError, match="events"):
        connectors("in/*.csv", **bucket.options)
    connector = connectors(f"s3://{bucket.name}/*.csv", **bucket.options)
    with pytest.raises(ConfigError, match="events"):
        list(connector.plan(StreamRequest(mode=WriteMode.REPLACE), ledger_type()))


def test_events_come_by_way_of_others_too() -> None:
    records = json.dumps(
        {
            "Records": [
                {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "b"}, "object": {"key": "x+y%2Bz.csv"}}}
            ]
        }
    )
    assert uris_of(records) == ("s3://b/x y+z.csv",)
    assert uris_of(json.dumps({"Type": "Notification", "Message": records})) == ("s3://b/x y+z.csv",)
    bridge = {"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": "x+y.csv"}}}
    assert uris_of(json.dumps(bridge)) == ("s3://b/x+y.csv",)
    assert uris_of(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})) == ()
