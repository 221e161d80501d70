"""The project's corpus of bad and odd files, each with the verdict it should get; read where it is mounted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lakecat.errors import LakecatError

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("LAKECAT_CORPUS", ROOT.parent / "shared" / "corpus")) / "made"
KINDS = ("csv/", "json/", "parquet/")


def verdicts() -> list[dict[str, Any]]:
    listing = CORPUS / "EXPECT.jsonl"
    if not listing.exists():
        return []
    return [item for item in map(json.loads, listing.read_text().splitlines()) if item["file"].startswith(KINDS)]


@pytest.mark.skipif(not verdicts(), reason="the corpus is not here: set LAKECAT_CORPUS to its folder")
def test_every_file_gets_its_verdict(load) -> None:
    wrong = {}
    for item in verdicts():
        try:
            got = f"load:{load(str(CORPUS / item['file'])).table.num_rows}"
        except LakecatError as err:
            got = (
                "reject"
                if err.where and err.where.file == str(CORPUS / item["file"])
                else f"error without place: {err}"
            )
        wanted = item["expect"]
        if wanted not in (got, "load_or_reject") or got.startswith("error"):
            wrong[item["file"]] = (wanted, got)
    assert len(verdicts()) > 100
    assert wrong == {}
