"""A question to a model and what came of it: the two ends of `Gateway.answer`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from integrations.llm.failures import Failure
from integrations.llm.language import detect_language
from integrations.llm.providers import Capabilities, Step
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Answer, Author, Frozen, Source, Turn, Usage

How = Step | Literal["partial", "plain", "failed"]
OUT_OF_FORM: tuple[How, ...] = ("partial", "plain")
"""What a second chance did not mend either: it may be suggested and never goes out by itself."""


class AnswerRequest(Frozen):
    """One question: what to answer, with what at hand."""

    spec: AnswerSpec
    conversation: tuple[Turn, ...]
    now: datetime
    """Aware, in the portal's zone."""
    instructions: str = ""
    """The admin's prompt; its variables are filled in from `variables`."""
    variables: Mapping[str, str] = Field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    crm_facts: Mapping[str, str] = Field(default_factory=dict)
    default_language: str = "ru"
    steer: str = ""
    """What the operator asks for: shorter, warmer, …"""
    mask: bool = False
    """Replace personal data before the text leaves and restore it in the answer."""
    mask_names: bool = False
    max_input_chars: int | None = None
    """None: what the provider takes."""

    @property
    def reply_language(self) -> str:
        """Language of the client's latest messages, the portal's when it cannot be told."""
        newest: list[str] = []
        for turn in reversed(self.conversation):
            if turn.author in (Author.BOT, Author.OPERATOR) and newest:
                break
            if turn.author is Author.CLIENT:
                newest.append(turn.text)
        return detect_language("\n".join(reversed(newest)), self.default_language)


class Bill(Frozen):
    """What one server was given in the course of a question, and what it charged."""

    provider_kind: str
    model: str
    origin: str
    own_network: bool
    leaves_country: bool
    calls: int
    """HTTP requests made."""
    characters: int
    """Of all prompts that were sent."""
    usage: Usage
    masked: Mapping[str, int] = Field(default_factory=dict)
    """Kind of personal data → different values that went out as placeholders."""
    left: Mapping[str, int] = Field(default_factory=dict)
    """Kind of personal data → different values that went out as they are."""


class Result(Frozen):
    """What came of a question. One of:

    - `answer` is set: understood; with `how == "partial"` only what of it kept to the form;
    - `how == "plain"`: only `text` is there, prose to suggest, never to send by itself;
    - `how == "failed"` with `retry_in`: ask again later; without: asking again will not help.
    """

    answer: Answer | None = None
    text: str = ""
    how: How = "failed"
    provider_kind: str = ""
    model: str = ""
    usage: Usage = Usage()
    """Of all servers together."""
    bills: tuple[Bill, ...] = ()
    """One for each server that was called, also when nothing came of it."""
    failures: tuple[Failure, ...] = ()
    """Everything that went wrong on the way, also when it ended well."""
    reason: str = ""
    """ok, plain_text, or the code of the failure that decided (a key of `failures.SENTENCES`)."""
    retry_in: float | None = None
    """Seconds."""
    latency_ms: int = 0
    model_ms: int = 0
    """Part of `latency_ms` that was spent waiting for servers."""
    calls: int = 0
    """HTTP requests made."""
    repaired: bool = False
    """A second round trip was needed to understand the answer."""
    masked_counts: Mapping[str, int] = Field(default_factory=dict)
    """What was hidden from the server that answered, or from the last one asked."""
    capabilities_learned: Capabilities | None = None
    """Set when the server turned out different from what was known: store it with the provider."""
    probe_due: bool = False
    """The server broke the form several times in a row: repeat the connection test."""
    canary: str = ""

    @property
    def needs_human(self) -> bool:
        return self.answer.needs_human if self.answer else True


class KeyCheck(Frozen):
    """Result of trying a key: codes and numbers, the words are the screen's."""

    code: str
    """ok, or a key of `failures.SENTENCES`."""
    status: int | None = None
    latency_ms: int = 0
    models: int | None = None
    """How many models the server lists; None when it lists none."""
    model_listed: bool | None = None
    """Is the configured model among them? None when it cannot be told."""
    failure: Failure | None = None
