"""One run in several processes: which part of a step is whose, and how all come to the same sums and decisions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed.nn.functional  # its functions keep the group that there is on import as their default: then there is none
from torch import distributed

from service.errors import BadConfigError, LostProcessError
from service.learner.parameters import Params

T = TypeVar("T")

DeviceKind = Literal["cpu", "cuda"]

CPU = torch.device("cpu")

# How long a process waits for one that is alive: the others wait while the first one validates. One that has ended is missed at once.
PATIENCE = timedelta(minutes=30)

# What torchrun tells each process that it starts.
TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, as one of them sees itself.

    `summed`, `agreed` and `told` are meetings: all processes come to each of them, in the same order. One that is missing ends
    the others with LostProcessError.

    Attributes:
        rank: which one this is, counted from 0.
        count: how many there are.
        device: where this one computes gradients.
    """

    rank: int
    count: int
    device: torch.device = CPU

    @classmethod
    def alone(cls, device: torch.device = CPU) -> "Processes":
        """Give the only process of a run."""
        return cls(0, 1, device)

    @property
    def leads(self) -> bool:
        """Whether this is the one that validates, reports and writes."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Give the places, of so many, that this process works on: every process's are others, and together they are all."""
        return range(self.rank, total, self.count)

    def summed(self, values: Params) -> Params:
        """Add up tensors of the same names and shapes over all processes, in one message."""
        if self.count == 1:
            return values
        flat = torch.cat([value.flatten() for value in values.values()])
        with _meeting():
            distributed.all_reduce(flat)
        parts = torch.split(flat, [value.numel() for value in values.values()])
        return {name: part.view_as(value) for (name, value), part in zip(values.items(), parts, strict=True)}

    def agreed(self, wish: bool) -> bool:
        """Say whether any process wishes it."""
        return bool(self.summed({"wishes": torch.tensor(int(wish))})["wishes"])

    def told(self, find: Callable[[], T]) -> T:
        """Let the first process find something out, and give it to all."""
        found = [find() if self.leads else None]
        if self.count > 1:
            with _meeting():
                distributed.broadcast_object_list(found, src=0, device=CPU)
        return found[0]  # type: ignore[return-value] # the others' None has been replaced


@contextmanager
def joined(environment: Mapping[str, str], kind: DeviceKind, *, patience: timedelta = PATIENCE) -> Iterator[Processes]:
    """Join the processes that torchrun started, as the environment tells; there is one without torchrun.

    Gradients on CUDA are summed by NCCL, everything else by gloo.

    Raises:
        BadConfigError: no such device, or half of what torchrun tells.
        LostProcessError: the others are not to be met.
    """
    if "WORLD_SIZE" not in environment:
        yield Processes.alone(_device(kind, 0))
        return
    if missing := [name for name in TOLD if name not in environment]:
        raise BadConfigError(f"WORLD_SIZE is set but not {', '.join(missing)}; start several processes with torchrun, or unset it")
    rank, count = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    device = _device(kind, int(environment["LOCAL_RANK"]))
    address = f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"
    with _meeting():
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", init_method=address, rank=rank, world_size=count, timeout=patience
        )
    try:
        yield Processes(rank, count, device)
    finally:
        distributed.destroy_process_group()


def _device(kind: DeviceKind, index: int) -> torch.device:
    if kind == "cpu":
        return CPU
    if index >= torch.cuda.device_count():
        raise BadConfigError(
            f"--device cuda needs a CUDA device for every process of a machine, got {torch.cuda.device_count()};"
            " start fewer processes, or train with --device cpu"
        )
    return torch.device("cuda", index)


@contextmanager
def _meeting() -> Iterator[None]:
    """Say of a failed meeting what to do; torch raises RuntimeError and its subclasses."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "expected every process of the run to answer, but one has ended or is stuck;"
            " see what it said, then go on from the last checkpoint with --resume"
        ) from error
