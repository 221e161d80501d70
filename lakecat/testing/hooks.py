"""What the author of a connector says about it, for the conformance suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lakecat.connector import StreamRequest
from lakecat.types import Json


class ConnectorHooks:
    """What the author of a connector says about it. ``root`` is an empty folder, new for each test.

    Only ``connector``, ``options`` and ``fill`` are needed. A hook that is left out skips the tests that need it, with
    a reason.
    """

    connector: ClassVar[type[Any]]
    """The connector's class."""

    secrets: ClassVar[Mapping[str, str]] = {}
    """Texts behind references in the options, such as ``{"env:TOKEN": "s3cret"}``; they may be shown nowhere."""

    storage: ClassVar[Mapping[str, str]] = {}
    """``ConnectorContext.storage``."""

    notices_unchanged: ClassVar[bool] = False
    """Whether a request for the whole source (mode replace) gives nothing while the source is as it was."""

    seeds: ClassVar[int] = 4
    """How many random histories the resuming test plays."""

    def options(self, root: Path) -> Mapping[str, Json]:
        """The job's options for a source in, or described by, ``root``."""
        raise NotImplementedError

    def fill(self, root: Path) -> None:
        """Make the source, with a dozen rows or more in each stream that is tried, some NULL among them."""
        raise NotImplementedError

    def grow(self, root: Path) -> None:
        """Add rows to the source, as its owner would; may be called many times."""
        del root
        pytest.skip("the hook grow() is not there")

    def spoil(self, root: Path) -> None:
        """Add one row to the source that cannot be read, beside good ones."""
        del root
        pytest.skip("the hook spoil() is not there")

    def destroy(self, root: Path) -> None:
        """Make the source unreadable: stop the server, remove the files."""
        del root
        pytest.skip("the hook destroy() is not there")

    def requests(self) -> Sequence[StreamRequest]:
        """The streams to try, as jobs ask for them. Incremental ones in mode append, unless another is set."""
        return (StreamRequest(),)

    def truth(self, root: Path, request: StreamRequest) -> Sequence[Mapping[str, object]] | None:
        """All rows that the stream holds now, known without the connector; None where that is not to be had."""
        del root, request
        return None
