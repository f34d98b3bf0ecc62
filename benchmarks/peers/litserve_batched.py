"""LitServe given our batched maths: one pass of the folded encoder, and all heads' steps in shared products.

Usage: python -m benchmarks.peers.litserve_batched MODEL MODEL_STORE PORT [--threads 1] [--wait-ms 1] [--fast-queue] [--device cpu]
"""

from collections.abc import Sequence

import torch
import typer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks.peers.litserve_api import FewShotAPI, command
from benchmarks.peers.tasks import Task, load
from service.learner import heads
from service.learner.batched_heads import adapt_heads
from service.learner.episodes import Support
from service.learner.meta_model import as_served
from service.learner.parameters import Params
from service.learner.task_batch import TaskBatch
from service.learner.views import with_views


class BatchedAPI(FewShotAPI):
    """Computes all that wait together."""

    def load(self, device: torch.device) -> None:
        model, self.reader = load(self.model_store, self.model)
        self.device = device
        self.folded = as_served(model, device)

    @torch.no_grad()
    def adapt_all(self, tasks: Sequence[Task]) -> list[Params]:
        seen = [with_views(task.support, self.folded.recipe.views) for task in tasks]
        parts = self._embed([support.inputs for support in seen])
        batch = TaskBatch.of(
            [Support(part, support.labels.to(self.device), support.way) for part, support in zip(parts, seen, strict=True)]
        )
        recipe = self.folded.recipe
        return [each.params for each in adapt_heads(self.folded.params, recipe, batch, [recipe.steps_default] * len(tasks))]

    @torch.no_grad()
    def predict_all(self, learned: Sequence[Params], queries: Sequence[Tensor]) -> list[Tensor]:
        embedded = pad_sequence(self._embed(queries), batch_first=True)
        bias = pad_sequence([each["head.bias"] for each in learned], batch_first=True, padding_value=-torch.inf)
        head = {"head.weight": pad_sequence([each["head.weight"] for each in learned], batch_first=True), "head.bias": bias}
        shares = heads.logits(head, embedded, heads.scale(self.folded.params)).softmax(dim=2)
        return [each[: len(own)] for each, own in zip(shares.cpu(), queries, strict=True)]

    def _embed(self, groups: Sequence[Tensor]) -> list[Tensor]:
        rows = self.folded.embed(torch.cat(list(groups)).to(self.device))
        return list(torch.split(rows, [len(each) for each in groups]))


if __name__ == "__main__":
    typer.run(command(BatchedAPI))
