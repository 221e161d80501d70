"""Search, tags, annotations and the selectors over them, on the command line and in Python."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from shell_lab import Shell

import lakecat
from lakecat.catalog.annotations import Annotation
from lakecat.errors import NotFoundError, SelectorError, UsageError
from lakecat.tables import DropColumn, RenameColumn


@pytest.fixture
def lake(stocked: Path) -> lakecat.Lake:
    with lakecat.connect(stocked) as opened:
        yield opened  # type: ignore[misc]


def names(shell: Shell, *arguments: str) -> list[str]:
    return [item["name"] for item in shell("ls", *arguments, "--json").json["datasets"]]


def test_search_finds_and_says_why(stocked: Path, shell: Shell) -> None:
    shell("annotate", "raw.orders", "--description", "What was sold", "--label", "gold")
    lines = shell("search", "orders").out.splitlines()
    assert lines[0].split() == ["kind", "name", "match", "where"]
    assert lines[1].split()[:3] == ["dataset", "raw.orders", "exact"]
    assert "description: What was sold" in shell("search", "was", "sold").out
    assert shell("search", "nothing like it").out == "nothing found\n"
    kinds = {hit["kind"] for hit in shell("search", "revenue", "--kind", "script", "--json").json["search"]["hits"]}
    assert kinds == {"script"}
    assert "--limit" in shell("search", "o", "--limit", "1").out + shell("search", "orders", "--limit", "1").out


def test_search_refuses_what_is_no_kind(lake: lakecat.Lake, shell: Shell) -> None:
    assert shell("search", "x", "--kind", "table").code == 2
    with pytest.raises(UsageError, match="no kind of thing"):
        lake.search("x", kinds="table")


def test_a_tag_works_wherever_a_version_does(lake: lakecat.Lake, shell: Shell) -> None:
    rows = lake.query("SELECT * FROM raw.orders")
    lake.tag("raw.orders", "prod")
    lake.append("raw.orders", rows.slice(0, 1))
    assert lake.query("SELECT count(*) AS n FROM raw.orders@prod")["n"].to_pylist() == [5]
    assert lake.query("SELECT count(*) AS n FROM raw.orders FOR VERSION AS OF 'prod'")["n"].to_pylist() == [5]
    assert lake.show("raw.orders@prod").version.version == 1
    assert lake.sample("raw.orders@prod", 100).num_rows == 5
    assert len(lake.diff("raw.orders@prod").between) == 1
    assert lake.lineage("raw.orders.amount@prod").version.version == 1
    assert str(lake.history("raw.orders@prod").entries[0].version) == "raw.orders@v1"
    assert lake.execution("raw.orders@prod").outputs[0].version == 1
    for command in (["show"], ["lineage"], ["diff"], ["history"], ["impact"], ["execution"]):
        assert shell(*command, "raw.orders@prod").code == 0, command
    assert shell("show", "raw.orders@prd").code == 2
    assert "its tags: prod" in shell("show", "raw.orders@prd").err


def test_tags_on_the_command_line(stocked: Path, shell: Shell) -> None:
    assert shell("tag", "set", "prod", "raw.orders@v1").out == "raw.orders@prod is v1\n"
    assert "prod=v1" in shell("ls").out
    assert "prod = v1" in shell("show", "raw.orders").out
    dry = shell("tag", "delete", "raw.orders@prod", "--json")
    assert dry.json == {"tag": "raw.orders@prod", "version": 1, "deleted": False}
    assert len(shell("tag", "list", "--json").json["tags"]) == 1
    assert shell("tag", "delete", "raw.orders@prod", "--yes", "--json").json["deleted"]
    document = shell("tag", "list", "raw.orders", "--history", "--json").json
    assert document["tags"] == []
    assert [(move["before"], move["after"]) for move in document["changes"]] == [(1, None), (None, 1)]
    assert shell("tag", "delete", "raw.orders@prod", "--yes").code == 2
    assert shell("tag", "delete", "raw.orders@v1", "--yes").code == 2
    assert shell("tag", "set", "v3", "raw.orders").code == 2


def test_a_move_of_a_tag_does_not_hide_how_the_dataset_s_runs_ended(lake: lakecat.Lake) -> None:
    before = {item.dataset: item.last_run for item in lake.status()}
    lake.tag("raw.orders", "prod")
    assert {item.dataset: item.last_run for item in lake.status()} == before
    moves = lake.executions(job="tag")
    assert [move.state.value for move in moves] == ["COMPLETE"]


def test_annotations_are_shown(lake: lakecat.Lake, shell: Shell) -> None:
    lake.annotate("raw.orders", description="What was sold", owners=["crm", "ada@example.com"], labels="gold")
    lake.annotate("raw.orders.customer", labels=["pii"], description="who bought")
    found = lake.show("raw.orders")
    assert found.annotation.owners == ("ada@example.com", "crm")
    assert found.column_annotations == {"customer": Annotation(description="who bought", labels=("pii",))}
    text = shell("show", "raw.orders").out
    for said in ("What was sold", "ada@example.com, crm", "who bought", "pii", "gold"):
        assert said in text
    assert "gold" in shell("ls").out
    lake.annotate("mart.revenue_by_day", owners="finance")
    assert lake.impact("raw.orders").owners == {"mart.revenue_by_day": ("finance",)}
    lake.annotate("raw.orders", disown=["crm"], unlabel=["gold"], description="")
    assert lake.show("raw.orders").annotation == Annotation(owners=("ada@example.com",))


def test_the_history_follows_a_column_through_its_names(lake: lakecat.Lake) -> None:
    lake.append("raw.t", pa.table({"a": [1], "b": [2]}))
    lake.annotate("raw.t.a", labels="pii")
    lake.alter("raw.t", RenameColumn(("a",), "c"))
    lake.annotate("raw.t.c", unlabel="pii")
    assert [(change.column, change.after) for change in lake.annotation_history("raw.t.c")] == [
        ("c", None),
        ("a", "pii"),
    ]
    lake.alter("raw.t", DropColumn(("c",)))
    assert len(lake.annotation_history("raw.t.c")) == 2
    assert lake.show("raw.t@v2").column_annotations == {}
    with pytest.raises(NotFoundError):
        lake.annotation_history("raw.t.never")


def test_freshness(stocked: Path, shell: Shell) -> None:
    now = datetime.now(UTC)
    with lakecat.connect(stocked) as lake:
        lake.annotate("raw.orders", fresh_within="2h")
        lake.annotate("mart.revenue_by_day", fresh_within=timedelta(days=9))
    for passed, late in ((timedelta(hours=1), []), (timedelta(hours=3), ["raw.orders"])):
        with lakecat.connect(stocked) as lake:
            lake._clock = lambda passed=passed: now + passed  # type: ignore[misc]
            assert [str(item.dataset) for item in lake.status() if item.late] == late
    shell("annotate", "raw.orders", "--fresh-within", "1ms")
    result = shell("status", "--exit-code")
    assert result.code == 3
    assert "raw.orders" in result.out
    assert "late" in result.out
    shell("annotate", "raw.orders", "--fresh-within", "none")
    assert shell("status", "--exit-code").code == 0


@pytest.mark.parametrize("text", ["soon", "-1h", "0h", "1e99 days"])
def test_what_is_no_length_of_time(lake: lakecat.Lake, text: str) -> None:
    with pytest.raises(UsageError, match="no length of time"):
        lake.annotate("raw.orders", fresh_within=text)


def test_a_version_cannot_be_annotated(lake: lakecat.Lake) -> None:
    with pytest.raises(SelectorError, match="all versions"):
        lake.annotate("raw.orders@v1", labels="x")


def test_selecting_by_labels_owners_and_columns(stocked: Path, shell: Shell) -> None:
    shell("annotate", "raw.orders.customer", "--label", "pii")
    shell("annotate", "mart.revenue_by_day", "--owner", "finance@example.com")
    shell("tag", "set", "prod", "raw.orders")
    assert names(shell, "tag:pii") == ["raw.orders"]
    assert names(shell, "tag:prod") == ["raw.orders"]
    assert names(shell, "tag:pii+") == ["mart.revenue_by_day", "raw.orders"]
    assert names(shell, "owner:finance@*") == ["mart.revenue_by_day"]
    assert names(shell, "col:amount") == ["raw.orders"]
    assert names(shell, "col:*day*,owner:*") == ["mart.revenue_by_day"]
    assert names(shell, "--exclude", "tag:pii") == ["mart.revenue_by_day"]
    assert shell("ls", "tag:pi").code == 2
    assert "known: pii" in shell("ls", "tag:pi").err
    assert shell("ls", "state:new").code == 2
    work = shell("plan", "-s", "tag:pii+", "--json").json["work"]
    assert [item["name"] for item in work] == ["orders", "mart.revenue_by_day"]
    work = shell("plan", "-s", "owner:finance@example.com", "--json").json["work"]
    assert [item["name"] for item in work] == ["mart.revenue_by_day"]
    assert [item["dataset"] for item in shell("status", "-s", "tag:pii", "--json").json["status"]] == ["raw.orders"]


@pytest.mark.parametrize("table", ["raw.orders FOR VERSION AS OF 'prod'", "raw.orders@prod"])
def test_a_script_may_not_read_a_tag(lake: lakecat.Lake, stocked: Path, shell: Shell, table: str) -> None:
    lake.tag("raw.orders", "prod")
    (stocked / "transforms" / "mart" / "old.sql").write_text(f"SELECT * FROM {table}")
    result = shell("run", "-s", "mart.old")
    assert result.code == 1
    assert "time travel inside a script is refused" in result.err


def test_doctor_names_a_drifted_index_and_reindex_mends_it(lake: lakecat.Lake, shell: Shell) -> None:
    with lake.catalog.database.writing() as connection:
        connection.exec_driver_sql("DELETE FROM lakecat_search WHERE kind = 'dataset'")
        connection.commit()
    result = shell("doctor")
    assert result.code == 0
    assert "search index" in result.out
    assert "entries" in shell("catalog", "reindex").out
    assert "search index" not in shell("doctor").out


def test_garbage_collection_keeps_what_is_tagged(lake: lakecat.Lake, stocked: Path) -> None:
    settings = (stocked / "lakecat.yaml").read_text()
    (stocked / "lakecat.yaml").write_text(
        settings + "retention: {snapshots: 1, age: 1ms, grace: 1ms, metadata_versions: 1}\n"
    )
    with lakecat.connect(stocked) as strict:
        for name in ("a", "b", "c"):
            strict.tag("raw.orders@v1", name)
            strict.tag("raw.orders@v1", "prod")
        strict.untag("raw.orders@a")
        table = strict.query("SELECT * FROM raw.orders")
        for _ in range(3):
            strict.replace("raw.orders", table.slice(0, 1))
        report = strict.gc(apply=True, max_delete_fraction=1.0)
        assert report.failures == ()
        (orders,) = [one for one in report.datasets if str(one.dataset) == "raw.orders"]
        assert orders.unknown.files == 0
        assert orders.versions == 1, "v2 is gone; v3 is too, but its metadata is still noted in the log"
        assert strict.query("SELECT count(*) AS n FROM raw.orders@prod")["n"].to_pylist() == [5]
        left = [one.location for one in strict.store.list(strict.store.url + "/raw/orders/metadata")]
        moves = {str(move.execution_id): move for move in strict.tag_history("raw.orders")}
        assert len(moves) == 5
        assert sum(location.endswith(".metadata.json") for location in left) <= 4
        assert [check.verdict.value for check in strict.doctor() if check.name == "tags"] == ["good"]
