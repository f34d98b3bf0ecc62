import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from structlog.testing import capture_logs

from service.errors import (
    AdaptationDivergedError,
    DeadlineError,
    DeviceMemoryError,
    DrainingError,
    QueueFullError,
)
from service.learner.meta_model import MetaModel, predict
from service.runtime.batching import Policy
from service.runtime.caller import Caller
from service.runtime.engine import Engine, Fitted
from service.runtime.ranking import Found, Ranked
from service.runtime.tasks import AdaptTask, PredictTask
from service.runtime.worker import DeviceWorker, Done
from tests.learner.tasks import distance
from tests.runtime.tasks import MODELS, GatedEngine, adapt_task, inputs, probabilities

CPU = torch.device("cpu")
ANN = Caller("ann")
HEAD, VECTORS = MODELS["head"], MODELS["head, of vectors"]
LONG = 30


@pytest.fixture
def worker() -> Iterator[DeviceWorker]:
    with DeviceWorker(Engine(CPU), queue_items=100_000) as running:
        yield running


@pytest.fixture
def gated() -> Iterator[tuple[DeviceWorker, GatedEngine]]:
    """A worker whose engine waits until the test opens its gate."""
    engine = GatedEngine(CPU)
    with DeviceWorker(engine, queue_items=10) as running:
        yield running, engine
        engine.gate.set()


def known(model: MetaModel, seed: int, way: int = 3) -> PredictTask:
    """Three queries to a session of its own."""
    generator = torch.Generator().manual_seed(seed)
    (fitted,) = Engine(CPU).adapt(model, [adapt_task(model, [2] * way, 2, generator)])
    assert isinstance(fitted, Fitted)
    return PredictTask(fitted.adapted.params, fitted.weights_digest, inputs(model.encoder, 3, generator), way)


def assert_right(done: Done[Ranked], model: MetaModel, task: PredictTask) -> None:
    expected = predict(model, task.params, task.queries)
    assert (probabilities(done.result, expected.shape[1]) - expected).abs().max() < 1e-5


def poisoned(task: PredictTask) -> PredictTask:
    """Queries of a size that the encoder cannot read."""
    return replace(task, queries=torch.zeros(2, 3, 5, 5, dtype=torch.uint8))


def occupy(worker: DeviceWorker, engine: GatedEngine) -> "Future[Done[Ranked]]":
    """Give the device something to do, so that what comes next waits together."""
    first = worker.predict(HEAD, known(HEAD, 0), ANN)
    assert engine.entered.wait(LONG)
    return first


def test_results_for_many_threads_are_all_right(worker: DeviceWorker) -> None:
    def client(seed: int) -> None:
        model = (HEAD, VECTORS)[seed % 2]
        generator = torch.Generator().manual_seed(seed)
        for round_ in range(4):
            task = adapt_task(model, [1, 2, 1 + seed % 3], round_, generator)
            with worker.admitted(task.items(model.recipe)):
                fitted = worker.adapt(model, task, ANN).result(LONG).result
            (alone,) = Engine(CPU).adapt(model, [task])
            assert isinstance(alone, Fitted)
            for name, value in alone.adapted.params.items():
                assert distance(fitted.adapted.params[name], value) < 1e-5
            asked = PredictTask(fitted.adapted.params, fitted.weights_digest, inputs(model.encoder, 2, generator), 3)
            with worker.admitted(asked.items(model.recipe)):
                assert_right(worker.predict(model, asked, ANN).result(LONG), model, asked)

    with ThreadPoolExecutor(16) as threads:
        for done in [threads.submit(client, seed) for seed in range(16)]:
            done.result(LONG)


def test_what_waits_for_one_model_is_computed_in_one_batch(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, engine = gated
    tasks = [known(HEAD, seed) for seed in range(4)]
    other = known(VECTORS, 9)
    waiting = [occupy(worker, engine), *(worker.predict(HEAD, task, ANN) for task in tasks[:2])]
    elsewhere = worker.predict(VECTORS, other, ANN)
    waiting += [worker.predict(HEAD, task, ANN) for task in tasks[2:]]
    engine.gate.set()
    for done, task in zip(waiting[1:], tasks, strict=True):
        assert_right(done.result(LONG), HEAD, task)
    assert_right(elsewhere.result(LONG), VECTORS, other)
    assert engine.batches == [1, 4, 1]


def test_a_poisoned_task_fails_alone_and_the_worker_lives_on(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, engine = gated
    tasks = [known(HEAD, seed) for seed in range(3)]
    occupy(worker, engine)
    first, guilty, last = (worker.predict(HEAD, task, ANN) for task in (tasks[0], poisoned(tasks[1]), tasks[2]))
    with capture_logs() as logged:
        engine.gate.set()
        assert_right(first.result(LONG), HEAD, tasks[0])
        assert_right(last.result(LONG), HEAD, tasks[2])
        with pytest.raises(RuntimeError):
            guilty.result(LONG)
    assert [(each["event"], each["log_level"]) for each in logged] == [
        ("a batch failed and is computed in parts", "warning"),
        ("computation failed", "error"),
    ]
    assert engine.batches == [1, 3, 1, 1, 1]
    assert_right(worker.predict(HEAD, tasks[1], ANN).result(LONG), HEAD, tasks[1])


def test_a_task_that_diverges_fails_alone(gated: tuple[DeviceWorker, GatedEngine], generator: torch.Generator) -> None:
    worker, engine = gated
    tasks = [adapt_task(VECTORS, [1, 2], 2, generator) for _ in range(3)]
    tasks[1] = AdaptTask(replace(tasks[1].support, inputs=tasks[1].support.inputs * 1e30), 2)
    occupy(worker, engine)
    first, guilty, last = (worker.adapt(VECTORS, task, ANN) for task in tasks)
    engine.gate.set()
    assert {len(each.result(LONG).result.adapted.losses) for each in (first, last)} == {3}
    with pytest.raises(AdaptationDivergedError):
        guilty.result(LONG)
    assert engine.batches == [1, 3]


def test_a_full_queue_says_when_to_come_back(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, _ = gated
    with worker.admitted(6), worker.admitted(4):
        with pytest.raises(QueueFullError, match="10 items are waiting, of at most 10; try again in") as caught, worker.admitted(1):
            pass
        assert caught.value.retry_after_seconds >= 1
    with worker.admitted(10):
        pass


def test_the_time_to_come_back_grows_with_the_queue() -> None:
    waits = []
    for items in (1000, 10_000):
        worker = DeviceWorker(Engine(CPU), queue_items=items)
        with worker.admitted(items), pytest.raises(QueueFullError) as caught, worker.admitted(1):
            pass
        waits.append(caught.value.retry_after_seconds)
    assert waits[1] == pytest.approx(10 * waits[0])
    assert waits[0] > 1


def test_a_request_larger_than_the_queue_is_admitted_when_it_is_empty(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, _ = gated
    with worker.admitted(1000), pytest.raises(QueueFullError), worker.admitted(1):
        pass


def test_a_request_that_fails_gives_its_place_back(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, _ = gated
    for _ in range(20):
        with pytest.raises(ValueError, match="undecodable"), worker.admitted(10):
            raise ValueError("undecodable")


def test_draining_finishes_what_was_admitted_and_refuses_the_rest() -> None:
    engine = GatedEngine(CPU)
    worker = DeviceWorker(engine, queue_items=10)
    tasks = [known(HEAD, seed) for seed in range(3)]
    before = set(threading.enumerate())
    with worker, worker.admitted(9):
        computing = occupy(worker, engine)
        queued = worker.predict(HEAD, tasks[0], ANN)
        worker.drain()
        with pytest.raises(DrainingError, match="takes no new work"), worker.admitted(1):
            pass
        # Admitted before the drain, decoded only now.
        late = worker.predict(HEAD, tasks[1], ANN)
        engine.gate.set()
        computing.result(LONG)
        assert_right(queued.result(LONG), HEAD, tasks[0])
        assert_right(late.result(LONG), HEAD, tasks[1])
        latest = worker.predict(HEAD, tasks[2], ANN)
        assert_right(latest.result(LONG), HEAD, tasks[2])
    assert set(threading.enumerate()) <= before


def test_cancelled_work_costs_no_device_time(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, engine = gated
    tasks = [known(HEAD, seed) for seed in range(3)]
    occupy(worker, engine)
    kept, given_up, kept_too = (worker.predict(HEAD, task, ANN) for task in tasks)
    assert given_up.cancel()
    engine.gate.set()
    assert_right(kept.result(LONG), HEAD, tasks[0])
    assert_right(kept_too.result(LONG), HEAD, tasks[2])
    with pytest.raises(CancelledError):
        given_up.result(LONG)
    assert engine.batches == [1, 2]


def test_a_batch_of_cancelled_work_only_is_passed_over(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, engine = gated
    occupy(worker, engine)
    assert worker.predict(HEAD, known(HEAD, 1), ANN).cancel()
    engine.gate.set()
    task = known(VECTORS, 2)
    assert_right(worker.predict(VECTORS, task, ANN).result(LONG), VECTORS, task)
    assert engine.batches == [1, 1]


def test_waiting_and_computing_are_timed_apart(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, engine = gated
    occupy(worker, engine)
    waiting = worker.predict(HEAD, known(HEAD, 1), ANN)
    threading.Event().wait(0.05)
    engine.gate.set()
    done = waiting.result(LONG)
    assert done.queue_ms >= 50
    assert done.compute_ms > 0


def test_work_past_its_deadline_is_refused_and_costs_no_device_time(gated: tuple[DeviceWorker, GatedEngine]) -> None:
    worker, engine = gated
    tasks = [known(HEAD, seed) for seed in range(2)]
    occupy(worker, engine)
    late = worker.predict(HEAD, tasks[0], replace(ANN, deadline=time.monotonic() + 0.01))
    in_time = worker.predict(HEAD, tasks[1], replace(ANN, deadline=time.monotonic() + LONG))
    threading.Event().wait(0.02)
    engine.gate.set()
    with pytest.raises(DeadlineError, match=r"waited 0\.\d+ s"):
        late.result(LONG)
    assert_right(in_time.result(LONG), HEAD, tasks[1])
    assert engine.batches == [1, 1]


class CrampedEngine(GatedEngine):
    """A device that holds so many tasks at once, and no more."""

    def __init__(self, tasks: int, error: Exception) -> None:
        super().__init__(CPU)
        self._most, self._error = tasks, error

    def predict(self, model: MetaModel, tasks: Sequence[PredictTask]) -> Sequence[Found]:
        found = super().predict(model, tasks)
        if len(tasks) > self._most:
            raise self._error
        return found


OUT_OF_MEMORY = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_too_large_for_the_device_is_computed_in_halves(error: Exception) -> None:
    engine = CrampedEngine(3, error)
    tasks = [known(HEAD, seed) for seed in range(8)]
    with DeviceWorker(engine, queue_items=100) as worker:
        occupy(worker, engine)
        waiting = [worker.predict(HEAD, task, ANN) for task in tasks]
        engine.gate.set()
        for done, task in zip(waiting, tasks, strict=True):
            assert_right(done.result(LONG), HEAD, task)
    assert engine.batches == [1, 8, 4, 2, 2, 4, 2, 2]


def test_one_request_too_large_for_the_device_is_told_so_and_the_worker_lives_on() -> None:
    engine = CrampedEngine(0, OUT_OF_MEMORY[0])
    engine.gate.set()
    with DeviceWorker(engine, queue_items=100) as worker:
        with pytest.raises(DeviceMemoryError, match=r"3 inputs at once .* send them in parts"):
            worker.predict(HEAD, known(HEAD, 1), ANN).result(LONG)
        engine._most = 1
        assert_right(worker.predict(HEAD, known(HEAD, 1), ANN).result(LONG), HEAD, known(HEAD, 1))


def test_a_tenant_with_few_requests_is_not_kept_waiting_by_one_with_many() -> None:
    """Bob asks last, behind forty of Ann's; he is in the very next batch."""
    engine = GatedEngine(CPU)
    with DeviceWorker(engine, queue_items=1000, policy=Policy(max_items=12, quantum=3)) as worker:
        occupy(worker, engine)
        task = known(HEAD, 1)
        many = [worker.predict(HEAD, task, ANN) for _ in range(40)]
        few = worker.predict(HEAD, task, Caller("bob"))
        order: list[str] = []
        few.add_done_callback(lambda _: order.append("bob"))
        for each in many:
            each.add_done_callback(lambda _: order.append("ann"))
        engine.gate.set()
        for each in (*many, few):
            each.result(LONG)
    assert order.index("bob") < 4


def test_the_device_waits_a_little_for_work_that_is_coming() -> None:
    engine = GatedEngine(CPU)
    engine.gate.set()
    with DeviceWorker(engine, queue_items=100, policy=Policy(wait_seconds=0.2), coming=lambda: True) as worker:
        first, second = (worker.predict(HEAD, known(HEAD, seed), ANN) for seed in (1, 2))
        assert first.result(LONG).queue_ms >= 150
        second.result(LONG)
    assert engine.batches == [2]


def test_the_device_goes_as_soon_as_no_more_work_is_coming() -> None:
    engine, coming = GatedEngine(CPU), threading.Event()
    engine.gate.set()
    coming.set()
    with DeviceWorker(engine, queue_items=100, policy=Policy(wait_seconds=60), coming=coming.is_set) as worker:
        first = worker.predict(HEAD, known(HEAD, 1), ANN)
        with pytest.raises(TimeoutError):
            first.result(0.1)
        coming.clear()
        assert first.result(LONG).queue_ms < 30_000
