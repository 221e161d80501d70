"""Files on SFTP servers by fsspec and paramiko; only servers whose keys are known are spoken to.

Offers of a file system what the listing asks for; paths are the server's own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from lakecat.errors import ConfigError, SourceAccessError, SourceUnavailableError, Where
from lakecat_connectors._needs import needed

_PORT: Final = 22
_SECONDS: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How to log in. ``secret`` gives the text behind a reference; ``root``: what paths are relative to."""

    root: Path
    secret: Callable[[str], str]
    user: str | None = None
    password: str | None = None
    key_file: str | None = None
    passphrase: str | None = None
    known_hosts: str | None = None

    def arguments(self) -> dict[str, Any]:
        """As paramiko takes it. Raises ConfigError for a secret that is not there."""
        return {
            "password": None if self.password is None else self.secret(self.password),
            "key_filename": None if self.key_file is None else str(self.root / Path(self.key_file).expanduser()),
            "passphrase": None if self.passphrase is None else self.secret(self.passphrase),
            "look_for_keys": self.password is None and self.key_file is None,
            "allow_agent": self.password is None and self.key_file is None,
        }


class SftpFiles:
    """One server, connected to when made."""

    def __init__(self, url: str, login: Login) -> None:
        """Raises ConfigError, SourceAccessError for a wrong login or an unknown server, SourceUnavailableError."""
        parts = urlsplit(url)
        self._site = f"{parts.scheme}://{parts.netloc}"
        paramiko = needed("paramiko", "sftp", "sftp://")
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # else it logs tracebacks of failed logins
        driver = needed("fsspec.implementations.sftp", "sftp", "sftp://")
        user = parts.username or login.user
        if user is None or parts.hostname is None:
            raise ConfigError("files connector: sftp:// needs a server and a user", hint="say sftp: {user: NAME}")
        try:
            self._files = driver.SFTPFileSystem(
                parts.hostname,
                port=parts.port or _PORT,
                username=unquote(user),
                timeout=_SECONDS,
                banner_timeout=_SECONDS,
                auth_timeout=_SECONDS,
                host_key_policy=_known_only(paramiko, login),
                skip_instance_cache=True,
                **login.arguments(),
            )
        except (paramiko.AuthenticationException, paramiko.BadHostKeyException, paramiko.SSHException) as err:
            raise SourceAccessError(
                f"the server does not let us in, or is not who it was ({str(err)[:100]})",
                where=Where(self._site),
                hint="check user, password or key_file under sftp:, and the server's key in known_hosts",
            ) from err
        except OSError as err:
            raise SourceUnavailableError(
                f"the server cannot be reached ({type(err).__name__})", where=Where(self._site)
            ) from err

    def close(self) -> None:
        """Close the connection."""
        self._files.client.close()

    def invalidate_cache(self) -> None:
        """Forget what was listed."""
        self._files.invalidate_cache()

    def info(self, path: str) -> Mapping[str, Any]:
        """What the server says of one file. Raises FileNotFoundError."""
        found: Mapping[str, Any] = self._files.info(path)
        return found

    def ls(self, path: str, *, detail: bool) -> Sequence[Mapping[str, Any]]:
        """What is in a folder. Raises FileNotFoundError."""
        found: Sequence[Mapping[str, Any]] = self._files.ls(path, detail=detail)
        return found

    def open(self, path: str, mode: str = "rb") -> Any:
        """The file's bytes."""
        return self._files.open(path, mode)


def sftp_path(url: str) -> str:
    """The path on the server, from its root."""
    _, _, path = url.partition("://")[2].partition("/")
    return f"/{path}"


def _known_only(paramiko: Any, login: Login) -> Any:
    """A policy that takes a server's key only if it stands in known_hosts."""
    named = login.known_hosts
    path = login.root / Path(named).expanduser() if named is not None else Path("~/.ssh/known_hosts").expanduser()
    try:
        known = paramiko.HostKeys(str(path))
    except OSError as err:
        raise ConfigError(
            f"files connector: option 'sftp': {path} cannot be read ({err.strerror})",
            hint="write the server's key there: ssh-keyscan HOST, after it was checked",
        ) from err

    def missing_host_key(_self: Any, _client: Any, hostname: str, key: Any) -> None:
        if not known.check(hostname, key):
            raise paramiko.SSHException(f"its key {key.get_name()} is not in {path.name}")

    return type("KnownOnly", (paramiko.MissingHostKeyPolicy,), {"missing_host_key": missing_host_key})()
