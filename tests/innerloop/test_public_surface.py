import subprocess
import sys

import pytest

import innerloop
from innerloop import errors

PUBLIC = [
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


def test_the_public_names_are_these() -> None:
    assert innerloop.__all__ == PUBLIC == sorted(PUBLIC)
    assert all(hasattr(innerloop, name) for name in PUBLIC if name != "__version__")


def test_every_error_is_public() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, errors.InnerloopError)}
    assert raised <= set(innerloop.__all__)
    assert raised <= set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        innerloop.Klient  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_client_imports_no_heavy_library() -> None:
    heavy = "{'torch', 'numpy', 'PIL', 'pandas', 'sklearn', 'fastapi', 'service'}"
    program = f"import sys, innerloop, innerloop.cli.main; assert not {heavy} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
