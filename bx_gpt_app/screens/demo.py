"""/demo/: an invented portal for newcomers. The chat and the card are the local portal's, the frame
in the middle is the app itself with its real doors: entry, verification, page token.

Only while DEBUG or DEMO is on. The local portal is another process; it is spoken to through its
control address.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from django.conf import settings
from django.core import signing
from django.core.cache import cache as shared
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
)
from django.shortcuts import render
from django.urls import path
from django.utils import timezone, translation
from django.utils.csp import CSP
from django.utils.translation import gettext as _
from django.views.decorators.csp import csp_override
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from bx_gpt_app.assistant import lines, store
from bx_gpt_app.assistant.config import PortalConfig, read_yaml
from bx_gpt_app.assistant.models import Dialog, Run
from bx_gpt_app.assistant.operator import UNFINISHED
from bx_gpt_app.environment import LOOPBACK
from bx_gpt_app.portals.clients import http_session
from bx_gpt_app.portals.fields import catalogue
from bx_gpt_app.portals.models import AppRegistration, Portal
from bx_gpt_app.portals.tasks import bind_now
from bx_gpt_app.screens.site import visitor_language
from integrations.bitrix24 import local_portal
from integrations.bitrix24.crm import LEAD, emails, item_value, phones
from integrations.bitrix24.errors import Bitrix24Error
from integrations.bitrix24.forms import as_list, int_of, text_of

logger = logging.getLogger(__name__)

ADMIN, OPERATOR = 1, 7
LINE = 22
SALT = "b24.demo"
TOKEN_SECONDS = 86_400
POSTS_PER_MINUTE = 60
KEPT_CHATS = 12
KEPT_HOURS = 24
LONGEST_TEXT = 2000
CONTROL_SECONDS = (2.0, 30.0)

CLIENTS = (
    "Анна Смирнова", "Иван Петров", "Мария Орлова", "Дмитрий Волков", "Ольга Белова", "John Smith",
)  # fmt: skip
CARD: tuple[tuple[str, str, str], ...] = (
    ("NAME", "Name", "Имя"),
    ("LAST_NAME", "Last name", "Фамилия"),
    ("PHONE", "Phone", "Телефон"),
    ("EMAIL", "E-mail", "Почта"),
    ("UF_CRM_TOPIC", "Topic", "Тема обращения"),
    ("UF_CRM_SUBJECT", "Request", "Суть обращения"),
    ("UF_CRM_EQUIPMENT", "Product", "Оборудование"),
    ("UF_CRM_BUDGET", "Budget", "Бюджет"),
    ("UF_CRM_VISIT", "Wanted date", "Желаемая дата"),
    ("UF_CRM_ADDRESS", "Address", "Адрес"),
)
"""What the card of the demo shows: field, title in English and in Russian."""


class NotReady(Exception):
    """The local portal or the web process does not answer (yet)."""


# ---- the local portal ----


def control(name: str, data: Mapping[str, Any] | None = None, **query: Any) -> Any:
    """One call of the local portal's control; POST when there is data. Raises: NotReady."""
    url = f"{settings.DEMO_PORTAL_URL}/_control/{name}"
    headers = {"X-Control-Key": settings.DEMO_CONTROL_KEY}
    try:
        if data is None:
            answer = http_session().get(url, params=query, headers=headers, timeout=CONTROL_SECONDS)
        else:
            answer = http_session().post(url, json=data, headers=headers, timeout=CONTROL_SECONDS)
        if answer.status_code != 200:
            raise NotReady(f"{name}: {answer.status_code}")
        return answer.json()
    except (requests.RequestException, ValueError) as error:
        raise NotReady(f"{name}: {type(error).__name__}") from None


def demo_portal() -> Portal:
    """Raises: NotReady before `prepare`."""
    portal = (
        Portal.objects.filter(registration__code=settings.DEMO_APP, state=Portal.State.ACTIVE)
        .select_related("registration")
        .order_by("-pk")
        .first()
    )
    if portal is None:
        raise NotReady("the demo portal is not installed")
    return portal


def prepare() -> None:
    """Install the app into the local portal by real POSTs and configure it as a shop.

    Repeating it changes nothing; what an earlier demo left behind is deleted.
    Raises: NotReady.
    """
    about = control("about")
    app, _created = AppRegistration.objects.update_or_create(
        code=settings.DEMO_APP,
        defaults={
            "title": "Demo",
            "client_id": about["client_id"],
            # The local portal is started with the same secret: both know the control key only.
            "client_secret": settings.DEMO_CONTROL_KEY,
            "oauth_url": "",
        },
    )
    Portal.objects.filter(registration=app).exclude(member_id=about["member_id"]).delete()
    known = Portal.objects.filter(registration=app, state=Portal.State.ACTIVE).exists()
    if not known:
        reply = control("install", {"kind": "frame", "finish": True})
        if reply["status"] != 200:
            raise NotReady(f"the installer answered {reply['status']}")
    portal = demo_portal()
    store.save(portal, demo_config(), by="demo")
    try:
        bind_now(portal)
    except Bitrix24Error as error:
        raise NotReady(str(error)) from None


def demo_config() -> PortalConfig:
    """The shop of the demo; its model is the host's own, or the one that comes with the demo."""
    config = read_yaml((Path(__file__).parent / "demo.yaml").read_text())
    if settings.OPENAI_API_KEY or not _is_loopback(settings.DEMO_MODEL_URL):
        return config
    if _own_model():
        return config
    model = config.llm.model_copy(
        update={
            "base_url": f"{settings.DEMO_MODEL_URL.removesuffix('/v1')}/v1",
            "model": "demo-rules-1",
            "api_key": "demo",
        }
    )
    return config.model_copy(update={"llm": model})


def _own_model() -> bool:
    """Has the host named a model server of its own, one that needs no key?"""
    return "api.openai.com" not in settings.OPENAI_BASE_URL


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "") in LOOPBACK


# ---- the page ----


def only_in_demo(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (settings.DEBUG or settings.DEMO):
            raise Http404
        return view(request, *args, **kwargs)

    return shown


def app_origin(request: HttpRequest) -> str:
    """Where the frame comes from: on this machine another host name than the page's, so that it is
    as foreign to the page as in a real portal."""
    own = urlsplit(f"{request.scheme}://{request.get_host()}")
    swapped = {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(own.hostname or "")
    if not swapped:
        return urlunsplit((own.scheme, own.netloc, "", "", ""))
    port = f":{own.port}" if own.port else ""
    return f"{own.scheme}://{swapped}{port}"


@only_in_demo
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """GET /demo/"""
    language = visitor_language(request)
    with translation.override(language):
        context = {
            "token": signing.dumps("demo", salt=SALT),
            "state_url": f"/demo/state/{language}/",
            "say_url": "/demo/say/",
            "operator_say_url": "/demo/operator/",
            "mode_url": "/demo/mode/",
            "frame_url": f"/demo/frame/{language}/",
            "reset_url": "/demo/reset/",
            "portal_frame_url": "/demo/portal_frame.js",
            "note": _note(),
            "languages": [
                {
                    "code": code,
                    "title": code.upper(),
                    "url": f"?language={code}",
                    "current": code == language,
                }
                for code in ("ru", "en")
            ],
        }
        response = render(request, "demo/index.html", {"demo": context})
    # The page frames the app's other host and posts into it, as a portal does.
    origin = app_origin(request)
    framing: dict[str, Any] = {
        **settings.SECURE_CSP,
        "frame-src": [CSP.SELF, origin],
        "form-action": [CSP.SELF, origin],
    }
    framed: HttpResponse = csp_override(framing)(lambda _request: response)(request)
    return framed


def _note() -> str:
    if _is_loopback(settings.PUBLIC_URL):
        return _("An invented portal on your own computer. It forgets everything when it stops.")
    return _("An invented portal that all visitors share: write nothing personal.")


@only_in_demo
@require_safe
def portal_frame(request: HttpRequest) -> FileResponse:
    """GET /demo/portal_frame.js: the portal's half of the frame protocol."""
    script = Path(local_portal.__file__).parent / "static" / "portal_frame.js"
    return FileResponse(script.open("rb"), content_type="text/javascript; charset=utf-8")


# ---- its JSON interface ----


def posted(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponseBase]:
    """A POST of the demo's own page: its token, a limit, a JSON body; trouble is a status."""

    @csrf_exempt
    @only_in_demo
    @require_POST
    @wraps(view)
    def answered(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        try:
            token = request.headers.get("X-Demo-Token", "")
            signing.loads(token, salt=SALT, max_age=TOKEN_SECONDS)
        except signing.BadSignature:
            return _error(403, "The demo’s page is too old: load it again.")
        if _too_many(request):
            return _error(429, "Too many requests for a demo: wait a minute.")
        try:
            data = json.loads(request.body or b"{}")
            if not isinstance(data, dict):
                raise ValueError
            return view(request, data, **kwargs)
        except (ValueError, KeyError, TypeError):
            return _error(400, "The request cannot be read.")
        except (NotReady, Bitrix24Error) as error:
            logger.warning("demo: %s", error)
            return _error(503, "The demo portal does not answer.")

    return answered


def _error(status: int, sentence: str) -> JsonResponse:
    return JsonResponse({"error": "demo", "error_description": sentence}, status=status)


def _too_many(request: HttpRequest) -> bool:
    key = f"demo:{request.META.get('REMOTE_ADDR')}:{int(timezone.now().timestamp() // 60)}"
    shared.add(key, 0, 120)
    return shared.incr(key) > POSTS_PER_MINUTE


@only_in_demo
@require_safe
def state(request: HttpRequest, language: str) -> HttpResponse:
    """GET ?since=&chat=: the chats, the card of the chosen one; 204 while nothing has changed."""
    try:
        portal = demo_portal()
        # The number after the last change of the portal; what is older is not sent at all.
        shown = request.GET.get("since", "")
        world = control("state", since=_world_rev(shown))
        rev = _rev(portal, int(world["rev"]), request.GET.get("chat", ""))
        if rev == shown:
            return HttpResponse(status=204)
        whole = control("state", since=0)
    except NotReady:
        return _error(503, "The demo portal does not answer.")
    return JsonResponse(_state(portal, whole, rev, request.GET.get("chat", ""), language))


def _world_rev(rev: str) -> int:
    return int_of(rev.partition("-")[0]) or 0


def _rev(portal: Portal, world_rev: int, chat: str) -> str:
    """All that the page shows: the portal's world, our settings, whether we are writing."""
    _config, revision = store.load(portal)
    return f"{world_rev}-{revision}-{int(_is_typing(portal, chat))}-{chat}"


def _is_typing(portal: Portal, chat: str) -> bool:
    dialog = Dialog.objects.filter(portal=portal, kind=Dialog.Kind.CHAT, key=chat or "-").first()
    if dialog is None:
        return False
    waits = dialog.client_waits_since is not None and dialog.quarantined_at is None
    return waits or Run.objects.filter(dialog=dialog, state__in=UNFINISHED).exists()


def _state(
    portal: Portal, world: Mapping[str, Any], rev: str, chat: str, language: str
) -> dict[str, Any]:
    since = (timezone.now() - timedelta(hours=KEPT_HOURS)).timestamp()
    chats = [one for one in world["chats"] if _is_shown(one, since)][-KEPT_CHATS:]
    chosen = next((one for one in chats if str(one["id"]) == chat), chats[-1] if chats else None)
    item = _lead_of(world, chosen)
    config, _revision = store.load(portal)
    name = config.llm.model or settings.OPENAI_MODEL
    return {
        "rev": rev,
        "chats": [_chat(one) for one in chats],
        "item": _card(portal, item, language) if item else None,
        "timeline": _timeline(item) if item else [],
        "line": {"id": LINE, "mode": config.line(LINE).mode},
        "model": {"name": name, "demo": name == "demo-rules-1"},
        "typing": chosen is not None and _is_typing(portal, str(chosen["id"])),
    }


def _is_shown(chat: Mapping[str, Any], since: float) -> bool:
    session, messages = chat["session"], chat["messages"]
    is_open = session is not None and session["open"]
    return is_open and bool(messages) and float(messages[-1]["at"]) > since


def _chat(chat: Mapping[str, Any]) -> dict[str, Any]:
    names = [one["name"] for one in chat["members"] if one["kind"] == "client"]
    return {
        "id": chat["id"],
        "title": names[0] if names else chat["title"],
        "messages": [_message(one) for one in chat["messages"] if one["text"]],
    }


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"client": "client", "bot": "bot", "system": "system"}
    author = "whisper" if message["hidden"] else kinds.get(message["kind"], "operator")
    return {
        "id": message["id"],
        "author": author,
        "name": message["author"],
        "text": message["text"],
        "at": round(float(message["at"]) * 1000),
    }


def _lead_of(world: Mapping[str, Any], chat: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    number = int_of((chat or {}).get("crm", {}).get("lead"))
    leads = (one for one in world["items"] if one["entityTypeId"] == LEAD and one["id"] == number)
    return next(leads, None)


def _card(portal: Portal, item: Mapping[str, Any], language: str) -> dict[str, Any]:
    infos = catalogue(portal, LEAD)
    fields = []
    for name, english, russian in CARD:
        choices = dict(infos[name].choices) if name in infos else {}
        fields.append(
            {
                "name": name,
                "title": russian if language == "ru" else english,
                "value": _in_words(item, name, choices),
            }
        )
    return {
        "type": "Лид" if language == "ru" else "Lead",
        "id": item["id"],
        "title": text_of(item.get("title")),
        "fields": fields,
    }


def _in_words(item: Mapping[str, Any], name: str, choices: Mapping[str, str]) -> str:
    if name == "PHONE":
        return ", ".join(phones(item))
    if name == "EMAIL":
        return ", ".join(emails(item))
    value = item_value(item, name)
    words = [choices.get(text_of(one), text_of(one)) for one in as_list(value) or [value]]
    line = ", ".join(word for word in words if word and word != "0")
    if name == "UF_CRM_BUDGET":
        amount, _bar, currency = line.partition("|")
        sum_of = f"{int(amount):,}".replace(",", " ") if amount.isdigit() else amount
        return f"{sum_of} {'₽' if currency == 'RUB' else currency}".strip()
    if name == "UF_CRM_VISIT" and len(line) >= 10:
        return f"{line[8:10]}.{line[5:7]}.{line[:4]}"
    return line


def _timeline(item: Mapping[str, Any]) -> list[dict[str, str]]:
    """What was noted at the card, the newest first."""
    return [
        {"title": text_of(one.get("title")), "text": text_of(one.get("text"))}
        for one in reversed(as_list(item.get("timeline")))
    ]


@posted
def say(request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
    """POST {chat_id or null, text}: the visitor plays the client."""
    text = str(data["text"]).strip()[:LONGEST_TEXT]
    if not text:
        raise ValueError
    message: dict[str, Any] = {"text": text, "line_id": LINE}
    if data.get("chat_id"):
        message["chat_id"] = int(data["chat_id"])
    else:
        message["name"] = _next_client(text)
    answer = control("client-message", message)
    return JsonResponse({"chat_id": answer["chat_id"]})


def _next_client(text: str) -> str:
    """A name that fits the language of what is written."""
    if text.isascii():
        return CLIENTS[-1]
    shared.add("demo:client", -1, None)
    return CLIENTS[shared.incr("demo:client") % (len(CLIENTS) - 1)]


@posted
def operator_say(request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
    """POST {chat_id, text}: the visitor presses Enter in the chat's own field."""
    text = str(data["text"]).strip()[:LONGEST_TEXT]
    if not text:
        raise ValueError
    control(
        "operator-message", {"chat_id": int(data["chat_id"]), "user_id": OPERATOR, "text": text}
    )
    return HttpResponse(status=204)


@posted
def mode(request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
    """POST {mode}: off, suggest or auto for the demo's line."""
    if data["mode"] not in ("off", "suggest", "auto"):
        raise ValueError
    portal = demo_portal()
    delay = 5 if data["mode"] == "auto" else 0
    line = {"mode": data["mode"], "delay_seconds": delay}
    store.change(portal, by="demo", lines={str(LINE): line})
    lines.apply_modes(portal)
    return HttpResponse(status=204)


@posted
def frame(request: HttpRequest, data: dict[str, Any], language: str) -> HttpResponse:
    """POST {placement, chat_id, role}: the form that a portal would post into a new frame."""
    is_admin = data.get("role") == "admin"
    placement = "IM_SIDEBAR" if data.get("placement") == "IM_SIDEBAR" else "DEFAULT"
    options = {"dialogId": f"chat{int(data['chat_id'])}"} if data.get("chat_id") else None
    form = control(
        "frame",
        {
            "user_id": ADMIN if is_admin else OPERATOR,
            "placement": placement,
            "options": options,
            "language": language,
        },
    )
    action, fields = urlsplit(form["action"]), form["fields"]
    origin = urlsplit(app_origin(request))
    own = urlunsplit((origin.scheme, origin.netloc, action.path, action.query, ""))
    is_secure = 1 if request.is_secure() else 0
    return JsonResponse(
        {
            "action": own,
            "fields": fields,
            # The frame's parent is this page, so its messages go to this page's address.
            "window_name": f"{request.get_host()}|{is_secure}|{form['sid']}",
            "sid": form["sid"],
            "auth": {name: fields[name] for name in ("AUTH_ID", "AUTH_EXPIRES", "REFRESH_ID")},
        }
    )


@posted
def reset(request: HttpRequest, data: dict[str, Any]) -> HttpResponse:
    """POST {}: an empty chat list and the first configuration again."""
    portal = demo_portal()
    for chat in control("state", since=0)["chats"]:
        if chat["session"] and chat["session"]["open"]:
            control("finish-session", {"chat_id": chat["id"]})
    Dialog.objects.filter(portal=portal, leased_until__isnull=True).delete()
    store.save(portal, demo_config(), by="demo")
    lines.apply_modes(portal)
    return HttpResponse(status=204)


urlpatterns = [
    path("", page, name="demo"),
    path("portal_frame.js", portal_frame),
    path("state/<slug:language>/", state),
    path("say/", say),
    path("operator/", operator_say),
    path("mode/", mode),
    path("frame/<slug:language>/", frame),
    path("reset/", reset),
]
