"""Tasks for servers: the files of Omniglot drawings, and what the meta-model answers when nothing is batched or served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.subject import SEED, Subject
from service.inputs.archives import by_class, read_zip
from service.inputs.specification import RawInput
from service.learner.episodes import Support
from service.learner.meta_model import Adapted, adapt, predict
from service.training.sources.omniglot import VINYALS_TEST

NAMES = "abcdefghijklmnopqrst"
QUERIES = 4  # the first is a drawing of the support set


@dataclass(frozen=True, slots=True)
class Question:
    """A file to classify, its true class, and the class that the meta-model gives it."""

    content: bytes
    truth: str
    expected: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """A support set of files with their classes, and questions to ask of whoever adapted to it."""

    support: tuple[tuple[str, bytes], ...]
    questions: tuple[Question, ...]


def draw(subject: Subject, data_root: Path, *, way: int, shot: int, count: int) -> list[Drawn]:
    """Draw tasks of unseen characters, the same in every run."""
    groups, generator = _unseen(subject, data_root), np.random.default_rng(SEED)
    classes = sorted(groups)
    return [_drawn(subject, [groups[classes[k]] for k in generator.choice(len(classes), way, replace=False)], shot) for _ in range(count)]


def adapted(subject: Subject, drawn: Drawn) -> Adapted:
    """Adapt to a task as the reference does."""
    return _adapted(subject, drawn.support)


def share_right(drawn: Sequence[Drawn]) -> float:
    """Give how many questions the meta-model itself answers with the truth."""
    questions = [question for each in drawn for question in each.questions]
    return sum(question.expected == question.truth for question in questions) / len(questions)


def _unseen(subject: Subject, data_root: Path) -> Mapping[str, list[bytes]]:
    """Read the files of the characters that the meta-model was not trained on."""
    groups: dict[str, list[bytes]] = {}
    for member in by_class(read_zip((data_root / "omniglot" / "images_evaluation.zip").read_bytes(), max_bytes=2**30)):
        groups.setdefault(member.label, []).append(member.content)
    tested = sorted(groups)[-VINYALS_TEST if subject.split == "vinyals" else 0 :]
    return {label: groups[label] for label in tested}


def _drawn(subject: Subject, files: Sequence[Sequence[bytes]], shot: int) -> Drawn:
    support = tuple((name, content) for name, own in zip(NAMES, files, strict=False) for content in own[:shot])
    asked = [support[0], *((NAMES[k % len(files)], files[k % len(files)][shot + k]) for k in range(1, QUERIES))]
    answers = _answers(subject, support, [content for _, content in asked])
    return Drawn(support, tuple(Question(content, truth, answer) for (truth, content), answer in zip(asked, answers, strict=True)))


def _answers(subject: Subject, support: Sequence[tuple[str, bytes]], queries: Sequence[bytes]) -> list[str]:
    """Adapt and predict as the reference does, one task at a time."""
    names = sorted({name for name, _ in support})
    shares = predict(subject.stored.model, _adapted(subject, support).params, _decoded(subject, queries))
    return [names[row] for row in shares.argmax(dim=1).tolist()]


def _adapted(subject: Subject, support: Sequence[tuple[str, bytes]]) -> Adapted:
    model, names = subject.stored.model, sorted({name for name, _ in support})
    labels = torch.tensor([names.index(name) for name, _ in support])
    return adapt(model, Support(_decoded(subject, [content for _, content in support]), labels, len(names)), model.recipe.steps_default)


def _decoded(subject: Subject, files: Sequence[bytes]) -> torch.Tensor:
    takes = subject.stored.manifest.input
    return torch.stack([takes.decode(RawInput("drawing", content)) for content in files])
