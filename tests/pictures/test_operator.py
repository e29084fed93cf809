"""The operator's frame in every state."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import FrameLocator, expect

from bx_gpt_app.assistant import pipeline, store
from bx_gpt_app.assistant.models import FieldValue, Run, Spending, Suggestion
from bx_gpt_app.portals.models import Portal
from tests.e2e.conftest import Stage
from tests.pictures.life import shop
from tests.pictures.steps import theme

WINDOW = 700
"""As high as the portal opens the frame beside a chat."""
BOILER = (
    "Здравствуйте! Сколько стоит котёл на 24 кВт с установкой? Меня зовут Анна Смирнова, "
    "телефон +7 916 555-12-34, бюджет 80 000 ₽, адрес: ул. Садовая, 12."
)
DELIVERY = "Здравствуйте! Сколько стоит доставка по городу?"
HOURS = "Подскажите режим работы?"


def ask(stage: Stage, text: str, name: str, *, chat_id: int | None = None) -> int:
    """A client's question that the worker has dealt with."""
    runs = Run.objects.filter(state__in=("done", "failed"))
    before = runs.count()
    chat_id = stage.client_says(text, chat_id=chat_id, name=name)
    assert stage.b24.wait_until(lambda: runs.count() > before, 30)
    return chat_id


def ready(stage: Stage, text: str, name: str, **place) -> FrameLocator:
    """Its draft beside the chat."""
    stage.chat_id = ask(stage, text, name)
    app = stage.open(chat_id=stage.chat_id, **place)
    expect(app.locator("#draft-text")).not_to_have_value("", timeout=15_000)
    return app


def state(app: FrameLocator, name: str) -> None:
    expect(app.locator(f'#draft[data-state="{name}"]')).to_be_visible(timeout=20_000)


@pytest.fixture
def open_shop(stage: Stage, model) -> Stage:
    model.set(latency_ms=300, jitter_ms=500)
    shop(stage.portal)
    return stage


def test_reply_and_everything_around_it(open_shop, album):
    stage = open_shop
    app = ready(stage, BOILER, "Анна Смирнова")
    album.frame(stage, "operator-confident")
    theme(app, "dark")
    album.frame(stage, "operator-confident-dark")
    theme(app, "light")
    app.locator("#draft-why summary").click()
    album.frame(stage, "operator-why")
    app.locator("#draft-why summary").click()
    app.locator("#draft-steer-open").click()
    album.frame(stage, "operator-steer", most=WINDOW)
    app.locator("#draft-steer-open").click()
    app.locator("#rate-bad").click()
    album.frame(stage, "operator-rate", least=WINDOW, most=WINDOW)
    app.locator("#rate-why [data-close]").click()
    app.locator('[data-dialog="#keys"]').click()
    album.frame(stage, "operator-keys", least=WINDOW, most=WINDOW)
    app.locator("#keys .primary").click()

    stage.page.locator("#composer").fill("Минуту, проверяю наличие")
    app.locator("#draft-insert").click()
    expect(app.locator("#insert-choice")).to_be_visible()
    album.frame(stage, "operator-insert-choice", most=WINDOW)
    app.locator('[data-action="insert-replace"]').click()
    expect(app.locator("#inserted")).to_be_visible()
    album.frame(stage, "operator-inserted", most=WINDOW)

    phone = FieldValue.objects.get(field="phone")
    app.locator(f"#value-{phone.pk}-write").click()
    expect(app.locator(f"#value-{phone.pk}-undo")).to_be_visible(timeout=10_000)
    album.frame(stage, "operator-value-written")

    app.locator("#draft-another").click()
    expect(app.locator("#draft-next")).to_be_visible(timeout=15_000)
    album.frame(stage, "operator-variants", most=WINDOW)

    app = ready(stage, DELIVERY, "Иван Петров")
    app.locator("#draft-text").fill("Иван, здравствуйте! По городу 490 ₽, привезём")
    stage.client_says(HOURS, chat_id=stage.chat_id)
    expect(app.locator("#draft-changed")).to_be_visible(timeout=15_000)
    album.frame(stage, "operator-client-added", most=WINDOW)


def test_sending(open_shop, album):
    stage = open_shop
    app = ready(stage, DELIVERY, "Иван Петров")
    app.locator("#draft-send").click()
    expect(app.locator("#send-cancel")).to_be_visible()
    album.frame(stage, "operator-sending")
    state(app, "sent")
    album.frame(stage, "operator-sent")

    app = ready(stage, DELIVERY, "Мария Орлова")
    app.locator("#draft-text").fill(
        "Мария, здравствуйте! Доставка по городу 490 ₽, привезём завтра до 14:00."
    )
    app.locator("#draft-send").click()
    expect(app.locator("#save-to-knowledge")).to_be_visible(timeout=20_000)
    album.frame(stage, "operator-sent-edited")


def test_doubts(open_shop, album):
    stage = open_shop
    app = ready(stage, DELIVERY, "Мария Орлова")
    Suggestion.objects.update(
        text="Мария, здравствуйте! Доставка по городу стоит 490 ₽, привезём завтра до 12:00.",
        band="check",
        doubts=[{"kind": "date", "text": "завтра до 12:00"}],
    )
    app = stage.open(chat_id=stage.chat_id)
    album.frame(stage, "operator-check")
    app.locator("#draft-send").click()
    expect(app.locator("#confirm")).to_be_visible()
    album.frame(stage, "operator-check-send", least=420)

    app = ready(stage, "Добрый день! А тепловые насосы вы ставите?", "Дмитрий Волков")
    Suggestion.objects.order_by("-pk").filter(dialog__key=str(stage.chat_id)).update(
        text="Дмитрий, здравствуйте! Подскажите, пожалуйста, для какого дома нужен насос?",
        band="unsure",
    )
    stage.open(chat_id=stage.chat_id)
    album.frame(stage, "operator-unsure")


def test_generating_and_waiting(open_shop, album, model):
    stage = open_shop
    app = ready(stage, HOURS, "Елена Крылова")
    model.set(latency_ms=15_000)
    app.locator("#draft-another").click()
    expect(app.locator("#draft .work .now", has_text="Пишу")).to_be_visible(timeout=10_000)
    album.frame(stage, "operator-generating")
    app.locator("#draft-cancel").click()
    model.set(latency_ms=300)
    state(app, "ready")

    stage.b24.operator_writes(stage.chat_id, 8, "Здравствуйте! Работаем с 9:00 до 19:00.")
    state(app, "closed")
    album.frame(stage, "operator-colleague")

    app = ready(stage, HOURS, "Сергей Никитин")
    stage.b24.operator_writes(stage.chat_id, 7, "Здравствуйте! Работаем с 9:00 до 19:00.")
    state(app, "waiting")
    album.frame(stage, "operator-waiting")


def test_where_there_is_nothing_to_suggest(open_shop, album):
    stage = open_shop
    stage.open(chat_id=stage.b24.private_chat(7))
    album.frame(stage, "operator-not-a-line")
    stage.open(user=7)
    album.frame(stage, "operator-list-empty")
    chat_id = ask(stage, DELIVERY, "Ольга Белова")
    store.change(stage.portal, by="Анна Иванова", lines={"22": {"mode": "off"}})
    stage.open(chat_id=chat_id)
    album.frame(stage, "operator-line-off")
    stage.open(chat_id=chat_id, user=1)
    album.frame(stage, "operator-line-off-admin")
    lead = stage.b24.add_item(1, {"TITLE": "Заявка с сайта", "NAME": "Вера"})
    stage.open(placement="CRM_LEAD_DETAIL_TAB", item_id=lead, width=900)
    album.frame(stage, "card-without-chat")


def test_trouble(open_shop, album, model, monkeypatch):
    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    stage = open_shop
    model.set(mode="error")
    chat_id = ask(stage, DELIVERY, "Вера Соколова")
    app = stage.open(chat_id=chat_id)
    state(app, "error")
    album.frame(stage, "operator-model-error")
    model.set(mode="normal")

    store.change(stage.portal, by="Анна Иванова", limits={"daily_cost": 500, "currency": "RUB"})
    Spending.objects.create(
        portal=stage.portal, day=timezone.localdate(timezone=timezone.get_default_timezone()),
        model="gpt-4o-mini", cost=501, currency="RUB", calls=900,
    )  # fmt: skip
    app = stage.open(chat_id=ask(stage, DELIVERY, "Олег Панин"))
    state(app, "budget")
    album.frame(stage, "operator-budget")
    Spending.objects.all().delete()
    store.change(stage.portal, by="Анна Иванова", limits={"daily_cost": None})

    app = ready(stage, DELIVERY, "Тимур Алиев")
    app.locator("#hints").click()
    state(app, "off")
    album.frame(stage, "operator-paused")
    app.locator("#hints").click()
    state(app, "ready")
    stage.page.route("**/dialogs/**", lambda route: route.abort())
    expect(app.locator("#offline")).to_be_visible(timeout=15_000)
    album.frame(stage, "operator-offline")
    stage.page.unroute("**/dialogs/**")

    app = stage.open(chat_id=stage.chat_id, denied="refreshAuth")
    Portal.objects.update(session_epoch=7)
    expect(app.locator("#session-ended")).to_be_visible(timeout=30_000)
    album.frame(stage, "operator-session-ended")


def test_automatic_replies(open_shop, album):
    stage = open_shop
    store.change(
        stage.portal, by="Анна Иванова", lines={"22": {"mode": "auto", "delay_seconds": 60}}
    )
    chat_id = ask_nothing(stage, BOILER, "Анна Смирнова")
    app = stage.open(chat_id=chat_id)
    state(app, "auto")
    album.frame(stage, "operator-auto")

    chat_id = ask(stage, "Третий раз пишу, никто не отвечает! Позовите человека!", "Пётр Зимин")
    app = stage.open(chat_id=chat_id)
    expect(app.locator(".handed")).to_be_visible(timeout=15_000)
    album.frame(stage, "operator-handed-over")


def ask_nothing(stage: Stage, text: str, name: str) -> int:
    """A question whose reply is held back and may still be stopped."""
    chat_id = stage.client_says(text, name=name)
    planned = Run.objects.filter(state__in=("decided", "done"), dialog__key=str(chat_id))
    assert stage.b24.wait_until(lambda: planned.exists(), 30)
    return chat_id


def test_card_list_and_menu(open_shop, album):
    stage = open_shop
    chat_id = ask(stage, BOILER, "Анна Смирнова")
    lead = stage.b24.chat(chat_id).crm["lead"]
    app = stage.open(placement="CRM_LEAD_DETAIL_TAB", item_id=lead, width=960)
    album.frame(stage, "card-with-chat")
    theme(app, "dark")
    album.frame(stage, "card-with-chat-dark")
    ask(stage, HOURS, "Анна Смирнова", chat_id=chat_id)
    stage.open(chat_id=chat_id)
    earlier = stage.page.locator("#messages li", has_text="Сколько стоит котёл")
    earlier.get_by_role("button").first.click()
    stage.page.frame_locator("#slider iframe").locator("html[data-ready]").wait_for()
    album.frame(stage, "operator-chosen-message", at="#slider")
    for text, name in ((DELIVERY, "Иван Петров"), (HOURS, "Мария Орлова")):
        ask(stage, text, name)
    stage.open(user=7, width=640)
    album.frame(stage, "operator-list")


def test_narrow_and_english(open_shop, album):
    stage = open_shop
    ready(stage, BOILER, "Анна Смирнова", width=360)
    album.frame(stage, "operator-360")
    object.__setattr__(stage.b24.options, "language", "en")
    app = ready(
        stage,
        "Hi! Do you ship to Kazakhstan? My email is john.smith@example.com",
        "John Smith",
    )
    app.locator("#draft-why summary").click()
    album.frame(stage, "operator-en")
    theme(app, "dark")
    album.frame(stage, "operator-en-dark")
