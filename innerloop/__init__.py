"""Innerloop: adapt a meta-learned model to a handful of labelled examples, then predict.

>>> from innerloop import Client
>>> with Client() as client:
...     session = client.adapt("omniglot", "examples/characters/support")
...     session.predict(["examples/characters/queries/kite-1.png"]).predictions[0].label
'kite'
"""

from typing import TYPE_CHECKING

from innerloop.async_client import AsyncClient, AsyncSession
from innerloop.client import Client, Session
from innerloop.errors import (
    AdaptationDivergedError,
    ApiError,
    BlankImageError,
    BrokenArchiveError,
    BrokenImageError,
    DeadlineError,
    DeviceMemoryError,
    DrainingError,
    ExampleNotFoundError,
    ExportUnavailableError,
    IdempotencyKeyBusyError,
    IdempotencyKeyReusedError,
    InnerloopError,
    InternalServerError,
    InvalidRequestError,
    MethodNotAllowedError,
    ModelChangedError,
    ModelNotFoundError,
    ModelRefusedError,
    NotAnImageError,
    QueueFullError,
    RevisionChangedError,
    RevisionGoneError,
    RevisionNotFoundError,
    RouteNotFoundError,
    ScopeNotOfferedError,
    ServerUnreachableError,
    SessionDamagedError,
    SessionGoneError,
    SessionNotFoundError,
    StepsOutOfRangeError,
    StoreFullError,
    StoreUnavailableError,
    SupportNotKeptError,
    TooLargeError,
    UnexpectedAnswerError,
    UnsupportedMediaTypeError,
    UnusableExportError,
    UnusableInputError,
    UnusableSupportError,
    UnusableVectorError,
    WrongAnswerKindError,
    WrongInputKindError,
)
from innerloop.retries import Retries

__all__ = [
    "AdaptationDivergedError",
    "ApiError",
    "AsyncClient",
    "AsyncSession",
    "BlankImageError",
    "BrokenArchiveError",
    "BrokenImageError",
    "Client",
    "DeadlineError",
    "DeviceMemoryError",
    "DrainingError",
    "ExampleNotFoundError",
    "ExportUnavailableError",
    "IdempotencyKeyBusyError",
    "IdempotencyKeyReusedError",
    "InnerloopError",
    "InternalServerError",
    "InvalidRequestError",
    "MethodNotAllowedError",
    "ModelChangedError",
    "ModelNotFoundError",
    "ModelRefusedError",
    "NotAnImageError",
    "QueueFullError",
    "Retries",
    "RevisionChangedError",
    "RevisionGoneError",
    "RevisionNotFoundError",
    "RouteNotFoundError",
    "ScopeNotOfferedError",
    "ServerUnreachableError",
    "Session",
    "SessionDamagedError",
    "SessionGoneError",
    "SessionNotFoundError",
    "StepsOutOfRangeError",
    "StoreFullError",
    "StoreUnavailableError",
    "SupportNotKeptError",
    "TooLargeError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
    "UnusableExportError",
    "UnusableInputError",
    "UnusableSupportError",
    "UnusableVectorError",
    "WrongAnswerKindError",
    "WrongInputKindError",
    "__version__",
]

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__`, read from the installed package when first asked for: importing opens no file."""
        if name != "__version__":
            raise AttributeError(f"module 'innerloop' has no attribute {name!r}")
        from importlib.metadata import version

        return version("innerloop")
