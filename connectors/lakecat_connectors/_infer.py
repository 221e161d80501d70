"""The type of a text column, decided over all of its values: evidence is gathered block by block, never guessed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lakecat.connector.fit import MisfitError, Rule, fit, holds, looks_numeric

_DOUBLE_INTEGERS: Final = 2**53
_DECIMAL_DIGITS: Final = 38
# 1E5 may be an id. In a column that has fractions too it is a number; 1e+5 and 1.0E5 always are.
_BARE_EXPONENT: Final = r"^-?\d+[eE]\d+$"


@dataclass(slots=True)
class Evidence:
    """What one column's values still may be. Starts with everything; ``observe`` only takes away."""

    decimals: Literal["auto", "decimal"] = "auto"
    date_formats: tuple[str, ...] = ()
    timestamp_formats: tuple[str, ...] = ()
    seen: bool = False
    possible: set[str] = field(
        default_factory=lambda: {"integer", "double", "decimal", "boolean", "date", "timestamp", "timestamptz"}
    )
    bare_exponent: bool = False
    fraction: bool = False
    whole_digits: int = 0
    scale: int = 0

    def observe(self, texts: pa.Array) -> None:
        """Take one block of values into account."""
        if not self.possible or texts.null_count == len(texts):
            return
        self.seen = True
        if self.possible & {"integer", "double", "decimal"}:
            self._observe_numbers(texts)
        self._keep("boolean", texts, pa.bool_())
        self._keep("date", texts, pa.date32())
        self._keep("timestamp", texts, pa.timestamp("us"))
        self._keep("timestamptz", texts, pa.timestamp("us", "UTC"))

    def decide(self) -> pa.DataType:
        """The narrowest type that holds every observed value exactly; text when none does or nothing was seen."""
        if not self.seen:
            return pa.string()
        if "integer" in self.possible:
            return pa.int64()
        number = self._number()
        if number is not None:
            return number
        kinds = {
            "boolean": pa.bool_(),
            "date": pa.date32(),
            "timestamp": pa.timestamp("us"),
            "timestamptz": pa.timestamp("us", "UTC"),
        }
        return next((kind for name, kind in kinds.items() if name in self.possible), pa.string())

    def _number(self) -> pa.DataType | None:
        if self.bare_exponent and not self.fraction:
            return None
        decimal = "decimal" in self.possible and self.whole_digits + self.scale <= _DECIMAL_DIGITS
        if "double" in self.possible and not (decimal and self.decimals == "decimal"):
            return pa.float64()
        return pa.decimal128(_DECIMAL_DIGITS, self.scale) if decimal else None

    def _keep(self, name: str, texts: pa.Array, kind: pa.DataType) -> None:
        if name not in self.possible:
            return
        rule = Rule(kind, date_formats=self.date_formats, timestamp_formats=self.timestamp_formats)
        try:
            fit(texts, rule)
        except MisfitError:
            self.possible.discard(name)

    def _observe_numbers(self, texts: pa.Array) -> None:
        try:
            values = fit(texts, Rule(pa.int64()))
        except MisfitError:
            self.possible.discard("integer")
            self._observe_fractions(texts)
            return
        self.possible -= {"boolean", "date", "timestamp", "timestamptz"}
        bounds = pc.min_max(values)
        largest = max(abs(bounds["min"].as_py()), abs(bounds["max"].as_py()))
        self.whole_digits = max(self.whole_digits, len(str(largest)))
        if largest > _DOUBLE_INTEGERS:
            self.possible.discard("double")

    def _observe_fractions(self, texts: pa.Array) -> None:
        self._keep("double", texts, pa.float64())
        exact = "double" in self.possible
        if not exact and not (looks_numeric(texts) and _parses(texts)):
            self.possible.discard("decimal")
            return
        self.possible -= {"boolean", "date", "timestamp", "timestamptz"}
        self.fraction = self.fraction or holds(texts, b".")
        if holds(texts, b"e") or holds(texts, b"E"):
            bare = pc.any(pc.match_substring_regex(texts, _BARE_EXPONENT)).as_py()
            self.bare_exponent = self.bare_exponent or bool(bare)
            self.possible.discard("decimal")
        if "decimal" not in self.possible:
            return
        whole, scale = _digits(texts)
        self.whole_digits = max(self.whole_digits, whole)
        self.scale = max(self.scale, scale)


def _parses(texts: pa.Array) -> bool:
    try:
        texts.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _digits(texts: pa.Array) -> tuple[int, int]:
    """Most digits before the point, and most digits after it."""
    texts = texts.drop_null()
    size = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    point = pc.find_substring(texts, ".").to_numpy(zero_copy_only=False)
    whole = np.where(point < 0, size, point)
    if holds(texts, b"-"):
        whole -= pc.starts_with(texts, "-").to_numpy(zero_copy_only=False)
    scale = np.where(point < 0, 0, size - point - 1)
    return int(whole.max()), int(scale.max())
