"""Copies of a remote store's files on this machine's disk; those used longest ago make room for new ones.

Its processes share a folder and need no agreement: a copy is whole or not there, and its time of change
says when it was last asked for.
"""

import hashlib
import os
import random
import time
from pathlib import Path, PurePosixPath

SCAN_SHARE = 0.01  # of the limit: the folder is looked through about once for so many new bytes
KEPT_SHARE = 0.9  # of the limit: what is left then
IN_USE_SECONDS = 60.0  # whoever was given a path has opened the file by then


def place_of(folder: Path, key: str) -> Path:
    """Give the path of a key's copy; it keeps the key's ending, and there are no folders to clean up."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return folder / digest[:2] / f"{digest[2:]}{PurePosixPath(key).suffix}"


def touch(path: Path) -> bool:
    """Note that a copy is asked for now; tell whether there is one."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def trim(folder: Path, limit_bytes: int, added_bytes: int) -> None:
    """Remove the copies used longest ago when all together are more than the limit.

    Looking through the folder takes long when it holds many, so only some calls do it, the likelier the
    more was added: no process has to remember how much the others did.
    """
    if random.random() * SCAN_SHARE * limit_bytes > added_bytes:
        return
    copies = sorted(_copies(folder))
    total = sum(size for _, size, _ in copies)
    if total <= limit_bytes:
        return
    for used_at, size, path in copies:
        if total <= KEPT_SHARE * limit_bytes or used_at > time.time() - IN_USE_SECONDS:
            return
        path.unlink(missing_ok=True)
        total -= size


def _copies(folder: Path) -> list[tuple[float, int, Path]]:
    found: list[tuple[float, int, Path]] = []
    for path in folder.rglob("*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        if path.is_file():
            found.append((status.st_mtime, status.st_size, path))
    return found
