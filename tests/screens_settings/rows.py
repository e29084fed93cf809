"""A portal that has lived a little: every settings screen has something to show."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.utils import timezone

from bx_gpt_app.assistant.models import (
    Configuration,
    Delivery,
    Dialog,
    FieldValue,
    Question,
    Run,
    Spending,
    Suggestion,
)
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.frame import Frame
from integrations.bitrix24.crm import FieldInfo
from tests.factories import configure, make_dialog, make_line, make_message, make_portal

CANARY = "sk-canary-93e1f0b7c2d84a55-must-never-be-seen"
SPARE_CANARY = "sk-canary-7711aa0099ff-second-must-never-be-seen"
HEADER_CANARY = "header-canary-1f2e3d4c5b6a"
MODEL_URL = "https://api.openai.com/v1"


def frame_for(portal: Portal, **values: Any) -> Frame:
    defaults: dict[str, Any] = {
        "portal_id": portal.pk,
        "user_id": 1,
        "user_name": "Анна Иванова",
        "is_admin": True,
        "placement": "",
        "chat_id": None,
        "item": "",
        "language": "ru",
        "epoch": portal.session_epoch,
    }
    return Frame(**{**defaults, **values})


def lead_fields() -> dict[str, FieldInfo]:
    rows = [
        FieldInfo("TITLE", "Название", "string", max_length=255),
        FieldInfo("NAME", "Имя", "string"),
        FieldInfo("LAST_NAME", "Фамилия", "string"),
        FieldInfo("PHONE", "Телефон", "crm_multifield", multiple=True),
        FieldInfo("EMAIL", "E-mail", "crm_multifield", multiple=True),
        FieldInfo("COMMENTS", "Комментарий", "string"),
        FieldInfo("ID", "ID", "integer", read_only=True),
        FieldInfo(
            "UF_CRM_TOPIC",
            "Тема обращения",
            "enumeration",
            choices=(("79", "Установка и ремонт"), ("81", "Доставка")),
        ),
        FieldInfo("UF_CRM_VISIT", "Дата визита", "date"),
        FieldInfo("UF_CRM_BUDGET", "Бюджет клиента", "money"),
    ]
    return {row.name: row for row in rows}


def keep_fields(portal: Portal, entity_type_id: int = 1) -> None:
    portal.field_cache[str(entity_type_id)] = {
        "at": time.time(),
        "fields": {name: asdict(info) for name, info in lead_fields().items()},
    }
    portal.save(update_fields=["field_cache"])


def make_run(dialog: Dialog, **values: Any) -> Run:
    now = timezone.now()
    defaults: dict[str, Any] = {
        "portal": dialog.portal,
        "state": Run.State.DONE,
        "decision": Run.Decision.SUGGEST,
        "reason": "mode_suggest",
        "newest_message_id": dialog.newest_message_id,
        "answer": {"reply": "Здравствуйте! Заказ передан в доставку.", "confidence": 0.9},
        "reply": "Здравствуйте! Заказ передан в доставку.",
        "band": "confident",
        "topic": "delivery",
        "confidence": 0.9,
        "provider": "openai",
        "model": "gpt-4o-mini",
        "prompt_tokens": 900,
        "completion_tokens": 120,
        "cost": 0.41,
        "currency": "RUB",
        "heard_at": now - timedelta(seconds=2),
        "started_at": now - timedelta(seconds=1),
        "finished_at": now,
        "steps_ms": {"listen": 4, "read": 120, "model": 1210, "deliver": 90},
        "sources": [{"key": "s1", "title": "Доставка"}],
    }
    return Run.objects.create(dialog=dialog, **{**defaults, **values})


def make_suggestion(run: Run, **values: Any) -> Suggestion:
    defaults: dict[str, Any] = {
        "text": run.reply,
        "band": run.band,
        "state": Suggestion.State.READY,
    }
    return Suggestion.objects.create(
        portal=run.portal, dialog=run.dialog, run=run, **{**defaults, **values}
    )


def reviewed_line(portal: Portal, *, line_id: int, unedited: int, edited: int) -> None:
    """So many suggestions of a line that operators took, some of them with edits."""
    dialog = make_dialog(portal, chat_id=9000 + line_id, line_id=line_id)
    make_message(dialog, "Когда доставка?")
    run = make_run(dialog)
    for number in range(unedited + edited):
        final = "" if number < unedited else "Здравствуйте! Поправил сам."
        make_suggestion(run, state=Suggestion.State.SENT, final_text=final)


def make_lively_portal(**values: Any) -> Portal:
    """Two lines, dialogs with every kind of end, spending, knowledge, secrets in every place."""
    portal = make_portal(**values)
    make_line(portal, 22, title="Сайт", connected=True)
    make_line(portal, 23, title="Telegram")
    keep_fields(portal)
    configure(
        portal,
        lines={"22": {"mode": "suggest"}, "23": {"mode": "off"}},
        llm={
            "preset": "openai",
            "base_url": MODEL_URL,
            "api_key": CANARY,
            "model": "gpt-4o-mini",
            "extra_headers": {"X-Secret": HEADER_CANARY},
            "prices": {"input": 15, "output": 60, "currency": "RUB"},
            "fallback": {
                "preset": "deepseek",
                "base_url": "https://api.deepseek.com/v1",
                "api_key": SPARE_CANARY,
                "model": "deepseek-v4-flash",
            },
        },
        limits={"daily_cost": 500, "monthly_cost": 9000},
        knowledge=[
            {
                "title": "Доставка",
                "text": "Доставка по городу 300 ₽, на следующий день.",
                "topic": "delivery",
            },
            {"title": "Возврат", "text": "Вернуть товар можно за 14 дней.", "internal": True},
            {
                "title": "Акция",
                "text": "Скидка 10 % до конца октября.",
                "valid_until": "2026-10-31",
            },
        ],
    )
    portal.bindings = {
        "at": timezone.now().isoformat(),
        "base_url": "http://localhost:8000/b24/default/",
        "bound": [
            "event ONAPPINSTALL",
            "event ONCRMLEADADD",
            "placement IM_SIDEBAR",
            "robot ai_reply",
            "bot",
        ],
        "failed": [],
        "missing_scopes": [],
    }
    portal.last_event_at = timezone.now()
    portal.save()
    _dialogs(portal)
    _spending(portal)
    Question.objects.create(
        portal=portal, text="Работаете ли вы в праздники?", stems=["работ", "праздн"], similar=2
    )
    return portal


def _dialogs(portal: Portal) -> None:
    card = {"LEAD_77": {"id": 77, "title": "Лид", "fm": []}}
    dialog = make_dialog(
        portal, 112, items=["LEAD_77"], item_snapshot=card, client_name="Анна Петрова"
    )
    make_message(dialog, "Здравствуйте! Где мой заказ 1024? Телефон +7 916 123-45-67")
    run = make_run(
        dialog,
        values=[
            {
                "field": "phone", "type": "phone", "value": "+79161234567", "raw": "+7 916 123-45-67",
                "quote": "+7 916 123-45-67", "band": "confident", "doubt": "",
            }
        ],
    )  # fmt: skip
    make_suggestion(run, state=Suggestion.State.SENT, final_text="", closed_by="Ольга")
    FieldValue.objects.create(
        portal=portal, dialog=dialog, run=run, field="phone", type="phone", value="+79161234567",
        quote="+7 916 123-45-67", band="confident", item="LEAD_77", target="PHONE",
        policy="append", state=FieldValue.State.WRITTEN,
    )  # fmt: skip
    Delivery.objects.create(
        portal=portal, dialog=dialog, run=run, kind=Delivery.Kind.CRM, state=Delivery.State.SENT,
        sent_at=timezone.now(), result={"written": ["PHONE"], "skipped": {"TITLE": "already_filled"}},
    )  # fmt: skip

    angry = make_dialog(portal, 113, client_name="Пётр")
    make_message(angry, "Верните деньги!")
    make_run(
        angry, decision=Run.Decision.HAND_OVER, reason="topic_for_people", reason_detail="complaint",
        topic="complaint", band="check",
        doubts=[{"kind": "price", "text": "300 ₽"}],
    )  # fmt: skip

    silent = make_dialog(portal, 114, client_name="Мария")
    make_message(silent, "А можно с дельфинами поплавать у вас?")
    failed = make_run(
        silent, state=Run.State.FAILED, decision=Run.Decision.SUGGEST, reason="auth", reply="",
        topic="", band="unsure",
    )  # fmt: skip
    Delivery.objects.create(
        portal=portal, dialog=silent, run=failed, kind=Delivery.Kind.OPERATOR_MESSAGE,
        state=Delivery.State.FAILED, problem="not enough rights", problem_code="insufficient_scope",
        payload={"text": "Здравствуйте, Мария"},
    )  # fmt: skip
    other = make_run(silent, topic="other", reason="low_confidence", reason_detail="0.30 < 0.60")
    make_suggestion(other, state=Suggestion.State.CLOSED, closed_reason="newer", rating=-1)

    stuck = make_dialog(portal, 115, client_name="Олег", quarantined_at=timezone.now())
    stuck.problem = "KeyError in our own code; the host's log has the details"
    stuck.save(update_fields=["problem"])


def _spending(portal: Portal) -> None:
    today = timezone.localdate(timezone=timezone.get_default_timezone())
    for back in range(14):
        for line, purpose, cost in ((22, "reply", 18.5 + back % 5 * 7), (0, "rehearsal", 1.5)):
            Spending.objects.create(
                portal=portal, day=today - timedelta(days=back), model="gpt-4o-mini",
                purpose=purpose, line_id=line, prompt_number=1, calls=40 if line else 3,
                prompt_tokens=36_000, completion_tokens=4_800, cost=cost, currency="RUB", masked=12,
            )  # fmt: skip
    dialog = Dialog.objects.filter(portal=portal).first()
    assert dialog is not None
    for back in range(13):
        run = make_run(
            dialog, decision=Run.Decision.SEND if back % 4 == 0 else Run.Decision.SUGGEST
        )
        for number in range(back % 5 + 2):
            states = (Suggestion.State.SENT, Suggestion.State.SENT, Suggestion.State.CLOSED)
            row = make_suggestion(
                run,
                state=states[number % 3],
                final_text="Поправил" if number % 4 == 3 else "",
            )
            Suggestion.objects.filter(pk=row.pk).update(
                created_at=timezone.now() - timedelta(days=back)
            )
        then = timezone.now() - timedelta(days=back)
        reason = "auto" if run.decision == Run.Decision.SEND else "mode_suggest"
        Run.objects.filter(pk=run.pk).update(
            started_at=then, heard_at=then - timedelta(seconds=1.4), reason=reason
        )


def secrets_of(portal: Portal) -> list[str]:
    row = Configuration.objects.get(pk=portal.pk)
    assert row.api_key == CANARY
    assert row.fallback_api_key == SPARE_CANARY
    grant = portal.grants.get()
    return [
        CANARY, SPARE_CANARY, HEADER_CANARY, grant.access_token, grant.refresh_token,
        portal.application_token, portal.registration.client_secret,
    ]  # fmt: skip
