"""Personal data leaves as placeholders and comes back: `[PHONE_1]`, `[EMAIL_1]`, `[NAME_1]`…"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal

from pydantic import JsonValue

from integrations.llm.contacts import find_emails, find_phones
from integrations.llm.names import find_names, name_tagger
from integrations.llm.words import fold

KINDS = ("PHONE", "EMAIL", "CARD", "INN", "SNILS", "PASSPORT", "IBAN", "NAME")

KEPT_TEXTS = 8192
LONGEST_KEPT = 2000
"""Characters. Together: what a process remembers having searched, 32 MB at worst."""

# models decline a placeholder («[NAME_1]у»), escape it, change its case or lose an underscore
_PLACEHOLDER = re.compile(
    rf"\\?\[\s?({'|'.join(KINDS)})[\s_\\-]*(\d{{1,3}})\s?\\?\](?:[-'’]?[а-яё]{{1,3}}(?![а-яё]))?",
    re.I,
)
_CARD = re.compile(r"(?<![\d.,-])(?:\d[ -]?){12,18}\d(?![\d-])")
_CARD_GROUPS = re.compile(r"^[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}$")
_SNILS = re.compile(r"(?<!\d)\d{3}[- ]?\d{3}[- ]?\d{3}[- ]?\d{2}(?!\d)")
_INN = re.compile(r"(?<!\d)(?:\d{12}|\d{10})(?!\d)")
_PASSPORT = re.compile(r"(?<!\d)\d{2}\s?\d{2}[\s№N]{0,3}\d{6}(?!\d)")
_PASSPORT_LETTERS = re.compile(r"(?<![A-Z])[A-Z]{1,2}\s?\d{7}(?!\d)")
_IBAN = re.compile(
    r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){3,7}(?:\s?[A-Z0-9]{1,3})?(?![A-Z0-9])"
)
_SAYS_PASSPORT = re.compile(r"паспорт\w*|серия|passport", re.I)
_SAYS_SNILS = re.compile(r"снилс|snils|страхов\w+ номер", re.I)
_SAYS_INN = re.compile(r"инн|inn|налог\w+ номер", re.I)
_SAYS_CARD = re.compile(r"карт[аыеуой]*|card", re.I)


class Masker:
    """The placeholders of one call. They live in memory only and are worth nothing outside it.

    With `names` the names of people are masked too: by rules (capitalised first names with their
    surnames, «меня зовут …») and by the optional tagger when it is installed. A name in lower case
    outside such phrases may slip through.
    """

    def __init__(self, names: bool = False) -> None:
        self._names: _Names = "with the tagger" if names else "no"
        self._by_value: dict[tuple[str, str], str] = {}
        self._originals: dict[str, str] = {}
        self._numbers: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """How many different values of each kind were masked; safe to store and to log."""
        return {kind.lower(): self._numbers[kind] for kind in KINDS if self._numbers[kind]}

    def mask(self, text: str) -> str:
        """The text with placeholders; the same value always gets the same one."""
        # a client must not be able to write a placeholder himself
        text = _PLACEHOLDER.sub(
            lambda match: match.group().replace("[", "(").replace("]", ")"), text
        )
        # from the left, so that the first value of a text is number one
        pieces: list[str] = []
        position = 0
        for start, end, kind, value in _personal_data(text, self._names):
            pieces += [text[position:start], self._placeholder(kind, value, text[start:end])]
            position = end
        return "".join(pieces) + text[position:]

    def _placeholder(self, kind: str, value: str, original: str) -> str:
        known = self._by_value.get((kind, value))
        if known is None:
            self._numbers[kind] += 1
            known = self._by_value[(kind, value)] = f"[{kind}_{self._numbers[kind]}]"
            self._originals[known] = original
        return known

    def unmask(self, text: str) -> str:
        """Placeholders become values again; placeholders that were never given out are removed."""
        if "[" not in text:
            return text
        unknown = False

        def restore(match: re.Match[str]) -> str:
            nonlocal unknown
            original = self._originals.get(f"[{match.group(1).upper()}_{int(match.group(2))}]")
            unknown = unknown or original is None
            return original or ""

        restored = _PLACEHOLDER.sub(restore, text)
        if not unknown:
            return restored
        restored = re.sub(
            r"^[\s,.;:]+|(?<=\S)[ \t]+(?=[,.!?;:)]|$)", "", re.sub(r"[ \t]{2,}", " ", restored)
        )
        return re.sub(r"([.,;:!?])[,;:.]+", r"\1", restored)

    def unmask_json(self, value: JsonValue) -> JsonValue:
        """The same for every text inside a JSON value; a text that becomes empty is null."""
        if isinstance(value, str):
            restored = self.unmask(value)
            return None if value.strip() and not restored.strip() else restored
        if isinstance(value, list):
            return [self.unmask_json(item) for item in value]
        if isinstance(value, dict):
            return {key: self.unmask_json(item) for key, item in value.items()}
        return value


def count_personal_data(texts: Iterable[str]) -> dict[str, int]:
    """How many different values of each kind stand in the texts as they are.

    Names are told by rules alone: the tagger is loaded for masking only.
    """
    found: set[tuple[str, str]] = set()
    for text in texts:
        found |= {(kind, value) for _, _, kind, value in _personal_data(text, "by rules")}
    kinds = Counter(kind for kind, _ in found)
    return {kind.lower(): kinds[kind] for kind in KINDS if kinds[kind]}


type _Spans = list[tuple[int, int, str]]
type _Names = Literal["no", "by rules", "with the tagger"]
type _Data = tuple[tuple[int, int, str, str], ...]
"""Start, end, kind and value, in order, without overlaps."""


def _personal_data(text: str, names: _Names) -> _Data:
    # with every answer the whole conversation comes again, and looking for names is slow
    look = _search_once if len(text) <= LONGEST_KEPT else _search
    return look(text, names)


def _search(text: str, names: _Names) -> _Data:
    spans: list[tuple[int, int, str, str]] = []

    def add(start: int, end: int, kind: str, value: str) -> None:
        if all(end <= left or right <= start for left, right, _, _ in spans):
            spans.append((start, end, kind, value))

    for kind, find in _FINDERS:
        for start, end, value in find(text):
            add(start, end, kind, value)
    if names != "no":
        for found in find_names(text, name_tagger() if names == "with the tagger" else None):
            add(found.start, found.end, "NAME", fold(found.value))
    return tuple(sorted(spans))


_search_once = lru_cache(maxsize=KEPT_TEXTS)(_search)


def _emails(text: str) -> _Spans:
    return [(found.start, found.end, found.value) for found in find_emails(text)]


def _phones(text: str) -> _Spans:
    return [(found.start, found.end, found.value) for found in find_phones(text)]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _before(text: str, start: int) -> str:
    return text[max(0, start - 30) : start]


def _cards(text: str) -> _Spans:
    found: _Spans = []
    for match in _CARD.finditer(text):
        digits = _digits(match.group())
        # sixteen digits in fours are a card also when somebody mistyped one of them
        grouped = _CARD_GROUPS.match(match.group()) or (
            len(digits) == 16 and _SAYS_CARD.search(_before(text, match.start()))
        )
        if grouped or (13 <= len(digits) <= 19 and digits[0] in "23456" and luhn(digits)):
            found.append((match.start(), match.end(), digits))
    return found


def _snils(text: str) -> _Spans:
    return [
        (match.start(), match.end(), _digits(match.group()))
        for match in _SNILS.finditer(text)
        if is_snils(_digits(match.group())) or _SAYS_SNILS.search(_before(text, match.start()))
    ]


def _inns(text: str) -> _Spans:
    found: _Spans = []
    for match in _INN.finditer(text):
        told = _SAYS_INN.search(_before(text, match.start()))
        # ten digits with a fitting check sum are too often a phone or an order, twelve are not
        if told or (len(match.group()) == 12 and is_inn(match.group())):
            found.append((match.start(), match.end(), match.group()))
    return found


def _passports(text: str) -> _Spans:
    return [
        (match.start(), match.end(), match.group())
        for pattern in (_PASSPORT, _PASSPORT_LETTERS)
        for match in pattern.finditer(text)
        if _SAYS_PASSPORT.search(text[max(0, match.start() - 40) : match.start()])
    ]


def _ibans(text: str) -> _Spans:
    return [
        (match.start(), match.end(), match.group().replace(" ", ""))
        for match in _IBAN.finditer(text)
        if is_iban(match.group().replace(" ", ""))
    ]


_FINDERS: tuple[tuple[str, Callable[[str], _Spans]], ...] = (
    ("EMAIL", _emails),
    ("IBAN", _ibans),
    ("PASSPORT", _passports),
    ("SNILS", _snils),
    ("INN", _inns),
    ("CARD", _cards),
    ("PHONE", _phones),
)


def luhn(digits: str) -> bool:
    """Check sum of payment cards."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_snils(digits: str) -> bool:
    if len(digits) != 11:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(digits, range(9, 0, -1), strict=False))
    return total % 101 % 100 == int(digits[9:])


def is_inn(digits: str) -> bool:
    def check(weights: tuple[int, ...]) -> int:
        return (
            sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))
            % 11
            % 10
        )

    if len(digits) == 10:
        return check((2, 4, 10, 3, 5, 9, 4, 6, 8)) == int(digits[9])
    first, second = (7, 2, 4, 10, 3, 5, 9, 4, 6, 8), (3, 7, 2, 4, 10, 3, 5, 9, 4, 6, 8)
    return (
        len(digits) == 12 and check(first) == int(digits[10]) and check(second) == int(digits[11])
    )


def is_iban(text: str) -> bool:
    moved = text[4:] + text[:4]
    return int("".join(str(int(char, 36)) for char in moved)) % 97 == 1
