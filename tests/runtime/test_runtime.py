import asyncio
import itertools
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from service.errors import (
    BlankImageError,
    InvalidRequestError,
    ModelChangedError,
    ModelNotFoundError,
    QueueFullError,
    ScopeNotOfferedError,
    ServiceError,
    SessionGoneError,
    SessionNotFoundError,
    StepsOutOfRangeError,
    TooLargeError,
    UnusableSupportError,
    WrongInputKindError,
)
from service.inputs.specification import RawInput
from service.learner.calibration import Calibration, Cell
from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import adapt, predict
from service.learner.parameters import Params
from service.learner.recipe import Recipe
from service.runtime.caller import Caller
from service.runtime.lifecycle import AdaptOptions, KeepOptions
from service.runtime.limits import Limits
from service.runtime.runtime import Answers, Runtime
from service.runtime.support_set import Labelled, decode_inputs
from service.sessions.session import Session
from tests.runtime.serving import CPU, examples, queries, serving, task_of, weights, with_store
from tests.runtime.tasks import GROUPS, GatedEngine, probabilities
from tests.tiny import HEAD_RECIPE, SHAPES, FakeClock, drawing, png, tiny_model, write_tiny

T = TypeVar("T")

DEFAULTS = AdaptOptions()
ANN = Caller("ann")

# Far from one another, so that a session shows which it took.
CALIBRATION = Calibration("none", 1, (Cell(2, 1, 0, 0.5), Cell(2, 1, 3, 2.0), Cell(5, 4, 3, 4.0)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny(folder)
    write_tiny(folder, "vectors", tiny_model(Mlp(3), HEAD_RECIPE))
    write_tiny(
        folder, "three", tiny_model(GROUPS, Recipe(scope="all", head="per_class", way=3, step_size=0.1, steps_default=2, steps_max=4))
    )
    write_tiny(folder, "calibrated", calibration=CALIBRATION)
    return folder


@pytest.fixture
def runtime(store: Path) -> Iterator[Runtime]:
    with serving(store) as running:
        yield running


async def create(runtime: Runtime, support: list[Labelled] | None = None, options: AdaptOptions = DEFAULTS) -> Session:
    return (await runtime.sessions.create(ANN, support or examples(), options)).session


def support_probabilities(runtime: Runtime, support: list[Labelled], asked: list[RawInput], options: AdaptOptions = DEFAULTS) -> Tensor:
    """The answer of the slow loop: one task, one query at a time, no runtime."""
    served = runtime.catalog.find(options.model)
    decoded = task_of(runtime, support, served)
    steps = served.manifest.recipe.steps_default if options.steps is None else options.steps
    return answer(runtime, adapt(served.model, decoded, steps).params, asked, options)


def answer(runtime: Runtime, weights: Params, asked: list[RawInput], options: AdaptOptions = DEFAULTS) -> Tensor:
    served = runtime.catalog.find(options.model)
    inputs = decode_inputs(asked, served.manifest.input, runtime.fitter.limits)
    return torch.cat([predict(served.model, weights, each[None]) for each in inputs])


def scores(answers: Answers) -> Tensor:
    return probabilities(answers.ranked, len(answers.revision.labels))


def raises(call: Awaitable[object]) -> ServiceError:
    async def scenario() -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await call
        return caught.value

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    "options",
    [
        DEFAULTS,
        AdaptOptions(steps=0),
        AdaptOptions(model="tiny@1", steps=10, scope="head"),
        AdaptOptions(model="three", scope="all", steps=3),
    ],
)
def test_a_session_answers_as_the_slow_loop_does(runtime: Runtime, options: AdaptOptions) -> None:
    shapes = SHAPES[:3]
    support, asked = examples(shapes), queries(shapes)

    async def scenario() -> tuple[Session, Answers, Params]:
        session = await create(runtime, support, options)
        return session, await runtime.predict(ANN, session.id, asked, top=3), await weights(runtime, session)

    session, answers, kept = asyncio.run(scenario())
    assert (scores(answers) - support_probabilities(runtime, support, asked, options)).abs().max() < 1e-5
    assert (scores(answers) - answer(runtime, kept, asked, options)).abs().max() < 1e-5
    assert answers.revision == session.revision


@pytest.mark.parametrize(
    ("shapes", "options", "temperature"),
    [
        (SHAPES, AdaptOptions(model="calibrated"), 4.0),
        (SHAPES[:2], AdaptOptions(model="calibrated"), 2.0),
        (SHAPES[:2], AdaptOptions(model="calibrated", steps=0), 0.5),
        (SHAPES, AdaptOptions(model="tiny"), 1.0),
    ],
)
def test_scores_are_calibrated_for_the_way_the_shots_and_the_steps_of_the_session(
    runtime: Runtime, shapes: tuple[str, ...], options: AdaptOptions, temperature: float
) -> None:
    """Five classes have 2 to 6 examples here, two have 2 and 3, so the nearest cells are those of 5-way 4-shot and of 2-way 1-shot."""
    support, asked = examples(shapes), queries(shapes)

    async def scenario() -> tuple[Answers, Answers]:
        session = await create(runtime, support, options)
        kept = await runtime.predict(ANN, session.id, asked, top=5)
        return kept, await runtime.predict_once(ANN, support, asked, options, top=5)

    expected = (support_probabilities(runtime, support, asked, options).log() / temperature).softmax(dim=1)
    for answers in asyncio.run(scenario()):
        assert (scores(answers) - expected).abs().max() < 1e-5


def test_a_session_that_grows_takes_the_temperature_of_what_it_has_become(runtime: Runtime) -> None:
    asked, options = queries(), AdaptOptions(model="calibrated")

    async def scenario() -> tuple[Answers, Answers]:
        session = await create(runtime, examples(SHAPES[:2]), options)
        small = await runtime.predict(ANN, session.id, asked, top=5)
        await runtime.sessions.grow(ANN, session.id, [each for each in examples() if each.label not in SHAPES[:2]])
        return small, await runtime.predict(ANN, session.id, asked, top=5)

    for answers, shapes, temperature in zip(asyncio.run(scenario()), (SHAPES[:2], SHAPES), (2.0, 4.0), strict=True):
        plain = support_probabilities(runtime, [each for each in examples() if each.label in shapes], asked, options)
        assert (scores(answers) - (plain.log() / temperature).softmax(dim=1)).abs().max() < 1e-5


def test_a_session_says_what_was_done(runtime: Runtime) -> None:
    shuffled = sorted(examples(), key=lambda each: each.raw.name[::-1])
    made = asyncio.run(runtime.sessions.create(ANN, shuffled, AdaptOptions(steps=4), KeepOptions("my shapes", 60.5)))
    session, spent = made.session, made.spent
    revision, served = session.revision, runtime.catalog.find("tiny")
    assert (session.tenant, session.name, session.model) == ("ann", "my shapes", "tiny@1")
    assert session.weights_sha256 == served.manifest.weights.sha256
    assert session.expires_at - session.created_at == timedelta(seconds=60.5)
    assert session.created_at == revision.created_at == runtime.sessions.clock()
    assert (revision.number, revision.scope, revision.steps, len(revision.losses)) == (1, "head", 4, 5)
    assert (revision.labels, revision.shots) == (SHAPES, (2, 3, 4, 5, 6))
    assert (made.added, made.replayed) == (tuple(range(1, 21)), False)
    assert asyncio.run(weights(runtime, session))  # they are those of the digest
    assert revision.leave_one_out_accuracy is not None
    assert revision.losses[-1] < revision.losses[0]
    assert min(spent.decode, spent.compute) > 0
    assert spent.queue >= 0


def test_drawings_like_the_examples_are_recognised(runtime: Runtime) -> None:
    answers = asyncio.run(runtime.predict_once(ANN, examples(variant=2), queries(), AdaptOptions(steps=5), top=1))
    assert [answers.revision.labels[row[0]] for row in answers.ranked.rows] == list(SHAPES)


def test_one_call_answers_as_a_session_does(runtime: Runtime) -> None:
    async def scenario() -> tuple[Answers, Answers]:
        session = await create(runtime, options=AdaptOptions(steps=3))
        kept = await runtime.predict(ANN, session.id, queries(), top=5)
        return kept, await runtime.predict_once(ANN, examples(), queries(), AdaptOptions(steps=3), top=5)

    kept, forgotten = asyncio.run(scenario())
    assert (scores(kept) - scores(forgotten)).abs().max() < 1e-5
    assert (kept.model, kept.revision.labels) == (forgotten.model, forgotten.revision.labels)
    assert len(asyncio.run(_listed(runtime))) == 1


async def _listed(runtime: Runtime) -> list[Session]:
    return list(await runtime.store.list("ann", after=None, limit=1000))


def test_the_order_of_examples_and_names_of_classes_change_nothing(runtime: Runtime) -> None:
    renamed = {shape: name for shape, name in zip(SHAPES, ("z", "é", " 1", "A", "m"), strict=True)}
    other = [Labelled(renamed[str(each.label)], each.raw) for each in reversed(examples())]

    async def scenario() -> tuple[Answers, Answers]:
        first = await runtime.predict_once(ANN, examples(), queries(), DEFAULTS, top=5)
        return first, await runtime.predict_once(ANN, other, queries(), DEFAULTS, top=5)

    first, second = asyncio.run(scenario())
    rows = [second.revision.labels.index(renamed[label]) for label in first.revision.labels]
    assert (scores(first) - scores(second)[:, rows]).abs().max() < 1e-5


def test_vectors_are_served_like_images(runtime: Runtime) -> None:
    support = [Labelled(label, RawInput("v", [x, 1.0, -x])) for label, x in (("low", -1.0), ("low", -1.2), ("high", 2.0))]
    answers = asyncio.run(
        runtime.predict_once(
            ANN, support, [RawInput("q", [2.1, 1.0, -2.1]), RawInput("q", [-1.1, 1.0, 1.1])], AdaptOptions("vectors"), top=1
        )
    )
    assert [answers.revision.labels[row[0]] for row in answers.ranked.rows] == ["high", "low"]


BAD_REQUESTS = {
    "ttl too long": (DEFAULTS, SHAPES, 1000.5, InvalidRequestError, "ttl_seconds"),
    "too many steps": (AdaptOptions(steps=11), SHAPES, None, StepsOutOfRangeError, "steps"),
    "negative steps": (AdaptOptions(steps=-1), SHAPES, None, StepsOutOfRangeError, "steps"),
    "a scope without an evaluation row": (AdaptOptions(scope="all"), SHAPES, None, ScopeNotOfferedError, "scope"),
    "an unknown scope": (AdaptOptions(scope="tail"), SHAPES, None, ScopeNotOfferedError, "scope"),
    "an unknown model": (AdaptOptions(model="no"), SHAPES, None, ModelNotFoundError, "model"),
    "an unknown version": (AdaptOptions(model="tiny@2"), SHAPES, None, ModelNotFoundError, "model"),
    "one class": (DEFAULTS, SHAPES[:1], None, UnusableSupportError, "support"),
    "another way than the head's": (AdaptOptions(model="three"), SHAPES[:2], None, UnusableSupportError, "support"),
    "images for a vector model": (AdaptOptions(model="vectors"), SHAPES, None, WrongInputKindError, "support/bar/0"),
}


@pytest.mark.parametrize(("options", "shapes", "ttl", "error", "field"), BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_what_cannot_be_done_is_refused_and_leaves_no_session(
    runtime: Runtime, options: AdaptOptions, shapes: tuple[str, ...], ttl: float | None, error: type[ServiceError], field: str
) -> None:
    caught = raises(runtime.sessions.create(ANN, examples(shapes), options, KeepOptions(ttl_seconds=ttl)))
    assert (type(caught), caught.field) == (error, field)
    assert asyncio.run(_listed(runtime)) == []


def test_the_limits_of_a_lifetime_and_of_steps_are_allowed(runtime: Runtime) -> None:
    made = asyncio.run(runtime.sessions.create(ANN, examples(), AdaptOptions(steps=10), KeepOptions(ttl_seconds=1000)))
    assert made.session.revision.steps == 10


def test_a_bad_example_is_named_and_the_next_request_is_answered(runtime: Runtime) -> None:
    blank = Labelled("bar", RawInput("support/bar/9", png(drawing("nothing"))))
    caught = raises(create(runtime, [*examples(), blank]))
    assert (type(caught), caught.field) == (BlankImageError, "support/bar/9")
    asyncio.run(create(runtime))


def test_queries_are_required_and_limited(store: Path) -> None:
    with serving(store, limits=Limits(queries=3)) as runtime:
        assert isinstance(raises(runtime.predict_once(ANN, examples(), [], DEFAULTS, top=1)), InvalidRequestError)
        caught = raises(runtime.predict_once(ANN, examples(), queries()[:4], DEFAULTS, top=1))
        assert isinstance(caught, TooLargeError)
        assert caught.field == "queries"
        asyncio.run(runtime.predict_once(ANN, examples(), queries()[:3], DEFAULTS, top=1))


def test_another_tenant_cannot_use_a_session(runtime: Runtime) -> None:
    session = asyncio.run(create(runtime))
    assert isinstance(raises(runtime.predict(Caller("bob"), session.id, queries(), top=1)), SessionNotFoundError)


def test_an_expired_session_is_gone(runtime: Runtime) -> None:
    session = asyncio.run(create(runtime))
    assert isinstance(runtime.sessions.clock, FakeClock)
    runtime.sessions.clock.now += timedelta(seconds=100)
    assert isinstance(raises(runtime.predict(ANN, session.id, queries(), top=1)), SessionGoneError)


def test_a_session_is_pinned_to_its_version(tmp_path: Path) -> None:
    write_tiny(tmp_path, model=tiny_model(seed=1))
    with serving(tmp_path) as runtime:
        session = asyncio.run(create(runtime))
        expected = asyncio.run(runtime.predict(ANN, session.id, queries(), top=5))
        write_tiny(tmp_path, model=tiny_model(seed=2))
        with serving(tmp_path) as newer:
            both = with_store(newer, runtime.store)
            answers = asyncio.run(both.predict(ANN, session.id, queries(), top=5))
            assert asyncio.run(create(both)).model == "tiny@2"
    assert answers.model == "tiny@1"
    assert answers.ranked == expected.ranked


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    for folder, seed in (("before", 1), ("after", 2)):
        write_tiny(tmp_path / folder, model=tiny_model(seed=seed))
    with serving(tmp_path / "before") as before, serving(tmp_path / "after") as after:
        session = asyncio.run(create(before))
        caught = raises(with_store(after, before.store).predict(ANN, session.id, queries(), top=1))
    assert isinstance(caught, ModelChangedError)
    assert "tiny@1" in caught.message


def test_a_full_queue_refuses_before_anything_is_decoded(store: Path) -> None:
    engine = GatedEngine(CPU)
    with serving(store, engine=engine, queue_items=21) as runtime:

        async def scenario() -> Session:
            first = asyncio.ensure_future(create(runtime))
            await asyncio.to_thread(engine.entered.wait, 30)
            with pytest.raises(QueueFullError) as caught:
                await create(runtime, [Labelled(label, RawInput("broken", b"no image")) for label in "ab"])
            assert caught.value.retry_after_seconds >= 1
            engine.gate.set()
            return await first

        session = asyncio.run(scenario())
        assert session.revision.labels == SHAPES


def test_a_cancelled_request_gives_its_place_back(store: Path) -> None:
    engine = GatedEngine(CPU)
    with serving(store, engine=engine, queue_items=40) as runtime:

        async def scenario() -> None:
            computing = asyncio.ensure_future(create(runtime))
            await asyncio.to_thread(engine.entered.wait, 30)
            waiting = asyncio.ensure_future(create(runtime))
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError):
                await create(runtime)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            third = asyncio.ensure_future(create(runtime))
            await asyncio.sleep(0)
            engine.gate.set()
            assert [(await each).revision.labels for each in (computing, third)] == [SHAPES, SHAPES]

        asyncio.run(scenario())


@dataclass(frozen=True, slots=True)
class Request:
    """One of many different requests, by number."""

    number: int

    @property
    def shapes(self) -> list[str]:
        chosen = list(itertools.combinations(SHAPES, 3))[self.number % 10]
        return [*chosen[self.number % 3 :], *chosen[: self.number % 3]]

    @property
    def support(self) -> list[Labelled]:
        return examples(self.shapes, shots=1, variant=self.number % 23)

    @property
    def queries(self) -> list[RawInput]:
        return queries(self.shapes[:2], variant=self.number % 19)

    @property
    def options(self) -> AdaptOptions:
        return AdaptOptions(steps=self.number % 8)

    async def send(self, runtime: Runtime) -> Answers:
        if self.number % 5 == 0:
            return await runtime.predict_once(ANN, self.support, self.queries, self.options, top=3)
        session = await create(runtime, self.support, self.options)
        answers = await runtime.predict(ANN, session.id, self.queries, top=3)
        assert answers.revision == session.revision
        return answers


def test_two_hundred_requests_at_once_are_each_answered_with_their_own_weights(store: Path) -> None:
    engine = GatedEngine(CPU)
    engine.gate.set()
    requests = [Request(number) for number in range(200)]
    with serving(store, engine=engine) as runtime:

        async def storm() -> list[Answers]:
            return await asyncio.gather(*(request.send(runtime) for request in requests))

        for request, answers in zip(requests, asyncio.run(storm()), strict=True):
            assert answers.revision.labels == tuple(sorted(request.shapes))
            alone = support_probabilities(runtime, request.support, request.queries, request.options)
            assert (scores(answers) - alone).abs().max() < 1e-5
        assert len(asyncio.run(_listed(runtime))) == 160
    assert sum(engine.batches) == 400
    assert max(engine.batches) > 1
