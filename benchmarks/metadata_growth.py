"""CPU time of small questions and puts on a catalog with 10 thousand, 100 thousand and 1 million artifacts.

One catalog grows from size to size; at each size the same operations are measured, at the median of several rounds:

- ``put``: one artifact with five properties;
- ``put_execution``: one new execution, two stored inputs, one new output with five properties, one stored context;
- ``filter``: one hit on one property;
- ``lineage``: two hops up from one artifact (its execution, and what that read).

Each artifact has five properties; four artifacts come out of one execution, which reads two artifacts of earlier ones;
a context holds 100 artifacts. On SQLite the CPU is that of this process; with ``--url`` a server does most of the work,
so that wall time is printed there too. Searching is measured by ``search_growth.py``.

Run: ``python benchmarks/metadata_growth.py [--sizes 10000,100000,1000000] [--url URL] [--seconds 900] [--explain]``.
The 1,000,000 artifacts are a file of 1 GB. What is not grown when the seconds are over is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lakecat.catalog import Catalog, MetadataStore
from lakecat.catalog.enums import EventType, ExecutionState, PropertyType
from lakecat.catalog.metadata_store import values

KINDS = {
    "serial": PropertyType.INT,
    "score": PropertyType.DOUBLE,
    "label": PropertyType.STRING,
    "digest": PropertyType.STRING,
    "good": PropertyType.BOOLEAN,
}
BATCH = 10_000
OUTPUTS = 4
GROUP = 100
AIM = 2.0


@dataclass
class Growing:
    """A catalog, what is in it, and how to make more of it."""

    catalog: Catalog
    store: MetadataStore
    artifacts: int = 0
    extra: int = 0
    ids: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = self.store.put_artifact_type(values.ArtifactType(name="Data", properties=KINDS))
        self.train = self.store.put_execution_type(values.ExecutionType(name="Train"))
        self.run = self.store.put_context_type(values.ContextType(name="Run"))

    def artifact(self, number: int, key: int | None = None) -> values.Artifact:
        chance = random.Random(number)
        return values.Artifact(
            type_id=self.data,
            id=key,
            name=f"data-{number:09d}",
            uri=f"s3://lake/raw/orders/data/part-{number:09d}.parquet",
            properties={
                "serial": number,
                "score": chance.random(),
                "label": f"label-{chance.randrange(7)}",
                "digest": f"{chance.getrandbits(128):032x}",
                "good": chance.random() < 0.5,
            },
        )

    def grow(self, size: int, deadline: float) -> bool:
        """Up to ``size`` artifacts; False when the time was over before."""
        while self.artifacts < size:
            if time.monotonic() > deadline:
                return False
            self._batch(min(BATCH, size - self.artifacts))
        return True

    def _batch(self, count: int) -> None:
        """Artifacts, their executions and their groups, in three calls."""
        first = self.artifacts
        chance = random.Random(first)
        made = self.store.put_artifacts([self.artifact(number) for number in range(first, first + count)])
        known = self.ids or made[: 2 * OUTPUTS]
        executions = [self._execution(first + n) for n in range(0, count, OUTPUTS)]
        runs = self.store.put_executions(executions)
        events = [
            values.Event(type=EventType.OUTPUT, artifact_id=made[n], execution_id=runs[n // OUTPUTS])
            for n in range(count)
        ]
        events += [
            values.Event(type=EventType.INPUT, artifact_id=artifact, execution_id=run)
            for run in runs
            for artifact in chance.sample(known, 2)
        ]
        self.store.put_events(events)
        groups = self.store.put_contexts([self._group((first + n) // GROUP) for n in range(0, count, GROUP)])
        self.store.put_attributions_and_associations(
            [values.Attribution(artifact_id=made[n], context_id=groups[n // GROUP]) for n in range(count)],
            [
                values.Association(execution_id=run, context_id=groups[n * OUTPUTS // GROUP])
                for n, run in enumerate(runs)
            ],
        )
        self.ids += made
        self.artifacts += count

    def _execution(self, number: int) -> values.Execution:
        return values.Execution(type_id=self.train, name=f"run-{number:09d}", last_known_state=ExecutionState.COMPLETE)

    def _group(self, number: int) -> values.Context:
        return values.Context(type_id=self.run, name=f"group-{number:07d}")

    def put(self, number: int) -> None:
        self.extra += 1
        self.store.put_artifacts([self.artifact(100_000_000 + self.extra)])

    def put_execution(self, number: int) -> None:
        self.extra += 1
        chance = random.Random(number)
        places = [chance.randrange(self.artifacts) for _ in range(2)]
        inputs = [self.artifact(place, self.ids[place]) for place in places]
        pairs = [(a, values.Event(type=EventType.INPUT)) for a in inputs]
        pairs.append((self.artifact(100_000_000 + self.extra), values.Event(type=EventType.OUTPUT)))
        context = self._group(chance.randrange(self.artifacts // GROUP))
        self.store.put_execution(
            self._execution(100_000_000 + self.extra), pairs, [context], reuse_context_if_already_exist=True
        )

    def filter(self, number: int) -> None:
        wanted = random.Random(number).randrange(self.artifacts)
        options = values.ListOptions(filter_query=f"properties.serial.int_value = {wanted}")
        (found,) = self.store.get_artifacts(options)
        assert found.name == f"data-{wanted:09d}"

    def lineage(self, number: int) -> None:
        start = self.ids[random.Random(number).randrange(self.artifacts)]
        graph = self.store.lineage(artifact_ids=[start], direction="up", max_num_hops=2)
        assert len(graph.executions) == 1
        assert 2 <= len(graph.artifacts) <= 3


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(work: Callable[[int], None], *, rounds: int, calls: int, seed: int) -> tuple[float, float]:
    """Milliseconds of CPU and of wall time of one call: medians of the rounds, after two calls of warm-up."""
    chance = random.Random(seed)
    for _ in range(2):
        work(chance.getrandbits(60))
    cpu, wall = [], []
    for _ in range(rounds):
        before, start = cpu_seconds(), time.perf_counter()
        for _ in range(calls):
            work(chance.getrandbits(60))
        cpu.append((cpu_seconds() - before) * 1000 / calls)
        wall.append((time.perf_counter() - start) * 1000 / calls)
    return statistics.median(cpu), statistics.median(wall)


OPERATIONS = ("put", "put_execution", "filter", "lineage")


def measure_all(growing: Growing, rounds: int, calls: int) -> dict[str, tuple[float, float]]:
    return {
        name: measure(getattr(growing, name), rounds=rounds, calls=calls, seed=number)
        for number, name in enumerate(OPERATIONS)
    }


@contextmanager
def explaining(engine: sa.Engine) -> Iterator[list[str]]:
    """Collect the plan of each distinct SELECT that runs meanwhile (SQLite and PostgreSQL)."""
    plans: dict[str, str] = {}
    command = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "

    def before(connection: sa.Connection, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.lstrip()[:6].upper() in {"SELECT", "WITH R"} and statement not in plans:
            cursor.execute(command + statement, parameters)
            plans[statement] = "\n".join("    " + str(row[-1]) for row in cursor.fetchall())

    lines: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", before)
    try:
        yield lines
    finally:
        sa.event.remove(engine, "before_cursor_execute", before)
        lines += [f"  {statement}\n{plan}" for statement, plan in plans.items()]


def explain(growing: Growing) -> None:
    for name in OPERATIONS:
        with explaining(growing.catalog.database.engine) as plans:
            getattr(growing, name)(1)
        print(f"{name}:", *plans, sep="\n")


def run(url: str, sizes: list[int], arguments: argparse.Namespace) -> dict[int, dict[str, tuple[float, float]]]:
    results: dict[int, dict[str, tuple[float, float]]] = {}
    deadline = time.monotonic() + arguments.seconds
    with Catalog.open(url, create=True) as catalog:
        growing = Growing(catalog, catalog.metadata_store)
        for size in sizes:
            before = cpu_seconds()
            if not growing.grow(size, deadline):
                print(f"stopped at {growing.artifacts:,} artifacts: {arguments.seconds} seconds are over")
                break
            results[size] = measure_all(growing, arguments.rounds, arguments.calls)
            line = {name: round(cpu, 3) for name, (cpu, _wall) in results[size].items()}
            print(json.dumps({"artifacts": size, "grown_cpu_s": round(cpu_seconds() - before, 1), **line}), flush=True)
            if arguments.explain:
                explain(growing)
    return results


def report(results: dict[int, dict[str, tuple[float, float]]], *, server: bool) -> None:
    """The last size against the first, by CPU, on a server by wall time too."""
    first, last = min(results), max(results)
    for name in results[first]:
        (cpu, wall), (cpu_last, wall_last) = results[first][name], results[last][name]
        ratio = cpu_last / cpu
        verdict = "held" if ratio <= AIM else "MISSED"
        text = f"{name:14} {cpu:.3f} ms CPU at {first:,}, {cpu_last:.3f} at {last:,}: {ratio:.2f} ×"
        text += f" (aim ≤ {AIM:g} ×: {verdict})"
        print(text + (f"; wall {wall:.2f} and {wall_last:.2f} ms: {wall_last / wall:.2f} ×" if server else ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="numbers of artifacts to measure at, ascending")
    parser.add_argument("--url", help="an empty database on a server instead of an SQLite file")
    parser.add_argument("--folder", type=Path, help="where the file is made; a temporary folder when absent")
    parser.add_argument("--seconds", type=float, default=900, help="no more growing after so many")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=100, help="calls of each operation in one round")
    parser.add_argument("--explain", action="store_true", help="print the plans of the questions at each size")
    arguments = parser.parse_args()
    sizes = [int(text) for text in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory(prefix="lakecat-bench-", dir=arguments.folder) as folder:
        results = run(arguments.url or f"sqlite:///{folder}/catalog.db", sizes, arguments)
    if results:
        report(results, server=arguments.url is not None)
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
