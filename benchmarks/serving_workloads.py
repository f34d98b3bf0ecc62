"""What is asked of every server: how many clients ask for what, of which sessions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from benchmarks.drawings import QUERIES, Drawn
from benchmarks.load import Asked, post
from benchmarks.sides import FLOOR, LABEL, OURS, SESSION, Form, Side
from benchmarks.subject import SEED

DRAWS = 8_192
ZIPF = 1.0  # the k-th most popular session is asked 1 / k as often as the first

Over = Literal["own", "uniform", "zipf"]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the benchmark, in a closed loop.

    Attributes:
        over: whether each client asks a session of its own, or all ask all sessions.
    """

    name: str
    kind: Literal["adapt", "predict", "empty"]
    clients: int
    over: Over = "own"
    form: Form = "json"

    @property
    def names(self) -> bytes:
        """What finds the name in an answer."""
        return LABEL if self.kind == "predict" else SESSION

    def concerns(self, side: Side) -> bool:
        """Whether a server is asked this: only ours takes multipart bodies, and only the floor answers an empty one."""
        if self.kind == "empty":
            return side.name == FLOOR
        if side.name == FLOOR:
            return self.form == "json" and self.over == "own"
        return self.form == "json" or side.name == OURS

    def asked(self, side: Side, model: str, drawn: Sequence[Drawn], sessions: Sequence[str]) -> list[Asked]:
        """Give the requests; session number k was adapted to task k, modulo the number of tasks."""
        if self.kind == "empty":
            return [Asked(post(side.create_path, b""))]
        if self.kind == "adapt":
            return [side.create(model, each, self.form) for each in drawn]
        found = [side.predict(sessions[k], drawn[k % len(drawn)].questions[q], self.form) for k, q in self._picks(len(sessions))]
        return [replace(each, expected=None) for each in found] if side.name == FLOOR else found

    def _picks(self, count: int) -> Iterator[tuple[int, int]]:
        """Pick sessions and questions."""
        if self.over == "own":
            return ((k, q) for q in range(QUERIES) for k in range(self.clients))
        generator = np.random.default_rng(SEED)
        weights = 1 / np.arange(1, count + 1) ** (ZIPF if self.over == "zipf" else 0.0)
        picked = generator.choice(count, DRAWS, p=weights / weights.sum())
        return zip(picked.tolist(), generator.integers(QUERIES, size=DRAWS).tolist(), strict=True)


def _named(kind: Literal["adapt", "predict"], clients: int) -> Workload:
    return Workload(f"{kind}, {clients} client{'s' if clients > 1 else ''}", kind, clients)


OVER_ALL = Workload("predict, 64 clients, all sessions", "predict", 64, over="uniform")
ADAPTING, PREDICTING = _named("adapt", 64), _named("predict", 64)
EMPTY = Workload("empty POST, 64 clients", "empty", 64)

WORKLOADS = {
    each.name: each
    for each in (
        *(_named("adapt", clients) for clients in (1, 8, 64)),
        *(_named("predict", clients) for clients in (1, 8, 64)),
        OVER_ALL,
        Workload("predict, 64 clients, Zipf", "predict", 64, over="zipf"),
        Workload("adapt, 64 clients, multipart", "adapt", 64, form="multipart"),
        Workload("predict, 64 clients, multipart", "predict", 64, form="multipart"),
    )
}
