"""The settings of a command: its options over the environment."""

from typing import Any

from pydantic import ValidationError

from service.config import Settings
from service.errors import BadConfigError


def settings_of(**given: Any) -> Settings:
    """Give the settings; an option that is None is left to the environment.

    Raises:
        BadConfigError: one has a value that cannot work; names each.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
        raise BadConfigError("; ".join(mistakes)) from None
