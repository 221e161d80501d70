"""A parser process is kept for the next connector, when there is no doubt about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import ParseError
from lakecat_connectors.files import Files


def read(connector: Files, ledger) -> int:
    """Read the first slice whole; answers the parser's process id."""
    reader = connector.read(connector.plan(StreamRequest(), ledger)[0], ReadOptions())
    for _ in reader:
        pass
    worker = connector._worker
    assert worker is not None
    assert worker._process is not None
    return worker._process.pid


def test_the_next_connector_gets_the_same_process(tmp_path: Path, connectors: Callable[..., Files], ledger_type):
    (tmp_path / "1.csv").write_text("a\n1\n")
    first, second = connectors("1.csv"), connectors("1.csv")
    pid = read(first, ledger_type())
    first.close()
    assert read(second, ledger_type()) == pid


def test_two_connectors_at_once_have_a_process_each(tmp_path: Path, connectors: Callable[..., Files], ledger_type):
    (tmp_path / "1.csv").write_text("a\n1\n")
    first, second = connectors("1.csv"), connectors("1.csv")
    assert read(first, ledger_type()) != read(second, ledger_type())


def test_a_process_that_met_a_bad_file_is_not_kept(tmp_path: Path, connectors: Callable[..., Files], ledger_type):
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text('a\n"1\n')
    first, second = connectors("1.csv"), connectors("2.csv")
    pid = read(first, ledger_type())
    first.close()
    with pytest.raises(ParseError):
        read(second, ledger_type())
    second.close()
    assert read(connectors("1.csv"), ledger_type()) != pid
