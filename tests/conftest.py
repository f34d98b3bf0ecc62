"""Fixtures that every folder of tests may use."""

import os
from pathlib import Path

import pytest
import torch

pytest_plugins = ["tests.no_skips"]

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    root = Path(os.environ.get("INNERLOOP_DATA_ROOT", REPOSITORY.parent / "shared" / "data"))
    if not (root / "omniglot").is_dir():
        pytest.skip(f"no data sets in {root}; set INNERLOOP_DATA_ROOT")
    return root
