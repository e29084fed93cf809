"""Posting to the application as the cloud queue does: once, in the background, never again."""

from __future__ import annotations

import heapq
import http.client
import itertools
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from urllib.parse import SplitResult, urlsplit

STOP = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """How one POST to the application went; `status` is None when there was no answer."""

    event: str
    url: str
    status: int | None
    seconds: float
    at: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Parcel:
    event: str
    url: str
    body: bytes


class Clock:
    """One thread that calls functions later."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="portal-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(5)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        with self._wake:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._order), act))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                if self._stopped:
                    return
                if not self._heap:
                    self._wake.wait()
                    continue
                left = self._heap[0][0] - time.monotonic()
                if left > 0:
                    self._wake.wait(left)
                    continue
                act = heapq.heappop(self._heap)[2]
            act()


@dataclass(slots=True)
class Courier:
    """A few workers with their own connections. Parcels of one `lane` keep their order."""

    workers: int
    timeout_seconds: float
    log_size: int
    log: deque[Delivered] = field(init=False)
    _queues: list[SimpleQueue[Parcel | None]] = field(init=False)
    _threads: list[threading.Thread] = field(init=False, default_factory=list)
    _idle: threading.Condition = field(init=False, default_factory=threading.Condition)
    _pending: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.log = deque(maxlen=self.log_size)
        self._queues = [SimpleQueue() for _ in range(self.workers)]

    def start(self) -> None:
        for number, queue in enumerate(self._queues):
            thread = threading.Thread(
                target=self._work, args=(queue,), name=f"portal-courier-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        for queue in self._queues:
            queue.put(STOP)
        for thread in self._threads:
            thread.join(2)

    def post(self, parcel: Parcel, *, lane: int) -> None:
        self.promise()
        self.keep_promise(parcel, lane=lane)

    def promise(self) -> None:
        """Count a parcel that a clock will hand over later, so that `idle` waits for it too."""
        with self._idle:
            self._pending += 1

    def keep_promise(self, parcel: Parcel, *, lane: int) -> None:
        self._queues[lane % len(self._queues)].put(parcel)

    def idle(self, timeout: float) -> bool:
        """Wait until every parcel was posted or lost."""
        with self._idle:
            return self._idle.wait_for(lambda: self._pending == 0, timeout)

    @property
    def waiting(self) -> int:
        with self._idle:
            return self._pending

    def _work(self, queue: SimpleQueue[Parcel | None]) -> None:
        connections: dict[str, http.client.HTTPConnection] = {}
        while (parcel := queue.get()) is not STOP:
            delivered = send(parcel, connections, self.timeout_seconds)
            with self._idle:
                self.log.append(delivered)
                self._pending -= 1
                self._idle.notify_all()
        for connection in connections.values():
            connection.close()


def send(
    parcel: Parcel, connections: dict[str, http.client.HTTPConnection], timeout_seconds: float
) -> Delivered:
    """POST one parcel over a kept connection; whatever happens is only written down."""
    target = urlsplit(parcel.url)
    started, at = time.monotonic(), time.time()
    status, error = None, ""
    try:
        connection = _connection(target, connections, timeout_seconds)
        path = f"{target.path or '/'}?{target.query}" if target.query else target.path or "/"
        connection.request(
            "POST",
            path,
            body=parcel.body,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "User-Agent": "Bitrix24 Webhook Engine",
            },
        )
        answer = connection.getresponse()
        answer.read()
        status = answer.status
    except (OSError, http.client.HTTPException) as problem:
        error = type(problem).__name__
        broken = connections.pop(target.netloc, None)
        if broken is not None:
            broken.close()
    seconds = time.monotonic() - started
    return Delivered(parcel.event, parcel.url, status, seconds, at, error)


def _connection(
    target: SplitResult,
    connections: dict[str, http.client.HTTPConnection],
    timeout_seconds: float,
) -> http.client.HTTPConnection:
    kept = connections.get(target.netloc)
    if kept is not None and kept.sock is not None and _alive(kept.sock):
        return kept
    if kept is not None:
        kept.close()
    kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    fresh = kind(target.hostname or "", target.port, timeout=timeout_seconds)
    fresh.connect()
    fresh.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connections[target.netloc] = fresh
    return fresh


def _alive(sock: socket.socket) -> bool:
    """A kept connection with something to read was closed by the other side."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return not poller.poll(0)
