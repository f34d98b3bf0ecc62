"""A whole runtime over small models, and requests to it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from service.inputs.specification import RawInput
from service.learner.episodes import Support
from service.learner.parameters import Params
from service.runtime.catalog import Served, load_catalog
from service.runtime.decoding import DecodePool
from service.runtime.engine import Engine
from service.runtime.fitting import Fitter
from service.runtime.limits import Limits
from service.runtime.runtime import Runtime
from service.runtime.support_set import Labelled, as_task, classes_of, decode_inputs
from service.runtime.worker import DeviceWorker
from service.sessions.contents import unpack_weights
from service.sessions.hot import HotWeights
from service.sessions.memory import MemoryStore
from service.sessions.session import Session
from service.sessions.store import SessionStore
from tests.tiny import SHAPES, FakeClock, drawing, png

CPU = torch.device("cpu")


@contextmanager
def serving(store: Path, *, engine: Engine | None = None, queue_items: int = 10_000, limits: Limits | None = None) -> Iterator[Runtime]:
    """A running runtime whose default is `tiny` and whose clock is a FakeClock."""
    clock = FakeClock()
    with DecodePool() as decoding, DeviceWorker(engine or Engine(CPU), queue_items=queue_items) as worker:
        yield Runtime.of(
            load_catalog(store, device=CPU, default="tiny"),
            MemoryStore(budget_bytes=10**9, clock=clock),
            HotWeights(budget_bytes=10**9),
            Fitter(worker, decoding, limits or Limits(ttl_seconds=1000)),
            clock=clock,
            default_ttl_seconds=100,
        )


def with_store(runtime: Runtime, store: SessionStore, *, hot_bytes: int = 10**9) -> Runtime:
    """The same runtime over another session store, and nothing hot."""
    keeper = runtime.sessions
    return Runtime.of(
        runtime.catalog,
        store,
        HotWeights(budget_bytes=hot_bytes),
        runtime.fitter,
        clock=keeper.clock,
        default_ttl_seconds=keeper.default_ttl_seconds,
    )


def task_of(runtime: Runtime, support: Sequence[Labelled], served: Served) -> Support:
    """A support set as it is adapted to."""
    limits, labels = runtime.fitter.limits, [each.label for each in support]
    inputs = decode_inputs([each.raw for each in support], served.manifest.input, limits)
    return as_task(inputs, labels, classes_of(labels, served, limits))


async def weights(runtime: Runtime, session: Session) -> Params:
    """The adapted weights of a session, as they are kept."""
    packed = await runtime.store.weights(session)
    return unpack_weights(packed, weights_digest=session.revision.weights_digest)


def picture(shape: str, variant: int = 0) -> bytes:
    """A drawing file; variants differ in stroke and size."""
    return png(drawing(shape, size=40 + variant, width=2 + variant % 5))


def examples(shapes: Sequence[str] = SHAPES, *, shots: int = 2, variant: int = 0) -> list[Labelled]:
    """Drawings labelled by their shape; class k has `shots` + k examples."""
    return [
        Labelled(shape, RawInput(f"support/{shape}/{shot}", picture(shape, variant + shot)))
        for extra, shape in enumerate(shapes)
        for shot in range(shots + extra)
    ]


def queries(shapes: Sequence[str] = SHAPES, *, variant: int = 7) -> list[RawInput]:
    return [RawInput(f"queries/{place}", picture(shape, variant)) for place, shape in enumerate(shapes)]
