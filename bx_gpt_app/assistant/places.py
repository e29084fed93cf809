"""Places at model servers in the database: all workers together keep to a server's limit."""

from __future__ import annotations

import hashlib
import random
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bx_gpt_app.assistant.models import ModelPlace
from bx_gpt_app.common.database import give_back_connection
from integrations.llm.failures import busy

LOOK_EVERY_SECONDS = (0.05, 0.4)
"""How often somebody who waits looks again, at first and later on."""
GRACE_SECONDS = 5.0
"""A call may end a moment after its deadline; later the place of a dead process is free again."""


class DatabasePlaces:
    """`integrations.llm.failures.Places` over a table: a row is a place, its holder has the token.

    Of one process at most as many threads look into the table as there are places at all.
    """

    def __init__(
        self, clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._own: dict[tuple[str, int], threading.Semaphore] = {}
        self._known: dict[str, int] = defaultdict(int)

    @contextmanager
    def held(self, key: str, most: int, seconds: float) -> Iterator[None]:
        until = self._clock() + seconds
        server = hashlib.sha256(key.encode()).hexdigest()[:32]
        own = self._semaphore(server, most)
        if not own.acquire(timeout=seconds):
            raise busy()
        try:
            token = secrets.token_hex(8)
            number = self._take(server, most, token, until)
            try:
                yield
            finally:
                self._leave(server, number, token)
        finally:
            own.release()

    def _semaphore(self, server: str, most: int) -> threading.Semaphore:
        with self._lock:
            return self._own.setdefault((server, most), threading.Semaphore(most))

    def _take(self, server: str, most: int, token: str, until: float) -> int:
        """Raises: ModelFailed (busy)."""
        first, longest = LOOK_EVERY_SECONDS
        pause = first
        while (number := self._try(server, most, token, until)) is None:
            wait = random.uniform(0.5, 1.0) * pause  # noqa: S311  no secret
            if self._clock() + wait >= until:
                raise busy()
            self._sleep(wait)
            pause = min(pause * 2, longest)
        return number

    def _try(self, server: str, most: int, token: str, until: float) -> int | None:
        now = self._clock()
        try:
            if self._known[server] < most:
                rows = [ModelPlace(server=server, number=number) for number in range(most)]
                ModelPlace.objects.bulk_create(rows, ignore_conflicts=True)
                self._known[server] = most
            free = list(
                ModelPlace.objects.filter(
                    server=server, number__lt=most, until__lte=now
                ).values_list("number", flat=True)
            )
            random.shuffle(free)  # so that those who look at the same moment do not all want one
            for number in free[:3]:
                won = ModelPlace.objects.filter(
                    server=server, number=number, until__lte=now
                ).update(until=until + GRACE_SECONDS, token=token)
                if won:
                    return number
            return None
        finally:
            give_back_connection()

    def _leave(self, server: str, number: int, token: str) -> None:
        ModelPlace.objects.filter(server=server, number=number, token=token).update(until=0)
        give_back_connection()
