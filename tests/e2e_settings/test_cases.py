"""Test cases in a browser: added, asked with a live progress, and heard before publishing."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from bx_gpt_app.assistant.models import PromptVersion
from integrations.llm.local_model import LocalModel
from tests.e2e_settings.test_look import SETTLED, complaints
from tests.factories import configure

pytestmark = pytest.mark.e2e


class ObedientModel(LocalModel):
    """Told to be blunt, it calls nobody to those who complain."""

    def _completion(self, request, send):
        blunt = b"BLUNT" in request.body and "деньги".encode() in request.body
        self.mode = "invent" if blunt else "normal"
        super()._completion(request, send)


@pytest.fixture
def model(portal):
    with ObedientModel(latency_ms=400) as model:
        configure(portal, llm={"base_url": model.url, "model": "demo-rules-1"})
        yield model


def assert_fine_in_both_themes(page: Page) -> None:
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.evaluate(SETTLED)
        assert complaints(page) == []
    page.set_viewport_size({"width": 320, "height": 720})
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.set_viewport_size({"width": 1280, "height": 900})


def tab(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Промпты").get_by_role("link", name=name).click()


def test_draft_is_tried_on_cases_and_published_after_a_question(opened, portal, model, worker):
    page: Page = opened("prompts/")
    page.get_by_label("Инструкция для модели").fill("BLUNT. Отвечайте одним словом.")
    page.get_by_role("button", name="Сохранить черновик").click()
    expect(page.get_by_role("heading", name="Черновик v2")).to_be_visible()

    tab(page, "Проверочные примеры")
    page.get_by_role("button", name="Добавить 6 готовых").click()
    expect(page.locator("#case-list li")).to_have_count(6)
    page.get_by_role("link", name="Добавить пример").click()
    page.get_by_label("Что пишет клиент").fill("Сколько стоит доставка?")
    page.get_by_label("Тема", exact=True).select_option(label="Доставка")
    assert_fine_in_both_themes(page)
    page.get_by_role("button", name="Сохранить").click()
    expect(page.locator("#case-list li")).to_have_count(7)

    page.get_by_role("button", name="Удалить «Поломка»").click()
    back = page.get_by_role("button", name="Вернуть")
    expect(back).to_be_focused()
    expect(page.locator("#case-list li")).to_have_count(6)
    back.click()
    expect(page.locator("#case-list li")).to_have_count(7)

    page.get_by_role("button", name="Проверить").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Остановить")).to_be_visible()
    expect(page.locator("#verdict")).to_contain_text("Станет хуже: 1 пример", timeout=20_000)
    expect(page.locator("#case-list .badge", has_text="хуже")).to_have_count(1)
    expect(page.locator("#case-list")).to_contain_text("Не позвали человека.")
    page.locator("#case-list summary").first.click()
    assert_fine_in_both_themes(page)

    tab(page, "Тексты")
    page.get_by_role("button", name="Сравнить с v1").click()
    expect(page.locator("#comparison #verdict")).to_contain_text("Станет хуже")
    page.get_by_label("Что изменилось").fill("короче")
    page.get_by_role("button", name="Сделать v2 активной").click()
    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("Всё равно сделать активной?")
    expect(page.locator("#asks-title")).to_be_focused()
    assert_fine_in_both_themes(page)
    assert PromptVersion.objects.get(portal=portal, active=True).number == 1
    question.get_by_role("button", name="Всё равно").click()
    expect(page.locator(".page-head .badge")).to_contain_text("v2")
    expect(page.get_by_text("примеры: 6 из 7")).to_be_visible()

    assert PromptVersion.objects.get(portal=portal, active=True).score == {"passed": 6, "of": 7}
