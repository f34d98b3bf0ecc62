"""Exported sessions, made without adapting."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from service.learner.meta_model import MetaModel, adapted_shapes, as_served
from service.runtime.catalog import Catalog, Served, load_catalog
from service.runtime.description import Description
from service.sessions.contents import digest, pack_weights
from tests.tiny import write_tiny

CPU = torch.device("cpu")


def catalog_of(store: Path, **models: MetaModel) -> Catalog:
    """Serve these meta-models by their names."""
    for name, model in models.items():
        write_tiny(store, name, model)
    return load_catalog(store, device=CPU, default="tiny")


def weights_of(model: MetaModel, way: int, *, seed: int = 0) -> dict[str, Tensor]:
    """What adapting could leave: parameters of the right names and shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) / 4 for name, shape in adapted_shapes(model, way).items()}


def description_of(served: Served, packed: bytes, labels: Sequence[str] = ("bar", "cross", "ring"), **changed: Any) -> Description:
    """Describe packed weights as a session of these labels would be."""
    steps = served.manifest.recipe.steps_default
    fields: dict[str, Any] = {
        "format": "innerloop-session",
        "version": 1,
        "model": served.reference,
        "weights_sha256": served.manifest.weights.sha256,
        "weights_digest": digest(packed),
        "labels": tuple(labels),
        "shots": tuple(range(1, len(labels) + 1)),
        "scope": served.manifest.recipe.scope,
        "steps": steps,
        "losses": tuple(1 / (step + 3) for step in range(steps + 1)),
        "leave_one_out_accuracy": 0.75,
        "input": served.manifest.input,
    }
    return Description.model_validate(fields | changed)


def packed_of(served: Served, way: int = 3) -> bytes:
    return pack_weights(weights_of(served.model, way))


def served_of(model: MetaModel) -> MetaModel:
    return as_served(model, CPU)


def answered(content: bytes, inputs: Tensor) -> Tensor:
    """What onnxruntime computes, knowing nothing but the file."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [probabilities] = session.run(["probabilities"], {"inputs": inputs.numpy()})
    return torch.from_numpy(np.array(probabilities))


def properties(content: bytes) -> Mapping[str, str]:
    """The metadata of an ONNX file."""
    model = onnx.load_model(io.BytesIO(content))
    return {each.key: each.value for each in model.metadata_props}
