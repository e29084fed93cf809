"""What the entry and the installer share: the refusals that a visitor can read, and his claim."""

from __future__ import annotations

import logging
import uuid

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from bx_gpt_app.portals.install import Claim
from bx_gpt_app.screens.errors import error_response
from bx_gpt_app.screens.frame import framed
from integrations.bitrix24.frames import FramePost

logger = logging.getLogger(__name__)

RUSSIAN = ("ru", "kz", "by", "ua")
"""Portal languages whose people are spoken to in Russian."""


class EntryRefused(Exception):
    """The visitor gets a readable page without data: heading, text, hint."""

    def __init__(self, status: int, heading: str, text: str, hint: str = "") -> None:
        super().__init__(heading)
        self.status, self.heading, self.text, self.hint = status, heading, text, hint


def posted_language(request: HttpRequest) -> str:
    """ru or en by LANG, before the portal is known."""
    code = str(request.GET.get("LANG") or "")[:2].lower()
    return "en" if code and code not in RUSSIAN else "ru"


def refused_page(request: HttpRequest, refused: EntryRefused) -> HttpResponse:
    """No data, no controls, hence framable by anyone: the portal may be unknown."""
    reference = uuid.uuid4().hex[:8]
    logger.warning("entry refused", extra={"reference": reference, "status": refused.status})
    response = error_response(
        request,
        refused.status,
        refused.heading,
        refused.text,
        hint=refused.hint,
        reference=reference,
    )
    return framed(response, "*")


def claim_of(post: FramePost) -> Claim:
    return Claim(
        member_id=post.member_id,
        access_token=post.access_token,
        refresh_token=post.refresh_token,
        expires_in=post.expires_in,
        domain=post.domain,
        server_endpoint=post.server_endpoint,
        application_token=post.application_token,
        language=post.lang.lower()[:2],
        scope=post.scope,
    )


def reopen() -> EntryRefused:
    return EntryRefused(
        400,
        _("Open the app again"),
        _(
            "The page was loaded without the portal’s data, for example by a reload inside the "
            "frame. Close it and open it from Bitrix24 again."
        ),
    )


def no_such_app() -> EntryRefused:
    return EntryRefused(
        404,
        _("There is no such app here"),
        _(
            "The address in the app’s settings is wrong: its part after /b24/ names an app "
            "registration that this host does not have."
        ),
    )


def not_installed() -> EntryRefused:
    return EntryRefused(
        403,
        _("The app is not installed yet"),
        _("An administrator of the portal should install it: open the app’s installation once."),
        _("If it was installed before, install it once more: nothing of your settings is lost."),
    )


def not_genuine() -> EntryRefused:
    return EntryRefused(
        403,
        _("The portal could not be verified"),
        _("Bitrix24 does not confirm this visit. Close the app and open it again."),
        _("If it repeats, an administrator should install the app once more."),
    )


def not_open() -> EntryRefused:
    return EntryRefused(
        403,
        _("This chat is not open to you"),
        _("The portal does not show this chat or card to you, so neither do we."),
    )


def unavailable() -> EntryRefused:
    return EntryRefused(
        503,
        _("Bitrix24 does not answer"),
        _("Your visit could not be verified now. Open the app again in a minute."),
    )
