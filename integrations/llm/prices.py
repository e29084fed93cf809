"""Tokens and money: what the server counted, else an honest estimate."""

from __future__ import annotations

import re
from functools import lru_cache

from genai_prices import Usage as PricedUsage
from genai_prices import calc_price

from integrations.llm.providers import Prices, Provider
from integrations.llm.values import Usage

CYRILLIC = re.compile(r"[Ѐ-ӿ]+")
CYRILLIC_CHARS_PER_TOKEN = 3
OTHER_CHARS_PER_TOKEN = 4
PRICED_UNIT = 1_000_000
"""Tokens that a price is for."""


def estimate_tokens(text: str) -> int:
    """Tokens of a text when nobody counted them: about 3 Russian or 4 other characters each."""
    russian = sum(len(word) for word in CYRILLIC.findall(text))
    other = len(text) - russian
    return -(-russian // CYRILLIC_CHARS_PER_TOKEN) + -(-other // OTHER_CHARS_PER_TOKEN)


def known_prices(base_url: str, model: str) -> Prices | None:
    """Public price per million tokens in dollars, None when the address or the model is unknown."""
    return _known_prices(base_url, model)


@lru_cache(maxsize=256)
def _known_prices(base_url: str, model: str) -> Prices | None:
    try:
        price = calc_price(
            PricedUsage(input_tokens=PRICED_UNIT, output_tokens=PRICED_UNIT),
            model,
            provider_api_url=base_url,
        )
    except LookupError:
        return None
    return Prices(input=float(price.input_price), output=float(price.output_price))


def with_cost(usage: Usage, provider: Provider) -> Usage:
    """The same usage with its cost, by the admin's prices, else by the public ones."""
    prices = provider.prices or known_prices(provider.base_url, provider.model)
    if prices is None:
        return usage
    cost = usage.prompt_tokens * prices.input + usage.completion_tokens * prices.output
    return usage.model_copy(update={"costs": {prices.currency: round(cost / PRICED_UNIT, 9)}})
