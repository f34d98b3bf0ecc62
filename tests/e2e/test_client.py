import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from innerloop import (
    AsyncClient,
    Client,
    InvalidRequestError,
    ModelNotFoundError,
    ModelRefusedError,
    NotAnImageError,
    ScopeNotOfferedError,
    SessionGoneError,
    SessionNotFoundError,
    StepsOutOfRangeError,
    TooLargeError,
    UnusableSupportError,
    UnusableVectorError,
    WrongInputKindError,
)
from innerloop.inputs import Input
from tests.tiny import drawing, png

CORNERS: dict[str, list[Input]] = {"x": [[9.0, 0.0, 0.0]], "y": [[0.0, 9.0, 0.0]]}


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def support(drawings: Path) -> dict[str, list[Input]]:
    """Every kind of input that a picture may come as."""
    return {
        "bar": [drawings / "bar" / "1.png", str(drawings / "bar" / "2.png")],
        "corner": [png(drawing("corner")), drawing("corner", width=2)],
        "cross": [np.asarray(drawing("cross")), bytearray(png(drawing("cross", width=2)))],
    }


def test_a_session_is_adapted_asked_found_and_ended(client: Client, support: dict[str, list[Input]]) -> None:
    session = client.adapt("omniglot", support, steps=2, scope="head", name="mine", ttl_seconds=60)
    assert (session.info.model, session.labels, session.info.steps, session.info.name) == (
        "omniglot@1",
        ("bar", "corner", "cross"),
        2,
        "mine",
    )
    answer = session.predict([drawing("cross", width=4), png(drawing("bar", width=4))], top_k=2)
    assert [one.label for one in answer.predictions] == ["cross", "bar"]
    assert [len(one.top) for one in answer.predictions] == [2, 2]
    assert (answer.session, answer.weights_digest) == (session.id, session.info.weights_digest)
    assert client.session(session.id).predict([drawing("bar")]).predictions[0].label == "bar"
    assert session.id in [each.id for each in client.sessions()]
    session.delete()
    assert session.id not in [each.id for each in client.sessions()]
    with pytest.raises(SessionGoneError, match="was deleted") as caught:
        session.predict([drawing("bar")])
    assert (caught.value.problem.status, caught.value.problem.code) == (410, "session_gone")


def test_sets_larger_than_one_request_are_sent_in_several(client: Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 100, 100), dtype=np.uint8)  # more than a million bytes as PNG in base64
    labels = ["a"] * 40 + ["b"] * 40
    session = client.adapt(None, (noise, labels))
    assert (session.revision, session.info.shots) == (2, {"a": 40, "b": 40})
    kept = {example.id: example.label for example in session.examples()}
    assert [kept[one] for one in session.added] == labels
    answer = session.predict(noise, top_k=1)
    assert (answer.revision, len(answer.predictions)) == (2, 80)
    alone, once = session.predict(noise[70:], top_k=1), client.predict(None, (noise, labels), noise[70:], top_k=1)
    assert once.session is None
    for other in (alone, once):
        assert [one.label for one in other.predictions] == [one.label for one in answer.predictions[70:]]
        assert [one.score for one in other.predictions] == pytest.approx([one.score for one in answer.predictions[70:]], abs=1e-5)


def test_one_call_gives_what_a_session_gives(client: Client, support: dict[str, list[Input]]) -> None:
    session = client.adapt(None, support)
    once = client.predict(None, support, [drawing("corner", width=4)])
    assert (once.session, once.weights_digest) == (None, session.info.weights_digest)
    assert once.predictions == session.predict([drawing("corner", width=4)]).predictions


def test_vectors_go_to_a_model_of_vectors(client: Client) -> None:
    session = client.adapt("vectors", CORNERS)
    assert [one.label for one in session.predict([[0.0, 8.0, 0.0], np.array([8.0, 0.0, 0.0])]).predictions] == ["y", "x"]


def test_models_and_the_server_describe_themselves(client: Client) -> None:
    assert [(model.name, model.status) for model in client.models()] == [
        ("damaged", "refused"),
        ("omniglot", "serving"),
        ("vectors", "serving"),
    ]
    assert client.model("omniglot@1").default
    info = client.info()
    assert (info.device, info.default_model, info.limits.body_bytes) == ("cpu", "omniglot", 1_000_000)


def test_every_page_of_sessions_is_fetched(client: Client) -> None:
    made = [client.adapt("vectors", CORNERS, steps=0).id for _ in range(101)]
    assert set(made) <= {session.id for session in client.sessions()}
    for session in made:
        client.session(session).delete()


def test_a_refusal_has_a_class_of_its_own(client: Client, support: dict[str, list[Input]]) -> None:
    with pytest.raises(SessionNotFoundError):
        client.session("ses_none")
    with pytest.raises(ModelNotFoundError):
        client.model("nothing")
    with pytest.raises(ModelRefusedError, match="sha256"):
        client.adapt("damaged", support)
    with pytest.raises(StepsOutOfRangeError, match="0 to 10"):
        client.adapt(None, support, steps=11)
    with pytest.raises(InvalidRequestError, match="steps"):
        client.adapt(None, support, steps=-1)
    with pytest.raises(ScopeNotOfferedError):
        client.adapt(None, support, scope="body")
    with pytest.raises(UnusableSupportError, match="at least two classes"):
        client.adapt(None, {"bar": support["bar"]})
    with pytest.raises(NotAnImageError) as caught:
        client.adapt(None, {**support, "vee": [b"text"]})
    assert caught.value.problem.field == "support[6]"
    with pytest.raises(WrongInputKindError):
        client.adapt("vectors", support)
    with pytest.raises(UnusableVectorError, match="expected 3 numbers, got 2"):
        client.adapt("vectors", {"x": [[1.0, 2.0]], "y": [[1.0, 2.0]]})
    with pytest.raises(TooLargeError):
        client.adapt(None, {**support, "vee": [b"x" * 1_000_000]})


def test_the_async_client_does_the_same(url: str, support: dict[str, list[Input]]) -> None:
    async def work() -> None:
        async with AsyncClient(url) as client:
            session, other = await asyncio.gather(client.adapt(None, support, name="async"), client.adapt("vectors", CORNERS))
            answers = await asyncio.gather(*(session.predict([drawing(shape, width=4)]) for shape in ("bar", "corner", "cross") * 4))
            assert [answer.predictions[0].label for answer in answers] == ["bar", "corner", "cross"] * 4
            assert (await other.predict([[0.0, 8.0, 0.0]])).predictions[0].label == "y"
            assert (await client.session(session.id)).info.name == "async"
            assert {session.id, other.id} <= {each.id async for each in client.sessions()}
            once = await client.predict(None, support, [drawing("bar")])
            assert (once.session, once.weights_digest) == (None, session.info.weights_digest)
            assert [model.name for model in await client.models()] == ["damaged", "omniglot", "vectors"]
            assert (await client.model("vectors")).version == (await client.model("vectors@1")).version == 1
            assert (await client.info()).device == "cpu"
            await session.delete()
            with pytest.raises(SessionGoneError):
                await session.predict([drawing("bar")])
            with pytest.raises(ModelNotFoundError):
                await client.adapt("nothing", support)

    asyncio.run(work())
