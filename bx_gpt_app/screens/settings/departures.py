"""What left the house: for each model server and month how much was sent and how much of it was
personal."""

from __future__ import annotations

import csv
import io
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bx_gpt_app.assistant.models import Departure
from bx_gpt_app.common.amounts import number
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens.settings import downloads
from integrations.llm.providers import PRESETS

KINDS: dict[str, Promise] = {
    "phone": gettext_lazy("phones"),
    "email": gettext_lazy("e-mails"),
    "name": gettext_lazy("names"),
    "card": gettext_lazy("cards"),
    "inn": gettext_lazy("taxpayer numbers"),
    "snils": gettext_lazy("insurance numbers"),
    "passport": gettext_lazy("passports"),
    "iban": gettext_lazy("accounts"),
}
MONTHS = 12


def rows(portal: Portal) -> list[dict[str, Any]]:
    """The last months, the newest first, as a table shows them."""
    found = Departure.objects.filter(portal=portal).order_by("-month", "origin")
    months = sorted({row.month for row in found}, reverse=True)[:MONTHS]
    return [_row(row) for row in found if row.month in months]


def this_month(portal: Portal) -> list[dict[str, Any]]:
    """Servers outside our network that got something in this month."""
    month = timezone.now().date().replace(day=1)
    found = Departure.objects.filter(portal=portal, month=month)
    return [_row(row) for row in found.exclude(place=Departure.Place.OWN)]


def _row(row: Departure) -> dict[str, Any]:
    return {
        "month": date_format(row.month, "F Y"),
        "server": row.origin,
        "service": service(row),
        "place": row.get_place_display(),
        "abroad": row.place == Departure.Place.ABROAD,
        "requests": number(row.requests),
        "characters": number(row.characters),
        "tokens": number(row.tokens),
        "masked": counts(row.masked),
        "unmasked": counts(row.unmasked),
        "masked_sum": number(sum(row.masked.values())),
        "unmasked_sum": number(sum(row.unmasked.values())),
    }


def service(row: Departure) -> str:
    return PRESETS[row.provider].title if row.provider in PRESETS else _("other service")


def counts(found: dict[str, int]) -> str:
    """Kinds with their numbers in words, the most frequent first; a dash when there are none."""
    ranked = sorted(found.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{KINDS.get(kind, kind)} {number(count)}" for kind, count in ranked) or "—"


HEAD = ("month", "server", "service", "place", "requests", "characters", "tokens")


def _file(portal: Portal, options: dict[str, Any]) -> downloads.File:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";")
    writer.writerow(
        [*HEAD, *(f"masked_{kind}" for kind in KINDS), *(f"unmasked_{kind}" for kind in KINDS)]
    )
    for row in Departure.objects.filter(portal=portal).order_by("month", "origin"):
        writer.writerow(
            [
                f"{row.month:%Y-%m}",
                downloads.harmless(row.origin),
                row.provider,
                row.place,
                row.requests,
                row.characters,
                row.tokens,
                *(row.masked.get(kind, 0) for kind in KINDS),
                *(row.unmasked.get(kind, 0) for kind in KINDS),
            ]
        )
    # The mark tells Excel that it is UTF-8.
    return "departures.csv", "text/csv; charset=utf-8", b"\xef\xbb\xbf" + text.getvalue().encode()


downloads.FILES["departures"] = _file
