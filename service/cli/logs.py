"""What the server logs, and in which form."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor


def configure_logs(form: Literal["auto", "json"] = "auto", *, worker: int | None = None) -> None:
    """One JSON object a line on stderr, or colours (`auto`) when a person is looking; a worker's lines carry its number."""

    def numbered(_: object, __: str, event: EventDict) -> EventDict:
        return event if worker is None else {**event, "worker": worker}

    first: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso"), numbered]
    last: list[Processor] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if form == "auto" and sys.stderr.isatty():
        last = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    structlog.configure(processors=[*first, *last], logger_factory=structlog.WriteLoggerFactory(sys.stderr))
    # What libraries log takes the same form.
    handler = logging.StreamHandler(sys.stderr)
    clean = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=[clean, *last], foreign_pre_chain=first))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
