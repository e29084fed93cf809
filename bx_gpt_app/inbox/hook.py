"""The hook: a question from any HTTP client, answered with the model's checked reply.

Contract: POST /hooks/<portal-public-id>/ and GET of a pending call with the same token.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bx_gpt_app.assistant import spending, store
from bx_gpt_app.assistant.models import Call, Dialog, Event
from bx_gpt_app.assistant.tasks import wake_at
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.flow import HookRequest
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.crm import (
    COMPANY,
    CONTACT,
    DEAL,
    LARGEST_ID,
    LEAD,
    ItemRef,
    entity_type_id,
)
from integrations.bitrix24.events import document_ref
from integrations.bitrix24.forms import as_list, flag_of, text_of

MAX_TEXT = 20_000
LONGEST_WAIT_SECONDS = 55
DEFAULT_WAIT_SECONDS = 30
FIRST_LOOK_SECONDS = 0.1
LAST_LOOK_SECONDS = 0.5

_FLAGS = frozenset({"1", "0", "true", "false", "y", "n", "yes", "no", "on", "off"})
_NAMED_TYPES = {"lead": LEAD, "deal": DEAL, "contact": CONTACT, "company": COMPANY}

_waiting = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 4))
"""At most a quarter of the process's threads wait for answers; events keep the rest."""


class HookError(Exception):
    """A refusal: HTTP status, code and a sentence that says what to do."""

    def __init__(self, status: int, code: str, sentence: str, retry_after: int = 0) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.retry_after = retry_after


class _Question(BaseModel):
    """What a caller may send, checked. Everything comes as text from forms and queries."""

    model_config = ConfigDict(extra="ignore")

    text: str = ""
    type: Literal["chat", "email", "form", "note"] = "note"
    entity_type: int | str | None = None
    entity_id: int | None = None
    dialog_id: str = Field(default="", max_length=40)
    update_crm: bool | None = None
    wait: float = Field(default=DEFAULT_WAIT_SECONDS, ge=0, le=LONGEST_WAIT_SECONDS)
    idempotency_key: str | None = Field(default=None, max_length=200)

    @field_validator("text", mode="before")
    @classmethod
    def _text(cls, value: Any) -> str:
        if not isinstance(value, str | None):
            raise ValueError("must be text")
        return value or ""

    @field_validator("dialog_id", mode="before")
    @classmethod
    def _name(cls, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise ValueError("must be text")
        return text_of(value)

    @field_validator("entity_type", mode="before")
    @classmethod
    def _type(cls, value: Any) -> int | str | None:
        """As the caller wrote it, so that he gets it back; what it names is `_type_id`."""
        if value in (None, ""):
            return None
        if _type_id(value) is None:
            raise ValueError("must be lead, deal, contact, company or a number (entityTypeId)")
        return value if isinstance(value, int) else str(value).strip().lower()

    @field_validator("entity_id", mode="before")
    @classmethod
    def _id(cls, value: Any) -> int | None:
        if value in (None, ""):
            return None
        number = _whole(value)
        if number is None:
            raise ValueError("must be the number of an item")
        return number

    @field_validator("update_crm", mode="before")
    @classmethod
    def _flag(cls, value: Any) -> bool | None:
        if value in (None, ""):
            return None
        if not isinstance(value, str | int) or str(value).lower() not in _FLAGS:
            raise ValueError("must be true or false")
        return flag_of(value)

    @field_validator("wait", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number of seconds")
        return DEFAULT_WAIT_SECONDS if value in (None, "") else value

    @field_validator("idempotency_key", mode="before")
    @classmethod
    def _key(cls, value: Any) -> Any:
        return None if value == "" else value


def _whole(value: Any) -> int | None:
    """A positive number as ids are, of JSON or written in digits; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= LARGEST_ID:
        return None
    return value


def _type_id(value: Any) -> int | None:
    """entityTypeId of what a caller may write as `entity_type`, None when it is not one."""
    if isinstance(value, str) and value.strip().lower() in _NAMED_TYPES:
        return _NAMED_TYPES[value.strip().lower()]
    number = _whole(value)
    try:
        ref = ItemRef(entity_type_id(number), 1) if number else None
    except ValueError:
        return None
    return ref.entity_type_id if ref and ref.is_universal else None


@dataclass(frozen=True)
class Asked:
    """A stored call, and how long its caller is ready to wait."""

    call: Call
    wait_seconds: float


def portal_of(public_id: str, token: str) -> Portal:
    """Raises: HookError 404 or 401."""
    portal = Portal.objects.select_related("registration").filter(public_id=public_id).first()
    if portal is None or portal.state == Portal.State.GONE:
        raise HookError(404, "unknown_portal", "There is no portal at this address.")
    if not token or not portal.accepts_hook_token(token):
        raise HookError(
            401,
            "unauthorized",
            "Send the portal's hook token as 'Authorization: Bearer …' or as parameter 'token'.",
        )
    return portal


def ask(portal: Portal, data: Mapping[str, Any]) -> Asked:
    """Store the question and wake a worker. The same idempotency key is the same call.

    Raises: HookError 400, 413, 429, 503.
    """
    question, item, by_robot = _checked(data)
    if question.idempotency_key:
        earlier = Call.objects.filter(
            portal=portal, idempotency_key=question.idempotency_key
        ).first()
        if earlier:
            return Asked(earlier, question.wait)
    _within_limits(portal)
    wants_crm = question.update_crm if question.update_crm is not None else item is not None
    heard = HookRequest(
        text=question.text,
        type=question.type,
        item=str(item) if item else "",
        dialog_id=question.dialog_id,
        update_crm=wants_crm,
    )
    try:
        call = _store(portal, heard, question)
    except IntegrityError:
        # The same key at the same moment: the other request was first.
        call = Call.objects.get(portal=portal, idempotency_key=question.idempotency_key)
    # The platform's own step ignores the answer: waiting would only slow its queue down.
    return Asked(call, 0 if by_robot and "wait" not in data else question.wait)


def answer_of(portal: Portal, call: Call) -> dict[str, Any] | None:
    """What came of an earlier call, None while it is worked at.

    Raises: HookError 503 when it waits for a portal that does not work.
    """
    answer = _answer_of(call)
    if answer is None:
        _require_working(portal)
    return answer


def wait_for(asked: Asked) -> dict[str, Any] | None:
    """The answer, or None when the wait is over or too many callers wait already."""
    answer = _answer_of(asked.call)
    if answer or asked.wait_seconds <= 0 or not _waiting.acquire(blocking=False):
        return answer
    try:
        deadline, pause = time.monotonic() + asked.wait_seconds, FIRST_LOOK_SECONDS
        while answer is None and time.monotonic() < deadline:
            give_back_connection()
            time.sleep(min(pause, max(deadline - time.monotonic(), 0)))
            pause = min(pause * 1.3, LAST_LOOK_SECONDS)
            asked.call.refresh_from_db(fields=["response"])
            answer = _answer_of(asked.call)
        return answer
    finally:
        _waiting.release()


def _answer_of(call: Call) -> dict[str, Any] | None:
    return dict(call.response) if call.response else None


def _checked(data: Mapping[str, Any]) -> tuple[_Question, ItemRef | None, bool]:
    """The question, its CRM item, and whether the platform's outgoing-webhook step asks.

    Source: the step sends document_id only; everything else is in the address it was given.
    """
    if len(text_of(data.get("text"))) > MAX_TEXT:
        raise HookError(413, "text_too_long", f"'text' may have {MAX_TEXT} characters at most.")
    try:
        question = _Question.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field, told = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        code = "invalid_entity" if field == "entity_type" else "invalid_parameter"
        raise HookError(400, code, f"'{field}': {told}.") from None
    by_robot = "document_id" in data
    item = _item(question, _document(data.get("document_id")))
    if not question.text.strip() and not (item and by_robot):
        raise HookError(400, "text_required", "Send 'text', the message to be answered.")
    return question, item, by_robot


def _document(document_id: Any) -> ItemRef | None:
    ref = document_ref(as_list(document_id))
    return ref if ref and ref.is_universal else None


def _item(question: _Question, document: ItemRef | None) -> ItemRef | None:
    """The CRM item that is meant: `entity_type` with `entity_id`, else the step's own document.

    One of the two beside a document must agree with it: nothing is written into a card that
    somebody may not have meant.
    """
    type_id, item_id = _type_id(question.entity_type), question.entity_id
    if type_id and item_id:
        return ItemRef(type_id, item_id)
    if not type_id and not item_id:
        return document
    if document is None:
        raise HookError(400, "invalid_entity", "'entity_type' and 'entity_id' go together.")
    if type_id not in (None, document.entity_type_id) or item_id not in (None, document.item_id):
        sentence = "'entity_type' or 'entity_id' names another item than 'document_id'."
        raise HookError(400, "invalid_entity", sentence)
    return document


def _require_working(portal: Portal) -> None:
    if not portal.works:
        raise HookError(503, "portal_not_working", "The app has no access to this portal now.", 60)


def _within_limits(portal: Portal) -> None:
    _require_working(portal)
    config, _revision = store.load(portal)
    since = timezone.now() - timedelta(minutes=1)
    recent = Call.objects.filter(portal=portal, created_at__gte=since).count()
    if recent >= config.limits.requests_per_minute:
        raise HookError(429, "too_many_requests", "Too many calls in a minute; try later.", 60)
    budget = spending.budget(portal, config)
    if budget.is_over:
        daily = budget.what.startswith("daily")
        raise HookError(
            429,
            "over_quota",
            f"The portal's limit '{budget.what}' is used up.",
            3600 if daily else 86_400,
        )


def _store(portal: Portal, heard: HookRequest, question: _Question) -> Call:
    now, call_id = timezone.now(), uuid.uuid4()
    with transaction.atomic():
        dialog = Dialog.objects.create(
            portal=portal,
            kind=Dialog.Kind.HOOK,
            key=str(call_id),
            items=[heard.item] if heard.item else [],
            due_at=now,
            last_message_at=now,
        )
        call = Call.objects.create(
            id=call_id,
            portal=portal,
            dialog=dialog,
            idempotency_key=question.idempotency_key,
            request={"entity_type": question.entity_type},
            created_at=now,
        )
        Event.objects.create(
            portal=portal,
            dialog=dialog,
            source_key=f"hook:{call_id}",
            kind=heard.kind,
            payload=heard.model_dump(mode="json"),
            received_at=now,
        )
        wake_at(dialog.pk)
    return call
