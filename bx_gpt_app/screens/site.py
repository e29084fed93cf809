"""The host's own front page, for people who came without a portal."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe


def visitor_language(request: HttpRequest) -> str:
    """?language=, else what the browser prefers, of the two that there are."""
    asked = request.GET.get("language", "")
    return asked if asked in ("ru", "en") else translation.get_language_from_request(request)[:2]


def in_visitors_language(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """For pages of the site: nobody has said yet which portal, and so which language, it is."""

    @functools.wraps(view)
    def spoken(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with translation.override(visitor_language(request)):
            response = view(request, *args, **kwargs)
        patch_vary_headers(response, ["Accept-Language"])
        return response

    return spoken


@csrf_exempt
@require_safe
@in_visitors_language
def landing(request: HttpRequest) -> HttpResponse:
    """GET /"""
    demo_url = "/demo/" if settings.DEBUG or settings.DEMO else ""
    return render(request, "base/landing.html", {"demo_url": demo_url})
