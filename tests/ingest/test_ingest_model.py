"""Any sequence of loads against a dictionary: the table holds what a plain model says, version by version."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.config import KEYED
from lakecat.ingest import load
from lakecat.landing import current_state
from lakecat.tables import Scan, read
from lakecat.types import DatasetName, WriteMode

keys = st.tuples(st.integers(0, 6), st.sampled_from(["a", "b", "é/%", ""]))
rows = st.lists(st.tuples(keys, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=12)
# History tables have columns more: what they hold is told by test_validity.py. Arrow data are of no file.
modes = st.sampled_from([mode for mode in WriteMode if mode not in (WriteMode.HISTORY, WriteMode.REPLACE_FILES)])
KEY = ("id", "part")


def table(values) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([key[0] for key, _ in values], pa.int64()),
            "part": pa.array([key[1] for key, _ in values], pa.string()),
            "value": pa.array([value for _, value in values], pa.int64()),
        }
    )


def expected(before: Counter, mode: WriteMode, values) -> Counter:
    """What SQL would make of it."""
    new = Counter((*key, value) for key, value in values)
    last = {key: value for key, value in values}  # noqa: C416 - later rows win, which is the point
    if mode is WriteMode.APPEND:
        return before + new
    if mode is WriteMode.REPLACE:
        return new
    if mode is WriteMode.REPLACE_PARTITIONS:
        parts = {key[1] for key, _ in values}
        return Counter({row: n for row, n in before.items() if row[1] not in parts}) + new
    if mode is WriteMode.APPEND_NEW:
        known = {row[:2] for row in before}
        return before + Counter((*key, value) for key, value in last.items() if key not in known)
    kept = Counter({row: n for row, n in before.items() if row[:2] not in last})
    if mode is WriteMode.REPLACE_KEYS:
        return kept + new
    return kept if mode is WriteMode.DELETE else kept + Counter((*key, value) for key, value in last.items())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(modes, rows), min_size=1, max_size=6), partition=st.sampled_from(["part", "bucket(3, id)"])
)
def test_any_sequence_of_loads(tmp_path_factory, make_project, steps, partition):
    project = make_project(tmp_path_factory.mktemp("model"))
    dataset = DatasetName.parse("raw.t")
    model: Counter = Counter()
    first = load(project.services, dataset, table([((0, "a"), 0)]), partition=[partition])
    model = expected(model, WriteMode.APPEND, [((0, "a"), 0)])
    history = [(first.version.snapshot_id, model)]
    for mode, values in steps:
        if mode is WriteMode.REPLACE and not values:
            continue  # refused, which a test of its own shows
        if mode is WriteMode.REPLACE_PARTITIONS and partition != "part":
            continue
        keyed = KEY if mode in KEYED else ()
        result = load(project.services, dataset, table(values), mode=mode, key=keyed)
        model = expected(model, mode, values)
        assert project.rows("raw.t") == model, (mode, values)
        if result.version is not None:
            history.append((result.version.snapshot_id, model))
            assert result.version.rows == sum(model.values())
    state = current_state(project.services, dataset)
    for snapshot_id, then in history:
        found = read(project.services.store, Scan(state, snapshot_id)).read_all()
        assert Counter(zip(*(column.to_pylist() for column in found.columns), strict=True)) == then
    project.clean()
