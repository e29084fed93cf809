"""The values that travel through the model side: what is asked, what is known, what came back.

All of them are frozen. Nothing here talks to a network or a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Frozen(BaseModel):
    """A value: compared by content, never changed after it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


FieldType = Literal[
    "string", "text", "person_name", "phone", "email", "number", "money", "date", "datetime",
    "bool", "choice", "url", "address",
]  # fmt: skip


class FieldSpec(Frozen):
    """One thing the admin wants to know about the client."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")
    type: FieldType = "string"
    description: str = Field(default="", max_length=500)
    max_length: int | None = Field(default=None, ge=1, le=10_000)
    choices: tuple[str, ...] = ()


class Topic(Frozen):
    """One kind of enquiry, as the admin named it."""

    code: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")
    title: str = Field(min_length=1, max_length=120)
    description: str = Field(default="", max_length=1000)
    examples: tuple[str, ...] = ()
    instruction: str = Field(default="", max_length=2000)
    auto: bool = True
    """May a reply on this topic be sent without a person looking at it?"""
    handoff: bool = False
    """Always hand the dialog to a person when this topic is recognised."""


class Author(StrEnum):
    CLIENT = "client"
    BOT = "bot"
    OPERATOR = "operator"
    SYSTEM = "system"
    WHISPER = "whisper"


class Turn(Frozen):
    """One message of the conversation, in the order of time."""

    author: Author
    text: str
    at: datetime | None = None
    message_id: int | None = None
    name: str = ""


class Source(Frozen):
    """A piece of knowledge given to the model; `key` is shown to the operator and stored."""

    key: str
    title: str
    text: str
    url: str = ""
    internal: bool = False


class Answer(Frozen):
    """What the model said after it was understood, before it is believed (contract, section 6)."""

    reply: str = ""
    topic: str | None = None
    fields: Mapping[str, JsonValue] = Field(default_factory=dict)
    confidence: float = Field(default=0.0, ge=0.0, le=1.0)
    needs_human: bool = False
    language: str = ""


class Usage(Frozen):
    """Tokens as the server counted them, or our estimate, and what they cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    costs: Mapping[str, float] = Field(default_factory=dict)
    """Money by currency; empty when no price is known."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float | None:
        """The money, when it is of one currency: sums of several have no one number."""
        return next(iter(self.costs.values())) if len(self.costs) == 1 else None

    @property
    def currency(self) -> str:
        """The currency of `cost`, else empty."""
        return next(iter(self.costs)) if len(self.costs) == 1 else ""

    def __add__(self, other: Usage) -> Usage:
        costs = dict(self.costs)
        for currency, amount in other.costs.items():
            costs[currency] = costs.get(currency, 0.0) + amount
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            estimated=self.estimated or other.estimated,
            costs=costs,
        )


class Band(StrEnum):
    """How far a value or a reply can be trusted: by rules, not by what the model thinks of it."""

    CONFIDENT = "confident"
    CHECK = "check"
    UNSURE = "unsure"


class CheckedValue(Frozen):
    """One extracted value after normalising and looking for evidence in the client's own words."""

    field: str
    type: FieldType
    value: JsonValue
    """Normal form: E.164 phone, lower-case e-mail, ISO date, number, `{"amount": …, "currency":
    …}`, …"""
    raw: str = ""
    """What the model said, as text."""
    quote: str = ""
    """The client's own words that carry the value; empty when there are none."""
    band: Band = Band.UNSURE
    doubt: str = ""
    """Code of the reason for anything below CONFIDENT: not_in_text, normalised, several, ambiguous,
    …"""


class Doubt(Frozen):
    """One thing in a reply that nothing known supports."""

    kind: str
    """number, price, date, promise, link, phone, email, language, leak, markup, empty, too_long,
    forbidden_word"""
    text: str
    """The words in question, to be shown to the operator."""


class CheckedReply(Frozen):
    text: str
    band: Band
    doubts: tuple[Doubt, ...] = ()
    sources: tuple[str, ...] = ()
    """Keys of the sources that the claims of the reply rest on."""


def plain(value: Any) -> str:
    """A JSON value as the text a person would write."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "да" if value else "нет"
    return str(value)
