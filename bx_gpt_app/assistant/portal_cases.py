"""A portal's own test cases: kept, taken from dialogs, read from and written to files.

They hold clients' words and stay until somebody deletes them, so they are stored as messages are,
and what comes from a dialog loses its phones and e-mails first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from bx_gpt_app.assistant.cases import Case, CasesProblems, Expect, check_case
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Dialog, Message, PortalCase, Run
from bx_gpt_app.portals.models import Portal
from integrations.llm.masking import Masker
from integrations.llm.values import Author, Band

CASES_AT_MOST = 200
TITLE_AT_MOST = 120
TURNS_FROM_DIALOG = 12


def case_of(row: PortalCase) -> Case:
    """A stored case, with its title for a name."""
    return Case.model_validate({**row.document, "id": row.title})


def add(portal: Portal, cases: Sequence[Case], *, origin: str, by: str) -> int:
    """Put cases behind those that are there; one that is there already is left out.

    Returns how many were added. Raises: CasesProblems when there is no room for all of them.
    """
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        known = {_same(document) for document in portal.cases.values_list("document", flat=True)}
        new = {_same(case.document): case for case in cases if _same(case.document) not in known}
        if len(known) + len(new) > CASES_AT_MOST:
            raise CasesProblems([_no_room(len(known))])
        last = portal.cases.aggregate(last=Max("position"))["last"] or 0
        PortalCase.objects.bulk_create(
            PortalCase(
                portal=portal,
                position=last + number,
                title=case.id[:TITLE_AT_MOST],
                document=case.document,
                origin=origin,
                created_by=by[:160],
            )
            for number, case in enumerate(new.values(), start=1)
        )
    return len(new)


def _no_room(there: int) -> str:
    return _("There is room for %(most)s test cases, %(there)s are there: delete some first.") % {
        "most": CASES_AT_MOST,
        "there": there,
    }


def _same(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True)


def change(row: PortalCase, case: Case) -> None:
    row.title, row.document = case.id[:TITLE_AT_MOST], case.document
    row.save(update_fields=["title", "document"])


def take_out(row: PortalCase) -> dict[str, Any]:
    """Delete a case. Returns what `put_back` needs to undo it."""
    gone = {
        "pk": row.pk,
        "portal": row.portal_id,
        "position": row.position,
        "title": row.title,
        "document": row.document,
        "origin": row.origin,
        "created_by": row.created_by,
    }
    row.delete()
    return gone


def put_back(portal: Portal, gone: Mapping[str, Any]) -> bool:
    """Undo a deletion; twice is once. False: it was another portal's, or there is no room."""
    facts = {name: value for name, value in gone.items() if name not in ("pk", "portal")}
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        if gone.get("portal") != portal.pk or portal.cases.count() >= CASES_AT_MOST:
            return False
        PortalCase.objects.get_or_create(pk=gone["pk"], defaults={"portal": portal, **facts})
    return True


def rename(
    portal: Portal, *, topic: tuple[str, str] | None = None, field: tuple[str, str] | None = None
) -> None:
    """A topic or a field has got another name (old, new): what is expected of it follows."""
    for row in portal.cases.all():
        expect = dict(row.document.get("expect") or {})
        if topic and expect.get("topic") == topic[0]:
            expect["topic"] = topic[1]
        if field and field[0] in (expect.get("fields") or {}):
            expect["fields"] = {
                field[1] if name == field[0] else name: value
                for name, value in expect["fields"].items()
            }
        if expect != row.document.get("expect"):
            row.document = {**row.document, "expect": expect}
            row.save(update_fields=["document"])


# ---- from a dialog ----


def from_dialog(dialog: Dialog, config: PortalConfig) -> Case | None:
    """A case made of a dialog up to its last question, expecting what was recognised in it.

    None: no client has written there. A person must confirm it: the model may have been wrong.
    """
    run = (
        dialog.runs.filter(answer__isnull=False, state=Run.State.DONE).order_by("-id").first()
        or dialog.runs.filter(answer__isnull=False).order_by("-id").first()
    )
    rows = Message.objects.filter(dialog=dialog, deleted=False).exclude(text="")
    rows = rows.filter(author__in=(Author.CLIENT, Author.BOT, Author.OPERATOR))
    if run and run.newest_message_id:
        rows = rows.filter(external_id__lte=run.newest_message_id)
    turns = list(rows.order_by("-external_id", "-id")[:TURNS_FROM_DIALOG])
    while turns and turns[0].author != Author.CLIENT:
        turns.pop(0)
    if not turns:
        return None
    hidden = _MadeUp()
    said = [{"author": row.author, "text": hidden.text(row.text)} for row in reversed(turns)]
    document: dict[str, Any] = (
        {"text": said[0]["text"]} if len(said) == 1 else {"messages": said}
    ) | {"expect": _recognised(run, config, hidden) if run else {}}
    try:
        return check_case(document, config)
    except CasesProblems:
        # Recognised under topics and fields that are gone since.
        return check_case({**document, "expect": {}}, config)


def _recognised(run: Run, config: PortalConfig, hidden: _MadeUp) -> dict[str, Any]:
    expect: dict[str, Any] = {}
    if config.topic(run.topic):
        expect["topic"] = run.topic
    names = {spec.name for spec in config.fields}
    found = {
        value["field"]: hidden.value(value["value"])
        for value in run.values
        if value.get("value") is not None
        and value.get("band") != Band.UNSURE
        and value["field"] in names
    }
    if found:
        expect["fields"] = found
    expect["needs_human"] = bool((run.answer or {}).get("needs_human"))
    return expect


class _MadeUp:
    """Puts invented phones and e-mails in the place of real ones, always the same for the same."""

    def __init__(self) -> None:
        self._masker = Masker()

    def text(self, text: str) -> str:
        return re.sub(r"\[(PHONE|EMAIL)_(\d+)\]", _invented, self._masker.mask(text))

    def value(self, value: Any) -> Any:
        return self.text(value) if isinstance(value, str) else value


def _invented(placeholder: re.Match[str]) -> str:
    number = int(placeholder[2])
    if placeholder[1] == "EMAIL":
        return f"client{number}@example.com"
    return f"+7900{number:07d}"


# ---- bundled samples ----

_SAMPLES: Mapping[str, tuple[dict[str, Any], ...]] = {
    "ru": (
        {
            "id": "Цена установки",
            "text": "Добрый день, сколько стоит установка котла?",
            "expect": {"topic": "sales", "needs_human": False},
        },
        {
            "id": "Где заказ",
            "text": "Здравствуйте! Это Анна Петрова, +7 900 000-00-01. Когда привезут мой заказ?",
            "expect": {
                "topic": "delivery",
                "fields": {"name": "Анна Петрова", "phone": "+79000000001", "email": None},
                "needs_human": False,
            },
        },
        {
            "id": "Поломка",
            "text": "Не работает котёл, пришлите мастера. Почта client1@example.com",
            "expect": {
                "topic": "service",
                "fields": {"email": "client1@example.com", "phone": None},
            },
        },
        {
            "id": "Жалоба",
            "text": "Третий день жду ответа! Верните деньги, иначе я пожалуюсь.",
            "expect": {"topic": "complaint", "needs_human": True},
        },
        {
            "id": "Номер заказа — не телефон",
            "text": "Мой заказ 89161234567, скажите трек-номер",
            "expect": {"topic": "delivery", "fields": {"phone": None}},
        },
        {
            "id": "Просит человека",
            "text": "Позовите, пожалуйста, живого оператора",
            "expect": {"needs_human": True, "reply_max_length": 400},
        },
    ),
    "en": (
        {
            "id": "Price of an installation",
            "text": "Good afternoon, how much does it cost to buy a boiler?",
            "expect": {"topic": "sales", "needs_human": False},
        },
        {
            "id": "Where the order is",
            "text": "Hello! I am Anna Brown, +7 900 000-00-01. When will you deliver my order?",
            "expect": {
                "topic": "delivery",
                "fields": {"phone": "+79000000001", "email": None},
                "needs_human": False,
            },
        },
        {
            "id": "A breakdown",
            "text": "My boiler is broken, I need a repair. Mail me at client1@example.com",
            "expect": {
                "topic": "service",
                "fields": {"email": "client1@example.com", "phone": None},
            },
        },
        {
            "id": "A complaint",
            "text": "This is awful, I want to complain. Refund my money!",
            "expect": {"topic": "complaint", "needs_human": True},
        },
        {
            "id": "An order number is no phone",
            "text": "My order 89161234567, what is its tracking number?",
            "expect": {"topic": "delivery", "fields": {"phone": None}},
        },
        {
            "id": "Asks for a person",
            "text": "Please let me talk to a human operator",
            "expect": {"needs_human": True, "reply_max_length": 400},
        },
    ),
}


def samples(config: PortalConfig, language: str) -> list[Case]:
    """Bundled cases that fit the portal's topics and fields; what does not fit is not expected."""
    names = {spec.name for spec in config.fields}
    found = []
    for sample in _SAMPLES["ru" if language == "ru" else "en"]:
        expect = dict(sample["expect"])
        if config.topic(expect.get("topic")) is None:
            expect.pop("topic", None)
        expect["fields"] = {k: v for k, v in expect.pop("fields", {}).items() if k in names}
        if not expect["fields"]:
            del expect["fields"]
        if expect:
            found.append(Case.model_validate({**sample, "expect": expect}))
    return found


def no_longer_known(expect: Expect, config: PortalConfig) -> list[str]:
    """Topics and fields that a case expects and the settings no longer have."""
    names = {spec.name for spec in config.fields}
    gone = [name for name in expect.fields if name not in names]
    if expect.topic is not None and config.topic(expect.topic) is None:
        gone.insert(0, expect.topic)
    return gone
