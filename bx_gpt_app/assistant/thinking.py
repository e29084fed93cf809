"""Asking the model and judging what it said. The model is a witness, not an authority."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.circuit import DatabaseCircuit
from bx_gpt_app.assistant.config import ModelConfig, PortalConfig
from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.flow import Context, Judgement
from bx_gpt_app.portals.clients import address_guard
from bx_gpt_app.portals.models import Portal
from integrations.llm.evidence import check_fields
from integrations.llm.gateway import AnswerRequest, Gateway, Result
from integrations.llm.prompt import POLICY
from integrations.llm.providers import Capabilities, Prices, Provider, provider
from integrations.llm.replies import KnownFacts, check_reply
from integrations.llm.schema import AnswerSpec
from integrations.llm.values import Answer, CheckedValue, Source


@cache
def gateway() -> Gateway:
    """One per process: its event loop and its HTTP clients are shared by all threads."""
    return Gateway(circuit=DatabaseCircuit(), address_guard=address_guard())


class NoModel(Exception):
    """The portal has no model and the host offers none: the admin must enter a key."""


def routes(portal: Portal, config: PortalConfig) -> list[Provider]:
    """The model servers to ask, in order.

    Raises: NoModel.
    """
    row = Configuration.objects.filter(pk=portal.pk).first()
    found = [_provider(row, config.llm, fallback=False)]
    if config.llm.fallback:
        found.append(_provider(row, config.llm.fallback, fallback=True))
    usable = [one for one in found if one is not None]
    if not usable:
        raise NoModel
    return usable


def _provider(row: Configuration | None, model: ModelConfig, *, fallback: bool) -> Provider | None:
    """A configured server. The host's key goes to the host's server only, a portal's to its own."""
    key = store.api_key_for(row, model, fallback=fallback)
    if model.base_url is None:
        key = key or settings.OPENAI_API_KEY
        base_url = settings.OPENAI_BASE_URL
        if not key and not _keyless(base_url):
            return None
    else:
        base_url = model.base_url
        if not key and model.origin == _origin(settings.OPENAI_BASE_URL):
            key = settings.OPENAI_API_KEY
    learned = (row.capabilities if row else {}).get("fallback" if fallback else "main")
    more: dict[str, Any] = {"extra_headers": store.secret_headers_for(row, model)}
    if model.ca_bundle:
        more["ca_bundle"] = model.ca_bundle
    if model.prices:
        more["prices"] = Prices(**model.prices.model_dump())
    if model.data_leaves_country is not None:
        more["leaves_country"] = model.data_leaves_country
    if learned:
        more["capabilities"] = Capabilities.model_validate(learned)
    for name in ("max_in_flight", "deadline_seconds"):
        if getattr(model, name) is not None:
            more[name] = getattr(model, name)
    return provider(
        base_url=base_url,
        model=model.model or settings.OPENAI_MODEL,
        api_key=key,
        kind=model.preset or "",
        temperature=model.temperature,
        **more,
    )


def _keyless(base_url: str) -> bool:
    """A server of one's own (Ollama, vLLM, …) often wants no key; OpenAI always does."""
    return "api.openai.com" not in base_url


def _origin(url: str) -> str:
    return ModelConfig(base_url=url).origin


def keep_learned(portal: Portal, result: Result, providers: list[Provider]) -> None:
    """The server turned out to be able to do more or less than was known: start from there next
    time."""
    if result.capabilities_learned is None:
        return
    row, _created = Configuration.objects.get_or_create(portal=portal)
    place = "main" if (result.model, result.provider_kind) == (
        providers[0].model, providers[0].kind
    ) else "fallback"  # fmt: skip
    learned = result.capabilities_learned.model_dump(mode="json")
    row.capabilities = {**row.capabilities, place: learned}
    row.capabilities_at = timezone.now()
    row.save(update_fields=["capabilities", "capabilities_at"])


def spec_of(config: PortalConfig) -> AnswerSpec:
    return AnswerSpec(
        topics=config.topics, fields=config.fields, reply_max_length=config.reply.max_length
    )


def ask(
    config: PortalConfig,
    providers: list[Provider],
    context: Context,
    *,
    steer: str = "",
    deadline_seconds: float | None = None,
) -> Result:
    """One answer of the model, or the reason why there is none. Never raises.

    The database connection is given back first: the wait is long and connections are few.
    """
    request = AnswerRequest(
        spec=spec_of(config),
        instructions=config.prompt,
        variables=dict(context.variables),
        conversation=context.conversation,
        sources=context.sources,
        crm_facts={title: value for item in context.items for title, value in item.facts.items()},
        now=context.now,
        default_language=context.client_language,
        steer=steer,
        mask=config.privacy.mask_personal_data,
        mask_names=config.privacy.mask_names,
    )
    give_back_connection(for_long=True)
    return gateway().answer(request, providers, deadline_seconds=deadline_seconds)


def judge(
    answer: Answer,
    config: PortalConfig,
    context: Context,
    *,
    region: str,
    canary: str = "",
    plain_text: bool = False,
) -> Judgement:
    """What of an answer can be believed. Pure: same answer and context, same judgement."""
    values = check_fields(
        answer.fields,
        config.fields,
        client_texts=context.client_texts,
        now=context.now,
        region=region,
    )
    reply = check_reply(
        answer.reply,
        client_texts=context.client_texts,
        client_language=context.client_language,
        known=_known_facts(config, context),
        max_length=config.reply.max_length,
        canary=canary,
        secret=POLICY,
        now=context.now,
        region=region,
    )
    topic = answer.topic if config.topic(answer.topic) else None
    return Judgement(
        answer=answer,
        reply=reply,
        values=values,
        topic=topic,
        confidence=answer.confidence,
        needs_human=answer.needs_human,
        plain_text=plain_text,
    )


def _known_facts(config: PortalConfig, context: Context) -> KnownFacts:
    """What a reply may rest on: knowledge, the card, the contacts, the admin's own words."""
    prompt = Source(key="prompt", title="", text=config.prompt)
    return KnownFacts(
        sources=(*context.sources, prompt),
        crm_values=tuple(value for item in context.items for value in item.facts.values()),
        contacts=tuple(config.reply.contacts),
        allowed_links=tuple(source.url for source in context.sources if source.url),
        dialog_texts=context.our_texts,
    )


def values_found_locally(
    config: PortalConfig, context: Context, region: str
) -> tuple[CheckedValue, ...]:
    """Phones and e-mails need no model: they are kept even while the model is down."""
    return check_fields(
        {}, config.fields, client_texts=context.client_texts, now=context.now, region=region
    )
