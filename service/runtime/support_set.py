"""From raw inputs to the support set and the queries of one task."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.errors import TooLargeError, UnusableSupportError
from service.inputs.specification import InputSpecification, RawInput
from service.learner.episodes import Support
from service.runtime.catalog import Served
from service.runtime.limits import Limits


@dataclass(frozen=True, slots=True)
class Labelled:
    """One example as it came."""

    label: str
    raw: RawInput


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a support set: sorted labels, so that label 2 means the same class on every replica."""

    labels: tuple[str, ...]
    shots: tuple[int, ...]


def as_task(inputs: Tensor, labels: Sequence[str], classes: Classes) -> Support:
    """Number the labels of decoded inputs [N, ...].

    Examples are put in an order of their own, by label and content, so that sending them in another, or one after the
    other, gives the same sums and the same digest.
    """
    row = {label: index for index, label in enumerate(classes.labels)}
    rows = [row[label] for label in labels]
    order = sorted(range(len(rows)), key=lambda place: (rows[place], inputs[place].numpy().tobytes()))
    return Support(inputs[order], torch.tensor([rows[place] for place in order]), len(classes.labels))


def decode_inputs(raws: Sequence[RawInput], takes: InputSpecification, limits: Limits) -> Tensor:
    """Decode inputs in order: [N, ...] as the encoder reads them; the first that cannot be used raises its InputError."""
    return torch.stack([takes.decode(raw, max_pixels=limits.image_pixels) for raw in raws])


def classes_of(labels: Sequence[str], served: Served, limits: Limits) -> Classes:
    """Find the classes of a support set by its examples' labels, before anything is decoded.

    Raises:
        UnusableSupportError: no examples, one class only, or another number of classes than the head serves.
        TooLargeError: more examples or classes than allowed.
    """
    counts = Counter(labels)
    way, only = len(counts), served.manifest.recipe.way
    if not labels:
        raise UnusableSupportError("expected labelled examples of at least two classes, got none", field="support")
    if way == 1:
        raise UnusableSupportError(
            f"expected examples of at least two classes, got only {next(iter(counts))!r}; add another class", field="support"
        )
    if only is not None and way != only:
        raise UnusableSupportError(f"meta-model {served.reference} has a head for exactly {only} classes, got {way}", field="support")
    if len(labels) > limits.examples or way > limits.classes:
        raise TooLargeError(
            f"expected at most {limits.examples:,} examples of {limits.classes:,} classes, got {len(labels):,} of {way:,}",
            field="support",
        )
    names = tuple(sorted(counts))
    return Classes(names, tuple(counts[name] for name in names))
