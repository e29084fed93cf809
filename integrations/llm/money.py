"""Amounts of money in a text: «50 тыс», «1,5 млн», «10к$», «20 долларов 43 цента»."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from integrations.llm.numerals import Digitised, digitise
from integrations.llm.values import Frozen
from integrations.llm.words import listed


class Money(Frozen):
    """An amount as the text says it; `upper` is set for a range («от 10 до 20 тыс»)."""

    amount: Decimal
    currency: str
    """ISO 4217 code; empty when the text names none."""
    upper: Decimal | None = None
    bound: Literal["", "at_most", "at_least"] = ""
    text: str
    start: int
    end: int


_SYMBOLS = {
    "₽": "RUB", "$": "USD", "€": "EUR", "£": "GBP", "₴": "UAH", "₸": "KZT", "¥": "CNY", "₹": "INR",
    "₺": "TRY", "₾": "GEL", "₼": "AZN", "֏": "AMD", "₩": "KRW", "zł": "PLN", "us$": "USD",
}  # fmt: skip
_WORDS = (
    (r"(?:белорусск\w+|бел\.?)\s*(?:рубл\w*|руб\.?|р\.?)", "BYN"),
    (
        r"рубл(?:ями|ями|ях|ям|ей|ем|и|я|ь|ю|е)|рублик\w*|руб\.?|рубасов|rubles?|"
        r"roubles?|rur|р\.|р",
        "RUB",
    ),
    (
        r"доллар(?:ами|ов|ам|ах|ом|а|у|ы|е)?|долл?\.?|бакс(?:ами|ов|ам|а|ы)?|dollars?|"
        r"bucks?|у\.?\s?е\.?",
        "USD",
    ),
    (r"евро|euros?|еур", "EUR"),
    (r"фунт(?:ами|ов|а|ы)?(?:\s+стерлинг\w+)?|pounds?|quid", "GBP"),
    (r"гривен|гривн\w+|гривень|грн\.?|hryvnias?", "UAH"),
    (r"тенге|тг\.?|tenge", "KZT"),
    (r"сум(?:ов|а)|so'm|soʻm|сўм", "UZS"),
    (r"юан(?:ей|ями|я|ь|и)|yuans?|rmb", "CNY"),
    (r"иен\w*|йен\w*|yens?", "JPY"),
    (r"рупи\w+|rupees?|rs\.?", "INR"),
    (r"лари|gel", "GEL"),
    (r"драм(?:ов|а)?", "AMD"),
    (r"манат(?:ов|а)?", "AZN"),
    (r"лир(?:ами|а|ы|у)?", "TRY"),
    (r"злот\w+", "PLN"),
    (r"крон(?:ами|а|ы)?", "CZK"),
    (r"франк(?:ами|ов|а)?", "CHF"),
    (r"дирхам\w*", "AED"),
    (r"rm", "MYR"),
)
# codes that are also words or units («all», «top», «try») are left out
_CODES = listed(
    """
    rub usd eur gbp uah kzt byn uzs kgs tjs amd azn gel mdl cny jpy inr krw pln czk chf sek
    nok dkk huf ron bgn rsd ils aed sar qar kwd bhd omr jod lbp egp mad tnd dzd zar ngn kes
    ghs etb cad aud nzd mxn brl ars clp cop pen vnd thb myr sgd idr php hkd twd pkr bdt lkr
    npr irr iqd isk hrk gtq crc dop jmd ttd mop vef pab bob uyu pyg tmt mnt
    """
)
_CENTS = r"(?:ц(?:ент\w*)?\.?|cents?|¢|коп(?:е\w+)?\.?|пенни|пени|пенс\w*|pennies|pence|c)"

_SYMBOL = "|".join(sorted((re.escape(symbol) for symbol in _SYMBOLS), key=len, reverse=True))
_WORD = "|".join(f"(?:{pattern})" for pattern, _ in _WORDS)
_CODE = "|".join(sorted(_CODES))
_CURRENCY = rf"(?:(?:{_SYMBOL})|(?:{_WORD}|{_CODE})(?![^\W\d_]))"
_NUMBER = (
    r"\d{1,3}(?:[ \u00a0\u2009\u202f'’]\d{3})+(?![\d])(?:[.,]\d{1,2}(?!\d))?|"
    r"\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d{1,2}(?!\d))?|"
    r"\d{1,3}(?:\.\d{3})+(?!\d)(?:,\d{1,2}(?!\d))?|\d+(?:[.,]\d+)?"
)
_TIMES = (
    (r"т\.?\s?р(?:уб)?\.?(?![^\W\d_])|тыр(?![^\W\d_])", 10**3, "RUB"),
    (r"тыс(?:яч(?:ами|ей|ам|а|и|у)?|\.)?(?![^\W\d_])|тыщ\w*|косар\w*|thousand", 10**3, ""),
    (r"миллиард\w*|млрд\.?|billions?|bn(?![^\W\d_])", 10**9, ""),
    (r"миллион\w*|млн\.?|лям\w*|millions?|mln\.?|mio|кк(?![^\W\d_])|kk(?![^\W\d_])", 10**6, ""),
    (r"[кk](?![^\W\d_])", 10**3, ""),
)
_TIMES_ANY = "|".join(f"(?:{pattern})" for pattern, _, _ in _TIMES)
# «5m» is five metres unless a currency stands beside it
_AMOUNT = (
    rf"(?P<n{{0}}>{_NUMBER})(?:\s?(?P<t{{0}}>{_TIMES_ANY}|m(?=\s?(?:{_SYMBOL}|usd|"
    rf"eur|rub))))?(?:\s(?P<r{{0}}>\d{{1,3}})(?=\s?{_CURRENCY}))?"
)


def _amount(name: str) -> str:
    return _AMOUNT.replace("{0}", name).replace("{{", "{").replace("}}", "}")


_CENT_PART = (
    rf"(?:\s?(?:и|and|,)?\s?(?P<cents>\d{{1,2}})\s?{_CENTS}(?![^\W_])|\s?(?:и|"
    rf"and)\s(?P<bare>\d{{1,2}})(?!\d|\s?[^\W\d_]))?"
)
_RANGE = re.compile(
    rf"(?<![\w.,])(?<!\d:)(?:(?:от|с|from|(?P<between>между|"
    rf"between))\s+)?(?P<ca>{_CURRENCY})?\s?{_amount('a')}\s?(?P<cb>{_CURRENCY})?"
    rf"\s?(?:-|–|—|до|to|(?(between)(?:и|and)|"
    rf"-))\s?(?P<cc>{_CURRENCY})?\s?{_amount('b')}\s?(?P<cd>{_CURRENCY})?(?!\d)"
)
_MILLIONS = re.compile(
    rf"(?<![\w.,])(?P<n>\d+)\s?(?:млн\.?|"
    rf"миллион\w*)\s(?P<k>\d{{1,3}})\s?тыс(?:яч\w*|\.)?(?:\s?(?P<c>{_CURRENCY}))?"
)
_BEFORE = re.compile(
    rf"(?<![^\W_])(?P<c>{_CURRENCY}|rm|rs\.?)\s?{_amount('a')}{_CENT_PART}(?![^\W_])"
)
_AFTER = re.compile(rf"(?<![\w.,])(?<!\d:){_amount('a')}\s?(?P<c>{_CURRENCY})(?!\d){_CENT_PART}")
_SMALL = re.compile(rf"(?<![\w.,])(?P<na>{_NUMBER})\s?(?:{_CENTS})(?![^\W_])")
_BARE = re.compile(
    rf"(?<![\w.,])(?<!\d:)(?P<na>{_NUMBER})\s?(?P<ta>{_TIMES_ANY})(?:\s(?P<ra>\d{{3}})(?!\d))?"
)
_ONE = re.compile(rf"(?<![^\W_])(?P<t>тысяч[ауи]|миллион|лям)(?:\s(?P<c>{_CURRENCY}))?(?![^\W_])")

# «в 15 к врачу»: an hour and a preposition, not fifteen thousand
_HOUR_BEFORE = re.compile(r"\b(?:в|на|к)\s$")


def _is_hour(match: re.Match[str], text: str) -> bool:
    apart = match.group("ta") in ("к", "k") and text[match.end("na")].isspace()
    hour = match.group("na").isdigit() and int(match.group("na")) <= 24
    return apart and hour and bool(_HOUR_BEFORE.search(text[: match.start()]))


_AT_MOST = re.compile(
    r"(?:\bдо|не (?:больше|более|дороже|выше)(?: чем)?|ниже|меньше|менее|дешевле|"
    r"максимум|в пределах|under|below|up to|less than|at most|max(?:imum)?)\s*$"
)
_AT_LEAST = re.compile(
    r"(?:\bот|не (?:меньше|менее|ниже|дешевле)(?: чем)?|больше(?: чем)?|более|"
    r"свыше|выше|дороже|минимум|over|above|more than|at least|from)\s*$"
)


def read_number(text: str) -> Decimal:
    """«10 000», «10,000», «1,5», «3.04» as numbers; three digits after a mark are thousands."""
    bare = re.sub(r"[ \u00a0\u2009\u202f'’]", "", text)
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", bare):
        return Decimal(bare.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+(?:,\d+)?", bare) and not bare.startswith("0."):
        return Decimal(bare.replace(".", "").replace(",", "."))
    return Decimal(bare.replace(",", "."))


def _factor(words: str | None) -> tuple[int, str]:
    if not words:
        return 1, ""
    for pattern, factor, currency in _TIMES:
        if re.fullmatch(pattern, words):
            return factor, currency
    return 10**6, ""


def _code(words: str | None) -> str:
    if not words:
        return ""
    if words in _SYMBOLS:
        return _SYMBOLS[words]
    for pattern, code in _WORDS:
        if re.fullmatch(pattern, words):
            return code
    return words.upper()


def _value(match: re.Match[str], name: str, factor: int | None = None) -> tuple[Decimal, str]:
    times, currency = _factor(match.group(f"t{name}"))
    if factor is not None and times == 1:
        times = factor
    amount = read_number(match.group(f"n{name}")) * times
    rest = match.groupdict().get(f"r{name}")
    return (amount + int(rest) if rest and times == 1000 else amount), currency


@lru_cache(maxsize=512)
def find_money(text: str) -> tuple[Money, ...]:
    """Amounts with a currency or a multiplier, in order; a bare number is not money here."""
    digits = digitise(text)
    found: list[Money] = []
    taken: list[tuple[int, int]] = []

    def keep(
        match: re.Match[str], amount: Decimal, currency: str, upper: Decimal | None = None
    ) -> None:
        if any(match.start() < right and left < match.end() for left, right in taken):
            return
        taken.append((match.start(), match.end()))
        found.append(_money(digits, match, amount, currency, upper))

    for match in _RANGE.finditer(digits.text):
        currency = next(
            (_code(match.group(name)) for name in ("cd", "cb", "cc", "ca") if match.group(name)), ""
        )
        high, implied = _value(match, "b")
        low, low_implied = _value(
            match, "a", _factor(match.group("tb"))[0] if match.group("tb") else None
        )
        if (
            currency or implied or low_implied or match.group("tb") or match.group("ta")
        ) and high > low:
            keep(match, low, currency or implied or low_implied, high)
    for match in _MILLIONS.finditer(digits.text):
        amount = Decimal(match.group("n")) * 10**6 + Decimal(match.group("k")) * 10**3
        keep(match, amount, _code(match.group("c")))
    for pattern in (_AFTER, _BEFORE):
        for match in pattern.finditer(digits.text):
            amount, implied = _value(match, "a")
            small = match.group("cents") or match.group("bare")
            keep(
                match,
                amount + (Decimal(small) / 100 if small else 0),
                _code(match.group("c")) or implied,
            )
    for match in _SMALL.finditer(digits.text):
        kopecks = "коп" in match.group()
        keep(match, read_number(match.group("na")) / 100, "RUB" if kopecks else "USD")
    for match in _BARE.finditer(digits.text):
        if _is_hour(match, digits.text):
            continue
        amount, implied = _value(match, "a")
        keep(match, amount, implied)
    for match in _ONE.finditer(digits.text):
        keep(
            match,
            Decimal(10**3 if match.group("t").startswith("тыс") else 10**6),
            _code(match.group("c")),
        )
    return tuple(sorted(found, key=lambda money: money.start))


def _money(
    digits: Digitised, match: re.Match[str], amount: Decimal, currency: str, upper: Decimal | None
) -> Money:
    start, end = digits.span_of(match.start(), match.end())
    before = digits.text[max(0, match.start() - 24) : match.start()]
    bound: Literal["", "at_most", "at_least"] = ""
    if upper is None and _AT_MOST.search(before):
        bound = "at_most"
    elif upper is None and _AT_LEAST.search(before):
        bound = "at_least"
    return Money(
        amount=amount.normalize() + 0,
        currency=currency,
        upper=upper,
        bound=bound,
        text=digits.original[start:end].strip(),
        start=start,
        end=end,
    )


def parse_money(text: str) -> Money | None:
    """The one amount that the text names, also as a bare number; None for none or several."""
    found = find_money(text)
    if len(found) == 1:
        return found[0]
    if found:
        return None
    digits = digitise(text)
    numbers = list(re.finditer(rf"(?<![\w.,])(?:{_NUMBER})(?![^\W\d_])", digits.text))
    if len(numbers) != 1:
        return None
    return _money(digits, numbers[0], read_number(numbers[0].group()), "", None)


def find_numbers(text: str) -> tuple[tuple[Decimal, str], ...]:
    """Every number of the text with the words that carry it; «пять» counts, «50 тыс» is 50 000."""
    digits = digitise(text)
    found: list[tuple[Decimal, str]] = []
    for match in re.finditer(rf"(?<![\w])(?:{_NUMBER})(?!\d|-й)", digits.text):
        start, end = digits.span_of(match.start(), match.end())
        found.append((read_number(match.group()), text[start:end]))
    found += [(money.amount, money.text) for money in find_money(text)]
    return tuple(found)
