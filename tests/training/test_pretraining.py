import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner.encoders.encoder import Normalise
from service.learner.episodes import ClassInputs
from service.learner.meta_model import initial_params
from service.learner.parameters import Params, trainable
from service.learner.statistics import episode_statistics
from service.training.checkpoint import load_checkpoint
from service.training.options import TrainOptions
from service.training.pretraining import (
    by_nearest_means,
    classification_gradient,
    classifier_logits,
    draw_batch,
    initial_classifier,
    without_classifier,
)
from tests.tiny import tiny_model
from tests.training.runs import Heard, assert_same, checkpoint_after, tiny_data, tiny_options, train

UNCHANGED = {"turn": 0, "scale": 0, "stretch": 0, "slant": 0, "shift": 0, "stroke": 0}

# Three batches of classification, then four meta-steps.
PRETRAINED: Mapping[str, Any] = {
    "pretraining": {"steps": 3, "batch": 12},
    "stages": [{"steps": 4, "way": [3, 4], "queries": 2, "inner_steps": 1}],
    "validation": {"every": 1, "episodes": 20, "way": 4, "queries": 2},
}


def start(options: TrainOptions) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    params = initial_params(options.build_encoder(), options.build_recipe(), generator)
    return trainable({**params, **initial_classifier(options, tiny_data()["train"], generator)})


def encode(options: TrainOptions, params: Params, inputs: Tensor) -> Tensor:
    return options.build_encoder()(params, inputs, episode_statistics)


def gradient_of(options: TrainOptions, params: Params, classes: ClassInputs, seed: int = 1) -> Any:
    generator = torch.Generator().manual_seed(seed)

    def encoded(params: Params, inputs: Tensor, normalise: Normalise | None) -> Tensor:  # noqa: ARG001 - how a learner's encoder is called
        return encode(options, params, inputs)

    return classification_gradient(options, encoded, params, draw_batch(options, classes, options.pretraining.batch, generator))


@pytest.mark.parametrize("classifier", ["cosine", "linear"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_that_of_the_cross_entropy_over_all_training_classes(classifier: str, smoothing: float) -> None:
    """Each class holds copies of one picture, so the batch can be told from its labels alone."""
    options = tiny_options(pretraining={"steps": 1, "batch": 10, "classifier": classifier, "smoothing": smoothing}, augmentation=UNCHANGED)
    pictures = tiny_data()["train"].inputs[:3]
    classes = ClassInputs.of([(str(k), pictures[k : k + 1].repeat(k + 1, 1, 1, 1)) for k in range(3)])
    params = trainable({**start(options), **initial_classifier(options, classes, torch.Generator().manual_seed(5))})
    got = gradient_of(options, params, classes)

    labels = torch.randint(3, (10,), generator=torch.Generator().manual_seed(1))
    embeddings = encode(options, params, pictures[labels] / 255)
    rows = params["classifier.weight"]
    if classifier == "linear":
        logits = embeddings @ rows.T + params["classifier.bias"]
    else:
        cosines = (embeddings @ rows.T) / (embeddings.norm(dim=1)[:, None] * rows.norm(dim=1))
        logits = params["classifier.log_scale"].exp() * cosines
    targets = (1 - smoothing) * F.one_hot(labels, 3) + smoothing / 3
    loss = -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
    assert got.loss == pytest.approx(loss.item(), rel=1e-4)
    assert got.accuracy == pytest.approx((logits.argmax(dim=1) == labels).float().mean().item())
    trained = [name for name in params if name.startswith(("encoder.", "classifier."))]
    expected = torch.autograd.grad(loss, [params[name] for name in trained])
    assert list(got.gradients) == trained
    for name, value in zip(trained, expected, strict=True):
        torch.testing.assert_close(got.gradients[name], value, atol=1e-4, rtol=1e-3)


def test_every_class_is_drawn_as_often_however_many_images_it_has() -> None:
    """With a linear classifier of zeros, the gradient of a bias tells how often its class was drawn."""
    options = tiny_options(pretraining={"steps": 1, "batch": 3000, "classifier": "linear"}, augmentation=UNCHANGED)
    pictures = tiny_data()["train"].inputs
    classes = ClassInputs.of([("few", pictures[:1]), ("many", pictures[1:40])])
    rows = initial_classifier(options, classes, torch.Generator().manual_seed(0))
    params = trainable({**start(options), **rows, "classifier.weight": torch.zeros_like(rows["classifier.weight"])})
    drawn = 0.5 - gradient_of(options, params, classes).gradients["classifier.bias"]
    assert drawn[0].item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(3000))


def test_every_image_of_a_class_is_drawn() -> None:
    """Embeddings that are the number of the image show which were drawn."""
    options = tiny_options(pretraining={"steps": 1, "batch": 400}, augmentation=UNCHANGED)
    numbers = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 16, 16)
    classes = ClassInputs.of([("a", numbers[:5]), ("b", numbers[5:])])
    seen: list[int] = []

    def remember(params: Params, inputs: Tensor, normalise: Normalise | None) -> Tensor:  # noqa: ARG001 - how a learner's encoder is called
        seen.extend((255 * inputs[:, 0, 0, 0]).round().int().tolist())
        return encode(options, params, inputs)

    batch = draw_batch(options, classes, options.pretraining.batch, torch.Generator().manual_seed(0))
    classification_gradient(options, remember, start(options), batch)
    assert set(seen) == set(range(12))


def test_a_step_of_pretraining_leaves_the_head_and_a_meta_step_leaves_the_classifier(tmp_path: Path) -> None:
    options = tiny_options(**PRETRAINED)
    states = [checkpoint_after(options, tmp_path / str(steps), steps).params for steps in (0, 3, 7)]
    fresh, pretrained, finished = states
    assert any(name.startswith("classifier.") for name in fresh)
    for name in fresh:
        moved_first, moved_then = (not torch.equal(one[name], other[name]) for one, other in ((fresh, pretrained), (pretrained, finished)))
        if name.startswith("classifier."):
            assert (moved_first, moved_then) == (True, False), name
        elif not name.startswith("encoder."):
            assert (moved_first, moved_then) == (False, True), name
        elif name.endswith("norm.weight"):
            assert (moved_first, moved_then) == (True, True), name


def test_the_classifier_is_no_part_of_the_meta_model(tmp_path: Path) -> None:
    options = tiny_options(**PRETRAINED)
    trained = train(options, tmp_path)
    assert trained is not None
    assert trained.model.params.keys() == initial_params(options.build_encoder(), options.build_recipe(), torch.Generator()).keys()
    assert trained.steps == options.steps == 7


def test_an_interrupted_pretraining_resumes_bit_for_bit(tmp_path: Path) -> None:
    options = tiny_options(**PRETRAINED)
    train(options, tmp_path / "whole")
    train(options, tmp_path / "parts", steps=2)
    train(options, tmp_path / "parts", resume=True)
    whole, parts = (asdict(load_checkpoint(tmp_path / name, options)) for name in ("whole", "parts"))
    assert_same({**parts, "seconds": None}, {**whole, "seconds": None})


def test_the_best_weights_of_pretraining_do_not_stand_against_those_of_meta_training(tmp_path: Path) -> None:
    """Their head has learned nothing, though class means may do as well."""
    heard = Heard()
    options = tiny_options(**PRETRAINED)
    trained = train(options, tmp_path, heard=heard)
    assert trained is not None
    assert heard.validated_at == [1, 2, 3, 4, 5, 6, 7]
    assert trained.best.step > 3
    assert trained.best.score == max(judged.accuracy for judged in heard.judged[3:])


def test_patience_waits_for_meta_training(tmp_path: Path) -> None:
    validation = {**PRETRAINED["validation"], "patience": 1}
    pretraining = {"steps": 6, "batch": 4}
    heard = Heard()
    train(tiny_options(**{**PRETRAINED, "validation": validation, "pretraining": pretraining}), tmp_path, heard=heard)
    assert max(heard.steps) > 6


def test_pretraining_alone_makes_a_model_of_class_means(tmp_path: Path) -> None:
    options = tiny_options(preset="protonet", pretraining={"steps": 3, "batch": 8}, stages=[])
    trained = train(options, tmp_path)
    assert trained is not None
    assert trained.finished
    assert (trained.steps, trained.model.recipe.steps_max) == (3, 0)


def test_nearest_means_of_a_model_are_its_encoder_with_a_fresh_prototype_head() -> None:
    model = tiny_model()
    plain = by_nearest_means(model)
    assert (plain.recipe.head, plain.recipe.steps_default, plain.encoder) == ("prototype", 0, model.encoder)
    pictures = torch.rand(3, *model.encoder.input_shape)
    assert torch.equal(plain.embed(pictures), model.embed(pictures))
    assert sorted(set(plain.params) ^ set(model.params)) == ["rate.head.bias", "rate.head.weight"]


def test_a_cosine_does_not_look_at_the_length_of_an_embedding(generator: torch.Generator) -> None:
    params = {"classifier.weight": torch.randn(4, 6, generator=generator), "classifier.log_scale": torch.tensor(1.0)}
    embeddings = torch.randn(3, 6, generator=generator)
    torch.testing.assert_close(classifier_logits(params, embeddings), classifier_logits(params, 7 * embeddings))


def test_without_pretraining_there_is_no_classifier() -> None:
    assert initial_classifier(tiny_options(), tiny_data()["train"], torch.Generator()) == {}
    assert without_classifier({"classifier.weight": torch.zeros(1), "encoder.a": torch.zeros(1)}) == {"encoder.a": torch.zeros(1)}
