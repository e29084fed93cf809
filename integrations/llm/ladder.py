"""Which way of asking comes next: pure decisions about shapes and parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from integrations.llm.failures import ModelFailed
from integrations.llm.providers import Capabilities, LimitField, Preset, Provider, Shape
from integrations.llm.schema import AnswerSpec

THINKING_MODEL = re.compile(r"(?:^|/)(?:o\d|gpt-5)(?:[-.:]|$)|reason|think|-r1\b|magistral", re.I)
"""Models that pay for their thoughts from the same limit, and refuse a temperature."""

STEP_DOWN_STATUSES = frozenset({400, 404, 415, 422, 500, 501})
ABOUT_SHAPE = re.compile(
    r"response_format|response format|json_schema|json_object|schema|tool|function|structured"
    r"|requested parameters|grammar|input should be"
)
ABOUT_LIMIT = re.compile(r"max_(?:completion_)?tokens")
MOST_TOKENS = re.compile(
    r"(?:at most|up to|no more than|less than or equal to|<=|maximum (?:value )?(?:is|of)"
    r"|(?:not|cannot) exceed|\[\d+,|не (?:более|больше))\s*(\d{2,6})\b"
)
"""For example: max_tokens is too large: 20000. This model supports at most 16384 tokens."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the next request asks. Changed by what the server answers, never in place."""

    shape: Shape
    limit_field: LimitField
    temperature: bool
    max_input_chars: int
    rejected: tuple[Shape, ...] = ()
    """Shapes that the server refused in plain words."""
    ignored: tuple[Shape, ...] = ()
    swapped_limit: bool = False
    most_tokens: int | None = None
    """The longest answer that the server allows, once it has said so."""


def first_plan(provider: Provider, known: Capabilities | None, max_input_chars: int) -> Plan:
    """The strongest shape that is not known to fail."""
    preset = provider.preset
    shape = known.shape if known else preset.shapes[0]
    limit_field = provider.limit_field or (known and known.limit_field) or preset.limit_field
    thinking = bool(THINKING_MODEL.search(provider.model))
    return Plan(
        shape=shape,
        limit_field=limit_field,
        temperature=known.temperature if known else not thinking,
        max_input_chars=max_input_chars,
        rejected=known.rejected if known else (),
        ignored=known.ignored if known else (),
    )


def weaker(plan: Plan, preset: Preset, *, without_schema: bool = False) -> Shape | None:
    """The next shape down that is not known to fail."""
    order = list(Shape)
    for shape in order[order.index(plan.shape) + 1 :]:
        if shape not in preset.shapes and shape is not Shape.TEXT:
            continue
        if shape in plan.rejected or shape in plan.ignored:
            continue
        if not (without_schema and shape.carries_schema):
            return shape
    return None


def adapt(plan: Plan, error: ModelFailed, preset: Preset) -> Plan | None:
    """The plan that avoids what the server complained about; None when it is about something else.

    The order of the tests matters: complaints about one parameter also mention others.
    """
    failure, hints = error.failure, error.message
    if failure.status not in STEP_DOWN_STATUSES or failure.code in (
        "auth", "no_money", "too_big", "refused",
    ):  # fmt: skip
        return None
    if ABOUT_LIMIT.search(hints) and (most := MOST_TOKENS.search(hints)):
        told = int(most[1])
        if plan.most_tokens is None or told < plan.most_tokens:
            return replace(plan, most_tokens=told)
    if ABOUT_LIMIT.search(hints) and not plan.swapped_limit:
        other: LimitField = (
            "max_tokens" if plan.limit_field == "max_completion_tokens" else "max_completion_tokens"
        )
        return replace(plan, limit_field=other, swapped_limit=True)
    if "temperature" in hints and plan.temperature:
        return replace(plan, temperature=False)
    about_shape = bool(ABOUT_SHAPE.search(hints))
    if not about_shape and (failure.status in (404, 500) or failure.code == "model_not_found"):
        return None
    below = weaker(plan, preset)
    if below is None:
        return None
    return replace(plan, shape=below, rejected=(*plan.rejected, plan.shape))


def shape_body(shape: Shape, spec: AnswerSpec, preset: Preset) -> dict[str, Any]:
    """The part of a request that asks for the structure."""
    schema = spec.json_schema(preset.dialect)
    match shape:
        case Shape.JSON_SCHEMA:
            named = {"name": "answer", "strict": True, "schema": schema}
            return {"response_format": {"type": "json_schema", "json_schema": named}}
        case Shape.SCHEMA_BARE:
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        case Shape.SCHEMA_FLAT:
            return {"response_format": {"type": "json_schema", "schema": schema}}
        case Shape.OBJECT_SCHEMA:
            return {"response_format": {"type": "json_object", "schema": schema}}
        case Shape.TOOL:
            function = {
                "name": "answer",
                "description": "The answer to the client",
                "parameters": schema,
            }
            return {
                "tools": [{"type": "function", "function": function}],
                "tool_choice": {"type": "function", "function": {"name": "answer"}},
            }
        case Shape.JSON_OBJECT:
            return {"response_format": {"type": "json_object"}}
        case Shape.TEXT:
            return {}
