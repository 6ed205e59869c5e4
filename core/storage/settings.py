"""Where data lives and what the process may use: environment variables with the prefix MASKWRIGHT_."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of this process, read once from the environment."""

    model_config = SettingsConfigDict(env_prefix="MASKWRIGHT_", extra="ignore")

    home: Path = Path(".maskwright")
    """All local data: database, blobs, keys, logs, the worker's lock."""

    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in the home folder."""

    blobs: str = ""
    """Root of photos, masks and checkpoints: a folder or s3://bucket/prefix; empty means the home folder."""

    threads: int = 0
    """CPU threads for a training; 0 means all cores."""

    def resolved_database_url(self) -> str:
        """Give the SQLAlchemy URL; a bare postgresql:// is taken as psycopg 3."""
        if not self.database_url:
            return f"sqlite:///{self.home.resolve() / 'maskwright.sqlite'}"
        return self.database_url.replace("postgresql://", "postgresql+psycopg://", 1)

    def resolved_blobs(self) -> str:
        """Give the root of the blob store."""
        return self.blobs or str(self.home.resolve() / "blobs")
