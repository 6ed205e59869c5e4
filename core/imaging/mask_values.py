"""Mask pictures as the values their makers wrote: class numbers, or colours that stand for classes."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from core.imaging.reading import decode_grey, decode_rgb

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PALETTE = 3  # colour type of the IHDR chunk
COMPARED_AT_ONCE = 2**20  # pairs of colours, three numbers each


@dataclass(frozen=True)
class MaskValues:
    """A mask picture's values, int32 (H, W): numbers, or 0xRRGGBB where ``is_color``.

    ``palette`` gives "#rrggbb" by index for a palette PNG, whose values are its indices.
    """

    values: NDArray[np.int32]
    is_color: bool = False
    palette: tuple[str, ...] = ()


def decode_mask_values(data: bytes) -> MaskValues:
    """Decode a mask's file.

    A palette PNG gives its indices, a grey picture its values (16-bit ones exactly), a colour picture
    whose channels are equal everywhere that grey, any other its colours.

    Raises:
        ImageError: no image, a damaged, animated or too large one.
    """
    grey = decode_grey(data)  # checks all that is to be checked
    if _is_palette_png(data):
        return MaskValues(grey.astype(np.int32), palette=_png_palette(data))
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if raw is not None and raw.ndim == 2:
        exact = raw if raw.dtype == np.uint16 and raw.shape == grey.shape else grey
        return MaskValues(exact.astype(np.int32) // _widened(data))
    rgb = decode_rgb(data)
    if (rgb[:, :, 0] == rgb[:, :, 1]).all() and (rgb[:, :, 0] == rgb[:, :, 2]).all():
        return MaskValues(rgb[:, :, 0].astype(np.int32))
    channels = rgb.astype(np.int32)
    return MaskValues(channels[:, :, 0] << 16 | channels[:, :, 1] << 8 | channels[:, :, 2], is_color=True)


def hex_color(value: int) -> str:
    """Write 0xRRGGBB as "#rrggbb"."""
    return f"#{value:06x}"


def as_colors(picture: MaskValues) -> NDArray[np.int32]:
    """Give a picture's colours, 0xRRGGBB (H, W): those of its palette, or grey of its numbers' low bytes."""
    if picture.is_color:
        return picture.values
    table = np.arange(256, dtype=np.int32) * 0x010101
    for index, color in enumerate(picture.palette[:256]):
        table[index] = int(color[1:], 16)
    return table[picture.values & 255]


def nearest_colors(values: NDArray[np.int32], colors: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give for each colour the nearest of a list, and how far it is.

    Args:
        values: 0xRRGGBB (n,).
        colors: 0xRRGGBB (c,), at least one.

    Returns:
        int32 (2, n): the index into ``colors``, and the largest difference of a channel, 0..255.
    """
    found = np.empty((2, values.size), np.int32)
    targets = _channels(colors)
    step = max(1, COMPARED_AT_ONCE // max(1, colors.size))  # in pieces, for the memory's sake
    for start in range(0, values.size, step):
        part = _channels(values[start : start + step])
        distances = np.abs(part[:, None, :] - targets[None]).max(axis=2)
        nearest = distances.argmin(axis=1)
        found[0, start : start + len(part)] = nearest
        found[1, start : start + len(part)] = distances[np.arange(len(part)), nearest]
    return found


def _channels(colors: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.stack([colors >> 16 & 255, colors >> 8 & 255, colors & 255], axis=1)


def _widened(data: bytes) -> int:
    """Give the factor by which decoders widen a grey PNG of 2 or 4 bits to the whole range of a byte."""
    is_grey_png = data.startswith(PNG_SIGNATURE) and len(data) > 25 and data[25] == 0
    return {2: 85, 4: 17}.get(data[24], 1) if is_grey_png else 1


def _is_palette_png(data: bytes) -> bool:
    return data.startswith(PNG_SIGNATURE) and len(data) > 25 and data[25] == PNG_PALETTE


def _png_palette(data: bytes) -> tuple[str, ...]:
    """Give the colours of a PNG's PLTE chunk. Source: PNG specification (W3C, 2003), 5.3 and 11.2.3."""
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"PLTE":
            table = data[at + 8 : at + 8 + length]
            return tuple(f"#{table[i : i + 3].hex()}" for i in range(0, len(table) - 2, 3))
        at += 12 + length
    return ()
