"""Meta-training: sample episodes, adapt to each, move the initialisation so that adapting works better."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from service.errors import BadCheckpointError, DivergedTrainingError
from service.learner.encoders.torchvision_network import TorchvisionNetwork
from service.learner.episodes import ClassInputs, Episode, EpisodeShape
from service.learner.inner_loop import RATE
from service.learner.meta_model import MetaModel, initial_params
from service.learner.outer_rules import Outcome
from service.learner.parameters import Params, channels_last, detached, moved_to, trainable
from service.learner.statistics import measure
from service.training.augmentation import unchanged
from service.training.checkpoint import FILENAME, Best, Checkpoint, data_digest, load_checkpoint, save_checkpoint
from service.training.demands import require_enough, require_work_for_all
from service.training.evaluate import Judged
from service.training.gradient import episodes_of, generator_of, gradient
from service.training.options import Optimiser, TrainOptions
from service.training.pretraining import by_nearest_means, initial_classifier, without_classifier
from service.training.processes import CPU, Processes
from service.training.regression import Errors
from service.training.starting_weights import Starting, starting_from
from service.training.tasks import Tasks, judge_on

STATISTICS_SAMPLE = 2048

# A killed run loses no more than this, however rarely it is validated.
SAVE_EVERY_SECONDS = 600.0

ALONE = Processes.alone()


@dataclass(frozen=True, slots=True)
class Validated:
    """What a validation found out.

    Attributes:
        best: the best so far, perhaps this one.
        model: the averaged weights that were judged.
        sample: an episode that is trained on at about this meta-step.
    """

    step: int
    judged: Judged | Errors
    best: Best
    model: MetaModel
    sample: Episode | None


class Reporter(Protocol):
    """Who hears how the run is going."""

    def stepped(self, step: int, outcome: Outcome, learning_rate: float) -> None: ...

    def validated(self, found: Validated) -> None: ...


@dataclass(frozen=True, slots=True)
class Trained:
    """The best meta-model of a run, or where an interrupted run stands."""

    model: MetaModel
    best: Best
    steps: int
    seconds: float
    finished: bool
    starting_weights: str | None = None


def meta_train(  # noqa: PLR0913 - what is trained, on what, where to, and who watches, stops and shares it
    options: TrainOptions,
    data: Mapping[str, Tasks],
    run: Path,
    *,
    reporter: Reporter,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
) -> Trained | None:
    """Train by a configuration, and give the meta-model of the best validation.

    A run that is stopped leaves a checkpoint in `run`; resuming it gives what an uninterrupted run would have, bit for
    bit, on the same kind of machine with the same torch and thread count. None when stopped before the first validation.

    Several processes share the episodes of every meta-step, or the batch of every step of pretraining, and take the step of their
    sum together; the first one loads, validates, reports validations and writes. All of them get the same result.

    Raises:
        BadCheckpointError: nothing to resume from, or another configuration or other data.
        BadConfigError: less to do at a step than there are processes.
        BadDataError: fewer classes or images than the configuration asks for.
        DivergedTrainingError: the meta-gradient became infinite or NaN; the last checkpoint stays.
        LostProcessError: another process of the run has ended; the last checkpoint stays.
    """
    require_enough(options, data)
    require_work_for_all(options, processes)
    torch.set_num_threads(options.threads)
    state = processes.told(lambda: _resumed(run, options, data) if resume else _fresh(options, data))
    state = replace(state, average=moved_to(state.average, processes.device))
    # A copy, because the optimiser works in place and the average of a fresh run starts from the same tensors.
    params = trainable(channels_last(moved_to(state.params, processes.device)))
    optimiser = _optimiser(params, options.optimiser)
    if state.optimiser:
        optimiser.load_state_dict(state.optimiser)
    started, saved = time.monotonic() - state.seconds, time.monotonic()

    while state.step < options.steps and not _exhausted(state, options) and not processes.agreed(should_stop()):
        outcome = gradient(options, data["train"], params, state.step, processes=processes)
        rate = _learning_rate(state.step, options)
        _meta_step(optimiser, params, outcome, rate, options.optimiser, step=state.step + 1)
        state = replace(state, step=state.step + 1, average=_averaged(state.average, params, state.step, options.optimiser.ema))
        reporter.stepped(state.step, outcome, rate)
        due = state.step % options.validation.every == 0 or state.step == options.steps
        if due:
            state = _validated(state, options, data, reporter=reporter, processes=processes)
        if due or time.monotonic() - saved > SAVE_EVERY_SECONDS:
            _save(run, _snapshot(state, params, optimiser, started), options, processes)
            saved = time.monotonic()

    state = _snapshot(state, params, optimiser, started)
    _save(run, state, options, processes)
    return _result(state, options)


def _save(run: Path, state: Checkpoint, options: TrainOptions, processes: Processes) -> None:
    if processes.leads:
        save_checkpoint(run, state, options)


def _resumed(run: Path, options: TrainOptions, data: Mapping[str, Tasks]) -> Checkpoint:
    state = load_checkpoint(run, options)
    if state.data not in (None, data_digest(data)):
        raise BadCheckpointError(
            f"{run / FILENAME}: the data have changed since, in classes or numbers of images; restore them, or name another --run"
        )
    return state


def _fresh(options: TrainOptions, data: Mapping[str, Tasks]) -> Checkpoint:
    starting, tasks = _starting(options), data["train"]
    drawn = initial_classifier(options, tasks, generator_of(options.seed, "classifier")) if isinstance(tasks, ClassInputs) else {}
    params = {**starting.params, **drawn}
    return Checkpoint(
        step=0,
        params=params,
        average=params,
        optimiser={},
        best=None,
        stale=0,
        seconds=0.0,
        starting_weights=starting.sha256,
        data=data_digest(data),
    )


def _starting(options: TrainOptions) -> Starting:
    encoder = options.build_encoder()
    params = initial_params(encoder, options.build_recipe(), generator_of(options.seed, "initial"))
    if options.weights is None or not isinstance(encoder, TorchvisionNetwork):
        return Starting(params, None)
    return starting_from(options.weights, encoder, params)


def _snapshot(state: Checkpoint, params: Params, optimiser: torch.optim.Optimizer, started: float) -> Checkpoint:
    return replace(state, params=detached(params), optimiser=optimiser.state_dict(), seconds=time.monotonic() - started)


def _result(state: Checkpoint, options: TrainOptions) -> Trained | None:
    if state.best is None:
        return None
    model = MetaModel(options.build_encoder(), options.build_recipe(), state.best.params, state.best.statistics)
    finished = state.step == options.steps or _exhausted(state, options)
    return Trained(model, state.best, state.step, state.seconds, finished, state.starting_weights)


def _exhausted(state: Checkpoint, options: TrainOptions) -> bool:
    return 0 < options.validation.patience <= state.stale and state.step > options.pretraining.steps


def _optimiser(params: Params, options: Optimiser) -> torch.optim.Optimizer:
    """Decay weights, but not biases, norms, scales and step sizes."""
    weights = {name for name, value in params.items() if value.dim() > 1 and not name.startswith(RATE)}
    groups = [[value for name, value in params.items() if (name in weights) == decayed] for decayed in (True, False)]
    decays = (options.weight_decay, 0.0)
    tables = [{"params": group, "weight_decay": decay} for group, decay in zip(groups, decays, strict=True) if group]
    if options.kind == "sgd":
        return torch.optim.SGD(tables, lr=options.learning_rate)
    return torch.optim.AdamW(tables, lr=options.learning_rate)


def _learning_rate(step: int, options: TrainOptions) -> float:
    """Warm up linearly, then follow a cosine to zero, at the stage's pace."""
    pace = 1.0 if step < options.pretraining.steps else options.stage_at(step).pace
    done, warmup = (step + 1) / options.steps, options.optimiser.warmup
    share = done / warmup if done < warmup else (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2
    return options.optimiser.learning_rate * share * pace


def _meta_step(optimiser: torch.optim.Optimizer, params: Params, outcome: Outcome, rate: float, options: Optimiser, *, step: int) -> None:
    for name, value in params.items():
        value.grad = outcome.gradients.get(name)  # None is left as it is: pretraining has no head, episodes no classifier
    norm = torch.nn.utils.clip_grad_norm_(params.values(), options.clip)
    if not bool(norm.isfinite()):
        raise DivergedTrainingError(
            f"expected a finite meta-gradient, got {norm.item()} at step {step};"
            " start anew with a smaller [optimiser] learning_rate or [recipe] step_size"
        )
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def _averaged(average: Params, params: Params, step: int, decay: float) -> dict[str, Tensor]:
    """Move the average towards the weights; the decay grows with the run, so that the start is soon forgotten."""
    warmed = min(decay, (1 + step) / (10 + step))
    return {name: torch.lerp(value.detach(), average[name], warmed) for name, value in params.items()}


def _validated(
    state: Checkpoint, options: TrainOptions, data: Mapping[str, Tasks], *, reporter: Reporter, processes: Processes
) -> Checkpoint:
    """Let the first process judge the averaged weights, and let all keep them when they are the best so far."""
    before = _best_of_kind(state, options)
    best = processes.told(lambda: _better(state, options, data, reporter, before=before))
    return replace(state, best=best or before, stale=0 if best else state.stale + 1)


def _better(state: Checkpoint, options: TrainOptions, data: Mapping[str, Tasks], reporter: Reporter, *, before: Best | None) -> Best | None:
    """Judge the averaged weights with frozen statistics, on the CPU; give them when they are better than the best before."""
    model = freeze(options, moved_to(state.average, CPU), data["train"])
    judged = _judge(options, by_nearest_means(model) if state.step <= options.pretraining.steps else model, data["validation"])
    improved = before is None or judged.score > before.score
    best = Best(judged.score, state.step, model.params, model.statistics) if improved or before is None else before
    reporter.validated(Validated(state.step, judged, best, model, _example(options, data["train"], state.step)))
    return best if improved else None


def _example(options: TrainOptions, tasks: Tasks, step: int) -> Episode | None:
    """Draw an episode as this step of the run sees it, the first one while pretraining lasts; None where no stage draws any."""
    place = min(max(step, options.pretraining.steps), options.steps - 1)
    return next(episodes_of(options, tasks, place, [0])) if options.stages else None


def _judge(options: TrainOptions, model: MetaModel, tasks: Tasks) -> Judged | Errors:
    how, steps = options.validation, model.recipe.steps_default
    shape = EpisodeShape(how.way, (how.shot, how.shot), how.queries)
    return judge_on(model, tasks)(shape, steps=steps, episodes=how.episodes, seed=options.seed)


def _best_of_kind(state: Checkpoint, options: TrainOptions) -> Best | None:
    """Give the best so far, but none of pretraining to a meta-trained one: its head and step sizes have learned nothing."""
    pretrained_only = state.best is not None and state.best.step <= options.pretraining.steps < state.step
    return None if pretrained_only else state.best


def freeze(options: TrainOptions, params: Params, tasks: Tasks) -> MetaModel:
    """Make a meta-model of weights: measure their statistics on a fixed sample of training images, unchanged as served ones are."""
    params, encoder = without_classifier(params), options.build_encoder()
    statistics = measure(encoder, params, _sample(options, tasks)) if isinstance(tasks, ClassInputs) else {}
    return MetaModel(encoder, options.build_recipe(), params, statistics)


def _sample(options: TrainOptions, classes: ClassInputs) -> Tensor:
    rows = torch.randperm(len(classes.inputs), generator=generator_of(options.seed, "statistics"))[:STATISTICS_SAMPLE]
    return unchanged(classes.inputs[rows], size=options.preprocessing.size)
