"""Is a reply safe to send: every fact in it known, no promises of its own, no leak, plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from integrations.llm.attacks import find_attacks, find_orders
from integrations.llm.claims import Ground, KnownFacts, subject_words, unsupported
from integrations.llm.contacts import (
    Found,
    find_emails,
    find_handles,
    find_links,
    find_phones,
    is_allowed_link,
    link_key,
)
from integrations.llm.language import is_written_in
from integrations.llm.markup import neutralise, plain_text, shorten
from integrations.llm.values import Band, CheckedReply, Doubt
from integrations.llm.words import fold, sentences, words

__all__ = ["KnownFacts", "check_reply", "find_attacks"]

LEAK_WORDS = 8
"""So many words in a row from the secret part of the prompt are a leak."""


def check_reply(
    reply: str,
    *,
    client_texts: Sequence[str],
    client_language: str,
    known: KnownFacts,
    max_length: int,
    forbidden_words: Sequence[str] = (),
    canary: str = "",
    secret: str = "",
    now: datetime | None = None,
    region: str = "RU",
) -> CheckedReply:
    """The reply as it may be sent, its band, and everything in it that nothing known supports.

    CONFIDENT: no claim at all, or every number, price, date, contact and promise is known.
    CHECK: something is not; the words are in `doubts`, foreign contacts are already taken out.
    UNSURE: empty, or the prompt leaked (the text is removed).
    `secret` is the part of the system prompt that is ours (the policy), not the admin's facts;
    `now` is aware, in the portal's zone, and decides what «завтра» means.
    """
    if _leaks(reply, canary, secret):
        return CheckedReply(
            text="", band=Band.UNSURE, doubts=(Doubt(kind="leak", text="системный промпт"),)
        )
    text, doubts = plain_text(reply)
    text, removed = _without_foreign_contacts(text, client_texts, known, region)
    doubts += removed
    if not re.search(r"\w", text):
        return CheckedReply(
            text="", band=Band.UNSURE, doubts=(*doubts, Doubt(kind="empty", text=""))
        )
    moment = now or datetime.now(UTC)
    ground = Ground.of(known, client_texts, moment, region)
    about = subject_words(text)
    for sentence in sentences(text):
        doubts += unsupported(sentence, about, ground, now=moment, region=region)
    if not is_written_in(text, client_language):
        doubts.append(Doubt(kind="language", text=client_language))
    folded = fold(text)
    for word in forbidden_words:
        if word.strip() and re.search(rf"(?<!\w){re.escape(fold(word.strip()))}", folded):
            doubts.append(Doubt(kind="forbidden_word", text=word))
    doubts += [Doubt(kind="instructions", text=words) for words in _orders(known, client_texts)]
    text, whole = shorten(neutralise(text), max_length)
    if not whole:
        doubts.append(Doubt(kind="too_long", text=text[-40:]))
    unique = tuple(dict.fromkeys(doubts))
    return CheckedReply(
        text=text,
        band=Band.CHECK if unique else Band.CONFIDENT,
        doubts=unique,
        sources=ground.sources_of(text),
    )


def _orders(known: KnownFacts, client_texts: Sequence[str]) -> tuple[str, ...]:
    """Orders to the model in what it was given as data.

    The admin's instructions are orders by right, and internal pieces are for operators.
    """
    pieces = [piece for piece in known.sources if piece.key != "prompt" and not piece.internal]
    told = [*known.crm_values, *(f"{piece.title}\n{piece.text}" for piece in pieces)]
    return (*find_attacks(client_texts[-3:]), *find_orders(told))


# --- Leaks ---------------------------------------------------------------------------------------


def _leaks(reply: str, canary: str, secret: str) -> bool:
    squeezed = re.sub(r"[\W_]", "", reply.lower())
    if canary and re.sub(r"[\W_]", "", canary.lower()) in squeezed:
        return True
    return bool(secret) and shares_run_of_words(reply, secret, LEAK_WORDS)


def shares_run_of_words(a: str, b: str, length: int) -> bool:
    """Do both texts contain the same `length` words in a row?"""
    left, right = words(a), words(b)
    runs = {tuple(right[start : start + length]) for start in range(len(right) - length + 1)}
    return any(
        tuple(left[start : start + length]) in runs for start in range(len(left) - length + 1)
    )


# --- Contacts ------------------------------------------------------------------------------------


def _without_foreign_contacts(
    text: str, client_texts: Sequence[str], known: KnownFacts, region: str
) -> tuple[str, list[Doubt]]:
    open_sources = [source for source in known.sources if not source.internal]
    ours = [*known.contacts, *known.crm_values, *known.dialog_texts]
    ours += [f"{source.title}\n{source.text}" for source in open_sources]
    anyones = [*ours, *client_texts]
    phones = {found.value for item in anyones for found in find_phones(item, region)}
    emails = {found.value for item in anyones for found in find_emails(item)}
    handles = {found.value for item in ours for found in find_handles(item)}
    links = [*known.allowed_links, *(source.url for source in open_sources if source.url)]
    links += [found.text for item in ours for found in find_links(item)]
    mail_hosts = {found.value.rpartition("@")[2] for item in ours for found in find_emails(item)}
    foreign: list[tuple[str, Found]] = [
        ("email", found) for found in find_emails(text) if found.value not in emails
    ]
    foreign += [
        ("phone", found) for found in find_phones(text, region) if found.value not in phones
    ]
    foreign += [("link", found) for found in find_handles(text) if found.value not in handles]
    for found in find_links(text):
        if not is_allowed_link(found.value, links) and link_key(found.text) not in mail_hosts:
            foreign.append(("link", found))
    doubts = []
    for kind, found in sorted(foreign, key=lambda pair: -pair[1].start):
        doubts.append(Doubt(kind=kind, text=found.text))
        text = text[: found.start].rstrip(" (") + text[found.end :].lstrip(")")
    return re.sub(r"[ \t]+([,.!?;:])", r"\1", re.sub(r"[ \t]{2,}", " ", text)).strip(), doubts[::-1]
