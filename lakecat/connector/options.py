"""A connector's options as a dataclass of its author: checked by name and type, secrets by reference only."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from lakecat.connector.protocol import ConnectorContext
from lakecat.errors import ConfigError
from lakecat.types import Json

_T = TypeVar("_T")
_FROM_LAKECAT: Final = "missing_columns"
"""What lakecat itself may put among a job's options."""

_SHOWN: Final[Mapping[Any, str]] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A secret option: the job names it (``env:NAME``, ``file:PATH``), nothing shows it."""

    _text: str

    def reveal(self) -> str:
        """The text, for the source only."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known name that is nearest to another one; None where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else None


def parse_options(kind: type[_T], options: Mapping[str, Json], context: ConnectorContext) -> _T:
    """The options as an instance of the dataclass ``kind``. Raises ConfigError naming the option.

    Fields are ``str``, ``int``, ``float``, ``bool``, :class:`Secret`, lists and dicts of those, or ``Json``; each may
    be optional. A field without a default must be given.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    given = {name: value for name, value in options.items() if name in fields or name != _FROM_LAKECAT}
    for name in given:
        if name not in fields:
            hint = did_you_mean(name, fields) or f"there are: {', '.join(fields) or 'none'}"
            raise ConfigError(f"unknown option {name!r}", hint=hint)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and given.get(name) is None:
            raise ConfigError(f"the option {name!r} is missing", hint=f"say {name}: under options:")
    values = {name: _value(value, hints[name], name, context) for name, value in given.items()}
    try:
        return kind(**values)
    except ValueError as err:
        raise ConfigError(f"options: {err}") from err


def _value(value: Any, hint: Any, name: str, context: ConnectorContext) -> Any:
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        return _one_of(value, get_args(hint), name, context)
    if origin in (list, tuple) and isinstance(value, list):
        parts = [_value(part, get_args(hint)[0], name, context) for part in value]
        return parts if origin is list else tuple(parts)
    if origin is dict and isinstance(value, dict):
        return {key: _value(part, get_args(hint)[1], f"{name}.{key}", context) for key, part in value.items()}
    if hint is Secret and isinstance(value, str):
        return Secret(context.secret(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is Any or (hint in _SHOWN and isinstance(value, hint) and (hint is bool or not isinstance(value, bool))):
        return value
    if hint is Secret:
        raise ConfigError(f"the option {name!r} is no reference to a secret", hint="write env:NAME or file:PATH")
    wanted = _SHOWN.get(hint, "a list" if origin in (list, tuple) else "a mapping" if origin is dict else str(hint))
    raise ConfigError(f"the option {name!r} must be {wanted}")


def _one_of(value: Any, hints: tuple[Any, ...], name: str, context: ConnectorContext) -> Any:
    if value is None and types.NoneType in hints:
        return None
    rest = [hint for hint in hints if hint is not types.NoneType]
    for hint in rest[:-1]:
        try:
            return _value(value, hint, name, context)
        except ConfigError:
            continue
    return _value(value, rest[-1], name, context)
