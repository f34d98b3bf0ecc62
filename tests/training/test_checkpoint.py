import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.errors import BadCheckpointError
from service.training.checkpoint import FILENAME, Best, Checkpoint, fingerprint, load_checkpoint, save_checkpoint
from tests.training.runs import assert_same, tiny_options

BEST = Best(score=0.5, step=3, params={"a": torch.arange(3.0)}, statistics={"b": torch.ones(2)})
CHECKPOINT = Checkpoint(
    step=4,
    params={"a": torch.tensor([0.1, 1e-30, 3.0])},
    average={"a": torch.tensor([0.2, 2.0, 3.0])},
    optimiser={"state": {0: {"exp_avg": torch.ones(3), "step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    best=BEST,
    stale=1,
    seconds=1.5,
)


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def state(**changes: Any) -> dict[str, Any]:
    return {**asdict(CHECKPOINT), "config": fingerprint(tiny_options()), "torch": str(torch.__version__), **changes}


@pytest.mark.parametrize("best", [BEST, None])
def test_what_is_read_is_what_was_saved(best: Best | None, tmp_path: Path) -> None:
    checkpoint = replace(CHECKPOINT, best=best)
    save_checkpoint(tmp_path / "new" / "run", checkpoint, tiny_options())
    read = load_checkpoint(tmp_path / "new" / "run", tiny_options())
    assert_same(asdict(read), asdict(checkpoint))
    assert isinstance(read.best, Best) == (best is not None)


def test_saving_replaces_the_checkpoint_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path, replace(CHECKPOINT, step=step), tiny_options())
    assert load_checkpoint(tmp_path, tiny_options()).step == 2
    assert [path.name for path in tmp_path.iterdir()] == [FILENAME]


def test_the_last_checkpoint_survives_one_that_could_not_be_written(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, CHECKPOINT, tiny_options())
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path, replace(CHECKPOINT, optimiser={"state": lambda: None}), tiny_options())
    assert_same(asdict(load_checkpoint(tmp_path, tiny_options())), asdict(CHECKPOINT))


def test_none_to_resume_from_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(BadCheckpointError, match=rf"{tmp_path}/{FILENAME}: expected a checkpoint .*--resume"):
        load_checkpoint(tmp_path, tiny_options())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        saved(state())[:-200],
        saved([1, 2, 3]),
        saved({"weights": torch.ones(3)}),
        saved({key: value for key, value in state().items() if key != "average"}),
        saved(state(surprise=1)),
        saved(state(best={"accuracy": 1.0})),
    ],
    ids=["empty", "noise", "cut short", "a list", "another dictionary", "no average", "one key more", "half a best"],
)
def test_a_damaged_or_foreign_file_is_refused_by_its_path(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_bytes(content)
    with pytest.raises(BadCheckpointError, match=f"{tmp_path}/{FILENAME}: the checkpoint cannot be read"):
        load_checkpoint(tmp_path, tiny_options())


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save(state(seconds=Path("anything")), tmp_path / FILENAME)
    with pytest.raises(BadCheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path, tiny_options())


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, CHECKPOINT, tiny_options())
    with pytest.raises(BadCheckpointError, match="configuration has changed"):
        load_checkpoint(tmp_path, tiny_options(optimiser={"clip": 9.0}))


def test_another_torch_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILENAME).write_bytes(saved(state(torch="1.0")))
    with pytest.raises(BadCheckpointError, match=r"made with torch 1\.0,"):
        load_checkpoint(tmp_path, tiny_options())


def test_a_configuration_is_identified_by_its_values() -> None:
    assert fingerprint(tiny_options()) == fingerprint(tiny_options())
    assert len({fingerprint(tiny_options(seed=seed)) for seed in range(5)}) == 5
