"""A storm: many callers adapt, ask, delete, cancel and break things at once, and every single answer is checked.

Usage: python -m tests.runtime.storm [--seconds 300] [--seed 0]
Prints how many answers were checked, and ends with status 1 when one was wrong, lost or hung.
"""

import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import structlog
import torch
import typer

from service.errors import (
    AdaptationDivergedError,
    DeadlineError,
    QueueFullError,
    RevisionGoneError,
    ServiceError,
    SessionGoneError,
    SessionNotFoundError,
    SupportNotKeptError,
)
from service.inputs.specification import RawInput
from service.learner.encoders.mlp import Mlp
from service.learner.meta_model import MetaModel, adapt, predict
from service.learner.parameters import Params
from service.learner.recipe import Recipe
from service.runtime.batching import Policy
from service.runtime.bodies import Stacking
from service.runtime.caller import Caller
from service.runtime.catalog import load_catalog
from service.runtime.decoding import DecodePool
from service.runtime.engine import Engine, Fitted
from service.runtime.fitting import Fitter
from service.runtime.lifecycle import AdaptOptions, KeepOptions
from service.runtime.limits import Limits
from service.runtime.ranking import Found
from service.runtime.runtime import Answers, Runtime
from service.runtime.support_set import Labelled
from service.runtime.tasks import AdaptTask, PredictTask
from service.runtime.worker import DeviceWorker
from service.sessions.hot import HotWeights
from service.sessions.memory import MemoryStore
from service.sessions.session import Session
from tests.learner.tasks import distance
from tests.runtime.serving import task_of, weights
from tests.runtime.tasks import probabilities
from tests.tiny import HEAD_RECIPE, FakeClock, tiny_model, write_tiny

CPU = torch.device("cpu")
LENGTH = 6
CALLERS = 48
TENANTS = ("ann", "bob", "cy", "dee")
MODELS = ("heads", "bodies")
HUNG_AFTER = 60.0
TTL = 50.0
# A number in a query at which the engine below breaks, as a bug would.
POISON = 777.0


class PoisonError(Exception):
    """The engine met what it cannot compute."""


class BrittleEngine(Engine):
    """The engine, with too little memory now and then, and a bug that one kind of query meets."""

    def __init__(self, chance: random.Random) -> None:
        # Room for about forty heads and ten bodies, so that they come and go; bodies are stacked, even one alone.
        super().__init__(CPU, arena_bytes=4 * 65 * 200, stacking=Stacking(adapt_from=1, embed_from=1, kernels=True, room_bytes=2**17))
        self._chance = chance
        self.faults = Counter[str]()

    def adapt(self, model: MetaModel, tasks: Sequence[AdaptTask]) -> list[Fitted | AdaptationDivergedError]:
        self._run_out_of_memory(len(tasks))
        return super().adapt(model, tasks)

    def predict(self, model: MetaModel, tasks: Sequence[PredictTask]) -> Sequence[Found]:
        self._run_out_of_memory(len(tasks))
        if any(bool((task.queries == POISON).any()) for task in tasks):
            self.faults["poisoned batches"] += 1
            raise PoisonError
        return super().predict(model, tasks)

    def _run_out_of_memory(self, tasks: int) -> None:
        if tasks > 1 and self._chance.random() < 0.05:
            self.faults["batches out of memory"] += 1
            raise torch.OutOfMemoryError


@dataclass(slots=True)
class Known:
    """A session that was made, and what may have happened to it since."""

    session: Session
    support: dict[int, Sequence[Labelled]]
    deleted: bool = False


@dataclass(slots=True)
class Storm:
    """Callers without manners, and the book that is kept of every answer."""

    runtime: Runtime
    clock: FakeClock
    chance: random.Random
    until: float
    known: dict[str, Known] = field(default_factory=dict)
    book: dict[str, Params] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    async def blow(self) -> None:
        """Let every caller act until the time is over."""
        await asyncio.gather(*(self._call() for _ in range(CALLERS)))

    async def _call(self) -> None:
        actions = [self._adapt] * 4 + [self._ask] * 12 + [self._ask_once, self._grow] * 2
        actions += [self._delete, self._give_up, self._hurry, self._break]
        while time.monotonic() < self.until:
            action = self.chance.choice(actions)
            if self.chance.random() < 0.002:
                self.clock.now += timedelta(seconds=TTL / 3)
            try:
                await asyncio.wait_for(action(), HUNG_AFTER)
            except TimeoutError:
                self.wrong.append(f"hung: {action.__name__}")
            except QueueFullError:
                self.counts["refused, queue full"] += 1
                await asyncio.sleep(0.01)

    async def _adapt(self) -> None:
        model, support = self._model(), self._support()
        caller, keeping = self._caller(), KeepOptions(ttl_seconds=TTL, support=self.chance.random() < 0.8)
        made = await self.runtime.sessions.create(caller, support, AdaptOptions(model, 3), keeping)
        await self._note(made.session, support)
        self.counts["adapted"] += 1

    async def _grow(self) -> None:
        """Add examples to a session while others ask it, and grow it too."""
        if not self.known:
            return
        known, more = self.chance.choice(list(self.known.values())), self._support()
        try:
            made = await self.runtime.sessions.grow(Caller(known.session.tenant), known.session.id, more)
        except SupportNotKeptError:
            if known.session.keeps_support:
                self.wrong.append(f"a support set is lost: {known.session.id}")
            self.counts["had nothing to grow from"] += 1
        except (SessionGoneError, SessionNotFoundError) as error:
            self._check_absence(known, error, stranger=False)
        else:
            newest = made.session.revision.number
            known.support[newest] = more
            await self._note(made.session, [each for number in range(1, newest + 1) for each in known.support[number]])
            self.counts["grown"] += 1

    async def _note(self, session: Session, support: Sequence[Labelled]) -> None:
        """Check what was adapted, and keep the weights in the book, to check answers by."""
        try:
            kept = await weights(self.runtime, session)
        except (SessionGoneError, RevisionGoneError):
            return  # already deleted or evicted
        self.book[session.revision.weights_digest] = kept
        if session.revision.number == 1:
            self.known[session.id] = Known(session, {1: support})
        self._check_weights(kept, session.model, support, session.revision.steps)

    async def _ask(self) -> None:
        if not self.known:
            return
        known, asked = self.chance.choice(list(self.known.values())), self._queries()
        stranger = self.chance.random() < 0.05
        caller = Caller("mallory" if stranger else known.session.tenant)
        try:
            answers = await self.runtime.predict(caller, known.session.id, asked, top=9)
        except ServiceError as error:
            self._check_absence(known, error, stranger=stranger)
        else:
            if stranger:
                self.wrong.append(f"an answer to a stranger: {known.session.id}")
            await self._check_session(answers, known.session, asked)

    async def _ask_once(self) -> None:
        model, support, asked = self._model(), self._support(), self._queries()
        answers = await self.runtime.predict_once(self._caller(), support, asked, AdaptOptions(model, 2), top=9)
        self._check_answers(answers, self._alone(model, support, 2), asked, tolerance=1e-4)

    async def _delete(self) -> None:
        if not self.known:
            return
        known = self.chance.choice(list(self.known.values()))
        known.deleted = True
        try:
            await self.runtime.store.delete(known.session.tenant, known.session.id)
        except SessionGoneError as error:
            self._check_absence(known, error, stranger=False)
        self.counts["deleted"] += 1

    async def _give_up(self) -> None:
        """Cancel a request at any moment of it."""
        doomed = asyncio.ensure_future(self.chance.choice([self._adapt, self._ask, self._ask_once, self._grow])())
        await asyncio.sleep(self.chance.random() * 0.02)
        doomed.cancel()
        await asyncio.gather(doomed, return_exceptions=True)
        self.counts["cancelled"] += doomed.cancelled()

    async def _hurry(self) -> None:
        """Ask with hardly any time."""
        caller = Caller("ann", deadline=time.monotonic() + self.chance.random() * 0.02)
        model, support, asked = self._model(), self._support(), self._queries()
        try:
            answers = await self.runtime.predict_once(caller, support, asked, AdaptOptions(model, 2), top=9)
        except DeadlineError:
            self.counts["too late"] += 1
        else:
            self._check_answers(answers, self._alone(model, support, 2), asked, tolerance=1e-4)

    async def _break(self) -> None:
        """Send what breaks the engine: only this request may fail."""
        asked = [*self._queries(), RawInput("poison", [POISON] * LENGTH)]
        try:
            await self.runtime.predict_once(self._caller(), self._support(), asked, AdaptOptions("heads", 1), top=1)
        except PoisonError:
            self.counts["broken alone"] += 1
        else:
            self.wrong.append("a poisoned request was answered")

    def _caller(self) -> Caller:
        return Caller(self.chance.choice(TENANTS))

    def _model(self) -> str:
        return self.chance.choices(MODELS, (9, 1))[0]

    def _support(self) -> list[Labelled]:
        """Random numbers with 2 to 9 labels of 1 to 3 examples."""
        return [
            Labelled(f"class {label}", RawInput("example", [self.chance.gauss(0, 1) for _ in range(LENGTH)]))
            for label in range(self.chance.randint(2, 9))
            for _ in range(self.chance.randint(1, 3))
        ]

    def _queries(self) -> list[RawInput]:
        return [RawInput("query", [self.chance.gauss(0, 1) for _ in range(LENGTH)]) for _ in range(self.chance.randint(1, 4))]

    def _alone(self, model: str, support: Sequence[Labelled], steps: int) -> Params:
        """Adapt by the slow loop."""
        served = self.runtime.catalog.find(model)
        return adapt(served.model, task_of(self.runtime, support, served), steps).params

    def _check_weights(self, kept: Params, model: str, support: Sequence[Labelled], steps: int) -> None:
        if any(distance(kept[name], value) > 1e-4 for name, value in self._alone(model, support, steps).items()):
            self.wrong.append("wrong weights")
        self.counts["weights checked"] += 1

    async def _check_session(self, answers: Answers, session: Session, asked: Sequence[RawInput]) -> None:
        """Compare with the weights that the book has under the digest; a revision not noted yet is looked up."""
        digest, number = answers.revision.weights_digest, answers.revision.number
        if digest not in self.book:
            try:
                kept = await weights(self.runtime, await self.runtime.store.at(session.tenant, session.id, number))
            except (SessionGoneError, RevisionGoneError):
                self.counts["ended before it was noted"] += 1
                return
            self.book[digest] = kept
        self._check_answers(answers, self.book[digest], asked, tolerance=1e-5)

    def _check_answers(self, answers: Answers, kept: Params, asked: Sequence[RawInput], *, tolerance: float) -> None:
        """Answer alone, with these weights, and compare."""
        served = self.runtime.catalog.find(answers.model)
        queries = torch.tensor([list(raw.content) for raw in asked], dtype=torch.float32)
        alone = predict(served.model, kept, queries)
        if (probabilities(answers.ranked, len(answers.revision.labels)) - alone).abs().max() > tolerance:
            self.wrong.append("wrong answer")
        self.counts["answers checked"] += 1

    def _check_absence(self, known: Known, error: ServiceError, *, stranger: bool) -> None:
        """A session may be absent for a stranger, and when it was deleted, has expired or was evicted, as it then says."""
        expired, message = known.session.expires_at <= self.clock.now, str(error)
        fine = [
            stranger and "no session" in message,
            known.deleted and "was deleted" in message,
            expired and "has expired" in message,
            "was evicted" in message,
        ]
        if not any(fine):
            self.wrong.append(f"lost: {message}")
        if not stranger:
            self.known.pop(known.session.id, None)
        self.counts["absences checked"] += 1


@contextmanager
def storm(folder: Path, *, seed: int, seconds: float) -> Iterator[tuple[Storm, BrittleEngine]]:
    """A runtime of two small models of vectors, with room for about a thousand sessions, and the storm on it."""
    chance, clock = random.Random(seed), FakeClock()  # noqa: S311 - only the order of events depends on it
    write_tiny(folder, "heads", tiny_model(Mlp(LENGTH), HEAD_RECIPE))
    write_tiny(folder, "bodies", tiny_model(Mlp(LENGTH, width=32), Recipe(scope="all", step_size=0.05, steps_default=2, steps_max=10)))
    engine = BrittleEngine(chance)
    with (
        DecodePool() as decoding,
        DeviceWorker(engine, queue_items=600, policy=Policy(max_items=256, quantum=16), coming=decoding.busy) as worker,
    ):
        runtime = Runtime.of(
            load_catalog(folder, device=CPU, default="heads"),
            MemoryStore(budget_bytes=3_000_000, clock=clock),
            HotWeights(budget_bytes=200_000),
            Fitter(worker, decoding, Limits()),
            clock=clock,
            default_ttl_seconds=TTL,
        )
        yield Storm(runtime, clock, chance, time.monotonic() + seconds), engine


def main(seconds: float = 300, seed: int = 0) -> None:
    """Storm, then count."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, storm(Path(folder), seed=seed, seconds=seconds) as (blowing, engine):
        asyncio.run(blowing.blow())
    for name, count in sorted({**blowing.counts, **engine.faults}.items()):
        typer.echo(f"{count:9,} {name}")
    typer.echo(f"{len(blowing.wrong):9,} wrong, lost or hung")
    sys.exit("\n".join(blowing.wrong[:20]) if blowing.wrong else 0)


if __name__ == "__main__":
    typer.run(main)
