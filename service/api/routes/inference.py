"""The Open Inference Protocol, version 2: an adapted session, or a meta-model with a support set, is a model to its clients."""

from collections.abc import Mapping
from importlib.metadata import version as installed
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from service.api.bodies import FILE, read_content
from service.api.dependencies import Call, Tenant, TheRuntime, call_of
from service.api.documentation import INFER, PROTOCOL_ERROR
from service.api.inference import answers_input, described, outputs, refuse_others, single_inputs, the_answers, the_inputs
from service.api.routes.health import readyz
from service.api.tensors import Tensor, read_inference, write_inference
from service.errors import UnsupportedMediaTypeError, UnusableSupportError
from service.runtime.caller import Caller
from service.runtime.lifecycle import AdaptOptions
from service.runtime.runtime import Answers, Runtime
from service.runtime.support_set import Labelled
from service.sessions.session import Session
from service.sessions.store import REVISIONS_KEPT

router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses={"default": PROTOCOL_ERROR})

SESSION = "ses_"


@router.get("")
async def server_metadata() -> dict[str, Any]:
    """Name the server, and the extensions of the protocol that it has."""
    return {"name": "innerloop", "version": installed("innerloop"), "extensions": ["binary_tensor_data"]}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Say that the process answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request, runtime: TheRuntime) -> dict[str, bool]:
    """Say whether requests are welcome, as /readyz does."""
    await readyz(request, runtime)
    return {"ready": True}


@router.get("/models/{name}")
async def model_metadata(name: str, tenant: Tenant, runtime: TheRuntime) -> dict[str, Any]:
    """Describe a session by its id, or a meta-model by its name: what goes in and what comes out."""
    return await _metadata(runtime, tenant, name, None)


@router.get("/models/{name}/versions/{version}")
async def version_metadata(name: str, version: int, tenant: Tenant, runtime: TheRuntime) -> dict[str, Any]:
    """Describe one revision of a session, or one version of a meta-model."""
    return await _metadata(runtime, tenant, name, version)


@router.get("/models/{name}/ready")
async def model_ready(name: str, tenant: Tenant, runtime: TheRuntime) -> dict[str, Any]:
    """Say whether a session or a meta-model can be asked; an error says why it cannot."""
    await _metadata(runtime, tenant, name, None)
    return {"name": name, "ready": True}


@router.get("/models/{name}/versions/{version}/ready")
async def version_ready(name: str, version: int, tenant: Tenant, runtime: TheRuntime) -> dict[str, Any]:
    """Say whether one revision of a session, or one version of a meta-model, can be asked; an error says why it cannot."""
    await _metadata(runtime, tenant, name, version)
    return {"name": name, "ready": True}


HeaderLength = Annotated[
    int | None, Header(alias="Inference-Header-Content-Length", ge=0, description="bytes of JSON before binary tensors")
]


@router.post("/models/{name}/infer", **INFER)
async def infer(name: str, request: Request, header_length: HeaderLength = None) -> Response:
    """Classify `images` or `vectors` with a session; with a meta-model after adapting to `support_images` and `support_labels`."""
    call = await call_of(request)
    return await _infer(call, (name, None), header_length)


@router.post("/models/{name}/versions/{version}/infer", **INFER)
async def infer_version(name: str, version: int, request: Request, header_length: HeaderLength = None) -> Response:
    """Classify with one revision of a session, or with one version of a meta-model."""
    call = await call_of(request)
    return await _infer(call, (name, version), header_length)


async def _metadata(runtime: Runtime, tenant: str, name: str, version: int | None) -> dict[str, Any]:
    if not name.startswith(SESSION):
        served = runtime.catalog.find(_reference(name, version))
        own = [each.manifest.version for each in runtime.catalog.served if each.manifest.name == served.manifest.name]
        return described(name, own, served, ("support_{}", answers_input(served), "{}"), way=-1, length=None)
    session = await _session(runtime, tenant, name, version)
    newest = session.revision.number
    kept = range(max(1, newest - REVISIONS_KEPT + 1), newest + 1) if version is None else [version]
    labels, length = session.revision.labels, session.revision.length
    return {**described(name, kept, runtime.sessions.served(session), ("{}",), way=len(labels), length=length), "labels": labels}


async def _session(runtime: Runtime, tenant: str, name: str, revision: int | None) -> Session:
    return await (runtime.store.get(tenant, name) if revision is None else runtime.store.at(tenant, name, revision))


def _reference(name: str, version: int | None) -> str:
    return name if version is None else f"{name}@{version}"


async def _infer(call: Call, model: tuple[str, int | None], header_length: int | None) -> Response:
    if call.request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaTypeError("expected a body without Content-Encoding; send it uncompressed")
    asked = read_inference(await read_content(call.request, call.runtime.fitter.limits), header_length)
    found = await _answers(call.runtime, call.caller, model, asked.inputs)
    name, _ = model
    answered = str(found.revision.number) if name.startswith(SESSION) else found.model.partition("@")[2]
    head = {"model_name": name, "model_version": answered, **({} if asked.id is None else {"id": asked.id})}
    content, length = write_inference(head, outputs(found), asked)
    if length is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type=FILE, headers={"Inference-Header-Content-Length": str(length)})


async def _answers(runtime: Runtime, caller: Caller, model: tuple[str, int | None], inputs: Mapping[str, Tensor]) -> Answers:
    """Ask for every class, since probabilities are given of all of them."""
    (name, version), most = model, runtime.fitter.limits.classes
    if name.startswith(SESSION):
        queries = await run_in_threadpool(single_inputs, the_inputs(inputs, ""))
        refuse_others(inputs, "a session", ("images", "vectors"))
        return await runtime.predict(caller, name, queries, top=most, revision=version)
    served = runtime.catalog.find(_reference(name, version))
    support, known, told = the_inputs(inputs, "support_"), the_answers(inputs, served), answers_input(served)
    refuse_others(inputs, "a meta-model", ("images", "vectors", "support_images", "support_vectors", told))
    examples = await run_in_threadpool(single_inputs, support)
    if len(examples) != len(known):
        raise UnusableSupportError(f"expected one of {told} for each of {len(examples)} examples, got {len(known)}", field=told)
    queries = await run_in_threadpool(single_inputs, the_inputs(inputs, ""))
    labelled = [Labelled(answer, raw) for answer, raw in zip(known, examples, strict=True)]
    return await runtime.predict_once(caller, labelled, queries, AdaptOptions(served.reference), top=most)
