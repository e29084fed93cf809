"""Portals at the command line: list, show, configuration in and out, hook token, erasure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from bx_gpt_app.assistant import lines, store
from bx_gpt_app.assistant.config import (
    ConfigProblems,
    ModelConfig,
    PortalConfig,
    as_document,
    read_yaml,
    write_yaml,
)
from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.assistant.retention import erase
from bx_gpt_app.common.files import UnreadableFile, read_text
from bx_gpt_app.portals.find import PortalNotFound, find_portal
from bx_gpt_app.portals.models import Portal

BY = "manage.py portal import"


class Command(BaseCommand):
    help = "List, show and configure portals. MEMBER_ID is the portal's id in Bitrix24."

    def add_arguments(self, parser: CommandParser) -> None:
        deeds = parser.add_subparsers(dest="deed", required=True, metavar="DEED")
        deeds.add_parser("list", help="all portals of this installation")
        for deed, sentence in (
            ("show", "state, lines and settings of a portal, without secrets"),
            ("export", "print the configuration as YAML, without secrets"),
            ("import", "check a YAML configuration and apply it whole or not at all"),
            ("hook", "issue a new hook token (the old one ends) and print it as JSON"),
            ("erase", "delete everything the portal entrusted to us"),
        ):
            one = deeds.add_parser(deed, help=sentence)
            one.add_argument("member_id", metavar="MEMBER_ID")
            one.add_argument("--app", default="", help="code of the app registration")
            if deed == "import":
                one.add_argument("file", metavar="FILE", help="YAML file, or - for standard input")
            if deed == "erase":
                one.add_argument("--yes", action="store_true", help="really do it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["deed"] == "list":
            self._list()
            return
        try:
            portal = find_portal(options["member_id"], options["app"])
        except PortalNotFound as error:
            raise CommandError(str(error)) from None
        deeds: Mapping[str, Callable[[Portal, dict[str, Any]], None]] = {
            "show": self._show,
            "export": self._export,
            "import": self._import,
            "hook": self._hook,
            "erase": self._erase,
        }
        deeds[options["deed"]](portal, options)

    def _list(self) -> None:
        portals = Portal.objects.select_related("registration").order_by("domain", "pk")
        if not portals:
            self.stdout.write("There are no portals yet: install the app in Bitrix24.")
        for portal in portals:
            paused = ", paused" if portal.paused else ""
            self.stdout.write(
                f"{portal.member_id}  {portal.registration.code:<12} "
                f"{portal.state + paused:<10} {portal.domain}"
            )

    def _show(self, portal: Portal, options: dict[str, Any]) -> None:
        config, revision = store.load(portal)
        row = Configuration.objects.filter(pk=portal.pk).first()
        facts = [
            ("member id", portal.member_id),
            ("app", portal.registration.code),
            ("domain", portal.domain),
            ("state", " ".join(filter(None, [portal.state, portal.state_reason]))),
            ("paused by host", _yes(portal.paused)),
            ("installed", _moment(portal.installed_at)),
            ("events", "fetched by us" if portal.fetches_events else "sent to us"),
            ("last event", _moment(portal.last_event_at)),
            ("last error", portal.last_error or "none"),
            ("hook address", f"/hooks/{portal.public_id}/"),
            ("hook token", "issued" if portal.hook_token_hash else "not issued"),
            ("mode", config.mode),
            ("model", _model(row, config.llm, fallback=False)),
            (
                "fallback",
                _model(row, config.llm.fallback, fallback=True) if config.llm.fallback else "none",
            ),
            ("topics", ", ".join(topic.code for topic in config.topics) or "none"),
            ("fields", ", ".join(spec.name for spec in config.fields) or "none"),
            ("knowledge", f"{portal.snippets.count()} snippets"),
            ("masking", _yes(config.privacy.mask_personal_data)),
            ("configuration", f"revision {revision}"),
        ]
        for name, value in facts:
            self.stdout.write(f"{name + ':':<16} {value}")
        for line in portal.lines.all():
            connected = "connected" if line.connected else "not connected"
            mode = config.line(line.line_id).mode
            self.stdout.write(f"{f'line {line.line_id}:':<16} {mode}, {connected}, {line}")

    def _export(self, portal: Portal, options: dict[str, Any]) -> None:
        self.stdout.write(write_yaml(store.load_whole(portal)), ending="")

    def _import(self, portal: Portal, options: dict[str, Any]) -> None:
        try:
            new = read_yaml(_text_of(options["file"]), onto=store.load_whole(portal))
        except ConfigProblems as error:
            mistakes = "\n".join(error.problems)
            raise CommandError(f"Nothing was changed. Mistakes:\n{mistakes}") from None
        with transaction.atomic():
            old = store.load_whole(portal)
            left = store.keys_left_behind(portal, old, new)
            if not store.save(portal, new, by=BY):
                self.stdout.write("Nothing to change: the portal has this configuration already.")
                return
            if _modes(new) != _modes(old):
                lines.carry_out_modes.enqueue(portal.pk)
        before, after = as_document(old.without_secrets()), as_document(new.without_secrets())
        parts = [name for name in after if after[name] != before[name]] or ["keys"]
        self.stdout.write(f"Changed: {', '.join(parts)}.")
        for stored_for, server in left:
            self.stdout.write(
                f"The stored key is for {stored_for} and was not carried over to {server}: enter "
                "the new server's key in the portal's settings (Model) or as api_key in the file."
            )

    def _hook(self, portal: Portal, options: dict[str, Any]) -> None:
        token = portal.issue_hook_token()
        self.stdout.write(json.dumps({"public_id": portal.public_id, "token": token}))

    def _erase(self, portal: Portal, options: dict[str, Any]) -> None:
        if not options["yes"]:
            raise CommandError(
                f"This deletes all dialogs, knowledge and settings of {portal.domain} for good: "
                "add --yes."
            )
        erase(portal)
        self.stdout.write(f"Erased all data of {portal.domain}.")


def _text_of(path: str) -> str:
    try:
        return read_text(path)
    except UnreadableFile as error:
        raise ConfigProblems([str(error)]) from None


def _modes(config: PortalConfig) -> tuple[str, dict[str, str]]:
    return config.mode, {line_id: line.mode for line_id, line in config.lines.items()}


def _model(row: Configuration | None, model: ModelConfig, *, fallback: bool) -> str:
    own_key = store.api_key_for(row, model, fallback=fallback)
    server = model.base_url or "the host's server"
    name = model.model or "the host's model"
    return f"{name} at {server}, {'own key is set' if own_key else 'no key of its own'}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _moment(moment: Any) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M %Z") if moment else "never"
