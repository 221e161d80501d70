"""What the connector suite needs: a catalog in memory, commits into it, and rows that can be compared."""

from __future__ import annotations

import base64
import inspect
import json
import math
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lakecat.connector import Connector, ReadOptions, ReadSummary, Slice, StreamRequest
from lakecat.errors import ConfigError
from lakecat.types import FileVersion, Json, LoadedFile, Position

Rows = Counter[frozenset[tuple[str, str]]]

_EXACT: Final = 28  # digits that Decimal.normalize() keeps

MAX_POSITION: Final = 65_536
MAX_BATCH_ROWS: Final = 2 * 65_536
MAX_BATCH_BYTES: Final = 64 << 20


def check(truth: object, message: str) -> None:
    """Fail the test with a sentence that says what the connector must do."""
    if not truth:
        raise AssertionError(message)


def rows_of(batches: Iterable[pa.RecordBatch]) -> Rows:
    """Rows as a multiset; NULL and a column that is not there are the same, so are 1 and 1.0."""
    return counted(row for batch in batches for row in batch.to_pylist())


def counted(rows: Iterable[Mapping[str, object]]) -> Rows:
    """Rows as a multiset."""
    return Counter(frozenset((name, _shown(value)) for name, value in row.items() if value is not None) for row in rows)


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int | float | Decimal) and math.isfinite(value):
        number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return f"number {number.normalize()}" if len(number.as_tuple().digits) < _EXACT else f"number {number:f}"
    if isinstance(value, datetime) and value.utcoffset() is not None:
        return repr(value.astimezone(UTC))
    if isinstance(value, Mapping):
        return str(sorted((str(name), _shown(part)) for name, part in value.items() if part is not None))
    return str([_shown(part) for part in value]) if isinstance(value, list | tuple) else repr(value)


def difference(got: Rows, wanted: Rows) -> str:
    """What is missing and what is too much, some of each."""
    missing, extra = wanted - got, got - wanted
    parts = []
    for name, some in (("lost", missing), ("doubled or invented", extra)):
        if some:
            shown = "; ".join(str(dict(row)) for row in list(some)[:3])
            parts.append(f"{sum(some.values())} rows {name}, such as {shown}")
    return ", ".join(parts)


@dataclass(slots=True)
class MemoryState:
    """A stream's state in a catalog that is in memory."""

    position: Position | None = None
    files: dict[str, FileVersion] = field(default_factory=dict)

    def loaded(self, files: Iterable[FileVersion]) -> frozenset[FileVersion]:
        """Those that a commit holds."""
        known = {(one.uri, one.identity) for one in self.files.values()}
        return frozenset(one for one in files if (one.uri, one.identity) in known)

    def ledger(self) -> Iterator[FileVersion]:
        """By URI."""
        return iter([self.files[uri] for uri in sorted(self.files, key=str.encode)])


@dataclass(slots=True)
class Landing:
    """What has been committed of one stream: rows, state and the table's columns."""

    state: MemoryState = field(default_factory=MemoryState)
    rows: Rows = field(default_factory=Counter)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    schema: pa.Schema | None = None
    keys: list[str] = field(default_factory=list)
    appends: bool = True

    def commit(self, slice_: Slice, summary: ReadSummary, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
        """As lakecat does it: rows, position and ledger together."""
        came = slice_.key in self.keys
        check(not (came and self.appends), f"the slice key {slice_.key!r} came a second time, after its commit")
        self.keys.append(slice_.key)
        self.rows += rows_of(batches)
        position = summary.position or slice_.position
        if position is not None:
            self.state.position = Position(json.loads(json.dumps(dict(position.value))))
        for file in _ledger(slice_, summary.files):
            self.state.files[file.uri] = file
        for file in slice_.gone:
            self.state.files.pop(file.uri, None)
        if summary.rejected is not None:
            self.rejected += summary.rejected.to_pylist()
        self.schema = schema if self.schema is None else _united(self.schema, schema)

    def take(self, connector: Connector, slice_: Slice, options: ReadOptions | None = None) -> None:
        """Read a slice and commit it."""
        schema, batches, summary = read(connector, slice_, options or ReadOptions(expected=self.schema))
        self.commit(slice_, summary, schema, batches)

    def drain(self, connector: Connector, request: StreamRequest, *, at_most: int = 1_000) -> int:
        """Commit whatever is new; how many slices that were."""
        taken = 0
        for slice_ in connector.plan(request, self.state):
            self.take(connector, slice_)
            taken += 1
            check(taken < at_most, f"plan gave {at_most} slices and goes on: it does not see what was committed")
        return taken


def _ledger(slice_: Slice, loaded: Sequence[LoadedFile]) -> list[FileVersion]:
    return [one.file for one in loaded] or list(slice_.files)


def _united(table: pa.Schema, new: pa.Schema) -> pa.Schema:
    return pa.schema([*table, *(column for column in new if column.name not in table.names)])


def read(
    connector: Connector, slice_: Slice, options: ReadOptions
) -> tuple[pa.Schema, list[pa.RecordBatch], ReadSummary]:
    """A slice to its end."""
    with closing(connector.read(slice_, options)) as reader:
        schema = reader.schema
        batches = list(reader)
        return schema, batches, reader.summary()


def parts_of(slice_: Slice) -> list[Slice]:
    """The slice's splits, each as a slice of its own."""
    return [replace(slice_, splits=(split,)) for split in slice_.splits]


def remembered(slice_: Slice, summary: ReadSummary) -> list[Position]:
    """The positions that a slice gives."""
    return [position for position in (slice_.position, summary.position) if position is not None]


def secret_of(secrets: Mapping[str, str], reference: str) -> str:
    """As lakecat resolves references. Raises ConfigError."""
    if reference not in secrets:
        raise ConfigError(f"{reference.partition(':')[0]!r} is no reference to a secret that the suite knows")
    return secrets[reference]


_KEYS: Final = """
import base64, importlib, importlib.util, json, pickle, sys
told = json.load(sys.stdin)
sys.path[:] = told["path"]
from lakecat.connector import ConnectorContext
from lakecat.testing.lab import MemoryState, secret_of
from pathlib import Path
try:
    kind = importlib.import_module(told["module"])
except ImportError:  # pytest may import a test module under a name that nobody else can
    spec = importlib.util.spec_from_file_location(told["module"], told["file"])
    kind = sys.modules[told["module"]] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kind)
for name in told["class"].split("."):
    kind = getattr(kind, name)
secret = lambda reference: secret_of(told["secrets"], reference)
context = ConnectorContext(root=Path(told["root"]), storage=told["storage"], secret=secret)
opened = kind.open(told["options"], context)
keys = []
for request in pickle.loads(base64.b64decode(told["requests"])):
    for one in opened.plan(request, MemoryState()):
        keys.append(one.key)
        break
opened.close()
print(json.dumps(keys))
"""


def keys_in_another_process(
    kind: type,
    options: Mapping[str, Json],
    *,
    root: Path,
    storage: Mapping[str, str],
    secrets: Mapping[str, str],
    requests: Sequence[StreamRequest],
) -> list[str]:
    """The key of each request's first slice, planned by a process of its own."""
    asked = [replace(one, options=dict(one.options)) for one in requests]
    told = {
        "path": sys.path,
        "module": kind.__module__,
        "file": inspect.getfile(kind),
        "class": kind.__qualname__,
        "root": str(root),
        "storage": dict(storage),
        "secrets": dict(secrets),
        "options": dict(options),
        "requests": base64.b64encode(pickle.dumps(asked)).decode(),
    }
    done = subprocess.run(  # noqa: S603 - this very Python, with a script of our own
        [sys.executable, "-c", _KEYS], input=json.dumps(told), capture_output=True, text=True, check=False, timeout=300
    )
    check(done.returncode == 0, f"the connector cannot be opened in a process of its own:\n{done.stderr}")
    keys: list[str] = json.loads(done.stdout.splitlines()[-1])
    return keys
