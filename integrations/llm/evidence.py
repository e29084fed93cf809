"""Which of the values that the model names the client really wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import JsonValue

from integrations.llm.normalise import emails_of, normalise, phones_of
from integrations.llm.values import Band, CheckedValue, FieldSpec


def check_fields(
    answer_fields: Mapping[str, JsonValue],
    specs: Sequence[FieldSpec],
    *,
    client_texts: Sequence[str],
    now: datetime,
    region: str = "RU",
    currency: str = "RUB",
) -> tuple[CheckedValue, ...]:
    """Every value of the answer with its band, in the order of `specs`; unknown fields are dropped.

    Phones and e-mails come from the client's own text: the first field of each type is filled even
    if the model missed it, and a number he never wrote is replaced by the one he did write.
    UNSURE values are returned for the record only and must not be written anywhere.
    `client_texts` are the client's messages, oldest first; `now` is aware, in the portal's zone.
    """
    checked: dict[str, CheckedValue] = {}
    for spec in specs:
        value = normalise(
            spec,
            answer_fields.get(spec.name),
            texts=client_texts,
            now=now,
            region=region,
            currency=currency,
        )
        if value is not None:
            checked[spec.name] = value
    for kind, own in (
        ("phone", phones_of(client_texts, region)),
        ("email", emails_of(client_texts)),
    ):
        fields = [spec for spec in specs if spec.type == kind]
        used = {
            value.value
            for value in checked.values()
            if value.type == kind and value.band is not Band.UNSURE
        }
        left = [found for found in own if found.value not in used]
        first = checked.get(fields[0].name) if fields else None
        if not left or not fields or (first and first.band is not Band.UNSURE):
            continue
        best = left[0]
        checked[fields[0].name] = CheckedValue(
            field=fields[0].name,
            type=fields[0].type,
            value=best.value,
            raw=first.raw if first else "",
            quote=best.text,
            band=Band.CONFIDENT,
        )
    return tuple(checked[spec.name] for spec in specs if spec.name in checked)
