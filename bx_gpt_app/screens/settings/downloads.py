"""Files: a plain navigation carries no header, so it brings a signed ticket that lives a minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core import signing
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import override

from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.errors import error_response
from bx_gpt_app.screens.frame import Frame

SALT = "b24.download"
LIFETIME_SECONDS = 60

File = tuple[str, str, bytes]
"""Name, content type, content."""
FILES: dict[str, Callable[[Portal, dict[str, Any]], File]] = {}
"""Kind → what makes it; screens register theirs."""


def ticket_for(frame: Frame, kind: str, **options: Any) -> JsonResponse:
    """The address of a file for the next minute, as `data-download` buttons expect it."""
    ticket = signing.dumps(
        {
            "portal": frame.portal_id,
            "epoch": frame.epoch,
            "kind": kind,
            "options": options,
            "language": frame.language,
        },
        salt=SALT,
        compress=True,
    )
    code = frame.portal.registration.code
    return JsonResponse(
        {"url": reverse("settings-download", kwargs={"app": code, "ticket": ticket})}
    )


def download(request: HttpRequest, app: str, ticket: str) -> HttpResponse:
    """GET: the file, or a readable page when the minute is over."""
    try:
        asked = signing.loads(ticket, salt=SALT, max_age=LIFETIME_SECONDS)
        portal = Portal.objects.get(pk=asked["portal"], registration__code=app)
    except (signing.BadSignature, Portal.DoesNotExist):
        return _over(request)
    if portal.session_epoch != asked["epoch"] or asked["kind"] not in FILES:
        return _over(request)
    with override(asked["language"]):
        name, content_type, content = FILES[asked["kind"]](portal, asked["options"])
    response = HttpResponse(content, content_type=content_type)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


download.is_signed_download = True  # type: ignore[attr-defined]


def _over(request: HttpRequest) -> HttpResponse:
    text = _("A download link lives one minute. Press the button once more.")
    return error_response(request, 410, _("This link has ended"), text)


def harmless(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
