"""Names of people in a text: who is named, and which of them the client says to be."""

from __future__ import annotations

import os
import re
from functools import cache, lru_cache
from importlib import resources
from threading import Lock
from typing import Any

from integrations.llm.contacts import Found
from integrations.llm.words import common_prefix, fold, listed, words

_NAME_WORD = r"[A-ZА-ЯЁІЇЄҐӘҒҚҢӨҰҮҺЎ][a-zа-яёіїєґәғқңөұүһўà-ÿ]+(?:[-'’][A-ZА-ЯЁ]?[a-zа-яё]+)?"
_INITIALS = r"[A-ZА-ЯЁ]\.\s?(?:[A-ZА-ЯЁ]\.)?"
_CAPITALISED = re.compile(rf"{_NAME_WORD}|[A-ZА-ЯЁ]{{3,}}(?![\w])|(?<!\w){_INITIALS}")
_PATRONYMIC = re.compile(
    r"(?:[оеё]вич(?:а|у|ем|е)?|(?:[оеё]вн|ичн|иничн)(?:а|ы|е|у|ой|ою)|ьич(?:а|у|ом|е)?)$"
)
_SURNAME = re.compile(
    r"(?:(?:[оеё]в|[иы]н)(?:а|у|ой|ым|е|ых|ы)?|(?:ск|цк)(?:ий|ая|ого|ой|ому|им|ую|"
    r"их|ие)|енко|ейко|[чщ]ук(?:а|у|ом|е)?|юк(?:а|у|ом|е)?|ян(?:а|у|ом|е)?|дзе|"
    r"швили|"
    r"вич(?:а|у|ем|е)?|[иы]х|[ое]й|ук|як|ец|ко|ник|ли|ман|берг|штейн|ев|ич)$"
)
_GREETINGS = re.compile(
    r"^\W*(?:(?:здравствуйте|здравствуй|привет\w*|добр\w+\s(?:день|утро|вечер|"
    r"ночи|дня|времени суток)|доброго времени суток|hello|hi|hey|dear|уважаем\w+|"
    r"меня зовут|зовут|мое имя|моё имя|это|я|имя|my name is|i am|i'm|this is|name|"
    r"mr|mrs|ms|г-н|г-жа|господин|госпожа|с уважением|regards|best "
    r"regards)\b[\s,.:!–-]*)+",
    re.I,
)
# endings of Russian cases: two forms of one name differ in these only
_ENDINGS = listed(
    """
    а я у ю е и ы ой ей ом ем ою ею ым им ого его ому ему ую юю ых их ий ый ая ья ьи ью ьей
    ию ии ием ь й
    """
) | {""}


@cache
def first_names() -> frozenset[str]:
    """Folded first names, also short forms, Russian, of the neighbours of Russia, and English."""
    text = (
        resources.files("integrations.llm").joinpath("first_names.txt").read_text(encoding="utf-8")
    )
    return frozenset(fold(text).split())


@lru_cache(maxsize=20_000)
def base_of_first_name(word: str) -> str | None:
    """Nominative of a first name in any case («артура» → «артур»), or None. The word is folded."""
    known = first_names()
    if word in known:
        return word
    if not re.search(r"[а-я]", word) or len(word) < 4:
        return None
    for cut in (1, 2):
        root, ending = word[:-cut], word[-cut:]
        if ending not in _ENDINGS or len(root) < 3:
            continue
        for nominative in (root, root + "а", root + "я", root + "ь", root + "й", root + "ий"):
            if nominative in known and _is_case_of(nominative, ending, root):
                return nominative
    return None


def _is_case_of(nominative: str, ending: str, root: str) -> bool:
    tail = nominative[len(root) :]
    if tail in ("а", "я"):
        return ending in {"ы", "и", "е", "у", "ю", "ой", "ей"}
    return ending in {"а", "я", "у", "ю", "ом", "ем", "е", "и", "ью"}


def is_form_of(name: str, written: str) -> bool:
    """Is the folded word `written` the name in some case? «Кирилла» is one of «Кирилл»."""
    if name == written:
        return True
    prefix = common_prefix(name, written)
    left, right = name[prefix:], written[prefix:]
    # «Павел — Павла», «Лев — Льва»: a vowel leaves the stem
    if (
        prefix
        and re.fullmatch(r"[ео][лвк]ь?", left)
        and re.fullmatch(r"ь?[лвк](?:а|у|ом|е)", right)
    ):
        return True
    if prefix < 2 or prefix < min(len(name), len(written)) - 2:
        return False
    return left in _ENDINGS and right in _ENDINGS


def without_greeting(text: str) -> str:
    """The name alone from «Здравствуйте, меня зовут Анна»."""
    return _GREETINGS.sub("", text).strip(" \t\n,.!:;-–—\"'«»")


class NameTagger:
    """Names found by the optional tagger (`natasha`); 200 MB of memory once per process."""

    def __init__(self) -> None:
        # numpy reads it when it is loaded. Several threads for matrices this small only wait for
        # one another: on two busy cores a message took 20 ms instead of 2.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # noqa: TID251  it has no other switch
        from natasha import NewsEmbedding, NewsNERTagger, Segmenter

        self._segmenter = Segmenter()
        self._tagger = NewsNERTagger(NewsEmbedding())

    def spans(self, text: str) -> list[tuple[int, int]]:
        from natasha import Doc

        document: Any = Doc(text)
        document.segment(self._segmenter)
        document.tag_ner(self._tagger)
        found = [
            _trimmed(text, span.start, span.stop) for span in document.spans if span.type == "PER"
        ]
        # the tagger trusts no capital at the start of a sentence
        found += [match.span("name") for match in _SURNAME_FIRST.finditer(text)]
        return _apart(found)


_SURNAME_FIRST = re.compile(
    r"(?:^|[.!?…»\n]\s+)(?P<name>[А-ЯЁ][а-яё]+(?:енко|[а-яё]{2}(?:ов|ев|ёв)|"
    r"[а-яё]{4}ин|[а-яё]{2}(?:ский|цкий)))"
    r"(?:(?=\s[а-яё]+(?:[аиеу]л|л[аи]|[ие]т|[ую]т)(?:с[яь])?\b)|(?=,\s[А-ЯЁ]))"
)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """«Тимур Телефон» of a form is «Тимур»."""
    line = re.split(r"[\n:]", text[start:end])[0].rstrip()
    parts = line.split()
    while len(parts) > 1 and fold(parts[-1]) in _NO_NAME:
        line = line[: line.rindex(parts.pop())].rstrip()
    return start, start + len(line)


def _apart(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without those that overlap an earlier one."""
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        if all(end <= left or right <= start for left, right in kept):
            kept.append((start, end))
    return kept


_LOADING = Lock()


def name_tagger() -> NameTagger | None:
    """The tagger of this process (loads in a second), or None without the extra `ru-names`."""
    with _LOADING:
        return _load_tagger()


@cache
def _load_tagger() -> NameTagger | None:
    try:
        return NameTagger()
    except ImportError:
        return None


def find_names(text: str, tagger: NameTagger | None = None) -> tuple[Found, ...]:
    """Names of people, each with all its parts, in order; `value` is the name as written."""
    spans = _apart((tagger.spans(text) if tagger else []) + _names_by_rules(text))
    return tuple(
        Found(value=text[start:end], text=text[start:end], start=start, end=end)
        for start, end in sorted(spans)
    )


# capitalised words that look like a part of a name and are none
_NO_NAME = listed(
    """
    украины украина люди свет мира май мая телефон магазин имя вопрос почта заявка ответ
    адрес город москва россия россии казани казань берлин лондон пекин дубай китай март
    августа юг
    """
)


def _kind(word: str) -> str:
    folded = fold(word)
    if folded in _NO_NAME:
        return ""
    if re.fullmatch(_INITIALS, word):
        return "initials"
    if base_of_first_name(folded):
        return "first"
    if _PATRONYMIC.search(folded) and len(folded) > 5:
        return "patronymic"
    return "surname" if len(folded) > 3 and _SURNAME.search(folded) else ""


def _names_by_rules(text: str) -> list[tuple[int, int]]:
    """Neighbouring capitalised words with a first name, a patronymic or initials among them."""
    spans: list[tuple[int, int]] = []
    run: list[tuple[int, int, str]] = []

    def close() -> None:
        kinds = [kind for _, _, kind in run]
        strong = (
            "first" in kinds
            or "patronymic" in kinds
            or ("initials" in kinds and "surname" in kinds)
        )
        if strong:
            spans.append((run[0][0], run[-1][1]))
        run.clear()

    for match in _CAPITALISED.finditer(text):
        kind = _kind(match.group())
        beside = bool(run) and not text[run[-1][1] : match.start()].strip(" \u00a0")
        # after a first name comes the surname, whatever its ending («Полина Р.», «Hans Müller»)
        if (
            not kind
            and beside
            and run[-1][2] in ("first", "initials")
            and fold(match.group()) not in _NO_NAME
        ):
            kind = "surname"
        if run and (not beside or not kind):
            close()
        if kind and (len(match.group()) > 2 or kind == "initials"):
            run.append((match.start(), match.end(), kind))
    close()
    spans += _lower_case_names(text, spans)
    return spans


_LOWER_CASE = re.compile(
    r"(?:(?:меня|мое имя|моё имя)\s(?:зовут\s)?|на имя\s|имя[: -]+\s?|зовут\s|"
    r"это\s|my name is\s|i am\s|i'm\s)(?P<name>[а-яёa-z]{3,}(?:\s[а-яё]{3,})?)",
    re.I,
)


def _lower_case_names(text: str, taken: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for match in _LOWER_CASE.finditer(text):
        parts = match["name"].split()
        start = match.start("name")
        if not base_of_first_name(fold(parts[0])):
            continue
        end = start + len(parts[0])
        if len(parts) == 2 and (
            (_SURNAME.search(fold(parts[1])) and len(parts[1]) > 4)
            or _PATRONYMIC.search(fold(parts[1]))
        ):
            end = match.end("name")
        if all(end <= left or right <= start for left, right in taken):
            found.append((start, end))
    return found


_SAYS_OWN_NAME = re.compile(
    r"(?<!\w)(?:меня\s+зовут|мо[её]\s+имя|зовут\s+меня|на\s+имя|имя\s*[:=-]|фио\s*[:=-]?|"
    r"контактное лицо\s*[:=-]?|my\s+name\s+is|name\s*[:=-])[\s,.:!–—-]*$",
    re.I,
)
# «это ужас», "I am angry": a name may follow, and so may anything else
_MAY_SAY_OWN_NAME = re.compile(
    r"(?<!\w)(?:это|я\s*[-–—]?|с\s+уважением|this\s+is|i\s+am|i'm|regards|best|sincerely|"
    r"thanks|cheers)[\s,.:!–—-]*$",
    re.I,
)
# words before or after a name which say that somebody else is meant
_SOMEBODY_ELSE = re.compile(
    r"(?<!\w)(?:менеджер\w*|консультант\w*|оператор\w*|сотрудни\w*|мастер\w*|курьер\w*|"
    r"врач\w*|доктор\w*|директор\w*|специалист\w*|администратор\w*|продав\w*|"
    r"водител\w*|бухгалтер\w*|"
    r"муж\w*|жен[аыеу]|сын\w*|доч\w*|мам\w*|пап\w*|отец|отц\w*|брат\w*|сестр\w*|"
    r"подруг\w*|друг\w*|коллег\w*|начальник\w*|шеф\w*|есть|спросить|позовите|"
    r"передайте|скажите|ваш\w*|"
    r"manager|husband|wife|son|daughter|mother|father|brother|sister|friend|your|"
    r"called|named|улиц\w*|ул|просп\w*|пр|пер|площад\w*|имени)\W*$",
    re.I,
)


def client_name(text: str, tagger: NameTagger | None = None) -> Found | None:
    """The name by which the client calls himself, or None when he names nobody or somebody else."""
    best: tuple[int, Found] | None = None
    for found in find_names(text, tagger):
        before, after = text[: found.start], text[found.end :]
        score = _says_own_name(before, after)
        if score > 0 and (best is None or score > best[0]):
            best = (score, found)
    return best[1] if best else None


def is_name_word(word: str) -> bool:
    """May it be a part of a name: a capital, or the form of a first name, patronymic or surname?"""
    return fold(word) not in _NO_NAME and (not word.islower() or bool(_kind(word)))


def says_own_name(before: str) -> bool:
    """Do the words before a name say that it is the client's: «меня зовут», "my name is"?"""
    return bool(_SAYS_OWN_NAME.search(before)) and not _SOMEBODY_ELSE.search(before)


def stands_as_signature(before: str, after: str) -> bool:
    """Does nothing but contacts follow, or "I am" and the like come before?"""
    return _says_own_name(before, after) > 1


def _says_own_name(before: str, after: str) -> int:
    if _SOMEBODY_ELSE.search(before):
        return 0
    if _SAYS_OWN_NAME.search(before) or _MAY_SAY_OWN_NAME.search(before):
        return 3
    # a signature: nothing but contacts follows, and the name stands apart from the sentence
    rest = re.sub(
        r"[\w.+-]+@[\w.-]+|[\d+()\s,.;:!–—-]+|\b(?:тел(?:ефон)?|моб|т|phone|tel|mail|"
        r"почта|email|менеджер|директор|инженер|бухгалтер|с уважением|вопрос)\b",
        "",
        after,
        flags=re.I,
    )
    apart = not before.strip() or bool(re.search(r"[,.!?;:\n—–)]\s*$|\d\s*$", before))
    if apart and not re.search(r"\w", rest):
        return 2
    if not before.strip() and re.match(r"\s*[,.]?\s*(?:\+?\d(?:[\s()-]*\d){9}|$)", after):
        return 2
    # «Анна Петрова, хочу заказать кухню» and «… , Рустам +7 937 …»
    return 1 if apart and re.match(r"\s*(?:,|\+?\d|\.|$)", after) and len(words(before)) != 1 else 0
