"""Files of public test suites in the binary and archive formats: each gets a typed verdict, none a crash or a hang."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lakecat.errors import ConfigError, LakecatError, ParseError

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("LAKECAT_CORPUS", ROOT.parent / "shared" / "corpus"))
MADE = CORPUS / "made"
OPTIONS: dict[str, dict[str, Any]] = {
    "xml": {"format": "xml"},
    "archive": {"format": "csv"},
    "arrow": {"format": "arrow"},
    "xlsx": {"format": "excel"},
}
FETCHED = {
    "avro_odd": ({"format": "avro"}, 17),
    "orc": ({"format": "orc"}, 17),
    "arrow_fuzz": ({"format": "arrow"}, 0),
    "excel": ({"format": "excel", "sheet": 1}, 180),
    "excel_fuzz": ({"format": "excel"}, 0),
    "office_zip": ({"format": "excel", "sheet": 1}, 2),
    "archives": ({"format": "csv"}, 10),
    "json_parsing": ({"format": "json"}, 5),
    "json_transform": ({"format": "json"}, 0),
    "json_duckdb": ({"format": "json"}, 25),
}
missing = pytest.mark.skipif(not CORPUS.exists(), reason="the corpus is not here: set LAKECAT_CORPUS to its folder")


def verdict(load: Any, path: Path, options: dict[str, Any]) -> str:
    try:
        return f"load:{load(str(path), **options).table.num_rows}"
    except ParseError as err:
        if err.where is None or not str(err.where.file).startswith(str(path)):
            return f"without its place: {err}"
        return "died" if "process died" in err.what else "reject"
    except ConfigError:
        return "reject"
    except LakecatError as err:
        return f"{type(err).__name__}: {err}"


@missing
def test_files_made_for_this_get_their_verdicts(load) -> None:
    wrong = {}
    listing = map(json.loads, (MADE / "EXPECT.jsonl").read_text().splitlines())
    chosen = [item for item in listing if item["file"].partition("/")[0] in OPTIONS]
    for item in chosen:
        got = verdict(load, MADE / item["file"], OPTIONS[item["file"].partition("/")[0]])
        fine = got == item["expect"] or (item["expect"] == "load_or_reject" and got.startswith(("load", "reject")))
        if not fine:
            wrong[item["file"]] = (item["expect"], got)
    assert len(chosen) >= 25
    assert wrong == {}


@missing
@pytest.mark.parametrize("folder", FETCHED)
def test_every_file_gets_a_verdict(load, folder: str) -> None:
    options, least = FETCHED[folder]
    verdicts = {path.name: verdict(load, path, options) for path in sorted((CORPUS / "fetched" / folder).iterdir())}
    loaded = sum(text.startswith("load:") for text in verdicts.values())
    assert loaded >= least
    # A file made to crash its parser may do so: the job gets a ParseError that names it.
    fine = ("load:", "reject")
    odd = {
        name: text
        for name, text in verdicts.items()
        if not text.startswith(fine) and not (text == "died" and "fuzz" in name)
    }
    assert odd == {}
