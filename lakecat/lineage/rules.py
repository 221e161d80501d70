"""How dialects differ where lineage depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from lakecat.errors import LineageError

_LATERAL_ALIAS: Final = frozenset(
    ["snowflake", "redshift", "databricks", "spark", "spark2", "duckdb", "clickhouse", "teradata", "athena"]
)
_RECURSIVE_WITHOUT_KEYWORD: Final = frozenset(("tsql", "fabric", "oracle", "snowflake", "teradata"))


@dataclass(frozen=True, slots=True)
class Rules:
    """One dialect's ways with names.

    lateral_alias: an output alias may be used further right in the same select list.
    implicit_lateral: a derived table may refer to tables before it in FROM without LATERAL.
    merged_first: ``SELECT *`` puts the columns of USING and NATURAL joins first (SQL:2016, 7.10), else in place.
    recursive_keyword: a CTE may refer to itself only under WITH RECURSIVE.
    cast_keeps_name: ``x::int`` is still called x.
    correlated_arrays: ``FROM t, t.items`` takes the elements of an array column.
    values_column, values_start: names of VALUES columns, as ``col`` from 0 on.
    star_by_position: MERGE's ``INSERT *`` and ``UPDATE SET *`` go by position instead of by name.
    dotted_names: one quoted identifier may hold a whole path, as BigQuery's `project.dataset.table`.
    """

    dialect: str
    lateral_alias: bool
    implicit_lateral: bool
    merged_first: bool
    recursive_keyword: bool
    dotted_names: bool
    cast_keeps_name: bool
    correlated_arrays: bool
    values_column: str
    values_start: int
    star_by_position: bool

    @classmethod
    def of(cls, dialect: str) -> Rules:
        """Rules of a sqlglot dialect name. Raises LineageError for an unknown one."""
        try:
            Dialect.get_or_raise(dialect)
        except ValueError as err:
            raise LineageError(f"unknown SQL dialect {dialect!r}", hint="use a name sqlglot knows") from err
        name = dialect.partition(",")[0].strip().lower()
        return cls(
            dialect=dialect,
            lateral_alias=name in _LATERAL_ALIAS or not name,
            implicit_lateral=name == "duckdb",
            merged_first=name not in ("duckdb", "clickhouse", ""),
            recursive_keyword=name not in _RECURSIVE_WITHOUT_KEYWORD,
            dotted_names=name == "bigquery",
            cast_keeps_name=name in ("postgres", "redshift"),
            correlated_arrays=name in ("bigquery", "redshift"),
            values_column="col" if name in ("", "duckdb", "spark", "spark2", "databricks", "hive") else "column",
            star_by_position=name == "duckdb",
            values_start=0 if name in ("", "duckdb") else 1,
        )

    def dataset(self, parts: Sequence[str]) -> str:
        """The dataset name of a table reference: lower case, the last two parts."""
        if self.dotted_names:
            parts = [piece for part in parts for piece in part.split(".")]
        return ".".join(part.lower() for part in parts[-2:])

    def column(self, identifier: exp.Expr) -> str:
        """A column's name as referred to: unquoted names in lower case, quoted ones as they are."""
        name = identifier_name(identifier)
        return name if identifier.args.get("quoted") else name.lower()


def identifier_name(identifier: exp.Expr) -> str:
    """The text of a name; T-SQL's temporary tables keep their ``#``, which sqlglot holds as a flag."""
    if isinstance(identifier, exp.Parameter):
        return f"${identifier.name}"  # Snowflake's t.$1
    return f"#{identifier.name}" if identifier.args.get("temporary") else str(identifier.name)


def table_parts(table: exp.Table) -> list[str]:
    """The dotted name of a table, as text parts."""
    return [identifier_name(part) for part in table.parts]
