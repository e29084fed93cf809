"""What went wrong, for whoever asked: a page in the browser's language, JSON for a program."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.core.exceptions import DisallowedHost, RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from bx_gpt_app.screens.frame import refusal
from bx_gpt_app.screens.site import visitor_language

WORDS: Mapping[int, tuple[str, Promise, Promise]] = {
    400: (
        "bad_request",
        _("The request cannot be read"),
        _("Something in it is wrong or missing. Check the address and try again."),
    ),
    403: (
        "forbidden",
        _("This is not open to you"),
        _("You may not open this page. Sign in as somebody who may."),
    ),
    404: (
        "not_found",
        _("There is no such page"),
        _("There is nothing at this address. Check it for a slip."),
    ),
    405: (
        "method_not_allowed",
        _("This address works in another way"),
        _("It does not take requests of this kind."),
    ),
    413: (
        "too_large",
        _("This is too large"),
        _("The request is larger than 1 MB, and no more is taken here."),
    ),
    500: (
        "internal_error",
        _("Something went wrong on our side"),
        _("The error is in the host’s log. Try again in a minute."),
    ),
}
"""Status → code for programs, heading, sentence."""

UNKNOWN: tuple[str, Promise, Promise] = ("refused", _("This did not work"), WORDS[400][2])
CSRF = _(
    "The form could not be checked: its page is too old, or cookies are switched off. Load the "
    "page again and repeat."
)

FOREIGN_HOST = _("This server does not go by that name. Use the address it was set up with.")


def speaks_json(request: HttpRequest) -> bool:
    """Does the caller send JSON, or ask for it rather than for a page?"""
    if "json" in (request.content_type or ""):
        return True
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def error_response(
    request: HttpRequest, status: int, heading: str, text: str, **more: str
) -> HttpResponse:
    """A readable page, or JSON for who speaks it. `more`: hint, reference of base/site.html."""
    if speaks_json(request):
        return refusal(status, WORDS.get(status, UNKNOWN)[0], text)
    context = {"heading": heading, "text": text, **more}
    return render(request, "base/error.html", context, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return _told(request, 413)
    return _told(request, 400, FOREIGN_HOST if isinstance(exception, DisallowedHost) else None)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _told(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _told(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    return _told(request, 500)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return _told(request, 403, CSRF)


class ReadableRefusals:
    """Django's decorators refuse a method with an empty answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code < 400 or response.streaming or response.content:
            return response
        readable = _told(request, response.status_code)
        if "Allow" in response:
            readable["Allow"] = response["Allow"]
        return readable


def _told(request: HttpRequest, status: int, sentence: Promise | None = None) -> HttpResponse:
    code, heading, text = WORDS.get(status, UNKNOWN)
    with translation.override(visitor_language(request)):
        if _is_machine(request):
            response: HttpResponse = refusal(status, code, str(sentence or text))
        else:
            response = error_response(request, status, str(heading), str(sentence or text))
    patch_vary_headers(response, ["Accept", "Accept-Language"])
    return response


def _is_machine(request: HttpRequest) -> bool:
    """Who posts to an address of events or of the hook and does not even name HTML is none of
    those who could read a page."""
    if request.path.startswith("/hooks/"):
        return True
    no_page = "text/html" not in request.headers.get("Accept", "")
    return request.path.startswith("/b24/") and request.method == "POST" and no_page
