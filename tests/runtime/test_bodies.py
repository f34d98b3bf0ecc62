from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from service.learner.batched_bodies import kept_bytes
from service.learner.encoders.conv4 import Conv4
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import Adapted, MetaModel, adapt, adapted_shapes
from service.learner.recipe import Recipe
from service.learner.starts import moved_body
from service.runtime.bodies import COPIES, STACKING, Bodies, Stacking
from service.runtime.tasks import AdaptTask, EmbedTask
from tests.learner.tasks import assert_same_weights, distance, random_support
from tests.runtime.conftest import Stacks
from tests.tiny import tiny_model

CPU = torch.device("cpu")
VECTORS = tiny_model(Mlp(6), Recipe(scope="all", step_size=0.1, steps_default=2, steps_max=10))
PICTURES = tiny_model(Conv4(width=8, norm="group"), Recipe(scope="all", step_size=0.01, steps_default=2, steps_max=10))
CONTEXT = tiny_model(
    Conv4(width=8, norm="group", groups=4, context=3),
    Recipe(scope="context", head="per_class", way=2, step_size=0.1, steps_default=2, steps_max=3),
)
NOTHING = tiny_model(Identity(6), Recipe(scope="all", step_size=0.1, steps_default=2, steps_max=10))
ALWAYS = Stacking(adapt_from=1, embed_from=1, kernels=True, room_bytes=2**30)

BODY = pytest.mark.parametrize("model", [VECTORS, PICTURES, CONTEXT], ids=["vectors", "kernels", "context"])


def of_device(*, arena_bytes: int = 2**24, stacking: Stacking | None = None) -> Bodies:
    return Bodies(CPU, arena_bytes=arena_bytes, chunk=64, stacking=stacking)


def adapt_tasks(
    model: MetaModel, count: int, generator: torch.Generator, *, shots: Sequence[int] = (1, 1), steps: int = 2
) -> list[AdaptTask]:
    return [AdaptTask(random_support(model.encoder.input_shape, shots, generator), steps) for _ in range(count)]


def embed_tasks(model: MetaModel, counts: Sequence[int], generator: torch.Generator) -> list[EmbedTask]:
    """A session for each number of inputs."""
    adapted = [adapt(model, task.support, task.steps).params for task in adapt_tasks(model, len(counts), generator)]
    shape = model.encoder.input_shape
    return [
        EmbedTask(params, f"digest {place}", torch.rand(count, *shape, generator=generator))
        for place, (params, count) in enumerate(zip(adapted, counts, strict=True))
    ]


def assert_each_adapted_alone(found: Sequence[Adapted], model: MetaModel, tasks: Sequence[AdaptTask]) -> None:
    for got, task in zip(found, tasks, strict=True):
        assert_same_weights(got.params, adapt(model, task.support, task.steps).params)


def assert_each_embedded_alone(found: Sequence[Tensor], model: MetaModel, tasks: Sequence[EmbedTask]) -> None:
    for rows, task in zip(found, tasks, strict=True):
        expected = torch.cat([model.embed(one[None], {**model.params, **task.params}) for one in task.inputs])
        assert distance(rows, expected) < 1e-5


@pytest.mark.parametrize(
    ("device", "model", "pays"),
    [
        ("cpu", VECTORS, True),
        ("cpu", CONTEXT, True),
        ("cpu", PICTURES, False),
        ("cuda", VECTORS, True),
        ("cuda", CONTEXT, True),
        ("cuda", PICTURES, True),
    ],
)
def test_each_kind_of_device_stacks_from_as_many_on_as_pays(
    device: str, model: MetaModel, pays: bool, stacks: Stacks, generator: torch.Generator
) -> None:
    stacking = STACKING[device]
    for count in (1, stacking.adapt_from - 1, stacking.adapt_from):
        of_device(stacking=stacking).adapt(model, adapt_tasks(model, count, generator))
    assert stacks.adapted == ([stacking.adapt_from] if pays else [])
    for count in (1, stacking.embed_from - 1, stacking.embed_from):
        of_device(stacking=stacking).embed(model, embed_tasks(model, [1] * count, generator))
    assert stacks.embedded == ([stacking.embed_from] if pays else [])
    assert (of_device(stacking=stacking).company(model) >= max(stacking.adapt_from, stacking.embed_from)) is pays


def test_only_tasks_of_one_number_of_steps_and_about_one_size_share_a_stack(stacks: Stacks, generator: torch.Generator) -> None:
    several = [
        *adapt_tasks(VECTORS, 2, generator, steps=1),
        *adapt_tasks(VECTORS, 3, generator, steps=2),
        *adapt_tasks(VECTORS, 1, generator, steps=2, shots=[9, 9]),
        *adapt_tasks(VECTORS, 1, generator, steps=1),
    ]
    found = of_device(stacking=ALWAYS).adapt(VECTORS, several)
    assert stacks.adapted == [3, 3, 1]
    assert_each_adapted_alone(found, VECTORS, several)


@BODY
def test_tasks_are_shared_out_to_stacks_that_there_is_room_for(model: MetaModel, stacks: Stacks, generator: torch.Generator) -> None:
    body = moved_body(model.encoder, model.recipe.scope, model.params).values()
    one = 2 * kept_bytes(model.encoder, model.recipe.scope) + COPIES * sum(value.nbytes for value in body)
    narrow, several = of_device(stacking=replace(ALWAYS, room_bytes=3 * one)), adapt_tasks(model, 7, generator)
    assert_each_adapted_alone(narrow.adapt(model, several), model, several)
    assert stacks.adapted == [2, 2, 3]
    asked = embed_tasks(model, [2] * 4, generator)
    assert_each_embedded_alone(narrow.embed(model, asked), model, asked)
    assert stacks.embedded == [2, 2]


@BODY
def test_what_there_is_no_room_for_is_not_stacked(model: MetaModel, stacks: Stacks, generator: torch.Generator) -> None:
    cramped, several = of_device(stacking=replace(ALWAYS, room_bytes=1)), adapt_tasks(model, 2, generator)
    assert_each_adapted_alone(cramped.adapt(model, several), model, several)
    assert stacks == Stacks()


def test_an_encoder_without_anything_to_move_is_not_stacked(stacks: Stacks, generator: torch.Generator) -> None:
    several, asked = adapt_tasks(NOTHING, 5, generator), embed_tasks(NOTHING, [1] * 20, generator)
    assert_each_adapted_alone(of_device().adapt(NOTHING, several), NOTHING, several)
    assert_each_embedded_alone(of_device().embed(NOTHING, asked), NOTHING, asked)
    assert stacks == Stacks()


@pytest.mark.parametrize("arena_bytes", [2**24, 1], ids=["held in the arena", "too many for it"])
@pytest.mark.parametrize("stacking", [None, ALWAYS, replace(ALWAYS, embed_from=100)], ids=["of a CPU", "stacked", "alone"])
@BODY
def test_every_session_is_embedded_by_its_own_body(
    model: MetaModel, stacking: Stacking | None, arena_bytes: int, generator: torch.Generator
) -> None:
    """More inputs than pass together, and different numbers of them; asked again, and the other way round."""
    asked = embed_tasks(model, [1] * 12 + [2, 70], generator)
    several = of_device(arena_bytes=arena_bytes, stacking=stacking)
    for order in (asked, asked, asked[::-1]):
        assert_each_embedded_alone(several.embed(model, order), model, order)


def test_requests_for_one_session_pass_together(stacks: Stacks, generator: torch.Generator) -> None:
    one, other = embed_tasks(PICTURES, [2, 3], generator)
    again = replace(one, inputs=torch.rand(4, *PICTURES.encoder.input_shape, generator=generator))
    asked = [one, other, again, one]
    assert_each_embedded_alone(of_device(stacking=ALWAYS).embed(PICTURES, asked), PICTURES, asked)
    assert stacks.embedded == [1, 1], "a session was stacked beside itself"


@pytest.mark.parametrize(("model", "held"), [(VECTORS, True), (PICTURES, True), (CONTEXT, False)], ids=["vectors", "kernels", "context"])
def test_a_body_is_held_unless_it_is_tiny(model: MetaModel, held: bool, generator: torch.Generator) -> None:
    """A held one is not copied again; millions of tiny ones would take more to remember than they are."""
    (task,) = embed_tasks(model, [3], generator)
    several = of_device(stacking=ALWAYS)
    (first,) = several.embed(model, [task])
    if held:
        (again,) = several.embed(model, [replace(task, params={})])
        assert torch.equal(first, again)
    else:
        with pytest.raises(KeyError):
            several.embed(model, [replace(task, params={})])


@pytest.mark.parametrize("arena_bytes", [2**24, 1], ids=["held in the arena", "too many for it"])
@pytest.mark.parametrize("embed_from", [1, 100], ids=["stacked", "alone"])
@BODY
def test_bodies_from_the_store_are_moved_to_the_device_beside_those_just_adapted(
    model: MetaModel, embed_from: int, arena_bytes: int
) -> None:
    """A fake CUDA device has no numbers, and refuses to mix what lies on it with what does not."""
    cuda, shapes = torch.device("cuda:0"), adapted_shapes(model, 3)
    stacking, shape = replace(STACKING["cuda"], embed_from=embed_from), model.encoder.input_shape
    with FakeTensorMode(allow_non_fake_inputs=True):
        params = {name: torch.empty(value.shape, device=cuda) for name, value in model.params.items()}
        owns = [{name: torch.empty(each, device=place) for name, each in shapes.items()} for place in (CPU, cuda, CPU)]
        asked = [EmbedTask(own, f"digest {count}", torch.empty(count, *shape)) for count, own in zip((3, 4, 4), owns, strict=True)]
        there = Bodies(cuda, arena_bytes=arena_bytes, chunk=64, stacking=stacking)
        found = there.embed(replace(model, params=params), asked)
    assert [rows.shape for rows in found] == [(len(task.inputs), model.encoder.embedding) for task in asked]
    assert {rows.device for rows in found} == {cuda}
