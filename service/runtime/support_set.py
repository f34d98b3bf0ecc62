"""From raw inputs to the support set and the queries of one task."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from service.errors import TooLargeError, UnusableSupportError
from service.inputs.specification import InputSpecification, RawInput
from service.learner.episodes import Support
from service.runtime.catalog import Served
from service.runtime.limits import Limits
from service.sessions.contents import Answer


@dataclass(frozen=True, slots=True)
class Labelled:
    """One example as it came: with its label, or the numbers of a regression."""

    label: Answer
    raw: RawInput


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a support set: sorted labels, so that label 2 means the same class on every replica; none in a regression."""

    labels: tuple[str, ...]
    shots: tuple[int, ...]


def as_task(inputs: Tensor, labels: Sequence[Answer], classes: Classes) -> Support:
    """Number the labels of decoded inputs [N, ...]; those of a regression are its targets [N, outputs].

    Examples are put in an order of their own, by label and content, so that sending them in another, or one after the
    other, gives the same sums and, where it is adapted alone, the same digest.
    """
    row: dict[Answer, int] = {label: index for index, label in enumerate(classes.labels)}
    told = [row.get(label, label) for label in labels]
    contents = list(map(bytes, inputs.numpy()))
    order = sorted(range(len(told)), key=lambda place: (told[place], contents[place]))
    answers = torch.tensor([told[place] for place in order])
    return Support(inputs[order], answers, len(classes.labels) if classes.labels else answers.shape[1])


def decode_inputs(
    raws: Sequence[RawInput], takes: InputSpecification, limits: Limits, *, before_each: Callable[[], None] = lambda: None
) -> Tensor:
    """Decode inputs in order: [N, ...]; the first that cannot be used raises its InputError, also a vector of another length.

    `before_each` is called before each of them, and stops it by what it raises.
    """
    decoded: list[Tensor] = []
    for raw in raws:
        before_each()
        alike = takes.of_length(decoded[0].shape[-1]) if decoded else takes
        decoded.append(alike.decode(raw, max_pixels=limits.image_pixels))
    return torch.stack(decoded)


def classes_of(answers: Sequence[Answer], served: Served, limits: Limits) -> Classes:
    """Find the classes of a support set by its examples' labels, before anything is decoded; a regression has none.

    Raises:
        UnusableSupportError: no examples, one class only, or another number of classes than the head serves; targets where
            labels are expected, labels where targets are, or another number of them.
        TooLargeError: more examples or classes than allowed.
    """
    if served.manifest.recipe.regression:
        _check_targets(answers, served, limits)
        return Classes((), ())
    labels = [answer for answer in answers if isinstance(answer, str)]
    if len(labels) < len(answers):
        raise UnusableSupportError(
            f"meta-model {served.reference} tells classes apart; expected a `label` for every example", field="support"
        )
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


def _check_targets(answers: Sequence[Answer], served: Served, limits: Limits) -> None:
    outputs = served.manifest.recipe.way
    if not answers:
        raise UnusableSupportError("expected examples with a `target`, got none", field="support")
    for place, answer in enumerate(answers):
        if isinstance(answer, str) or len(answer) != outputs:
            got = f"the label {answer!r}" if isinstance(answer, str) else f"{len(answer)} numbers"
            raise UnusableSupportError(
                f"support[{place}]: meta-model {served.reference} predicts numbers; expected a `target` of {outputs}, got {got}",
                field=f"support[{place}].target",
            )
    if len(answers) > limits.examples:
        raise TooLargeError(f"expected at most {limits.examples:,} examples, got {len(answers):,}", field="support")
