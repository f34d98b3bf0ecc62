"""Tensors of the Open Inference Protocol, version 2, as JSON and in its binary tensor data extension.

https://github.com/kserve/open-inference-protocol; the extension is that of Triton's docs, extension_binary_data.md.
"""

import base64
import binascii
import itertools
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import InvalidRequestError

Datatype = Literal["BYTES", "UINT8", "FP32"]
Element: TypeAlias = bytes | str | int | float

_FORMATS = {"UINT8": "B", "FP32": "f"}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Tensor:
    """Elements in row-major order. BYTES are bytes, or text that came or goes as JSON; the others are numbers."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    elements: Sequence[Element]

    def contents(self) -> list[bytes]:
        """Give BYTES as files; in JSON they are base64, as everywhere in this API."""
        return [_decoded(each, f"{self.name}[{place}]") for place, each in enumerate(self.elements)]

    def texts(self) -> list[str]:
        """Give BYTES as text."""
        return [_text(each, f"{self.name}[{place}]") for place, each in enumerate(self.elements)]


class Protocol(BaseModel):
    """A part of a request; what other servers understand beside it is none of ours."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TensorHeader(Protocol):
    """One input: its elements in `data`, or behind the header, `binary_data_size` bytes of them."""

    name: str
    datatype: Datatype
    shape: Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=1, max_length=4)]
    parameters: Mapping[str, Any] = {}
    data: list[Any] | None = None


class OutputHeader(Protocol):
    """One output that is wanted, and whether in binary."""

    name: str
    parameters: Mapping[str, Any] = {}


class InferenceHeader(Protocol):
    """The JSON of a request."""

    id: str | None = None
    parameters: Mapping[str, Any] = {}
    inputs: Annotated[tuple[TensorHeader, ...], Field(min_length=1)]
    outputs: tuple[OutputHeader, ...] = ()


@dataclass(frozen=True, slots=True)
class Inference:
    """A decoded request; `wanted` says of each output that is wanted whether in binary, all of them when it is empty."""

    id: str | None
    inputs: Mapping[str, Tensor]
    wanted: Mapping[str, bool]
    binary: bool


def read_inference(content: bytes, header_length: int | None) -> Inference:
    """Decode a request: a JSON header of that many bytes and the binary tensors behind it; all of it is JSON for None.

    Raises:
        InvalidRequestError: it is not one.
    """
    length = len(content) if header_length is None else header_length
    if length > len(content):
        raise InvalidRequestError(f"expected an Inference-Header-Content-Length of at most the body's {len(content)} bytes, got {length}")
    header, rest = _header(content[:length]), memoryview(content)[length:]
    inputs: dict[str, Tensor] = {}
    for each in header.inputs:
        size = _binary_size(each)
        if each.name in inputs:
            raise InvalidRequestError(f"expected the input {each.name!r} once, got it twice", field=each.name)
        if size > len(rest):
            raise InvalidRequestError(f"{each.name}: expected {size} bytes behind the header, got {len(rest)}", field=each.name)
        inputs[each.name], rest = _tensor(each, bytes(rest[:size])), rest[size:]
    if len(rest):
        raise InvalidRequestError(f"expected no bytes behind those of the inputs, got {len(rest)}")
    binary = header.parameters.get("binary_data_output") is True
    wanted = {each.name: each.parameters.get("binary_data", binary) is True for each in header.outputs}
    return Inference(header.id, inputs, wanted, binary)


def write_inference(head: Mapping[str, Any], outputs: Iterable[Tensor], asked: Inference) -> tuple[bytes, int | None]:
    """Encode an answer with the outputs that are wanted; its header's length, or None when all of it is JSON.

    Raises:
        InvalidRequestError: an output is wanted that there is not.
    """
    known = {each.name: each for each in outputs}
    for name in asked.wanted:
        if name not in known:
            raise InvalidRequestError(f"expected outputs among {', '.join(known)}, got {name!r}", field="outputs")
    wanted = asked.wanted or dict.fromkeys(known, asked.binary)
    packed = {name: _pack(known[name]) for name, binary in wanted.items() if binary}
    described = [_described(known[name], packed.get(name)) for name in wanted]
    header = json.dumps({**head, "outputs": described}, ensure_ascii=False).encode()
    return header + b"".join(packed.values()), len(header) if packed else None


def _header(content: bytes) -> InferenceHeader:
    try:
        return InferenceHeader.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise InvalidRequestError(f"{place}: {first['msg']}", field=place) from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the request's header cannot be read as JSON: {error}") from None


def _binary_size(header: TensorHeader) -> int:
    size = header.parameters.get("binary_data_size")
    if (size is None) == (header.data is None):
        raise InvalidRequestError(f"{header.name}: expected either `data` or the parameter `binary_data_size`", field=header.name)
    if size is None:
        return 0
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidRequestError(f"{header.name}: expected a count of bytes as binary_data_size, got {size!r}", field=header.name)
    return size


def _tensor(header: TensorHeader, packed: bytes) -> Tensor:
    elements = _unpack(header, packed) if header.data is None else _from_json(header, header.data)
    if len(elements) != math.prod(header.shape):
        raise InvalidRequestError(
            f"{header.name}: expected {math.prod(header.shape)} elements for the shape {list(header.shape)}, got {len(elements)}",
            field=header.name,
        )
    return Tensor(header.name, header.datatype, header.shape, elements)


def _unpack(header: TensorHeader, packed: bytes) -> Sequence[Element]:
    if header.datatype == "BYTES":
        return _parted(header.name, packed)
    kind = _FORMATS[header.datatype]
    if len(packed) % struct.calcsize(kind):
        raise InvalidRequestError(f"{header.name}: expected whole {header.datatype} elements, got {len(packed)} bytes", field=header.name)
    return packed if kind == "B" else struct.unpack(f"<{len(packed) // 4}{kind}", packed)


def _parted(name: str, packed: bytes) -> list[bytes]:
    """Take elements apart, each behind its length."""
    found, place = [], 0
    while place < len(packed):
        end = place + _LENGTH.size + (_LENGTH.unpack_from(packed, place)[0] if place + _LENGTH.size <= len(packed) else 0)
        if not place + _LENGTH.size <= end <= len(packed):
            raise InvalidRequestError(f"{name}: expected each element behind its length of 4 bytes, got one that ends early", field=name)
        found.append(packed[place + _LENGTH.size : end])
        place = end
    return found


def _from_json(header: TensorHeader, data: list[Any]) -> Sequence[Element]:
    """Take `data`, nested as the shape is or flat."""
    for _ in header.shape[1:]:
        if data and all(isinstance(each, list) for each in data):
            data = list(itertools.chain.from_iterable(data))
    if not all(_fits(each, header.datatype) for each in data):
        what = {"BYTES": "strings", "UINT8": "whole numbers 0 to 255", "FP32": "numbers"}[header.datatype]
        raise InvalidRequestError(f"{header.name}: expected {what} as data, nested as the shape is or flat", field=header.name)
    try:
        return list(map(float, data)) if header.datatype == "FP32" else data
    except OverflowError:
        raise InvalidRequestError(f"{header.name}: expected numbers that float32 can hold", field=header.name) from None


def _fits(element: object, datatype: Datatype) -> bool:
    if datatype == "BYTES":
        return isinstance(element, str)
    if isinstance(element, bool) or not isinstance(element, int | float):
        return False
    return datatype == "FP32" or (isinstance(element, int) and 0 <= element <= 255)


def _pack(tensor: Tensor) -> bytes:
    if tensor.datatype == "BYTES":
        encoded = [str(each).encode() for each in tensor.elements]
        return b"".join(_LENGTH.pack(len(each)) + each for each in encoded)
    return struct.pack(f"<{len(tensor.elements)}{_FORMATS[tensor.datatype]}", *tensor.elements)


def _described(tensor: Tensor, packed: bytes | None) -> dict[str, Any]:
    told = {"data": list(tensor.elements)} if packed is None else {"parameters": {"binary_data_size": len(packed)}}
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), **told}


def _decoded(element: Element, name: str) -> bytes:
    if isinstance(element, bytes):
        return element
    try:
        return base64.b64decode(str(element), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError(f"{name}: expected base64, since JSON holds no bytes", field=name) from None


def _text(element: Element, name: str) -> str:
    try:
        return element.decode() if isinstance(element, bytes) else str(element)
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name}: expected text in UTF-8", field=name) from None
