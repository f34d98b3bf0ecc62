"""Pretraining: before the first episode, the encoder learns to tell all training classes apart, as a plain classifier does.

Chen et al. (2019), A closer look at few-shot classification, arXiv:1904.04232; followed by episodes as in
Chen et al. (2021), Meta-Baseline, arXiv:2003.04390.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from service.learner import heads, losses
from service.learner.episodes import ClassInputs
from service.learner.meta_model import MetaModel
from service.learner.outer_rules import Outcome
from service.learner.parameters import Params, gradients, under
from service.learner.recipe import Recipe
from service.learner.starts import Encode
from service.training.augmentation import augment
from service.training.options import TrainOptions

ENCODER = "encoder."
CLASSIFIER = "classifier."

# Of a cosine classifier: the logarithm of the factor that its logits start with.
FIRST_LOG_SCALE = 2.5


def initial_classifier(options: TrainOptions, classes: ClassInputs, generator: torch.Generator) -> dict[str, Tensor]:
    """Draw a row for every training class, [classes, D], and the scale of a cosine or the biases; nothing without pretraining."""
    if not options.pretraining.steps:
        return {}
    embedding = options.build_encoder().embedding
    rows = torch.randn(len(classes), embedding, generator=generator) / embedding**0.5
    if options.pretraining.classifier == "cosine":
        return {f"{CLASSIFIER}weight": rows, f"{CLASSIFIER}log_scale": torch.tensor(FIRST_LOG_SCALE)}
    return {f"{CLASSIFIER}weight": rows, f"{CLASSIFIER}bias": torch.zeros(len(classes))}


@dataclass(frozen=True, slots=True)
class Batch:
    """Training images [N, C, H, W] and the numbers of their classes [N]."""

    images: Tensor
    labels: Tensor


def draw_batch(options: TrainOptions, classes: ClassInputs, size: int, generator: torch.Generator) -> Batch:
    """Draw and augment so many images; every class is drawn as often."""
    labels = torch.randint(len(classes), (size,), generator=generator)
    rows = _one_of_each(classes, labels, generator)
    return Batch(augment(classes.inputs[rows], options.augmentation, generator, size=options.preprocessing.size), labels)


def classification_gradient(options: TrainOptions, encode: Encode, params: Params, batch: Batch) -> Outcome:
    """Give the gradient of one batch, of the encoder and its classifier alone."""
    images, labels = batch.images, batch.labels
    logits = classifier_logits(params, encode(params, images, None))
    loss = F.cross_entropy(logits, labels, label_smoothing=options.pretraining.smoothing)
    return Outcome(gradients(loss, under(params, (ENCODER, CLASSIFIER))), loss.item(), losses.accuracy(logits, labels).item())


def classifier_logits(params: Params, embeddings: Tensor) -> Tensor:
    """Score embeddings [N, D] against every training class: [N, classes], by scaled cosine or linearly."""
    weight = params[f"{CLASSIFIER}weight"]
    if f"{CLASSIFIER}bias" in params:
        return F.linear(embeddings, weight, params[f"{CLASSIFIER}bias"])
    return params[f"{CLASSIFIER}log_scale"].exp() * F.normalize(embeddings, dim=1) @ F.normalize(weight, dim=1).T


def without_classifier(params: Params) -> dict[str, Tensor]:
    """Keep what belongs to the meta-model."""
    return {name: value for name, value in params.items() if not name.startswith(CLASSIFIER)}


def by_nearest_means(model: MetaModel) -> MetaModel:
    """Give the same encoder with class means as its head and no inner step, which need no meta-training to be judged."""
    recipe = Recipe(views=model.recipe.views)
    head = heads.learned_head(recipe, model.encoder.embedding, torch.Generator())
    return replace(model, recipe=recipe, params={**under(model.params, (ENCODER,)), **head})


def _one_of_each(classes: ClassInputs, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an input of each class named by labels [N]: row numbers [N]."""
    first = torch.tensor(classes.first)
    places = torch.rand(len(labels), generator=generator, dtype=torch.float64)
    return first[labels] + (places * (first[labels + 1] - first[labels])).long()
