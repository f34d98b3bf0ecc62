"""A server of canned answers, for the client's transport seam; it speaks the wire types, so it cannot drift from them."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx2

from innerloop.wire import (
    AdaptedSession,
    CreateSession,
    Deleted,
    EvaluationRow,
    ExampleInfo,
    ExampleList,
    GrowSession,
    LabelScore,
    Limits,
    Milliseconds,
    ModelInfo,
    ModelList,
    NearExample,
    OneCallRequest,
    Prediction,
    Predictions,
    PredictRequest,
    Query,
    ServerInfo,
    SessionChange,
    SessionInfo,
    SessionList,
    Wire,
)

EXPIRES = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)
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
    store="memory",
    default_model="omniglot@1",
    limits=Limits(body_bytes=2**26, image_pixels=1, examples=10_000, queries=10_000, classes=1_000, ttl_seconds=1.0),
)


def problem(code: str, *, status: int = 422, detail: str = "no", field: str | None = None) -> httpx2.Response:
    body = {"type": f"urn:{code}", "title": code, "status": status, "detail": detail, "code": code, "trace_id": "t1", "field": field}
    return httpx2.Response(status, json=body, headers={"Content-Type": "application/problem+json"})


def answer(value: Wire, status: int = 200, *, exclude_unset: bool = False) -> httpx2.Response:
    return httpx2.Response(status, json=value.model_dump(mode="json", exclude_unset=exclude_unset))


class FakeServer:
    """Keeps sessions in a dict, answers every query with the session's first label, and remembers its requests."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self.sessions: dict[str, SessionInfo] = {}
        self.support: dict[str, list[ExampleInfo]] = {}
        self.made = 0
        self.refusal: httpx2.Response | None = None
        self.refusals: dict[tuple[str, str], httpx2.Response] = {}  # by method and path
        self.page_size = 2
        self.unfamiliar = False

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.handle)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the last request."""
        return dict(json.loads(self.requests[-1].content))

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query string of the last request."""
        return self.requests[-1].url.params.multi_items()

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return self.refusal or self.refusals.get((request.method, request.url.path)) or self._route(request)

    def _route(self, request: httpx2.Request) -> httpx2.Response:
        """One session's calls by method and what comes after its id; all others by method and path."""
        path = request.url.path
        whole = _WHOLE.get((request.method, path))
        if whole is not None:
            return whole(self, request)
        _, session_id, below = (*path.removeprefix("/v1/").split("/", 2), "", "")[:3]
        info = self.sessions.get(session_id)
        if info is None:
            return problem("session_not_found", status=404, detail=f"no session {session_id}")
        return _OF_ONE[request.method, below](self, request, info)

    def _new_id(self) -> str:
        self.made += 1
        return f"ses_{self.made - 1}"

    def _create(self, request: httpx2.Request) -> httpx2.Response:
        wanted = CreateSession.model_validate_json(request.content)
        source = self.sessions.get(wanted.from_session or "")
        before = self.support[source.session] if source else []
        info = described(
            session=self._new_id(),
            name=wanted.name,
            model=source.model if source else f"{wanted.model or 'omniglot'}@1",
            scope=wanted.scope or "head",
            steps=5 if wanted.steps is None else wanted.steps,
            keeps_support=wanted.keep_support,
        )
        return self._fitted(info, before, [example.label or "" for example in wanted.support], status=201)

    def _fitted(self, info: SessionInfo, before: list[ExampleInfo], labels: Sequence[str] = (), *, status: int = 200) -> httpx2.Response:
        added = [ExampleInfo(id=n, label=label) for n, label in enumerate(labels, max((one.id for one in before), default=0) + 1)]
        shots = Counter(example.label for example in [*before, *added])
        fitted = info.model_copy(update={"labels": tuple(sorted(shots)), "shots": dict(shots)})
        self.sessions[info.session], self.support[info.session] = fitted, [*before, *added]
        return answer(AdaptedSession(**fitted.model_dump(), added=tuple(one.id for one in added), milliseconds=SPENT), status)

    def _list(self, request: httpx2.Request) -> httpx2.Response:
        found = self._wanted(request)
        start = int(request.url.params.get("after", "0"))
        stop = start + self.page_size
        return answer(SessionList(sessions=tuple(found[start:stop]), next=str(stop) if stop < len(found) else None))

    def _delete_all(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.params.get("confirm") != "true":
            return problem("invalid_request", detail="say confirm=true to do it", field="confirm")
        found = self._wanted(request)
        for info in found:
            del self.sessions[info.session]
        return answer(Deleted(deleted=len(found)))

    def _wanted(self, request: httpx2.Request) -> list[SessionInfo]:
        """Those that the query string means, by name alone."""
        name = request.url.params.get("name")
        return [info for info in self.sessions.values() if name in (None, info.name)]

    def _once(self, request: httpx2.Request) -> httpx2.Response:
        wanted = OneCallRequest.model_validate_json(request.content)
        return _predictions(wanted.queries, labels=(wanted.support[0].label or "",), session=None, unfamiliar=self.unfamiliar)

    def _import(self, request: httpx2.Request) -> httpx2.Response:
        info = described(session=self._new_id(), name=request.url.params.get("name"), keeps_support=False)
        return self._fitted(info.model_copy(update={"weights_digest": request.content.decode()}), [], status=201)

    def _look(self, _request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        return answer(info)

    def _change(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        change = SessionChange.model_validate_json(request.content)
        update = change.model_dump(include={"name", "pinned"}, exclude_none=True)
        pinned = info.pinned if change.pinned is None else change.pinned
        self.sessions[info.session] = info.model_copy(update={**update, "expires_at": None if pinned else EXPIRES})
        return answer(self.sessions[info.session])

    def _delete(self, _request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        del self.sessions[info.session]
        return httpx2.Response(204)

    def _examples(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        after = int(request.url.params.get("after", "0"))
        found = [example for example in self.support[info.session] if example.id > after]
        page, more = tuple(found[: self.page_size]), len(found) > self.page_size
        return answer(ExampleList(session=info.session, revision=info.revision, examples=page, next=page[-1].id if more else None))

    def _add(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        labels = [example.label or "" for example in GrowSession.model_validate_json(request.content).support]
        return self._changed_meanwhile(request, info) or self._fitted(_next(info), self.support[info.session], labels)

    def _remove(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        ids = {int(one) for one in request.url.params.get_list("id")}
        kept = [example for example in self.support[info.session] if example.id not in ids]
        if len(kept) + len(ids) > len(self.support[info.session]):
            return problem("example_not_found", status=404, detail="no such example", field="id")
        return self._changed_meanwhile(request, info) or self._fitted(_next(info), kept)

    def _changed_meanwhile(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response | None:
        if not info.keeps_support:
            return _not_kept()
        if request.headers.get("If-Match", f'"{info.revision}"') != f'"{info.revision}"':
            return problem("revision_changed", status=412, detail=f"the newest revision is {info.revision}")
        return None

    def _weights(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        asked = request.url.params
        content = f"{asked['format']} of {info.session}@{asked.get('revision', info.revision)}".encode()
        return httpx2.Response(200, content=content, headers={"Content-Type": "application/octet-stream"})

    def _predict(self, request: httpx2.Request, info: SessionInfo) -> httpx2.Response:
        wanted = PredictRequest.model_validate_json(request.content)
        revision = wanted.revision or info.revision
        if wanted.nearest and not info.keeps_support:
            return _not_kept()
        near = [NearExample(**one.model_dump(exclude_unset=True), distance=one.id / 8) for one in self.support[info.session]]
        return _predictions(
            wanted.queries,
            labels=info.labels[: wanted.top_k],
            session=info.session,
            revision=revision,
            unfamiliar=self.unfamiliar,
            nearest=near[: wanted.nearest],
        )


_WHOLE: Mapping[tuple[str, str], Callable[[FakeServer, httpx2.Request], httpx2.Response]] = {
    ("POST", "/v1/sessions"): FakeServer._create,
    ("GET", "/v1/sessions"): FakeServer._list,
    ("DELETE", "/v1/sessions"): FakeServer._delete_all,
    ("POST", "/v1/sessions/import"): FakeServer._import,
    ("POST", "/v1/predict"): FakeServer._once,
    ("GET", "/v1/models"): lambda *_: answer(ModelList(models=(OMNIGLOT,))),
    ("GET", "/v1/models/omniglot@1"): lambda *_: answer(OMNIGLOT),
    ("GET", "/v1/info"): lambda *_: answer(INFO),
}

_OF_ONE: Mapping[tuple[str, str], Callable[[FakeServer, httpx2.Request, SessionInfo], httpx2.Response]] = {
    ("GET", ""): FakeServer._look,
    ("PATCH", ""): FakeServer._change,
    ("DELETE", ""): FakeServer._delete,
    ("GET", "examples"): FakeServer._examples,
    ("POST", "examples"): FakeServer._add,
    ("DELETE", "examples"): FakeServer._remove,
    ("GET", "weights"): FakeServer._weights,
    ("POST", "predict"): FakeServer._predict,
}


def described(
    *, session: str, name: str | None, model: str = "omniglot@1", scope: str = "head", steps: int = 5, keeps_support: bool = True
) -> SessionInfo:
    return SessionInfo(
        session=session,
        name=name,
        model=model,
        revision=1,
        weights_digest="0" * 64,
        labels=(),
        shots={},
        scope=scope,
        steps=steps,
        losses=(0.69314, 0.25),
        leave_one_out_accuracy=0.9,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        expires_at=EXPIRES,
        keeps_support=keeps_support,
    )


def _not_kept() -> httpx2.Response:
    return problem("support_not_kept", status=409, detail="the support set is not kept")


def _next(info: SessionInfo) -> SessionInfo:
    return info.model_copy(update={"revision": info.revision + 1, "refitted": False})


def _predictions(
    queries: tuple[Query, ...],
    *,
    labels: tuple[str, ...],
    session: str | None,
    unfamiliar: bool,
    revision: int = 1,
    nearest: Sequence[NearExample] = (),
) -> httpx2.Response:
    top = tuple(LabelScore(label=label, score=0.9 if n == 0 else 0.1) for n, label in enumerate(labels))
    told = {"nearest": tuple(nearest)} if nearest else {}
    best = Prediction(label=labels[0], score=0.9, margin=0.8, unfamiliar=unfamiliar, top=top, **told)
    return answer(
        Predictions(
            session=session,
            revision=revision,
            model="omniglot@1",
            weights_digest="0" * 64,
            predictions=(best,) * len(queries),
            milliseconds=SPENT,
        ),
        exclude_unset=True,
    )
