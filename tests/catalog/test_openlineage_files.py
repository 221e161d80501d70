"""Files of OpenLineage events: what is wrong in them is told with its line, and costs neither memory nor the rest."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openlineage_lab import columns, dataset, dump, edge, event, record, run_id

from lakecat.catalog import Catalog
from lakecat.catalog.foreign_lineage import ForeignLineage
from lakecat.catalog.foreign_values import Recorded
from lakecat.errors import LakecatError, NotFoundError, ParseError, SourceError
from lakecat.lake.openlineage_import import import_openlineage
from lakecat.lineage.openlineage import EventError, parse_event

GOOD = event(1, "COMPLETE", "10:00", [dataset("s3://b|in")], [dataset("s3://b|out")])


@pytest.fixture
def catalog(tmp_path: Path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as opened:
        yield opened


def changed(path: str, value: Any) -> str:
    """The good event with one thing in it set."""
    copy = json.loads(json.dumps(GOOD))
    where = copy
    *steps, last = path.split(".")
    for step in steps:
        where = where[int(step)] if step.isdigit() else where.setdefault(step, {})
    where[int(last) if last.isdigit() else last] = value
    return json.dumps(copy)


def without(key: str) -> str:
    return json.dumps({name: value for name, value in GOOD.items() if name != key})


BAD = [
    ("{", "is not JSON"),
    ("[]", "no JSON object"),
    ("17", "no JSON object"),
    ('"text"', "no JSON object"),
    ("null", "no JSON object"),
    ("{}", "eventTime is missing"),
    ('{"eventTime": "2024-01-01T00:00:00Z"}', "neither run, job nor dataset"),
    ('{"a": 1, "a": 2}', "key 'a' twice"),
    ('{"a": NaN}', "NaN"),
    ('{"a": ' + "9" * 5000 + "}", "too long"),
    ("[" * 100_000, "nested too deeply"),
    ('{"a":' * 50_000, "nested too deeply"),
    (without("job"), "job is missing"),
    (without("eventTime"), "eventTime is missing"),
    (changed("eventTime", 5), "eventTime is no text"),
    (changed("eventTime", "yesterday"), "is no time"),
    (changed("eventTime", "2024-01-01T00:00:00"), "no time zone"),
    (changed("eventTime", "2024-13-01T00:00:00Z"), "is no time"),
    (changed("eventType", "DONE"), "'DONE' is not one of"),
    (changed("eventType", 7), "'7' is not one of"),
    (changed("run", []), "run is no object"),
    (changed("run.runId", "x"), "no UUID"),
    (changed("run.runId", None), "runId is missing"),
    (changed("run.facets", 5), "run.facets is no object"),
    (changed("job.name", ""), "job.name is missing"),
    (changed("job.name", 5), "job.name is no text"),
    (changed("job.name", "a\x00b"), "control character"),
    (changed("job.name", "a\ud800b"), "half a surrogate pair"),
    (changed("job.name", "x" * 5000), "more than 4096 characters"),
    (changed("inputs", {}), "inputs is no list"),
    (changed("inputs.0", 5), "inputs[0] is no object"),
    (changed("inputs.0.namespace", None), "inputs[0].namespace is missing"),
    (changed("outputs.0.name", ["x"]), "outputs[0].name is no text"),
    (changed("outputs", [{"namespace": "n", "name": str(n)} for n in range(10_001)]), "more than 10000 outputs"),
]


def test_bad_lines_are_told_with_their_place_and_the_rest_is_imported(catalog, tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [json.dumps(GOOD), *(text for text, _ in BAD), "", "   ", json.dumps(event(2, "START", "10:00"))]
    path.write_text("\n".join(lines))
    report = import_openlineage(catalog, [path])
    assert (report.lines, report.events, report.refused, report.left_out) == (len(BAD) + 2, 2, len(BAD), 0)
    assert report.added.runs == 2
    for number, ((_, why), problem) in enumerate(zip(BAD, report.problems, strict=True), 2):
        assert (problem.line, problem.refused) == (number, True)
        assert why in problem.what
        assert str(problem).startswith(f"{path}:{number}: ")


def test_strict_imports_all_or_nothing(catalog, tmp_path):
    path = tmp_path / "events.jsonl"
    many = [json.dumps(event(number, "COMPLETE", "10:00", job=f"j{number}")) for number in range(1200)]
    path.write_text("\n".join([*many, "{", "[]"]))
    with pytest.raises(ParseError, match="2 problems") as caught:
        import_openlineage(catalog, [path], strict=True)
    assert (caught.value.where.file, caught.value.where.line) == (str(path), 1201)
    assert dump(catalog)["executions"] == {}
    path.write_text("\n".join(many))
    assert import_openlineage(catalog, [path], strict=True).added.runs == 1200
    assert import_openlineage(catalog, [path], strict=True).added == Recorded()


FACETS = [
    ("run.facets.parent", {"run": {}}, "parent.run.runId is missing"),
    ("run.facets.tags", {"tags": [{"value": "x"}]}, "tags.key is missing"),
    ("run.facets.executionParameters", {"parameters": [{"key": "a", "value": 5}]}, "parameters.value is no text"),
    ("run.facets.parent", {"run": {"runId": run_id(2)}, "job": GOOD["job"], "root": {}}, "root.run is missing"),
    ("outputs.0.facets.lifecycleStateChange", {"previousIdentifier": {"name": "x"}}, "namespace is missing"),
    ("run.facets.parent", [], "parent is no object"),
    ("run.facets.errorMessage", {"message": 5}, "message is no text"),
    ("run.facets.processing_engine", "spark", "processing_engine is no object"),
    ("job.facets.sql", {"query": []}, "query is no text"),
    ("job.facets.ownership", {"owners": [5]}, "owners is no list of objects"),
    ("job.facets.documentation", {"description": {}}, "description is no text"),
    ("outputs.0.facets.schema", {"fields": {}}, "fields is no list"),
    ("outputs.0.facets.schema", {"fields": [{"name": ""}]}, "fields.name is missing"),
    ("outputs.0.facets.version", {}, "datasetVersion is missing"),
    ("outputs.0.facets.symlinks", {"identifiers": [{"name": "x"}]}, "namespace is missing"),
    ("outputs.0.facets.columnLineage", {"fields": []}, "fields is no object"),
    ("outputs.0.facets.columnLineage", {"fields": {"a": {"inputFields": [{"namespace": "n", "name": "x"}]}}}, "field"),
    ("outputs.0.outputFacets", {"outputStatistics": {"rowCount": "many"}}, "rowCount is no number"),
    ("outputs.0.outputFacets", {"outputStatistics": {"rowCount": 2**70}}, "rowCount is no number"),
]


TIMES = [
    ("2024-03-01T10:00:00Z", 1709287200000),
    ("2024-03-01t10:00:00z", 1709287200000),
    ("2024-03-01 10:00:00+00:00", 1709287200000),
    ("2024-03-01T10:00Z", 1709287200000),
    ("2024-03-01T11:00:00.1234567+01:00", 1709287200123),
    ("2024-03-01T10:00:00", "has no time zone"),
    ("2024-03-01T10:00:60Z", "is no time like"),
    ("2024-13-01T10:00:00Z", "is no time like"),
    ("20240301T100000Z", "is no time like"),
    ("2024-W09-5T10:00:00Z", "is no time like"),
    ("2024-03-01", "is no time like"),
]


@pytest.mark.parametrize(("text", "wanted"), TIMES)
def test_times_are_those_of_rfc_3339(text: str, wanted: int | str) -> None:
    line = json.dumps({**GOOD, "eventTime": text})
    if isinstance(wanted, int):
        assert parse_event(line, pytest.fail).time == wanted
        return
    with pytest.raises(EventError, match=wanted):
        parse_event(line, pytest.fail)


def test_tags_parameters_the_root_run_and_an_earlier_name_are_kept(catalog) -> None:
    told = dataset(
        "s3://b|new", tags={"tags": [{"key": "pii", "value": "true", "source": "DBT", "field": "email"}]},
        lifecycleStateChange={
            "lifecycleStateChange": "RENAME", "previousIdentifier": {"namespace": "s3a://b", "name": "old"}
        },
    )  # fmt: skip
    root = {"run": {"runId": run_id(9).upper()}, "job": {"namespace": "airflow", "name": "dag"}}
    ran = event(
        1, "COMPLETE", "10:00", (), [told],
        parent={"run": {"runId": run_id(8)}, "job": {"namespace": "airflow", "name": "dag.task"}, "root": root},
        executionParameters={"parameters": [{"key": "task.timeout", "value": "3600"}]},
        tags={"tags": [{"key": "team", "value": "crm"}]},
    )  # fmt: skip
    ran["job"]["facets"] = {"tags": {"tags": [{"key": "tier", "value": "1"}]}}
    record(catalog, ran)
    store = catalog.metadata_store
    (run,) = store.get_executions_by_type("openlineage.Run")
    texts = run.properties | run.custom_properties
    assert (texts["root_run"], texts["root_job"]) == (run_id(9), "airflow/dag")
    assert json.loads(texts["parameters"]) == [{"key": "task.timeout", "value": "3600"}]
    assert json.loads(texts["tags"]) == [{"key": "team", "value": "crm"}]
    job = store.get_context_by_type_and_name("openlineage.Job", "etl/load")
    assert json.loads(job.custom_properties["tags"]) == [{"key": "tier", "value": "1"}]
    place = store.get_context_by_type_and_name("openlineage.Dataset", "s3://b/new")
    assert json.loads(place.custom_properties["tags"]) == [
        {"key": "pii", "value": "true", "source": "DBT", "field": "email"}
    ]
    (state,) = store.get_artifacts_by_type("openlineage.DatasetVersion")
    assert state.custom_properties["previous_uri"] == "s3://b/old"


@pytest.mark.parametrize(("path", "value", "why"), FACETS)
def test_a_facet_that_is_wrong_is_left_out_and_told(catalog, tmp_path, path, value, why):
    file = tmp_path / "events.jsonl"
    file.write_text(changed(path, value))
    report = import_openlineage(catalog, [file])
    assert (report.events, report.refused, report.left_out) == (1, 0, 1)
    assert why in report.problems[0].what
    assert not report.problems[0].refused
    assert report.added.runs == 1


def test_texts_that_databases_do_not_keep(bench):
    """NUL and half pairs in what is for people are replaced, long names kept apart, long texts cut."""
    long, longer = "s3://b|" + "x" * 3000, "s3://b|" + "x" * 3000 + "y"
    one = event(
        1, "FAIL", "10:00", [dataset(long)], [dataset(longer, "v" * 3000)], job="j" * 2000,
        errorMessage={"message": "a\x00b\ud800c" + "z" * 200_000},
    )  # fmt: skip
    one["job"]["facets"] = {"sql": {"query": "SELECT 1 -- \x00"}, "documentation": {"description": "d\x00"}}
    assert record(bench.catalog, one).artifacts == 2
    assert record(bench.catalog, one) == Recorded()
    found = dump(bench.catalog)
    ((_, (_, told)),) = [item for item in found["executions"].items() if item[0][0] == "openlineage.Run"]
    assert told["error"].startswith("a\N{SYMBOL FOR NULL}b?cz")
    assert len(told["error"]) == 100_000
    uris = {uri for (kind, _), (uri, _) in found["artifacts"].items() if kind == "openlineage.DatasetVersion"}
    assert uris == {"s3://b/" + "x" * 3000, "s3://b/" + "x" * 3000 + "y"}


@pytest.mark.parametrize("how", ["gzip", "bom", "crlf", "no end", "members"])
def test_files_as_they_come(catalog, tmp_path, how):
    text = json.dumps(GOOD) + "\n" + json.dumps(event(2, "START", "10:00")) + "\n"
    data = {
        "gzip": gzip.compress(text.encode()),
        "bom": b"\xef\xbb\xbf" + text.encode(),
        "crlf": text.replace("\n", "\r\n").encode(),
        "no end": text.rstrip().encode(),
        "members": b"".join(gzip.compress(line.encode()) for line in text.splitlines(keepends=True)),
    }[how]
    path = tmp_path / "events"
    path.write_bytes(data)
    report = import_openlineage(catalog, [path])
    assert (report.events, report.refused) == (2, 0)


@pytest.mark.parametrize("cut", [-9, 40])
def test_a_gzip_file_that_was_cut_short(catalog, tmp_path, cut):
    path = tmp_path / "events.jsonl.gz"
    lines = "\n".join(json.dumps(event(n, "COMPLETE", "10:00", job=f"j{n}")) for n in range(600))
    path.write_bytes(gzip.compress(lines.encode())[:cut])
    with pytest.raises(SourceError, match="gzip") as caught:
        import_openlineage(catalog, [path])
    assert caught.value.where.file == str(path)


def test_a_file_that_is_not_there_is_told_before_anything_is_imported(catalog, tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(GOOD))
    with pytest.raises(NotFoundError, match=r"no\.jsonl"):
        import_openlineage(catalog, [tmp_path / "a.jsonl", tmp_path / "no.jsonl"])
    assert dump(catalog)["executions"] == {}


def test_the_standard_input(catalog, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(json.dumps(GOOD).encode() + b"\n{"))
    monkeypatch.setattr(sys, "stdin", stream)
    report = import_openlineage(catalog, ["-"])
    assert (report.events, [str(problem)[:9] for problem in report.problems]) == (1, ["<stdin>:2"])


def test_a_line_that_is_too_long_is_passed_over(catalog, tmp_path):
    path = tmp_path / "events.jsonl"
    with path.open("wb") as file:
        file.write(b'{"a": "' + b"x" * (33 << 20) + b'"}\n')
        file.write(json.dumps(GOOD).encode())
    report = import_openlineage(catalog, [path])
    assert (report.events, report.refused) == (1, 1)
    assert (report.problems[0].line, report.problems[0].what) == (1, "is longer than 32 MiB")


def test_memory_does_not_grow_with_the_file(tmp_path):
    """A zipped line of 1 GB, and 80 MB of others."""
    path = tmp_path / "events.jsonl.gz"
    filler = {"big": {"x": "y" * 40_000}}
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(1000):
            file.write(b"x" * (1 << 20))
        file.write(b"\n")
        for number in range(2000):
            one = event(number % 50, "RUNNING", "10:00", [dataset(f"s3://b|{number % 20}", **filler)])
            file.write(json.dumps(one).encode() + b"\n")
    code = (
        "import resource, sys; from lakecat.catalog import Catalog;"
        "from lakecat.lake.openlineage_import import import_openlineage as go;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        f"r = go(Catalog.open('sqlite:///{tmp_path}/m.db', create=True), [{str(path)!r}]);"
        "print(r.events, r.refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    events, refused, grown = map(int, done.stdout.split())
    assert (events, refused) == (2000, 1)
    assert grown < 200 * (1024**2 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere


def told(_what: str) -> None:
    """What is left out is no matter here."""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.text() | st.binary() | JSON.map(json.dumps))
def test_any_text_is_an_event_or_an_event_error(text):
    try:
        parse_event(text, told)
    except EventError:
        pass
    else:
        pytest.fail("nothing here is an event")


PLACES = [
    "eventTime", "eventType", "run", "run.runId", "run.facets", "run.facets.parent", "run.facets.errorMessage",
    "run.facets.parent.job", "job", "job.name", "job.facets", "job.facets.sql", "job.facets.ownership", "inputs",
    "inputs.0", "inputs.0.facets", "outputs.0.name", "outputs.0.facets.schema", "outputs.0.facets.schema.fields",
    "outputs.0.facets.columnLineage.fields", "outputs.0.facets.columnLineage.fields.a.inputFields",
    "outputs.0.facets.version.datasetVersion", "outputs.0.outputFacets.outputStatistics.rowCount",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(PLACES), JSON, min_size=1, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_an_event_with_anything_in_it_is_recorded_or_refused(catalog, changes):
    one: Any = json.loads(
        json.dumps(
            event(
                1, "COMPLETE", "10:00", [dataset("lakecat|raw.t")],
                [dataset("s3://b|out", columnLineage=columns(a=[edge("s3://b|in", "x")]))],
                parent={"run": {"runId": run_id(9)}, "job": {"namespace": "a", "name": "b"}},
            )
        )
    )  # fmt: skip
    for path, value in changes.items():
        where = one
        *steps, last = path.split(".")
        try:
            for step in steps:
                where = where[int(step)] if step.isdigit() else where.setdefault(step, {})
            where[int(last) if last.isdigit() else last] = value
        except (TypeError, AttributeError, KeyError, IndexError):  # an earlier change took the place away
            continue
    try:
        parsed = parse_event(json.dumps(one), told)
    except EventError:
        return
    recorder = ForeignLineage(catalog.database)
    try:
        recorder.record([parsed])
    except LakecatError as err:
        pytest.fail(f"what was parsed can be recorded: {err}")
    assert recorder.record([parsed]) == Recorded()


def test_what_the_project_s_own_client_emits(catalog, tmp_path):
    """Events of openlineage-python are taken, every one."""
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import column_lineage_dataset, schema_dataset, sql_job
    from openlineage.client.serde import Serde

    lineage = column_lineage_dataset.ColumnLineageDatasetFacet(
        fields={
            "total": column_lineage_dataset.Fields(
                inputFields=[
                    column_lineage_dataset.InputField(
                        namespace="s3://b", name="in", field="amount",
                        transformations=[column_lineage_dataset.Transformation(type="DIRECT", subtype="AGGREGATION")],
                    )
                ]
            )
        }
    )  # fmt: skip
    fields = [schema_dataset.SchemaDatasetFacetFields(name="total", type="double")]
    told_by = [
        RunEvent(
            eventType=state,
            eventTime=f"2024-03-01T10:0{number}:00.000Z",
            run=Run(runId="01939f2e-5f1c-7c1e-9b1e-3d2a5c0b7a11"),
            job=Job(namespace="etl", name="sum", facets={"sql": sql_job.SQLJobFacet(query="SELECT 1")}),
            inputs=[InputDataset(namespace="s3://b", name="in")],
            outputs=[
                OutputDataset(
                    namespace="s3://b", name="out",
                    facets={"columnLineage": lineage, "schema": schema_dataset.SchemaDatasetFacet(fields=fields)},
                )
            ],
        )
        for number, state in enumerate((RunState.START, RunState.RUNNING, RunState.COMPLETE))
    ]  # fmt: skip
    path = tmp_path / "client.jsonl"
    path.write_text("\n".join(Serde.to_json(one) for one in told_by))
    report = import_openlineage(catalog, [path], strict=True)
    assert (report.events, report.left_out) == (3, 0)
    assert report.added == Recorded(jobs=1, datasets=2, runs=1, states=1, artifacts=2, links=3, columns=1)
    ((_, _, dataset_, column, source, field, kind, _, _),) = dump(catalog)["edges"]
    assert (dataset_, column, source, field, kind) == ("s3://b/out", "total", "s3://b/in", "amount", "AGGREGATION")
