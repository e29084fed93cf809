"""The model server: which one, by which key, at what price, and whether it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.formats import localize
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant import consents, spending, store, thinking
from bx_gpt_app.assistant.config import (
    CheaperConfig,
    ModelConfig,
    PortalConfig,
    Prices,
    RouteConfig,
)
from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.assistant.probing import probe_again
from bx_gpt_app.common.amounts import SIGNS
from bx_gpt_app.screens.forms import RouteForm, ServerForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.departures import this_month
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
    who,
)
from integrations.llm.failures import ModelFailed
from integrations.llm.prices import known_prices
from integrations.llm.providers import PRESETS, Capabilities, Provider, preset_for

FIELDS = {
    "data_leaves_country": "leaves_country",
    "mask_personal_data": "mask",
    "prices": "price_input",
}
"""Names in the configuration that the form calls otherwise."""
YES_NO = {True: "yes", False: "no", None: ""}
TAIL = 4
"""So many last characters of a stored key are shown, if it is long enough to spare them."""


class _Forms:
    """The whole page as it was typed, or as it is stored: two servers and what holds for both."""

    def __init__(self, config: PortalConfig, data: Any = None, *, initial: bool = False) -> None:
        """`initial`: what was typed is shown again without being judged."""
        route = config.llm
        self.second_wanted = bool(data.get("with_fallback")) if data else bool(route.fallback)
        bound = {"data": data} if data is not None and not initial else {}
        self.rules = RouteForm(initial=_rules(config), **bound)
        self.main = ServerForm(initial=_server(route), **bound)
        self.second = ServerForm(
            initial=_server(route.fallback), second=True, needed=self.second_wanted, **bound
        )
        if data is not None and initial:
            for form in (self.rules, self.main, self.second):
                form.initial = {name: data.get(form.add_prefix(name), "") for name in form.fields}

    def are_valid(self) -> bool:
        main, second, rules = self.main.is_valid(), self.second.is_valid(), self.rules.is_valid()
        return main and rules and (second or not self.second_wanted)


@admin_view
def model(request: HttpRequest, frame: Frame) -> HttpResponse:
    config = config_of(frame)
    if request.method != "POST":
        return _page(request, frame, _Forms(config))
    forms = _Forms(config, request.POST)
    if forms.are_valid() and _keys_fit(forms, frame):
        parts = {"llm": _route(forms, config).model_dump(mode="json"), "privacy": _privacy(forms)}
        if save(frame, forms.main, _places(), **parts):
            saved = config_of(frame)
            if saved.llm != config.llm or _new_keys(parts["llm"]):
                probe_again.enqueue(frame.portal_id)  # another server can do other things
            return _page(request, frame, _Forms(saved), said=_("Saved"))
    return _page(request, frame, forms, status=422)


def _new_keys(route: dict[str, Any]) -> bool:
    return bool(route["api_key"] or (route["fallback"] or {}).get("api_key"))


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
        data[f"{prefix}project"] = ""
        if prefix and chosen:
            data["with_fallback"] = "on"
    return _page(request, frame, _Forms(config_of(frame), data, initial=True), unsaved=True)


@admin_act
def consent(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The administrator's word, for every server of the saved settings that is outside."""
    config = config_of(frame)
    asked = request.POST.get("origin", "")
    for server in thinking.servers(frame.portal, config).values():
        if server.origin == asked and request.POST.get("agreed"):
            consents.give(frame.portal, server, user_id=frame.user_id, user_name=who(frame))
            return _page(request, frame, _Forms(config), said=_("Your confirmation is kept"))
    return _page(request, frame, _Forms(config), status=422, unagreed=asked)


def _page(
    request: HttpRequest,
    frame: Frame,
    forms: _Forms,
    *,
    status: int = 200,
    said: str = "",
    unsaved: bool = False,
    unagreed: str = "",
) -> HttpResponse:
    config = config_of(frame)
    row = Configuration.objects.filter(pk=frame.portal_id).first()
    servers = thinking.servers(frame.portal, config)
    main = servers.get("main")
    words = _consents(frame, servers, unagreed)
    context = {
        "forms": forms,
        "unsaved": unsaved,
        "main": _shown(forms.main, config.llm, row, "main", frame.language),
        "second": _shown(forms.second, config.llm.fallback, row, "fallback", frame.language),
        "leaves": main.leaves_country if main else None,
        "own": main.is_own_network if main else False,
        "unagreed": [one for one in words if not one["given"]],
        "agreed": [one for one in words if one["given"]],
        "left": this_month(frame.portal),
        "foreign_money": _foreign_money(config, servers),
    }
    return page(request, frame, "model", context, status=status, said=said)


def _shown(
    form: ServerForm,
    stored: ModelConfig | None,
    row: Configuration | None,
    place: str,
    language: str,
) -> dict[str, Any]:
    """Everything the template needs to draw one server."""
    base_url = str(form["base_url"].value() or "")
    kind = str(form["preset"].value() or "") or preset_for(base_url)
    learned = (row.capabilities if row else {}).get(place) or {}
    return {
        "form": form,
        "place": place,
        "second": form.second,
        "models": tuple(learned.get("models") or ()) or PRESETS.get(kind, PRESETS["other"]).models,
        "with_project": kind in ("yandex", "openai") or bool(form["project"].value()),
        "key": _key_in_words(row, stored, second=form.second) if stored else {},
        "headers": sorted(store.secret_headers_for(row, stored)) if stored else [],
        "learned": {
            "text": Capabilities.model_validate(learned).in_words(language),
            "at": row.capabilities_at,
        }
        if row and learned
        else {},
        "prices": _prices_in_words(form),
        "folded": _folded_in_words(form),
        "open": form.folded_errors,
    }


def _folded_in_words(form: ServerForm) -> str:
    """What is set in the folded part, so that nobody need open it to know."""
    value = {name: form[name].value() for name in form.fields}
    told = []
    if value["price_input"] not in (None, ""):
        sign = SIGNS.get(str(value["price_currency"]), value["price_currency"])
        told.append(f"{localize(value['price_input'])} / {localize(value['price_output'])} {sign}")
    if value["temperature"] not in (None, ""):
        told.append(_("temperature %(n)s") % {"n": localize(value["temperature"])})
    if value["deadline_seconds"]:
        told.append(_("%(n)s s for an answer") % {"n": value["deadline_seconds"]})
    if value["max_in_flight"]:
        told.append(_("%(n)s at once") % {"n": value["max_in_flight"]})
    if value["ca_bundle"]:
        told.append(_("own certificates"))
    return ", ".join(told)


def _server(model: ModelConfig | None) -> dict[str, Any]:
    """A stored server as the form shows it."""
    model = model or ModelConfig()
    prices = model.prices
    return {
        "preset": model.preset or (preset_for(model.base_url) if model.base_url else ""),
        "base_url": model.base_url or "",
        "project": model.project or "",
        "model": model.model or "",
        "temperature": bare(model.temperature),
        "leaves_country": YES_NO[model.data_leaves_country],
        "mask": YES_NO[model.mask_personal_data],
        "price_input": bare(prices.input) if prices else None,
        "price_output": bare(prices.output) if prices else None,
        "price_currency": prices.currency if prices else "RUB",
        "deadline_seconds": model.deadline_seconds,
        "max_in_flight": model.max_in_flight,
        "max_input_chars": model.max_input_chars,
        "ca_bundle": model.ca_bundle or "",
    }


def _rules(config: PortalConfig) -> dict[str, Any]:
    cheaper = config.llm.cheaper
    prices = cheaper.prices if cheaper else None
    return {
        "with_fallback": config.llm.fallback is not None,
        "mask_personal_data": config.privacy.mask_personal_data,
        "mask_names": config.privacy.mask_names,
        "cheaper": cheaper.server if cheaper else "",
        "cheaper_model": (cheaper.model or "") if cheaper else "",
        "price_input": bare(prices.input) if prices else None,
        "price_output": bare(prices.output) if prices else None,
        "price_currency": prices.currency if prices else "RUB",
    }


def _route(forms: _Forms, config: PortalConfig) -> RouteConfig:
    """The page as a configuration."""
    rules = forms.rules.cleaned_data
    second = None
    if forms.second_wanted:
        second = ModelConfig.model_construct(**_told(forms.second.cleaned_data))
    cheaper = None
    if rules["cheaper"]:
        cheaper = CheaperConfig.model_construct(
            server=rules["cheaper"], model=rules["cheaper_model"] or None, prices=_prices(rules)
        )
    told = {**_told(forms.main.cleaned_data), "fallback": second, "cheaper": cheaper}
    return RouteConfig.model_construct(**told)


def _told(data: Mapping[str, Any]) -> dict[str, Any]:
    """A server as it was typed. An untouched key or header field keeps what is stored."""
    return {
        "preset": data["preset"] or None,
        "base_url": data["base_url"] or None,
        "project": data["project"] or None,
        "api_key": "" if data["forget_key"] else data["api_key"] or None,
        "model": data["model"] or None,
        "temperature": data["temperature"],
        "data_leaves_country": _yes_no(data["leaves_country"]),
        "mask_personal_data": _yes_no(data["mask"]),
        "prices": _prices(data),
        "deadline_seconds": data["deadline_seconds"],
        "max_in_flight": data["max_in_flight"],
        "max_input_chars": data["max_input_chars"],
        "ca_bundle": data["ca_bundle"] or None,
        "extra_headers": {} if data["forget_headers"] else data["extra_headers"],
    }


def _yes_no(value: str | None) -> bool | None:
    return {"yes": True, "no": False}.get(value or "")


def _prices(data: Mapping[str, Any]) -> Prices | None:
    if data["price_input"] is None:
        return None
    return Prices(
        input=data["price_input"],
        output=data["price_output"],
        currency=data["price_currency"] or "RUB",
    )


def _privacy(forms: _Forms) -> dict[str, bool]:
    return {name: forms.rules.cleaned_data[name] for name in ("mask_personal_data", "mask_names")}


def _places() -> dict[str, str]:
    """Paths of the configuration → fields of the main form; the second server's mistakes are told
    above the page, with their path."""
    names = ("base_url", "api_key", "model", "temperature", "ca_bundle", "project", "extra_headers")
    places = {f"llm.{name}": name for name in names}
    return places | {f"llm.{name}": field for name, field in FIELDS.items()}


def _keys_fit(forms: _Forms, frame: Frame) -> bool:
    """A stored key belongs to the server it was entered for: said before saving, not later."""
    row = Configuration.objects.filter(pk=frame.portal_id).first()
    fitting = True
    for form in (forms.main, forms.second) if forms.second_wanted else (forms.main,):
        data = form.cleaned_data
        stored_for = str(getattr(row, _column("api_key_origin", form.second), "") or "")
        new = ModelConfig(base_url=data["base_url"] or None)
        kind = data["preset"] or preset_for(new.base_url or "")
        has_answer = data["api_key"] or data["forget_key"]
        needs_key = PRESETS.get(kind, PRESETS["other"]).needs_key
        if stored_for and new.origin not in ("", stored_for) and needs_key and not has_answer:
            fitting = False
            form.add_error(
                "api_key",
                _(
                    "The stored key is for %(old)s and is not sent to %(new)s. "
                    "Enter the key of the new server."
                )
                % {"old": stored_for, "new": new.origin},
            )
    return fitting


def _column(name: str, second: bool) -> str:
    return f"fallback_{name}" if second else name


def _key_in_words(
    row: Configuration | None, model_config: ModelConfig, *, second: bool
) -> dict[str, str]:
    """Is there a key, for which server, and how it ends; never the key."""
    key = str(getattr(row, _column("api_key", second), "") or "")
    origin = str(getattr(row, _column("api_key_origin", second), "") or "")
    if not key:
        return {}
    tail = key[-TAIL:] if len(key) >= 4 * TAIL else ""
    return {
        "text": _("set, ends in …%(tail)s") % {"tail": tail} if tail else _("set"),
        "origin": origin,
        "idle": "" if origin == model_config.origin else "1",
    }


def _consents(frame: Frame, servers: dict[str, Provider], unagreed: str) -> list[dict[str, Any]]:
    """Every server outside our network: who agreed to it, or the words to agree to."""
    found: dict[str, dict[str, Any]] = {}
    for server in servers.values():
        if server.is_own_network or server.origin in found:
            continue
        given = consents.given(frame.portal, server)
        found[server.origin] = {
            "origin": server.origin,
            "abroad": server.leaves_country,
            "given": given,
            "words": given.text if given else consents.words(server),
            "id": f"consent-{len(found)}",
            "refused": server.origin == unagreed,
        }
    return list(found.values())


def _foreign_money(config: PortalConfig, servers: dict[str, Provider]) -> str:
    """Currencies that limits of money cannot count, in words; empty when there is no such thing."""
    limits = config.limits
    if limits.daily_cost is None and limits.monthly_cost is None:
        return ""
    priced = {
        prices.currency: 1.0
        for server in servers.values()
        if (prices := server.prices or known_prices(server.base_url, server.model))
    }
    return ", ".join(spending.without_rate(priced, config))


def _prices_in_words(form: ServerForm) -> str:
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


# ---- live calls ----


MUST_FIT = frozenset(
    {"base_url", "model", "api_key", "ca_bundle", "temperature", "project", "extra_headers"}
)
"""Without these a server cannot be called; a mistake in the others can wait."""


def _typed(request: HttpRequest, frame: Frame) -> tuple[ServerForm, str, Provider | None]:
    """The server as it stands in the form, saved or not, and its place; None when it cannot be
    called so."""
    place = "fallback" if request.POST.get("place") == "fallback" else "main"
    form = ServerForm(request.POST, second=place == "fallback")
    form.is_valid()
    if form.errors.keys() & MUST_FIT:
        return form, place, None
    data = {**dict.fromkeys(form.fields), **form.cleaned_data}
    if form.errors:
        data["price_input"] = None
    told = {**_told(data), "api_key": None, "extra_headers": None}
    # The stored key is used for its own server only, also in a test.
    server = thinking.provider_of(
        frame.portal,
        Configuration.objects.filter(pk=frame.portal_id).first(),
        ModelConfig.model_construct(**told),
        config_of(frame),
        place=place,
        typed_key=data["api_key"] or "",
        typed_headers=data["extra_headers"],
    )
    return form, place, server


def _no_provider(request: HttpRequest, frame: Frame, form: ServerForm) -> HttpResponse:
    words = [str(error) for name in form.errors for error in form.errors[name]]
    text = " ".join(words) or _(
        "No model is set up here: choose a service, enter its key and a model."
    )
    return _result(request, frame, "bad", text)


def _result(
    request: HttpRequest, frame: Frame, kind: str, text: str, *, probe: bool = False
) -> HttpResponse:
    context = {
        "kind": kind,
        "text": text,
        "probe": probe,
        "app": frame.portal.registration.code,
        "place": "fallback" if request.POST.get("place") == "fallback" else "main",
    }
    return fragment(request, frame, "model_result", context)


@admin_act
def check(request: HttpRequest, frame: Frame) -> HttpResponse:
    """A live call by address, key and model; then, by itself, what the server can do."""
    form, _place, server = _typed(request, frame)
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
    form, place, server = _typed(request, frame)
    if server is None:
        return _no_provider(request, frame, form)
    try:
        learned = thinking.gateway().probe(server)
    except ModelFailed as error:
        return _result(request, frame, "bad", error.failure.in_words(frame.language))
    stored = thinking.servers(frame.portal, config_of(frame)).get(place)
    if stored and (stored.origin, stored.model) == (server.origin, server.model):
        thinking.keep_capabilities(frame.portal, {place: learned})
    return _result(request, frame, "ok", learned.in_words(frame.language))


@admin_act
def model_list(request: HttpRequest, frame: Frame) -> HttpResponse:
    """The names of the models on the server, for the field's list."""
    data = request.POST.copy()
    name = "fallback_model" if data.get("place") == "fallback" else "model"
    data[name] = data.get(name) or "unknown"  # its name is what is asked for
    request.POST = data  # type: ignore[assignment]
    form, place, server = _typed(request, frame)
    if server is None:
        return _no_provider(request, frame, form)
    try:
        names = thinking.gateway().list_models(server)
    except ModelFailed as error:
        return _result(request, frame, "bad", error.failure.in_words(frame.language))
    context = {"names": names, "app": frame.portal.registration.code, "place": place}
    return fragment(request, frame, "model_list", context)
