"""Every settings page: there for an administrator, closed to others, without a single secret."""

from __future__ import annotations

import re

import pytest
from django.urls import get_resolver

from bx_gpt_app.assistant.models import Dialog, Run, Snippet
from bx_gpt_app.screens import settings_urls
from tests.factories import make_dialog, make_message, make_portal
from tests.screens_settings.conftest import Visitor, text_of
from tests.screens_settings.rows import make_run, secrets_of

PAGES = (
    "", "connection/", "model/", "prompts/", "prompts/1/", "prompts/cases/", "prompts/cases/new/",
    "prompts/cases/import/", "fields/", "fields/?entity=deal",
    "fields/?entity=128", "fields/new/", "fields/field/phone/", "topics/", "topics/new/",
    "topics/topic/delivery/", "lines/", "knowledge/", "knowledge/?q=доставка", "knowledge/?show=old",
    "knowledge/unanswered/", "knowledge/import/", "knowledge/new/", "costs/", "costs/?days=7", "log/",
    "log/?decision=failed", "log/?q=нетакого", "log/quarantine/",
)  # fmt: skip


def every_page(portal) -> list[str]:
    run = Run.objects.filter(portal=portal).first()
    snippet = Snippet.objects.filter(portal=portal).first()
    return [*PAGES, f"log/{run.pk}/", f"knowledge/{snippet.pk}/"]


@pytest.mark.parametrize("language", ["ru", "en"])
def test_every_page_is_there_for_an_administrator(portal, visitor, language):
    person = visitor(language=language)

    answers = {path: person.get(path) for path in every_page(portal)}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(
        answers, 200
    )
    for path, answer in answers.items():
        body = answer.content.decode()
        assert f'lang="{language}"' in body, path
        assert body.count("<h1") == 1, path
        assert "frame-ancestors https://acme.bitrix24.ru" in answer["Content-Security-Policy"]


def test_every_page_works_on_a_portal_where_nothing_was_set_up_yet(db):
    bare = Visitor(make_portal(member_id="f" * 32, bindings={}))

    answers = {path: bare.get(path).status_code for path in PAGES if path not in ("prompts/1/",)}

    assert answers == dict.fromkeys(answers, 200)


def test_operator_gets_a_plain_sentence_instead_of_settings(portal, visitor):
    operator = visitor(is_admin=False, user_id=7)

    for path in every_page(portal):
        answer = operator.get(path)
        assert answer.status_code == 403, path
        assert "администратор" in answer.json()["error_description"]


def test_without_a_token_there_is_nothing(portal, client):
    for path in every_page(portal):
        page = client.get(f"/b24/default/settings/{path}")
        assert page.status_code == 200, path
        assert "base/open_inside.html" in [template.name for template in page.templates], path
        assert portal.domain not in page.content.decode(), path
        assert client.post(f"/b24/default/settings/{path}").status_code == 401, path


def test_rows_of_another_portal_are_not_there(portal, admin):
    stranger = make_portal(member_id="e" * 32, domain="other.bitrix24.ru")
    dialog = make_dialog(stranger, 5, quarantined_at="2026-01-01T00:00Z")
    make_message(dialog, "чужое")
    run = make_run(dialog)
    snippet = Snippet.objects.create(portal=stranger, title="чужое", text="чужое")

    assert admin.get(f"log/{run.pk}/").status_code == 404
    assert admin.get(f"knowledge/{snippet.pk}/").status_code == 404
    assert admin.post(f"knowledge/{snippet.pk}/delete/").status_code == 404
    assert (
        admin.post("log/quarantine/act/", {"do": "retry", "dialog": dialog.pk}).status_code == 404
    )
    assert (
        admin.post("prompts/try/", {"text": "Текст", "on": f"dialog-{dialog.pk}"}).status_code
        == 404
    )
    assert Snippet.objects.filter(pk=snippet.pk).exists()
    assert Dialog.objects.get(pk=dialog.pk).quarantined_at is not None
    assert "чужое" not in text_of(admin.get("log/")) + text_of(admin.get("knowledge/"))


def test_address_of_another_app_registration_is_not_there(portal, admin, client):
    headers = {"Authorization": f"Bearer {admin.frame.token()}"}

    assert client.get("/b24/other/settings/", headers=headers).status_code == 404


def test_no_page_shows_a_secret(portal, visitor):
    secrets = secrets_of(portal)

    for language in ("ru", "en"):
        person = visitor(language=language)
        for path in every_page(portal):
            body = person.get(path).content.decode()
            assert [secret for secret in secrets if secret in body] == [], path


def test_key_is_described_by_its_last_characters_only(portal, admin):
    words = text_of(admin.get("model/"))

    assert "…seen" in words
    assert "https://api.openai.com" in words


def test_page_does_not_prolong_a_session(portal, admin):
    assert 'name="frame-token"' not in admin.get("").content.decode()


def test_every_settings_address_is_a_frame_view_or_a_signed_file():
    views = [pattern.callback for pattern in settings_urls.urlpatterns]

    assert len(views) > 40
    assert all(
        getattr(view, "is_frame_view", False) or getattr(view, "is_signed_download", False)
        for view in views
    )


def test_what_changes_something_answers_only_to_a_post(portal, admin):
    acts = (
        "stop/",
        "connection/rebind/",
        "connection/hook-token/",
        "lines/22/",
        "prompts/publish/",
    )

    assert [admin.get(path).status_code for path in acts] == [404] * len(acts)


def test_every_link_of_every_page_leads_somewhere(portal, admin):
    resolver = get_resolver()
    seen: set[str] = set()
    for path in every_page(portal):
        seen |= set(
            re.findall(
                r'(?:href|action|hx-post|hx-get|data-download)="(/b24/[^"?#]+)',
                admin.get(path).content.decode(),
            )
        )

    assert len(seen) > 30
    for address in seen:
        if not address.endswith("/session/"):
            resolver.resolve(address)
