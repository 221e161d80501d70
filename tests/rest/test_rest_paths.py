"""Any name can be written as a JMESPath expression that finds its field."""

from __future__ import annotations

import jmespath
from hypothesis import example, given
from hypothesis import strategies as st

from lakecat_connectors._rest_paths import path_to


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
@example("a\nb")
@example('say "x\\y"')
@example("@odata.nextLink")
def test_the_path_to_a_name_finds_its_field(name: str) -> None:
    assert jmespath.search(path_to(name), {name: 7, f"{name}'": 8}) == 7


def test_plain_names_stay_as_they_are() -> None:
    assert [path_to(name) for name in ("data", "next_page2", "é", "2x")] == ["data", "next_page2", '"é"', '"2x"']
