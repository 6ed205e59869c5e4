"""Image files become pixels, or are refused with a sentence."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from core.domain.errors import ImageError
from core.imaging.reading import (
    content_sha256,
    decode_grey,
    decode_rgb,
    perceptual_hash,
    prepare_photo,
)

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF"]
ORIENTATION = 0x0112


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture that looks different in each corner."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    rgb = np.stack([x * 230, y * 230, (1 - x) * (1 - y) * 230], axis=2)
    return Image.fromarray(rgb.astype(np.uint8))


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def with_orientation(image: Image.Image, orientation: int, format_name: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(image, format_name, exif=exif.tobytes())


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def huge_png(side: int) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100_000)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_format_gives_the_same_picture(format_name: str) -> None:
    rgb = decode_rgb(encoded(scene(), format_name))

    assert rgb.shape == (64, 96, 3)
    assert rgb.dtype == np.uint8
    assert difference(rgb, np.asarray(scene())) < 8


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation: int, format_name: str) -> None:
    upright = scene()
    exif_image = Image.open(io.BytesIO(with_orientation(upright, orientation, "PNG")))
    expected = np.asarray(ImageOps.exif_transpose(exif_image).convert("RGB"))

    rgb = decode_rgb(with_orientation(upright, orientation, format_name))

    assert rgb.shape == expected.shape
    assert difference(rgb, expected) < 8


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_a_meaningless_orientation_is_ignored(orientation: int) -> None:
    assert decode_rgb(with_orientation(scene(), orientation)).shape == (64, 96, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr", "I;16", "I", "F"])
def test_every_pixel_mode_becomes_rgb(mode: str) -> None:
    format_name = "TIFF" if mode in ("CMYK", "YCbCr", "I", "F") else "PNG"
    image = scene().convert("L").convert(mode) if mode in ("I", "F", "I;16") else scene().convert(mode)

    rgb = decode_rgb(encoded(image, format_name))

    assert rgb.shape == (64, 96, 3)
    assert rgb.max() > 0


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)

    rgb = decode_rgb(encoded(Image.fromarray(values)))

    np.testing.assert_array_equal(rgb[0, :, 0], np.arange(256))


def test_a_cmyk_jpeg_is_converted() -> None:
    rgb = decode_rgb(encoded(Image.new("RGB", (32, 32), (200, 30, 30)).convert("CMYK"), "JPEG"))

    assert difference(rgb, np.full((32, 32, 3), (200, 30, 30), np.uint8)) < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_turn_white(mode: str) -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image = clear if mode == "RGBA" else clear.convert(mode)
    options = {"transparency": 0} if mode == "P" else {}

    rgb = decode_rgb(encoded(image, "PNG", **options))

    assert (rgb == 255).all()


@pytest.mark.parametrize("needed", [1, 40, 100, 128, 150, 200, 256, 300, 5000])
def test_a_reduced_decode_keeps_the_short_side_and_the_shape(needed: int) -> None:
    data = encoded(scene(600, 400), "JPEG", quality=95)

    rgb = decode_rgb(data, at_least=needed)

    height, width = rgb.shape[:2]
    assert height >= min(needed, 400)
    assert abs(width / height - 1.5) < 0.02
    assert difference(rgb, cv2.resize(np.asarray(scene(600, 400)), (width, height))) < 6


def test_a_reduced_decode_is_reduced_and_upright() -> None:
    data = with_orientation(scene(800, 400), 6)

    assert decode_rgb(data, at_least=100).shape == (200, 100, 3)


def test_no_reduction_without_being_asked() -> None:
    assert decode_rgb(encoded(scene(600, 400), "JPEG")).shape == (400, 600, 3)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ImageError, match="empty"):
        prepare_photo(b"")


@pytest.mark.parametrize(
    "data", [b"hello", b"%PDF-1.7 ...", b"\xff\xd8\xff", b"<svg xmlns='x'/>", b"\0" * 5000]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="no image"):
        prepare_photo(data)


@pytest.mark.parametrize("side", [12_500, 15_000, 30_000, 100_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(ImageError, match="150 megapixels"):
        prepare_photo(huge_png(side))


def test_a_file_over_the_size_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.imaging.reading.MAX_FILE_BYTES", 1000)

    with pytest.raises(ImageError, match="larger than"):
        prepare_photo(encoded(scene(), "BMP"))


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "TIFF", "WEBP"])
def test_an_animated_file_is_refused(format_name: str) -> None:
    frames = [scene(), ImageOps.mirror(scene())]
    data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:])

    with pytest.raises(ImageError, match="animated or has several pages"):
        prepare_photo(data)


def test_of_a_phones_double_photo_the_first_is_taken() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[ImageOps.mirror(scene())])

    photo = prepare_photo(data)

    assert photo.media_type == "image/jpeg"
    assert photo.full is None
    assert difference(decode_rgb(data), np.asarray(scene())) < 8


def test_the_main_picture_of_a_heic_file_is_taken() -> None:
    file = pillow_heif.from_pillow(scene())
    file.add_from_pillow(ImageOps.mirror(scene()))
    data = io.BytesIO()
    file.save(data, primary_index=0)

    assert difference(decode_rgb(data.getvalue()), np.asarray(scene())) < 8


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(format_name: str, share: float) -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    data = encoded(Image.fromarray(noisy), format_name)

    with pytest.raises(ImageError):
        prepare_photo(data[: int(len(data) * share)])


def test_a_truncated_real_photo_is_refused_wherever_it_ends(shared_data: Path) -> None:
    data = next((shared_data / "car_damage" / "train").glob("*.jpg")).read_bytes()
    cuts = [len(data) * part // 25 for part in range(25)] + [len(data) - tail for tail in (1, 2, 3, 10, 60)]

    for cut in cuts:
        with pytest.raises(ImageError):
            prepare_photo(data[:cut])
    assert prepare_photo(data).size_wh == (640, 640)


def test_flipped_bytes_are_decoded_or_refused_and_nothing_else() -> None:
    rng = np.random.default_rng(1)
    for format_name in FORMATS:
        original = encoded(scene(), format_name)
        for _ in range(40):
            data = bytearray(original)
            for position in rng.integers(0, len(data), 4):
                data[position] = int(rng.integers(256))
            try:
                rgb = decode_rgb(bytes(data))
            except ImageError:
                continue
            assert rgb.ndim == 3


@pytest.mark.parametrize(
    ("mode", "format_name"), [("RGB", "JPEG"), ("L", "JPEG"), ("RGB", "PNG"), ("L", "PNG")]
)
def test_a_small_plain_photo_needs_no_other_version(mode: str, format_name: str) -> None:
    photo = prepare_photo(encoded(scene(640, 480).convert(mode), format_name))

    assert photo.full is None
    assert photo.view is None
    assert photo.size_wh == (640, 480)
    assert decode_rgb(photo.thumbnail).shape == (240, 320, 3)
    assert photo.media_type == f"image/{format_name.lower()}"


def test_a_large_plain_photo_gets_a_view() -> None:
    photo = prepare_photo(encoded(scene(3000, 1500), "JPEG"))

    assert photo.full is None
    assert photo.view is not None
    assert decode_rgb(photo.view).shape == (1024, 2048, 3)


def test_a_rotated_photo_gets_an_upright_version_without_exif() -> None:
    photo = prepare_photo(with_orientation(scene(640, 480), 6))

    assert photo.size_wh == (480, 640)
    for version in (photo.full, photo.view, photo.thumbnail):
        assert version is not None
        with Image.open(io.BytesIO(version)) as image:
            assert image.size[0] < image.size[1]
            assert not image.getexif()


@pytest.mark.parametrize("format_name", ["WEBP", "TIFF", "HEIF", "BMP"])
def test_what_not_every_browser_shows_gets_a_jpeg(format_name: str) -> None:
    photo = prepare_photo(encoded(scene(), format_name))

    assert photo.full is not None
    assert photo.view is not None
    assert difference(decode_rgb(photo.full), np.asarray(scene())) < 8


def test_a_sixteen_bit_png_gets_a_jpeg() -> None:
    deep = cv2.imencode(".png", np.asarray(scene()).astype(np.uint16) * 257)[1].tobytes()

    assert prepare_photo(deep).full is not None


def test_a_tiny_photo_is_not_enlarged() -> None:
    photo = prepare_photo(encoded(Image.new("RGB", (1, 1), "red")))

    assert photo.size_wh == (1, 1)
    assert decode_rgb(photo.thumbnail).shape == (1, 1, 3)


def test_the_hash_is_alike_for_alike_photos_only(shared_data: Path) -> None:
    paths = sorted((shared_data / "car_parts").rglob("*.jpg"))[:12]
    hashes = [int(prepare_photo(path.read_bytes()).phash, 16) for path in paths]
    worse = [
        int(
            prepare_photo(
                encoded(Image.open(path).convert("RGB").resize((300, 280)), "JPEG", quality=40)
            ).phash,
            16,
        )
        for path in paths
    ]

    assert all((a ^ b).bit_count() <= 6 for a, b in zip(hashes, worse, strict=True))
    assert min((a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]) > 6


def test_a_hash_is_sixteen_hex_digits_and_zero_for_a_flat_image() -> None:
    assert len(perceptual_hash(np.asarray(scene()))) == 16
    assert perceptual_hash(np.full((50, 60, 3), 255, np.uint8))[1:] == "0" * 15


def test_palette_masks_give_their_indices() -> None:
    indices = np.arange(24, dtype=np.uint8).reshape(4, 6)
    image = Image.fromarray(indices)
    image.putpalette(np.random.default_rng(0).integers(0, 255, 768, np.uint8).tobytes())

    np.testing.assert_array_equal(decode_grey(encoded(image)), indices)


def test_colour_masks_give_their_largest_channel() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[0, 0] = (3, 200, 7, 255)
    rgba[0, 1] = (90, 90, 90, 0)

    assert decode_grey(encoded(Image.fromarray(rgba))).tolist() == [[200, 0], [0, 0]]
    assert decode_grey(encoded(Image.fromarray(rgba[..., :3].copy()))).tolist() == [[200, 90], [0, 0]]


def test_sixteen_bit_masks_keep_small_values() -> None:
    indices = np.array([[0, 1], [2, 200]], np.uint16)

    assert decode_grey(encoded(Image.fromarray(indices))).tolist() == [[0, 1], [2, 200]]
    assert decode_grey(encoded(Image.fromarray(indices * 257))).tolist() == [[0, 1], [2, 200]]


def test_black_and_white_masks_are_0_and_255() -> None:
    image = Image.fromarray(np.array([[True, False]]))

    assert decode_grey(encoded(image)).tolist() == [[255, 0]]


def test_the_fingerprint_is_sha256() -> None:
    assert content_sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
