"""A search for a better configuration: trials drawn by Optuna, kept in a file of the run folder, cut short when they lag behind."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from service.errors import BadCheckpointError, BadConfigError, DivergedTrainingError
from service.learner.outer_rules import Outcome
from service.training.checkpoint import FILENAME, fingerprint
from service.training.demands import require_enough
from service.training.meta_train import Trained, Validated, meta_train
from service.training.options import TrainOptions
from service.training.search_space import SearchSpace
from service.training.tasks import Tasks

STUDY = "study.db"

# Trials that are never cut short, because there must be others to lag behind.
PATIENT_TRIALS = 4

# No trial is cut short in this share of its meta-steps: weights averaged over so few say little.
PATIENT_SHARE = 0.2

# What a finished trial is told to have come to, and after which meta-step; an interrupted one has reported a part only.
SCORE, STEP = "score", "step"

# So many combinations in a row are refused, or as many as there are to be trials, before a search gives up.
PATIENT_REFUSALS = 20

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, slots=True)
class Tried:
    """A finished trial.

    Attributes:
        values: what it changed, by dotted key.
        score: its best in validation, larger is better; of one cut short, up to then.
        step: the meta-step after which it was finished.
        regression: whether the score is the negative of a squared error, in place of an accuracy of 0..1.
    """

    number: int
    values: Mapping[str, Any]
    score: float
    step: int
    pruned: bool
    regression: bool

    @property
    def measured(self) -> float:
        """What validation measured: the accuracy, or the squared error."""
        return -self.score if self.regression else self.score

    @property
    def said(self) -> str:
        """What validation measured, for people."""
        return f"{self.measured:.4g} squared error" if self.regression else f"{self.measured:.2%}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A trial that could not be begun, since what was drawn does not go together, and why."""

    number: int
    why: str


def open_study(space: SearchSpace, run: Path, *, resume: bool) -> Study:
    """Open the study of a run folder; a trial that was interrupted is queued to be the next, and goes on from its checkpoint.

    Raises:
        BadCheckpointError: a study is there and `resume` is false, none is there and it is true, or it is of another configuration.
    """
    path = run / STUDY
    _check_presence(path, resume=resume)
    run.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name=space.options.name, direction="maximize", load_if_exists=True)
    stated = _fingerprint(space)
    if study.user_attrs.get("config", stated) != stated:
        raise BadCheckpointError(f"{path}: the configuration has changed since; restore it, or name another folder with --run")
    study.set_user_attr("config", stated)
    _queue_again(study, space)
    # As many draws are behind it: with the same seed a search that goes on would make the first of them again.
    study.sampler = optuna.samplers.TPESampler(seed=space.options.seed + len(study.get_trials(deepcopy=False)))
    patience = int(PATIENT_SHARE * space.options.meta_steps)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=PATIENT_TRIALS, n_warmup_steps=patience)
    return study


def _check_presence(path: Path, *, resume: bool) -> None:
    if path.exists() and not resume:
        raise BadCheckpointError(
            f"{path}: expected no study of a search, found one; go on with --resume, or name another folder with --run"
        )
    if resume and not path.exists():
        raise BadCheckpointError(f"{path}: expected a study of a search, found none; start without --resume")


def _queue_again(study: Study, space: SearchSpace) -> None:
    """Queue what was drawn for trials that did not end, and give those up: an Optuna trial cannot be gone on with itself."""
    for left in study.get_trials(states=[TrialState.RUNNING]):
        if left.params.keys() == space.dimensions.keys():
            study.enqueue_trial(left.params)
        study.tell(left.number, state=TrialState.FAIL)


def search(
    study: Study, space: SearchSpace, data: Mapping[str, Tasks], run: Path, *, trials: int, should_stop: Callable[[], bool]
) -> Iterator[Tried | Refused]:
    """Give trials as they finish, until so many have, those of earlier runs among them, or until told to stop.

    A trial that is stopped is none that finished: `open_study` queues it again. One whose values do not go together, or
    with which training diverges, is given as refused, and is no trial that finished either; the search goes on.

    Raises:
        BadDataError: fewer classes or images than some trial would ask for.
        BadConfigError: extremes that do not go together, or nothing but refused trials for long.
    """
    for options in space.extremes():
        require_enough(options, data)
    refused = 0
    while len(tried(study, space)) < trials and not should_stop():
        trial = study.ask(space.distributions)
        try:
            options = space.options_with(space.values(trial.params))
            trained, cut = _train(trial, options, data, run, should_stop)
        except (BadConfigError, DivergedTrainingError) as error:
            study.tell(trial, state=TrialState.FAIL)
            yield Refused(trial.number, str(error))
            refused += 1
            if refused >= max(trials, PATIENT_REFUSALS):
                raise BadConfigError(f"{space.place}: the last {refused} trials were refused; narrow [search]; {error}") from error
            continue
        refused = 0
        if trained is None or not (trained.finished or cut):
            return
        # A study takes no NaN, and would make a failure of it, so that the trial would never count.
        score = trained.best.score if math.isfinite(trained.best.score) else -math.inf
        trial.set_user_attr(SCORE, score)
        trial.set_user_attr(STEP, trained.steps)
        told = {"values": score} if trained.finished else {"state": TrialState.PRUNED}
        yield _tried(study.tell(trial, **told), space)


def tried(study: Study, space: SearchSpace) -> list[Tried]:
    """List the finished trials in the order they were begun."""
    return [_tried(each, space) for each in study.get_trials(states=FINISHED)]


def best(study: Study, space: SearchSpace) -> Tried | None:
    """Give the trial with the best score in validation, of those that were not cut short nor came to no number; the first of equals."""
    whole = [each for each in tried(study, space) if not each.pruned and math.isfinite(each.score)]
    return max(whole, key=lambda each: each.score, default=None)


class _Watched:
    """A reporter that tells the study of every validation, and hears whether the trial is to be cut short."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.cut = False

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None:
        """Hear of one meta-step."""

    def validated(self, found: Validated) -> None:
        """Hear of one validation."""
        self._trial.report(found.judged.score, found.step)
        self.cut = self._trial.should_prune()


def _train(
    trial: Trial, options: TrainOptions, data: Mapping[str, Tasks], run: Path, should_stop: Callable[[], bool]
) -> tuple[Trained | None, bool]:
    """Train by what was drawn; also whether it was cut short."""
    # In a folder named by its configuration a trial that was interrupted goes on, and one drawn again costs nothing.
    folder, watched = run / "trials" / fingerprint(options)[:16], _Watched(trial)
    trained = meta_train(
        options,
        data,
        folder,
        reporter=watched,
        resume=(folder / FILENAME).exists(),
        should_stop=lambda: watched.cut or should_stop(),
    )
    return trained, watched.cut


def _tried(trial: FrozenTrial, space: SearchSpace) -> Tried:
    said = trial.user_attrs
    pruned, regression = trial.state == TrialState.PRUNED, space.options.build_recipe().regression
    return Tried(trial.number, space.values(trial.params), said[SCORE], said[STEP], pruned, regression)


def _fingerprint(space: SearchSpace) -> str:
    stated = [space.options.model_dump(mode="json"), {key: each.model_dump(mode="json") for key, each in space.dimensions.items()}]
    return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
