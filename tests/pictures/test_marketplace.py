"""Five pictures of 1280×720 for the marketplace: a caption above what the product really shows."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Locator, expect

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Delivery, Dialog, Run
from bx_gpt_app.portals.models import Portal
from tests.e2e.conftest import Stage
from tests.e2e.test_demo import open_page, show
from tests.pictures.conftest import SHOPS_ADDRESS, Album
from tests.pictures.steps import go, make_automatic

__all__ = ["show"]

WIDTH, HEIGHT, CAPTION, HEADER = 1280, 720, 64, 54
LOGO = Path(__file__).resolve().parents[2] / "bx_gpt_app" / "static" / "img" / "favicon.svg"
CARD = """<!doctype html><meta charset="utf-8"><style>
  body {{ margin: 0; font: 600 24px "Open Sans", sans-serif; }}
  p {{ display: flex; align-items: center; gap: 16px; box-sizing: border-box; height: {height}px;
    margin: 0; padding: 0 24px; background: #143c66; color: #fff; }}
  img {{ display: block; }}
</style><p><img src="data:image/svg+xml;base64,{logo}" width="36" height="36">{caption}</p>
<img src="data:image/png;base64,{picture}">"""
CUT = """() => {
  const blocks = () => [...document.querySelectorAll('.card:not(.draft), .table-wrap, .value, .sources > *')];
  for (const block of blocks().reverse()) {
    if (block.getBoundingClientRect().bottom > innerHeight - 6) block.hidden = true;
  }
}"""
"""What would end in the middle is left out, so that nothing is shown cut off."""
FIRST = (
    "Здравствуйте! Меня зовут Анна Смирнова, телефон +7 916 555-12-34. "
    "Сколько стоит котёл на 24 кВт с установкой?"
)
NEXT = "А сколько стоит доставка по городу? Адрес: ул. Садовая, 12. Спасибо!"
CARD_FILLS = (
    "Добрый день! Сколько стоит бойлер на 100 литров? Меня зовут Анна Смирнова, "
    "+7 916 555-12-34, smirnova@example.com. Бюджет 30 000 ₽, нужен в пятницу, ул. Садовая, 12"
)


def advertise(album: Album, shown: Locator, number: int, caption: str) -> None:
    """The shown part of the product under its caption."""
    page = album.blank
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.set_content(
        CARD.format(
            height=CAPTION,
            logo=base64.b64encode(LOGO.read_bytes()).decode(),
            caption=caption,
            picture=base64.b64encode(shown.screenshot(caret="initial")).decode(),
        )
    )
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    album.keep(page, str(number), folder="marketplace")


# ---- the chat, the suggestion and the card: the columns of the demo, without what only a demo has


@pytest.fixture
def columns(show: Stage, settings) -> Stage:
    open_page(show, settings)
    show.page.set_viewport_size({"width": WIDTH, "height": HEIGHT - CAPTION + HEADER})
    return show


def client_says(stage: Stage, text: str, *, answered: int) -> None:
    stage.page.locator("#client-text").fill(text)
    stage.page.locator("#client-text").press("Enter")
    done = Run.objects.filter(trigger="message", state="done")
    assert stage.b24.wait_until(lambda: done.count() >= answered, 30)


def without_demo(stage: Stage) -> Locator:
    for name in ("#client-form", "#role", "#mode", "#new-client"):
        stage.page.locator(name).evaluate("element => { element.hidden = true; }")
    stage.page.mouse.move(1, 1)
    messages = stage.page.locator("#messages")
    messages.evaluate("list => { list.scrollTop = list.scrollHeight; }")
    stage.page.frame_locator("#app").locator("html").evaluate(CUT)
    return stage.page.locator(".demo-columns")


def test_suggestion_beside_the_chat(columns, album):
    frame, page = columns.page.frame_locator("#app"), columns.page
    client_says(columns, FIRST, answered=1)
    expect(frame.locator("#draft-text")).to_have_value(re.compile(r"77\s400"), timeout=20_000)
    frame.locator("#draft-insert").click()
    expect(page.locator("#composer")).not_to_have_value("")
    page.locator("#composer").press("Enter")
    expect(page.locator(".message.operator")).to_be_visible()
    client_says(columns, NEXT, answered=2)
    expect(frame.locator("#draft-text")).to_have_value(re.compile("490"), timeout=20_000)
    expect(frame.locator("#inserted")).to_be_hidden(timeout=10_000)
    frame.locator("#draft-why summary").click()
    expect(page.locator("#fields")).to_contain_text("Садовая")

    shown = without_demo(columns)
    advertise(album, shown, 1, "Ответ клиенту готов раньше, чем оператор начнёт печатать")


def test_card_fills_itself(columns, album):
    page = columns.page
    page.locator('#mode label:has([value="auto"])').click()
    expect(page.locator('#mode [value="auto"]')).to_be_checked()
    client_says(columns, CARD_FILLS, answered=1)
    expect(page.locator(".message.bot")).to_be_visible(timeout=20_000)
    expect(page.locator("#fields")).to_contain_text("Садовая")

    shown = without_demo(columns)
    page.evaluate(
        """() => { for (const value of document.querySelectorAll('#fields dd:not(.none)')) {
        value.parentElement.classList.remove('flash'); void value.offsetWidth; value.parentElement.classList.add('flash'); } }"""
    )
    advertise(album, shown, 2, "Карточка CRM заполняется сама — из слов клиента")


# ---- the settings: the app's page in the portal, as wide as the picture


def open_settings(stage: Stage) -> FrameLocator:
    app = stage.open(user=1, width=WIDTH)
    stage.page.add_style_tag(content="iframe { border: 0 !important }")
    stage.page.set_viewport_size({"width": WIDTH + 400, "height": HEIGHT - CAPTION})
    return app


def settings_of(stage: Stage) -> Locator:
    frame = stage.page.locator("#app iframe")
    root = frame.content_frame.locator("html")
    stage.page.mouse.move(1, 1)
    root.evaluate("() => document.querySelector('.toasts').replaceChildren()")
    root.evaluate(SHOPS_ADDRESS)
    root.evaluate(CUT)
    return frame


def test_prompts_side_by_side(stage, album, portal, worker, model):
    calm(portal)
    phone = {"from": "phone", "entity": "lead", "to": "PHONE"}
    fields = [{"name": "phone", "type": "phone", "description": "телефон клиента"}]
    store.change(portal, by="Анна Иванова", fields=fields, mappings=[phone])
    model.set(latency_ms=900, jitter_ms=300)
    app = open_settings(stage)
    go(app, "prompts/")
    app.locator("#id_text").fill(
        "Вы — помощник магазина «Тёплый дом»: котлы, бойлеры, чайники и мебель для дома.\n"
        "Отвечайте одним предложением, без приветствия.\nОпирайтесь только на базу знаний.\n"
    )
    about = app.locator("#on option", has_text="Елена Крылова").get_attribute("value")
    app.locator("#on").select_option(about)
    app.locator("#try").click()
    expect(app.locator("#tried .said")).to_have_count(2, timeout=30_000)
    advertise(
        album,
        settings_of(stage),
        3,
        "Новая инструкция проверяется рядом с действующей — до клиентов",
    )


def test_lines_with_readiness(stage, album, portal):
    calm(portal)
    app = open_settings(stage)
    go(app, "lines/")
    make_automatic(app, 22)
    app.get_by_role("alertdialog").locator("button[type=submit]").click()
    expect(app.locator(".stop-auto")).to_be_visible()
    advertise(
        album,
        settings_of(stage),
        4,
        "Автоответы — только когда линия готова, и одна кнопка, чтобы остановить",
    )


def test_numbers(stage, album, with_service):
    calm(with_service)
    open_settings(stage)
    advertise(
        album, settings_of(stage), 5, "Видно, сколько подсказок пригодилось и сколько это стоит"
    )


def calm(portal: Portal) -> None:
    """A day without trouble."""
    Delivery.objects.filter(portal=portal, state__in=("failed", "unsure")).delete()
    Run.objects.filter(portal=portal, state="failed").delete()
    Dialog.objects.filter(portal=portal).update(quarantined_at=None)
