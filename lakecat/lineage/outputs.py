"""What a statement gives: outputs with columns, and tables it creates for later statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lakecat.lineage.relation import STAR, Column, Influence, Relation


class NotUnderstoodError(Exception):
    """Internal: a statement whose lineage is not known. Becomes a StatementError or a LineageError at the edge."""


@dataclass(slots=True)
class Output:
    """One written table. Columns may repeat, as in a MERGE whose branches write the same column."""

    dataset: str
    columns: list[Column]
    influence: Influence = field(default_factory=Influence)


@dataclass(slots=True)
class Outcome:
    """A statement's kind, its outputs, and the table it creates, which later statements of a script may read."""

    kind: str
    outputs: list[Output] = field(default_factory=list)
    created: tuple[str, Relation, bool] | None = None

    def creating(self, name: str, relation: Relation, *, temporary: bool) -> Outcome:
        """The same, with a table that later statements know."""
        self.created = (name, relation, temporary)
        return self


def positioned(columns: Sequence[Column], names: Sequence[str] | None) -> list[Column]:
    """Columns under the target's names, by position; past a star that could not be expanded positions are unknown."""
    named: list[Column] = []
    starred = False
    for i, column in enumerate(columns):
        starred = starred or column.name == STAR
        name = names[i] if names and not starred and i < len(names) else column.name
        named.append(Column(name, column.deps, column.node))
    return named
