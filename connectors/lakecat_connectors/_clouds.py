"""The file systems of S3, Google Cloud Storage and Azure Blob Storage: credentials by reference, timeouts set."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from lakecat.errors import ConfigError
from lakecat.types import Json
from lakecat_connectors._needs import needed
from lakecat_connectors._options import AzureLogin, GoogleLogin

GOOGLE: Final = frozenset({"gs", "gcs"})
AZURE: Final = frozenset({"az", "abfs", "abfss"})
_SECONDS: Final = {"connect": 10.0, "read": 60.0}

Secret = Callable[[str], str]


def canonical(url: str) -> str:
    """The URL under the one scheme that each store has in the ledger: ``gs://``, ``az://``."""
    scheme, separator, rest = url.partition("://")
    return f"{'gs' if scheme in GOOGLE else 'az' if scheme in AZURE else scheme}{separator}{rest}"


def google_files(login: GoogleLogin, secret: Secret) -> Any:
    """Google Cloud Storage. Raises ConfigError for a package or a secret that is not there."""
    driver = needed("gcsfs.core", "gcs", "gs://")  # the package's own class asks another service first, by gRPC
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # else it logs tracebacks of what is tried again
    return driver.GCSFileSystem(
        project=login.project or "",
        access="read_only",
        token=_google_token(login, secret),
        endpoint_url=login.endpoint,
        requester_pays=login.project or False,
        requests_timeout=_SECONDS["read"],
        use_listings_cache=False,
        skip_instance_cache=True,
    )


def _google_token(login: GoogleLogin, secret: Secret) -> Any:
    if login.anonymous:
        return "anon"
    if login.service_account is None:
        return "google_default"
    try:
        token = json.loads(secret(login.service_account))
    except ValueError:
        token = None
    if not isinstance(token, dict) or "private_key" not in token:
        raise ConfigError(
            "files connector: option 'google': service_account is no key of a service account",
            hint="refer to the JSON file that Google Cloud gives out: service_account: file:keys/reader.json",
        )
    return token


def azure_files(login: AzureLogin, secret: Secret) -> Any:
    """Azure Blob Storage. Raises ConfigError for a package or a secret that is not there."""
    driver = needed("adlfs", "azure", "az://")
    named = {
        "account_name": login.account,
        "account_key": None if login.key is None else secret(login.key),
        "sas_token": None if login.sas is None else secret(login.sas),
        "connection_string": None if login.connection_string is None else secret(login.connection_string),
    }
    try:
        return driver.AzureBlobFileSystem(
            **{name: value for name, value in named.items() if value is not None},
            anon=login.anonymous,
            connection_timeout=int(_SECONDS["connect"]),
            read_timeout=int(_SECONDS["read"]),
            use_listings_cache=False,
            skip_instance_cache=True,
        )
    except ValueError as err:
        raise ConfigError(
            "files connector: option 'azure': this is no way to log in",
            hint="say azure: {account: NAME, key: env:NAME}, or sas, or connection_string",
        ) from err


def s3_options(storage: Mapping[str, str]) -> dict[str, Any]:
    """The storage settings of lakecat.yaml as s3fs options, with timeouts always set."""
    client = {"endpoint_url": storage.get("endpoint"), "region_name": storage.get("region")}
    config: dict[str, Json] = {
        "connect_timeout": float(storage.get("connect_timeout") or 5),
        "read_timeout": float(storage.get("read_timeout") or 30),
        "retries": {"max_attempts": int(storage.get("attempts") or 5), "mode": "standard"},
    }
    if _true(storage.get("path_style")):
        config["s3"] = {"addressing_style": "path"}
    return {
        "key": storage.get("access_key"),
        "secret": storage.get("secret_key"),
        "token": storage.get("session_token"),
        "anon": _true(storage.get("anonymous")),
        "client_kwargs": {key: value for key, value in client.items() if value},
        "config_kwargs": config,
        "use_listings_cache": False,
    }


def _true(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true", "yes", "on")
