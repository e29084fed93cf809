"""Installation in a real browser: the wizard's frame, its steps, and the end of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.local_portal import PortalOptions

pytestmark = pytest.mark.e2e


def begin(stage):
    with stage.b24.world.lock:
        stage.b24.world.installation.state = "pending"
        stage.b24.world.installation.user_id = 1
    return stage.open(user=1, path="install/", width=800, ready=False)


def test_wizard_shows_its_steps_and_finishes_by_itself(empty_stage):
    app = begin(empty_stage)

    expect(app.locator("#install .checklist li.done")).to_have_count(7, timeout=20_000)
    empty_stage.picture("install-done")
    empty_stage.page.wait_for_function("window.portal.installed", timeout=10_000)

    assert empty_stage.b24.world.installation.state == "installed"
    assert Portal.objects.get().state == "active"
    log = empty_stage.page.evaluate("window.portal.log.map((one) => one.method)")
    assert log.index("setInstall") < log.index("setInstallFinish")
    assert empty_stage.complaints() == []
    empty_stage.assert_clean()


def test_missing_permission_is_explained_and_found_after_it_was_granted(empty_stage):
    scopes = tuple(one for one in PortalOptions().scopes if one != "bizproc")
    object.__setattr__(empty_stage.b24.options, "scopes", scopes)
    app = begin(empty_stage)
    expect(app.locator("#install-check")).to_be_visible(timeout=20_000)
    expect(app.locator("#install")).to_contain_text("bizproc")
    empty_stage.picture("install-missing-permission")
    assert empty_stage.complaints() == []

    object.__setattr__(empty_stage.b24.options, "scopes", (*scopes, "bizproc"))
    app.locator("#install-check").click()

    empty_stage.page.wait_for_function("window.portal.installed", timeout=20_000)
    empty_stage.assert_clean()


COUNT_CLICKS = """
window.clicks = 0;
document.addEventListener('click', (event) => { window.clicks += event.detail ? 1 : 0; }, true);
"""


def test_first_suggestion_is_at_most_six_clicks_after_the_installation(
    empty_stage, model, settings, worker
):
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = "https://api.openai.com/v1", ""
    empty_stage.page.add_init_script(COUNT_CLICKS)
    begin(empty_stage)
    empty_stage.page.wait_for_function("window.portal.installed", timeout=20_000)

    app = empty_stage.open(user=1, placement="DEFAULT", width=1100)
    app.locator("a.btn[href$='/settings/model/']").first.click()
    with empty_stage.page.expect_response(lambda answer: "preset" in answer.url):
        app.locator("select[name$=preset]").first.select_option("other")
    app.locator("input[name$=base_url]").first.fill(model.url)
    app.locator("input[name=model], input[name$=-model]").first.fill("demo-rules-1")
    app.get_by_role("button", name="Сохранить").click()
    expect(app.locator("#toasts")).to_contain_text("охранен")
    app.locator("nav a[href$='/settings/']").first.click()
    app.get_by_role("button", name="Получить ответ").click()

    expect(app.locator("#tried .said").first).to_be_visible(timeout=20_000)
    frame = next(one for one in empty_stage.page.frames if "/b24/" in one.url)
    assert 3 <= frame.evaluate("window.clicks") <= 6
    empty_stage.assert_clean()
