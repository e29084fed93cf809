"""An operator wants an answer to one message, or another answer: nothing of it is automatic."""

from __future__ import annotations

from datetime import timedelta

from bx_gpt_app.assistant import operator, pipeline
from bx_gpt_app.assistant.models import Delivery, Dialog, FieldValue, Run, Suggestion

KNOWLEDGE = [
    {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."},
    {"title": "Доставка", "text": "Доставка по городу стоит 490 ₽, привозим на следующий день."},
]


def test_client_hears_nothing_when_the_version_that_an_operator_asked_for_fails(world, monkeypatch):
    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    world.configure(mode="auto", knowledge=KNOWLEDGE)
    chat_id = world.client_says("Здравствуйте! Подскажите режим работы?")
    world.work_until(lambda: world.b24.delivered(chat_id))
    world.model.set(mode="error")

    operator.ask_again(Dialog.objects.get(), operator_id=7, steer="короче")
    world.work_until(lambda: Run.objects.filter(state="failed").exists(), seconds=20)
    world.work()

    run = Run.objects.get(state="failed")
    assert (run.decision, Delivery.objects.filter(run=run).count()) == ("suggest", 0)
    assert len(world.b24.delivered(chat_id)) == 1
    assert Dialog.objects.get().owner == "bot"


def test_earlier_message_is_answered_as_if_it_were_the_last(world):
    world.configure(mode="suggest", knowledge=KNOWLEDGE, crm={"write": "confirm"})
    chat_id = world.client_says("Сколько стоит доставка? Мой телефон +7 916 123-45-67")
    world.work_until(lambda: Run.objects.filter(state="done").count() == 1)
    first = Dialog.objects.get().messages.get(author="client")
    world.client_says("Ой, телефон +7 916 765-43-21. Подскажите режим работы?", chat_id=chat_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 2)
    FieldValue.objects.all().delete()
    newest = Suggestion.objects.get(state="ready")

    operator.ask_again(Dialog.objects.get(), operator_id=7, chosen=first.external_id)
    world.work_until(lambda: Run.objects.filter(state="done").count() == 3)

    chosen = Suggestion.objects.get(answered_message_id=first.external_id, state="ready")
    assert "490" in chosen.text
    assert "9:00" not in chosen.text
    assert chosen.run.message_ids[-1] == first.external_id
    newest.refresh_from_db()
    assert newest.state == "ready", "the draft for the last message stays"
    assert not FieldValue.objects.exists(), "what the client said once may be outdated"
    assert world.b24.delivered(chat_id) == []
