"""Files of weights that a user brings, for trainings to start from: kept by their hash, never opened here."""

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from core.domain.errors import FormatError, NotFound, StorageError
from core.domain.training import TrainingConfig
from core.services.home import Store
from core.storage.runs import WEIGHTS, weights_key

MAX_BYTES = 2 * 10**9
MAX_NAME = 200

# torch.save before 1.6: a pickle that begins with this number. Source: torch/serialization.py, MAGIC_NUMBER.
_OLD_TORCH = b"\x80\x02\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
_MAX_HEADER_BYTES = 100_000_000  # Source: safetensors, MAX_HEADER_SIZE
_PART = 1 << 20


@dataclass(frozen=True)
class Kept:
    """A file of weights in the blob store; ``name`` is what the user called it, a label and no path."""

    sha256: str
    name: str
    bytes: int


def keep(store: Store, name: str, source: bytes | Path) -> Kept:
    """Keep a state dict, as torch or safetensors wrote it; the same bytes twice are one file.

    Whether it is of the network that is to start from it shows in the training: nothing is unpickled here.

    Args:
        name: of the user's file; the newest one counts.
        source: its content, or a file, which stays where it is.

    Raises:
        FormatError: it is larger than MAX_BYTES, or no such file.
        OutOfReach, StorageError: it cannot be kept.
    """
    label = PurePosixPath(name.replace("\\", "/")).name[:MAX_NAME] or "weights"
    with _as_file(store, source, label) as path:
        with path.open("rb") as file:
            size = _checked_size(file, label)
            _require_weights(file, size, label)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        kept = Kept(sha256, label, size)
        if not store.blobs.exists(weights_key(sha256)):
            store.blobs.put_file(weights_key(sha256), path)
        store.blobs.put(f"{weights_key(sha256)}.json", json.dumps(asdict(kept)).encode())
    return kept


def list_of(store: Store) -> list[Kept]:
    """List the files of weights, the one that was added last first."""
    written = [(at, key) for key, at in store.blobs.list(WEIGHTS) if key.endswith(".json")]
    return [Kept(**json.loads(store.blobs.get(key))) for _, key in sorted(written, reverse=True)]


def title(store: Store, sha256: str) -> str:
    """Give the name of a file of weights; where it is not there any more, the beginning of its hash."""
    try:
        return str(json.loads(store.blobs.get(f"{weights_key(sha256)}.json"))["name"])
    except NotFound:
        return f"{sha256[:8]}…"


def require(store: Store, config: TrainingConfig) -> None:
    """Check, before anything is queued, that the weights that a configuration starts from are there.

    Raises:
        FormatError: ``start_weights`` is no SHA-256.
        NotFound: there is no such file.
    """
    if not config.start_weights:
        return
    if not re.fullmatch("[0-9a-f]{64}", config.start_weights):
        raise FormatError(
            "start_weights must be the SHA-256 of a file of weights that was added, in 64 digits, not "
            f"“{config.start_weights[:80]}”. On the command line: train --weights FILE."
        )
    if not store.blobs.exists(weights_key(config.start_weights)):
        raise NotFound(
            f"There are no weights {config.start_weights[:8]}… in the file store. Add their file first."
        )


@contextmanager
def _as_file(store: Store, source: bytes | Path, label: str) -> Generator[Path]:
    """Give a file of our own with the content, which may be moved away."""
    scratch = store.home / "scratch"
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                _checked_size(file, label)
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="weights-", dir=scratch) as folder:
            path = Path(folder) / "weights"
            if isinstance(source, Path):
                shutil.copyfile(source, path)
            else:
                path.write_bytes(source)
            yield path
    except OSError as error:
        raise StorageError(f"{label} could not be kept ({error.strerror or error}).") from error


def _checked_size(file: BinaryIO, label: str) -> int:
    size = file.seek(0, 2)
    if size > MAX_BYTES:
        raise FormatError(
            f"{label} has {size / 1e9:.1f} GB; weights of up to {MAX_BYTES / 1e9:g} GB are taken. Save the "
            "model's state_dict() alone, without the optimiser's."
        )
    return size


def _require_weights(file: BinaryIO, size: int, label: str) -> None:
    file.seek(0)
    head = file.read(len(_OLD_TORCH))
    if head == _OLD_TORCH or _is_safetensors(head, size) or _is_torch_archive(file, head):
        return
    raise FormatError(
        f"{label} is no file of weights, or not all of it. Save the model's state_dict() by torch.save "
        "(.pt, .pth), or as safetensors."
    )


def _is_safetensors(head: bytes, size: int) -> bool:
    """Tell by its beginning: the length of a JSON header in eight bytes, and the header's brace."""
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and length <= min(_MAX_HEADER_BYTES, size - 8)


def _is_torch_archive(file: BinaryIO, head: bytes) -> bool:
    """Tell by its list of contents: a zip with the pickle of a torch file, which is not opened."""
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
        # torch stores plainly; what is packed may unpack to more than there is memory.
        is_plain = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
        is_small = sum(entry.file_size for entry in entries) <= MAX_BYTES
        return is_plain and is_small and any(PurePosixPath(e.filename).name == "data.pkl" for e in entries)
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
