"""Batched adapting and predicting on one device. Results do not depend on what shares a batch."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from service.errors import AdaptationDivergedError, UnusableVectorError
from service.learner import heads
from service.learner.batched_heads import adapt_heads
from service.learner.episodes import Support
from service.learner.leave_one_out import leave_one_out_accuracy
from service.learner.meta_model import Adapted, MetaModel, adapt
from service.learner.parameters import Params
from service.learner.views import with_views
from service.sessions.session import digest

# Images that pass the encoder together: about what stays in a CPU's cache.
ENCODER_CHUNK = 64


@dataclass(frozen=True, slots=True)
class AdaptTask:
    """One support set to adapt to; its inputs are as the encoder reads them, on the CPU."""

    support: Support
    steps: int

    @property
    def items(self) -> int:
        """How many inputs pass the encoder."""
        return len(self.support.labels)


@dataclass(frozen=True, slots=True)
class PredictTask:
    """Queries [M, ...] for one session's adapted parameters; the `top` likeliest classes of each are wanted."""

    params: Params
    queries: Tensor
    top: int

    @property
    def items(self) -> int:
        """How many inputs pass the encoder."""
        return len(self.queries)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What adapting to one support set gives; the digest identifies the adapted parameters by content."""

    adapted: Adapted
    weights_digest: str
    leave_one_out_accuracy: float | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """The likeliest classes of each query, best first: their rows and their probabilities."""

    rows: list[list[int]]
    scores: list[list[float]]


@dataclass(frozen=True, slots=True)
class Engine:
    """Computes on one device; it is called by the thread that owns the device, and by no other."""

    device: torch.device

    def adapt(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Fitted | AdaptationDivergedError]:
        """Adapt one meta-model to several support sets; one that diverges is an error in its place."""
        with torch.no_grad():
            seen = [with_views(task.support, model.recipe.views) for task in tasks]
            embeddings = self._embed(model, [support.inputs for support in seen])
            embedded = [
                replace(support, inputs=rows, labels=support.labels.to(self.device)) for rows, support in zip(embeddings, seen, strict=True)
            ]
            adapted = self._adapt_bodies(model, tasks) if model.recipe.moves_body else self._adapt_heads(model, tasks, embedded)
            return [_judged(each, support, model.recipe.views) for each, support in zip(adapted, embedded, strict=True)]

    def predict(self, model: MetaModel, tasks: Sequence[PredictTask]) -> list[Ranked | UnusableVectorError]:
        """Rank the classes of each task's queries; a task with numbers too large to score is an error in its place."""
        with torch.no_grad():
            if model.recipe.moves_body:
                moved = [replace(model, params={**model.params, **task.params}) for task in tasks]
                embedded = [self._embed(each, [task.queries])[0] for each, task in zip(moved, tasks, strict=True)]
            else:
                embedded = self._embed(model, [task.queries for task in tasks])
            factor = heads.scale(model.params)
            return [_ranked(heads.logits(task.params, rows, factor), task.top) for task, rows in zip(tasks, embedded, strict=True)]

    def _adapt_heads(self, model: MetaModel, tasks: Sequence[AdaptTask], embedded: Sequence[Support]) -> list[Adapted]:
        return adapt_heads(model.params, model.recipe, embedded, [task.steps for task in tasks])

    def _adapt_bodies(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Adapted]:
        return [adapt(model, self._here(task.support), task.steps) for task in tasks]

    def _here(self, support: Support) -> Support:
        return replace(support, inputs=support.inputs.to(self.device), labels=support.labels.to(self.device))

    def _embed(self, model: MetaModel, groups: Sequence[Tensor]) -> list[Tensor]:
        """Embed all groups in one stream of chunks, and take them apart again."""
        joined = torch.cat(list(groups))
        rows = torch.cat([model.embed(chunk) for chunk in self._chunks(joined)])
        return list(torch.split(rows, [len(group) for group in groups]))

    def _chunks(self, inputs: Tensor) -> Iterator[Tensor]:
        for chunk in torch.split(inputs, ENCODER_CHUNK):
            yield chunk.to(self.device)


def _judged(adapted: Adapted, embedded: Support, views: int) -> Fitted | AdaptationDivergedError:
    finite = all(map(math.isfinite, adapted.losses)) and all(bool(torch.isfinite(value).all()) for value in adapted.params.values())
    if not finite:
        return AdaptationDivergedError(
            "the support loss became NaN or infinite, so no session was made; ask for fewer steps", field="steps"
        )
    # An example is left out with all its views: their mean stands for it, as it does in a prototype.
    examples = embedded.inputs.reshape(views, -1, embedded.inputs.shape[1]).mean(dim=0)
    judged = leave_one_out_accuracy(examples, embedded.labels[: len(examples)], embedded.way)
    return Fitted(adapted, digest(adapted.params), judged)


def _ranked(logits: Tensor, top: int) -> Ranked | UnusableVectorError:
    if not torch.isfinite(logits).all():
        return UnusableVectorError(
            "a query's numbers are so large that its scores became NaN or infinite; scale them down", field="queries"
        )
    scores, rows = logits.softmax(dim=1).topk(min(top, logits.shape[1]), dim=1)
    return Ranked(rows.tolist(), scores.tolist())
