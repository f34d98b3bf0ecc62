import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from service.errors import InvalidRequestError, QueueFullError, ServiceError, SupportNotKeptError
from service.inputs.specification import RawInput
from service.learner.encoders.identity import Identity
from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import MetaModel
from service.learner.recipe import Recipe
from service.runtime.caller import Caller
from service.runtime.embedded_support import EmbeddedSupports, NearExample
from service.runtime.engine import Engine
from service.runtime.lifecycle import AdaptOptions, KeepOptions
from service.runtime.runtime import Runtime
from service.runtime.support_set import Labelled, decode_inputs
from service.runtime.tasks import EmbedTask
from service.sessions.memory import MemoryStore
from service.sessions.session import Session
from tests.runtime.serving import CPU, examples, queries, serving, weights, with_store
from tests.runtime.tasks import GROUPS
from tests.tiny import SHAPES, tiny_model, write_tiny

ANN = Caller("ann")
MOVING = Recipe(scope="all", step_size=0.05, steps_default=2, steps_max=4)
NUMBERS = Recipe(scope="all", head="output", way=1, step_size=0.05, steps_default=2, steps_max=4)


class CountingEngine(Engine):
    """The engine, which keeps how many support examples it embedded each time."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.embedded: list[int] = []

    def embed(self, model: MetaModel, tasks: Sequence[EmbedTask]) -> list[Tensor]:
        self.embedded += [len(task.inputs) for task in tasks]
        return super().embed(model, tasks)


class BusyStore(MemoryStore):
    """A store in which something happens while a support set is being read."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def support(self, session: Session) -> bytes:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return await super().support(session)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny(folder)
    write_tiny(folder, "moving", tiny_model(GROUPS, MOVING))
    write_tiny(folder, "numbers", tiny_model(Mlp(1), NUMBERS))
    write_tiny(folder, "tables", tiny_model(Identity(width=9), Recipe(head="discriminant")))
    return folder


@pytest.fixture
def engine() -> CountingEngine:
    return CountingEngine(CPU)


@pytest.fixture
def runtime(store: Path, engine: CountingEngine) -> Iterator[Runtime]:
    with serving(store, engine=engine) as running:
        yield running


async def create(runtime: Runtime, support: Sequence[Labelled] | None = None, *, model: str = "tiny", keep: bool = True) -> Session:
    return (await runtime.sessions.create(ANN, support or examples(), AdaptOptions(model), KeepOptions(support=keep))).session


async def near(
    runtime: Runtime, session: Session, asked: Sequence[RawInput], *, count: int = 3, revision: int | None = None
) -> list[list[NearExample]]:
    answers = await runtime.predict(ANN, session.id, asked, top=1, nearest=count, revision=revision)
    assert answers.nearest is not None
    return [list(each) for each in answers.nearest]


def refused(call: Awaitable[object]) -> ServiceError:
    async def scenario() -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await call
        return caught.value

    return asyncio.run(scenario())


@pytest.mark.parametrize("model", ["tiny", "moving"])
def test_the_nearest_examples_are_named_as_the_slow_loop_finds_them(runtime: Runtime, model: str) -> None:
    support, asked = examples(), queries()
    session = asyncio.run(create(runtime, support, model=model))
    found = asyncio.run(near(runtime, session, asked))
    served = runtime.catalog.find(model)
    params = {**served.model.params, **asyncio.run(weights(runtime, session))}
    known, told = (
        torch.cat([served.model.embed(one[None], params) for one in decode_inputs(raws, served.manifest.input, runtime.fitter.limits)])
        for raws in ([each.raw for each in support], asked)
    )
    for query, named in zip(told, found, strict=True):
        distances = (known - query).square().sum(dim=1).sqrt()
        assert [each.id - 1 for each in named] == distances.argsort()[:3].tolist()
        assert [each.answer for each in named] == [support[each.id - 1].label for each in named]
        assert [each.distance for each in named] == pytest.approx(distances.sort().values[:3].tolist(), rel=1e-4, abs=1e-4)


def test_an_example_that_is_asked_about_is_its_own_nearest(runtime: Runtime) -> None:
    support = examples()
    session = asyncio.run(create(runtime, support))
    found = asyncio.run(near(runtime, session, [each.raw for each in support], count=1))
    assert [each.distance for (each,) in found] == pytest.approx([0.0] * len(support), abs=1e-5)


def test_nothing_is_embedded_for_those_who_ask_for_none(runtime: Runtime, engine: CountingEngine) -> None:
    session = asyncio.run(create(runtime))
    assert asyncio.run(runtime.predict(ANN, session.id, queries(), top=1)).nearest is None
    assert engine.embedded == []


def test_a_revision_is_embedded_once_and_the_next_one_anew(runtime: Runtime, engine: CountingEngine) -> None:
    async def scenario() -> list[list[NearExample]]:
        session = await create(runtime)
        first = await near(runtime, session, queries())
        assert await near(runtime, session, queries(), revision=1) == first
        await runtime.sessions.grow(ANN, session.id, examples(("ring",), shots=1, variant=7))
        return await near(runtime, session, queries(), count=1)

    grown = asyncio.run(scenario())
    assert engine.embedded == [20, 21]
    assert grown[SHAPES.index("ring")][0].id == 21


def test_those_asked_for_longest_ago_are_embedded_again_when_memory_is_short(runtime: Runtime, engine: CountingEngine) -> None:
    async def scenario() -> None:
        room = EmbeddedSupports(runtime.sessions, budget_bytes=2 * 20 * (4 * 64 + 64))
        first, second, third = [await create(runtime) for _ in range(3)]
        params = await weights(runtime, first)
        for session in (first, second, first, third, first, second):
            await room.of(ANN, session, params)

    asyncio.run(scenario())
    assert len(engine.embedded) == 4


def test_a_session_that_another_server_made_tells_its_nearest_examples(runtime: Runtime, engine: CountingEngine) -> None:
    session = asyncio.run(create(runtime))
    expected = asyncio.run(near(runtime, session, queries()))
    assert asyncio.run(near(with_store(runtime, runtime.store), session, queries())) == expected
    assert len(engine.embedded) == 2


def test_examples_that_were_not_kept_cannot_be_near(runtime: Runtime) -> None:
    session = asyncio.run(create(runtime, keep=False))
    assert isinstance(refused(near(runtime, session, queries())), SupportNotKeptError)


@pytest.mark.parametrize("remembered", [False, True])
def test_an_older_revision_is_refused_whether_it_is_remembered_or_not(runtime: Runtime, remembered: bool) -> None:
    async def scenario() -> Session:
        session = await create(runtime)
        if remembered:
            await near(runtime, session, queries())
        await runtime.sessions.shrink(ANN, session.id, [1])
        return session

    session = asyncio.run(scenario())
    caught = refused(near(runtime, session, queries(), revision=1))
    assert (type(caught), caught.field) == (SupportNotKeptError, "nearest")
    assert "revision 1 " in caught.message


def test_examples_of_the_next_revision_are_never_named_by_this_one(runtime: Runtime) -> None:
    """The session grows after it was looked up and before its support set is read."""
    busy = BusyStore(budget_bytes=10**9, clock=runtime.sessions.clock)
    growing = with_store(runtime, busy)
    session = asyncio.run(create(growing))
    busy.meanwhile = partial(growing.sessions.grow, ANN, session.id, examples(("ring",), shots=1, variant=7))
    assert isinstance(refused(near(growing, session, queries())), SupportNotKeptError)
    assert len(asyncio.run(near(growing, session, queries(), count=1))) == len(SHAPES)


def test_callers_who_ask_at_once_are_told_the_same(runtime: Runtime) -> None:
    async def scenario() -> list[list[list[NearExample]]]:
        session = await create(runtime)
        return await asyncio.gather(*(near(runtime, session, queries()) for _ in range(5)))

    first, *others = asyncio.run(scenario())
    assert others == [first] * 4


def test_the_examples_take_places_in_the_queue(store: Path) -> None:
    with serving(store, queue_items=25) as runtime:

        async def scenario() -> None:
            session = await create(runtime)
            with runtime.fitter.worker.admitted(6):
                with pytest.raises(QueueFullError):
                    await near(runtime, session, queries()[:1])
                await runtime.predict(ANN, session.id, queries()[:1], top=1)
            await near(runtime, session, queries()[:1])

        asyncio.run(scenario())


def test_queries_that_cannot_be_asked_are_refused_before_examples_are_embedded(runtime: Runtime, engine: CountingEngine) -> None:
    session = asyncio.run(create(runtime))
    assert isinstance(refused(near(runtime, session, [])), InvalidRequestError)
    assert engine.embedded == []


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_rows_of_a_table_are_near_in_columns_of_one_unit(runtime: Runtime, unit: float) -> None:
    """The second column says nothing, whatever it is measured in; the third does not vary."""
    rows = [
        ("low", (0.0, 3.0 * unit, 7.0)),
        ("low", (0.1, 1.0 * unit, 7.0)),
        ("high", (9.0, 2.0 * unit, 7.0)),
        ("high", (9.1, 1.6 * unit, 7.0)),
    ]
    support = [Labelled(label, RawInput("", row)) for label, row in rows]
    session = asyncio.run(create(runtime, support, model="tables"))
    ((first, second),) = asyncio.run(near(runtime, session, [RawInput("", (8.9, 1.5 * unit, 7.0))], count=2))
    assert [(each.id, each.answer) for each in (first, second)] == [(4, "high"), (3, "high")]
    spread = torch.tensor([row for _, row in rows]).std(dim=0, correction=0)
    assert first.distance == pytest.approx(float(torch.tensor([0.2 / spread[0], 0.1 * unit / spread[1]]).norm()), rel=1e-3)


def test_a_regression_tells_the_targets_of_the_nearest_examples(runtime: Runtime) -> None:
    points = [(-2.0, 0.5), (0.0, 1.5), (3.0, 2.0)]
    support = [Labelled((y,), RawInput(f"support[{place}]", (x,))) for place, (x, y) in enumerate(points)]
    session = asyncio.run(create(runtime, support, model="numbers"))
    ((nearest, _),) = asyncio.run(near(runtime, session, [RawInput("queries[0]", (2.9,))], count=2))
    assert (nearest.id, nearest.answer) == (3, (2.0,))
