"""Finds out by trying what a portal's model servers can do."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.assistant.probing import probe_models
from bx_gpt_app.portals.find import PortalNotFound, find_portal
from integrations.llm.failures import SENTENCES
from integrations.llm.providers import Capabilities


class Command(BaseCommand):
    help = "Try the model servers of a portal (3 to 13 short calls each) and keep what they can do."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("member_id", help="the portal's member_id")
        parser.add_argument("--app", default="", help="code of the app registration")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            portal = find_portal(options["member_id"], options["app"])
        except PortalNotFound as error:
            raise CommandError(str(error)) from None
        failed = probe_models(portal)
        row = Configuration.objects.filter(pk=portal.pk).first()
        for place in ("main", "fallback", "cheaper"):
            known = (row.capabilities if row else {}).get(place)
            if place in failed:
                told = SENTENCES.get(failed[place], (failed[place], failed[place]))[1]
                self.stdout.write(f"{place}: {told}")
            elif known:
                words = Capabilities.model_validate(known).in_words("en")
                self.stdout.write(f"{place}: {words}")
        if failed:
            raise CommandError("A model server could not be tried.")
