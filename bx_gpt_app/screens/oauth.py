"""The full authorization-code flow, in a browser of its own, outside any frame.

Source: settings/oauth/index (the code lives 30 seconds; the return address is the registration's).
"""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from bx_gpt_app.environment import LOOPBACK
from bx_gpt_app.portals.clients import address_guard, authorization_server
from bx_gpt_app.portals.install import Claim, NotAdmin, install, keep_grant, visitor_of
from bx_gpt_app.portals.models import AppRegistration, Grant, Portal
from bx_gpt_app.portals.registrations import UnknownApp, credentials, registration
from bx_gpt_app.portals.tasks import rebind
from bx_gpt_app.screens.errors import error_response
from bx_gpt_app.screens.frame import open_inside
from bx_gpt_app.screens.settings.page import state_in_words
from bx_gpt_app.screens.site import in_visitors_language
from integrations.bitrix24.errors import Bitrix24Error, Unavailable
from integrations.bitrix24.oauth import Tokens, authorize_url
from integrations.net import ForbiddenAddress

SALT = "b24.oauth"
COOKIE = "b24_oauth"
STATE_SECONDS = 600


class FlowEnded(Exception):
    """The visitor reads why, and may begin again."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


@csrf_exempt
@require_safe
@in_visitors_language
def start(request: HttpRequest, app: str) -> HttpResponse:
    """GET ?domain=acme.bitrix24.ru: to the portal's own consent page.

    The state is signed and belongs to this browser by a first-party cookie.
    """
    domain = request.GET.get("domain", "").strip().lower()
    if request.method == "HEAD" or not domain:
        return open_inside(request)
    try:
        found = registration(app)
        scheme = _scheme_of(domain)
        nonce = secrets.token_urlsafe(24)
        state = signing.dumps({"n": nonce, "d": domain, "a": app}, salt=SALT)
        url = authorize_url(domain, found.client_id, state, scheme=scheme)
        address_guard().check(f"{scheme}://{domain}/")
    except UnknownApp:
        return _told(request, FlowEnded(404, _("There is no app registration at this address.")))
    except ValueError:
        sentence = _("This is not the address of a portal: write it like acme.bitrix24.ru.")
        return _told(request, FlowEnded(400, sentence))
    response = HttpResponseRedirect(url)
    response.set_cookie(
        COOKIE,
        nonce,
        max_age=STATE_SECONDS,
        path=f"/b24/{app}/oauth/",
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
    response["Cache-Control"] = "no-store"
    return response


@csrf_exempt
@require_safe
@in_visitors_language
def callback(request: HttpRequest, app: str) -> HttpResponse:
    """GET ?code&state&domain&member_id: tokens, verified like any others, then kept."""
    if request.method == "HEAD" or "state" not in request.GET:
        return open_inside(request)
    try:
        found = registration(app)
        domain = _expected_domain(request, app)
        portal, kept = _take_tokens(found, _tokens(request, found), domain)
    except UnknownApp:
        ended = FlowEnded(404, _("There is no app registration at this address."))
        response = _told(request, ended)
    except FlowEnded as ended:
        response = _told(request, ended)
    else:
        response = render(request, "base/site.html", _done(portal, kept))
    response.delete_cookie(COOKIE, path=f"/b24/{app}/oauth/", samesite="Lax")
    response["Cache-Control"] = "no-store"
    return response


def _scheme_of(domain: str) -> str:
    """https always, but for portals on this very machine while private addresses are allowed."""
    host = domain.partition(":")[0]
    return "http" if settings.ALLOW_PRIVATE_NETWORK and host in LOOPBACK else "https"


def _expected_domain(request: HttpRequest, app: str) -> str:
    """The domain that this browser set out for. Raises: FlowEnded."""
    try:
        state = signing.loads(request.GET["state"], salt=SALT, max_age=STATE_SECONDS)
    except signing.BadSignature:
        raise FlowEnded(400, _("This link is too old or not ours. Begin again.")) from None
    nonce = request.COOKIES.get(COOKIE, "")
    if state["a"] != app or not constant_time_compare(state["n"], nonce):
        raise FlowEnded(400, _("This sign-in was begun in another browser. Begin again."))
    if request.GET.get("domain", "").lower() != state["d"]:
        raise FlowEnded(400, _("Another portal has answered than the one you named. Begin again."))
    return str(state["d"])


def _tokens(request: HttpRequest, app: AppRegistration) -> Tokens:
    """Raises: FlowEnded. Our secret goes to a server of the allow-list only."""
    code = request.GET.get("code", "")
    if not code or len(code) > 500:
        raise FlowEnded(400, _("The portal gave no code. Begin again."))
    claimed = request.GET.get("server_domain", "")
    try:
        server = authorization_server(app, _same_scheme(claimed, app) if claimed else "")
        tokens = server.exchange_code(credentials(app), code)
    except Unavailable:
        sentence = _("The authorization server does not answer. Try again in a minute.")
        raise FlowEnded(503, sentence) from None
    except Bitrix24Error:
        sentence = _("Bitrix24 did not accept the code. It lives for half a minute: begin again.")
        raise FlowEnded(403, sentence) from None
    if tokens.member_id != request.GET.get("member_id", tokens.member_id):
        raise FlowEnded(403, _("Bitrix24 does not confirm this portal."))
    return tokens


def _same_scheme(server_domain: str, app: AppRegistration) -> str:
    """`server_domain` names a host; the allow-list tells how it is spoken to."""
    own = authorization_server(app).origin.partition("://")[0]
    return f"{own}://{server_domain.partition('://')[2] or server_domain}"


def _done(portal: Portal, kept: Grant.Kind) -> dict[str, str]:
    """What has really happened, for base/site.html: the portal was connected, or one person was."""
    if kept == Grant.Kind.INSTALLATION:
        heading, text = _("The portal is connected"), _("The assistant may work in %(domain)s now.")
    else:
        heading = _("Your access is stored")
        text = _(
            "The assistant is installed in %(domain)s already, and nothing was changed there. "
            "What you send from its panel goes out in your name."
        )
    stands_in_the_way = None if portal.works else state_in_words(portal)
    return {
        "heading": heading,
        "text": text % {"domain": portal.domain},
        "hint": stands_in_the_way["text"] if stands_in_the_way else "",
        "action_url": f"{portal.origin}/",
        "action_text": _("Open the portal"),
    }


def _take_tokens(app: AppRegistration, tokens: Tokens, domain: str) -> tuple[Portal, Grant.Kind]:
    """A known portal keeps the visitor's tokens; an unknown one is installed, by an administrator.

    Returns the portal and as what the tokens were kept. Raises: FlowEnded.
    """
    claim = Claim(
        member_id=tokens.member_id,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=3600,
        domain=domain,
        server_endpoint=tokens.server_endpoint,
        application_token="",
        scope=tokens.scope,
    )
    try:
        server = authorization_server(app, tokens.server_endpoint)
        info = server.app_info(tokens.access_token)
        info.require(client_id=app.client_id, member_id=tokens.member_id, domain=domain)
        portal = Portal.objects.filter(registration=app, member_id=info.member_id).first()
        if portal is not None and portal.state not in (Portal.State.GONE, Portal.State.PENDING):
            visitor = visitor_of(portal, tokens.access_token, info.user_id)
            return portal, keep_grant(portal, claim, visitor)
        portal, _visitor = install(app, claim)
    except NotAdmin:
        sentence = _("You are not an administrator of this portal. Ask one to connect it.")
        raise FlowEnded(403, sentence) from None
    except Unavailable:
        raise FlowEnded(503, _("The portal does not answer. Try again in a minute.")) from None
    except (Bitrix24Error, ForbiddenAddress):
        raise FlowEnded(403, _("Bitrix24 does not confirm this portal.")) from None
    rebind.enqueue(portal.pk)
    return portal, Grant.Kind.INSTALLATION


def _told(request: HttpRequest, ended: FlowEnded) -> HttpResponse:
    return error_response(request, ended.status, _("The portal was not connected"), ended.text)
