"""The host's pages: all portals, no secrets, and acts that ask twice."""

from __future__ import annotations

import re

import pytest
from django.contrib.admin import site
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import label_for_field
from django.contrib.auth.models import Permission, User
from django.utils import translation
from django_ox.models import OxTask

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Delivery, Dialog
from bx_gpt_app.portals.models import AppRegistration, Portal
from tests.factories import configure, make_app, make_dialog, make_portal
from tests.screens_settings.rows import secrets_of


@pytest.fixture
def host(client, db):
    client.force_login(User.objects.create_superuser("host", "host@example.ru", "x"))
    return client


def do(host, action, *portals, model="portals/portal"):
    return host.post(
        f"/admin/{model}/",
        {"action": action, "_selected_action": [row.pk for row in portals]},
        follow=True,
    )


@pytest.mark.parametrize(
    "path",
    [
        "", "portals/appregistration/", "portals/appregistration/add/", "portals/portal/",
        "assistant/run/", "assistant/delivery/", "assistant/dialog/", "assistant/dialog/?stuck=1",
        "assistant/spending/", "assistant/circuit/",
    ],
)  # fmt: skip
def test_every_page_is_there_and_shows_no_secret(portal, host, path):
    answer = host.get(f"/admin/{path}")

    body = answer.content.decode()
    assert answer.status_code == 200
    assert [secret for secret in secrets_of(portal) if secret in body] == []


def test_server_without_portals_has_its_pages_too(host):
    pages = (
        "portals/portal/",
        "assistant/run/",
        "assistant/delivery/?stuck=1",
        "assistant/spending/",
    )

    assert [host.get(f"/admin/{page}").status_code for page in pages] == [200] * 4
    assert host.get("/admin/portals/portal/push/?to=1").status_code == 302
    assert host.get("/admin/portals/portal/1/erase/").status_code == 302


def test_rows_show_no_secret_and_no_words_of_clients(portal, host):
    run = portal.runs.first()
    delivery = portal.deliveries.filter(kind="operator_message").get()
    pages = [
        f"portals/portal/{portal.pk}/change/", f"portals/appregistration/{portal.registration.pk}/change/",
        f"assistant/run/{run.pk}/change/", f"assistant/delivery/{delivery.pk}/change/",
        f"assistant/dialog/{run.dialog_id}/change/",
    ]  # fmt: skip

    for page in pages:
        answer = host.get(f"/admin/{page}")
        body = answer.content.decode()
        assert answer.status_code == 200, page
        assert [secret for secret in secrets_of(portal) if secret in body] == [], page
        assert "Здравствуйте" not in body, page


def test_list_of_portals_tells_how_each_fares(portal, host):
    body = host.get("/admin/portals/portal/").content.decode()

    assert "acme.bitrix24.ru" in body
    assert "1 / " in body  # failed of all runs
    assert "₽" in body


def test_paused_portal_does_no_work_until_it_is_resumed(portal, host):
    do(host, "pause", portal)
    portal.refresh_from_db()
    paused = portal.works
    do(host, "resume", portal)

    portal.refresh_from_db()
    assert (paused, portal.works) == (False, True)


def test_ended_sessions_close_every_page(portal, host, admin):
    do(host, "end_sessions", portal)

    assert admin.get("").status_code == 401


def test_rebinding_leaves_a_task_for_active_portals_only(portal, host):
    gone = make_portal(member_id="e" * 32, state=Portal.State.GONE)

    do(host, "rebind", portal, gone)

    assert [task.args for task in OxTask.objects.filter(task_path__contains="rebind")] == [
        [portal.pk]
    ]


def test_erasing_wants_the_address_typed_in(portal, host):
    page = do(host, "erase", portal)
    wrong = host.post(f"/admin/portals/portal/{portal.pk}/erase/", {"typed": "acme"})
    kept = Dialog.objects.filter(portal=portal).exists()
    host.post(f"/admin/portals/portal/{portal.pk}/erase/", {"typed": portal.domain})

    portal.refresh_from_db()
    assert "acme.bitrix24.ru" in page.content.decode()
    assert (wrong.status_code, kept) == (200, True)
    assert portal.state == Portal.State.GONE
    assert not Dialog.objects.filter(portal=portal).exists()
    assert not portal.grants.exists()


def test_two_portals_are_never_erased_at_once(portal, host):
    other = make_portal(member_id="e" * 32)

    do(host, "erase", portal, other)

    assert Portal.objects.filter(state=Portal.State.GONE).count() == 0


def test_refused_deliveries_are_repeated_in_bulk(portal, host):
    delivery = Delivery.objects.get(portal=portal, state="failed")

    do(host, "repeat", delivery, model="assistant/delivery")

    delivery.refresh_from_db()
    assert delivery.state == "planned"


def test_stuck_dialogs_are_repeated_in_bulk(portal, host):
    stuck = Dialog.objects.get(portal=portal, quarantined_at__isnull=False)

    do(host, "repeat", stuck, model="assistant/dialog")

    stuck.refresh_from_db()
    assert stuck.quarantined_at is None


def test_configuration_is_pushed_after_a_look_at_every_difference(portal, host):
    first, second = (
        make_portal(member_id="d" * 32, domain="d.bitrix24.ru"),
        make_portal(member_id="e" * 32),
    )
    configure(first, prompt="Старое", lines={"5": {"mode": "off"}})
    configure(second, prompt="Другое")
    configure(portal, prompt="Новое для всех")
    url = f"/admin/portals/portal/push/?to={first.pk},{second.pk}"
    choice = {"source": portal.pk, "parts": ["prompt"]}

    preview = host.post(url, choice)
    untouched = store.load(first)[0].prompt
    host.post(url, {**choice, "apply": "1", f"portal_{first.pk}": "on"})

    assert "Новое для всех" in preview.content.decode()
    assert "Другое" in preview.content.decode()
    assert untouched == "Старое"
    assert store.load(first)[0].prompt == "Новое для всех"
    assert store.load(first)[0].line(5).mode == "off"
    assert store.load(second)[0].prompt == "Другое"


def test_pushed_parts_that_do_not_fit_are_refused_for_that_portal(portal, host):
    other = make_portal(member_id="e" * 32)
    configure(other, fields=[{"name": "phone", "type": "phone"}], mappings=[])
    url = f"/admin/portals/portal/push/?to={other.pk}"

    answer = host.post(
        url, {"source": portal.pk, "parts": ["mappings"], "apply": "1", f"portal_{other.pk}": "on"}
    )

    assert store.load(other)[0].mappings == ()
    assert answer.status_code in (200, 302)


def test_secret_of_an_app_registration_is_write_only(host):
    app = make_app("second", client_secret="first-secret-value")

    host.post(
        f"/admin/portals/appregistration/{app.pk}/change/",
        {"title": "Второе", "client_id": "local.second", "new_secret": "", "oauth_url": ""},
    )
    kept = AppRegistration.objects.get(pk=app.pk).client_secret
    host.post(
        f"/admin/portals/appregistration/{app.pk}/change/",
        {
            "title": "Второе",
            "client_id": "local.second",
            "new_secret": "second-secret-value",
            "oauth_url": "",
        },
    )
    wrong = host.post(
        f"/admin/portals/appregistration/{app.pk}/change/",
        {
            "title": "Второе",
            "client_id": "x",
            "new_secret": "",
            "oauth_url": "https://evil.example",
        },
    )

    assert kept == "first-secret-value"
    assert AppRegistration.objects.get(pk=app.pk).client_secret == "second-secret-value"
    assert wrong.status_code == 200
    assert "B24_OAUTH_URL" in wrong.content.decode()


def test_staff_without_the_right_to_change_sees_no_acts(portal, client, db):
    from django.contrib.auth.models import Permission

    viewer = User.objects.create_user("viewer", "v@example.ru", "x", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_portal"))
    client.force_login(viewer)

    do(client, "pause", portal)
    client.post(f"/admin/portals/portal/{portal.pk}/erase/", {"typed": portal.domain})

    portal.refresh_from_db()
    assert (portal.paused, portal.state) == (False, "active")


def own_pages():
    """(model admin, name of a column or field) of every page that is ours."""
    for model, page in site._registry.items():
        if model._meta.app_label in ("portals", "assistant"):
            names = [*page.list_display, *(page.fields or ()), *page.readonly_fields]
            for inline in page.inlines:
                names += [(inline.model, name) for name in inline.fields]
            yield from ((page, name) for name in names if name != "code")


def test_every_label_is_in_the_language_of_the_browser(portal, host):
    def label(page, name):
        model = page.model
        if isinstance(name, tuple):
            model, name = name
        return str(label_for_field(name, model, page))

    with translation.override("ru"):
        labels = {str(name): label(page, name) for page, name in own_pages()}
        models = [str(page.opts.verbose_name_plural) for page, _name in own_pages()]
        actions = [
            str(getattr(getattr(page, name), "short_description", ""))
            for page, _name in own_pages()
            for name in page.actions
        ]
    said = {**labels, **{words: words for words in (*models, *actions)}}
    foreign = {name for name, words in said.items() if not re.search("[а-яё]", words.lower())}

    assert foreign <= {"id", "client_id", "new_secret"}
    assert len(labels) > 60


@pytest.mark.parametrize(
    ("accepts", "words"), [("ru-RU,ru;q=0.9", "последнее событие"), ("en", "last event")]
)
def test_language_is_that_of_the_browser_and_leaks_into_no_other_page(portal, host, accepts, words):
    body = host.get("/admin/portals/portal/", headers={"accept-language": accepts}).content.decode()

    assert words in body.lower()
    assert translation.get_language() == "en"


def test_dead_letters_of_all_portals_are_in_one_list_and_repeated_at_once(portal, host):
    other = make_portal(member_id="e" * 32)
    lost = Delivery.objects.create(
        portal=other, dialog=make_dialog(other, 900), kind="crm", state="unsure", payload={}
    )
    refused = Delivery.objects.get(portal=portal, state="failed")

    listed = list(host.get("/admin/assistant/delivery/?stuck=1").context["cl"].queryset)
    do(host, "repeat", lost, refused, model="assistant/delivery")

    assert set(listed) == {lost, refused}
    assert set(Delivery.objects.filter(pk__in=[lost.pk, refused.pk], state="planned")) == {
        lost, refused,
    }  # fmt: skip
    assert not host.get("/admin/assistant/delivery/?stuck=1").context["cl"].queryset


def test_list_of_portals_leads_to_what_is_stuck_in_each(portal, host):
    body = host.get("/admin/portals/portal/").content.decode()

    assert f"/admin/assistant/delivery/?stuck=1&amp;portal__id__exact={portal.pk}" in body
    assert f"/admin/assistant/dialog/?stuck=1&amp;portal__id__exact={portal.pk}" in body


def test_what_the_host_did_is_on_the_history_of_the_portal(portal, host):
    do(host, "pause", portal)
    do(host, "end_sessions", portal)

    told = LogEntry.objects.filter(object_id=str(portal.pk)).values_list(
        "change_message", flat=True
    )
    assert set(told) == {"Paused.", "Sessions ended."}


def test_host_without_the_right_to_change_sees_and_does_nothing_more(portal, client):
    looker = User.objects.create_user("looker", password="x", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_portal"))
    client.force_login(looker)

    page = client.get("/admin/portals/portal/")
    do(client, "pause", portal)
    erased = client.post(f"/admin/portals/portal/{portal.pk}/erase/", {"typed": portal.domain})
    pushed = client.post(f"/admin/portals/portal/push/?to={portal.pk}", {"apply": "1"})

    portal.refresh_from_db()
    assert page.status_code == 200
    assert (portal.paused, portal.state) == (False, Portal.State.ACTIVE)
    assert (erased.status_code, pushed.status_code) == (302, 302)
