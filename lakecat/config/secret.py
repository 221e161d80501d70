"""Secrets by reference: the project names where a secret is, and never holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lakecat.errors import ConfigError, Where

MAX_SECRET_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret's text. Printing it shows nothing; ``reveal()`` is the only way to the text."""

    _text: str

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: ``env:NAME``, or ``file:PATH`` (one trailing newline is not part of it)."""

    text: str

    def __post_init__(self) -> None:
        kind, colon, name = self.text.partition(":")
        if not colon or kind not in ("env", "file") or not name:
            raise ConfigError(  # never with the text: it may be the secret itself
                "a secret must be given by reference",
                hint="write env:NAME (an environment variable) or file:PATH, and keep the secret out of the project",
            )

    def within(self, root: Path) -> SecretRef:
        """The same reference with a relative file path taken from ``root``."""
        kind, _, name = self.text.partition(":")
        return SecretRef(f"file:{root / name}") if kind == "file" else self

    def resolve(self, environ: Mapping[str, str]) -> Secret:
        """Fetch the secret. Raises ConfigError naming the variable or file that is missing."""
        kind, _, name = self.text.partition(":")
        if kind == "env":
            if not (value := environ.get(name)):
                raise ConfigError(f"the environment variable {name} is not set", hint=f"export {name}=…")
            return Secret(value)
        try:
            with Path(name).open("rb") as file:
                text = file.read(MAX_SECRET_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as err:
            reason = err.strerror if isinstance(err, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"the secret file cannot be read: {reason}", where=Where(name)) from err
        return Secret(text.removesuffix("\n").removesuffix("\r"))
