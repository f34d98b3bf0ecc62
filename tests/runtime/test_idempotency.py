import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.errors import BlankImageError, IdempotencyKeyBusyError, IdempotencyKeyReusedError
from service.inputs.specification import RawInput
from service.runtime.caller import Caller
from service.runtime.idempotency import Made, claimed
from service.runtime.lifecycle import AdaptOptions, KeepOptions
from service.runtime.runtime import Runtime
from service.runtime.support_set import Labelled
from tests.runtime.serving import CPU, examples, serving
from tests.runtime.tasks import GatedEngine
from tests.tiny import SHAPES, FakeClock, drawing, png, write_tiny

ANN = Caller("ann", idempotency_key="key 1")
PLAIN = KeepOptions()


@pytest.fixture(scope="module")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny(folder)
    return folder


@pytest.fixture
def runtime(model_store: Path) -> Iterator[Runtime]:
    with serving(model_store) as running:
        yield running


def create(runtime: Runtime, support: Sequence[Labelled] | None = None, caller: Caller = ANN, steps: int | None = None) -> Made:
    return asyncio.run(runtime.sessions.create(caller, support or examples(), AdaptOptions(steps=steps)))


def count(runtime: Runtime) -> int:
    return len(asyncio.run(runtime.store.list("ann", after=None, limit=1000)))


def test_a_request_sent_again_is_answered_as_the_first_time_and_makes_nothing(runtime: Runtime) -> None:
    first, second = create(runtime), create(runtime)
    assert second == replace(first, replayed=True)
    assert count(runtime) == 1


def test_growing_again_adds_nothing(runtime: Runtime) -> None:
    session = create(runtime).session

    async def grow() -> Made:
        caller = replace(ANN, idempotency_key="grow")
        return await runtime.sessions.grow(caller, session.id, examples(SHAPES[:2]))

    first, second = asyncio.run(grow()), asyncio.run(grow())
    assert second == replace(first, replayed=True)
    assert second.added == first.added == (21, 22, 23, 24, 25)
    assert asyncio.run(runtime.store.get("ann", session.id)).revision.number == 2


def test_without_a_key_every_request_counts(runtime: Runtime) -> None:
    nameless = replace(ANN, idempotency_key=None)
    assert create(runtime, caller=nameless).session.id != create(runtime, caller=nameless).session.id


def test_a_key_belongs_to_its_tenant(runtime: Runtime) -> None:
    create(runtime)
    assert not create(runtime, caller=replace(ANN, tenant="bob")).replayed


def test_a_key_with_other_content_or_options_is_refused(runtime: Runtime) -> None:
    create(runtime)
    swapped = [replace(each, label={"bar": "vee", "vee": "bar"}.get(str(each.label), each.label)) for each in examples()]
    for support, steps in ((examples(variant=1), None), (swapped, None), (examples()[:-1], None), (examples(), 2)):
        with pytest.raises(IdempotencyKeyReusedError):
            create(runtime, support, steps=steps)
    assert count(runtime) == 1


def test_a_key_is_free_again_a_day_later(runtime: Runtime) -> None:
    create(runtime)
    assert isinstance(runtime.sessions.clock, FakeClock)
    runtime.sessions.clock.now += timedelta(hours=24)
    assert not create(runtime).replayed


def test_a_request_that_failed_may_be_mended_under_its_key(runtime: Runtime) -> None:
    with pytest.raises(BlankImageError):
        create(runtime, [*examples(), Labelled("bar", RawInput("blank", png(drawing("nothing"))))])
    assert not create(runtime).replayed


def test_while_the_first_runs_the_second_is_told_and_a_cancelled_one_frees_the_key(model_store: Path) -> None:
    engine = GatedEngine(CPU)
    with serving(model_store, engine=engine) as runtime:

        async def scenario() -> Made:
            first = asyncio.ensure_future(runtime.sessions.create(ANN, examples()))
            await asyncio.to_thread(engine.entered.wait, 30)
            with pytest.raises(IdempotencyKeyBusyError):
                await runtime.sessions.create(ANN, examples())
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            engine.gate.set()
            return await runtime.sessions.create(ANN, examples())

        assert not asyncio.run(scenario()).replayed


def test_the_fingerprint_is_of_content_and_not_of_names() -> None:
    def print_of(*content: bytes | Sequence[float], name: str = "a", options: KeepOptions = PLAIN) -> str:
        claim = claimed(ANN, ("create", options), [Labelled("x", RawInput(name, each)) for each in content])
        assert claim is not None
        return claim.fingerprint

    assert print_of(b"1", b"2") == print_of(b"1", b"2", name="other")
    different = [print_of(b"1", b"2"), print_of(b"12"), print_of(b"2", b"1"), print_of([1.0]), print_of([1.0, 2.0]), print_of()]
    assert len({*different, print_of(options=KeepOptions("n")), print_of(options=KeepOptions(fork_of="n"))}) == 8
