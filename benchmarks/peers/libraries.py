"""The meta-learning libraries, each taking the same steps: first order, no retained graph.

They live in an environment of their own (requirements.txt); one that cannot be imported is absent, with the reason.
"""

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.peers.problem import Problem, TakeSteps
from service.learner.parameters import Params


@dataclass(frozen=True, slots=True)
class Library:
    """An installed peer; one with a single step size for all parameters needs the bias stretched (see `Head`)."""

    name: str
    version: str
    take_steps: TakeSteps
    one_rate: bool


def learn2learn(library: Any) -> TakeSteps:
    """Steps of `MAML`: clone, then adapt."""

    def take(problem: Problem, steps: int) -> Params:
        learner = library.algorithms.MAML(problem.module, lr=problem.rate, first_order=True).clone()
        for _ in range(steps):
            learner.adapt(problem.loss(learner(problem.features)))
        return problem.adapted(dict(learner.module.named_parameters()))

    return take


def higher(library: Any) -> TakeSteps:
    """Steps of `innerloop_ctx`, in the test mode that tracks no gradients of gradients."""

    def take(problem: Problem, steps: int) -> Params:
        groups = [{"params": [value], "lr": rate} for value, rate in zip(problem.module.parameters(), problem.rates, strict=True)]
        with library.innerloop_ctx(problem.module, torch.optim.SGD(groups), track_higher_grads=False) as (functional, optimiser):
            for _ in range(steps):
                optimiser.step(problem.loss(functional(problem.features)))
            names = [name for name, _ in problem.module.named_parameters()]
            return problem.adapted(dict(zip(names, functional.parameters(time=-1), strict=True)))

    return take


def torchopt(library: Any) -> TakeSteps:
    """Steps of the functional optimiser `sgd`; `MetaSGD` would retain the graph of every step."""

    def take(problem: Problem, steps: int) -> Params:
        params = {name: value.detach().clone().requires_grad_() for name, value in problem.module.named_parameters()}
        optimiser = library.sgd(problem.rate)
        state = optimiser.init(tuple(params.values()))
        for _ in range(steps):
            loss = problem.loss(torch.func.functional_call(problem.module, params, (problem.features,)))
            slopes = torch.autograd.grad(loss, tuple(params.values()))
            updates, state = optimiser.update(slopes, state, inplace=True)
            library.apply_updates(tuple(params.values()), updates, inplace=True)
        return problem.adapted(params)

    return take


_LIBRARIES: Mapping[str, tuple[Callable[[Any], TakeSteps], bool]] = {
    "learn2learn": (learn2learn, True),
    "higher": (higher, False),
    "torchopt": (torchopt, True),
}


def installed() -> tuple[list[Library], dict[str, str]]:
    """Give the libraries that can be imported, and why each other one cannot."""
    found, absent = [], {}
    for name, (steps_of, one_rate) in _LIBRARIES.items():
        try:
            module = importlib.import_module(name)
        except Exception as error:  # old libraries fail in many ways, and each is a reason to report
            absent[name] = f"{type(error).__name__}: {error}"
        else:
            found.append(Library(name, importlib.metadata.version(name), steps_of(module), one_rate))
    return found, absent
