"""Whether a script has anything to do, and why; pure, so that plan and run decide alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from lakecat.transform.compile import Value
from lakecat.transform.history import Footprint, History
from lakecat.transform.scripts import Kind, Script
from lakecat.types import DatasetName, Version

_MOVING: Final = frozenset(
    [
        "current_date",
        "current_datetime",
        "current_localtime",
        "current_localtimestamp",
        "current_time",
        "current_timestamp",
        "current_timestamp_ltz",
        "gen_random_uuid",
        "get_current_time",
        "get_current_timestamp",
        "getdate",
        "getutcdate",
        "localtime",
        "localtimestamp",
        "now",
        "rand",
        "randn",
        "random",
        "statement_timestamp",
        "sysdate",
        "sysdatetime",
        "systimestamp",
        "today",
        "transaction_timestamp",
        "utc_date",
        "utc_time",
        "utc_timestamp",
        "uuid",
        "uuid_string",
        "uuidv4",
        "uuidv7",
    ]
)
"""Functions whose value is another at each run, by sqlglot's name or the engine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """``runs``, and the reasons for it or against it, in words."""

    runs: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a decision looks at.

    ``pins`` are the versions that this run reads. ``before`` are jobs that bring rows into the target before this
    script: when one of them replaces all rows, this script is due again. ``later`` are jobs that change the target
    after it. ``pending`` are inputs that this run will make anew, with the script that does; ``target_pending`` is the
    script that does it to the target.
    """

    pins: Mapping[DatasetName, Version]
    parameters: Mapping[str, Value]
    engine: str
    before: Collection[str] = ()
    later: Collection[str] = ()
    pending: Mapping[DatasetName, str] = field(default_factory=dict)
    target_pending: str | None = None
    full_refresh: bool = False


def looks_at_target(script: Script) -> bool:
    """Whether the rows of the target decide what the script does to them."""
    return script.kind.modifies or script.target in script.inputs


def changing_by_itself(script: Script) -> str | None:
    """The function by which the same script on the same inputs has another result, when that calls for another run.

    Not for rows that are added: those of the last run stay as they were, and would come again.
    """
    if script.kind is Kind.INSERT or script.changes:
        return None
    for node in script.statement.find_all(exp.Func):
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name()
        if name.lower() in _MOVING:
            return name.lower()
    return None


def footprint(script: Script, situation: Situation) -> Footprint:
    """What the script's result would be decided by, now."""
    target = situation.pins.get(script.target)
    return Footprint(
        sha256=script.sha256,
        inputs={
            str(dataset): situation.pins[dataset].version
            for dataset in script.inputs
            if dataset != script.target and dataset in situation.pins
        },
        parameters=situation.parameters,
        engine=situation.engine,
        dialect=script.dialect,
        table=str(script.target),
        target=(target.version if target else 0) if not script.kind.creates else None,
    )


def run_key(script: Script, found: Footprint, history: History, *, full_refresh: bool) -> str:
    """The name of one piece of work: this footprint, after that execution."""
    parts = [script.job, found.to_json(), history.execution_id, full_refresh]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def decide(script: Script, history: History, situation: Situation) -> Decision:
    """Whether the script runs, with the reasons in words."""
    target = situation.pins.get(script.target)
    if script.kind is Kind.CREATE_IF_MISSING and target is not None and not situation.full_refresh:
        return Decision(runs=False, reasons=(f"{script.target} exists already",))
    if (newer := _overtaken(history, situation)) is not None:
        return Decision(runs=False, reasons=(newer,))
    reasons = _reasons(script, history, situation, target)
    if reasons:
        if history.failed and history.last is not None:
            reasons.append("failed last time")
        return Decision(runs=True, reasons=tuple(reasons))
    return Decision(runs=False, reasons=(_idle(script, history),))


def _reasons(script: Script, history: History, situation: Situation, target: Version | None) -> list[str]:
    if situation.full_refresh:
        return ["full refresh asked for"]
    if history.last is None:
        return ["failed last time" if history.failed else "new script"]
    now, last = footprint(script, situation), history.last
    reasons = []
    if target is None and situation.target_pending is None:
        reasons.append(f"{script.target} is gone")
    if now.sha256 != last.sha256:
        reasons.append("script changed")
    if differing := _differing(now.parameters, last.parameters):
        reasons.append(f"parameters changed: {', '.join(differing)}")
    if now.engine != last.engine:
        reasons.append(f"engine changed: {last.engine} → {now.engine}")
    if now.dialect != last.dialect:
        reasons.append(f"dialect changed: {last.dialect} → {now.dialect}")
    reasons += _input_reasons(script, history, situation, now, last)
    reasons += _target_reasons(script, history, situation)
    if not reasons and (moving := changing_by_itself(script)) is not None:
        reasons.append(f"uses {moving}, which changes by itself")
    return reasons


def _differing(now: Mapping[str, Value], last: Mapping[str, Value]) -> list[str]:
    # 1, 1.0 and true are equal in Python, and not in SQL.
    return sorted(name for name in {*now, *last} if repr(now.get(name)) != repr(last.get(name)))


def _input_reasons(
    script: Script, history: History, situation: Situation, now: Footprint, last: Footprint
) -> list[str]:
    reasons = []
    for dataset in script.changes or script.inputs:
        if dataset == script.target:
            continue
        if dataset in situation.pending:
            reasons.append(f"{dataset} is made by {situation.pending[dataset]} in this run")
            continue
        version = now.inputs.get(str(dataset))
        before = _seen(script, history, last, dataset)
        if version is None or (before is not None and version <= before):
            continue
        reasons.append(f"{dataset} {f'v{before} → ' if before else 'first read at '}v{version}")
    return reasons


def _seen(script: Script, history: History, last: Footprint, dataset: DatasetName) -> int | None:
    if script.changes:
        consumed = history.positions.get(dataset)
        return None if consumed is None else consumed.version
    return last.inputs.get(str(dataset))


def made_anew(history: History, situation: Situation) -> bool:
    """Whether the rows that the script brought into its target are gone, as one before it has replaced them."""
    return any(job in situation.before for job in history.replacers)


def starts_again(script: Script, history: History, situation: Situation) -> bool:
    """Whether ``table_changes`` gives all rows: on request, or because the target does not hold those read before."""
    moved = history.last is not None and history.last.table != str(script.target)
    return situation.full_refresh or moved or script.target not in situation.pins or made_anew(history, situation)


def _overtaken(history: History, situation: Situation) -> str | None:
    """The input of which a run that started later than this one has read a newer version already."""
    if history.last is None:
        return None
    for name, before in history.last.inputs.items():
        version = situation.pins.get(DatasetName.parse(name))
        if version is not None and version.version < before:
            return f"a newer run has read {name} v{before} already"
    return None


def _target_reasons(script: Script, history: History, situation: Situation) -> list[str]:
    if script.kind.creates:
        return []
    if situation.target_pending is not None:
        return [f"{script.target} is changed by {situation.target_pending} in this run"]
    reasons = []
    for job, version in sorted(history.rivals.items()):
        renewed = job in situation.before and job in history.replacers
        if renewed or (looks_at_target(script) and job not in situation.later):
            reasons.append(f"{script.target}@v{version} was made by {job or 'somebody else'}")
    return reasons


def _idle(script: Script, history: History) -> str:
    if script.changes:
        seen = ", ".join(f"{dataset} since v{consumed.version}" for dataset, consumed in history.positions.items())
        return f"nothing arrived in {seen}"
    inputs = history.last.inputs if history.last is not None else {}
    shown = ", ".join(f"{name} v{number}" for name, number in inputs.items())
    return f"unchanged: same script, same inputs ({shown})" if shown else "unchanged: same script, no inputs"
