"""The hook: a question from any HTTP client, answered with the model's checked reply.

Contract: POST /hooks/<portal-public-id>/ and GET of a pending call with the same token.
"""

from __future__ import annotations

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
from integrations.bitrix24.crm import ItemRef, entity_type_id
from integrations.bitrix24.events import document_ref
from integrations.bitrix24.forms import as_list, flag_of, text_of

MAX_TEXT = 20_000
LONGEST_WAIT_SECONDS = 55
DEFAULT_WAIT_SECONDS = 30
FIRST_LOOK_SECONDS = 0.1
LAST_LOOK_SECONDS = 0.5

_FLAGS = frozenset({"1", "0", "true", "false", "y", "n", "yes", "no", "on", "off"})

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
    entity_type: str = ""
    entity_id: int | None = Field(default=None, ge=1)
    dialog_id: str = Field(default="", max_length=40)
    update_crm: bool | None = None
    wait: float = Field(default=DEFAULT_WAIT_SECONDS, ge=0, le=LONGEST_WAIT_SECONDS)
    idempotency_key: str | None = Field(default=None, max_length=200)

    @field_validator("entity_type", "dialog_id", "text", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> str:
        if isinstance(value, dict | list):
            raise ValueError("must be text")
        return text_of(value)

    @field_validator("entity_id", "idempotency_key", "update_crm", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("update_crm", mode="before")
    @classmethod
    def _flag(cls, value: Any) -> Any:
        if isinstance(value, str | int) and str(value).lower() not in _FLAGS:
            raise ValueError("must be true or false")
        return flag_of(value) if isinstance(value, str | int) else value

    @field_validator("wait", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        return DEFAULT_WAIT_SECONDS if value in (None, "") else value


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
        call = _store(portal, heard, question.idempotency_key)
    except IntegrityError:
        # The same key at the same moment: the other request was first.
        call = Call.objects.get(portal=portal, idempotency_key=question.idempotency_key)
    # The platform's own step ignores the answer: waiting would only slow its queue down.
    return Asked(call, 0 if by_robot else question.wait)


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
        field = ".".join(str(part) for part in first["loc"])
        raise HookError(400, "invalid_parameter", f"'{field}': {first['msg']}.") from None
    document = data.get("document_id")
    item = _item(question)
    by_robot = document is not None and "entity_type" not in data
    if item is None and document is not None:
        item = document_ref(as_list(document) or document)
    if not question.text.strip() and item is None:
        raise HookError(400, "text_required", "Send 'text', the message to be answered.")
    if not question.text.strip() and not by_robot:
        raise HookError(400, "text_required", "Send 'text', the message to be answered.")
    return question, item, by_robot


def _item(question: _Question) -> ItemRef | None:
    if not question.entity_type and question.entity_id is None:
        return None
    if not question.entity_type or question.entity_id is None:
        raise HookError(400, "invalid_entity", "'entity_type' and 'entity_id' go together.")
    try:
        return ItemRef(entity_type_id(question.entity_type), question.entity_id)
    except ValueError:
        raise HookError(
            400,
            "invalid_entity",
            "'entity_type' must be lead, deal, contact, company or an entityTypeId.",
        ) from None


def _within_limits(portal: Portal) -> None:
    if not portal.works:
        raise HookError(503, "portal_not_working", "The app has no access to this portal now.", 60)
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


def _store(portal: Portal, heard: HookRequest, key: str | None) -> Call:
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
            id=call_id, portal=portal, dialog=dialog, idempotency_key=key, created_at=now
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
