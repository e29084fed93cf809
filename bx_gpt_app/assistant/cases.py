"""Labelled cases: what a client says, and what a good answer has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import yaml
from django.utils.translation import gettext as _
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails

from bx_gpt_app.assistant import mistakes
from bx_gpt_app.assistant.config import Loader, PortalConfig
from integrations.llm.values import Author

LONGEST_CASE = 60_000
"""Characters of a whole case as JSON."""

_AUTHORS = {
    "client": Author.CLIENT,
    "user": Author.CLIENT,
    "bot": Author.BOT,
    "assistant": Author.BOT,
    "operator": Author.OPERATOR,
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(_Part):
    """One message of a case: a text (the client's), `{author: client|bot|operator, text: …}`, or as
    models are spoken to: `{role: user|assistant, content: …}`."""

    author: Author = Author.CLIENT
    text: str = Field(min_length=1, max_length=20_000)

    @model_validator(mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"text": value}
        if not isinstance(value, Mapping):
            return value
        names = {} if "author" in value else {"role": "author", "from": "author"}
        if "text" not in value:
            names["content"] = "text"
        return {names.get(key, key): one for key, one in value.items()}

    @field_validator("author", mode="before")
    @classmethod
    def _known_author(cls, value: Any) -> Any:
        if str(value).lower() not in _AUTHORS:
            raise ValueError(_("must be one of: %(known)s") % {"known": ", ".join(_AUTHORS)})
        return _AUTHORS[str(value).lower()]


class Expect(_Part):
    """What a good answer has. Only what is named here is judged."""

    topic: str | None = None
    fields: dict[str, JsonValue] = Field(default_factory=dict)
    """Null: the field must stay empty. Fields that are not named are not judged."""
    needs_human: bool | None = None
    reply_contains: list[str] = Field(default_factory=list)
    reply_max_length: int | None = Field(default=None, ge=0)

    @field_validator("fields", mode="before")
    @classmethod
    def _days_as_text(cls, value: Any) -> Any:
        """YAML makes a date of 2026-03-12 without quotes."""
        if not isinstance(value, Mapping):
            return value
        return {
            name: one.isoformat() if isinstance(one, date) else one for name, one in value.items()
        }

    @field_validator("reply_contains", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def names_topic(self) -> bool:
        return "topic" in self.model_fields_set


class Case(_Part):
    text: str = Field(default="", max_length=20_000)
    messages: list[Said] = Field(default_factory=list)
    expect: Expect
    id: str = ""
    now: datetime | None = None
    """When the client writes, for expectations about dates; without a zone: in the portal's."""

    @field_validator("id", mode="before")
    @classmethod
    def _number_or_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _says_something(self) -> Case:
        if bool(self.text.strip()) == bool(self.messages):
            raise ValueError(_("write either text or messages"))
        if self.messages and not any(said.author is Author.CLIENT for said in self.messages):
            raise ValueError(_("messages need at least one of the client"))
        return self

    @property
    def turns(self) -> list[Said]:
        return self.messages or [Said(text=self.text)]

    @property
    def document(self) -> dict[str, Any]:
        """Plain data that reads back as this very case, without its name."""
        return self.model_dump(mode="json", exclude={"id"}, exclude_unset=True)

    @property
    def label(self) -> str:
        """What the case is called in a line of the report."""
        newest = next(said for said in reversed(self.turns) if said.author is Author.CLIENT)
        line = " ".join(newest.text.split())
        short = line if len(line) <= 50 else line[:49] + "…"
        return f"{self.id} {short}".strip()


class CasesProblems(ValueError):
    """Everything that is wrong with a file of cases, one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def read_cases(text: str, config: PortalConfig) -> list[Case]:
    """Cases, held against the portal's topics and fields.

    Raises: CasesProblems with all mistakes at once.
    """
    try:
        data = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise CasesProblems([mistakes.yaml_in_words(error)]) from None
    except RecursionError:
        raise CasesProblems([_("file: nested too deeply")]) from None
    if not isinstance(data, list) or not data:
        raise CasesProblems([_("file: must be a list of cases such as `- {text: …, expect: {…}}`")])
    cases: list[Case] = []
    problems: list[str] = []
    for number, item in enumerate(data, start=1):
        try:
            cases.append(check_case(item, config))
        except CasesProblems as error:
            name = _("case %(n)s") % {"n": number}
            problems += [f"{name}{problem}" for problem in error.problems]
    if problems:
        raise CasesProblems(problems)
    return cases


def check_case(item: object, config: PortalConfig) -> Case:
    """One case of a file or a form.

    Raises: CasesProblems; each begins with its place, such as `.expect.topic: …`.
    """
    try:
        case = Case.model_validate(item)
    except ValidationError as error:
        raise CasesProblems(
            _told(mistake) for mistake in error.errors(include_url=False, include_input=False)
        ) from None
    problems = [f".{mistake}" for mistake in _unknown_names(case, config)]
    if problem := _cannot_be_kept(case):
        problems.append(f": {problem}")
    if problems:
        raise CasesProblems(problems)
    return case


def _told(mistake: ErrorDetails) -> str:
    said = mistakes.in_words(mistake, Case)
    if not mistake["loc"]:
        return f": {said.partition(': ')[2]}"
    return f".{said}"


def _cannot_be_kept(case: Case) -> str:
    """What a database or a model server would choke on."""
    try:
        text = json.dumps(case.document, allow_nan=False)
    except ValueError:
        return str(mistakes.KINDS["finite"])
    if "\\u0000" in text:
        return _("has a character that is no text (code 0)")
    if len(text) > LONGEST_CASE:
        return _("longer than %(most)s characters") % {"most": LONGEST_CASE}
    return ""


def write_cases(cases: Iterable[Case]) -> str:
    """The file that `read_cases` reads back as the same cases."""
    rows = [({"id": case.id} if case.id else {}) | case.document for case in cases]
    return yaml.safe_dump(rows, allow_unicode=True, sort_keys=False, width=100)


def _unknown_names(case: Case, config: PortalConfig) -> Iterator[str]:
    topic = case.expect.topic
    if topic is not None and config.topic(topic) is None:
        known = ", ".join(one.code for one in config.topics)
        what = _("there is no topic “%(name)s”; known: %(known)s")
        yield f"expect.topic: {what % {'name': topic, 'known': known}}"
    names = {spec.name for spec in config.fields}
    for name in case.expect.fields:
        if name not in names:
            what = _("there is no such field; known: %(known)s")
            yield f"expect.fields.{name}: {what % {'known': ', '.join(sorted(names))}}"
