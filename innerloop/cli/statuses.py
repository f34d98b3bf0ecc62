"""The exit statuses of the command line."""

from innerloop.errors import DeadlineError, DeviceMemoryError, InnerloopError, ServerUnreachableError, UnexpectedAnswerError
from innerloop.retries import PASSING

REFUSED = 1
UNREACHABLE = 3  # 2 is wrong usage, which the parser ends with
LATER = 4

EPILOG = (
    "Exit status: 0 done; 1 refused, or something is broken; 2 wrong usage; 3 no Innerloop server answers there; "
    "4 the server cannot do it now, try again later."
)

_LATER = (*PASSING, DeadlineError, DeviceMemoryError)


def status_of(error: InnerloopError) -> int:
    """The status that tells a script what to do about the error."""
    if isinstance(error, (ServerUnreachableError, UnexpectedAnswerError)):
        return UNREACHABLE
    return LATER if isinstance(error, _LATER) else REFUSED
