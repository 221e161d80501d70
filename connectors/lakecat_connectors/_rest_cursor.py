"""Cursor values of an API as exact numbers, and as the texts in which the API is asked.

Times are seconds since 1970 as decimals, so that nothing finer than a microsecond is lost; numbers are as they are;
texts are compared by their code points.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Any, Final, Literal

from lakecat.errors import ConfigError, SourceError
from lakecat_connectors._faults import excerpt

Kind = Literal["number", "date", "timestamp", "epoch_seconds", "epoch_milliseconds", "local", "text"]
"""``timestamp`` has a zone, ``local`` has none; the epochs are numbers that mean moments."""

Key = Decimal | str

_EPOCHS: Final = {"epoch_seconds": Decimal(1), "epoch_milliseconds": Decimal("0.001")}
_TIMES: Final = ("date", "timestamp", "local", *_EPOCHS)
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,18}))?)?\s?(Z|z|[+-]\d\d(?::?\d\d)?)?)?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT: Final = Context(prec=80)
_DAY: Final = Decimal(86_400)
_FIRST: Final = Decimal(int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()))
_UNITS: Final = (("%H", 3600), ("%M", 60), ("%S", 1), ("%T", 1), ("%X", 1), ("%s", 1), ("%f", 1))


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of one cursor compare and are written. ``format`` is that of the job's ``incremental``."""

    column: str
    kind: Kind
    format: str | None = None

    @classmethod
    def of(cls, column: str, value: Any, declared: str, form: str | None) -> Scale:
        """By a first value, and what the job declares. Raises SourceError for values without an order."""
        if declared == "text" or declared in _EPOCHS:
            return cls(column, declared, form)  # type: ignore[arg-type]  # as the condition says
        if declared == "number" or (isinstance(value, int | float | Decimal) and not isinstance(value, bool)):
            return cls(column, "number", form)
        match = _ISO.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            kind: Kind = "date" if match[4] is None else "local" if match[8] is None else "timestamp"
            return cls(column, kind, form)
        raise SourceError(
            f"the cursor {column!r} holds {excerpt(value)}, which is no number, date or ISO 8601 time",
            hint="name another cursor, or say type: number (numbers as text) or type: text under incremental:",
        )

    @property
    def timely(self) -> bool:
        """Whether the values are moments."""
        return self.kind in _TIMES

    @property
    def sure(self) -> bool:
        """Whether the values are moments, whatever zone one lives in."""
        return self.kind == "timestamp" or self.kind in _EPOCHS

    @property
    def _form(self) -> str:
        """How the API is asked where the values are moments."""
        return self.format or ("iso" if self.kind in ("timestamp", "local") else self.kind)

    def key(self, value: Any) -> Key:
        """A value's place. Raises SourceError for a value of another kind."""
        if self.kind == "text":
            if isinstance(value, str):
                return value
        elif self.kind == "number" or self.kind in _EPOCHS:
            number = _number(value)
            if number is not None:
                return _EXACT.multiply(number, _EPOCHS.get(self.kind, Decimal(1)))
        elif isinstance(value, str) and (found := _moment(value)) is not None and found[0] == self.kind:
            return found[1]
        raise SourceError(
            f"the cursor {self.column!r} holds {excerpt(value)} beside values that are {self._named()}",
            hint="all values must be of one kind: mend the source, or name another cursor",
        )

    def bound(self, value: Any, what: str) -> Key:
        """A bound that a person wrote; a date is a bound of times too. Raises ConfigError."""
        if self.kind == "text":
            return str(value)
        if self.kind == "number" or self.kind in _EPOCHS:
            number = _number(value if not isinstance(value, str) else value.strip())
            if number is not None:
                return _EXACT.multiply(number, _EPOCHS.get(self.kind, Decimal(1)))
        if self.kind != "number" and isinstance(value, str) and (found := _moment(value.strip())) is not None:
            return found[1]
        raise ConfigError(
            f"cursor: {what}: {value!r} does not go with {self.column!r}, whose values are {self._named()}"
        )

    def back(self, key: Key, distance: Decimal) -> Key:
        """The place that far below. Texts have no distances."""
        if isinstance(key, str):
            return key
        lower = _EXACT.subtract(key, distance)
        return max(lower, _FIRST) if self.timely else lower

    def distance(self, width: float, what: str) -> Decimal:
        """A width in the job. Raises ConfigError where there are no distances."""
        if self.kind == "text" and width:
            raise ConfigError(f"cursor: {what} means nothing for {self.column!r}, whose values are text")
        return Decimal(repr(width))

    @property
    def unit(self) -> Decimal:
        """The finest step that the API is asked in."""
        form = self._form
        if not self.timely or form in ("iso", "epoch_seconds", "epoch_milliseconds"):
            return Decimal(1)
        if form == "date":
            return _DAY
        return Decimal(min((seconds for directive, seconds in _UNITS if directive in form), default=86_400))

    def text(self, key: Key, *, upwards: bool = False) -> str:
        """As the API is asked, rounded down (or up) to what the format can say."""
        if isinstance(key, str):
            return key
        if not self.timely:
            if self.format is not None:
                raise ConfigError(f"incremental: format is for times, and {self.column!r} holds numbers")
            return _plain(key)
        if self._form == "epoch_milliseconds":
            return _plain(
                _EXACT.multiply(key, Decimal(1000)).to_integral_value(ROUND_CEILING if upwards else ROUND_FLOOR)
            )
        return self._time(_rounded(key, self.unit, upwards=upwards))

    def _time(self, key: Decimal) -> str:
        form = self._form
        if form == "epoch_seconds":
            return _plain(key)
        moment = _EPOCH + timedelta(seconds=int(key))
        if form == "date":
            return moment.date().isoformat()
        if form != "iso":
            return moment.strftime(form)
        return moment.replace(tzinfo=None).isoformat() + ("" if self.kind == "local" else "Z")

    def _named(self) -> str:
        if self.kind in _EPOCHS:
            return "numbers"
        names = {"date": "dates", "timestamp": "times with a zone", "local": "times without a zone", "text": "text"}
        return names.get(self.kind, "numbers")


def _rounded(key: Decimal, unit: Decimal, *, upwards: bool) -> Decimal:
    steps = _EXACT.divide(key, unit).to_integral_value(ROUND_CEILING if upwards else ROUND_FLOOR)
    return _EXACT.multiply(steps, unit)


def _plain(number: Decimal) -> str:
    whole = number == number.to_integral_value()
    return format(number.quantize(Decimal(1), context=_EXACT) if whole else number, "f")


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= 40 else None


def _moment(text: str) -> tuple[Kind, Decimal] | None:
    """Kind and seconds since 1970 of an ISO 8601 text; None for what is none."""
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        days = (date(int(year), int(month), int(day)) - _EPOCH.date()).days
    except ValueError:
        return None
    if hour is None:
        return "date", _DAY * days
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        return None
    whole = Decimal(days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second or 0))
    seconds = _EXACT.add(whole, Decimal(f"0.{fraction or 0}"))
    if zone is None:
        return "local", seconds
    offset = _offset(zone)
    return None if offset is None else ("timestamp", seconds - offset)


def _offset(zone: str) -> int | None:
    """Seconds east of UTC; None for what is none (RFC 3339, section 5.6)."""
    if zone in "Zz":
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return None
    return (-1 if zone[0] == "-" else 1) * (hours * 3600 + minutes * 60)
