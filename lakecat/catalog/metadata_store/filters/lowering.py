"""Tests as the columns can answer them: numbers exact in every database, short forms spelled out.

An integer column is compared with integers only: databases turn the column into a double to compare it with one, and
lose the last digits. What is left to do then depends on the literal's value.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Final

from lakecat.catalog.metadata_store.filters.lexer import Tokens
from lakecat.catalog.metadata_store.filters.tree import (
    FALSE,
    Argument,
    Literal,
    Operand,
    Test,
    Tree,
    conjunction,
    disjunction,
)

_LARGEST: Final = 2**63 - 1
_SMALLEST: Final = -(2**63)
_INEXACT: Final = frozenset({"double", "huge"})


class Lowering:
    """Rewrites tests, one by one. ``frozen``: what came out holds for these values of the literals only."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self.frozen = False

    def lower(self, test: Test) -> Tree:
        """The test as tests that columns can answer; UNKNOWN may become FALSE."""
        operand = test.operand
        if operand.kind == "any":
            return self._any(test)
        if operand.kind in ("int", "enum") and any(_is_inexact(one) for one in test.arguments):
            self.frozen = True
            return self._integer(test)
        return test

    def _any(self, test: Test) -> Tree:
        if not test.arguments:
            return test
        first = test.arguments[0]
        if isinstance(first, bool):
            return replace(test, operand=replace(test.operand, kind="bool"))
        if isinstance(first, Literal) and first.kind == "string":
            return replace(test, operand=replace(test.operand, kind="string"))
        whole, broken = (replace(test, operand=_typed(test.operand, kind)) for kind in ("int", "double"))
        return disjunction([self.lower(whole), broken])

    def _integer(self, test: Test) -> Tree:
        operand, op, arguments = test.operand, test.op, test.arguments
        if op == "between":
            return conjunction(self._one(operand, end, one) for end, one in zip((">=", "<="), arguments, strict=True))
        if op == "not between":
            return disjunction(self._one(operand, end, one) for end, one in zip(("<", ">"), arguments, strict=True))
        if op in ("in", "not in"):
            exact = tuple(one for one in map(self._exact, arguments) if one is not None)
            if exact:
                return replace(test, arguments=exact)
            return FALSE if op == "in" else Test(operand, "is not null")
        return self._one(operand, op, arguments[0])

    def _exact(self, argument: Argument) -> Argument | None:
        """The integer that a number is, if it is one that 64 bits hold."""
        if not _is_inexact(argument):
            return argument
        floor, fraction = self._floor(argument)
        return None if fraction or not _SMALLEST <= floor <= _LARGEST else floor

    def _one(self, operand: Operand, op: str, argument: Argument) -> Tree:
        if not _is_inexact(argument):
            return Test(operand, op, (argument,))
        floor, fraction = self._floor(argument)
        if floor > _LARGEST or floor < _SMALLEST:
            always = op == "!=" or (op != "=" and (op in ("<", "<=")) == (floor > _LARGEST))
            return Test(operand, "is not null") if always else FALSE
        if not fraction:
            return Test(operand, op, (floor,))
        if op in ("=", "!="):
            return FALSE if op == "=" else Test(operand, "is not null")
        return Test(operand, "<=" if op in ("<", "<=") else ">", (floor,))

    def _floor(self, argument: Argument) -> tuple[int, bool]:
        """The integer below a number, and whether they differ; beyond 64 bits any integer beyond."""
        if not isinstance(argument, Literal):
            raise AssertionError
        text = self._tokens.values[argument.index].text
        try:
            number = Decimal(text)
        except InvalidOperation:  # an exponent of more digits than Decimal takes: it is 0, or next to it
            return (0, False) if _is_zero(text) else (-1 if text.startswith("-") else 0, True)
        if abs(number) > 2**64:
            return _beyond(text), False
        floor = int(number.to_integral_value(ROUND_FLOOR))
        return floor, floor != number


def _is_inexact(argument: Argument) -> bool:
    return isinstance(argument, Literal) and argument.kind in _INEXACT


def _typed(operand: Operand, kind: str) -> Operand:
    return replace(operand, kind="int" if kind == "int" else "double")


def _beyond(text: str) -> int:
    return _SMALLEST - 1 if text.startswith("-") else _LARGEST + 1


def _is_zero(text: str) -> bool:
    return not any(digit in "123456789" for digit in text.lower().partition("e")[0])
