"""Events that never came: histories and the CRM's traces are read, and nothing is heard twice."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode

import pytest
import requests
from django_ox.models import OxTask

from bx_gpt_app.assistant import pipeline
from bx_gpt_app.assistant.models import Dialog, Event, Message, Run, Suggestion
from bx_gpt_app.flow import ChatMessage
from bx_gpt_app.inbox.catch_up import catch_up
from bx_gpt_app.inbox.models import Hearing
from bx_gpt_app.inbox.receive import keep

HOURS = {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}
QUESTION = "Какой у вас режим работы?"
AN_HOUR = 3600.0


@pytest.fixture
def deaf(world):
    """A portal whose earlier sessions are known, and whose events are lost from now on."""
    world.configure(mode="auto", knowledge=[HOURS])
    catch_up.call(world.portal.pk)
    world.portal.move_to("suspended")
    return world


def hears_again(world) -> int:
    world.portal.move_to("active")
    return catch_up.call(world.portal.pk)


def grow_old(world, chat_id: int, seconds: float = AN_HOUR) -> None:
    for message in world.b24.world.messages.values():
        message.at -= seconds if message.chat_id == chat_id else 0


def asked(world, method: str) -> int:
    return len(world.b24.calls(method))


def test_message_whose_event_was_lost_is_heard_later_once(world):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: Message.objects.filter(author="client").count() == 1)
    portal = world.portal
    portal.move_to("suspended")  # our side is deaf for a while: events are answered and dropped
    world.client_says("Вы меня слышите?", chat_id=chat_id)
    portal.move_to("active")
    heard_before = Event.objects.count()

    missed = [catch_up.call(portal.pk) for _ in range(2)]

    assert missed == [1, 0]
    assert Event.objects.count() == heard_before + 1
    world.work_until(lambda: Message.objects.filter(text="Вы меня слышите?").exists())


def test_session_whose_very_first_event_was_lost_is_found_and_answered(deaf):
    chat_id = deaf.client_says(QUESTION)

    assert hears_again(deaf) == 1
    deaf.work_until(lambda: deaf.b24.delivered(chat_id))

    assert "9:00" in deaf.b24.delivered(chat_id)[0]
    dialog = Dialog.objects.get()
    assert (dialog.owner, dialog.line_id, dialog.items) == ("bot", 22, ["LEAD_77"])


def test_event_that_comes_after_its_message_was_found_changes_nothing(deaf):
    chat_id = deaf.client_says(QUESTION)
    hears_again(deaf)
    deaf.work_until(lambda: deaf.b24.delivered(chat_id))
    before = (Event.objects.count(), Run.objects.count(), len(deaf.b24.delivered(chat_id)))

    answer = requests.post(
        f"{deaf.b24.options.app_base_url}/b24/default/events/",
        urlencode(late_event(deaf, chat_id)),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        timeout=10,
    )
    deaf.work()

    assert answer.status_code == 200
    after = (Event.objects.count(), Run.objects.count(), len(deaf.b24.delivered(chat_id)))
    assert after == before
    assert catch_up.call(deaf.portal.pk) == 0


def late_event(world, chat_id: int) -> dict[str, str]:
    """The client's message as the portal's queue would have posted it."""
    chat = world.b24.chat(chat_id)
    message = next(one for one in world.b24.messages(chat_id) if one.author_id == chat.client_id)
    return {
        "event": "ONIMBOTV2MESSAGEADD",
        "data[bot][id]": str(world.portal.bot_id),
        "data[message][id]": str(message.id),
        "data[message][chatId]": str(chat_id),
        "data[message][authorId]": str(message.author_id),
        "data[message][text]": message.text,
        "data[chat][id]": str(chat_id),
        "data[chat][entityType]": "LINES",
        "data[chat][entityId]": chat.entity_id,
        "data[user][id]": str(message.author_id),
        "data[user][connector]": "1",
        "auth[member_id]": world.b24.member_id,
        "auth[application_token]": world.b24.application_token,
    }


@pytest.mark.parametrize("known", [True, False], ids=["known dialog", "new session"])
def test_client_who_wrote_long_ago_is_left_to_a_person_with_a_suggestion(world, known):
    world.configure(mode="auto", knowledge=[HOURS])
    catch_up.call(world.portal.pk)
    chat_id = None
    if known:
        chat_id = world.client_says("Здравствуйте!")
        world.work_until(lambda: Run.objects.filter(state="done").exists())
    before = list(world.b24.delivered(chat_id)) if chat_id else []
    world.portal.move_to("suspended")
    chat_id = world.client_says(QUESTION, chat_id=chat_id)
    grow_old(world, chat_id)

    assert hears_again(world) == 1
    world.work_until(lambda: Run.objects.filter(reason="asked_long_ago", state="done").exists())

    assert world.b24.delivered(chat_id) == before
    assert Suggestion.objects.filter(state="ready", text__contains="9:00").exists()
    assert asked(world, "imopenlines.bot.session.operator") == 1


def test_model_that_is_down_says_nothing_to_a_client_who_wrote_long_ago(deaf, monkeypatch):
    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    deaf.model.set(mode="error")
    chat_id = deaf.client_says(QUESTION)
    grow_old(deaf, chat_id)

    hears_again(deaf)
    deaf.work_until(lambda: Run.objects.filter(state="failed").exists(), seconds=30)

    assert deaf.b24.delivered(chat_id) == []
    assert Run.objects.get().decision == "suggest"


def test_what_was_said_more_than_a_day_ago_is_not_looked_for(deaf):
    chat_id = deaf.client_says(QUESTION)
    grow_old(deaf, chat_id, 25 * AN_HOUR)

    assert hears_again(deaf) == 0
    assert not Dialog.objects.exists()


def test_line_that_is_switched_off_is_not_even_read(deaf):
    deaf.portal.move_to("active")
    deaf.configure(mode="auto", knowledge=[HOURS], lines={"22": {"mode": "off"}})
    deaf.portal.move_to("suspended")
    deaf.client_says(QUESTION)

    assert hears_again(deaf) == 0
    assert asked(deaf, "imopenlines.session.history.get") == 0
    assert not Dialog.objects.exists()


def test_session_that_is_closed_already_is_not_opened_again_by_us(deaf):
    chat_id = deaf.client_says(QUESTION)
    deaf.b24.finish_session(chat_id)

    assert hears_again(deaf) == 0
    assert asked(deaf, "imopenlines.session.history.get") == 0


def test_session_that_an_operator_answers_belongs_to_him(deaf):
    chat_id = deaf.client_says(QUESTION)
    deaf.b24.operator_writes(chat_id, 7, "Здравствуйте, с 9 до 18.")
    deaf.b24.wait_deliveries()

    assert hears_again(deaf) == 2
    deaf.work()
    assert not Run.objects.exists(), "answered: nobody waits"
    deaf.client_says("А в субботу?", chat_id=chat_id)
    deaf.work_until(lambda: Run.objects.filter(state="done").exists())

    assert deaf.b24.delivered(chat_id) == ["Здравствуйте, с 9 до 18."]
    assert Dialog.objects.get().owner == "operator"
    assert Run.objects.get().decision == "suggest"


def test_session_in_the_operators_queue_gets_suggestions_only(deaf):
    chat_id = deaf.client_says(QUESTION)
    deaf.b24.hand_to_queue(chat_id)

    assert hears_again(deaf) == 1
    deaf.work_until(lambda: Run.objects.filter(state="done").exists())

    assert deaf.b24.delivered(chat_id) == []
    assert Run.objects.get().reason == "person_in_dialog"
    assert Suggestion.objects.get().state == "ready"


def test_client_who_came_back_while_we_were_deaf_is_found_in_the_new_session(world):
    world.configure(mode="auto", knowledge=[HOURS])
    catch_up.call(world.portal.pk)
    chat_id = world.client_says(QUESTION)
    world.work_until(lambda: world.b24.delivered(chat_id))
    world.b24.operator_writes(chat_id, 7, "Рад был помочь.")
    world.b24.wait_deliveries()
    world.work()
    world.b24.finish_session(chat_id)
    world.portal.move_to("suspended")
    world.client_says("Я опять с вопросом: какой режим работы?", chat_id=chat_id)

    assert hears_again(world) == 1
    world.work_until(lambda: len(world.b24.delivered(chat_id)) == 3)

    assert "9:00" in world.b24.delivered(chat_id)[2]
    assert Dialog.objects.get().session_id == world.b24.chat(chat_id).session_id


def test_first_look_at_a_portal_leaves_what_was_there_before_alone(world):
    world.configure(mode="auto", knowledge=[HOURS])
    world.portal.move_to("suspended")
    chat_id = world.client_says(QUESTION)

    assert hears_again(world) == 0
    assert Hearing.objects.get().last_activity_id == world.b24.world.sessions[321].activity_id
    assert world.b24.delivered(chat_id) == []


@pytest.mark.parametrize(
    "portal_options", [{"scopes": ("im", "imbot", "imopenlines", "placement", "bizproc")}]
)
def test_portal_without_crm_is_caught_up_by_the_dialogs_it_has(world):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: Run.objects.filter(state="done").exists())
    world.portal.move_to("suspended")
    world.client_says("Вы меня слышите?", chat_id=chat_id)
    world.client_says("А это другой клиент", external_id="another")

    assert hears_again(world) == 1
    assert asked(world, "crm.activity.list") == 0


def test_quiet_portal_costs_one_request_a_round(world):
    world.configure(mode="suggest")
    catch_up.call(world.portal.pk)
    before = len(world.requests)

    catch_up.call(world.portal.pk)

    assert world.requests[before:] == ["batch"]


def test_many_lost_sessions_are_found_page_by_page(deaf):
    for number in range(60):
        deaf.b24.client_writes(QUESTION, external_id=f"client-{number}", name=f"Клиент {number}")
    deaf.b24.wait_deliveries(20)
    OxTask.objects.all().delete()

    assert hears_again(deaf) == 50
    following = OxTask.objects.get(task_path__endswith="catch_up.catch_up")
    assert following.args == [deaf.portal.pk]
    assert catch_up.call(deaf.portal.pk) == 10
    assert Dialog.objects.count() == 60


def test_event_of_an_earlier_session_does_not_bring_that_session_back(world):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    world.work_until(lambda: Run.objects.filter(state="done").exists())
    dialog = Dialog.objects.get()
    Dialog.objects.update(owner="operator")
    heard = {"chat_id": chat_id, "line_id": 22, "session_id": dialog.session_id - 1}

    keep(
        world.portal,
        ChatMessage(message_id=1, author="client", text="Давно", late=True, chat=heard),
        "bot-message:456:1",
    )
    world.work()

    dialog.refresh_from_db()
    assert (dialog.owner, dialog.session_id) == ("operator", heard["session_id"] + 1)
