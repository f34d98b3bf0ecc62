"""Choosing the device, once."""

import os

import structlog
import torch

from service.errors import DeviceError

log = structlog.get_logger()


def choose_device(wanted: str) -> torch.device:
    """Give the device that is meant, and leave it alone.

    Args:
        wanted: `auto` (CUDA when there is one), `cpu` or `cuda:N`.

    Raises:
        DeviceError: a CUDA device that is not there.
    """
    count = torch.cuda.device_count()
    if wanted == "auto":
        wanted = "cuda:0" if count else "cpu"
    if wanted not in ("cpu", *(f"cuda:{index}" for index in range(count))):
        raise DeviceError(f"expected device {wanted}, but this machine has {count} CUDA devices; use --device auto or cpu")
    return torch.device(wanted)


def claim_device(wanted: str, *, threads: int) -> torch.device:
    """Give the device to compute on, and set how many threads a CPU computation uses.

    Args:
        wanted: as `choose_device` takes it, and refuses it.
        threads: 0 is all cores but one: two threads beside a busy neighbour are slower than one.
    """
    device = choose_device(wanted)
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) - 1))
    # Results must agree with the CPU's to 1e-5 (docs/adr): TF32 keeps ten bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    log.info("device claimed", device=str(device), threads=torch.get_num_threads())
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed because the device, or the host, had no memory left."""
    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
