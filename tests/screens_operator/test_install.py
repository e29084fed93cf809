"""Installation: verified first, stored and bound then, shown step by step."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from django_ox.models import OxTask

from bx_gpt_app.portals import tasks
from bx_gpt_app.portals.models import Grant, Portal
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from integrations.bitrix24.local_portal.php import encode_form

pytestmark = pytest.mark.django_db
FORM = "application/x-www-form-urlencoded"


def wizard(stand, user_id=1, **changes):
    with stand.b24.world.lock:
        stand.b24.world.installation.state = "pending"
    form = stand.b24.frame(user_id, app_path="install/", language="en")
    form.fields.update(changes)
    return stand.post_form(form)


def server_callback(stand, **auth):
    with stand.b24.world.lock:
        stand.b24.world.installation.state = "installed"
        payload = stand.b24.world.events.install_payload(1)
    payload["auth"].update(auth)
    return stand.client.post("/b24/default/install/", encode_form(payload), content_type=FORM)


def test_wizard_installs_binds_and_finishes_by_itself(stand):
    page = wizard(stand)

    text = page.content.decode()
    portal = Portal.objects.get()
    assert page.status_code == 200
    assert portal.state == "active"
    assert portal.application_token == stand.b24.application_token
    assert Grant.objects.get().kind == "installation"
    assert stand.b24.world.bots
    bound = {one.placement for one in stand.b24.world.placements}
    assert bound >= {"IM_SIDEBAR", "IM_TEXTAREA", "IM_CONTEXT_MENU"}
    assert f"Panels are in their places: {len(bound)} of {len(bound)}" in text
    assert 'data-install-finish="auto"' in text
    assert text.count('class="done"') >= 6
    assert 'class="failed"' not in text
    assert f"frame-ancestors {portal.origin}" in page["Content-Security-Policy"]


def test_portal_gets_what_a_new_release_wants_without_a_word_of_anybody(stand):
    wizard(stand)
    portal = Portal.objects.get()
    OxTask.objects.all().delete()
    world = stand.b24.world
    world.placements = [one for one in world.placements if one.placement != "IM_CONTEXT_MENU"]
    portal.bindings["bound"].remove("placement IM_CONTEXT_MENU")
    portal.save(update_fields=["bindings"])

    tasks.check_portal.call(portal.pk)
    [wanted] = OxTask.objects.filter(task_path__endswith="rebind")
    tasks.rebind.call(*wanted.args)
    OxTask.objects.all().delete()
    tasks.check_portal.call(portal.pk)

    assert "IM_CONTEXT_MENU" in {one.placement for one in world.placements}
    assert not OxTask.objects.filter(task_path__endswith="rebind").exists(), "once is enough"


def test_installing_again_changes_nothing_but_the_tokens(stand):
    wizard(stand)
    bound = len(stand.b24.world.placements)

    page = wizard(stand)

    assert page.status_code == 200
    assert Portal.objects.count() == 1
    assert len(stand.b24.world.placements) == bound
    assert len(stand.b24.world.bots) == 1


def test_missing_permission_is_named_with_its_reason_and_a_way_out(db, client, settings):
    from tests.factories import make_app
    from tests.screens_operator.conftest import Stand

    options = PortalOptions(
        app_base_url="http://testserver",
        rate=None,
        scopes=("crm", "im", "imbot", "imopenlines", "placement"),
    )
    with LocalPortal(options) as b24:
        settings.B24_OAUTH_URL = [b24.oauth_url]
        settings.B24_CLIENT_ID = b24.options.client_id
        settings.B24_CLIENT_SECRET = b24.options.client_secret
        make_app(client_id=b24.options.client_id, client_secret=b24.options.client_secret)

        page = wizard(Stand(b24, client))

    text = page.content.decode()
    assert "A permission is missing: «bizproc»" in text
    assert "automation rules and workflows" in text
    assert "Check again" in text
    assert "Finish the installation" in text
    assert 'data-install-finish="auto"' not in text


def test_check_again_finds_what_was_granted_meanwhile(stand):
    wizard(stand)
    portal = Portal.objects.get()
    portal.scope = ["crm"]
    portal.save(update_fields=["scope"])
    from tests.screens_operator.conftest import make_frame

    token = make_frame(portal, user_id=1, is_admin=True, chat_id=None).token()

    answer = stand.client.post(
        "/b24/default/install/check/", headers={"authorization": f"Bearer {token}"}
    )

    portal.refresh_from_db()
    assert answer.status_code == 200
    assert "bizproc" in portal.scope
    assert 'data-install-finish="auto"' in answer.content.decode()


def test_portal_that_falls_silent_while_binding_is_said_and_can_be_checked_again(stand):
    stand.b24.fail_next("event.get", 503, "SERVICE_UNAVAILABLE", times=50)
    stand.b24.fail_next("imbot.v2.Bot.list", 503, "SERVICE_UNAVAILABLE", times=50)
    stand.b24.fail_next("imbot.v2.Bot.register", 503, "SERVICE_UNAVAILABLE", times=50)

    page = wizard(stand)

    assert page.status_code == 200
    assert 'class="failed"' in page.content.decode()
    assert "Check again" in page.content.decode()


def test_forged_wizard_is_refused_and_leaves_nothing(stand):
    page = wizard(stand, AUTH_ID="0" * 70)

    assert page.status_code == 403
    assert "could not be verified" in page.content.decode()
    assert not Portal.objects.exists()
    assert not stand.b24.rest_log


def test_foreign_authorization_server_gets_no_request(stand):
    with LocalPortal(PortalOptions(rate=None)) as foreign:
        page = wizard(stand, SERVER_ENDPOINT=f"{foreign.oauth_url}/rest/")

        assert page.status_code == 403
        assert foreign.rest.requests == 0
    assert not Portal.objects.exists()


def test_operator_cannot_install(stand):
    page = wizard(stand, user_id=7)

    assert page.status_code == 403
    assert "administrator" in page.content.decode()
    assert not Portal.objects.exists()


def test_server_callback_is_stored_at_once_and_bound_in_a_task(stand):
    answer = server_callback(stand)

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}
    assert Portal.objects.get().application_token == stand.b24.application_token
    assert not stand.b24.world.placements
    assert OxTask.objects.filter(task_path__endswith="rebind").exists()


def test_forged_server_callback_is_refused_as_json(stand):
    answer = server_callback(stand, access_token="0" * 70)

    assert answer.status_code == 403
    assert answer.json()["error"] == "not_genuine"
    assert not Portal.objects.exists()


def test_portal_without_an_installer_is_installed_by_its_admins_first_visit(stand):
    stand.b24.issue_tokens(1)

    page = stand.open(1, language="en")

    assert page.status_code == 200
    assert 'id="install"' in page.content.decode()
    assert Portal.objects.get().state == "active"


@pytest.mark.parametrize("path", ["install/", "install/check/", "session/", "oauth/start/"])
def test_addresses_answer_get_and_head_with_a_plain_page(db, client, path):
    for method in (client.get, client.head):
        assert method(f"/b24/default/{path}").status_code == 200


def test_body_that_is_no_form_is_a_400(stand):
    answer = stand.client.post("/b24/default/install/", "{broken", content_type="application/json")

    assert answer.status_code == 400


def test_event_that_is_none_is_a_400(stand):
    answer = stand.client.post(
        "/b24/default/install/", urlencode({"event": "x"}), content_type=FORM
    )

    assert answer.status_code == 400
