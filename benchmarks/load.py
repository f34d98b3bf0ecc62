"""A load generator over raw sockets: requests are bytes made beforehand, and of an answer only what is judged is read.

It runs in a process of its own and tells how much of a core it used. HTTP/1.1, kept-alive connections, `Content-Length` only.
"""

import gc
import itertools
import re
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

GRACE = 5.0  # seconds that answers may still come after the last request
STALLED = 60.0  # seconds without any answer after which a server is given up
NEVER = float("inf")

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, and what a right answer names; None when anything will do."""

    payload: bytes
    expected: bytes | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """So many clients, each asking again as soon as it is answered; client c asks the requests c, c + clients, c + 2 clients."""

    clients: int
    seconds: float
    warm_up: float = 0.3


@dataclass(frozen=True, slots=True)
class Once:
    """Every request once, by so many clients."""

    clients: int


@dataclass(frozen=True, slots=True)
class Open:
    """Arrivals at these seconds after the start, whoever is still waiting; a request's clock starts when it was due."""

    due: Sequence[float]
    seconds: float
    warm_up: float = 0.3
    connections: int = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask whom, how.

    Attributes:
        names: finds in an answer what it names, as its only group.
    """

    port: int
    asked: Sequence[Asked]
    names: bytes
    pace: Closed | Once | Open
    keep: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of it.

    Attributes:
        seconds: length of the window; answers before and after it are checked, but not counted in rates.
        latencies: milliseconds of the right answers of the window, by arrival when open, by answer when closed.
        right, wrong: answers of the window that named what they should, or something else.
        statuses: of all answers.
        lost: requests without an answer, of the window when open.
        answered: all answers.
        named: the last `keep` answers: the request's number and what was named.
        busy: share of a core that the generator used.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    right: int = 0
    wrong: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    answered: int = 0
    named: list[tuple[int, bytes]] = field(default_factory=list)
    busy: float = 0.0


class Source(Protocol):
    """Says what comes next."""

    begin: float
    end: float

    def take(self, client: int, now: float) -> tuple[int, float] | None:
        """Give the number of the request that a free client sends now and when it was due; None when there is none."""
        ...

    def next_due(self) -> float:
        """Give when the next request is due; never when clients wait for answers only."""
        ...


class ClosedSource:
    """Clients that wait for their answers, until time is up."""

    def __init__(self, count: int, pace: Closed, started: float) -> None:
        self.begin = started + pace.warm_up
        self.end = self.begin + pace.seconds
        self._turns = [itertools.cycle(range(client % count, count, pace.clients)) for client in range(pace.clients)]

    def take(self, client: int, now: float) -> tuple[int, float] | None:
        return (next(self._turns[client]), now) if now < self.end else None

    def next_due(self) -> float:
        return NEVER


class OnceSource:
    """Clients that share one list, to its end."""

    def __init__(self, count: int, started: float) -> None:
        self.begin, self.end = started, NEVER
        self._left = iter(range(count))

    def take(self, client: int, now: float) -> tuple[int, float] | None:  # noqa: ARG002 - any client takes any request
        number = next(self._left, None)
        return None if number is None else (number, now)

    def next_due(self) -> float:
        return NEVER


class OpenSource:
    """Arrivals that wait for nobody."""

    def __init__(self, count: int, pace: Open, started: float) -> None:
        self.begin = started + pace.warm_up
        self.end = self.begin + pace.seconds
        self._due = deque(started + due for due in pace.due)
        self._numbers = itertools.cycle(range(count))

    def take(self, client: int, now: float) -> tuple[int, float] | None:  # noqa: ARG002 - any connection takes any arrival
        if not self._due or self._due[0] > now:
            return None
        return next(self._numbers), self._due.popleft()

    def next_due(self) -> float:
        return self._due[0] if self._due else NEVER


@dataclass(slots=True, eq=False)
class Client:
    """One connection, and what it waits for."""

    number: int
    connection: socket.socket
    asked: int = -1
    due: float = 0.0
    received: bytes = b""

    def answer(self) -> tuple[int, bytes] | None:
        """Read what is there; give status and answer once they are whole; raises ConnectionError when the server hung up."""
        got = self.connection.recv(65536)
        if not got:
            raise ConnectionError
        self.received += got
        head = self.received.find(b"\r\n\r\n")
        length = _LENGTH.search(self.received, 0, head + 2) if head >= 0 else None
        if length is None or len(self.received) < head + 4 + int(length[1]):
            return None
        whole, self.received = self.received, b""
        return int(whole[9:12]), whole[head + 4 :]


class Generator:
    """Drives one plan. A context manager; `selector` sleeps by milliseconds or, for due times, by microseconds."""

    def __init__(self, plan: Plan, selector: selectors.BaseSelector) -> None:
        self._plan, self._selector = plan, selector
        self._names = re.compile(plan.names)
        self._outcome = Outcome()
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=plan.keep)
        count = plan.pace.connections if isinstance(plan.pace, Open) else plan.pace.clients
        self._idle = deque(self._connected(number) for number in range(count))
        self._waiting, self._heard = 0, 0.0

    def __enter__(self) -> "Generator":
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            key.data.connection.close()
        self._selector.close()

    def run(self) -> Outcome:
        """Ask until the plan's end, and wait for the last answers."""
        started, busy = time.perf_counter(), time.process_time()
        source = self._source(started)
        self._heard, give_up = started, source.end + GRACE
        while True:
            now = time.perf_counter()
            self._send_due(source, now)
            if (not self._waiting and source.next_due() == NEVER) or now > min(give_up, self._heard + STALLED):
                break
            for key, _ in self._selector.select(max(0.0, min(source.next_due() - now, GRACE))):
                self._receive(key.data, source)
        ended = time.perf_counter()
        self._outcome.busy = (time.process_time() - busy) / (ended - started)
        self._outcome.seconds = min(source.end, ended) - source.begin
        self._outcome.lost += self._waiting
        self._outcome.named = list(self._kept)
        return self._outcome

    def _source(self, started: float) -> Source:
        pace, count = self._plan.pace, len(self._plan.asked)
        if isinstance(pace, Closed):
            return ClosedSource(count, pace, started)
        return OpenSource(count, pace, started) if isinstance(pace, Open) else OnceSource(count, started)

    def _connected(self, number: int) -> Client:
        connection = socket.create_connection(("127.0.0.1", self._plan.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(number, connection)
        self._selector.register(connection, selectors.EVENT_READ, client)
        return client

    def _send_due(self, source: Source, now: float) -> None:
        # As many turns as there are idle clients: one that has nothing to ask now goes back into the row.
        for _ in range(len(self._idle)):
            client = self._idle.popleft()
            taken = source.take(client.number, now)
            if taken is None:
                self._idle.append(client)
                if isinstance(source, OpenSource | OnceSource):
                    return
                continue
            client.asked, client.due = taken
            self._waiting += 1
            client.connection.sendall(self._plan.asked[client.asked].payload)

    def _receive(self, client: Client, source: Source) -> None:
        try:
            answer = client.answer()
        except ConnectionError:
            self._replace(client, source)
            return
        if answer is None:
            return
        self._heard, status, body = time.perf_counter(), *answer
        self._judge(client, source, self._heard, status, body)
        self._waiting -= 1
        self._idle.appendleft(client)

    def _replace(self, client: Client, source: Source) -> None:
        """Connect again where the server hung up; what it had been asked is lost."""
        self._selector.unregister(client.connection)
        client.connection.close()
        if client in self._idle:
            self._idle.remove(client)
        else:
            self._waiting -= 1
            self._outcome.lost += source.begin <= client.due <= source.end
        self._idle.append(self._connected(client.number))

    def _judge(self, client: Client, source: Source, now: float, status: int, body: bytes) -> None:
        outcome = self._outcome
        outcome.statuses[status] += 1
        outcome.answered += 1
        named = self._names.search(body) if status in (200, 201) else None
        if named is not None and self._plan.keep:
            self._kept.append((client.asked, named[1]))
        counted = client.due if isinstance(source, OpenSource) else now
        if not source.begin <= counted <= source.end:
            return
        expected = self._plan.asked[client.asked].expected
        if named is None or (expected is not None and named[1] != expected):
            outcome.wrong += 1
        else:
            outcome.right += 1
            outcome.latencies.append(1000 * (now - client.due))


def drive(plan: Plan) -> Outcome:
    """Carry out a plan; to be called in a process of its own."""
    # An open plan must wake within microseconds of a due time, which epoll cannot.
    selector = selectors.SelectSelector() if isinstance(plan.pace, Open) else selectors.DefaultSelector()
    gc.disable()
    try:
        with Generator(plan, selector) as generator:
            return generator.run()
    finally:
        gc.enable()


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Give the bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def poisson(rate: float, seconds: float, draws: Iterator[float]) -> list[float]:
    """Give arrival times up to some seconds, from exponential draws of mean one."""
    due, arrivals = next(draws) / rate, []
    while due < seconds:
        arrivals.append(due)
        due += next(draws) / rate
    return arrivals
