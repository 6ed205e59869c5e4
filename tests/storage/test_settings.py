"""Settings from the environment and from the file that it names."""

import os
from pathlib import Path

import pytest

from core.domain.errors import FormatError
from core.storage.blobs import Blobs
from core.storage.settings import Settings
from tests.storage.servers import S3, s3_server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's own, and none left behind."""
    for name in ("HOME", "DATABASE_URL", "BLOBS", "THREADS", "CACHE_GB", "ENV_FILE", "HOST"):
        monkeypatch.setenv(f"MASKWRIGHT_{name}", "")  # so that it is put back whoever sets it
        monkeypatch.delenv(f"MASKWRIGHT_{name}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("MASKWRIGHT_DATABASE_URL", "postgresql://me@db/x")
    monkeypatch.setenv("MASKWRIGHT_BLOBS", "s3://bucket/prefix")

    read = Settings()

    assert read.resolved_database_url() == "postgresql+psycopg://me@db/x"
    assert read.resolved_blobs() == "s3://bucket/prefix"
    assert Settings(database_url="", blobs="").resolved_blobs() == str(tmp_path / "blobs")


def test_relative_paths_mean_the_same_wherever_the_process_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    read = Settings(home="data", blobs="../files", database_url="sqlite:///rows.sqlite")

    monkeypatch.chdir("/")

    assert read.home == tmp_path / "data"
    assert read.resolved_blobs() == str(tmp_path.parent / "files")
    assert read.resolved_database_url() == f"sqlite:///{tmp_path}/rows.sqlite"
    assert Settings(home=read.home).resolved_database_url() == f"sqlite:///{tmp_path}/data/maskwright.sqlite"


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgres://me@db/x", "postgresql+psycopg://me@db/x"),
        ("postgresql+psycopg://me@db/x", "postgresql+psycopg://me@db/x"),
        ("sqlite:////rows.sqlite", "sqlite:////rows.sqlite"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_an_address_of_a_database_is_taken_as_it_is_meant(url: str, meant: str) -> None:
    assert Settings(database_url=url).resolved_database_url() == meant


def test_a_folder_may_be_written_as_an_address() -> None:
    assert Settings(blobs="file:///mnt/blobs").resolved_blobs() == "/mnt/blobs"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CACHE_GB", "plenty", "MASKWRIGHT_CACHE_GB: .*number"),
        ("CACHE_GB", "-1", "MASKWRIGHT_CACHE_GB: .*greater than or equal to 0"),
        ("BLOBS", "ftp://server/x", "MASKWRIGHT_BLOBS: must be a folder or s3://bucket/prefix"),
        ("ENV_FILE", "/nowhere/secrets.env", "MASKWRIGHT_ENV_FILE: /nowhere/secrets.env cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"MASKWRIGHT_{name}", value)

    with pytest.raises(FormatError, match=says):
        Settings()


def test_a_file_holds_what_must_not_be_on_a_command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secrets.env").write_text(
        "# of the cluster\n"
        "MASKWRIGHT_DATABASE_URL='postgresql://me:pa${HOME}ss@db/x'\n"
        "MASKWRIGHT_BLOBS=s3://from-the-file\n"
        "MASKWRIGHT_HOST=gpu-1\n"
        "export AWS_SECRET_ACCESS_KEY=hush\n"
        "PATH=/nowhere\n"
    )
    monkeypatch.setenv("MASKWRIGHT_ENV_FILE", "secrets.env")
    monkeypatch.setenv("MASKWRIGHT_BLOBS", "s3://from-the-environment")
    monkeypatch.chdir(tmp_path)

    read = Settings()

    assert read.resolved_database_url() == "postgresql+psycopg://me:pa${HOME}ss@db/x"
    assert read.resolved_blobs() == "s3://from-the-environment"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "hush"
    assert os.environ["MASKWRIGHT_HOST"] == "gpu-1"
    assert os.environ["MASKWRIGHT_ENV_FILE"] == str(tmp_path / "secrets.env")  # children work elsewhere
    assert os.environ["PATH"] != "/nowhere"


@pytest.mark.integration
def test_a_file_may_say_where_the_s3_store_is_and_its_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import s3fs

    with s3_server(monkeypatch) as server:
        url = server.make_bucket()
        _move_to_file(server, monkeypatch, tmp_path / "secrets.env")
        s3fs.S3FileSystem.clear_instance_cache()

        blobs = Blobs(Settings(blobs=url).resolved_blobs(), tmp_path / "cache")
        blobs.put("x", b"1")

        assert blobs.get("x") == b"1"


def _move_to_file(server: S3, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let only the file say what the environment said until now."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")
    path.write_text("".join(f"{name}={os.environ[name]}\n" for name in names))
    for name in names:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MASKWRIGHT_ENV_FILE", str(path))
