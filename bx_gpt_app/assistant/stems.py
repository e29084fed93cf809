"""The words of knowledge as the database's index holds them: one spelling for every engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db import models

from integrations.llm.words import content_words, stem

# Kinds of tokens. A token is the portal's number, the kind and the stem: a search of one portal
# then reads nothing of the others, however much they have.
WORD, TITLE, ROOT = "b", "t", "r"

ROOT_LENGTH = 6
"""Letters that a noun and its verb share where their stems differ («доставка», «доставляете»)."""
TOKEN_AT_MOST = 48

_RUSSIAN = re.compile(r"[а-я]")
_NOT_IN_TOKENS = re.compile(r"[^\w]|_")
_FLEETING = re.compile(r"(?<=[бвгджзклмнпрстфхцчшщ])[ое](?=[клнцрт]$)")
"""«котёл, котла», «замок, замка»: the vowel goes away with the ending, so it always goes."""


def stems_of(text: str) -> Iterator[str]:
    """The stems of the words that carry meaning, in order; letters and digits only."""
    for word in content_words(text):
        if word[0].isdigit():
            found = re.sub(r"[.,]", "d", word)
        else:
            found = _NOT_IN_TOKENS.sub("", stem(word))
            if len(found) > 3 and _RUSSIAN.search(found):
                found = _FLEETING.sub("", found)
        if found:
            yield found[:TOKEN_AT_MOST]


def root_of(stem_: str) -> str:
    """What forms of a long Russian word share with its relatives; empty for others."""
    long_enough = len(stem_) >= ROOT_LENGTH and _RUSSIAN.search(stem_)
    return stem_[:ROOT_LENGTH] if long_enough else ""


def token(portal_id: int, kind: str, stem_: str) -> str:
    return f"{portal_id}{kind}{stem_}"


def index_text(portal_id: int, title: str, text: str) -> str:
    """Everything a snippet is found by, as tokens with single spaces between them."""
    in_title = list(stems_of(title))
    found = [*in_title, *stems_of(text)]
    roots = dict.fromkeys(filter(None, map(root_of, found)))
    return " ".join(
        [token(portal_id, TITLE, one) for one in dict.fromkeys(in_title)]
        + [token(portal_id, WORD, one) for one in found]
        + [token(portal_id, ROOT, one) for one in roots]
    )


if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


class StemsField(_TextField):
    """`index_text` of the row's title and text, written anew whenever the row is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"default": "", "blank": True, "editable": False, **options})

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        row: Any = model_instance
        found = index_text(row.portal_id, row.title, row.text)
        setattr(row, self.attname, found)
        return found
