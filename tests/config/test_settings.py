"""lakecat.yaml becomes settings: paths absolute, profiles laid over, secrets by reference only."""

from datetime import timedelta
from pathlib import Path

import pytest

from lakecat.config import Secret, SecretRef, Settings, load_settings
from lakecat.errors import ConfigError


def settings(folder: Path, text: str, profile: str | None = None, **environ: str) -> Settings:
    (folder / "lakecat.yaml").write_text(text)
    return load_settings(folder, profile=profile, environ=environ)


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    found = settings(tmp_path, "")
    assert found.lake == f"file://{tmp_path}/lake"
    assert found.catalog == f"sqlite:///{tmp_path}/catalog.db"
    assert found.retention.age == timedelta(days=5)
    assert found.write.target_file_size == 134_217_728
    assert found.profile is None


def test_relative_paths_are_relative_to_the_file_not_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "lakecat.yaml").write_text("lake: ../lake\ncatalog: sqlite:///sub/c.db\n")
    monkeypatch.chdir(tmp_path)
    found = load_settings(Path("project/lakecat.yaml"), environ={})
    assert found.lake == f"file://{tmp_path}/lake"
    assert found.catalog == f"sqlite:///{tmp_path}/project/sub/c.db"


def test_sizes_and_durations_have_units(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        "write: {target_file_size: 64 MiB, memory: 100MB}\nretention: {age: 36h}\nstorage: {read_timeout: 1.5s}\n",
    )
    assert found.write.target_file_size == 64 * 1024 * 1024
    assert found.write.memory == 100_000_000
    assert found.retention.age == timedelta(days=1, hours=12)
    assert found.storage.read_timeout == timedelta(seconds=1.5)


PROFILES = """\
lake: ./lake
storage: {region: eu-1, attempts: 3}
profiles:
  prod:
    lake: s3://bucket/warehouse/
    catalog: {url: "postgresql://me@db.example/cat?sslmode=require", password: env:DB_PASSWORD}
    storage: {endpoint: http://localhost:9000}
"""


def test_a_profile_overrides_key_by_key(tmp_path: Path) -> None:
    found = settings(tmp_path, PROFILES, profile="prod")
    assert found.lake == "s3://bucket/warehouse"
    assert found.storage.region == "eu-1"
    assert found.storage.endpoint == "http://localhost:9000"
    assert found.profile == "prod"


def test_the_environment_chooses_the_profile_and_the_argument_beats_it(tmp_path: Path) -> None:
    text = PROFILES + "  dev: {lake: ./other}\n"
    assert settings(tmp_path, text, LAKECAT_PROFILE="prod").profile == "prod"
    assert settings(tmp_path, text, profile="dev", LAKECAT_PROFILE="prod").profile == "dev"


def test_an_unknown_profile_names_the_close_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no profile 'prd'") as caught:
        settings(tmp_path, PROFILES, profile="prd")
    assert caught.value.hint == "did you mean 'prod'?"


def test_a_profile_that_is_not_chosen_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'lakes'") as caught:
        settings(tmp_path, "profiles:\n  prod:\n    lakes: x\n")
    assert caught.value.where is not None
    assert caught.value.where.line == 3


def test_the_password_goes_into_the_url_only_when_it_is_asked_for(tmp_path: Path) -> None:
    found = settings(tmp_path, PROFILES, profile="prod")
    assert found.catalog == "postgresql+psycopg://me@db.example/cat?sslmode=require"
    url = found.catalog_url({"DB_PASSWORD": "p@ss/word"})
    assert url == "postgresql+psycopg://me:p%40ss%2Fword@db.example/cat?sslmode=require"
    with pytest.raises(ConfigError, match="DB_PASSWORD is not set"):
        found.catalog_url({})


@pytest.mark.parametrize(
    "text",
    [
        "catalog: postgresql://me:hunter2@h/db\n",
        "catalog: {url: 'postgresql://me@h/db?password=hunter2'}\n",
        "catalog: {url: postgresql://me@h/db, password: hunter2}\n",
        "storage: {secret_key: hunter2}\n",
        "storage: {session_token: 'env:'}\n",
        "lake: s3://me:hunter2@bucket/x\n",
        "profiles: {p: {storage: {access_key: hunter2}}}\n",
    ],
)
def test_plain_secrets_are_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert "hunter2" not in str(caught.value)
    assert caught.value.where is not None
    assert caught.value.where.line == 1


def test_secrets_come_from_files_beside_the_project_and_do_not_show(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    ref = settings(tmp_path, "storage: {secret_key: file:key}\n").storage.secret_key
    assert ref is not None
    secret = ref.resolve({})
    assert secret.reveal() == "s3cret"
    assert "s3cret" not in f"{secret!r} {secret} {[secret]}"
    assert secret == Secret("s3cret")


def test_a_missing_secret_names_where_it_should_be() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        SecretRef("file:/nowhere/at/all").resolve({})


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("lakes: x\n", 1, "unknown key 'lakes'"),
        ("lake: x\nretention:\n  snapshotz: 3\n", 3, "unknown key 'retention.snapshotz'"),
        ("lake: 5\n", 1, "key 'lake'"),
        ("lake: gs://bucket\n", 1, "no store for gs://"),
        ("catalog: oracle://x\n", 1, "no database for oracle://"),
        ("catalog: 'sqlite://'\n", 1, "must name a file"),
        ("catalog: 'sqlite:///:memory:'\n", 1, "must name a file"),
        ("write: {target_file_size: 12 parsecs}\n", 1, "not a size"),
        ("retention: {age: soon}\n", 1, "not a duration"),
        ("retention: {age: 0}\n", 1, "longer than nothing"),
        ("engine: {threads: 0}\n", 1, "engine.threads"),
        ("- a\n", 1, "keys and values"),
        ("project: 'two words'\n", 1, "key 'project'"),
    ],
)
def test_wrong_keys_and_values_say_where(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert message in caught.value.what
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == (str(tmp_path / "lakecat.yaml"), line)


def test_all_wrong_keys_are_told_at_once_in_their_order(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "lakes: x\nretention:\n  age: never\nenginee: y\n")
    lines = caught.value.what.splitlines()
    assert len(lines) == 3
    assert "lakes" in lines[0]
    assert ":3:" in lines[1]
    assert ":4:" in lines[2]


def test_no_project_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no project here") as caught:
        load_settings(tmp_path, environ={})
    assert caught.value.next_command == "lakecat init"


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lakecat.yaml").write_bytes(b"lake: x\nproject: \xff\n")
    with pytest.raises(ConfigError, match="UTF-8") as caught:
        load_settings(tmp_path, environ={})
    assert caught.value.where is not None
    assert caught.value.where.line == 2


def test_a_file_of_megabytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lakecat.yaml").write_text("#" * 2_000_000)
    with pytest.raises(ConfigError, match="larger"):
        load_settings(tmp_path, environ={})
