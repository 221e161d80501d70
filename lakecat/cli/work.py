"""What ``ingest``, ``run`` and ``plan`` have in common: progress, one line for each outcome, exit codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from lakecat.cli.output import Block, Line, Output, Style
from lakecat.cli.text import count, escape, seconds, size

if TYPE_CHECKING:
    from lakecat.lake import Outcome, PlannedWork, RunReport, WorkPlan

    OnProgress = Callable[[str, int, int], None]
    OnResult = Callable[[Outcome], None]

DIFFERENCES: Final = 3
_MARKS: Final[dict[str, tuple[str, Style]]] = {
    "done": ("✓", "good"),
    "nothing": ("·", "dim"),
    "skipped": ("-", "warn"),
    "failed": ("✗", "bad"),
}


def report_run(output: Output, work: Callable[[OnProgress, OnResult], RunReport]) -> int:
    """Do the work, showing each outcome as it comes; returns the exit code."""
    with output.progress() as progress:

        def on_progress(label: str, rows: int, _bytes: int) -> None:
            progress.update(label, rows, None)

        def on_result(outcome: Outcome) -> None:
            progress.finish(outcome.name)
            output.talk(*outcome_line(outcome))
            if outcome.version is not None:
                output.detail(f"    because: {'; '.join(outcome.reasons)}")

        report = work(on_progress, on_result)
    # One cause (a server that is away) is told once, however many streams it stopped.
    for error in {str(outcome.error): outcome.error for outcome in report.failures if outcome.error}.values():
        output.error(error)
    output.emit({"outcomes": report.outcomes}, lambda: [Line(_summary(report))])
    return 1 if report.failures else 0


def outcome_line(outcome: Outcome) -> tuple[str, Style]:
    """One outcome on one line, and its colour."""
    mark, style = _MARKS[outcome.state.value]
    parts = [f"{mark} {outcome.dataset or outcome.name}"]
    if outcome.version is not None:
        parts.append(f"v{outcome.version.version}")
        parts.append(f"{outcome.version.added_rows:+,} rows")
        if outcome.version.removed_rows:
            parts.append(f"{-outcome.version.removed_rows:,} rows")
        parts.append(count(outcome.files, "file") if outcome.files is not None else "")
        parts.append(size(outcome.bytes) if outcome.bytes is not None else "")
        parts.append(seconds(outcome.seconds))
    parts += [f"~ {change}" for change in outcome.schema_changes]
    if outcome.state.value != "done" or outcome.version is None:
        parts.append(f"({'; '.join(outcome.reasons) or outcome.state.value})")
    return "  ".join(escape(part) for part in parts if part), style


def _summary(report: RunReport) -> str:
    if not report.outcomes:
        return "nothing to do"
    counted = Counter(outcome.state.value for outcome in report.outcomes)
    if set(counted) == {"nothing"}:
        return "nothing to do: everything is up to date"
    words = {"done": "done", "nothing": "unchanged", "skipped": "skipped", "failed": "failed"}
    return ", ".join(f"{counted[state]} {word}" for state, word in words.items() if counted[state])


def report_plan(output: Output, plan: WorkPlan) -> int:
    """Print a plan; returns 1 when problems will stop work."""
    output.emit({"work": plan.work}, lambda: _plan_blocks(plan.work))
    for problem in plan.problems:
        output.error(problem)
    return 1 if plan.problems else 0


def _plan_blocks(work: Sequence[PlannedWork]) -> Iterator[Block]:
    for item in work:
        mark, style = ("✗", "bad") if item.problem else ("+", "good") if item.runs else ("·", "dim")
        reasons = "; ".join(item.reasons)
        yield Line(f"{mark} {item.kind} {item.name} → {item.dataset or '?'}: {reasons}", style)  # type: ignore[arg-type]
    runs = Counter(kind for kind, _job in {(item.kind, item.name) for item in work if item.runs})
    shown = [count(runs[kind], kind) for kind in ("ingest", "transform") if runs[kind]]
    yield Line(f"would run: {', '.join(shown)}" if shown else "nothing to do: everything is up to date", "strong")


def read_variables(texts: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a mapping. Raises click's usage error."""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"--var {text!r} is not NAME=VALUE")
        values[name] = value
    return values
