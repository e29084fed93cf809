"""What a server really does with a request, seen without the gateway."""

from __future__ import annotations

import json
from typing import Any, Literal

import requests

from integrations.llm.probe import HIDDEN_VALUE, JSON_WORD, WORD, probe_body
from integrations.llm.providers import Shape
from tests.local_llm.servers import LocalServer

Seen = Literal["enforced", "ignored", "rejected"]
ASKING = tuple(shape for shape in Shape if shape is not Shape.TEXT)
LONG = "Count from 1 to 60 in words, separated by spaces."


def said(server: LocalServer, model: str, asked: str | list[Any], **more: Any) -> Any:
    """The body of the answer; {} when the server refused. `asked` is a question or messages."""
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    body = {"model": model, "messages": messages, **more}
    response = requests.post(f"{server.base_url}/chat/completions", json=body, timeout=120)
    return response.json() if response.ok else {}


def does_with(server: LocalServer, model: str, shape: Shape) -> Seen:
    """Ask for something else than the shape allows, and see which of the two comes."""
    text = JSON_WORD if shape is Shape.JSON_OBJECT else WORD
    answer = said(server, model, text, max_tokens=120, temperature=0, **probe_body(shape))
    if not answer:
        return "rejected"
    message = answer["choices"][0]["message"]
    calls = message.get("tool_calls")
    content = calls[0]["function"]["arguments"] if calls else message["content"]
    if shape is Shape.JSON_OBJECT:
        # It may be cut off, but it cannot begin otherwise.
        return "enforced" if (content or "").lstrip().startswith("{") else "ignored"
    try:
        return "enforced" if json.loads(content or "") == {"probe": HIDDEN_VALUE} else "ignored"
    except ValueError:
        return "ignored"


def tokens_of_a_long_answer(server: LocalServer, model: str, field: str) -> int:
    """How many tokens come when eight are allowed by this field."""
    answer = said(server, model, LONG, temperature=0, **{field: 8})
    return int(answer["usage"]["completion_tokens"])


def understands_a_developer(server: LocalServer, model: str) -> bool:
    """Is the newer name of the system role accepted? The gateway itself sends "system"."""
    messages = [{"role": "developer", "content": "Answer in English."}]
    return bool(said(server, model, [*messages, {"role": "user", "content": "Hi"}], max_tokens=2))
