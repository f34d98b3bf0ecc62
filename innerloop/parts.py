"""Sets that are larger than one request, cut into several."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from innerloop.inputs import Fields
from innerloop.wire import Limits

_OPTIONS_BYTES = 16 * 2**10  # beside the inputs: braces, options, a long name
_NUMBER_BYTES = 26  # the longest float and a comma
_LABEL_BYTES = 6  # a character, escaped


@dataclass(frozen=True, slots=True)
class Room:
    """What the inputs of one request may come to."""

    items: int
    bytes: int


SMALL = Room(items=1_000, bytes=2**18)  # so little that the server's limits need not be asked for


def room_for(limits: Limits, *, items: int) -> Room:
    """What the server takes in one request beside the options."""
    return Room(items, max(limits.body_bytes - _OPTIONS_BYTES, 1))


def parts(items: Iterable[Fields], room: Room) -> Iterator[list[Fields]]:
    """The items in order, as many in each part as there is room for; one that is larger goes alone, for the server to refuse."""
    part: list[Fields] = []
    size = 0
    for item in items:
        need = bytes_of(item)
        if part and (len(part) == room.items or size + need > room.bytes):
            yield part
            part, size = [], 0
        part.append(item)
        size += need
    if part:
        yield part


def bytes_of(fields: Fields) -> int:
    """At least as many bytes as the item has as JSON."""
    names = sum(len(name) + 6 for name in fields) + 2
    return names + sum(map(_value_bytes, fields.values()))


def _value_bytes(value: object) -> int:
    if isinstance(value, list):
        return 2 + _NUMBER_BYTES * len(value)
    text = str(value)
    return len(text) if len(text) > _LABEL_BYTES * 200 else _LABEL_BYTES * len(text) + 2
