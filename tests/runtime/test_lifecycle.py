import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from service.errors import (
    BlankImageError,
    ExampleNotFoundError,
    InvalidRequestError,
    RevisionChangedError,
    RevisionGoneError,
    ServiceError,
    SessionDamagedError,
    SessionGoneError,
    SessionNotFoundError,
    SupportNotKeptError,
    UnusableSupportError,
)
from service.inputs.specification import RawInput
from service.runtime.caller import Caller
from service.runtime.idempotency import Made
from service.runtime.lifecycle import AdaptOptions, Change, KeepOptions
from service.runtime.runtime import Answers, Runtime
from service.runtime.support_set import Labelled
from service.sessions.memory import MemoryStore
from service.sessions.session import Session
from tests.runtime.serving import CPU, examples, picture, queries, serving, with_store
from tests.runtime.tasks import GatedEngine
from tests.tiny import SHAPES, FakeClock, drawing, png, write_tiny

T = TypeVar("T")

ANN = Caller("ann")
PLAIN = KeepOptions()


class Fragile(MemoryStore):
    """A memory store whose bytes can be damaged or taken away, as a disk's can."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(budget_bytes=10**9, clock=clock)
        self.reads = 0
        self.damaged: set[int] = set()  # revisions
        self.damaged_support = False

    async def weights(self, session: Session) -> bytes:
        self.reads += 1
        packed = await super().weights(session)
        return packed[:-1] + bytes([packed[-1] ^ 1]) if session.revision.number in self.damaged else packed

    async def support(self, session: Session) -> bytes:
        packed = await super().support(session)
        return packed[: len(packed) // 2] if self.damaged_support else packed


@pytest.fixture(scope="module")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny(folder)
    write_tiny(folder, "other")
    return folder


@pytest.fixture
def runtime(model_store: Path) -> Iterator[Runtime]:
    with serving(model_store) as running:
        assert isinstance(running.sessions.clock, FakeClock)
        yield with_store(running, Fragile(running.sessions.clock))


def run(call: Awaitable[T]) -> T:
    async def scenario() -> T:
        return await call

    return asyncio.run(scenario())


def refused(call: Awaitable[object], kind: type[ServiceError]) -> ServiceError:
    with pytest.raises(kind) as caught:
        run(call)
    return caught.value


def fragile(runtime: Runtime) -> Fragile:
    assert isinstance(runtime.store, Fragile)
    return runtime.store


def create(runtime: Runtime, support: Sequence[Labelled] | None = None, keeping: KeepOptions = PLAIN) -> Made:
    return run(runtime.sessions.create(ANN, examples() if support is None else support, keeping=keeping))


def ask(runtime: Runtime, session: Session, *, revision: int | None = None) -> Answers:
    return run(runtime.predict(ANN, session.id, queries(), top=5, revision=revision))


THREE, TWO = SHAPES[:3], SHAPES[3:]


def test_a_grown_session_is_the_one_made_of_all_examples_at_once(runtime: Runtime) -> None:
    clock = runtime.sessions.clock
    assert isinstance(clock, FakeClock)
    first = create(runtime, examples(THREE), KeepOptions("mine")).session
    clock.now += timedelta(seconds=10)
    made = run(runtime.sessions.grow(ANN, first.id, examples(TWO, shots=5)))
    whole = create(runtime, [*examples(TWO, shots=5), *examples(THREE)]).session
    assert made.session == replace(first, revision=made.session.revision)
    assert made.session.revision == replace(whole.revision, number=2)
    assert made.session.revision.created_at == clock.now
    assert made.added == tuple(range(10, 21))
    assert ask(runtime, made.session).ranked == ask(runtime, whole).ranked


def test_more_examples_of_a_known_class_count_as_shots(runtime: Runtime) -> None:
    session = create(runtime).session
    made = run(runtime.sessions.grow(ANN, session.id, [Labelled("ring", RawInput("new", picture("ring", 9)))]))
    assert dict(zip(made.session.revision.labels, made.session.revision.shots, strict=True))["ring"] == 6
    assert made.session.revision.weights_digest != session.revision.weights_digest


def test_what_was_added_can_be_taken_out_again(runtime: Runtime) -> None:
    first = create(runtime, examples(THREE)).session
    added = run(runtime.sessions.grow(ANN, first.id, examples(TWO))).added
    made = run(runtime.sessions.shrink(ANN, first.id, added))
    assert made.session.revision == replace(first.revision, number=3, created_at=made.session.revision.created_at)
    assert made.added == ()


def test_a_session_cannot_shrink_to_one_class_or_lose_what_it_has_not(runtime: Runtime) -> None:
    session = create(runtime, examples(SHAPES[:2])).session
    refused(runtime.sessions.shrink(ANN, session.id, [1, 2]), UnusableSupportError)
    assert "no example 77" in refused(runtime.sessions.shrink(ANN, session.id, [1, 77]), ExampleNotFoundError).message
    assert run(runtime.store.get("ann", session.id)) == session


def test_a_bad_example_makes_no_revision(runtime: Runtime) -> None:
    session = create(runtime).session
    refused(runtime.sessions.grow(ANN, session.id, [Labelled("bar", RawInput("blank", png(drawing("nothing"))))]), BlankImageError)
    refused(runtime.sessions.grow(ANN, session.id, []), InvalidRequestError)
    assert run(runtime.store.get("ann", session.id)) == session


def test_the_revision_expected_must_be_the_newest(runtime: Runtime) -> None:
    session = create(runtime).session
    made = run(runtime.sessions.grow(ANN, session.id, examples(TWO), expected=1))
    assert made.session.revision.number == 2
    error = refused(runtime.sessions.grow(ANN, session.id, examples(TWO), expected=1), RevisionChangedError)
    assert "it is 2" in error.message


def test_growing_at_the_same_time_loses_nothing(runtime: Runtime) -> None:
    """Two servers over one store, and many callers at each."""
    session = create(runtime, examples(THREE)).session
    other = with_store(runtime, runtime.store)

    async def scenario() -> list[Made]:
        calls = [
            server.sessions.grow(ANN, session.id, [Labelled(f"new {number}", RawInput("new", picture("vee", number)))])
            for number, server in enumerate([runtime, other] * 4)
        ]
        return await asyncio.gather(*calls)

    made = asyncio.run(scenario())
    assert sorted(each.session.revision.number for each in made) == list(range(2, 10))
    newest = run(runtime.store.get("ann", session.id))
    assert {f"new {number}" for number in range(8)} < set(newest.revision.labels)
    assert len({each.added for each in made}) == 8


def test_without_a_support_set_a_session_answers_but_does_not_grow(runtime: Runtime) -> None:
    session = create(runtime, keeping=KeepOptions(support=False)).session
    ask(runtime, session)
    for call in (
        runtime.sessions.grow(ANN, session.id, examples()),
        runtime.sessions.shrink(ANN, session.id, [1]),
        runtime.sessions.support(session),
        runtime.sessions.create(ANN, (), keeping=KeepOptions(fork_of=session.id)),
    ):
        assert "keep_support=false" in refused(call, SupportNotKeptError).message


def test_an_older_revision_answers_when_it_is_asked_for(runtime: Runtime) -> None:
    session = create(runtime, examples(THREE)).session
    before = ask(runtime, session)
    run(runtime.sessions.grow(ANN, session.id, examples(TWO)))
    assert ask(runtime, session, revision=1).ranked == before.ranked
    assert ask(runtime, session, revision=1).revision == before.revision
    assert ask(runtime, session).revision.labels == SHAPES
    for number in range(10):
        run(runtime.sessions.grow(ANN, session.id, [Labelled("bar", RawInput("new", picture("bar", number)))]))
    refused(runtime.predict(ANN, session.id, queries(), top=1, revision=1), RevisionGoneError)


def test_a_prediction_finishes_on_the_revision_it_started_with(model_store: Path) -> None:
    engine = GatedEngine(CPU)
    with serving(model_store, engine=engine) as runtime:

        async def scenario() -> tuple[Session, Answers]:
            engine.gate.set()
            session = (await runtime.sessions.create(ANN, examples(THREE))).session
            await runtime.predict(ANN, session.id, queries(), top=1)
            engine.gate.clear()
            growing = asyncio.ensure_future(runtime.sessions.grow(ANN, session.id, examples(TWO)))
            await asyncio.to_thread(engine.entered.wait, 30)
            asking = asyncio.ensure_future(runtime.predict(ANN, session.id, queries(), top=1))
            await asyncio.sleep(0.05)
            engine.gate.set()
            await growing
            return session, await asking

        session, answers = asyncio.run(scenario())
    assert answers.revision == session.revision


def test_a_fork_begins_with_the_support_set_and_options_of_its_source(runtime: Runtime) -> None:
    source = run(runtime.sessions.create(ANN, examples(THREE), AdaptOptions("other", steps=5))).session
    same = create(runtime, (), KeepOptions("fork", fork_of=source.id)).session
    assert (same.name, same.model, same.revision.steps) == ("fork", "other@1", 5)
    assert same.revision.weights_digest == source.revision.weights_digest
    more = run(runtime.sessions.create(ANN, examples(TWO), AdaptOptions(steps=1), KeepOptions(fork_of=source.id)))
    assert (more.session.revision.labels, more.session.revision.steps, more.added[0]) == (SHAPES, 1, 10)
    assert run(runtime.store.get("ann", source.id)) == source
    run(runtime.store.delete("ann", source.id))
    run(runtime.sessions.grow(ANN, same.id, examples(TWO)))


def test_a_fork_has_its_sources_meta_model_and_tenant(runtime: Runtime) -> None:
    source = create(runtime).session
    options, keeping = AdaptOptions("other"), KeepOptions(fork_of=source.id)
    error = refused(runtime.sessions.create(ANN, (), options, keeping), InvalidRequestError)
    assert error.field == "model"
    refused(runtime.sessions.create(Caller("bob"), (), keeping=keeping), SessionNotFoundError)


def test_lost_weights_are_fitted_anew_once_however_many_ask(runtime: Runtime) -> None:
    session = create(runtime).session
    before = ask(runtime, session)
    cold = with_store(runtime, runtime.store)
    fragile(runtime).damaged.add(1)

    async def scenario() -> list[Answers]:
        return await asyncio.gather(*(cold.predict(ANN, session.id, queries(), top=5) for _ in range(20)))

    found = asyncio.run(scenario())
    assert all(each.revision.number == 2 and each.revision.refitted for each in found)
    assert found[0].revision == replace(session.revision, number=2, refitted=True)
    assert found[0].ranked == before.ranked
    assert run(runtime.store.get("ann", session.id)).revision.number == 2


def test_lost_weights_without_a_support_set_are_gone_and_say_what_to_do(runtime: Runtime) -> None:
    session = create(runtime, keeping=KeepOptions(support=False)).session
    fragile(runtime).damaged.add(1)
    assert "adapt again" in refused(runtime.predict(ANN, session.id, queries(), top=1), SessionDamagedError).message
    assert run(runtime.store.get("ann", session.id)) == session


def test_lost_weights_and_a_damaged_support_set_are_gone(runtime: Runtime) -> None:
    session = create(runtime).session
    fragile(runtime).damaged.add(1)
    fragile(runtime).damaged_support = True
    refused(runtime.predict(ANN, session.id, queries(), top=1), SessionDamagedError)


def test_an_older_revision_that_is_damaged_is_not_replaced_by_another(runtime: Runtime) -> None:
    session = create(runtime, examples(THREE)).session
    run(runtime.sessions.grow(ANN, session.id, examples(TWO)))
    fragile(runtime).damaged.add(1)
    refused(runtime.predict(ANN, session.id, queries(), top=1, revision=1), SessionDamagedError)
    assert ask(runtime, session).revision.number == 2


def test_weights_are_read_once_however_many_ask(runtime: Runtime) -> None:
    session = create(runtime).session

    async def scenario() -> None:
        await asyncio.gather(*(runtime.predict(ANN, session.id, queries(), top=1) for _ in range(100)))

    fragile(runtime).reads = 0
    asyncio.run(scenario())
    assert fragile(runtime).reads == 1


def test_with_hardly_any_memory_every_session_still_answers(runtime: Runtime) -> None:
    small = with_store(runtime, runtime.store, hot_bytes=1)
    made = [create(small, examples(THREE, variant=variant)).session for variant in range(5)]
    expected = [ask(runtime, each).ranked for each in made]
    assert [ask(small, each).ranked for each in made] == expected


def test_a_session_is_renamed_pinned_and_extended(runtime: Runtime) -> None:
    clock = runtime.sessions.clock
    assert isinstance(clock, FakeClock)
    session = create(runtime).session
    clock.now += timedelta(seconds=60)
    assert run(runtime.sessions.change(ANN, session.id, Change(name="new"))) == replace(session, name="new")
    longer = run(runtime.sessions.change(ANN, session.id, Change(ttl_seconds=500)))
    assert longer.expires_at == clock.now + timedelta(seconds=500)
    assert run(runtime.sessions.change(ANN, session.id, Change(pinned=True))) == replace(longer, pinned=True)
    clock.now += timedelta(days=30)
    ask(runtime, session)
    loose = run(runtime.sessions.change(ANN, session.id, Change(pinned=False)))
    assert loose.expires_at == clock.now + timedelta(seconds=100)
    clock.now = loose.expires_at
    refused(runtime.sessions.change(ANN, session.id, Change(pinned=True)), SessionGoneError)


def test_a_lifetime_over_the_limit_is_refused(runtime: Runtime) -> None:
    session = create(runtime).session
    error = refused(runtime.sessions.change(ANN, session.id, Change(ttl_seconds=1001)), InvalidRequestError)
    assert error.field == "ttl_seconds"


def test_another_tenant_can_do_nothing_with_a_session(runtime: Runtime) -> None:
    session, bob = create(runtime).session, Caller("bob")
    for call in (
        runtime.sessions.grow(bob, session.id, examples()),
        runtime.sessions.shrink(bob, session.id, [1]),
        runtime.sessions.change(bob, session.id, Change(name="stolen")),
    ):
        refused(call, SessionNotFoundError)


def test_meta_models_on_the_device_keep_their_inputs_type(runtime: Runtime) -> None:
    support = run(runtime.sessions.support(create(runtime).session))
    assert support.inputs.dtype == torch.uint8
    assert support.labels == tuple(each.label for each in examples())
