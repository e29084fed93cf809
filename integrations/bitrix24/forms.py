"""Bodies as Bitrix24 sends them: PHP bracket forms and JSON, and the loose types inside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote_plus

MAX_DEPTH = 10
MAX_PAIRS = 5_000

_KEY = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_SURROGATE = re.compile("[\ud800-\udfff]")


class MalformedForm(ValueError):
    """The body is not a form or JSON object we are ready to read: answer 400."""


def parse_body(content_type: str, body: bytes) -> dict[str, Any]:
    """A form or a JSON object, whichever the body is. Raises: MalformedForm.

    Bitrix24 sends forms; samples in its documentation read JSON, so both are understood
    (api-reference/chat-bots/chat-bots-v2/index). An empty body is an empty dict.
    """
    if "json" not in content_type.lower() and body.lstrip()[:1] != b"{":
        return parse_form(body)
    try:
        data = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise MalformedForm("the body is not valid JSON") from None
    if not isinstance(data, dict):
        raise MalformedForm("the JSON body is not an object")
    cleaned: dict[str, Any] = _clean(data, 0)
    return cleaned


def _clean(value: Any, depth: int) -> Any:
    """Without NUL characters and lone surrogates, which no database stores."""
    if depth > MAX_DEPTH * 3:
        raise MalformedForm("the JSON body is nested too deeply")
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, dict):
        return {_storable(key): _clean(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_clean(one, depth + 1) for one in value]
    return value


def _storable(text: str) -> str:
    if "\x00" in text:
        text = text.replace("\x00", "")
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def parse_form(body: bytes | str | Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """`data[FIELDS][ID]=7` -> `{"data": {"FIELDS": {"ID": "7"}}}`, by PHP's rules.

    Lists stay dicts with keys "0", "1", … because a form cannot tell them from maps: use `as_list`
    where a list is expected. Takes raw bytes, pairs, or a mapping (Django's QueryDict included).
    Raises: MalformedForm beyond MAX_DEPTH levels or MAX_PAIRS pairs.
    """
    tree: dict[str, Any] = {}
    for count, (key, value) in enumerate(_pairs(body), start=1):
        if count > MAX_PAIRS:
            raise MalformedForm(f"the form has more than {MAX_PAIRS} pairs")
        _put(tree, _path(_storable(key)), _storable(value) if isinstance(value, str) else value)
    return tree


def _pairs(body: bytes | str | Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Iterator[Any]:
    if isinstance(body, bytes | str):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        try:
            yield from parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PAIRS)
        except ValueError:
            raise MalformedForm(f"the form has more than {MAX_PAIRS} pairs") from None
    elif hasattr(body, "lists"):  # Django's QueryDict: every value of a repeated key
        for key, values in body.lists():
            yield from ((key, value) for value in values)
    elif isinstance(body, Mapping):
        yield from body.items()
    else:
        yield from body


def _path(key: str) -> list[str]:
    match = _KEY.match(key)
    if not match:
        return [key]
    path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    if len(path) > MAX_DEPTH:
        raise MalformedForm(f"the form is nested deeper than {MAX_DEPTH} levels")
    return path


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        name = name or _next_index(tree)
        inner = tree.get(name)
        if not isinstance(inner, dict):
            inner = tree[name] = {}
        tree = inner
    tree[path[-1] or _next_index(tree)] = value


def _next_index(tree: dict[str, Any]) -> str:
    return str(max((int(key) + 1 for key in tree if key.isdecimal()), default=0))


def encode_form(data: Mapping[str, Any]) -> bytes:
    """The way back, as PHP's http_build_query does it and Bitrix24 sends it.

    Booleans become "1"/"0", None becomes "", empty lists and dicts are not sent at all.
    """
    return "&".join(
        f"{quote_plus(key)}={quote_plus(value)}" for key, value in _flat(data, "")
    ).encode()


def _flat(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        name = f"{prefix}[{key}]" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, list | tuple):
            yield from _flat({str(i): one for i, one in enumerate(value)}, name)
        else:
            yield name, text_of(value)


def as_dict(value: Any) -> dict[str, Any]:
    """A map where PHP may have sent `[]`, a list, "" or nothing for it."""
    if isinstance(value, Mapping):
        return {str(key): one for key, one in value.items()}
    if isinstance(value, list | tuple):
        return {str(i): one for i, one in enumerate(value)}
    return {}


def as_list(value: Any) -> list[Any]:
    """A list where a form may have sent numbered keys, one object, one scalar or nothing for it."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, Mapping):
        if value and all(str(key).isdecimal() for key in value):
            return [value[key] for key in sorted(value, key=lambda key: int(key))]
        return [dict(value)] if value else []
    return [] if value is None or value == "" else [value]


def text_of(value: Any) -> str:
    """A scalar as text, as a form would carry it; anything else is ""."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float):
        return str(value)
    return ""


def int_of(value: Any) -> int | None:
    """A number that may have come as text; None when it is none."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        digits = value.strip()
        if len(digits) <= 20 and digits.removeprefix("-").isdecimal():
            return int(digits)
        if len(digits) <= 20 and re.fullmatch(r"-?\d+\.0+", digits):
            return int(float(digits))
    return None


def flag_of(value: Any) -> bool:
    """Yes in any of the portal's spellings: true, 1, "1", "Y", "true"."""
    if isinstance(value, str):
        return value.strip().casefold() in ("1", "y", "yes", "true", "on")
    return value is True or value == 1


def folded(value: Any) -> dict[str, Any]:
    """The map with its keys in one spelling: chatId, CHAT_ID, chat_id, chatid -> "chatid".

    The same thing is spelled differently by events, history, dialog.get and legacy methods.
    """
    return {str(key).replace("_", "").casefold(): one for key, one in as_dict(value).items()}
