"""Which pieces of knowledge belong to a question, and which questions have none.

One function, `retrieve`: whatever stands behind it (full text search now, embeddings some day),
callers get the sources that fit best, best first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.db import transaction
from django.db.models import F, Max, Q, QuerySet
from django.utils import timezone

from bx_gpt_app.assistant import search, stems, store
from bx_gpt_app.assistant.config import SnippetConfig
from bx_gpt_app.assistant.models import Dialog, Message, Question, Run, Snippet, Suggestion
from bx_gpt_app.flow import Context, Judgement
from bx_gpt_app.portals.models import Portal
from integrations.llm.masking import Masker
from integrations.llm.values import Author, Band, Source

WORDS_AT_MOST = 60
"""Of a long question; the newest words count."""
MATCHES_AT_MOST = 3000
"""Snippets that may be looked at for one question. The rarest words are looked up first."""
RANKED_AT_MOST = 40
"""Of the best matches, by which words they have; the fine order is found among them."""
TITLE_WEIGHT = 1.2
ROOT_WEIGHT = 0.4
TOPIC_FACTOR = 1.3
WEAKEST_SHARE = 0.1
"""A source that scores less than this share of the best one only distracts."""
# BM25's usual constants: how fast repetition stops counting, how much length matters.
K1, B = 1.2, 0.6

SAME_QUESTION = 0.6
"""Share of common words above which two questions are one."""
COMPARED_AT_MOST = 300
WORDS_OF_A_QUESTION = 2


# ---- finding ----


def retrieve(portal: Portal, question: str, *, topic: str = "", limit: int = 6) -> list[Source]:
    """The snippets that fit best, best first; expired ones never.

    A portal with few snippets gets all of them: the model sorts better than any search. `topic` is
    the code of the dialog's topic, if known.
    """
    today = _today(portal)
    valid = _valid(portal, today)
    total = valid.count()
    terms = _terms(portal, question, total)
    if total <= limit:
        rows = list(valid)
    elif terms:
        weights = _lookups(terms)
        ids = search.best_matches(
            portal.pk,
            weights,
            topic=topic,
            topic_factor=TOPIC_FACTOR,
            today=today,
            limit=max(RANKED_AT_MOST, limit),
        )
        rows = list(portal.snippets.filter(pk__in=ids))
    else:
        rows = (
            list(valid.filter(topic=topic).order_by("-uses", "position")[:limit]) if topic else []
        )
    ranked = rank(rows, terms, topic=topic)
    if total > limit and ranked:
        ranked = [one for one in ranked if one.score >= ranked[0].score * WEAKEST_SHARE]
    return [as_source(one.row) for one in ranked[:limit]]


def as_source(row: Snippet) -> Source:
    return Source(key=row.key, title=row.title, text=row.text, url=row.url, internal=row.internal)


@dataclass(frozen=True)
class Term:
    """A word of the question: its tokens, and how much it says (the rarer, the more)."""

    word: str
    title: str
    root: str
    says: float
    root_says: float
    found_in: int
    root_found_in: int


@dataclass(frozen=True)
class Ranked:
    row: Snippet
    score: float


def rank(rows: Sequence[Snippet], terms: Sequence[Term], *, topic: str) -> list[Ranked]:
    """Rows in the order of fit: BM25, better places for titles and the dialog's topic. Pure."""
    usual = sum(len(row.text) for row in rows) / len(rows) if rows else 1.0
    scored = [Ranked(row, _score(row, terms, usual or 1.0, topic)) for row in rows]
    return sorted(scored, key=lambda one: (-one.score, -one.row.uses, one.row.position, one.row.pk))


def _score(row: Snippet, terms: Sequence[Term], usual_length: float, topic: str) -> float:
    tokens = f" {row.stems} "
    length = K1 * (1 - B + B * len(row.text) / usual_length)
    score = 0.0
    for term in terms:
        times = tokens.count(f" {term.word} ")
        if times:
            score += term.says * times * (K1 + 1) / (times + length)
            if f" {term.title} " in tokens:
                score += term.says * TITLE_WEIGHT
        elif term.root and f" {term.root} " in tokens:
            score += term.root_says * ROOT_WEIGHT
    return score * TOPIC_FACTOR if topic and row.topic == topic else score


def _terms(portal: Portal, question: str, total: int) -> list[Term]:
    """The question's words that occur in the portal's knowledge."""
    newest_first = reversed(list(stems.stems_of(question)))
    words = list(dict.fromkeys(newest_first))[:WORDS_AT_MOST]
    named = {
        word: (
            stems.token(portal.pk, stems.WORD, word),
            stems.token(portal.pk, stems.ROOT, root) if (root := stems.root_of(word)) else "",
        )
        for word in words
    }
    counts = search.snippets_with(
        dict.fromkeys(token for pair in named.values() for token in pair if token)
    )
    return [
        Term(
            word=own,
            title=stems.token(portal.pk, stems.TITLE, word),
            root=root,
            says=_says(counts.get(own, 0), total),
            root_says=_says(counts.get(root, 0), total),
            found_in=counts.get(own, 0),
            root_found_in=counts.get(root, 0),
        )
        for word, (own, root) in named.items()
        if own in counts or root in counts
    ]


def _says(found_in: int, total: int) -> float:
    return math.log(1 + (max(total, found_in) - found_in + 0.5) / (found_in + 0.5))


def _lookups(terms: Iterable[Term]) -> dict[str, float]:
    """Tokens to look up and their weights: the rarest first, as far as the work is bounded."""
    wanted: list[tuple[int, str, float]] = []
    for term in terms:
        if term.found_in:
            wanted.append((term.found_in, term.word, term.says))
            wanted.append((term.found_in, term.title, term.says * TITLE_WEIGHT))
        if term.root_found_in:
            wanted.append((term.root_found_in, term.root, term.root_says * ROOT_WEIGHT))
    found: dict[str, float] = {}
    looked_at = 0
    for count, token, weight in sorted(wanted):
        looked_at += count
        if found and looked_at > MATCHES_AT_MOST:
            break
        found[token] = max(weight, found.get(token, 0.0))
    return found


def _valid(portal: Portal, today: date) -> QuerySet[Snippet]:
    return portal.snippets.filter(Q(valid_until__isnull=True) | Q(valid_until__gte=today))


def _today(portal: Portal) -> date:
    try:
        zone = ZoneInfo(portal.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        zone = ZoneInfo("Europe/Moscow")
    return timezone.localdate(timezone=zone)


# ---- keeping ----


def count_uses(portal: Portal, keys: Iterable[str]) -> None:
    """Replies rested on these sources (`Judgement.reply.sources`). One UPDATE, none for no keys."""
    ids = [int(key[1:]) for key in keys if re.fullmatch(r"s\d{1,18}", key)]
    if ids:
        portal.snippets.filter(pk__in=ids).update(uses=F("uses") + 1)


def add_snippets(
    portal: Portal,
    snippets: Sequence[SnippetConfig],
    *,
    origin: str,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Append to the portal's knowledge; what is there with equal title and text is skipped.

    `progress` is told how many of how many are done. Returns how many were added.
    """
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        known = set(portal.snippets.values_list("title", "text"))
        position = _next_position(portal)
        new = [one for one in snippets if (one.title, one.text) not in known]
        for start in range(0, len(new), 500):
            chunk = new[start : start + 500]
            Snippet.objects.bulk_create(
                [
                    _row(portal, one, position=position + start + number, origin=origin)
                    for number, one in enumerate(chunk)
                ]
            )
            if progress:
                progress(start + len(chunk), len(new))
    return len(new)


def _row(portal: Portal, snippet: SnippetConfig, *, position: int, origin: str) -> Snippet:
    return Snippet(
        portal=portal,
        position=position,
        title=snippet.title,
        text=snippet.text,
        url=snippet.url,
        topic=snippet.topic,
        internal=snippet.internal,
        valid_until=date.fromisoformat(snippet.valid_until) if snippet.valid_until else None,
        origin=origin[:300],
    )


def _next_position(portal: Portal) -> int:
    last: int | None = portal.snippets.aggregate(last=Max("position"))["last"]
    return 0 if last is None else last + 1


# ---- questions without an answer ----


def is_unanswered(context: Context, judgement: Judgement) -> bool:
    """Was this a question that no piece of knowledge answers?

    No source stands behind the reply, and the reply gives up, hesitates or claims something nothing
    supports. A reply that only asks back or thanks is no gap in the knowledge.
    """
    if any(source.key in judgement.reply.sources for source in context.sources):
        return False
    gives_up = judgement.needs_human or not judgement.reply.text
    if not gives_up and judgement.reply.band is Band.CONFIDENT:
        return False
    return len(set(stems.stems_of(_asked(context)))) >= WORDS_OF_A_QUESTION


def note_unanswered(run: Run, context: Context, judgement: Judgement) -> Question | None:
    """Remember the client's question for the admin if the knowledge did not answer it.

    Call it in the transaction that saves the decision. A near-equal open question is counted up.
    """
    if run.state == Run.State.FAILED or not is_unanswered(context, judgement):
        return None  # a model that is down says nothing about the knowledge
    text = Masker().mask(_asked(context))[:2000]
    words = set(stems.stems_of(text))
    now = timezone.now()
    open_ones = Question.objects.filter(portal=run.portal, state=Question.State.OPEN)
    for other in open_ones.order_by("-last_asked_at")[:COMPARED_AT_MOST]:
        if _alike(words, set(other.stems)):
            open_ones.filter(pk=other.pk).update(similar=F("similar") + 1, last_asked_at=now)
            return other
    return Question.objects.create(
        portal=run.portal,
        text=text,
        stems=sorted(words),
        topic=judgement.topic or "",
        dialog=run.dialog,
        run=run,
        created_at=now,
        last_asked_at=now,
    )


def snippet_from_answer(about: Question | Suggestion, edited_text: str, by: str) -> Snippet:
    """What a person answered becomes knowledge; an open question is closed by it.

    Doing it twice makes one snippet. `about` must be the caller's own portal's.

    Raises: pydantic.ValidationError when the text is empty or longer than 20 000 characters.
    """
    portal = about.portal
    asked = about.text if isinstance(about, Question) else _question_of(about)
    title = _title(asked) or _title(edited_text)
    topic = about.topic if isinstance(about, Question) else about.run.topic
    config, _revision = store.load(portal)
    snippet = SnippetConfig(
        title=title, text=edited_text, topic=topic if config.topic(topic) else ""
    )
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        row = portal.snippets.filter(title=title, text=edited_text).first()
        if row is None:
            row = _row(portal, snippet, position=_next_position(portal), origin=by)
            row.save()
        if isinstance(about, Question):
            decide_question(about, Question.State.ANSWERED, by=by, snippet=row)
    return row


def decide_question(
    question: Question, state: Question.State, *, by: str, snippet: Snippet | None = None
) -> bool:
    """Answer or dismiss an open question; False when somebody else was first."""
    changed = Question.objects.filter(pk=question.pk, state=Question.State.OPEN).update(
        state=state, snippet=snippet, decided_by=by[:160], decided_at=timezone.now()
    )
    return bool(changed)


def _asked(context: Context) -> str:
    """What the client wrote last, after anybody of ours."""
    newest: list[str] = []
    for turn in reversed(context.conversation):
        if turn.author is Author.CLIENT:
            newest.append(turn.text)
        elif newest:
            break
    return "\n".join(reversed(newest)).strip()


def _question_of(suggestion: Suggestion) -> str:
    """The client's words that a suggestion answers, without personal data."""
    messages = Message.objects.filter(
        dialog=suggestion.dialog, author=Author.CLIENT, deleted=False
    ).order_by("-external_id", "-id")
    if suggestion.dialog.kind == Dialog.Kind.CHAT:
        messages = messages.filter(external_id__lte=suggestion.answered_message_id)
    newest = messages.first()
    return Masker().mask(newest.text) if newest else ""


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199].rstrip() + "…"


def _alike(words: set[str], others: set[str]) -> bool:
    return bool(words & others) and len(words & others) >= SAME_QUESTION * len(words | others)
