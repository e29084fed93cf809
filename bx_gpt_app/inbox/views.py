"""The doors themselves: parse, call one function, answer."""

from __future__ import annotations

import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from bx_gpt_app.assistant.models import Call
from bx_gpt_app.inbox import hook, metrics
from bx_gpt_app.inbox.receive import UnknownSender, receive
from bx_gpt_app.portals.install import NotAdmin
from bx_gpt_app.portals.registrations import UnknownApp, registration
from integrations.bitrix24.errors import Bitrix24Error, CallRejected
from integrations.bitrix24.events import NotAnEvent, parse_event
from integrations.bitrix24.forms import MalformedForm, parse_body, parse_form
from integrations.net import ForbiddenAddress

logger = logging.getLogger(__name__)

ROBOTS = ("ai_reply",)
"""Codes of the automation steps we register (integrations.bitrix24.placements)."""


def json_error(status: int, code: str, sentence: str) -> JsonResponse:
    return JsonResponse({"error": code, "error_description": sentence}, status=status)


def plain_page(request: HttpRequest) -> HttpResponse:
    """What a browser or the Market's check sees at a portal's address: never 405."""
    return render(request, "base/open_inside.html")


@csrf_exempt
def event(request: HttpRequest, app: str, code: str = "") -> HttpResponse:
    """POST /b24/<app>/events/ and /b24/<app>/robot/<code>/: answers at once; work happens in a
    task."""
    if request.method in ("GET", "HEAD"):
        return plain_page(request)
    if request.method != "POST":
        return json_error(405, "post_only", "Events are sent by POST.")
    if code and code not in ROBOTS:
        return json_error(404, "unknown_robot", "The app has no such automation step.")
    with metrics.event_seconds.time():
        try:
            incoming = parse_event(parse_body(request.content_type or "", request.body))
            receive(registration(app), incoming)
        except RequestDataTooBig:
            return json_error(413, "too_large", "The body is too large for an event.")
        except (MalformedForm, NotAnEvent) as error:
            return json_error(400, "not_an_event", f"Not an event of Bitrix24: {error}.")
        except UnknownApp:
            return json_error(404, "unknown_app", "There is no app registration at this address.")
        except UnknownSender:
            return json_error(403, "forbidden", "Unknown portal or wrong application_token.")
        except (CallRejected, NotAdmin, ForbiddenAddress):
            return json_error(403, "not_genuine", "The installation could not be verified.")
        except Bitrix24Error:
            return json_error(503, "unavailable", "Bitrix24 did not answer; send it again later.")
        except OperationalError:
            logger.exception("event not stored")
            return json_error(503, "busy", "The event could not be stored; send it again later.")
    return HttpResponse("ok", content_type="text/plain")


@csrf_exempt
def ask_hook(request: HttpRequest, public_id: str) -> HttpResponse:
    """POST /hooks/<portal-public-id>/: JSON, form and query parameters alike."""
    if request.method != "POST":
        return json_error(405, "post_only", "Send a POST with 'text' to this address.")
    try:
        data = {**request.GET.dict(), **_body(request)}
        portal = hook.portal_of(public_id, _token(request, data))
        asked = hook.ask(portal, data)
    except RequestDataTooBig:
        return _counted(json_error(413, "too_large", "The body is too large for a question."))
    except MalformedForm as error:
        return _counted(json_error(400, "malformed", f"The body cannot be read: {error}."))
    except hook.HookError as error:
        return _counted(_refusal(error))
    answer = hook.wait_for(asked)
    if answer is not None:
        return _counted(JsonResponse(answer))
    return _counted(_pending(public_id, asked.call))


@csrf_exempt
@require_http_methods(["GET", "HEAD"])
def hook_answer(request: HttpRequest, public_id: str, call_id: str) -> HttpResponse:
    """GET /hooks/<portal-public-id>/<id>/: the answer of an earlier call, or 202 again."""
    try:
        portal = hook.portal_of(public_id, _token(request, request.GET.dict()))
        call = Call.objects.filter(portal=portal, pk=call_id).first()
        if call is None:
            return json_error(404, "unknown_call", "There is no such call of this portal.")
        answer = hook.answer_of(portal, call)
    except hook.HookError as error:
        return _counted(_refusal(error))
    return JsonResponse(answer) if answer else _pending(public_id, call)


def _body(request: HttpRequest) -> dict[str, Any]:
    """A site's own form may come as multipart; everything else is a form or JSON."""
    if request.content_type == "multipart/form-data":
        return parse_form(request.POST.items())
    return parse_body(request.content_type or "", request.body)


def _token(request: HttpRequest, data: dict[str, Any]) -> str:
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return str(data.get("token") or "")


def _pending(public_id: str, call: Call) -> JsonResponse:
    url = f"/hooks/{public_id}/{call.pk}/"
    return JsonResponse({"id": str(call.pk), "status": "pending", "url": url}, status=202)


def _refusal(error: hook.HookError) -> JsonResponse:
    response = json_error(error.status, error.code, error.sentence)
    if error.retry_after:
        response["Retry-After"] = str(error.retry_after)
    return response


def _counted(response: HttpResponse) -> HttpResponse:
    metrics.hook_calls.labels(status=str(response.status_code)).inc()
    return response
