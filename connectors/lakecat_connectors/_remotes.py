"""The file systems behind URLs, each made when it is first needed, with its own credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fsspec

from lakecat.errors import ConfigError
from lakecat_connectors._clouds import azure_files, google_files, s3_options
from lakecat_connectors._http_files import HttpFiles, SignIn
from lakecat_connectors._object_pages import google_info, objects, pages_of
from lakecat_connectors._options import AzureLogin, FilesOptions, GoogleLogin
from lakecat_connectors._sftp_files import Login, SftpFiles, sftp_path
from lakecat_connectors._walking import FsspecTree, has_magic, is_folder, matching

_HTTP: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to get in. ``storage`` is lakecat.yaml's, ``secret`` gives the text behind a reference."""

    options: FilesOptions
    root: Path
    storage: Mapping[str, str]
    secret: Callable[[str], str]


class Remotes:
    """The stores and servers of one job."""

    def __init__(self, credentials: Credentials) -> None:
        """Nothing is connected to yet. Raises ConfigError for a sign-in that makes no sense."""
        self._given = credentials
        self._made: dict[str, Any] = {}
        options = credentials.options
        self._sign_in = SignIn.of(options, credentials.secret)

    def info(self, url: str) -> Mapping[str, Any]:
        """What the store says of one file, its ``name`` the URL. Raises FileNotFoundError and the drivers' errors."""
        files, path = self._files(url)
        files.invalidate_cache()
        info = files.info(path)
        if url.partition("://")[0] == "gs" and info["type"] == "file":
            info = {**info, **google_info(info)}
        return {**info, "name": self._uri(url, path)}

    def files(self, url: str) -> Iterator[Mapping[str, Any]]:
        """The files that a URL names or matches, as ``info``. Raises the drivers' errors."""
        files, path = self._files(url)
        scheme = url.partition("://")[0]
        if scheme in _HTTP or not has_magic(path):  # the ? of http is no wildcard
            info = self.info(url)
            if info["type"] != "file":
                raise is_folder(url)
            yield info
            return
        files.invalidate_cache()
        pages = pages_of(files, scheme)
        found = matching(FsspecTree(files), path) if pages is None else objects(pages, path)
        for info in found:
            yield {**info, "name": self._uri(url, str(info["name"]))}

    def open(self, url: str) -> Any:
        """The file's bytes. Raises the drivers' errors."""
        files, path = self._files(url)
        return files.open(path, "rb")

    def close(self) -> None:
        """Close what connections there are; safe to call twice."""
        made, self._made = self._made, {}
        for files in made.values():
            if isinstance(files, SftpFiles):
                files.close()

    def _uri(self, url: str, path: str) -> str:
        """The URI of a path in the store of a URL."""
        scheme, _, rest = url.partition("://")
        if scheme in _HTTP:
            return url
        site = f"{rest.partition('/')[0]}/" if scheme == "sftp" else "/" if scheme == "memory" else ""
        return f"{scheme}://{site}{path.lstrip('/')}"

    def _files(self, url: str) -> tuple[Any, str]:
        scheme, _, rest = url.partition("://")
        given = self._given
        if scheme in _HTTP:
            allow = given.options.allow_private
            return self._once(scheme, lambda: HttpFiles(allow_private=allow, sign_in=self._sign_in)), url
        if scheme == "sftp":
            return self._once(rest.partition("/")[0], lambda: SftpFiles(url, self._login())), sftp_path(url)
        if scheme == "gs":
            google = given.options.google or GoogleLogin()
            return self._once(scheme, lambda: google_files(google, given.secret)), rest
        if scheme == "az":
            azure = given.options.azure or AzureLogin()
            return self._once(scheme, lambda: azure_files(azure, given.secret)), rest
        if scheme == "s3":
            return self._once(scheme, lambda: fsspec.filesystem("s3", **s3_options(given.storage))), rest
        if scheme == "memory":
            return self._once(scheme, lambda: fsspec.filesystem("memory")), f"/{rest.lstrip('/')}"
        raise ConfigError(f"files connector: option 'path': {scheme}:// is not supported")

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _login(self) -> Login:
        sftp = self._given.options.sftp
        return Login(root=self._given.root, secret=self._given.secret, **({} if sftp is None else sftp.model_dump()))
