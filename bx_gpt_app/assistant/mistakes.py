"""What is wrong in a file of ours, in a sentence of the reader's language.

The words of pydantic and of the YAML reader are for programmers and English; here each kind of
mistake has a sentence that says what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

import yaml
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from pydantic import BaseModel
from pydantic_core import ErrorDetails

FORMS: Mapping[str, Promise] = {
    r"^[a-z]{2}$": gettext_lazy("two small letters, such as ru"),
    r"^[A-Z]{3}$": gettext_lazy("three capital letters, such as RUB"),
    r"^[1-9]\d{0,9}$": gettext_lazy("the number of a line, such as 22"),
    r"^\d{4}-\d{2}-\d{2}$": gettext_lazy("a date such as 2026-10-31"),
    r"^[A-Za-z][A-Za-z0-9_-]{0,39}$": gettext_lazy(
        "up to 40 Latin letters, digits, _ and -, a letter first"
    ),
    r"^[A-Za-z][A-Za-z0-9_]{0,39}$": gettext_lazy(
        "up to 40 Latin letters, digits and _, a letter first"
    ),
    r"^[A-Z][A-Z0-9_]{0,99}(\+[A-Z][A-Z0-9_]{0,99})?$": gettext_lazy(
        "the code of a CRM field such as PHONE or UF_CRM_TOPIC, or of two: NAME+LAST_NAME"
    ),
}
"""Patterns of our models → what fits them."""

KINDS: Mapping[str, Promise] = {
    "string": gettext_lazy("must be a text"),
    "int": gettext_lazy("must be a whole number"),
    "float": gettext_lazy("must be a number"),
    "finite": gettext_lazy("must be a finite number"),
    "bool": gettext_lazy("must be true or false"),
    "list": gettext_lazy("must be a list"),
    "tuple": gettext_lazy("must be a list"),
    "dict": gettext_lazy("must be a mapping of keys and values"),
    "model": gettext_lazy("must be a mapping of keys and values"),
    "mapping": gettext_lazy("must be a mapping of keys and values"),
    "date": gettext_lazy("must be a date such as 2026-10-31"),
    "datetime": gettext_lazy("must be a date and time such as 2026-10-31T10:00"),
}
"""First word of pydantic's error types → what was wanted."""


def _form(about: Mapping[str, Any]) -> str:
    pattern = str(about["pattern"])
    return _("must be %(form)s") % {"form": FORMS.get(pattern, pattern)}


def _one_of(about: Mapping[str, Any]) -> str:
    known = re.findall(r"'([^']*)'|([^\s',]+)(?=,|$| or )", str(about["expected"]))
    words = [quoted or bare for quoted, bare in known if bare != "or"]
    return _("must be one of: %(known)s") % {"known": ", ".join(words)}


def _own(about: Mapping[str, Any]) -> str:
    return str(about["error"])


SENTENCES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda about: _("is missing"),
    "value_error": _own,
    "assertion_error": _own,
    "literal_error": _one_of,
    "enum": _one_of,
    "string_pattern_mismatch": _form,
    "string_too_short": lambda about: (
        _("must not be empty")
        if about["min_length"] == 1
        else ngettext(
            "must have at least %(n)s character",
            "must have at least %(n)s characters",
            about["min_length"],
        )
        % {"n": about["min_length"]}
    ),
    "string_too_long": lambda about: (
        ngettext(
            "must have at most %(n)s character",
            "must have at most %(n)s characters",
            about["max_length"],
        )
        % {"n": about["max_length"]}
    ),
    "too_short": lambda about: (
        ngettext(
            "must have at least %(n)s entry",
            "must have at least %(n)s entries",
            about["min_length"],
        )
        % {"n": about["min_length"]}
    ),
    "too_long": lambda about: (
        ngettext(
            "must have at most %(n)s entry", "must have at most %(n)s entries", about["max_length"]
        )
        % {"n": about["max_length"]}
    ),
    "greater_than_equal": lambda about: _("must be %(n)s or more") % {"n": _bare(about["ge"])},
    "less_than_equal": lambda about: _("must be %(n)s or less") % {"n": _bare(about["le"])},
    "greater_than": lambda about: _("must be more than %(n)s") % {"n": _bare(about["gt"])},
    "less_than": lambda about: _("must be less than %(n)s") % {"n": _bare(about["lt"])},
    "int_from_float": lambda about: str(KINDS["int"]),
}
"""pydantic's error types → a sentence from what it says about the mistake."""


def in_words(mistake: ErrorDetails, root: type[BaseModel]) -> str:
    """`path: sentence` for one mistake in data that was read as a `root`."""
    location, kind = list(mistake["loc"]), mistake["type"]
    about = mistake.get("ctx") or {}
    if kind == "extra_forbidden":
        return f"{path(location)}: {_unknown_key(location, root)}"
    if kind in SENTENCES:
        words = SENTENCES[kind](about)
    else:
        words = str(KINDS.get(kind.partition("_")[0], mistake["msg"]))
    if location and location[-1] == "[key]":
        words = _("the key %(what)s") % {"what": words}
        return f"{path(location[:-1])}: {words}"
    return f"{path(location)}: {words}"


def path(location: Iterable[str | int]) -> str:
    """Where a mistake is: `mappings[0].to`, or the file as a whole."""
    found = ""
    for part in location:
        found += f"[{part}]" if isinstance(part, int) else f".{part}"
    return found.lstrip(".") or _("file")


def _unknown_key(location: list[str | int], root: type[BaseModel]) -> str:
    model = _model_at(location[:-1], root)
    if model is None:
        return _("there is no such key")
    known = [field.alias or name for name, field in model.model_fields.items()]
    return _("there is no such key here; there are: %(known)s") % {"known": ", ".join(known)}


def _model_at(location: list[str | int], root: type[BaseModel]) -> type[BaseModel] | None:
    """The part of the file at a place; numbers and keys of mappings have none of their own."""
    model: type[BaseModel] | None = root
    for part in location:
        fields = model.model_fields if model else {}
        field = next(
            (one for name, one in fields.items() if part in (name, one.alias)),
            None,
        )
        if field is not None:
            model = _model_in(field.annotation)
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _bare(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


# ---- YAML ----

YAML_PROBLEMS: tuple[tuple[str, Promise], ...] = (
    (
        r"mapping values are not allowed here",
        gettext_lazy("a colon too many: put a text with a colon into quotes"),
    ),
    (
        r"found character '\\t'",
        gettext_lazy("a tab at the beginning of the line: use spaces"),
    ),
    (r"could not find expected ':'", gettext_lazy("a key without a colon")),
    (
        r"expected <block end>|expected the node content|did not find expected",
        gettext_lazy("the line stands too far to the left or to the right"),
    ),
    (
        r"expected ',' or '[\]}]'",
        gettext_lazy("a list or a mapping in brackets is not closed"),
    ),
    (
        r"unexpected end of stream|found unexpected document",
        gettext_lazy("a quotation mark is not closed"),
    ),
    (r"found undefined alias", gettext_lazy("an asterisk begins a reference: use quotes")),
    (
        r"found character '[@`%]'",
        gettext_lazy("a text that begins with this sign needs quotes"),
    ),
    (
        r"references .* are not read",
        gettext_lazy("references (*name) are not read: repeat the text"),
    ),
    (r"unacceptable character|special characters", gettext_lazy("an unreadable character")),
)
"""Complaints of the YAML reader → what is usually meant by them."""
STANDS_TWICE = re.compile(r"the key '(.*)' stands twice", re.DOTALL)


def yaml_in_words(error: yaml.YAMLError) -> str:
    """`line 3: not YAML: …`."""
    mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", error))
    where = _("line %(n)s") % {"n": mark.line + 1} if mark else _("file")
    twice = STANDS_TWICE.search(problem)
    if twice:
        what = _("the key '%(name)s' stands twice") % {"name": twice[1]}
    else:
        known = (words for pattern, words in YAML_PROBLEMS if re.search(pattern, problem))
        what = str(next(known, problem))
    told = _("not YAML: %(problem)s") % {"problem": what}
    return f"{where}: {told}"
