"""What is around the portal's own work: the installer, the demo, the host's pages."""

from __future__ import annotations

import re
from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from integrations.bitrix24.local_portal import PortalOptions
from tests.e2e.test_demo import open_page, show
from tests.e2e.test_install import begin
from tests.factories import make_portal
from tests.pictures.life import shop, two_weeks

__all__ = ["show"]


def test_installer(empty_stage, album):
    scopes = tuple(one for one in PortalOptions().scopes if one != "bizproc")
    object.__setattr__(empty_stage.b24.options, "scopes", scopes)
    app = begin(empty_stage)
    expect(app.locator("#install-check")).to_be_visible(timeout=20_000)
    album.frame(empty_stage, "install-missing-permission")
    object.__setattr__(empty_stage.b24.options, "scopes", (*scopes, "bizproc"))
    app.locator("#install-check").click()
    expect(app.locator("#install-finish.primary")).to_be_visible(timeout=20_000)
    album.frame(empty_stage, "install-done")


def test_demo(show, album, settings):
    open_page(show, settings)
    album.page(show.page, "demo-empty")
    show.page.locator("#client-form .chip").first.click()
    frame = show.page.frame_locator("#app")
    expect(frame.locator("#draft-text")).not_to_have_value("", timeout=20_000)
    expect(show.page.locator("#crm-card")).to_contain_text(re.compile(r"\+7"), timeout=10_000)
    album.page(show.page, "demo")
    show.page.locator("#role").select_option("admin")
    expect(frame.locator("nav").first).to_be_visible(timeout=15_000)
    album.page(show.page, "demo-admin")


def test_host(page: Page, stage, album, live_server):
    portal = stage.portal
    shop(portal)
    two_weeks(portal)
    for number, (domain, state) in enumerate(
        (("okna-plus", "active"), ("klinika-sokol", "suspended"), ("avto-mir", "broken"))
    ):
        make_portal(
            member_id=str(number) * 32, domain=f"{domain}.bitrix24.ru", state=state,
            last_event_at=timezone.now() - timedelta(minutes=4 + 900 * number),
        )  # fmt: skip
    visitor = Client()
    visitor.force_login(User.objects.create_superuser("host", "host@example.ru", "x"))
    cookie = {"name": "sessionid", "value": visitor.cookies["sessionid"].value}
    page.context.add_cookies([{**cookie, "url": live_server.url}])
    page.set_viewport_size({"width": 1280, "height": 720})
    for name, address in (
        ("portals", "portals/portal/"),
        ("portal", f"portals/portal/{portal.pk}/change/"),
        ("undelivered", "assistant/delivery/?stuck=1"),
        ("runs", "assistant/run/"),
        ("erase", f"portals/portal/{portal.pk}/erase/"),
    ):
        page.goto(f"{live_server.url}/admin/{address}")
        album.page(page, f"host-{name}")
    page.context.clear_cookies()
