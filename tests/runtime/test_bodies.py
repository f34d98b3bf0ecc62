from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch._subclasses import FakeTensorMode

from service.learner.batched_bodies import adapt_bodies, kept_bytes
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.mlp import Mlp
from service.learner.episodes import Support
from service.learner.meta_model import Adapted, MetaModel, adapt, adapted_shapes
from service.learner.recipe import Recipe
from service.learner.starts import moved_body
from service.runtime import bodies
from service.runtime.bodies import COPIES, STACKING, Bodies, Moved, Stacking
from tests.learner.tasks import assert_same_weights, distance, random_support
from tests.tiny import tiny_model

CPU = torch.device("cpu")
VECTORS = tiny_model(Mlp(6), Recipe(scope="all", step_size=0.1, steps_default=2, steps_max=10))
PICTURES = tiny_model(Conv4(width=8, norm="group"), Recipe(scope="all", step_size=0.01, steps_default=2, steps_max=10))
CONTEXT = tiny_model(
    Conv4(width=8, norm="group", context=3), Recipe(scope="context", head="per_class", way=2, step_size=0.5, steps_default=2, steps_max=3)
)
ALWAYS = Stacking(adapt_from=1, embed_from=1, kernels=True, room_bytes=2**30)


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks each stack had that was adapted."""
    seen: list[int] = []

    def noted(model: MetaModel, supports: Sequence[Support], steps: int) -> list[Adapted]:
        seen.append(len(supports))
        return adapt_bodies(model, supports, steps)

    monkeypatch.setattr(bodies, "adapt_bodies", noted)
    return seen


def of_device(*, arena_bytes: int = 2**24, stacking: Stacking | None = None) -> Bodies:
    return Bodies(CPU, arena_bytes=arena_bytes, chunk=64, stacking=stacking)


def tasks(
    model: MetaModel, count: int, generator: torch.Generator, *, shots: Sequence[int] = (1, 1), steps: int = 2
) -> list[tuple[Support, int]]:
    return [(random_support(model.encoder.input_shape, shots, generator), steps) for _ in range(count)]


@pytest.mark.parametrize(("model", "stacked"), [(VECTORS, True), (CONTEXT, True), (PICTURES, False)], ids=["vectors", "context", "kernels"])
def test_a_cpu_stacks_some_where_no_kernel_moves(model: MetaModel, stacked: bool, stacks: list[int], generator: torch.Generator) -> None:
    few = STACKING["cpu"].adapt_from - 1
    for count in (1, few, few + 1):
        of_device().adapt(model, tasks(model, count, generator))
    assert stacks == ([few + 1] if stacked else [])


def test_a_cuda_device_stacks_whatever_moves() -> None:
    assert STACKING["cuda"].kernels


def test_only_tasks_of_one_number_of_steps_and_about_one_size_share_a_stack(stacks: list[int], generator: torch.Generator) -> None:
    several = [
        *tasks(VECTORS, 2, generator, steps=1),
        *tasks(VECTORS, 3, generator, steps=2),
        *tasks(VECTORS, 1, generator, steps=2, shots=[9, 9]),
        *tasks(VECTORS, 1, generator, steps=1),
    ]
    found = of_device(stacking=ALWAYS).adapt(VECTORS, several)
    assert stacks == [3, 3, 1]
    for got, (support, steps) in zip(found, several, strict=True):
        assert_same_weights(got.params, adapt(VECTORS, support, steps).params)


@pytest.mark.parametrize("model", [VECTORS, PICTURES])
def test_a_stack_has_no_more_than_there_is_room_for(model: MetaModel, stacks: list[int], generator: torch.Generator) -> None:
    body = moved_body(model.encoder, model.recipe.scope, model.params).values()
    one = 2 * kept_bytes(model.encoder) + COPIES * sum(value.nbytes for value in body)
    several = tasks(model, 7, generator)
    found = of_device(stacking=replace(ALWAYS, room_bytes=3 * one)).adapt(model, several)
    assert stacks == [3, 3, 1]
    for got, (support, steps) in zip(found, several, strict=True):
        assert_same_weights(got.params, adapt(model, support, steps).params)


def test_what_one_task_alone_has_no_room_for_is_not_stacked(stacks: list[int], generator: torch.Generator) -> None:
    several = tasks(PICTURES, 2, generator)
    found = of_device(stacking=replace(ALWAYS, room_bytes=1)).adapt(PICTURES, several)
    assert stacks == []
    assert found[1].losses == adapt(PICTURES, *several[1]).losses


@pytest.mark.parametrize("arena_bytes", [2**24, 1], ids=["held in the arena", "too many for it"])
@pytest.mark.parametrize("stacking", [None, ALWAYS, replace(ALWAYS, embed_from=100)], ids=["of a CPU", "stacked", "alone"])
@pytest.mark.parametrize("model", [VECTORS, PICTURES, CONTEXT], ids=["vectors", "kernels", "context"])
def test_every_session_is_embedded_by_its_own_body(
    model: MetaModel, stacking: Stacking | None, arena_bytes: int, generator: torch.Generator
) -> None:
    """More inputs than pass together, and different numbers of them; asked again, and the other way round."""
    adapted = [adapt(model, support, steps).params for support, steps in tasks(model, 14, generator)]
    counts = [1] * 12 + [2, 70]
    asked = [
        Moved(params, f"digest {place}", torch.rand(count, *model.encoder.input_shape, generator=generator))
        for place, (params, count) in enumerate(zip(adapted, counts, strict=True))
    ]
    several = of_device(arena_bytes=arena_bytes, stacking=stacking)
    for order in (asked, asked, asked[::-1]):
        for rows, each in zip(several.embed(model, order), order, strict=True):
            expected = torch.cat([model.embed(one[None], {**model.params, **each.params}) for one in each.inputs])
            assert distance(rows, expected) < 1e-5


def test_a_body_that_is_held_is_not_copied_again(generator: torch.Generator) -> None:
    (adapted,) = (adapt(VECTORS, support, steps).params for support, steps in tasks(VECTORS, 1, generator))
    inputs, several = torch.rand(3, 6, generator=generator), of_device(stacking=ALWAYS)
    (first,) = several.embed(VECTORS, [Moved(adapted, "digest", inputs)])
    (again,) = several.embed(VECTORS, [Moved({}, "digest", inputs)])
    assert torch.equal(first, again)


@pytest.mark.parametrize("embed_from", [1, 100], ids=["stacked", "alone"])
@pytest.mark.parametrize("model", [VECTORS, PICTURES], ids=["vectors", "kernels"])
def test_what_the_store_gave_is_moved_to_the_device(model: MetaModel, embed_from: int) -> None:
    """A fake CUDA device has no numbers, and refuses to mix what lies on it with what does not."""
    cuda, shapes = torch.device("cuda:0"), adapted_shapes(model, 3)
    with FakeTensorMode():
        params = {name: torch.empty(value.shape, device=cuda) for name, value in model.params.items()}
        there = Bodies(cuda, arena_bytes=2**24, chunk=64, stacking=replace(STACKING["cuda"], embed_from=embed_from))
        own, shape = {name: torch.empty(shape) for name, shape in shapes.items()}, model.encoder.input_shape
        asked = [Moved(own, f"digest {count}", torch.empty(count, *shape)) for count in (1, 2, 2)]
        found = there.embed(replace(model, params=params), asked)
    assert [rows.shape for rows in found] == [(len(each.inputs), model.encoder.embedding) for each in asked]
    assert {rows.device for rows in found} == {cuda}
