"""Fitting a meta-model to a support set: decode, wait for the device, and give what comes out as a revision."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from service.errors import ScopeNotOfferedError, StepsOutOfRangeError
from service.learner.episodes import Support
from service.runtime.caller import Caller
from service.runtime.catalog import Served
from service.runtime.decoding import DecodePool
from service.runtime.engine import Fitted
from service.runtime.limits import Limits
from service.runtime.support_set import Classes, Labelled, as_task, classes_of, decode_inputs
from service.runtime.tasks import AdaptTask
from service.runtime.waiting import answer_for
from service.runtime.worker import DeviceWorker
from service.sessions.contents import SupportSet, pack_support
from service.sessions.session import Revision
from service.sessions.store import Contents


@dataclass(frozen=True, slots=True)
class Spent:
    """Milliseconds of one request: decoding, waiting, and computing (with the batches it shared)."""

    decode: float
    queue: float
    compute: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.decode + other.decode, self.queue + other.queue, self.compute + other.compute)


NOTHING = Spent(decode=0.0, queue=0.0, compute=0.0)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which meta-model is fitted, and how; `plan` checks it."""

    served: Served
    steps: int
    scope: str


def plan(served: Served, *, steps: int | None, scope: str | None) -> Plan:
    """Fill in a meta-model's defaults for None.

    Raises:
        StepsOutOfRangeError, ScopeNotOfferedError: it was not validated for that.
    """
    recipe, offered = served.manifest.recipe, served.manifest.scopes
    wanted = recipe.steps_default if steps is None else steps
    if not 0 <= wanted <= recipe.steps_max:
        raise StepsOutOfRangeError(f"expected 0 to {recipe.steps_max} inner steps for {served.reference}, got {wanted}", field="steps")
    chosen = recipe.scope if scope is None else scope
    if chosen not in offered:
        raise ScopeNotOfferedError(f"expected a scope among {', '.join(offered)} for {served.reference}, got {chosen!r}", field="scope")
    return Plan(served, wanted, chosen)


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted support set; `added` are the ids of the examples that were not there before, `length` that of its vectors."""

    plan: Plan
    classes: Classes
    fitted: Fitted
    added: tuple[int, ...]
    length: int | None
    packed_support: bytes | None
    spent: Spent

    @property
    def contents(self) -> Contents:
        """The bytes to keep."""
        return Contents(self.fitted.packed, self.packed_support)

    def revision(self, number: int, *, at: datetime, refitted: bool = False) -> Revision:
        """Describe it as a session's revision of this number."""
        return Revision(
            number=number,
            weights_digest=self.fitted.weights_digest,
            labels=self.classes.labels,
            shots=self.classes.shots,
            scope=self.plan.scope,
            steps=self.plan.steps,
            losses=self.fitted.adapted.losses,
            leave_one_out_accuracy=self.fitted.leave_one_out_accuracy,
            reach=self.fitted.reach,
            length=self.length,
            created_at=at,
            refitted=refitted,
        )


@dataclass(frozen=True, slots=True)
class _Prepared:
    ids: tuple[int, ...]
    length: int | None
    packed: bytes | None
    task: Support


@dataclass(frozen=True, slots=True)
class Fitter:
    """Fits on the worker's device, decoding in the pool."""

    worker: DeviceWorker
    decoding: DecodePool
    limits: Limits

    async def fit(self, caller: Caller, plan: Plan, examples: Sequence[Labelled], *, before: SupportSet | None = None, keep: bool) -> Fit:
        """Fit to examples, and to those that are there already; with `keep` the support set is packed for the store as well.

        Raises:
            InputError: the support set cannot be used.
            QueueFullError, DrainingError, DeadlineError: no room, no more work, or no time.
        """
        labels = [*(before.labels if before else ()), *(example.label for example in examples)]
        classes = classes_of(labels, plan.served, self.limits)
        with self.worker.admitted(plan.served.model.recipe.views * len(labels)):
            gather = partial(self._joined, caller, plan, examples, before)
            prepared = await self.decoding.run(partial(_prepared, plan, gather, classes, keep=keep))
            task = AdaptTask(prepared.value.task, plan.steps)
            done = await answer_for(caller, self.worker.adapt(plan.served.model, task, caller))
        spent = Spent(prepared.milliseconds, done.queue_ms, done.compute_ms)
        added = prepared.value.ids[len(before.ids) if before else 0 :]
        return Fit(plan, classes, done.result, added, prepared.value.length, prepared.value.packed, spent)

    def _joined(self, caller: Caller, plan: Plan, examples: Sequence[Labelled], before: SupportSet | None) -> SupportSet:
        if before is not None and not examples:
            return before
        labels = [example.label for example in examples]
        takes = plan.served.manifest.input.of_length(before.inputs.shape[-1] if before else None)
        inputs = decode_inputs([example.raw for example in examples], takes, self.limits, before_each=caller.require_time)
        return SupportSet.of(labels, inputs) if before is None else before.with_examples(labels, inputs)


def _prepared(plan: Plan, gather: Callable[[], SupportSet], classes: Classes, *, keep: bool) -> _Prepared:
    takes, support = plan.served.manifest.input, gather()
    task = as_task(takes.padded(support.inputs), support.labels, classes)
    length = takes.of_length(support.inputs.shape[-1]).length
    return _Prepared(support.ids, length, pack_support(support) if keep else None, task)
