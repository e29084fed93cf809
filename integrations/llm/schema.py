"""What the model is asked for: topics and fields as a JSON schema and a pydantic model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, create_model

from integrations.llm.values import FieldSpec, FieldType, Frozen, Topic

Dialect = Literal["strict", "rich"]
"""strict: the subset every hosted service takes; rich: lengths and ranges too, for grammar engines.

Without lengths a small model behind a grammar writes one string until its tokens run out.
"""

JSON_TYPES: Mapping[FieldType, str] = {"number": "number", "bool": "boolean"}
"""Everything else is text as the client wrote it: normalising is ours, not the model's."""

STRING_LIMITS: Mapping[FieldType, int] = {
    "text": 2000, "person_name": 120, "phone": 40, "email": 120, "money": 60, "date": 60,
    "datetime": 60, "url": 300, "address": 300,
}  # fmt: skip
DEFAULT_STRING_LIMIT = 200
NUMBER_LENGTH = 24
SHORTEST_QUOTE = 60
"""Characters that a value may have however little the client wrote: a day, an amount, a name."""

WHAT_TO_WRITE: Mapping[FieldType, str] = {
    "string": "short text",
    "text": "text",
    "person_name": "the person's name as written",
    "phone": "phone number as written",
    "email": "e-mail address as written",
    "number": "a number",
    "money": "amount and currency as written",
    "date": "the day as YYYY-MM-DD if it is certain, else as written",
    "datetime": "the moment as YYYY-MM-DDTHH:MM if it is certain, else as written",
    "bool": "true or false",
    "choice": "exactly one of the listed values",
    "url": "link as written",
    "address": "address as written",
}

TOP_LEVEL = ("topic", "needs_human", "confidence", "language", "fields", "reply")
"""Order of the answer: a cut-off answer keeps its topic, so the reply comes last."""


class AnswerSpec(Frozen):
    """The questions of one portal: its topics, what to extract, how long a reply may be."""

    topics: tuple[Topic, ...] = ()
    fields: tuple[FieldSpec, ...] = ()
    reply_max_length: int = Field(default=600, ge=1, le=20_000)
    """Characters."""

    def model(self) -> type[BaseModel]:
        """Model that an answer must satisfy once it is JSON; unknown keys are ignored."""
        return _model(self)

    def json_schema(self, dialect: Dialect = "strict") -> dict[str, Any]:
        """Flat JSON schema: no `$ref`, everything required and nullable, topic first, reply last.

        The dict is shared between callers: read it, never change it.
        """
        return _json_schema(self, dialect)

    @property
    def hash(self) -> str:
        """Short name of this set of questions; changes when an answer could mean something else."""
        return _hash(self)

    def longest_answer(self, said: int) -> int:
        """Characters of the longest answer that makes sense when clients wrote `said` of them.

        Values are the client's own words, so none of them is longer than all he wrote.
        """
        form = len(example(self)) + max((len(topic.code) for topic in self.topics), default=40)
        quote = max(said, SHORTEST_QUOTE)
        values = sum(min(longest_value(field), quote) for field in self.fields)
        return form + values + self.reply_max_length

    def field(self, name: str) -> FieldSpec | None:
        return next((spec for spec in self.fields if spec.name == name), None)


@lru_cache(maxsize=256)
def _hash(spec: AnswerSpec) -> str:
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]


@lru_cache(maxsize=512)
def _json_schema(spec: AnswerSpec, dialect: Dialect) -> dict[str, Any]:
    rich = dialect == "rich"
    properties: dict[str, Any] = {
        "topic": _topic_schema(spec.topics, rich=rich),
        "needs_human": {"type": "boolean"},
        "confidence": {"type": "number"} | ({"minimum": 0, "maximum": 1} if rich else {}),
        "language": {"type": "string"} | ({"minLength": 2, "maxLength": 5} if rich else {}),
    }
    if spec.fields:
        properties["fields"] = _object(
            {field.name: _field_schema(field, rich=rich) for field in spec.fields}
        )
    properties["reply"] = {"type": "string"} | (
        {"maxLength": spec.reply_max_length} if rich else {}
    )
    return _object(properties)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _topic_schema(topics: tuple[Topic, ...], *, rich: bool) -> dict[str, Any]:
    if not topics:
        return {"type": ["string", "null"]} | ({"maxLength": 40} if rich else {})
    return {"type": ["string", "null"], "enum": [*(topic.code for topic in topics), None]}


def _field_schema(field: FieldSpec, *, rich: bool) -> dict[str, Any]:
    if field.type == "choice" and field.choices:
        schema: dict[str, Any] = {"type": ["string", "null"], "enum": [*field.choices, None]}
    else:
        json_type = JSON_TYPES.get(field.type, "string")
        schema = {"type": [json_type, "null"]}
        if rich and json_type == "string":
            schema["maxLength"] = longest_value(field)
    return schema | {"description": describe(field)}


def longest_value(field: FieldSpec) -> int:
    """Characters; for text it is the `maxLength` of the rich dialect."""
    if field.type == "choice" and field.choices:
        return max(map(len, field.choices))
    if field.type in JSON_TYPES:
        return NUMBER_LENGTH
    return field.max_length or STRING_LIMITS.get(field.type, DEFAULT_STRING_LIMIT)


def describe(field: FieldSpec) -> str:
    """One line about a field, for a schema or a prompt."""
    return f"{field.description}; {WHAT_TO_WRITE[field.type]}".removeprefix("; ")


@lru_cache(maxsize=256)
def _model(spec: AnswerSpec) -> type[BaseModel]:
    # Values of fields stay loose here: "80 тыс." for a number is a matter for normalising,
    # not a reason to pay for a second answer. Aliases, because an admin may well name a field
    # "schema" or "copy", which are attributes of every pydantic model.
    names: dict[str, Any] = {
        f"field_{field.name}": (JsonValue, Field(None, alias=field.name)) for field in spec.fields
    }
    fields: Any = create_model("Fields", __config__=ConfigDict(extra="ignore"), **names)
    topic: Any = Literal[tuple(topic.code for topic in spec.topics)] if spec.topics else str
    return create_model(
        "Answer",
        __config__=ConfigDict(extra="ignore"),
        topic=(topic | None, None),
        needs_human=(bool, False),
        confidence=(float, Field(ge=0, le=1)),
        language=(str, ""),
        fields=(fields, Field(default_factory=fields)),
        reply=(str, ...),
    )


def example(spec: AnswerSpec) -> str:
    """An empty answer as JSON: shows the form and gives a small model nothing to copy."""
    answer: dict[str, Any] = {"topic": None, "needs_human": False, "confidence": 0.0}
    answer["language"] = "ru"
    if spec.fields:
        answer["fields"] = dict.fromkeys((field.name for field in spec.fields), None)
    answer["reply"] = "…"
    return json.dumps(answer, ensure_ascii=False)
