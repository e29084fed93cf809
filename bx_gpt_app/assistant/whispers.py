"""The suggestion inside the chat, as a message that only operators see.

Off by default. A line gets whispers once a test on that portal has shown that they stay inside: a
person looked at both sides, and the portal does not say that the messenger took the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import PortalConfig, as_document
from bx_gpt_app.assistant.models import Delivery, Dialog, Message, Run, Suggestion
from bx_gpt_app.assistant.operator import LIVE, make_due, plain
from bx_gpt_app.assistant.reasons import delivery_in_words, doubt_in_words
from bx_gpt_app.portals.models import Line, Portal
from integrations.bitrix24.client import PortalClient
from integrations.bitrix24.openlines import history_command, parse_history
from integrations.llm.values import Author, Band

LOOKED_AT = 20
"""How many of a dialog's newest whispers can still be outdated."""


def are_wanted(portal: Portal, config: PortalConfig, line_id: int | None) -> bool:
    """Switched on by an administrator, and proven to stay inside."""
    if line_id is None or not config.line(line_id).whisper:
        return False
    return portal.lines.filter(line_id=line_id, whisper_tested_at__isnull=False).exists()


def plan(dialog: Dialog, run: Run, suggestion: Suggestion, config: PortalConfig) -> None:
    """One whisper for one suggestion, in the transaction that writes the suggestion down."""
    if dialog.kind == Dialog.Kind.CHAT and are_wanted(dialog.portal, config, dialog.line_id):
        Delivery.objects.create(
            portal=dialog.portal,
            dialog=dialog,
            run=run,
            kind=Delivery.Kind.WHISPER,
            payload={
                "suggestion": suggestion.pk,
                "after_message_id": dialog.newest_message_id,
                **_words(dialog.portal, suggestion),
            },
        )


def _words(portal: Portal, suggestion: Suggestion) -> dict[str, str]:
    """The draft with its doubts above it: whoever inserts it here has not seen our panel."""
    with translation.override("ru" if portal.language == "ru" else "en"):
        title = _("Draft reply, seen by colleagues only")
        kinds = dict.fromkeys(str(one.get("kind")) for one in suggestion.doubts)
        doubts = ", ".join(doubt_in_words(kind).lower() for kind in kinds)
        if suggestion.band == Band.UNSURE:
            title += "\n" + _("Not sure: edit it before sending")
        elif suggestion.band == Band.CHECK:
            title += "\n" + _("Check this")
        if doubts and suggestion.band != Band.CONFIDENT:
            title += f": {doubts}"
        return {"title": title, "text": plain(suggestion.text), "button": _("Insert")}


def why_unwanted(delivery: Delivery, dialog: Dialog, config: PortalConfig) -> str:
    """The re-check before a whisper goes out: a reason code when nobody needs it any more."""
    number = delivery.payload.get("suggestion")
    if number is None:
        return ""  # a test, or the removal of an earlier whisper
    if not are_wanted(delivery.portal, config, dialog.line_id):
        return "whisper_off"
    suggestion = Suggestion.objects.filter(pk=number).first()
    if suggestion is None:
        return "newer"
    return "" if suggestion.state in LIVE else suggestion.closed_reason or "answered"


def keep(delivery: Delivery, dialog: Dialog, message_id: int) -> None:
    """Our own messages do not come back as events: a later look into the history knows this one."""
    if delivery.payload.get("removes"):
        Message.objects.filter(dialog=dialog, external_id=message_id).update(deleted=True)
    elif message_id:
        Message.objects.get_or_create(
            dialog=dialog,
            external_id=message_id,
            defaults={"author": Author.WHISPER, "text": str(delivery.payload["text"])},
        )


def plan_removals(dialog: Dialog) -> bool:
    """A draft that was answered or replaced goes out of the chat, and its button with it.

    Removed, not edited: an edit may be passed on to a messenger, a removal shows nobody any words.
    """
    rows = list(
        Delivery.objects.filter(dialog=dialog, kind=Delivery.Kind.WHISPER).order_by("-id")[
            :LOOKED_AT
        ]
    )
    removed = {row.payload.get("removes") for row in rows}
    newest = max((int(row.payload.get("suggestion") or 0) for row in rows), default=0)
    live = Suggestion.objects.filter(pk=newest, state__in=LIVE).exists()
    outdated = [
        row
        for row in rows
        if row.state == Delivery.State.SENT
        and row.payload.get("suggestion")
        and row.pk not in removed
        and not (live and row.payload["suggestion"] == newest)
    ]
    for row in outdated:
        _plan_removal(row)
    return bool(outdated)


def _plan_removal(sent: Delivery) -> None:
    Delivery.objects.create(
        portal_id=sent.portal_id,
        dialog_id=sent.dialog_id,
        run_id=sent.run_id,
        kind=Delivery.Kind.WHISPER,
        payload={"removes": sent.pk, "message_id": sent.result.get("message_id")},
    )


# ---- the test ----

Stage = Literal["none", "sending", "refused", "sent", "leaked"]


@dataclass(frozen=True)
class LineTest:
    """The newest test of a line with today's bot, as the screen shows it."""

    stage: Stage = "none"
    delivery: Delivery | None = None

    @property
    def problem(self) -> str:
        if self.delivery is None or self.stage != "refused":
            return ""
        return delivery_in_words(self.delivery.problem_code, self.delivery.problem)

    @property
    def chat(self) -> str:
        return title_of(self.delivery.dialog) if self.delivery else ""


def title_of(dialog: Dialog) -> str:
    return dialog.client_name or dialog.title or dialog.dialog_id


def chat_for_test(portal: Portal, line_id: int) -> Dialog | None:
    """The line's newest chat: who tests writes there himself a moment before."""
    return (
        Dialog.objects.filter(
            portal=portal, line_id=line_id, kind=Dialog.Kind.CHAT, quarantined_at__isnull=True
        )
        .order_by("-last_message_at")
        .first()
    )


def test_of(portal: Portal, line_id: int) -> LineTest:
    delivery = (
        Delivery.objects.filter(
            portal=portal,
            dialog__line_id=line_id,
            kind=Delivery.Kind.WHISPER,
            payload__tests_bot=portal.bot_id,
        )
        .select_related("dialog")
        .order_by("-id")
        .first()
    )
    if delivery is None:
        return LineTest()
    if delivery.state in Delivery.OPEN:
        return LineTest("sending", delivery)
    if delivery.state != Delivery.State.SENT:
        return LineTest("refused", delivery)
    return LineTest("leaked" if delivery.result.get("leaked") else "sent", delivery)


def begin_test(portal: Portal, dialog: Dialog) -> None:
    """Send a whisper that says nothing secret, should it reach a client. One at a time."""
    with transaction.atomic():
        Dialog.objects.select_for_update().get(pk=dialog.pk)
        if test_of(portal, dialog.line_id or 0).stage == "sending":
            return
        with translation.override("ru" if portal.language == "ru" else "en"):
            words = {
                "title": _("A test for colleagues, no answer is needed"),
                "text": _("Test"),
                "button": _("Insert"),
            }
        Delivery.objects.create(
            portal=portal,
            dialog=dialog,
            kind=Delivery.Kind.WHISPER,
            payload={
                "tests_bot": portal.bot_id,
                "after_message_id": dialog.newest_message_id,
                **words,
            },
        )
        make_due(dialog)


def pass_test(portal: Portal, line: Line, client: PortalClient) -> bool:
    """A person saw the test on the operator's side only; the portal must not contradict him.

    False when it does: then the line is locked like after `fail_test`.
    Raises: Bitrix24Error when the chat cannot be read, LookupError when the test is not in it.
    """
    test = test_of(portal, line.line_id)
    if test.delivery is None or test.stage != "sent":
        raise LookupError
    dialog = test.delivery.dialog
    command = history_command(session_id=dialog.session_id, chat_id=dialog.chat_id)
    history = parse_history(
        client.call(command.method, command.params, repeatable=True), bot_id=portal.bot_id
    )
    number = test.delivery.result.get("message_id")
    shown = next((one for one in history.messages if one.id == number), None)
    if shown is None:
        raise LookupError
    if shown.reached_client:
        fail_test(portal, line, by="")
        return False
    with transaction.atomic():
        portal.lines.filter(pk=line.pk).update(whisper_tested_at=timezone.now())
        _tidy_up(test.delivery)
    return True


def _tidy_up(sent: Delivery) -> None:
    """The test has done its work: it goes out of the chat."""
    _plan_removal(sent)
    make_due(sent.dialog)


def fail_test(portal: Portal, line: Line, *, by: str) -> None:
    """A client sees whispers on this portal: the line gets none, whatever was switched on."""
    test = test_of(portal, line.line_id)
    with transaction.atomic():
        if test.delivery is not None:
            test.delivery.result = {**test.delivery.result, "leaked": True}
            test.delivery.save(update_fields=["result"])
            if test.stage == "sent":
                _tidy_up(test.delivery)
        portal.lines.filter(pk=line.pk).update(whisper_tested_at=None)
        config, _revision = store.load(portal)
        if config.line(line.line_id).whisper:
            lines = as_document(config)["lines"]
            lines[str(line.line_id)]["whisper"] = False
            store.change(portal, by=by, lines=lines)
