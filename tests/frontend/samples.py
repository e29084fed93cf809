"""What the server side would give to the templates: one example of every state."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator

Values = dict[str, Any]

DRAFT_TEXT = "Анна, здравствуйте! Заказ № 1024 передан в доставку, курьер позвонит вам за час."


def make_draft(**changes: Any) -> Values:
    return {
        "state": "ready",
        "suggestion_id": "s-1",
        "text": DRAFT_TEXT,
        "band": "confident",
        "doubts": [],
        "can_insert": True,
        "dialog_id": "chat112",
        "used_url": "/api/used",
        "send_url": "/api/send",
        "regenerate_url": "/api/regenerate",
        "rate_url": "/api/rate",
        "variant_number": 1,
        "variant_count": 2,
        "next_url": "/api/next",
        "explanation": {
            "sources": [
                {"title": "Доставка по городу", "text": "Курьер звонит за час до приезда."},
                {"title": "Служебно: сбои склада", "internal": True},
            ],
            "crm": [
                {"title": "Заказ", "value": "№ 1024"},
                {"title": "Статус", "value": "В доставке"},
            ],
            "cost_line": "Промпт v7 · 1,2 с · 0,41 ₽",
        },
        **changes,
    }


def make_value(**changes: Any) -> Values:
    return {
        "id": "phone",
        "title": "Телефон",
        "band": "confident",
        "state": "proposed",
        "text": "+7 900 000-00-24",
        "input_type": "tel",
        "quote": "мой номер +7 900 000-00-24",
        "current": "",
        "number": 1,
        "write_url": "/api/value/phone",
        **changes,
    }


def make_values(**changes: Any) -> Values:
    return {
        "rows": [
            make_value(),
            make_value(
                id="address",
                title="Адрес",
                band="check",
                text="ул. Садовая, 12",
                input_type="text",
                current="ул. Полевая, 3",
                quote="теперь везите на Садовую 12",
                number=2,
            ),
            make_value(
                id="date",
                title="Дата доставки",
                band="unsure",
                text="",
                quote="",
                number=3,
                input_type="date",
            ),
        ],
        "confident_count": 1,
        "write_confident_url": "/api/values/confident",
        "dismiss_url": "/api/values/dismiss",
        **changes,
    }


def make_operator(**changes: Any) -> Values:
    return {
        "placement": "IM_SIDEBAR",
        "is_card": False,
        "topics": [
            {"code": "delivery", "title": "Доставка"},
            {"code": "refund", "title": "Возврат"},
        ],
        "topic": "delivery",
        "topic_url": "/api/topic",
        "hints_on": True,
        "pause_url": "/api/pause",
        "settings_url": "/page/styleguide",
        **changes,
    }


DOUBT = "Срок доставки не найден в базе знаний."
DRAFTS: dict[str, Values] = {
    "ready": make_draft(poll_url="/api/draft?rev=1"),
    "check": make_draft(band="check", doubts=[DOUBT]),
    "unsure": make_draft(
        band="unsure",
        doubts=["Ничего не найдено. Спросите клиента."],
        text="Подскажите, пожалуйста, номер заказа?",
    ),
    "card": make_draft(can_insert=False),
    "generating": make_draft(
        state="generating",
        poll_url="/api/draft?rev=1",
        poll_every="800ms",
        cancel_url="/api/cancel",
        steps=[
            {"text": "Читаю переписку…", "state": "done"},
            {"text": "Ищу в базе знаний…", "state": "now"},
            {"text": "Пишу ответ…", "state": "next"},
        ],
    ),
    "sending": make_draft(state="sending", seconds=5, cancel_url="/api/send/cancel"),
    "auto": make_draft(
        state="auto",
        seconds=20,
        seconds_text="0:20",
        stop_url="/api/stop",
        edit_url="/api/edit",
        auto_off_url="/api/auto-off",
    ),
    "sent": make_draft(state="sent", save_to_knowledge_url="/api/knowledge"),
    "waiting": make_draft(state="waiting", now_url="/api/now"),
    "closed": make_draft(state="closed", message="Ответила Анна. Черновик закрыт."),
    "error": make_draft(state="error", message="Модель не ответила за 20 с.", now_url="/api/now"),
    "budget": make_draft(
        state="budget", message="Закончился дневной лимит (500 ₽). Администратору уже сообщили."
    ),
    "not_line": make_draft(state="not_line"),
    "none": make_draft(state="none"),
    "unheard": make_draft(state="unheard"),
    "off": make_draft(state="off", enable_url="/api/enable"),
    "loading": make_draft(state="loading"),
}

NAV_ITEMS = [
    {"url": "/page/styleguide", "title": "Обзор", "icon": "chart-bar", "current": True},
    {"url": "/page/operator", "title": "Модель", "icon": "cpu-chip"},
    {"url": "/page/settings/prompts", "title": "Промпты", "icon": "document-text"},
    {"url": "/page/settings/fields", "title": "Поля CRM", "icon": "table-cells"},
    {"url": "/page/settings/lines", "title": "Линии и режим", "icon": "chat-bubble-left-right"},
    {"url": "/page/settings/knowledge", "title": "База знаний", "icon": "book-open"},
    {"url": "/page/settings/log", "title": "Журнал", "icon": "list-bullet", "badge": "3"},
]


def _points() -> list[Values]:
    points = []
    for day in range(1, 15):
        reply, extract = 0.5 + day * 3 % 11, 1.5 + day % 4
        points.append({
            "label": f"{day} ноября", "short": str(day),
            "bars": [
                {"base": 0, "value": reply, "text": f"{reply:.1f}".replace(".", ",")},
                {"base": reply, "value": extract, "text": f"{extract:.1f}".replace(".", ",")},
            ],
        })  # fmt: skip
    return points


GUIDE: Values = {
    "stats": [
        {"title": "Подсказок сегодня", "value": "128", "hint": "на 12 больше, чем вчера", "good": True},
        {"title": "Приняли без правок", "value": "86 %", "hint": "нужно 80 %"},
        {"title": "Медиана ожидания", "value": "1,2 с", "hint": "на 0,3 с дольше", "good": False},
        {"title": "Расходы", "value": "41,30 ₽", "hint": "из 500 ₽"},
    ],
    "chart": {
        "id": "spend", "title": "Расходы за 14 дней, ₽", "point_title": "День",
        "series": ["Ответы", "Извлечение"], "max": 16.0, "half": 8.0, "max_text": "16", "half_text": "8",
        "points": _points(),
    },
    "steps": [
        {"state": "done", "title": "Приложение подключено", "hint": "romashka.bitrix24.ru"},
        {"state": "todo", "title": "Модель", "hint": "Ключ или пробный доступ", "url": "/page/styleguide", "action": "Выбрать"},
        {"state": "failed", "title": "Нет права «crm»", "hint": "Без него поля не записать", "post_url": "/api/x", "action": "Проверить"},
    ],
    "bands": ["confident", "check", "unsure"],
    "banners": [
        {"kind": "info", "text": "На портале нет открытых линий. Создайте линию в Контакт-центре — она появится здесь сама."},
        {"kind": "ok", "text": "Ключ работает, доступны 12 моделей."},
        {"kind": "warn", "text": "Израсходовано 80 % дневного лимита."},
        {"kind": "bad", "text": "Портал не отвечает с 14:05. Повторим сами.", "url": "/api/x", "action": "Повторить сейчас"},
    ],
    "rows": [
        {"line": "Сайт", "model": "gpt-4o-mini", "count": "812", "cost": "312,40 ₽"},
        {"line": "Telegram, поддержка розничных покупателей", "model": "qwen-2.5-72b-instruct", "count": "1 204", "cost": "88,10 ₽"},
    ],
    "diff": [("equal", "Отвечай "), ("delete", "подробно"), ("insert", "коротко"), ("equal", ", на «вы».")],
    "page": Paginator(range(60), 10).page(2),
    "dialog_items": ["Подсказки на всех линиях пойдут по новой версии", "Автоответы подождут 10 минут"],
}  # fmt: skip
