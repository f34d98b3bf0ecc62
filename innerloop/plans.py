"""What takes one call or several, as generators: each gives calls, is sent their answers, and returns the whole answer.

Nothing is sent here, so that the blocking and the async client follow the same plans. What fits one request is one call; what is larger
than the server's limits is cut into several: a session is created from the first part of its support set and grown by the others,
queries are asked part by part of one revision.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias, TypeVar

from innerloop import calls, sets
from innerloop.calls import AnswerT
from innerloop.errors import ApiError, InnerloopError, UnusableInputError, UnusableSupportError
from innerloop.exchange import Call
from innerloop.inputs import Fields
from innerloop.parts import SMALL, bytes_of, parts, room_for
from innerloop.sets import Queries, Support
from innerloop.wire import AdaptedSession, Milliseconds, ServerInfo

T = TypeVar("T")
Plan: TypeAlias = Generator[Call[Any], Any, T]


@dataclass(frozen=True, slots=True)
class _Cut:
    """A set in parts.

    Attributes:
        small: it is one part, and little.
        order: which input of the set each one that is sent is.
        numbers: its examples have numbers to predict, where others have labels.
    """

    small: bool
    order: Sequence[int]
    parts: Iterator[list[Fields]]
    numbers: bool = False


def adapt(support: Support | None, *, idempotency_key: str | None = None, **options: object) -> Plan[AdaptedSession]:
    """A session; a fork, if the option `from_session` is given, which needs no examples of its own.

    When a part cannot be added the session is ended, unless it has an idempotency key of the caller's: the same call goes on from there.

    Raises:
        UnusableInputError: it takes several requests, and `keep_support` is False, or it has more examples than the server takes.
    """
    if support is None:
        forked: AdaptedSession = yield calls.adapt(None, idempotency_key=idempotency_key, **options)
        return forked
    cut = yield from _cut_support(support, may_grow=options.get("keep_support") is not False)
    made: list[AdaptedSession] = []

    def call(n: int, part: list[Fields]) -> Call[AdaptedSession]:
        if not made:
            return calls.adapt(part, idempotency_key=idempotency_key, **options)
        return calls.add(made[0].session, part, expected_revision=None, idempotency_key=_numbered(idempotency_key, n))

    try:
        yield from _in_turn(cut, call, made)
    except InnerloopError:
        if made and idempotency_key is None:
            with suppress(InnerloopError):  # the first error is the one to tell
                yield calls.delete(made[0].session)
        raise
    return _whole(made, cut.order)


def add(
    session_id: str, support: Support, *, expected_revision: int | None = None, idempotency_key: str | None = None
) -> Plan[AdaptedSession]:
    """The session's next revision; after several parts, the last of as many."""
    cut = yield from _cut_support(support, may_grow=True)
    made: list[AdaptedSession] = []

    def call(n: int, part: list[Fields]) -> Call[AdaptedSession]:
        expected = made[-1].revision if made and expected_revision is not None else expected_revision
        return calls.add(session_id, part, expected_revision=expected, idempotency_key=_numbered(idempotency_key, n))

    yield from _in_turn(cut, call, made)
    return _whole(made, cut.order)


def predict(session_id: str, queries: Queries, kind: type[AnswerT], *, top_k: int, nearest: int = 0, revision: int | None) -> Plan[AnswerT]:
    """All predictions, from one revision: classes (`Predictions`) or numbers (`Estimates`)."""
    cut = yield from _cut_queries(queries)
    return (yield from _asked(session_id, cut, kind, revision=revision, top_k=top_k, nearest=nearest or None))


def predict_once(support: Support, queries: Queries, kind: type[AnswerT], *, top_k: int, **options: object) -> Plan[AnswerT]:
    """Predictions, and nothing kept: one call when it is little, else by a session that ends with it."""
    examples = yield from _cut_support(support, may_grow=True)
    asked = yield from _cut_queries(queries)
    if examples.small and asked.small:
        with _hinting(examples):
            once: AnswerT = yield calls.predict_once(next(examples.parts), next(asked.parts), kind, top_k=top_k, **options)
        return once
    made: list[AdaptedSession] = []
    try:
        yield from _in_turn(examples, lambda _, part: _create_or_add(made, part, options), made)
        answer = yield from _asked(made[0].session, asked, kind, top_k=top_k)
    finally:
        if made:
            with suppress(InnerloopError):  # it expires by itself
                yield calls.delete(made[0].session)
    return answer.model_copy(update={"session": None})


def _create_or_add(made: Sequence[AdaptedSession], part: list[Fields], options: dict[str, object]) -> Call[AdaptedSession]:
    if not made:
        return calls.adapt(part, idempotency_key=None, **options)
    return calls.add(made[0].session, part, expected_revision=None, idempotency_key=None)


def _in_turn(cut: _Cut, call: Callable[[int, list[Fields]], Call[AdaptedSession]], made: list[AdaptedSession]) -> Plan[None]:
    """Every part sent, its answer put into `made`."""
    sent = 0
    for n, part in enumerate(cut.parts):
        with _hinting(cut), _renumbered("support", cut.order[sent : sent + len(part)]):
            made.append((yield call(n, part)))
        sent += len(part)


def _asked(session_id: str, cut: _Cut, kind: type[AnswerT], *, revision: int | None = None, **options: object) -> Plan[AnswerT]:
    answers: list[AnswerT] = []
    sent = 0
    for part in cut.parts:
        with _renumbered("queries", range(sent, sent + len(part))):
            answers.append((yield calls.predict(session_id, part, kind, revision=revision, **options)))
        sent += len(part)
        revision = answers[0].revision
    return _joined(answers)


def _cut_support(support: Support, *, may_grow: bool) -> Plan[_Cut]:
    items = sets.examples(support)
    head, whole = _beginning(item.fields() for item in items)
    numbers = not any(isinstance(item.answer, str) for item in items)
    if whole:
        return _Cut(True, range(len(items)), iter([head]), numbers=numbers)
    info: ServerInfo = yield calls.info()
    most = info.limits.examples
    if len(items) > most:
        raise UnusableInputError(f"expected at most {most:,} examples, which is what the server takes, got {len(items):,}; send fewer")
    order = _two_classes_first([item.answer for item in items])
    ready = dict(enumerate(head))
    found = parts((ready.pop(n) if n in ready else items[n].fields() for n in order), room_for(info.limits, items=most))
    first = next(found)
    second = next(found, None)
    if second is not None and not may_grow:
        raise UnusableInputError(
            f"expected a support set of at most {info.limits.body_bytes:,} bytes in one request when it is not kept; "
            "keep it (keep_support), or send smaller images"
        )
    return _Cut(False, order, chain([first], [] if second is None else [second], found), numbers=numbers)


def _cut_queries(queries: Queries) -> Plan[_Cut]:
    source = (item.fields() for item in sets.queries(queries))
    head, whole = _beginning(source)
    if whole:
        return _Cut(True, range(len(head)), iter([head]))
    info: ServerInfo = yield calls.info()
    return _Cut(False, (), parts(chain(head, source), room_for(info.limits, items=info.limits.queries)))


def _beginning(items: Iterable[Fields]) -> tuple[list[Fields], bool]:
    """The first items, one more than are little, and whether that is all."""
    head: list[Fields] = []
    size = 0
    for item in items:
        head.append(item)
        size += bytes_of(item)
        if len(head) > SMALL.items or size > SMALL.bytes:
            return head, False
    return head, True


def _two_classes_first(labels: Sequence[object]) -> Sequence[int]:
    """The examples' places in an order that begins with two classes: no session can be made of one; a regression has none."""
    other = next((n for n, label in enumerate(labels) if label != labels[0]), 0)
    return sorted(range(len(labels)), key=lambda n: n not in (0, other))


def _numbered(key: str | None, n: int) -> str | None:
    return f"{key}/{n}" if key is not None and n else key


def _whole(made: Sequence[AdaptedSession], order: Sequence[int]) -> AdaptedSession:
    """The newest answer, with what all of them added, in the order that it was given."""
    added = [id_ for answer in made for id_ in answer.added]
    in_order = tuple(id_ for _, id_ in sorted(zip(order, added, strict=True))) if len(added) == len(order) else tuple(added)
    return made[-1].model_copy(update={"added": in_order, "milliseconds": _sum([answer.milliseconds for answer in made])})


def _joined(answers: Sequence[AnswerT]) -> AnswerT:
    update = {
        "predictions": tuple(one for answer in answers for one in answer.predictions),
        "milliseconds": _sum([answer.milliseconds for answer in answers]),
        "refitted": any(answer.refitted for answer in answers),
        "stale": any(answer.stale for answer in answers),
    }
    return answers[0].model_copy(update=update)


def _sum(spent: Sequence[Milliseconds]) -> Milliseconds:
    parts_of_time = {name: sum(getattr(each, name) for each in spent) for name in Milliseconds.model_fields}
    return Milliseconds(**parts_of_time)


@contextmanager
def _hinting(cut: _Cut) -> Iterator[None]:
    """A refusal of numbers by what tells classes apart says how numbers become labels."""
    try:
        yield
    except UnusableSupportError as error:
        if not cut.numbers or error.problem.field != "support":
            raise
        hint = "numbers are taken for what is to be predicted: give labels as text, str(label), or a table with a column `label`"
        problem = error.problem.model_copy(update={"detail": f"{error}; {hint}"})
        raise type(error)(problem, retry_after_seconds=error.retry_after_seconds) from error


@contextmanager
def _renumbered(name: str, places: Sequence[int]) -> Iterator[None]:
    """A refusal of `support[2]` of a part names the example's place in the whole set."""
    try:
        yield
    except ApiError as error:
        found = re.match(rf"{name}\D(\d+)", error.problem.field or "")
        if found is None or int(found[1]) >= len(places) or places[int(found[1])] == int(found[1]):
            raise
        told, meant = found[0], f"{name}[{places[int(found[1])]}"
        problem = error.problem
        update = {"field": meant + (problem.field or "")[len(told) :], "detail": problem.detail.replace(f"{told}]", f"{meant}]")}
        raise type(error)(problem.model_copy(update=update), retry_after_seconds=error.retry_after_seconds) from error
