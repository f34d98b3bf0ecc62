"""Batched adapting and predicting on one device. Results do not depend on what shares a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from service.errors import AdaptationDivergedError, UnusableVectorError
from service.learner import heads
from service.learner.batched_heads import adapt_heads
from service.learner.episodes import Support
from service.learner.familiarity import measures_distance, reaches
from service.learner.leave_one_out import leave_one_out_accuracies
from service.learner.meta_model import Adapted, MetaModel, adapt, stepped
from service.learner.parameters import moved_to, under
from service.learner.starts import head_start
from service.learner.task_batch import TaskBatch
from service.learner.views import view
from service.runtime.arena import Arenas
from service.runtime.bodies import Bodies, Stacking
from service.runtime.buckets import in_buckets, magnitudes
from service.runtime.ranking import Asked, Found, Ranked, estimate, rank, with_nearest
from service.runtime.tasks import AdaptTask, EmbedTask, PredictTask
from service.sessions.contents import digest, pack_weights

# Images that pass the encoder together: about what stays in a CPU's cache; a CUDA device wants to be filled.
ENCODER_CHUNK = {"cpu": 64, "cuda": 2048}
ARENA_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Fitted:
    """What adapting to one support set gives: the adapted parameters, also as bytes, the digest of those, and what to expect of them."""

    adapted: Adapted
    packed: bytes
    weights_digest: str
    leave_one_out_accuracy: float | None
    reach: float | None


class Engine:
    """Computes on one device; it is called by the thread that owns the device, and by no other."""

    def __init__(self, device: torch.device, *, arena_bytes: int = ARENA_BYTES, stacking: Stacking | None = None) -> None:
        self._device = device
        self._chunk = ENCODER_CHUNK[device.type]
        self._arenas = Arenas(device, budget_bytes=arena_bytes)
        self._bodies = Bodies(device, arena_bytes=arena_bytes, chunk=self._chunk, stacking=stacking)

    def company(self, model: MetaModel) -> int:
        """Give how many tasks at once are computed in another way than one alone, for a warm-up; 0 where that makes no difference."""
        return self._bodies.company(model)

    def adapt(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Fitted | AdaptationDivergedError]:
        """Adapt one meta-model to several support sets; one that diverges is an error in its place."""
        # Without a closed form the inner loop differentiates, which tensors of inference mode would forbid.
        with torch.no_grad(), torch.inference_mode(model.recipe.closed_form):
            if model.recipe.regression or model.recipe.moves_body:
                adapted = self._bodies.adapt(model, tasks) if model.recipe.moves_body else self._adapt_alone(model, tasks)
                return [_fitted(*each, None) for each in zip(adapted, self._leave_one_out(model, tasks), strict=True)]
            embedded = self._embed_supports(model, tasks)
            return in_buckets(partial(self._fit, model), list(zip(tasks, embedded, strict=True)), _extent)

    @torch.inference_mode()
    def predict(self, model: MetaModel, tasks: Sequence[PredictTask]) -> Sequence[Found]:
        """Rank the classes of each task's queries, or predict their numbers; a task with numbers too large is an error in its place."""
        embedded = self._embed_adapted(model, [EmbedTask(task.params, task.digest, task.queries) for task in tasks])
        found = self._answers(model, list(zip(tasks, embedded, strict=True)))
        return [self._with_nearest(model, *each) for each in zip(found, tasks, embedded, strict=True)]

    @torch.inference_mode()
    def embed(self, model: MetaModel, tasks: Sequence[EmbedTask]) -> list[Tensor]:
        """Embed each task's inputs by its adapted parameters: [N, D], on the CPU."""
        embedded = self._embed_adapted(model, tasks)
        return [rows.to("cpu", copy=True) for rows in embedded]  # copies: a slice would keep its whole batch in memory

    def _answers(self, model: MetaModel, asked: Sequence[tuple[PredictTask, Tensor]]) -> Sequence[Found]:
        """Answer tasks by the embeddings [M, D] of their queries."""
        if not model.recipe.regression:
            return in_buckets(partial(self._rank, model), asked, _asked_extent)
        factor = heads.scale(model.params)
        return [estimate(moved_to(under(task.params, [heads.HEAD]), self._device), rows, factor) for task, rows in asked]

    def _with_nearest(self, model: MetaModel, found: Found, task: PredictTask, queries: Tensor) -> Found:
        if task.nearest is None:
            return found
        examples = task.nearest.examples.to(self._device)
        if model.recipe.standardises:
            _, _, unit = heads.standardised(examples, torch.full((len(examples),), 1 / len(examples), device=self._device))
            queries, examples = queries * unit, examples * unit
        return with_nearest(found, queries, examples, task.nearest.count)

    def _fit(self, model: MetaModel, embedded: Sequence[tuple[AdaptTask, Tensor]]) -> list[Fitted | AdaptationDivergedError]:
        """Adapt to tasks and their embeddings [views, N, D]."""
        examples = self._examples(embedded)
        if model.recipe.closed_form:
            seen = examples if model.recipe.views == 1 else TaskBatch.of([self._support(task, rows) for task, rows in embedded])
            adapted = adapt_heads(model.params, model.recipe, seen, [task.steps for task, _ in embedded])
        else:
            starts = [head_start(model.params, model.recipe, self._support(task, rows)) for task, rows in embedded]
            adapted = [stepped(start, task.steps) for start, (task, _) in zip(starts, embedded, strict=True)]
        alike = examples.standardised() if model.recipe.standardises else examples
        known = reaches(examples, model.spread) if measures_distance(model.recipe) else [None] * len(embedded)
        return [_fitted(*each) for each in zip(adapted, leave_one_out_accuracies(alike), known, strict=True)]

    def _adapt_alone(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Adapted]:
        return [adapt(model, task.support.on(self._device), task.steps) for task in tasks]

    def _leave_one_out(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[float | None]:
        """Tell it before any inner step; None, and no pass of the encoder, where no class has two examples, and for a regression."""
        tells = [not model.recipe.regression and bool((task.support.labels.bincount() > 1).any()) for task in tasks]
        if not any(tells):
            return [None] * len(tasks)
        telling = list(compress(tasks, tells))
        embedded = list(zip(telling, self._embed_supports(model, telling), strict=True))
        found = iter(in_buckets(lambda alike: leave_one_out_accuracies(self._examples(alike)), embedded, _extent))
        return [next(found) if each else None for each in tells]

    def _examples(self, embedded: Sequence[tuple[AdaptTask, Tensor]]) -> TaskBatch:
        """Put tasks and their embeddings [views, N, D] side by side, an example the mean of its views, with all of which it is left out."""
        return TaskBatch.of([self._support(task, rows.mean(dim=0, keepdim=True)) for task, rows in embedded])

    def _support(self, task: AdaptTask, embedded: Tensor) -> Support:
        """Put embeddings [views, N, D] in the place of a task's inputs, view by view."""
        labels = task.support.labels.to(self._device)
        return Support(embedded.flatten(0, 1), labels.repeat(len(embedded)) if len(embedded) > 1 else labels, task.support.way)

    def _rank(self, model: MetaModel, asked: Sequence[tuple[PredictTask, Tensor]]) -> list[Ranked | UnusableVectorError]:
        wanted = [Asked(embedded, len(task.params["head.bias"]), task.top, task.temperature) for task, embedded in asked]
        return rank(wanted, self._heads(model, [task for task, _ in asked]), heads.scale(model.params))

    def _heads(self, model: MetaModel, tasks: Sequence[PredictTask]) -> Tensor:
        """Give the tasks' heads side by side: [T, W, D + 1], from the arena unless they do not fit there."""
        gathered = self._arenas.of_length(model.encoder.embedding + 1).gather([task.head for task in tasks])
        if gathered is None:
            return pad_sequence([heads.rows(task.params).to(self._device) for task in tasks], batch_first=True)
        return gathered

    def _embed_adapted(self, model: MetaModel, tasks: Sequence[EmbedTask]) -> list[Tensor]:
        """Embed inputs with adapted parameters beside them, as queries are: [N, D] each; in one pass where they move no body."""
        if model.recipe.moves_body:
            return self._bodies.embed(model, tasks)
        return [rows[0] for rows in self._embed(model, [task.inputs for task in tasks])]

    def _embed_supports(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Tensor]:
        """Embed support sets before any inner step: [views, N, D] each; one by one where each has moments of its own."""
        if model.encoder.norm == "task":
            return [model.embed_support(task.support.on(self._device)).unsqueeze(0) for task in tasks]
        return self._embed(model, [task.support.inputs for task in tasks], views=model.recipe.views)

    def _embed(self, model: MetaModel, groups: Sequence[Tensor], *, views: int = 1) -> list[Tensor]:
        """Embed all groups [N, ...] in one stream of chunks, and take them apart again: [views, N, D] each."""
        chunks = torch.split(torch.cat(list(groups)), max(1, self._chunk // views))
        rows = torch.cat([_embed_views(model, chunk.to(self._device), views) for chunk in chunks], dim=1)
        return list(torch.split(rows, [len(group) for group in groups], dim=1))


def _embed_views(model: MetaModel, inputs: Tensor, views: int) -> Tensor:
    """Embed every view of inputs [N, ...] in one pass: [views, N, D]."""
    seen = torch.cat([view(inputs, index) for index in range(views)]) if views > 1 else inputs
    return model.embed(seen).view(views, len(inputs), -1)


def _extent(embedded: tuple[AdaptTask, Tensor]) -> tuple[int, ...]:
    task, _ = embedded
    return magnitudes(len(task.support.labels), task.support.way)


def _asked_extent(asked: tuple[PredictTask, Tensor]) -> tuple[int, ...]:
    task, embedded = asked
    return magnitudes(len(embedded), len(task.params["head.bias"]))


def _fitted(adapted: Adapted, leave_one_out: float | None, reach: float | None) -> Fitted | AdaptationDivergedError:
    # The last loss is that of the adapted weights, and every class has a part in it; a body may hide infinities behind rectifiers.
    body = [value for name, value in adapted.params.items() if not name.startswith(heads.HEAD)]
    if not all(map(math.isfinite, adapted.losses)) or not all(bool(value.isfinite().all()) for value in body):
        return AdaptationDivergedError(
            "the support loss became NaN or infinite, so no session was made; ask for fewer steps", field="steps"
        )
    packed = pack_weights(adapted.params)
    return Fitted(adapted, packed, digest(packed), leave_one_out, reach)
