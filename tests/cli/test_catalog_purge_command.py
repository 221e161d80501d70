"""``lakecat catalog purge`` and ``lake.purge``."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from shell_lab import Shell

from lakecat.catalog import ExecutionStart, RunningExecution
from lakecat.catalog import schema as s
from lakecat.errors import UsageError
from lakecat.lake import connect
from lakecat.types import DatasetName, ExecutionType


def executions(folder: Path) -> set[int]:
    with connect(folder) as lake, lake.catalog.database.reading() as connection:
        return set(connection.execute(sa.select(s.execution.c.id)).scalars())


def fail(folder: Path, *, often: int) -> None:
    """Executions of one job that failed a week ago and left nothing in the lake."""
    with connect(folder) as lake:
        for _ in range(often):
            catalog = lake.catalog
            lease = catalog.acquire("raw.broken", lake.services.holder)
            start = ExecutionStart(
                type=ExecutionType.INGEST, job="broken", run_key=None, targets=(DatasetName.parse("raw.broken"),),
                prefix=f"{lake.store.url}/raw/broken/data/none",
            )  # fmt: skip
            begun = catalog.begin(lease, start)
            assert isinstance(begun, RunningExecution)
            catalog.fail(begun, "no")
            catalog.release(lease)
        week_ago = int((datetime.now(UTC) - timedelta(days=7)).timestamp() * 1000)
        failed = sa.select(s.lake_execution.c.execution_id).where(s.lake_execution.c.job == "broken")
        ids = [key for (key,) in lake.catalog.database.write(lambda connection: connection.execute(failed).all())]
        for table, key, column in (
            (s.lake_execution, s.lake_execution.c.execution_id, "finished_ms"),
            (s.execution, s.execution.c.id, "last_update_time_since_epoch"),
        ):
            change = sa.update(table).where(key.in_(ids)).values({column: week_ago})
            lake.catalog.database.write(lambda connection, change=change: connection.execute(change))


def test_without_yes_it_says_what_would_go(stocked: Path, shell: Shell) -> None:
    fail(stocked, often=3)
    before = executions(stocked)
    result = shell("catalog", "purge", "--older-than", "5d")
    assert (result.code, result.err) == (0, "")
    assert "would remove 2 executions; nothing was changed: --yes removes them" in result.out
    assert "is the newest of its job" in result.out
    assert executions(stocked) == before
    assert shell("catalog", "purge", "--older-than", "5d", "--exit-code").code == 3


def test_with_yes_it_goes_and_the_catalog_says_who_did_it(stocked: Path, shell: Shell) -> None:
    fail(stocked, often=3)
    before = executions(stocked)
    document = shell("--json", "catalog", "purge", "--filter", "last_known_state = FAILED", "--yes").json["purge"]
    assert list(document) == ["kind", "applied", "selected", "removed", "kept", "orphaned"]
    assert (document["applied"], document["selected"], document["removed"]["executions"]) == (True, 3, 2)
    assert len(before - executions(stocked)) == 2
    with connect(stocked) as lake:
        mine = lake.catalog.latest_execution("purge")
        assert mine is not None
        properties = lake.catalog.execution(mine.execution_id).info.properties
        assert '"executions": 2' in str(properties["removed"])
        assert not lake.catalog.integrity()
    again = shell("catalog", "purge", "--filter", "last_known_state = FAILED", "--yes")
    assert (again.code, "removed nothing" in again.out) == (0, True)


def test_with_yes_exactly_that_goes_which_would_have_gone(stocked: Path, shell: Shell) -> None:
    """The purge is an execution too, and there are stale ones of a process that is gone: neither counts."""
    for _ in range(3):
        assert shell("catalog", "purge", "--older-than", "900d", "--yes").code == 0
    with connect(stocked) as lake:
        catalog = lake.catalog
        lease = catalog.acquire("gone", lake.services.holder)
        start = ExecutionStart(type=ExecutionType.INGEST, job="gone", run_key=None, targets=())
        assert isinstance(catalog.begin(lease, start), RunningExecution)
        catalog.database.write(lambda connection: connection.execute(sa.update(s.lease).values(expires_ms=0)))
    chosen = ("--keep-last", "2", "--of", "type = 'lakecat.Job' AND name = 'purge'")
    for arguments in (chosen, ("--filter", "id > 0"), ("--kind", "context", "--filter", "id > 0")):
        dry = shell("--json", "catalog", "purge", *arguments).json["purge"]
        before = executions(stocked)
        done = shell("--json", "catalog", "purge", *arguments, "--yes").json["purge"]
        assert done == {**dry, "applied": True}
        assert len(before - executions(stocked)) == dry["removed"].get("executions", 0)
    with connect(stocked) as lake:
        assert lake.catalog.latest_execution("purge") is not None


def test_a_stocked_lake_keeps_everything_that_its_versions_need(stocked: Path, shell: Shell) -> None:
    before = shell("--json", "lineage", "mart.revenue_by_day").json
    for kind in ("execution", "artifact", "context"):
        assert shell("catalog", "purge", "--kind", kind, "--filter", "id > 0", "--yes").code == 0
    assert shell("catalog", "purge", "--kind", "type", "--yes").code == 0
    assert shell("--json", "lineage", "mart.revenue_by_day").json == before
    assert shell("plan").code == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "nothing says which executions to remove"),
        (("--filter", "nothing = 1"), "there is no 'nothing' on executions"),
        (("--older-than", "soon"), "is not a duration"),
        (("--kind", "artifact", "--keep-last", "2"), "keep_last does not go with this kind"),
    ],
)
def test_what_cannot_be_meant_is_an_error(stocked: Path, shell: Shell, arguments: tuple[str, ...], what: str) -> None:
    result = shell("catalog", "purge", *arguments, "--yes")
    assert result.code in (1, 2)
    assert what in result.err
    assert result.out == ""


def test_the_facade_takes_an_age_as_text(stocked: Path) -> None:
    with connect(stocked) as lake:
        assert lake.purge(older_than="90d").removed == {}
        with pytest.raises(UsageError, match="older_than"):
            lake.purge(older_than="tomorrow")
