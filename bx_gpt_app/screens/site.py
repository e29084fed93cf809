"""The host's own front page, for people who came without a portal."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.views.decorators.http import require_safe


def visitor_language(request: HttpRequest) -> str:
    """?language=, else what the browser prefers, of the two that there are."""
    asked = request.GET.get("language", "")
    return asked if asked in ("ru", "en") else translation.get_language_from_request(request)[:2]


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """GET /"""
    with translation.override(visitor_language(request)):
        demo_url = "/demo/" if settings.DEBUG or settings.DEMO else ""
        return render(request, "base/landing.html", {"demo_url": demo_url})
