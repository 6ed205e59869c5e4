"""Bytes become pixels, under explicit limits: the one place where image files from outside are decoded.

Every refusal is an ``ImageError`` whose sentence names the fault; warnings of the decoders stay inside.
Pixels are RGB uint8 (H, W, 3), upright: the EXIF orientation is applied here, once, and nowhere else.
"""

import hashlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import cv2
import numpy as np
import pillow_heif
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from core.domain.errors import ImageError
from core.imaging.limits import MAX_FILE_BYTES, MAX_PIXELS

Pixels = NDArray[np.uint8]

VIEW_LONG_SIDE = 2048
THUMBNAIL_LONG_SIDE = 320

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "HEIF", "AVIF")
HAS_COMPANION_FRAMES = ("MPO", "HEIF")  # phones store a depth map or a burst beside the photo
EXIF_ORIENTATION = 0x0112

# What Pillow and its plugins raise on files that are damaged or made to break them.
DECODER_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
)
DAMAGED = "The file is damaged or incomplete; copy or export the photo again."

# Warning filters belong to the whole process, so only one thread at a time may change them.
_filters = threading.Lock()

pillow_heif.register_heif_opener()


@dataclass(frozen=True)
class PreparedPhoto:
    """What is kept of a photo besides its original file.

    ``size_wh`` is upright. ``full`` is an upright version at full size that every browser shows, None
    where the original already is one. ``view`` has a long side of at most 2048 px, None where the
    original serves. ``thumbnail`` has a long side of at most 320 px. All three are JPEG without EXIF.
    ``phash`` is a ``perceptual_hash``; ``media_type`` is the original's.
    """

    size_wh: tuple[int, int]
    phash: str
    media_type: str
    full: bytes | None = field(repr=False)
    view: bytes | None = field(repr=False)
    thumbnail: bytes = field(repr=False)


@dataclass(frozen=True)
class _Decoded:
    pixels: Pixels
    media_type: str
    is_displayable: bool


def prepare_photo(data: bytes) -> PreparedPhoto:
    """Check a photo by decoding it whole, and make the versions that pages show.

    Raises:
        ImageError: no image, a damaged, animated or too large one.
    """
    photo = _decode(data)
    height, width = photo.pixels.shape[:2]
    view = _scaled(photo.pixels, VIEW_LONG_SIDE)
    small = _scaled(view, THUMBNAIL_LONG_SIDE)
    has_view = view is not photo.pixels or not photo.is_displayable
    return PreparedPhoto(
        size_wh=(width, height),
        phash=perceptual_hash(small),
        media_type=photo.media_type,
        full=None if photo.is_displayable else _jpeg(photo.pixels, 95, subsampling="444"),
        view=_jpeg(view, 88) if has_view else None,
        thumbnail=_jpeg(small, 80),
    )


def decode_rgb(data: bytes, *, at_least: int | None = None) -> Pixels:
    """Decode a photo to upright RGB (H, W, 3).

    Transparent pixels turn white. 16-bit values are divided by 257, so that the type's whole range
    counts; 32-bit and float ones are stretched from their smallest to their largest value.

    Args:
        data: the file.
        at_least: the short side that is needed. A JPEG at least twice as large is decoded at an
            eighth, a quarter or another eighth's multiple up to a half, which is faster; its short
            side is then still ``at_least`` or more. The result is never enlarged or distorted.

    Raises:
        ImageError: no image, a damaged, animated or too large one.
    """
    return _decode(data, at_least).pixels


def decode_grey(data: bytes) -> Pixels:
    """Decode a mask file to the values (H, W) that its maker wrote.

    Palette images give their indices, colour images the largest of their channels (0 where fully
    transparent), 16-bit ones their values if all are below 256 and else their high bytes.

    Raises:
        ImageError: no image, a damaged, animated or too large one.
    """
    with _opened(data) as image:
        image.load()
        values = _mask_values(image)
        return np.ascontiguousarray(_upright(values, _orientation(image)))


def content_sha256(data: bytes) -> str:
    """Give the SHA-256 of a file's bytes as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(rgb: Pixels) -> str:
    """Hash what an image looks like: 64 bits as 16 hex digits; similar images differ in few bits.

    The image is reduced to 32 x 32 grey values; each bit says whether one of the 8 x 8 lowest
    frequencies of their cosine transform exceeds the median.

    Source: http://www.hackerfactor.com/blog/index.php?/archives/432-Looks-Like-It.html
    """
    reduced = cv2.resize(rgb, (32, 32), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lowest = np.round(cv2.dct(grey)[:8, :8].ravel(), 2)  # rounded: a flat image hashes to zeros
    return np.packbits(lowest > np.median(lowest[1:])).tobytes().hex()


def _decode(data: bytes, at_least: int | None = None) -> _Decoded:
    with _opened(data) as image:
        media_type = "image/jpeg" if image.format == "MPO" else Image.MIME[str(image.format)]
        is_plain_jpeg = media_type == "image/jpeg" and image.mode in ("RGB", "L")
        orientation = _orientation(image)
        is_displayable = orientation == 1 and (is_plain_jpeg or _is_plain_png(image, data))
        short_side = min(image.size)
    pixels = _jpeg_pixels(data, short_side, at_least) if is_plain_jpeg else None
    if pixels is None:
        with _opened(data) as image:
            pixels = _rgb(image)  # loads it, which turns a TIFF upright
            orientation = _orientation(image)
    upright = np.ascontiguousarray(_upright(pixels, orientation))
    return _Decoded(upright, media_type, is_displayable)


@contextmanager
def _opened(data: bytes) -> Generator[Image.Image]:
    """Open an image that is within the limits; its decoding inside the block is translated as well."""
    if not data:
        raise ImageError("The file is empty.")
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB.")
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image)
                yield image
        except Image.DecompressionBombError as error:
            raise _too_large() from error
        except UnidentifiedImageError as error:
            raise ImageError(
                "The file is no image; JPEG, PNG, WebP, HEIC, TIFF and BMP can be read."
            ) from error
        except DECODER_FAULTS as error:
            raise ImageError(DAMAGED) from error


def _check(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_large()
    if getattr(image, "n_frames", 1) > 1 and image.format not in HAS_COMPANION_FRAMES:
        raise ImageError("The file is animated or has several pages; save the one to use as a photo.")


def _too_large() -> ImageError:
    return ImageError(f"The image has more than {MAX_PIXELS // 1_000_000} megapixels; save it smaller.")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(EXIF_ORIENTATION, 1)
    except DECODER_FAULTS:  # a photo with unreadable EXIF data is still a photo
        return 1
    return value if value in range(1, 9) else 1


def _is_plain_png(image: Image.Image, data: bytes) -> bool:
    bits_per_channel = data[24]  # of the IHDR chunk, which always comes first
    has_alpha = "transparency" in image.info
    return image.format == "PNG" and image.mode in ("RGB", "L") and bits_per_channel == 8 and not has_alpha


def _jpeg_pixels(data: bytes, short_side: int, at_least: int | None) -> Pixels | None:
    """Decode by libjpeg-turbo; None where it objects, so that Pillow has the last word."""
    needed = at_least if at_least is not None and short_side >= 2 * at_least else 0
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=needed, min_width=needed)
    except (ValueError, RuntimeError):
        return None


def _rgb(image: Image.Image) -> Pixels:
    image.load()
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return _three_channels(grey)
    if image.mode in ("I", "F"):
        return _three_channels(_stretched(np.asarray(image).astype(np.float64)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        paint = image.convert("RGBA")
        white = Image.new("RGBA", paint.size, "white")
        return np.array(Image.alpha_composite(white, paint).convert("RGB"))
    return np.array(image.convert("RGB"))


def _three_channels(grey: NDArray[np.generic]) -> Pixels:
    return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)


def _stretched(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.nan_to_num(values, posinf=0, neginf=0)
    low, high = values.min(), values.max()
    return np.rint((values - low) / max(high - low, 1e-12) * 255)


def _mask_values(image: Image.Image) -> Pixels:
    if image.mode == "1":
        return np.array(image.convert("L"))
    if image.mode in ("L", "P"):
        return np.array(image)
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        return (np.clip(values, 0, 65535) >> (8 if values.max() > 255 else 0)).astype(np.uint8)
    if image.mode in ("LA", "PA", "RGBA"):
        rgba = np.asarray(image.convert("RGBA"))
        return rgba[:, :, :3].max(axis=2) * (rgba[:, :, 3] > 0)
    return np.asarray(image.convert("RGB")).max(axis=2)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation. Source: CIPA DC-008 (Exif 2.32), table 6, tag 274."""
    match orientation:
        case 2:
            return pixels[:, ::-1]
        case 3:
            return pixels[::-1, ::-1]
        case 4:
            return pixels[::-1]
        case 5:
            return pixels.swapaxes(0, 1)
        case 6:
            return np.rot90(pixels, -1)
        case 7:
            return pixels[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(pixels)
        case _:
            return pixels


def _scaled(rgb: Pixels, long_side: int) -> Pixels:
    """Reduce to a long side by averaging areas; an image that is small enough is given back itself."""
    height, width = rgb.shape[:2]
    factor = long_side / max(height, width)
    if factor >= 1:
        return rgb
    size_wh = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(rgb, size_wh, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _jpeg(rgb: Pixels, quality: int, *, subsampling: str = "420") -> bytes:
    return simplejpeg.encode_jpeg(rgb, quality, "RGB", subsampling)
