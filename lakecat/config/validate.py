"""From a YAML document to a frozen model; every complaint names file and line, and the key that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lakecat.config.document import Document, KeyPath
from lakecat.errors import ConfigError


class Frozen(BaseModel):
    """Base of every configuration model: immutable, strict, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


Model = TypeVar("Model", bound=Frozen)


def validate(model: type[Model], document: Document, *, root: Path) -> Model:
    """Check ``document`` against ``model``. Raises ConfigError that names each wrong key with its line."""
    value = {} if document.value is None else document.value
    if not isinstance(value, Mapping):
        raise ConfigError("must hold keys and values", where=document.where(), hint="write lines like `key: value`")
    try:
        return model.model_validate(value, context={"root": root})
    except ValidationError as err:
        raise _config_error(model, document, err) from None


def _config_error(model: type[Frozen], document: Document, err: ValidationError) -> ConfigError:
    found = []
    for detail in err.errors(include_input=False, include_url=False, include_context=False):
        path: KeyPath = tuple(part for part in detail["loc"] if part != "[key]")
        place = document.where(path)
        found.append((place.line or 0, place, *_explain(model, path, detail["type"], detail["msg"])))
    found.sort(key=lambda entry: entry[0])
    _, where, what, hint = found[0]
    more = "".join(f"\n{place}: {text}" for _, place, text, _ in found[1:])
    return ConfigError(what + more, where=where, hint=hint)


def _explain(model: type[Frozen], path: KeyPath, kind: str, message: str) -> tuple[str, str | None]:
    name = ".".join(str(part) for part in path)
    if kind == "extra_forbidden":
        return f"unknown key {name!r}", suggestion(str(path[-1]), keys_at(model, path[:-1]))
    if kind == "missing":
        return f"key {name!r} is missing", None
    text = message.removeprefix("Value error, ").removeprefix("Input ")
    quote = "put the value in quotes" if kind == "string_type" else None
    return (f"key {name!r}: {text}" if name else text), quote


def suggestion(word: str, known: list[str]) -> str | None:
    """A hint naming the known word that ``word`` probably meant, else all known words."""
    if close := difflib.get_close_matches(word, known, n=1, cutoff=0.6):
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(known)}" if known else None


def keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that may stand at ``path`` of ``model``; empty where any key may."""
    here: type[BaseModel] | None = model
    for part in path:
        field = here.model_fields.get(str(part)) if here else None
        here = _model_in(field.annotation) if field else here
        if here is None:
            return []
    return list(here.model_fields) if here else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _model_in(arg))), None)
