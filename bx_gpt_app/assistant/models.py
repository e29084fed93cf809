"""The rows that are the truth: what was heard, thought, proposed and delivered.

Tasks only wake workers up; whatever a task would do can be read from here again after any crash.
Every query starts at the portal.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from bx_gpt_app.assistant.stems import StemsField
from bx_gpt_app.common.crypto import EncryptedTextField
from bx_gpt_app.portals.models import Portal


class Configuration(models.Model):
    """A portal's settings (`config.PortalConfig`) without prompt, knowledge and secrets."""

    portal = models.OneToOneField(
        Portal, models.CASCADE, primary_key=True, related_name="configuration"
    )
    document = models.JSONField(default=dict)
    revision = models.PositiveIntegerField(default=1)
    # A key is used only for the server it was entered for: changing the address must not send it
    # away.
    api_key = EncryptedTextField(blank=True, default="")
    api_key_origin = models.CharField(max_length=300, blank=True)
    fallback_api_key = EncryptedTextField(blank=True, default="")
    fallback_api_key_origin = models.CharField(max_length=300, blank=True)
    secret_headers = EncryptedTextField(blank=True, default="")
    capabilities = models.JSONField(default=dict)
    capabilities_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)
    updated_by = models.CharField(max_length=160, blank=True)

    def __str__(self) -> str:
        return f"configuration {self.revision}"


class PromptVersion(models.Model):
    """The admin's instructions. Published versions never change; a rollback makes a new one."""

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="prompts")
    number = models.PositiveIntegerField()
    text = models.TextField()
    note = models.CharField(max_length=200, blank=True)
    author = models.CharField(max_length=160, blank=True)
    active = models.BooleanField(default=False)
    draft = models.BooleanField(default=False)
    score = models.JSONField(
        null=True, blank=True, help_text=_("What the portal’s test cases said: passed, of.")
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "number"], name="prompt_number"),
            models.UniqueConstraint(
                fields=["portal"], condition=Q(active=True), name="one_active_prompt"
            ),
            models.UniqueConstraint(
                fields=["portal"], condition=Q(draft=True), name="one_draft_prompt"
            ),
        ]

    def __str__(self) -> str:
        return f"v{self.number}"


class Snippet(models.Model):
    """A piece of knowledge that replies may rest on."""

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="snippets")
    position = models.PositiveIntegerField(default=0)
    title = models.CharField(max_length=200)
    text = models.TextField()
    url = models.CharField(max_length=1000, blank=True)
    topic = models.CharField(max_length=40, blank=True)
    internal = models.BooleanField(default=False)
    valid_until = models.DateField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0)
    origin = models.CharField(
        max_length=300, blank=True, help_text=_("File or page it was read from.")
    )
    # What the database's full text index holds (`assistant.search`): written with the row by `save`
    # and `bulk_create`. `update()` and `bulk_update` of title or text would leave it behind.
    stems = StemsField()
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["position", "id"]
        indexes: ClassVar = [models.Index(fields=["portal", "valid_until"], name="snippet_valid")]

    def __str__(self) -> str:
        return self.title

    def save(self, **options: Any) -> None:
        """A change of the words changes what the snippet is found by."""
        fields = options.get("update_fields")
        if fields is not None and {"title", "text"} & set(fields):
            options["update_fields"] = {*fields, "stems"}
        super().save(**options)

    @property
    def key(self) -> str:
        return f"s{self.pk}"


class Dialog(models.Model):
    """The unit of work and of order: an open-line chat, or one call of the hook or of a robot.

    `due_at` is when somebody must look at it next; whoever looks takes the lease.
    """

    class Kind(models.TextChoices):
        CHAT = "chat", _("chat")
        HOOK = "hook", _("hook call")
        ROBOT = "robot", _("automation")
        ITEM = "item", _("CRM item")

    class Owner(models.TextChoices):
        BOT = "bot", _("assistant")
        OPERATOR = "operator", _("operator")
        CLOSED = "closed", _("closed")
        PAUSED = "paused", _("paused")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="dialogs")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.CHAT)
    key = models.CharField(max_length=80, help_text=_("Chat id, or the id of the call."))
    line_id = models.PositiveIntegerField(null=True, blank=True)
    connector = models.CharField(max_length=80, blank=True)
    entity_id = models.CharField(max_length=255, blank=True)
    session_id = models.BigIntegerField(null=True, blank=True)
    title = models.CharField(max_length=255, blank=True)
    client_name = models.CharField(max_length=160, blank=True)
    language = models.CharField(max_length=8, blank=True)

    owner = models.CharField(max_length=8, choices=Owner.choices, default=Owner.BOT)
    owner_name = models.CharField(max_length=160, blank=True)
    blocked = models.BooleanField(default=False, help_text=_("The messenger takes no replies now."))
    handed_over = models.BooleanField(default=False)
    auto_stopped = models.BooleanField(
        default=False, help_text=_("No automatic replies in this chat.")
    )
    suggestions_off = models.BooleanField(default=False)
    items = models.JSONField(default=list, help_text=_("CRM items of the dialog, as LEAD_77."))
    item_snapshot = models.JSONField(null=True, blank=True)
    item_snapshot_at = models.DateTimeField(null=True, blank=True)
    history_loaded = models.BooleanField(default=False)
    newest_message_id = models.BigIntegerField(default=0)
    client_waits_since = models.DateTimeField(
        null=True,
        blank=True,
        help_text=_("Moment of the first client message that has no answer yet."),
    )

    due_at = models.DateTimeField(null=True, blank=True)
    quiet_until = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    lease = models.CharField(max_length=32, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    quarantined_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=300, blank=True)
    rev = models.PositiveIntegerField(default=0, help_text=_("Grows with every visible change."))
    last_message_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "kind", "key"], name="one_row_per_dialog"),
        ]
        indexes: ClassVar = [
            # The sweeper's predicate, literally.
            models.Index(fields=["due_at"], name="dialog_due", condition=Q(due_at__isnull=False)),
            models.Index(
                fields=["portal", "leased_until"],
                name="dialog_leased",
                condition=Q(leased_until__isnull=False),
            ),
            models.Index(fields=["portal", "-last_message_at"], name="dialog_recent"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.key}"

    @property
    def dialog_id(self) -> str:
        """The portal's name of the chat, such as chat112."""
        return f"chat{self.key}"

    @property
    def chat_id(self) -> int:
        return int(self.key)


class Event(models.Model):
    """One thing heard from outside, stored before it was answered with 200."""

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="events")
    dialog = models.ForeignKey(Dialog, models.CASCADE, null=True, blank=True, related_name="events")
    source_key = models.CharField(
        max_length=160, help_text=_("The portal's own name of this event.")
    )
    kind = models.CharField(max_length=32)
    payload = models.JSONField(default=dict)
    received_at = models.DateTimeField(default=timezone.now)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "source_key"], name="heard_once"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["dialog", "id"], name="event_pending", condition=Q(done_at__isnull=True)
            ),
            models.Index(fields=["received_at"], name="event_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.source_key}"


class Message(models.Model):
    """A message of a dialog as we know it. `external_id` is the portal's id, null for a hook's
    text."""

    dialog = models.ForeignKey(Dialog, models.CASCADE, related_name="messages")
    external_id = models.BigIntegerField(null=True, blank=True)
    author = models.CharField(max_length=8)
    author_id = models.BigIntegerField(null=True, blank=True)
    author_name = models.CharField(max_length=160, blank=True)
    text = models.TextField(blank=True)
    files = models.PositiveSmallIntegerField(default=0)
    at = models.DateTimeField(default=timezone.now)
    deleted = models.BooleanField(default=False)

    class Meta:
        ordering: ClassVar = ["dialog", "external_id", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["dialog", "external_id"], name="message_once"),
        ]

    def __str__(self) -> str:
        return f"{self.author} {self.external_id}"


class Run(models.Model):
    """One passage through the pipeline: why it said that, or why it said nothing."""

    class State(models.TextChoices):
        THINKING = "thinking", _("asking the model")
        ANSWERED = "answered", _("answer saved")
        DECIDED = "decided", _("decided")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        SUPERSEDED = "superseded", _("superseded")

    class Decision(models.TextChoices):
        NONE = "", _("none yet")
        SEND = "send", _("sent by itself")
        SUGGEST = "suggest", _("suggested")
        HAND_OVER = "hand_over", _("handed to a person")
        RETURN = "return", _("returned to the caller")
        SKIP = "skip", _("nothing to do")

    REGENERATE: ClassVar = "regenerate"
    """An operator asked for another answer to what the client wrote last."""
    CHOSEN: ClassVar = "chosen"
    """An operator asked for an answer to one earlier message, as if it were the last."""
    ASKED: ClassVar = (REGENERATE, CHOSEN)

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="runs")
    dialog = models.ForeignKey(Dialog, models.CASCADE, related_name="runs")
    trigger = models.CharField(max_length=16, default="message")
    purpose = models.CharField(max_length=16, default="reply")
    state = models.CharField(max_length=12, choices=State.choices, default=State.THINKING)
    decision = models.CharField(max_length=12, choices=Decision.choices, default="", blank=True)
    reason = models.CharField(
        max_length=40, blank=True, help_text=_("Code; screens say it in words.")
    )
    reason_detail = models.CharField(max_length=300, blank=True)

    newest_message_id = models.BigIntegerField(default=0)
    message_ids = models.JSONField(default=list)
    sources = models.JSONField(default=list, help_text=_("Keys and titles of the knowledge given."))
    prompt_version = models.ForeignKey(PromptVersion, models.SET_NULL, null=True, blank=True)
    config_revision = models.PositiveIntegerField(default=0)
    steer = models.CharField(max_length=300, blank=True)
    operator_id = models.BigIntegerField(null=True, blank=True)

    answer = models.JSONField(null=True, blank=True)
    values = models.JSONField(default=list)
    reply = models.TextField(blank=True, help_text=_("The reply after the checks."))
    doubts = models.JSONField(default=list)
    topic = models.CharField(max_length=40, blank=True)
    confidence = models.FloatField(null=True, blank=True)
    band = models.CharField(max_length=12, blank=True)
    provider = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=120, blank=True)
    how = models.CharField(max_length=16, blank=True)
    canary = models.CharField(max_length=40, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    completion_tokens = models.PositiveIntegerField(default=0)
    cost = models.FloatField(null=True, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    other_costs = models.JSONField(
        default=dict, help_text=_("Money in further currencies, when two servers were paid.")
    )
    saving = models.CharField(
        max_length=16, blank=True, help_text=_("The limit that made a cheaper model answer.")
    )
    masked = models.JSONField(default=dict)
    attempts = models.PositiveSmallIntegerField(default=0)
    heard_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    steps_ms = models.JSONField(default=dict)
    rest_calls = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["portal", "-started_at"], name="run_recent"),
            models.Index(fields=["dialog", "-id"], name="run_of_dialog"),
        ]

    def __str__(self) -> str:
        return str(_("run %(n)s") % {"n": self.pk})


class Suggestion(models.Model):
    """A proposed reply and what became of it."""

    class State(models.TextChoices):
        READY = "ready", _("waiting")
        INSERTED = "inserted", _("inserted into the chat")
        SENDING = "sending", _("being sent")
        SENT = "sent", _("sent")
        CLOSED = "closed", _("closed")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="suggestions")
    dialog = models.ForeignKey(Dialog, models.CASCADE, related_name="suggestions")
    run = models.ForeignKey(Run, models.CASCADE, related_name="suggestions")
    text = models.TextField()
    band = models.CharField(max_length=12)
    doubts = models.JSONField(default=list)
    sources = models.JSONField(default=list)
    state = models.CharField(max_length=8, choices=State.choices, default=State.READY)
    final_text = models.TextField(blank=True)
    closed_reason = models.CharField(max_length=40, blank=True)
    closed_by = models.CharField(max_length=160, blank=True)
    rating = models.SmallIntegerField(default=0)
    rating_reasons = models.JSONField(default=list)
    rating_comment = models.CharField(max_length=500, blank=True)
    answered_message_id = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [
            models.Index(fields=["dialog", "state", "id"], name="suggestion_open"),
            models.Index(fields=["portal", "created_at"], name="suggestion_day"),
        ]

    def __str__(self) -> str:
        return f"suggestion {self.pk}"


class FieldValue(models.Model):
    """The ledger: every value we found, proposed, wrote, skipped or took back, and why."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("proposed")
        WRITING = "writing", _("being written")
        WRITTEN = "written", _("written")
        SKIPPED = "skipped", _("skipped")
        UNDONE = "undone", _("taken back")
        DISMISSED = "dismissed", _("dismissed")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="field_values")
    dialog = models.ForeignKey(Dialog, models.CASCADE, related_name="field_values")
    run = models.ForeignKey(Run, models.CASCADE, related_name="field_values")
    field = models.CharField(max_length=40)
    type = models.CharField(max_length=16)
    value = models.JSONField(null=True)
    raw = models.CharField(max_length=300, blank=True, help_text=_("As the model said it."))
    quote = models.CharField(max_length=300, blank=True)
    band = models.CharField(max_length=12)
    doubt = models.CharField(max_length=40, blank=True)
    item = models.CharField(max_length=40, blank=True, help_text=_("CRM item, as LEAD_77."))
    target = models.CharField(max_length=210, blank=True)
    policy = models.CharField(max_length=12, blank=True)
    new_value = models.JSONField(null=True, help_text=_("As written to the portal."))
    old_value = models.JSONField(null=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PROPOSED)
    reason = models.CharField(max_length=120, blank=True)
    by = models.CharField(max_length=160, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        indexes: ClassVar = [models.Index(fields=["dialog", "state"], name="value_open")]

    def __str__(self) -> str:
        return f"{self.field} → {self.target}"


class Delivery(models.Model):
    """An act towards a portal, written down before it happens. `key` makes a repeat harmless."""

    class Kind(models.TextChoices):
        MESSAGE = "message", _("message by the assistant")
        OPERATOR_MESSAGE = "operator_message", _("message as an operator")
        WHISPER = "whisper", _("whisper")
        HAND_OVER = "hand_over", _("hand-over")
        CRM = "crm", _("CRM update")
        ROBOT_RESULT = "robot_result", _("robot's result")

    class State(models.TextChoices):
        PLANNED = "planned", _("planned")
        SENDING = "sending", _("being sent")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")
        UNSURE = "unsure", _("outcome unknown")
        CANCELLED = "cancelled", _("cancelled")

    OPEN: ClassVar = (State.PLANNED, State.SENDING)

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="deliveries")
    dialog = models.ForeignKey(Dialog, models.CASCADE, related_name="deliveries")
    run = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="deliveries")
    suggestion = models.ForeignKey(
        Suggestion, models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    kind = models.CharField(max_length=16, choices=Kind.choices)
    key = models.UUIDField(unique=True, default=uuid.uuid4)
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices, default=State.PLANNED)
    not_before = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveSmallIntegerField(default=0)
    problem = models.CharField(max_length=300, blank=True)
    problem_code = models.CharField(max_length=60, blank=True)
    result = models.JSONField(default=dict)
    operator_id = models.BigIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["id"]
        verbose_name_plural = "deliveries"
        indexes: ClassVar = [
            models.Index(
                fields=["dialog", "id"],
                name="delivery_open",
                condition=Q(state__in=["planned", "sending"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.key}"


class Call(models.Model):
    """One request of the hook: the caller's question and our answer to it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    portal = models.ForeignKey(Portal, models.CASCADE, related_name="calls")
    dialog = models.OneToOneField(Dialog, models.CASCADE, related_name="call")
    idempotency_key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001 - null = none
    request = models.JSONField(default=dict)
    response = models.JSONField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "idempotency_key"], name="called_once"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class Spending(models.Model):
    """Tokens and money of one day, added up as calls end."""

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="spending")
    day = models.DateField()
    model = models.CharField(max_length=120)
    purpose = models.CharField(max_length=16, default="reply")
    line_id = models.PositiveIntegerField(default=0)
    prompt_number = models.PositiveIntegerField(default=0)
    calls = models.PositiveIntegerField(default=0)
    prompt_tokens = models.PositiveBigIntegerField(default=0)
    completion_tokens = models.PositiveBigIntegerField(default=0)
    cost = models.FloatField(default=0)
    currency = models.CharField(max_length=3, blank=True)
    masked = models.PositiveIntegerField(
        default=0, help_text=_("Personal details replaced before sending.")
    )

    class Meta:
        verbose_name_plural = "spending"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=[
                    "portal",
                    "day",
                    "model",
                    "purpose",
                    "line_id",
                    "prompt_number",
                    "currency",
                ],
                name="one_row_per_day",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"


class Circuit(models.Model):
    """Whether a model server may be asked now; shared by all workers."""

    key = models.CharField(max_length=32, primary_key=True)
    failures = models.PositiveSmallIntegerField(default=0)
    first_failure_at = models.FloatField(default=0)
    open_until = models.FloatField(default=0)
    open_seconds = models.FloatField(default=0)
    trial_until = models.FloatField(default=0)

    def __str__(self) -> str:
        return self.key


class ModelPlace(models.Model):
    """One of the calls that a server takes at once; shared by all workers."""

    server = models.CharField(max_length=32)
    number = models.PositiveSmallIntegerField()
    until = models.FloatField(default=0, help_text=_("Unix time when it is free again."))
    token = models.CharField(max_length=16, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["server", "number"], name="one_row_per_place"),
        ]

    def __str__(self) -> str:
        return f"{self.server} {self.number}"


class Departure(models.Model):
    """What left for one model server in one month: how much of it, and how much was personal."""

    class Place(models.TextChoices):
        OWN = "own", _("own network")
        COUNTRY = "country", _("in the country")
        ABROAD = "abroad", _("abroad")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="departures")
    month = models.DateField()
    provider = models.CharField(max_length=40)
    origin = models.CharField(max_length=300)
    place = models.CharField(max_length=8, choices=Place.choices)
    requests = models.PositiveIntegerField(default=0)
    characters = models.PositiveBigIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    masked = models.JSONField(default=dict, help_text=_("Kind → values that left as labels."))
    unmasked = models.JSONField(default=dict, help_text=_("Kind → values that left as they are."))

    class Meta:
        ordering: ClassVar = ["-month", "origin"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["portal", "month", "provider", "origin", "place"], name="left_in_a_month"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} {self.origin}"


class Consent(models.Model):
    """An administrator's word that clients' texts may go to a server outside. Never changed."""

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="consents")
    origin = models.CharField(max_length=300)
    abroad = models.BooleanField()
    text = models.TextField(help_text=_("The words that were agreed to."))
    user_id = models.BigIntegerField()
    user_name = models.CharField(max_length=160, blank=True)
    given_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["portal", "origin"], name="consent_of_server")]

    def __str__(self) -> str:
        return f"{self.origin} {self.given_at:%Y-%m-%d}"


class Notice(models.Model):
    """Something the portal's administrators are told by the portal itself, each of them once."""

    class State(models.TextChoices):
        PLANNED = "planned", _("planned")
        SENDING = "sending", _("being sent")
        SENT = "sent", _("sent")
        FAILED = "failed", _("failed")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="notices")
    key = models.CharField(max_length=60, help_text=_("What it is about, and which period."))
    user_id = models.BigIntegerField()
    text = models.CharField(max_length=600)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PLANNED)
    attempts = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(default=timezone.now)
    problem = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "key", "user_id"], name="told_once"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["not_before"],
                name="notice_open",
                condition=Q(state__in=["planned", "sending"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.key} → {self.user_id}"


class Question(models.Model):
    """What clients asked and the knowledge did not answer; near-equal questions are one row."""

    class State(models.TextChoices):
        OPEN = "open", _("open")
        ANSWERED = "answered", _("answered")
        DISMISSED = "dismissed", _("dismissed")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="questions")
    text = models.TextField(help_text=_("Without phones and e-mails: it outlives the dialog."))
    stems = models.JSONField(default=list)
    topic = models.CharField(max_length=40, blank=True)
    dialog = models.ForeignKey(Dialog, models.SET_NULL, null=True, blank=True, related_name="+")
    run = models.ForeignKey(Run, models.SET_NULL, null=True, blank=True, related_name="+")
    snippet = models.ForeignKey(Snippet, models.SET_NULL, null=True, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    similar = models.PositiveIntegerField(default=0, help_text=_("How many more asked the same."))
    created_at = models.DateTimeField(default=timezone.now)
    last_asked_at = models.DateTimeField(default=timezone.now)
    decided_by = models.CharField(max_length=160, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-similar", "-last_asked_at"]
        indexes: ClassVar = [
            models.Index(fields=["portal", "state", "-last_asked_at"], name="question_open"),
        ]

    def __str__(self) -> str:
        return f"question {self.pk}"


class PortalCase(models.Model):
    """A client's question and what a good answer has: prompts are tried on it before they answer.

    Like an unanswered question it outlives the dialog it was taken from, without its phones and
    e-mails (`portal_cases.from_dialog`), and stays until it is deleted.
    """

    class Origin(models.TextChoices):
        TYPED = "typed", _("written by hand")
        IMPORTED = "imported", _("from a file")
        DIALOG = "dialog", _("from a dialog")
        SAMPLE = "sample", _("bundled sample")

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="cases")
    position = models.PositiveIntegerField(default=0)
    title = models.CharField(max_length=120, blank=True)
    document = models.JSONField(help_text=_("What `cases.Case` reads: messages, expectation."))
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.TYPED)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.CharField(max_length=160, blank=True)

    class Meta:
        ordering: ClassVar = ["position", "id"]
        indexes: ClassVar = [models.Index(fields=["portal", "position"], name="case_order")]

    def __str__(self) -> str:
        return f"case {self.pk}"


class CaseAnswer(models.Model):
    """What the model answered to a case, judged: paid for once.

    `key` stands for everything that the answer depends on (`comparison.key_of`), so that any change
    asks anew and going back finds the old answer. Kept as long as the texts of dialogs.
    """

    portal = models.ForeignKey(Portal, models.CASCADE, related_name="case_answers")
    key = models.CharField(max_length=64)
    result = models.JSONField(help_text=_("What `report.CaseResult` reads."))
    asked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "key"], name="case_asked_once"),
        ]
        indexes: ClassVar = [models.Index(fields=["asked_at"], name="case_answer_age")]

    def __str__(self) -> str:
        return f"answer {self.pk}"


class Evaluation(models.Model):
    """The portal's cases on their way to the model. What is done already are its answers."""

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        STOPPED = "stopped", _("stopped")
        DONE = "done", _("done")

    portal = models.OneToOneField(
        Portal, models.CASCADE, primary_key=True, related_name="evaluation"
    )
    draft = models.TextField(
        blank=True, help_text=_("The text tried beside the active one; empty: the active alone.")
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.RUNNING)
    problem = models.CharField(max_length=40, blank=True, help_text=_("Why it stopped by itself."))
    problem_detail = models.CharField(max_length=300, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    lease = models.CharField(max_length=32, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["leased_until"], name="evaluation_open", condition=Q(state="running")
            ),
        ]

    def __str__(self) -> str:
        return f"evaluation {self.state}"
