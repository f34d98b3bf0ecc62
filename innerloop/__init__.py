"""Innerloop: adapt a meta-learned model to a handful of labelled examples, then predict.

>>> from innerloop import Client
>>> with Client() as client:
...     session = client.adapt("omniglot", {"alpha": ["a1.png"], "beta": ["b1.png"]})
...     session.predict(["new.png"]).predictions[0].label
'alpha'
"""

from typing import TYPE_CHECKING

from innerloop.client import AsyncClient, AsyncSession, Client, Session
from innerloop.errors import (
    AdaptationDivergedError,
    ApiError,
    BlankImageError,
    BrokenArchiveError,
    BrokenImageError,
    DeadlineError,
    DeviceMemoryError,
    DrainingError,
    InnerloopError,
    InternalServerError,
    InvalidRequestError,
    MethodNotAllowedError,
    ModelChangedError,
    ModelNotFoundError,
    ModelRefusedError,
    NotAnImageError,
    QueueFullError,
    RouteNotFoundError,
    ScopeNotOfferedError,
    ServerUnreachableError,
    SessionGoneError,
    SessionNotFoundError,
    StepsOutOfRangeError,
    TooLargeError,
    UnexpectedAnswerError,
    UnsupportedMediaTypeError,
    UnusableInputError,
    UnusableSupportError,
    UnusableVectorError,
    WrongInputKindError,
)

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
    "InnerloopError",
    "InternalServerError",
    "InvalidRequestError",
    "MethodNotAllowedError",
    "ModelChangedError",
    "ModelNotFoundError",
    "ModelRefusedError",
    "NotAnImageError",
    "QueueFullError",
    "RouteNotFoundError",
    "ScopeNotOfferedError",
    "ServerUnreachableError",
    "Session",
    "SessionGoneError",
    "SessionNotFoundError",
    "StepsOutOfRangeError",
    "TooLargeError",
    "UnexpectedAnswerError",
    "UnsupportedMediaTypeError",
    "UnusableInputError",
    "UnusableSupportError",
    "UnusableVectorError",
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
