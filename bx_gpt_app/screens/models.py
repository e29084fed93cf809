"""What a person chose for his own screens. Frames have no storage of their own that lasts."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from bx_gpt_app.portals.models import Portal


class Preference(models.Model):
    portal = models.ForeignKey(Portal, models.CASCADE, related_name="preferences")
    user_id = models.BigIntegerField()
    theme = models.CharField(max_length=8, default="light")
    language = models.CharField(max_length=8, blank=True)
    keys_off = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["portal", "user_id"], name="one_preference_per_user"),
        ]

    def __str__(self) -> str:
        return f"preferences of user {self.user_id}"
