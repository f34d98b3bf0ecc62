"""Inner loops in plain PyTorch, as users write them."""

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from benchmarks.peers.problem import HeadSetup, Problem, TakeSteps, class_weights
from service.learner.episodes import Support
from service.learner.parameters import Params

# Adapts to one support set, whose inputs are as `as_peers_read` gives them.
AdaptOne = Callable[[Support], Params]


def take_steps(problem: Problem, steps: int) -> Params:
    """Take autograd steps in place, on the module itself."""
    parameters = list(problem.module.parameters())
    for _ in range(steps):
        loss = problem.loss(problem.module(problem.features))
        slopes = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, slope, rate in zip(parameters, slopes, problem.rates, strict=True):
                parameter.sub_(slope, alpha=rate)
    return problem.adapted(dict(problem.module.named_parameters()))


def take_steps_on_a_copy(problem: Problem, steps: int) -> Params:
    """Take autograd steps in place, on a deepcopy of the module."""
    return take_steps(replace(problem, module=copy.deepcopy(problem.module)), steps)


def encode_once(encoder: nn.Module, setup: HeadSetup, take: TakeSteps, *, steps: int, one_rate: bool = False) -> AdaptOne:
    """Give the loop that encodes the support set once, then moves the head over the embeddings."""

    def adapt(support: Support) -> Params:
        with torch.no_grad():
            embeddings = encoder(support.inputs)
        return take(setup.problem(embeddings, support, one_rate=one_rate), steps)

    return adapt


def deepcopy_and_encode_once(encoder: nn.Module, setup: HeadSetup, *, steps: int) -> AdaptOne:
    """Give the same loop on a deepcopy of the whole model, as tutorials have it."""

    def adapt(support: Support) -> Params:
        return encode_once(copy.deepcopy(encoder), setup, take_steps, steps=steps)(support)

    return adapt


def encode_at_every_step(encoder: nn.Module, setup: HeadSetup, *, steps: int) -> AdaptOne:
    """Give the tutorial's loop: a deepcopy, an optimiser of the head, and a pass of the whole model for every step.

    An encoder whose parameters require a gradient gets one at every step, and nobody uses it.
    """

    def adapt(support: Support) -> Params:
        copied = copy.deepcopy(encoder)
        with torch.no_grad():
            start = setup.problem(copied(support.inputs), support, one_rate=False)
        head, balance = start.module, class_weights(support)
        groups = [{"params": [value], "lr": rate} for value, rate in zip(head.parameters(), start.rates, strict=True)]
        optimiser, criterion = torch.optim.SGD(groups), nn.CrossEntropyLoss(weight=balance)
        for _ in range(steps):
            optimiser.zero_grad()
            criterion(head(copied(support.inputs)), support.labels).backward()
            optimiser.step()
        return start.adapted(dict(head.named_parameters()))

    return adapt
