"""Stopping a long command between two steps."""

import signal
import threading
from collections.abc import Callable


def interrupted() -> Callable[[], bool]:
    """Turn Ctrl-C and SIGTERM into a question that a training loop asks between meta-steps."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop.is_set
