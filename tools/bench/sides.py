"""The two sides outside the product: the local portals and the local model, over their control."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

SECONDS = 30.0


def exchange(
    verb: str, url: str, key: str, body: Mapping[str, Any] | None = None
) -> Any:  # JSON of the other side
    """One request to a control address. Raises: OSError, RuntimeError when it is refused."""
    target = urlsplit(url)
    connection = http.client.HTTPConnection(target.hostname or "", target.port, timeout=SECONDS)
    try:
        path = f"{target.path}?{target.query}" if target.query else target.path
        headers = {"X-Control-Key": key, "Content-Type": "application/json"}
        sent = json.dumps(body).encode() if body is not None else None
        connection.request(verb, path, body=sent, headers=headers)
        answer = connection.getresponse()
        told = answer.read()
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(f"{target.path}: {answer.status} {told[:300].decode(errors='replace')}")
    return json.loads(told)


class Portal:
    """One local portal: its clients write, its log tells."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.url = str(about["url"])
        self.oauth_url = str(about["oauth_url"])
        self.domain = str(about["domain"])
        self.member_id = str(about["member_id"])
        self._key = str(about["control_key"])

    def ask(self, name: str, **params: Any) -> Any:
        query = f"?{urlencode(params)}" if params else ""
        return exchange("GET", f"{self.url}/_control/{name}{query}", self._key)

    def tell(self, name: str, **body: Any) -> Any:
        return exchange("POST", f"{self.url}/_control/{name}", self._key, body)

    def client_writes(self, text: str, chat_id: int | None = None) -> int:
        """A client's message in a new chat, or in a known one. Returns the chat's id."""
        more = {"chat_id": chat_id} if chat_id else {}
        return int(self.tell("client-message", text=text, **more)["chat_id"])

    def rest_requests(self) -> int:
        return int(self.ask("stats")["rest_requests"])


class Model:
    """The local model server: every call takes exactly the latency that was set."""

    def __init__(self, url: str, control_url: str, key: str) -> None:
        self.url = url
        self._control_url = control_url
        self._key = key

    def set_latency(self, milliseconds: float) -> None:
        exchange("POST", self._control_url, self._key, {"latency_ms": milliseconds})

    def calls(self) -> int:
        """How many answers were asked for so far."""
        return int(exchange("GET", self._control_url, self._key)["calls"])
