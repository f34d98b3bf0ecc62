"""Serving without HTTP: adapt to a support set, keep the session, answer queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from service.errors import InvalidRequestError, ModelChangedError, ScopeNotOfferedError, StepsOutOfRangeError, TooLargeError
from service.inputs.specification import RawInput
from service.runtime.caller import Caller
from service.runtime.catalog import Catalog, Served
from service.runtime.decoding import DecodePool
from service.runtime.engine import AdaptTask, PredictTask
from service.runtime.limits import Limits
from service.runtime.ranking import Ranked
from service.runtime.support_set import Labelled, classes_of, decode_inputs, decode_support
from service.runtime.waiting import answer_for
from service.runtime.worker import DeviceWorker
from service.sessions.session import Revision, Session, new_session_id
from service.sessions.store import SessionStore


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of one request: decoding, waiting, and computing (with the batches it shared)."""

    decode: float
    queue: float
    compute: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.decode + other.decode, self.queue + other.queue, self.compute + other.compute)


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How to adapt; None means the default of the server or of the meta-model."""

    model: str | None = None
    steps: int | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """The likeliest classes of every query, and the revision that gave them."""

    ranked: Ranked
    model: str
    revision: Revision
    spent: Spent


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a server does, as coroutines of one event loop; torch runs on the worker's thread."""

    catalog: Catalog
    store: SessionStore
    worker: DeviceWorker
    decoding: DecodePool
    limits: Limits
    clock: Callable[[], datetime]
    default_ttl_seconds: float

    async def create_session(
        self, caller: Caller, examples: Sequence[Labelled], options: AdaptOptions, *, name: str | None, ttl_seconds: float | None
    ) -> tuple[Session, Spent]:
        """Adapt and keep the result.

        Raises:
            InputError: the support set or the options cannot be used.
            ModelNotFoundError, ModelRefusedError: see `Catalog.find`.
            QueueFullError, DrainingError, DeadlineError: no room, no more work, or no time.
        """
        ttl = self.default_ttl_seconds if ttl_seconds is None else ttl_seconds
        if ttl > self.limits.ttl_seconds:
            raise InvalidRequestError(f"expected ttl_seconds of at most {self.limits.ttl_seconds:.0f}, got {ttl:.0f}", field="ttl_seconds")
        served = self.catalog.find(options.model)
        revision, spent = await self._adapt(caller, served, examples, options)
        now = self.clock()
        session = Session(
            id=new_session_id(now),
            tenant=caller.tenant,
            name=name,
            model=served.reference,
            weights_sha256=served.manifest.weights.sha256,
            revision=revision,
            created_at=now,
            expires_at=now + timedelta(seconds=ttl),
        )
        await self.store.create(session)
        return session, spent

    async def predict(self, caller: Caller, session_id: str, queries: Sequence[RawInput], *, top: int) -> Answers:
        """Classify queries with a session's adapted weights; raises as `create_session` and `SessionStore.get` do."""
        session = await self.store.get(caller.tenant, session_id)
        served = self.catalog.find(session.model)
        if served.manifest.weights.sha256 != session.weights_sha256:
            raise ModelChangedError(f"session {session.id!r} was adapted from other weights of {session.model}; adapt again")
        return await self._predict(caller, served, session.revision, queries, top)

    async def predict_once(
        self, caller: Caller, examples: Sequence[Labelled], queries: Sequence[RawInput], options: AdaptOptions, *, top: int
    ) -> Answers:
        """Adapt, classify and forget; raises as `create_session` does."""
        served = self.catalog.find(options.model)
        self._check_queries(queries)
        revision, spent = await self._adapt(caller, served, examples, options)
        answers = await self._predict(caller, served, revision, queries, top)
        return Answers(answers.ranked, answers.model, answers.revision, spent + answers.spent)

    async def _adapt(self, caller: Caller, served: Served, examples: Sequence[Labelled], options: AdaptOptions) -> tuple[Revision, Spent]:
        classes = classes_of(examples, served, self.limits)
        steps, scope = _steps(served, options.steps), _scope(served, options.scope)
        with self.worker.admitted(served.model.recipe.views * len(examples)):
            decoded = await self.decoding.run(partial(decode_support, examples, classes, served.manifest.input, self.limits))
            done = await answer_for(caller, self.worker.adapt(served.model, AdaptTask(decoded.value, steps), caller))
        fitted = done.result
        revision = Revision(
            number=1,
            weights=fitted.adapted.params,
            weights_digest=fitted.weights_digest,
            labels=classes.labels,
            shots=classes.shots,
            scope=scope,
            steps=steps,
            losses=fitted.adapted.losses,
            leave_one_out_accuracy=fitted.leave_one_out_accuracy,
        )
        return revision, Spent(decoded.milliseconds, done.queue_ms, done.compute_ms)

    async def _predict(self, caller: Caller, served: Served, revision: Revision, queries: Sequence[RawInput], top: int) -> Answers:
        self._check_queries(queries)
        with self.worker.admitted(len(queries)):
            decoded = await self.decoding.run(partial(decode_inputs, queries, served.manifest.input, self.limits))
            task = PredictTask(revision.weights, revision.weights_digest, decoded.value, top)
            done = await answer_for(caller, self.worker.predict(served.model, task, caller))
        return Answers(done.result, served.reference, revision, Spent(decoded.milliseconds, done.queue_ms, done.compute_ms))

    def _check_queries(self, queries: Sequence[RawInput]) -> None:
        if not queries:
            raise InvalidRequestError("expected at least one query, got none", field="queries")
        if len(queries) > self.limits.queries:
            raise TooLargeError(
                f"expected at most {self.limits.queries:,} queries, got {len(queries):,}; send them in parts", field="queries"
            )


def _steps(served: Served, wanted: int | None) -> int:
    recipe = served.manifest.recipe
    steps = recipe.steps_default if wanted is None else wanted
    if not 0 <= steps <= recipe.steps_max:
        raise StepsOutOfRangeError(f"expected 0 to {recipe.steps_max} inner steps for {served.reference}, got {steps}", field="steps")
    return steps


def _scope(served: Served, wanted: str | None) -> str:
    offered = served.manifest.scopes
    scope = served.manifest.recipe.scope if wanted is None else wanted
    if scope not in offered:
        raise ScopeNotOfferedError(
            f"expected a scope among {', '.join(offered) or 'none'} for {served.reference}, got {scope!r}", field="scope"
        )
    return scope
