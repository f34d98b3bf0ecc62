"""One request at a time in plain PyTorch, as a good user writes it: the support set encoded once, autograd steps of the head."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.peers.plain_loops import AdaptOne, encode_once, take_steps
from benchmarks.peers.plain_modules import plain_encoder
from benchmarks.peers.problem import HeadSetup, as_peers_read
from benchmarks.peers.tasks import Reader, Task, load
from service.learner.encoders.encoder import as_shares
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Learned:
    """One adapted head [way, D], and the names of its rows."""

    labels: tuple[str, ...]
    head: Params


@dataclass(frozen=True, slots=True)
class RequestLoop:
    """Adapts to one support set; predicts with one head, or with several over one pass of the encoder."""

    reader: Reader
    encoder: nn.Module
    loop: AdaptOne
    views: int
    factor: float
    device: torch.device

    @classmethod
    def of(cls, model_store: Path, reference: str, device: torch.device) -> "RequestLoop":
        """Load a meta-model onto a device."""
        model, reader = load(model_store, reference)
        encoder, setup = plain_encoder(model, device).requires_grad_(False), HeadSetup.of(model)
        loop = encode_once(encoder, setup, take_steps, steps=model.recipe.steps_default)
        return cls(reader, encoder, loop, model.recipe.views, setup.factor, device)

    def adapt(self, task: Task) -> Learned:
        """Take the meta-model's default steps."""
        return Learned(task.labels, self.loop(as_peers_read(task.support, views=self.views, device=self.device)))

    @torch.no_grad()
    def predict(self, learned: Sequence[Learned], queries: Sequence[Tensor]) -> list[Tensor]:
        """Give class probabilities [M, way] for queries [M, C, H, W] of each head."""
        embedded = self.encoder(as_shares(torch.cat(list(queries)).to(self.device), torch.empty(0)))
        parts = torch.split(embedded, [len(each) for each in queries])
        return [self._shares(each.head, part) for each, part in zip(learned, parts, strict=True)]

    def _shares(self, head: Params, embedded: Tensor) -> Tensor:
        return (self.factor * (embedded @ head["head.weight"].T + head["head.bias"])).softmax(dim=1).cpu()
