"""Meta-models: what this server can adapt."""

from fastapi import APIRouter

from innerloop import wire
from service.api import answers
from service.api.dependencies import TheRuntime

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
async def list_models(runtime: TheRuntime) -> wire.ModelList:
    """List the meta-models of the store, refused ones too, with the reason."""
    return answers.model_list(runtime.catalog)


@router.get("/{reference}")
async def get_model(reference: str, runtime: TheRuntime) -> wire.ModelInfo:
    """Look at one meta-model, by `name` or `name@version`."""
    return answers.served_model(runtime.catalog.find(reference), runtime.catalog)
