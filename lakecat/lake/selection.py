"""What selectors choose from: the project's jobs and scripts, or the datasets they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeAlias

from lakecat.config import IngestJob, is_pattern
from lakecat.selector import Node, choose, needs_attributes
from lakecat.types import DatasetName

if TYPE_CHECKING:
    from lakecat.transform import Script


Selectors: TypeAlias = str | Iterable[str] | None
"""What may stand for the selectors of a question: none, one, or several."""


def texts_of(selectors: Selectors) -> tuple[str, ...]:
    """The selectors one by one."""
    if selectors is None:
        return ()
    return (selectors,) if isinstance(selectors, str) else tuple(selectors)


@dataclass(frozen=True, slots=True)
class Selection:
    """The jobs and scripts that were selected, in the project's order."""

    jobs: tuple[IngestJob, ...]
    scripts: tuple[Script, ...]


Attributes: TypeAlias = Callable[[], Mapping[str, Mapping[str, frozenset[str]]]]
"""By dataset and kind of attribute, what it can be selected by; called only where a selector asks for it."""


Filled: TypeAlias = Callable[[], Mapping[str, Iterable[DatasetName]]]
"""By job the datasets that it filled last; called only where there is a selector."""


def _attributes(ask: Attributes | None, *selectors: Sequence[str]) -> Mapping[str, Mapping[str, frozenset[str]]]:
    return ask() if ask is not None and any(map(needs_attributes, selectors)) else {}


def select_work(
    jobs: Sequence[IngestJob],
    scripts: Sequence[Script],
    select: Sequence[str],
    exclude: Sequence[str],
    attributes: Attributes | None = None,
    filled: Filled | None = None,
) -> Selection:
    """Jobs and scripts by selectors over their own names and those of their tables, and what these have.

    Which tables the patterns of a job fill, ``filled`` tells, and what the scripts read. Raises as ``choose``.
    """
    having = _attributes(attributes, select, exclude)
    known = filled() if filled is not None and (select or exclude) else {}
    inputs = frozenset(dataset for script in scripts for dataset in script.inputs)
    targets = {job.name: (*job.targets, *_found_by_pattern(job, inputs, known)) for job in jobs}
    writers: dict[DatasetName, set[str]] = {}
    for job in jobs:
        for target in targets[job.name]:
            writers.setdefault(target, set()).add(_job_key(job))
    for script in scripts:
        writers.setdefault(script.target, set()).add(_script_key(script))
    nodes = [_job_node(job, targets[job.name], having) for job in jobs]
    for script in scripts:
        needs = {key for dataset in script.inputs for key in writers.get(dataset, ())} - {_script_key(script)}
        names, has = frozenset((script.name, str(script.target))), having.get(str(script.target), {})
        nodes.append(Node(_script_key(script), names, frozenset(needs), has))
    chosen = choose(nodes, select, exclude)
    return Selection(
        tuple(job for job in jobs if _job_key(job) in chosen),
        tuple(script for script in scripts if _script_key(script) in chosen),
    )


def _found_by_pattern(
    job: IngestJob, inputs: Iterable[DatasetName], known: Mapping[str, Iterable[DatasetName]]
) -> Iterator[DatasetName]:
    """The datasets that a job with patterns has filled, or can be meant to fill for a script that reads them."""
    if not any(map(is_pattern, job.streams)):
        return
    named = frozenset(job.targets)
    yield from (dataset for dataset in known.get(job.name, ()) if dataset not in named)
    templates = [job.template_of(entry) for entry in job.streams if is_pattern(entry)]
    for dataset in inputs:
        if dataset not in named and any(fnmatchcase(str(dataset), template.lower()) for template in templates):
            yield dataset


def _job_node(
    job: IngestJob, filled: Iterable[DatasetName], having: Mapping[str, Mapping[str, frozenset[str]]]
) -> Node:
    """A job with the names and attributes of all that it fills."""
    targets = [str(target) for target in filled]
    attributes: dict[str, frozenset[str]] = {}
    for target in targets:
        for kind, words in having.get(target, {}).items():
            attributes[kind] = attributes.get(kind, frozenset()) | words
    return Node(_job_key(job), frozenset((job.name, *targets)), attributes=attributes)


def _job_key(job: IngestJob) -> str:
    return f"ingest:{job.name}"


def _script_key(script: Script) -> str:
    return f"transform:{script.name}"


def select_datasets(
    names: Iterable[DatasetName],
    scripts: Sequence[Script],
    select: Sequence[str],
    exclude: Sequence[str],
    attributes: Attributes | None = None,
) -> frozenset[DatasetName]:
    """Datasets by selectors over their names and what they have; they need what the scripts that write them read."""
    having = _attributes(attributes, select, exclude)
    known = {str(name): name for name in names}
    needs: dict[str, set[str]] = {name: set() for name in known}
    for script in scripts:
        needs.setdefault(str(script.target), set()).update(str(dataset) for dataset in script.inputs)
    nodes = [Node(name, needs=frozenset(needs[name] - {name}), attributes=having.get(name, {})) for name in known]
    return frozenset(known[key] for key in choose(nodes, select, exclude))
