"""A whole runtime over small models, and requests to it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from service.inputs.specification import RawInput
from service.runtime.catalog import load_catalog
from service.runtime.decoding import DecodePool
from service.runtime.engine import Engine
from service.runtime.limits import Limits
from service.runtime.runtime import Runtime
from service.runtime.support_set import Labelled
from service.runtime.worker import DeviceWorker
from service.sessions.memory import MemoryStore
from tests.tiny import SHAPES, FakeClock, drawing, png

CPU = torch.device("cpu")


@contextmanager
def serving(store: Path, *, engine: Engine | None = None, queue_items: int = 10_000, limits: Limits | None = None) -> Iterator[Runtime]:
    """A running runtime whose default is `tiny` and whose clock is a FakeClock."""
    clock = FakeClock()
    with DecodePool() as decoding, DeviceWorker(engine or Engine(CPU), queue_items=queue_items) as worker:
        yield Runtime(
            catalog=load_catalog(store, device=CPU, default="tiny"),
            store=MemoryStore(budget_bytes=10**9, clock=clock),
            worker=worker,
            decoding=decoding,
            limits=limits or Limits(ttl_seconds=1000),
            clock=clock,
            default_ttl_seconds=100,
        )


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
