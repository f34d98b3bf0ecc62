"""Predictions: with a session, or adapting and answering in one call."""

from fastapi import APIRouter, Request

from innerloop import wire
from service.api import answers
from service.api.dependencies import call_of
from service.api.documentation import ONE_CALL, PREDICT
from service.errors import InvalidRequestError
from service.runtime.lifecycle import AdaptOptions

router = APIRouter(tags=["predictions"])


# Fields that were not set, because they were not asked for, are left out.
@router.post("/v1/sessions/{session_id}/predict", openapi_extra=PREDICT, response_model_exclude_unset=True)
async def predict(session_id: str, request: Request) -> wire.Predictions | wire.Estimates:
    """Classify queries with a session's adapted weights, or predict their numbers, in the order they were sent."""
    call = await call_of(request)
    body = await call.body()
    if body.support:
        name = body.support[0].raw.name
        raise InvalidRequestError(
            f"{name}: expected queries only, in a zip images at its top or in a folder `queries`; "
            "a session's support set was given when it was made",
            field=name,
        )
    wanted = body.read(wire.PredictOptions)
    found = await call.runtime.predict(
        call.caller, session_id, body.queries, top=wanted.top_k, nearest=wanted.nearest, revision=wanted.revision
    )
    return answers.predictions(found, session_id)


@router.post("/v1/predict", openapi_extra=ONE_CALL, response_model_exclude_unset=True)
async def predict_once(request: Request) -> wire.Predictions | wire.Estimates:
    """Adapt to a support set, classify queries or predict their numbers, and keep nothing."""
    call = await call_of(request)
    body = await call.body()
    wanted = body.read(wire.OneCallOptions)
    options = AdaptOptions(wanted.model, wanted.steps, wanted.scope)
    found = await call.runtime.predict_once(call.caller, body.support, body.queries, options, top=wanted.top_k)
    return answers.predictions(found, None)
