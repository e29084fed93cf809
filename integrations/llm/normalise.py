"""The normal form of one value of a field, and the client's own words that carry it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from pydantic import JsonValue

from integrations.llm.contacts import (
    Found,
    find_emails,
    find_links,
    find_phones,
    find_spoken_phones,
    is_number_of_something,
    link_key,
)
from integrations.llm.language import detect_language
from integrations.llm.money import Money, find_money, find_numbers, parse_money, read_number
from integrations.llm.names import (
    base_of_first_name,
    client_name,
    find_names,
    is_form_of,
    is_name_word,
    says_own_name,
    stands_as_signature,
    without_greeting,
)
from integrations.llm.numerals import digitise
from integrations.llm.values import Band, CheckedValue, FieldSpec, plain
from integrations.llm.when import When, find_whens, parse_when
from integrations.llm.words import (
    TOKEN,
    WordIndex,
    content_words,
    fold,
    listed,
    same_word,
    sentences,
    stem,
)

NOTHING = frozenset(
    (
        "",
        "null",
        "none",
        "nil",
        "n/a",
        "na",
        "-",
        "--",
        "—",
        "?",
        "unknown",
        "undefined",
        "empty",
        "not specified",
        "not provided",
        "not given",
        "не указано",
        "не указан",
        "не указана",
        "не указаны",
        "неизвестно",
        "нет данных",
        "отсутствует",
        "не назван",
        "не назвал",
        "не назвала",
        "не сообщил",
        "не сообщила",
        "пусто",
    )
)
"""What models write where they should write null."""


@dataclass(frozen=True)
class _Judge:
    """What a value is judged by."""

    spec: FieldSpec
    raw: JsonValue
    texts: Sequence[str]
    """What the client wrote, oldest first."""
    now: datetime
    region: str
    currency: str

    @property
    def said(self) -> str:
        """The raw value as one line of text."""
        return " ".join(plain(self.raw).split())

    def verdict(
        self, value: JsonValue, quote: str = "", band: Band = Band.CONFIDENT, doubt: str = ""
    ) -> CheckedValue:
        if isinstance(value, str) and self.spec.max_length and len(value) > self.spec.max_length:
            value = _cut(value, self.spec.max_length)
        return CheckedValue(
            field=self.spec.name,
            type=self.spec.type,
            value=value,
            raw=self.said if not isinstance(self.raw, dict) else str(self.raw),
            quote=quote[:200],
            band=band,
            doubt=doubt,
        )

    def check(self, value: JsonValue, quote: str, doubt: str) -> CheckedValue:
        return self.verdict(value, quote, Band.CHECK, doubt)

    def unsure(self, value: JsonValue, doubt: str = "not_in_text", quote: str = "") -> CheckedValue:
        return self.verdict(value, quote, Band.UNSURE, doubt)


def normalise(
    spec: FieldSpec,
    raw: JsonValue,
    *,
    texts: Sequence[str],
    now: datetime,
    region: str = "RU",
    currency: str = "RUB",
) -> CheckedValue | None:
    """A value in its normal form with its band; None when there is no value.

    CONFIDENT: the client wrote it, word for word or in a form that has one normal form.
    CHECK: the client wrote it, but something about it needs a look (several, ambiguous, own words).
    UNSURE: the client did not write it; never to be written anywhere.
    `now` is aware, in the portal's zone; `currency` is meant where the client names none.
    """
    if isinstance(raw, list):
        raw = next((item for item in raw if item not in (None, "")), None)
    if isinstance(raw, dict) and spec.type != "money":
        raw = raw.get("value")
    if raw is None or (isinstance(raw, str) and fold(raw.strip(" .")) in NOTHING):
        return None
    judge = _Judge(spec, raw, [text for text in texts if text.strip()], now, region, currency)
    return _BY_TYPE[spec.type](judge)


# --- Contacts ------------------------------------------------------------------------------------

_OLD_NUMBER = re.compile(
    r"стар\w+|не работает|недоступ\w+|больше не|не звон\w+|потерял\w*|заблокир\w+|"
    r"old|doesn'?t work",
    re.I,
)
_OWN_NUMBER = re.compile(
    r"мо[йияею]\w*|нов\w+|звон\w+|набер\w+|перезвон\w+|пиш\w+|связ\w+|my|new|call", re.I
)


def phones_of(texts: Sequence[str], region: str) -> list[Found]:
    """Phones the client wrote, best first: newest message, a number said to be old last."""
    ranked: dict[str, tuple[tuple[int, int, int], Found]] = {}
    for age, text in enumerate(reversed(texts)):
        for found in find_phones(text, region):
            before = re.split(r"[,;.!?\n]", text[max(0, found.start - 40) : found.start])[-1]
            around = f"{before} {re.split(r'[,;.!?\n]', text[found.end : found.end + 25])[0]}"
            old = 1 if _OLD_NUMBER.search(around) else 0
            own = 0 if _OWN_NUMBER.search(around) else 1
            rank = (old, age, own)
            if found.value not in ranked or rank < ranked[found.value][0]:
                ranked[found.value] = (rank, found)
    return [
        found for _, found in sorted(ranked.values(), key=lambda pair: (*pair[0], pair[1].start))
    ]


def emails_of(texts: Sequence[str]) -> list[Found]:
    """Different e-mail addresses the client wrote, newest message first."""
    seen: dict[str, Found] = {}
    for text in reversed(texts):
        for found in find_emails(text):
            seen.setdefault(found.value, found)
    return list(seen.values())


def _phone(judge: _Judge) -> CheckedValue:
    own = phones_of(judge.texts, judge.region)
    claimed = find_phones(judge.said, judge.region)
    value = claimed[0].value if claimed else judge.said
    for found in own:
        if value in (found.value, found.text) or (
            not claimed and _digits(found.value).endswith(_digits(judge.said)[-10:] or "x")
        ):
            first = found.value == own[0].value
            return (
                judge.verdict(found.value, found.text)
                if first
                else judge.check(found.value, found.text, "several")
            )
    spoken = {
        found.value: found
        for text in judge.texts
        for found in find_spoken_phones(text, judge.region)
    }
    if value in spoken:
        return judge.check(value, spoken[value].text, "in_words")
    return judge.unsure(value)


def _email(judge: _Judge) -> CheckedValue:
    own = emails_of(judge.texts)
    claimed = find_emails(judge.said)
    value = claimed[0].value if claimed else judge.said.lower()
    for found in own:
        if found.value == value:
            return judge.verdict(value, found.text)
    return judge.unsure(value)


def _url(judge: _Judge) -> CheckedValue:
    wanted = link_key(judge.said)
    for text in reversed(judge.texts):
        for found in find_links(text):
            if found.value == wanted:
                return judge.verdict(
                    found.text if "://" in found.text else f"https://{found.text}", found.text
                )
    return judge.unsure(judge.said)


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


# --- People --------------------------------------------------------------------------------------


def _person_name(judge: _Judge) -> CheckedValue:
    name = without_greeting(judge.said)
    if len(name) > 100:
        return judge.unsure(judge.said)
    for text in reversed(judge.texts):
        own = client_name(text)
        found = _name_in(name, text)
        if found is None:
            continue
        if not _is_nothing_but_a_name(found.quote):
            # «Анна Петрова, хочу заказать»: his name is in it, the rest is not
            if own is None or own.text not in found.quote:
                continue
            name, found = own.text, _Written(own.text, own.start, exact=True, clear=True)
        is_own = own is not None and _shares_word(own.text, found.quote)
        reason = Band.CONFIDENT if is_own else _why_a_name(name, found, text)
        if reason is None:
            continue
        value = " ".join(part if not part.islower() else part.capitalize() for part in name.split())
        if not is_own and (own is not None or _is_somebody_else(text[: found.start])):
            return judge.check(value, found.quote, "other_person")
        if reason is Band.CHECK:
            return judge.check(value, found.quote, "ambiguous")
        return (
            judge.verdict(value, found.quote)
            if found.exact or found.clear
            else judge.check(value, found.quote, "normalised")
        )
    return judge.unsure(name)


class _Written(NamedTuple):
    """A name as the client wrote it."""

    quote: str
    start: int
    exact: bool
    clear: bool
    """Is it the same name beyond doubt, though in another form?"""


_WORD = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")


def _is_nothing_but_a_name(quote: str) -> bool:
    between = re.sub(r"(?<![^\W\d_])([^\W\d_])\.", r"\1", quote)  # the dots of initials
    return not re.search(r"[^\w\s'’-]|\d", between) and all(
        is_name_word(word.group()) for word in _WORD.finditer(quote)
    )


def _why_a_name(name: str, found: _Written, text: str) -> Band | None:
    """How sure is it that these words are a name at all, besides the model's saying so?

    A person named by the text, a known first name with a capital or by itself, and «меня зовут …»
    are certain; a name that may be a word («любой», «марта») and an unknown word that stands like
    a signature are for a person to check; «Сколько», «Котёл» and «Москву» are the client's words
    too and no names.
    """
    before, after = text[: found.start], text[found.start + len(found.quote) :]
    if says_own_name(before):
        return Band.CONFIDENT
    if any(_shares_word(named.text, found.quote) for named in find_names(text)):
        return Band.CONFIDENT
    parts = [word.group() for word in _WORD.finditer(found.quote)]
    capital = all(part[0].isupper() and len(part) > 1 for part in parts)
    signature = stands_as_signature(before, after)
    if any(base_of_first_name(fold(part)) for part in (*parts, *_WORD.findall(name))):
        by_itself = signature and any(base_of_first_name(part) == part for part in map(fold, parts))
        return Band.CONFIDENT if capital or by_itself else Band.CHECK
    if capital and content_words(found.quote) and signature:
        return Band.CHECK
    return None


def _name_in(name: str, text: str) -> _Written | None:
    """The client's words for the name that the model told, if he wrote it."""
    tokens = list(_WORD.finditer(text))
    places: list[re.Match[str]] = []
    exact = clear = True
    for part in _WORD.findall(name):
        wanted = fold(part)
        same = [token for token in tokens if fold(token.group()) == wanted]
        forms = same or [
            token for token in tokens if len(wanted) > 1 and is_form_of(wanted, fold(token.group()))
        ]
        if not forms:
            return None
        token = min(
            forms,
            key=lambda token: abs(token.start() - places[-1].end()) if places else token.start(),
        )
        written = fold(token.group())
        if written != wanted:
            exact = False
            # «Александра» may be Александр in the genitive or a woman: only a person can tell
            clear = (
                clear
                and base_of_first_name(written) == wanted
                and base_of_first_name(wanted) == wanted
            )
        places.append(token)
    if not places:
        return None
    start, end = min(token.start() for token in places), max(token.end() for token in places)
    if end - start > 80:
        return None
    return _Written(text[start:end], start, exact, clear)


def _shares_word(a: str, b: str) -> bool:
    return any(same_word(left, right) for left in fold(a).split() for right in fold(b).split())


def _is_somebody_else(before: str) -> bool:
    return bool(
        re.search(
            r"(?<!\w)(?:ваш\w*|менеджер\w*|мастер\w*|курьер\w*|консультант\w*|сотрудни\w*|"
            r"оператор\w*|у вас есть|позовите|передайте|your|manager)\W+(?:[а-яё]+\W+)?$",
            before,
            re.I,
        )
    )


# --- Days and times ------------------------------------------------------------------------------


def _date(judge: _Judge) -> CheckedValue:
    return _moment(judge, with_time=False)


def _datetime(judge: _Judge) -> CheckedValue:
    return _moment(judge, with_time=True)


def _moment(judge: _Judge, *, with_time: bool) -> CheckedValue:
    said = parse_when(judge.said, judge.now)
    own = [when for text in reversed(judge.texts) for when in find_whens(text, judge.now)]
    usable = [when for when in own if when.day is not None or (with_time and when.names_time)]
    match = next((when for when in usable if said and _same_moment(when, said, with_time)), None)
    if match is None and said is None:
        match = next((when for when in own if fold(when.text) in fold(judge.said)), None)
    if match is not None:
        return _dated(judge, match, with_time, several=False)
    if (
        len({_form(when, with_time) for when in usable}) == 1
        and said is not None
        and _is_slip(usable[0], said, judge.said)
    ):
        # models count days badly; what the client wrote decides, and a person looks at it
        return judge.check(_form(usable[0], with_time), usable[0].text, "disagrees")
    vague = next((when for when in own if when not in usable), None)
    if (
        vague is not None
        and said is not None
        and vague.start <= said.start < (vague.end or vague.start)
    ):
        return judge.unsure(None, "ambiguous", vague.text)
    return judge.unsure((said and _form(said, with_time)) or judge.said)


def _is_slip(own: When, said: When, words: str) -> bool:
    """Did the model count wrongly from the client's words: a wrong year, or a few days off?"""
    if not re.match(r"\d{4}-\d\d-\d\d", words):
        return False
    a, b = own.start.date(), said.start.date()
    return (a.month, a.day) == (b.month, b.day) or abs((a - b).days) <= 8


def _same_moment(own: When, said: When, with_time: bool) -> bool:
    if not with_time:
        return own.start.date() == said.start.date()
    return own.start == said.start or (
        own.start.date() == said.start.date() and not said.names_time
    )


def _dated(judge: _Judge, when: When, with_time: bool, several: bool) -> CheckedValue:
    value = _form(when, with_time)
    if with_time and not when.names_time:
        return judge.check(value, when.text, "no_time")
    # a stretch within one day still names the day («завтра с 10 до 12»)
    one_day = when.end is None or (when.end - when.start).total_seconds() <= 24 * 3600
    doubtful = (
        when.ambiguous
        if with_time
        else (when.ambiguous and not (when.names_time and one_day and when.names_day))
    )
    return (
        judge.check(value, when.text, "ambiguous") if doubtful else judge.verdict(value, when.text)
    )


def _form(when: When, with_time: bool) -> str:
    return when.start.isoformat(timespec="seconds") if with_time else when.start.date().isoformat()


# --- Numbers and money ---------------------------------------------------------------------------


def parse_number(text: str) -> Decimal | None:
    """The one number of a text («3», «пять», «1 200,5»), or None."""
    found = {value for value, _ in find_numbers(text)}
    return found.pop() if len(found) == 1 else None


def _number(judge: _Judge) -> CheckedValue:
    value = _as_decimal(judge.raw)
    if value is None:
        return judge.unsure(judge.said, "not_a_number")
    quote = _number_quote(judge.texts, value)
    plain_value: JsonValue = int(value) if value == value.to_integral_value() else float(value)
    return judge.verdict(plain_value, quote) if quote else judge.unsure(plain_value)


def _as_decimal(raw: JsonValue) -> Decimal | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int | float):
        return Decimal(str(raw))
    if not isinstance(raw, str):
        return None
    try:
        return read_number(raw)
    except InvalidOperation:
        return parse_number(raw)


def _number_quote(texts: Sequence[str], value: Decimal) -> str:
    for text in reversed(texts):
        phones = [(found.start, found.end) for found in find_spoken_phones(text)]
        bare = text
        for start, end in reversed(phones):
            bare = bare[:start] + " " * (end - start) + bare[end:]
        for number, words in find_numbers(bare):
            if number == value:
                return words
    return ""


def _money(judge: _Judge) -> CheckedValue:
    amount, currency = _claimed_money(judge.raw)
    own = [money for text in reversed(judge.texts) for money in find_money(text)]
    if amount is None:
        ranged = next((money for money in own if money.upper is not None), None)
        if ranged is not None:
            return judge.unsure(None, "range", ranged.text)
        return judge.unsure(judge.said, "not_a_number")
    for money in own:
        if amount in (money.amount, money.upper):
            value: JsonValue = _money_form(amount, money.currency or currency or judge.currency)
            if money.upper is not None:
                return judge.check(value, money.text, "range")
            if currency and money.currency and currency != money.currency:
                return judge.check(_money_form(amount, money.currency), money.text, "disagrees")
            if currency and not money.currency and currency != judge.currency:
                return judge.check(value, money.text, "currency")
            return judge.verdict(value, money.text)
    quote = _number_quote(judge.texts, amount)
    value = _money_form(amount, currency or judge.currency)
    if not quote:
        return judge.unsure(value)
    if currency and currency != judge.currency:
        return judge.check(value, quote, "currency")
    if not _may_be_a_price(judge.texts, quote, amount):
        return judge.check(value, quote, "ambiguous")
    return judge.verdict(value, quote)


def _may_be_a_price(texts: Sequence[str], quote: str, amount: Decimal) -> bool:
    """Without a currency: «в чеке 6 490», but not «заказ 45128», «опыт 10 лет» or «Rio 2018»."""
    if amount < 100 or re.fullmatch(r"(?:19|20)\d\d", quote):
        return False
    alone = re.compile(rf"(?<![\w.:*-])(?<!\d ){re.escape(quote)}(?![\w:%-]| \d)")
    return any(
        _PAPER_WITH_PRICES.search(text[: found.start()])
        or not (
            _OTHER_NUMBER.search(text[: found.start()])
            or is_number_of_something(text[: found.start()])
        )
        for text in texts
        for found in alone.finditer(text)
    )


_PAPER_WITH_PRICES = re.compile(r"(?:чек|сч[её]т)\w*\W*$", re.I)
_OTHER_NUMBER = re.compile(r"(?<!\w)(?:номер\w*|квартир\w*|кв|дом|д)\W*$", re.I)


def _claimed_money(raw: JsonValue) -> tuple[Decimal | None, str]:
    if isinstance(raw, dict):
        amount = _as_decimal(raw.get("amount", raw.get("value")))
        if amount is not None:
            return amount, str(raw.get("currency") or "").upper().replace("₽", "RUB").replace(
                "RUR", "RUB"
            )
        raw = str(raw.get("amount") or "")
    if isinstance(raw, str):
        money: Money | None = parse_money(raw)
        if money is not None and money.upper is None:
            return money.amount, money.currency
        # the form of CRM: «50000|RUB»
        stored = re.fullmatch(r"\s*([\d.]+)\|([A-Z]{3})\s*", raw)
        return (Decimal(stored.group(1)), stored.group(2)) if stored else (None, "")
    return _as_decimal(raw), ""


def _money_form(amount: Decimal, currency: str) -> dict[str, JsonValue]:
    return {
        "amount": int(amount) if amount == amount.to_integral_value() else float(amount),
        "currency": currency,
    }


# --- Choices and yes/no --------------------------------------------------------------------------

_YES = listed(
    """
    да true yes 1 y есть нужно нужна нужен верно ага угу on конечно
    """
)
_NO = listed(
    """
    нет false no 0 n не ненужно off
    """
)
_NEGATION = re.compile(r"\b(?:не|нет|без|ни|no|not|without|don'?t|doesn'?t)\b", re.I)


def match_choice(raw: JsonValue, choices: Sequence[str]) -> str | None:
    """The choice that is meant: equal, or equal without case and spaces. Never the nearest."""
    said = plain(raw).strip()
    if said in choices:
        return said
    wanted = fold(" ".join(said.split()))
    same = [choice for choice in choices if fold(" ".join(choice.split())) == wanted]
    return same[0] if len(same) == 1 else None


def _choice(judge: _Judge) -> CheckedValue:
    value = match_choice(judge.raw, judge.spec.choices)
    if value is None:
        return judge.unsure(judge.said, "not_a_choice")
    mentioned = [choice for choice in judge.spec.choices if _says(judge.texts, choice)]
    quote = _says(judge.texts, value)
    if not quote:
        return judge.unsure(value)
    # «бойлер» stands in «бойлер косвенного нагрева» too: only choices of their own compete
    rivals = [choice for choice in mentioned if choice != value and fold(choice) not in fold(value)]
    return judge.check(value, quote, "several") if rivals else judge.verdict(value, quote)


def _says(texts: Sequence[str], phrase: str) -> str:
    """The sentence of the client with all words of the phrase in any form, or ""."""
    wanted = TOKEN.findall(fold(phrase))
    for text in reversed(texts):
        for sentence in sentences(text):
            index = WordIndex([sentence])
            if wanted and all(index.has(word) for word in wanted):
                return sentence
    return ""


def _bool(judge: _Judge) -> CheckedValue:
    said = fold(judge.said)
    value = (
        judge.raw
        if isinstance(judge.raw, bool)
        else True
        if said in _YES
        else False
        if said in _NO
        else None
    )
    if value is None:
        return judge.unsure(judge.said, "not_a_bool")
    subject = content_words(judge.spec.description) + content_words(
        judge.spec.name.replace("_", " ")
    )
    for text in reversed(judge.texts):
        for sentence in sentences(text):
            index = WordIndex([sentence])
            if any(index.has(word) for word in subject):
                agrees = bool(value) != bool(_NEGATION.search(sentence))
                return (
                    judge.verdict(value, sentence)
                    if agrees
                    else judge.check(value, sentence, "disagrees")
                )
    last = fold(judge.texts[-1]).strip(" .!") if judge.texts else ""
    if last in _YES | _NO:
        return (
            judge.check(value, judge.texts[-1], "short_answer")
            if (last in _YES) == value
            else judge.unsure(value)
        )
    return judge.unsure(value)


# --- Free text -----------------------------------------------------------------------------------

# words by which a summary names what kind of message it is; they prove and disprove nothing
_LABEL_WORDS = listed(
    """
    вопрос заказ заявка запрос просьба консультация жалоба интерес интересует клиент хочет
    просит уточняет спрашивает уточнение информация цена стоимость обращение проблема помощь
    сообщение тема узнать получить нужен покупка question request order client customer
    wants asks about information inquiry enquiry price issue help
    """
)
_LABELS = frozenset(map(stem, _LABEL_WORDS))
_CAPITAL = re.compile(r"(?<=[^.!?\s]\s)[«\"(]?([A-ZА-ЯЁ][\w-]+)")
_SUMMARY_NAME = re.compile(
    r"subject|summary|topic|title|theme|question|request|comment|note|problem|need|tema|sut|vopros",
    re.I,
)
_SUMMARY_WORDS = re.compile(
    r"тем[аыу]\b|суть|кратко|резюме|вопрос|запрос|коммент|описан|пересказ|summary|"
    r"briefly|what .* (?:wants|asks)",
    re.I,
)


def _is_summary(spec: FieldSpec) -> bool:
    """Is the value to be the model's own words about the message, not a thing he named?"""
    return spec.type == "text" or bool(
        _SUMMARY_NAME.search(spec.name) or _SUMMARY_WORDS.search(spec.description)
    )


def _text(judge: _Judge) -> CheckedValue:
    """Grounded by words: literally there, or all its words are the client's in some form.

    Of a summary (`_is_summary`) two words and half of all are enough, and relatives count
    («перенос» for «перенести»). A number that the client did not write makes the value UNSURE, a
    foreign proper name CHECK at the most.
    """
    said = judge.said
    quote = _literal(judge.texts, said)
    if quote:
        return judge.verdict(said, quote)
    summary = _is_summary(judge.spec)
    index = WordIndex(judge.texts)
    spoken = WordIndex([digitise(text).text for text in judge.texts])
    tokens = content_words(said)
    if any(
        token[0].isdigit() and not (token in index.exact or token in spoken.exact)
        for token in tokens
    ):
        return judge.unsure(said)
    named = [token for token in tokens if not token[0].isdigit()]
    named = [token for token in named if stem(token) not in _LABELS] or named
    hits = [token for token in named if (index.has_root(token) if summary else index.has(token))]
    quote = _sentence_with(judge.texts, hits)
    foreign = [word for word in _CAPITAL.findall(said) if not index.has(fold(word))]
    if not named:
        return (
            judge.check(said, quote, "own_words") if tokens and not foreign else judge.unsure(said)
        )
    share = len(hits) / len(named)
    if (share == 1.0 or (summary and share >= 0.5 and len(hits) >= 2)) and not foreign:
        return judge.verdict(said, quote)
    if share >= 0.34:
        return judge.check(said, quote, "own_words")
    other_language = bool(judge.texts) and detect_language(said) != detect_language(judge.texts[-1])
    return (
        judge.check(said, judge.texts[-1], "own_words")
        if summary and other_language and not foreign
        else judge.unsure(said)
    )


def _sentence_with(texts: Sequence[str], wanted: Sequence[str]) -> str:
    """The client's newest sentence with the most of the words."""
    best, quote = 0, ""
    for text in reversed(texts):
        for sentence in sentences(text):
            index = WordIndex([sentence])
            count = sum(index.has_root(word) for word in wanted)
            if count > best:
                best, quote = count, sentence
    return quote


def _address(judge: _Judge) -> CheckedValue:
    """All numbers and words of an address must be the client's; «ул.» and the like do not count."""
    quote = _literal(judge.texts, judge.said)
    if quote:
        return judge.verdict(judge.said, quote)
    index = WordIndex(judge.texts)
    ignored = {
        "ул",
        "улица",
        "дом",
        "кв",
        "квартира",
        "город",
        "проспект",
        "пр",
        "корпус",
        "стр",
        "россия",
        "рф",
        "apt",
        "street",
        "st",
    }
    tokens = [
        token
        for token in TOKEN.findall(fold(judge.said))
        if token not in ignored and (len(token) > 1 or token.isdigit())
    ]
    missing = [token for token in tokens if not index.has(token)]
    if not tokens or any(token[0].isdigit() for token in missing):
        return judge.unsure(judge.said)
    quote = _says(judge.texts, next((token for token in tokens if token not in missing), ""))
    if not missing:
        return judge.verdict(judge.said, quote)
    return (
        judge.check(judge.said, quote, "own_words")
        if len(missing) / len(tokens) <= 0.4
        else judge.unsure(judge.said)
    )


def _literal(texts: Sequence[str], said: str) -> str:
    wanted = fold(said).strip(" .,!\"'«»")
    if not wanted:
        return ""
    pattern = re.compile(rf"(?<!\w){r'\s+'.join(re.escape(word) for word in wanted.split())}(?!\w)")
    for text in reversed(texts):
        match = pattern.search(fold(text))
        if match:
            return text[match.start() : match.end()]
    return ""


def _cut(value: str, limit: int) -> str:
    if limit < 20:
        return value[:limit]
    head = value[: limit - 1]
    return (head[: head.rindex(" ")] if " " in head[limit // 2 :] else head).rstrip(" ,.;:-") + "…"


_BY_TYPE: dict[str, Callable[[_Judge], CheckedValue]] = {
    "string": _text, "text": _text, "person_name": _person_name, "phone": _phone, "email": _email,
    "number": _number, "money": _money, "date": _date, "datetime": _datetime, "bool": _bool,
    "choice": _choice, "url": _url, "address": _address,
}  # fmt: skip
