"""Tenants and what they entrusted to us."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bx_gpt_app.common.crypto import EncryptedTextField


def new_public_id() -> str:
    return secrets.token_hex(8)


class AppRegistration(models.Model):
    """One OAuth client: a marketplace app serves many portals, a local one exactly one.

    Source: settings/app-installation/local-apps, settings/app-installation/mass-market-apps.
    """

    code = models.SlugField(
        max_length=40, unique=True, help_text=_("Part of every address: /b24/<code>/")
    )
    title = models.CharField(max_length=120, blank=True)
    client_id = models.CharField(max_length=120)
    client_secret = EncryptedTextField()
    oauth_url = models.URLField(
        blank=True,
        help_text=_(
            "Authorization server; empty: the first of B24_OAUTH_URL. Must be on that list."
        ),
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.code


class Portal(models.Model):
    """One company's Bitrix24, as one of our app registrations sees it."""

    class State(models.TextChoices):
        PENDING = "pending", _("being installed")
        ACTIVE = "active", _("active")
        SUSPENDED = "suspended", _("suspended: payment or plan")
        BROKEN = "broken", _("access lost: an administrator must open the app")
        GONE = "gone", _("uninstalled")

    registration = models.ForeignKey(AppRegistration, models.PROTECT, related_name="portals")
    member_id = models.CharField(max_length=64)
    public_id = models.CharField(max_length=32, unique=True, default=new_public_id)
    domain = models.CharField(max_length=255)
    client_endpoint = models.CharField(max_length=500)
    server_endpoint = models.CharField(max_length=500, blank=True)
    application_token = EncryptedTextField(blank=True, default="")
    scope = models.JSONField(default=list)
    licence = models.CharField(max_length=40, blank=True)
    app_code = models.CharField(max_length=120, blank=True)
    app_version = models.CharField(max_length=40, blank=True)

    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    state_reason = models.CharField(max_length=300, blank=True)
    state_changed_at = models.DateTimeField(default=timezone.now)
    paused = models.BooleanField(
        default=False, help_text=_("The host stopped all work of this portal.")
    )
    installed_at = models.DateTimeField(null=True, blank=True)
    uninstalled_at = models.DateTimeField(null=True, blank=True)

    language = models.CharField(max_length=8, default="ru")
    time_zone = models.CharField(max_length=64, default="Europe/Moscow")
    region = models.CharField(max_length=2, default="RU")
    bot_id = models.BigIntegerField(null=True, blank=True)
    bot_api = models.CharField(max_length=8, default="v2")
    fetches_events = models.BooleanField(
        default=False, help_text=_("We ask for the bot’s events; Bitrix24 does not send them.")
    )
    session_epoch = models.PositiveIntegerField(default=1)
    hook_token_hash = models.CharField(max_length=64, blank=True)
    bindings = models.JSONField(
        default=dict, help_text=_("What is bound on the portal, and what failed.")
    )
    field_cache = models.JSONField(default=dict)

    last_event_at = models.DateTimeField(null=True, blank=True)
    last_call_at = models.DateTimeField(null=True, blank=True)
    down_since = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=300, blank=True)
    last_error_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["registration", "member_id"], name="one_portal_per_app"
            ),
        ]
        indexes: ClassVar = [models.Index(fields=["member_id"])]

    def __str__(self) -> str:
        return self.domain

    @property
    def works(self) -> bool:
        """May models be called and messages be sent for this portal?"""
        return self.state == self.State.ACTIVE and not self.paused

    @property
    def origin(self) -> str:
        """Scheme, host and port of the portal, as its pages are framed from."""
        scheme, _separator, rest = self.client_endpoint.partition("://")
        return f"{scheme}://{rest.split('/', 1)[0]}"

    def is_signed_by(self, application_token: str) -> bool:
        """Does the event carry this installation's constant? An empty stored token proves nothing.

        Source: api-reference/events/safe-event-handlers.
        """
        stored = self.application_token or ""
        return bool(stored) and hmac.compare_digest(stored.encode(), application_token.encode())

    def move_to(self, state: str, reason: str = "") -> None:
        """Change the state with a sentence for the admin; repeated moves change nothing."""
        if (self.state, self.state_reason) == (state, reason[:300]):
            return
        self.state, self.state_reason = state, reason[:300]
        self.state_changed_at = timezone.now()
        self.save(update_fields=["state", "state_reason", "state_changed_at"])

    def issue_hook_token(self) -> str:
        """A new token for the hook; the old one ends at once. Only its hash is stored."""
        token = secrets.token_urlsafe(32)
        self.hook_token_hash = hashlib.sha256(token.encode()).hexdigest()
        self.save(update_fields=["hook_token_hash"])
        return token

    def accepts_hook_token(self, token: str) -> bool:
        digest = hashlib.sha256(token.encode()).hexdigest()
        return bool(self.hook_token_hash) and hmac.compare_digest(digest, self.hook_token_hash)


class Grant(models.Model):
    """Tokens of one user for our app. The installation grant does the background work.

    Source: settings/oauth/auto-renewal.
    """

    class Kind(models.TextChoices):
        INSTALLATION = "installation", _("installation")
        USER = "user", _("user")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="grants")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    user_id = models.BigIntegerField()
    user_name = models.CharField(max_length=160, blank=True)
    is_admin = models.BooleanField(default=False)
    access_token = EncryptedTextField(blank=True, default="")
    refresh_token = EncryptedTextField(blank=True, default="")
    expires_at = models.DateTimeField(null=True, blank=True)
    renewed_at = models.DateTimeField(default=timezone.now)
    dead_reason = models.CharField(max_length=200, blank=True)
    # Single flight of the refresh over all processes: who holds it, and until when.
    refreshing_until = models.DateTimeField(null=True, blank=True)
    refreshing_by = models.CharField(max_length=32, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["portal", "kind", "user_id"], name="one_grant_per_user"
            ),
            models.UniqueConstraint(
                fields=["portal"],
                condition=models.Q(kind="installation"),
                name="one_installation_grant",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, № {self.user_id}"


class Line(models.Model):
    """An open line of a portal and how the assistant behaves in it.

    Source: api-reference/imopenlines/openlines/imopenlines-config-get.
    """

    class Mode(models.TextChoices):
        OFF = "off", _("off")
        SUGGEST = "suggest", _("suggestions")
        AUTO = "auto", _("automatic")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="lines")
    line_id = models.PositiveIntegerField()
    title = models.CharField(max_length=255, blank=True)
    active = models.BooleanField(default=True)
    working_hours = models.JSONField(null=True, blank=True)
    previous_bot = models.JSONField(
        null=True, blank=True, help_text=_("The line's bot settings before ours, to be restored.")
    )
    connected = models.BooleanField(default=False)
    whisper_tested_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "line_id"], name="one_row_per_line"),
        ]
        ordering: ClassVar = ["line_id"]

    def __str__(self) -> str:
        return self.title or f"line {self.line_id}"


class CallBudget(models.Model):
    """The portal's leaky bucket as we count it, shared by all workers.

    Source: limits (2/s up to 50; Enterprise 5/s up to 250; counted per portal and source address).
    """

    portal = models.OneToOneField(Portal, models.CASCADE, primary_key=True, related_name="budget")
    level = models.FloatField(default=0)
    at = models.FloatField(default=0, help_text=_("Unix time the level was counted at."))
    rate = models.FloatField(default=2)
    burst = models.FloatField(default=40)
    blocked_until = models.FloatField(default=0)
    blocked_methods = models.JSONField(default=dict)
    operating = models.JSONField(default=dict, help_text=_("Seconds that methods used lately."))

    def __str__(self) -> str:
        return f"{self.level:.0f} of {self.burst:.0f}"
