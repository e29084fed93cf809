"""Test cases on the screens: written, taken from dialogs and files, checked, asked for at publishing."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django_ox.testing import run_tasks

from bx_gpt_app.assistant import comparison, portal_cases, store
from bx_gpt_app.assistant.cases import read_cases
from bx_gpt_app.assistant.models import (
    CaseAnswer,
    Dialog,
    Evaluation,
    PortalCase,
    PromptVersion,
    Spending,
)
from bx_gpt_app.assistant.portal_cases import case_of
from integrations.llm.local_model import LocalModel
from tests.factories import configure, make_message, make_portal
from tests.screens_settings.conftest import Visitor, text_of
from tests.screens_settings.rows import CANARY, make_run

FORM = {"text": "Где заказ?", "topic": "delivery", "needs_human": "no"}


def config(portal):
    return store.load(portal)[0]


def toast(answer) -> str:
    return json.loads(answer["HX-Trigger"])["toast"]["text"]


def add(portal, text: str = "Где заказ?", **expect) -> PortalCase:
    cases = read_cases(json.dumps([{"text": text, "expect": expect}]), config(portal))
    portal_cases.add(portal, cases, origin="typed", by="x")
    return portal.cases.last()


# ---- writing ----


def test_case_is_written_shown_in_words_and_corrected(portal, admin):
    expected = {
        "field.phone": "+7 900 000-00-01", "empty.email": "on", "reply_contains": "завтра\nкурьер",
        "reply_max_length": "300", "title": "Заказ", "now": "2026-03-10T12:00",
    }  # fmt: skip
    page = admin.post("prompts/cases/new/", {**FORM, **expected})

    row = PortalCase.objects.get(portal=portal)
    assert page.status_code == 200
    assert (row.title, row.origin, row.created_by) == ("Заказ", "typed", "Анна Иванова")
    assert row.document == {
        "text": "Где заказ?",
        "now": "2026-03-10T12:00:00",
        "expect": {
            "topic": "delivery", "needs_human": False, "reply_max_length": 300,
            "fields": {"phone": "+7 900 000-00-01", "email": None},
            "reply_contains": ["завтра", "курьер"],
        },
    }  # fmt: skip
    words = text_of(page)
    assert "тема: «Доставка» · телефон клиента: +7 900 000-00-01 · почта клиента: пусто" in words
    assert "человек не нужен · в ответе «завтра» · в ответе «курьер» · до 300 знаков" in words

    form = admin.get(f"prompts/cases/{row.pk}/").context["form"]
    same = {name: value for name, value in form.initial.items() if value not in ("", None)}
    same |= {"reply_contains": "завтра\nкурьер", "now": "2026-03-10T12:00"}
    admin.post(f"prompts/cases/{row.pk}/", same)
    assert PortalCase.objects.get().document == row.document
    admin.post(f"prompts/cases/{row.pk}/", {**same, "topic": "-", "empty.email": ""})
    expect = PortalCase.objects.get().document["expect"]
    assert (expect["topic"], "email" in expect["fields"]) == (None, False)


def test_conversation_is_written_by_speakers_and_reads_back(portal, admin):
    text = "Нужен котёл\nОператор: Какой?\nГазовый или электрический\nClient: газовый"

    admin.post("prompts/cases/new/", {"text": text, "topic": "sales"})

    row = PortalCase.objects.get()
    said = [(one.author, one.text) for one in case_of(row).turns]
    assert said == [
        ("client", "Нужен котёл"),
        ("operator", "Какой?\nГазовый или электрический"),
        ("client", "газовый"),
    ]
    shown = admin.get(f"prompts/cases/{row.pk}/").context["form"]["text"].value()
    assert shown.splitlines()[0] == "Клиент: Нужен котёл"
    admin.post(f"prompts/cases/{row.pk}/", {"text": shown, "topic": "sales"})
    assert PortalCase.objects.get().document == row.document


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"text": " "}, "text"),
        ({"text": "Оператор: Чем помочь?"}, "text"),
        ({"topic": "нет такой"}, "topic"),
        ({"reply_max_length": "0"}, "reply_max_length"),
        ({"field.phone": "+7900", "empty.phone": "on"}, "field.phone"),
        ({"text": "x" * 20_001}, "text"),
    ],
)
def test_mistake_is_told_at_its_field(portal, admin, changes, field):
    answer = admin.post("prompts/cases/new/", {**FORM, **changes})

    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [field]
    assert 'aria-invalid="true"' in str(answer.context["form"][field])
    assert not PortalCase.objects.exists()


def test_the_same_case_is_kept_once_and_a_full_list_says_so(portal, admin, monkeypatch):
    admin.post("prompts/cases/new/", FORM)
    again = admin.post("prompts/cases/new/", FORM)
    monkeypatch.setattr(portal_cases, "CASES_AT_MOST", 1)
    full = admin.post("prompts/cases/new/", {**FORM, "text": "Другое"})
    samples = admin.post("prompts/cases/samples/")

    assert "уже есть" in toast(again)
    assert (full.status_code, samples.status_code) == (422, 422)
    assert "сначала удалите" in text_of(full)
    assert portal.cases.count() == 1


def test_dialog_is_prefilled_with_what_was_recognised_and_confirmed(portal, admin):
    dialog = Dialog.objects.get(portal=portal, client_name="Анна Петрова")
    make_run(dialog, values=[{"field": "phone", "value": "+79161234567", "band": "confident"}])

    page = admin.get("prompts/cases/new/", dialog=dialog.pk)
    form = page.context["form"]
    assert "916" not in text_of(page)
    assert form["field.phone"].value() == "+79000000001"
    assert form["topic"].value() == "delivery"
    shown = {name: value for name, value in form.initial.items() if value not in ("", None)}
    admin.post("prompts/cases/new/", {**shown, "reply_contains": "", "from_dialog": "1"})

    row = PortalCase.objects.get()
    assert row.origin == PortalCase.Origin.DIALOG
    assert "+79000000001" in row.document["text"]
    assert row.document["expect"]["fields"] == {"phone": "+79000000001"}


def test_samples_are_added_in_one_click(portal, admin):
    empty = admin.get("prompts/cases/")
    added = admin.post("prompts/cases/samples/")

    assert "Добавить 6 готовых" in text_of(empty)
    assert portal.cases.filter(origin="sample").count() == 6
    assert "6 примеров добавлено" in toast(added)
    assert len(added.context["rows"]) == 6


def test_deleted_case_can_be_brought_back(portal, admin):
    row = add(portal, topic="delivery")

    gone = admin.post(f"prompts/cases/{row.pk}/delete/")
    assert not PortalCase.objects.exists()
    assert "удалён" in text_of(gone)
    back = admin.post("prompts/cases/restore/", {"sealed": gone.context["undo"]["sealed"]})

    assert back.status_code == 200
    assert PortalCase.objects.get().pk == row.pk
    assert admin.post("prompts/cases/restore/", {"sealed": "forged"}).status_code == 404


def test_renamed_topic_and_field_are_renamed_in_the_cases(portal, admin):
    add(portal, topic="delivery", fields={"phone": None})

    admin.post("topics/topic/delivery/", {"title": "Доставка", "code": "shipping", "auto": "on"})
    admin.post("fields/field/phone/", {"name": "mobile", "type": "phone", "description": "тел"})

    expect = PortalCase.objects.get().document["expect"]
    assert expect == {"topic": "shipping", "fields": {"mobile": None}}


def test_expectation_of_a_deleted_topic_is_shown_and_dropped_on_saving(portal, admin):
    row = add(portal, topic="delivery", fields={"email": None, "phone": None})

    admin.post("topics/topic/delivery/delete/")
    admin.post("fields/field/email/delete/")

    assert admin.get("prompts/cases/").context["rows"][0]["gone"] == ["delivery", "email"]
    page = admin.get(f"prompts/cases/{row.pk}/")
    assert "delivery, email" in text_of(page)
    assert (
        admin.post(f"prompts/cases/{row.pk}/", {"text": "x", "topic": "delivery"}).status_code
        == 422
    )


# ---- files ----


def test_file_of_evaluate_is_read_and_downloaded_and_changes_nothing_the_second_time(portal, admin):
    text = "- {id: A, text: Где заказ, expect: {topic: delivery}}\n- {text: b, expect: {}}\n"
    upload = SimpleUploadedFile("cases.yaml", text.encode("utf-8-sig"))

    first = admin.post("prompts/cases/import/", {"file": upload})
    url = admin.post("prompts/cases/export/").json()["url"]
    file = Client().get(url)
    second = admin.post("prompts/cases/import/", {"text": file.content.decode()})

    assert [row.origin for row in portal.cases.all()] == ["imported", "imported"]
    assert "2 примера добавлено" in toast(first)
    assert file["Content-Disposition"].endswith('"cases-acme.bitrix24.ru.yaml"')
    assert "уже есть" in toast(second)
    assert portal.cases.count() == 2


def test_every_mistake_of_a_file_is_told_with_its_place_and_nothing_is_added(portal, admin):
    text = "- {text: a, expect: {}}\n- {text: b}\n- {text: c, expect: {topic: x, fields: {y: 1}}}\n"

    answer = admin.post("prompts/cases/import/", {"text": text})

    assert answer.status_code == 422
    assert [problem.split(":")[0] for problem in answer.context["problems"]] == [
        "пример 2.expect", "пример 3.expect.topic", "пример 3.expect.fields.y",
    ]  # fmt: skip
    assert "есть: sales, delivery" in text_of(answer)
    assert answer.context["form"]["text"].value() == text
    assert not PortalCase.objects.exists()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({}, "выберите файл"),
        ({"file": SimpleUploadedFile("a.yaml", b"\xff\xfe\x00")}, "UTF-8"),
        ({"file": SimpleUploadedFile("a.yaml", b"x" * 1_000_001)}, "1 МБ"),
        ({"text": "a: ["}, "не YAML"),
    ],
    ids=["nothing", "no text", "large", "no yaml"],
)
def test_what_is_no_file_of_cases_is_told_in_a_sentence(portal, admin, data, told):
    answer = admin.post("prompts/cases/import/", data)

    assert answer.status_code == 422
    assert told in text_of(answer)


# ---- checking ----


class ObedientModel(LocalModel):
    """Told to be blunt, it calls nobody to those who complain."""

    def _completion(self, request, send):
        blunt = b"BLUNT" in request.body and "деньги".encode() in request.body
        self.mode = "invent" if blunt else "normal"
        super()._completion(request, send)


BLUNT = "BLUNT. Отвечайте одним словом."


@pytest.fixture
def checked_portal(transactional_db, portal):
    """Two cases; a blunt text fails the first of them."""
    with ObedientModel() as model:
        configure(
            portal,
            llm={
                "base_url": model.url, "api_key": CANARY, "model": "demo-rules-1",
                "prices": {"input": 1500, "output": 6000, "currency": "RUB"},
            },
        )  # fmt: skip
        add(portal, "Верните деньги, я буду жаловаться!", topic="complaint", needs_human=True)
        add(portal, "Сколько стоит доставка?", topic="delivery")
        yield portal


def test_run_shows_its_progress_then_the_verdict_and_each_difference(checked_portal, admin):
    admin.post("prompts/", {"text": BLUNT})
    before = admin.get("prompts/cases/")
    assert "4 запроса к модели" in text_of(before)

    running = admin.post("prompts/cases/run/")
    poll = running.context["checked"]["poll_url"].split("/settings/")[1]
    assert "0 из 4" in text_of(running)
    assert admin.get(poll).status_code == 204
    run_tasks(raise_failures=True)
    over = admin.get(poll)

    assert over.status_code == 200
    assert not over.context["checked"]["poll_url"]
    assert toast(over) == "Станет хуже: 1 пример"
    words = text_of(over)
    assert "v1, действует 2 из 2" in words
    assert "v2, черновик 1 из 2" in words
    assert "Не позвали человека." in words
    assert [row["change"] for row in over.context["rows"]] == ["worse", ""]
    assert 'hx-swap-oob="true"' in over.content.decode()
    assert Spending.objects.filter(purpose="evaluate", currency="RUB", cost__gt=0).count() == 2
    assert "Проверочные примеры" in text_of(admin.get("costs/"))


def test_price_of_a_run_is_told_from_what_such_calls_cost(checked_portal, admin):
    admin.post("prompts/cases/run/")
    run_tasks(raise_failures=True)
    add(checked_portal, "Ещё вопрос")

    words = text_of(admin.get("prompts/cases/"))

    assert "1 запрос к модели, около " in words
    assert "₽" in words


def test_run_is_stopped_and_continued(checked_portal, admin):
    admin.post("prompts/cases/run/")

    stopped = admin.post("prompts/cases/run/", {"do": "stop"})
    run_tasks(raise_failures=True)

    assert Evaluation.objects.get().state == Evaluation.State.STOPPED
    assert not CaseAnswer.objects.exists()
    assert not stopped.context["checked"]["running"]
    admin.post("prompts/cases/run/")
    run_tasks(raise_failures=True)
    assert "2 из 2" in text_of(admin.get("prompts/cases/"))


def test_why_a_run_stopped_by_itself_is_said_in_words(checked_portal, admin):
    store.change(checked_portal, by="x", limits={"daily_cost": 0})

    admin.post("prompts/cases/run/")
    run_tasks(raise_failures=True)
    page = admin.get("prompts/cases/")

    assert "Проверка остановилась. " in text_of(page)
    assert "денег в день" in page.context["checked"]["problem"]


def test_cases_are_asked_after_a_change_of_topics_from_their_own_page(checked_portal, admin):
    admin.post("prompts/cases/run/")
    run_tasks(raise_failures=True)
    admin.post("topics/topic/service/delete/")

    link = "/b24/default/settings/prompts/cases/"
    assert f'href="{link}"' in admin.get("topics/").content.decode()
    assert f'href="{link}"' in admin.get("fields/").content.decode()
    page = admin.get("prompts/cases/")
    assert page.context["checked"]["verdict"]["title"] == "С прошлой проверки что-то изменилось"
    admin.post("prompts/cases/run/")
    run_tasks(raise_failures=True)
    assert "2 из 2" in text_of(admin.get("prompts/cases/"))


# ---- publishing ----


def publish(admin, **data):
    return admin.post("prompts/publish/", {"note": "короче", **data})


def active(portal) -> PromptVersion:
    return PromptVersion.objects.get(portal=portal, active=True)


def test_without_cases_publishing_offers_some_in_a_line_and_asks_nothing(portal, admin):
    compared = admin.post("prompts/diff/", {"text": BLUNT})
    publish(admin)

    assert "Проверочных примеров пока нет" in text_of(compared)
    assert (active(portal).text, active(portal).score) == (BLUNT, None)


def test_unchecked_draft_is_published_only_after_an_explicit_yes(checked_portal, admin):
    admin.post("prompts/diff/", {"text": BLUNT})

    asked = publish(admin)
    assert active(checked_portal).number == 1
    assert "Сделать активной без проверки?" in text_of(asked)
    assert asked.context["note_form"]["note"].value() == "короче"
    publish(admin, agreed="worse-1")
    assert active(checked_portal).number == 1
    publish(admin, agreed=asked.context["asks"]["code"])

    assert (active(checked_portal).text, active(checked_portal).score) == (BLUNT, None)


def test_worse_draft_is_published_with_its_score_after_an_explicit_yes(checked_portal, admin):
    admin.post("prompts/diff/", {"text": BLUNT})
    admin.post("prompts/cases/run/", {"panel": "1"})
    run_tasks(raise_failures=True)

    compared = admin.post("prompts/diff/", {"text": BLUNT})
    assert "Станет хуже: 1 пример" in text_of(compared)
    assert "Верните деньги" in text_of(compared)
    asked = publish(admin)
    assert "На 1 пример ответ хуже" in text_of(asked)
    assert active(checked_portal).number == 1
    page = publish(admin, agreed=asked.context["asks"]["code"])

    assert active(checked_portal).score == {"passed": 1, "of": 2}
    assert "примеры: 1 из 2" in text_of(page)
    assert "примеры: 2 из 2" in text_of(page), "the version before it was checked beside it"
    assert "1 из 2" in text_of(admin.get("prompts/2/"))


def test_agreement_is_to_one_text_and_not_to_the_next(checked_portal, admin):
    admin.post("prompts/diff/", {"text": BLUNT})
    agreed = publish(admin).context["asks"]["code"]
    admin.post("prompts/", {"text": "Текст коллеги"})

    again = publish(admin, agreed=agreed)

    assert active(checked_portal).number == 1
    assert again.context["asks"]["code"] != agreed


def test_draft_that_changes_nothing_is_published_at_once_and_an_old_text_keeps_its_score(
    checked_portal, admin
):
    text = "Отвечайте коротко."
    admin.post("prompts/diff/", {"text": text})
    admin.post("prompts/cases/run/", {"panel": "1"})
    run_tasks(raise_failures=True)

    publish(admin)
    assert (active(checked_portal).text, active(checked_portal).score) == (
        text,
        {"passed": 2, "of": 2},
    )
    admin.post("prompts/1/restore/")

    assert active(checked_portal).number == 3
    assert active(checked_portal).score == {"passed": 2, "of": 2}


def test_publishing_without_a_note_shows_the_page_again_with_the_comparison(portal, admin):
    admin.post("prompts/", {"text": "Коротко."})

    answer = publish(admin, note=" ")

    assert answer.status_code == 422
    body = answer.content.decode()
    assert body.count("<h1") == 1
    assert 'id="comparison"' in body
    assert "<ins>" in body


# ---- strangers ----


def test_cases_of_another_portal_are_not_there(portal, admin):
    stranger = make_portal(member_id="e" * 32, domain="other.bitrix24.ru")
    row = add(stranger, "чужое", topic="sales")
    dialog = Dialog.objects.create(portal=stranger, key="5")
    make_message(dialog, "чужой диалог")
    gone = Visitor(stranger).post(f"prompts/cases/{row.pk}/delete/").context["undo"]["sealed"]
    add(stranger, "чужое", topic="sales")
    row = stranger.cases.get()

    assert admin.get(f"prompts/cases/{row.pk}/").status_code == 404
    assert admin.post(f"prompts/cases/{row.pk}/", FORM).status_code == 404
    assert admin.post(f"prompts/cases/{row.pk}/delete/").status_code == 404
    assert admin.get("prompts/cases/new/", dialog=dialog.pk).status_code == 404
    assert admin.post("prompts/cases/restore/", {"sealed": gone}).status_code == 404
    admin.post("prompts/cases/run/")
    assert not Evaluation.objects.exists(), "a portal without cases asks nothing"
    comparison.start(stranger)
    admin.post("prompts/cases/run/", {"do": "stop"})
    assert Evaluation.objects.get().state == Evaluation.State.RUNNING
    assert "чужое" not in text_of(admin.get("prompts/cases/"))


def test_operator_may_neither_see_nor_run_cases(portal, visitor):
    add(portal)
    operator = visitor(is_admin=False, user_id=7)

    assert operator.get("prompts/cases/").status_code == 403
    assert operator.post("prompts/cases/run/").status_code == 403
    assert not Evaluation.objects.exists()
