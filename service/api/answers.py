"""From the runtime's values to the wire's."""

from collections.abc import Sequence
from typing import TypeVar

from fastapi import Response

from innerloop import wire
from service.runtime.catalog import Catalog, Refused, Served
from service.runtime.embedded_support import NearExample
from service.runtime.fitting import Spent
from service.runtime.idempotency import Made
from service.runtime.ranking import Estimated
from service.runtime.runtime import Answers
from service.sessions.contents import Answer, SupportSet
from service.sessions.session import Revision, Session

PredictedT = TypeVar("PredictedT", wire.Prediction, wire.Estimate)


def session_info(session: Session) -> wire.SessionInfo:
    """Describe a session."""
    revision = session.revision
    return wire.SessionInfo(
        session=session.id,
        name=session.name,
        model=session.model,
        revision=revision.number,
        weights_digest=revision.weights_digest,
        labels=revision.labels,
        shots=dict(zip(revision.labels, revision.shots, strict=True)),
        scope=revision.scope,
        steps=revision.steps,
        losses=revision.losses,
        leave_one_out_accuracy=revision.leave_one_out_accuracy,
        created_at=session.created_at,
        expires_at=None if session.pinned else session.expires_at,
        pinned=session.pinned,
        keeps_support=session.keeps_support,
        refitted=revision.refitted,
        length=revision.length,
    )


def adapted_session(made: Made, response: Response) -> wire.AdaptedSession:
    """Describe a session with its new revision, and where the time went."""
    response.headers["ETag"] = etag(made.session)
    if made.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return wire.AdaptedSession(**session_info(made.session).model_dump(), added=made.added, milliseconds=_milliseconds(made.spent))


def etag(session: Session) -> str:
    """Name a session's newest revision, for If-Match."""
    return f'"{session.revision.number}"'


def example_list(session: Session, support: SupportSet, *, after: int, limit: int) -> wire.ExampleList:
    """Describe one page of a support set."""
    found = [_example(number, answer) for number, answer in zip(support.ids, support.labels, strict=True) if number > after]
    following = found[limit - 1].id if len(found) > limit else None
    return wire.ExampleList(session=session.id, revision=session.revision.number, examples=tuple(found[:limit]), next=following)


def _example(number: int, answer: Answer) -> wire.ExampleInfo:
    return wire.ExampleInfo.model_validate({"id": number, **_known(answer)})


def _known(answer: Answer) -> dict[str, Answer | None]:
    return {"label": answer} if isinstance(answer, str) else {"label": None, "target": answer}


def predictions(answers: Answers, session_id: str | None) -> wire.Predictions | wire.Estimates:
    """Name the likeliest classes of every query, or its numbers."""
    told = {
        "session": session_id,
        "revision": answers.revision.number,
        "model": answers.model,
        "weights_digest": answers.revision.weights_digest,
        "milliseconds": _milliseconds(answers.spent),
        "refitted": answers.revision.refitted,
        "stale": answers.stale,
    }
    found = answers.found
    if isinstance(found, Estimated):
        estimates = [wire.Estimate(target=tuple(numbers)) for numbers in found.numbers]
        return wire.Estimates(**told, predictions=_with_nearest(estimates, answers.nearest))
    each = zip(found.rows, found.scores, found.margins, found.distances, strict=True)
    return wire.Predictions(**told, predictions=_with_nearest([_prediction(answers.revision, *one) for one in each], answers.nearest))


def _with_nearest(predictions: Sequence[PredictedT], nearest: Sequence[Sequence[NearExample]] | None) -> tuple[PredictedT, ...]:
    """Tell of each prediction which examples are nearest; where they were not asked for the field is not even set."""
    if nearest is None:
        return tuple(predictions)
    pairs = zip(predictions, nearest, strict=True)
    return tuple(prediction.model_copy(update={"nearest": tuple(map(_near_example, examples))}) for prediction, examples in pairs)


def _near_example(example: NearExample) -> wire.NearExample:
    return wire.NearExample.model_validate({"id": example.id, **_known(example.answer), "distance": example.distance})


def _prediction(revision: Revision, rows: Sequence[int], scores: Sequence[float], margin: float, distance: float) -> wire.Prediction:
    top = tuple(wire.LabelScore(label=revision.labels[row], score=score) for row, score in zip(rows, scores, strict=True))
    unfamiliar = None if revision.reach is None else distance > revision.reach
    return wire.Prediction(label=top[0].label, score=top[0].score, margin=margin, unfamiliar=unfamiliar, top=top)


def model_list(catalog: Catalog) -> wire.ModelList:
    """Describe every meta-model of the store."""
    infos = [served_model(each, catalog) for each in catalog.served] + [refused_model(each) for each in catalog.refused]
    return wire.ModelList(models=tuple(sorted(infos, key=lambda info: (info.name, info.version))))


def served_model(served: Served, catalog: Catalog) -> wire.ModelInfo:
    """Describe a meta-model that serves."""
    manifest = served.manifest
    stored = manifest.model_dump(mode="json", include={"input", "recipe", "evaluation", "errors"})
    return wire.ModelInfo(
        name=manifest.name,
        version=manifest.version,
        default=catalog.is_default(served),
        status="serving",
        weights_sha256=manifest.weights.sha256,
        input=stored["input"],
        recipe=stored["recipe"],
        scopes=manifest.scopes,
        steps_default=manifest.recipe.steps_default,
        steps_max=manifest.recipe.steps_max,
        evaluation=tuple(wire.EvaluationRow.model_validate(row) for row in stored["evaluation"]),
        errors=tuple(wire.ErrorRow.model_validate(row) for row in stored["errors"]),
    )


def refused_model(refused: Refused) -> wire.ModelInfo:
    """Describe a meta-model that was refused at start."""
    return wire.ModelInfo(name=refused.name, version=refused.version, default=False, status="refused", reason=refused.reason)


def _milliseconds(spent: Spent) -> wire.Milliseconds:
    return wire.Milliseconds(decode=round(spent.decode, 3), queue=round(spent.queue, 3), compute=round(spent.compute, 3))
