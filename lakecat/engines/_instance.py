"""One locked DuckDB instance for each statement: exactly the files it needs, nothing else in reach.

The guarantee does not rest on reading SQL text. Before any text of a user runs, the instance has external access off
with an exact list of files, no extensions, no replacement scans, and a locked configuration; the statement's kind is
what DuckDB's own parser says. (``allowed_paths`` grants writing too; only COPY, EXPORT and ATTACH write, and no
statement of such a kind is ever run.)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import duckdb
import pyarrow as pa

from lakecat.config import EngineSettings
from lakecat.config.values import parse_size
from lakecat.engines._errors import translate
from lakecat.errors import AccessDeniedError, EngineError, ObjectMissingError, Where
from lakecat.store import LakeStore
from lakecat.tables.relation import quoted, text
from lakecat.tables.snapshot_files import SnapshotFiles, engine_path
from lakecat.types import DatasetName

#: duckdb's classes have no types.
Connection: TypeAlias = Any
Statement: TypeAlias = Any

_REST: Final = "lakecat_rest"

_REACHES_OUT: Final = frozenset(
    {
        "COPY",
        "COPY_DATABASE",
        "ATTACH",
        "DETACH",
        "EXPORT",
        "LOAD",
        "EXTENSION",
        "SET",
        "VARIABLE_SET",
        "PRAGMA",
        "CALL",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What one name stands for in an instance: a query over files, a stream to be copied in, or both."""

    name: DatasetName
    sql: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    rest: pa.RecordBatchReader | None = None
    as_table: bool = False


def connect(settings: EngineSettings, scratch: Path | None) -> Connection:
    """An empty in-memory DuckDB, not yet locked: no text of a user may run before :func:`populate`.

    Args:
        settings: memory, threads and spill space.
        scratch: private folder for spilled data; the text can list it, so nothing else may be there. None: no spilling.

    Raises:
        EngineError: the settings are refused.
    """
    try:
        con = duckdb.connect(":memory:", config=_config(settings, scratch))
        con.execute("SET TimeZone = 'UTC'")
    except duckdb.Error as err:
        raise EngineError(
            f"DuckDB refuses the engine's settings: {translate(err, '').what}", hint="see engine: in lakecat.yaml"
        ) from err
    return con


def populate(con: Connection, store: LakeStore, relations: Iterable[Relation]) -> None:
    """Define these relations as ``namespace.name``, with everything else out of reach and the configuration locked.

    Raises:
        ObjectMissingError: a data file of a relation is not there.
        EngineError: a relation is refused.
    """
    relations = tuple(relations)
    sizes = {location: size for relation in relations for location, size in relation.sizes.items()}
    paths = [engine_path(store, location) for location in sizes]
    con.register_filesystem(SnapshotFiles(store, sizes))
    con.execute(f"SET allowed_paths = [{', '.join(text(path) for path in paths)}]")
    con.execute("SET enable_external_access = false")
    define_all(con, store, relations)
    con.execute("SET lock_configuration = true")


def scratch_folder(parent: Path | None) -> Path:
    """A new folder for spilled data, in ``parent`` or the system's.

    Raises:
        EngineError: none can be made.
    """
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        # mkdtemp makes the folder for this user only: spilled rows are nobody else's business.
        return Path(tempfile.mkdtemp(prefix="lakecat-engine-", dir=parent))
    except OSError as err:
        raise EngineError(
            f"no folder for spilled data can be made in {parent or tempfile.gettempdir()}: {err.strerror}",
            hint="set engine.temp_directory in lakecat.yaml to a folder that can be written",
        ) from err


def _config(settings: EngineSettings, scratch: Path | None) -> dict[str, str | bool | int | float | list[str]]:
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": str(settings.memory_limit),
        "temp_directory": "" if scratch is None else str(scratch),
        "allow_persistent_secrets": "false",
        "allow_community_extensions": "false",
        "allow_unsigned_extensions": "false",
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "python_enable_replacements": "false",
    }
    if scratch is not None:
        config |= {"home_directory": str(scratch), "secret_directory": str(scratch)}
    if settings.threads is not None:
        config["threads"] = str(settings.threads)
    if settings.max_temp_size is not None:
        config["max_temp_directory_size"] = str(settings.max_temp_size)
    return config


def divided(settings: EngineSettings, sessions: int) -> EngineSettings:
    """The settings of one of so many sessions that run side by side, so that together they keep to these."""
    if sessions <= 1:
        return settings
    spill = settings.max_temp_size
    return settings.model_copy(
        update={
            "memory_limit": f"{_bytes(settings.memory_limit) // sessions}B",
            "threads": max(1, (settings.threads or os.cpu_count() or 1) // sessions),
            "max_temp_size": None if spill is None else f"{_bytes(spill) // sessions}B",
        }
    )


def _bytes(size: str) -> int:
    return cast("int", parse_size(size))


def sql_name(name: DatasetName) -> str:
    """The dataset's name as SQL text."""
    return f"{quoted(name.namespace)}.{quoted(name.name)}"


def define_all(con: Connection, store: LakeStore, relations: Sequence[Relation]) -> None:
    """Make the relations' namespaces, and :func:`define` each relation."""
    for namespace in dict.fromkeys(relation.name.namespace for relation in relations):
        con.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(namespace)}")
    for relation in relations:
        define(con, store, relation)


def define(con: Connection, store: LakeStore, relation: Relation) -> None:
    """Make the relation a view, or a table when it must be changed or does not come from files alone.

    Its namespace must be there.

    Raises:
        ObjectMissingError: one of its data files is not there.
        EngineError: DuckDB refuses it.
    """
    name = sql_name(relation.name)
    kind = "VIEW" if relation.rest is None and not relation.as_table else "TABLE"
    try:
        con.execute(f"CREATE {kind} {name} AS {relation.sql}")
        if relation.rest is not None:
            con.register(_REST, relation.rest)
            con.execute(f"INSERT INTO {name} SELECT * FROM {quoted(_REST)}")
            con.unregister(_REST)
    except duckdb.Error as err:
        for location in relation.sizes:
            if not store.exists(location):
                raise ObjectMissingError(f"a data file of {relation.name} is missing", where=Where(location)) from err
        raise translate(err, relation.sql) from err


def one_statement(con: Connection, sql: str, kinds: Sequence[str]) -> Statement:
    """The one statement in ``sql``, of one of these kinds by DuckDB's own parser.

    Raises:
        AccessDeniedError: it is of a kind that reaches outside (COPY, ATTACH, SET, …).
        EngineError: it does not parse, there are several, or it is of another kind.
    """
    try:
        statements = con.extract_statements(sql)
    except duckdb.Error as err:
        raise translate(err, sql) from err
    except TypeError as err:  # what is no Unicode is no text to DuckDB
        raise EngineError("the SQL text holds half a surrogate pair, which is no character") from err
    if len(statements) != 1:
        raise EngineError(f"one SQL statement was expected, and here are {len(statements)}")
    statement = statements[0]
    kind = statement.type.name
    if kind in kinds:
        return statement
    allowed = " or ".join(kind_.replace("_INTO", "") for kind_ in kinds)
    what = f"a {kind.replace('_', ' ')} statement cannot run here, only {allowed}"
    if kind in _REACHES_OUT or kind.startswith(("CREATE", "DROP")):
        raise AccessDeniedError(what, hint="SQL text reads the tables it names and nothing else")
    hint = "write PIVOT with an IN list inside a SELECT" if kind == "MULTI" else None
    raise EngineError(what, hint=hint)
