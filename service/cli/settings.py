"""The settings of a command: its options over the environment."""

from typing import Any

from pydantic import ValidationError

from service.config import Settings
from service.errors import BadConfigError

# A pattern is for pydantic; what came is not repeated: a Redis URL may hold a password.
_EXPECTED = {
    "store": "expected sqlite, memory or a Redis URL: redis://…, rediss://… or unix://…",
    "device": "expected auto, cpu or cuda:N",
}


def settings_of(**given: Any) -> Settings:
    """Give the settings; an option that is None is left to the environment.

    Raises:
        BadConfigError: one has a value that cannot work; names each.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        mistakes = [_mistake(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
        raise BadConfigError("; ".join(mistakes)) from None


def _mistake(name: str, said: str) -> str:
    return f"{name}: {_EXPECTED.get(name, said)}"
