"""Support sets as their sessions' encoders embed them, for queries that ask which examples they are nearest to."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from service.errors import SupportNotKeptError
from service.learner.parameters import Params
from service.runtime.caller import Caller
from service.runtime.fitting import NOTHING, Spent
from service.runtime.lifecycle import Lifecycle
from service.runtime.ranking import Nearest
from service.runtime.tasks import EmbedTask
from service.runtime.waiting import answer_for
from service.sessions.contents import Answer, SupportSet
from service.sessions.session import Session

# With embeddings of 64 numbers, the examples of about five thousand sessions of fifty.
BUDGET_BYTES = 64 * 2**20

# What an example costs beside its embedding.
OVERHEAD_BYTES = 64


@dataclass(frozen=True, slots=True)
class NearExample:
    """A support example by its id, its label or target, and its Euclidean distance from a query."""

    id: int
    answer: Answer
    distance: float


@dataclass(frozen=True, slots=True)
class EmbeddedSupport:
    """The examples of one revision: ids, labels or targets, and embeddings [N, D], on the CPU."""

    ids: tuple[int, ...]
    answers: tuple[Answer, ...]
    embeddings: Tensor

    @property
    def size_bytes(self) -> int:
        """What it takes, about."""
        return self.embeddings.nbytes + OVERHEAD_BYTES * len(self.ids)

    def named(self, found: Nearest) -> list[list[NearExample]]:
        """Name the nearest examples of each query, which are known by their places."""
        return [self._named(*each) for each in zip(found.places, found.distances, strict=True)]

    def _named(self, places: Sequence[int], distances: Sequence[float]) -> list[NearExample]:
        each = zip(places, distances, strict=True)
        return [NearExample(self.ids[place], self.answers[place], distance) for place, distance in each]


class EmbeddedSupports:
    """Embeds support sets, and remembers those asked for last, by session and revision; bounded in bytes.

    It is used from one thread, the event loop's.
    """

    def __init__(self, sessions: Lifecycle, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self._sessions = sessions
        self._budget_bytes = budget_bytes
        self._known: OrderedDict[tuple[str, int], EmbeddedSupport] = OrderedDict()
        self._bytes = 0

    async def of(self, caller: Caller, session: Session, weights: Params) -> tuple[EmbeddedSupport, Spent]:
        """Give the support set of a session as these weights of its revision embed it, and where the time went.

        Raises:
            SupportNotKeptError: there is none, or it has become that of a newer revision.
            SessionDamagedError: it cannot be read.
            QueueFullError, DrainingError, DeadlineError, StoreUnavailableError: not now.
        """
        key = (session.id, session.revision.number)
        if key in self._known:
            self._known.move_to_end(key)
            known, spent = self._known[key], NOTHING
            await self._require_newest(session)
        else:
            support = await self._sessions.support(session)
            # After reading: what was read is this revision's.
            await self._require_newest(session)
            known, spent = await self._embed(caller, session, weights, support)
            self._keep(key, known)
        return known, spent

    async def _require_newest(self, session: Session) -> None:
        """Refuse a revision that is not the newest, also where it is remembered: what is answered must not depend on that."""
        asked, newest = session.revision.number, (await self._sessions.store.get(session.tenant, session.id)).revision.number
        if newest != asked:
            raise SupportNotKeptError(
                f"expected the newest revision of session {session.id!r}, {newest}, since only its support set is kept; "
                f"revision {asked} knows no nearest examples any more",
                field="nearest",
            )

    async def _embed(self, caller: Caller, session: Session, weights: Params, support: SupportSet) -> tuple[EmbeddedSupport, Spent]:
        worker, served = self._sessions.fitter.worker, self._sessions.served(session)
        with worker.admitted(len(support.ids)):
            task = EmbedTask(weights, session.revision.weights_digest, served.manifest.input.padded(support.inputs))
            done = await answer_for(caller, worker.embed(served.model, task, caller))
        return EmbeddedSupport(support.ids, support.labels, done.result), Spent(0.0, done.queue_ms, done.compute_ms)

    def _keep(self, key: tuple[str, int], known: EmbeddedSupport) -> None:
        """Remember, in place of those asked for longest ago."""
        if key in self._known:
            return
        self._known[key] = known
        self._bytes += known.size_bytes
        while self._bytes > self._budget_bytes:
            _, forgotten = self._known.popitem(last=False)
            self._bytes -= forgotten.size_bytes
