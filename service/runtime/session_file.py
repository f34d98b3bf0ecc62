"""An exported session as a file: its weights as safetensors, its description in the metadata.

It is read as something that a stranger wrote: nothing is allocated whose size was not found right before, and nothing is
believed that its checksums do not hold.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from service.errors import ModelChangedError, TooLargeError, UnusableExportError
from service.learner.meta_model import adapted_shapes
from service.runtime.catalog import Catalog, Served
from service.runtime.description import Description, read_metadata
from service.runtime.fitting import plan
from service.runtime.limits import Limits
from service.sessions.contents import digest, pack_weights

PREFIX = struct.Struct("<Q")
METADATA = "__metadata__"

# What a header may take: for the names of tensors, and for each label with its escapes and its shots.
HEADER_BYTES, HEADER_BYTES_A_CLASS = 2**17, 2**11


@dataclass(frozen=True, slots=True)
class Taken:
    """An exported session that can be kept here: its weights packed as adapting packs them, its meta-model served."""

    description: Description
    served: Served
    packed: bytes


def write_session_file(description: Description, packed: bytes) -> bytes:
    """Put a description into the header of packed weights; the same session gives the same bytes."""
    (length,) = PREFIX.unpack_from(packed)
    end = PREFIX.size + length
    header = {METADATA: description.metadata(), **json.loads(packed[PREFIX.size : end])}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    # The numbers begin at a multiple of eight, as safetensors has it.
    text += b" " * (-len(text) % 8)
    return PREFIX.pack(len(text)) + text + packed[end:]


def read_session_file(content: bytes, catalog: Catalog, limits: Limits) -> Taken:
    """Take an exported session back.

    Raises:
        UnusableExportError: it is not one, it was changed, or it is not what its meta-model leaves.
        ModelNotFoundError, ModelRefusedError, ModelChangedError: its meta-model is not served here as it was there.
        StepsOutOfRangeError, ScopeNotOfferedError: as for adapting.
        TooLargeError: more classes than allowed.
    """
    header, size = _header(content, most=HEADER_BYTES + HEADER_BYTES_A_CLASS * limits.classes)
    description = read_metadata(_metadata(header))
    served = _served(description, catalog)
    plan(served, steps=description.steps, scope=description.scope)
    _check_way(description, served, limits)
    expected = adapted_shapes(served.model, served.manifest.recipe.way or len(description.labels))
    _check_shapes(header, expected)
    _check_size(len(content) - PREFIX.size - size, expected)
    return Taken(description, served, _packed(content, description))


def _header(content: bytes, *, most: int) -> tuple[dict[str, Any], int]:
    """Give the header, which must be an object that names everything once, and its length in bytes."""
    length = PREFIX.unpack_from(content)[0] if len(content) >= PREFIX.size else 0
    if not 2 <= length <= len(content) - PREFIX.size:
        raise _unusable("expected a safetensors file, got something else, or the beginning of one")
    if length > most:
        raise _unusable(f"expected a header of at most {most:,} bytes, got {length:,}")
    try:
        header = json.loads(content[PREFIX.size : PREFIX.size + length], object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _unusable("expected a safetensors file, whose header is JSON with each name once") from None
    if not isinstance(header, dict):
        raise _unusable("expected a safetensors file, whose header is a JSON object")
    return header, length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    joined = dict(pairs)
    if len(joined) < len(pairs):
        raise ValueError("a name came twice")
    return joined


def _metadata(header: Mapping[str, Any]) -> dict[str, str]:
    metadata = header.get(METADATA)
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _unusable("expected a session exported by GET /v1/sessions/{id}/weights, got a file without its metadata")
    return metadata


def _served(description: Description, catalog: Catalog) -> Served:
    served = catalog.find(description.model)
    if served.manifest.weights.sha256 != description.weights_sha256 or not served.manifest.input.covers(description.input):
        raise ModelChangedError(
            f"the session was adapted from another {description.model} than this server has; adapt again", field="weights_sha256"
        )
    return served


def _check_way(description: Description, served: Served, limits: Limits) -> None:
    way, only = len(description.labels), 0 if served.manifest.recipe.regression else served.manifest.recipe.way
    if way == 0 != only:
        raise UnusableExportError(f"expected the labels of a session of {served.reference}, got none", field="labels")
    if only is not None and way != only:
        raise UnusableExportError(f"meta-model {served.reference} has a head for exactly {only} classes, got {way}", field="labels")
    if way > limits.classes:
        raise TooLargeError(f"expected at most {limits.classes:,} classes, got {way:,}", field="labels")


def _check_shapes(header: Mapping[str, Any], expected: Mapping[str, torch.Size]) -> None:
    found = {name: entry for name, entry in header.items() if name != METADATA}
    if set(found) != set(expected):
        raise _unusable(f"expected other tensors; {min(set(found) ^ set(expected))[:100]!r} is missing or too many")
    for name, shape in expected.items():
        entry = found[name] if isinstance(found[name], dict) else {}
        if (entry.get("dtype"), entry.get("shape")) != ("F32", list(shape)):
            raise _unusable(f"{name}: expected F32 of shape {list(shape)}, got {str(entry)[:100]}")


def _check_size(size: int, expected: Mapping[str, torch.Size]) -> None:
    wanted = torch.float32.itemsize * sum(shape.numel() for shape in expected.values())
    if size != wanted:
        raise _unusable(f"expected {wanted:,} bytes of numbers, got {size:,}")


def _packed(content: bytes, description: Description) -> bytes:
    try:
        weights: dict[str, Tensor] = load(content)
    except SafetensorError as error:
        raise _unusable(f"not a safetensors file ({error})") from None
    packed = pack_weights(weights)
    if digest(packed) != description.weights_digest:
        raise _unusable(f"expected weights of digest {description.weights_digest}, got {digest(packed)}")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise _unusable("expected finite numbers, got NaN or infinity")
    return packed


def _unusable(what: str) -> UnusableExportError:
    return UnusableExportError(f"{what}; export the session again")
