"""A test case as a form: what the client says, and what of a good answer is looked at.

The form knows the portal's topics and fields; whether the case is right is `cases.check_case`'s to
say, as for a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from bx_gpt_app.assistant.cases import Case, CasesProblems, check_case
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.portal_cases import TITLE_AT_MOST
from bx_gpt_app.screens.forms import NO_AUTOFILL, LinesField
from integrations.llm.values import Author, FieldSpec

NOT_JUDGED = ""
NO_TOPIC = "-"
"""Not a topic's code: those begin with a letter."""

SPEAKERS = {
    Author.CLIENT: gettext_lazy("Client"),
    Author.OPERATOR: gettext_lazy("Operator"),
    Author.BOT: gettext_lazy("Assistant"),
}
_SPOKEN = {
    **dict.fromkeys(("client", "клиент"), Author.CLIENT),
    **dict.fromkeys(("operator", "оператор"), Author.OPERATOR),
    **dict.fromkeys(("assistant", "bot", "ассистент", "бот"), Author.BOT),
}
_SPEAKER = re.compile(rf"^({'|'.join(_SPOKEN)})[ \t]*:[ \t]*", re.I | re.M)

YES_NO = (
    (NOT_JUDGED, gettext_lazy("does not matter")),
    ("yes", gettext_lazy("yes")),
    ("no", gettext_lazy("no")),
)
EXAMPLES = {
    "phone": "+7 900 000-00-01",
    "email": "client1@example.com",
    "date": "2026-03-12",
    "datetime": "2026-03-12T15:00",
    "money": "50000",
    "number": "3",
}


def conversation_in_words(case: Case) -> str:
    """The text alone, or every message behind the name of who wrote it."""
    if not case.messages:
        return case.text
    return "\n".join(f"{SPEAKERS[said.author]}: {said.text}" for said in case.messages)


def conversation_from(text: str) -> dict[str, Any]:
    """`text`, or `messages` when a line begins with the name of a speaker. The first is a client
    unless it says otherwise."""
    marks = list(_SPEAKER.finditer(text))
    if not marks:
        return {"text": text.strip()}
    parts = [(Author.CLIENT, text[: marks[0].start()])]
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        said = text[mark.end() : following.start() if following else len(text)]
        parts.append((_SPOKEN[mark[1].lower()], said))
    return {
        "messages": [
            {"author": str(author), "text": said.strip()} for author, said in parts if said.strip()
        ]
    }


class CaseForm(forms.Form):
    title = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=TITLE_AT_MOST,
        required=False,
        widget=forms.TextInput(attrs=NO_AUTOFILL),
    )
    text = forms.CharField(
        label=gettext_lazy("What the client writes"),
        max_length=50_000,
        widget=forms.Textarea(attrs={"rows": 4, **NO_AUTOFILL}),
        help_text=gettext_lazy(
            "For a conversation begin each message on a new line with “Client:”, “Operator:” or "
            "“Assistant:”."
        ),
    )
    topic = forms.ChoiceField(label=gettext_lazy("Topic"), required=False)
    needs_human = forms.ChoiceField(
        label=gettext_lazy("A person is needed"), required=False, choices=YES_NO
    )
    reply_contains = LinesField(
        label=gettext_lazy("The reply has these words"),
        help_text=gettext_lazy("One a line; all of them must be in the reply."),
        most=20,
        rows=2,
    )
    reply_max_length = forms.IntegerField(
        label=gettext_lazy("The reply is not longer than, characters"),
        required=False,
        min_value=1,
        max_value=20_000,
    )
    now = forms.DateTimeField(
        label=gettext_lazy("When the client writes"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text=gettext_lazy("For “tomorrow” and the like. Empty: at the time of the check."),
    )

    def __init__(self, *args: Any, config: PortalConfig, **options: Any) -> None:
        super().__init__(*args, **options)
        self.config = config
        topic = self.fields["topic"]
        assert isinstance(topic, forms.ChoiceField)  # noqa: S101 - tells mypy what it is
        topic.choices = [
            (NOT_JUDGED, _("does not matter")),
            *((one.code, one.title) for one in config.topics),
            (NO_TOPIC, _("none of them")),
        ]
        for spec in config.fields:
            self.fields[f"field.{spec.name}"] = _value_field(spec)
            self.fields[f"empty.{spec.name}"] = forms.BooleanField(
                label=_("must stay empty"), required=False
            )

    @property
    def values(self) -> list[tuple[forms.BoundField, forms.BoundField]]:
        """A value and its «must stay empty» for every field of the portal."""
        return [
            (self[f"field.{spec.name}"], self[f"empty.{spec.name}"]) for spec in self.config.fields
        ]

    @classmethod
    def of(cls, case: Case, config: PortalConfig) -> CaseForm:
        """The form that shows a case."""
        expect = case.expect
        initial: dict[str, Any] = {
            "title": case.id,
            "text": conversation_in_words(case),
            "topic": (expect.topic or NO_TOPIC) if expect.names_topic else NOT_JUDGED,
            "needs_human": {True: "yes", False: "no"}.get(expect.needs_human, NOT_JUDGED),  # type: ignore[arg-type]
            "reply_contains": expect.reply_contains,
            "reply_max_length": expect.reply_max_length,
            "now": timezone.make_naive(case.now) if case.now and case.now.tzinfo else case.now,
        }
        for name, value in expect.fields.items():
            if value is None or value == "":
                initial[f"empty.{name}"] = True
            else:
                initial[f"field.{name}"] = _shown(value)
        return cls(initial=initial, config=config)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        for spec in self.config.fields:
            if data.get(f"field.{spec.name}") and data.get(f"empty.{spec.name}"):
                self.add_error(
                    f"field.{spec.name}", _("Either a value or “must stay empty”, not both.")
                )
        return data

    def case(self) -> Case | None:
        """What the form says, checked as a case of a file; None when it is wrong (see `errors`)."""
        if not self.is_valid():
            return None
        data = self.cleaned_data
        document: dict[str, Any] = {
            "id": data["title"],
            **conversation_from(data["text"]),
            "expect": self._expectation(data),
        }
        if data["now"]:
            document["now"] = timezone.make_naive(data["now"]).isoformat(timespec="minutes")
        try:
            return check_case(document, self.config)
        except CasesProblems as error:
            for problem in error.problems:
                place, _colon, words = problem.partition(": ")
                self.add_error(self._place(place), words)
            return None

    def _expectation(self, data: Mapping[str, Any]) -> dict[str, Any]:
        expect: dict[str, Any] = {}
        if data["topic"]:
            expect["topic"] = None if data["topic"] == NO_TOPIC else data["topic"]
        fields = {
            spec.name: None
            if data[f"empty.{spec.name}"]
            else _meant(spec, data[f"field.{spec.name}"])
            for spec in self.config.fields
            if data[f"empty.{spec.name}"] or data[f"field.{spec.name}"]
        }
        if fields:
            expect["fields"] = fields
        if data["needs_human"]:
            expect["needs_human"] = data["needs_human"] == "yes"
        if data["reply_contains"]:
            expect["reply_contains"] = data["reply_contains"]
        if data["reply_max_length"] is not None:
            expect["reply_max_length"] = data["reply_max_length"]
        return expect

    def _place(self, path: str) -> str | None:
        name = path.removeprefix(".expect").strip(".")
        if name.startswith("fields."):
            name = f"field.{name.removeprefix('fields.')}"
        if name.startswith(("messages", "text")) or not name:
            name = "text"
        return name if name in self.fields else None


def _value_field(spec: FieldSpec) -> forms.Field:
    label = capfirst(spec.description or spec.name)
    if spec.type == "bool":
        return forms.ChoiceField(label=label, required=False, choices=YES_NO)
    if spec.type == "choice":
        choices = [(NOT_JUDGED, _("does not matter")), *((one, one) for one in spec.choices)]
        return forms.ChoiceField(label=label, required=False, choices=choices)
    attrs = {**NO_AUTOFILL, "placeholder": EXAMPLES.get(spec.type, "")}
    return forms.CharField(
        label=label, required=False, max_length=2000, widget=forms.TextInput(attrs=attrs)
    )


def _meant(spec: FieldSpec, value: str) -> Any:
    return value == "yes" if spec.type == "bool" else value


def _shown(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values() if part is not None)
    return value
