"""What a user has (files, bytes, images, arrays, numbers) as the fields of a wire `Query`.

Pillow images, numpy arrays and torch tensors are known by their methods; none of the three is imported.
"""

import base64
import io
import math
import os
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeAlias, runtime_checkable

from innerloop.errors import UnusableInputError
from innerloop.png import Array, png_from_array


@runtime_checkable
class Readable(Protocol):
    """A file open in binary mode."""

    def read(self) -> bytes: ...


@runtime_checkable
class Saveable(Protocol):
    """A Pillow image."""

    def save(self, fp: BinaryIO, /, format: str) -> object: ...


Input: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable | Saveable | Array | Sequence[float]
Fields: TypeAlias = dict[str, object]


def to_wire(value: Input) -> Fields:
    """`{"image": base64}` or `{"vector": numbers}`; text is always a path.

    Raises:
        UnusableInputError: nothing of this kind can be sent.
    """
    for kinds, convert in _CONVERTERS:
        if isinstance(value, kinds):
            return convert(value)
    raise UnusableInputError(
        f"expected a path, bytes, a binary file, a Pillow image, an array or a list of numbers, got {type(value).__name__}"
    )


def _from_path(path: str | os.PathLike[str]) -> Fields:
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise UnusableInputError(f"expected an image file at {path!s}: {reason}; give an existing file, or its bytes") from error
    if not data:
        raise UnusableInputError(f"expected an image file at {path!s}, got an empty file; save it again")
    return _image(data)


def _from_file(file: Readable) -> Fields:
    data = file.read()
    if not isinstance(data, bytes):
        raise UnusableInputError(f"expected a file of bytes, got {type(data).__name__}; open it in binary mode")
    return _from_bytes(data)


def _from_bytes(data: bytes) -> Fields:
    if not data:
        raise UnusableInputError("expected the bytes of an image, got none; a file already read needs seek(0)")
    return _image(bytes(data))


def _from_picture(picture: Saveable) -> Fields:
    file = io.BytesIO()
    try:
        picture.save(file, format="PNG")
    except (OSError, ValueError) as error:
        raise UnusableInputError(f"expected an image that can be saved as PNG: {error}; convert it to L, RGB or RGBA") from error
    return _image(file.getvalue())


def _from_array(array: Array) -> Fields:
    return _from_numbers(array.tolist()) if len(array.shape) == 1 else _image(png_from_array(array))


def _from_numbers(numbers: Sequence[Any]) -> Fields:
    for n, number in enumerate(numbers):
        if not isinstance(number, Real) or not math.isfinite(number):
            raise UnusableInputError(f"expected a list of finite numbers, got {number!r} at [{n}]; an image goes in as a path or an array")
    if not numbers:
        raise UnusableInputError("expected a list of numbers, got an empty one")
    return {"vector": [float(number) for number in numbers]}


def _image(data: bytes) -> Fields:
    return {"image": base64.b64encode(data).decode("ascii")}


# In order: text is a sequence too, and a path comes before all else.
_CONVERTERS: tuple[tuple[tuple[type, ...], Callable[[Any], Fields]], ...] = (
    ((str, os.PathLike), _from_path),
    ((bytes, bytearray, memoryview), _from_bytes),
    ((Saveable,), _from_picture),
    ((Readable,), _from_file),
    ((Array,), _from_array),
    ((Sequence,), _from_numbers),
)
