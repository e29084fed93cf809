"""What an administrator changes: saved whole, checked whole, mistakes at the right field."""

from __future__ import annotations

import json

import pytest
from django_ox.models import OxTask

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.models import Configuration, PromptVersion, Snippet
from bx_gpt_app.portals.models import Portal
from tests.factories import configure
from tests.screens_settings.conftest import text_of
from tests.screens_settings.rows import CANARY, keep_fields

MODEL = {
    "preset": "openai", "base_url": "https://api.openai.com/v1", "model": "gpt-4o-mini",
    "temperature": "0.3", "price_currency": "RUB", "mask_personal_data": "on",
}  # fmt: skip


def config(portal):
    return store.load(portal)[0]


def toast(response) -> str:
    return json.loads(response["HX-Trigger"])["toast"]["text"]


# ---- model ----


def test_empty_key_field_keeps_the_stored_key(portal, admin):
    answer = admin.post("model/", MODEL)

    assert answer.status_code == 200
    assert config(portal).llm.temperature == 0.3
    assert Configuration.objects.get(pk=portal.pk).api_key == CANARY


def test_key_of_one_server_is_not_kept_for_another(portal, admin):
    answer = admin.post(
        "model/", {**MODEL, "preset": "mistral", "base_url": "https://api.mistral.ai/v1"}
    )

    assert answer.status_code == 422
    assert "api.mistral.ai" in text_of(answer)
    assert config(portal).llm.base_url == "https://api.openai.com/v1"


def test_new_key_goes_with_the_new_address(portal, admin):
    new = {
        **MODEL,
        "preset": "mistral",
        "base_url": "https://api.mistral.ai/v1",
        "api_key": "mistral-key-1",
    }

    answer = admin.post("model/", new)

    row = Configuration.objects.get(pk=portal.pk)
    assert answer.status_code == 200
    assert (row.api_key, row.api_key_origin) == ("mistral-key-1", "https://api.mistral.ai")
    assert "mistral-key-1" not in answer.content.decode()


def test_stored_key_can_be_deleted(portal, admin):
    admin.post("model/", {**MODEL, "forget_key": "on"})

    assert Configuration.objects.get(pk=portal.pk).api_key == ""


def test_choosing_a_service_fills_in_its_address_and_saves_nothing(portal, admin):
    answer = admin.post("model/preset/", {**MODEL, "preset": "deepseek", "changed": "preset"})

    body = answer.content.decode()
    assert 'value="https://api.deepseek.com/v1"' in body
    assert 'value="deepseek-v4-flash"' in body
    assert config(portal).llm.base_url == "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"base_url": "ftp://x"}, "base_url"),
        ({"model": ""}, "model"),
        ({"temperature": "3"}, "temperature"),
        ({"price_input": "10"}, "price_output"),
        ({"extra_headers": "no colon"}, "extra_headers"),
        ({"preset": "yandex", "base_url": "https://llm.api.cloud.yandex.net/v1"}, "project"),
        ({"with_fallback": "on", "fallback_model": "x"}, "fallback_base_url"),
        ({"with_fallback": "on", "fallback_price_input": "1"}, "fallback_price_output"),
        ({"cheaper": "main"}, "cheaper_model"),
        ({"cheaper": "fallback"}, "cheaper"),
    ],
)
def test_mistake_in_the_model_form_is_told_at_its_field(portal, admin, changes, field):
    answer = admin.post("model/", {**MODEL, **changes})

    assert answer.status_code == 422
    forms = answer.context["forms"]
    wrong = {
        form.add_prefix(name): str(form[name])
        for form in (forms.main, forms.second, forms.rules)
        for name in form.errors
    }
    assert field in wrong
    assert field == "cheaper" or 'aria-invalid="true"' in wrong[field]


# ---- prompts ----


def test_draft_is_kept_and_published_with_a_note(portal, admin):
    admin.post("prompts/", {"text": "Отвечайте коротко, {{ client_name }}."})
    difference = admin.post("prompts/diff/", {"text": "Отвечайте коротко, {{ client_name }}."})
    answer = admin.post("prompts/publish/", {"note": "короче"})

    active = PromptVersion.objects.get(portal=portal, active=True)
    assert "<ins>" in difference.content.decode()
    assert (active.number, active.note, active.author) == (2, "короче", "Анна Иванова")
    assert active.text == config(portal).prompt == "Отвечайте коротко, {{ client_name }}."
    assert not PromptVersion.objects.filter(portal=portal, draft=True).exists()
    assert "2" in toast(answer)


def test_publishing_without_a_note_is_refused(portal, admin):
    admin.post("prompts/", {"text": "Коротко."})

    answer = admin.post("prompts/publish/", {"note": " "})

    assert answer.status_code == 422
    assert config(portal).prompt != "Коротко."


def test_unknown_variable_is_named_with_its_line(portal, admin):
    answer = admin.post("prompts/", {"text": "Первая строка\nЗдравствуйте, {{ klient }}!"})

    assert answer.status_code == 422
    assert "klient" in text_of(answer)
    assert " 2" in str(answer.context["form"].errors["text"])
    assert not PromptVersion.objects.filter(portal=portal, draft=True).exists()


def test_rollback_makes_a_new_version_and_leaves_the_old_ones(portal, admin):
    first = PromptVersion.objects.get(portal=portal, active=True)
    store.publish_prompt(portal, "Второй текст", note="", author="x")

    admin.post(f"prompts/{first.number}/restore/")

    texts = list(
        PromptVersion.objects.filter(portal=portal).order_by("number").values_list("text", "active")
    )
    assert texts == [(first.text, False), ("Второй текст", False), (first.text, True)]


# ---- fields ----


def test_field_can_be_added_renamed_moved_and_deleted(portal, admin):
    keep_fields(portal)
    admin.post("fields/new/", {"name": "visit", "type": "date", "description": "день визита"})
    admin.post("fields/field/phone/", {"name": "mobile", "type": "phone", "description": "телефон"})
    admin.post("fields/field/visit/move/up/")
    admin.post("fields/field/email/delete/")

    after = config(portal)
    assert [field.name for field in after.fields] == ["name", "mobile", "visit", "subject"]
    assert {m.source for m in after.mappings} == {"name", "mobile"}


def test_list_without_values_is_a_mistake_at_its_field(portal, admin):
    answer = admin.post(
        "fields/new/", {"name": "product", "type": "choice", "description": "товар"}
    )

    assert answer.status_code == 422
    assert "choices" in answer.context["form"].errors


def test_mapping_table_replaces_the_places_of_its_item_only(portal, admin):
    answer = admin.post(
        "fields/map/",
        {
            "entity": "lead",
            "to.phone.0": "PHONE", "policy.phone.0": "append",
            "to.subject.0": "TITLE", "policy.subject.0": "overwrite", "confirm.subject.0": "on",
            "to.name.0": "",
        },
    )  # fmt: skip

    lead = [m for m in config(portal).mappings if m.entity == "lead"]
    assert answer.status_code == 200
    assert [(m.source, m.to, m.policy, m.confirm) for m in lead] == [
        ("phone", "PHONE", "append", False),
        ("subject", "TITLE", "overwrite", True),
    ]
    assert any(m.entity == "contact" for m in config(portal).mappings)


def test_field_that_the_portal_lost_is_shown_as_gone(portal, admin):
    mapping = {"from": "subject", "entity": "lead", "to": "UF_CRM_OLD", "policy": "fill_empty"}
    configure(portal, mappings=[mapping])

    row = next(row for row in admin.get("fields/").context["rows"] if row.spec.name == "subject")

    assert row.gone
    assert row.to == "UF_CRM_OLD"


def test_obvious_places_are_found_by_type_and_name(portal, admin):
    configure(
        portal,
        mappings=[],
        fields=[
            {"name": "phone", "type": "phone"},
            {"name": "name", "type": "person_name"},
            {"name": "subject", "type": "string"},
            {"name": "budget", "type": "money", "description": "бюджет клиента"},
            {"name": "visit", "type": "date", "description": "дата визита"},
            {"name": "mood", "type": "string", "description": "настроение"},
        ],
    )

    admin.post("fields/match/", {"entity": "lead"})

    found = {m.source: (m.to, m.policy) for m in config(portal).mappings}
    assert found == {
        "phone": ("PHONE", "append"),
        "name": ("NAME+LAST_NAME", "fill_empty"),
        "subject": ("TITLE", "fill_empty"),
        "budget": ("UF_CRM_BUDGET", "fill_empty"),
        "visit": ("UF_CRM_VISIT", "fill_empty"),
        "topic": ("UF_CRM_TOPIC", "fill_empty"),
    }


def test_plan_for_the_last_dialog_says_what_would_be_written(portal, admin):
    words = text_of(admin.post("fields/try/", {"entity": "lead"}))

    assert "+79161234567" in words
    assert "Телефон" in words


# ---- topics ----


def test_topic_is_renamed_together_with_its_snippets(portal, admin):
    admin.post("topics/topic/delivery/", {"title": "Доставка", "code": "shipping", "auto": "on"})

    assert config(portal).topic("shipping") is not None
    assert Snippet.objects.get(portal=portal, title="Доставка").topic == "shipping"


def test_deleted_topic_leaves_its_snippets(portal, admin):
    admin.post("topics/topic/delivery/delete/")

    assert config(portal).topic("delivery") is None
    assert Snippet.objects.get(portal=portal, title="Доставка").topic == ""


def test_question_without_a_topic_becomes_an_example_of_a_new_one(portal, admin):
    unknown = admin.get("topics/").context["unknown"]

    form = admin.get("topics/new/", run=unknown[0]["run"]).context["form"]

    assert "дельфин" in unknown[0]["text"]
    assert form["examples"].value() == unknown[0]["text"]


# ---- knowledge ----


def test_edited_snippet_keeps_its_uses(portal, admin):
    row = Snippet.objects.get(portal=portal, title="Доставка")
    Snippet.objects.filter(pk=row.pk).update(uses=7)

    admin.post(
        f"knowledge/{row.pk}/",
        {"title": "Доставка", "text": "Доставка 400 ₽.", "topic": "delivery"},
    )

    row.refresh_from_db()
    assert (row.text, row.uses) == ("Доставка 400 ₽.", 7)


def test_pasted_text_is_cut_by_its_questions(portal, admin):
    text = "Сколько стоит доставка?\n300 ₽ по городу.\n\nКогда вы работаете?\nС 9 до 18."

    shown = admin.post("knowledge/import/", {"text": text})
    before = Snippet.objects.filter(portal=portal).count()
    admin.post("knowledge/import/", {"sealed": shown.context["sealed"]})

    assert before == 3
    rows = dict(Snippet.objects.filter(portal=portal).values_list("title", "text"))
    assert rows["Когда вы работаете?"] == "С 9 до 18."
    assert len(rows) == 5


def test_table_is_read_by_its_columns(portal, admin):
    from django.core.files.uploadedfile import SimpleUploadedFile

    table = SimpleUploadedFile(
        "faq.csv", "Вопрос;Ответ\nАдрес;Москва, Садовая 1\n".encode("cp1251")
    )

    shown = admin.post("knowledge/import/", {"file": table})
    admin.post("knowledge/import/", {"sealed": shown.context["sealed"]})

    assert Snippet.objects.get(portal=portal, title="Адрес").text == "Москва, Садовая 1"


def test_file_that_cannot_be_read_is_told_at_its_field(portal, admin):
    from django.core.files.uploadedfile import SimpleUploadedFile

    picture = admin.post("knowledge/import/", {"file": SimpleUploadedFile("a.exe", b"MZ")})
    nothing = admin.post("knowledge/import/", {})
    forged = admin.post("knowledge/import/", {"sealed": "forged"})

    assert picture.status_code == nothing.status_code == 422
    assert "file" in picture.context["form"].errors
    assert forged.status_code == 404


def test_answer_to_an_open_question_becomes_knowledge(portal, admin):
    question = portal.questions.get()

    empty = admin.post("knowledge/unanswered/", {"question": question.pk, "answer": " "})
    admin.post("knowledge/unanswered/", {"question": question.pk, "answer": "Да, с 10 до 16."})

    question.refresh_from_db()
    assert empty.status_code == 422
    assert question.state == "answered"
    assert (
        Snippet.objects.get(portal=portal, text="Да, с 10 до 16.").title
        == "Работаете ли вы в праздники?"
    )


# ---- limits, costs ----


def test_limits_are_saved_and_a_wrong_one_is_told(portal, admin):
    good = admin.post("costs/limits/", {"daily_cost": "25", "requests_per_minute": "60"})
    wrong = admin.post("costs/limits/", {"daily_cost": "-1", "requests_per_minute": "60"})

    assert good.status_code == 200
    assert (config(portal).limits.daily_cost, config(portal).limits.monthly_cost) == (25, None)
    assert "warn" in good.content.decode()  # 20 of 25 are spent
    assert wrong.status_code == 422


def test_spending_can_be_downloaded_as_a_table(portal, admin, client):
    url = admin.post("costs/export/?days=30").json()["url"]

    table = client.get(url).content.decode("utf-8-sig").splitlines()

    assert table[0].startswith("day;line;model")
    assert len(table) == 29
    assert ";Сайт;gpt-4o-mini;" in table[1]


# ---- file ----


def test_exported_file_goes_back_in_without_a_change(portal, admin, client):
    url = admin.post("connection/export/").json()["url"]
    response = client.get(url)

    text = response.content.decode()
    answer = admin.post("connection/import/", {"text": text})

    assert "attachment" in response["Content-Disposition"]
    assert CANARY not in text
    assert answer.context["changes"] == []


def test_link_to_a_file_ends_after_a_minute(portal, admin, client, monkeypatch):
    import time

    url = admin.post("connection/export/").json()["url"]
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)

    assert client.get(url).status_code == 410


def test_link_to_a_file_ends_with_the_sessions(portal, admin, client):
    url = admin.post("connection/export/").json()["url"]
    Portal.objects.filter(pk=portal.pk).update(session_epoch=portal.session_epoch + 1)

    assert client.get(url).status_code == 410


def test_file_with_mistakes_changes_nothing_and_names_them_all(portal, admin):
    before = config(portal)

    answer = admin.post(
        "connection/import/",
        {"text": "version: 1\nmode: maybe\nreply: {max_length: 0}\nllm: {api_key: sk-typed-in}"},
    )

    assert answer.status_code == 422
    assert [problem.split(":")[0] for problem in answer.context["problems"]] == [
        "mode", "reply.max_length", "llm.api_key",
    ]  # fmt: skip
    assert "sk-typed-in" not in answer.content.decode()
    assert config(portal) == before


def test_preview_shows_the_changes_and_applying_makes_them(portal, admin):
    text = 'version: 1\nprompt: Новый промпт\nlines: {"22": {mode: auto}}\nllm: {api_key: sk-from-file}\n'

    preview = admin.post("connection/import/", {"text": text})
    unchanged = config(portal).prompt
    answer = admin.post("connection/import/", {"sealed": preview.context["sealed"], "apply": "1"})

    assert "Новый промпт" in text_of(preview)
    assert preview.context["becomes_automatic"] == ["Сайт"]
    assert "sk-from-file" not in preview.content.decode() + answer.content.decode()
    assert unchanged != "Новый промпт"
    assert config(portal).prompt == "Новый промпт"
    assert OxTask.objects.filter(task_path__contains="carry_out_modes").exists()


def test_new_hook_token_is_shown_once(portal, admin):
    answer = admin.post("connection/hook-token/")

    token = answer.context["token"]
    portal.refresh_from_db()
    assert portal.accepts_hook_token(token)
    assert token in answer.content.decode()
    assert token not in admin.get("connection/").content.decode()
