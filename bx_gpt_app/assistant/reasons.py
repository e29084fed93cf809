"""Why something was said, left unsaid or not written: every code in words for an admin."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.utils.formats import get_format
from django.utils.functional import Promise
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from integrations.llm.failures import SENTENCES

OUR_OWN = re.compile(r"(\w+) in our own code")

DECISIONS: Mapping[str, Promise] = {
    "auto": _("Everything was checked and found: the reply went out by itself."),
    "asked_by_caller": _("A program asked; the answer was returned to it."),
    "line_is_off": _("The assistant is switched off on this line."),
    "mode_suggest": _("The line is in suggestion mode: operators send replies themselves."),
    "asked_by_operator": _("An operator asked for this version; he decides."),
    "letter_or_form": _("A letter or a web form: it is read for data, nothing is sent."),
    "nothing_to_answer": _("The client has written nothing that can be answered."),
    "person_answered_first": _("A person answered before the assistant did."),
    "person_in_dialog": _("A person leads this dialog, so the assistant only suggests."),
    "client_wrote_again": _("The client wrote again; the next run answers all messages together."),
    "stopped_in_chat": _("Automatic replies were stopped in this chat."),
    "messenger_closed": _("The messenger does not accept messages in this chat now."),
    "asked_long_ago": _(
        "The client wrote more than 15 minutes before the assistant could answer: a person decides."
    ),
    "budget": _("The spending limit is used up: people answer."),
    "budget_close": _("The spending limit is almost used up: nothing goes out by itself."),
    "stop_word": _("The client’s message has a stop word: such questions are left to people."),
    "plain_text_only": _(
        "The model did not keep to the answer’s form: its words may only be suggested."
    ),
    "needs_human": _("The model itself asks for a person: the data does not support a reply."),
    "topic_for_people": _("Questions on this topic always go to a person."),
    "topic_not_automatic": _("Automatic replies are switched off for this topic."),
    "outside_working_hours": _("Outside the line’s working hours nothing is sent by itself."),
    "empty_reply": _("The model gave no reply."),
    "reply_in_doubt": _(
        "Part of the reply is supported neither by the knowledge base nor by the CRM."
    ),
    "low_confidence": _("The confidence is below the limit that is set for automatic replies."),
    "mode_changed": _("Automatic replies were switched off before this one left."),
    "too_late": _("The reply could not be sent for too long and was left to a person."),
    "too_many_questions": _(
        "More questions a minute than the portal’s limit allows: this one had no turn in time."
    ),
    "no_model": _("No model is set up: enter an address and a key."),
    "model_failed": _("The model gave no usable answer."),
    "stopped_by_operator": _("An operator stopped this reply."),
    "sent_by_operator": _("An operator sent a reply of his own."),
    "taken_back": _("The operator took it back before it left."),
    "file_not_read": _("The client sent a file without words: a person should look at it."),
    "suggestions_paused": _("Suggestions are switched off in this chat."),
    "cancelled_by_operator": _("The operator did not wait for the answer."),
    "closed_by_admin": _("Closed by an administrator."),
    "newer": _("A newer suggestion took its place."),
    "answered": _("The question was answered."),
    "colleague_answered": _("A colleague answered first."),
    "whisper_off": _("Suggestions inside the chat were switched off on this line."),
}
"""Codes of `decide`, `pipeline` and `deliver`; a model's failures come with sentences of their own.
"""

DELIVERIES: Mapping[str, Promise] = {
    "outcome_unknown": _(
        "Nobody knows whether it arrived: look into the chat before you repeat it."
    ),
    "insufficient_scope": _(
        "Bitrix24 refused: the app lacks a permission. Reconnect it and agree to all of them."
    ),
    "no_grant": _("The operator must open the assistant once more: his access has ended."),
    "grant_dead": _("Access has ended: an administrator must open the app."),
    "access_denied": _("Bitrix24 refused: this user may not do it."),
    "chat_closed": _("The dialog is closed in Bitrix24, or the assistant was taken out of it."),
    "not_found": _("The item is no longer in the portal."),
    "sending_failed": _("The messenger did not take the message."),
    "error_method_not_found": _("The portal is too old for this: update it."),
    "query_limit_exceeded": _("The portal asks for fewer requests; it is repeated later."),
}

SKIPPED: Mapping[str, Promise] = {
    "already_filled": _("The field is already filled"),
    "same": _("The CRM has this value already"),
    "no_such_field": _("There is no such field any more"),
    "too_long": _("The value is longer than the field"),
    "belongs_to_contact": _("Kept in the contact, not in the deal"),
    "invalid": _("The portal would not accept this value"),
    "wrong_type": _("The value does not fit the field’s type"),
    "unknown_choice": _("The list has no such value"),
    "ambiguous_choice": _("Several values of the list fit"),
    "no_choices": _("The list is empty"),
    "no_currency": _("The currency is unknown"),
    "no_timezone": _("The time zone is unknown"),
    "unsupported_type": _("Fields of this type are not written"),
    "read_only": _("The field is read-only"),
    "stage": _("Stages are never changed: they start robots"),
    "empty": _("The value is empty"),
    "refused": _("Bitrix24 refused the update"),
    "not_kept_by_portal": _("Bitrix24 accepted the update but did not keep the value"),
}

DOUBTS: Mapping[str, Promise] = {
    "number": _("A number without a source"),
    "price": _("A price without a source"),
    "date": _("A date without a source"),
    "promise": _("A promise nobody gave"),
    "link": _("A link that is not ours"),
    "phone": _("A phone that is not ours"),
    "email": _("An e-mail address that is not ours"),
    "language": _("Another language than the client’s"),
    "leak": _("Internal text in the reply"),
    "markup": _("Markup was taken out"),
    "empty": _("No text"),
    "too_long": _("It was too long and has been cut"),
    "forbidden_word": _("A word that must not be said"),
    "claim": _("A statement without a source"),
    "instructions": _("The client’s text gives orders to the model"),
}

LIMITS: Mapping[str, Promise] = {
    "daily_tokens": _("tokens a day"),
    "monthly_tokens": _("tokens a month"),
    "daily_cost": _("money a day"),
    "monthly_cost": _("money a month"),
    "dialog_tokens": _("tokens of one dialog"),
}

STEPS: Mapping[str, Promise] = {
    "listen": _("Reading the messages"),
    "read": _("Asking the portal"),
    "model": _("Waiting for the model"),
    "deliver": _("Delivering"),
}


def in_words(code: str, detail: str = "") -> str:
    """A run's reason in the active language, its detail (a stop word, a limit) in brackets."""
    if not code:
        return ""
    if code in DECISIONS:
        sentence = str(DECISIONS[code])
    elif code in SENTENCES:
        russian, english = SENTENCES[code]
        return detail or (russian if get_language() == "ru" else english)
    else:
        sentence = gettext("Reason: %(code)s") % {"code": code}
    said = _detail(code, detail)
    return f"{sentence.rstrip('.')} ({said})" if said else sentence


def _detail(code: str, detail: str) -> str:
    if code in ("budget", "budget_close"):
        return str(LIMITS.get(detail, detail))
    if code == "reply_in_doubt":
        kinds = dict.fromkeys(part.partition(":")[0].strip() for part in detail.split(", "))
        return ", ".join(str(DOUBTS[kind]).lower() for kind in kinds if kind in DOUBTS)
    if code == "low_confidence":
        return detail.replace(".", str(get_format("DECIMAL_SEPARATOR")))
    return detail


def saving_in_words(limit: str) -> str:
    """Why another model than usual answered; empty when it was the usual one."""
    if not limit:
        return ""
    return gettext("Most of a limit is used up (%(limit)s), so the cheaper model was asked.") % {
        "limit": LIMITS.get(limit, limit)
    }


def problem_in_words(problem: str) -> str:
    """Why a dialog is in quarantine. The worker's own note names an exception of our code."""
    found = OUR_OWN.match(problem)
    if found is None:
        return problem
    return gettext("An error of our own (%(name)s): the host’s log has the details.") % {
        "name": found[1]
    }


def delivery_in_words(code: str, problem: str = "") -> str:
    """Why an act did not happen; the portal's own words when the code says nothing to us."""
    known = DELIVERIES.get(code.lower()) or DECISIONS.get(code)
    if known:
        return str(known)
    if problem:
        return gettext("Bitrix24 refused: %(problem)s") % {"problem": problem}
    return gettext("Bitrix24 refused without saying why.") if code else ""


def skipped_in_words(code: str) -> str:
    return "" if code.startswith("undo:") else str(SKIPPED.get(code, code))


def doubt_in_words(kind: str) -> str:
    return str(DOUBTS.get(kind, kind))


def choices() -> list[tuple[str, str]]:
    """Every reason a run can have, for a filter."""
    language = 0 if get_language() == "ru" else 1
    own = [(code, str(words)) for code, words in DECISIONS.items()]
    return own + [(code, words[language].split(". ")[0]) for code, words in SENTENCES.items()]
