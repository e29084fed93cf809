"""Numbers and sums of money for people, in the active language."""

from __future__ import annotations

from collections.abc import Mapping

from django.utils.formats import number_format

SIGNS = {"RUB": "₽", "USD": "$", "EUR": "€", "KZT": "₸", "BYN": "Br", "UAH": "₴"}


def number(value: float, digits: int = 0) -> str:
    return str(number_format(round(value, digits), decimal_pos=digits, force_grouping=True))


def money(value: float, currency: str) -> str:
    """A sum with its sign after it; small sums keep two figures that say something."""
    digits = 2
    while 0 < abs(value) < 10 ** (1 - digits) and digits < 6:
        digits += 1
    return f"{number(value, digits)} {SIGNS.get(currency, currency)}".rstrip()


def price(value: float, currency: str) -> str:
    """A sum that a person named: hundredths only when it has them."""
    whole = float(value).is_integer()
    return f"{number(value, 0 if whole else 2)} {SIGNS.get(currency, currency)}".rstrip()


def money_of(sums: Mapping[str, float]) -> str:
    """Sums of several currencies, side by side: they are never added up."""
    return " + ".join(money(value, currency) for currency, value in sums.items()) or "0"
