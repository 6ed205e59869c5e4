"""Where data lives and what the process may use: environment variables with the prefix MASKWRIGHT_.

MASKWRIGHT_ENV_FILE names a file with more of them, one ``NAME=value`` a line, so that passwords need not
be on a command line or in a cluster's job: its MASKWRIGHT_ and AWS_ variables are put into the process's
environment where that does not have them already. AWS_ENDPOINT_URL is where an S3 store answers that is
not Amazon's (http://minio:9000); AWS_REQUEST_CHECKSUM_CALCULATION=when_required is for those that do not
know Amazon's newer checksums.
"""

import functools
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.domain.errors import FormatError

ENV_FILE = "MASKWRIGHT_ENV_FILE"
PREFIXES = ("MASKWRIGHT_", "AWS_")
_SQLITE_FILE = "sqlite:///"


def _absolute_path(path: Path) -> Path:
    return path.expanduser().resolve()


def _absolute_blobs(blobs: str) -> str:
    """Make a folder absolute: a process started later may have another working folder."""
    if not blobs or blobs.startswith("s3://"):
        return blobs
    path = blobs.removeprefix("file://")
    if "://" in path:
        raise ValueError(f"must be a folder or s3://bucket/prefix, not “{blobs}”")
    return str(_absolute_path(Path(path)))


def _absolute_database(url: str) -> str:
    """Make the path of an SQLite file absolute, and a bare postgresql:// one for psycopg 3."""
    name, _, path = url.partition(_SQLITE_FILE)
    if not name and path and not path.startswith((":memory:", "file:")):
        return f"{_SQLITE_FILE}{_absolute_path(Path(path))}"
    for bare in ("postgresql://", "postgres://"):
        if url.startswith(bare):
            return url.replace(bare, "postgresql+psycopg://", 1)
    return url


def _dashboard(address: str) -> str:
    """Check the address of a Ray cluster; Ray's own ray:// addresses speak no HTTP."""
    parts = urlsplit(address)
    is_plain = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if address and not (is_plain and parts.port != 0):
        raise ValueError("must be where the cluster's dashboard answers, such as http://host:8265")
    return address


def _machines(text: str) -> str:
    if text and not re.fullmatch(r"\d{1,4}x\d{1,2}", text):
        raise ValueError("must be machines x GPUs of each, such as 4x8")
    return text


def _absolute_file(name: str) -> str:
    return str(_absolute_path(Path(name))) if name else ""


class Settings(BaseSettings):
    """Settings of this process, read from the environment; relative paths are made absolute at once.

    Raises:
        FormatError: a value is not of its kind, or the file of MASKWRIGHT_ENV_FILE cannot be read.
    """

    model_config = SettingsConfigDict(env_prefix="MASKWRIGHT_", extra="ignore")

    home: Annotated[Path, AfterValidator(_absolute_path)] = Path(".maskwright")
    """All local data: database, blobs, keys, logs, the worker's lock."""

    database_url: Annotated[str, AfterValidator(_absolute_database)] = ""
    """SQLAlchemy URL; empty means SQLite in the home folder."""

    blobs: Annotated[str, AfterValidator(_absolute_blobs)] = ""
    """Root of photos, masks and checkpoints: a folder or s3://bucket/prefix; empty means the home folder."""

    cache_gb: float = Field(default=20, ge=0)
    """Disk space, in 10^9 bytes, for copies of an S3 store's files, and as much for the photos prepared for
    trainings; those used longest ago make room."""

    threads: int = 0
    """CPU threads for a training; 0 means all cores."""

    gpus: str = ""
    """The GPUs a worker may use: their number, or their ids; empty means all that the machine has."""

    ray_address: Annotated[str, AfterValidator(_dashboard)] = ""
    """Where a Ray cluster's dashboard answers (http://host:8265); runs are submitted to it as jobs."""

    ray_python: str = ""
    """The Python of the cluster's machines that has Maskwright's packages; empty means this one's path."""

    ray_root: str = ""
    """Maskwright's folder on the cluster's machines; empty means this one's path."""

    ray_grows_to: Annotated[str, AfterValidator(_machines)] = ""
    """What a cluster that adds machines when they are needed grows to: machines x GPUs of each ("4x8")."""

    sam_encoder: Annotated[str, AfterValidator(_absolute_file)] = ""
    """An ONNX file of SAM's or SAM 2's image encoder; with the decoder's it makes the canvas's click tool."""

    sam_decoder: Annotated[str, AfterValidator(_absolute_file)] = ""
    """The ONNX file of the prompt decoder that belongs to it."""

    def __init__(self, **values: Any) -> None:
        """Read the environment; ``values`` stand above it."""
        read_env_file()
        try:
            super().__init__(**values)
        except ValidationError as error:
            fault = error.errors()[0]
            name = f"MASKWRIGHT_{'_'.join(map(str, fault['loc'])).upper()}"
            raise FormatError(f"{name}: {fault['msg'].removeprefix('Value error, ')}.") from error

    def resolved_database_url(self) -> str:
        """Give the SQLAlchemy URL."""
        return self.database_url or f"{_SQLITE_FILE}{self.home / 'maskwright.sqlite'}"

    def resolved_blobs(self) -> str:
        """Give the root of the blob store: an absolute folder or s3://bucket/prefix."""
        return self.blobs or str(self.home / "blobs")


def read_env_file() -> None:
    """Put the variables of MASKWRIGHT_ENV_FILE into the environment where it does not have them.

    Raises:
        FormatError: there is no such file, or it is no text.
    """
    if name := os.environ.get(ENV_FILE):
        os.environ[ENV_FILE] = str(_absolute_path(Path(name)))
        for key, value in _read_env_file(os.environ[ENV_FILE]).items():
            os.environ.setdefault(key, value)


@functools.cache
def _read_env_file(name: str) -> Mapping[str, str]:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise FormatError(f"{ENV_FILE}: {name} cannot be read ({error}).") from error
    read = dotenv_values(stream=io.StringIO(text), interpolate=False)  # a password may hold a $
    return {key: value for key, value in read.items() if key.startswith(PREFIXES) and value is not None}
