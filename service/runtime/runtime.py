"""Serving without HTTP: sessions, and answers to queries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from torch import Tensor

from service.errors import InvalidRequestError, TooLargeError
from service.inputs.specification import RawInput
from service.learner.parameters import Params
from service.runtime.caller import Caller
from service.runtime.catalog import Catalog, Served
from service.runtime.embedded_support import EmbeddedSupport, EmbeddedSupports, NearExample
from service.runtime.exporting import Exporter
from service.runtime.fitting import NOTHING, Fitter, Spent, plan
from service.runtime.lifecycle import AdaptOptions, Lifecycle
from service.runtime.limits import Limits
from service.runtime.onnx_graphs import OnnxGraphs
from service.runtime.ranking import Estimated, Ranked
from service.runtime.support_set import Labelled, decode_inputs
from service.runtime.tasks import Among, PredictTask
from service.runtime.waiting import answer_for
from service.sessions.contents import unpack_weights
from service.sessions.counters import LOADED
from service.sessions.hot import HotWeights, Weights
from service.sessions.session import Revision, Session
from service.sessions.store import SessionStore


@dataclass(frozen=True, slots=True)
class Answers:
    """The likeliest classes of every query, or its numbers, and the revision that gave them.

    Attributes:
        nearest: support examples of each query, nearest first, if they were asked for.
        stale: the session store is away.
    """

    found: Ranked | Estimated
    model: str
    revision: Revision
    spent: Spent
    nearest: Sequence[Sequence[NearExample]] | None = None
    stale: bool = False

    @property
    def ranked(self) -> Ranked:
        """The likeliest classes; raises TypeError for a regression, which has none."""
        if isinstance(self.found, Estimated):
            raise TypeError("a regression predicts numbers, it ranks no classes")
        return self.found


@dataclass(frozen=True, slots=True)
class _Detail:
    """How much is told of each query: its `top` likeliest classes, and the `nearest` examples of a support set, if there is one."""

    top: int
    nearest: int = 0
    support: EmbeddedSupport | None = None

    @property
    def among(self) -> Among | None:
        return None if self.support is None else Among(self.support.embeddings, self.nearest)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Everything a server does, as coroutines of one event loop; torch runs on the worker's thread."""

    catalog: Catalog
    store: SessionStore
    hot: HotWeights
    fitter: Fitter
    sessions: Lifecycle
    exporter: Exporter
    embedded: EmbeddedSupports

    @staticmethod
    def of(
        catalog: Catalog, store: SessionStore, hot: HotWeights, fitter: Fitter, *, clock: Callable[[], datetime], default_ttl_seconds: float
    ) -> "Runtime":
        """Put the parts together."""
        sessions = Lifecycle(catalog, store, fitter, clock, default_ttl_seconds)
        return Runtime(catalog, store, hot, fitter, sessions, Exporter(sessions, OnnxGraphs()), EmbeddedSupports(sessions))

    async def predict(
        self, caller: Caller, session_id: str, queries: Sequence[RawInput], *, top: int, nearest: int = 0, revision: int | None = None
    ) -> Answers:
        """Classify queries with a session's adapted weights, of its newest revision unless another is asked for.

        Each answer names so many support examples that its query is `nearest` to, in the space that these weights embed in.

        Raises:
            InputError: the queries cannot be used.
            SessionNotFoundError, SessionGoneError, RevisionNotFoundError, RevisionGoneError: see `SessionStore`.
            ModelChangedError: see `Lifecycle.served`.
            SessionDamagedError: its weights are lost, and nothing is kept to fit them anew.
            SupportNotKeptError: nearest examples are wanted, see `EmbeddedSupports.of`.
            QueueFullError, DrainingError, DeadlineError, StoreUnavailableError: not now.
        """
        self._check_queries(queries)
        if revision is None:
            current = await self.store.current(caller.tenant, session_id)
            session, stale = current.session, current.stale
        else:
            session, stale = await self.store.at(caller.tenant, session_id, revision), False
        served = self.sessions.served(session)
        session, weights = await self.sessions.with_weights(caller, session, self._acquire, mend=revision is None)
        try:
            detail, spent = await self._detail(caller, session, weights, top, nearest)
            answers = await self._predict(caller, served, session.revision, weights, queries, detail)
        finally:
            self.hot.release(session.revision.weights_digest)
        return replace(answers, spent=spent + answers.spent, stale=stale)

    async def predict_once(
        self, caller: Caller, examples: Sequence[Labelled], queries: Sequence[RawInput], options: AdaptOptions, *, top: int
    ) -> Answers:
        """Adapt, classify and forget; raises as `Lifecycle.create` does."""
        chosen = plan(self.catalog.find(options.model), steps=options.steps, scope=options.scope)
        self._check_queries(queries)
        fit = await self.fitter.fit(caller, chosen, examples, keep=False)
        revision = fit.revision(1, at=self.sessions.clock())
        answers = await self._predict(caller, chosen.served, revision, fit.fitted.adapted.params, queries, _Detail(top))
        return replace(answers, spent=fit.spent + answers.spent)

    async def _acquire(self, session: Session) -> Weights:
        return await self.hot.acquire(session.revision.weights_digest, partial(self._load, session))

    async def _load(self, session: Session) -> Weights:
        packed = await self.store.weights(session)
        LOADED.inc()
        read = partial(unpack_weights, packed, weights_digest=session.revision.weights_digest)
        return (await self.fitter.decoding.run(read)).value

    async def _detail(self, caller: Caller, session: Session, weights: Params, top: int, nearest: int) -> tuple[_Detail, Spent]:
        """Give what is to be told of each query, and what it took to embed the support set."""
        if not nearest:
            return _Detail(top), NOTHING
        support, spent = await self.embedded.of(caller, session, weights)
        return _Detail(top, nearest, support), spent

    async def _predict(
        self, caller: Caller, served: Served, revision: Revision, weights: Params, queries: Sequence[RawInput], detail: _Detail
    ) -> Answers:
        worker, limits = self.fitter.worker, self.fitter.limits
        with worker.admitted(len(queries)):
            decoded = await self.fitter.decoding.run(partial(_decoded, caller, queries, served, revision, limits))
            temperature = served.manifest.temperature(revision.shots, revision.steps)
            task = PredictTask(weights, revision.weights_digest, decoded.value, detail.top, temperature, detail.among)
            done = await answer_for(caller, worker.predict(served.model, task, caller))
        spent = Spent(decoded.milliseconds, done.queue_ms, done.compute_ms)
        near = done.result.nearest
        named = None if detail.support is None or near is None else detail.support.named(near)
        return Answers(done.result, served.reference, revision, spent, named)

    def _check_queries(self, queries: Sequence[RawInput]) -> None:
        most = self.fitter.limits.queries
        if not queries:
            raise InvalidRequestError("expected at least one query, got none", field="queries")
        if len(queries) > most:
            raise TooLargeError(f"expected at most {most:,} queries, got {len(queries):,}; send them in parts", field="queries")


def _decoded(caller: Caller, queries: Sequence[RawInput], served: Served, revision: Revision, limits: Limits) -> Tensor:
    """Decode queries that must be as long as the revision's examples: [M, ...] as the encoder reads them."""
    takes = served.manifest.input
    return takes.padded(decode_inputs(queries, takes.of_length(revision.length), limits, before_each=caller.require_time))
