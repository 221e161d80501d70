"""Data on stdout, talk on stderr; JSON everywhere; nothing steers the terminal."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from mlmd_lab import make_database
from openlineage_lab import EVENTS
from shell_lab import Shell

import lakecat
from lakecat.cli.commands import leaves
from lakecat.cli.text import age, count, escape, seconds, size

ESCAPE = "\x1b"
OPENAPI = Path(__file__).with_name("openapi") / "shop.yaml"

EVERY_COMMAND = [
    ["ingest"],
    ["ingest", "--dry-run"],
    ["ingest", "--select", "orders", "--refresh"],
    ["run"],
    ["run", "--dry-run"],
    ["plan"],
    ["ls"],
    ["search", "orders", "day"],
    ["annotate", "raw.orders"],
    ["annotate", "raw.orders.amount", "--label", "money", "--history"],
    ["tag", "set", "prod", "raw.orders"],
    ["tag", "list", "--history"],
    ["tag", "delete", "raw.orders@prod"],
    ["catalog", "reindex"],
    ["show", "raw.orders", "--sample", "2"],
    ["diff", "raw.orders@v1", "--rows"],
    ["lineage", "mart.revenue_by_day"],
    ["lineage", "mart.revenue_by_day.revenue"],
    ["query", "SELECT * FROM raw.orders"],
    ["query", "--catalog", "SELECT * FROM executions"],
    ["history", "raw.orders"],
    ["history", "mart.revenue_by_day.revenue"],
    ["impact", "raw.orders.amount"],
    ["streams", "orders", "--columns"],
    ["reset", "orders"],
    ["draft", "openapi", str(OPENAPI)],
    ["where", "landing/orders-2026-11-01.csv"],
    ["executions"],
    ["execution", "1"],
    ["compare", "1", "2"],
    ["status"],
    ["doctor"],
    ["gc"],
    ["catalog", "backup", "copy.db"],
    ["catalog", "backup", "copy.db", "--check"],
    ["catalog", "restore", "copy.db"],
    ["catalog", "rebuild"],
    ["catalog", "purge", "--older-than", "90d"],
    ["catalog", "import", "openlineage", str(EVENTS / "dbt.jsonl")],
    ["catalog", "import", "mlmd", "mlmd.db"],
]


def test_json_is_one_document_and_nothing_else(stocked: Path, shell: Shell) -> None:
    make_database(Path("mlmd.db"))
    for arguments in EVERY_COMMAND:
        result = shell(*arguments, "--json")
        assert (arguments, result.code, result.err) == (arguments, 0, "")
        assert isinstance(result.json, dict)


def test_text_says_something_and_has_no_colour_off_a_terminal(stocked: Path, shell: Shell) -> None:
    make_database(Path("mlmd.db"))
    for arguments in EVERY_COMMAND:
        result = shell(*arguments)
        assert (arguments, result.code) == (arguments, 0)
        assert result.out.strip()
        assert ESCAPE not in result.out + result.err


def test_every_command_is_in_that_list() -> None:
    lines = [f"{' '.join(words)} " for words in EVERY_COMMAND]
    unlisted = [name for name, _command in leaves() if not any(line.startswith(f"{name} ") for line in lines)]
    assert unlisted == ["init"]


def test_common_options_may_stand_anywhere(stocked: Path, shell: Shell) -> None:
    before = shell("--json", "--config", stocked, "ls")
    after = shell("ls", "--json", "--project", stocked / "lakecat.yaml")
    assert before.out == after.out


def test_the_nearest_project_above_is_taken(stocked: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stocked / "transforms" / "mart")
    assert "raw.orders" in shell("ls").out


def test_quiet_keeps_results_and_errors(shop: Path, shell: Shell) -> None:
    quiet = shell("ingest", "-q")
    assert quiet.err == ""
    assert quiet.out == "1 done\n"
    assert shell("show", "raw.absent", "-q").err.startswith("error: ")


def test_errors_are_json_too(stocked: Path, shell: Shell) -> None:
    result = shell("show", "raw.absent", "--json")
    assert result.code == 2
    assert result.out == ""
    error = json.loads(result.err)
    assert error["error"] == "NotFoundError"
    assert error["next"] == "lakecat ls"


def test_a_usage_error_is_json_when_json_was_asked_for(stocked: Path, shell: Shell) -> None:
    result = shell("ls", "--frobnicate", "--json")
    assert result.code == 2
    assert "--frobnicate" in json.loads(result.err)["what"]


def test_a_dry_run_writes_nothing(shop: Path, shell: Shell) -> None:
    first = shell("ingest", "--dry-run")
    assert "would run: 1 ingest" in first.out
    with lakecat.connect(shop) as lake:
        assert lake.datasets() == ()
        assert lake.catalog.executions() == ()


def test_the_environment_chooses_a_profile(stocked: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (stocked / "lakecat.yaml").read_text()
    (stocked / "lakecat.yaml").write_text(text + "profiles: {empty: {catalog: 'sqlite:///./empty.db'}}\n")
    assert shell("ls", "--profile", "empty", "--json").json == {"datasets": []}
    monkeypatch.setenv("LAKECAT_PROFILE", "empty")
    assert shell("ls", "--json").json == {"datasets": []}


def test_names_and_values_cannot_steer_the_terminal(stocked: Path, shell: Shell) -> None:
    evil = "evil\x1b]0;owned\x07\u202e"
    with lakecat.connect(stocked) as lake:
        lake.append("raw.evil", pa.table({evil: [f"\x1b[31m{evil}"]}))
    for arguments in (["show", "raw.evil", "--sample", "1"], ["query", "SELECT * FROM raw.evil"]):
        for form in ([], ["--json"]):
            result = shell(*arguments, *form)
            assert result.code == 0
            assert not {ESCAPE, "\x07", "\u202e"} & set(result.out + result.err)
    assert "\\x1b[31m" in shell("query", "SELECT * FROM raw.evil").out


def test_errors_cannot_steer_the_terminal(stocked: Path, shell: Shell) -> None:
    result = shell("show", "raw.\x1b[31mx")
    assert result.code == 2
    assert ESCAPE not in result.err


class TestQuery:
    SQL = "SELECT order_id, customer, amount, ordered_at, NULL AS nothing FROM raw.orders ORDER BY order_id"

    def test_csv_can_be_read_back(self, stocked: Path, shell: Shell) -> None:
        rows = list(csv.reader(io.StringIO(shell("query", self.SQL, "--format", "csv").out)))
        assert rows[0] == ["order_id", "customer", "amount", "ordered_at", "nothing"]
        assert rows[1] == ["1", "ada", "19.90", "2026-11-01T09:15:00Z", ""]
        assert len(rows) == 6

    def test_json_lines(self, stocked: Path, shell: Shell) -> None:
        lines = shell("query", self.SQL, "--format", "json", "--limit", "2").out.splitlines()
        assert [json.loads(line)["customer"] for line in lines] == ["ada", "grace"]

    def test_one_document(self, stocked: Path, shell: Shell) -> None:
        document = shell("query", self.SQL, "--json", "--limit", "1").json
        assert [column["name"] for column in document["columns"]][:2] == ["order_id", "customer"]
        assert document["rows"] == [[1, "ada", "19.90", "2026-11-01T09:15:00Z", None]]

    def test_a_table_says_when_there_is_more(self, stocked: Path, shell: Shell) -> None:
        result = shell("query", self.SQL, "--limit", "2")
        assert len(result.out.splitlines()) == 3
        assert "more than 2 rows" in result.err
        assert "more" not in shell("query", self.SQL, "--limit", "5").err

    def test_from_a_file_with_parameters(self, stocked: Path, shell: Shell) -> None:
        (stocked / "q.sql").write_text("SELECT count(*) AS n FROM raw.orders WHERE customer = $who")
        assert shell("query", "--file", "q.sql", "--var", "who=ada", "--json").json["rows"] == [[2]]

    def test_nothing_outside_the_lake(self, stocked: Path, shell: Shell) -> None:
        result = shell("query", "SELECT * FROM read_csv('/etc/passwd')")
        assert result.code == 1
        assert "root" not in result.out + result.err


def on_a_terminal(folder: Path, *arguments: str, **environ: str) -> str:
    """What a command shows on a terminal, both streams."""
    main, worker = pty.openpty()
    command = [sys.executable, "-m", "lakecat", *arguments]
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", "LINES": "40", **environ}
    process = subprocess.Popen(command, cwd=folder, stdin=worker, stdout=worker, stderr=worker, env=variables)
    os.close(worker)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # Linux ends a terminal's output with EIO
            break
        if not part:
            break
        shown += part
    os.close(main)
    assert process.wait() == 0
    return shown.decode()


def test_colour_on_a_terminal_and_none_with_no_color(shop: Path) -> None:
    assert "\x1b[32m" in on_a_terminal(shop, "ingest")
    quiet = on_a_terminal(shop, "ls", NO_COLOR="1")
    assert "raw.orders" in quiet
    assert not any(code in quiet for code in ("\x1b[3", "\x1b[1;3"))


def test_wide_tables_are_cut_on_a_terminal_only(stocked: Path, shell: Shell) -> None:
    sql = f"SELECT '{'x' * 200}' AS wide"
    assert "x" * 200 in shell("query", sql).out
    assert "…" in on_a_terminal(stocked, "query", sql)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 数", "naïve 数"),
        ("a\x1b[1m", "a\\x1b[1m"),
        ("a\nb", "a\\nb"),
        ("\u202ea", "\\u202ea"),
    ],
)
def test_escaping(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_numbers_for_people() -> None:
    from datetime import UTC, datetime, timedelta

    assert [count(1, "row"), count(12408, "row"), count(None), count(0)] == ["1 row", "12,408 rows", "-", "0"]
    assert [size(999), size(4_100_000), size(None)] == ["999 B", "4.1 MB", "-"]
    assert [seconds(2.13), seconds(125), seconds(11520)] == ["2.1 s", "2 min 5 s", "3 h 12 min"]
    now = datetime(2026, 1, 10, tzinfo=UTC)
    assert [age(now - passed, now) for passed in (timedelta(seconds=5), timedelta(minutes=5), timedelta(days=9))] == [
        "now",
        "5 min",
        "9 d",
    ]


def test_verbose_says_why(shop: Path, shell: Shell) -> None:
    assert "orders-2026-11-01.csv is new" in shell("ingest", "-v").err
    assert "because: new script" in shell("run", "--verbose").err
