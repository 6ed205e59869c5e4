"""Read event files back: frames with their checksums, and the events in them."""

import struct
from collections.abc import Generator
from dataclasses import dataclass

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from core.storage.store import Store


@dataclass(frozen=True)
class Point:
    """One value of a curve."""

    tag: str
    step: int
    value: float
    wall_time: float


def read_events(data: bytes) -> Generator[Event]:
    """Read the events of a file; a frame that is broken or cut short fails."""
    while data:
        length, length_checksum = struct.unpack("<QI", data[:12])
        assert masked_crc32c(data[:8]) == length_checksum
        event, (checksum,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert masked_crc32c(event) == checksum
        yield Event.FromString(event)
        data = data[16 + length :]


def event_files(store: Store, run_id: str) -> dict[str, bytes]:
    """Give the event files of a run by key."""
    return {key: store.blobs.get(key) for key, _ in store.blobs.list(f"runs/{run_id}/tensorboard")}


def read_points(data: bytes) -> list[Point]:
    """Read all points of a file, in the order in which they were written."""
    return [
        Point(value.tag, event.step, value.simple_value, event.wall_time)
        for event in read_events(data)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]
