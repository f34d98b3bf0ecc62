"""The one thread that owns the device. Everybody else sends it work through a bounded queue."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from torch import Tensor

from service.errors import DeadlineError, DeviceMemoryError, DrainingError, QueueFullError, ServiceError
from service.learner.meta_model import MetaModel
from service.runtime.batching import Policy, is_late, next_batch, patience
from service.runtime.caller import Caller
from service.runtime.cores import pin_this_thread
from service.runtime.device import is_out_of_memory
from service.runtime.engine import Engine, Fitted
from service.runtime.ranking import Ranked
from service.runtime.tasks import AdaptTask, EmbedTask, PredictTask

log = structlog.get_logger()

# Assumed until the device has shown how fast it is.
FIRST_ITEMS_PER_SECOND = 200.0

# How long the idle device is away while it waits for company.
NAP_SECONDS = 0.001

T = TypeVar("T")

Task = AdaptTask | EmbedTask | PredictTask


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A result, and the milliseconds it waited and was computed in (with its whole batch)."""

    result: T
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    model: MetaModel
    task: Task
    caller: Caller
    future: "Future[Done[object]]"
    submitted: float

    @property
    def kind(self) -> Hashable:
        return (type(self.task), id(self.model))

    @property
    def tenant(self) -> str:
        return self.caller.tenant

    @property
    def items(self) -> int:
        return self.task.items(self.model.recipe)

    @property
    def deadline(self) -> float | None:
        return self.caller.deadline


class DeviceWorker:
    """Runs submitted work in batches, on its own thread, until it is closed. A context manager.

    Args:
        engine: what computes.
        queue_items: inputs that may wait.
        policy: how batches are made.
        coming: says whether work is about to be submitted, so that waiting for it may pay.
        cores: where the thread runs; anywhere when empty.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        queue_items: int,
        policy: Policy | None = None,
        coming: Callable[[], bool] = lambda: False,
        cores: Set[int] = frozenset(),
    ) -> None:
        self._engine = engine
        self._queue_items = queue_items
        self._policy = policy or Policy()
        self._coming = coming
        self._cores = cores
        self._queue: list[_Work] = []
        self._credit: Mapping[str, int] = {}
        self._admitted = 0
        self._draining = False
        self._items_per_second = FIRST_ITEMS_PER_SECOND
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)

    def __enter__(self) -> "DeviceWorker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drain()
        self._thread.join()

    def drain(self) -> None:
        """Take no new work; what was admitted is finished."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    @property
    def waiting_items(self) -> int:
        """How many items are admitted and not yet answered."""
        return self._admitted

    @contextmanager
    def admitted(self, items: int) -> Iterator[None]:
        """Hold a place in the queue for so many items, from before they are decoded until they are answered.

        Raises:
            QueueFullError: with the seconds after which the queue should have room.
            DrainingError: the worker is closing.
        """
        with self._changed:
            if self._draining:
                raise DrainingError("the server is stopping and takes no new work; try another replica, or again later")
            # One request may exceed an empty queue: its own size is limited elsewhere.
            if self._admitted and self._admitted + items > self._queue_items:
                wait = max(1.0, self._admitted / self._items_per_second)
                raise QueueFullError(
                    f"{self._admitted:,} items are waiting, of at most {self._queue_items:,}; try again in {wait:.0f} s",
                    retry_after_seconds=wait,
                )
            self._admitted += items
        try:
            yield
        finally:
            with self._changed:
                self._admitted -= items
                if self._draining:
                    self._changed.notify_all()

    def adapt(self, model: MetaModel, task: AdaptTask, caller: Caller) -> "Future[Done[Fitted]]":
        """Queue a support set; the future fails with AdaptationDivergedError when the loss does, DeadlineError when it waited too long."""
        return self._submit(model, task, caller)  # type: ignore[return-value] # the engine gives a Fitted for an AdaptTask

    def predict(self, model: MetaModel, task: PredictTask, caller: Caller) -> "Future[Done[Ranked]]":
        """Queue queries; the future fails with DeadlineError when they waited too long."""
        return self._submit(model, task, caller)  # type: ignore[return-value] # the engine gives a Ranked for a PredictTask

    def embed(self, model: MetaModel, task: EmbedTask, caller: Caller) -> "Future[Done[Tensor]]":
        """Queue inputs whose embeddings are wanted; the future fails with DeadlineError when they waited too long."""
        return self._submit(model, task, caller)  # type: ignore[return-value] # the engine gives a Tensor for an EmbedTask

    def company(self, model: MetaModel) -> int:
        """Give how many tasks at once the engine computes in another way than one alone."""
        return self._engine.company(model)

    def _submit(self, model: MetaModel, task: Task, caller: Caller) -> "Future[Done[object]]":
        work = _Work(model, task, caller, Future(), time.monotonic())
        with self._changed:
            self._queue.append(work)
            self._changed.notify_all()
        return work.future

    def _run(self) -> None:
        pin_this_thread(self._cores)
        while batch := self._take():
            self._compute(batch)

    def _take(self) -> list[_Work]:
        """Wait for work and take a batch of it; empty when there is nothing left to come."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._finished)
                now = time.monotonic()
                self._drop_late(now)
                wait = patience(self._queue, coming=self._coming(), now=now, policy=self._policy)
                batch = [] if wait else self._next_batch()
                if batch or self._finished:
                    return batch
            # Asleep, and not woken by each of those it waits for; soon awake, when no more of them are coming.
            time.sleep(min(wait, NAP_SECONDS))

    @property
    def _finished(self) -> bool:
        return self._draining and not self._queue and not self._admitted

    def _drop_late(self, now: float) -> None:
        for work in [work for work in self._queue if is_late(work, now)]:
            self._queue.remove(work)
            if work.future.set_running_or_notify_cancel():
                work.future.set_exception(
                    DeadlineError(f"waited {now - work.submitted:.3f} s for the device, longer than Request-Timeout-Ms allows")
                )

    def _next_batch(self) -> list[_Work]:
        """Take the next batch out of the queue, without what was cancelled; it may come to be empty."""
        batch = next_batch(self._queue, self._credit, self._policy)
        chosen, taken = [self._queue[place] for place in batch.places], set(batch.places)
        self._queue = [work for place, work in enumerate(self._queue) if place not in taken]
        self._credit = batch.credit
        return [work for work in chosen if work.future.set_running_or_notify_cancel()]

    def _compute(self, batch: Sequence[_Work]) -> None:
        """Compute a batch and answer every future; one that fails is taken apart until the guilty are alone."""
        began = time.monotonic()
        try:
            results = self._results(batch)
        except Exception as error:
            self._compute_apart(batch, error)
            return
        spent = time.monotonic() - began
        self._items_per_second = 0.9 * self._items_per_second + 0.1 * sum(work.items for work in batch) / max(spent, 1e-6)
        _answer(batch, results, began=began, spent=spent)

    def _compute_apart(self, batch: Sequence[_Work], error: Exception) -> None:
        """Compute in halves what needs more memory than there is, and one by one what fails otherwise."""
        if len(batch) > 1:
            log.warning("a batch failed and is computed in parts", tasks=len(batch), error=repr(error))
            half = len(batch) // 2 if is_out_of_memory(error) else 1
            for first in range(0, len(batch), half):
                self._compute(batch[first : first + half])
        elif is_out_of_memory(error):
            log.warning("out of memory", items=batch[0].items)
            batch[0].future.set_exception(
                DeviceMemoryError(f"{batch[0].items:,} inputs at once need more memory than the device has left; send them in parts")
            )
        else:
            log.exception("computation failed", items=batch[0].items)
            batch[0].future.set_exception(error)

    def _results(self, batch: Sequence[_Work]) -> Sequence[object]:
        """Compute a batch, whose tasks are all of one type."""
        model = batch[0].model
        if adapts := [work.task for work in batch if isinstance(work.task, AdaptTask)]:
            return self._engine.adapt(model, adapts)
        if embeds := [work.task for work in batch if isinstance(work.task, EmbedTask)]:
            return self._engine.embed(model, embeds)
        return self._engine.predict(model, [work.task for work in batch if isinstance(work.task, PredictTask)])


def _answer(batch: Sequence[_Work], results: Sequence[object], *, began: float, spent: float) -> None:
    """Give everybody their result; times are in seconds."""
    for work, result in zip(batch, results, strict=True):
        if isinstance(result, ServiceError):
            work.future.set_exception(result)
        else:
            work.future.set_result(Done(result, queue_ms=1000 * (began - work.submitted), compute_ms=1000 * spent))
