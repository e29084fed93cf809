"""Readings of a time of day: «в 17 часов», «полтретьего», «с 10 до 12», «вечером»."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from integrations.llm.days import MONTH, NOT_UNIT, WORD_END, WORD_START, Grain

_DAYPARTS = (
    (r"утр(?:ом|а|у)|с утра|morning", 4, 12),
    (r"днем|после обеда|afternoon", 12, 19),
    (r"в обед|до обеда|в обеденное время|lunchtime", 12, 14),
    (r"вечер(?:ом|а|у|ком)?|evening|tonight", 18, 24),
    (r"ноч(?:ью|и)|night", 0, 6),
)
_ZONES = {
    "мск": 3, "по московскому времени": 3, "по мск": 3, "по москве": 3, "msk": 3, "utc": 0,
    "gmt": 0, "cet": 1, "cest": 2, "eet": 2, "est": -5, "pst": -8, "по екб": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Clock:
    """A time of day, or a stretch of it, in minutes after midnight."""

    start: int
    end: int
    first: int
    last: int | None = None
    grain: Grain = "hour"
    half_day_known: bool = True
    weak: bool = False
    second: int = 0
    zone: int | None = None
    opened: bool = False
    """«после 15:00», «до 12»: only one end is told."""
    part: bool = False
    """A part of a day («вечером»), no exact time."""


_HALF = (
    r"(?:\s?(?P<half>утра|дня|вечера|ночи|пополудни|после полудня|a\.?m\.?|p\.?m\.?)(?![^\W\d_]))"
)
_HOUR_WORD = rf"(?:час(?:а|ов|ам|у)?|ч\.?|h|o'?clock){WORD_END}"
_AT = (
    r"(?:(?:в|к|на|с|до|после|около|примерно в|часов в|часам к|at|by|around|from|"
    r"till|until|after|before|@)\s)"
)
_FIRST_HALF = _HALF.replace("half", "half0")
_ZONE = "|".join(sorted(_ZONES, key=len, reverse=True))
_CLOCK_RULES: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        # a stretch: «с 10 до 12», «9:30 - 11:00», «между 14 и 16 часами»
        rf"(?<![\d.,:/-])(?P<from>с\s|между\s|from\s|between\s)?(?P<h>[01]?\d|"
        rf"2[0-4])(?:[:.](?P<n>[0-5]\d))?\s?(?:{_HOUR_WORD})?{_FIRST_HALF}?\s?(?:-|"
        rf"–|—|до|to|till|until|и(?=\s\d)|and)\s?(?P<h2>[01]?\d|"
        rf"2[0-4])(?:[:.](?P<n2>[0-5]\d))?(?![\d.:/-])(?P<word>\s?{_HOUR_WORD})?{_HALF}?(?!\s?(?:%|"
        rf"руб|₽|шт|{MONTH}|[^\W\d_]*р\b))",
        rf"(?:{_AT})?(?<![\d.,:/-])(?P<h>[01]?\d|"
        rf"2[0-4]):(?P<n>[0-5]\d)(?::(?P<s>[0-5]\d))?(?!\d|"
        rf":\d)(?:\s?{_HOUR_WORD})?{_HALF}?(?P<zone>\s?(?:{_ZONE}){WORD_END})?",
        rf"{WORD_START}(?:в|к|с|до|после|около|at)\s(?P<h>[01]?\d|"
        rf"2[0-3])[.-](?P<n>[0-5]\d)(?!\d|\.\d){_HALF}?{NOT_UNIT}",
        rf"(?:{_AT})?(?<![\d.,:])(?P<h>[01]?\d|2[0-4])\s?(?:ч|"
        rf"час\w*)\.?\s?(?P<n>[0-5]\d)(?!\d)(?:\s?мин\w*\.?)?{_HALF}?",
        rf"(?:{_AT})?(?<![\d.,:])(?P<h>[01]?\d|2[0-4])\s?{_HOUR_WORD}{_HALF}",
        rf"(?:{_AT})?(?<![\d.,:])(?P<h>[01]?\d|2[0-4]){_HALF}",
        rf"{WORD_START}(?P<at>{_AT})(?P<h>[01]?\d|2[0-4])\s?(?P<word>{_HOUR_WORD})(?!\s?\d)",
        rf"{WORD_START}(?P<at>{_AT})(?P<h>[01]?\d|2[0-4])(?![\d.:,/%-]|\s?[^\W\d_]|\s?\d)",
        rf"(?<![\d.,:])(?P<h>[01]?\d|2[0-4])\s(?P<bare>{_HOUR_WORD})",
        rf"{WORD_START}(?:{_AT})?(?:пол\s?|половина\s|половину\s|половине\s)(?P<past>\d{{1,2}})-й",
    )
)
_SPECIAL = (
    (r"(?:в\s|к\s|до\s)?полдень|полудню|at noon|noon", 12 * 60),
    (r"(?:в\s|к\s|до\s)?полночь|полуночи|midnight", 24 * 60),
)
_SPECIAL_RULES = tuple(
    (re.compile(rf"{WORD_START}(?:{pattern}){WORD_END}"), minute) for pattern, minute in _SPECIAL
)
_QUARTER_PAST = re.compile(
    rf"{WORD_START}(?:в\s|к\s)?(?:(?P<q>четверть)|"
    rf"(?P<m>\d{{1,2}})\sмин\w*)\s(?P<h>\d{{1,2}})-й{_HALF}?"
)
_QUARTER_TO = re.compile(
    rf"{WORD_START}(?:в\s|к\s)?без\s(?:(?P<q>четверти)|"
    rf"(?P<m>\d{{1,2}})(?:\sмин\w*)?)\s(?P<h>\d{{1,2}})(?:\sчас\w*)?{_HALF}?(?!\d)"
)
_PART_RULES = tuple(
    (
        re.compile(
            rf"(?<!добрый )(?<!доброе )(?<!доброго )(?<!good ){WORD_START}(?:in the\s|"
            rf"this\s|ближе к\s|к\s|до\s|по\s)?(?:{pattern}){WORD_END}"
        ),
        first,
        last,
    )
    for pattern, first, last in _DAYPARTS
)
_OPEN = ("до ", "после ", "с ", "by ", "before ", "until ", "till ", "from ", "after ")


def _half_day(hour: int, half: str | None) -> tuple[int, bool]:
    """Hour of 24 and whether the half of the day was told (or needs no telling)."""
    if half is None:
        return hour, hour == 0 or hour > 12
    if half in ("утра",) or half.startswith("a"):
        return hour % 12 if hour == 12 and half.startswith("a") else hour, True
    if half == "ночи":
        return (hour if hour < 9 else hour % 12 + 12), True
    return (hour if hour >= 12 else hour + 12), True


def read_clocks(text: str) -> Iterator[Clock]:
    for number, pattern in enumerate(_CLOCK_RULES):
        for match in pattern.finditer(text):
            clock = _stretch_of_hours(match) if number == 0 else _one_time(match)
            if clock:
                yield clock
    for pattern, minute in _SPECIAL_RULES:
        for match in pattern.finditer(text):
            yield Clock(match.start(), match.end(), minute)
    for pattern, sign in ((_QUARTER_PAST, 1), (_QUARTER_TO, -1)):
        for match in pattern.finditer(text):
            hour, known = _half_day(int(match["h"]) - (sign > 0), match["half"])
            minutes = 15 if match["q"] else int(match["m"])
            if hour <= 24 and minutes < 60:
                yield Clock(
                    match.start(),
                    match.end(),
                    hour * 60 + sign * minutes,
                    grain="minute",
                    half_day_known=known,
                )
    for pattern, first, last in _PART_RULES:
        for match in pattern.finditer(text):
            yield Clock(match.start(), match.end(), first * 60, last * 60, part=True)


def _stretch_of_hours(match: re.Match[str]) -> Clock | None:
    told = match["from"] or match["word"] or match["n"] or match["n2"] or match["half"]
    if not told or (match["n2"] is None and match["n"] is not None and ":" not in match.group()):
        return None
    first, known = _half_day(int(match["h"]), match["half0"] or match["half"])
    last, _ = _half_day(int(match["h2"]), match["half"])
    if last <= first and match["half"] is None and last + 12 <= 24 and last < 12:
        last += 12
    if last < first:
        return None
    grain: Grain = "minute" if match["n"] or match["n2"] else "hour"
    weak = not (match["n"] and match["n2"]) and not match["word"] and not match["half"]
    return Clock(
        match.start(),
        match.end(),
        first * 60 + int(match["n"] or 0),
        last * 60 + int(match["n2"] or 0),
        grain,
        half_day_known=known or last > 12,
        weak=weak,
    )


def _one_time(match: re.Match[str]) -> Clock | None:
    groups = match.groupdict()
    if groups.get("past"):
        hour, known = _half_day(int(match["past"]) - 1, None)
        return (
            Clock(match.start(), match.end(), hour * 60 + 30, grain="minute", half_day_known=known)
            if hour < 12
            else None
        )
    if (
        groups.get("half") == "дня"
        and match["h"] == match.group()[: len(match["h"])]
        and groups.get("n") is None
    ):
        return None  # «2 дня» without «в» is two days
    hour, known = _half_day(int(match["h"]), groups.get("half"))
    minutes = int(groups.get("n") or 0)
    if hour > 24 or (hour == 24 and minutes):
        return None
    # «09:30» and «15:00» are times of a 24-hour clock, «3:18» may be afternoon
    known = known or (groups.get("n") is not None and (match["h"].startswith("0") or hour >= 7))
    zone = (groups.get("zone") or "").strip()
    return Clock(
        match.start(),
        match.end(),
        hour * 60 + minutes,
        grain="minute" if groups.get("n") else "hour",
        half_day_known=known,
        weak=bool(groups.get("bare")) or ("at" in groups and "word" not in groups),
        second=int(groups.get("s") or 0),
        opened=match.group().startswith(_OPEN),
        zone=_ZONES.get(zone) if zone else None,
    )
