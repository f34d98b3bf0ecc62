"""Meta-training: sample episodes, adapt to each, move the initialisation so that adapting works better."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from service.learner.episodes import ClassInputs, Episode, EpisodeShape, sample_episode
from service.learner.meta_model import MetaModel, initial_params
from service.learner.outer_rules import Outcome
from service.learner.parameters import Params, channels_last, detached, trainable
from service.learner.statistics import episode_statistics, measure
from service.training.augmentation import augment, unchanged
from service.training.checkpoint import Best, Checkpoint, load_checkpoint, save_checkpoint
from service.training.demands import require_enough
from service.training.evaluate import Judged, evaluate, pool
from service.training.options import Optimiser, TrainOptions

STATISTICS_SAMPLE = 2048


@dataclass(frozen=True, slots=True)
class Validated:
    """What a validation found out.

    Attributes:
        best: the best so far, perhaps this one.
        model: the averaged weights that were judged.
        sample: an episode that is trained on at about this meta-step.
    """

    step: int
    judged: Judged
    best: Best
    model: MetaModel
    sample: Episode


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


def meta_train(
    options: TrainOptions,
    data: Mapping[str, ClassInputs],
    run: Path,
    *,
    reporter: Reporter,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Trained | None:
    """Train by a configuration, and give the meta-model of the best validation.

    A run that is stopped leaves a checkpoint in `run`; resuming it gives what an uninterrupted run would have, bit for
    bit, on the same kind of machine with the same torch and thread count. None when stopped before the first validation.

    Raises:
        BadCheckpointError: nothing to resume from, or another configuration.
        BadDataError: fewer classes or images than the configuration asks for.
    """
    require_enough(options, data)
    torch.set_num_threads(options.threads)
    state = load_checkpoint(run, options) if resume else _fresh(options)
    # A copy, because the optimiser works in place and the average of a fresh run starts from the same tensors.
    params = trainable(channels_last(state.params))
    optimiser = _optimiser(params, options.optimiser)
    if state.optimiser:
        optimiser.load_state_dict(state.optimiser)
    started = time.monotonic() - state.seconds

    while state.step < options.meta_steps and not _exhausted(state, options) and not should_stop():
        outcome = _meta_gradient(options, data["train"], params, state.step)
        rate = _learning_rate(state.step, options)
        _meta_step(optimiser, params, outcome, rate, options.optimiser)
        state = replace(state, step=state.step + 1, average=_averaged(state.average, params, state.step, options.optimiser.ema))
        reporter.stepped(state.step, outcome, rate)
        if state.step % options.validation.every == 0 or state.step == options.meta_steps:
            state = _validated(state, options, data, reporter)
            save_checkpoint(run, _snapshot(state, params, optimiser, started), options)

    state = _snapshot(state, params, optimiser, started)
    save_checkpoint(run, state, options)
    return _result(state, options)


def _fresh(options: TrainOptions) -> Checkpoint:
    params = initial_params(options.build_encoder(), options.build_recipe(), _generator(options.seed, "initial"))
    return Checkpoint(step=0, params=params, average=params, optimiser={}, best=None, stale=0, seconds=0.0)


def _snapshot(state: Checkpoint, params: Params, optimiser: torch.optim.Optimizer, started: float) -> Checkpoint:
    return replace(state, params=detached(params), optimiser=optimiser.state_dict(), seconds=time.monotonic() - started)


def _result(state: Checkpoint, options: TrainOptions) -> Trained | None:
    if state.best is None:
        return None
    model = MetaModel(options.build_encoder(), options.build_recipe(), state.best.params, state.best.statistics)
    finished = state.step == options.meta_steps or _exhausted(state, options)
    return Trained(model, state.best, state.step, state.seconds, finished)


def _exhausted(state: Checkpoint, options: TrainOptions) -> bool:
    return 0 < options.validation.patience <= state.stale


def _generator(seed: int, *place: object) -> torch.Generator:
    """Give the generator of one place in the run, the same whenever that place is reached."""
    digest = hashlib.sha256("/".join(map(str, (seed, *place))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _episodes(options: TrainOptions, classes: ClassInputs, step: int) -> Iterator[Episode]:
    """Sample and augment the episodes of one meta-step."""
    stage = options.stage_at(step)
    for index in range(stage.episodes):
        generator = _generator(options.seed, step, index)
        way = int(torch.randint(stage.way[0], stage.way[1] + 1, (), generator=generator))
        group = stage.group if float(torch.rand((), generator=generator)) < stage.grouped else 0
        shape = EpisodeShape(way, stage.shot, stage.queries, uneven=stage.uneven, group=group, turns=stage.turns)
        episode = sample_episode(classes, shape, generator)
        images = augment(
            torch.cat([episode.support.inputs, episode.queries]), options.augmentation, generator, size=options.preprocessing.size
        )
        support, queries = torch.split(images, [len(episode.support.labels), len(episode.query_labels)])
        yield replace(episode, support=replace(episode.support, inputs=support), queries=queries)


def _meta_gradient(options: TrainOptions, classes: ClassInputs, params: Params, step: int) -> Outcome:
    """Average what the episodes of one meta-step say."""
    encoder, recipe, rule = options.build_encoder(), options.build_recipe(), options.algorithm.outer_rule

    def encode(params: Params, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            return encoder(params, inputs, episode_statistics).to(torch.float32)

    outcomes = [
        rule(params, recipe, encoder, encode, each, options.stage_at(step).inner_steps) for each in _episodes(options, classes, step)
    ]
    count = len(outcomes)
    gradients = {name: torch.stack([each.gradients[name] for each in outcomes]).mean(dim=0) for name in params}
    return Outcome(gradients, sum(each.loss for each in outcomes) / count, sum(each.accuracy for each in outcomes) / count)


def _optimiser(params: Params, options: Optimiser) -> torch.optim.Optimizer:
    """AdamW that decays weights, but not biases, norms, scales and step sizes."""
    groups = [[value for value in params.values() if value.dim() > 1], [value for value in params.values() if value.dim() <= 1]]
    decays = (options.weight_decay, 0.0)
    return torch.optim.AdamW(
        [{"params": group, "weight_decay": decay} for group, decay in zip(groups, decays, strict=True) if group], lr=options.learning_rate
    )


def _learning_rate(step: int, options: TrainOptions) -> float:
    """Warm up linearly, then follow a cosine to zero."""
    done, warmup = (step + 1) / options.meta_steps, options.optimiser.warmup
    share = done / warmup if done < warmup else (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))) / 2
    return options.optimiser.learning_rate * share


def _meta_step(optimiser: torch.optim.Optimizer, params: Params, outcome: Outcome, rate: float, options: Optimiser) -> None:
    for name, value in params.items():
        value.grad = outcome.gradients[name]
    torch.nn.utils.clip_grad_norm_(params.values(), options.clip)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()


def _averaged(average: Params, params: Params, step: int, decay: float) -> dict[str, Tensor]:
    """Move the average towards the weights; the decay grows with the run, so that the start is soon forgotten."""
    warmed = min(decay, (1 + step) / (10 + step))
    return {name: torch.lerp(value.detach(), average[name], warmed) for name, value in params.items()}


def _validated(state: Checkpoint, options: TrainOptions, data: Mapping[str, ClassInputs], reporter: Reporter) -> Checkpoint:
    """Judge the averaged weights with frozen statistics, and keep them when they are the best so far."""
    model = freeze(options, state.average, data["train"])
    how = options.validation
    shape = EpisodeShape(how.way, (how.shot, how.shot), how.queries)
    judged = evaluate(
        model, pool(model, data["validation"]), shape, steps=model.recipe.steps_default, episodes=how.episodes, seed=options.seed
    )
    improved = state.best is None or judged.accuracy > state.best.accuracy
    best = Best(judged.accuracy, state.step, model.params, model.statistics) if improved or state.best is None else state.best
    sample = next(_episodes(options, data["train"], min(state.step, options.meta_steps - 1)))
    reporter.validated(Validated(state.step, judged, best, model, sample))
    return replace(state, best=best, stale=0 if improved else state.stale + 1)


def freeze(options: TrainOptions, params: Params, classes: ClassInputs) -> MetaModel:
    """Make a meta-model of weights: measure their statistics on a fixed sample of training images, unchanged as served ones are."""
    generator = _generator(options.seed, "statistics")
    rows = torch.randperm(len(classes.inputs), generator=generator)[:STATISTICS_SAMPLE]
    encoder = options.build_encoder()
    statistics = measure(encoder, params, unchanged(classes.inputs[rows], size=options.preprocessing.size))
    return MetaModel(encoder, options.build_recipe(), params, statistics)
