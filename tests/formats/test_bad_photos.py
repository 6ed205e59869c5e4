"""Files that are no usable photo are refused with a sentence; odd ones are taken; nothing else is lost."""

import io
import os
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.domain.images import ImageFilter
from core.formats.ingest import import_path
from core.formats.source import read_photo
from core.imaging.limits import MAX_FILE_BYTES
from core.storage import images
from core.storage.store import Store
from tests.formats.builders import photo, put


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG whose header promises 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def animated() -> bytes:
    frames = [Image.fromarray(np.full((8, 8), v, np.uint8)) for v in (0, 255)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("cut.jpg", photo(1, (400, 300))[:20_000], "damaged or incomplete"),
        ("cut.png", photo(1, (400, 300), "PNG")[:20_000], "damaged or incomplete"),
        ("text.jpg", b"this is no photo at all", "no image"),
        ("empty.jpg", b"", "empty"),
        ("bomb.png", bomb(), "megapixels"),
        ("moving.gif", animated(), "animated"),
        ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
    ],
)
def test_a_bad_photo_names_its_fault_and_loses_nothing_else(
    store: Store, project_id: str, folder: Path, name: str, content: bytes, fault: str
) -> None:
    put(folder / name, content)
    put(folder / "good.jpg", photo())

    report = import_path(store, project_id, folder)

    assert [image.name for image in images.list_page(store, project_id, ImageFilter())] == ["good.jpg"]
    (refusal,) = report.refused
    assert refusal.file == name
    assert fault in refusal.reason
    assert refusal.reason.endswith(".")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cmyk.jpg", encoded(Image.new("CMYK", (40, 30), (0, 255, 255, 0)), "JPEG")),
        ("deep.png", encoded(Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "PNG")),
        ("palette.png", encoded(Image.new("RGB", (40, 30), "red").quantize(4), "PNG")),
        ("clear.png", encoded(Image.new("RGBA", (40, 30), (255, 0, 0, 128)), "PNG")),
        ("still.gif", encoded(Image.new("P", (40, 30)), "GIF")),
        ("small.webp", photo(kind="WEBP")),
        ("small.tif", photo(kind="TIFF")),
        ("small.bmp", photo(kind="BMP")),
        ("small.heic", photo(kind="HEIF")),
    ],
)
def test_an_odd_photo_is_taken_and_can_be_shown(
    store: Store, project_id: str, folder: Path, name: str, content: bytes
) -> None:
    put(folder / name, content)

    report = import_path(store, project_id, folder)

    (image,) = images.list_page(store, project_id, ImageFilter())
    key, media_type = images.rendition(store, image.id, "full")
    shown = Image.open(io.BytesIO(store.blobs.get(key)))
    assert report.refused == ()
    assert shown.size == image.size_wh == (40, 30)
    assert media_type in ("image/jpeg", "image/png")


def test_a_file_above_the_limit_is_refused_before_it_is_read(
    store: Store, project_id: str, folder: Path
) -> None:
    path = folder / "huge.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    report = import_path(store, project_id, folder)

    assert "MB; a photo may have" in report.refused[0].reason
    with pytest.raises(Exception, match="MB"):
        read_photo(path)


FULL_DISK = """
    import resource, signal, sys
    from pathlib import Path
    from core.domain.errors import StorageError
    from core.domain.images import ImageFilter
    from core.formats.ingest import import_path
    from core.storage import images, projects
    from core.storage.settings import Settings
    from core.storage.store import open_store

    home, source, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    store = open_store(Settings(home=home))
    project_id = projects.create(store, "cars").id
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        import_path(store, project_id, source)
    except StorageError as error:
        sys.stdout.write(str(error) + "\\n")
    kept = images.list_page(store, project_id, ImageFilter())
    for image in kept:
        assert len(store.blobs.get(images.photo_key(image.sha256, "original"))) > 0
    sys.stdout.write(f"{len(kept)} kept\\n")
"""


def import_on_full_disk(home: Path, source: Path, limit: int = 0) -> list[str]:
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(home), str(source), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


def test_a_disk_that_takes_no_more_stops_the_import_and_keeps_what_was_complete(
    tmp_path: Path, folder: Path
) -> None:
    for number in range(20):
        put(folder / f"{number:02d}.jpg", photo(number))
    put(folder / "90.png", photo(90, (900, 900), "PNG"))
    put(folder / "91.jpg", photo(91))
    limit = 2_000_000
    assert (folder / "90.png").stat().st_size > limit

    sentence, kept = import_on_full_disk(tmp_path / "home", folder, limit)

    assert sentence.startswith("The import stopped after 20 of 22 photos, which are kept with their labels: ")
    assert "File too large" in sentence
    assert kept == "20 kept"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_the_import_and_keeps_what_was_complete(tmp_path: Path, folder: Path) -> None:
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(home)], check=False)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    for number in range(60):
        put(folder / f"{number:02d}.png", photo(number, (300, 300), "PNG"))

    try:
        sentence, kept = import_on_full_disk(home, folder)
    finally:
        subprocess.run(["umount", str(home)], check=True)

    count = int(kept.split()[0])
    assert 0 < count < 60
    assert sentence.startswith(f"The import stopped after {count} of 60 photos, which are kept")
