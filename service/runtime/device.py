"""Choosing the device, once."""

import os

import structlog
import torch

from service.errors import DeviceError

log = structlog.get_logger()


def claim_device(wanted: str, *, threads: int) -> torch.device:
    """Give the device to compute on, and set how many threads a CPU computation uses.

    Args:
        wanted: `auto` (CUDA when there is one), `cpu` or `cuda:N`.
        threads: 0 is all cores but one: two threads beside a busy neighbour are slower than one.

    Raises:
        DeviceError: a CUDA device that is not there.
    """
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) - 1))
    count = torch.cuda.device_count()
    if wanted == "auto":
        wanted = "cuda:0" if count else "cpu"
    if wanted not in ("cpu", *(f"cuda:{index}" for index in range(count))):
        raise DeviceError(f"expected device {wanted}, but this machine has {count} CUDA devices; use --device auto or cpu")
    device = torch.device(wanted)
    # Results must agree with the CPU's to 1e-5 (docs/adr): TF32 keeps ten bits.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    log.info("device claimed", device=str(device), threads=torch.get_num_threads())
    return device


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a computation failed because the device, or the host, had no memory left."""
    # The CPU's allocator raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
