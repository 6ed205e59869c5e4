"""Open what a user points at: a folder, a zip, a photo. A zip is unpacked as if it were hostile."""

import errno
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

from core.domain.errors import FormatError, StorageError
from core.formats.source import Refusal, is_clutter, is_photo, list_files, shown
from core.storage.blobs import free_bytes

MAX_UNPACKED_BYTES = 20 * 1024**3
MAX_MEMBERS = 200_000
MAX_RATIO = 200
RATIO_MATTERS_FROM_BYTES = 50 * 1024**2  # a blank mask of a large photo packs better than any bomb
BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class OpenedSource:
    """A folder to read, and the zips and members of zips that were not unpacked."""

    folder: Path
    refused: tuple[Refusal, ...] = ()


@contextmanager
def open_source(
    path: Path, scratch: Path | None = None, *, with_zips: bool = False
) -> Generator[OpenedSource]:
    """Give a folder with the content of a folder, a zip or a single photo.

    Args:
        path: what the user points at.
        scratch: where to unpack; None is the system's folder for temporary files.
        with_zips: unpack a folder's zips as well, each into a folder of its name beside the other files.
            A damaged one is refused alone. Zips inside of zips stay packed.

    Raises:
        FormatError: there is nothing at ``path``, or nothing that can be opened.
        StorageError: there is no room to unpack a zip.
    """
    if path.is_dir() and not (with_zips and any(map(_is_zip, list_files(path)))):
        yield OpenedSource(path)
        return
    if not path.exists():
        raise FormatError(f"{path} does not exist.")
    is_whole = is_photo(PurePosixPath(path.name)) or path.suffix.lower() == ".npz"  # though that is a zip
    if not path.is_dir() and not is_whole and not _is_zip(path):
        raise FormatError(f"{path.name} is neither a folder, a zip nor a photo. Point at one of these.")
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="import-", dir=scratch) as name:
        folder = Path(name)
        if path.is_dir():
            yield OpenedSource(folder, _unpack_beside(path, folder))
        elif is_whole:
            (folder / path.name).symlink_to(path.resolve())
            yield OpenedSource(folder)
        else:
            yield OpenedSource(folder, unpack(path, folder))


def _is_zip(path: PurePath) -> bool:
    return path.suffix.lower() == ".zip"


def _unpack_beside(source: Path, folder: Path) -> tuple[Refusal, ...]:
    """Fill an empty folder with links to a folder's files, and what its zips hold in place of them."""
    files = list_files(source)
    for file in files:
        if not _is_zip(file):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).symlink_to((source / file).resolve())
    refused: list[Refusal] = []
    for file in filter(_is_zip, files):
        target = _free(folder / file.with_suffix(""))
        target.mkdir(parents=True)
        try:
            members = unpack(source / file, target)
            refused += (Refusal(f"{shown(file)}/{member.file}", member.reason) for member in members)
        except FormatError as error:
            refused.append(Refusal(shown(file), str(error)))
    if refused and not list_files(folder):
        raise FormatError(f"Nothing could be unpacked. {refused[0].file}: {refused[0].reason}")
    return tuple(refused)


def _free(path: Path) -> Path:
    numbered = (path.with_name(f"{path.name}_{number}") for number in count(2))
    return next(candidate for candidate in chain([path], numbered) if not candidate.exists())


def unpack(archive: Path, folder: Path) -> tuple[Refusal, ...]:
    """Unpack a zip into an empty folder, leaving out what is unsafe or damaged.

    Returns:
        The members that were left out: links, encrypted ones, paths that lead out of the folder,
        bombs, damaged ones, and all that lies beyond 20 GB or 200,000 files.

    Raises:
        FormatError: it is no zip.
        StorageError: the disk is full.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack_members(opened, folder)
    except (zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise FormatError(f"{archive.name} is not a zip file, or it is damaged: {error}.") from error


def _unpack_members(opened: zipfile.ZipFile, folder: Path) -> tuple[Refusal, ...]:
    members = [m for m in opened.infolist() if not m.is_dir() and not is_clutter(_path(m))]
    wanted = min(sum(m.file_size for m in members), MAX_UNPACKED_BYTES)
    if wanted > free_bytes(folder):
        raise StorageError(f"Unpacking needs {wanted / 1e9:.1f} GB; there is less on the disk. Free some.")
    refused: list[Refusal] = []
    unpacked_bytes = 0
    for number, member in enumerate(members):
        if number == MAX_MEMBERS or unpacked_bytes + member.file_size > MAX_UNPACKED_BYTES:
            reason = f"The zip holds more than {MAX_MEMBERS:,} files or 20 GB; the rest of it was left out."
            refused.append(Refusal(shown(member.filename), reason))
            break
        fault = _fault(member) or _written(opened, member, folder)
        if fault:
            refused.append(Refusal(shown(member.filename), fault))
        else:
            unpacked_bytes += member.file_size
    return tuple(refused)


def _path(member: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(member.filename.replace("\\", "/"))


def _fault(member: zipfile.ZipInfo) -> str | None:
    path = _path(member)
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]:
        return "Its path leads out of the zip's folder."
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        return "It is a link or a device, not a file."
    if member.flag_bits & 0x1:
        return "It is encrypted. Pack the zip without a password."
    ratio = member.file_size / max(member.compress_size, 1)
    if member.file_size > RATIO_MATTERS_FROM_BYTES and ratio > MAX_RATIO:
        return f"It unpacks to {ratio:,.0f} times its size, which no photo does."
    return None


def _written(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> str | None:
    """Write one member; give the reason where it could not be."""
    target = folder / _path(member)
    if target.exists():
        return "The zip holds another file of this name."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as packed, target.open("wb") as file:
            _copy(packed, file, member.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        target.unlink(missing_ok=True)
        return f"It is damaged or packed in an unknown way: {error}."
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageError("The disk is full; the zip could not be unpacked. Free some space.") from error
        return f"It could not be unpacked: {error.strerror}."
    return None


def _copy(packed: IO[bytes], file: IO[bytes], declared_bytes: int) -> None:
    # zipfile reads no further than the declared size and then checks the sum, so no member grows.
    shutil.copyfileobj(packed, file, BLOCK_BYTES)
    if file.tell() != declared_bytes:
        raise zipfile.BadZipFile("its size is not what the zip says")
