"""Kill a process that writes a session store, again and again: all that it acknowledged must be there, and nothing by halves.

`python -m tests.sessions.crash --rounds 100`
"""

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from service.errors import RevisionGoneError, SessionGoneError
from service.sessions.session import Revision, Session, new_session_id
from service.sessions.sqlite.sqlite_store import SqliteStore
from service.sessions.store import REVISIONS_KEPT, Contents

TENANT = "ann"
# So many write at once, so that their commits are shared.
CALLERS = 8
QUOTA = 10**9
# A killed round writes at least until the first acknowledgement and at most so much longer.
SECONDS = 0.3


def now() -> datetime:
    return datetime.now(UTC)


def sha256(packed: bytes) -> str:
    return hashlib.sha256(packed).hexdigest()


def made(number: int, chance: random.Random) -> tuple[Revision, Contents]:
    """A revision of weights and a support set that fill between a part of a page and several."""
    weights, support = chance.randbytes(chance.randint(100, 20_000)), chance.randbytes(chance.randint(1, 9_000))
    # The support set's digest stands where a label would: the store keeps labels as they are.
    labels = (sha256(support), "zebra")
    return Revision(number, sha256(weights), labels, (1, 1), "head", 1, (1.0, 0.5), None, now()), Contents(weights, support)


async def write_on(path: Path) -> None:
    """Write until killed, and say so after each write."""
    async with SqliteStore(path, clock=now, quota_bytes=QUOTA) as store:
        await asyncio.gather(*(_caller(store, random.Random()) for _ in range(CALLERS)))  # noqa: S311


async def _caller(store: SqliteStore, chance: random.Random) -> None:
    while True:
        revision, contents = made(1, chance)
        session = Session(
            id=new_session_id(now()),
            tenant=TENANT,
            name=None,
            model="tiny@1",
            weights_sha256="0" * 64,
            revision=revision,
            created_at=now(),
            expires_at=now() + timedelta(days=1),
        )
        await store.create(session, contents)
        _say(session, "kept")
        for number in range(2, chance.randint(1, 13)):
            revision, contents = made(number, chance)
            session = await store.append(session, revision, contents)
            _say(session, "kept")
        if chance.random() < 0.2:
            _say(session, "ending")
            await store.delete(TENANT, session.id)
            _say(session, "ended")


def _say(session: Session, state: str) -> None:
    line = f"{session.id} {session.revision.number} {session.revision.weights_digest} {state}\n"
    os.write(sys.stdout.fileno(), line.encode())  # at once, and whole


@dataclass(slots=True)
class Acknowledged:
    """What the killed processes said: digests by session and number, and how far the end of each session had come."""

    digests: dict[tuple[str, int], str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def add(self, lines: bytes) -> None:
        """Take whole lines; the last one may have been cut off."""
        for line in lines.decode().split("\n")[:-1]:
            session_id, number, digest, state = line.split(" ")
            self.digests[session_id, int(number)] = digest
            self.states[session_id] = state


def killed(path: Path, seconds: float) -> bytes:
    """What a writer said until it was killed, so long after its first word."""
    command = [sys.executable, "-m", "tests.sessions.crash", "--write", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        said = _read_until(writer.stdout.fileno(), seconds)
        writer.send_signal(signal.SIGKILL)
        return said + writer.stdout.read()


def _read_until(pipe: int, seconds: float) -> bytes:
    # Read as it comes: a full pipe would hold the writer up.
    said = os.read(pipe, 65536)
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if selector.select(left):
                said += os.read(pipe, 65536)
    return said


async def verify(path: Path, acknowledged: Acknowledged) -> None:
    """Compare a store with what was acknowledged.

    Raises:
        AssertionError, ServiceError: something is missing, other than it was, or there by half.
    """
    async with SqliteStore(path, clock=now, quota_bytes=QUOTA) as store:
        for (session_id, number), digest in acknowledged.digests.items():
            await _verify_revision(store, session_id, number, digest=digest, state=acknowledged.states[session_id])
        for session in await store.list(TENANT, after=None, limit=10**9):
            assert sha256(await store.weights(session)) == session.revision.weights_digest
            assert sha256(await store.support(session)) == session.revision.labels[0]


async def _verify_revision(store: SqliteStore, session_id: str, number: int, *, digest: str, state: str) -> None:
    try:
        newest = await store.get(TENANT, session_id)
    except SessionGoneError:
        assert state in ("ending", "ended")
        return
    assert state != "ended"
    if number <= newest.revision.number - REVISIONS_KEPT:
        with contextlib.suppress(RevisionGoneError):
            raise AssertionError(f"{await store.at(TENANT, session_id, number)} is still kept")
        return
    shown = await store.at(TENANT, session_id, number)
    assert sha256(await store.weights(shown)) == shown.revision.weights_digest == digest


def crash(path: Path, *, rounds: int, seed: int) -> Acknowledged:
    """Kill a writer so many times and verify the store after each; give all that was acknowledged."""
    acknowledged = Acknowledged()
    chance = random.Random(seed)  # noqa: S311
    for _ in range(rounds):
        acknowledged.add(killed(path, chance.uniform(0, SECONDS)))
        asyncio.run(verify(path, acknowledged))
    return acknowledged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write is not None:
        asyncio.run(write_on(arguments.write))
    with TemporaryDirectory() as folder:
        found = crash(Path(folder) / "sessions.sqlite3", rounds=arguments.rounds, seed=arguments.seed)
    revisions, deleted = len(found.digests), list(found.states.values()).count("ended")
    told = f"{revisions} acknowledged revisions are there, {deleted} deleted sessions gone, none by halves"
    sys.stdout.write(f"{arguments.rounds} kills: all {told}\n")


if __name__ == "__main__":
    main()
