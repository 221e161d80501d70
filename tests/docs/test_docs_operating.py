"""The everyday operations are typed as their page says, in that order, and do what it says."""

import re
import shlex
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lakecat import connect
from lakecat.cli.app import run

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
JOB = """\
connector: sql
target: shop.*
mode: merge
cursor: updated_at
options: {connection: "sqlite:///shop.db"}
streams: [orders, customers]
"""


def change(statements: str) -> None:
    with closing(sqlite3.connect("shop.db")) as database:
        database.executescript(statements)


def notes() -> list[object]:
    with connect() as lake:
        return lake.query("SELECT note FROM shop.orders ORDER BY id")["note"].to_pylist()


def type_in(command: str) -> None:
    assert run(shlex.split(command, comments=True)[1:]) == 0, command


def test_the_page_works_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LAKECAT_PROFILE", raising=False)
    Path("ingest").mkdir()
    Path("lakecat.yaml").write_text("")
    Path("ingest/shop.yaml").write_text(JOB)
    change(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TEXT, note TEXT);"
        "INSERT INTO orders VALUES (1, '2026-09-30', 'a'), (2, '2026-10-15', 'b'), (3, '2026-11-01', 'c');"
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, updated_at TEXT);"
        "INSERT INTO customers VALUES (1, '2026-10-01');"
    )
    type_in("lakecat ingest")
    change("UPDATE orders SET note = upper(note)")  # which no cursor sees
    seen = []
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        if language == "python":
            change("UPDATE orders SET note = id; UPDATE orders SET note = CAST(note AS INTEGER)")
            Path("ingest/shop.yaml").write_text(f"{JOB}columns: {{note: long}}\n")
            change("ALTER TABLE orders RENAME TO old; CREATE TABLE orders (id INTEGER PRIMARY KEY, updated_at TEXT,"
                   "note INTEGER); INSERT INTO orders SELECT * FROM old; DROP TABLE old")  # fmt: skip
            exec(compile(text, PAGE, "exec"), {})  # the page's own words are what is tried
        for command in text.splitlines() if language == "sh" else ():
            type_in(command)
        seen.append(notes())
    assert seen[:5] == [
        ["a", "b", "c"],  # looked at
        ["a", "b", "c"],  # one stream: nothing new
        ["a", "b", "c"],  # customers from the start
        ["a", "B", "c"],  # October again
        ["A", "B", "C"],  # all that was forgotten
    ]
    assert seen[5] == [1, 2, 3]  # another type
