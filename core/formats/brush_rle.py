"""Label Studio's run-length code of brush masks: bits in bytes, over the four channels of each pixel.

A code begins with the number of values (32 bits), the bits of a value less one (5) and four sizes of
lengths less one (4 each). Then come blocks: a bit that tells a run (1) from values one by one (0), two
bits that choose the size of the length, the length less one, and the value or the values. Only the last
channel, the opacity, says what is marked.

Source: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack, which Label Studio uses.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import FormatError

CHANNELS = 4
WORD_BITS = 8
LENGTH_BITS = (3, 4, 8, 16)
THRESHOLD = 128  # soft edges of strokes: as in the mask pictures of the same tool


def decode_brush(code: Sequence[object], size_wh: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode a brush mask to bool (H, W).

    Args:
        code: bytes as numbers from 0 to 255.
        size_wh: the size that the mask must have.

    Raises:
        FormatError: it is no such code, or of another size.
    """
    try:
        data = bytes(code)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise FormatError("A brush mask is no list of numbers from 0 to 255.") from error
    width, height = size_wh
    bits = _Bits(data)
    count, word_bits = bits.read(32), bits.read(5) + 1
    if count != width * height * CHANNELS or word_bits != WORD_BITS:
        raise FormatError(f"A brush mask does not have the {width} x {height} pixels of its photo.")
    sizes = [bits.read(4) + 1 for _ in range(4)]
    opacity = np.zeros(width * height, np.uint8)
    start = 0
    while start < count:
        is_run = bits.read(1)
        end = start + 1 + bits.read(sizes[bits.read(2)])
        if end > count:
            raise FormatError("A brush mask is damaged: it has more pixels than its photo.")
        # The opacity of pixel k is value 4 k + 3; these lie in [start, end) for k from start // 4 on.
        inside = opacity[start // CHANNELS : end // CHANNELS]
        if is_run:
            inside[:] = bits.read(WORD_BITS)
        else:
            values = bits.read_bytes(end - start)
            inside[:] = values[CHANNELS * (start // CHANNELS) + CHANNELS - 1 - start :: CHANNELS]
        start = end
    highest = int(opacity.max(initial=0))
    return np.asarray(opacity >= max(min(highest, THRESHOLD), 1), np.bool_).reshape(height, width)


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask (H, W) as the bytes that ``decode_brush`` and Label Studio decode."""
    pixels = mask.ravel()
    starts = np.append(0, np.flatnonzero(np.diff(pixels)) + 1)
    lengths = np.diff(starts, append=pixels.size) * CHANNELS
    parts = [
        f"{pixels.size * CHANNELS:032b}{WORD_BITS - 1:05b}",
        *(f"{size - 1:04b}" for size in LENGTH_BITS),
    ]
    for is_marked, length in zip(pixels[starts].tolist(), lengths.tolist(), strict=True):
        parts += _blocks(length, 255 if is_marked else 0)
    digits = np.frombuffer("".join(parts).encode(), np.uint8) - ord("0")
    return np.packbits(digits).tolist()


def _blocks(length: int, value: int) -> list[str]:
    blocks: list[str] = []
    while length:
        part = min(length, 2 ** LENGTH_BITS[-1])
        index = next(i for i, bits in enumerate(LENGTH_BITS) if part <= 2**bits)
        blocks.append(f"1{index:02b}{part - 1:0{LENGTH_BITS[index]}b}{value:0{WORD_BITS}b}")
        length -= part
    return blocks


class _Bits:
    """Bytes read bit by bit, the highest first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read(self, bits: int) -> int:
        """Give the next 1 to 32 bits as a number."""
        first, end = self.at // 8, self.at + bits
        last = (end + 7) // 8
        if last > len(self.data):
            raise FormatError("A brush mask is damaged: it ends too early.")
        self.at = end
        number = int.from_bytes(self.data[first:last], "big")
        return (number >> (last * 8 - end)) & ((1 << bits) - 1)

    def read_bytes(self, count: int) -> NDArray[np.uint8]:
        """Give the next bytes, which need not begin where a byte begins."""
        first, shift, end = self.at // 8, self.at % 8, self.at + 8 * count
        last = (end + 7) // 8
        if last > len(self.data):
            raise FormatError("A brush mask is damaged: it ends too early.")
        self.at = end
        bits = np.unpackbits(np.frombuffer(self.data[first:last], np.uint8))
        return np.packbits(bits[shift : shift + 8 * count])
