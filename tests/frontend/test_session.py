"""The frame session: one header, silent renewal, a calm end, a calm loss of the network."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import expect

from tests.frontend import samples
from tests.frontend.conftest import render
from tests.frontend.site import Reply, as_json

pytestmark = pytest.mark.e2e


def draft_reply(**changes) -> Reply:
    return Reply(render("components/operator_draft.html", draft=samples.make_draft(**changes)))


def test_every_request_carries_the_token_and_no_cookie(page, site, console_errors):
    site.routes["/api/next"] = lambda request: draft_reply(text="Второй вариант", variant_number=2)
    page.context.add_cookies([{"name": "left", "value": "over", "url": site.app}])
    page.goto(f"{site.app}/page/operator")
    expect(page.locator("html")).to_have_attribute("data-ready", "")

    page.get_by_role("button", name="Next version").click()

    expect(page.get_by_label("Text of the reply")).to_have_value("Второй вариант")
    [asked] = site.to("/api/next")
    assert asked.headers["authorization"] == "Bearer token-1"
    assert "cookie" not in asked.headers
    assert page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert page.evaluate("document.cookie") == "left=over"
    assert not console_errors


def test_refused_token_is_renewed_through_the_portal_and_the_request_repeated(opened, site, page):
    site.tokens = {"token-2"}
    site.routes["/api/next"] = lambda request: draft_reply(text="Второй вариант")
    app = opened("/page/operator")

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_label("Text of the reply")).to_have_value("Второй вариант")
    [renewal] = site.to("/api/session")
    assert renewal.body == '{"auth":"user-token-2","token":"token-1"}'
    assert "authorization" not in renewal.headers
    assert [request.headers["authorization"] for request in site.to("/api/next")] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


def test_many_refused_requests_renew_once(opened, site, page):
    site.tokens = {"token-2"}
    site.routes["/api/x"] = lambda request: Reply("ok")
    opened("/page/operator")
    frame = next(frame for frame in page.frames if "/page/operator" in frame.url)

    answers = frame.evaluate("""async () => {
      const {frameFetch} = await import(document.querySelector('script[type=module]').src);
      return (await Promise.all([1, 2, 3, 4].map(() => frameFetch('/api/x')))).map((r) => r.status);
    }""")

    assert answers == [200, 200, 200, 200]
    assert len(site.to("/api/session")) == 1


def test_late_refusal_of_the_old_token_does_not_renew_again(opened, site, page):
    def slow(request):
        time.sleep(0.4)
        return Reply(status=401 if request.headers["authorization"] == "Bearer token-1" else 200)

    site.tokens = {"token-2"}
    site.routes |= {"/slow": slow, "/api/x": lambda request: Reply("ok")}
    opened("/page/operator")
    frame = next(frame for frame in page.frames if "/page/operator" in frame.url)

    answers = frame.evaluate("""async () => {
      const {frameFetch} = await import(document.querySelector('script[type=module]').src);
      return (await Promise.all(['/slow', '/api/x'].map((url) => frameFetch(url)))).map((r) => r.status);
    }""")

    assert answers == [200, 200]
    assert len(site.to("/api/session")) == 1


def test_token_is_renewed_five_minutes_before_its_end(opened, site):
    app = opened("/page/operator?lifetime=301")

    expect(app.locator("html")).to_have_attribute("data-ready", "")
    with app.locator("html").page.expect_response(re.compile("/api/session")) as seen:
        pass

    assert seen.value.status == 200


def test_session_that_cannot_be_renewed_ends_with_a_sentence(opened, site):
    site.tokens = set()
    site.routes["/api/session"] = lambda request: as_json({"error": "foreign"}, status=403)
    app = opened("/page/operator")

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_role("alert")).to_contain_text("The session has ended")
    assert len(site.to("/api/session")) == 1


def test_renewal_that_did_not_get_through_does_not_end_the_session(opened, site):
    renew = site.routes["/api/session"]
    site.tokens = {"token-2"}
    site.routes["/api/session"] = lambda request: Reply(status=503)
    site.routes["/api/next"] = lambda request: draft_reply(text="Второй вариант")
    app = opened("/page/operator")

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_text("No connection").first).to_be_visible()
    site.routes["/api/session"] = renew
    app.get_by_role("button", name="Next version").click()
    expect(app.get_by_label("Text of the reply")).to_have_value("Второй вариант")
    expect(app.locator("#session-ended")).to_be_hidden()


def test_frame_asks_no_more_after_the_end_of_the_session(opened, site):
    site.tokens = set()
    site.routes["/api/session"] = lambda request: as_json({}, status=403)
    app = opened("/page/operator")
    app.get_by_role("button", name="Next version").click()
    expect(app.get_by_role("alert")).to_be_visible()
    asked = len(site.requests)

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_role("alert")).to_be_visible()
    assert len(site.requests) == asked


def test_failing_poll_shows_when_it_tries_again_and_recovers(opened, site, page):
    page.clock.install()
    site.routes["/api/draft"] = lambda request: Reply(status=503)
    app = opened("/page/operator")

    page.clock.run_for(4100)
    expect(app.get_by_text("No connection. Trying again in")).to_be_visible()
    polls = len(site.to("/api/draft"))
    site.routes["/api/draft"] = lambda request: Reply(status=204)
    app.get_by_role("button", name="Try now").click()

    expect(app.get_by_text("No connection. Trying again in")).to_be_hidden()
    assert len(site.to("/api/draft")) == polls + 1


def test_back_off_grows_from_four_seconds(opened, site, page):
    page.clock.install()
    site.routes["/api/draft"] = lambda request: Reply(status=503)
    app = opened("/page/operator")

    waits = []
    page.clock.run_for(4100)
    for _ in range(3):
        expect(app.locator("#offline")).to_be_visible()
        text = app.locator("#offline .text")
        expect(text).to_contain_text(re.compile(r"in [1-9]"))
        waits.append(int("".join(filter(str.isdigit, text.inner_text()))))
        asked = len(site.to("/api/draft"))
        with page.expect_response(re.compile("/api/draft")):
            page.clock.run_for(waits[-1] * 1000 + 1100)
        assert len(site.to("/api/draft")) > asked
        page.wait_for_function("() => true")

    assert waits[0] <= 4 < waits[1] <= 8 < waits[2] <= 16


def test_hidden_tab_does_not_poll(opened, site, page):
    page.clock.install()
    app = opened("/page/operator")
    frame = next(frame for frame in page.frames if "/page/operator" in frame.url)

    frame.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})"
    )
    page.clock.run_for(20_000)
    assert site.to("/api/draft") == []
    with page.expect_response(re.compile("/api/draft")):
        frame.evaluate("""() => {
          delete document.hidden; document.dispatchEvent(new Event('visibilitychange'));
        }""")

    expect(app.get_by_label("Text of the reply")).to_be_visible()


def test_polls_slow_down_when_nobody_is_here(opened, site, page):
    page.clock.install()
    opened("/page/operator")

    page.clock.fast_forward(11 * 60 * 1000)
    site.requests.clear()
    for _ in range(15):
        page.clock.run_for(4000)
        page.wait_for_timeout(20)  # the clock is ours, the network's is not

    assert 3 <= len(site.to("/api/draft")) <= 5


def test_refused_action_says_why_and_changes_nothing(opened, site):
    site.routes["/api/next"] = lambda request: as_json(
        {"error": "limit", "error_description": "Дневной лимит исчерпан."}, status=429
    )
    app = opened("/page/operator")

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_text("Дневной лимит исчерпан.")).to_be_visible()
    expect(app.get_by_label("Text of the reply")).to_have_value(samples.DRAFT_TEXT)


def test_lost_network_is_said_in_words(opened, site, page):
    app = opened("/page/operator")
    page.route(re.compile("/api/next"), lambda route: route.abort())

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_text("No connection. Nothing was changed")).to_be_visible()


def test_toast_of_the_server_is_shown(opened, site):
    site.routes["/api/next"] = lambda request: Reply(
        status=204,
        headers={"HX-Trigger": '{"toast": {"text": "\\u0413\\u043e\\u0442\\u043e\\u0432\\u043e"}}'},
    )
    app = opened("/page/operator")

    app.get_by_role("button", name="Next version").click()

    expect(app.get_by_text("Готово")).to_be_visible()


def test_form_with_mistakes_moves_the_focus_to_the_first_of_them(opened, site):
    site.routes["/api/form"] = lambda request: Reply(
        '<form id="guide-form"><label for="a">A</label><input id="a"><label for="b">B</label>'
        '<input id="b" aria-invalid="true"></form>',
        status=422,
    )
    app = opened("/page/styleguide", width=1000)

    app.get_by_label("Name").fill("Сайт 2")
    app.get_by_role("button", name="Save").click()

    expect(app.get_by_label("B", exact=True)).to_be_focused()


def test_dangerous_button_asks_first(opened, site):
    site.routes["/api/stop"] = lambda request: Reply(status=204)
    app = opened("/page/styleguide", width=1000)
    button = app.get_by_role("button", name="Stop automatic replies")

    button.click()
    app.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(app.get_by_role("dialog")).to_be_hidden()
    assert site.to("/api/stop") == []
    button.click()
    with app.locator("html").page.expect_response(re.compile("/api/stop")):
        app.get_by_role("dialog").get_by_role("button", name="Stop automatic replies").click()

    assert [request.method for request in site.to("/api/stop")] == ["POST"]


def test_leaving_unsaved_changes_asks(opened, site):
    app = opened("/page/styleguide", width=1000)
    app.get_by_label("Name").fill("Сайт 2")

    app.get_by_role("link", name="Модель").click()

    dialog = app.get_by_role("dialog", name="Leave without saving?")
    expect(dialog).to_be_visible()
    assert site.to("/page/operator") == []
    dialog.get_by_role("button", name="Leave").click()
    expect(app.get_by_role("heading", name="Reply to the client")).to_be_visible()
    assert site.to("/page/operator")[0].headers["authorization"] == "Bearer token-1"


def test_menu_is_a_select_when_the_frame_is_narrow(opened, site):
    app = opened("/page/styleguide", width=500)

    expect(app.get_by_role("link", name="Модель")).to_be_hidden()
    app.get_by_label("Section", exact=True).select_option("Модель")

    expect(app.get_by_role("heading", name="Reply to the client")).to_be_visible()


def test_download_goes_by_an_address_that_ends_soon(opened, site, page):
    site.routes["/api/export"] = lambda request: as_json({"url": "/file?sign=1"})
    site.routes["/file"] = lambda request: Reply(
        "a;b", kind="text/csv", headers={"Content-Disposition": 'attachment; filename="spend.csv"'}
    )
    app = opened("/page/styleguide", width=1000)

    with page.expect_download() as download:
        app.get_by_role("button", name="CSV").click()

    assert download.value.suggested_filename == "spend.csv"
    assert "authorization" not in site.to("/file")[0].headers


def test_theme_changes_at_once(opened):
    app = opened("/page/styleguide", width=1000)

    app.get_by_role("button", name="Dark").click()

    expect(app.locator("html")).to_have_attribute("data-theme", "dark")
    expect(app.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


def test_finish_of_the_installation_reaches_the_portal(opened, page):
    app = opened("/page/styleguide", width=1000)

    app.get_by_role("button", name="Finish the installation").click()

    page.wait_for_function("portal.log.some((entry) => entry.method === 'setInstallFinish')")
