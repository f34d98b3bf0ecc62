import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.study import Study

from service.errors import BadCheckpointError, BadConfigError, BadDataError, DivergedTrainingError
from service.training.checkpoint import fingerprint, load_checkpoint
from service.training.meta_train import Trained, meta_train
from service.training.options import read_options
from service.training.search import PATIENT_REFUSALS, PATIENT_TRIALS, STUDY, Refused, Tried, best, open_study, search, tried
from service.training.search_report import BEST, draw, write_best, write_table
from service.training.search_space import SearchSpace
from tests.training.runs import After, tiny_data, train
from tests.training.searches import CONFIG, GROUPS, META_STEPS, space_in

TRIALS = 12


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return space_in(tmp_path_factory.mktemp("config"))


def run_on(space: SearchSpace, run: Path, *, trials: int, resume: bool = False, stop_after: int = 10**9) -> list[Tried]:
    """Give the finished trials of `all_of`, where none is refused."""
    found = all_of(space, run, trials=trials, resume=resume, stop_after=stop_after)
    return [each for each in found if isinstance(each, Tried)]


def all_of(space: SearchSpace, run: Path, *, trials: int, resume: bool = False, stop_after: int = 10**9) -> list[Tried | Refused]:
    """Search until so many trials are finished, or the question whether to stop was asked so often; gives those of this call."""
    study = open_study(space, run, resume=resume)
    found = list(search(study, space, tiny_data(), run, trials=trials, should_stop=After(stop_after)))
    close(study)
    return found


def close(study: Study) -> None:
    """Let go of the file, as the end of a process does."""
    study._storage.remove_session()  # there is no public way


@pytest.fixture(scope="module")
def whole(space: SearchSpace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Study]]:
    """A search from start to end."""
    run = tmp_path_factory.mktemp("whole")
    run_on(space, run, trials=TRIALS)
    study = open_study(space, run, resume=True)
    yield run, study
    close(study)


def folders(run: Path) -> int:
    return len(list((run / "trials").iterdir()))


def test_trials_that_lag_behind_are_cut_short(whole: tuple[Path, Study], space: SearchSpace) -> None:
    found = tried(whole[1], space)
    cut = [each for each in found if each.pruned]
    assert len(found) == TRIALS
    assert 0 < len(cut) <= TRIALS - PATIENT_TRIALS
    assert all(each.step < META_STEPS for each in cut)
    assert all(each.step == META_STEPS for each in found if not each.pruned)
    assert not any(each.pruned for each in found[:PATIENT_TRIALS])
    # Cut short means no more was trained, not only that no more was told.
    steps = [load_checkpoint(each, space.options_with(one.values)).step for each, one in by_folder(whole[0], found, space)]
    assert steps == [one.step for one in found]


def by_folder(run: Path, found: list[Tried], space: SearchSpace) -> list[tuple[Path, Tried]]:
    return [(run / "trials" / fingerprint(space.options_with(one.values))[:16], one) for one in found]


def test_the_best_configuration_trains_and_comes_to_what_the_search_said(
    whole: tuple[Path, Study], space: SearchSpace, tmp_path: Path
) -> None:
    winner = best(whole[1], space)
    assert winner is not None
    assert winner.score == max(each.score for each in tried(whole[1], space) if not each.pruned)
    options = read_options(write_best(tmp_path, space, winner))
    trained = train(options, tmp_path / "run")
    assert trained is not None
    assert trained.best.score == winner.score
    assert (tmp_path / BEST).read_text().startswith(f"# Trial {winner.number} of the search in ")


def test_a_trial_that_was_interrupted_goes_on_from_its_checkpoint_and_those_that_finished_are_kept(
    space: SearchSpace, tmp_path: Path
) -> None:
    # Asked once before each trial, once before each meta-step, and once at the end of a run: in the third, after three steps.
    first = run_on(space, tmp_path, trials=5, stop_after=2 * (META_STEPS + 1) + 1 + 3)
    assert (len(first), folders(tmp_path)) == (2, 3)
    checkpoints = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").glob("*/checkpoint.pt")}

    study = open_study(space, tmp_path, resume=True)
    [waiting] = [each for each in study.get_trials() if each.state.name == "WAITING"]
    left = study.get_trials()[2]
    assert left.state.name == "FAIL"
    assert waiting.system_attrs["fixed_params"] == left.params
    close(study)

    rest = run_on(space, tmp_path, trials=5, resume=True)
    assert rest[0].values == space.values(left.params)
    alone = train(space.options_with(rest[0].values), tmp_path / "alone")
    assert alone is not None
    assert (rest[0].score, rest[0].step) == (alone.best.score, META_STEPS)
    assert [one.values for one in first] != [one.values for one in rest[:2]]

    study = open_study(space, tmp_path, resume=True)
    assert tried(study, space) == [*first, *rest]
    assert len(first) + len(rest) == 5
    close(study)
    untouched = [path for path, then in checkpoints.items() if path.stat().st_mtime_ns == then]
    assert len(untouched) == 2


def test_a_search_that_has_its_trials_makes_no_more(whole: tuple[Path, Study], space: SearchSpace) -> None:
    run, study = whole
    assert list(search(study, space, tiny_data(), run, trials=TRIALS, should_stop=lambda: False)) == []


def test_a_study_is_not_begun_twice_nor_gone_on_with_where_there_is_none(
    whole: tuple[Path, Study], space: SearchSpace, tmp_path: Path
) -> None:
    with pytest.raises(BadCheckpointError, match=r"study\.db: expected no study of a search, found one; go on with --resume"):
        open_study(space, whole[0], resume=False)
    with pytest.raises(BadCheckpointError, match=r"study\.db: expected a study of a search, found none; start without --resume"):
        open_study(space, tmp_path, resume=True)
    assert not (tmp_path / STUDY).exists()


@pytest.mark.parametrize(("old", "new"), [("episodes = 20", "episodes = 21"), ("high = 3", "high = 4")])
def test_a_study_of_another_configuration_is_refused(old: str, new: str, whole: tuple[Path, Study], tmp_path: Path) -> None:
    changed = space_in(tmp_path, CONFIG.replace(old, new))
    with pytest.raises(BadCheckpointError, match="the configuration has changed since"):
        open_study(changed, whole[0], resume=True)


def test_more_classes_than_there_are_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    space = space_in(tmp_path, CONFIG.replace("[2, 5]", "[2, 9]"))
    with pytest.raises(BadDataError, match="asks for 9 train classes, got 8"):
        run_on(space, tmp_path / "run", trials=1)
    assert not (tmp_path / "run" / "trials").exists()


def test_every_trial_has_its_row_and_the_figure_is_a_picture(whole: tuple[Path, Study], space: SearchSpace, tmp_path: Path) -> None:
    found = tried(whole[1], space)
    header, _, *lines = write_table(tmp_path, found).read_text().splitlines()
    assert (
        header == "| trial | validation | meta-steps |  | optimiser.learning_rate | encoder.width | stages.0.way | recipe.steps_default |"
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert sorted(int(row[0]) for row in cells) == [each.number for each in found]
    winner = best(whole[1], space)
    assert winner is not None
    assert cells[0][:2] == [str(winner.number), winner.said]
    assert draw(tmp_path, space, found).read_bytes().startswith(b"\x89PNG")


def test_a_trial_of_a_regression_is_told_by_its_squared_error() -> None:
    classes, numbers = Tried(0, {}, 0.975, 8, False, False), Tried(1, {}, -0.25, 8, False, True)
    assert (classes.measured, classes.said) == (0.975, "97.50%")
    assert (numbers.measured, numbers.said) == (0.25, "0.25 squared error")


def test_a_trial_whose_values_do_not_go_together_is_refused_and_the_search_goes_on(tmp_path: Path) -> None:
    space, run = space_in(tmp_path, GROUPS), tmp_path / "run"
    found = all_of(space, run, trials=4)
    finished, refused = [[each for each in found if isinstance(each, kind)] for kind in (Tried, Refused)]
    assert len(finished) == 4
    assert refused
    assert all("encoder.groups = 3" in each.why and "divide, got 8" in each.why and "\n" not in each.why for each in refused)  # type: ignore[union-attr]
    study = open_study(space, run, resume=True)
    states = {each.number: each.state.name for each in study.get_trials()}
    assert {each.number for each in refused} == {number for number, state in states.items() if state == "FAIL"}
    assert "WAITING" not in states.values()
    close(study)
    assert len(run_on(space, run, trials=5, resume=True)) == 1


def test_a_trial_with_which_training_diverges_is_told_and_the_search_goes_on(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = meta_train, []

    def diverging(*arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise DivergedTrainingError("expected a finite meta-gradient, got nan at step 3")
        return real(*arguments, **options)

    monkeypatch.setattr("service.training.search.meta_train", diverging)
    first, *others = all_of(space, tmp_path / "run", trials=2)
    assert isinstance(first, Refused)
    assert "got nan at step 3" in first.why
    assert [isinstance(each, Tried) for each in others] == [True, True]


def test_a_study_that_was_left_in_a_refused_trial_goes_on(tmp_path: Path) -> None:
    space, run = space_in(tmp_path, GROUPS), tmp_path / "run"
    study = open_study(space, run, resume=False)
    drawn = {"optimiser.learning_rate": 1e-3, "encoder.groups": 3, "stages.0.way": "[3, 4]", "recipe.steps_default": 1}
    study.enqueue_trial(drawn)
    study.ask(space.distributions)
    close(study)
    found = all_of(space, run, trials=1, resume=True)
    assert isinstance(found[0], Refused)
    assert isinstance(found[-1], Tried)


def test_a_search_of_refused_trials_alone_ends_in_words(space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(space, tmp_path, resume=False)

    def refuse(_: SearchSpace, values: Any) -> Any:
        raise BadConfigError(f"no {sorted(values)[0]}")

    run = search(study, space, tiny_data(), tmp_path, trials=3, should_stop=lambda: False)
    monkeypatch.setattr(SearchSpace, "extremes", lambda _: iter(()))
    monkeypatch.setattr(SearchSpace, "options_with", refuse)
    refused = [next(run) for _ in range(PATIENT_REFUSALS)]
    assert all(isinstance(each, Refused) for each in refused)
    with pytest.raises(BadConfigError, match=r"the last 20 trials were refused; narrow \[search\]; no encoder\.width"):
        next(run)
    close(study)


def test_a_trial_that_came_to_no_number_counts_and_is_never_the_best(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Trained] = []

    def diverges_first(*args: Any, **options: Any) -> Trained:
        trained = meta_train(*args, **options)
        assert trained is not None
        begun.append(trained)
        return trained if len(begun) > 1 else dataclasses.replace(trained, best=dataclasses.replace(trained.best, score=math.nan))

    monkeypatch.setattr("service.training.search.meta_train", diverges_first)
    study = open_study(space, tmp_path / "run", resume=False)
    trials = search(study, space, tiny_data(), tmp_path / "run", trials=2, should_stop=lambda: False)
    next(trials)
    assert best(study, space) is None
    next(trials)
    winner = best(study, space)
    assert winner is not None
    assert winner.number == 1
    assert draw(tmp_path, space, tried(study, space)).stat().st_size
    assert len(list(trials)) == 0
    close(study)
