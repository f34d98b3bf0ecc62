"""A server of canned answers, for the client's transport seam; it speaks the wire types, so it cannot drift from them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx2

from innerloop.wire import (
    AdaptedSession,
    CreateSession,
    EvaluationRow,
    LabelScore,
    Limits,
    Milliseconds,
    ModelInfo,
    ModelList,
    OneCallRequest,
    Prediction,
    Predictions,
    PredictRequest,
    Query,
    ServerInfo,
    SessionInfo,
    SessionList,
    Wire,
)

SPENT = Milliseconds(decode=1.0, queue=0.5, compute=12.25)
OMNIGLOT = ModelInfo(
    name="omniglot",
    version=1,
    default=True,
    status="serving",
    scopes=("head",),
    evaluation=(
        EvaluationRow(data="x", way=5, shot=1, scope="head", steps=5, accuracy=0.97, ci95=0.01, episodes=1000, queries_per_class=1),
    ),
)
INFO = ServerInfo(
    version="0.1.0",
    device="cpu",
    default_model="omniglot@1",
    limits=Limits(body_bytes=1, image_pixels=1, examples=1, queries=1, classes=1, ttl_seconds=1.0),
)


def problem(code: str, *, status: int = 422, detail: str = "no", field: str | None = None) -> httpx2.Response:
    body = {"type": f"urn:{code}", "title": code, "status": status, "detail": detail, "code": code, "trace_id": "t1", "field": field}
    return httpx2.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def answer(value: Wire, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=value.model_dump(mode="json"))


class FakeServer:
    """Keeps sessions in a dict, answers every query with the session's first label, and remembers its requests."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.sessions: dict[str, SessionInfo] = {}
        self.refusal: httpx2.Response | None = None
        self.page_size = 2

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.handle)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the last request."""
        return dict(json.loads(self.requests[-1].content))

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.refusal or self._route(request)

    def _route(self, request: httpx2.Request) -> httpx2.Response:
        routes: Mapping[tuple[str, str], Callable[[], httpx2.Response]] = {
            ("POST", "/v1/sessions"): partial(self._create, request),
            ("GET", "/v1/sessions"): partial(self._list, request),
            ("POST", "/v1/predict"): partial(self._once, request),
            ("GET", "/v1/models"): lambda: answer(ModelList(models=(OMNIGLOT,))),
            ("GET", "/v1/models/omniglot@1"): lambda: answer(OMNIGLOT),
            ("GET", "/v1/info"): lambda: answer(INFO),
        }
        known = routes.get((request.method, request.url.path))
        return known() if known else self._one(request)

    def _create(self, request: httpx2.Request) -> httpx2.Response:
        wanted = CreateSession.model_validate_json(request.content)
        labels = [example.label for example in wanted.support]
        info = AdaptedSession(
            session=f"ses_{len(self.sessions)}",
            name=wanted.name,
            model=f"{wanted.model or 'omniglot'}@1",
            revision=1,
            weights_digest="0" * 64,
            labels=tuple(sorted(set(labels))),
            shots={label: labels.count(label) for label in labels},
            scope=wanted.scope or "head",
            steps=5 if wanted.steps is None else wanted.steps,
            losses=(0.69314, 0.25),
            leave_one_out_accuracy=0.9,
            created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            expires_at=datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC),
            milliseconds=SPENT,
        )
        self.sessions[info.session] = SessionInfo(**info.model_dump(exclude={"milliseconds"}))
        return answer(info, 201)

    def _list(self, request: httpx2.Request) -> httpx2.Response:
        start = int(request.url.params.get("after", "0"))
        stop = start + self.page_size
        page = tuple(self.sessions.values())[start:stop]
        return answer(SessionList(sessions=page, next=str(stop) if stop < len(self.sessions) else None))

    def _once(self, request: httpx2.Request) -> httpx2.Response:
        wanted = OneCallRequest.model_validate_json(request.content)
        return _predictions(wanted.queries, labels=(wanted.support[0].label,), session=None)

    def _one(self, request: httpx2.Request) -> httpx2.Response:
        session = request.url.path.split("/")[3] if request.url.path.startswith("/v1/sessions/") else ""
        info = self.sessions.get(session)
        if info is None:
            return problem("session_not_found", status=404, detail=f"no session {session}")
        if request.method == "DELETE":
            del self.sessions[session]
            return httpx2.Response(204)
        if request.method == "GET":
            return answer(info)
        return _predictions(PredictRequest.model_validate_json(request.content).queries, labels=info.labels, session=session)


def _predictions(queries: tuple[Query, ...], *, labels: tuple[str, ...], session: str | None) -> httpx2.Response:
    top = tuple(LabelScore(label=label, score=0.9 if n == 0 else 0.1) for n, label in enumerate(labels))
    best = Prediction(label=labels[0], score=0.9, top=top)
    return answer(
        Predictions(
            session=session,
            revision=1,
            model="omniglot@1",
            weights_digest="0" * 64,
            predictions=(best,) * len(queries),
            milliseconds=SPENT,
        )
    )
