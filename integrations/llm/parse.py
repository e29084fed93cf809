"""From the text of a model to an `Answer`: forgiving about form, strict about what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import json_repair
from pydantic import JsonValue, ValidationError

from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Answer, FieldSpec, FieldType, Topic

UNKNOWN_CONFIDENCE = 0.5
"""For an answer that does not say (flat objects of old prompts); below any usual threshold."""

MAX_DEPTH = 4
"""How many wrappings (list, key, JSON inside a string) are undone."""

ALIASES: Mapping[str, str] = {
    "ответ": "reply", "текст_ответа": "reply", "ответ_клиенту": "reply", "сообщение": "reply",
    "answer": "reply", "response": "reply", "reply_text": "reply", "message": "reply",
    "тема": "topic", "тема_обращения": "topic", "категория": "topic", "intent": "topic",
    "category": "topic",
    "поля": "fields", "данные": "fields", "entities": "fields", "slots": "fields",
    "уверенность": "confidence", "score": "confidence",
    "нужен_человек": "needs_human", "нужен_оператор": "needs_human", "оператор": "needs_human",
    "need_human": "needs_human", "handoff": "needs_human",
    "язык": "language", "lang": "language",
}  # fmt: skip
RESERVED = frozenset({"reply", "topic", "fields", "confidence", "needs_human", "language"})

FIELD_ALIASES: Mapping[str, tuple[FieldType, ...]] = {
    "имя": ("person_name",), "фио": ("person_name",), "имя_клиента": ("person_name",),
    "клиент": ("person_name",), "name": ("person_name",),
    "телефон": ("phone",), "номер_телефона": ("phone",), "тел": ("phone",), "номер": ("phone",),
    "phone": ("phone",), "phone_number": ("phone",),
    "почта": ("email",), "эл_почта": ("email",), "электронная_почта": ("email",),
    "email": ("email",), "e_mail": ("email",), "емейл": ("email",), "имейл": ("email",),
    "бюджет": ("money",), "сумма": ("money",), "цена": ("money",), "стоимость": ("money",),
    "дата": ("date", "datetime"), "время": ("datetime",), "адрес": ("address",),
    "ссылка": ("url",), "сайт": ("url",),
}  # fmt: skip

LANGUAGES: Mapping[str, str] = {
    "русский": "ru", "russian": "ru", "английский": "en", "english": "en", "казахский": "kk",
    "kazakh": "kk", "украинский": "uk", "ukrainian": "uk", "узбекский": "uz", "uzbek": "uz",
    "белорусский": "be", "belarusian": "be",
}  # fmt: skip
YES = frozenset({"true", "yes", "y", "1", "да", "нужен", "требуется"})
CONFIDENCE_WORDS: Mapping[str, float] = {
    "high": 0.9, "высокая": 0.9, "medium": 0.6, "средняя": 0.6, "low": 0.3, "низкая": 0.3,
}  # fmt: skip

THINKING = re.compile(r"<(think|thinking|reasoning|thought)\b[^>]*>.*?</\1\s*>", re.S | re.I)
THINKING_END = re.compile(r"</(?:think|thinking|reasoning|thought)\s*>", re.I)
THINKING_START = re.compile(r"<(?:think|thinking|reasoning|thought)\b", re.I)
REPLY_IN_RUINS = re.compile(r'"(?:reply|ответ)"\s*:\s*"((?:[^"\\]|\\.)+)')
NOT_WORDS = re.compile(r"[\W\d_]*(?:null|none|nil|undefined|true|false|nan)?[\W\d_]*", re.I)
SPECIAL_TOKENS = re.compile(r"<\|[a-z_]{1,30}\|>")
FENCE = re.compile(r"```[a-zA-Z0-9_-]*[ \t]*\n?(.*?)(?:```|\Z)", re.S)
HTML = re.compile(r"\s*<(?:!doctype\s+html|html|head|body)\b", re.I)
UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff\ud800-\udfff]")
"""Break PostgreSQL (NUL), UTF-8 (lone surrogates) or the reader."""

SMART_OPENING = re.compile(r"([{,:\[]\s*)[“”„‟]")
SMART_CLOSING = re.compile(r"[“”„‟](\s*[:,}\]])")


class BadAnswer(Exception):
    """The text is no usable answer; `message_for_the_model` says what to mend.

    It names keys and rules only, never what a client wrote. `partial` is what can be used if
    the second try is no better; `looks_like` is "html" when a proxy answered instead of the model,
    "cut" when the text ended too early, "empty", "damaged" or "invalid".
    """

    def __init__(
        self, message_for_the_model: str, partial: Answer | None = None, looks_like: str = "damaged"
    ) -> None:
        super().__init__(message_for_the_model)
        self.message_for_the_model = message_for_the_model
        self.partial = partial
        self.looks_like = looks_like


class _Contradiction(Exception):
    """The same key twice with different values."""


def parse_answer(text: str | None, spec: AnswerSpec, *, finish_reason: str) -> Answer:
    """The answer in `text`, whatever it is wrapped in.

    A cut-off answer passes only when topic, reply and confidence are known to be complete.

    Raises: BadAnswer (ask once more with its message).
    """
    cleaned = strip_thinking(text or "")
    if not cleaned:
        raise BadAnswer("The answer was empty. Send the JSON object.", looks_like="empty")
    if HTML.match(cleaned):
        raise BadAnswer("The answer was an HTML page, not JSON.", looks_like="html")
    found, cut = _find_object(cleaned, finish_reason=finish_reason)
    data = _rename(found, spec)
    if cut:
        missing = [key for key in ("topic", "reply", "confidence") if key not in data]
        if missing:
            raise BadAnswer(
                f"The answer was cut off before it was complete (missing: {', '.join(missing)}). "
                "Write a shorter reply and send the whole JSON object.",
                looks_like="cut",
            )
    return _validated(data, spec)


def as_plain_text(text: str | None) -> str:
    """The words of an answer that came as prose, or the reply's words out of a damaged structure.

    "" when neither is there.
    """
    cleaned = strip_thinking(text or "")
    if found := REPLY_IN_RUINS.search(cleaned):
        try:
            return _safe(str(json.loads(f'"{found[1]}"', strict=False))).strip()
        except ValueError:
            return ""
    if not cleaned or HTML.match(cleaned) or cleaned[0] in "{[<\"'" or "```" in cleaned:
        return ""
    if re.search(r"[{\[]\s*[\"“']|[\"”']\s*:|^\s*[a-z_]+\s*:", cleaned, re.M):
        return ""
    return "" if NOT_WORDS.fullmatch(cleaned) else _safe(cleaned).strip()


def strip_thinking(text: str) -> str:
    """Without byte order mark, reasoning blocks and template tokens around the answer."""
    cleaned = SPECIAL_TOKENS.sub("", text.lstrip("\ufeff \t\r\n\u00a0\u200b")).strip()
    first_brace = cleaned.find("{") if cleaned[:1] in "{[\"'`" else -1
    if first_brace < 0:
        # Only in front of the answer: inside a reply the same letters may be a client's words.
        cleaned = THINKING.sub("", cleaned).strip()
        ends = [found.end() for found in THINKING_END.finditer(cleaned)]
        if ends:
            cleaned = cleaned[ends[-1] :].strip()
        elif start := THINKING_START.match(cleaned):
            cleaned = cleaned[: start.start()]
    return cleaned.lstrip("\ufeff\u00a0\u200b")


def _find_object(text: str, *, finish_reason: str) -> tuple[dict[str, Any], bool]:
    """The one JSON object in the text, and whether its end is missing."""
    try:
        value = _loads(text)
    except _Contradiction as error:
        raise BadAnswer(
            "The same key occurs twice with different values. Send one JSON object."
        ) from error
    except ValueError:
        pass
    else:
        return _unwrap(value), False

    fenced = FENCE.search(text)
    if fenced and fenced[1].lstrip()[:1] in ("{", "["):
        inner = fenced[1].strip()
        if inner != text:
            return _find_object(inner, finish_reason=finish_reason)
    whole = _distinct(_whole_objects(text))
    if len(whole) > 1:
        raise BadAnswer("There is more than one JSON object. Send exactly one.")
    if whole:
        return _unwrap(whole[0]), False
    return _repaired(text, finish_reason=finish_reason)


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_no_contradiction, strict=False)


def _no_contradiction(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result and result[key] != value:
            raise _Contradiction(key)
        result[key] = value
    return result


def _whole_objects(text: str) -> Iterator[dict[str, Any]]:
    """Complete objects inside prose, outermost ones only; those without known keys are skipped."""
    decoder = json.JSONDecoder(strict=False)
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            # Damaged from here on: a complete inner object would be a part taken for the whole.
            return
        if isinstance(value, dict) and _knows_keys(value):
            yield value
        at = text.find("{", end)


def _knows_keys(value: Mapping[str, Any], depth: int = 0) -> bool:
    if any(_key(key) in RESERVED or _key(key) in ALIASES for key in value):
        return True
    return depth < MAX_DEPTH and any(
        isinstance(inner, dict) and _knows_keys(inner, depth + 1) for inner in value.values()
    )


def _distinct(objects: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in objects:
        if value not in found:
            found.append(value)
    return found


def _repaired(text: str, *, finish_reason: str) -> tuple[dict[str, Any], bool]:
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=-1)
    if start < 0:
        raise BadAnswer("There was no JSON in the answer. Send the JSON object and nothing else.")
    body = text[start:]
    end, last_comma = _scan(body)
    if end:
        if "{" in body[end:] and any(f'"{key}"' in body[end:] for key in (*RESERVED, *ALIASES)):
            raise BadAnswer("There is more than one JSON object. Send exactly one.")
        body = body[:end]
    cut = not end and (finish_reason == "length" or not body.rstrip("` \n").endswith("}"))
    if cut:
        # What follows the last comma was being written when the text ended: not to be trusted.
        body = body[:last_comma]
    straight = SMART_CLOSING.sub(r'"\1', SMART_OPENING.sub(r'\1"', body))
    try:
        value = json_repair.loads(straight)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("The JSON is damaged. Send it again, properly escaped.") from error
    return _unwrap(value), cut


def _scan(body: str) -> tuple[int, int]:
    """Position after the first bracket's partner (0: it has none) and of the last comma.

    Brackets and commas inside quotes do not count.
    """
    depth, in_string, last_comma, at = 0, False, 0, 0
    while at < len(body):
        char = body[at]
        if char == "\\":
            at += 1
        elif char == '"':
            in_string = not in_string
        elif in_string:
            pass
        elif char == ",":
            last_comma = at
        elif char in "{[":
            depth += 1
        elif char in "}]":
            depth -= 1
            if depth <= 0:
                return at + 1, last_comma
        at += 1
    return 0, last_comma


def _unwrap(value: Any, depth: int = 0) -> dict[str, Any]:
    """The object inside a one-item list, a single key, a tool call or a string with JSON in it."""
    if depth > MAX_DEPTH:
        raise BadAnswer("The JSON object is wrapped too deeply.")
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"'):
        return _unwrap(_decoded(value), depth + 1)
    if isinstance(value, list) and len(value) == 1:
        return _unwrap(value[0], depth + 1)
    if isinstance(value, list) and value:
        raise BadAnswer("There is more than one JSON object. Send exactly one.")
    if not isinstance(value, dict):
        raise BadAnswer("The answer is not a JSON object. Send the JSON object and nothing else.")
    inner = _wrapped(value)
    return value if inner is None else _unwrap(inner, depth + 1)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        # An empty result is no string with JSON in it any more, so the caller's tests refuse it.
        return json_repair.loads(text) if "{" in text else None


def _wrapped(value: Mapping[str, Any]) -> Any:
    """What a wrapping object carries, None when the object is the answer itself."""
    if len(value) == 1:
        (inner,) = value.values()
        # {"answer": {…}}, {"response": "{…}"}: names of ours that are used as a wrapping.
        is_json = isinstance(inner, str) and inner.lstrip()[:1] in ("{", "[")
        return inner if isinstance(inner, dict | list) or is_json else None
    if any(_key(key) in RESERVED or _key(key) in ALIASES for key in value):
        return None
    # A tool call written as text: {"name": …, "arguments": …}.
    return value.get("arguments") or value.get("parameters")


def _key(key: str) -> str:
    return re.sub(r"[\s\-.]+", "_", key.strip().strip("\"'“”").casefold())


def _rename(found: Mapping[str, Any], spec: AnswerSpec) -> dict[str, Any]:
    """Keys as we call them; fields of a flat object are gathered under `fields`. Order is kept."""
    data: dict[str, Any] = {}
    flat: dict[str, Any] = {}
    for key, value in found.items():
        name = _key(key)
        if name in RESERVED:
            data[name] = value
        elif field := _field_called(key, spec):
            flat.setdefault(field.name, value)
        elif name in ALIASES and ALIASES[name] not in data:
            data[ALIASES[name]] = value
    fields = {**flat, **_fields(data.get("fields"), spec)}
    if flat or "fields" in data:
        data["fields"] = fields
    return {key: _safe_value(value) for key, value in data.items()}


def _fields(value: Any, spec: AnswerSpec) -> dict[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    if isinstance(value, list):
        # [{"name": "phone", "value": "…"}, …]
        value = {
            item["name"]: item.get("value")
            for item in value
            if isinstance(item, dict) and isinstance(item.get("name"), str)
        }
    if not isinstance(value, dict):
        return {}
    result: dict[str, Any] = {}
    for key, item in value.items():
        if field := _field_called(str(key), spec):
            result.setdefault(field.name, item)
    return result


def _field_called(key: str, spec: AnswerSpec) -> FieldSpec | None:
    name = _key(key)
    for field in spec.fields:
        if name == field.name or (field.description and name == _key(field.description)):
            return field
    # A Russian or generic word means a field only if there is exactly one of its type.
    candidates = [field for field in spec.fields if field.type in FIELD_ALIASES.get(name, ())]
    return candidates[0] if len(candidates) == 1 else None


def _validated(data: dict[str, Any], spec: AnswerSpec) -> Answer:
    normal = {
        **data,
        "topic": _topic(data.get("topic"), spec.topics),
        "needs_human": _yes(data.get("needs_human")),
        "confidence": _confidence(data.get("confidence")),
        "language": _language(data.get("language")),
        "fields": data.get("fields") or {},
        "reply": _reply(data),
    }
    try:
        spec.model().model_validate(normal)
    except ValidationError as error:
        partial = {**normal, "topic": None, "reply": normal["reply"] or ""}
        raise BadAnswer(
            _explain(error, spec), partial=_answer(partial), looks_like="invalid"
        ) from None
    if not normal["reply"] and not normal["needs_human"]:
        raise BadAnswer(
            "reply: it is empty; write the reply to the client, or set needs_human to true.",
            partial=_answer(normal),
            looks_like="invalid",
        )
    return _answer(normal)


def _answer(data: Mapping[str, Any]) -> Answer:
    return Answer(
        reply=data["reply"],
        topic=data["topic"],
        fields=data["fields"],
        confidence=data["confidence"],
        needs_human=data["needs_human"],
        language=data["language"],
    )


def _explain(error: ValidationError, spec: AnswerSpec) -> str:
    lines = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        place = ".".join(str(part) for part in item["loc"])
        if place.startswith("topic"):
            codes = ", ".join(topic.code for topic in spec.topics)
            lines.append(f"topic: must be null or exactly one of: {codes}.")
        elif place == "reply":
            lines.append("reply: required, a text for the client.")
        else:
            lines.append(f"{place}: {item['msg']}.")
    return " ".join(dict.fromkeys(lines))


def _topic(value: Any, topics: Sequence[Topic]) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = value.get("code") or value.get("name")
    if not isinstance(value, str) or _key(value) in ("", "null", "none", "нет"):
        return None
    wanted = _key(value)
    for topic in topics:
        if wanted in (_key(topic.code), _key(topic.title)):
            return topic.code
    return value.strip()


def _reply(data: Mapping[str, Any]) -> str | None:
    if "reply" not in data:
        return None
    value = data["reply"]
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    return value.strip() if isinstance(value, str) else ""


def _yes(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() in YES
    return bool(value)


def _confidence(value: Any) -> float:
    """0..1; a percentage is understood, nonsense is no confidence at all."""
    if isinstance(value, str):
        word = value.strip().casefold()
        if word in CONFIDENCE_WORDS:
            return CONFIDENCE_WORDS[word]
        try:
            value = float(word.removesuffix("%").strip().replace(",", "."))
        except ValueError:
            return UNKNOWN_CONFIDENCE
        if word.endswith("%"):
            value /= 100
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return UNKNOWN_CONFIDENCE
    if 1 < value <= 100:
        value /= 100
    return float(value) if 0 <= value <= 1 else 0.0


def _language(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    word = value.strip().casefold()
    if word in LANGUAGES:
        return LANGUAGES[word]
    found = re.match(r"[a-z]{2}(?=$|[-_])", word)
    return found[0] if found else ""


def _safe(text: str) -> str:
    # A pair of escapes is one character; json.loads has joined it already, what is left is lone.
    return UNSAFE.sub("", text)


def _safe_value(value: Any) -> JsonValue:
    if isinstance(value, str):
        return _safe(value)
    if isinstance(value, list):
        return [_safe_value(item) for item in value]
    if isinstance(value, dict):
        return {_safe(str(key)): _safe_value(item) for key, item in value.items()}
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if isinstance(value, int | float | bool) else None
