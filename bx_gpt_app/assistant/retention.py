"""How long texts are kept, and what is left when a portal goes."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from bx_gpt_app.assistant.models import (
    CaseAnswer,
    Configuration,
    Consent,
    Delivery,
    Departure,
    Dialog,
    Evaluation,
    Event,
    Notice,
    PortalCase,
    PromptVersion,
    Question,
    Snippet,
    Spending,
)
from bx_gpt_app.portals.models import CallBudget, Line, Portal

BATCH = 1000


def forget_old(before: datetime) -> int:
    """Delete old events and answers to test cases, and dialogs nobody wrote in since `before` with
    all that is theirs."""
    events = Event.objects.filter(received_at__lt=before, done_at__isnull=False)
    forgotten = events.filter(pk__in=list(events.values_list("pk", flat=True)[:BATCH])).delete()[0]
    answers = CaseAnswer.objects.filter(asked_at__lt=before)
    forgotten += answers.filter(pk__in=list(answers.values_list("pk", flat=True)[:BATCH])).delete()[
        0
    ]
    dialogs = Dialog.objects.filter(
        last_message_at__lt=before, due_at__isnull=True, leased_until__isnull=True
    ).exclude(deliveries__state__in=Delivery.OPEN)
    return (
        forgotten
        + Dialog.objects.filter(pk__in=list(dialogs.values_list("pk", flat=True)[:BATCH])).delete()[
            0
        ]
    )


def erase(portal: Portal) -> None:
    """Everything the portal entrusted to us, after an uninstall with CLEAN or by the host's hand.

    The bare row stays, so that a reinstall gets the same public address.
    """
    with transaction.atomic():
        for model in (
            Dialog,
            Event,
            Configuration,
            Consent,
            Departure,
            Notice,
            Evaluation,
            CaseAnswer,
            PortalCase,
            PromptVersion,
            Question,
            Snippet,
            Spending,
            Line,
            CallBudget,
        ):
            model.objects.filter(portal=portal).delete()
        portal.field_cache, portal.bindings = {}, {}
        portal.last_error = ""
        portal.save(update_fields=["field_cache", "bindings", "last_error"])
