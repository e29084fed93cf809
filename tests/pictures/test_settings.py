"""Every settings section, as an administrator of a shop's portal sees it after two weeks."""

from __future__ import annotations

from playwright.sync_api import expect

from bx_gpt_app.assistant.models import Run
from tests.pictures.steps import follow, go, make_automatic, theme

WIDTH, NARROW, LONG = 1040, 360, 1400
SHORTER = """Вы — помощник магазина «Тёплый дом»: котлы, бойлеры, чайники и мебель для дома.
Отвечайте одним предложением, без приветствия.
Опирайтесь только на базу знаний.
Если ответа в ней нет, задайте уточняющий вопрос или скажите, что передадите вопрос коллеге.
"""
WRONG_FILE = """version: 1
mode: maybe
reply: {max_length: 10}
limits: {daily_cost: много}
llm: {temprature: 0.2}
"""
GOOD_FILE = """version: 1
reply: {max_length: 400, signature: "Магазин «Тёплый дом»"}
lines:
  "23": {mode: "off"}
"""
QUESTIONS = """Работаете ли вы в праздники?
Да, кроме 1 и 2 января: с 10:00 до 17:00.

Какие документы нужны для возврата?
Чек или выписка с карты и паспорт.

Ставите ли вы тепловые насосы?
Да, выезд инженера для расчёта бесплатный.
"""


def test_first_day(stage, album, settings):
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "", "https://api.openai.com/v1"
    stage.portal.snippets.all().delete()
    app = stage.open(user=1, width=WIDTH)
    album.frame(stage, "settings-overview-empty")
    go(app, "knowledge/")
    album.frame(stage, "settings-knowledge-empty")
    go(app, "costs/")
    album.frame(stage, "settings-costs-empty")


def test_sections(stage, album, with_service):
    app = stage.open(user=1, width=WIDTH)
    album.frame(stage, "settings-overview")
    theme(app, "dark")
    album.frame(stage, "settings-overview-dark")
    theme(app, "light")
    for section in ("model", "topics", "knowledge", "costs", "log"):
        go(app, f"{section}/")
        album.frame(stage, f"settings-{section}", most=LONG)
    theme(app, "dark")
    album.frame(stage, "settings-log-dark", most=900)
    go(app, "costs/")
    album.frame(stage, "settings-costs-dark", most=LONG)
    theme(app, "light")
    go(app, "topics/")
    follow(app, "topics/topic/delivery/")
    album.frame(stage, "settings-topic")
    go(app, "knowledge/")
    follow(app, "knowledge/unanswered/")
    album.frame(stage, "settings-knowledge-unanswered")
    go(app, "knowledge/")
    snippet = with_service.snippets.order_by("position")[1]
    follow(app, f"knowledge/{snippet.pk}/")
    album.frame(stage, "settings-knowledge-snippet")
    go(app, "knowledge/")
    follow(app, "knowledge/import/")
    app.locator("#id_text").fill(QUESTIONS)
    app.locator("main form button[type=submit]").click()
    expect(app.locator("#found-title")).to_be_visible()
    album.frame(stage, "settings-knowledge-import")
    go(app, "log/")
    run = Run.objects.filter(portal=with_service, deliveries__kind="crm").get()
    follow(app, f"log/{run.pk}/")
    album.frame(stage, "settings-log-run")
    go(app, "log/")
    follow(app, "log/quarantine/")
    album.frame(stage, "settings-quarantine")


def test_connection(stage, album, portal):
    app = stage.open(user=1, width=WIDTH)
    go(app, "connection/")
    app.locator('[hx-post$="/connection/check/"]').click()
    expect(app.locator("#connection-result .banner")).to_be_visible(timeout=15_000)
    album.frame(stage, "settings-connection")
    app.locator("#id_text").fill(WRONG_FILE)
    app.locator("#file form button[type=submit]").click()
    expect(app.locator("#file .banner.bad")).to_be_visible()
    album.frame(stage, "settings-file-errors")
    app.locator("#id_text").fill(GOOD_FILE)
    app.locator("#file form button[type=submit]").click()
    expect(app.locator("#changes-title")).to_be_visible()
    album.frame(stage, "settings-file-preview")


def test_model(stage, album, portal, model, worker):
    app = stage.open(user=1, width=WIDTH)
    go(app, "model/")
    app.locator("#id_base_url").fill(model.url)
    app.locator("#id_model").fill("demo-rules-1")
    app.locator("#id_api_key").fill("any-key")
    app.locator("#check-main").click()
    expect(app.locator("#model-result-main .banner.ok").first).to_be_visible(timeout=20_000)
    expect(app.locator("#model-result-main .spinner")).to_have_count(0, timeout=60_000)
    app.locator("main details").first.evaluate("element => { element.open = true; }")
    album.frame(stage, "settings-model-checked")


def test_prompts(stage, album, portal, worker, model):
    model.set(latency_ms=700, jitter_ms=400)
    app = stage.open(user=1, width=WIDTH)
    go(app, "prompts/")
    album.frame(stage, "settings-prompts")
    app.locator("#id_text").fill(SHORTER)
    anna = app.locator("#on option", has_text="Анна Смирнова").get_attribute("value")
    app.locator("#on").select_option(anna)
    app.locator("#try").click()
    expect(app.locator("#tried .said")).to_have_count(2, timeout=30_000)
    album.frame(stage, "settings-prompts-tried")
    app.locator("#compare").click()
    expect(app.locator(".diff ins").first).to_be_visible()
    album.frame(stage, "settings-prompts-diff")
    go(app, "prompts/")
    follow(app, "prompts/1/")
    album.frame(stage, "settings-prompts-version")


def test_cases(stage, album, portal, worker, model):
    model.set(latency_ms=500, jitter_ms=400)
    app = stage.open(user=1, width=WIDTH)
    go(app, "prompts/")
    app.locator("#id_text").fill(SHORTER)
    app.locator("#prompt-form button[type=submit]").click()
    expect(app.locator(".toast")).to_be_visible()
    follow(app, "prompts/cases/")
    album.frame(stage, "settings-cases-empty")
    app.locator('[hx-post$="/cases/samples/"]').click()
    expect(app.locator("#case-list")).to_be_visible()
    app.locator("#cases-run").click()
    expect(app.locator("#cases-anew")).to_be_visible(timeout=120_000)
    album.frame(stage, "settings-cases")
    app.locator('#case-list a[id^="case-"]').first.click()
    expect(app.locator("main h1")).to_contain_text("пример")
    album.frame(stage, "settings-case")


def test_fields(stage, album, portal):
    app = stage.open(user=1, width=WIDTH)
    go(app, "fields/")
    album.frame(stage, "settings-fields")
    app.locator('[hx-post$="/fields/try/"]').click()
    expect(app.locator("#plan table")).to_be_visible()
    album.frame(stage, "settings-fields-tried")
    follow(app, "fields/field/product/")
    album.frame(stage, "settings-field")


def test_lines(stage, album, portal):
    app = stage.open(user=1, width=WIDTH)
    go(app, "lines/")
    for details in app.locator("main details").all():
        details.evaluate("element => { element.open = true; }")
    album.frame(stage, "settings-lines")
    make_automatic(app, 23)
    album.frame(stage, "settings-lines-not-ready")
    go(app, "lines/")
    make_automatic(app, 22)
    album.frame(stage, "settings-lines-question")
    app.get_by_role("alertdialog").locator("button[type=submit]").click()
    expect(app.locator(".stop-auto")).to_be_visible()
    album.frame(stage, "settings-lines-auto")
    app.locator(".stop-auto button").click()
    expect(app.locator("#confirm")).to_be_visible()
    album.frame(stage, "settings-stop-auto", least=500)


def test_narrow_and_english(stage, album, with_service):
    app = stage.open(user=1, width=NARROW)
    album.frame(stage, "settings-overview-360")
    for section in ("lines", "fields", "costs", "log"):
        go(app, f"{section}/")
        album.frame(stage, f"settings-{section}-360", most=LONG)
    object.__setattr__(stage.b24.options, "language", "en")
    app = stage.open(user=1, width=WIDTH)
    album.frame(stage, "settings-overview-en")
    go(app, "lines/")
    album.frame(stage, "settings-lines-en")
