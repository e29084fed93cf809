"""What the operator sees of a reply: one state out of the rows, then the fragment's values.

`read_scene` reads all in a handful of queries, `state_of` decides (pure), `draft_context` and
`summary_of` put it into words for `components/operator_draft.html`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

from django.utils import formats, timezone
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import notices, spending, store
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.context import item_facts
from bx_gpt_app.assistant.fate import fate_of
from bx_gpt_app.assistant.fill import value_in_words
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue, Message, Run, Suggestion
from bx_gpt_app.assistant.operator import LIVE, UNFINISHED, last_message, plain
from bx_gpt_app.assistant.reasons import doubt_in_words, in_words, saving_in_words
from bx_gpt_app.portals.models import Portal
from integrations.llm.failures import SENTENCES
from integrations.llm.values import Author

State = Literal[
    "ready",
    "generating",
    "waiting",
    "sending",
    "auto",
    "sent",
    "closed",
    "error",
    "budget",
    "off",
]

MESSAGES = (Delivery.Kind.MESSAGE, Delivery.Kind.OPERATOR_MESSAGE)
GENERATING_EVERY = "800ms"
COUNTING_EVERY = "1s"
USUAL = ("auto", "mode_suggest", "asked_by_operator")
"""Reasons that explain nothing about a suggestion."""
SOURCE_WORDS = 240
SUMMARY_LENGTH = 300


@dataclass(frozen=True)
class Scene:
    """Everything that decides what the operator sees of one dialog."""

    dialog: Dialog
    portal: Portal
    config: PortalConfig
    now: datetime
    mode: str = "suggest"
    suggestion: Suggestion | None = None
    variants: tuple[Suggestion, ...] = ()
    run: Run | None = None
    delivery: Delivery | None = None
    """The newest act of sending a message that is open, or whose end is unknown."""
    last: Message | None = None
    chosen: Message | None = None
    """The message whose menu the view was opened from."""
    chosen_unknown: bool = False
    apart: bool = False
    """The chosen message is an earlier one of the client: the draft is for it alone."""
    viewer: int = 0
    """The portal's id of the person who looks."""


def find_chosen(dialog: Dialog, number: int | None) -> tuple[Message | None, bool]:
    """The message of this very dialog, and whether the client wrote again after it."""
    if not number:
        return None, False
    chosen = dialog.messages.filter(external_id=number, deleted=False).first()
    if chosen is None or chosen.author != Author.CLIENT:
        return chosen, False
    later = dialog.messages.filter(external_id__gt=number, author=Author.CLIENT, deleted=False)
    return chosen, later.exists()


def read_scene(
    dialog: Dialog, portal: Portal, *, wanted: int | None = None, chosen_id: int | None = None
) -> Scene:
    """`wanted` is the variant that the operator looks at; without it the newest one is shown.
    `chosen_id` is the message he came from: an earlier one has suggestions and runs of its own."""
    config, _revision = store.load(portal)
    chosen, apart = find_chosen(dialog, chosen_id)
    suggestions, runs = Suggestion.objects.filter(dialog=dialog), dialog.runs.all()
    deliveries = Delivery.objects.filter(dialog=dialog)
    if apart and chosen_id:
        suggestions = suggestions.filter(answered_message_id=chosen_id)
        runs = runs.filter(trigger=Run.CHOSEN, newest_message_id=chosen_id)
        deliveries = deliveries.filter(suggestion__answered_message_id=chosen_id)
    else:
        suggestions = suggestions.exclude(run__trigger=Run.CHOSEN)
        runs = runs.exclude(trigger=Run.CHOSEN)
    recent = list(suggestions.select_related("run", "run__prompt_version").order_by("-id")[:10])
    suggestion = recent[0] if recent else None
    variants: tuple[Suggestion, ...] = ()
    if suggestion and suggestion.state in LIVE:
        variants = tuple(
            one
            for one in reversed(recent)
            if one.state in LIVE and one.answered_message_id == suggestion.answered_message_id
        )
        suggestion = next((one for one in variants if one.pk == wanted), suggestion)
    return Scene(
        dialog=dialog,
        portal=portal,
        config=config,
        now=timezone.now(),
        mode=config.line(dialog.line_id).mode,
        suggestion=suggestion,
        variants=variants,
        run=runs.order_by("-id").first(),
        delivery=deliveries.filter(
            kind__in=MESSAGES,
            state__in=(*Delivery.OPEN, Delivery.State.UNSURE),
        )
        .order_by("-id")
        .first(),
        last=last_message(dialog),
        chosen=chosen,
        chosen_unknown=bool(chosen_id) and chosen is None,
        apart=apart,
    )


def state_of(scene: Scene) -> State:
    """One state; the guards are in the order of what the operator must know first."""
    return next(state for holds, state in _STATES if holds(scene))


def _is_sending(scene: Scene) -> bool:
    delivery = scene.delivery
    if delivery is None or delivery.state == Delivery.State.UNSURE:
        return False
    return delivery.kind == Delivery.Kind.OPERATOR_MESSAGE or not _counts_down(scene)


def _counts_down(scene: Scene) -> bool:
    delivery = scene.delivery
    return (
        delivery is not None
        and delivery.kind == Delivery.Kind.MESSAGE
        and delivery.state == Delivery.State.PLANNED
        and bool(delivery.payload.get("automatic"))
        and delivery.suggestion_id is not None
        and delivery.not_before > scene.now
    )


def _is_thinking(scene: Scene) -> bool:
    """Somebody waits for an answer: the client's question is due, or the operator has asked."""
    if scene.dialog.quarantined_at:
        return False
    unfinished = scene.run is not None and scene.run.state in UNFINISHED
    if scene.apart:
        return unfinished
    return unfinished or scene.dialog.quiet_until is not None or _is_heard_only(scene)


def _is_heard_only(scene: Scene) -> bool:
    """The client wrote and the worker has not looked yet."""
    dialog = scene.dialog
    return dialog.client_waits_since is not None and dialog.due_at is not None


def _has_failed(scene: Scene) -> bool:
    run = scene.run
    if scene.dialog.quarantined_at or not scene.portal.works:
        return True
    if scene.delivery is not None and scene.delivery.state == Delivery.State.UNSURE:
        return scene.suggestion is not None and scene.suggestion.state == Suggestion.State.SENDING
    return run is not None and run.state == Run.State.FAILED and _is_unanswered(scene)


def _is_unanswered(scene: Scene) -> bool:
    """Does the client wait for the reply that the view is about?"""
    if scene.apart:
        return scene.suggestion is None or scene.suggestion.state != Suggestion.State.SENT
    return scene.last is None or scene.last.author == Author.CLIENT


def _was_answered(scene: Scene) -> bool:
    return (
        scene.suggestion is not None
        and scene.suggestion.state == Suggestion.State.SENT
        and not _is_unanswered(scene)
    )


def _colleague_answered(scene: Scene) -> bool:
    suggestion = scene.suggestion
    return (
        suggestion is not None
        and suggestion.state == Suggestion.State.CLOSED
        and suggestion.closed_reason in ("colleague_answered", "person_answered_first")
        and not _is_unanswered(scene)
        and not (scene.last is not None and scene.last.author_id == scene.viewer != 0)
    )


_STATES: tuple[tuple[Callable[[Scene], bool], State], ...] = (
    (lambda scene: scene.mode == "off" or scene.dialog.suggestions_off, "off"),
    (_is_sending, "sending"),
    (_counts_down, "auto"),
    (
        lambda scene: _has_failed(scene) and scene.run is not None and scene.run.reason == "budget",
        "budget",
    ),
    (_is_thinking, "generating"),
    (_has_failed, "error"),
    (lambda scene: bool(scene.variants), "ready"),
    (_was_answered, "sent"),
    (_colleague_answered, "closed"),
    (lambda scene: True, "waiting"),
)


# ---- in words ----


@dataclass(frozen=True)
class Place:
    """Where the fragment is shown: its addresses and what the portal's page around it can do."""

    base: str
    """/b24/<app>/dialogs/<id>/"""
    can_insert: bool = False
    is_admin: bool = False
    chosen: int = 0
    """The message that the view is about; every address carries it."""

    def url(self, deed: str, **query: object) -> str:
        asked = {**query, "m": self.chosen} if self.chosen else query
        return f"{self.base}{deed}/" + (f"?{urlencode(asked)}" if asked else "")


def poll_url(scene: Scene, place: Place, state: State) -> str:
    shown = scene.suggestion.pk if state in ("ready", "auto") and scene.suggestion else ""
    topic = scene.run.topic if scene.run else ""
    working: dict[str, object] = {}
    if state == "generating":
        working = {"step": _step(scene.run), "run": scene.run.pk if scene.run else ""}
    return place.url("draft", rev=scene.dialog.rev, v=shown, t=topic, **working)


def draft_context(scene: Scene, place: Place) -> dict[str, Any]:
    state = state_of(scene)
    context: dict[str, Any] = {
        "state": state,
        "poll_url": poll_url(scene, place, state),
        "dialog_id": scene.dialog.dialog_id,
        "can_insert": place.can_insert,
        "notice": _notice(scene),
        "chosen": _chosen(scene, place),
        "closed": scene.dialog.owner == Dialog.Owner.CLOSED,
        "auto_on_url": (
            place.url("auto")
            if scene.mode == "auto" and scene.dialog.auto_stopped and state != "auto"
            else ""
        ),
        "give_back_url": (
            place.url("give-back")
            if scene.mode == "auto" and scene.dialog.owner == Dialog.Owner.OPERATOR
            else ""
        ),
    }
    build = _BUILDERS.get(state)
    return {**context, **(build(scene, place) if build else {})}


def _chosen(scene: Scene, place: Place) -> dict[str, Any] | None:
    """The message that the operator came from, and what became of it."""
    message = scene.chosen
    if message is None:
        return {"missing": True} if scene.chosen_unknown else None
    fate, note, title = fate_of(message), "", _("Why the assistant did not reply:")
    if scene.apart:
        note = _("This is not the client’s last message.")
    elif message.author != Author.CLIENT:
        note = _("This message is not the client’s. A suggestion answers what the client wrote.")
    if message.author == Author.BOT:
        title = _("Why the assistant wrote this:")
    elif fate.answer and fate.answer.author == Author.BOT:
        title = _("Why a person was called:")
    return {
        "text": _cut(message.text) or _("A file without words"),
        "who": message.author_name,
        "when": moment(message.at),
        "note": note,
        "latest_url": place.base if scene.apart else "",
        "answer": _answered(fate.answer) if fate.answer else "",
        "why_title": title,
        "why": fate.why,
    }


def _answered(answer: Message) -> str:
    told = {"name": answer.author_name, "when": moment(answer.at)}
    if answer.author == Author.BOT:
        return _("The assistant answered at %(when)s.") % told
    if not answer.author_name:
        return _("A colleague answered at %(when)s.") % told
    return _("%(name)s answered at %(when)s.") % told


def moment(at: datetime) -> str:
    """The time, with the day when it is not today."""
    local = timezone.localtime(at)
    today = local.date() == timezone.localdate()
    return formats.date_format(local, "H:i" if today else "SHORT_DATETIME_FORMAT")


def _notice(scene: Scene) -> str:
    """Said when a draft that the operator is editing may not be replaced."""
    if _colleague_answered(scene):
        return _colleague(scene)
    return ""


def _colleague(scene: Scene) -> str:
    name = scene.suggestion.closed_by if scene.suggestion else ""
    if not name:
        return _("A colleague has answered. The draft is closed.")
    return _("%(name)s has answered. The draft is closed.") % {"name": name}


def _ready(scene: Scene, place: Place) -> dict[str, Any]:
    suggestion = scene.suggestion
    if suggestion is None:
        return {}
    shown = [one.pk for one in scene.variants] or [suggestion.pk]
    at = shown.index(suggestion.pk) if suggestion.pk in shown else 0
    was_inserted = suggestion.state == Suggestion.State.INSERTED
    return {
        "suggestion_id": suggestion.pk,
        "text": suggestion.text,
        "band": suggestion.band,
        "doubts": doubts_in_words(suggestion),
        "inserted": plain(suggestion.final_text) if was_inserted else "",
        "used_url": place.url("used"),
        "send_url": place.url("send"),
        "regenerate_url": place.url("regenerate"),
        "rate_url": place.url("rate", v=suggestion.pk),
        "rating": suggestion.rating,
        "variant_number": at + 1,
        "variant_count": len(shown),
        "previous_url": place.url("draft", v=shown[at - 1]) if at else "",
        "next_url": place.url("draft", v=shown[at + 1]) if at + 1 < len(shown) else "",
        "explanation": explanation(scene, suggestion),
    }


def doubts_in_words(suggestion: Suggestion) -> list[str]:
    words = []
    for doubt in suggestion.doubts:
        kind, text = str(doubt.get("kind")), str(doubt.get("text") or "")
        sentence = str(_MORE_DOUBTS[kind]()) if kind in _MORE_DOUBTS else doubt_in_words(kind)
        words.append(f"{sentence}: «{text}»" if text and kind not in _WORDLESS else sentence)
    if suggestion.band == "unsure" and not words:
        words.append(_("Nothing was found in the knowledge base. Edit the text before sending."))
    return list(dict.fromkeys(words))


_MORE_DOUBTS: Mapping[str, Callable[[], str]] = {
    "claim": lambda: _("Not found in the knowledge base"),
    "instructions": lambda: _("The client’s message gives orders to the assistant"),
}
_WORDLESS = ("language", "leak", "empty", "too_long")


def explanation(scene: Scene, suggestion: Suggestion) -> dict[str, Any]:
    run = suggestion.run
    facts = [
        {"title": title, "value": value}
        for item in item_facts(scene.portal, scene.dialog.item_snapshot or {})
        for title, value in item.facts.items()
    ]
    return {
        "sources": _sources(scene, suggestion),
        "crm": facts[:8],
        "note": "" if run.reason in USUAL else in_words(run.reason, run.reason_detail),
        "saving": saving_in_words(run.saving),
        "cost_line": _cost_line(run),
    }


def _sources(scene: Scene, suggestion: Suggestion) -> list[dict[str, Any]]:
    """The snippets that the reply rests on; what it was only shown stays out."""
    used = [str(key) for key in suggestion.sources]
    titles = {str(one["key"]): str(one["title"]) for one in suggestion.run.sources}
    numbers = [int(key[1:]) for key in used if key.startswith("s") and key[1:].isdigit()]
    rows = {row.key: row for row in scene.portal.snippets.filter(pk__in=numbers)}
    found: list[dict[str, Any]] = []
    for key in used:
        row = rows.get(key)
        if row is None:
            if titles.get(key):
                found.append({"title": titles[key]})
            continue
        found.append(
            {
                "title": row.title,
                "url": row.url if row.url.startswith(("https://", "http://")) else "",
                "text": row.text[:SOURCE_WORDS] + ("…" if len(row.text) > SOURCE_WORDS else ""),
                "internal": row.internal,
            }
        )
    return found


def _cost_line(run: Run) -> str:
    parts = [run.model]
    if run.prompt_version:
        parts.insert(0, _("Prompt v%(number)s") % {"number": run.prompt_version.number})
    seconds = run.steps_ms.get("model", 0) / 1000
    if seconds:
        parts.append(_("%(seconds)s s") % {"seconds": formats.number_format(seconds, 1)})
    if run.cost or run.other_costs:
        costs = {run.currency: run.cost or 0.0, **run.other_costs}
        parts.append(" + ".join(money(sum_, currency) for currency, sum_ in costs.items() if sum_))
    elif run.prompt_tokens:
        count = run.prompt_tokens + run.completion_tokens
        parts.append(_("%(count)s tokens") % {"count": formats.number_format(count)})
    return " · ".join(part for part in parts if part)


def money(amount: float, currency: str, places: int | None = None) -> str:
    """A sum in the visitor's language; fractions of a kopeck are kept when there is no more."""
    sign = {"RUB": "₽", "USD": "$", "EUR": "€", "KZT": "₸", "BYN": "Br"}.get(currency, currency)
    if places is None:
        places = 2 if amount >= 0.1 else 4
    return f"{formats.number_format(amount, places, force_grouping=True)} {sign}".strip()


def _auto(scene: Scene, place: Place) -> dict[str, Any]:
    seconds = _seconds_left(scene)
    return {
        **_ready(scene, place),
        "seconds": seconds,
        "seconds_text": f"{seconds // 60}:{seconds % 60:02d}",
        "poll_every": COUNTING_EVERY,
        "stop_url": place.url("stop"),
        "edit_url": place.url("stop"),
        "auto_off_url": place.url("auto"),
        "rate_url": "",
        "regenerate_url": "",
    }


def _seconds_left(scene: Scene) -> int:
    if scene.delivery is None:
        return 0
    return max(1, round((scene.delivery.not_before - scene.now).total_seconds()))


def _sending(scene: Scene, place: Place) -> dict[str, Any]:
    delivery = scene.delivery
    if delivery is None:
        return {}
    can_stop = (
        delivery.kind == Delivery.Kind.OPERATOR_MESSAGE
        and delivery.state == Delivery.State.PLANNED
        and delivery.not_before > scene.now
    )
    return {
        "text": str(delivery.payload.get("text") or ""),
        "seconds": _seconds_left(scene) if can_stop else 0,
        "cancel_url": place.url("take-back") if can_stop else "",
        "poll_every": COUNTING_EVERY,
        "problem": delivery.problem,
    }


STEP_NAMES: tuple[Callable[[], str], ...] = (
    lambda: _("Reading the chat…"),
    lambda: _("Searching the knowledge base…"),
    lambda: _("Writing a reply…"),
)


def _step(run: Run | None) -> int:
    if run is None or run.state not in UNFINISHED:
        return 0
    return 2 if run.attempts else 1


def _generating(scene: Scene, place: Place) -> dict[str, Any]:
    now = _step(scene.run)
    names = [name() for name in STEP_NAMES]
    asked = scene.run and scene.run.state in UNFINISHED and scene.run.trigger in Run.ASKED
    return {
        "poll_every": GENERATING_EVERY,
        "cancel_url": place.url("cancel") if asked else "",
        "steps": [
            {"text": text, "state": "done" if at < now else "now" if at == now else "next"}
            for at, text in enumerate(names)
        ],
    }


def _sent(scene: Scene, place: Place) -> dict[str, Any]:
    suggestion = scene.suggestion
    if suggestion is None:
        return {}
    text = suggestion.final_text or suggestion.text
    by_person = bool(suggestion.closed_by)
    is_changed = " ".join(text.split()) != " ".join(suggestion.text.split())
    return {
        "text": text,
        "message": (_("Sent") if by_person else _("The assistant has answered by itself.")),
        "save_to_knowledge_url": (
            place.url("knowledge", v=suggestion.pk)
            if by_person and is_changed and not _is_known(scene, text)
            else ""
        ),
        "now_url": "",
    }


def _is_known(scene: Scene, text: str) -> bool:
    return scene.portal.snippets.filter(text=text).exists()


def _closed(scene: Scene, place: Place) -> dict[str, Any]:
    return {"message": _colleague(scene), **_ask_now(scene, place)}


def _ask_now(scene: Scene, place: Place) -> dict[str, Any]:
    text = _("Suggest an answer to this message") if scene.apart else ""
    return {"now_url": place.url("now"), "now_text": text}


def _waiting(scene: Scene, place: Place) -> dict[str, Any]:
    message = ""
    if scene.apart:
        message = _("There is no suggestion for this message.")
    elif _is_unanswered(scene):
        message = _("There is no suggestion for this chat yet. It appears when the client writes.")
    elif scene.last and scene.last.author == Author.BOT:
        message = _("The assistant wrote last. A suggestion appears when the client answers.")
    elif scene.last and scene.last.author_id not in (None, scene.viewer):
        message = _("A colleague wrote last. A suggestion appears when the client answers.")
    return {"message": message, **_ask_now(scene, place)}


def _off(scene: Scene, place: Place) -> dict[str, Any]:
    if scene.mode == "off":
        return {"message": "", "enable_url": place.url("enable") if place.is_admin else ""}
    return {"message": _("Suggestions are paused in this chat."), "enable_url": place.url("resume")}


def _error(scene: Scene, place: Place) -> dict[str, Any]:
    return {"message": _what_failed(scene), "now_url": place.url("now")}


def _what_failed(scene: Scene) -> str:
    if not scene.portal.works:
        return _("The app has no access to the portal now. An administrator must open it once.")
    if scene.dialog.quarantined_at:
        return _("Something went wrong on our side. The administrator sees it in the log.")
    if scene.delivery is not None and scene.delivery.state == Delivery.State.UNSURE:
        return _("It is not known whether the message has arrived: look into the chat.")
    run = scene.run
    if run is None:
        return ""
    # What a model's server said is for administrators: they read it in the log.
    return in_words(run.reason, "" if run.reason in SENTENCES else run.reason_detail)


def _budget(scene: Scene, place: Place) -> dict[str, Any]:
    limit = {"limit": _limit_in_words(scene)}
    what = scene.run.reason_detail if scene.run else ""
    if notices.is_told(scene.portal, what):
        return {"message": _("%(limit)s is used up. The administrator has been told.") % limit}
    return {
        "message": _("%(limit)s is used up. The administrator sees it in the settings.") % limit
    }


def _limit_in_words(scene: Scene) -> str:
    limits, what = scene.config.limits, scene.run.reason_detail if scene.run else ""
    names = {
        "daily_cost": _("The daily limit"),
        "daily_tokens": _("The daily limit of tokens"),
        "monthly_cost": _("The monthly limit"),
        "monthly_tokens": _("The monthly limit of tokens"),
        "dialog_tokens": _("The limit of this chat"),
    }
    amount = getattr(limits, what, None)
    name = names.get(what, _("The limit"))
    if not amount:
        return name
    if what.endswith("cost"):
        whole = 0 if amount == int(amount) else 2
        return f"{name} ({money(amount, spending.limit_currency(scene.config), whole)})"
    return f"{name} ({formats.number_format(amount, force_grouping=True)})"


_BUILDERS: Mapping[str, Callable[[Scene, Place], dict[str, Any]]] = {
    "ready": _ready,
    "auto": _auto,
    "sending": _sending,
    "generating": _generating,
    "sent": _sent,
    "closed": _closed,
    "waiting": _waiting,
    "off": _off,
    "error": _error,
    "budget": _budget,
}


# ---- the story so far ----


def summary_of(scene: Scene, values: list[FieldValue]) -> dict[str, Any] | None:
    """For whoever takes over: what the client wants, what is known, what was promised."""
    dialog = scene.dialog
    handed = Run.objects.filter(dialog=dialog, decision=Run.Decision.HAND_OVER).order_by("-id")
    reason = handed.first() if dialog.handed_over or dialog.owner != Dialog.Owner.BOT else None
    said = list(
        dialog.messages.filter(author=Author.BOT, deleted=False)
        .exclude(text="")
        .order_by("-external_id", "-id")
        .values_list("text", flat=True)[:2]
    )
    rows = [
        {"title": _("Wants"), "value": _wants(scene, values)},
        {"title": _("Known"), "value": _known_facts(values)},
        {"title": _("Promised"), "value": _cut(" / ".join(reversed(said)))},
        {
            "title": _("Handed over"),
            "value": in_words(reason.reason, reason.reason_detail) if reason else "",
        },
    ]
    shown = [row for row in rows if row["value"]]
    if not shown:
        return None
    return {
        "title": _("Handed over by the assistant") if reason else _("In short"),
        "rows": shown,
        "is_handed_over": reason is not None,
    }


def _wants(scene: Scene, values: list[FieldValue]) -> str:
    subject = next((str(one.value) for one in values if one.field == "subject" and one.value), "")
    topic = scene.config.topic(scene.run.topic) if scene.run else None
    if not subject:
        subject = (
            scene.dialog.messages.filter(author=Author.CLIENT, deleted=False)
            .exclude(text="")
            .order_by("-external_id", "-id")
            .values_list("text", flat=True)
            .first()
        ) or ""
    return _cut(": ".join(part for part in (topic.title if topic else "", subject) if part))


def _known_facts(values: list[FieldValue]) -> str:
    facts = {
        one.field: value_in_words(one.value)
        for one in values
        if one.field not in ("subject", "topic") and one.band != "unsure" and one.value is not None
    }
    return _cut(", ".join(dict.fromkeys(facts.values())))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SUMMARY_LENGTH else line[: SUMMARY_LENGTH - 1].rstrip() + "…"
