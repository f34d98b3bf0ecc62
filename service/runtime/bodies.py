"""Models that move the body: one session after the other, or stacked where that pays on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch
from torch import Tensor

from service.learner.batched_bodies import adapt_bodies, embed_bodies, kept_bytes
from service.learner.episodes import Support
from service.learner.meta_model import Adapted, MetaModel, adapt, adapted_shapes
from service.learner.parameters import Params, moved_to
from service.learner.starts import moved_body
from service.runtime.arena import Arenas, Rows
from service.runtime.buckets import in_buckets, magnitudes

# Of every number that moves: the number, its slope, what the step makes of it, and what Adam remembers.
COPIES = 4


@dataclass(frozen=True, slots=True)
class Stacking:
    """When stacking pays on a kind of device.

    Attributes:
        adapt_from: so many support sets of about one size.
        embed_from: so many sessions asked about as much.
        kernels: also where kernels of convolutions move.
        room_bytes: what a stack may need; more sessions make more stacks.
    """

    adapt_from: int
    embed_from: int
    kernels: bool
    room_bytes: int


# A CPU's are measured (docs/adr/0018). A CUDA device's are not: every call costs it more, and it wants to be filled.
STACKING = {
    "cpu": Stacking(adapt_from=4, embed_from=12, kernels=False, room_bytes=2**26),
    "cuda": Stacking(adapt_from=2, embed_from=2, kernels=True, room_bytes=2**32),
}


@dataclass(frozen=True, slots=True)
class Moved:
    """A session's adapted parameters, named by their digest, and inputs [N, ...] on the CPU to embed by them."""

    params: Params
    digest: str
    inputs: Tensor

    def rows(self, names: Sequence[str]) -> Rows:
        """Give the parameters of these names as a row."""
        return Rows(self.digest, lambda: torch.cat([self.params[name].flatten() for name in names]).unsqueeze(0))


class Bodies:
    """Adapts and embeds for models that move the body; called by the thread that owns the device, and by no other."""

    def __init__(self, device: torch.device, *, arena_bytes: int, chunk: int, stacking: Stacking | None = None) -> None:
        self._device = device
        self._chunk = chunk
        self._stacking = stacking or STACKING[device.type]
        self._arenas = Arenas(device, budget_bytes=arena_bytes)

    def adapt(self, model: MetaModel, tasks: Sequence[tuple[Support, int]]) -> list[Adapted]:
        """Adapt to support sets on the device, each in its own number of steps."""
        return in_buckets(partial(self._adapt, model), tasks, _alike)

    def embed(self, model: MetaModel, asked: Sequence[Moved]) -> list[Tensor]:
        """Embed the inputs of sessions, each by its own parameters: [N, D] each."""
        return in_buckets(partial(self._embed, model), asked, lambda each: magnitudes(len(each.inputs)))

    def _adapt(self, model: MetaModel, tasks: Sequence[tuple[Support, int]]) -> list[Adapted]:
        """Adapt to tasks of one number of steps and about one size."""
        supports, steps = [support for support, _ in tasks], tasks[0][1]
        room = self._room(model, model.recipe.views * max(len(support.labels) for support in supports))
        if min(len(tasks), room) < self._stacking.adapt_from:
            return [adapt(model, support, steps) for support in supports]
        stacks = (supports[first : first + room] for first in range(0, len(supports), room))
        return list(chain.from_iterable(adapt_bodies(model, stack, steps) for stack in stacks))

    def _embed(self, model: MetaModel, asked: Sequence[Moved]) -> list[Tensor]:
        """Embed about as many inputs of each session."""
        room = self._room(model, max(len(each.inputs) for each in asked))
        if min(len(asked), room) < self._stacking.embed_from:
            return [self._embed_alone(model, each) for each in asked]
        stacks = (asked[first : first + room] for first in range(0, len(asked), room))
        return list(chain.from_iterable(self._embed_stacked(model, stack) for stack in stacks))

    def _embed_alone(self, model: MetaModel, asked: Moved) -> Tensor:
        params = {**model.params, **moved_to(asked.params, self._device)}
        return torch.cat([model.embed(chunk.to(self._device), params) for chunk in torch.split(asked.inputs, self._chunk)])

    def _embed_stacked(self, model: MetaModel, stack: Sequence[Moved]) -> list[Tensor]:
        inputs = torch.nn.utils.rnn.pad_sequence([each.inputs for each in stack], batch_first=True).to(self._device)
        embedded = embed_bodies(model, self._own(model, stack), inputs)
        return [rows[: len(each.inputs)] for rows, each in zip(embedded, stack, strict=True)]

    def _own(self, model: MetaModel, stack: Sequence[Moved]) -> dict[str, Tensor]:
        """Give the sessions' own encoder parameters and moments stacked: [T, ...] each, from the arena unless they do not fit there."""
        shapes = {name: shape for name, shape in sorted(adapted_shapes(model, 1).items()) if not name.startswith("head.")}
        sizes = [shape.numel() for shape in shapes.values()]
        rows = [each.rows(list(shapes)) for each in stack]
        gathered = self._arenas.of_length(sum(sizes)).gather(rows)
        if gathered is None:
            gathered = torch.stack([each.make() for each in rows]).to(self._device)
        parts = torch.split(gathered.squeeze(1), sizes, dim=1)
        return {name: part.view(len(stack), *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    def _room(self, model: MetaModel, inputs: int) -> int:
        """Give how many tasks of so many inputs may be stacked; none where that does not pay."""
        moved = moved_body(model.encoder, model.recipe.scope, model.params).values()
        if not self._stacking.kernels and any(value.dim() == 4 for value in moved):
            return 0
        numbers = COPIES * sum(value.nbytes for value in moved)
        return self._stacking.room_bytes // (inputs * kept_bytes(model.encoder) + numbers)


def _alike(task: tuple[Support, int]) -> tuple[int, ...]:
    support, steps = task
    return (steps, *magnitudes(len(support.labels), support.way))
