"""Asking the model and judging what it said. The model is a witness, not an authority."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from django.conf import settings
from django.utils import timezone

from bx_gpt_app.assistant import consents, store
from bx_gpt_app.assistant.circuit import DatabaseCircuit
from bx_gpt_app.assistant.config import ModelConfig, PortalConfig, RouteConfig
from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.assistant.places import DatabasePlaces
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

LONGEST_REPLY = 20_000
"""No more is asked of a model, however much an admin allows."""


@cache
def gateway() -> Gateway:
    """One per process: its event loop and its HTTP clients are shared by all threads."""
    return Gateway(
        circuit=DatabaseCircuit(), places=DatabasePlaces(), address_guard=address_guard()
    )


class NoModel(Exception):
    """The portal has no model and the host offers none: the admin must enter a key."""


def routes(portal: Portal, config: PortalConfig, *, saving: bool = False) -> list[Provider]:
    """The model servers to ask, in order. `saving`: the cheaper model first, if there is one.

    Raises: NoModel.
    """
    found = servers(portal, config)
    order = ("main", "fallback")
    if saving and "cheaper" in found:
        cheaper_is_the_second = config.llm.cheaper and config.llm.cheaper.server == "fallback"
        order = ("cheaper", "main") if cheaper_is_the_second else ("cheaper", "fallback")
    usable = [found[place] for place in order if place in found]
    if not usable:
        raise NoModel
    return usable


def servers(portal: Portal, config: PortalConfig) -> dict[str, Provider]:
    """Every usable model by its place: main, fallback, cheaper."""
    row = Configuration.objects.filter(pk=portal.pk).first()
    wanted: dict[str, ModelConfig] = {"main": config.llm}
    if config.llm.fallback:
        wanted["fallback"] = config.llm.fallback
    if cheaper := cheaper_model(config.llm):
        wanted["cheaper"] = cheaper
    found: dict[str, Provider] = {}
    for place, model in wanted.items():
        server = provider_of(portal, row, model, config, place=place)
        if server is not None:
            found[place] = server
    return found


def cheaper_model(route: RouteConfig) -> ModelConfig | None:
    """What saves money, as a whole server: the first or the second one with another model."""
    if route.cheaper is None:
        return None
    of_second = route.cheaper.server == "fallback"
    server = route.fallback if of_second else route
    if server is None:
        return None
    told: dict[str, Any] = {name: getattr(server, name) for name in ModelConfig.model_fields}
    if route.cheaper.model and route.cheaper.model != server.model:
        # The server's prices are those of its own model.
        told |= {"model": route.cheaper.model, "prices": None}
    if route.cheaper.prices:
        told["prices"] = route.cheaper.prices
    return ModelConfig.model_construct(**told)


def provider_of(
    portal: Portal,
    row: Configuration | None,
    model: ModelConfig,
    config: PortalConfig,
    *,
    place: str,
    typed_key: str = "",
    typed_headers: Mapping[str, str] | None = None,
) -> Provider | None:
    """A configured server. The host's key goes to the host's server only, a portal's to its own.

    `typed_key` and `typed_headers` stand in a form and are not stored yet.
    """
    cheaper = config.llm.cheaper
    second = place == "fallback" or (
        place == "cheaper" and cheaper is not None and cheaper.server == "fallback"
    )
    key = typed_key or store.api_key_for(row, model, fallback=second)
    if model.base_url is None:
        key = key or settings.OPENAI_API_KEY
        base_url = settings.OPENAI_BASE_URL
        if not key and not _keyless(base_url):
            return None
    else:
        base_url = model.base_url
        if not key and model.origin == _origin(settings.OPENAI_BASE_URL):
            key = settings.OPENAI_API_KEY
    headers = typed_headers if typed_headers is not None else store.secret_headers_for(row, model)
    more: dict[str, Any] = {"extra_headers": headers, "project": model.project or ""}
    if model.ca_bundle:
        more["ca_bundle"] = model.ca_bundle
    if model.prices:
        more["prices"] = Prices(**model.prices.model_dump())
    if model.data_leaves_country is not None:
        more["leaves_country"] = model.data_leaves_country
    if learned := (row.capabilities if row else {}).get(place):
        more["capabilities"] = Capabilities.model_validate(learned)
    for name in ("max_in_flight", "deadline_seconds", "max_input_chars"):
        if getattr(model, name) is not None:
            more[name] = getattr(model, name)
    server = provider(
        base_url=base_url,
        model=model.model or settings.OPENAI_MODEL,
        api_key=key,
        kind=model.preset or "",
        temperature=model.temperature,
        **more,
    )
    return server.model_copy(update={"mask": _masks(portal, config, model, server)})


def _masks(portal: Portal, config: PortalConfig, model: ModelConfig, server: Provider) -> bool:
    """Is personal data hidden from this server? Always, until somebody has agreed to the journey of
    clients' words out of the house."""
    wanted = model.mask_personal_data
    if wanted is None:
        wanted = config.privacy.mask_personal_data
    return wanted or not consents.covered(portal, server)


def _keyless(base_url: str) -> bool:
    """A server of one's own (Ollama, vLLM, …) often wants no key; OpenAI always does."""
    return "api.openai.com" not in base_url


def _origin(url: str) -> str:
    return ModelConfig(base_url=url).origin


def keep_learned(portal: Portal, config: PortalConfig, result: Result) -> None:
    """The server turned out to be able to do more or less than was known: start from there next
    time."""
    if result.capabilities_learned is None or not result.bills:
        return
    answered = result.bills[-1]
    for place, server in servers(portal, config).items():
        if (server.origin, server.model) == (answered.origin, answered.model):
            keep_capabilities(portal, {place: result.capabilities_learned})
            return


def keep_capabilities(portal: Portal, found: Mapping[str, Capabilities]) -> None:
    """Place → what the server there can do."""
    row, _created = Configuration.objects.get_or_create(portal=portal)
    known = {place: one.model_dump(mode="json") for place, one in found.items()}
    row.capabilities = {**row.capabilities, **known}
    row.capabilities_at = timezone.now()
    row.save(update_fields=["capabilities", "capabilities_at"])


def spec_of(config: PortalConfig) -> AnswerSpec:
    longest = min(config.reply.max_length, LONGEST_REPLY)
    return AnswerSpec(topics=config.topics, fields=config.fields, reply_max_length=longest)


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
