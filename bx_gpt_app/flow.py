"""The values that travel, in the order of the journey. Read this first, then assistant/pipeline.py.

payload → TriggerInput → (Event row) → Context → model's Answer → Judgement → Decision → Delivery
→ ActionReport
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from integrations.llm.values import (
    Answer,
    Author,
    CheckedReply,
    CheckedValue,
    Frozen,
    Source,
    Turn,
)

# ---- 1. heard ----


class Chat(Frozen):
    """The open-line chat a message belongs to, as its event describes it."""

    chat_id: int
    line_id: int | None = None
    connector: str = ""
    entity_id: str = ""
    session_id: int | None = None
    items: tuple[str, ...] = ()
    """CRM items bound to the chat, as LEAD_77, the most specific first."""
    title: str = ""
    blocked: bool = False
    with_people: bool = Field(default=False, exclude_if=lambda value: not value)
    """Not our bot holds the session: operators do, or their queue."""


class ChatMessage(Frozen):
    """Somebody wrote, edited or deleted a message in a chat that our bot is in."""

    kind: Literal["message"] = "message"
    change: Literal["add", "update", "delete"] = "add"
    message_id: int
    author: Author
    author_id: int | None = None
    author_name: str = ""
    text: str = ""
    files: int = 0
    at: datetime | None = None
    language: str = ""
    late: bool = Field(default=False, exclude_if=lambda value: not value)
    """Heard some time after it was said: only `at` tells when that was."""
    chat: Chat


class BotJoined(Frozen):
    kind: Literal["joined"] = "joined"
    chat: Chat


class HookRequest(Frozen):
    """A question from any HTTP client: a workflow, a form, a script (contract, section 4)."""

    kind: Literal["hook"] = "hook"
    text: str = ""
    type: Literal["chat", "email", "form", "note"] = "note"
    item: str = ""
    """CRM item to read and fill, as LEAD_77; empty when there is none."""
    dialog_id: str = ""
    update_crm: bool = False


class RobotRequest(Frozen):
    """An automation rule reached our step. Source: api-reference/bizproc/bizproc-robot."""

    kind: Literal["robot"] = "robot"
    code: str
    text: str = ""
    item: str = ""
    update_crm: bool = True
    event_token: str = Field(repr=False)
    waits: bool = True
    give_up_at: datetime | None = None


class ItemAppeared(Frozen):
    """A lead, an e-mail or a web form came into the CRM; only its id is known yet."""

    kind: Literal["item"] = "item"
    item: str = ""
    activity_id: int | None = None


TriggerInput = Annotated[
    ChatMessage | BotJoined | HookRequest | RobotRequest | ItemAppeared,
    Field(discriminator="kind"),
]
trigger_input: TypeAdapter[TriggerInput] = TypeAdapter(TriggerInput)


# ---- 2. known ----


class ItemFacts(Frozen):
    """A CRM item as it was read: raw values by the platform's names, and titles for people."""

    ref: str
    values: Mapping[str, JsonValue] = Field(default_factory=dict)
    facts: Mapping[str, str] = Field(default_factory=dict)
    """Title → value in words: what the model may know of the client."""


class Context(Frozen):
    """Everything the model is told, and what its answer is later held against."""

    conversation: tuple[Turn, ...]
    newest_message_id: int = 0
    sources: tuple[Source, ...] = ()
    items: tuple[ItemFacts, ...] = ()
    now: datetime
    client_language: str = "ru"
    variables: Mapping[str, str] = Field(default_factory=dict)

    @property
    def client_texts(self) -> tuple[str, ...]:
        return tuple(turn.text for turn in self.conversation if turn.author is Author.CLIENT)

    @property
    def our_texts(self) -> tuple[str, ...]:
        """What our side said already: operators, and the bot's own replies that went out."""
        ours = (Author.OPERATOR, Author.BOT)
        return tuple(turn.text for turn in self.conversation if turn.author in ours)


# ---- 3. judged and decided ----


class Judgement(Frozen):
    """The model's answer after it was checked: what can be believed, and what is doubted."""

    answer: Answer
    reply: CheckedReply
    values: tuple[CheckedValue, ...] = ()
    topic: str | None = None
    confidence: float = 0.0
    needs_human: bool = False
    plain_text: bool = False
    """The model could not keep to the form: its words may be suggested, never sent by us."""


Act = Literal["send", "suggest", "hand_over", "return", "skip"]


class Decision(Frozen):
    """What happens with a reply, and the reason that is shown to people.

    `say` is what the client is told: the reply, the hand-over text, or nothing.
    """

    act: Act
    reason: str
    detail: str = ""
    say: str = ""
    to_person: bool = False
    """The dialog is handed to the line's operators."""


class ActionReport(Frozen):
    """What an act did, for the ledger and the log."""

    ok: bool = True
    result: Mapping[str, JsonValue] = Field(default_factory=dict)
    written: tuple[str, ...] = ()
    skipped: Mapping[str, str] = Field(default_factory=dict)
