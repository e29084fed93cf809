"""What the demonstration model understands of a prompt: conversation, knowledge, topics, fields."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

_FENCE = re.compile(
    r"<<(?P<marker>[\w-]+) (?P<name>[A-Z][A-Z ]+)>>\n(?P<text>.*?)\n?<<(?P=marker) END>>", re.S
)
_AUTHOR = re.compile(
    r"^(CLIENT|OUR ASSISTANT|OUR OPERATOR|SYSTEM NOTE|Клиент|Оператор|Бот|Client|"
    r"Operator|Assistant|Bot)\s?:[ \t]*",
    re.M,
)
_CLIENT = ("CLIENT", "Клиент", "Client")
_SOURCE = re.compile(r"^\[(?P<key>[^\]\n]+)\] (?P<title>[^\n]*)$", re.M)
_TOPIC = re.compile(r"^- (?P<code>[a-z][a-z0-9_-]*): (?P<rest>[^\n]*)$", re.M)
_STEER = re.compile(r"The operator asks for this reply to be: (?P<wish>[^\n]*?)\.?$", re.M)
_WISH = re.compile(r"одним предложением|без приветстви|in one sentence|without a greeting", re.I)
_SCHEMA_AHEAD = re.compile(r"JSON schema[^\n{]*:?\s*(?=\{)", re.I)
_REPLY_CHARS = re.compile(r"\((\d{2,5}) characters\)")


@dataclass(frozen=True)
class Passage:
    key: str
    title: str
    text: str
    internal: bool = False


@dataclass(frozen=True)
class Scene:
    """One request, understood."""

    client_texts: tuple[str, ...]
    """All messages of the client, oldest first."""
    fresh: str
    """What he wrote since our last answer."""
    answered_before: bool
    knowledge: tuple[Passage, ...] = ()
    crm: Mapping[str, str] = field(default_factory=dict)
    topics: tuple[tuple[str, str], ...] = ()
    """Code and all words that describe the topic."""
    schema: Mapping[str, Any] | None = None
    wants_json: bool = False
    steer: str = ""
    max_length: int = 600


def text_of(content: object) -> str:
    """Text of a message, also when it comes as a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def schema_of(body: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The JSON schema that the answer must have, and the name of the function to call (or "")."""
    tools = body.get("tools") or []
    choice = body.get("tool_choice")
    if tools and choice != "none" and choice not in (None, "auto"):
        wanted = (
            choice["function"]["name"] if isinstance(choice, dict) else tools[0]["function"]["name"]
        )
        for tool in tools:
            if tool["function"]["name"] == wanted:
                return tool["function"].get("parameters") or {}, wanted
    shape = body.get("response_format") or {}
    named = shape.get("json_schema")
    if isinstance(named, dict):
        inner = named.get("schema")
        return (inner if isinstance(inner, dict) else named), ""
    inner = shape.get("schema")
    return (inner if isinstance(inner, dict) else None), ""


def read_scene(body: Mapping[str, Any]) -> Scene:
    """Understand a request; without our fences the whole last user message is the client's."""
    messages = [message for message in body.get("messages", []) if isinstance(message, dict)]
    system = "\n\n".join(
        text_of(m.get("content")) for m in messages if m.get("role") in ("system", "developer")
    )
    users = [
        text_of(message.get("content")) for message in messages if message.get("role") == "user"
    ]
    whole = next(
        (text for text in reversed(users) if _FENCE.search(text)), users[-1] if users else ""
    )
    parts = {match["name"].strip(): match["text"] for match in _FENCE.finditer(whole)}
    turns = _turns(parts.get("CONVERSATION") or _FENCE.sub("", whole).strip())
    schema, _ = schema_of(body)
    if schema is None:
        schema = _schema_in_text(system) or _schema_in_text(whole)
    shape = (body.get("response_format") or {}).get("type", "text")
    told = system + whole[-1500:]
    steer = _STEER.search(whole)
    limit = _REPLY_CHARS.search(system)
    fresh: list[str] = []
    for author, text in reversed(turns):
        if author == "client":
            fresh.insert(0, text)
        elif author != "system" and fresh:
            break
    return Scene(
        client_texts=tuple(text for author, text in turns if author == "client"),
        fresh="\n".join(fresh),
        answered_before=any(author == "ours" for author, _ in turns)
        or any(m.get("role") == "assistant" for m in messages),
        knowledge=_knowledge(parts.get("KNOWLEDGE", "")),
        crm=_crm(parts.get("CRM DATA", "")),
        topics=_topics(system),
        schema=schema,
        wants_json=shape != "text" or schema is not None or bool(re.search(r"\bJSON\b", told)),
        steer=steer["wish"] if steer else "short" if _WISH.search(system) else "",
        max_length=int(limit[1]) if limit else 600,
    )


def _turns(text: str) -> list[tuple[str, str]]:
    """Author (client, ours, system) and text of every turn; unlabelled text is the client's."""
    labels = list(_AUTHOR.finditer(text))
    if not labels:
        return [("client", text.strip())] if text.strip() else []
    turns: list[tuple[str, str]] = []
    for label, following in zip(labels, [*labels[1:], None], strict=True):
        said = text[label.end() : following.start() if following else len(text)]
        said = "\n".join(line.removeprefix("  ") for line in said.split("\n")).strip()
        author = (
            "client" if label[1] in _CLIENT else "system" if label[1] == "SYSTEM NOTE" else "ours"
        )
        turns.append((author, said))
    return turns


@lru_cache(maxsize=128)
def _knowledge(text: str) -> tuple[Passage, ...]:
    heads = list(_SOURCE.finditer(text))
    found: list[Passage] = []
    for head, following in zip(heads, [*heads[1:], None], strict=False):
        body = text[head.end() : following.start() if following else len(text)].strip()
        title, internal = head["title"], "(internal" in head["title"]
        found.append(Passage(head["key"], title.split(" (internal")[0].strip(), body, internal))
    return tuple(found)


def _crm(text: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}


@lru_cache(maxsize=128)
def _topics(system: str) -> tuple[tuple[str, str], ...]:
    start = system.find("Topics; write the code:")
    if start < 0:
        return ()
    block = system[start:].split("\n\n", 1)[0]
    return tuple((match["code"], match["rest"]) for match in _TOPIC.finditer(block))


@lru_cache(maxsize=128)
def _schema_in_text(text: str) -> dict[str, Any] | None:
    for match in _SCHEMA_AHEAD.finditer(text):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, match.end())
        except ValueError:
            continue
        if isinstance(found, dict) and "properties" in found:
            return found
    return None


def topic_codes(scene: Scene) -> Sequence[tuple[str, str]]:
    """Topics with their words; from the schema's codes alone when the prompt lists none."""
    allowed = ((scene.schema or {}).get("properties", {}).get("topic") or {}).get("enum")
    if allowed is None:
        return scene.topics
    described = dict(scene.topics)
    return [(code, described.get(code, code)) for code in allowed if isinstance(code, str)]
