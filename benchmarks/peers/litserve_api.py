"""What both servers of LitServe share: one endpoint that adapts or predicts, batched, its sessions in the one worker."""

import base64
import secrets
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import litserve  # type: ignore[import-not-found] # lives in an environment of its own
import torch
from torch import Tensor

from benchmarks.peers.tasks import Reader, Task, worded

MOST_TOGETHER = 64

LearnedT = TypeVar("LearnedT")


@dataclass(frozen=True, slots=True)
class Ask:
    """Decoded queries [M, C, H, W] of a session."""

    session: str
    queries: Tensor


class FewShotAPI(litserve.LitAPI):  # type: ignore[misc] # a base class of unknown type
    """Adapts to a body with `support`, predicts for one with `session` and `queries`; subclasses say how many are computed."""

    reader: Reader

    def __init__(self, model_store: Path, model: str, *, threads: int, wait_seconds: float) -> None:
        super().__init__(max_batch_size=MOST_TOGETHER, batch_timeout=wait_seconds)
        self.model_store, self.model, self.threads = model_store, model, threads

    def setup(self, device: str) -> None:
        torch.set_num_threads(self.threads)
        self.sessions: dict[str, tuple[tuple[str, ...], Any]] = {}
        self.load(torch.device(device))

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Load the meta-model onto the device, in the worker."""

    @abstractmethod
    def adapt_all(self, tasks: Sequence[Task]) -> Sequence[Any]:
        """Adapt to support sets; gives what `predict_all` takes for each."""

    @abstractmethod
    def predict_all(self, learned: Sequence[Any], queries: Sequence[Tensor]) -> list[Tensor]:
        """Give class probabilities [M, way] for queries [M, C, H, W] of each session."""

    def decode_request(self, request: dict[str, Any]) -> Task | Ask:
        if "support" not in request:
            return Ask(request["session"], self.reader.images([base64.b64decode(each["image"]) for each in request["queries"]]))
        support = request["support"]
        return self.reader.task([base64.b64decode(each["image"]) for each in support], [each["label"] for each in support])

    def batch(self, inputs: list[Task | Ask]) -> list[Task | Ask]:
        return inputs

    def predict(self, inputs: list[Task | Ask]) -> list[dict[str, Any]]:
        tasks, asks = [each for each in inputs if isinstance(each, Task)], [each for each in inputs if isinstance(each, Ask)]
        made, told = iter(self._create(tasks) if tasks else ()), iter(self._tell(asks) if asks else ())
        return [next(made) if isinstance(each, Task) else next(told) for each in inputs]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output

    def _create(self, tasks: Sequence[Task]) -> list[dict[str, Any]]:
        made = {secrets.token_hex(8): (task.labels, learned) for task, learned in zip(tasks, self.adapt_all(tasks), strict=True)}
        self.sessions.update(made)
        return [{"session": session} for session in made]

    def _tell(self, asks: Sequence[Ask]) -> list[dict[str, Any]]:
        labels, learned = zip(*(self.sessions[each.session] for each in asks), strict=True)
        shares = self.predict_all(learned, [each.queries for each in asks])
        return [worded(*each) for each in zip(labels, shares, strict=True)]


def command(kind: type[FewShotAPI]) -> Callable[..., None]:
    """Give the command that serves an API on the loopback address with one worker."""

    def main(  # noqa: PLR0913 - a command has as many options as it has
        model: str,
        model_store: Path,
        port: int,
        threads: int = 1,
        wait_ms: float = 1.0,
        fast_queue: bool = False,
        device: str = "cpu",
    ) -> None:
        api = kind(model_store, model, threads=threads, wait_seconds=wait_ms / 1000)
        server = litserve.LitServer(api, accelerator=device, devices=1, workers_per_device=1, fast_queue=fast_queue)
        server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)

    return main
