"""PNG bytes from an array, with the standard library alone (PNG specification, third edition, W3C 2025)."""

import itertools
import struct
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

from innerloop.errors import UnusableInputError

_COLOUR_TYPE = {1: 0, 3: 2, 4: 6}  # channels → grey, RGB, RGBA


@runtime_checkable
class Array(Protocol):
    """What numpy arrays and torch tensors have in common."""

    @property
    def shape(self) -> Sequence[int]: ...

    def tolist(self) -> Any: ...


def png_from_array(array: Array) -> bytes:
    """PNG of `[H, W]` or `[H, W, C]`, C one of 1, 3, 4; uint8, or floats in 0..1 (scaled to 0..255 and rounded).

    Raises:
        UnusableInputError: another shape or dtype, or a float outside 0..1.
    """
    channels = _channels(tuple(array.shape))
    to_bytes = _sample_reader(array)
    rows = array.tolist()
    return encode_png([to_bytes(_samples(row, nested=len(array.shape) == 3)) for row in rows], channels=channels)


def encode_png(rows: Sequence[bytes], *, channels: int) -> bytes:
    """PNG of rows of interleaved 8-bit samples: 1 channel is grey, 3 RGB, 4 RGBA."""
    header = struct.pack(">IIBBBBB", len(rows[0]) // channels, len(rows), 8, _COLOUR_TYPE[channels], 0, 0, 0)
    unfiltered = b"".join(b"\0" + row for row in rows)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(unfiltered)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _channels(shape: tuple[int, ...]) -> int:
    channels = 1 if len(shape) == 2 else shape[-1] if len(shape) == 3 else 0
    if channels not in _COLOUR_TYPE or 0 in shape:
        raise UnusableInputError(
            f"expected an image array [H, W] or [H, W, 1, 3 or 4], got {list(shape)}; move the channels last, and pass images one by one"
        )
    return channels


def _sample_reader(array: Array) -> Callable[[Iterable[Any]], bytes]:
    dtype = str(getattr(array, "dtype", "")).rpartition(".")[2]  # torch says torch.uint8
    if dtype == "uint8":
        return bytes
    if "float" in dtype:
        return _scaled
    raise UnusableInputError(
        f"expected an image array of uint8, or of floats in 0..1, got {dtype or type(array).__name__}; convert it first"
    )


def _samples(row: Sequence[Any], *, nested: bool) -> Iterable[Any]:
    return itertools.chain.from_iterable(row) if nested else row


def _scaled(samples: Iterable[float]) -> bytes:
    return bytes(map(_byte, samples))


def _byte(value: float) -> int:
    if not 0 <= value <= 1:  # NaN fails too
        raise UnusableInputError(f"expected floats in 0..1, got {value}; scale the image, or pass uint8")
    return round(value * 255)
