import os
from collections.abc import Iterator

import pytest
import torch

from service.errors import DeviceError
from service.runtime.device import claim_device

ABSENT = torch.cuda.device_count()


@pytest.fixture(autouse=True)
def settings_of_torch() -> Iterator[None]:
    """What claiming a device sets for the whole process is put back."""
    threads, matmul, cudnn = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def test_the_cpu_is_always_there() -> None:
    assert claim_device("cpu", threads=1) == torch.device("cpu")


def test_auto_takes_the_first_cuda_device_or_the_cpu() -> None:
    assert claim_device("auto", threads=1) == torch.device("cuda:0" if ABSENT else "cpu")


@pytest.mark.parametrize("wanted", [f"cuda:{ABSENT}", f"cuda:{ABSENT + 7}", "cuda:300", "cuda:007", f"cuda:{10**30}"])
def test_a_cuda_device_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(DeviceError, match=f"expected device {wanted}, but this machine has {ABSENT} CUDA devices"):
        claim_device(wanted, threads=1)


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (3, 3), (0, max(1, (os.cpu_count() or 2) - 1))])
def test_threads_are_set_and_default_to_all_cores_but_one(asked: int, given: int) -> None:
    claim_device("cpu", threads=asked)
    assert torch.get_num_threads() == given


def test_claiming_a_device_turns_tf32_off() -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    claim_device("cpu", threads=1)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
