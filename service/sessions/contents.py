"""Adapted weights and support sets as bytes and back: safetensors, never pickle; nothing is allocated before its size was checked."""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save
from safetensors.torch import load
from torch import Tensor

from service.errors import SessionDamagedError

# More than any support set that can be sent: a damaged length must not be believed.
MAX_UNPACKED = 2**32


# What is known of an example: its label, or the numbers of a regression.
Answer = str | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SupportSet:
    """The examples of a session, decoded.

    Attributes:
        ids: of the examples, counted from 1 in the order they came; never used again.
        labels: of each example; numbers in a regression.
        inputs: [N, ...], on the CPU.
        next_id: of the example that comes next.
    """

    ids: tuple[int, ...]
    labels: tuple[Answer, ...]
    inputs: Tensor
    next_id: int

    @staticmethod
    def of(labels: Sequence[Answer], inputs: Tensor) -> "SupportSet":
        """Number the first examples of a session."""
        return SupportSet(tuple(range(1, len(labels) + 1)), tuple(labels), inputs, len(labels) + 1)

    def with_examples(self, labels: Sequence[Answer], inputs: Tensor) -> "SupportSet":
        """Add examples behind those that are there."""
        ids = range(self.next_id, self.next_id + len(labels))
        return SupportSet((*self.ids, *ids), (*self.labels, *labels), torch.cat([self.inputs, inputs]), ids.stop)

    def without(self, ids: Sequence[int]) -> "SupportSet":
        """Leave examples out."""
        leaving = set(ids)
        kept = [place for place, each in enumerate(self.ids) if each not in leaving]
        return SupportSet(tuple(self.ids[k] for k in kept), tuple(self.labels[k] for k in kept), self.inputs[kept], self.next_id)


def pack_weights(weights: Mapping[str, Tensor]) -> bytes:
    """Write adapted weights as safetensors, names sorted, so that equal weights are equal bytes."""
    return save({name: weights[name].cpu().contiguous().numpy() for name in sorted(weights)})


def digest(packed: bytes) -> str:
    """Identify adapted weights by content: sha256 of their bytes."""
    return hashlib.sha256(packed).hexdigest()


def unpack_weights(packed: bytes, *, weights_digest: str) -> dict[str, Tensor]:
    """Read adapted weights.

    Raises:
        SessionDamagedError: they are not those of the digest.
    """
    if digest(packed) != weights_digest:
        raise SessionDamagedError("the weights of this session are damaged; adapt again with POST /v1/sessions")
    return load(packed)


def pack_support(support: SupportSet) -> bytes:
    """Write a support set: its size and sha256, then safetensors, compressed."""
    names = sorted({label for label in support.labels if isinstance(label, str)})
    row: dict[Answer, int] = {name: place for place, name in enumerate(names)}
    # Targets by torch, which unlike NumPy is silent where one is too large for float32: adapting refuses it.
    told = (
        {"rows": np.array([row[label] for label in support.labels], np.int32)}
        if names
        else {"targets": torch.tensor(support.labels, dtype=torch.float32).numpy()}
    )
    tensors = {"inputs": support.inputs.contiguous().numpy(), "ids": np.array(support.ids, np.int32), **told}
    plain = save(tensors, {"labels": json.dumps(names), "next_id": str(support.next_id)})
    return struct.pack("<Q32s", len(plain), hashlib.sha256(plain).digest()) + zlib.compress(plain, level=1)


def unpack_support(packed: bytes) -> SupportSet:
    """Read a support set.

    Raises:
        SessionDamagedError: the bytes are not one, or not the one that was written.
    """
    plain = _unpacked(packed)
    try:
        tensors, metadata = load(plain), _metadata(plain)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged() from error
    names = json.loads(metadata["labels"])
    labels = [names[row] for row in tensors["rows"].tolist()] if names else map(tuple, tensors["targets"].tolist())
    return SupportSet(tuple(tensors["ids"].tolist()), tuple(labels), tensors["inputs"], int(metadata["next_id"]))


def _unpacked(packed: bytes) -> bytes:
    header = struct.calcsize("<Q32s")
    if len(packed) < header:
        raise _damaged()
    size, expected = struct.unpack_from("<Q32s", packed)
    if size > MAX_UNPACKED:
        raise _damaged()
    try:
        plain = zlib.decompressobj().decompress(packed[header:], size + 1)
    except zlib.error as error:
        raise _damaged() from error
    if len(plain) != size or hashlib.sha256(plain).digest() != expected:
        raise _damaged()
    return plain


def _metadata(plain: bytes) -> dict[str, str]:
    (length,) = struct.unpack_from("<Q", plain)
    metadata: dict[str, str] = json.loads(plain[8 : 8 + length])["__metadata__"]
    return metadata


def _damaged() -> SessionDamagedError:
    return SessionDamagedError("the support set of this session is damaged; adapt again with POST /v1/sessions")
