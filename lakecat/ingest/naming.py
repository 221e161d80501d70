"""Column names by a rule that never lets two columns collide; which source column each came from is remembered.

A table keeps the names of its source beside the field ids they became, in a property of its metadata: so a column that
was renamed in the table is still filled, and the answer to a collision never depends on the order of a later delivery.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic_core import from_json, to_json
from pyiceberg.schema import Schema

from lakecat.connector.columns import fold
from lakecat.tables import TableState

SOURCE_NAMES: Final = "lakecat.source-names"
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_HASH_DIGITS: Final = 6


def snake(name: str) -> str:
    """A name as lower-case words with ``_`` between them: ``Order ID`` and ``orderId`` become ``order_id``."""
    words = _WORDS.sub("_", unicodedata.normalize("NFKC", name))
    text = re.sub(r"[\W_]+", "_", words).strip("_").lower() or "column"
    return f"_{text}" if text[0].isdigit() else text


def column_names(source: Sequence[str], known: Mapping[str, str], taken: Iterable[str]) -> dict[str, str]:
    """The column of each source name.

    Names that are ``known`` keep their column. A name that others would share with it, or that is ``taken`` by a column
    of the table, gets the beginning of its own hash as a suffix.
    """
    used = {fold(name) for name in (*taken, *known.values())}
    result: dict[str, str] = {name: known[name] for name in source if name in known}
    # A name that needs no change has the first right to itself.
    for name in sorted((name for name in source if name not in known), key=lambda name: snake(name) != name):
        column = snake(name)
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        digits = _HASH_DIGITS
        while fold(column) in used:
            column = f"{snake(name)}_{digest[:digits]}"
            digits += 1
        used.add(fold(column))
        result[name] = column
    return {name: result[name] for name in source}


def known_names(state: TableState | None) -> dict[str, str]:
    """The table's columns by the names that the source has for them."""
    if state is None:
        return {}
    columns = {field.field_id: field.name for field in state.schema.fields}
    ids: Mapping[str, int] = from_json(state.properties.get(SOURCE_NAMES, "{}"))
    told = set(ids.values())
    # Where nothing was said, the source's name is the column's own: so a table that kept its names can take a rule.
    same = {column: column for number, column in columns.items() if number not in told}
    return {**same, **{name: columns[number] for name, number in ids.items() if number in columns}}


def names_property(state: TableState | None, schema: Schema, names: Mapping[str, str]) -> dict[str, str]:
    """The property that remembers these names, as far as it is not so already."""
    ids = {field.name: field.field_id for field in schema.fields}
    before = {} if state is None else from_json(state.properties.get(SOURCE_NAMES, "{}"))
    after = {**before, **{name: ids[column] for name, column in names.items() if column in ids}}
    return {} if after == before else {SOURCE_NAMES: to_json(after).decode()}
