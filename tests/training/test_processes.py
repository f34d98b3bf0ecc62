import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from service.errors import BadConfigError
from service.learner.parameters import Params
from service.training.checkpoint import load_checkpoint
from service.training.meta_train import meta_train
from service.training.processes import Processes, joined
from tests.training.ranks import Run, ended, started, survivor_of, two_processes
from tests.training.runs import PER_CLASS, After, Heard, assert_same, checkpoint_after, tiny_data, tiny_options, train

T = TypeVar("T")

# Group norm, second order, three episodes: the first rank has two of them.
MAML = {**PER_CLASS, "preset": "maml", "stages": [{"steps": 4, "way": [5, 5], "queries": 2, "inner_steps": 2, "episodes": 3}]}
PRETRAINED = {**MAML, "pretraining": {"steps": 2, "batch": 7}, "optimiser": {"clip": 1e9}}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with two_processes() as processes:
        yield processes


def flat(params: Params) -> torch.Tensor:
    return torch.cat([params[name].flatten() for name in sorted(params)])


def apart(got: Params, expected: Params) -> float:
    return float((flat(got) - flat(expected)).norm() / flat(expected).norm())


class Unmet(Processes):
    """A process that keeps its own part of every sum, and finds everything out itself."""

    def summed(self, values: Params) -> Params:
        return values

    def told(self, find: Callable[[], T]) -> T:
        return find()


def own_part(changes: dict[str, Any], folder: Path, rank: int) -> Params:
    heard = Heard()
    meta_train(tiny_options(**changes), tiny_data(), folder, reporter=heard, should_stop=After(1), processes=Unmet(rank, 2))
    return heard.outcomes[0].gradients


@pytest.mark.parametrize(("kind", "rate", "tolerance"), [("sgd", 1.0, 1e-5), ("adamw", 1e-2, 1e-3)])
def test_two_processes_take_the_step_of_one_with_all_episodes(
    kind: str, rate: float, tolerance: float, pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    """The tolerance is a share of the way that the weights went. AdamW divides by gradients, tiny ones among them."""
    changes = {**MAML, "optimiser": {"kind": kind, "learning_rate": rate, "warmup": 0, "clip": 0.5}}
    options, heard = tiny_options(**changes), Heard()
    begun = checkpoint_after(options, tmp_path / "begun", 0).params
    train(options, tmp_path / "one", steps=1, heard=heard)
    first, second = ended(started(pool, Run(tmp_path / "two", changes, stop={0: 1}, kill={})))
    assert_same(first["gradients"], second["gradients"])
    assert apart(first["gradients"][0], heard.outcomes[0].gradients) < 1e-5
    assert (first["losses"], first["accuracies"]) == (second["losses"], second["accuracies"])
    assert first["losses"][0] == pytest.approx(heard.outcomes[0].loss)
    assert first["accuracies"][0] == pytest.approx(heard.outcomes[0].accuracy)
    one, two = (way(begun, load_checkpoint(tmp_path / name, options).params) for name in ("one", "two"))
    assert apart(two, one) < tolerance


def way(begun: Params, reached: Params) -> Params:
    return {name: reached[name] - value for name, value in begun.items()}


def test_each_process_draws_episodes_of_its_own_and_together_they_are_all(tmp_path: Path) -> None:
    heard = Heard()
    train(tiny_options(**MAML), tmp_path, steps=1, heard=heard)
    first, second = (own_part(MAML, tmp_path, rank) for rank in (0, 1))
    assert apart({name: first[name] + second[name] for name in first}, heard.outcomes[0].gradients) < 1e-6
    assert apart(first, heard.outcomes[0].gradients) > 0.1


def test_a_process_without_an_episode_of_its_own_adds_nothing(tmp_path: Path) -> None:
    changes = {**MAML, "stages": [{"steps": 4, "way": [5, 5], "queries": 2, "inner_steps": 2, "episodes": 2}]}
    heard, options = Heard(), tiny_options(**changes)

    class Idle(Unmet):
        def share(self, total: int) -> range:
            return range(total, total)

    meta_train(options, tiny_data(), tmp_path, reporter=heard, should_stop=After(1), processes=Idle(0, 2))
    assert heard.outcomes[0].loss == 0
    assert all(torch.equal(value, torch.zeros_like(value)) for value in heard.outcomes[0].gradients.values())


def test_a_batch_of_pretraining_is_the_average_of_parts_by_their_sizes(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    both, _ = ended(started(pool, Run(tmp_path / "two", PRETRAINED, stop={0: 1}, kill={})))
    first, second = (own_part(PRETRAINED, tmp_path / "own", rank) for rank in (0, 1))
    assert apart(both["gradients"][0], {name: first[name] + second[name] for name in first}) < 1e-6
    # Four of the seven are the first one's, drawn as a run of one process draws four.
    heard = Heard()
    train(tiny_options(**{**PRETRAINED, "pretraining": {"steps": 2, "batch": 4}}), tmp_path / "four", steps=1, heard=heard)
    assert apart(first, {name: value * 4 / 7 for name, value in heard.outcomes[0].gradients.items()}) < 1e-6
    assert apart(second, first) > 0.1


def test_one_process_that_is_told_to_stop_stops_all_at_the_same_step(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    first, second = ended(started(pool, Run(tmp_path, MAML, stop={1: 3}, kill={})))
    assert (len(first["losses"]), len(second["losses"]), load_checkpoint(tmp_path, tiny_options(**MAML)).step) == (3, 3, 3)
    assert_same(first["best"], second["best"])
    assert first["best"]["step"] == 2
    assert (first["validated"], second["validated"]) == ([2], [])  # told to the first one alone


def test_a_killed_process_ends_the_others_with_an_error_and_resuming_gives_the_uninterrupted_run(
    pool: ProcessPoolExecutor, tmp_path: Path
) -> None:
    options, broken = tiny_options(**MAML), Run(tmp_path / "broken", MAML, stop={}, kill={1: 3})
    assert survivor_of(broken, tmp_path / "said") == [0, -signal.SIGKILL]
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert re.match(r"lost_process: .*one has ended or is stuck; .* --resume; 0 threads left$", said)
    assert load_checkpoint(tmp_path / "broken", options).step == 2
    ended(started(pool, replace(broken, kill={}, resume=True)))
    ended(started(pool, Run(tmp_path / "whole", MAML, stop={}, kill={})))
    resumed, whole = (replace(load_checkpoint(tmp_path / name, options), seconds=0.0) for name in ("broken", "whole"))
    assert resumed.step == 4
    assert_same(dict(resumed.params), dict(whole.params))
    assert_same(resumed.optimiser, whole.optimiser)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shares_are_disjoint_and_everything(count: int) -> None:
    shares = [list(Processes(rank, count).share(4)) for rank in range(count)]
    assert sorted(place for share in shares for place in share) == [0, 1, 2, 3]


TWO, THREE = ([{"steps": 1, "way": [3, 3], "queries": 2, "episodes": episodes}] for episodes in (2, 3))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stages": TWO}, "[[stages]] 1 has too few episodes a meta-step for 3 processes, got 2; set episodes = 3"),
        ({"stages": THREE, "pretraining": {"steps": 1, "batch": 5}}, "a batch of at least 6 images for 3 processes, got 5"),
    ],
)
def test_more_processes_than_there_is_to_share_are_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadConfigError, match=re.escape(said)):
        meta_train(tiny_options(**changes), tiny_data(), tmp_path, reporter=Heard(), processes=Unmet(0, 3))


def test_without_torchrun_there_is_one_process() -> None:
    with joined({}, "cpu") as processes:
        assert processes == Processes.alone()


def test_half_of_what_torchrun_tells_is_refused() -> None:
    with (
        pytest.raises(BadConfigError, match="not RANK, LOCAL_RANK, MASTER_ADDR; start several processes with torchrun"),
        joined({"WORLD_SIZE": "2", "MASTER_PORT": "1"}, "cpu"),
    ):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadConfigError, match=r"--device cuda needs a CUDA device .* got 0"), joined({}, "cuda"):
        pass
