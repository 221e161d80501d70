"""What is wrong with a script, said with the place in its file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import pyarrow as pa
from pyiceberg.schema import Schema
from sqlglot import exp

from lakecat.engines import Engine
from lakecat.errors import EngineError, LakecatError, TableError, TransformError, Where
from lakecat.tables import Scan, TableState, arrow_to_iceberg
from lakecat.transform.compile import Compiled, Value, compile_script, first_merge
from lakecat.transform.graph import Graph
from lakecat.transform.names import place
from lakecat.transform.pinned import Pinned
from lakecat.transform.scripts import Kind, Script
from lakecat.transform.shape import insert_names, listed_names
from lakecat.types import DatasetName

_QUOTED: Final = re.compile(r"[\"'`]([^\"'`]{1,128})[\"'`]")


_NO_STATE: Final = cast("TableState", None)


@dataclass(frozen=True, slots=True)
class Promised(Scan):
    """The columns of a table that may be still to be made. It can be described, which reads no file; not queried."""

    columns: Schema = field(default_factory=Schema)

    @property
    def schema(self) -> Schema:
        """The columns that the table will have."""
        return self.columns


def missing_table(dataset: DatasetName, where: Where, known: Collection[DatasetName], graph: Graph) -> TransformError:
    """The error for a table that is neither there nor made by this run."""
    maker = next((script for script in graph.order if script.target == dataset), None)
    if maker is not None:
        return TransformError(
            f"there is no table {dataset} yet; {maker.path} makes it, and is not part of this run",
            where=where,
            next_command=f"lakecat run --select {maker.name}",
        )
    names = sorted({str(name) for name in known} | {str(script.target) for script in graph.order})
    close = difflib.get_close_matches(str(dataset), names, n=3, cutoff=0.6)
    return TransformError(
        f"there is no table {dataset}",
        where=where,
        hint=f"did you mean {', '.join(close)}?" if close else "ingest it first, or correct the name",
        next_command="lakecat ls",
    )


def placed(script: Script, err: EngineError) -> TransformError:
    """An engine's error with the place in the script of the name that it complains about.

    The engine saw translated text, so its own positions mean nothing in the file.
    """
    where = script.where(script.statement)
    for name in _QUOTED.findall(err.what):
        found = _named(script.statement, name)
        if found is not None:
            line, column = place(found, script.text)
            where = Where(script.path, line, column)
            break
    return TransformError(err.what, where=where, hint=err.hint, next_command=err.next_command)


def _named(statement: exp.Expr, name: str) -> exp.Expr | None:
    wanted = name.rpartition(".")[2].lower()
    for node in statement.find_all(exp.Identifier, exp.Anonymous):
        if node.name.lower() == wanted and "start" in node.meta:
            return node
    return None


class Checker:
    """Checks scripts, in order, against the tables that are there and those that the scripts before will make."""

    def __init__(
        self, engine: Engine, graph: Graph, pinned: Pinned, variables: Mapping[str, Value], *, full_refresh: bool
    ) -> None:
        self._engine = engine
        self._graph = graph
        self._pinned = pinned
        self._variables = variables
        self._full_refresh = full_refresh
        self._there = frozenset(pinned.versions)
        # What scripts checked before will have made of their tables; None where that cannot be told.
        self._made: dict[DatasetName, Schema | None] = {}

    def problem(self, script: Script, running: Iterable[Script]) -> LakecatError | None:
        """What will stop the script, or None; ``running`` are the scripts of the run so far, this one too."""
        known = {*self._there, *(other.target for other in running if other is not script)}
        if script.kind.creates or script.target not in self._there:
            self._made.setdefault(script.target, None)
        try:
            self._check_tables(script, known)
            self._check_columns(script, exists=script.target in known)
        except EngineError as err:
            return placed(script, err)
        except TransformError as err:
            return err
        except TableError as err:
            return TransformError(err.what, where=err.where or script.where(script.statement), hint=err.hint)
        return None

    def _check_tables(self, script: Script, known: Collection[DatasetName]) -> None:
        for use in script.reads:
            if use.dataset not in known and use.dataset != script.target:
                where = Where(script.path, use.line, use.column)
                raise missing_table(use.dataset, where, known, self._graph)
        needs_target = script.kind in (Kind.UPDATE, Kind.DELETE) or script.target in script.inputs
        if needs_target and script.target not in known:
            raise missing_table(script.target, script.where(script.statement), known, self._graph)

    def _check_columns(self, script: Script, *, exists: bool) -> None:
        first = script.kind is Kind.MERGE and not exists
        translate = first_merge if first else compile_script
        compiled = translate(script, dialect=self._engine.dialect, variables=self._variables)
        if script.kind.modifies and not first:
            return
        scans = self._scans(compiled)
        if scans is None:
            return
        with self._engine.session(scans) as session:
            result = session.describe(compiled.sql, compiled.parameters)
        target = self._schema(script.target)
        if script.kind.inserts and exists:
            if target is not None and not self._full_refresh:
                insert_names(script, [column.name for column in target.fields], result.names)
            return
        names = listed_names(script, result.names)
        columns = [column.with_name(name) for column, name in zip(result, names, strict=True)]
        self._made[script.target] = arrow_to_iceberg(pa.schema(columns))

    def _scans(self, compiled: Compiled) -> Mapping[DatasetName, Scan] | None:
        found: dict[DatasetName, Scan] = {}
        for name, (dataset, _) in compiled.relations.items():
            schema = self._schema(dataset)
            if schema is None:
                return None
            found[name] = Promised(_NO_STATE, columns=schema)
        return found

    def _schema(self, dataset: DatasetName) -> Schema | None:
        if dataset in self._made:
            return self._made[dataset]
        return self._pinned.scan(dataset).schema if dataset in self._there else None
