"""The client of the portal's protocol against a small portal page."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.frontend.site import Reply

pytestmark = pytest.mark.e2e


@pytest.fixture
def frame(page: Page, site, console_errors):
    """A bare page of the app inside the portal's page, with the module at hand."""
    site.routes["/page/bare"] = lambda request: Reply(
        '<!doctype html><title>x</title><link rel="icon" href="/static/img/favicon.svg"><p>bare'
    )

    def mount(before: str = "", name: str | None = None):
        page.goto(f"{site.portal}/parent.html")
        if before:
            page.evaluate(before)
        page.evaluate(
            "([url, options]) => mount(url, options)",
            [f"{site.app}/page/bare", {"name": name} if name is not None else {}],
        )
        page.frame_locator("#app").get_by_text("bare").wait_for()
        return next(frame for frame in page.frames if "/page/bare" in frame.url)

    yield mount
    assert not console_errors


def run(frame, code: str):
    """Runs code in the frame with `bridge`; an exception comes back as its words."""
    return frame.evaluate(
        f"""async () => {{
          const bridge = await import('/static/js/bridge.js');
          try {{ return await (async () => {{ {code} }})(); }}
          catch (error) {{ return `refused: ${{error.message}}`; }}
        }}"""
    )


def test_connect_gives_what_the_portal_knows(frame):
    data = run(frame(), "return bridge.connect()")

    assert data["PLACEMENT"] == "IM_SIDEBAR"


def test_first_run_reports_that_the_installer_is_open(frame, page):
    app = frame("() => { portal.firstRun = true; }")

    run(app, "await bridge.connect(); return bridge.call('getInterface');")

    assert {"method": "setInstall", "params": {"install": True}} in page.evaluate("portal.log")


def test_parameters_with_colons_arrive_whole(frame, page):
    run(
        frame(),
        "return bridge.call('openPath', {path: '/crm/deal/details/5/?a=1:2'}, {timeout: 50})",
    )

    assert page.evaluate("portal.log.at(-1)") == {
        "method": "openPath",
        "params": {"path": "/crm/deal/details/5/?a=1:2"},
    }


def test_silent_portal_ends_a_call_by_its_time_limit(frame):
    app = frame("() => portal.denied.push('refreshAuth')")

    assert run(app, "return bridge.call('refreshAuth', {}, {timeout: 60})") == (
        "refused: the portal did not answer"
    )


def test_page_without_a_portal_refuses_at_once(page, site, frame):
    frame()
    page.goto(f"{site.app}/page/bare")

    assert run(page, "return bridge.connect()") is None
    assert run(page, "return bridge.call('reloadData')") == "refused: no portal around this page"


def test_frame_with_a_foreign_name_talks_to_nobody(frame, page):
    app = frame(name="nonsense")

    assert run(app, "return bridge.call('reloadData')") == "refused: no portal around this page"
    assert page.evaluate("portal.log") == []


PREDICTABLE = "Math.random = () => 0; const asked = bridge.call('refreshAuth', {}, {timeout: 400});"
STOLEN = """c1:{"AUTH_ID":"stolen"}"""


def test_parent_of_another_origin_is_told_nothing_and_believed_nothing(frame, page):
    app = frame(name="evil.example|1|a1b2c3d4e5f60718293a4b5c6d7e8f90")
    page.evaluate(
        """(answer) => setInterval(() =>
      document.getElementById('app').contentWindow.postMessage(answer, '*'), 30)""",
        STOLEN,
    )

    reply = run(app, f"{PREDICTABLE} return asked;")

    assert reply == "refused: the portal did not answer"
    assert page.evaluate("portal.log") == []


def test_answer_of_another_window_of_the_portal_is_ignored(frame, page):
    app = frame("() => portal.denied.push('refreshAuth')")
    app.evaluate("window.sent = 0; addEventListener('message', () => { window.sent += 1; })")
    page.evaluate(
        """(answer) => {
      const sibling = document.body.appendChild(document.createElement('iframe'));
      sibling.contentWindow.eval(`setInterval(() =>
        parent.document.getElementById('app').contentWindow.postMessage('${answer}', '*'), 30)`);
    }""",
        STOLEN,
    )

    reply = run(app, f"{PREDICTABLE} return asked;")

    assert reply == "refused: the portal did not answer"
    assert app.evaluate("window.sent") > 3


def test_composer_is_read_and_written_and_read_back(frame, page):
    app = frame()

    written = run(app, "return bridge.setComposer('Здравствуйте: «да»', {replace: true})")

    assert written is True
    assert page.locator("#composer").input_value() == "Здравствуйте: «да»"
    assert run(app, "return bridge.getComposer()") == "Здравствуйте: «да»"


def test_text_that_was_accepted_but_not_written_is_noticed(frame):
    app = frame("() => { portal.swallow = true; }")

    assert run(app, "return bridge.setComposer('text', {replace: true})") is False


def test_chat_that_answers_with_a_message_is_an_error(frame):
    app = frame("() => { portal.broken = true; }")

    assert run(app, "return bridge.getComposer()") == "refused: There is no active dialog"


def test_end_of_installation_reaches_the_portal_that_never_answers(frame, page):
    run(frame(), "return bridge.installFinish()")

    assert page.evaluate("portal.log.at(-1).method") == "setInstallFinish"
