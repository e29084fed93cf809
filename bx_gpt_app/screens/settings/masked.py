"""Clients' words without their personal details, for screens that many people read."""

from __future__ import annotations

import re

from django.utils.translation import gettext_lazy

from integrations.llm.masking import Masker

HIDDEN_KINDS = {
    "PHONE": gettext_lazy("phone"),
    "EMAIL": gettext_lazy("e-mail"),
    "CARD": gettext_lazy("card number"),
    "INN": gettext_lazy("taxpayer number"),
    "SNILS": gettext_lazy("insurance number"),
    "PASSPORT": gettext_lazy("passport"),
    "IBAN": gettext_lazy("account number"),
    "NAME": gettext_lazy("name"),
}
HIDDEN = re.compile(rf"\[({'|'.join(HIDDEN_KINDS)})_\d+\]")


def redacted(text: str) -> str:
    """Without phones, e-mails and the like: a log is read by more people than a chat."""
    return HIDDEN.sub(lambda found: f"[{HIDDEN_KINDS[found[1]]}]", Masker().mask(text))
