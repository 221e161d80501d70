"""ingest/*.yaml become jobs, with a line for every key."""

from pathlib import Path

import pytest

from lakecat.config import IngestJob, Schedule, load_jobs, load_settings
from lakecat.errors import ConfigError
from lakecat.types import DatasetName, WriteMode


def jobs(folder: Path, **files: str) -> tuple[IngestJob, ...]:
    (folder / "lakecat.yaml").write_text("")
    (folder / "ingest").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "ingest" / f"{name}.yaml").write_text(text)
    return load_jobs(load_settings(folder, environ={}))


FLIGHTS = """\
connector: files
target: Raw.Flights
mode: merge
key: [origin, time_hour]
partition: [day(time_hour), "bucket(16, id)", "truncate(4, name)", origin]
columns: {amount: "decimal(12,2)"}
batch: file
schedule: {cron: "30 2 * * *", timezone: Europe/Berlin}
options:
  path: landing/*.csv.gz
  nulls: [NA, no]
"""


def test_a_whole_job(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, flights=FLIGHTS)
    assert job.name == "flights"
    assert job.targets == (DatasetName("raw", "flights"),)
    assert job.mode is WriteMode.MERGE
    assert job.key == ("origin", "time_hour")
    assert job.partition == ("day(time_hour)", "bucket(16, id)", "truncate(4, name)", "origin")
    assert job.columns == {"amount": "decimal(12,2)"}
    assert job.schedule == Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    assert job.options == {"path": "landing/*.csv.gz", "nulls": ["NA", "no"]}
    assert job.where_of("options", "path").line == 10
    assert job.where_of("options", "absent").line == 9


def test_the_shortest_job(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, a="target: raw.a\n")
    assert (job.connector, job.mode, job.batch, job.schedule) == ("files", WriteMode.APPEND, "all", None)


def test_a_schedule_may_be_cron_text_alone(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, a="target: raw.a\nschedule: '0 6 * * 1-5'\n")
    assert job.schedule == Schedule(cron="0 6 * * 1-5", timezone="UTC")


def test_jobs_come_by_name_and_no_folder_means_none(tmp_path: Path) -> None:
    assert [job.name for job in jobs(tmp_path, b="target: raw.b\n", a="target: raw.a\n")] == ["a", "b"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "lakecat.yaml").write_text("")
    assert load_jobs(load_settings(tmp_path / "empty", environ={})) == ()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("mode: append\n", 1, "key 'target' is missing"),
        ("target: raw\n", 1, "not a dataset name"),
        ("target: raw.a b\n", 1, "not a dataset name part"),
        ("target: raw.a\nmode: upsert\n", 2, "not a mode"),
        ("target: raw.a\nmode: merge\n", 1, "needs key"),
        ("target: raw.a\nkey: id\n", 1, "means nothing"),
        ("target: raw.a\nmode: merge\nkey: [id, id]\n", 1, "twice"),
        ("target: raw.a\npartition: week(t)\n", 2, "not a partition"),
        ("target: raw.a\npartition: [day(t), 'bucket(0, x)']\n", 2, "not a partition"),
        ("target: raw.a\ncolumns: {x: varchar}\n", 2, "not an Iceberg type"),
        ("target: raw.a\ncolumns:\n  x: decimal(39,2)\n", 3, "not an Iceberg type"),
        ("target: raw.a\ncolumns:\n  x: decimal(4,5)\n", 3, "not an Iceberg type"),
        ("target: raw.a\nbatch: some\n", 2, "batch"),
        ("target: raw.a\nschedule: every day\n", 2, "not a cron expression"),
        ("target: raw.a\nschedule: {cron: '0 6 * * *', timezone: Mars/Olympus}\n", 2, "not a time zone"),
        ("target: raw.a\noption: {}\n", 2, "unknown key 'option'"),
    ],
)
def test_wrong_jobs_say_where(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        jobs(tmp_path, a=text)
    assert message in caught.value.what
    assert caught.value.where is not None
    assert caught.value.where.line == line
    assert caught.value.where.file.endswith("ingest/a.yaml")


def test_a_file_name_that_is_no_job_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a job name"):
        jobs(tmp_path, **{"two words": "target: raw.a\n"})


def test_yaml_and_yml_of_one_name_clash(tmp_path: Path) -> None:
    jobs(tmp_path, a="target: raw.a\n")
    (tmp_path / "ingest" / "a.yml").write_text("target: raw.b\n")
    with pytest.raises(ConfigError, match="defined twice"):
        load_jobs(load_settings(tmp_path, environ={}))


SHOP = """\
connector: sql
options: {connection: sqlite:///shop.db}
mode: merge
target: raw.shop_*
partition: [id]
streams:
  public.orders: {key: id, cursor: {column: changed, lag: 10 min, nulls: skip}}
  public.lines: {mode: replace, target: raw.lines, quarantine: true}
  audit.*: {mode: append, partition: []}
"""


def test_streams_take_the_jobs_keys_where_they_have_none_of_their_own(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, shop=SHOP)
    orders, lines = job.stream_job("public.orders"), job.stream_job("public.lines")
    assert (orders.target, orders.mode, orders.key) == (DatasetName("raw", "shop_orders"), WriteMode.MERGE, ("id",))
    assert orders.cursor is not None
    assert (orders.cursor.column, orders.cursor.lag, orders.cursor.nulls) == ("changed", 600.0, "skip")
    assert (lines.target, lines.mode, lines.partition) == (DatasetName("raw", "lines"), WriteMode.REPLACE, ("id",))
    assert lines.quarantine is not None
    assert lines.quarantine.max_rows == 1000
    matched = job.stream_job("audit.*", "audit.2026 Log-Ins")
    assert (matched.target, matched.mode, matched.partition) == (
        DatasetName("raw", "shop_2026_log_ins"),
        WriteMode.APPEND,
        (),
    )
    assert orders.where_of("cursor", "lag").line == 7
    assert lines.where_of("key").line == 8
    assert job.targets == (orders.target, lines.target)


def test_streams_may_be_a_list_of_names(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, shop="connector: sql\ntarget: raw.*\nstreams: [orders, customers]\n")
    assert job.targets == (DatasetName("raw", "orders"), DatasetName("raw", "customers"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("target: raw.*\n", 1, "has a *"),
        ("target: raw.a\nstream: a\nstreams: [b]\n", 1, "cannot stand together"),
        ("streams:\n  a:\n    modus: append\n", 3, "unknown key 'streams.a.modus'"),
        ("target: raw.a\ncursor: {column: t, nulls: maybe}\n", 2, "cursor.nulls"),
        ("target: raw.a\ncursor: {column: t, lag: -1}\n", 2, "cursor.lag"),
        ("target: raw.a\nquarantine: {max_fraction: 2}\n", 2, "quarantine.max_fraction"),
        ("target: raw.a\ncheckpoint: 0\n", 2, "checkpoint"),
    ],
)
def test_wrong_streams_say_where(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        jobs(tmp_path, a=text)
    assert message in caught.value.what
    assert caught.value.where is not None
    assert caught.value.where.line == line


MERGED = """\
connector: sql
target: raw.*
mode: merge
deletes: absent
streams:
  orders:
  lines: {deletes: {flag: gone_at}}
  prices: {mode: history, history: {at: since}}
  countries: {mode: replace}
"""


def test_a_stream_may_say_how_rows_are_deleted_in_the_mode_that_the_job_says(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, shop=MERGED)
    orders, lines, prices, _countries = map(job.stream_job, job.streams)
    assert (orders.mode, orders.deletes.absent) == (WriteMode.MERGE, True)
    assert (lines.mode, lines.deletes.flag) == (WriteMode.MERGE, "gone_at")
    assert (prices.mode, prices.deletes.absent, prices.history.at) == (WriteMode.HISTORY, True, "since")


def test_what_only_some_modes_have_is_not_handed_down_to_a_stream_of_another_mode(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, shop=MERGED)
    countries = job.stream_job("countries")
    assert (countries.mode, countries.deletes) == (WriteMode.REPLACE, None)


@pytest.mark.parametrize(
    ("stream", "problem"),
    [
        ("{mode: replace, deletes: absent}", "deletes means nothing with mode replace"),
        ("{history: {at: x}}", "history means nothing with mode merge"),
        ("{unnest: items}", "unnest and deletes: absent cannot stand together"),
    ],
)
def test_a_stream_whose_keys_cannot_stand_together_is_refused_at_its_line(
    tmp_path: Path, stream: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        jobs(tmp_path, shop=MERGED.replace("  orders:\n", f"  orders: {stream}\n"))
    assert caught.value.where is not None
    assert caught.value.where.line == 6
    assert "'orders'" in str(caught.value)
