"""Models that move the body: one session after the other, or stacked where that pays on the device."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from service.learner.batched_bodies import adapt_bodies, embed_bodies, kept_bytes
from service.learner.meta_model import Adapted, MetaModel, adapt, body_shapes
from service.learner.parameters import moved_to
from service.learner.starts import moved_body
from service.runtime.arena import Arenas
from service.runtime.buckets import in_buckets, magnitudes
from service.runtime.tasks import AdaptTask, EmbedTask

# Of every number that moves: the number, its slope, what the step makes of it, and what Adam remembers.
COPIES = 4

# A shorter body costs more to remember in an arena than to copy.
REMEMBERED_FROM = 256

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stacking:
    """When stacking pays on a kind of device.

    Attributes:
        adapt_from: so many support sets of about one size.
        embed_from: so many sessions asked about as much.
        kernels: also where kernels of convolutions move.
        room_bytes: what the pass of a stack may keep; more sessions make more stacks.
    """

    adapt_from: int
    embed_from: int
    kernels: bool
    room_bytes: int


# A CPU's are measured (docs/adr/0018). A CUDA device's are not: every call costs it more, and it wants to be filled.
STACKING = {
    "cpu": Stacking(adapt_from=4, embed_from=16, kernels=False, room_bytes=2**24),
    "cuda": Stacking(adapt_from=2, embed_from=2, kernels=True, room_bytes=2**32),
}


class Bodies:
    """Adapts and embeds for models that move the body; called by the thread that owns the device, and by no other."""

    def __init__(self, device: torch.device, *, arena_bytes: int, chunk: int, stacking: Stacking | None = None) -> None:
        self._device = device
        self._chunk = chunk
        self._stacking = stacking or STACKING[device.type]
        self._arenas = Arenas(device, budget_bytes=arena_bytes)

    def company(self, model: MetaModel) -> int:
        """Give how many sessions at once are computed in another way than one alone; 0 where none are."""
        return max(self._stacking.adapt_from, self._stacking.embed_from) if self._room(model, inputs=1) else 0

    def adapt(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Adapted]:
        """Adapt to support sets, each in its own number of steps."""
        return in_buckets(partial(self._adapt, model), tasks, _alike)

    def embed(self, model: MetaModel, tasks: Sequence[EmbedTask]) -> list[Tensor]:
        """Embed the inputs of sessions, each by its own parameters, those of one session in one pass: [N, D] each, on the device."""
        sessions: dict[str, list[EmbedTask]] = {}
        for task in tasks:
            sessions.setdefault(task.digest, []).append(task)
        joined = [replace(own[0], inputs=torch.cat([task.inputs for task in own])) for own in sessions.values()]
        embedded = in_buckets(partial(self._embed, model), joined, lambda task: magnitudes(len(task.inputs)))
        parts = {
            digest: iter(torch.split(rows, [len(task.inputs) for task in own]))
            for (digest, own), rows in zip(sessions.items(), embedded, strict=True)
        }
        return [next(parts[task.digest]) for task in tasks]

    def _adapt(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Adapted]:
        """Adapt to tasks of one number of steps and about one size."""
        supports, steps = [task.support.on(self._device) for task in tasks], tasks[0].steps
        room = self._room(model, inputs=model.recipe.views * max(len(support.labels) for support in supports))
        if min(len(tasks), room) < self._stacking.adapt_from:
            return [adapt(model, support, steps) for support in supports]
        return list(chain.from_iterable(adapt_bodies(model, stack, steps) for stack in _stacks(supports, room)))

    def _embed(self, model: MetaModel, tasks: Sequence[EmbedTask]) -> list[Tensor]:
        """Embed about as many inputs of each session."""
        room = self._room(model, inputs=max(len(task.inputs) for task in tasks))
        if min(len(tasks), room) < self._stacking.embed_from:
            return [self._embed_alone(model, task) for task in tasks]
        return list(chain.from_iterable(self._embed_stacked(model, stack) for stack in _stacks(tasks, room)))

    def _embed_alone(self, model: MetaModel, task: EmbedTask) -> Tensor:
        params = {**model.params, **moved_to(task.params, self._device)}
        return torch.cat([model.embed(chunk.to(self._device), params) for chunk in torch.split(task.inputs, self._chunk)])

    def _embed_stacked(self, model: MetaModel, stack: Sequence[EmbedTask]) -> list[Tensor]:
        inputs = pad_sequence([task.inputs for task in stack], batch_first=True).to(self._device)
        embedded = embed_bodies(model, self._stacked(model, stack), inputs)
        return [rows[: len(task.inputs)] for rows, task in zip(embedded, stack, strict=True)]

    def _stacked(self, model: MetaModel, stack: Sequence[EmbedTask]) -> dict[str, Tensor]:
        """Give the sessions' own encoder parameters and moments: [T, ...] each."""
        shapes = dict(sorted(body_shapes(model).items()))
        sizes = [shape.numel() for shape in shapes.values()]
        parts = torch.split(self._rows(stack, list(shapes), sum(sizes)), sizes, dim=1)
        return {name: part.view(len(stack), *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    def _rows(self, stack: Sequence[EmbedTask], names: Sequence[str], length: int) -> Tensor:
        """Give the parameters of these names side by side, a session a row [T, length], from the arena unless they do not fit there."""
        bodies = [task.body(names) for task in stack]
        held = self._arenas.of_length(length).gather(bodies) if length >= REMEMBERED_FROM else None
        rows = torch.stack([body.make().to(self._device) for body in bodies]) if held is None else held
        return rows.squeeze(1)

    def _room(self, model: MetaModel, *, inputs: int) -> int:
        """Give how many tasks of so many inputs may be stacked; none where that does not pay, or nothing moves."""
        moved = moved_body(model.encoder, model.recipe.scope, model.params).values()
        if not moved or (not self._stacking.kernels and any(value.dim() == 4 for value in moved)):
            return 0
        numbers = COPIES * sum(value.nbytes for value in moved)
        return self._stacking.room_bytes // (inputs * kept_bytes(model.encoder, model.recipe.scope) + numbers)


def _alike(task: AdaptTask) -> tuple[int, ...]:
    return (task.steps, *magnitudes(len(task.support.labels), task.support.way))


def _stacks(tasks: Sequence[T], room: int) -> list[Sequence[T]]:
    """Share tasks out evenly to as few stacks as have room for them: one left over would be slower than alone."""
    count = -(-len(tasks) // room)
    return [tasks[stack * len(tasks) // count : (stack + 1) * len(tasks) // count] for stack in range(count)]
