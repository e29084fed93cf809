"""Open frames of operators: each is opened as a portal does it, then polls as its page would."""

from __future__ import annotations

import html
import http.client
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from tools.bench.sides import SECONDS, Portal

HANDS = 8
"""Connections that poll for all frames; the web process has as many threads."""

TOKEN = re.compile(r'name="frame-token" content="([^"]+)"')
POLL = re.compile(r'id="draft".*?hx-get="([^"]+)" hx-trigger="every', re.DOTALL)


@dataclass(frozen=True)
class OpenFrame:
    """One operator's frame: its poll address, its token, how long its first page took."""

    host: str
    poll: str
    token: str
    opened_in: float


def open_frame(portal: Portal, chat_id: int) -> OpenFrame:
    """Post the portal's form into our page. Raises: RuntimeError when no frame comes back."""
    options = {"dialogId": f"chat{chat_id}"}
    form = portal.tell("frame", user_id=1, placement="IM_SIDEBAR", options=options)
    target = urlsplit(form["action"])
    connection = http.client.HTTPConnection(target.netloc, timeout=SECONDS)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    began = time.monotonic()
    try:
        connection.request(
            "POST", f"{target.path}?{target.query}", urlencode(form["fields"]), headers
        )
        page = connection.getresponse().read().decode()
        took = time.monotonic() - began
    finally:
        connection.close()
    token, poll = TOKEN.search(page), POLL.search(page)
    if token is None or poll is None:
        raise RuntimeError("The operator's page did not come back whole.")
    return OpenFrame(target.netloc, html.unescape(poll[1]), token[1], took)


@dataclass
class Polling:
    """What polling for a while has shown: the seconds of each poll, by its status."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: int, seconds: float) -> None:
        with self._lock:
            self.seconds.append(seconds)
            self.statuses[status] = self.statuses.get(status, 0) + 1


def poll(frames: Sequence[OpenFrame], *, count: int, every: float, seconds: float) -> Polling:
    """So many pages poll, each `every` seconds, spread evenly. Frames are shared when too few."""
    found = Polling()
    began = time.monotonic()

    def hand(number: int) -> None:
        connection = http.client.HTTPConnection(frames[0].host, timeout=SECONDS)
        for turn in range(number, int(seconds * count / every), HANDS):
            pause = began + turn * every / count - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            frame = frames[turn % len(frames)]
            asked = time.monotonic()
            connection.request(
                "GET", frame.poll, headers={"Authorization": f"Bearer {frame.token}"}
            )
            answer = connection.getresponse()
            answer.read()
            found.note(answer.status, time.monotonic() - asked)
        connection.close()

    hands = [threading.Thread(target=hand, args=(number,)) for number in range(HANDS)]
    for one in hands:
        one.start()
    for one in hands:
        one.join()
    return found
