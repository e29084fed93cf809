"""Values of CRM fields in the formats that the portal stores."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from integrations.bitrix24.crm_items import FieldInfo
from integrations.bitrix24.forms import as_list, flag_of, int_of, text_of

STAGE_FIELDS = frozenset(
    {"STAGE_ID", "STATUS_ID", "STAGE_SEMANTIC_ID", "PREVIOUS_STAGE_ID", "CATEGORY_ID"}
)
"""Never written here: a stage starts robots and checks required fields."""

MAX_LENGTHS = {
    "TITLE": 255, "NAME": 50, "LAST_NAME": 50, "SECOND_NAME": 50, "COMPANY_TITLE": 255,
    "POST": 255, "SOURCE_ID": 50, "HONORIFIC": 128, "ORIGIN_ID": 255, "ORIGINATOR_ID": 255,
    "COMMENTS": 16_000, "SOURCE_DESCRIPTION": 16_000, "STATUS_DESCRIPTION": 16_000,
    "ADDITIONAL_INFO": 16_000,
}  # fmt: skip
"""Column sizes in characters; TEXT columns hold 65,535 bytes, four a character at most."""
MULTIFIELD_MAX_LENGTH = 250

PERSON_FIELDS = ("NAME", "LAST_NAME", "SECOND_NAME")
_YES = ("y", "yes", "true", "1", "да")
_NO = ("n", "no", "false", "0", "нет")
ID_TYPES = (
    "user", "employee", "iblock_element", "iblock_section", "crm_lead", "crm_deal", "crm_contact",
    "crm_company", "crm_entity", "crm_category",
)  # fmt: skip


class NotWritable(ValueError):
    """The value does not fit the field; `reason` is a code for the ledger."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the value cannot be written: {reason}")
        self.reason = reason


def to_portal_value(
    info: FieldInfo, value: Any, *, zone: tzinfo | None = None, currency: str = ""
) -> Any:
    """The value in the format that the portal stores.

    `zone` is for date-times without an offset, `currency` for sums without one; without them such
    values are refused, because the portal would guess. Empty values are refused too: nothing here
    clears a field. Raises: NotWritable (read_only, stage, empty, wrong_type, unknown_choice,
    ambiguous_choice, no_choices, no_timezone, no_currency, unsupported_type).
    Source: api-reference/crm/universal/crm-item-add, api-reference/crm/data-types.
    """
    if info.name in STAGE_FIELDS or _is_stage(info.status_type):
        raise NotWritable("stage")
    if info.read_only:
        raise NotWritable("read_only")
    if info.multiple and info.type != "crm_multifield":
        # a scalar for a multiple field is refused by the portal with code 100
        values = value if isinstance(value, list | tuple) else [value]
        converted = [_one_value(info, one, zone, currency) for one in values]
        if not converted:
            raise NotWritable("empty")
        return list(dict.fromkeys(converted))
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return _one_value(info, value, zone, currency)


def _is_stage(status_type: str) -> bool:
    return status_type == "STATUS" or "STAGE" in status_type


def _one_value(info: FieldInfo, value: Any, zone: tzinfo | None, currency: str) -> Any:  # noqa: C901 - a table of formats is best read in one piece
    if value is None or (isinstance(value, str) and not value.strip()):
        raise NotWritable("empty")
    takes_sums = info.type == "money" or info.name == "OPPORTUNITY"
    if isinstance(value, list | tuple) or (isinstance(value, Mapping) and not takes_sums):
        raise NotWritable("wrong_type")
    match info.type:
        case "string" | "text" | "html" | "address" | "crm_multifield":
            return _text(info, value)
        case "integer":
            return _integer(value)
        case "double" | "float":
            return _number(value.get("amount") if isinstance(value, Mapping) else value)
        case "boolean" | "char":
            return _yes_no(value)
        case "date":
            return _date(value).isoformat()
        case "datetime":
            return _datetime(value, zone).isoformat()
        case "enumeration":
            chosen = _choice(info, value)
            return int(chosen) if chosen.isdecimal() else chosen
        case "crm_status":
            return _choice(info, value)
        case "money":
            return _money(value, currency)
        case "url":
            return _url(value)
        case "crm_currency":
            return _currency(value)
        case "crm":
            return _binding(value)
        case kind if kind in ID_TYPES:
            return _positive_id(value)
    raise NotWritable("unsupported_type")


def _text(info: FieldInfo, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | date):
        raise NotWritable("wrong_type")
    text = value.isoformat() if isinstance(value, date) else str(value)
    text = text.replace("\x00", "").strip()
    if info.type == "address" or info.name in PERSON_FIELDS:
        text = " ".join(text.split())
    return text[: info.max_length] if info.max_length else text


def _number(value: Any) -> int | float:
    if isinstance(value, str):
        cleaned = re.sub(r"[\s\u00a0\u202f]", "", value)
        if not re.fullmatch(r"-?\d{1,15}([.,]\d{1,10})?", cleaned):
            raise NotWritable("wrong_type")
        value = float(cleaned.replace(",", "."))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NotWritable("wrong_type")
    return int(value) if value == int(value) else value


def _integer(value: Any) -> int:
    number = _number(value)
    if not isinstance(number, int):
        raise NotWritable("wrong_type")
    return number


def _positive_id(value: Any) -> int:
    number = int_of(value)
    if number is None or isinstance(value, bool) or number <= 0:
        raise NotWritable("wrong_type")
    return number


def _yes_no(value: Any) -> str:
    # 1 and "1" count as "no" in crm.item.* (api-reference/crm/universal), so always letters
    word = str(value).strip().casefold()
    if word in _YES:
        return "Y"
    if word in _NO:
        return "N"
    raise NotWritable("wrong_type")


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    text = str(value).strip()
    written = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:\s.*)?", text)
    try:
        if written:
            return date(int(written[3]), int(written[2]), int(written[1]))
        return datetime.fromisoformat(text).date()
    except ValueError:
        raise NotWritable("wrong_type") from None


def _datetime(value: Any, zone: tzinfo | None) -> datetime:
    if isinstance(value, datetime):
        at = value
    elif isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}[T ]\d", value.strip()):
        try:
            at = datetime.fromisoformat(value.strip())
        except ValueError:
            raise NotWritable("wrong_type") from None
    else:
        raise NotWritable("wrong_type")  # a day without a time says no moment
    if at.tzinfo is None:
        if zone is None:
            raise NotWritable("no_timezone")
        at = at.replace(tzinfo=zone)
    return at.replace(microsecond=0)


def _choice(info: FieldInfo, value: Any) -> str:
    """The id of the chosen entry, by its id or by its whole title; never by likeness."""
    if not info.choices:
        raise NotWritable("no_choices")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise NotWritable("wrong_type")
    wanted = as_word(str(value))
    by_title = [number for number, title in info.choices if as_word(title) == wanted]
    by_id = [number for number, _ in info.choices if number == str(value).strip()]
    first, second = (by_id, by_title) if isinstance(value, int) else (by_title, by_id)
    found = first or second
    if not found:
        raise NotWritable("unknown_choice")
    if len(found) > 1:
        raise NotWritable("ambiguous_choice")
    return found[0]


def as_word(text: str) -> str:
    return " ".join(text.casefold().split())


def _money(value: Any, currency: str) -> str:
    amount: Any = value
    if isinstance(value, Mapping):
        amount, currency = value.get("amount"), text_of(value.get("currency")) or currency
    elif isinstance(value, str) and "|" in value:
        amount, _, named = value.partition("|")
        currency = named.strip() or currency
    if amount is None:
        raise NotWritable("wrong_type")
    number = _number(amount)
    if not currency:
        raise NotWritable("no_currency")
    return f"{number}|{_currency(currency)}"


def _currency(value: Any) -> str:
    code = str(value).strip().upper()
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise NotWritable("wrong_type")
    return code


def _url(value: Any) -> str:
    text = str(value).strip()
    if not re.fullmatch(r"https?://[^\s<>\"']{1,2000}", text, re.IGNORECASE):
        raise NotWritable("wrong_type")
    return text


def _binding(value: Any) -> Any:
    if int_of(value) is not None:
        return _positive_id(value)
    if re.fullmatch(r"(?:[A-Z]{1,2}|T[0-9a-f]{2,7})_\d{1,15}", str(value)):
        return str(value)
    raise NotWritable("wrong_type")


def same_value(kind: str, one: Any, other: Any) -> bool:
    """Do two spellings mean the same value of a field of this type?"""
    if isinstance(one, list | tuple | dict) or isinstance(other, list | tuple | dict):
        left, right = as_list(one), as_list(other)
        return len(left) == len(right) and all(
            any(same_value(kind, a, b) for b in right) for a in left
        )
    if kind in ("boolean", "char"):
        return flag_of(one) == flag_of(other)
    if kind == "money":
        return _money_parts(one) == _money_parts(other)
    if kind == "date":
        return text_of(one)[:10] == text_of(other)[:10]
    if kind == "datetime":
        return _instant(one) == _instant(other)
    left_number, right_number = _as_float(one), _as_float(other)
    if left_number is not None and right_number is not None:
        return left_number == right_number
    # the portal turns line ends and runs of spaces into its own
    return " ".join(text_of(one).split()) == " ".join(text_of(other).split())


def _as_float(value: Any) -> float | None:
    """Numbers, and texts that are written as the portal writes numbers; "+7 999" is none."""
    if isinstance(value, str) and not re.fullmatch(r"-?(?:0|[1-9]\d{0,14})(?:\.\d+)?", value):
        return None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def _money_parts(value: Any) -> tuple[float | str, str]:
    amount, _, currency = text_of(value).partition("|")
    number = _as_float(amount.strip())
    return amount if number is None else number, currency.strip().upper()


def _instant(value: Any) -> datetime | str:
    try:
        at = datetime.fromisoformat(text_of(value))
    except ValueError:
        return text_of(value)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
