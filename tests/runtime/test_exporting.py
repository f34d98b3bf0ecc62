import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.errors import (
    DeadlineError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    ModelChangedError,
    RevisionNotFoundError,
    SessionDamagedError,
    SessionNotFoundError,
    SupportNotKeptError,
    UnusableExportError,
)
from service.learner.calibration import Calibration, Cell
from service.runtime.caller import Caller
from service.runtime.exporting import Exported, Exporter
from service.runtime.idempotency import Made
from service.runtime.lifecycle import AdaptOptions, KeepOptions
from service.runtime.onnx_graphs import OnnxGraphs
from service.runtime.onnx_trace import ask, graph
from service.runtime.runtime import Runtime
from service.runtime.support_set import decode_inputs
from service.sessions.memory import MemoryStore
from service.sessions.session import Session
from tests.runtime.exports import answered, properties
from tests.runtime.serving import examples, queries, serving, with_store
from tests.runtime.tasks import MODELS
from tests.tiny import SHAPES, FakeClock, tiny_model, write_tiny

ANN, BOB = Caller("ann"), Caller("bob")
TAKEN = KeepOptions(support=False)


@pytest.fixture(scope="module")
def model_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_tiny(folder)
    write_tiny(folder, "body", MODELS["body"])
    write_tiny(folder, "calibrated", calibration=Calibration("none", 1, (Cell(5, 4, 3, 3.0),)))
    return folder


@pytest.fixture
def runtime(model_store: Path) -> Iterator[Runtime]:
    with serving(model_store) as running:
        yield running


def create(runtime: Runtime, model: str = "tiny", *, support: bool = True) -> Session:
    keeping = KeepOptions(name="first", support=support)
    return asyncio.run(runtime.sessions.create(ANN, examples(), AdaptOptions(model=model), keeping)).session


def give(runtime: Runtime, session: Session, **options: int) -> Exported:
    return asyncio.run(runtime.exporter.give(ANN, session.id, "safetensors", **options))


def take(runtime: Runtime, content: bytes, keeping: KeepOptions = TAKEN, caller: Caller = ANN) -> Made:
    return asyncio.run(runtime.exporter.take(caller, content, keeping))


class DamagedStore(MemoryStore):
    """Gives weights with a flipped bit, of the first revision."""

    async def weights(self, session: Session) -> bytes:
        packed = await MemoryStore.weights(self, session)
        return packed[:-1] + bytes([packed[-1] ^ 1]) if session.revision.number == 1 else packed


@pytest.fixture
def damaged(runtime: Runtime) -> Runtime:
    return with_store(runtime, DamagedStore(budget_bytes=10**9, clock=runtime.sessions.clock))


@pytest.mark.parametrize("model", ["tiny", "body", "calibrated"])
def test_a_session_that_comes_back_predicts_exactly_as_the_one_that_left(runtime: Runtime, model_store: Path, model: str) -> None:
    session = create(runtime, model)
    content = give(runtime, session).content
    with serving(model_store) as elsewhere:
        taken = take(elsewhere, content).session
        assert replace(taken.revision, created_at=session.revision.created_at) == session.revision
        first, second = (asyncio.run(each.predict(ANN, one.id, queries(), top=5)) for each, one in ((runtime, session), (elsewhere, taken)))
        assert first.ranked == second.ranked
        assert give(elsewhere, taken).content == content


def test_a_taken_session_is_a_new_one_of_its_taker(runtime: Runtime) -> None:
    session = create(runtime)
    content = give(runtime, session).content
    assert isinstance(runtime.sessions.clock, FakeClock)
    made = take(runtime, content, KeepOptions("second", 60, support=False), BOB)
    taken = made.session
    assert (taken.tenant, taken.name, taken.model, taken.weights_sha256) == ("bob", "second", session.model, session.weights_sha256)
    assert (taken.created_at, (taken.expires_at - taken.created_at).total_seconds()) == (runtime.sessions.clock.now, 60)
    assert taken.id != session.id
    assert (made.added, made.spent.queue, made.spent.compute) == ((), 0, 0)
    assert made.spent.decode > 0
    assert asyncio.run(runtime.store.get("bob", taken.id)) == taken


def test_a_taken_session_cannot_grow(runtime: Runtime) -> None:
    taken = take(runtime, give(runtime, create(runtime)).content).session
    assert not taken.keeps_support
    with pytest.raises(SupportNotKeptError):
        asyncio.run(runtime.sessions.grow(ANN, taken.id, examples(SHAPES[:2])))


def test_what_cannot_be_taken_makes_no_session(runtime: Runtime) -> None:
    content = give(runtime, create(runtime)).content
    with pytest.raises(UnusableExportError):
        take(runtime, content[:-1], caller=BOB)
    with pytest.raises(InvalidRequestError, match="ttl_seconds of at most 1000"):
        take(runtime, content, KeepOptions(ttl_seconds=1001, support=False), BOB)
    assert asyncio.run(runtime.store.list("bob", after=None, limit=10)) == []


def test_weights_of_another_meta_model_are_not_taken(runtime: Runtime, tmp_path: Path) -> None:
    content = give(runtime, create(runtime)).content
    write_tiny(tmp_path, "tiny", tiny_model(seed=1))
    with serving(tmp_path) as elsewhere, pytest.raises(ModelChangedError, match="another tiny@1 than this server has"):
        take(elsewhere, content)


def test_an_import_sent_again_is_answered_as_the_first_time(runtime: Runtime) -> None:
    content = give(runtime, create(runtime)).content
    caller = Caller("bob", idempotency_key="key 1")
    first, second = take(runtime, content, caller=caller), take(runtime, content, caller=caller)
    assert second == replace(first, replayed=True)
    for other, keeping in ((content, KeepOptions("other", support=False)), (content + b" ", TAKEN)):
        with pytest.raises(IdempotencyKeyReusedError):
            take(runtime, other, keeping, caller)
    assert len(asyncio.run(runtime.store.list("bob", after=None, limit=10))) == 1


def test_an_import_that_failed_may_be_mended_under_its_key(runtime: Runtime) -> None:
    content = give(runtime, create(runtime)).content
    caller = Caller("bob", idempotency_key="key 1")
    with pytest.raises(UnusableExportError):
        take(runtime, content[:-1], caller=caller)
    assert not take(runtime, content, caller=caller).replayed


def test_an_older_revision_can_be_exported(runtime: Runtime) -> None:
    session = create(runtime)
    first = give(runtime, session)
    grown = asyncio.run(runtime.sessions.grow(ANN, session.id, examples(SHAPES[:2], variant=3))).session
    newest = give(runtime, session)
    assert (first.name, newest.name) == (f"tiny-1-{session.id}-r1.safetensors", f"tiny-1-{session.id}-r2.safetensors")
    assert (first.weights_digest, newest.weights_digest) == (session.revision.weights_digest, grown.revision.weights_digest)
    assert give(runtime, session, revision=1) == first != newest
    with pytest.raises(RevisionNotFoundError):
        give(runtime, session, revision=3)


def test_a_session_is_exported_for_its_tenant_only(runtime: Runtime) -> None:
    session = create(runtime)
    for kind in ("safetensors", "onnx"):
        with pytest.raises(SessionNotFoundError):
            asyncio.run(runtime.exporter.give(BOB, session.id, kind))


def test_lost_weights_are_fitted_anew_before_they_leave(damaged: Runtime) -> None:
    session = create(damaged)
    exported = give(damaged, session)
    assert exported.name.endswith("-r2.safetensors")
    assert asyncio.run(damaged.store.get("ann", session.id)).revision.refitted
    assert take(damaged, exported.content).session.revision.labels == session.revision.labels
    with pytest.raises(SessionDamagedError):
        give(damaged, session, revision=1)


def test_lost_weights_without_a_support_set_do_not_leave(damaged: Runtime) -> None:
    with pytest.raises(SessionDamagedError):
        give(damaged, create(damaged, support=False))


class Traced(OnnxGraphs):
    """Graphs that are traced here, which is faster than in a program of its own."""

    async def of(self, served: object) -> bytes:
        return graph(ask(served.model))  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["tiny", "calibrated"])
def test_a_session_leaves_as_a_file_that_answers_alone(model: str, runtime: Runtime) -> None:
    session = create(runtime, model)
    exported = asyncio.run(Exporter(runtime.sessions, Traced()).give(ANN, session.id, "onnx"))
    assert (exported.name, exported.weights_digest) == (f"{model}-1-{session.id}-r1.onnx", session.revision.weights_digest)
    served = runtime.catalog.find(model)
    asked = queries()
    found = answered(exported.content, decode_inputs(asked, served.manifest.input, runtime.fitter.limits))
    ranked = asyncio.run(runtime.predict(ANN, session.id, asked, top=5)).ranked
    expected = torch.zeros_like(found).scatter(1, torch.tensor(ranked.rows), torch.tensor(ranked.scores))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert f'"{session.revision.weights_digest}"' == properties(exported.content)["weights_digest"]


def test_a_caller_who_waits_no_longer_is_told(runtime: Runtime) -> None:
    session = create(runtime)
    caller = Caller("ann", deadline=time.monotonic() + 0.2)
    with pytest.raises(DeadlineError, match="takes seconds"):
        asyncio.run(runtime.exporter.give(caller, session.id, "onnx"))
