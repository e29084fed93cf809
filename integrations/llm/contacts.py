"""Phones, e-mail addresses and links exactly as they stand in a text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from integrations.llm.numerals import digitise
from integrations.llm.values import Frozen


class Found(Frozen):
    """Something found in a text: its normal form, the words that carry it and where they stand."""

    value: str
    text: str
    start: int
    end: int


_LOCAL = r"[\w!#$%&'*+/=?^`{|}~.-]{1,64}"
_EMAIL = re.compile(rf"(?<![\w.@])({_LOCAL})\s?@\s?((?:[\w-]{{1,63}}\.)+[\w-]{{2,24}})", re.U)
# A number that is said to be something else is no phone, whatever it looks like.
_NOT_A_PHONE = re.compile(
    r"(?:\b(?:заказ\w*|order|инн|огрн|кпп|бик|снилс|паспорт\w*|трек\w*|track\w*|"
    r"артикул\w*|арт|договор\w*|счет\w*|накладн\w*|"
    r"карт[аыу]|card|invoice|id|vin|imei|лот|чек\w*|полис\w*|серийн\w*|заявк\w*|"
    r"обращени\w*)|№|#)\s*(?:номер\w*|number|no\.?)?\s*[:№#-]{0,2}\s*$",
    re.I,
)
_TWO_ZEROS = re.compile(r"(?<![\d+])00(?=[1-9]\d)")
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'«»\[\]{}|\\^`]+", re.I)
# hosts without a scheme: only endings that are not also ends of Russian or English sentences
_BARE_HOST = re.compile(
    r"(?<![@\w./-])(?:[a-zа-яё0-9](?:[a-zа-яё0-9-]{0,61}[a-zа-яё0-9])?\.)+"
    r"(?:ru|com|net|org|info|biz|su|рф|рус|kz|by|ua|uz|top|xyz|io|me|shop|store|"
    r"site|online|pro|club|link|app|dev|co|eu|uk|de|us|cc|tv|ly|gl|click|live|"
    r"world|space|website|moscow|москва|онлайн|сайт)"
    r"(?![\w-])(?:[/?#][^\s<>\"'«»\[\]{}|\\^`]*)?",
    re.I,
)
_HANDLE = re.compile(r"(?<![\w@.])@[a-z][\w]{4,31}\b", re.I)
_TRAILING = ".,;:!?)…\"'*_~"


@lru_cache(maxsize=512)
def _phones(text: str, region: str) -> tuple[Found, ...]:
    readable = _TWO_ZEROS.sub(" +", text)
    found: list[Found] = []
    for match in phonenumbers.PhoneNumberMatcher(readable, region or None):
        if is_number_of_something(readable[: match.start]):
            continue
        value = phonenumbers.format_number(match.number, phonenumbers.PhoneNumberFormat.E164)
        found.append(
            Found(
                value=value,
                text=text[match.start : match.end].strip(),
                start=match.start,
                end=match.end,
            )
        )
    return tuple(found)


def is_number_of_something(before: str) -> bool:
    """Do the words before a number say that an order, a document or a thing is called so?"""
    return bool(_NOT_A_PHONE.search(before[-40:].casefold().replace("ё", "е")))


def find_phones(text: str, region: str = "RU") -> tuple[Found, ...]:
    """Valid phone numbers in order, E.164. Order, tax and card numbers are not phones."""
    return _phones(text, region)


def find_spoken_phones(text: str, region: str = "RU") -> tuple[Found, ...]:
    """Phones said in words («восемь девятьсот три …»). They need a look by a person."""
    spoken = digitise(text)
    found: list[Found] = []
    for phone in _phones(spoken.text, region):
        start, end = spoken.span_of(phone.start, phone.end)
        found.append(Found(value=phone.value, text=text[start:end], start=start, end=end))
    return tuple(found)


@lru_cache(maxsize=512)
def find_emails(text: str) -> tuple[Found, ...]:
    """E-mail addresses of the text in order, lower case, checked without asking DNS."""
    if "@" not in text:
        return ()
    found: list[Found] = []
    for match in _EMAIL.finditer(text):
        local = match.group(1).lstrip(".'`*=-/")
        start = match.end(1) - len(local)
        # a Russian word glued to the address («почта:» without a space) is not a part of it
        cyrillic_head = re.match(r"[а-яё]+[-:=/]+(?=[a-z0-9])", local, re.I)
        if cyrillic_head:
            start += cyrillic_head.end()
            local = local[cyrillic_head.end() :]
        try:
            checked = validate_email(f"{local}@{match.group(2)}", check_deliverability=False)
        except EmailNotValidError:
            continue
        found.append(
            Found(
                value=checked.normalized.lower(),
                text=text[start : match.end()],
                start=start,
                end=match.end(),
            )
        )
    return tuple(found)


def find_links(text: str) -> tuple[Found, ...]:
    """Links and bare hosts of the text in order; `value` is `host/path?query`."""
    taken = [(item.start, item.end) for item in find_emails(text)]
    found: list[Found] = []
    for pattern in (_URL, _BARE_HOST):
        for match in pattern.finditer(text):
            words = match.group().rstrip(_TRAILING)
            start, end = match.start(), match.start() + len(words)
            # «http://shop.ru@evil.com» is a link though a part of it looks like an address
            inside = any(start < right and left < end for left, right in taken)
            if inside and pattern is _BARE_HOST:
                continue
            taken.append((start, end))
            found.append(Found(value=link_key(words), text=words, start=start, end=end))
    return tuple(sorted(found, key=lambda item: item.start))


def find_handles(text: str) -> tuple[Found, ...]:
    """Messenger names such as `@shop_bot`."""
    return tuple(
        Found(value=match.group().lower(), text=match.group(), start=match.start(), end=match.end())
        for match in _HANDLE.finditer(text)
    )


def link_key(url: str) -> str:
    """What links are compared by: no scheme, `www.` or trailing slash, host in lower case."""
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host = (parts.hostname or "").removeprefix("www.")
        # a name before @ makes the host look like another one, so it stays visible in the key
        user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.strip().lower()
    query = f"?{parts.query}" if parts.query else ""
    return f"{user}{host}{port}{parts.path}{query}".rstrip("/")


def is_allowed_link(key: str, allowed: Sequence[str]) -> bool:
    """Is the link an allowed one, or below one of them? A bare host allows all its pages."""
    for item in allowed:
        permitted = link_key(item)
        if permitted and (key == permitted or key.startswith((f"{permitted}/", f"{permitted}?"))):
            return True
    return False
