"""TensorBoard's event files, written without TensorFlow or TensorBoard: a run on any backend has them.

The format: each record is its length, a checksum of that, the event, a checksum of it (TFRecord). An event is a
protocol buffer (tensorflow/core/util/event.proto); fields are written by their numbers there. Checksums are CRC-32C,
masked as in tensorflow/core/lib/hash/crc32c.h.
"""

import functools
import os
import pathlib
import socket
import struct
import time
from collections.abc import Mapping

import cv2
import numpy as np

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


class EventFile:
    """Appends scalars and pictures to a new event file; each is on the disk when the call returns."""

    def __init__(self, folder: str | os.PathLike, first_step: int = 0) -> None:
        """Make the file.

        Args:
            folder: is made if need be.
            first_step: TensorBoard forgets what earlier files in the folder say of this step and later ones.
        """
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"events.out.tfevents.{time.time_ns() // 1000}.{socket.gethostname()}.{os.getpid()}"
        self._append(_field(3, _BYTES, b"brain.Event:2"))
        session_start = _field(1, _VARINT, 1)
        self._append(_field(2, _VARINT, first_step) + _field(7, _BYTES, session_start))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add figures by their tags, such as {"val/mask_AP": 0.2}."""
        summary = b"".join(
            _field(1, _BYTES, _field(1, _BYTES, tag.encode()) + _field(2, _FIXED32, float(value)))
            for tag, value in values.items()
        )
        self._append(_field(2, _VARINT, step) + _field(5, _BYTES, summary))

    def picture(self, step: int, tag: str, image: np.ndarray) -> None:
        """Add uint8 [H, W, 3] RGB, as JPEG."""
        done, data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]))
        assert done, "OpenCV encodes every uint8 image"
        height, width = image.shape[:2]
        encoded = _field(1, _VARINT, height) + _field(2, _VARINT, width) + _field(3, _VARINT, 3)
        encoded += _field(4, _BYTES, data.tobytes())
        value = _field(1, _BYTES, tag.encode()) + _field(4, _BYTES, encoded)
        self._append(_field(2, _VARINT, step) + _field(5, _BYTES, _field(1, _BYTES, value)))

    def _append(self, event: bytes) -> None:
        event = _field(1, _FIXED64, time.time()) + event
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + _masked_crc(length) + event + _masked_crc(event))


def _field(number: int, wire_type: int, value: int | float | bytes) -> bytes:
    key = _varint(number << 3 | wire_type)
    if isinstance(value, bytes):
        return key + _varint(len(value)) + value
    if wire_type == _VARINT:
        return key + _varint(int(value))
    return key + struct.pack("<d" if wire_type == _FIXED64 else "<f", value)


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])


@functools.cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's polynomial, reflected
        table.append(byte)
    return table


def _masked_crc(data: bytes) -> bytes:
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    rotated = (crc >> 15 | crc << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)
