"""One database, two programs: what lakecat writes is read equal by the real ml-metadata 1.17.1, and the reverse."""

from __future__ import annotations

import random
from typing import Any

import pytest
from mlmd_lab import Mlmd, find_python
from sqlalchemy.engine import URL

from lakecat.catalog import MetadataStore
from lakecat.catalog.metadata_store import Artifact, ArtifactType, EventType, ProtoValue

SEEDS = (1, 2, 3)
LARGE = 100_000


@pytest.fixture
def theirs(missing) -> Mlmd:
    return Mlmd(find_python(missing))


@pytest.fixture
def ours(missing) -> Mlmd:
    return Mlmd(find_python(missing), library="lakecat")


def texts_of(backend: str, *, by_mlmd: bool) -> list[str]:
    """What both can write and read: ml-metadata's client speaks latin1 to MySQL, and no backslash to PostgreSQL."""
    texts = ["", "x", "it's", "% _ ?", ":name", 'say "no"', "z" * 3000, "tab\tline\n", "mlmd", "[1, 2]", " ends "]
    if backend != "mysql":
        texts += ["größe 日本 😀", "\u200b\u202e"]
    if backend != "postgresql" or not by_mlmd:
        texts += ["back\\slash"]
    return texts


def random_store(seed: int, backend: str, *, by_mlmd: bool) -> dict[str, Any]:
    """All kinds of values, types with versions and bases, names and none, many links."""
    rng = random.Random(seed)
    texts = texts_of(backend, by_mlmd=by_mlmd)
    doubles = [0.0, 0.5, -1.25, 1e10]
    if not by_mlmd:  # ml-metadata writes six digits after the point
        doubles += [2.0**-20, -1e-300]
        if backend != "sqlite":  # where it reads 15 digits
            doubles += [1 / 3, 1.7e308]
    struct = {
        "a": ["list", [["number", (0.25).hex()], ["null"], ["bool_value", True], ["string_value", rng.choice(texts)]]],
        "b": ["struct", {}], "c": ["number", (-3.0).hex()], "d": ["list", []],
    }  # fmt: skip
    values = [
        lambda: ["int", rng.choice([0, 1, -1, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63)])],
        lambda: ["double", rng.choice(doubles).hex()],
        lambda: ["string", rng.choice(texts)],
        lambda: ["struct", rng.choice([struct, {}])],
        lambda: ["proto", "type.googleapis.com/x", rng.choice(["AAEC/w==", "", "CgV0aGluZw=="])],
        lambda: ["bool", rng.random() < 0.5],
    ]
    kinds = [{f"p{n}": n for n in range(1, 7) if rng.random() < 0.8} for _ in range(3)]

    def node(n: int, **more: Any) -> dict[str, Any]:
        kind = rng.randrange(3)
        properties = {name: values[number - 1]() for name, number in kinds[kind].items() if rng.random() < 0.8}
        custom = {f"c{i}": rng.choice(values)() for i in range(rng.randrange(4))}
        external = {"external_id": f"x{n}"} if rng.random() < 0.3 else {}
        return {"type": kind, "properties": properties, "custom_properties": custom, **external, **more}

    def types(bases: int) -> list[dict[str, Any]]:
        more: list[dict[str, Any]] = [
            {"base_type": rng.randrange(1, bases + 1)} if bases else {},
            {"version": "v2"},
            {},
        ]
        return [{"name": f"T{i % 2}", "properties": kinds[i], **more[i]} for i in range(3)]

    def named(n: int) -> dict[str, str]:
        return {"name": f"n{n}"} if rng.random() < 0.5 else {}

    keys = {(rng.randrange(12), rng.randrange(8), rng.randrange(1, 7)) for _ in range(20)}
    steps = [[], ["key"], [0, "a", 2]]
    executions = types(5)
    executions[2] |= {
        "name": "Third",
        "input_type": {"union_type": {"candidates": [{"none": {}}, {"simple": {"name": "T0"}}]}},
    }
    artifacts, contexts = types(4), types(0)
    artifacts[2]["name"] = contexts[2]["name"] = "Third"
    return {
        "artifact_types": artifacts, "execution_types": executions, "context_types": contexts,
        "artifacts": [node(n, uri=rng.choice(texts), state=rng.randrange(1, 5), **named(n)) for n in range(12)],
        "executions": [node(n, last_known_state=rng.randrange(1, 7), **named(n)) for n in range(8)],
        "contexts": [node(n, name=f"c{n}") for n in range(5)],
        "events": [
            {"artifact": a, "execution": e, "type": t, "path": rng.choice(steps), "time": rng.randrange(1, 2**42)}
            for a, e, t in sorted(keys)
        ],
        "attributions": sorted({(rng.randrange(12), rng.randrange(5)) for _ in range(10)}),
        "associations": sorted({(rng.randrange(8), rng.randrange(5)) for _ in range(8)}),
        "parent_contexts": sorted({(rng.randrange(3, 5), rng.randrange(3)) for _ in range(4)}),
    }  # fmt: skip


def given(store: dict[str, Any], ids: dict[str, list[int]]) -> dict[str, Any]:
    """What a described store must be read as."""
    found: dict[str, Any] = {}
    for kind in ("artifact", "execution", "context"):
        nodes = {}
        for key, node in zip(ids[kind], store[f"{kind}s"], strict=True):
            names = ("name", "uri", "external_id", "state", "last_known_state", "properties", "custom_properties")
            nodes[key] = {name: node[name] for name in names if name in node}
            nodes[key]["type"] = store[f"{kind}_types"][node["type"]]["name"]
        found[f"{kind}s"] = nodes
    a, e, c = ids["artifact"], ids["execution"], ids["context"]
    found["events"] = sorted(
        [a[x["artifact"]], e[x["execution"]], x["type"], x["path"], x["time"]] for x in store["events"]
    )
    found["attributions"] = sorted([a[x], c[y]] for x, y in store["attributions"])
    found["associations"] = sorted([e[x], c[y]] for x, y in store["associations"])
    found["parent_contexts"] = sorted([c[x], c[y]] for x, y in store["parent_contexts"])
    return found


def told(read: dict[str, Any]) -> dict[str, Any]:
    """What was read, in the shape of ``given``."""
    names = ("name", "uri", "external_id", "state", "last_known_state", "properties", "custom_properties", "type")
    found = {
        kind: {node["id"]: {name: node[name] for name in names if name in node} for node in read[kind]}
        for kind in ("artifacts", "executions", "contexts")
    }
    return found | {kind: read[kind] for kind in ("events", "attributions", "associations", "parent_contexts")}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_lakecat_writes_ml_metadata_reads(catalog_url: URL, ours: Mlmd, theirs: Mlmd, seed: int):
    store = random_store(seed, catalog_url.get_backend_name(), by_mlmd=False)
    ids = ours.write(catalog_url, store)
    by_them = theirs.read(catalog_url)
    assert told(by_them) == given(store, ids)
    assert ours.read(catalog_url) == by_them


@pytest.mark.parametrize("seed", SEEDS)
def test_what_ml_metadata_writes_lakecat_reads(catalog_url: URL, ours: Mlmd, theirs: Mlmd, seed: int):
    MetadataStore.open(catalog_url, create=True).close()
    store = random_store(seed, catalog_url.get_backend_name(), by_mlmd=True)
    ids = theirs.write(catalog_url, store)
    by_us = ours.read(catalog_url)
    assert told(by_us) == given(store, ids)
    assert theirs.read(catalog_url) == by_us


@pytest.mark.parametrize("seed", SEEDS[:1])
def test_ml_metadatas_own_database_is_adopted_by_opening_it(catalog_url: URL, ours: Mlmd, theirs: Mlmd, seed: int):
    store = random_store(seed, catalog_url.get_backend_name(), by_mlmd=True)
    if catalog_url.get_backend_name() != "sqlite":  # its columns there hold 32 bits until then
        for kind in ("artifacts", "executions", "contexts"):
            for node in store[kind]:
                node["properties"].pop("p1", None)
                node["custom_properties"] = {k: v for k, v in node["custom_properties"].items() if v[0] != "int"}
    ids = theirs.write(catalog_url, store)
    before = theirs.read(catalog_url)
    assert told(ours.read(catalog_url)) == told(before) == given(store, ids)
    more = {"artifact_types": [{"name": "Later"}], "artifacts": [{"type": 0, "uri": "added://by/lakecat"}]}
    made = ours.write(catalog_url, more)["artifact"]
    after = theirs.read(catalog_url)
    assert {a["id"]: a["uri"] for a in after["artifacts"]}[made[0]] == "added://by/lakecat"
    assert [a for a in after["artifacts"] if a["id"] not in made] == before["artifacts"]


def test_large_texts_go_both_ways(catalog_url: URL, theirs: Mlmd):
    value = "l" * LARGE
    store = {
        "artifact_types": [{"name": "Theirs", "properties": {"p": 3}}],
        "artifacts": [{"type": 0, "uri": value, "properties": {"p": ["string", value]}}],
    }
    with MetadataStore.open(catalog_url, create=True) as mine:
        kind = mine.put_artifact_type(ArtifactType(name="Ours"))
        [written] = mine.put_artifacts([Artifact(type_id=kind, uri=value, custom_properties={"p": value})])
        [made] = theirs.write(catalog_url, store)["artifact"]
        [read] = mine.get_artifacts_by_id([made])
        assert (read.uri, read.properties) == (value, {"p": value})
    seen = {a["id"]: a for a in theirs.read(catalog_url)["artifacts"]}
    assert (seen[written]["uri"], seen[written]["custom_properties"]) == (value, {"p": ["string", value]})


def test_values_that_ml_metadata_lacks_do_not_disturb_it(catalog_url: URL, theirs: Mlmd):
    exact = {
        "nan": float("nan"), "inf": float("inf"), "minus": float("-inf"), "tiny": 5e-324, "third": 1 / 3, "nul": "a\0b",
        "lie": "mlmd-struct::!", "wide": 2**80, "proto": ProtoValue("t/x", b"\0\xff"),
    }  # fmt: skip
    with MetadataStore.open(catalog_url, create=True) as mine:
        kind = mine.put_artifact_type(ArtifactType(name="Exact"))
        [key] = mine.put_artifacts([Artifact(type_id=kind, custom_properties=exact)])
        [node] = mine.get_artifacts_by_id([key])
        assert repr(node.custom_properties.pop("nan")) == "nan"  # type: ignore[attr-defined]
        assert node.custom_properties == {name: value for name, value in exact.items() if name != "nan"}
    [seen] = theirs.read(catalog_url)["artifacts"]
    custom = seen["custom_properties"]
    assert custom.keys() == exact.keys()
    assert custom["proto"] == ["proto", "t/x", "AP8="]
    largest = float.fromhex("0x1.fffffffffffffp+1023").hex()
    if catalog_url.get_backend_name() == "sqlite":
        largest = "inf"  # as ml-metadata reads that number there
    assert custom["inf"] == custom["nan"] == ["double", largest]
    assert custom["wide"] == ["int", 2**63 - 1]
    assert custom["nul"] == ["string", "a\ufffdb"] or catalog_url.get_backend_name() == "mysql"


def test_an_execution_of_ml_metadatas_is_in_lakecats_lineage(catalog_url: URL, theirs: Mlmd):
    MetadataStore.open(catalog_url, create=True).close()
    ids = theirs.write(
        catalog_url,
        {
            "artifact_types": [{"name": "D"}], "execution_types": [{"name": "Step"}],
            "artifacts": [{"type": 0, "uri": "in"}, {"type": 0, "uri": "out"}], "executions": [{"type": 0}],
            "events": [{"artifact": 0, "execution": 0, "type": 3}, {"artifact": 1, "execution": 0, "type": 4}],
        },
    )  # fmt: skip
    with MetadataStore.open(catalog_url) as mine:
        events = mine.get_events_by_execution_ids(ids["execution"])
        assert [(e.artifact_id, e.type) for e in events] == [
            (ids["artifact"][0], EventType.INPUT), (ids["artifact"][1], EventType.OUTPUT),
        ]  # fmt: skip
        found = mine.lineage(artifact_ids=[ids["artifact"][1]], direction="up")
        assert {a.uri for a in found.artifacts} == {"in", "out"}
