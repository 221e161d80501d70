"""Types in files: what is read, what is refused with its line, and that what is dumped reads back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakecat.catalog.enums import PropertyType
from lakecat.catalog.metadata_store.type_files import dump_types, parse_types, read_types
from lakecat.catalog.metadata_store.values import ArtifactType, ContextType, ExecutionType
from lakecat.errors import ConfigError, InvalidValueError

YAML = """\
artifact_types:
  - name: Model
    version: "2"
    description: A trained model
    external_id: models/2
    base_type: MODEL
    properties:
      accuracy: DOUBLE
      framework: string
      layers: 1
execution_types:
  - name: Train
    base_type: mlmd.Train
    properties: {parameters: STRUCT, done: BOOLEAN, blob: PROTO}
    input_type: {union: {}}
context_types:
  - name: no
"""
TYPES = (
    ArtifactType(
        name="Model", version="2", description="A trained model", external_id="models/2", base_type="mlmd.Model",
        properties={"accuracy": PropertyType.DOUBLE, "framework": PropertyType.STRING, "layers": PropertyType.INT},
    ),
    ExecutionType(
        name="Train", base_type="mlmd.Train", input_type={"union": {}},
        properties={
            "parameters": PropertyType.STRUCT, "done": PropertyType.BOOLEAN, "blob": PropertyType.PROTO,
        },
    ),
    ContextType(name="no"),
)  # fmt: skip


def test_yaml(tmp_path: Path):
    path = tmp_path / "types.yaml"
    path.write_text(YAML)
    assert read_types(path).types == TYPES
    assert read_types(path).of(ExecutionType) == TYPES[1:2]


def test_the_json_that_protobuf_writes(tmp_path: Path):
    """MLMD's messages by ``json_format.MessageToJson``: names in camel case, enum names, no id."""
    path = tmp_path / "types.json"
    document = {
        "contextTypes": [{"name": "no"}],
        "artifactTypes": [
            {"name": "Model", "version": "2", "description": "A trained model", "externalId": "models/2",
             "baseType": "MODEL", "properties": {"accuracy": "DOUBLE", "framework": "STRING", "layers": "INT"}}
        ],
        "executionTypes": [
            {"name": "Train", "baseType": "TRAIN", "inputType": {"union": {}},
             "properties": {"parameters": "STRUCT", "done": "BOOLEAN", "blob": "PROTO"}}
        ],
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=2))
    assert read_types(path).types == TYPES


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", None, "holds no types"),
        ("- a\n", 1, "holds no types"),
        ("types: []\n", 1, "'types' is not known"),
        ("artifact_types:\n  Model: {}\n", 1, "is no list"),
        ("artifact_types:\n  - Model\n", 2, "no mapping"),
        ("artifact_types:\n  - version: '1'\n", 2, "needs a name"),
        ("artifact_types:\n  - name: 5\n", 2, "needs a name"),
        ("artifact_types:\n  - name: a\n    id: 5\n", 3, "has no id"),
        ("artifact_types:\n  - name: a\n    version: 1\n", 3, "version is no text"),
        ("artifact_types:\n  - name: a\n    colour: red\n", 3, "'colour' is not known"),
        ("artifact_types:\n  - name: a\n    input_type: {}\n", 3, "'input_type' is not known"),
        ("artifact_types:\n  - name: a\n    base_type: TRAIN\n", 3, "'TRAIN' is not known"),
        ("context_types:\n  - name: a\n    base_type: MODEL\n", 3, "'MODEL' is not known"),
        ("artifact_types:\n  - name: a\n    properties: [x]\n", 3, "properties is no mapping"),
        ("artifact_types:\n  - name: a\n    properties:\n      x: INT\n      y: FLOAT\n", 5, "'FLOAT', which is none"),
        ("artifact_types:\n  - name: a\n    properties:\n      x: true\n", 4, "which is none"),
        ("artifact_types:\n  - name: a\n    properties:\n      x: 0\n", 4, "which is none"),
        ("artifact_types:\n  - name: a\n    properties:\n      x: INT\n      x: INT\n", 5, "twice"),
        ("artifact_types:\n  - name: a\n  - name: b\n  - name: a\n", 4, "'a' stands here twice"),
        ("artifact_types:\n  - name: a\n    baseType: MODEL\n    base_type: MODEL\n", 4, "stands here too"),
        (f"artifact_types:\n  - name: {'a' * 300}\n", 2, "at most 255"),
        ("artifact_types:\n  - name: !!python/object:os.system x\n", 2, "refused"),
        ("artifact_types: [\n", 2, "is not YAML"),
        ("execution_types:\n  - name: a\n    input_type: 5\n", 3, "input_type is no mapping"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, line: int | None, what: str):
    with pytest.raises(ConfigError) as caught:
        parse_types(text, "types.yaml")
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == ("types.yaml", line)
    assert what in caught.value.what


def test_one_name_in_two_kinds_or_two_versions_is_no_matter():
    text = "artifact_types: [{name: a}, {name: a, version: '2'}]\ncontext_types: [{name: a}]\n"
    assert len(parse_types(text).types) == 3


def test_what_is_no_type_is_not_dumped():
    with pytest.raises(InvalidValueError):
        dump_types(["Model"])  # type: ignore[list-item]


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cn", "Co")), min_size=1,
                max_size=20).filter(lambda name: name.isprintable()) | st.sampled_from(
    ["no", "1", "1.5", "null", "~", "true", "a: b", "- a", "#", "'", '"', "\\", " a ", "{}", "[", "&a", "*a", "!a", "|",
     ">", "%", "@", "`", "2024-01-01", "0x1", ".inf", "a\tb", "é", "日本"])  # fmt: skip
OPTIONAL = st.none() | NAMES
PROPERTIES = st.dictionaries(NAMES, st.sampled_from(PropertyType), max_size=4)


@st.composite
def all_types(draw: st.DrawFn) -> list[ArtifactType | ExecutionType | ContextType]:
    common = {"name": NAMES, "version": OPTIONAL, "description": OPTIONAL, "external_id": OPTIONAL,
              "properties": PROPERTIES}  # fmt: skip
    made: list[ArtifactType | ExecutionType | ContextType] = []
    for kind, bases in (
        (ArtifactType, ["mlmd.Dataset", "mlmd.Model", None]),
        (ExecutionType, ["mlmd.Evaluate", None]),
        (ContextType, [None]),
    ):
        one = st.builds(kind, base_type=st.sampled_from(bases), **common)
        made += draw(st.lists(one, max_size=3, unique_by=lambda value: (value.name, value.version)))
    return made


@given(all_types())
def test_what_is_dumped_reads_back(types: list[ArtifactType | ExecutionType | ContextType]):
    if types:
        assert list(parse_types(dump_types(types)).types) == types
    else:
        assert dump_types(types).strip() == "{}"
