import re

import pytest

from innerloop.cli.statuses import EPILOG, LATER, REFUSED, UNREACHABLE, status_of
from innerloop.errors import (
    ApiError,
    InnerloopError,
    ServerUnreachableError,
    UnexpectedAnswerError,
    UnusableInputError,
    WrongAnswerKindError,
)
from innerloop.wire import Problem
from tests.innerloop.cli.conftest import Command
from tests.innerloop.server import FakeServer, problem

LATERS = {"queue_full", "draining", "store_unavailable", "idempotency_key_busy", "deadline", "device_memory"}


def of_code(kind: type[ApiError]) -> ApiError:
    return kind(Problem(type="t", title="t", status=400, detail="no", code=kind.code, trace_id="t"))


@pytest.mark.parametrize("kind", ApiError.__subclasses__())
def test_only_what_passes_is_worth_another_try(kind: type[ApiError]) -> None:
    assert status_of(of_code(kind)) == (LATER if kind.code in LATERS else REFUSED)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnusableInputError("no file"), REFUSED),
        (WrongAnswerKindError("use estimate()"), REFUSED),
        (ServerUnreachableError("no"), UNREACHABLE),
        (UnexpectedAnswerError("a page"), UNREACHABLE),
    ],
)
def test_no_server_is_told_from_a_refusal(error: InnerloopError, status: int) -> None:
    assert status_of(error) == status


def test_a_command_ends_with_the_status_of_its_error(command: Command, server: FakeServer, url: str) -> None:
    server.refusal = problem("queue_full", status=429)
    server.refusal.headers["Retry-After"] = "1000"  # longer than the client waits
    assert command("sessions", "--url", url).exit_code == LATER


def test_help_says_every_status(command: Command) -> None:
    shown = " ".join(command("--help").stdout.split())
    assert EPILOG in shown
    assert set(re.findall(r"(\d) ", EPILOG)) == {"0", str(REFUSED), "2", str(UNREACHABLE), str(LATER)}
