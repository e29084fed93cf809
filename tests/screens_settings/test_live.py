"""Live calls: the model that is checked and tried, the portal that is checked and bound again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django_ox.testing import run_tasks

from bx_gpt_app.assistant import thinking
from bx_gpt_app.assistant.models import Configuration, Delivery, Dialog, Run, Spending
from integrations.llm.local_model import LocalModel
from tests.factories import configure
from tests.screens_settings.conftest import text_of
from tests.screens_settings.rows import CANARY


@pytest.fixture
def model() -> Iterator[LocalModel]:
    with LocalModel() as server:
        thinking.gateway.cache_clear()
        yield server


@pytest.fixture
def with_model(portal, model):
    configure(
        portal,
        llm={"base_url": model.url, "api_key": "demo-key-0123456789", "model": "demo-rules-1"},
    )
    return portal


def form(server, **changes):
    return {
        "base_url": server.url,
        "model": "demo-rules-1",
        "api_key": "demo",
        "price_currency": "RUB",
        **changes,
    }


def test_key_is_checked_by_a_live_call(portal, admin, model):
    answer = admin.post("model/check/", form(model))

    assert 'class="banner ok"' in answer.content.decode()
    assert "model/probe/" in answer.content.decode()


def test_failed_check_says_how_to_mend_it(portal, admin, model):
    model.set(mode="error")

    answer = admin.post("model/check/", form(model))

    assert 'class="banner bad"' in answer.content.decode()
    assert "Повторим" in text_of(answer)


def test_check_never_sends_the_stored_key_to_another_server(portal, admin, model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        type(thinking.gateway()), "check_key",
        lambda self, server: seen.append(server.api_key.get_secret_value()) or pytest.skip,
    )  # fmt: skip
    with pytest.raises(AttributeError):
        admin.post("model/check/", form(model, api_key=""))

    assert seen == [""]
    assert Configuration.objects.get(pk=portal.pk).api_key == CANARY


def test_abilities_of_the_saved_server_are_kept(with_model, admin, model):
    answer = admin.post("model/probe/", form(model, api_key=""))

    assert 'class="banner ok"' in answer.content.decode()
    assert Configuration.objects.get(pk=with_model.pk).capabilities["main"]["shape"]


def test_names_of_models_come_from_the_server(portal, admin, model):
    answer = admin.post("model/list/", form(model, model=""))

    assert 'value="demo-rules-1"' in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_draft_and_active_text_answer_side_by_side_and_touch_nothing(with_model, admin):
    dialog = Dialog.objects.get(portal=with_model, client_name="Анна Петрова")
    before = (Run.objects.count(), Delivery.objects.count(), dialog.rev, dialog.due_at)

    waiting = admin.post(
        "prompts/try/", {"text": "Отвечайте очень коротко.", "on": f"dialog-{dialog.pk}"}
    )
    poll = waiting.context["poll_url"]
    run_tasks()
    done = admin.get(poll.split("/settings/")[1])

    shown = done.context["tried"]
    dialog.refresh_from_db()
    assert [one["state"] for one in shown] == ["done", "done"]
    assert shown[0]["name"] == "v1"
    assert all(one["reply"] for one in shown)
    assert not done.context["poll_url"]
    assert (Run.objects.count(), Delivery.objects.count(), dialog.rev, dialog.due_at) == before
    assert Spending.objects.filter(
        portal=with_model, purpose="rehearsal", model="demo-rules-1"
    ).exists()


@pytest.mark.django_db(transaction=True)
def test_trial_of_another_portal_cannot_be_read(with_model, admin):
    from tests.factories import make_portal
    from tests.screens_settings.conftest import Visitor

    poll = admin.post("prompts/try/", {"text": "Коротко.", "on": "sample-order"}).context[
        "poll_url"
    ]
    stranger = Visitor(make_portal(member_id="e" * 32))

    assert stranger.get(poll.split("/settings/")[1]).status_code == 404
    assert admin.get("prompts/try/nonsense/").status_code == 404


@pytest.mark.django_db(transaction=True)
def test_first_question_is_answered_on_the_overview(with_model, admin):
    empty = admin.post("first-try/", {"text": " "})
    waiting = admin.post("first-try/", {"text": "Сколько стоит доставка?"})
    run_tasks()
    done = admin.get(waiting.context["poll_url"].split("/settings/")[1])

    assert empty.status_code == 422
    assert done.context["tried"][0]["reply"]


@pytest.mark.django_db(transaction=True)
def test_trial_without_a_model_says_what_to_do(portal, admin, settings):
    settings.OPENAI_BASE_URL = "https://api.openai.com/v1"
    configure(portal, llm={"api_key": ""})

    waiting = admin.post("prompts/try/", {"text": "Коротко.", "on": "sample-price"})
    run_tasks()
    done = admin.get(waiting.context["poll_url"].split("/settings/")[1])

    assert {one["state"] for one in done.context["tried"]} == {"failed"}


def test_portal_that_is_away_is_told_in_words(portal, admin):
    portal.client_endpoint = "http://127.0.0.1:1/rest/"
    portal.save()

    answer = admin.post("connection/check/")

    portal.refresh_from_db()
    assert 'class="banner bad"' in answer.content.decode()
    assert portal.down_since is not None
    assert "banner bad" in admin.get("").content.decode()


@pytest.mark.django_db(transaction=True)
def test_portal_is_checked_and_bound_again(live_server, settings, db):
    from bx_gpt_app.portals.models import Portal
    from bx_gpt_app.portals.tasks import bind_now
    from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
    from tests.screens_settings.conftest import Visitor

    settings.ROOT_URLCONF = "bx_gpt_app.urls"
    options = PortalOptions(app_base_url=live_server.url, app_code="default", rate=None)
    with LocalPortal(options) as b24:
        settings.PUBLIC_URL = live_server.url
        settings.B24_OAUTH_URL = [b24.oauth_url]
        settings.B24_CLIENT_ID = b24.options.client_id
        settings.B24_CLIENT_SECRET = b24.options.client_secret
        assert b24.install("server").status == 200
        portal = Portal.objects.select_related("registration").get()
        bind_now(portal)
        admin = Visitor(portal)

        checked = admin.post("connection/check/")
        waiting = admin.post("connection/rebind/")
        run_tasks()
        done = admin.get(waiting.context["poll_url"].split("/settings/")[1])
        fields = admin.post("fields/read/", {"entity": "deal"})
        lines = admin.post("lines/read/")
        page = text_of(admin.get("connection/"))

        assert 'class="banner ok"' in checked.content.decode(), text_of(checked)
        assert 'class="banner ok"' in done.content.decode(), text_of(done)
        assert fields.context["known"]
        assert len(lines.context["rows"]) >= 2
        assert "рядом с чатом" in page
