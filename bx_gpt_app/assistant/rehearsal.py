"""Trying a prompt out: the model answers a real or sample dialog; neither CRM nor chat ever hears
of it.

The result lives in the task's own row, which housekeeping deletes within an hour of its end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypedDict

from django.db import transaction
from django.tasks import task
from django.utils import timezone, translation

from bx_gpt_app.assistant import spending, store, thinking
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.context import gather, zone_of
from bx_gpt_app.assistant.decide import Situation, decide, find_stop_word
from bx_gpt_app.assistant.fill import value_in_words
from bx_gpt_app.assistant.knowledge import retrieve
from bx_gpt_app.assistant.models import Dialog, PromptVersion
from bx_gpt_app.flow import Context, Judgement
from bx_gpt_app.portals.models import Portal
from integrations.llm.gateway import Result
from integrations.llm.language import detect_language
from integrations.llm.values import Author, Turn

PURPOSE = "rehearsal"

SAMPLES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "order": {
        "ru": ("Здравствуйте! Где мой заказ 1024? Меня зовут Анна, телефон +7 916 123-45-67",),
        "en": ("Hello! Where is my order 1024? I am Anna, my phone is +7 916 123-45-67",),
    },
    "price": {
        "ru": ("Добрый день, сколько стоит установка и когда сможет приехать мастер?",),
        "en": ("Good afternoon, how much is the installation and when can you come?",),
    },
    "angry": {
        "ru": ("Третий день жду ответа! Верните деньги, иначе я пожалуюсь.",),
        "en": ("I have been waiting for three days! Give my money back or I will complain.",),
    },
}
"""Questions to try before any client has written."""


class Rehearsed(TypedDict, total=False):
    """What a rehearsal shows. `failure` is set when there is no reply, and says why."""

    portal_id: int
    reply: str
    band: str
    doubts: list[dict[str, str]]
    topic: str
    values: list[tuple[str, str]]
    decision: str
    reason: str
    detail: str
    seconds: float
    cost: float | None
    currency: str
    tokens: int
    model: str
    failure: str
    failure_code: str


@task()
def rehearse(
    portal_id: int, prompt_id: int, dialog_id: int | None, sample: str, language: str
) -> dict[str, Any]:
    """One prompt (0: the one in force) on one dialog, a sample, or a client's words."""
    portal = Portal.objects.select_related("registration").get(pk=portal_id)
    version = PromptVersion.objects.filter(portal=portal, pk=prompt_id).first()
    dialog = Dialog.objects.filter(portal=portal, pk=dialog_id).first() if dialog_id else None
    if (prompt_id and version is None) or (dialog_id and dialog is None):
        return {"portal_id": portal_id, "failure_code": "gone", "failure": ""}
    config, _revision = store.load(portal)
    if version is not None:
        config = config.model_copy(update={"prompt": version.text})
    context = (
        _up_to_the_question(gather(dialog, portal, config))
        if dialog
        else sample_context(portal, config, sample_texts(sample, language))
    )
    with translation.override(language):
        return {**rehearse_now(portal, config, context, version, dialog), "portal_id": portal_id}


def rehearse_now(
    portal: Portal,
    config: PortalConfig,
    context: Context,
    version: PromptVersion | None,
    dialog: Dialog | None = None,
) -> Rehearsed:
    """Ask the model and judge its answer, without a single row of the dialog being touched."""
    if not context.client_texts:
        return {"failure_code": "nothing_to_answer", "failure": ""}
    if spending.budget(portal, config).is_over:
        return {"failure_code": "budget", "failure": ""}
    try:
        providers = thinking.routes(portal, config)
    except thinking.NoModel:
        return {"failure_code": "no_model", "failure": ""}
    started = time.monotonic()
    result = thinking.ask(config, providers, context)
    seconds = round(time.monotonic() - started, 2)
    _record(portal, dialog, version, result)
    if result.answer is None:
        words = (
            result.failures[-1].in_words(translation.get_language() or "en")
            if result.failures
            else ""
        )
        if result.text:
            return {
                "reply": result.text,
                "band": "unsure",
                "reason": "plain_text_only",
                "decision": "suggest",
                "seconds": seconds,
                **_price(result),
            }
        return {
            "failure_code": result.reason or "model_failed",
            "failure": words,
            "seconds": seconds,
        }
    judgement = thinking.judge(
        result.answer, config, context, region=portal.region, canary=result.canary
    )
    return {**_shown(judgement, config, context), "seconds": seconds, **_price(result)}


def _shown(judgement: Judgement, config: PortalConfig, context: Context) -> Rehearsed:
    """What an automatic line would do with this answer, as the strictest question one can ask."""
    stop_word = find_stop_word(context.client_texts, config.reply.stop_words)
    decision = decide(judgement, config, Situation(mode="auto", owner="bot", stop_word=stop_word))
    topic = config.topic(judgement.topic)
    titles = {one.name: one.description or one.name for one in config.fields}
    return {
        "reply": judgement.reply.text,
        "band": str(judgement.reply.band),
        "doubts": [doubt.model_dump() for doubt in judgement.reply.doubts],
        "topic": topic.title if topic else "",
        "values": [
            (titles.get(value.field, value.field), value_in_words(value.value))
            for value in judgement.values
            if value.value is not None
        ],
        "decision": decision.act,
        "reason": decision.reason,
        "detail": decision.detail,
    }


def _price(result: Result) -> Rehearsed:
    return {
        "cost": result.usage.cost,
        "currency": result.usage.currency,
        "tokens": result.usage.total_tokens,
        "model": result.model,
    }


def _record(
    portal: Portal, dialog: Dialog | None, version: PromptVersion | None, result: Result
) -> None:
    """Trying costs money too: it is counted, under its own purpose."""
    with transaction.atomic():
        spending.record_calls(
            portal,
            result.bills,
            purpose=PURPOSE,
            dialog=dialog,
            prompt_number=version.number if version else 0,
        )


def sample_texts(sample: str, language: str) -> tuple[str, ...]:
    """The words of a bundled sample; any other text is the client's own question."""
    if sample not in SAMPLES:
        return (sample,)
    return SAMPLES[sample]["ru" if language == "ru" else "en"]


def sample_context(portal: Portal, config: PortalConfig, texts: tuple[str, ...]) -> Context:
    """A dialog that never was: these words of a client, the portal's own knowledge."""
    language = detect_language(" ".join(texts), default=config.language)
    return Context(
        conversation=tuple(Turn(author=Author.CLIENT, text=text) for text in texts),
        sources=tuple(retrieve(portal, " ".join(texts))),
        now=timezone.now().astimezone(zone_of(portal)),
        client_language=language,
        variables={"company": portal.domain, "language": language},
    )


def _up_to_the_question(context: Context) -> Context:
    """The dialog as it was when the client last asked: later answers of people would be copied."""
    turns = list(context.conversation)
    while turns and turns[-1].author is not Author.CLIENT:
        turns.pop()
    return context.model_copy(update={"conversation": tuple(turns)})
