"""What every peer's server does with a request once its JSON is read: decode it as ours does, and word the answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from service.inputs.specification import InputSpecification, RawInput
from service.learner.episodes import Support
from service.learner.meta_model import MetaModel
from service.registry.read import find


@dataclass(frozen=True, slots=True)
class Task:
    """A decoded support set, and the names of its classes."""

    labels: tuple[str, ...]
    support: Support


@dataclass(frozen=True, slots=True)
class Reader:
    """Decodes images with the meta-model's own preprocessing."""

    takes: InputSpecification

    def images(self, files: Sequence[bytes]) -> Tensor:
        """Decode image files: [N, C, H, W] uint8."""
        return torch.stack([self.takes.decode(RawInput("image", content)) for content in files])

    def task(self, files: Sequence[bytes], names: Sequence[str]) -> Task:
        """Decode a labelled support set."""
        labels = tuple(sorted(set(names)))
        rows = torch.tensor([labels.index(name) for name in names])
        return Task(labels, Support(self.images(files), rows, len(labels)))


def load(model_store: Path, reference: str) -> tuple[MetaModel, Reader]:
    """Read a meta-model from a store, and what decodes its inputs."""
    stored = find(model_store, reference)
    return stored.model, Reader(stored.manifest.input)


def worded(labels: Sequence[str], shares: Tensor) -> dict[str, Any]:
    """Name the likeliest class of every query, from probabilities [M, way]."""
    scores, rows = shares.max(dim=1)
    found = zip(rows.tolist(), scores.tolist(), strict=True)
    return {"predictions": [{"label": labels[row], "score": score} for row, score in found]}
