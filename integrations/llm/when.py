"""Days and times in a text: «18-го февраля», «завтра в 17 часов», "next Friday at 3 pm"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from functools import lru_cache

from integrations.llm.clock import Clock, read_clocks
from integrations.llm.days import (
    PREPOSITION,
    UNIT,
    WEEKDAY,
    WEEKDAY_LONG,
    WORD_END,
    WORD_START,
    Day,
    Grain,
    read_days,
    unit_of,
    weekday_of,
)
from integrations.llm.numerals import Digitised, digitise
from integrations.llm.values import Frozen
from integrations.llm.words import fold


class When(Frozen):
    """A moment or a stretch of time that a text names, in the zone of its `now`."""

    start: datetime
    end: datetime | None = None
    """Exclusive end when the text names a stretch («с 10 до 12», «13–15 июля»)."""
    grain: Grain
    names_day: bool
    """Was a day named? «в 17:30» names only a time of the nearest day."""
    ambiguous: bool = False
    """Could a careful reader have understood another day or hour?"""
    text: str
    position: tuple[int, int]

    @property
    def day(self) -> date | None:
        """The one calendar day that is meant; None for weeks, months and bare times."""
        return self.start.date() if self.names_day and self.grain in _DAY_GRAINS else None

    @property
    def names_time(self) -> bool:
        return self.grain in ("hour", "minute", "second")


_DAY_GRAINS = ("second", "minute", "hour", "day")


_GLUE = re.compile(
    r"^[\s,]*(?:(?:в|во|на|к|около|примерно|где-то|at|on|by|в районе|часов|ближе)\s)?\s*$"
)


def _choose[T: (Day, Clock)](found: list[T]) -> list[T]:
    """Longest first where two readings overlap, in order of the text."""
    kept: list[T] = []
    for item in sorted(found, key=lambda item: (item.start - item.end, item.start)):
        if all(item.end <= other.start or other.end <= item.start for other in kept):
            kept.append(item)
    return sorted(kept, key=lambda item: item.start)


_DAY_GLUE = re.compile(r"^[\s,(]+(?:на\s)?$")


def _joined(text: str, days: list[Day]) -> list[Day]:
    """«Пятница, 18.07.14»: the weekday beside a date adds nothing, but may contradict it."""
    kept: list[Day] = []
    for day in days:
        before = kept[-1] if kept else None
        if (
            before
            and before.grain == day.grain == "day"
            and _DAY_GLUE.match(text[before.end : day.start])
        ):
            named = re.fullmatch(rf"(?:{PREPOSITION})?{WEEKDAY}", text[before.start : before.end])
            if named:
                agree = before.first.weekday() == day.first.weekday()
                kept[-1] = replace(
                    day, start=before.start, ambiguous=day.ambiguous or not agree, weak=False
                )
                continue
        kept.append(day)
    return kept


def _pairs(
    text: str, days: list[Day], clocks: list[Clock]
) -> Iterator[tuple[Day | None, list[Clock]]]:
    """Each day with the times that stand beside it; times without a day come alone."""
    free = list(clocks)
    for day in days:
        beside: list[Clock] = []
        left, right = day.start, day.end
        for clock in list(free):
            if clock.start >= right and _GLUE.match(text[right : clock.start]):
                beside.append(clock)
                right = clock.end
                free.remove(clock)
        for clock in reversed(list(free)):
            if clock.end <= left and _GLUE.match(text[clock.end : left]):
                beside.insert(0, clock)
                left = clock.start
                free.remove(clock)
        yield day, beside
    for clock in free:
        yield None, [clock]


def _build(day: Day | None, beside: list[Clock], now: datetime, digits: Digitised) -> When | None:
    left = min(item.start for item in ([day] if day else []) + beside)
    right = max(item.end for item in ([day] if day else []) + beside)
    start, end = digits.span_of(left, right)
    quote = digits.original[start:end]
    lead = len(quote) - len(quote.lstrip(" ,"))
    where = (start + lead, start + len(quote.rstrip(" ,")))
    quote = quote.strip(" ,")
    exact = next((clock for clock in beside if not clock.part), None)
    part = next((clock for clock in beside if clock.part), None)
    if day and day.moment:
        return When(
            start=day.moment,
            grain=day.grain,
            names_day=True,
            ambiguous=day.ambiguous,
            text=quote,
            position=where,
        )
    if exact is None and part is None:
        if day is None:
            return None
        first = datetime.combine(day.first, time(), now.tzinfo)
        last = (
            datetime.combine(day.last + timedelta(days=1), time(), now.tzinfo)
            if day.last != day.first
            else None
        )
        return When(
            start=first,
            end=last,
            grain=day.grain,
            names_day=True,
            ambiguous=day.ambiguous,
            text=quote,
            position=where,
        )
    clock = exact or part or beside[0]
    if exact and part and not exact.half_day_known:
        shifted = exact.first + (720 if exact.first < 720 <= part.first else 0)
        clock = replace(exact, first=shifted, half_day_known=True)
    return _with_clock(day, clock, now, quote, where)


def _with_clock(
    day: Day | None, clock: Clock, now: datetime, quote: str, where: tuple[int, int]
) -> When:
    zone = timezone(timedelta(hours=clock.zone)) if clock.zone is not None else now.tzinfo
    base = day.first if day else now.date()
    minutes, doubtful = clock.first, False
    if not clock.half_day_known and minutes < 12 * 60:
        # said without «утра» or «вечера»: one to six is the afternoon, seven to twelve the morning
        minutes += 12 * 60 if minutes < 7 * 60 else 0
        doubtful = clock.first < 8 * 60
        passed = minutes < now.hour * 60 + now.minute
        if day and base == now.date() and passed and minutes < 12 * 60:
            minutes, doubtful = minutes + 12 * 60, True
    midnight = datetime.combine(base, time(), zone)
    start = (midnight + timedelta(minutes=minutes, seconds=clock.second)).astimezone(now.tzinfo)
    shift = timedelta(
        days=1 if day is None and start + timedelta(hours=1) <= now and not clock.part else 0
    )
    end = None
    if clock.last is not None:
        end = (midnight + timedelta(minutes=clock.last)).astimezone(now.tzinfo) + shift
    return When(
        start=start + shift,
        end=end,
        grain=clock.grain,
        names_day=day is not None and day.grain == "day",
        ambiguous=doubtful or clock.opened or end is not None or day is None or day.ambiguous,
        text=quote,
        position=where,
    )


@lru_cache(maxsize=256)
def _find(text: str, now: datetime) -> tuple[When, ...]:
    digits = digitise(text)
    folded = digits.text
    readings = read_days(folded, now)
    chosen = _choose(readings)
    timetables = [day for day in chosen if day.dropped]
    days = _joined(folded, [day for day in chosen if not day.dropped])
    clocks = _choose(
        [
            clock
            for clock in read_clocks(folded)
            if all(clock.end <= day.start or day.end <= clock.start for day in days)
        ]
    )
    clocks = [
        clock
        for clock in clocks
        if not any(
            _GLUE.match(folded[day.end : clock.start])
            for day in timetables
            if day.end <= clock.start
        )
    ]
    bounds = len(folded) - len(folded.lstrip(" ,.!?")), len(folded.rstrip(" ,.!?"))
    found: list[When] = []
    for day, beside in _pairs(folded, days, clocks):
        alone = not beside or day is None
        weak = (day.weak if day else False) or (day is None and beside[0].weak)
        whole_start = day.start if day else beside[0].start
        whole_end = day.end if day else beside[0].end
        if weak and alone and not (whole_start <= bounds[0] and whole_end >= bounds[1]):
            continue
        built = _build(day, beside, now, digits)
        if built:
            found.append(built)
    return tuple(sorted(found, key=lambda when: when.position))


def find_whens(text: str, now: datetime) -> tuple[When, ...]:
    """Every day and time that the text names, in order. `now` is aware, in the portal's zone."""
    return _find(text, now)


def parse_when(text: str, now: datetime) -> When | None:
    """What day or time the text means, or None. Of several the first, marked ambiguous."""
    found = find_whens(text, now)
    if not found:
        return None
    named = [when for when in found if when.names_day] or list(found)
    first = named[0]
    if len({(when.start, when.end) for when in named}) > 1:
        return first.model_copy(update={"ambiguous": True})
    return first


@lru_cache(maxsize=256)
def find_clock_times(text: str) -> tuple[tuple[int, str], ...]:
    """Times written with minutes («9:00–18:00», «в 9.30»): minutes after midnight, words."""
    digits = digitise(text)
    found: list[tuple[int, str]] = []
    for match in re.finditer(
        r"(?<![\d.,:/-])([01]?\d|2[0-4]):([0-5]\d)(?!\d|:\d)|(?<=\b[вcсдо] )([01]?\d|"
        r"2[0-3])\.([0-5]\d)(?![\d.])",
        digits.text,
    ):
        hour, minute = match.group(1) or match.group(3), match.group(2) or match.group(4)
        start, end = digits.span_of(match.start(), match.end())
        found.append((int(hour) * 60 + int(minute), text[start:end]))
    return tuple(found)


_WEEKDAY_RANGE = re.compile(
    rf"{WORD_START}(?:с\s|со\s|from\s)?({WEEKDAY})\s?(?:-|–|—|по|до|to|through)\s?({WEEKDAY})"
)
_WORKDAYS = re.compile(r"\b(?:будн\w+|рабочи[емх]\w* дн\w+|weekdays|working days|business days)\b")
_EVERY_DAY = re.compile(
    r"\b(?:ежедневно|каждый день|без выходных|daily|every day|seven days a week|7 days a week)\b"
)


def find_timetables(text: str) -> tuple[tuple[int, int, str], ...]:
    """Stretches of weekdays (0 is Monday) with their words: «Пн–Пт», «по будням», «ежедневно»."""
    digits = digitise(text)
    found = [
        (match.span(), weekday_of(match.group(1)), weekday_of(match.group(2)))
        for match in _WEEKDAY_RANGE.finditer(digits.text)
    ]
    found += [(match.span(), 0, 4) for match in _WORKDAYS.finditer(digits.text)]
    found += [(match.span(), 0, 6) for match in _EVERY_DAY.finditer(digits.text)]
    return tuple((first, last, text[slice(*digits.span_of(*span))]) for span, first, last in found)


def names_weekday(text: str) -> bool:
    """Does the text name a weekday by its long name?"""
    return bool(re.search(rf"{WORD_START}{WEEKDAY_LONG}", fold(text)))


def weekdays_in(text: str) -> frozenset[int]:
    """Weekdays that the text names in any way, timetables filled in."""
    folded = digitise(text).text
    found = {
        weekday_of(match.group()) for match in re.finditer(rf"{WORD_START}(?:{WEEKDAY})", folded)
    }
    for first, last, _ in find_timetables(text):
        found |= {day % 7 for day in range(first, last + 1 if last >= first else last + 8)}
    return frozenset(found)


class Duration(Frozen):
    """A length of time; both ends are the same unless the text gives a range («2–3 дня»)."""

    shortest_minutes: float
    longest_minutes: float
    text: str
    position: tuple[int, int]


_WITHIN = r"(?:в течение|за|через|within|in|during|after)\s"
_DURATION = re.compile(
    rf"{WORD_START}(?:{_WITHIN})?(?P<half>пол\s?часа|получаса|half an hour){WORD_END}"
    rf"|(?<![\w.,])(?:{_WITHIN})?(?:(?P<low>\d+(?:[.,]5)?)\s?(?:-|–|—|до)\s?)?"
    rf"(?P<n>\d+(?:[.,]5)?)(?:-й|-?х|-?ти)?\s?(?P<u>{UNIT})"
    rf"|(?:{WORD_START}(?:{_WITHIN}|(?:около|примерно|почти|about|around)\s)|[-–—]\s)"
    rf"(?:одного\s|одну\s|an?\s|one\s|the\s)?(?P<one>{UNIT})"
)
_MINUTES = {
    "second": 1 / 60, "minute": 1, "hour": 60, "day": 1440, "workday": 1440, "week": 10080,
    "month": 43200, "quarter": 129600, "year": 525600,
}  # fmt: skip


def find_durations(text: str) -> tuple[Duration, ...]:
    """Lengths of time in order: «5 минут», «в течение часа», «2–3 дня», "half an hour"."""
    digits = digitise(text)
    found: list[Duration] = []
    for match in _DURATION.finditer(digits.text):
        unit = _MINUTES[unit_of(match["one"] or match["u"] or "мин")]
        said = float((match["n"] or ("30" if match["half"] else "1")).replace(",", "."))
        low = float(match["low"].replace(",", ".")) if match["low"] else said
        where = digits.span_of(match.start(), match.end())
        found.append(
            Duration(
                shortest_minutes=min(low, said) * unit,
                longest_minutes=max(low, said) * unit,
                text=text[slice(*where)],
                position=where,
            )
        )
    return tuple(found)
