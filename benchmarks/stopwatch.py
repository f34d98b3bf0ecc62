"""Time side by side: contenders take turns in one process, so that a busy neighbour slows them all alike."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

LEAST_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Entrant:
    """Somebody whose calls are timed: they are taken in turn, each doing `units` of work."""

    name: str
    calls: Sequence[Callable[[], object]]
    units: int = 1


@dataclass(frozen=True, slots=True)
class Clock:
    """How long to measure.

    Attributes:
        rounds: turns of every contender; fewer, but at least three, once `patience` is spent.
        seconds: what a contender gets over all rounds; a turn is at least one call.
        patience: seconds for all contenders together.
    """

    device: torch.device
    rounds: int
    seconds: float
    patience: float

    def now(self) -> float:
        """Give the time once the device has done what it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def race(self, entrants: Sequence[Entrant]) -> dict[str, list[float]]:
        """Give the milliseconds a unit of work took each entrant in each round."""
        lanes = [(entrant, itertools.cycle(entrant.calls)) for entrant in entrants]
        counts = [self._calls_in_a_turn(lane) for _, lane in lanes]
        spent: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
        started = self.now()
        for turn in range(self.rounds):
            if turn >= LEAST_ROUNDS and self.now() - started > self.patience:
                break
            for (entrant, lane), count in zip(lanes, counts, strict=True):
                spent[entrant.name].append(1000 * self._timed(lane, count) / (count * entrant.units))
        return spent

    def _timed(self, lane: Iterator[Callable[[], object]], count: int) -> float:
        started = self.now()
        for call in itertools.islice(lane, count):
            call()
        return self.now() - started

    def _calls_in_a_turn(self, lane: Iterator[Callable[[], object]]) -> int:
        """Call once to warm up and once more to see how many calls a turn holds."""
        self._timed(lane, 1)
        return max(1, round(self.seconds / self.rounds / max(self._timed(lane, 1), 1e-6)))


def medians(spent: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Give the median of every entrant's rounds."""
    return {name: statistics.median(rounds) for name, rounds in spent.items()}
