"""A request id for every request and one log line when it is over: no query, no body, no header.
And the language of the host's pages."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers

from bx_gpt_app.common.logs import log_context

logger = logging.getLogger(__name__)
_QUIET = ("/static/", "/healthz", "/readyz", "/metrics")


class RequestLog:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.monotonic()
        request_id = uuid.uuid4().hex[:12]
        with log_context(request=request_id):
            response = self._get_response(request)
            if not request.path.startswith(_QUIET):
                # A page that polls and hears nothing new, hundreds of them every few seconds.
                nothing = request.method == "GET" and response.status_code == 204
                logger.log(
                    logging.DEBUG if nothing else logging.INFO,
                    "request",
                    extra={
                        "method": request.method,
                        "path": request.path,
                        "status": response.status_code,
                        "ms": round((time.monotonic() - started) * 1000),
                    },
                )
        response["X-Request-Id"] = request_id
        return _without_body(response) if request.method == "HEAD" else response


def _without_body(response: HttpResponse) -> HttpResponse:
    """The Market checks addresses by HEAD; a body after it would only confuse the server."""
    if not response.streaming:
        length = len(response.content)
        response.content = b""
        response["Content-Length"] = str(length)
    return response


class AdminLanguage:
    """The host's pages speak the language of the browser; pages in frames carry their own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path.startswith("/admin/"):
            return self._get_response(request)
        with translation.override(translation.get_language_from_request(request)):
            response = self._get_response(request)
        patch_vary_headers(response, ["Accept-Language"])
        return response
