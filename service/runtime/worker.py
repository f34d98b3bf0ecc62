"""The one thread that owns the device. Everybody else sends it work through a bounded queue."""

import threading
import time
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from service.errors import DrainingError, QueueFullError, ServiceError
from service.learner.meta_model import MetaModel
from service.runtime.batching import next_batch
from service.runtime.engine import AdaptTask, Engine, Fitted, PredictTask
from service.runtime.ranking import Ranked

log = structlog.get_logger()

MAX_BATCH_ITEMS = 2048
# Assumed until the device has shown how fast it is.
FIRST_ITEMS_PER_SECOND = 200.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """A result, and the milliseconds it waited and was computed in (with its whole batch)."""

    result: T
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    model: MetaModel
    task: AdaptTask | PredictTask
    future: "Future[Done[object]]"
    submitted: float

    @property
    def kind(self) -> Hashable:
        return (type(self.task), id(self.model))

    @property
    def items(self) -> int:
        return self.task.items


class DeviceWorker:
    """Runs submitted work in batches, on its own thread, until it is closed. A context manager."""

    def __init__(self, engine: Engine, *, queue_items: int) -> None:
        self._engine = engine
        self._queue_items = queue_items
        self._queue: list[_Work] = []
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
                self._changed.notify_all()

    def adapt(self, model: MetaModel, task: AdaptTask) -> "Future[Done[Fitted]]":
        """Queue a support set; the future fails with AdaptationDivergedError when the loss does."""
        return self._submit(model, task)  # type: ignore[return-value] # the engine gives a Fitted for an AdaptTask

    def predict(self, model: MetaModel, task: PredictTask) -> "Future[Done[Ranked]]":
        """Queue queries."""
        return self._submit(model, task)  # type: ignore[return-value] # the engine gives a Ranked for a PredictTask

    def _submit(self, model: MetaModel, task: AdaptTask | PredictTask) -> "Future[Done[object]]":
        work = _Work(model, task, Future(), time.perf_counter())
        with self._changed:
            self._queue.append(work)
            self._changed.notify_all()
        return work.future

    def _run(self) -> None:
        while batch := self._take():
            live = [work for work in batch if work.future.set_running_or_notify_cancel()]
            if live:
                self._compute(live)

    def _take(self) -> list[_Work]:
        """Wait for work and take a batch of it; empty when there is nothing left to come."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or (self._draining and not self._admitted))
            places = next_batch(self._queue, max_items=MAX_BATCH_ITEMS)
            batch = [self._queue[place] for place in places]
            taken = set(places)
            self._queue = [work for place, work in enumerate(self._queue) if place not in taken]
            return batch

    def _compute(self, batch: Sequence[_Work]) -> None:
        """Compute a batch and answer every future; when it fails, the guilty one is found by computing each alone."""
        began = time.perf_counter()
        try:
            results = self._results(batch)
        except Exception as error:
            if len(batch) > 1:
                for work in batch:
                    self._compute([work])
            else:
                log.exception("computation failed", items=batch[0].items)
                batch[0].future.set_exception(error)
            return
        spent = time.perf_counter() - began
        self._items_per_second = 0.9 * self._items_per_second + 0.1 * sum(work.items for work in batch) / max(spent, 1e-6)
        for work, result in zip(batch, results, strict=True):
            _answer(work, result, queue_ms=1000 * (began - work.submitted), compute_ms=1000 * spent)

    def _results(self, batch: Sequence[_Work]) -> Sequence[object]:
        model = batch[0].model
        adapts = [work.task for work in batch if isinstance(work.task, AdaptTask)]
        predicts = [work.task for work in batch if isinstance(work.task, PredictTask)]
        return self._engine.adapt(model, adapts) if adapts else self._engine.predict(model, predicts)


def _answer(work: _Work, result: object, *, queue_ms: float, compute_ms: float) -> None:
    if isinstance(result, ServiceError):
        work.future.set_exception(result)
    else:
        work.future.set_result(Done(result, queue_ms, compute_ms))
