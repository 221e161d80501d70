"""The work that ``metadata_store.py`` gives to both sides: one seeded generator, one list of operations, one stopwatch.

Standard library only, as ``ml-metadata`` lives in a Python of its own.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

PROPERTIES = {"serial": "INT", "score": "DOUBLE", "label": "STRING", "digest": "STRING", "good": "BOOLEAN"}
"""The properties of every artifact that has any, with their MLMD types."""

SEED = 20_261_125
LAYERS = 10
FAN_INS = (2, 3)
"""Inputs of each execution of the layered graphs. The upstream of one node is some 2,100 nodes at 2, some 7,800 (with
13,500 events) at 3, where MLMD takes what is nearest to what the issue says."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything. ``quick`` proves that it runs; only ``full`` compares with the aims."""

    bulk: int
    more: int
    chain: int
    width: int
    rounds: int
    calls: int


FULL = Sizes(bulk=10_000, more=3_700, chain=10_000, width=1_000, rounds=7, calls=100)
QUICK = Sizes(bulk=1_000, more=370, chain=500, width=50, rounds=3, calls=10)


@dataclass(frozen=True)
class Row:
    """An artifact to be: its name and, when it has them, its uri and values of PROPERTIES."""

    name: str
    uri: str | None = None
    properties: dict[str, Any] | None = None


@dataclass(frozen=True)
class Measure:
    """CPU and wall milliseconds of one call, each the median of the rounds; ``answer`` must be both sides' same."""

    operation: str
    cpu_ms: float
    wall_ms: float
    calls: int
    answer: Any


class Side(Protocol):
    """One of the two stores behind the same words. ``Any`` is the side's own artifact."""

    def open(self, path: Path) -> None:
        """Make a store in a new file, with the types Data, Train and Run."""

    def close(self) -> None: ...

    def artifact(self, row: Row, artifact_id: int | None = None) -> Any: ...

    def put_artifacts(self, artifacts: Sequence[Any]) -> list[int]: ...

    def put_context(self, name: str) -> int: ...

    def prepare_execution(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any], context: str) -> Any:
        """The arguments of ``put_execution``; not measured."""

    def put_execution(self, prepared: Any) -> int: ...

    def put_graph(
        self,
        executions: Sequence[str],
        artifacts: Sequence[Row],
        reads: Sequence[tuple[int, int]],
        writes: Sequence[tuple[int, int]],
    ) -> list[int]:
        """Executions and artifacts joined by (execution index, artifact index); the artifacts' ids."""

    def find(self, filter_query: str) -> list[Any]: ...

    def by_ids(self, ids: Sequence[int]) -> list[Any]: ...

    def by_name(self, name: str) -> Any: ...

    def everything(self) -> list[Any]:
        """All artifacts."""

    def newest(self, limit: int) -> list[Any]:
        """The ``limit`` artifacts with the greatest ids, greatest first."""

    def lineage(self, artifact_id: int) -> tuple[int, int, int]:
        """Everything upstream with its details, in as few calls as it takes: artifacts, executions, calls."""

    def names(self, artifacts: Sequence[Any]) -> list[str]: ...


def rows(start: int, stop: int) -> list[Row]:
    """Artifacts with five properties; those with the same number are the same everywhere."""
    made = []
    for number in range(start, stop):
        values = random.Random(SEED + number)
        made.append(
            Row(
                name=f"data-{number:08d}",
                uri=f"s3://lake/raw/orders/data/part-{number:08d}.parquet",
                properties={
                    "serial": number,
                    "score": values.random(),
                    "label": f"label-{values.randrange(7)}",
                    "digest": f"{values.getrandbits(128):032x}",
                    "good": values.random() < 0.5,
                },
            )
        )
    return made


def measure(
    operation: str, sizes: Sizes, work: Callable[[int], object], *, calls: int | None = None, answer: Any
) -> Measure:
    """Time ``work(number)`` with numbers that never come twice; two calls of warm-up first."""
    per_round = sizes.calls if calls is None else calls
    numbers = iter(range(2 + sizes.rounds * per_round))
    for _ in range(2):
        work(next(numbers))
    cpu, wall = [], []
    for _ in range(sizes.rounds):
        before, start = time.process_time(), time.perf_counter()
        for _ in range(per_round):
            work(next(numbers))
        cpu.append((time.process_time() - before) * 1000 / per_round)
        wall.append((time.perf_counter() - start) * 1000 / per_round)
    return Measure(operation, statistics.median(cpu), statistics.median(wall), 1, answer)


def run(side: Side, folder: Path, sizes: Sizes) -> list[dict[str, Any]]:
    """All operations; a list of ``Measure`` as plain dicts."""
    measures = [*bulk_put(side, folder, sizes)]
    side.open(folder / "properties.db")
    data = rows(0, sizes.bulk + sizes.more)
    ids = side.put_artifacts([side.artifact(row) for row in data])
    measures += questions(side, sizes, data, ids)
    measures += executions(side, sizes, data, ids)
    side.close()
    measures += reading(side, folder, sizes)
    measures += lineages(side, folder, sizes)
    return [asdict(m) for m in measures]


def bulk_put(side: Side, folder: Path, sizes: Sizes) -> Iterator[Measure]:
    """Each round in a file of its own, as the aim is that of an empty store."""
    side.open(folder / "types.db")  # types get the same ids in each file, so that values made for one fit the others
    data = [side.artifact(row) for row in rows(0, sizes.bulk)]
    side.close()
    cpu, wall, answer = [], [], 0
    for number in range(min(sizes.rounds, 5) + 1):
        side.open(folder / f"bulk-{number}.db")
        side.put_artifacts([side.artifact(Row(f"warm-{number}"))])
        before, start = time.process_time(), time.perf_counter()
        answer = len(side.put_artifacts(data))
        cpu.append((time.process_time() - before) * 1000)
        wall.append((time.perf_counter() - start) * 1000)
        side.close()
    yield Measure("bulk put", statistics.median(cpu[1:]), statistics.median(wall[1:]), 1, answer)


def questions(side: Side, sizes: Sizes, data: Sequence[Row], ids: Sequence[int]) -> Iterator[Measure]:
    """Filters and gets over ``data``."""
    step = 7919  # a prime: the numbers hop all over the table and none comes twice

    def serial(number: int) -> str:
        return f"properties.serial.int_value = {number * step % len(data)}"

    def digest(number: int) -> str:
        properties = data[number * step % len(data)].properties
        assert properties is not None
        return f'properties.digest.string_value = "{properties["digest"]}"'

    def hundred(number: int) -> list[int]:
        start = number * step % (len(ids) - 100)
        return list(ids[start : start + 100])

    def some(number: int) -> str:
        return data[number * step % len(data)].name

    def found(text: str) -> list[str]:
        return side.names(side.find(text))

    yield measure("filter int, new text", sizes, lambda n: side.find(serial(n)), answer=found(serial(3)))
    yield measure("filter int, same text", sizes, lambda _: side.find(serial(3)), answer=found(serial(3)))
    yield measure("filter string, new text", sizes, lambda n: side.find(digest(n)), answer=found(digest(3)))
    answer = side.names(side.by_ids(hundred(3)))
    yield measure("get 100 by id", sizes, lambda n: side.by_ids(hundred(n)), answer=sorted(answer))
    yield measure(
        "get by type and name", sizes, lambda n: side.by_name(some(n)), answer=side.names([side.by_name(some(3))])
    )
    yield measure("newest 20", sizes, lambda _: side.newest(20), answer=side.names(side.newest(20)))


def reading(side: Side, folder: Path, sizes: Sizes) -> Iterator[Measure]:
    """Every artifact of a store, without properties and with five each."""
    plain = [Row(f"plain-{n:08d}") for n in range(2 * sizes.bulk)]
    for operation, data in (("get all, no properties", plain), ("get all", rows(0, 2 * sizes.bulk))):
        side.open(folder / f"{operation.replace(' ', '-')}.db")
        side.put_artifacts([side.artifact(row) for row in data])
        yield measure(operation, sizes, lambda _: side.everything(), calls=1, answer=len(side.everything()))
        side.close()


def executions(side: Side, sizes: Sizes, data: Sequence[Row], ids: Sequence[int]) -> Iterator[Measure]:
    """One execution with two inputs, one output and one context; first all of them new, then what is usual."""
    total = 2 + sizes.rounds * sizes.calls

    def reading(number: int) -> list[Any]:
        places = (2 * number % len(data), (2 * number + 1) % len(data))
        return [side.artifact(data[place], ids[place]) for place in places]

    fresh = [
        side.prepare_execution(
            f"fresh-{n}",
            [side.artifact(Row(f"fresh-{n}-{k}")) for k in range(2)],
            [side.artifact(Row(f"fresh-{n}-out"))],
            f"fresh-{n}",
        )
        for n in range(total)
    ]
    yield measure("put_execution, all new", sizes, lambda n: side.put_execution(fresh[n]), answer=None)
    side.put_context("run")
    made = rows(1_000_000, 1_000_000 + total)
    usual = [side.prepare_execution(f"usual-{n}", reading(n), [side.artifact(made[n])], "run") for n in range(total)]
    yield measure("put_execution", sizes, lambda n: side.put_execution(usual[n]), answer=None)


def lineages(side: Side, folder: Path, sizes: Sizes) -> Iterator[Measure]:
    """A chain, and layers of executions that each read some artifacts of the layer before."""
    side.open(folder / "chain.db")
    steps = range(sizes.chain)
    made = side.put_graph(
        [f"chain-{n:08d}" for n in steps],
        [Row(f"chain-{n:08d}") for n in range(sizes.chain + 1)],
        [(n, n) for n in steps],
        [(n, n + 1) for n in steps],
    )
    yield measured_lineage("whole lineage of a chain", side, sizes, made[-1:])
    side.close()
    for fan_in in FAN_INS:
        side.open(folder / f"layers-{fan_in}.db")
        made = put_layers(side, sizes.width, fan_in)
        yield measured_lineage(f"upstream in layers, {fan_in}", side, sizes, made[-sizes.width :])
        side.close()


def put_layers(side: Side, width: int, fan_in: int) -> list[int]:
    """LAYERS layers of ``width`` executions; the ids of their artifacts, the last layer's at the end."""
    choose = random.Random(SEED)
    reads, writes = [], []
    for layer in range(LAYERS):
        for place in range(width):
            execution = layer * width + place
            reads += [(execution, layer * width + source) for source in choose.sample(range(width), fan_in)]
            writes.append((execution, execution + width))
    artifacts = [Row(f"layer-{n:08d}") for n in range((LAYERS + 1) * width)]
    return side.put_graph([f"layer-{n:08d}" for n in range(LAYERS * width)], artifacts, reads, writes)


def measured_lineage(operation: str, side: Side, sizes: Sizes, starts: Sequence[int]) -> Measure:
    artifacts, made, calls = side.lineage(starts[0])
    rounds = min(sizes.rounds, 5)
    few = Sizes(**{**asdict(sizes), "rounds": rounds})
    result = measure(operation, few, lambda n: side.lineage(starts[n % len(starts)]), calls=1, answer=[artifacts, made])
    return Measure(**{**asdict(result), "calls": calls})
