"""Every error the client raises on purpose; each server `code` has exactly one class.

InnerloopError
├── UnusableInputError           (raised here) an image, array or folder that cannot be sent
├── ServerUnreachableError       no answer: refused, timed out, broken off
├── UnexpectedAnswerError        an answer that is not ours
├── WrongAnswerKindError         (raised here) labels were asked for where numbers are predicted, or the other way round
└── ApiError                     the server said no, with a problem document
    ├── InvalidRequestError, UnusableSupportError, NotAnImageError, BrokenImageError, BlankImageError,
    │   BrokenArchiveError, UnusableVectorError, WrongInputKindError, StepsOutOfRangeError, ScopeNotOfferedError,
    │   AdaptationDivergedError, UnusableExportError, TooLargeError, UnsupportedMediaTypeError     mend what you send
    ├── ModelNotFoundError, SessionNotFoundError, RouteNotFoundError, MethodNotAllowedError     mend where you send it
    ├── RevisionNotFoundError, RevisionGoneError, RevisionChangedError, ExampleNotFoundError     look at the session again
    ├── SessionGoneError, SessionDamagedError, ModelChangedError, SupportNotKeptError     adapt again
    ├── IdempotencyKeyBusyError, IdempotencyKeyReusedError     wait for the first request, or use another key
    ├── QueueFullError, DrainingError, DeadlineError, DeviceMemoryError, StoreUnavailableError     try again later, or ask for less
    └── ModelRefusedError, StoreFullError, ExportUnavailableError, InternalServerError  tell the operator
"""

from typing import ClassVar

from innerloop.wire import Problem


class InnerloopError(Exception):
    """Base of everything this package raises on purpose."""


class UnusableInputError(InnerloopError):
    """The input cannot be sent: a missing file, an empty folder, an array of the wrong shape."""


class ServerUnreachableError(InnerloopError):
    """No answer came from the server; `passing` is whether it may come later, and false for an address that is none."""

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


class UnexpectedAnswerError(InnerloopError):
    """The answer is not one of ours; the address may belong to something else. `status` is that of HTTP, if there is one."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class WrongAnswerKindError(InnerloopError):
    """`predict` was asked of what predicts numbers, or `estimate` of what predicts labels."""


class ApiError(InnerloopError):
    """The server refused, and said why."""

    code: ClassVar[str]

    def __init__(self, problem: Problem, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(ApiError):
    """The request does not have the documented shape."""

    code = "invalid_request"


class UnusableSupportError(ApiError):
    """The support set cannot make a classifier."""

    code = "unusable_support"


class NotAnImageError(ApiError):
    """The bytes are no image format the server takes."""

    code = "not_an_image"


class BrokenImageError(ApiError):
    """The image ends early, or has no bytes at all."""

    code = "broken_image"


class BlankImageError(ApiError):
    """The drawing has no ink."""

    code = "blank_image"


class BrokenArchiveError(ApiError):
    """The zip cannot be read, or holds something other than folders of images."""

    code = "broken_archive"


class UnusableVectorError(ApiError):
    """The vector has the wrong length, or holds NaN or infinity."""

    code = "unusable_vector"


class UnusableExportError(ApiError):
    """The file is no exported session, or was changed since it was exported."""

    code = "unusable_export"


class WrongInputKindError(ApiError):
    """The meta-model takes another kind of input."""

    code = "wrong_input_kind"


class StepsOutOfRangeError(ApiError):
    """The meta-model was not validated for that many inner steps."""

    code = "steps_out_of_range"


class ScopeNotOfferedError(ApiError):
    """The meta-model has no evaluation row for that scope."""

    code = "scope_not_offered"


class AdaptationDivergedError(ApiError):
    """The support loss became NaN or infinite; no session was made."""

    code = "adaptation_diverged"


class TooLargeError(ApiError):
    """A body, an image or a count is over the server's limit."""

    code = "too_large"


class UnsupportedMediaTypeError(ApiError):
    """The server has no decoder for that content type."""

    code = "unsupported_media_type"


class ModelNotFoundError(ApiError):
    """No such meta-model or version."""

    code = "model_not_found"


class ModelRefusedError(ApiError):
    """The meta-model is in the store but damaged, so it is not served."""

    code = "model_refused"


class SessionNotFoundError(ApiError):
    """The session never existed, or belongs to someone else."""

    code = "session_not_found"


class SessionGoneError(ApiError):
    """The session has expired, or was deleted or evicted."""

    code = "session_gone"


class SessionDamagedError(ApiError):
    """The session's weights or record are damaged, and nothing is kept to make them anew; adapt again."""

    code = "session_damaged"


class RevisionNotFoundError(ApiError):
    """The session has no revision of that number yet."""

    code = "revision_not_found"


class RevisionGoneError(ApiError):
    """The revision is no longer kept; newer ones are."""

    code = "revision_gone"


class RevisionChangedError(ApiError):
    """The session has another newest revision than the one expected."""

    code = "revision_changed"


class SupportNotKeptError(ApiError):
    """The support set is not kept, so the session can neither grow nor shrink nor name nearest examples; or an older revision should."""

    code = "support_not_kept"


class ExampleNotFoundError(ApiError):
    """The support set has no example of that id."""

    code = "example_not_found"


class IdempotencyKeyBusyError(ApiError):
    """The first request with this key is still running."""

    code = "idempotency_key_busy"


class IdempotencyKeyReusedError(ApiError):
    """The key came with another request before."""

    code = "idempotency_key_reused"


class StoreFullError(ApiError):
    """The server's session store has no room left."""

    code = "store_full"


class StoreUnavailableError(ApiError):
    """The server's session store cannot be reached; `retry_after_seconds` says when to try again."""

    code = "store_unavailable"


class ModelChangedError(ApiError):
    """The meta-model under that name has other weights than the session was adapted from."""

    code = "model_changed"


class QueueFullError(ApiError):
    """Too many items are waiting; `retry_after_seconds` says when to try again."""

    code = "queue_full"


class DrainingError(ApiError):
    """The server is stopping; try another replica or later."""

    code = "draining"


class DeadlineError(ApiError):
    """The time that `Request-Timeout-Ms` gave is over; nothing was computed."""

    code = "deadline"


class DeviceMemoryError(ApiError):
    """The request alone needs more memory than the server's device has; send less at once."""

    code = "device_memory"


class ExportUnavailableError(ApiError):
    """The server cannot write that file format: a package is missing or fails."""

    code = "export_unavailable"


class RouteNotFoundError(ApiError):
    """The server has no such address."""

    code = "route_not_found"


class MethodNotAllowedError(ApiError):
    """The address does not take that method."""

    code = "method_not_allowed"


class InternalServerError(ApiError):
    """Something broke on the server; its log has the trace id."""

    code = "internal_error"
