"""LitServe running the per-request loop; its predictions share passes of the encoder.

Usage: python -m benchmarks.peers.litserve_loop MODEL MODEL_STORE PORT [--threads 1] [--wait-ms 1] [--fast-queue] [--device cpu]
"""

from collections.abc import Sequence

import torch
import typer
from torch import Tensor

from benchmarks.peers.litserve_api import FewShotAPI, command
from benchmarks.peers.request_loop import Learned, RequestLoop
from benchmarks.peers.tasks import Task


class LoopAPI(FewShotAPI):
    """Adapts one request after the other."""

    def load(self, device: torch.device) -> None:
        self.loop = RequestLoop.of(self.model_store, self.model, device)
        self.reader = self.loop.reader

    def adapt_all(self, tasks: Sequence[Task]) -> list[Learned]:
        return [self.loop.adapt(task) for task in tasks]

    def predict_all(self, learned: Sequence[Learned], queries: Sequence[Tensor]) -> list[Tensor]:
        return self.loop.predict(learned, queries)


if __name__ == "__main__":
    typer.run(command(LoopAPI))
