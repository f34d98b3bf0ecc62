"""The blocking client and its sessions: one way to send the calls of `innerloop.calls`; `innerloop.async_client` is the other.

In the examples of the methods `client` is a `Client()`, and `session` is adapted to the drawings in `examples/characters/support`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Self

import httpx2

from innerloop import calls, plans
from innerloop.adapted import Adapted
from innerloop.address import address_of
from innerloop.calls import Cursor, Format, PageT
from innerloop.errors import InnerloopError
from innerloop.exchange import HEADERS, AnswerT_co, Call, reaching, read_answer
from innerloop.plans import Plan
from innerloop.retries import Retries, Tries
from innerloop.sets import Queries, Support
from innerloop.wire import Estimates, ExampleInfo, ModelInfo, Predictions, ServerInfo, SessionInfo

DEFAULT_TIMEOUT = 60.0  # seconds: a first request may wait for a busy device
DEFAULT_RETRIES = Retries()


class Client:
    """Speaks to one server; closes its connections on leaving the `with` block.

    >>> with Client(timeout=10, retries=Retries(tries=2)) as client:
    ...     client.info().store
    'sqlite'

    What is safe to send again is sent again when the server is busy or its answer is lost (`Retries`): everything but `change` and
    `delete_sessions`. A set that is larger than one request may be is sent in several.

    Without a `base_url` it speaks to the server that INNERLOOP_URL names when the client is made, else to http://127.0.0.1:8000.

    Every method raises `ApiError` (by code) when the server refuses, `ServerUnreachableError` when it does not answer,
    `UnusableInputError` before anything is sent.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: Retries = DEFAULT_RETRIES,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self._retries = retries
        url = address_of(base_url)
        with reaching(url):
            self._http = httpx2.Client(base_url=url, transport=transport, headers=HEADERS)

    def adapt(  # noqa: PLR0913 - every option of the call is an argument
        self,
        model: str | None,
        support: Support,
        *,
        steps: int | None = None,
        scope: str | None = None,
        name: str | None = None,
        ttl_seconds: float | None = None,
        keep_support: bool | None = None,
        idempotency_key: str | None = None,
    ) -> "Session":
        """A session adapted to `support`; the server fills in what is None, the meta-model too.

        The support set is a mapping of labels to inputs, a pair of inputs and their labels, a DataFrame with a column `label`, or the path
        of class folders, of a zip of them, or of a CSV file. An input is a path, bytes, an open file, a Pillow image, an image array [H, W]
        or [H, W, C] (uint8, or floats in 0..1), or a vector: a list or an array [features]. So an array [n, features] is n vectors.

        >>> client.adapt("omniglot", "examples/characters/support", steps=2).labels
        ('anchor', 'comet', 'hook', 'kite', 'ladder')
        >>> client.adapt("vectors", {"low": [[0.0, 0.1, 0.0]], "high": [[9.0, 8.5, 9.1]]}).info.shots
        {'high': 1, 'low': 1}
        >>> client.adapt("vectors", ([[0.0, 0.1, 0.0], [9.0, 8.5, 9.1]], ["low", "high"])).labels
        ('high', 'low')

        With `keep_support=False` it can neither grow nor be forked. Asked again with the same `idempotency_key`, the server gives
        the session it made the first time.
        """
        plan = plans.adapt(
            support,
            model=model,
            steps=steps,
            scope=scope,
            name=name,
            ttl_seconds=ttl_seconds,
            keep_support=keep_support,
            idempotency_key=idempotency_key,
        )
        return Session(self._follow(plan), self)

    def predict(
        self,
        model: str | None,
        support: Support,
        queries: Queries,
        *,
        steps: int | None = None,
        scope: str | None = None,
        top_k: int = 3,
    ) -> Predictions:
        """Adapts and predicts in one call; the server keeps nothing.

        >>> client.predict("vectors", {"low": [[0, 0, 0]], "high": [[9, 9, 9]]}, [[8, 9, 9], [1, 0, 0]]).predictions[0].label
        'high'
        """
        return self._follow(plans.predict_once(support, queries, Predictions, model=model, steps=steps, scope=scope, top_k=top_k))

    def estimate(
        self, model: str | None, support: Support, queries: Queries, *, steps: int | None = None, scope: str | None = None
    ) -> Estimates:
        """Adapts and predicts numbers in one call; the server keeps nothing.

        >>> client.estimate("sinusoid", ([[-2.0], [0.0], [2.0]], [-0.9, 0.0, 0.9]), [[1.0]], steps=10).model.partition("@")[0]
        'sinusoid'
        """
        return self._follow(plans.predict_once(support, queries, Estimates, top_k=1, model=model, steps=steps, scope=scope))

    def session(self, session_id: str) -> "Session":
        """The session of that id, as it is now.

        >>> client.session(session.id).labels == session.labels
        True
        """
        return Session(self._send(calls.session(session_id)), self)

    def sessions(
        self,
        *,
        name: str | None = None,
        model: str | None = None,
        created_from: datetime | None = None,
        created_until: datetime | None = None,
    ) -> Iterator["Session"]:
        """Sessions that meet every filter given, all without one; oldest first, fetched page by page.

        >>> made = client.adapt("vectors", {"low": [[0, 0, 0]], "high": [[9, 9, 9]]}, name="mine")
        >>> [one.info.name for one in client.sessions(name="mine")]
        ['mine']

        `model` is `name` or `name@version`. Times have a time zone, and `created_until` itself is outside.
        """
        page_of = partial(calls.sessions, name=name, model=model, created_from=created_from, created_until=created_until)
        for page in self._pages(page_of):
            yield from (Session(info, self) for info in page.sessions)

    def delete_sessions(
        self,
        *,
        confirm: bool,
        name: str | None = None,
        model: str | None = None,
        created_from: datetime | None = None,
        created_until: datetime | None = None,
    ) -> int:
        """How many sessions were ended: those that meet every filter given, all without one; refused unless `confirm`.

        >>> client.adapt("vectors", {"low": [[0, 0, 0]], "high": [[9, 9, 9]]}, name="trial").info.name
        'trial'
        >>> client.delete_sessions(confirm=True, name="trial")
        1
        """
        wanted = {"name": name, "model": model, "created_from": created_from, "created_until": created_until}
        return self._send(calls.delete_sessions(confirm=confirm, **wanted)).deleted

    def import_session(self, content: bytes, *, name: str | None = None, ttl_seconds: float | None = None) -> "Session":
        """A new session with the weights that `Session.export` gave as safetensors, of this server or another; it cannot grow.

        >>> copy = client.import_session(session.export())
        >>> copy.info.weights_digest == session.info.weights_digest
        True
        """
        return Session(self._send(calls.import_session(content, name=name, ttl_seconds=ttl_seconds)), self)

    def models(self) -> tuple[ModelInfo, ...]:
        """Every meta-model of the server's store, the refused ones too.

        >>> [model.name for model in client.models() if model.status == "serving"]
        ['omniglot', 'sinusoid', 'vectors']
        """
        return self._send(calls.models()).models

    def model(self, name: str) -> ModelInfo:
        """One meta-model: `name` is the newest version, `name@version` that one.

        >>> client.model("vectors").input["longest"]
        256
        """
        return self._send(calls.model(name))

    def info(self) -> ServerInfo:
        """What the server is, and what one request may hold.

        >>> client.info().limits.queries
        10000
        """
        return self._send(calls.info())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _follow(self, plan: Plan[AnswerT_co]) -> AnswerT_co:
        step = partial(next, plan)
        while True:
            try:
                call = step()
            except StopIteration as done:
                answer: AnswerT_co = done.value
                return answer
            try:
                step = partial(plan.send, self._send(call))
            except InnerloopError as error:
                step = partial(plan.throw, error)

    def _send(self, call: Call[AnswerT_co]) -> AnswerT_co:
        tries = Tries(self._retries, call)
        while True:
            try:
                return self._try(call, tries)
            except InnerloopError as error:
                if tries.has_done(error):
                    return call.read(b"")
                time.sleep(tries.wait_after(error))

    def _try(self, call: Call[AnswerT_co], tries: Tries) -> AnswerT_co:
        with reaching(str(self._http.base_url)):
            timeout = tries.timeout(self._timeout)
            response = self._http.request(call.method, call.path, content=call.content, headers=call.headers, timeout=timeout)
        return read_answer(call, response)

    def _pages(self, page_of: Callable[[Cursor], Call[PageT]]) -> Iterator[PageT]:
        after: Cursor = None
        while True:
            page = self._send(page_of(after))
            yield page
            if page.next is None:
                return
            after = page.next


@dataclass(frozen=True, slots=True)
class Session(Adapted):
    """One adapted meta-model on the server; `info` is what the server said of it when it was made or fetched.

    It is a value: what changes the session on the server gives a new one, and this one stays as it was.

    >>> session.labels, session.revision
    (('anchor', 'comet', 'hook', 'kite', 'ladder'), 1)
    """

    client: Client = field(repr=False)

    def predict(self, queries: Queries, *, top_k: int = 3, nearest: int = 0, revision: int | None = None) -> Predictions:
        """One prediction per query, in order, each with its `top_k` best labels; from the newest revision unless one is named.

        Queries are a list of inputs (see `Client.adapt`), an array or DataFrame of vectors, or the path of a folder of images or of a zip
        of them. However many they are, they are read as they are sent. With `nearest` each prediction names so many examples (at most ten)
        that its query is nearest to, which only the newest revision of a session that keeps its support set knows.

        >>> answer = session.predict(["examples/characters/queries/hook-1.png"], top_k=2)
        >>> answer.predictions[0].label, len(answer.predictions[0].top)
        ('hook', 2)
        >>> len(session.predict("examples/characters/queries").predictions)
        15
        >>> near = session.predict(["examples/characters/queries/hook-1.png"], nearest=2).predictions[0].nearest
        >>> [example.label for example in near], near[0].distance < near[1].distance
        (['hook', 'hook'], True)
        """
        return self.client._follow(plans.predict(self.id, queries, Predictions, top_k=top_k, nearest=nearest, revision=revision))

    def estimate(self, queries: Queries, *, nearest: int = 0, revision: int | None = None) -> Estimates:
        """The numbers predicted for each query, in order, when the meta-model predicts numbers; all else is as for `predict`.

        >>> wave = client.adapt("sinusoid", ([[-2.0], [0.0], [2.0]], [-0.9, 0.0, 0.9]))
        >>> len(wave.estimate([[1.0], [-1.0]]).predictions[0].target)
        1
        >>> wave.predict([[1.0]])
        Traceback (most recent call last):
        innerloop.errors.WrongAnswerKindError: this session predicts numbers; use estimate()
        """
        return self.client._follow(plans.predict(self.id, queries, Estimates, top_k=1, nearest=nearest, revision=revision))

    def refresh(self) -> "Session":
        """The session as it is now.

        >>> grown = session.add({"kite": ["examples/characters/queries/kite-1.png"]})
        >>> session.revision, session.refresh().revision
        (1, 2)
        """
        return self._as_answered(calls.session(self.id))

    def add(self, support: Support, *, expected_revision: int | None = None, idempotency_key: str | None = None) -> "Session":
        """The next revision, fitted to `support` as well; `added` has the ids of the new examples.

        >>> session.info.shots["kite"]
        5
        >>> session.add({"kite": ["examples/characters/queries/kite-1.png"]}, expected_revision=1).info.shots["kite"]
        6

        Raises:
            RevisionChangedError: the newest revision is not the `expected_revision`.
        """
        plan = plans.add(self.id, support, expected_revision=expected_revision, idempotency_key=idempotency_key)
        return replace(self, info=self.client._follow(plan))

    def remove(self, ids: Iterable[int], *, expected_revision: int | None = None) -> "Session":
        """The next revision, fitted to the examples that stay; at most 5,000 ids go in one call. Raises as `add` does.

        >>> first = next(session.examples())
        >>> session.remove([first.id]).info.shots[first.label]
        4
        """
        return self._as_answered(calls.remove(self.id, ids, expected_revision=expected_revision))

    def examples(self) -> Iterator[ExampleInfo]:
        """The kept support set, by id, fetched page by page.

        >>> len(list(session.examples()))
        25
        """
        for page in self.client._pages(partial(calls.examples, self.id)):
            yield from page.examples

    def change(self, *, name: str | None = None, pinned: bool | None = None, ttl_seconds: float | None = None) -> "Session":
        """The session renamed, pinned, or with a lifetime that counts from now; what is None stays.

        >>> session.change(name="characters", pinned=True).info.expires_at is None
        True
        """
        return self._as_answered(calls.change(self.id, name=name, pinned=pinned, ttl_seconds=ttl_seconds))

    def fork(  # noqa: PLR0913 - every option of the call is an argument
        self,
        support: Support | None = None,
        *,
        steps: int | None = None,
        scope: str | None = None,
        name: str | None = None,
        ttl_seconds: float | None = None,
        keep_support: bool | None = None,
        idempotency_key: str | None = None,
    ) -> "Session":
        """A session of its own, adapted to this one's support set and to `support`; it adapts as this one did where nothing is given.

        >>> fork = session.fork({"gate": ["examples/characters/queries/ladder-1.png"]}, name="with a gate")
        >>> fork.labels
        ('anchor', 'comet', 'gate', 'hook', 'kite', 'ladder')
        """
        plan = plans.adapt(
            support,
            from_session=self.id,
            steps=steps,
            scope=scope,
            name=name,
            ttl_seconds=ttl_seconds,
            keep_support=keep_support,
            idempotency_key=idempotency_key,
        )
        return replace(self, info=self.client._follow(plan))

    def export(self, format: Format = "safetensors", revision: int | None = None) -> bytes:
        """The adapted weights as a file's content: safetensors can be imported again, ONNX runs elsewhere.

        >>> b"weights_digest" in session.export()
        True
        """
        return self.client._send(calls.export(self.id, format=format, revision=revision))

    def delete(self) -> None:
        """Ends the session.

        >>> session.delete()
        >>> session.refresh()
        Traceback (most recent call last):
        innerloop.errors.SessionGoneError: ...
        """
        self.client._send(calls.delete(self.id))

    def _as_answered(self, call: Call[SessionInfo]) -> "Session":
        return replace(self, info=self.client._send(call))
