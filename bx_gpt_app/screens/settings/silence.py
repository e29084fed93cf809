"""Why was there no answer: message by message, and why a message may not be known at all."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.fate import Fate, fate_of
from bx_gpt_app.assistant.models import Dialog, Message
from bx_gpt_app.assistant.reasons import problem_in_words
from bx_gpt_app.portals.lines import OTHER_BOT, failed_lines
from bx_gpt_app.screens.draft import moment
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.masked import redacted
from bx_gpt_app.screens.settings.page import link, state_in_words
from integrations.llm.values import Author

SHOWN = 10


def messages_with(frame: Frame, words: str) -> list[dict[str, Any]]:
    """The last messages of clients with these words, or of a client of this name, each with what
    became of it."""
    if not words:
        return []
    of_clients = Message.objects.filter(
        dialog__portal=frame.portal,
        dialog__kind=Dialog.Kind.CHAT,
        author=Author.CLIENT,
        deleted=False,
    )
    found = of_clients.filter(text__icontains=words) | of_clients.filter(
        dialog__client_name__icontains=words
    )
    newest = found.select_related("dialog").order_by("-at", "-id")[:SHOWN]
    return [_row(frame, message) for message in newest]


def _row(frame: Frame, message: Message) -> dict[str, Any]:
    dialog = message.dialog
    fate = fate_of(message)
    run = (
        dialog.runs.filter(trigger="message", newest_message_id__gte=message.external_id or 0)
        .order_by("id")
        .first()
    )
    stuck = dialog.quarantined_at is not None and fate.answer is None
    url = link(frame, "run", pk=run.pk) if run else ""
    return {
        "when": moment(message.at),
        "who": dialog.client_name or dialog.title or dialog.key,
        "text": redacted(" ".join(message.text.split()))[:160] or _("A file without words"),
        "answered": _answered(fate),
        "why": problem_in_words(dialog.problem) if stuck and dialog.problem else fate.why,
        "url": link(frame, "quarantine") if stuck else url,
    }


def _answered(fate: Fate) -> str:
    if fate.answer is None:
        return _("no answer")
    if fate.answer.author == Author.BOT:
        return _("the assistant answered")
    return _("a person answered")


def why_missing(frame: Frame, config: PortalConfig) -> list[str]:
    """What the assistant does not hear now, so that there is nothing to show: in sentences."""
    portal, told = frame.portal, []
    banner = state_in_words(portal)
    if banner:
        told.append(banner["text"])
    failed = failed_lines(portal)
    for line in portal.lines.all():
        name = {"line": line}
        if config.line(line.line_id).mode == "off":
            told.append(_("The line “%(line)s” is off: nothing of it is kept.") % name)
        elif not line.active:
            told.append(_("The line “%(line)s” is switched off in the portal.") % name)
        elif failed.get(line.line_id) == OTHER_BOT:
            told.append(_("Another bot meets the clients of “%(line)s”.") % name)
        elif failed.get(line.line_id):
            told.append(_("The portal did not let the assistant into “%(line)s”.") % name)
        elif not line.connected:
            told.append(_("The assistant is not in “%(line)s” yet.") % name)
    told.append(_("Chats that are not of an open line are never listened to."))
    told.append(_("A message that Bitrix24 sends twice is heard once."))
    return told
