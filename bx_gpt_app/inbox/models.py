"""How far each portal has been heard: what the safety net and the fetching of events stand on."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from bx_gpt_app.portals.models import Portal


class Hearing(models.Model):
    """One portal's marks: the newest open-line activity looked at, and the queue of its bot.

    Whoever polls the queue claims the row (`busy_until`, `busy_with`) and writes under that claim.
    """

    portal = models.OneToOneField(Portal, models.CASCADE, primary_key=True, related_name="hearing")
    last_activity_id = models.BigIntegerField(null=True, blank=True)
    looked_at = models.DateTimeField(null=True, blank=True)

    # From the moment the bot is to be fetched until its queue was emptied for the last time.
    fetching = models.BooleanField(default=False)
    # The first event that is not stored yet, in the queue of this bot.
    bot_id = models.BigIntegerField(null=True, blank=True)
    next_offset = models.BigIntegerField(null=True, blank=True)
    due_at = models.DateTimeField(default=timezone.now)
    busy_until = models.DateTimeField(null=True, blank=True)
    busy_with = models.CharField(max_length=32, blank=True)
    # When the queue was last read to its end, and when a look last brought something.
    emptied_at = models.DateTimeField(null=True, blank=True)
    heard_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveSmallIntegerField(default=0)
    problem = models.CharField(max_length=60, blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["due_at"], name="fetch_due", condition=Q(fetching=True)),
        ]

    def __str__(self) -> str:
        return f"hearing of portal {self.portal_id}"


class Heartbeat(models.Model):
    """One row: when a worker last lived. After a gap events may have been lost."""

    at = models.DateTimeField()

    def __str__(self) -> str:
        return self.at.isoformat()
