"""The model server: which one, by which key, at what price, and whether it answers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import store, thinking
from bx_gpt_app.assistant.config import ModelConfig, PortalConfig, Prices, RouteConfig
from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.assistant.probing import probe_again
from bx_gpt_app.screens.forms import ModelForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    bare,
    config_of,
    fragment,
    money,
    number,
    page,
    save,
    seconds,
)
from integrations.llm.failures import ModelFailed
from integrations.llm.prices import known_prices
from integrations.llm.providers import PRESETS, Capabilities, Provider, preset_for, provider

PLACES = {
    "llm.base_url": "base_url",
    "llm.api_key": "api_key",
    "llm.model": "model",
    "llm.temperature": "temperature",
    "llm.ca_bundle": "ca_bundle",
    "llm.prices": "price_input",
    "llm.fallback.base_url": "fallback_base_url",
    "llm.fallback.model": "fallback_model",
}
TAIL = 4
"""So many last characters of a stored key are shown, if it is long enough to spare them."""


@admin_view
def model(request: HttpRequest, frame: Frame) -> HttpResponse:
    config = config_of(frame)
    if request.method != "POST":
        return _page(request, frame, ModelForm(initial=_initial(config)))
    form = ModelForm(request.POST)
    if form.is_valid() and _keys_fit(form, frame):
        parts = {"llm": _route(form, config).model_dump(mode="json"), "privacy": _privacy(form)}
        if save(frame, form, PLACES, **parts):
            saved = config_of(frame)
            if saved.llm != config.llm or parts["llm"]["api_key"]:
                probe_again.enqueue(frame.portal_id)  # another server can do other things
            return _page(request, frame, ModelForm(initial=_initial(saved)), said=_("Saved"))
    return _page(request, frame, form, status=422)


@admin_act
def preset(request: HttpRequest, frame: Frame) -> HttpResponse:
    """Another service was chosen: its address and models are filled in, nothing is saved yet."""
    data = request.POST.copy()
    for prefix in ("", "fallback_"):
        chosen = PRESETS.get(data.get(f"{prefix}preset", ""))
        if request.POST.get("changed") != f"{prefix}preset":
            continue
        data[f"{prefix}base_url"] = chosen.base_url if chosen else ""
        data[f"{prefix}model"] = chosen.models[0] if chosen and chosen.models else ""
    data["api_key"] = data["fallback_api_key"] = ""
    return _page(request, frame, ModelForm(initial=data.dict()), unsaved=True)


def _page(
    request: HttpRequest,
    frame: Frame,
    form: ModelForm,
    *,
    status: int = 200,
    said: str = "",
    unsaved: bool = False,
) -> HttpResponse:
    config = config_of(frame)
    row = Configuration.objects.filter(pk=frame.portal_id).first()
    chosen = str(form["preset"].value() or "")
    base_url = str(form["base_url"].value() or "")
    context = {
        "form": form,
        "unsaved": unsaved,
        "models": _examples(chosen, base_url, row, "main"),
        "fallback_models": _examples(
            str(form["fallback_preset"].value() or ""),
            str(form["fallback_base_url"].value() or ""),
            row,
            "fallback",
        ),
        "key": _key_in_words(row, config.llm, fallback=False),
        "fallback_key": _key_in_words(row, config.llm.fallback, fallback=True)
        if config.llm.fallback
        else {},
        "leaves": _leaves(frame, config),
        "prices": _prices_in_words(form),
        "learned": _learned(row, frame.language),
    }
    return page(request, frame, "model", context, status=status, said=said)


def _examples(chosen: str, base_url: str, row: Configuration | None, place: str) -> tuple[str, ...]:
    kind = chosen or preset_for(base_url)
    learned = ((row.capabilities if row else {}).get(place) or {}).get("models") or ()
    return tuple(learned) or PRESETS.get(kind, PRESETS["other"]).models


def _initial(config: PortalConfig) -> dict[str, Any]:
    route, spare = config.llm, config.llm.fallback
    prices = route.prices
    values: dict[str, Any] = {
        "preset": route.preset or (preset_for(route.base_url) if route.base_url else ""),
        "base_url": route.base_url or "",
        "model": route.model or "",
        "temperature": bare(route.temperature),
        "leaves_country": {True: "yes", False: "no", None: ""}[route.data_leaves_country],
        "price_input": bare(prices.input) if prices else None,
        "price_output": bare(prices.output) if prices else None,
        "price_currency": prices.currency if prices else "RUB",
        "deadline_seconds": route.deadline_seconds,
        "max_in_flight": route.max_in_flight,
        "ca_bundle": route.ca_bundle or "",
        "with_fallback": spare is not None,
        "mask_personal_data": config.privacy.mask_personal_data,
        "mask_names": config.privacy.mask_names,
    }
    if spare:
        values |= {
            "fallback_preset": spare.preset or preset_for(spare.base_url or ""),
            "fallback_base_url": spare.base_url or "",
            "fallback_model": spare.model or "",
        }
    return values


def _route(form: ModelForm, config: PortalConfig) -> RouteConfig:
    """The form as a configuration. An untouched key field keeps the stored key."""
    data, old = form.cleaned_data, config.llm
    prices = (
        Prices(
            input=data["price_input"],
            output=data["price_output"],
            currency=data["price_currency"] or "RUB",
        )
        if data["price_input"] is not None
        else None
    )
    spare = None
    if data["with_fallback"]:
        before = old.fallback or ModelConfig()
        spare = before.model_copy(
            update={
                "preset": data["fallback_preset"] or None,
                "base_url": data["fallback_base_url"],
                "api_key": data["fallback_api_key"] or None,
                "model": data["fallback_model"],
            }
        )
    return old.model_copy(
        update={
            "preset": data["preset"] or None,
            "base_url": data["base_url"] or None,
            "api_key": "" if data["forget_key"] else data["api_key"] or None,
            "model": data["model"] or None,
            "temperature": data["temperature"],
            "data_leaves_country": {"yes": True, "no": False}.get(data["leaves_country"]),
            "prices": prices,
            "deadline_seconds": data["deadline_seconds"],
            "max_in_flight": data["max_in_flight"],
            "ca_bundle": data["ca_bundle"] or None,
            "fallback": spare,
        }
    )


def _privacy(form: ModelForm) -> dict[str, bool]:
    return {name: form.cleaned_data[name] for name in ("mask_personal_data", "mask_names")}


def _keys_fit(form: ModelForm, frame: Frame) -> bool:
    """A stored key belongs to the server it was entered for: said before saving, not later."""
    row = Configuration.objects.filter(pk=frame.portal_id).first()
    data = form.cleaned_data
    prefixes = ("", "fallback_") if data["with_fallback"] else ("",)
    for prefix in prefixes:
        stored_for = str(getattr(row, f"{prefix}api_key_origin", "") or "")
        new = ModelConfig(base_url=data[f"{prefix}base_url"] or None)
        kind = data[f"{prefix}preset"] or preset_for(new.base_url or "")
        has_answer = data[f"{prefix}api_key"] or (not prefix and data["forget_key"])
        needs_key = PRESETS.get(kind, PRESETS["other"]).needs_key
        if stored_for and new.origin not in ("", stored_for) and needs_key and not has_answer:
            form.add_error(
                f"{prefix}api_key",
                _(
                    "The stored key is for %(old)s and is not sent to %(new)s. "
                    "Enter the key of the new server."
                )
                % {"old": stored_for, "new": new.origin},
            )
    return form.is_valid()


def _key_in_words(
    row: Configuration | None, model_config: ModelConfig, *, fallback: bool
) -> dict[str, str]:
    """Is there a key, for which server, and how it ends; never the key."""
    prefix = "fallback_" if fallback else ""
    key = str(getattr(row, f"{prefix}api_key", "") or "")
    origin = str(getattr(row, f"{prefix}api_key_origin", "") or "")
    if not key:
        return {}
    tail = key[-TAIL:] if len(key) >= 4 * TAIL else ""
    return {
        "text": _("set, ends in …%(tail)s") % {"tail": tail} if tail else _("set"),
        "origin": origin,
        "idle": "" if origin == model_config.origin else "1",
    }


def _leaves(frame: Frame, config: PortalConfig) -> bool | None:
    """Do clients' words cross the border? None: there is no model yet."""
    try:
        return thinking.routes(frame.portal, config)[0].leaves_country
    except thinking.NoModel:
        return None


def _prices_in_words(form: ModelForm) -> str:
    """The public price, when the admin has set none."""
    base_url, name = str(form["base_url"].value() or ""), str(form["model"].value() or "")
    prices = known_prices(base_url, name) if base_url and name else None
    if prices is None:
        return _(
            "No public price is known for this model: enter yours, or only tokens are counted."
        )
    return _("Public price: %(input)s in, %(output)s out for a million tokens.") % {
        "input": money(prices.input, prices.currency),
        "output": money(prices.output, prices.currency),
    }


def _learned(row: Configuration | None, language: str) -> dict[str, Any]:
    stored = (row.capabilities if row else {}).get("main")
    if not row or not stored:
        return {}
    return {
        "text": Capabilities.model_validate(stored).in_words(language),
        "at": row.capabilities_at,
    }


# ---- live calls ----


def _typed(request: HttpRequest, frame: Frame) -> tuple[ModelForm, Provider | None]:
    """The server as it stands in the form, saved or not; None when it cannot be called so."""
    form = ModelForm(request.POST)
    form.is_valid()
    if form.errors.keys() & {"base_url", "model", "api_key", "ca_bundle", "temperature"}:
        return form, None
    config = config_of(frame)
    data = {name: form.cleaned_data.get(name) for name in form.fields}
    if not data["base_url"]:
        hosts = config.model_copy(update={"llm": RouteConfig(model=data["model"] or None)})
        try:
            return form, thinking.routes(frame.portal, hosts)[0]
        except thinking.NoModel:
            return form, None
    wanted = ModelConfig(base_url=data["base_url"], ca_bundle=data["ca_bundle"] or None)
    row = Configuration.objects.filter(pk=frame.portal_id).first()
    # The stored key is used for its own server only, also in a test.
    key = data["api_key"] or store.api_key_for(row, wanted, fallback=False)
    more: dict[str, Any] = {"extra_headers": store.secret_headers_for(row, wanted)}
    if data["ca_bundle"]:
        more["ca_bundle"] = data["ca_bundle"]
    if data["max_in_flight"]:
        more["max_in_flight"] = data["max_in_flight"]
    return form, provider(
        base_url=data["base_url"],
        api_key=key,
        model=data["model"] or "",
        kind=data["preset"] or "",
        temperature=data["temperature"],
        **more,
    )


def _no_provider(request: HttpRequest, frame: Frame, form: ModelForm) -> HttpResponse:
    words = [str(error) for name in form.errors for error in form.errors[name]]
    text = " ".join(words) or _(
        "No model is set up here: choose a service, enter its key and a model."
    )
    return _result(request, frame, "bad", text)


def _result(
    request: HttpRequest, frame: Frame, kind: str, text: str, *, probe: bool = False
) -> HttpResponse:
    context = {"kind": kind, "text": text, "probe": probe, "app": frame.portal.registration.code}
    return fragment(request, frame, "model_result", context)


@admin_act
def check(request: HttpRequest, frame: Frame) -> HttpResponse:
    """A live call by address, key and model; then, by itself, what the server can do."""
    form, server = _typed(request, frame)
    if server is None:
        return _no_provider(request, frame, form)
    found = thinking.gateway().check_key(server)
    if found.failure is not None:
        return _result(request, frame, "bad", found.failure.in_words(frame.language))
    words = [
        _("The key works, the model answered in %(s)s.") % {"s": seconds(found.latency_ms / 1000)}
    ]
    if found.models:
        words.append(
            ngettext("%(n)s model is available.", "%(n)s models are available.", found.models)
            % {"n": number(found.models)}
        )
    if found.model_listed is False:
        words.append(_("This model is not in the server’s list: check its name."))
    return _result(
        request, frame, "warn" if found.model_listed is False else "ok", " ".join(words), probe=True
    )


@admin_act
def try_out(request: HttpRequest, frame: Frame) -> HttpResponse:
    """What the server can do. Kept when it is the server that is saved."""
    form, server = _typed(request, frame)
    if server is None:
        return _no_provider(request, frame, form)
    try:
        learned = thinking.gateway().probe(server)
    except ModelFailed as error:
        return _result(request, frame, "bad", error.failure.in_words(frame.language))
    config = config_of(frame)
    same = (config.llm.base_url or "", config.llm.model or "") == (
        form.cleaned_data.get("base_url") or "",
        form.cleaned_data.get("model") or "",
    )
    if same:
        row, _created = Configuration.objects.get_or_create(portal=frame.portal)
        row.capabilities = {**row.capabilities, "main": learned.model_dump(mode="json")}
        row.capabilities_at = timezone.now()
        row.save(update_fields=["capabilities", "capabilities_at"])
    return _result(request, frame, "ok", learned.in_words(frame.language))


@admin_act
def model_list(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The names of the models on the server, for the field's list."""
    form, server = _typed(request, frame)
    if server is None and "model" in form.errors and form.cleaned_data.get("base_url"):
        data = request.POST.copy()
        data["model"] = "unknown"
        request.POST = data  # type: ignore[assignment]
        form, server = _typed(request, frame)
    if server is None:
        return _no_provider(request, frame, form)
    try:
        names = thinking.gateway().list_models(server)
    except ModelFailed as error:
        return _result(request, frame, "bad", error.failure.in_words(frame.language))
    context = {"names": sorted(names), "app": frame.portal.registration.code}
    return fragment(request, frame, "model_list", context)
