"""The frame session: a signed token in a header, no cookies at all.

A portal posts into our iframe; the visitor's token is verified, the page carries our own short
token, and every request brings it back as `Authorization: Bearer …`. There is no ambient
credential, hence no CSRF token.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

from bx_gpt_app.assistant.context import zone_of
from bx_gpt_app.common.logs import log_context
from bx_gpt_app.portals.clients import FixedToken, authorization_server, client_with
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.client import BatchReply, Command
from integrations.bitrix24.crm import ItemRef, read_item_command
from integrations.bitrix24.errors import Bitrix24Error
from integrations.bitrix24.forms import flag_of, folded, int_of, text_of
from integrations.bitrix24.oauth import AppInfo
from integrations.bitrix24.openlines import (
    History,
    chats_of_item_command,
    dialog_command,
    history_command,
    parse_chats_of_item,
    parse_dialog,
    parse_history,
)

SALT = "b24.frame"
LIFETIME_SECONDS = 3600
RENEWAL_GRACE_SECONDS = 86_400
VERIFIED_SECONDS = 60
"""A visitor's verification is kept so long by the hash of his token and context."""


@dataclass(frozen=True)
class Frame:
    """Who looks at what, as the token says. `portal` is loaded for every request."""

    portal_id: int
    user_id: int
    user_name: str
    is_admin: bool
    placement: str
    chat_id: int | None
    item: str
    language: str
    epoch: int
    chats: tuple[int, ...] = ()
    """Further chats that the portal showed to this visitor: those of the card, or the last ones."""

    @functools.cached_property
    def portal(self) -> Portal:
        return Portal.objects.select_related("registration").get(pk=self.portal_id)

    def token(self) -> str:
        return signing.dumps(asdict(self), salt=SALT, compress=True)


class NoSession(Exception):
    """The token is missing, old, or of an earlier epoch: the page must be opened again."""


class NotAllowed(Exception):
    """The visitor's own token may not see this dialog or card."""


def read_token(token: str, *, max_age: int = LIFETIME_SECONDS) -> Frame:
    """Raises: NoSession."""
    frame = _signed(token, max_age)
    try:
        portal = frame.portal
    except Portal.DoesNotExist:
        raise NoSession from None
    if portal.session_epoch != frame.epoch or portal.state == Portal.State.GONE:
        raise NoSession
    return frame


def _signed(token: str, max_age: int = LIFETIME_SECONDS) -> Frame:
    """What the token says; whether its portal still agrees is not looked at. Raises: NoSession."""
    try:
        claims = signing.loads(token, salt=SALT, max_age=max_age)
        return Frame(**{**claims, "chats": tuple(claims["chats"])})
    except (signing.BadSignature, TypeError, KeyError):
        raise NoSession from None


@dataclass(frozen=True)
class Visit:
    """A verified visit: the visitor by the portal's own word, and what it showed to him."""

    user_id: int
    user_name: str
    is_admin: bool
    time_zone: str
    line_chat: Mapping[str, Any] | None = None
    """The open-line chat of the visit, as `openlines.Dialog` data; None for any other chat."""
    chats: tuple[int, ...] = field(default=())
    """Chats of the visit's card, and those of the asked ones that the visitor may see."""
    closed: tuple[int, ...] = ()
    """Those chats of the card whose dialog is closed."""
    history: History | None = None
    """The chat's last session, when it was asked for and is shown to the visitor."""


def verify_visit(
    portal: Portal,
    access_token: str,
    *,
    chat_id: int | None = None,
    item: str = "",
    chats: Collection[int] = (),
    with_history: bool = False,
) -> Visit:
    """Prove a visitor's token: ours at the authorization server, his rights at the portal.

    The dialog or card is read with his own token, because PLACEMENT_OPTIONS can be forged; `chats`
    are looked at in the same batch, and those he may not see are left out. The history is the
    chat's, by the same right.
    Raises: NotGenuine (another app's or portal's token), NotAllowed, AccessLost, Unavailable.
    """
    context = f"{portal.pk}|{access_token}|{chat_id}|{item}|{sorted(chats)}|{with_history}"
    key = f"visit:{hashlib.sha256(context.encode()).hexdigest()}"
    kept = cache.get(key)
    if kept:
        return Visit(**kept)
    server = authorization_server(portal.registration, portal.server_endpoint)
    info = server.app_info(access_token)
    info.require(client_id=portal.registration.client_id, member_id=portal.member_id)
    _follow(portal, info)
    commands = {"profile": Command("profile", {}), "admin": Command("user.admin", {})}
    if chat_id:
        commands["dialog"] = dialog_command(f"chat{chat_id}")
        commands["chat"] = Command("im.dialog.get", {"DIALOG_ID": f"chat{chat_id}"})
        if with_history:
            commands["history"] = history_command(chat_id=chat_id)
    if item:
        commands["item"] = read_item_command(ItemRef.parse(item))
        commands["linked"] = chats_of_item_command(ItemRef.parse(item))
        commands["open"] = chats_of_item_command(ItemRef.parse(item), only_open=True)
    for number in chats:
        commands[f"chat_{number}"] = dialog_command(f"chat{number}")
    reply = client_with(portal, FixedToken(access_token)).batch(commands, repeatable=True)
    # A portal without the newer method still answers im.dialog.get, for members of the chat only.
    if chat_id and "dialog" in reply.errors and "chat" in reply.errors:
        raise NotAllowed
    if item and "item" in reply.errors:
        raise NotAllowed
    profile = folded(reply.results.get("profile"))
    shown = [number for number in chats if f"chat_{number}" in reply.results]
    visit = Visit(
        user_id=int_of(profile.get("id")) or info.user_id,
        user_name=" ".join(
            text_of(profile.get(name)) for name in ("name", "lastname") if profile.get(name)
        ),
        is_admin=flag_of(reply.results.get("admin")) or flag_of(profile.get("admin")),
        time_zone=text_of(profile.get("timezone")),
        line_chat=_line_chat(reply) if chat_id else None,
        chats=(*parse_chats_of_item(reply.results.get("linked")), *shown),
        closed=_closed(reply),
    )
    cache.set(key, asdict(visit), VERIFIED_SECONDS)
    if "history" not in reply.results:
        return visit
    # Not into the cache: what the client wrote is kept in the database only.
    return replace(visit, history=_history_of(reply, chat_id, portal))


def _closed(reply: BatchReply) -> tuple[int, ...]:
    """The card's chats without an open session; none when the portal did not tell both lists."""
    if not {"linked", "open"} <= set(reply.results):
        return ()
    still_open = parse_chats_of_item(reply.results["open"])
    every = parse_chats_of_item(reply.results["linked"])
    return tuple(one for one in every if one not in still_open)


def _history_of(reply: BatchReply, chat_id: int | None, portal: Portal) -> History | None:
    history = parse_history(reply.results["history"], bot_id=portal.bot_id)
    return history if history.chat_id == chat_id else None


def _line_chat(reply: BatchReply) -> Mapping[str, Any] | None:
    """What the portal says of the visit's chat, if it is one of an open line."""
    told = reply.results.get("dialog") or reply.results.get("chat")
    try:
        dialog = parse_dialog(told)
    except Bitrix24Error:
        return None
    return dialog.model_dump(mode="json") if dialog.line else None


def _follow(portal: Portal, info: AppInfo) -> None:
    """The portal may have moved or been granted more: the authorization server's word is newer."""
    told = {"client_endpoint": info.client_endpoint, "domain": info.domain}
    if info.scope:
        told["scope"] = sorted(info.scope)  # type: ignore[assignment]  # a JSON field
    known = {**{name: getattr(portal, name) for name in told}, "scope": sorted(portal.scope)}
    changed = {name: value for name, value in told.items() if value and value != known[name]}
    if changed:
        for name, value in changed.items():
            setattr(portal, name, value)
        portal.save(update_fields=list(changed))


def frame_view(
    view: Callable[..., HttpResponse] | None = None,
    *,
    admin: bool = False,
    unchanged: Callable[..., bool] | None = None,
) -> Callable[..., Any]:
    """A view inside the frame: checks the token, loads the portal, sets language, zone and headers.

    The view gets `request.frame`. Every query starts at `request.frame.portal`. `unchanged` spares
    a page that polls all this: called with the request and the token's frame, it says by one cheap
    query that the session lives and that there is nothing new; the answer is then an empty 204.
    """

    def decorate(inner: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @xframe_options_exempt
        @functools.wraps(inner)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
            if not scheme and request.method in ("GET", "HEAD"):
                return open_inside(request)
            try:
                if scheme.lower() != "bearer":
                    raise NoSession
                if unchanged and unchanged(request, _signed(token), **kwargs):
                    return framed(HttpResponse(status=204), "'none'")
                frame = read_token(token)
            except NoSession:
                return refusal(401, "no_session", "The session is over: open the page again.")
            # The address names the app registration; a token of another one has no business there.
            if kwargs.get("app") not in (None, frame.portal.registration.code):
                return refusal(404, "not_found", "There is nothing at this address.")
            request.frame = frame  # type: ignore[attr-defined]
            portal = frame.portal
            with (
                translation.override(frame.language),
                timezone.override(zone_of(portal)),
                log_context(portal=portal.pk, user=frame.user_id),
            ):
                if admin and not frame.is_admin:
                    sentence = _("Only an administrator of the portal may do this.")
                    return framed(refusal(403, "admins_only", sentence), frame_parents(portal))
                try:
                    response = inner(request, *args, **kwargs)
                except RequestDataTooBig:
                    sentence = _("This is more than 1 MB: choose it as a file instead.")
                    response = refusal(413, "too_large", sentence)
                except Http404:
                    response = refusal(404, "not_found", _("There is nothing at this address."))
                if hasattr(response, "render") and callable(response.render):
                    response.render()
            return framed(response, frame_parents(portal))

        wrapped.is_frame_view = True  # type: ignore[attr-defined]
        return wrapped

    return decorate(view) if view else decorate


def open_inside(request: HttpRequest) -> HttpResponse:
    """What a browser or the Market's check sees at a portal's address: never 405."""
    return render(request, "base/open_inside.html")


def frame_parents(portal: Portal) -> str:
    """Who may frame this portal's pages: the portal; for the demo's also our own demo page."""
    if not settings.DEMO or portal.registration.code != settings.DEMO_APP:
        return portal.origin
    own = [f"http://{name}:{settings.PORT}" for name in ("127.0.0.1", "localhost")]
    return " ".join(dict.fromkeys([portal.origin, settings.PUBLIC_URL, *own]))


def framed(response: HttpResponse, parents: str) -> HttpResponse:
    """The headers of a page inside a portal: framable by that portal and nobody else.

    `parents` is "*" only for pages without data and controls.
    """
    response["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; "
        f"frame-ancestors {parents}"
    )
    response["Referrer-Policy"] = "same-origin"
    response["Cache-Control"] = "no-store"
    response.xframe_options_exempt = True
    return response


def refusal(status: int, code: str, sentence: str) -> JsonResponse:
    response = JsonResponse({"error": code, "error_description": sentence}, status=status)
    response["Cache-Control"] = "no-store"
    return response


def language_of(posted: str, portal: Portal) -> str:
    """ru for the Russian-speaking portals' languages, en for the others."""
    code = posted.lower()[:2]
    if not code:
        return "ru" if portal.language == "ru" else "en"
    return "ru" if code in ("ru", "kz", "by", "ua") else "en"


def renewed(old: Frame, visit: Visit) -> Frame:
    """The same context with a fresh life. Raises: NoSession for another user."""
    if visit.user_id != old.user_id:
        raise NoSession
    return replace(old, is_admin=visit.is_admin, user_name=visit.user_name)
