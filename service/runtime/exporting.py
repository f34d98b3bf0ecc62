"""Sessions that leave and come back: the adapted weights of a revision as a file, and a new session from such a file."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Literal

from service.errors import DeadlineError
from service.learner.calibration import cooled
from service.runtime.caller import Caller
from service.runtime.catalog import Served
from service.runtime.description import Description, described
from service.runtime.fitting import Spent
from service.runtime.idempotency import Made, claimed, once, reply
from service.runtime.lifecycle import KeepOptions, Lifecycle
from service.runtime.onnx_file import check_packages, write_onnx_file
from service.runtime.onnx_graphs import OnnxGraphs
from service.runtime.session_file import read_session_file, write_session_file
from service.sessions.contents import digest, unpack_weights
from service.sessions.session import Session
from service.sessions.store import Claim, Contents

Format = Literal["safetensors", "onnx"]


@dataclass(frozen=True, slots=True)
class Exported:
    """A revision as a file, and what to call it."""

    content: bytes
    name: str
    weights_digest: str


@dataclass(frozen=True, slots=True)
class Exporter:
    """Gives sessions away and takes them back."""

    sessions: Lifecycle
    graphs: OnnxGraphs

    async def give(self, caller: Caller, session_id: str, kind: Format, *, revision: int | None = None) -> Exported:
        """Give a session's adapted weights as a file, of its newest revision unless another is asked for.

        Raises:
            SessionNotFoundError, SessionGoneError, RevisionNotFoundError, RevisionGoneError: see `SessionStore`.
            ModelNotFoundError, ModelRefusedError, ModelChangedError: see `Lifecycle.served`.
            SessionDamagedError: its weights are lost, and nothing is kept to fit them anew.
            ExportUnavailableError: this server cannot write the format.
            DeadlineError, StoreUnavailableError: not now.
        """
        if kind == "onnx":
            check_packages()
        session, packed = await self._found(caller, session_id, revision)
        served = self.sessions.served(session)
        description = described(session, served)
        if kind == "onnx":
            write = partial(_onnx_file, await self._graph(caller, served), served, packed, description)
        else:
            write = partial(write_session_file, description, packed)
        written = await self.sessions.fitter.decoding.run(write)
        stem = f"{served.manifest.name}-{served.manifest.version}-{session.id}-r{session.revision.number}"
        return Exported(written.value, f"{stem}.{kind}", session.revision.weights_digest)

    async def take(self, caller: Caller, content: bytes, keeping: KeepOptions) -> Made:
        """Make a new session from an exported one; it predicts as that did.

        Raises:
            UnusableExportError, ModelNotFoundError, ModelChangedError and others: see `read_session_file`.
            StoreFullError, StoreUnavailableError: it cannot be kept.
        """
        self.sessions.check_ttl(keeping.ttl_seconds)
        claim = claimed(caller, ("import", keeping, digest(content)))
        return await once(self.sessions.store, claim, partial(self._take, caller, content, keeping))

    async def _take(self, caller: Caller, content: bytes, keeping: KeepOptions, claim: Claim | None) -> Made:
        sessions = self.sessions
        read = partial(read_session_file, content, sessions.catalog, sessions.fitter.limits)
        taken = await sessions.fitter.decoding.run(read)
        revision = taken.value.description.revision(at=sessions.clock())
        session = sessions.new(caller, taken.value.served, revision, keeping)
        made = Made(session, Spent(decode=taken.milliseconds, queue=0.0, compute=0.0))
        await sessions.store.create(session, Contents(taken.value.packed, None), reply=reply(claim, made))
        return made

    async def _found(self, caller: Caller, session_id: str, revision: int | None) -> tuple[Session, bytes]:
        store = self.sessions.store
        session = await (store.get(caller.tenant, session_id) if revision is None else store.at(caller.tenant, session_id, revision))
        return await self.sessions.with_weights(caller, session, self._weights, mend=revision is None)

    async def _weights(self, session: Session) -> bytes:
        packed = await self.sessions.store.weights(session)
        await self.sessions.fitter.decoding.run(partial(unpack_weights, packed, weights_digest=session.revision.weights_digest))
        return packed

    async def _graph(self, caller: Caller, served: Served) -> bytes:
        try:
            async with asyncio.timeout(caller.seconds_left):
                return await self.graphs.of(served)
        except TimeoutError:
            raise DeadlineError("the first ONNX file of a meta-model takes seconds, longer than Request-Timeout-Ms allows") from None


def _onnx_file(graph: bytes, served: Served, packed: bytes, description: Description) -> bytes:
    weights = unpack_weights(packed, weights_digest=description.weights_digest)
    temperature = served.manifest.temperature(description.shots, description.steps)
    return write_onnx_file(graph, {**served.model.params, **cooled(weights, temperature)}, description)
