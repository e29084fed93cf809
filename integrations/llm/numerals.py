"""Number words as digits, while every piece still knows where it stood in the text."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from integrations.llm.words import fold

_UNITS = {
    1: "один одна одно одну одного одной одному одним one",
    2: "два две двух двум двумя two",
    3: "три трех трем тремя three",
    4: "четыре четырех четырем четырьмя four",
    5: "пять пяти пятью five",
    6: "шесть шести шестью six",
    7: "семь семи семью seven",
    8: "восемь восьми восемью восьмью eight",
    9: "девять девяти девятью nine",
}
_TEENS = {
    10: "десять десяти десятью ten",
    11: "одиннадцать одиннадцати одиннадцатью eleven",
    12: "двенадцать двенадцати двенадцатью twelve",
    13: "тринадцать тринадцати тринадцатью thirteen",
    14: "четырнадцать четырнадцати четырнадцатью fourteen",
    15: "пятнадцать пятнадцати пятнадцатью fifteen",
    16: "шестнадцать шестнадцати шестнадцатью sixteen",
    17: "семнадцать семнадцати семнадцатью seventeen",
    18: "восемнадцать восемнадцати восемнадцатью eighteen",
    19: "девятнадцать девятнадцати девятнадцатью nineteen",
}
_TENS = {
    20: "двадцать двадцати двадцатью twenty",
    30: "тридцать тридцати тридцатью thirty",
    40: "сорок сорока forty",
    50: "пятьдесят пятидесяти пятьюдесятью fifty",
    60: "шестьдесят шестидесяти шестьюдесятью sixty",
    70: "семьдесят семидесяти семьюдесятью seventy",
    80: "восемьдесят восьмидесяти восемьюдесятью eighty",
    90: "девяносто девяноста ninety",
}
_HUNDREDS = {
    100: "сто ста",
    200: "двести двухсот двумстам",
    300: "триста трехсот",
    400: "четыреста четырехсот",
    500: "пятьсот пятисот",
    600: "шестьсот шестисот",
    700: "семьсот семисот",
    800: "восемьсот восьмисот",
    900: "девятьсот девятисот",
}
_ORDINAL_STEMS = {
    1: "перв", 2: "втор", 4: "четверт", 5: "пят", 6: "шест", 7: "седьм", 8: "восьм", 9: "девят",
    10: "десят", 11: "одиннадцат", 12: "двенадцат", 13: "тринадцат", 14: "четырнадцат",
    15: "пятнадцат", 16: "шестнадцат", 17: "семнадцат", 18: "восемнадцат", 19: "девятнадцат",
    20: "двадцат", 30: "тридцат",
}  # fmt: skip
_ORDINAL_ENDINGS = ("ый", "ой", "ое", "ого", "ому", "ым", "ом", "ая", "ую")
_THIRD = "третий третье третьего третьему третьим третьем третья третьей третью"
_ENGLISH_ORDINALS = (
    "first",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
)
_ENGLISH_ORDINAL_VALUES = (1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
_ONE_AND_A_HALF = frozenset(("полтора", "полторы", "полутора"))


def _forms() -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """word -> (value, size: 1 units, 2 teens, 3 tens, 4 hundreds), and ordinal word -> value."""
    cardinals: dict[str, tuple[int, int]] = {}
    for size, table in enumerate((_UNITS, _TEENS, _TENS, _HUNDREDS), start=1):
        for value, forms in table.items():
            for form in forms.split():
                cardinals[form] = (value, size)
    ordinals = {
        root + ending: value
        for value, root in _ORDINAL_STEMS.items()
        for ending in _ORDINAL_ENDINGS
    }
    ordinals |= dict.fromkeys(_THIRD.split(), 3)
    ordinals |= dict(zip(_ENGLISH_ORDINALS, _ENGLISH_ORDINAL_VALUES, strict=True))
    return cardinals, ordinals


_CARDINALS, _ORDINALS = _forms()
_PIECE = re.compile(
    r"(?P<half>\s+(?:с половиной|and a half)(?!\w))|"
    r"(?P<half_of>(?<!\w)пол\s?(?=миллион|тысяч))|(\d+)\s?-?(ого|его|ому|ему|ое|"
    r"ее|го|му|ой|ей|ый|ий|ым|ом|ем|ая|ую|е|й|я|ю|st|nd|rd|th)(?!\w)|([^\W\d_]+)|"
    r"\s+|.",
    re.S,
)


@dataclass(frozen=True)
class Digitised:
    """A folded text with digits for number words: «две» is "2", «восьмое» is "8-й"."""

    text: str
    original: str
    starts: tuple[int, ...]
    """Where each piece of the new text begins in it."""
    spans: tuple[tuple[int, int], ...]
    """Where the same pieces stand in the original."""

    def span_of(self, start: int, end: int) -> tuple[int, int]:
        """Position in the original of a stretch [start, end) of the new text."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, max(start, end - 1)) - 1
        left, right = self.spans[first], self.spans[last]
        # an unchanged piece keeps its inner positions
        inside = start - self.starts[first] if left[1] - left[0] == self._length(first) else 0
        cut = (
            (self.starts[last] + self._length(last)) - end
            if right[1] - right[0] == self._length(last)
            else 0
        )
        return left[0] + inside, right[1] - cut

    def _length(self, index: int) -> int:
        following = self.starts[index + 1] if index + 1 < len(self.starts) else len(self.text)
        return following - self.starts[index]


@lru_cache(maxsize=512)
def digitise(text: str) -> Digitised:
    """Number words and ordinals as digits: «восемь девятьсот три один» is "8 903 1"."""
    pieces: list[tuple[str, int, int]] = []
    size_of_last = 0
    gap: tuple[str, int, int] | None = None
    for match in _PIECE.finditer(fold(text)):
        piece, start, end = match.group(), match.start(), match.end()
        word = match.group(5) or ""
        if match.group("half") and pieces and pieces[-1][0].isdigit():
            head, left, _ = pieces.pop()
            pieces.append((f"{head}.5", left, end))
            size_of_last, gap = 0, None
            continue
        if word.startswith("пол") and word[3:] in _ORDINALS:
            # «полтретьего» is half past two
            pieces += [gap] if gap else []
            pieces.append((f"пол {_ORDINALS[word[3:]]}-й", start, end))
            size_of_last, gap = 0, None
            continue
        if match.group("half_of") or word in _ONE_AND_A_HALF:
            pieces += [gap] if gap else []
            pieces.append(("0.5 " if match.group("half_of") else "1.5", start, end))
            size_of_last, gap = 0, None
            continue
        if match.group(3):
            pieces += [gap] if gap else []
            pieces.append((f"{match.group(3)}-й", start, end))
            size_of_last, gap = 0, None
            continue
        if piece.isspace() and size_of_last and gap is None:
            gap = (piece, start, end)
            continue
        if word in _CARDINALS or word in _ORDINALS:
            value, size = _CARDINALS.get(word) or (_ORDINALS[word], _size(_ORDINALS[word]))
            ending = "-й" if word in _ORDINALS else ""
            if gap is not None and size_of_last and _continues(size_of_last, size):
                head, left, _ = pieces.pop()
                pieces.append((f"{int(head) + value}{ending}", left, end))
            else:
                pieces += [gap] if gap else []
                pieces.append((f"{value}{ending}", start, end))
            size_of_last, gap = (0 if ending else size), None
            continue
        pieces += [gap] if gap else []
        pieces.append((piece, start, end))
        size_of_last, gap = 0, None
    pieces += [gap] if gap else []
    starts: list[int] = []
    position = 0
    for piece, _, _ in pieces:
        starts.append(position)
        position += len(piece)
    return Digitised(
        text="".join(piece for piece, _, _ in pieces),
        original=text,
        starts=tuple(starts) or (0,),
        spans=tuple((start, end) for _, start, end in pieces) or ((0, 0),),
    )


def _size(value: int) -> int:
    return 1 if value < 10 else 2 if value < 20 else 3


def _continues(last: int, size: int) -> bool:
    """Hundreds may be followed by tens, teens or units; tens by units; nothing follows those."""
    return size < last and last in (3, 4) and not (last == 3 and size == 2)
