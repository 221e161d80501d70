"""Libraries that only some formats need: imported when used, named in words when they are not there."""

from __future__ import annotations

import importlib
from typing import Any

from lakecat.errors import ConfigError


def needed(module: str, extra: str, what: str) -> Any:
    """The module. Raises ConfigError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as err:
        raise ConfigError(
            f"files connector: {what} needs the package {module.partition('.')[0]}, which is not installed",
            hint=f"pip install 'lakecat[{extra}]'",
        ) from err
