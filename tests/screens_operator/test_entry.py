"""The doors of the frame: who comes in, what he sees, what is refused."""

from __future__ import annotations

import logging
import re
from urllib.parse import urlencode

import pytest
from django.core import signing

from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.common.logs import JsonLines
from bx_gpt_app.portals.models import AppRegistration, Grant, Portal
from bx_gpt_app.screens.frame import SALT, read_token
from tests.factories import configure, make_dialog, make_line, make_message
from tests.screens_operator.conftest import make_suggestion

pytestmark = pytest.mark.django_db


def token_in(response) -> str:
    found = re.search(r'<meta name="frame-token" content="([^"]+)"', response.content.decode())
    assert found, response.content.decode()[:2000]
    return found[1]


def chat_of(stand, portal, text="Здравствуйте! Где мой заказ?"):
    """A chat that the portal knows and we have heard of."""
    chat_id, message_id = stand.b24.client_writes(text)
    dialog = make_dialog(portal, chat_id=chat_id)
    make_message(dialog, text, external_id=message_id)
    return dialog


def test_operator_sees_the_draft_of_the_open_chat(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    make_suggestion(dialog, "Доставка стоит 490 ₽.")

    page = stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id})

    assert page.status_code == 200
    assert "Доставка стоит 490 ₽." in page.content.decode()
    frame = read_token(token_in(page))
    assert (frame.user_id, frame.is_admin, frame.chat_id) == (7, False, dialog.chat_id)
    assert f"frame-ancestors {portal.origin}" in page["Content-Security-Policy"]
    assert "X-Frame-Options" not in page
    assert page["Cache-Control"] == "no-store"
    assert not page.cookies


def test_chat_that_the_portal_does_not_show_is_refused_without_data(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    make_suggestion(dialog, "Секретный ответ")

    page = stand.open(9, "IM_SIDEBAR", {"dialogId": dialog.dialog_id})

    assert page.status_code == 403
    text = page.content.decode()
    assert "Секретный ответ" not in text
    assert "frame-token" not in text
    assert "frame-ancestors *" in page["Content-Security-Policy"]


def test_private_dialog_gets_a_neutral_page(stand):
    stand.installed()

    page = stand.open(7, "IM_SIDEBAR", {"dialogId": "42"})

    assert page.status_code == 200
    assert 'data-state="not_line"' in page.content.decode()


def test_chat_from_before_the_installation_can_be_asked_about(stand):
    portal = stand.installed()
    chat_id, _message = stand.b24.client_writes("Здравствуйте!")

    page = stand.open(7, "IM_TEXTAREA", {"dialogId": f"chat{chat_id}"})

    dialog = Dialog.objects.get(portal=portal, key=str(chat_id))
    assert (dialog.line_id, dialog.connector) == (22, "livechat")
    assert dialog.items
    assert f"/b24/default/dialogs/{dialog.pk}/now/" in page.content.decode()


def test_administrator_gets_the_settings_and_others_their_chats(stand):
    portal = stand.installed()
    make_line(portal, 22)
    dialog = chat_of(stand, portal)

    admin, operator, outsider = stand.open(1), stand.open(7), stand.open(9)

    assert "/b24/default/settings/" in admin.content.decode()
    assert read_token(token_in(admin)).is_admin
    assert f"/b24/default/dialogs/{dialog.pk}/" in operator.content.decode()
    assert f"/b24/default/dialogs/{dialog.pk}/" not in outsider.content.decode()


def test_card_shows_the_chats_that_belong_to_it(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    lead_id = stand.b24.chat(dialog.chat_id).crm["lead"]
    Dialog.objects.filter(pk=dialog.pk).update(items=[f"LEAD_{lead_id}"])
    make_suggestion(dialog, "Ответ в карточке")

    page = stand.open(7, "CRM_LEAD_DETAIL_TAB", {"ID": lead_id})

    text = page.content.decode()
    assert "Ответ в карточке" in text
    assert 'id="draft-copy"' in text
    assert 'data-action="insert"' not in text
    assert read_token(token_in(page)).item == f"LEAD_{lead_id}"


def test_card_with_another_number_beginning_alike_is_another_card(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    Dialog.objects.filter(pk=dialog.pk).update(items=["LEAD_7700"])
    lead_id = stand.b24.add_item(1, {"title": "Без чата"})

    page = stand.open(1, "CRM_LEAD_DETAIL_TAB", {"ID": lead_id})

    assert 'data-state="none"' in page.content.decode()


def test_visit_keeps_the_visitors_tokens_for_his_own_acts(stand):
    portal = stand.installed()

    stand.open(7)

    grant = Grant.objects.get(portal=portal, user_id=7)
    assert grant.kind == "user"
    assert grant.access_token
    assert grant.refresh_token


def test_moved_portal_is_followed_by_the_authorization_servers_word(stand):
    portal = stand.installed()
    stand.b24.move_to("localhost")

    page = stand.open(7)

    portal.refresh_from_db()
    assert page.status_code == 200
    assert portal.domain.startswith("localhost")
    assert portal.origin.startswith("http://localhost")


def test_token_of_another_portal_opens_nothing(stand):
    portal = stand.installed(state=Portal.State.ACTIVE)
    portal.member_id = "f" * 32
    portal.save(update_fields=["member_id"])
    form = stand.b24.frame(7)
    form.fields["member_id"] = "f" * 32

    page = stand.post_form(form)

    assert page.status_code == 403
    assert not Grant.objects.filter(user_id=7).exists()


def test_token_that_the_same_user_got_for_another_app_opens_and_renews_nothing(stand, settings):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    make_suggestion(dialog, "Секретный ответ")
    before = token_in(stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}))
    Grant.objects.filter(user_id=7).delete()
    # From now on the portal's tokens are those of an app that is not ours.
    settings.B24_CLIENT_ID = "app.ours"
    AppRegistration.objects.update(client_id="app.ours")

    page = stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id})
    renewal = renew(stand, stand.b24.issue_tokens(7)[0], before)

    assert page.status_code == 403
    assert "frame-token" not in page.content.decode()
    assert "Секретный ответ" not in page.content.decode()
    assert renewal.status_code == 401
    assert not Grant.objects.filter(user_id=7).exists()


def test_forged_card_is_refused_without_data(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    Dialog.objects.filter(pk=dialog.pk).update(items=["LEAD_999999"])
    make_suggestion(dialog, "Секретный ответ")

    page = stand.open(7, "CRM_LEAD_DETAIL_TAB", {"ID": 999_999})

    assert page.status_code == 403
    assert "frame-token" not in page.content.decode()
    assert "Секретный ответ" not in page.content.decode()


def test_neither_page_token_nor_the_visitors_own_is_in_an_address_or_the_log(stand, caplog):
    caplog.set_level(logging.DEBUG)
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    form = stand.b24.frame(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id})

    page = stand.post_form(form)
    token = token_in(page)
    headers = {"authorization": f"Bearer {token}"}
    answer = stand.client.get(f"/b24/default/dialogs/{dialog.pk}/draft/", headers=headers)
    refused = stand.client.get(
        f"/b24/default/dialogs/{dialog.pk}/draft/", headers={"authorization": f"Bearer {token}x"}
    )
    fresh = renew(stand, stand.b24.issue_tokens(7)[0], token)

    assert (answer.status_code, refused.status_code, fresh.status_code) == (200, 401, 200)
    log = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert log
    secrets = (token, fresh.json()["token"], form.fields["AUTH_ID"], form.fields["REFRESH_ID"])
    assert [one for one in secrets if one in log] == []
    assert page.content.decode().count(token) == 1, "in the head of the page and nowhere else"
    assert token not in answer.content.decode()


@pytest.mark.parametrize("path", ["/b24/default/", "/b24/default/placement/"])
def test_reload_inside_the_frame_says_to_reopen_the_app(stand, path):
    stand.installed()

    form = "application/x-www-form-urlencoded"
    reloaded = stand.client.post(f"{path}?LANG=en", "", content_type=form)
    plain = stand.client.get(path)

    assert reloaded.status_code == 400
    assert "Open the app again" in reloaded.content.decode()
    assert plain.status_code == 200


def test_unknown_registration_is_a_readable_404(stand):
    stand.installed()
    form = stand.b24.frame(7)

    page = stand.client.post(
        "/b24/nobody/?LANG=en",
        urlencode(form.fields),
        content_type="application/x-www-form-urlencoded",
    )

    assert page.status_code == 404
    assert "app registration" in page.content.decode()


def test_unknown_portal_is_told_to_install_and_nothing_is_stored(stand):
    form = stand.b24.frame(7, language="en")
    form.fields["AUTH_ID"] = "0" * 70

    page = stand.post_form(form)

    assert page.status_code == 403
    assert "The app is not installed yet" in page.content.decode()
    assert not Portal.objects.exists()


def test_portal_that_does_not_answer_is_a_503_with_words(stand):
    stand.installed()
    form = stand.b24.frame(7)
    stand.b24.go_down()

    page = stand.post_form(form)

    assert page.status_code == 503


def test_language_of_the_portals_interface_is_the_pages(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)

    english = stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}, language="de")
    russian = stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}, language="ru")

    assert '<html lang="en"' in english.content.decode()
    assert '<html lang="ru"' in russian.content.decode()
    assert read_token(token_in(english)).language == "en"


# ---- renewal ----


def renew(stand, auth, token):
    return stand.client.post(
        "/b24/default/session/", {"auth": auth, "token": token}, content_type="application/json"
    )


def test_session_is_renewed_for_the_same_person_only(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    token = token_in(stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}))

    same = renew(stand, stand.b24.issue_tokens(7)[0], token)
    other = renew(stand, stand.b24.issue_tokens(8)[0], token)
    forged = renew(stand, "0" * 70, token)

    assert same.status_code == 200
    assert read_token(same.json()["token"]).chat_id == dialog.chat_id
    assert other.status_code in (401, 403)
    assert forged.status_code == 401


def test_ended_epoch_kills_the_token_and_its_renewal(stand):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    token = token_in(stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}))
    Portal.objects.update(session_epoch=2)

    renewal = renew(stand, stand.b24.issue_tokens(7)[0], token)
    draft = stand.client.get(
        f"/b24/default/dialogs/{dialog.pk}/draft/", headers={"authorization": f"Bearer {token}"}
    )

    assert renewal.status_code == 401
    assert draft.status_code == 401


def test_old_token_is_renewable_for_a_day_and_useless_for_the_rest(stand, monkeypatch):
    portal = stand.installed()
    dialog = chat_of(stand, portal)
    fresh = token_in(stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}))
    claims = signing.loads(fresh, salt=SALT)
    now = signing.time.time()
    with monkeypatch.context() as then:
        then.setattr(signing.time, "time", lambda: now - 7200)
        old = signing.dumps(claims, salt=SALT, compress=True)

    draft = stand.client.get(
        f"/b24/default/dialogs/{dialog.pk}/draft/", headers={"authorization": f"Bearer {old}"}
    )
    renewal = renew(stand, stand.b24.issue_tokens(7)[0], old)

    assert draft.status_code == 401
    assert renewal.status_code == 200


def test_switched_off_line_says_so_and_only_admins_may_switch_it_on(stand):
    portal = stand.installed()
    configure(portal, mode="off")
    dialog = chat_of(stand, portal)

    operator = stand.open(7, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}).content.decode()
    admin = stand.open(1, "IM_SIDEBAR", {"dialogId": dialog.dialog_id}).content.decode()

    assert 'data-state="off"' in operator
    assert "/enable/" not in operator
    assert "/enable/" in admin
