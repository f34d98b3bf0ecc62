"""The gradient of one step of a run: what each process draws for it, and how they come to one outcome."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from service.learner.encoders.encoder import Encoder, Normalise
from service.learner.episodes import ClassInputs, Episode, EpisodeShape, sample_episode
from service.learner.outer_rules import Outcome
from service.learner.parameters import Params
from service.learner.starts import Encode, Learner
from service.learner.statistics import episode_statistics
from service.training.augmentation import augment
from service.training.options import TrainOptions
from service.training.pretraining import Batch, classification_gradient, draw_batch, without_classifier
from service.training.processes import Processes
from service.training.sources.sinusoid import Sinusoids
from service.training.sources.tables import Tables
from service.training.tasks import Tasks

# Beside the gradients of an outcome, its loss and accuracy.
TOLD = "told"


def generator_of(seed: int, *place: object) -> torch.Generator:
    """Give the generator of one place in the run, the same whenever that place is reached."""
    digest = hashlib.sha256("/".join(map(str, (seed, *place))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def episodes_of(options: TrainOptions, tasks: Tasks, step: int, indices: Iterable[int]) -> Iterator[Episode]:
    """Sample and augment episodes of one step of the run, named by their places in the meta-batch."""
    stage = options.stage_at(step)
    for index in indices:
        generator = generator_of(options.seed, step, index)
        way = int(torch.randint(stage.way[0], stage.way[1] + 1, (), generator=generator))
        group = stage.group if float(torch.rand((), generator=generator)) < stage.grouped else 0
        yield _draw(options, tasks, EpisodeShape(way, stage.shot, stage.queries, stage.uneven, group, stage.turns), generator)


def _draw(options: TrainOptions, tasks: Tasks, shape: EpisodeShape, generator: torch.Generator) -> Episode:
    """Draw an episode as training sees it: every picture changed on its own."""
    if isinstance(tasks, Sinusoids | Tables):
        return tasks.episode(shape, generator)
    episode = sample_episode(tasks, shape, generator)
    images = augment(torch.cat([episode.support.inputs, episode.queries]), options.augmentation, generator, size=options.preprocessing.size)
    support, queries = torch.split(images, [len(episode.support.labels), len(episode.query_labels)])
    return replace(episode, support=replace(episode.support, inputs=support), queries=queries)


def gradient(options: TrainOptions, tasks: Tasks, params: Params, step: int, *, processes: Processes) -> Outcome:
    """Give the gradient of one step of the run: of a batch while pretraining lasts, then of episodes."""
    if step < options.pretraining.steps and isinstance(tasks, ClassInputs):
        size = len(processes.share(options.pretraining.batch))
        # The first process draws what a run of one process does.
        place = (step, "batch", processes.rank) if processes.rank else (step, "batch")
        batch = _batch_on(processes.device, draw_batch(options, tasks, size, generator_of(options.seed, *place)))
        outcome = classification_gradient(options, _encode(options.build_encoder(), options), params, batch)
        return _summed([outcome], params, share=size / options.pretraining.batch, processes=processes)
    count, learned = options.stage_at(step).episodes, without_classifier(params)
    episodes = (_episode_on(processes.device, each) for each in episodes_of(options, tasks, step, processes.share(count)))
    return _summed(_outcomes(options, learned, episodes, step), learned, share=1 / count, processes=processes)


def _episode_on(device: torch.device, episode: Episode) -> Episode:
    return replace(
        episode, support=episode.support.on(device), queries=episode.queries.to(device), query_labels=episode.query_labels.to(device)
    )


def _batch_on(device: torch.device, batch: Batch) -> Batch:
    return Batch(batch.images.to(device), batch.labels.to(device))


def _encode(encoder: Encoder, options: TrainOptions) -> Encode:
    """Give the encoder as it trains: on the statistics of its batch, in the configured precision, float32 embeddings."""

    def encode(params: Params, inputs: Tensor, normalise: Normalise | None) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            return encoder(params, inputs, normalise or episode_statistics).to(torch.float32)

    return encode


def _outcomes(options: TrainOptions, params: Params, episodes: Iterable[Episode], step: int) -> list[Outcome]:
    """Give what each episode of one meta-step says."""
    encoder, meta_step = options.build_encoder(), step - options.pretraining.steps
    rule, steps, progress = options.algorithm.outer_rule, options.stage_at(step).inner_steps, meta_step / options.meta_steps
    learner = Learner(params, options.build_recipe(), encoder, _encode(encoder, options))
    return [rule(learner, each, steps, progress=progress) for each in episodes]


def _summed(outcomes: Sequence[Outcome], params: Params, *, share: float, processes: Processes) -> Outcome:
    """Average what was found out by all processes, by this one perhaps nothing; each outcome counts its share of the whole."""
    names = list(outcomes[0].gradients) if outcomes else list(params)
    found = {name: torch.zeros_like(params[name]) for name in names}
    for name, value in found.items():
        for each in outcomes:
            value.add_(each.gradients[name], alpha=share)
    told = [share * sum(each.loss for each in outcomes), share * sum(each.accuracy for each in outcomes)]
    both = processes.summed({**found, TOLD: next(iter(found.values())).new_tensor(told)})
    loss, accuracy = both[TOLD].tolist()
    return Outcome({name: both[name] for name in names}, loss, accuracy)
