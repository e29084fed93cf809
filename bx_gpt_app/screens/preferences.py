"""Theme, language and shortcuts of one person, kept on the server: web storage may be closed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.frame import Frame, frame_view, refusal
from bx_gpt_app.screens.models import Preference

THEMES = ("light", "dark")
LANGUAGES = ("ru", "en")


def of_user(portal: Portal, user_id: int) -> Preference:
    """The stored preferences, or the defaults (not saved)."""
    found = Preference.objects.filter(portal=portal, user_id=user_id).first()
    return found or Preference(portal=portal, user_id=user_id)


def theme_of(frame: Frame) -> str:
    return of_user(frame.portal, frame.user_id).theme


def page_context(frame: Frame) -> dict[str, Any]:
    """What `base/frame.html` needs of the session and of the visitor's preferences."""
    mine = of_user(frame.portal, frame.user_id)
    app = frame.portal.registration.code
    return {
        "frame_token": frame.token(),
        "frame_session_url": f"/b24/{app}/session/",
        "theme": mine.theme,
        "keys_off": mine.keys_off,
        "keys_url": f"/b24/{app}/preferences/?keys=set",
        "theme_url": f"/b24/{app}/preferences/",
    }


@frame_view
def change(request: HttpRequest, app: str) -> HttpResponse:
    """POST theme=dark, language=en, or ?keys=set with keys=1 in the body while they are on."""
    frame: Frame = request.frame  # type: ignore[attr-defined]
    if request.method != "POST":
        return refusal(400, "post_only", "Send what to change.")
    changes: dict[str, Any] = {}
    if request.POST.get("theme") in THEMES:
        changes["theme"] = request.POST["theme"]
    if request.POST.get("language", "-") in (*LANGUAGES, ""):
        changes["language"] = request.POST["language"]
    if request.GET.get("keys") == "set":
        changes["keys_off"] = request.POST.get("keys") != "1"
    if changes:
        Preference.objects.update_or_create(
            portal=frame.portal, user_id=frame.user_id, defaults=changes
        )
    return HttpResponse(status=204)


def forget(portal: Portal) -> None:
    Preference.objects.filter(portal=portal).delete()
