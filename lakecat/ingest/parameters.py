"""What a job was told, as its executions keep it: readable, without secrets, and not too long."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from pydantic_core import to_json

from lakecat.config import IngestJob
from lakecat.types import Json

_MAX_BYTES: Final = 16_384
_HIDDEN: Final = "***"
_REFERENCE: Final = re.compile(r"(env|file):\S+")
_SECRET_NAME: Final = re.compile(
    r"pass(word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|authorization|cookie"
    r"|signature|\bsig\b",
    re.IGNORECASE,
)
# user:password@ and token@ in a URL; name=value in a query or a connection string.
_USER_INFO: Final = re.compile(r"(?<=://)(?:([^/?#\s@:]*:)[^/?#\s]*|[^/?#\s]*)@")
_PAIR: Final = re.compile(rf"\b([\w.-]*(?:{_SECRET_NAME.pattern})[\w.-]*)=('[^']*'|[^&\s;]*)", re.IGNORECASE)


def parameters_of(job: IngestJob) -> Json:
    """The keys of the job that are not as they are by default; their digest alone where they are longer than 16 KiB.

    Secrets are references in a job (``env:NAME``), which stay; what looks like one and is none is left out.
    """
    told = job.model_dump(mode="json", exclude={"where", "marks", "name"}, exclude_defaults=True, fallback=str)
    hidden = _without_secrets(told)
    text = to_json(hidden)
    return hidden if len(text) <= _MAX_BYTES else hashlib.sha256(text).hexdigest()


def _without_secrets(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _named(name, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_secrets(one) for one in value]
    return _plain(value) if isinstance(value, str) else value


def _named(name: str, value: Json) -> Json:
    """The value under a name; a text is hidden where the name says that it is a secret."""
    secret = isinstance(value, str) and _SECRET_NAME.search(name) and not _REFERENCE.fullmatch(value)
    return _HIDDEN if secret else _without_secrets(value)


def _plain(text: str) -> str:
    text = _USER_INFO.sub(lambda found: f"{found[1] or ''}{_HIDDEN}@", text)
    return _PAIR.sub(lambda found: f"{found[1]}={_HIDDEN}", text)
