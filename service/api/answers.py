"""From the runtime's values to the wire's."""

from innerloop import wire
from service.runtime.catalog import Catalog, Refused, Served
from service.runtime.runtime import Answers, Spent
from service.sessions.session import Session


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
        expires_at=session.expires_at,
    )


def adapted_session(session: Session, spent: Spent) -> wire.AdaptedSession:
    """Describe a new session, and where its time went."""
    return wire.AdaptedSession(**session_info(session).model_dump(), milliseconds=_milliseconds(spent))


def predictions(answers: Answers, session_id: str | None) -> wire.Predictions:
    """Name the likeliest classes of every query."""
    labels = answers.revision.labels
    ranked = [
        [wire.LabelScore(label=labels[row], score=score) for row, score in zip(rows, scores, strict=True)]
        for rows, scores in zip(answers.ranked.rows, answers.ranked.scores, strict=True)
    ]
    return wire.Predictions(
        session=session_id,
        revision=answers.revision.number,
        model=answers.model,
        weights_digest=answers.revision.weights_digest,
        predictions=tuple(wire.Prediction(label=top[0].label, score=top[0].score, top=tuple(top)) for top in ranked),
        milliseconds=_milliseconds(answers.spent),
    )


def model_list(catalog: Catalog) -> wire.ModelList:
    """Describe every meta-model of the store."""
    infos = [served_model(each, catalog) for each in catalog.served] + [refused_model(each) for each in catalog.refused]
    return wire.ModelList(models=tuple(sorted(infos, key=lambda info: (info.name, info.version))))


def served_model(served: Served, catalog: Catalog) -> wire.ModelInfo:
    """Describe a meta-model that serves."""
    manifest = served.manifest
    stored = manifest.model_dump(mode="json", include={"input", "recipe", "evaluation"})
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
    )


def refused_model(refused: Refused) -> wire.ModelInfo:
    """Describe a meta-model that was refused at start."""
    return wire.ModelInfo(name=refused.name, version=refused.version, default=False, status="refused", reason=refused.reason)


def _milliseconds(spent: Spent) -> wire.Milliseconds:
    return wire.Milliseconds(decode=round(spent.decode, 3), queue=round(spent.queue, 3), compute=round(spent.compute, 3))
