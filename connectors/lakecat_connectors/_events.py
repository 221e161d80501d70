"""New files as a queue tells of them: Amazon S3's event notifications through SQS.

A message is deleted once a commit holds every file that it names. Until then it stays in the queue, so that a run that
is killed loses none; what comes twice, the ledger knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus

from lakecat.errors import ParseError, SourceAccessError, SourceError, SourceUnavailableError, Where

_PER_CALL: Final = 10
_AT_ONCE: Final = 1_000
_REGION: Final = re.compile(r"://sqs[.-]([a-z0-9-]+)\.")
_DENIED: Final = ("AccessDenied", "InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidAccessKeyId")


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its receipt, and the URIs of the files that it tells of."""

    id: str
    receipt: str
    uris: tuple[str, ...]


class EventQueue:
    """The messages of one queue, as much as a run takes of them."""

    def __init__(self, url: str, *, endpoint: str | None, wait: int, storage: Mapping[str, str]) -> None:
        """Nothing is asked of the queue yet; ``wait``: seconds to wait for a message."""
        self._url = url
        self._endpoint = endpoint
        self._wait = wait
        self._storage = storage
        self._client: Any = None
        self._taken: list[Message] = []

    def batches(self) -> Iterator[tuple[str, ...]]:
        """The files that messages tell of, each once, until the queue is empty.

        The messages of one batch are deleted when the next is asked for. Raises SourceError.
        """
        while messages := self._receive():
            self._taken = messages
            yield tuple(dict.fromkeys(uri for message in messages for uri in message.uris))
            self._taken = []
            self._delete(messages)

    def close(self) -> None:
        """Let messages whose files were not committed come again at once; safe to call twice."""
        taken, self._taken = self._taken, []
        client, self._client = self._client, None
        if client is None:
            return
        try:
            for part in _parts(taken):
                entries = [{**_entry(number, one), "VisibilityTimeout": 0} for number, one in enumerate(part)]
                client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            client.close()
        except Exception:  # noqa: BLE001 - boto3's errors; the messages come again by themselves, only later
            return

    def _receive(self) -> list[Message]:
        found: list[Message] = []
        while len(found) < _AT_ONCE:
            answer = self._call(
                lambda client: client.receive_message(
                    QueueUrl=self._url, MaxNumberOfMessages=_PER_CALL, WaitTimeSeconds=self._wait
                )
            )
            messages = answer.get("Messages", [])
            if not messages:
                break
            self._taken = found
            found.extend(self._message(message) for message in messages)
        return found

    def _message(self, message: Mapping[str, Any]) -> Message:
        identity = str(message["MessageId"])
        try:
            uris = uris_of(message["Body"])
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise ParseError(
                f"message {identity} is no event of S3",
                where=Where(self._url),
                hint="send nothing but S3's events to this queue, and remove the message from it",
            ) from err
        return Message(identity, str(message["ReceiptHandle"]), uris)

    def _delete(self, messages: Sequence[Message]) -> None:
        for part in _parts(messages):
            entries = [_entry(number, one) for number, one in enumerate(part)]
            self._call(lambda client: client.delete_message_batch(QueueUrl=self._url, Entries=entries))  # noqa: B023

    def _call(self, ask: Callable[[Any], Any]) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._client is None:
                self._client = self._connect()
            return ask(self._client)
        except ClientError as err:
            code = str(err.response.get("Error", {}).get("Code", ""))
            kind: type[SourceError] = SourceAccessError if any(word in code for word in _DENIED) else SourceError
            raise kind(
                f"the queue refuses ({code})",
                where=Where(self._url),
                hint="check the queue's URL, and the credentials' rights to receive and delete its messages",
            ) from err
        except BotoCoreError as err:
            raise SourceUnavailableError(
                f"the queue cannot be asked ({type(err).__name__})",
                where=Where(self._url),
                hint="check the queue's URL, its region and the network",
            ) from err

    def _connect(self) -> Any:
        import boto3
        from botocore.config import Config

        region = _REGION.search(self._url)
        return boto3.client(
            "sqs",
            endpoint_url=self._endpoint,
            region_name=region[1] if region else self._storage.get("region"),
            aws_access_key_id=self._storage.get("access_key"),
            aws_secret_access_key=self._storage.get("secret_key"),
            aws_session_token=self._storage.get("session_token"),
            config=Config(connect_timeout=5, read_timeout=30 + self._wait, retries={"mode": "standard"}),
        )


def _entry(number: int, message: Message) -> dict[str, Any]:
    return {"Id": str(number), "ReceiptHandle": message.receipt}


def _parts(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), _PER_CALL):
        yield messages[start : start + _PER_CALL]


def uris_of(body: str) -> tuple[str, ...]:
    """The files that one message tells of, made or removed: from S3 itself, by way of SNS, or from EventBridge.

    S3's own test message tells of none. Raises ValueError, KeyError, TypeError or AttributeError for anything else.
    """
    event = json.loads(body)
    if "Message" in event and "Records" not in event:
        event = json.loads(event["Message"])
    if event.get("Event") == "s3:TestEvent":
        return ()
    if "detail" in event:
        detail = event["detail"]
        return (f"s3://{detail['bucket']['name']}/{detail['object']['key']}",)
    return tuple(
        f"s3://{record['s3']['bucket']['name']}/{unquote_plus(record['s3']['object']['key'])}"
        for record in event["Records"]
    )
