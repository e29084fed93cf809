"""The parent side of the frame protocol in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Frame, Page

from integrations.bitrix24.local_portal import LocalPortal
from tests.local_portal.conftest import Application

pytestmark = pytest.mark.e2e

# A page of an application: `ask` sends a text command, `askChat` an object command.
APPLICATION_PAGE = """<!doctype html><title>app</title><script>
const [host, proto, sid] = window.name.split('|');
const origin = (proto === '1' ? 'https://' : 'http://') + host;
let number = 0;
window.heard = [];
addEventListener('message', (event) => {
  if (event.source === parent && event.origin === origin) heard.push(event.data);
});
function answerTo(cb, timeout) {
  const started = Date.now();
  return new Promise((done) => {
    const look = () => {
      const found = heard.find((one) => one.startsWith(cb + ':'));
      if (found) done(found.slice(cb.length + 1) ? JSON.parse(found.slice(cb.length + 1)) : 'empty');
      else if (Date.now() - started > timeout) done('silence');
      else setTimeout(look, 5);
    };
    look();
  });
}
window.ask = (command, params, withSid = sid) => {
  const cb = 'cb' + (number += 1);
  const json = params === undefined ? [] : [JSON.stringify(params)];
  parent.postMessage([command, ...json, cb, withSid].join(':'), origin);
  return answerTo(cb, 300);
};
window.askChat = (method, params, requestId = 'r1') => {
  const callback = 'cb' + (number += 1);
  parent.postMessage({ method, params, callback, appSid: sid, requestId }, origin);
  return answerTo(callback, 300);
};
</script>"""


@pytest.fixture
def open_page(
    browser: Browser, portal: LocalPortal, application: Application
) -> Iterator[Callable[..., tuple[Page, Frame]]]:
    application.html = APPLICATION_PAGE
    portal.issue_tokens(1)
    page = browser.new_page()

    def open_(**query: Any) -> tuple[Page, Frame]:
        query = {"key": portal.options.control_key, "user_id": 7, **query}
        page.goto(f"{portal.url}/_portal/?{urlencode(query)}")
        page.wait_for_function("() => window.portal && frames.length === 1")
        frame = page.frames[1]
        frame.wait_for_function("() => window.ask")
        return page, frame

    yield open_
    page.close()


def test_frame_gets_the_form_and_its_initial_data(
    open_page: Callable[..., tuple[Page, Frame]], portal: LocalPortal, application: Application
) -> None:
    _, frame = open_page(placement="IM_SIDEBAR", chat_id=112)

    data = frame.evaluate("ask('getInitData')")

    posted = application.received[-1]
    assert posted.form["PLACEMENT_OPTIONS"] == '{"dialogId":"chat112","URI":"\\/online\\/"}'
    assert data["AUTH_ID"] == posted.form["AUTH_ID"]
    assert data["DOMAIN"] == portal.domain
    assert data["MEMBER_ID"] == portal.member_id
    assert data["PLACEMENT_OPTIONS"] == {"dialogId": "chat112", "URI": "/online/"}
    assert data["IS_ADMIN"] is False
    assert (data["LANG"], data["PROTOCOL"], data["FIRST_RUN"]) == ("ru", 0, False)


def test_text_goes_into_the_composer_and_is_read_back(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(placement="IM_TEXTAREA", chat_id=112)

    done = frame.evaluate("askChat('im:setImTextareaContent', {text: 'Да: завтра'})")
    frame.evaluate("askChat('im:setImTextareaContent', {text: 'и ещё', withNewLine: true})")
    read = frame.evaluate("askChat('im:getImTextareaContent', '', 'r7')")

    assert done == {"requestId": "r1", "success": True}
    assert read == {"requestId": "r7", "text": "Да: завтра\nи ещё"}
    assert page.input_value("#composer") == "Да: завтра\nи ещё"
    frame.evaluate("askChat('im:setImTextareaContent', {text: 'иначе', replace: true})")
    assert page.input_value("#composer") == "иначе"


def test_disabled_composer_answers_with_a_reason(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(placement="IM_SIDEBAR", chat_id=112)
    page.evaluate("portal.composer.disabled = true")

    answer = frame.evaluate("askChat('im:getImTextareaContent', '')")

    assert answer == {"requestId": "r1", "message": "There is no active dialog"}


@pytest.mark.parametrize(
    "call",
    [
        "ask('unknownCommand', {})",
        "ask('toString', {})",
        "ask('getInitData', undefined, 'f'.repeat(32))",
        "ask('selectUser', {mult: false})",
        "ask('setTitle', {title: 'x'})",
        "ask('reloadData', {})",
        "askChat('im:getImTextareaContent', '', '')",
        "askChat('im:setImTextareaContent', 5)",
    ],
)
def test_silence(open_page: Callable[..., tuple[Page, Frame]], call: str) -> None:
    _, frame = open_page(placement="IM_SIDEBAR", chat_id=112)

    assert frame.evaluate(call) == "silence"


def test_denied_commands_are_silent(open_page: Callable[..., tuple[Page, Frame]]) -> None:
    _, frame = open_page(
        placement="IM_SIDEBAR", chat_id=112, denied="im:setImTextareaContent,refreshAuth"
    )

    assert frame.evaluate("askChat('im:setImTextareaContent', {text: 'x'})") == "silence"
    assert frame.evaluate("ask('refreshAuth')") == "silence"


def test_refreshed_tokens_work(
    open_page: Callable[..., tuple[Page, Frame]], portal: LocalPortal
) -> None:
    _, frame = open_page(placement="IM_SIDEBAR", chat_id=112)
    portal.expire_access_tokens()

    auth = frame.evaluate("ask('refreshAuth')")

    info = portal.world.authority.app_info(auth["AUTH_ID"])
    assert info["user_id"] == 7
    assert auth["AUTH_EXPIRES"] == 3600
    assert frame.evaluate("ask('getInitData')")["AUTH_ID"] == auth["AUTH_ID"]


def test_crm_tab_refreshes_the_card_and_has_no_chat_commands(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(placement="CRM_LEAD_DETAIL_TAB", item_id=77)

    assert frame.evaluate("ask('getInterface')") == {"command": ["reloadData"], "event": []}
    assert frame.evaluate("ask('reloadData', {})") == "empty"
    assert page.evaluate("portal.refreshed") == 1
    assert frame.evaluate("askChat('im:getImTextareaContent', '')") == "silence"
    resized = frame.evaluate("ask('resizeWindow', {width: '100%', height: 400})")
    assert resized == {"width": "100%", "height": 400}
    assert page.evaluate("portal.frame.iframe.style.height") == "400px"


def test_paths_pickers_messenger_and_events(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(placement="IM_SIDEBAR", chat_id=112)
    page.evaluate("portal.chosen = [{id: 7}]")

    assert frame.evaluate("ask('openPath', {path: '/crm/lead/details/77/'})") == {"result": "close"}
    assert frame.evaluate("ask('openPath', {path: 'https://evil.example/'})") == {
        "result": "error",
        "errorCode": "PATH_NOT_AVAILABLE",
    }
    assert frame.evaluate("ask('selectCRM', {entityType: ['lead']})") == [{"id": 7}]
    frame.evaluate("ask('imOpenMessenger', {dialogId: 'chat112'})")
    assert page.evaluate("portal.opened") == ["/crm/lead/details/77/", "chat112"]
    frame.evaluate("ask('placementBindEvent', {event: 'onMessage'})")
    page.evaluate("portal.frame.emit('onMessage', {n: 1})")
    frame.wait_for_function("() => heard.some((one) => one.endsWith(':{\"n\":1}'))")
    frame.evaluate("ask('closeApplication')")
    assert page.evaluate("portal.closed") == 1


def test_installer_finishes_the_installation(
    open_page: Callable[..., tuple[Page, Frame]], portal: LocalPortal, application: Application
) -> None:
    portal.install()
    page, frame = open_page(user_id=1)
    assert application.received[-1].path == "/b24/default/install/"
    data = frame.evaluate("ask('getInitData')")
    assert (data["FIRST_RUN"], data["IS_ADMIN"]) == (True, True)
    assert frame.evaluate("ask('getInitData')")["FIRST_RUN"] is False
    assert frame.evaluate("ask('setInstall', {install: true})") == {"install": True}

    assert frame.evaluate("ask('setInstallFinish', {})") == "silence"

    page.wait_for_function("() => portal.installed")
    assert portal.world.installation.state == "installed"


def test_page_of_the_portal_needs_the_key(portal: LocalPortal, browser: Browser) -> None:
    page = browser.new_page()

    answer = page.goto(f"{portal.url}/_portal/?key=guess")

    assert answer is not None
    assert answer.status == 403
    page.close()
