"""YAML is read surely: nothing is guessed, and every complaint has a line."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakecat.config import parse_document
from lakecat.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("YES", "YES"),
        ("true", True),
        ("2013-01-01", "2013-01-01"),
        ("12:30", "12:30"),
        ("00501", "00501"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("~", None),
        ("null", None),
        ('"12"', "12"),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("99999999999999999999", "99999999999999999999"),
    ],
)
def test_scalars_follow_yaml_1_2_and_doubtful_ones_stay_text(text: str, value: object) -> None:
    found = parse_document(f"a: {text}\n", "f").value
    assert found == {"a": value}
    assert type(found["a"]) is type(value)  # type: ignore[index, call-overload]


def test_keys_are_text_even_when_they_look_like_something_else() -> None:
    assert parse_document("on: 1\nnull: 2\n3: 4\n", "f").value == {"on": 1, "null": 2, "3": 4}


def test_every_key_and_item_has_its_place() -> None:
    document = parse_document("a:\n  b: 1\n  c: [x, y]\n", "f.yaml")
    assert str(document.where(("a", "b"))) == "f.yaml:2:3"
    assert str(document.where(("a", "c", 1))) == "f.yaml:3:10"
    assert str(document.where(("a", "c", 7, "z"))) == "f.yaml:3:3"


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1", "twice"),
        ("x:\n  a: 1\n  a: 2\n", "f:3:3", "twice"),
        ("a: [1, 2\n", "f:2:1", "not YAML"),
        ("a: 'open\n", "f:2:1", "not YAML"),
        ("\ta: 1\n", "f:1:1", "not YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "f:1:4", "tag"),
        ("a: !secret x\n", "f:1:4", "tag"),
        ("a: *b\n", "f:1:4", "no anchor"),
        ("a: 1\n---\nb: 2\n", "f:2:1", "second document"),
        ("? [a, b]\n: 1\n", "f:1:3", "key"),
        ("a: x\x00y\n", "f:1", "control character"),
        ("a: " + "[" * 30 + "]" * 30, "f:1:28", "deep"),
    ],
)
def test_what_is_refused_says_where(text: str, place: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        parse_document(text, "f")
    assert str(caught.value.where) == place


def test_aliases_cannot_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(ConfigError, match="aliases"):
        parse_document("\n".join(lines), "f")


def test_few_aliases_work() -> None:
    assert parse_document("a: &x [1]\nb: *x\n", "f").value == {"a": [1], "b": [1]}


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_document(text, "f")
