"""A lake in an S3 bucket.

Small files (metadata, manifests), listings and put-if-absent go through obstore; table data goes through pyarrow's S3
filesystem, which costs the least CPU. Both get their credentials, timeouts and attempts here, and nowhere else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Literal, Self

import obstore
import pyarrow as pa
import pyarrow.fs as pafs
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, PreconditionError
from obstore.exceptions import UnauthenticatedError as BadCredentialsError
from obstore.store import S3Store as ObjectStore

from lakecat.config import Storage
from lakecat.errors import ConfigError, ObjectExistsError, ObjectMissingError, StoreError, StoreUnavailableError
from lakecat.store.base import LakeOutput, LakeStore, StoredObject

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z", re.IGNORECASE)
_DENIED: Final = re.compile(r"ACCESS_DENIED|InvalidAccessKeyId|SignatureDoesNotMatch|INVALID_CLIENT_TOKEN_ID|code: 403")
_MD5: Final = re.compile(r"[0-9a-f]{32}\Z")
_REGION: Final = "us-east-1"  # what S3's own clients take when nothing says otherwise
_THREADS: Final = 8


class S3Store(LakeStore):
    """See LakeStore. ``url`` is ``s3://bucket/prefix``."""

    def __init__(self, url: str, storage: Storage | None = None, *, environ: Mapping[str, str] = os.environ) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not _BUCKET.match(bucket):
            raise StoreError(f"{url!r} names no bucket", hint="write s3://bucket/prefix")
        self.url = f"s3://{bucket}/{prefix.strip('/')}".rstrip("/")
        super().confine(self.url + "/x")
        self._bucket = bucket
        access = _Access.of(storage or Storage(), environ)
        self._objects = access.object_store(bucket)
        self.filesystem = access.filesystem()

    def path(self, location: str) -> str:
        """``bucket/key``, for ``filesystem``."""
        return self.confine(location).removeprefix("s3://")

    def read(self, location: str) -> bytes:
        """See LakeStore.read."""
        key = self._key(location)
        with self._wrapped(location):
            return bytes(obstore.get(self._objects, key).bytes())

    def write(self, location: str, data: bytes, *, if_absent: bool = False) -> None:
        """See LakeStore.write. What arrived is compared by checksum, or read back where the store gives none.

        ``if_absent`` looks first and then puts conditionally: a store that ignores the condition still refuses what
        was there before, though not a race. ``probe`` tells.
        """
        if not if_absent:
            self._put(location, data, mode="overwrite")
        elif self.exists(location):
            raise ObjectExistsError(f"{location} is there already")
        else:
            self._create(location, data)

    def write_all(self, files: Mapping[str, bytes]) -> None:
        """See LakeStore.write_all; side by side."""
        if len(files) < 2:
            super().write_all(files)
            return
        with ThreadPoolExecutor(_THREADS) as pool:
            for _ in pool.map(lambda item: self.write(*item), files.items()):
                pass

    def exists(self, location: str) -> bool:
        """See LakeStore.exists."""
        try:
            self.size(location)
        except ObjectMissingError:
            return False
        return True

    def size(self, location: str) -> int:
        """See LakeStore.size."""
        key = self._key(location)
        with self._wrapped(location):
            return int(obstore.head(self._objects, key)["size"])

    def delete(self, location: str) -> None:
        """See LakeStore.delete."""
        key = self._key(location)
        with self._wrapped(location), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._objects, key)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See LakeStore.list."""
        key = self._key(prefix)
        with self._wrapped(prefix):
            pages = iter(obstore.list(self._objects, prefix=f"{key}/" if key else None, chunk_size=1000))
        while True:
            with self._wrapped(prefix):
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                yield StoredObject(f"s3://{self._bucket}/{found['path']}", int(found["size"]), found["last_modified"])

    def open_input(self, location: str) -> pa.NativeFile:
        """See LakeStore.open_input."""
        path = self.path(location)
        with self._wrapped(location):
            return self.filesystem.open_input_file(path)

    def open_output(self, location: str) -> LakeOutput:
        """See LakeStore.open_output; large files go up in parts, and the size is compared at the end."""
        path = self.path(location)
        with self._wrapped(location):
            stream = self.filesystem.open_output_stream(path)
        return _S3Output(self, location, stream)

    def seal(self, locations: Iterable[str]) -> None:
        """See LakeStore.seal: an object that is there is durable."""
        for location in locations:
            self.size(location)

    def failure(self, error: Exception, location: str) -> StoreError | None:
        """See LakeStore.failure."""
        if isinstance(error, FileNotFoundError):
            return ObjectMissingError(f"{location} is not there")
        text = _short(error)
        if isinstance(error, PermissionDeniedError | BadCredentialsError | PermissionError) or _DENIED.search(text):
            return StoreError(
                f"{location}: the store refused the request ({text})",
                hint="check the storage section's keys, and what they may do in this bucket",
            )
        if isinstance(error, BaseError) or "AWS Error" in text or "curlCode" in text:
            return StoreUnavailableError(
                f"{location}: the store did not answer as it should ({text})",
                hint="check storage.endpoint and storage.region, and that the bucket exists",
            )
        return None

    def _create(self, location: str, data: bytes) -> None:
        self._put(location, data, mode="create")

    def _put(self, location: str, data: bytes, *, mode: Literal["create", "overwrite"]) -> None:
        key = self._key(location)
        with self._wrapped(location):
            result = obstore.put(self._objects, key, data, mode=mode, use_multipart=False)
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if (result.get("e_tag") or "").strip('"') == digest:
            return
        # Some encryption settings make the ETag no checksum: then only the bytes themselves tell.
        if self.read(location) != data:
            raise StoreError(f"{location} holds other bytes than were written", hint="write again; check the network")

    def _key(self, location: str) -> str:
        return self.confine(location).removeprefix(f"s3://{self._bucket}").strip("/")

    @contextlib.contextmanager
    def _wrapped(self, location: str) -> Iterator[None]:
        try:
            yield
        except (AlreadyExistsError, PreconditionError) as err:
            raise ObjectExistsError(f"{location} is there already") from err
        except (BaseError, OSError) as err:
            raise self.failure(err, location) or StoreError(f"{location}: {_short(err)}") from err


class _S3Output:
    """A LakeOutput that uploads as it is written."""

    def __init__(self, store: S3Store, location: str, stream: pa.NativeFile) -> None:
        self._store = store
        self._location = location
        self._stream = stream
        self._written = 0
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def write(self, data: bytes | memoryview | pa.Buffer, /) -> int:
        with self._store._wrapped(self._location):  # noqa: SLF001 - same module
            count = int(self._stream.write(data))
        self._written += count
        return count

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        pass

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with self._store._wrapped(self._location):  # noqa: SLF001 - same module
            self._stream.close()
        if (size := self._store.size(self._location)) != self._written:
            raise StoreError(
                f"{self._location} holds {size} bytes, not the {self._written} that were written",
                hint="write again; check the network and the store",
            )

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Closing completes the upload, which cannot be given up half way from Python; so the object is removed.
        with contextlib.suppress(OSError):
            self._stream.close()
        with contextlib.suppress(StoreError):
            self._store.delete(self._location)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


@dataclass(frozen=True, slots=True, repr=False)
class _Access:
    """Endpoint, credentials and patience, resolved once for both clients."""

    storage: Storage
    access_key: str | None
    secret_key: str | None
    session_token: str | None

    @classmethod
    def of(cls, storage: Storage, environ: Mapping[str, str]) -> _Access:
        keys = (storage.access_key, storage.secret_key, storage.session_token)
        access, secret, token = (None if ref is None else ref.resolve(environ).reveal() for ref in keys)
        if (access is None) != (secret is None):
            raise ConfigError("storage needs both access_key and secret_key, or neither")
        return cls(storage, access, secret, token)

    @property
    def region(self) -> str | None:
        """As configured; on AWS, where nothing is said, what AWS's own settings say."""
        return self.storage.region or (_REGION if self.storage.endpoint else None)

    @property
    def path_style(self) -> bool:
        """As configured; where nothing is said, by path for any service but AWS."""
        stated = "path_style" in self.storage.model_fields_set
        return self.storage.path_style if stated else self.storage.endpoint is not None

    def object_store(self, bucket: str) -> ObjectStore:
        storage = self.storage
        endpoint = storage.endpoint
        if endpoint is not None and not self.path_style:
            scheme, _, host = endpoint.partition("://")
            endpoint = f"{scheme}://{bucket}.{host}"
        config: dict[str, Any] = {
            "region": self.region,
            "endpoint": endpoint,
            "virtual_hosted_style_request": not self.path_style,
            "skip_signature": storage.anonymous,
            "access_key_id": self.access_key,
            "secret_access_key": self.secret_key,
            "session_token": self.session_token,
        }
        patience = storage.read_timeout * storage.attempts
        return ObjectStore(
            bucket,
            client_options={
                "allow_http": endpoint is not None and endpoint.startswith("http://"),
                "connect_timeout": storage.connect_timeout,
                "read_timeout": storage.read_timeout,
                "timeout": patience,
            },
            retry_config={
                "max_retries": storage.attempts - 1,
                "retry_timeout": patience,
                "backoff": {
                    "init_backoff": timedelta(milliseconds=100),
                    "max_backoff": timedelta(seconds=5),
                    "base": 2,
                },
            },
            credential_provider=self._chain(),
            **{key: value for key, value in config.items() if value is not None},
        )

    def filesystem(self) -> pafs.S3FileSystem:
        storage = self.storage
        scheme, _, host = (storage.endpoint or "").partition("://")
        if storage.endpoint is not None:
            # Newer checksums that only AWS understands; the SDK inside pyarrow offers no other switch.
            os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "WHEN_REQUIRED")
        return pafs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            session_token=self.session_token,
            anonymous=storage.anonymous,
            region=self.region,
            scheme=scheme or None,
            endpoint_override=host.rstrip("/") or None,
            force_virtual_addressing=not self.path_style,
            connect_timeout=storage.connect_timeout.total_seconds(),
            request_timeout=storage.read_timeout.total_seconds(),
            allow_delayed_open=True,  # a small file is one request, not three
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=storage.attempts),
        )

    def _chain(self) -> Callable[[], Any] | None:
        """AWS's own chain (environment, profiles, SSO, instance roles) when the project names no keys."""
        if self.access_key is not None or self.storage.anonymous:
            return None
        from obstore.auth.boto3 import Boto3CredentialProvider

        try:
            return Boto3CredentialProvider()
        except ValueError as err:
            raise ConfigError(
                "no credentials for S3: the storage section names none, and AWS's own places hold none",
                hint="set storage.access_key and storage.secret_key (env:NAME), or storage.anonymous: true",
            ) from err


def _short(error: Exception) -> str:
    """The first line of a client's message."""
    text = str(error).strip()
    return (text.splitlines() or [type(error).__name__])[0][:300]
