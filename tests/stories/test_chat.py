"""A client writes into an open line: what the portal, the client and the operators see of it."""

from __future__ import annotations

from datetime import timedelta

from bx_gpt_app.assistant import operator, pipeline
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue, Run, Suggestion

HOURS = {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}


def test_reply_is_sent_by_itself_in_an_automatic_line(world):
    world.configure(
        mode="auto",
        knowledge=[{"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}],
    )

    chat_id = world.client_says("Здравствуйте! Подскажите режим работы?")
    world.work_until(lambda: world.b24.delivered(chat_id))

    assert "9:00" in world.b24.delivered(chat_id)[0]
    run = Run.objects.get()
    assert (run.state, run.decision, run.reason) == ("done", "send", "auto")
    assert Suggestion.objects.get().state == "sent"
    assert Delivery.objects.filter(kind="message", state="sent").count() == 1


def test_suggestion_waits_for_the_operator_and_the_card_is_filled(world):
    world.configure(mode="suggest")

    chat_id = world.client_says("Меня зовут Иван Петров, мой телефон +7 916 123-45-67. Нужен котёл")
    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert world.b24.delivered(chat_id) == []
    assert Suggestion.objects.get().state == "ready"
    lead_id = int(Dialog.objects.get().items[0].removeprefix("LEAD_"))
    lead = world.b24.item(1, lead_id)
    assert [entry["value"] for entry in lead["fm"] if entry["typeId"] == "PHONE"] == [
        "+79161234567"
    ]
    written = FieldValue.objects.filter(state="written").values_list("target", flat=True)
    assert "PHONE" in written


def test_first_message_costs_three_requests_and_a_later_one_two(world):
    world.configure(mode="auto", knowledge=[HOURS])
    world.b24.wait_deliveries()
    before = world.requests

    chat_id = world.client_says(
        "Я Иван Петров, телефон +7 916 123-45-67. Какой у вас режим работы?"
    )
    world.work_until(lambda: world.b24.delivered(chat_id))
    first = world.requests[len(before) :]
    world.client_says("Моя почта ivan@example.ru. А режим работы в пятницу какой?", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2)
    second = world.requests[len(before) + len(first) :]

    assert len(first) <= 3, first
    assert len(second) <= 2, second
    lead = world.lead()
    assert world.multifield(lead, "PHONE") == ["+79161234567"]
    assert world.multifield(lead, "EMAIL") == ["ivan@example.ru"]


def test_person_in_the_dialog_silences_the_bot_but_suggestions_go_on(world):
    world.configure(mode="auto")
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: world.b24.delivered(chat_id))

    world.b24.operator_writes(chat_id, 7, "Здравствуйте, это Ольга, помогу вам")
    world.client_says("Сколько стоит доставка?", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2)

    run = Run.objects.order_by("-id").first()
    assert (run.decision, run.reason) == ("suggest", "person_in_dialog")
    assert len(world.b24.delivered(chat_id)) == 2  # the bot's first answer and the operator's words


def test_burst_of_messages_gets_one_answer(world):
    world.configure(mode="auto", reply={"debounce_seconds": 0.4})

    chat_id = world.client_says("Здравствуйте")
    world.client_says("хочу узнать", chat_id=chat_id)
    world.client_says("какой у вас режим работы?", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert Run.objects.count() == 1
    assert world.model.calls == 1


def test_client_who_writes_while_the_model_thinks_gets_one_answer_to_all(world):
    world.configure(mode="auto", knowledge=[HOURS])
    chat_id = world.client_says("Здравствуйте!")
    world.on_model_call(lambda: world.client_says("Какой у вас режим работы?", chat_id=chat_id))

    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert list(Run.objects.order_by("id").values_list("state", flat=True)) == [
        "superseded",
        "done",
    ]
    assert len(world.b24.delivered(chat_id)) == 1


def test_operator_who_answers_while_the_model_thinks_is_not_talked_over(world):
    world.configure(mode="auto")
    chat_id = world.client_says("Здравствуйте!")
    world.on_model_call(lambda: world.b24.operator_writes(chat_id, 7, "Добрый день, слушаю вас"))

    world.work_until(lambda: Run.objects.filter(state="done").exists())

    run = Run.objects.get()
    assert (run.decision, run.reason) == ("skip", "person_answered_first")
    assert world.b24.delivered(chat_id) == ["Добрый день, слушаю вас"]


def test_client_who_asks_for_a_person_is_handed_over_with_a_word(world):
    world.configure(mode="auto")

    chat_id = world.client_says("Позовите оператора, хочу говорить с человеком")
    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert world.b24.delivered(chat_id) == ["Передаю вопрос коллеге, он скоро ответит."]
    assert Dialog.objects.get().handed_over
    assert "imopenlines.bot.session.operator" in world.requests


def test_line_that_is_off_stores_nothing(world):
    world.configure(mode="suggest")
    world.configure(mode="off")
    before = Dialog.objects.count()

    world.b24.invite_bot(world.b24.client_writes("Здравствуйте!")[0])
    world.client_says("Есть кто?")

    assert Dialog.objects.count() == before
    assert not Run.objects.exists()


def test_text_zero_goes_to_a_person_without_an_answer(world):
    world.configure(mode="auto")

    chat_id = world.client_says("0")
    world.work_until(lambda: Dialog.objects.filter(owner="operator").exists())
    world.work()

    assert world.b24.delivered(chat_id) == []
    assert not Run.objects.filter(decision="send").exists()


def test_model_that_is_down_ends_in_a_hand_over_not_in_silence(world, monkeypatch):
    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    world.configure(mode="auto")
    world.model.set(mode="error")

    chat_id = world.client_says("Мой телефон +7 916 123-45-67, перезвоните")
    world.work_until(lambda: Run.objects.filter(state="failed").exists(), seconds=20)
    world.work_until(lambda: world.b24.delivered(chat_id))

    run = Run.objects.get()
    assert run.decision == "hand_over"
    assert run.reason
    assert world.b24.delivered(chat_id) == ["Передаю вопрос коллеге, он скоро ответит."]
    assert world.multifield(world.lead(), "PHONE") == ["+79161234567"]


def test_garbage_becomes_a_suggestion_and_is_never_sent(world):
    world.configure(mode="auto")
    world.model.set(mode="garbage")

    chat_id = world.client_says("Здравствуйте! Какой режим работы?")
    world.work_until(lambda: Run.objects.filter(state__in=["done", "failed"]).exists(), seconds=20)

    assert Run.objects.get().decision in ("suggest", "hand_over")
    assert not Delivery.objects.filter(kind="message", suggestion__isnull=False).exists()
    assert chat_id


def test_portal_that_was_away_gets_the_reply_once_when_it_is_back(world):
    world.configure(mode="auto")
    chat_id = world.client_says("Здравствуйте!")
    world.on_model_call(lambda: world.b24.go_down("drop"))

    world.work()
    assert Delivery.objects.filter(kind="message", state__in=["planned", "sending"]).exists()
    world.b24.come_up()
    world.work_until(lambda: world.b24.delivered(chat_id))

    assert len(world.b24.delivered(chat_id)) == 1


def test_send_whose_answer_was_lost_is_not_sent_twice(world):
    world.configure(mode="auto")
    world.b24.fail_next(
        "imbot.v2.Chat.Message.send",
        500,
        "INTERNAL_SERVER_ERROR",
        times=3,
        after_executing=True,
        drop=True,
    )

    chat_id = world.client_says("Здравствуйте!")
    world.work_until(
        lambda: Delivery.objects.filter(kind="message", state="sent").exists(), seconds=20
    )

    assert len(world.b24.delivered(chat_id)) == 1


def test_value_the_client_did_not_write_never_reaches_the_card(world):
    world.configure(mode="suggest")
    world.model.set(mode="invent")

    world.client_says("Здравствуйте! Сколько стоит котёл?")
    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert world.multifield(world.lead(), "PHONE") == []
    assert not FieldValue.objects.filter(field__in=["phone", "email", "name"]).exists()


def test_person_who_filled_the_field_keeps_his_value(world):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: Run.objects.filter(state="done").exists())
    lead_id = world.lead()["id"]
    world.b24.change_item(1, lead_id, {"name": "Пётр", "lastName": "Сидоров"})

    world.client_says("Меня зовут Иван Петров", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2)

    lead = world.lead()
    assert (lead["name"], lead["lastName"]) == ("Пётр", "Сидоров")
    assert FieldValue.objects.get(field="name", item__startswith="LEAD").state == "skipped"


def test_chat_whose_suggestions_are_paused_costs_nothing(world):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: Run.objects.filter(state="done").exists())
    Dialog.objects.update(suggestions_off=True)
    asked = world.model.calls

    world.client_says("Сколько стоит котёл?", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2)

    assert Run.objects.order_by("-id").first().reason == "suggestions_paused"
    assert world.model.calls == asked


def test_answer_that_the_operator_called_off_is_not_shown(world):
    world.configure(mode="suggest")
    world.client_says("Здравствуйте!")
    world.work_until(lambda: Run.objects.filter(state="done").exists())
    dialog = Dialog.objects.get()
    operator.ask_again(dialog, steer="короче", operator_id=7)
    world.on_model_call(lambda: operator.cancel_asking(dialog))

    world.work()

    assert Suggestion.objects.count() == 1
    assert Run.objects.order_by("-id").first().reason == "cancelled_by_operator"
