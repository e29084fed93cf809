"""Readings of days and stretches of days, in Russian and English."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

Grain = Literal["second", "minute", "hour", "day", "week", "month", "quarter", "year"]

_MONTHS = (
    r"янв(?:ар[ьяею]м?|\.)?|january|jan\.?",
    r"фев(?:рал[ьяею]м?|\.)?|february|feb\.?",
    r"мар(?:та?е?у?о?м?|\.)?|march|mar\.?",
    r"апр(?:ел[ьяею]м?|\.)?|april|apr\.?",
    r"ма[йяею]м?|may",
    r"июн(?:[ьяею]м?|\.)?|june|jun\.?",
    r"июл(?:[ьяею]м?|\.)?|july|jul\.?",
    r"авг(?:уста?е?у?о?м?|\.)?|august|aug\.?",
    r"сен(?:т(?:ябр[ьяею]м?|\.)?|\.)?|september|sept?\.?",
    r"окт(?:ябр[ьяею]м?|\.)?|october|oct\.?",
    r"ноя(?:б(?:р[ьяею]м?)?|\.)?|november|nov\.?",
    r"дек(?:абр[ьяею]м?|\.)?|december|dec\.?",
)
_WEEKDAYS = (
    r"понедельник(?:а|у|ом|е)?|пн\.?|monday|mon\.?",
    r"вторник(?:а|у|ом|е)?|вт\.?|tuesday|tues?\.?",
    r"сред(?:а|у|ы|е|ой)|ср\.?|wednesday|wed\.?",
    r"четверг(?:а|у|ом|е)?|чт\.?|thursday|thurs?\.?",
    r"пятниц(?:а|у|ы|е|ей)|пт\.?|friday|fri\.?",
    r"суббот(?:а|у|ы|е|ой)|сб\.?|saturday|sat\.?",
    r"воскресень[еяю]м?|вс\.?|вск\.?|sunday|sun\.?",
)
_UNITS: tuple[tuple[str, str], ...] = (
    (r"секунд(?:у|ы|очку)?|сек\.?|seconds?|secs?", "second"),
    (r"минут(?:у|ы|очку|ок)?|мин\.?|minutes?|mins?", "minute"),
    (r"час(?:а|ов|ик|ика)?|hours?|hrs?|ч\.?", "hour"),
    (r"(?:рабоч\w+|раб\.?|banking|business|working)\s+(?:д(?:ень|ня|ней|н\.?)|days?)", "workday"),
    (r"д(?:ень|ня|ней|ню|н\.?)|сут(?:ки|ок)|days?", "day"),
    (r"недел(?:ю|и|ь|я|ьки|ьку)|нед\.?|weeks?", "week"),
    (r"месяц(?:а|ев)?|мес\.?|months?", "month"),
    (r"квартал(?:а|ов)?|quarters?", "quarter"),
    (r"год(?:а|у)?|лет|years?", "year"),
)
WORD_END = r"(?![^\W\d_])"
WORD_START = r"(?<![^\W_])"
MONTH = rf"(?:{'|'.join(_MONTHS)}){WORD_END}"
WEEKDAY = rf"(?:{'|'.join(_WEEKDAYS)}){WORD_END}"
WEEKDAY_LONG = (
    rf"(?:{re.sub(r'\|(?:[а-я]{2,3}|[a-z]+\??)\\\.\?', '', '|'.join(_WEEKDAYS))}){WORD_END}"
)
UNIT = rf"(?:{'|'.join(pattern for pattern, _ in _UNITS)}){WORD_END}"
_YEAR = r"(?:(?:19|20)\d\d)(?!\d)(?:\s?(?:года|году|год|гг?\.?)(?![^\W\d_]))?"
_THIS = r"эт(?:от|ой|ого|ому|им|у|а|и|ом|ими)|текущ\w+|нынешн\w+|this"
_NEXT = r"следующ\w+|будущ\w+|ближайш\w+|next|coming|upcoming"
_LAST = r"прошл\w+|прошедш\w+|предыдущ\w+|last|previous"
_BEFORE_LAST = r"позапрошл\w+"
_WHICH = rf"(?P<which>{_BEFORE_LAST}|{_THIS}|{_NEXT}|{_LAST})"
_OFFSET_WORDS = ((_BEFORE_LAST, -2), (_THIS, 0), (_NEXT, 1), (_LAST, -1))
_DAY_NUMBER = r"(?<![\d.,:/-])(?P<d>0?[1-9]|[12]\d|3[01])(?:-й)?"
PREPOSITION = (
    r"(?:(?:в|во|на|к|ко|с|со|до|от|по|после|перед|около|on|by|until|till|from|"
    r"before|after|since)\s+)"
)
NOT_UNIT = (
    r"(?!\s?(?:%|руб|р\b|₽|тыс|т\.?р|млн|к\b|кг|км|м\b|см|мм|шт|г\b|л\b|литр|метр|"
    r"штук|процент|балл|звезд|\$|€|usd|eur))"
)

_RELATIVE_DAYS = {
    "позапозавчера": -3, "позавчера": -2, "вчера": -1, "сегодня": 0, "завтра": 1,
    "послезавтра": 2, "послепослезавтра": 3, "yesterday": -1, "today": 0, "tonight": 0,
    "tomorrow": 1, "day before yesterday": -2, "day after tomorrow": 2, "tmrw": 1,
    "сегодняшний день": 0, "завтрашний день": 1, "вчерашний день": -1, "сегодняшнего дня": 0,
    "завтрашнего дня": 1, "вчерашнего дня": -1,
}  # fmt: skip
_RELATIVE_DAY = "|".join(sorted(_RELATIVE_DAYS, key=len, reverse=True))
_HOLIDAYS = (
    (r"нов(?:ый|ого|ому|ым) год(?:а|у|ом)?", (1, 1)),
    (r"рождеств(?:о|а|у|ом)", (1, 7)),
    (r"стар(?:ый|ого|ому) нов(?:ый|ого|ому) год(?:а|у)?", (1, 14)),
    (r"new year(?:'s)?(?: day)?", (1, 1)),
    (r"christmas(?: day)?", (12, 25)),
    (r"день победы|дня победы|дню победы", (5, 9)),
    (r"д(?:ень|ня|ню) защитника отечества", (2, 23)),
    (r"международный женский день|женский день|женского дня", (3, 8)),
    (r"д(?:ень|ня|ню) святого валентина|valentine'?s day", (2, 14)),
    (r"д(?:ень|ня|ню) россии", (6, 12)),
    (r"д(?:ень|ня|ню) народного единства", (11, 4)),
    (r"д(?:ень|ня|ню) знаний", (9, 1)),
)
_SEASONS = (
    (r"лет(?:о|а|ом)|summer", 6),
    (r"осен(?:ь|и|ью)|autumn", 9),
    (r"зим(?:а|ы|ой)|winter", 12),
    (r"весн(?:а|ы|ой)|spring", 3),
)
# hours of the parts of a day, as Russians divide it


@dataclass(frozen=True)
class Day:
    """A stretch of days found in the digitised text."""

    start: int
    end: int
    first: date
    last: date
    grain: Grain = "day"
    ambiguous: bool = False
    weak: bool = False
    """Counts only when it is all of the text or stands beside a time («15.2», «среда»)."""
    dropped: bool = False
    """A timetable («пн–пт»): no day, but nothing inside it is one either."""
    moment: datetime | None = None
    """Set when the expression fixes the time as well («через 2 часа», an ISO moment)."""


def _month(words: str) -> int:
    return next(
        number for number, names in enumerate(_MONTHS, start=1) if re.fullmatch(names, words)
    )


def weekday_of(words: str) -> int:
    return next(number for number, names in enumerate(_WEEKDAYS) if re.fullmatch(names, words))


def unit_of(words: str) -> str:
    return next(name for pattern, name in _UNITS if re.fullmatch(pattern, words))


def _which(words: str) -> int:
    return next(offset for pattern, offset in _OFFSET_WORDS if re.fullmatch(pattern, words))


def _full_year(words: str) -> int:
    year = int(re.match(r"\d+", words).group())  # type: ignore[union-attr]  # only called on matched digits
    if year >= 100:
        return year
    return 2000 + year if year < 70 else 1900 + year


def _safe(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _without_year(today: date, month: int, day: int) -> tuple[date, bool] | None:
    """The next such day from today on; doubtful when the last one was much nearer."""
    for year in range(today.year, today.year + 5):
        found = _safe(year, month, day)
        if found and found >= today:
            before = _safe(year - 1, month, day)
            return found, bool(before and (today - before).days * 2 < (found - today).days)
    return None


def _add_months(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    for last in (day.day, 30, 29, 28):
        found = _safe(year, month + 1, last)
        if found:
            return found
    raise ValueError("no such month")


def _workdays(day: date, count: int) -> date:
    step = 1 if count >= 0 else -1
    for _ in range(min(abs(count), 400)):
        day += timedelta(days=step)
        while day.weekday() >= 5:
            day += timedelta(days=step)
    return day


Rule = Callable[[re.Match[str], datetime], Day | None]
_DAY_RULES: list[tuple[re.Pattern[str], Rule]] = []


def _day_rule(pattern: str) -> Callable[[Rule], Rule]:
    def add(rule: Rule) -> Rule:
        _DAY_RULES.append((re.compile(pattern), rule))
        return rule

    return add


def _day(
    match: re.Match[str],
    first: date | None,
    last: date | None = None,
    *,
    ambiguous: bool = False,
    weak: bool = False,
    dropped: bool = False,
) -> Day | None:
    if first is None or not 1900 <= first.year <= 2200:
        return None
    return Day(
        match.start(),
        match.end(),
        first,
        last or first,
        ambiguous=ambiguous,
        weak=weak,
        dropped=dropped,
    )


@_day_rule(
    r"(?<![\d-])(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)(?:[t "
    r"](?P<h>\d\d):(?P<n>\d\d)(?::(?P<s>\d\d)(?:\.\d+)?)?\s?(?P<z>z|"
    r"[+-]\d\d:?\d\d)?)?(?!\d)"
)
def _iso(match: re.Match[str], now: datetime) -> Day | None:
    first = _safe(int(match["y"]), int(match["m"]), int(match["d"]))
    if first is None or match["h"] is None:
        return _day(match, first)
    try:
        clock = time(int(match["h"]), int(match["n"]), int(match["s"] or 0))
    except ValueError:
        return None
    zone = now.tzinfo
    if match["z"]:
        zone = UTC if match["z"] == "z" else datetime.strptime(match["z"], "%z").tzinfo
    moment = datetime.combine(first, clock, zone).astimezone(now.tzinfo)
    found = _day(match, moment.date())
    return (
        replace(found, moment=moment, grain="second" if match["s"] else "minute") if found else None
    )


@_day_rule(
    r"(?<![\d.,/-])(?:с\s)?(?P<d>\d{1,2})\.?(?:(?P<m1>[01]?\d)\.?)?\s?(?:-|–|—|/|"
    r"по|до)\s?(?P<d2>\d{1,2})\.(?P<m>0[1-9]|1[0-2]|[1-9])\.?(?P<y>\d{4}|"
    r"\d{2})?(?!\d|\.\d)"
)
def _numeric_range(match: re.Match[str], now: datetime) -> Day | None:
    return _span_of_days(match, now, int(match["m1"] or match["m"]), int(match["m"]), match["y"])


@_day_rule(
    rf"(?<![\d.,:])(?:с\s|"
    rf"from\s)?(?P<d>\d{{1,2}})(?:-й)?(?:\s(?P<m1>{MONTH}))?\s?(?:-|–|—|/|по|до|"
    rf"to|и)\s?(?P<d2>\d{{1,2}})(?:-й)?\s(?P<m>{MONTH})(?:\s(?P<y>{_YEAR}))?"
)
def _named_range(match: re.Match[str], now: datetime) -> Day | None:
    month = _month(match["m"])
    return _span_of_days(
        match, now, _month(match["m1"]) if match["m1"] else month, month, match["y"]
    )


def _span_of_days(
    match: re.Match[str], now: datetime, month1: int, month2: int, year: str | None
) -> Day | None:
    if year:
        first = _safe(_full_year(year), month1, int(match["d"]))
    else:
        found = _without_year(now.date(), month1, int(match["d"])) if month1 <= 12 else None
        first = found[0] if found else None
    last = _safe(first.year + (month2 < month1), month2, int(match["d2"])) if first else None
    return _day(match, first, last, ambiguous=True) if last and first and last > first else None


@_day_rule(
    rf"{_DAY_NUMBER}(?P<sep>[./-])(?P<m>\d{{1,2}})(?P=sep)(?P<y>(?:19|20)\d\d|"
    rf"\d\d)(?:\s?(?:года|году|г\.?){WORD_END})?(?![\d]|[./-]\d)"
)
def _numeric(match: re.Match[str], now: datetime) -> Day | None:
    day, month = int(match["d"]), int(match["m"])
    if month > 12 and day <= 12 and match["sep"] == "/":
        day, month = month, day
    return _day(match, _safe(_full_year(match["y"]), month, day)) if month <= 12 else None


@_day_rule(
    rf"(?P<before>(?:{PREPOSITION})?){_DAY_NUMBER}\.(?P<m>\d{{1,2}})(?!\d|\.\d|"
    rf"[:,]\d){NOT_UNIT}\.?"
)
def _numeric_short(match: re.Match[str], now: datetime) -> Day | None:
    # «в 10.10» is a time, «10.10» a day: Russians say «на 10.10» or «10.10» of days
    if not 1 <= int(match["m"]) <= 12 or match["before"].strip() in ("в", "во", "около"):
        return None
    found = _without_year(now.date(), int(match["m"]), int(match["d"]))
    weak = len(match["m"]) == 1 or len(match["d"]) == 1
    return _day(match, found[0], ambiguous=found[1], weak=weak) if found else None


@_day_rule(
    rf"(?:(?P<w>{WEEKDAY}),?\s)?{_DAY_NUMBER}\s?(?:числа\s|"
    rf"of\s)?(?P<m>{MONTH})(?!\s?\d\d?\s(?:по|до)\s\d)(?:,?\s?(?P<y>{_YEAR}))?"
)
def _named(match: re.Match[str], now: datetime) -> Day | None:
    return _day_and_month(match, now)


@_day_rule(
    rf"{WORD_START}(?:(?P<w>{WEEKDAY}),?\s)?(?P<m>{MONTH})\s(?:the\s)?(?P<d>0?[1-9]|"
    rf"[12]\d|3[01])(?:-й)?(?![\d:])(?:,?\s(?P<y>{_YEAR}))?"
)
def _month_first(match: re.Match[str], now: datetime) -> Day | None:
    return _day_and_month(match, now)


def _day_and_month(match: re.Match[str], now: datetime) -> Day | None:
    month, day = _month(match["m"]), int(match["d"])
    if match["y"]:
        return _day(match, _safe(_full_year(match["y"]), month, day))
    found = _without_year(now.date(), month, day)
    return _day(match, found[0], ambiguous=found[1]) if found else None


@_day_rule(
    rf"(?:{PREPOSITION})(?P<d>0?[1-9]|[12]\d|3[01])(?:(?:-й)?\sчисл\w+|"
    rf"-й(?=\s*(?:$|[,.;!?)]|(?:в|на|к|до|с|после|около|утром|днем|вечером)\s)))"
)
def _day_of_month(match: re.Match[str], now: datetime) -> Day | None:
    today, day = now.date(), int(match["d"])
    for ahead in range(3):
        start = _add_months(today.replace(day=1), ahead)
        found = _safe(start.year, start.month, day)
        if found and found >= today:
            return _day(match, found)
    return None


@_day_rule(rf"{WORD_START}(?:the\s)?(?P<word>{_RELATIVE_DAY}){WORD_END}")
def _relative(match: re.Match[str], now: datetime) -> Day | None:
    return _day(match, now.date() + timedelta(days=_RELATIVE_DAYS[match["word"]]))


@_day_rule(
    rf"{WORD_START}(?:(?P<nth>[1-5])-й|(?P<final>последн\w+|"
    rf"last))\s(?P<w>{WEEKDAY_LONG})\s(?:in\s|of\s|"
    rf"в\s)?(?P<m>{MONTH})(?:\s(?P<y>{_YEAR}))?"
)
def _nth_weekday(match: re.Match[str], now: datetime) -> Day | None:
    month, weekday = _month(match["m"]), weekday_of(match["w"])
    year = _full_year(match["y"]) if match["y"] else now.year + (month < now.month)
    first = date(year, month, 1)
    days = [first + timedelta(days=shift) for shift in range(31)]
    same = [day for day in days if day.month == month and day.weekday() == weekday]
    index = -1 if match["final"] else int(match["nth"]) - 1
    return _day(match, same[index]) if index < len(same) else None


@_day_rule(
    rf"{WORD_START}(?:{PREPOSITION}?(?P<w>{WEEKDAY})\s(?:на\s)?{_WHICH}\s(?:недел[еюия]|"
    rf"week)|(?:на\s)?(?P<which2>{_BEFORE_LAST}|{_THIS}|{_NEXT}|"
    rf"{_LAST})\s(?:недел[еюия]|week),?\s(?:во?\s|on\s)?(?P<w2>{WEEKDAY}))"
)
def _weekday_of_week(match: re.Match[str], now: datetime) -> Day | None:
    monday = now.date() - timedelta(days=now.weekday())
    weeks = _which(match["which"] or match["which2"])
    return _day(match, monday + timedelta(weeks=weeks, days=weekday_of(match["w"] or match["w2"])))


@_day_rule(
    rf"{WORD_START}(?P<before>{PREPOSITION}?)(?:{_WHICH}\s)?(?P<w>{WEEKDAY})(?!\s?(?:-|"
    rf"–|—|по|до)\s?(?:{WEEKDAY}))"
)
def _plain_weekday(match: re.Match[str], now: datetime) -> Day | None:
    today, weekday = now.date(), weekday_of(match["w"])
    ahead = (weekday - today.weekday() - 1) % 7 + 1
    said = match["which"]
    if not said:
        # «вторник» said on a Tuesday is the next one; bare «среда» also means surroundings
        weak = not match["before"] and (len(match["w"]) <= 4 or match["w"].startswith("сред"))
        return _day(match, today + timedelta(days=ahead), weak=weak or match["w"] in _ENGLISH_WORDS)
    if re.fullmatch(_THIS, said):
        return _day(match, today - timedelta(days=today.weekday()) + timedelta(days=weekday))
    if re.fullmatch(_NEXT, said):
        nearest = today + timedelta(days=ahead)
        if said.startswith(("ближайш", "coming", "upcoming")):
            return _day(match, nearest)
        next_week = today - timedelta(days=today.weekday()) + timedelta(weeks=1, days=weekday)
        return _day(match, next_week, ambiguous=next_week != nearest)
    behind = (today.weekday() - weekday - 1) % 7 + 1
    return _day(match, today - timedelta(days=behind))


@_day_rule(
    rf"{WORD_START}(?:с\s|со\s|from\s)?(?:{WEEKDAY})\s?(?:-|–|—|по|до|to|"
    rf"through)\s?(?:{WEEKDAY})"
)
def _timetable(match: re.Match[str], now: datetime) -> Day | None:
    return _day(match, now.date(), dropped=True)


_ENGLISH_WORDS = ("sun", "sat", "mon", "wed")
_COUNT = r"(?:(?P<n>\d+(?:[.,]5)?|пару|несколько|пол|half an?|a few|a couple of|an?)\s?)?"


@_day_rule(
    rf"{WORD_START}(?:через|спустя|in|after)\s(?:{_COUNT}|"
    rf"четверть\s)(?P<u>{UNIT})(?:\s(?:с небольшим|примерно))?(?!\s(?:после|от|"
    rf"before))"
)
def _ahead(match: re.Match[str], now: datetime) -> Day | None:
    if match.group().startswith(("in", "after")) and match["n"] is None:
        return None
    return _shifted(match, now, 1)


@_day_rule(rf"{WORD_START}{_COUNT}(?P<u>{UNIT})\s(?:тому\s)?(?:назад|ago|later|спустя)")
def _ago(match: re.Match[str], now: datetime) -> Day | None:
    return _shifted(match, now, 1 if match.group().endswith(("later", "спустя")) else -1)


def _shifted(match: re.Match[str], now: datetime, sign: int) -> Day | None:
    said, unit = match["n"], unit_of(match["u"])
    vague = said in ("пару", "несколько", "a few", "a couple of")
    halves = {
        "пол": 0.5,
        "half a": 0.5,
        "half an": 0.5,
        "пару": 2.0,
        "a couple of": 2.0,
        "несколько": 3.0,
        "a few": 3.0,
    }
    count = 0.25 if "четверть" in match.group() else halves.get(said or "", 1.0)
    if said and said[0].isdigit():
        count = float(said.replace(",", "."))
    if count > 5000:
        return None
    if unit in ("second", "minute", "hour"):
        step = timedelta(seconds=count * {"second": 1, "minute": 60, "hour": 3600}[unit])
        moment = (now + step * sign).replace(microsecond=0)
        found = _day(match, moment.date(), ambiguous=vague)
        return (
            replace(found, moment=moment, grain="second" if unit == "second" else "minute")
            if found
            else None
        )
    today = now.date()
    if unit == "workday":
        return _day(match, _workdays(today, int(count) * sign), ambiguous=vague)
    if unit in ("day", "week"):
        days = count * (7 if unit == "week" else 1)
        return _day(
            match, today + timedelta(days=int(days)) * sign, ambiguous=vague or days != int(days)
        )
    months = count * {"month": 1, "quarter": 3, "year": 12}[unit]
    return _day(
        match,
        _add_months(today, int(months) * sign),
        ambiguous=vague or unit == "year" or months != int(months),
    )


@_day_rule(
    rf"{WORD_START}(?:(?P<open>до|к)\s+конца?у?\s)?(?:в|во|на|за|in|"
    rf"during)?\s?{_WHICH}\s(?P<u>недел\w+|week|месяц\w*|month|квартал\w*|quarter|"
    rf"год\w*|year){WORD_END}"
)
def _stretch(match: re.Match[str], now: datetime) -> Day | None:
    return _whole(match, now, _which(match["which"]), bool(match["open"]))


@_day_rule(
    rf"{WORD_START}(?:до|к|by|until)\s+(?:the\s)?(?:конца|концу|end "
    rf"of)\s(?:the\s)?(?P<u>недел\w+|week|месяц\w*|month|квартал\w*|quarter|год\w*|"
    rf"year|дня|day){WORD_END}"
)
def _until_end(match: re.Match[str], now: datetime) -> Day | None:
    if match["u"] in ("дня", "day"):
        return _day(match, now.date())
    return _whole(match, now, 0, True)


def _whole(match: re.Match[str], now: datetime, offset: int, only_end: bool) -> Day | None:
    today, said = now.date(), match["u"]
    grain: Grain
    if said.startswith(("недел", "week")):
        first = today - timedelta(days=today.weekday()) + timedelta(weeks=offset)
        last, grain = first + timedelta(days=6), "week"
    else:
        size, grain = _stretch_size(said)
        start = date(today.year, (today.month - 1) // size * size + 1, 1)
        first = _add_months(start, size * offset)
        last = _add_months(first, size) - timedelta(days=1)
    found = _day(match, last if only_end else first, last)
    if only_end and found:
        return replace(found, ambiguous=True)
    return replace(found, grain=grain) if found else None


def _stretch_size(said: str) -> tuple[int, Grain]:
    if said.startswith(("месяц", "month")):
        return 1, "month"
    return (3, "quarter") if said.startswith(("квартал", "quarter")) else (12, "year")


@_day_rule(rf"{WORD_START}(?P<q>[1-4])-й\s(?:квартал\w*|quarter)(?:\s(?P<y>{_YEAR}))?")
def _quarter(match: re.Match[str], now: datetime) -> Day | None:
    year = _full_year(match["y"]) if match["y"] else now.year
    first = date(year, int(match["q"]) * 3 - 2, 1)
    found = _day(match, first, _add_months(first, 3) - timedelta(days=1))
    return replace(found, grain="quarter") if found else None


@_day_rule(
    rf"(?<!\d\s)(?<!\d-й\s){WORD_START}(?:(?:в|к|на|с|до|за|in|"
    rf"by)\s)?(?P<m>{MONTH})(?:\s(?P<y>{_YEAR}))?(?!\s?\d{{1,2}}(?!\d))"
)
def _month_alone(match: re.Match[str], now: datetime) -> Day | None:
    words = match["m"].rstrip(".")
    # «май» and "may", «мар» and "mar" are too short to be trusted without a preposition
    if len(words) < 4 and match.group() == match["m"]:
        return None
    if words in ("may", "march") and not match["y"]:
        return None
    month = _month(match["m"])
    year = _full_year(match["y"]) if match["y"] else now.year + (month < now.month)
    first = date(year, month, 1)
    if not match["y"] and match.group().startswith("за "):
        # «за октябрь» speaks of a month that is over, or of the current one
        first = date(now.year - (month > now.month), month, 1)
    found = _day(match, first, _add_months(first, 1) - timedelta(days=1))
    return replace(found, grain="month") if found else None


@_day_rule(rf"{WORD_START}(?:в\s|in\s)?(?P<y>(?:19|20)\d\d)\s?(?:года|году|год|г\.){WORD_END}")
def _year_alone(match: re.Match[str], now: datetime) -> Day | None:
    year = int(match["y"])
    found = _day(match, date(year, 1, 1), date(year, 12, 31))
    return replace(found, grain="year") if found else None


@_day_rule(
    rf"{WORD_START}(?P<before>(?:(?:на|до|к|после|перед|on|by|before|"
    rf"after)\s)?)(?P<name>{'|'.join(name for name, _ in _HOLIDAYS)}){WORD_END}"
)
def _holiday(match: re.Match[str], now: datetime) -> Day | None:
    month, day = next(when for name, when in _HOLIDAYS if re.fullmatch(name, match["name"]))
    found = _without_year(now.date(), month, day)
    return _day(match, found[0], ambiguous=True, weak=not match["before"]) if found else None


@_day_rule(
    rf"{WORD_START}(?:(?:эт(?:им|от|ой|ого)|следующ\w+|this|"
    rf"next)\s)?(?P<name>{'|'.join(name for name, _ in _SEASONS)}){WORD_END}"
)
def _season(match: re.Match[str], now: datetime) -> Day | None:
    month = next(number for name, number in _SEASONS if re.fullmatch(name, match["name"]))
    first = date(now.year, month, 1)
    if _add_months(first, -12) <= now.date() < _add_months(first, -9):
        first = _add_months(first, -12)
    elif _add_months(first, 3) <= now.date():
        first = _add_months(first, 12)
    return _day(match, first, _add_months(first, 3) - timedelta(days=1), ambiguous=True, weak=True)


@_day_rule(
    rf"{WORD_START}(?:{PREPOSITION})?(?:{_WHICH}\s)?(?:выходн(?:ые|ых|ым)|"
    rf"weekend){WORD_END}(?!\sд)"
)
def _weekend(match: re.Match[str], now: datetime) -> Day | None:
    saturday = now.date() - timedelta(days=now.weekday()) + timedelta(days=5)
    saturday += timedelta(weeks=_which(match["which"])) if match["which"] else timedelta()
    return _day(match, saturday, saturday + timedelta(days=1), ambiguous=True)


@_day_rule(
    rf"{WORD_START}(?P<which>последн\w+|прошл\w+|last|следующ\w+|ближайш\w+|"
    rf"next)\s(?P<n>\d+)\s(?P<u>{UNIT})"
)
def _last_n(match: re.Match[str], now: datetime) -> Day | None:
    unit, count, today = unit_of(match["u"]), int(match["n"]), now.date()
    future = bool(re.fullmatch(_NEXT, match["which"]))
    if count > 1000 or unit not in ("day", "week", "month", "year"):
        return None
    if unit in ("day", "week"):
        size = count * (7 if unit == "week" else 1)
        first = today + timedelta(days=1) if future else today - timedelta(days=size)
        return _day(match, first, first + timedelta(days=size - 1), ambiguous=True)
    size = 1 if unit == "month" else 12
    current = today.replace(day=1) if unit == "month" else date(today.year, 1, 1)
    first = _add_months(current, size) if future else _add_months(current, -size * count)
    found = _day(match, first, _add_months(first, size * count) - timedelta(days=1), ambiguous=True)
    return replace(found, grain="month" if unit == "month" else "year") if found else None


def read_days(text: str, now: datetime) -> list[Day]:
    """Every reading of a day in a digitised text, also those that overlap."""
    return [
        day
        for pattern, rule in _DAY_RULES
        for match in pattern.finditer(text)
        if (day := rule(match, now))
    ]
