"""The official browser SDK, unmodified, judges both sides of the frame protocol.

In a true third-party frame it talks with our stand-in for the portal; and our bridge must send the
very messages that it sends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Frame, Page

from integrations.bitrix24.local_portal import LocalPortal
from tests.local_portal.conftest import Application
from tools.browser_sdk import NoSdk, browser_sdk

pytestmark = pytest.mark.e2e

BRIDGE = Path(__file__).resolve().parents[2] / "bx_gpt_app/static/js/bridge.js"

SDK_PAGE = """<!doctype html><title>sdk</title><script src="/sdk.js"></script><script>
window.started = B24Js.initializeB24Frame().then((b24) => { window.b24 = b24; });
</script>"""
BRIDGE_PAGE = """<!doctype html><title>bridge</title><script type="module">
window.bridge = await import('/bridge.js');
</script>"""
STRANGER_PAGE = SDK_PAGE.replace(
    "<script src",
    "<script>window.name = window.name.slice(0, -32) + 'f'.repeat(32)</script><script src",
)

# What reaches the portal's page, exactly as it was posted.
RECORDER = """window.posted = [];
if (window === top) addEventListener('message', ({data, origin}) => posted.push({data, origin}));"""

INIT_DATA = {
    "LANG", "DOMAIN", "PROTOCOL", "PATH", "AUTH_ID", "AUTH_EXPIRES", "REFRESH_ID", "MEMBER_ID",
    "FIRST_RUN", "IS_ADMIN", "INSTALL", "USER_OPTIONS", "APP_OPTIONS", "PLACEMENT",
    "PLACEMENT_OPTIONS",
}  # fmt: skip

SILENT = {"isSafely": True}
"""The SDK's own word for a call that was not answered in time."""


@pytest.fixture(scope="session")
def sdk() -> bytes:
    try:
        return browser_sdk().read_bytes()
    except NoSdk as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


@pytest.fixture
def portal(make_portal: Callable[..., LocalPortal], application: Application) -> LocalPortal:
    return make_portal(app_base_url=application.foreign_url)


@pytest.fixture
def open_page(
    browser: Browser, portal: LocalPortal, application: Application, sdk: bytes
) -> Iterator[Callable[..., tuple[Page, Frame]]]:
    application.scripts = {"/sdk.js": sdk, "/bridge.js": BRIDGE.read_bytes()}
    portal.issue_tokens(1)
    page = browser.new_page()
    page.add_init_script(RECORDER)

    def open_(html: str, ready: str = "() => window.b24", **query: Any) -> tuple[Page, Frame]:
        application.html = html
        query = {"key": portal.options.control_key, "user_id": 7, **query}
        page.goto(f"{portal.url}/_portal/?{urlencode(query)}")
        page.wait_for_function("() => window.portal && frames.length === 1")
        frame = page.frames[1]
        frame.wait_for_function(ready)
        return page, frame

    yield open_
    page.close()


# ---- the SDK against our portal ----


def test_sdk_starts_in_a_chat_and_every_command_is_answered(
    open_page: Callable[..., tuple[Page, Frame]], portal: LocalPortal
) -> None:
    page, frame = open_page(SDK_PAGE, placement="IM_SIDEBAR", chat_id=112)
    page.evaluate("portal.chosen = {id: 7, name: 'Ольга'}")
    assert frame.url.startswith("http://localhost:")
    assert page.url.startswith("http://127.0.0.1:")

    told = frame.evaluate(
        """() => ({auth: b24.auth.getAuthData(), admin: b24.auth.isAdmin, lang: b24.getLang(),
        placement: b24.placement.placement, options: b24.placement.options,
        first: b24.isFirstRun, install: b24.isInstallMode, origin: b24.getTargetOrigin()})"""
    )
    form = page.evaluate("JSON.parse(document.body.dataset.about).form.fields")
    assert told["auth"]["access_token"] == form["AUTH_ID"]
    assert told["auth"]["refresh_token"] == form["REFRESH_ID"]
    assert (told["auth"]["member_id"], told["auth"]["expires_in"]) == (portal.member_id, 3600)
    assert (told["origin"], told["lang"], told["admin"]) == (portal.url, "ru", False)
    assert told["placement"] == "IM_SIDEBAR"
    assert told["options"] == {"dialogId": "chat112", "URI": "/online/"}
    assert (told["first"], told["install"]) == (False, False)

    given = page.evaluate("Object.keys(portal.log.find((one) => one.from === 'portal').params)")
    assert set(given) == INIT_DATA

    portal.expire_access_tokens()
    fresh = frame.evaluate("b24.auth.refreshAuth()")
    assert portal.world.authority.app_info(fresh["access_token"])["user_id"] == 7

    written = frame.evaluate(
        """async () => {
          const im = (command, more) => b24.parent.message.send(
            `im:${command}ImTextareaContent`, {requestId: B24Js.Text.getUuidRfc4122(), ...more});
          const safely = {isSafely: true, safelyTime: 1500};
          return [await im('set', {text: 'Да: завтра', ...safely}), await im('get', safely),
            await im('set', {text: 'и ещё', withNewLine: true, ...safely}), await im('get'),
            await im('set', {text: 'иначе', replace: true, ...safely})];
        }"""
    )
    assert [one.get("text") or one["success"] for one in written] == [
        True, "Да: завтра", True, "Да: завтра\nи ещё", True,
    ]  # fmt: skip
    assert page.input_value("#composer") == "иначе"

    answers = frame.evaluate(
        """() => Promise.all([
          b24.placement.getInterface(),
          b24.slider.openPath(b24.slider.getUrl('/crm/lead/details/77/'), 900),
          b24.slider.openPath(b24.slider.getUrl('/crm/lead/details/77/'), 5000),
          b24.dialog.selectUser(), b24.dialog.selectUsers(),
          b24.parent.imOpenMessenger('chat112'),
          b24.placement.bindEvent('onMessage', (data) => { window.told = data; }),
        ])"""
    )
    assert answers[0] == {"command": [], "event": []}
    assert answers[1:3] == [{"isOpenAtNewWindow": False, "isClose": True}] * 2
    assert answers[3:5] == [{"id": 7, "name": "Ольга"}] * 2
    assert answers[5:7] == [SILENT, SILENT]
    opened = page.evaluate("portal.opened")
    assert opened[0].endswith("/crm/lead/details/77/?IFRAME=Y&IFRAME_TYPE=SIDE_SLIDER")
    assert opened[-1] == "chat112"
    page.evaluate("portal.frame.emit('onMessage', {n: 1})")
    frame.wait_for_function("() => window.told?.n === 1")

    page.evaluate("portal.chosen = {lead: {0: {id: 'L_77', title: 'Заявка'}}}")
    chosen = frame.evaluate("b24.dialog.selectCRM({entityType: ['lead'], multiple: true})")
    assert chosen == {"lead": [{"id": "L_77", "title": "Заявка"}]}


def test_sdk_opens_a_slider_with_parameters_and_hears_when_it_is_closed(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(SDK_PAGE, placement="IM_SIDEBAR", chat_id=112)

    frame.evaluate(
        """() => { window.ended = null;
        b24.slider.openSliderAppPage({run: '7', bx24_title: 'Прогон', bx24_width: 800})
          .then((value) => { window.ended = {value}; }); }"""
    )
    page.wait_for_function("() => frames.length === 2")
    child = page.frames[-1]
    child.wait_for_function("() => window.b24")

    assert child.evaluate("b24.placement.options") == {"run": "7", "URI": "/crm/"}
    assert child.evaluate("b24.placement.isDefault")
    assert frame.evaluate("window.ended") is None
    child.evaluate("() => { b24.parent.closeApplication().catch(() => {}); }")
    frame.wait_for_function("() => window.ended")
    assert frame.evaluate("window.ended") == {"value": ""}
    frame.evaluate("() => { b24.parent.closeApplication().catch(() => {}); }")
    page.wait_for_function("() => portal.closed === 1")


def test_sdk_is_met_with_silence_where_the_portal_keeps_silent(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(
        SDK_PAGE, placement="IM_TEXTAREA", chat_id=112, denied="im:setImTextareaContent"
    )

    answers = frame.evaluate(
        """() => Promise.all([
          b24.parent.message.send('im:setImTextareaContent',
            {text: 'x', requestId: 'r1', isSafely: true}),
          b24.placement.call('unknownCommand', {}), b24.placement.call('reloadData', {}),
          b24.parent.setTitle('x'), b24.parent.resizeWindow(300, 200),
          b24.parent.scrollParentWindow(0), b24.parent.reloadWindow(),
        ])"""
    )

    assert answers == [SILENT] * 7
    assert page.input_value("#composer") == ""
    page, frame = open_page(STRANGER_PAGE, "() => !!window.started", placement="IM_TEXTAREA")
    late = "new Promise((done) => setTimeout(done, 300, 'silence'))"
    assert frame.evaluate(f"Promise.race([started, {late}])") == "silence"
    assert page.evaluate("portal.log.at(-1)") == {
        "from": "frame", "method": "getInitData", "params": {},
    }  # fmt: skip


def test_sdk_reloads_the_card_and_sizes_its_tab(
    open_page: Callable[..., tuple[Page, Frame]],
) -> None:
    page, frame = open_page(SDK_PAGE, placement="CRM_LEAD_DETAIL_TAB", item_id=77)

    assert frame.evaluate("b24.placement.getInterface()") == {
        "command": ["reloadData"],
        "event": [],
    }
    assert frame.evaluate("b24.placement.call('reloadData', {})") == ""
    assert page.evaluate("portal.refreshed") == 1
    assert frame.evaluate("b24.parent.resizeWindow(600, 400)") == {"width": 600, "height": 400}
    assert page.evaluate("portal.frame.iframe.style.height") == "400px"
    assert frame.evaluate("b24.parent.fitWindow()")["width"] == "100%"


def test_sdk_installs_and_finishes_and_rules_the_page_of_its_own(
    open_page: Callable[..., tuple[Page, Frame]], portal: LocalPortal
) -> None:
    portal.install()
    page, frame = open_page(SDK_PAGE, user_id=1)

    assert frame.evaluate("[b24.isFirstRun, b24.isInstallMode, b24.auth.isAdmin]") == [True] * 3
    assert frame.evaluate("b24.parent.setTitle('Помощник')") == {"title": "Помощник"}
    assert page.title() == "Помощник"
    assert frame.evaluate("b24.parent.scrollParentWindow(5)") == {"scroll": 5}
    frame.evaluate("() => { b24.installFinish().catch(() => {}); }")
    page.wait_for_function("() => portal.installed")

    assert portal.world.installation.state == "installed"
    methods = page.evaluate(
        "portal.log.filter((one) => one.from === 'frame').map((one) => one.method)"
    )
    assert methods[:2] == ["getInitData", "setInstall"]


# ---- our bridge against the SDK ----

SDK_SAYS = """async () => {
  const quietly = (promise) => promise.catch(() => {});
  const im = (command, more) => b24.parent.message.send(
    `im:${command}ImTextareaContent`, {requestId: B24Js.Text.getUuidRfc4122(), ...more});
  await b24.auth.refreshAuth();
  await im('get');
  await im('set', {text: 'Да: завтра', replace: true, withNewLine: false});
  await im('get');
  quietly(b24.parent.message.send('reloadData', {}));
  await b24.parent.message.send('openPath', {path: '/crm/deal/details/5/?a=1:2'});
  quietly(b24.parent.imOpenMessenger('chat112'));
  quietly(b24.installFinish());
}"""
BRIDGE_SAYS = """async () => {
  await bridge.connect();
  await bridge.refreshAuth();
  await bridge.getComposer();
  await bridge.setComposer('Да: завтра', {replace: true});
  bridge.call('reloadData', {}).catch(() => {});
  await bridge.call('openPath', {path: '/crm/deal/details/5/?a=1:2'});
  bridge.call('imOpenMessenger', {dialogId: 'chat112'}).catch(() => {});
  bridge.installFinish();
}"""
FINISH = "setInstallFinish"


def test_bridge_posts_the_very_messages_that_the_sdk_posts(
    open_page: Callable[..., tuple[Page, Frame]], portal: LocalPortal
) -> None:
    said = {}
    for name, html, code in (("sdk", SDK_PAGE, SDK_SAYS), ("bridge", BRIDGE_PAGE, BRIDGE_SAYS)):
        portal.install()
        ready = f"() => window.{'b24' if name == 'sdk' else 'bridge'}"
        # The first run of the app, in a chat: here the most commands are answered.
        page, frame = open_page(html, ready, user_id=1, placement="IM_SIDEBAR", chat_id=112)
        frame.evaluate(code)
        page.wait_for_function(f"() => JSON.stringify(posted).includes('{FINISH}')")
        sid = page.evaluate("JSON.parse(document.body.dataset.about).form.sid")
        said[name] = [_shape(one["data"], sid) for one in page.evaluate("posted")]

    assert said["bridge"] == said["sdk"]
    assert said["sdk"][0] == "getInitData:<callback>:<sid>"
    assert len(said["sdk"]) == 10


def _shape(data: Any, sid: str) -> str:
    """A posted message, letter by letter, but for what is new in every call."""
    if isinstance(data, str):
        head, callback, ours = data.rsplit(":", 2)
        assert ours == sid
        assert callback
        return f"{head}:<callback>:<sid>"
    assert data["callback"]
    assert data["requestId"]
    masked = {"callback": "<callback>", "requestId": "<request>"}
    assert data["appSid"] == sid
    return json.dumps({**data, **masked, "appSid": "<sid>"}, ensure_ascii=False)
