"""A session from its creation to its last revision: adapt, fork, grow, shrink, refit, change."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from service.errors import (
    ExampleNotFoundError,
    InvalidRequestError,
    ModelChangedError,
    RevisionChangedError,
    SessionDamagedError,
    SupportNotKeptError,
)
from service.runtime.caller import Caller
from service.runtime.catalog import Catalog, Served
from service.runtime.fitting import Fitter, Plan, plan
from service.runtime.idempotency import Made, claimed, once, reply
from service.runtime.support_set import Labelled
from service.sessions.contents import SupportSet, unpack_support
from service.sessions.counters import REFITTED
from service.sessions.refusals import changed
from service.sessions.session import Revision, Session, new_session_id
from service.sessions.store import Claim, SessionStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How to adapt; None means the default of the server or of the meta-model, or what the forked session has."""

    model: str | None = None
    steps: int | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class KeepOptions:
    """How to keep what was adapted.

    Attributes:
        ttl_seconds: None is the server's default.
        support: keep the support set, so that the session can grow or be refitted.
        fork_of: the session whose support set comes before the examples.
    """

    name: str | None = None
    ttl_seconds: float | None = None
    support: bool = True
    fork_of: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What to change of a session; None leaves it as it is."""

    name: str | None = None
    pinned: bool | None = None
    ttl_seconds: float | None = None


# From the examples there are to those that stay.
Edit = Callable[[SupportSet], SupportSet]


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Makes sessions and their revisions; every revision is fitted from the meta-initialisation on its whole support set."""

    catalog: Catalog
    store: SessionStore
    fitter: Fitter
    clock: Callable[[], datetime]
    default_ttl_seconds: float
    # In this process the revisions of a session are made one after the other; between processes the store decides.
    _growing: "WeakValueDictionary[str, asyncio.Lock]" = field(default_factory=WeakValueDictionary)

    async def create(
        self, caller: Caller, examples: Sequence[Labelled], options: AdaptOptions = AdaptOptions(), keeping: KeepOptions = KeepOptions()
    ) -> Made:
        """Adapt and keep the result.

        Raises:
            InputError: the support set or the options cannot be used.
            ModelNotFoundError, ModelRefusedError: see `Catalog.find`.
            SessionNotFoundError, SessionGoneError, SupportNotKeptError: the session to fork.
            QueueFullError, DrainingError, DeadlineError: no room, no more work, or no time.
            StoreFullError, StoreUnavailableError: it cannot be kept.
        """
        self.check_ttl(keeping.ttl_seconds)
        claim = claimed(caller, ("create", options, keeping), examples)
        return await once(self.store, claim, partial(self._create, caller, examples, options, keeping))

    async def grow(self, caller: Caller, session_id: str, examples: Sequence[Labelled], *, expected: int | None = None) -> Made:
        """Add examples, of new classes too; the next revision is fitted to all of them.

        Raises:
            RevisionChangedError: the newest revision is not the `expected` one.
            SupportNotKeptError: there is nothing to add to.
            SessionDamagedError: the support set cannot be read any more.
            otherwise as `create` does.
        """
        if not examples:
            raise InvalidRequestError("expected at least one example, got none", field="support")
        claim = claimed(caller, ("grow", session_id, expected), examples)
        return await once(self.store, claim, partial(self._edit, caller, session_id, _all, examples, expected))

    async def shrink(self, caller: Caller, session_id: str, ids: Sequence[int], *, expected: int | None = None) -> Made:
        """Take examples out by their ids; the next revision is fitted to the others. Raises as `grow` does.

        Raises:
            ExampleNotFoundError: there is no example of that id.
        """
        claim = claimed(caller, ("shrink", session_id, sorted(ids), expected))
        return await once(self.store, claim, partial(self._edit, caller, session_id, partial(_without, ids), (), expected))

    async def refit(self, caller: Caller, session: Session) -> Session:
        """Make the next revision of a session whose newest weights are lost.

        Raises:
            SessionDamagedError: the support set is not kept, or is damaged too.
        """
        if not session.keeps_support:
            raise SessionDamagedError(f"the weights of session {session.id!r} are lost and no support set is kept; adapt again")
        async with self._lock(session.id):
            newest = await self.store.get(session.tenant, session.id)
            if newest.revision != session.revision:
                return newest
            fit = await self.fitter.fit(caller, self._plan(newest), (), before=await self.support(newest), keep=False)
            revision = fit.revision(newest.revision.number + 1, at=self.clock(), refitted=True)
            try:
                refitted = await self.store.append(newest, revision, fit.contents)
            except RevisionChangedError:
                return await self.store.get(session.tenant, session.id)
        REFITTED.inc()
        return refitted

    async def with_weights(
        self, caller: Caller, session: Session, load: Callable[[Session], Awaitable[T]], *, mend: bool
    ) -> tuple[Session, T]:
        """Give a session with what `load` makes of its weights; with `mend`, lost ones are fitted anew first, as its next revision.

        Raises:
            SessionDamagedError: they are lost, and nothing is kept to fit them anew, or they must not be.
        """
        try:
            return session, await load(session)
        except SessionDamagedError:
            if not mend:
                raise
        refitted = await self.refit(caller, session)
        return refitted, await load(refitted)

    async def change(self, caller: Caller, session_id: str, change: Change, *, expected: int | None = None) -> Session:
        """Rename, pin or extend a session; a lifetime counts from now.

        Raises:
            RevisionChangedError: the newest revision is not the `expected` one.
            otherwise as `SessionStore.get` does.
        """
        self.check_ttl(change.ttl_seconds)
        return await self.store.update(caller.tenant, session_id, partial(self._changed, change, expected))

    async def end(self, caller: Caller, session_id: str, *, expected: int | None = None) -> None:
        """End a session; raises as `change` does. A revision that is made at this very moment ends with it."""
        if expected is not None:
            _check_expected(await self.store.get(caller.tenant, session_id), expected)
        await self.store.delete(caller.tenant, session_id)

    async def support(self, session: Session) -> SupportSet:
        """Give the support set of a session's newest revision.

        Raises:
            SupportNotKeptError, SessionDamagedError: there is none, or it cannot be read.
        """
        if not session.keeps_support:
            raise SupportNotKeptError(f"session {session.id!r} was made with keep_support=false; adapt again with all examples")
        packed = await self.store.support(session)
        return (await self.fitter.decoding.run(partial(unpack_support, packed))).value

    def served(self, session: Session) -> Served:
        """Give the meta-model that a session was adapted from.

        Raises:
            ModelNotFoundError, ModelRefusedError: it is not there any more.
            ModelChangedError: other weights have its name.
        """
        served = self.catalog.find(session.model)
        if served.manifest.weights.sha256 != session.weights_sha256:
            raise ModelChangedError(f"session {session.id!r} was adapted from other weights of {session.model}; adapt again")
        return served

    def new(self, caller: Caller, served: Served, revision: Revision, keeping: KeepOptions) -> Session:
        """Give a session that begins now."""
        now = self.clock()
        return Session(
            id=new_session_id(now),
            tenant=caller.tenant,
            name=keeping.name,
            model=served.reference,
            weights_sha256=served.manifest.weights.sha256,
            revision=revision,
            created_at=now,
            expires_at=now + self._lifetime(keeping.ttl_seconds),
            keeps_support=keeping.support,
        )

    async def _create(
        self, caller: Caller, examples: Sequence[Labelled], options: AdaptOptions, keeping: KeepOptions, claim: Claim | None
    ) -> Made:
        if keeping.fork_of is None:
            before, chosen = None, plan(self.catalog.find(options.model), steps=options.steps, scope=options.scope)
        else:
            before, chosen = await self._forked(caller, keeping.fork_of, options)
        fit = await self.fitter.fit(caller, chosen, examples, before=before, keep=keeping.support)
        session = self.new(caller, chosen.served, fit.revision(1, at=self.clock()), keeping)
        made = Made(session, fit.spent, fit.added)
        await self.store.create(session, fit.contents, reply=reply(claim, made))
        return made

    async def _forked(self, caller: Caller, source_id: str, options: AdaptOptions) -> tuple[SupportSet, Plan]:
        source = await self.store.get(caller.tenant, source_id)
        same = self._plan(source)
        if options.model not in (None, source.model, same.served.manifest.name):
            raise InvalidRequestError(f"expected no model, or {source.model} as the forked session has, got {options.model}", field="model")
        steps = same.steps if options.steps is None else options.steps
        return await self.support(source), plan(same.served, steps=steps, scope=options.scope or same.scope)

    async def _edit(
        self, caller: Caller, session_id: str, edit: Edit, examples: Sequence[Labelled], expected: int | None, claim: Claim | None
    ) -> Made:
        async with self._lock(session_id):
            while True:
                session = await self.store.get(caller.tenant, session_id)
                _check_expected(session, expected)
                try:
                    return await self._append(caller, session, edit, examples, claim)
                except RevisionChangedError:
                    # Another replica was faster, and that is progress too: begin again from its revision.
                    if expected is not None:
                        raise

    async def _append(self, caller: Caller, session: Session, edit: Edit, examples: Sequence[Labelled], claim: Claim | None) -> Made:
        before = edit(await self.support(session))
        fit = await self.fitter.fit(caller, self._plan(session), examples, before=before, keep=True)
        revision = fit.revision(session.revision.number + 1, at=self.clock())
        made = Made(replace(session, revision=revision), fit.spent, fit.added)
        return replace(made, session=await self.store.append(session, revision, fit.contents, reply=reply(claim, made)))

    def _plan(self, session: Session) -> Plan:
        return plan(self.served(session), steps=session.revision.steps, scope=session.revision.scope)

    def _lock(self, session_id: str) -> asyncio.Lock:
        return self._growing.setdefault(session_id, asyncio.Lock())

    def _changed(self, change: Change, expected: int | None, session: Session) -> Session:
        _check_expected(session, expected)
        pinned = session.pinned if change.pinned is None else change.pinned
        counts_anew = change.ttl_seconds is not None or (session.pinned and not pinned)
        return replace(
            session,
            name=session.name if change.name is None else change.name,
            pinned=pinned,
            expires_at=self.clock() + self._lifetime(change.ttl_seconds) if counts_anew else session.expires_at,
        )

    def _lifetime(self, ttl_seconds: float | None) -> timedelta:
        return timedelta(seconds=self.default_ttl_seconds if ttl_seconds is None else ttl_seconds)

    def check_ttl(self, ttl_seconds: float | None) -> None:
        """Raise InvalidRequestError for a lifetime longer than this server offers."""
        most = self.fitter.limits.ttl_seconds
        if ttl_seconds is not None and ttl_seconds > most:
            raise InvalidRequestError(f"expected ttl_seconds of at most {most:.0f}, got {ttl_seconds:.0f}", field="ttl_seconds")


def _check_expected(session: Session, expected: int | None) -> None:
    if expected is not None and expected != session.revision.number:
        raise changed(session, expected)


def _all(support: SupportSet) -> SupportSet:
    return support


def _without(ids: Sequence[int], support: SupportSet) -> SupportSet:
    unknown = sorted(set(ids) - set(support.ids))
    if unknown:
        raise ExampleNotFoundError(f"the session has no example {unknown[0]}; GET its examples lists them", field="id")
    return support.without(ids)
