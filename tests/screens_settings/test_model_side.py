"""What an admin sees and sets of model servers: everything, for both of them; what left for whom."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest
from django.utils import timezone

from bx_gpt_app.assistant import store, thinking
from bx_gpt_app.assistant.models import Configuration, Consent, Departure, Spending
from integrations.llm.local_model import LocalModel
from tests.factories import configure, make_portal
from tests.screens_settings.conftest import Visitor, text_of
from tests.screens_settings.rows import CANARY

SERVERS = {
    "preset": "yandex",
    "base_url": "https://llm.api.cloud.yandex.net/v1",
    "project": "b1gfolder",
    "api_key": "AQVN-canary-of-yandex-0001",
    "model": "yandexgpt/latest",
    "temperature": "0.4",
    "leaves_country": "no",
    "mask": "no",
    "price_input": "200",
    "price_output": "800.5",
    "price_currency": "RUB",
    "deadline_seconds": "50",
    "max_in_flight": "8",
    "max_input_chars": "30000",
    "extra_headers": "X-Folder: b1g\nX-Team: sales",
    "ca_bundle": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
    "with_fallback": "on",
    "fallback_preset": "openai",
    "fallback_base_url": "https://api.openai.com/v1",
    "fallback_project": "proj_1",
    "fallback_api_key": "sk-canary-of-the-second",
    "fallback_model": "gpt-4o-mini",
    "fallback_temperature": "",
    "fallback_leaves_country": "yes",
    "fallback_mask": "yes",
    "fallback_price_input": "0.15",
    "fallback_price_output": "0.6",
    "fallback_price_currency": "USD",
    "fallback_deadline_seconds": "20",
    "fallback_max_in_flight": "30",
    "fallback_max_input_chars": "90000",
    "fallback_extra_headers": "OpenAI-Beta: x",
    "fallback_ca_bundle": "",
    "cheaper": "main",
    "cheaper_model": "yandexgpt-lite/latest",
    "cheaper_price_input": "60",
    "cheaper_price_output": "60",
    "cheaper_price_currency": "RUB",
    "mask_personal_data": "on",
    "mask_names": "on",
}
WRITE_ONLY = ("api_key", "extra_headers", "fallback_api_key", "fallback_extra_headers")


@pytest.fixture
def fresh(db) -> Visitor:
    """An administrator of a portal that has no model of its own yet."""
    return Visitor(make_portal())


def test_everything_of_both_servers_is_set_and_shown_again(fresh):
    answer = fresh.post("model/", SERVERS)
    body = fresh.get("model/").content.decode()

    assert answer.status_code == 200
    forms = fresh.get("model/").context["forms"]
    shown = {
        form.add_prefix(name): form[name].value()
        for form in (forms.main, forms.second, forms.rules)
        for name in form.fields
    }
    expected = {name: value for name, value in SERVERS.items() if name not in WRITE_ONLY}
    assert {name: str(_plain(shown[name])) for name in expected} == expected
    for secret in ("AQVN-canary", "sk-canary-of", "b1g\n", "sales"):
        assert secret not in body
    assert "X-Folder, X-Team" in text_of(answer)
    assert "OpenAI-Beta" in text_of(answer)
    assert "температура 0,4" in text_of(answer), "what is folded is told in one line"


def _plain(value):
    return {True: "on", None: "", False: ""}.get(value, value) if value in (True, None) else value


def test_what_is_set_is_what_the_servers_are_called_with(fresh):
    fresh.post("model/", SERVERS)
    fresh.post("model/consent/", {"origin": "https://llm.api.cloud.yandex.net", "agreed": "1"})

    found = thinking.servers(fresh.portal, store.load(fresh.portal)[0])
    main, second, cheaper = found["main"], found["fallback"], found["cheaper"]
    assert main.model_on_server == "gpt://b1gfolder/yandexgpt/latest"
    assert cheaper.model_on_server == "gpt://b1gfolder/yandexgpt-lite/latest"
    assert main.api_key == cheaper.api_key
    assert main.api_key.get_secret_value() == SERVERS["api_key"]
    assert main.extra_headers["X-Folder"] == "b1g"
    assert main.extra_headers["x-data-logging-enabled"] == "false"
    assert (main.prices.output, main.prices.currency, cheaper.prices.input) == (800.5, "RUB", 60)
    assert (main.deadline_seconds, main.max_in_flight, main.max_input_chars) == (50, 8, 30_000)
    assert (main.leaves_country, main.mask) == (False, False)
    assert (second.project, second.temperature, second.leaves_country) == ("proj_1", None, True)
    assert (second.mask, second.max_in_flight, second.ca_bundle) == (True, 30, "")
    assert second.extra_headers == {"OpenAI-Beta": "x"}
    assert main.ca_bundle == SERVERS["ca_bundle"]


def test_untouched_secrets_stay_and_ticked_ones_go(fresh):
    fresh.post("model/", SERVERS)
    untouched = {**SERVERS, **dict.fromkeys(WRITE_ONLY, "")}

    fresh.post("model/", untouched)
    kept = thinking.servers(fresh.portal, store.load(fresh.portal)[0])["main"]
    fresh.post("model/", {**untouched, "forget_headers": "on", "fallback_forget_key": "on"})

    row = Configuration.objects.get(pk=fresh.portal.pk)
    assert kept.extra_headers["X-Team"] == "sales"
    assert kept.api_key.get_secret_value() == SERVERS["api_key"]
    assert json.loads(row.secret_headers) == {"https://api.openai.com": {"OpenAI-Beta": "x"}}
    assert (row.api_key, row.fallback_api_key) == (SERVERS["api_key"], "")


def test_both_servers_have_a_check_of_their_own(fresh):
    with LocalModel() as main, LocalModel() as second:
        form = {
            **SERVERS, "preset": "other", "base_url": main.url, "model": "demo-rules-1",
            "extra_headers": "", "ca_bundle": "", "fallback_extra_headers": "",
            "fallback_base_url": second.url, "fallback_model": "demo-rules-1",
        }  # fmt: skip
        fresh.post("model/", form)
        checked = fresh.post("model/check/", {**form, "place": "fallback"})
        tried = fresh.post("model/probe/", {**form, "place": "fallback"})
        names = fresh.post("model/list/", {**form, "place": "fallback", "fallback_model": ""})

        assert "Ключ работает" in text_of(checked)
        assert 'id="model-result-fallback"' in checked.content.decode()
        assert "сервер следит сам" in text_of(tried)
        assert 'id="fallback-models"' in names.content.decode()
        assert (main.calls, second.calls > 3) == (0, True)
    kept = Configuration.objects.get(pk=fresh.portal.pk).capabilities
    assert set(kept) == {"fallback"}
    assert "ответ по схеме" in text_of(fresh.get("model/"))


# ---- the admin's word ----


def test_until_somebody_agrees_personal_data_is_hidden_and_the_admin_is_reminded(fresh):
    fresh.post("model/", SERVERS)
    server = "https://llm.api.cloud.yandex.net"

    def masked() -> list[bool]:
        found = thinking.servers(fresh.portal, store.load(fresh.portal)[0])
        return [bool(found[place].mask) for place in ("main", "fallback")]

    before = masked()
    reminders = [text_of(fresh.get(page)) for page in ("model/", "")]
    refused = fresh.post("model/consent/", {"origin": server})
    stranger = fresh.post("model/consent/", {"origin": "https://elsewhere.example", "agreed": "1"})
    fresh.post("model/consent/", {"origin": server, "agreed": "1"})
    fresh.post("model/consent/", {"origin": server, "agreed": "1"})

    assert before == [True, True]
    assert all("Никто ещё не подтвердил" in page and server in page for page in reminders)
    assert (refused.status_code, stranger.status_code) == (422, 422)
    assert "Сначала отметьте фразу" in text_of(refused)
    consent = Consent.objects.get()
    assert (consent.origin, consent.abroad, consent.user_name) == (server, False, "Анна Иванова")
    assert timezone.now() - consent.given_at < timedelta(minutes=1)
    assert masked() == [False, True], "the other server is set to be masked always"
    page = text_of(fresh.get("model/"))
    assert consent.text in page
    assert "Кто подтвердил: Анна Иванова" in page
    assert "https://api.openai.com" in page.partition("Никто ещё не подтвердил")[2][:600]


def test_a_word_for_a_server_in_the_country_does_not_reach_abroad(fresh):
    fresh.post("model/", SERVERS)
    fresh.post("model/consent/", {"origin": "https://llm.api.cloud.yandex.net", "agreed": "1"})
    fresh.post("model/", {**SERVERS, "leaves_country": "yes"})

    found = thinking.servers(fresh.portal, store.load(fresh.portal)[0])
    assert found["main"].mask
    assert "за пределами страны" in text_of(fresh.get("model/"))


def test_a_server_of_ones_own_needs_no_word(fresh):
    configure(
        fresh.portal,
        llm={"base_url": "http://llm.internal:8000/v1", "model": "m"},
        privacy={"mask_personal_data": False},
    )

    page = text_of(fresh.get("model/"))
    assert not thinking.routes(fresh.portal, store.load(fresh.portal)[0])[0].mask
    assert "данные остаются в вашей сети" in page
    assert "Куда уходят слова клиентов" not in page


# ---- what left the house ----


def make_departure(portal, **values) -> Departure:
    defaults = {
        "month": timezone.now().date().replace(day=1), "provider": "openai",
        "origin": "https://api.openai.com", "place": "abroad", "requests": 12,
        "characters": 36_000, "tokens": 9_000, "masked": {"phone": 7, "email": 2},
        "unmasked": {"name": 3},
    }  # fmt: skip
    return Departure.objects.create(portal=portal, **{**defaults, **values})


def test_what_left_is_a_table_and_a_file(portal, admin, client):
    make_departure(portal)
    last_year = timezone.now().date().replace(day=1, year=timezone.now().year - 1)
    make_departure(portal, month=last_year, place="own", origin="http://10.0.0.5:8000", masked={})
    make_departure(make_portal(member_id="f" * 32), requests=777)

    page = text_of(admin.get("costs/"))
    url = admin.post("costs/departures/").json()["url"]
    rows = list(
        csv.DictReader(io.StringIO(client.get(url).content.decode("utf-8-sig")), delimiter=";")
    )

    for words in ("Что ушло наружу", "OpenAI", "за границей", "36 000", "телефоны 7, почта 2", "имена 3", "своя сеть"):  # fmt: skip
        assert words in page.replace("\xa0", " "), words
    assert "777" not in page
    assert [(row["place"], row["requests"], row["masked_phone"]) for row in rows] == [
        ("own", "12", "0"), ("abroad", "12", "7"),
    ]  # fmt: skip
    assert (rows[1]["unmasked_name"], rows[1]["characters"]) == ("3", "36000")
    assert "скрыто личных данных 9, ушло как есть 3" in text_of(admin.get("model/"))


# ---- two currencies ----


def spend(portal, currency: str, cost: float) -> None:
    Spending.objects.create(
        portal=portal, day=timezone.now().date(), model=f"model-{currency}", purpose="reply",
        calls=10, prompt_tokens=1000, completion_tokens=100, cost=cost, currency=currency,
    )  # fmt: skip


def test_roubles_and_dollars_stand_side_by_side_and_are_never_added(portal, admin):
    Spending.objects.all().delete()
    configure(
        portal,
        llm={"prices": {"input": 1, "output": 1, "currency": "RUB"}},
        limits={"monthly_cost": 1000},
    )
    spend(portal, "RUB", 500)
    spend(portal, "USD", 40)

    page = text_of(admin.get("costs/")).replace("\xa0", " ")
    bar = admin.get("costs/").context["used"][0]
    admin.post(
        "costs/limits/",
        {"monthly_cost": "1000", "requests_per_minute": "60", "currency": "RUB", "rates": "usd 10"},
    )
    with_rate = admin.get("costs/")

    assert "500,00 ₽ + 40,00 $" in page
    assert "540" not in page
    assert "50,00 ₽" in page, "one call on average is that of calls in this currency"
    assert "В денежные лимиты не вошли 40,00 $" in page
    assert bar["value"] == 500
    assert store.load(portal)[0].limits.rates == {"USD": 10}
    assert with_rate.context["used"][0]["value"] == 900
    assert "не вошли" not in text_of(with_rate)


def test_a_wrong_rate_is_told_with_its_line(portal, admin):
    answer = admin.post(
        "costs/limits/", {"requests_per_minute": "60", "rates": "USD 92.5\nроубль 1"}
    )

    assert answer.status_code == 422
    assert "Строка 2" in text_of(answer)


@pytest.mark.parametrize(
    ("cost", "words"), [(850, "Израсходовано 85 % лимита"), (1200, "Лимит исчерпан")]
)
def test_a_limit_that_fills_up_is_seen_on_the_first_page_and_beside_the_limits(
    portal, admin, cost, words
):
    Spending.objects.all().delete()
    configure(
        portal,
        llm={"prices": {"input": 1, "output": 1, "currency": "RUB"}},
        limits={"monthly_cost": 1000},
    )
    spend(portal, "RUB", cost)

    overview = text_of(admin.get("")).replace("\xa0", " ")
    costs = text_of(admin.get("costs/"))

    assert words in overview
    assert "денег в месяц" in overview.lower()
    assert ("Скоро закончится" in costs) == (cost == 850)
    assert ("Лимит исчерпан" in costs) == (cost == 1200)
    assert CANARY not in overview
