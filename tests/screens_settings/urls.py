"""Only what the settings screens need, and a door that answers as the entry does."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.utils import timezone, translation

from bx_gpt_app.assistant.context import zone_of
from bx_gpt_app.screens import preferences
from bx_gpt_app.screens.frame import framed, read_token
from bx_gpt_app.screens.settings.overview import render_overview


def door(request: HttpRequest) -> HttpResponse:
    """GET /door/?token=…: the first page, as it answers the portal's own POST."""
    frame = read_token(request.GET["token"])
    portal = frame.portal
    with translation.override(frame.language), timezone.override(zone_of(portal)):
        response = render_overview(request, frame)
    response = framed(response, portal.origin)
    response["Content-Security-Policy"] = response["Content-Security-Policy"].split("; frame-anc")[
        0
    ]
    return response


urlpatterns = [
    path("admin/", admin.site.urls),
    path("door/", door),
    path("b24/<slug:app>/preferences/", preferences.change),
    path("", include("bx_gpt_app.inbox.urls")),
    path("", include("bx_gpt_app.screens.settings_urls")),
]
handler404 = "bx_gpt_app.inbox.views.not_found"
