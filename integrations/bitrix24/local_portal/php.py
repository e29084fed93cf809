"""How PHP reads and writes forms and JSON, which is what a portal speaks on the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote_plus

_KEY = re.compile(r"\[([^\]]*)\]")


def encode_form(data: Mapping[str, Any]) -> bytes:
    """Nested data as `a[b][0]=c`, percent-encoded.

    Every scalar becomes text (`True` is `1`, `None` is empty); empty maps and lists do not arrive.
    Source: api-reference/events/index
    """
    pairs: list[str] = []
    for key, value in data.items():
        _encode(quote_plus(str(key)), value, pairs)
    return "&".join(pairs).encode()


def _encode(path: str, value: Any, pairs: list[str]) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _encode(f"{path}%5B{quote_plus(str(key))}%5D", inner, pairs)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _encode(f"{path}%5B{index}%5D", inner, pairs)
    else:
        pairs.append(f"{path}={quote_plus(scalar(value))}")


def scalar(value: Any) -> str:
    """A scalar as PHP prints it into a form."""
    if value is None or value is False:
        return "" if value is None else "0"
    return "1" if value is True else str(value)


def decode_form(text: str) -> dict[str, Any]:
    """`a[b]=c&d[]=e` as nested dictionaries; lists keep their numeric keys as text."""
    return decode_pairs(parse_qsl(text, keep_blank_values=True))


def decode_pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The same for pairs that are already unquoted."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        bracket = name.find("[")
        if bracket <= 0:
            result[name] = value
            continue
        path = [name[:bracket], *_KEY.findall(name[bracket:])]
        _put(result, path, value)
    return result


def _put(target: dict[str, Any], path: list[str], value: str) -> None:
    for key in path[:-1]:
        name = key or _next_index(target)
        inner = target.get(name)
        if not isinstance(inner, dict):
            inner = target[name] = {}
        target = inner
    target[path[-1] or _next_index(target)] = value


def _next_index(target: Mapping[str, Any]) -> str:
    return str(max((int(key) for key in target if key.isdigit()), default=-1) + 1)


def as_list(value: Any) -> list[Any]:
    """A list however it was sent: JSON list, PHP map with numeric keys, or one scalar."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return list(value.values())
    return [] if value is None or value == "" else [value]


def as_map(value: Any) -> dict[str, Any]:
    """A map however it was sent; PHP makes no difference between an empty list and a map."""
    if isinstance(value, dict):
        return {str(key): inner for key, inner in value.items()}
    if isinstance(value, list):
        return {str(index): inner for index, inner in enumerate(value)}
    return {}


def truth(value: Any) -> bool:
    """A flag as most methods read it: JSON boolean, `Y`/`N`, `1`/`0`."""
    if isinstance(value, str):
        return value.lower() in {"y", "1", "true"}
    return bool(value)


def number(value: Any) -> int:
    """PHP's `(int)`: leading digits of a text, otherwise 0."""
    if isinstance(value, bool | int | float):
        return int(value)
    match = re.match(r"\s*(-?\d+)", value) if isinstance(value, str) else None
    return int(match.group(1)) if match else 0


def listed(values: Mapping[str, Any]) -> Any:
    """A map whose keys are exactly 0…n-1 in order is a list for PHP, and is printed as one."""
    if all(key == str(index) for index, key in enumerate(values)):
        return list(values.values())
    return values


def dump_json(value: Any) -> bytes:
    """JSON as PHP prints it: an empty map is `[]`.

    Source: settings/how-to-call-rest-api/data-types
    """
    return json.dumps(_empty_maps_as_lists(value), ensure_ascii=False, default=str).encode()


def _empty_maps_as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _empty_maps_as_lists(inner) for key, inner in value.items()} if value else []
    if isinstance(value, list | tuple):
        return [_empty_maps_as_lists(inner) for inner in value]
    return value
