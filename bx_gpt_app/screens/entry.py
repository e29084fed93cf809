"""The doors of the frame: a portal posts a visitor into our page; verified, he gets a page token.

Source: settings/oauth/simple-way, api-reference/widgets/index.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone, translation
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt

from bx_gpt_app.assistant.context import keep_messages, zone_of
from bx_gpt_app.assistant.models import Dialog, Message
from bx_gpt_app.common.logs import log_context
from bx_gpt_app.portals.install import Visitor, keep_grant
from bx_gpt_app.portals.models import AppRegistration, Portal
from bx_gpt_app.portals.registrations import UnknownApp, registration
from bx_gpt_app.screens import doors, preferences
from bx_gpt_app.screens import install as wizard
from bx_gpt_app.screens.frame import (
    LIFETIME_SECONDS,
    RENEWAL_GRACE_SECONDS,
    Frame,
    NoSession,
    NotAllowed,
    Visit,
    frame_parents,
    framed,
    language_of,
    open_inside,
    read_token,
    refusal,
    renewed,
    verify_visit,
)
from bx_gpt_app.screens.operator import RECENT, newest_linked, render_operator, render_recent
from bx_gpt_app.screens.settings.overview import render_overview
from integrations.bitrix24.crm import ItemRef
from integrations.bitrix24.errors import Bitrix24Error, Unavailable
from integrations.bitrix24.forms import MalformedForm, parse_body
from integrations.bitrix24.frames import FramePost, NotAFramePost, parse_frame_post
from integrations.net import ForbiddenAddress

CHAT_PLACEMENTS = ("IM_SIDEBAR", "IM_TEXTAREA", "IM_CONTEXT_MENU", "IMMOBILE_CONTEXT_MENU")


@csrf_exempt
@xframe_options_exempt
def entry(request: HttpRequest, app: str) -> HttpResponse:
    """POST /b24/<app>/: the application's page. Admins get settings, others their dialogs."""
    return _enter(request, app)


@csrf_exempt
@xframe_options_exempt
def placement(request: HttpRequest, app: str) -> HttpResponse:
    """POST /b24/<app>/placement/: the operator's view of the open chat or CRM card."""
    return _enter(request, app)


def _enter(request: HttpRequest, app: str) -> HttpResponse:
    if request.method in ("GET", "HEAD"):
        return open_inside(request)
    with translation.override(doors.posted_language(request)):
        try:
            body = parse_body(request.content_type or "", request.body)
            post = parse_frame_post(request.GET.dict(), body)
            return _open(request, registration(app), post)
        except (NotAFramePost, MalformedForm):
            refused = doors.reopen()
        except UnknownApp:
            refused = doors.no_such_app()
        except doors.EntryRefused as error:
            refused = error
        return doors.refused_page(request, refused)


def _open(request: HttpRequest, app: AppRegistration, post: FramePost) -> HttpResponse:
    portal = Portal.objects.filter(registration=app, member_id=post.member_id).first()
    if portal is None or portal.state in (Portal.State.GONE, Portal.State.PENDING):
        return wizard.come_in(request, app, post)
    portal.registration = app
    item = str(post.item_ref) if post.item_ref else ""
    chat_id = _chat_id(post)
    listed = _listed_chats(portal) if not item and chat_id is None and not _in_chat(post) else ()
    unread = _in_chat(post) and _is_unread(portal, chat_id, post.message_id)
    visit = _verified(portal, post, chat_id=chat_id, item=item, chats=listed, with_history=unread)
    if _is_forged(portal, post, visit):
        raise doors.not_genuine()
    _keep(portal, post, visit)
    mine = preferences.of_user(portal, visit.user_id)
    frame = Frame(
        portal_id=portal.pk,
        user_id=visit.user_id,
        user_name=visit.user_name,
        is_admin=visit.is_admin,
        placement=post.placement,
        chat_id=chat_id,
        item=item,
        language=mine.language or language_of(post.lang, portal),
        epoch=portal.session_epoch,
        chats=visit.chats,
    )
    frame.__dict__["portal"] = portal  # the row at hand spares a query
    with (
        translation.override(frame.language),
        timezone.override(zone_of(portal)),
        log_context(portal=portal.pk, user=frame.user_id),
    ):
        response = _page(request, frame, visit, post)
    return framed(response, frame_parents(portal))


def _chat_id(post: FramePost) -> int | None:
    """A chat's number; a private dialog is named by its user and is none of ours."""
    number = post.dialog_id.removeprefix("chat")
    return int(number) if post.dialog_id.startswith("chat") and number.isdigit() else None


def _in_chat(post: FramePost) -> bool:
    return post.placement in CHAT_PLACEMENTS


def _listed_chats(portal: Portal) -> tuple[int, ...]:
    """The last chats, to be shown to a visitor who may read them in the portal."""
    keys = Dialog.objects.filter(portal=portal, kind=Dialog.Kind.CHAT).order_by("-last_message_at")
    return tuple(int(key) for key in keys.values_list("key", flat=True)[:RECENT])


def _is_unread(portal: Portal, chat_id: int | None, message_id: int | None) -> bool:
    """A message of this chat that we have not heard: from before the installation, for example."""
    known = Message.objects.filter(
        dialog__portal=portal, dialog__kind=Dialog.Kind.CHAT, dialog__key=str(chat_id)
    )
    return bool(chat_id and message_id) and not known.filter(external_id=message_id).exists()


def _verified(portal: Portal, post: FramePost, **context: Any) -> Visit:
    """Raises: EntryRefused, with words for the visitor."""
    try:
        return verify_visit(portal, post.access_token, **context)
    except NotAllowed:
        raise doors.not_open() from None
    except Unavailable:
        raise doors.unavailable() from None
    except (Bitrix24Error, ForbiddenAddress):
        raise doors.not_genuine() from None


def _is_forged(portal: Portal, post: FramePost, visit: Visit) -> bool:
    """Another application_token than the stored one: true only when an administrator brings it,
    after a reinstall that we did not hear of."""
    posted = post.application_token
    return bool(posted and portal.application_token) and not (
        visit.is_admin or portal.is_signed_by(posted)
    )


def _keep(portal: Portal, post: FramePost, visit: Visit) -> None:
    """The verified visitor's tokens are fresh ones for free; so is the application's token."""
    visitor = Visitor(
        user_id=visit.user_id,
        name=visit.user_name,
        is_admin=visit.is_admin,
        time_zone=visit.time_zone,
    )
    keep_grant(portal, doors.claim_of(post), visitor)
    if post.application_token and not portal.is_signed_by(post.application_token):
        portal.application_token = post.application_token
        portal.save(update_fields=["application_token"])


def _page(request: HttpRequest, frame: Frame, visit: Visit, post: FramePost) -> HttpResponse:
    if _in_chat(post):
        if frame.chat_id is None or visit.line_chat is None:
            return render_operator(request, frame, None, why_none="not_line")
        dialog = _chat_of(frame, visit.line_chat)
        if visit.history:
            keep_messages(dialog, visit.history.messages)
        return render_operator(request, frame, dialog, chosen_id=post.message_id)
    if frame.item:
        _note_closed(frame, visit.closed)
        return render_operator(request, frame, newest_linked(frame))
    if frame.is_admin:
        return render_overview(request, frame)
    return render_recent(request, frame)


def _note_closed(frame: Frame, chats: tuple[int, ...]) -> None:
    """No event tells that a dialog was closed; a client who writes opens it again."""
    Dialog.objects.filter(
        portal=frame.portal,
        kind=Dialog.Kind.CHAT,
        key__in=[str(chat) for chat in chats],
        client_waits_since=None,
    ).exclude(owner=Dialog.Owner.CLOSED).update(owner=Dialog.Owner.CLOSED, rev=F("rev") + 1)


def _chat_of(frame: Frame, told: Any) -> Dialog:
    """Our row of the open chat; a chat from before the installation gets one now.

    Its history is read when the operator asks for a suggestion.
    """
    line = told["line"] or {}
    items = _refs(told.get("crm") or [])
    is_ours = bool(frame.portal.bot_id) and told.get("owner") == frame.portal.bot_id
    try:
        dialog, _created = Dialog.objects.get_or_create(
            portal=frame.portal,
            kind=Dialog.Kind.CHAT,
            key=str(frame.chat_id),
            defaults={
                "line_id": line.get("line_id"),
                "connector": str(line.get("connector") or "")[:80],
                "entity_id": str(line.get("entity_id") or "")[:255],
                "session_id": told.get("session_id"),
                "title": str(told.get("name") or "")[:255],
                "items": items,
                "owner": Dialog.Owner.BOT if is_ours else Dialog.Owner.OPERATOR,
                "last_message_at": timezone.now(),
            },
        )
    except IntegrityError:
        dialog = Dialog.objects.get(
            portal=frame.portal, kind=Dialog.Kind.CHAT, key=str(frame.chat_id)
        )
    return dialog


def _refs(crm: Any) -> list[str]:
    return [str(ItemRef(int(one["entity_type_id"]), int(one["item_id"]))) for one in crm]


# ---- renewal ----


@csrf_exempt
def session(request: HttpRequest, app: str) -> HttpResponse:
    """POST /b24/<app>/session/ {auth, token}: a fresh page token for the same person and context.

    The old token may be a day old; the visitor's new one is verified like at the entry.
    """
    if request.method in ("GET", "HEAD"):
        return open_inside(request)
    try:
        data = parse_body(request.content_type or "", request.body)
        old = read_token(
            str(data.get("token") or ""), max_age=LIFETIME_SECONDS + RENEWAL_GRACE_SECONDS
        )
        portal = old.portal
        if portal.registration.code != app:
            raise NoSession
        visit = verify_visit(
            portal,
            str(data.get("auth") or ""),
            chat_id=old.chat_id,
            item=old.item,
        )
        fresh = renewed(old, visit)
    except MalformedForm:
        return refusal(400, "malformed", "The body cannot be read.")
    except NoSession:
        return refusal(401, "no_session", "The session is over: open the page again.")
    except NotAllowed:
        return refusal(403, "not_allowed", "The portal does not show this chat or card to you.")
    except Unavailable:
        return refusal(503, "unavailable", "Bitrix24 does not answer: try again in a minute.")
    except (Bitrix24Error, ForbiddenAddress):
        return refusal(401, "not_genuine", "Bitrix24 does not confirm this visit.")
    response = JsonResponse({"token": fresh.token(), "expires_in": LIFETIME_SECONDS})
    response["Cache-Control"] = "no-store"
    return response
