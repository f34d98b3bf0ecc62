"""Small real meta-models and drawings, for tests that need one but not a good one."""

import io
from datetime import UTC, datetime
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from service.inputs.preprocessing import Preprocessing
from service.inputs.specification import ImageInput, InputSpecification, VectorInput
from service.learner.calibration import Calibration
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.encoder import Encoder
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import MetaModel, initial_params
from service.learner.recipe import Recipe
from service.learner.statistics import measure
from service.registry.manifest import EvaluationRow, Training
from service.registry.write import Findings, write

HEAD_RECIPE = Recipe(rates="per_layer", learn_rates=True, step_size=5.0, steps_default=3, steps_max=10)


def tiny_model(encoder: Encoder | None = None, recipe: Recipe = HEAD_RECIPE, *, seed: int = 0) -> MetaModel:
    """An untrained meta-model with measured statistics: random features already tell drawings apart."""
    encoder = encoder or Conv4(width=16)
    generator = torch.Generator().manual_seed(seed)
    params = initial_params(encoder, recipe, generator)
    return MetaModel(encoder, recipe, params, measure(encoder, params, torch.rand(64, *encoder.input_shape, generator=generator)))


def write_tiny(store: Path, name: str = "tiny", model: MetaModel | None = None, *, calibration: Calibration | None = None) -> Path:
    """Put a tiny meta-model into a store, with a made-up evaluation row for its scope."""
    model = model or tiny_model()
    encoder = model.encoder
    takes: InputSpecification = VectorInput(encoder.inputs) if isinstance(encoder, Mlp) else ImageInput(Preprocessing())
    takes = VectorInput(None, longest=encoder.width) if isinstance(encoder, Identity) else takes
    training = Training(
        preset="test", paper="none", config={}, classes={}, validation_classes=(), meta_steps=0, best_step=0, seconds=0, torch="", threads=1
    )
    row = EvaluationRow(
        data="test", way=5, shot=1, scope=model.recipe.scope, steps=model.recipe.steps_default, accuracy=0.5, ci95=0.1, episodes=2,
        queries_per_class=1,
    )  # fmt: skip
    return write(store, name, model, takes=takes, training=training, findings=Findings([row], calibration))


def drawing(shape: str, *, size: int = 48, width: int = 3, shift: int = 0) -> Image.Image:
    """A black line drawing on white: `cross`, `ring`, `bar`, `corner` or `vee`."""
    image = Image.new("L", (size, size), 255)
    pen = ImageDraw.Draw(image)
    low, high, middle = 8 + shift, size - 9 + shift, size // 2 + shift
    if shape == "ring":
        pen.ellipse([low, low, high, high], outline=0, width=width)
    strokes = {
        "cross": [[(low, low), (high, high)], [(low, high), (high, low)]],
        "bar": [[(low, middle), (high, middle)], [(middle, middle), (middle, high)]],
        "corner": [[(low, low), (low, high), (high, high)]],
        "vee": [[(low, low), (middle, high), (high, low)]],
    }
    for stroke in strokes.get(shape, []):
        pen.line(stroke, fill=0, width=width)
    return image


SHAPES = ("bar", "corner", "cross", "ring", "vee")


def png(image: Image.Image) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now
