"""Pretrained weights from a local file, for an encoder of torchvision's to start from. Nothing is fetched."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from service.errors import BadDataError
from service.learner.encoders.torchvision_network import TorchvisionNetwork
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Starting:
    """Parameters to train from, and the sha256 of the file that they came from; None for random ones."""

    params: Params
    sha256: str | None


def starting_from(path: Path, encoder: TorchvisionNetwork, params: Params) -> Starting:
    """Give the parameters with a torchvision state dict's weights in place of the encoder's own.

    Raises:
        BadDataError: no such file, not a state dict of tensors, or the weights of another network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadDataError(f"{path}: the pretrained weights cannot be read ({error.strerror}); check `weights` in [encoder]") from error
    try:
        weights = encoder.pretrained(params, _tensors(content))
    except ValueError as error:
        raise BadDataError(f"{path}: {error}; name the file of that network, as torchvision publishes it") from error
    return Starting(weights, hashlib.sha256(content).hexdigest())


def _tensors(content: bytes) -> Mapping[str, Tensor]:
    try:
        # Weights only: a pickle of anything else could run code.
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"expected a state dict saved by torch ({type(error).__name__})") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"expected a state dict of tensors, got {type(found).__name__}")
    return found
