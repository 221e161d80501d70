"""Listing: the newest periods only, page by page on S3, and the ledger compared a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest
from fsspec.core import url_to_fs
from hypothesis import given, settings
from hypothesis import strategies as st
from s3_servers import S3Server, moto_s3

from lakecat.connector import ConnectorContext, StreamRequest
from lakecat.errors import ConfigError
from lakecat.types import FileVersion
from lakecat_connectors import _object_pages
from lakecat_connectors._clouds import s3_options
from lakecat_connectors._news import Seen
from lakecat_connectors._periods import newest, parse_span, without_times
from lakecat_connectors.files import Files

__all__ = ["moto_s3"]

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


def test_only_the_newest_periods_are_listed(tmp_path: Path, ledger_type) -> None:
    for day in ("2026-02-25", "2026-02-26", "2026-02-27", "2026-03-01", "2026-03-02"):
        (tmp_path / f"dt={day}").mkdir()
        (tmp_path / f"dt={day}" / "a.csv").write_text("a\n1\n")

    def planned(**options: str) -> list[str]:
        context = ConnectorContext(root=tmp_path, clock=lambda: NOW)
        connector = Files.open({"path": "dt={%Y-%m-%d}/*.csv", "batch": "all", **options}, context)
        (slice_,) = connector.plan(StreamRequest(), ledger_type())
        return [Path(file.uri).parent.name for file in slice_.files]

    assert planned(since="3 days") == ["dt=2026-02-26", "dt=2026-02-27", "dt=2026-03-01", "dt=2026-03-02"]
    assert planned(since="1 h") == ["dt=2026-03-01", "dt=2026-03-02"]
    assert len(planned()) == 5


def test_files_outside_of_the_periods_are_not_gone(tmp_path: Path, ledger_type) -> None:
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026/03-01.csv").write_text("a\n1\n")
    ledger = ledger_type()
    ledger.files.add(FileVersion(f"file://{tmp_path}/2026/01-01.csv", 4))
    context = ConnectorContext(root=tmp_path, clock=lambda: NOW)

    def slices(**options: str):
        return Files.open({"path": "{%Y}/{%m-%d}.csv", **options}, context).plan(StreamRequest(), ledger)

    (near,) = slices(since="1 day")
    (all_,) = slices()
    assert (len(near.files), near.gone) == (1, ())
    assert (len(all_.files), len(all_.gone)) == (1, 1)


@given(
    hours=st.integers(0, 10_000),
    now=st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    layout=st.sampled_from(["{%Y-%m-%d}", "{%Y}/{%m}/{%d}", "{%Y%j}", "{%Y-%m}", "{%Y/%m/%d/%H}"]),
    share=st.floats(0, 1),
)
@settings(deadline=None)
def test_every_moment_since_then_is_in_some_period(hours: int, now: datetime, layout: str, share: float) -> None:
    moment = now - timedelta(hours=hours) * share
    paths = list(newest(f"a/{layout}/*.csv", timedelta(hours=hours), now))
    assert f"a/{moment.strftime(layout.replace('{', '').replace('}', ''))}/*.csv" in paths
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "{%Y-%q}/a.csv"}, "%q is no time"),
        ({"path": "{%d}/a.csv"}, "needs its year"),
        ({"path": "a/*.csv", "since": "3 days"}, "needs a time in each path"),
        ({"path": "{%Y}/*.csv", "since": "soon"}, "must be a duration"),
    ],
)
def test_times_that_mean_nothing_are_refused(tmp_path: Path, options: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Files.open(options, ConnectorContext(root=tmp_path))


def test_durations_and_wildcards() -> None:
    assert parse_span("90 min") == timedelta(minutes=90)
    assert parse_span("2 weeks") == timedelta(days=14)
    assert without_times("s3://b/dt={%Y-%m-%d}/{%H}-*.csv") == "s3://b/dt=*/*-*.csv"


@given(listed=st.sets(st.integers(0, 300)), known=st.sets(st.integers(0, 300)))
def test_what_was_not_listed_is_missing(listed: set[int], known: set[int]) -> None:
    seen = Seen()
    for number in listed:
        seen.add(f"s3://b/{number}")
    missing = seen.missing(FileVersion(f"s3://b/{number}", 1) for number in sorted(known))
    assert [int(file.uri.rpartition("/")[2]) for file in missing] == sorted(known - listed)


KEYS = [
    "a.csv",
    "in/a.csv",
    "in/b.csv",
    "in/c.txt",
    "in/deep/a.csv",
    "in/deep/er/b.csv",
    "in/dt=1/a.csv",
    "in/dt=2/a.csv",
    "in/dt=2/x/b.csv",
    "in/folder.csv/d.csv",
    "in/.hidden.csv",
    "inn/a.csv",
]


@pytest.fixture(scope="module")
def store(moto_s3: S3Server) -> Iterator[tuple[str, dict[str, str]]]:
    client = boto3.client(
        "s3",
        endpoint_url=moto_s3.endpoint,
        aws_access_key_id=moto_s3.access_key,
        aws_secret_access_key=moto_s3.secret_key,
        region_name="us-east-1",
    )
    name = moto_s3.new_bucket()
    for key in KEYS:
        client.put_object(Bucket=name, Key=key, Body=b"a\n")
    yield (
        name,
        {
            "endpoint": moto_s3.endpoint,
            "region": "us-east-1",
            "access_key": moto_s3.access_key,
            "secret_key": moto_s3.secret_key,
            "path_style": "true",
        },
    )
    client.close()


@pytest.mark.parametrize(
    "pattern",
    [
        "*.csv",
        "in/*.csv",
        "in/**/*.csv",
        "in/**",
        "in/dt=*/a.csv",
        "in/dt=*/*",
        "*/*.csv",
        "in/[ab].csv",
        "i*/?.csv",
        "no/*",
    ],
)
@pytest.mark.parametrize("page", [2, 1000])
def test_pages_of_s3_are_what_a_glob_finds(
    store: tuple[str, dict[str, str]], pattern: str, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_object_pages, "PAGE", page)
    name, storage = store
    filesystem, path = url_to_fs(f"s3://{name}/{pattern}", **s3_options(storage))
    expected = {key: info for key, info in filesystem.glob(path, detail=True).items() if info["type"] == "file"}
    pages = _object_pages.pages_of(filesystem, "s3")
    assert pages is not None
    found = {info["name"]: info for info in _object_pages.objects(pages, path)}
    assert found.keys() == expected.keys()
    assert {key: (one["size"], one["ETag"]) for key, one in found.items()} == {
        key: (one["size"], one["ETag"]) for key, one in expected.items()
    }


def test_local_patterns_find_what_globs_find(tmp_path: Path, connectors: Callable[..., Files]) -> None:
    for key in KEYS:
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text("a\n")
    for pattern in ("*.csv", "in/*.csv", "in/**/*.csv", "in/**", "in/dt=*/a.csv", "*/*.csv", "in/[ab].csv", "i*/?.csv"):
        expected = sorted(
            {
                f"file://{path}"
                for path in tmp_path.glob(pattern.removesuffix("**") + "**/*" if pattern.endswith("**") else pattern)
                if path.is_file() and not path.name.startswith(".")
            }
        )
        assert [version.uri for version in connectors(pattern)._listing.scan()] == expected, pattern
