"""One selector grammar: names, patterns, neighbours, and, or."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakecat.errors import NotFoundError, SelectorError
from lakecat.selector import Node, choose, parse_selector

# a -> b -> c -> d, and x -> c; c also answers to wh.c
CHAIN = [
    Node("raw.a"),
    Node("raw.x"),
    Node("stg.b", needs=frozenset({"raw.a"})),
    Node("stg.c", frozenset({"wh.c", "stg.c"}), frozenset({"stg.b", "raw.x"})),
    Node("wh.d", needs=frozenset({"stg.c"})),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raw.a", "raw.a"),
        ("RAW.A", "raw.a"),
        ("wh.c", "stg.c"),
        ("raw.*", "raw.a raw.x"),
        ("*.[ab]", "raw.a stg.b"),
        ("+stg.b", "raw.a stg.b"),
        ("+wh.d", "raw.a raw.x stg.b stg.c wh.d"),
        ("1+wh.d", "stg.c wh.d"),
        ("2+wh.d", "raw.x stg.b stg.c wh.d"),
        ("0+wh.d", "wh.d"),
        ("raw.x+", "raw.x stg.c wh.d"),
        ("raw.a+1", "raw.a stg.b"),
        ("1+stg.b+1", "raw.a stg.b stg.c"),
        ("+stg.c+", "raw.a raw.x stg.b stg.c wh.d"),
        ("raw.a wh.d", "raw.a wh.d"),
        ("raw.*,*.x", "raw.x"),
        ("raw.a+,+stg.c", "raw.a stg.b stg.c"),
        ("raw.a,raw.x wh.d", "wh.d"),
        ("none.*", ""),
    ],
)
def test_the_grammar(text: str, expected: str) -> None:
    assert choose(CHAIN, [text]) == set(expected.split())


def test_several_selectors_are_or_and_none_is_all() -> None:
    assert choose(CHAIN, ["raw.a", "wh.d"]) == {"raw.a", "wh.d"}
    assert choose(CHAIN) == {node.key for node in CHAIN}


def test_exclude_takes_away() -> None:
    assert choose(CHAIN, ["+wh.d"], ["raw.*"]) == {"stg.b", "stg.c", "wh.d"}
    assert choose(CHAIN, exclude=["stg.c+"]) == {"raw.a", "raw.x", "stg.b"}


def test_cycles_end() -> None:
    ring = [Node("a", needs=frozenset({"b"})), Node("b", needs=frozenset({"a"}))]
    assert choose(ring, ["+a+"]) == {"a", "b"}


def test_a_name_that_is_not_there_names_the_close_one() -> None:
    with pytest.raises(NotFoundError, match=r"no 'raw\.b'") as caught:
        choose(CHAIN, ["raw.b"])
    assert caught.value.hint is not None
    assert "raw.a" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", " ", "a,,b", "a,", "++a", "a++", "a b,", "tag:", "state:new", ":x", "a@v1", "a;b", "x" * 5000]
)
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_selector(text)


def labelled(**attributes: dict[str, set[str]]) -> list[Node]:
    """Nodes a, b (needs a) and c, with these attributes."""
    has = {name: {kind: frozenset(values) for kind, values in those.items()} for name, those in attributes.items()}
    needs = {"b": frozenset({"a"})}
    return [Node(name, needs=needs.get(name, frozenset()), attributes=has.get(name, {})) for name in "abc"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tag:pii", "a c"),
        ("tag:PII", "a c"),
        ("tag:p*,owner:ada@*", "a"),
        ("owner:data/*", "c"),
        ("col:email+", "a b"),
        ("+col:total", "a b"),
        ("tag:none*", ""),
        ("tag:pii,c", "c"),
        ("owner:data/team b", "b c"),
    ],
)
def test_selecting_by_what_is_said(text: str, expected: str) -> None:
    nodes = labelled(
        a={"tag": {"pii"}, "owner": {"Ada@example.com"}, "col": {"Email"}},
        b={"col": {"total"}},
        c={"tag": {"pii", "gold"}, "owner": {"data/team"}},
    )
    assert choose(nodes, [text]) == set(expected.split())


def test_a_label_that_nothing_has_is_an_error_that_names_others() -> None:
    with pytest.raises(NotFoundError, match="nothing here has tag:pi") as caught:
        choose(labelled(a={"tag": {"pii"}}), ["tag:pi"])
    assert caught.value.hint == "known: pii"


@given(st.text(max_size=50))
def test_any_text_parses_or_is_a_selector_error(text: str) -> None:
    try:
        terms = parse_selector(text)
    except SelectorError:
        return
    assert all(term for term in terms)
