"""Words of Russian and English texts: folding, stems, and whether a word stands in a text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import snowballstemmer

WORD = re.compile(r"[^\W\d_]+(?:['’ʼ][^\W\d_]+)*")
TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’ʼ][^\W\d_]+)*")
SENTENCE_END = re.compile(r"(?<=[.!?…])[\s\"»)]+(?=[\"«(]?[^\W_])|\n+")
_ABBREVIATION_END = re.compile(
    r"(?:\b(?:г|ул|д|кв|стр|корп|тел|руб|тыс|т|р|им|см|др|т\.д|т\.п|mr|mrs|dr))\.$", re.I
)

_RUSSIAN = snowballstemmer.stemmer("russian")
_ENGLISH = snowballstemmer.stemmer("english")
_CYRILLIC = re.compile(r"[а-яё]", re.I)
# «котёл — котла», «замок — замка»: the vowel before the last consonant goes away with the ending
_FLEETING = re.compile(r"([бвгджзклмнпрстфхцчшщ])[оеё]([клнцрт])$")


def listed(text: str) -> frozenset[str]:
    """A table of words, written as running text."""
    return frozenset(text.split())


STOP_WORDS = listed(
    """
    а без бы был была были было быть в вам вами вас ваш ваша ваше вашего вашей ваши вашу
    весь во вот все всё всего всех вы где да для до его ее её если есть еще ещё же за здесь
    и из или им их к как какая какие какой когда кто ко ли лишь меня мне мной может можно
    мой моя моё мои моего моей мы на над надо нам нас наш наша наше наши не него нее неё нет
    ни них но ну о об обо он она они оно от очень по под при про с сам со так также там те
    тем то того той только том тот ту тут ты у уже чего чем что чтобы эта эти это этого этой
    этом этот эту я свой своя свою свои который которая которое которые либо ведь пожалуйста
    здравствуйте спасибо добрый день вечер утро a an the of to in on at by for from with and
    or is are am be been was were it its this that these those i you he she we they me my
    your our their his her as if so do does did not no yes can could will would should
    please hello hi thanks thank there here have has had what which who when where how about
    into than then too very just
    """
)


def fold(text: str) -> str:
    """Lower case, ё as е: how spellings are compared. Keeps the length of the text."""
    lowered = text.lower()
    return (lowered if len(lowered) == len(text) else text).replace("ё", "е").replace("Ё", "е")


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """The unchanging part of a folded word."""
    stemmer = _RUSSIAN if _CYRILLIC.search(word) else _ENGLISH
    return str(stemmer.stemWord(fold(word)))


def words(text: str) -> list[str]:
    """Folded words without numbers, in order."""
    return WORD.findall(fold(text))


def content_words(text: str) -> list[str]:
    """Folded words and numbers that carry meaning, in order."""
    return [
        token
        for token in TOKEN.findall(fold(text))
        if token not in STOP_WORDS and (len(token) > 1 or token.isdigit())
    ]


def stems(text: str) -> list[str]:
    """Stems of the words that carry meaning, in order."""
    return [stem(token) for token in content_words(text)]


def sentences(text: str) -> list[str]:
    """The text cut after sentence ends and line ends; abbreviations («ул.», «тыс.») end nothing."""
    found: list[str] = []
    start = 0
    for gap in SENTENCE_END.finditer(text):
        piece = text[start : gap.start()]
        if "\n" not in gap.group() and (
            _ABBREVIATION_END.search(piece) or re.fullmatch(r"\s*\d{1,2}\.", piece)
        ):
            continue
        if piece.strip():
            found.append(piece.strip())
        start = gap.end()
    if text[start:].strip():
        found.append(text[start:].strip())
    return found


def common_prefix(a: str, b: str) -> int:
    length = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        length += 1
    return length


@lru_cache(maxsize=50_000)
def same_word(a: str, b: str) -> bool:
    """Are two folded words forms of one word? Short words must be equal; no fuzzy spelling."""
    if a == b:
        return True
    if min(len(a), len(b)) < 3 or a[0] != b[0]:
        return False
    left, right = stem(a), stem(b)
    if left == right:
        return True
    if _FLEETING.sub(r"\1\2", left) == _FLEETING.sub(r"\1\2", right):
        return True
    # the stemmer leaves different stems for some pairs («москве — московская» it should not join):
    # a long common beginning with short different endings is one word
    prefix = common_prefix(a, b)
    return prefix >= 5 and max(len(a), len(b)) - prefix <= 3


# nouns and verbs of one matter whose roots differ in spelling
_RELATIVES = (
    ("возвра", "верн"),
    ("запис", "запиш"),
    ("просмотр", "посмотр", "смотр"),
    ("обмен", "помен", "замен"),
    ("предлож", "предлаг"),
    ("оплат", "плат"),
    ("ожидан", "жду", "ждем", "ждать"),
    ("стоимост", "стои", "цен", "прайс"),
    ("встреч", "встрет"),
    ("покупк", "куп"),
    ("перезвон", "звон"),
    ("отправк", "отправ", "пришл", "вышл"),
    ("приход", "прид"),
    ("приезж", "приед"),
    ("выезж", "выезд", "выед"),
)


@lru_cache(maxsize=20_000)
def _relative(word: str) -> int | None:
    return next((number for number, roots in enumerate(_RELATIVES) if word.startswith(roots)), None)


@lru_cache(maxsize=50_000)
def same_root(a: str, b: str) -> bool:
    """Looser than `same_word`: also a noun and its verb («перенос — перенести»)."""
    if same_word(a, b) or _relative(a) == _relative(b) is not None:
        return True
    prefix = common_prefix(a, b)
    return prefix >= 5 or (prefix == 4 and min(len(a), len(b)) <= 6)


class WordIndex:
    """The words of some texts, to be asked many times whether a word stands there in any form."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_letter: dict[str, set[str]] = {}
        self.exact: set[str] = set()
        for text in texts:
            for token in TOKEN.findall(fold(text)):
                self.exact.add(token)
                self._by_letter.setdefault(token[0], set()).add(token)

    def has(self, word: str) -> bool:
        """Does the folded word stand in the texts, in any form?"""
        if word in self.exact:
            return True
        if word[0].isdigit():
            return False
        return any(same_word(word, other) for other in self._by_letter.get(word[0], ()))

    def has_root(self, word: str) -> bool:
        """Does the folded word or a close relative stand in the texts?"""
        if word[0].isdigit():
            return word in self.exact
        others = self.exact if _relative(word) is not None else self._by_letter.get(word[0], ())
        return any(same_root(word, other) for other in others)
