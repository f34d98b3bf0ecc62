"""Meta-training as the libraries' own examples write it: one meta-step on given episodes, second order, Adam outside.

learn2learn 0.2.0 examples/vision/maml_omniglot.py and anil_fc100.py, higher 0.2.1 examples/maml-omniglot.py, TorchOpt 0.7.3
examples/few-shot/maml_omniglot.py; without their data loading, printing and learning-rate schedules.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.plain_modules import Whole
from service.learner.episodes import Episode

# Takes one meta-step on these episodes.
MetaStep = Callable[[Sequence[Episode]], None]

# Makes the meta-step of a model, its inner step size and steps; the model's parameters keep their last gradients.
MakeMetaStep = Callable[[Any, Whole, float, int], MetaStep]

META_RATE = 1e-3


def learn2learn_maml(library: Any, model: Whole, rate: float, steps: int) -> MetaStep:
    """Clone, adapt, and go backward task by task."""
    maml = library.algorithms.MAML(model, lr=rate, first_order=False)
    optimiser, loss = torch.optim.Adam(maml.parameters(), META_RATE), nn.CrossEntropyLoss(reduction="mean")

    def meta_step(episodes: Sequence[Episode]) -> None:
        optimiser.zero_grad()
        for episode in episodes:
            learner = maml.clone()
            for _ in range(steps):
                learner.adapt(loss(learner(episode.support.inputs), episode.support.labels))
            answers = learner(episode.queries)
            error = loss(answers, episode.query_labels)
            _accuracy(answers, episode.query_labels)
            error.backward()
            error.item()
        for parameter in maml.parameters():
            parameter.grad.data.mul_(1.0 / len(episodes))
        optimiser.step()

    return meta_step


def learn2learn_anil(library: Any, model: Whole, rate: float, steps: int) -> MetaStep:
    """Embed support and queries at once, adapt a clone of the head, and go backward task by task."""
    head = library.algorithms.MAML(model.head, lr=rate)
    every = [*model.encoder.parameters(), *head.parameters()]
    optimiser, loss = torch.optim.Adam(every, META_RATE), nn.CrossEntropyLoss(reduction="mean")

    def meta_step(episodes: Sequence[Episode]) -> None:
        optimiser.zero_grad()
        for episode in episodes:
            learner = head.clone()
            embeddings = model.encoder(torch.cat([episode.support.inputs, episode.queries]))
            support, queries = embeddings.split([len(episode.support.labels), len(episode.query_labels)])
            for _ in range(steps):
                learner.adapt(loss(learner(support), episode.support.labels))
            answers = learner(queries)
            error = loss(answers, episode.query_labels)
            _accuracy(answers, episode.query_labels)
            error.backward()
            error.item()
        for parameter in every:
            if parameter.grad is not None:
                parameter.grad.data.mul_(1.0 / len(episodes))
        optimiser.step()

    return meta_step


def higher_maml(library: Any, model: Whole, rate: float, steps: int) -> MetaStep:
    """Unroll a functional copy in `innerloop_ctx`, and go backward task by task."""
    inner, optimiser = torch.optim.SGD(model.parameters(), lr=rate), torch.optim.Adam(model.parameters(), lr=META_RATE)

    def meta_step(episodes: Sequence[Episode]) -> None:
        optimiser.zero_grad()
        for episode in episodes:
            with library.innerloop_ctx(model, inner, copy_initial_weights=False) as (functional, differentiable):
                for _ in range(steps):
                    differentiable.step(F.cross_entropy(functional(episode.support.inputs), episode.support.labels))
                answers = functional(episode.queries)
                error = F.cross_entropy(answers, episode.query_labels)
                _accuracy(answers, episode.query_labels)
                # The example adds the tasks up; the mean, as the others take it, costs nothing.
                (error / len(episodes)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return meta_step


def torchopt_maml(library: Any, model: Whole, rate: float, steps: int) -> MetaStep:
    """Step with `MetaSGD`, put the model back after every task, and go backward once."""
    inner, optimiser = library.MetaSGD(model, lr=rate), torch.optim.Adam(model.parameters(), lr=META_RATE)

    def meta_step(episodes: Sequence[Episode]) -> None:
        errors = []
        optimiser.zero_grad()
        begun = library.extract_state_dict(model, by="reference", detach_buffers=True)
        begun_inner = library.extract_state_dict(inner, by="reference")
        for episode in episodes:
            for _ in range(steps):
                inner.step(F.cross_entropy(model(episode.support.inputs), episode.support.labels))
            answers = model(episode.queries)
            errors.append(F.cross_entropy(answers, episode.query_labels))
            _accuracy(answers.detach(), episode.query_labels)
            library.recover_state_dict(model, begun)
            library.recover_state_dict(inner, begun_inner)
        torch.mean(torch.stack(errors)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return meta_step


def _accuracy(answers: Tensor, labels: Tensor) -> float:
    return (answers.argmax(dim=1) == labels).sum().item() / len(labels)


MAML: Mapping[str, MakeMetaStep] = {"learn2learn": learn2learn_maml, "higher": higher_maml, "torchopt": torchopt_maml}
ANIL: Mapping[str, MakeMetaStep] = {"learn2learn": learn2learn_anil}


def made(makers: Mapping[str, MakeMetaStep], models: Callable[[], Whole], rate: float, steps: int) -> dict[str, tuple[Whole, MetaStep]]:
    """Give every installed library's model and meta-step, each with a model of its own."""
    found = {}
    for name, make in makers.items():
        try:
            library = importlib.import_module(name)
        except Exception:  # noqa: S112 - `libraries.installed` reports the reason
            continue
        model = models()
        found[name] = (model, make(library, model, rate, steps))
    return found
