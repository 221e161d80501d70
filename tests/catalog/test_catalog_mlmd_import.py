"""A copy of an ML Metadata database in the catalog: everything once, then only what is new; the source stays."""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from mlmd_lab import Mlmd, find_python, make_database
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.catalog.mlmd_import import ImportReport, LinkCount, NodeCount, import_mlmd, run
from lakecat.errors import (
    CatalogUnavailableError,
    CatalogVersionError,
    ForeignDatabaseError,
    NameTakenError,
    TypeConflictError,
    UsageError,
)

KINDS = {0: ("Execution", "execution_id"), 1: ("Artifact", "artifact_id"), 2: ("Context", "context_id")}


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def column(value: Any) -> Any:
    """Text and bytes alike; a packed message, which ml-metadata keeps in base64 but on PostgreSQL, as its bytes."""
    data = value.encode() if isinstance(value, str) else value
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, bytes) and data[:2] in (b"Ch", b"Ci") else data
    except binascii.Error:
        return data


def everything(engine: sa.Engine, back: dict[int, dict[int, int]] | None = None) -> dict[str, list[Any]]:
    """What is in MLMD's tables, with types by name; with ``back`` the ids are the source's again."""

    def was(kind: int, key: int) -> int:
        return key if back is None else back[kind][key]

    found: dict[str, list[Any]] = {}
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, name, version FROM Type").all()
        types = {key: (name, version) for key, name, version in rows}
        for kind, (table, owner) in KINDS.items():
            more = {0: "last_known_state", 1: "uri, state", 2: "id"}[kind]
            query = (
                f"SELECT id, type_id, name, external_id, create_time_since_epoch, last_update_time_since_epoch, {more}"
                f" FROM {table}"
            )
            nodes = [row for row in connection.exec_driver_sql(query).all() if back is None or row[0] in back[kind]]
            found[table] = sorted((was(kind, r[0]), types[r[1]], *r[2:6], *(r[6:] if kind != 2 else ())) for r in nodes)
            query = (
                f"SELECT {owner}, name, is_custom_property, int_value, double_value, string_value, proto_value,"
                f" bool_value FROM {table}Property"
            )
            found[f"{table}Property"] = sorted(
                ((was(kind, r[0]), *map(column, r[1:])) for r in connection.exec_driver_sql(query).all()), key=repr
            )
        query = (
            "SELECT e.artifact_id, e.execution_id, e.type, e.milliseconds_since_epoch, p.is_index_step, p.step_index,"
            " p.step_key FROM Event e LEFT JOIN EventPath p ON p.event_id = e.id"
        )
        found["Event"] = sorted(
            ((was(1, r[0]), was(0, r[1]), *r[2:]) for r in connection.exec_driver_sql(query).all()), key=repr
        )
        for table, one, other in (
            ("Attribution", 1, "artifact_id"), ("Association", 0, "execution_id"),
            ("ParentContext", 2, "parent_context_id"),
        ):  # fmt: skip
            pairs = connection.exec_driver_sql(f"SELECT context_id, {other} FROM {table}").all()
            found[table] = sorted((was(2, c), was(one, o)) for c, o in pairs)
    return found


def sources(catalog: Catalog) -> dict[int, dict[int, int]]:
    """The source's ids by the catalog's, as it remembers them."""
    back: dict[int, dict[int, int]] = {0: {}, 1: {}, 2: {}}
    with catalog.database.reading() as connection:
        for row in connection.execute(sa.select(s.import_node)):
            back[row.kind][row.target_id] = row.source_id
    return back


def brought_in(catalog: Catalog) -> dict[str, list[Any]]:
    return everything(catalog.database.engine, sources(catalog))


def source_of(path: Path) -> dict[str, list[Any]]:
    return everything(sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool))


def test_everything_comes_in_once(catalog_url: URL, tmp_path: Path):
    url = make_database(tmp_path / "mlmd.db")
    before = hashlib.sha256((tmp_path / "mlmd.db").read_bytes()).hexdigest()
    with Catalog.open(catalog_url, create=True) as catalog:
        planned = import_mlmd(catalog.database, url, apply=False)
        assert sources(catalog) == {0: {}, 1: {}, 2: {}}
        report = import_mlmd(catalog.database, url)
        assert (planned.applied, report.applied) == (False, True)
        assert (report.types.new, report.types.grown) == (6, 0)
        assert report.artifacts == planned.artifacts == NodeCount(new=3)
        assert report.executions == planned.executions == NodeCount(new=3)
        assert report.contexts == planned.contexts == NodeCount(new=2)
        assert report.events == planned.events == LinkCount(new=4)
        assert (report.attributions, report.associations) == (LinkCount(new=3), LinkCount(new=3))
        assert report.parent_contexts == LinkCount(new=1)
        assert brought_in(catalog) == source_of(tmp_path / "mlmd.db")

        again = import_mlmd(catalog.database, url)
        assert again.artifacts == again.executions == NodeCount(same=3)
        assert (again.contexts, again.events) == (NodeCount(same=2), LinkCount(same=4))
        assert (again.types.new, again.types.grown) == (0, 0)
        assert brought_in(catalog) == source_of(tmp_path / "mlmd.db")
        assert catalog.integrity() == ()
    assert hashlib.sha256((tmp_path / "mlmd.db").read_bytes()).hexdigest() == before
    assert [path.name for path in tmp_path.glob("mlmd.db*")] == ["mlmd.db"]


def test_the_next_import_adds_what_is_new_and_updates_what_changed_there_alone(catalog_url: URL, tmp_path: Path):
    path = tmp_path / "mlmd.db"
    url = make_database(path)
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, url)
        change(
            path,
            "UPDATE Artifact SET state = 4, uri = 's3://moved' WHERE id = 1",
            "UPDATE Artifact SET last_update_time_since_epoch = 9999999999999 WHERE id = 1",
            "DELETE FROM ArtifactProperty WHERE artifact_id = 1 AND name = 'split'",
            "INSERT INTO Artifact (type_id, uri, create_time_since_epoch, last_update_time_since_epoch)"
            " SELECT type_id, 's3://new', 5, 6 FROM Artifact WHERE id = 1",
            "INSERT INTO Event (artifact_id, execution_id, type) VALUES (4, 3, 4)",
            "INSERT INTO TypeProperty SELECT type_id, 'later', 1 FROM Artifact WHERE id = 1",
            "UPDATE Execution SET last_update_time_since_epoch = 8888888888888 WHERE id = 1",
        )
        with catalog.database.engine.begin() as connection:  # and somebody changed the other one here
            mine = {source: target for target, source in sources(catalog)[0].items()}[1]
            values = {"last_known_state": 6, "last_update_time_since_epoch": 7777777777777}
            connection.execute(sa.update(s.execution).where(s.execution.c.id == mine).values(**values))
        report = import_mlmd(catalog.database, url)
        assert report.artifacts == NodeCount(new=1, updated=1, same=2)
        assert report.executions == NodeCount(same=2, kept=1)
        assert report.events == LinkCount(new=1, same=4)
        assert (report.types.new, report.types.grown) == (0, 1)
        there, here = source_of(path), brought_in(catalog)
        for table in there.keys() - {"Execution"}:
            assert here[table] == there[table], table
        assert [row[6] for row in here["Execution"] if row[0] == 1] == [6]
        assert import_mlmd(catalog.database, url).artifacts == NodeCount(same=4)


def test_what_was_removed_here_is_not_brought_back(catalog_url: URL, tmp_path: Path):
    url = make_database(tmp_path / "mlmd.db")
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, url)
        gone = {source: target for target, source in sources(catalog)[1].items()}[3]
        with catalog.database.engine.begin() as connection:
            events = sa.select(s.event.c.id).where(s.event.c.artifact_id == gone)
            connection.execute(sa.delete(s.event_path).where(s.event_path.c.event_id.in_(events)))
            connection.execute(sa.delete(s.event).where(s.event.c.artifact_id == gone))
            connection.execute(sa.delete(s.artifact_property).where(s.artifact_property.c.artifact_id == gone))
            connection.execute(sa.delete(s.artifact).where(s.artifact.c.id == gone))
        report = import_mlmd(catalog.database, url)
        assert (report.artifacts, report.events) == (NodeCount(same=3), LinkCount(same=3, dangling=1))
        with catalog.database.reading() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(s.artifact)).scalar_one() == 2


def test_types_that_contradict_are_named_and_nothing_is_written(catalog_url: URL, tmp_path: Path):
    url = make_database(tmp_path / "one.db")
    make_database(tmp_path / "two.db")
    change(
        tmp_path / "two.db",
        "UPDATE TypeProperty SET data_type = 2 WHERE name = 'span'",
        "UPDATE TypeProperty SET data_type = 6 WHERE name = 'steps'",
    )
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, url)
        before = everything(catalog.database.engine)
        with pytest.raises(TypeConflictError) as caught:
            import_mlmd(catalog.database, tmp_path / "two.db")
        assert "artifact type Examples: its property 'span' is DOUBLE, and INT here" in caught.value.what
        assert "execution type Trainer: its property 'steps' is BOOLEAN, and INT here" in caught.value.what
        assert everything(catalog.database.engine) == before


def test_names_that_are_taken_are_told_and_a_prefix_makes_room(catalog_url: URL, tmp_path: Path):
    make_database(tmp_path / "one.db")
    make_database(tmp_path / "two.db")
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, tmp_path / "one.db")
        before = everything(catalog.database.engine)
        with pytest.raises(NameTakenError) as caught:
            import_mlmd(catalog.database, tmp_path / "two.db")
        assert "artifact 'taxi:examples': its type has one of that name here" in caught.value.what
        assert "execution 2: its external id 'run-1' is taken here" in caught.value.what
        assert "--prefix" in str(caught.value.hint)
        assert everything(catalog.database.engine) == before
        assert import_mlmd(catalog.database, tmp_path / "two.db", prefix="two:").artifacts == NodeCount(new=3)
        assert import_mlmd(catalog.database, tmp_path / "two.db", prefix="two:").artifacts == NodeCount(same=3)
        names = [row[2] for row in everything(catalog.database.engine)["Artifact"]]
        assert sorted(filter(None, names)) == ["taxi:examples", "taxi:model", "two:taxi:examples", "two:taxi:model"]


def test_the_prefix_of_the_first_import_goes_on_to_hold(catalog_url: URL, tmp_path: Path):
    for name in ("one.db", "two.db"):
        make_database(tmp_path / name)
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, tmp_path / "one.db")
        import_mlmd(catalog.database, tmp_path / "two.db", prefix="two:")
        change(
            tmp_path / "two.db",
            "INSERT INTO Artifact (type_id, name, create_time_since_epoch, last_update_time_since_epoch)"
            " SELECT type_id, 'fresh', 1, 1 FROM Artifact WHERE name = 'taxi:examples'",
            "INSERT INTO Context (type_id, name, create_time_since_epoch, last_update_time_since_epoch)"
            " SELECT type_id, 'fresh', 1, 1 FROM Context LIMIT 1",
        )
        report = import_mlmd(catalog.database, tmp_path / "two.db")
        assert (report.artifacts, report.contexts) == (NodeCount(new=1, same=3), NodeCount(new=1, same=2))
        found = everything(catalog.database.engine)
        assert "two:fresh" in [row[2] for row in found["Artifact"]]
        assert "two:fresh" in [row[2] for row in found["Context"]]
        for origin, prefix, was in (("two.db", "zwei:", "the prefix 'two:'"), ("one.db", "one:", "no prefix")):
            with pytest.raises(UsageError, match=f"imported before with {was}"):
                import_mlmd(catalog.database, tmp_path / origin, prefix=prefix)
        assert everything(catalog.database.engine) == found


def test_contexts_of_one_name_become_one(catalog_url: URL, tmp_path: Path):
    make_database(tmp_path / "one.db")
    make_database(tmp_path / "two.db")
    change(
        tmp_path / "two.db",
        "UPDATE Artifact SET name = NULL, external_id = NULL",
        "UPDATE Execution SET name = NULL, external_id = NULL",
        "INSERT INTO ContextProperty (context_id, name, is_custom_property, int_value) VALUES (1, 'added', 1, 5)",
        "UPDATE ContextProperty SET string_value = 'somebody else' WHERE name = 'owner'",
        "UPDATE Context SET external_id = NULL",
    )
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, tmp_path / "one.db")
        report = import_mlmd(catalog.database, tmp_path / "two.db")
        assert (report.contexts, report.artifacts) == (NodeCount(joined=2), NodeCount(new=3))
        found = everything(catalog.database.engine)
        assert len(found["Context"]) == 2
        assert [(r[1], r[3], r[5]) for r in found["ContextProperty"]] == [
            (b"added", 5, None), (b"owner", None, "müller".encode()),
        ]  # fmt: skip
        assert len(found["Attribution"]) == 6


def test_another_database_in_the_same_place_is_noticed(tmp_path: Path):
    make_database(tmp_path / "mlmd.db")
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        import_mlmd(catalog.database, tmp_path / "mlmd.db")
        change(tmp_path / "mlmd.db", "UPDATE Artifact SET create_time_since_epoch = 1")
        with pytest.raises(NameTakenError, match="this is another database"):
            import_mlmd(catalog.database, tmp_path / "mlmd.db")
        assert import_mlmd(catalog.database, tmp_path / "mlmd.db", origin="second", prefix="2").artifacts.new == 3


def test_an_interrupted_import_goes_on(catalog_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "mlmd.db"
    url = make_database(path)
    real = run.write_links

    def broken(connection: sa.Connection, link: Any, *rest: Any) -> None:
        real(connection, link, *rest)
        if link.label == "association":
            raise KeyboardInterrupt

    with Catalog.open(catalog_url, create=True) as catalog:
        with monkeypatch.context() as patch:
            patch.setattr(run, "write_links", broken)
            with pytest.raises(KeyboardInterrupt):
                import_mlmd(catalog.database, url)
        assert brought_in(catalog)["Association"] == []
        report = import_mlmd(catalog.database, url)
        assert (report.artifacts, report.events) == (NodeCount(same=3), LinkCount(same=4))
        assert report.associations == LinkCount(new=3)
        assert brought_in(catalog) == source_of(path)


def test_what_cannot_be_imported_says_why(tmp_path: Path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        with pytest.raises(CatalogUnavailableError, match="there is no file"):
            import_mlmd(catalog.database, tmp_path / "none.db")
        with pytest.raises(ForeignDatabaseError, match="is a lakecat catalog"):
            import_mlmd(catalog.database, tmp_path / "catalog.db")
        change(tmp_path / "other.db", "CREATE TABLE x (y INTEGER)")
        with pytest.raises(ForeignDatabaseError, match="not ML Metadata's"):
            import_mlmd(catalog.database, tmp_path / "other.db")
        (tmp_path / "text.db").write_text("no database at all")
        with pytest.raises(ForeignDatabaseError, match="no SQLite database"):
            import_mlmd(catalog.database, tmp_path / "text.db")
        make_database(tmp_path / "old.db")
        change(tmp_path / "old.db", "UPDATE MLMDEnv SET schema_version = 8")
        with pytest.raises(CatalogVersionError, match="schema 8; lakecat imports schema 10"):
            import_mlmd(catalog.database, tmp_path / "old.db")
        with pytest.raises(CatalogUnavailableError) as caught:
            import_mlmd(catalog.database, "mysql://somebody:secret@127.0.0.1:1/none")
        assert "secret" not in str(caught.value)


def test_names_too_long_for_a_server_are_told_before_anything_is_written(postgres_url: URL, tmp_path: Path):
    make_database(tmp_path / "mlmd.db")
    change(tmp_path / "mlmd.db", f"UPDATE Artifact SET name = '{'n' * 600}' WHERE id = 3")
    with Catalog.open(postgres_url, create=True) as catalog:
        with pytest.raises(NameTakenError, match="artifact 3: its name is longer than 512 characters"):
            import_mlmd(catalog.database, tmp_path / "mlmd.db")
        assert sources(catalog) == {0: {}, 1: {}, 2: {}}


# with the real ml-metadata


def random_store(seed: int) -> dict[str, Any]:
    """A store that ml-metadata can write; to PostgreSQL it writes no backslash."""
    rng = random.Random(seed)
    texts = ["", "x", "it's", "% _", 'quote"', "z" * 3000, "tab\tline\n", "mlmd", "[1, 2]"]
    values = [
        lambda: ["int", rng.choice([0, 1, -1, 2**31 - 1, -(2**31)])],
        lambda: ["double", rng.choice([0.0, 0.5, -1.25, 1e10]).hex()],
        lambda: ["string", rng.choice(texts)],
        lambda: ["struct", {"a": ["list", [["number", (0.25).hex()], ["null"]]], "b": ["struct", {}]}],
        lambda: ["proto", "type.googleapis.com/x", "AAEC/w=="],
        lambda: ["bool", rng.random() < 0.5],
    ]  # fmt: skip
    kinds = [{f"p{n}": n for n in range(1, 7) if rng.random() < 0.7} for _ in range(3)]

    def node(n: int, **more: Any) -> dict[str, Any]:
        kind = rng.randrange(3)
        properties = {name: values[number - 1]() for name, number in kinds[kind].items() if rng.random() < 0.8}
        custom = {f"c{i}": rng.choice(values)() for i in range(rng.randrange(3))}
        external = {"external_id": f"x{n}"} if rng.random() < 0.3 else {}
        return {"type": kind, "properties": properties, "custom_properties": custom, **external, **more}

    def named(n: int) -> dict[str, str]:
        return {"name": f"n{n}"} if rng.random() < 0.5 else {}

    types = [{"name": f"T{i}", "properties": kinds[i]} for i in range(3)]
    artifacts = [node(n, uri=rng.choice(texts), state=rng.randrange(1, 5), **named(n)) for n in range(12)]
    executions = [node(n, last_known_state=rng.randrange(1, 7), **named(n)) for n in range(8)]
    contexts = [node(n, name=f"c{n}") for n in range(5)]
    keys = {(rng.randrange(12), rng.randrange(8), rng.randrange(1, 7)) for _ in range(20)}
    steps = [[], ["key"], [0, "a", 2]]
    return {
        "artifact_types": types, "execution_types": types, "context_types": types,
        "artifacts": artifacts, "executions": executions, "contexts": contexts,
        "events": [{"artifact": a, "execution": e, "type": t, "path": rng.choice(steps)} for a, e, t in sorted(keys)],
        "attributions": sorted({(rng.randrange(12), rng.randrange(5)) for _ in range(10)}),
        "associations": sorted({(rng.randrange(8), rng.randrange(5)) for _ in range(8)}),
        "parent_contexts": sorted({(rng.randrange(3, 5), rng.randrange(3)) for _ in range(4)}),
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
def test_a_server_of_ml_metadatas_comes_in_whole(request, missing, tmp_path: Path, kind: str, seed: int):
    mlmd = Mlmd(find_python(missing))
    url: URL = request.getfixturevalue(f"{kind}_url")
    mlmd.write(url, random_store(seed))
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        report: ImportReport = import_mlmd(catalog.database, url)
        assert (report.artifacts.new, report.executions.new, report.contexts.new) == (12, 8, 5)
        there = everything(sa.create_engine(url, poolclass=sa.NullPool))
        assert brought_in(catalog) == there
        assert import_mlmd(catalog.database, url).artifacts == NodeCount(same=12)


def test_ml_metadata_reads_in_the_catalog_what_it_wrote_elsewhere(missing, catalog_url: URL, tmp_path: Path):
    mlmd = Mlmd(find_python(missing))
    url = URL.create("sqlite", database=str(tmp_path / "mlmd.db"))
    mlmd.write(url, random_store(3))
    with Catalog.open(catalog_url, create=True) as catalog:
        import_mlmd(catalog.database, url)
        back = sources(catalog)
    there, here = mlmd.read(url), mlmd.read(catalog_url)
    for kind, number in (("artifacts", 1), ("executions", 0), ("contexts", 2)):
        moved = [{**node, "id": back[number][node["id"]], "type_id": None} for node in here[kind]]
        assert sorted(moved, key=lambda n: n["id"]) == [{**node, "type_id": None} for node in there[kind]]
    events = [[back[1][a], back[0][e], *more] for a, e, *more in here["events"]]
    assert sorted(events) == there["events"]


def test_latin1_text_of_a_mysql_source_is_read_as_it_was_meant(missing, mariadb_url: URL, tmp_path: Path):
    mlmd = Mlmd(find_python(missing))
    store = {
        "artifact_types": [{"name": "T"}],
        "artifacts": [{"type": 0, "name": "müller 日本 😀"}, {"type": 0, "name": "Ä"}],
    }
    mlmd.write(mariadb_url, store)
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db", create=True) as catalog:
        import_mlmd(catalog.database, mariadb_url)
        with catalog.database.reading() as connection:
            assert sorted(connection.execute(sa.select(s.artifact.c.name)).scalars()) == ["müller 日本 😀", "Ä"]
