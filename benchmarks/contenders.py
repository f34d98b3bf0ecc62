"""Who adapts in benchmarks/adaptation.py: ours, plain loops and libraries, all with the same weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from benchmarks.peers.libraries import Library
from benchmarks.peers.plain_loops import (
    AdaptOne,
    deepcopy_and_encode_once,
    encode_at_every_step,
    encode_once,
    take_steps,
    take_steps_on_a_copy,
)
from benchmarks.peers.plain_modules import Head, Whole, fold_norms, plain_encoder
from benchmarks.peers.problem import HeadSetup, TakeSteps, as_peers_read, whole_problem
from service.learner.episodes import Support
from service.learner.meta_model import MetaModel, as_served
from service.learner.parameters import Params
from service.runtime.engine import Engine, Fitted
from service.runtime.tasks import AdaptTask

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who adapts.

    Attributes:
        prepare: brings a support set into the form that `adapt` takes, before the clock runs.
        adapt: adapts to one support set, or to all that wait when `together`.
    """

    name: str
    prepare: Callable[[Support], Support]
    adapt: Callable[[Sequence[Support]], list[Params]]
    together: bool = False


def ours(model: MetaModel, device: torch.device, steps: int) -> Contender:
    """Give the server's engine: it reads bytes on the CPU, makes the views and moves both to the device while the clock runs."""
    engine, served = Engine(device), as_served(model, device)

    def adapt(supports: Sequence[Support]) -> list[Params]:
        return [_params(fitted) for fitted in engine.adapt(served, [AdaptTask(support, steps) for support in supports])]

    return Contender(OURS, lambda support: support, adapt, together=True)


def _params(fitted: object) -> Params:
    if isinstance(fitted, Fitted):
        return fitted.adapted.params
    raise TypeError(f"expected an adapted task, got {fitted!r}")


def head_contenders(model: MetaModel, libraries: Sequence[Library], device: torch.device, steps: int) -> list[Contender]:
    """Give everybody who moves the head over a fixed encoder."""
    setup, frozen = HeadSetup.of(model), plain_encoder(model, device).requires_grad_(False)
    unfrozen, folded = plain_encoder(model, device), fold_norms(plain_encoder(model, device)).requires_grad_(False)
    loops = {
        "plain loop, deepcopy": deepcopy_and_encode_once(frozen, setup, steps=steps),
        "plain loop": encode_once(frozen, setup, take_steps, steps=steps),
        "plain loop, norm folded": encode_once(folded, setup, take_steps, steps=steps),
        "tutorial, encodes at every step": encode_at_every_step(unfrozen, setup, steps=steps),
        "tutorial, encoder frozen": encode_at_every_step(frozen, setup, steps=steps),
        **{each.name: encode_once(frozen, setup, each.take_steps, steps=steps, one_rate=each.one_rate) for each in libraries},
    }
    return [ours(model, device, steps), *(_peer(name, adapt, model, device) for name, adapt in loops.items())]


def whole_contenders(model: MetaModel, libraries: Sequence[Library], device: torch.device, steps: int) -> list[Contender]:
    """Give everybody who moves every parameter of a meta-model with a `per_class` head."""
    setup = HeadSetup.of(model)
    if setup.factor != 1 or setup.weight_rate != setup.bias_rate:
        raise ValueError("expected a meta-model with one step size and no factor on its logits")
    head = Head(model.params["head.weight"].clone(), model.params["head.bias"].clone())
    whole = Whole(plain_encoder(model, device), head.to(device))
    takers: dict[str, TakeSteps] = {"plain loop, deepcopy": take_steps_on_a_copy} | {each.name: each.take_steps for each in libraries}
    peers = [_peer(name, _adapt_whole(whole, take, steps=steps, rate=setup.weight_rate), model, device) for name, take in takers.items()]
    return [ours(model, device, steps), *peers]


def _adapt_whole(whole: Whole, take: TakeSteps, *, steps: int, rate: float) -> AdaptOne:
    return lambda support: take(whole_problem(whole, support, rate), steps)


def _peer(name: str, adapt: AdaptOne, model: MetaModel, device: torch.device) -> Contender:
    return Contender(
        name,
        lambda support: as_peers_read(support, views=model.recipe.views, device=device),
        lambda supports: [adapt(support) for support in supports],
    )
