"""The suggestion inside the chat: never seen by a client, never without a test that proved it."""

from __future__ import annotations

import pytest
from django.utils import timezone

from bx_gpt_app.assistant import operator, store, whispers
from bx_gpt_app.assistant.models import Delivery, Dialog, Message, Run, Suggestion
from bx_gpt_app.portals import tasks as portal_tasks
from bx_gpt_app.portals.models import Line
from tests.screens_settings.conftest import Visitor

HOURS = {"title": "Режим работы", "text": "Мы работаем Пн–Пт с 9:00 до 18:00."}
QUESTION = "Здравствуйте! Какой у вас режим работы?"


def whispers_in(world, chat_id):
    """What colleagues see in the chat as a whisper of the bot, removed ones left out."""
    return [one for one in world.b24.messages(chat_id) if one.hidden and not is_gone(one)]


def is_gone(message):
    return message.params.get("IS_DELETED") == "Y"


def switch_on(world, **line):
    """As if the test had been passed: stories of the test itself are below."""
    world.configure(lines={"22": {"mode": "suggest", "whisper": True, **line}}, knowledge=[HOURS])
    Line.objects.filter(line_id=22).update(whisper_tested_at=timezone.now())


def suggested(world, count=1):
    world.work_until(lambda: Run.objects.filter(state="done").count() == count)


# ---- the whisper itself


def test_nothing_is_whispered_until_it_is_switched_on(world):
    world.configure(mode="suggest")

    chat_id = world.client_says(QUESTION)
    suggested(world)

    assert Suggestion.objects.count() == 1
    assert whispers_in(world, chat_id) == []


def test_switch_without_a_passed_test_whispers_nothing(world):
    """A configuration file may switch it on; the line was never tried."""
    world.configure(lines={"22": {"mode": "suggest", "whisper": True}})

    chat_id = world.client_says(QUESTION)
    suggested(world)

    assert whispers_in(world, chat_id) == []


def test_suggestion_is_whispered_with_a_button_that_puts_it_into_the_field(world):
    switch_on(world)

    chat_id = world.client_says(QUESTION)
    suggested(world)

    [whisper] = whispers_in(world, chat_id)
    text = Suggestion.objects.get().text
    assert whisper.text.endswith(f"\n{text}")
    [button] = whisper.params["KEYBOARD"]["BUTTONS"]
    assert (button["ACTION"], button["ACTION_VALUE"]) == ("PUT", text)
    assert world.b24.delivered(chat_id) == []


def test_whisper_whose_answer_was_lost_is_there_once(world):
    switch_on(world)
    world.b24.fail_next(
        "imbot.v2.Chat.Message.send", 500, "INTERNAL_SERVER_ERROR", times=3, after_executing=True,
        drop=True,
    )  # fmt: skip

    chat_id = world.client_says(QUESTION)
    suggested(world)

    assert len(whispers_in(world, chat_id)) == 1
    assert Delivery.objects.get(kind="whisper").attempts > 1


@pytest.mark.parametrize("portal_options", [{"legacy_bots": True}], ids=["old-portal"])
def test_old_portal_without_keys_gets_the_whisper_once_too(world, monkeypatch):
    """The worker dies after the portal has taken it; only the chat itself knows."""

    class Dies(BaseException):
        pass

    def die(*args):
        raise Dies

    switch_on(world)
    chat_id = world.client_says(QUESTION)
    with monkeypatch.context() as dying:
        dying.setattr(whispers, "keep", die)
        with pytest.raises(Dies):
            suggested(world)
    world.b24.world.sent_uuids.clear()  # an old portal has never heard of them
    Dialog.objects.update(leased_until=None, lease="", due_at=timezone.now())

    suggested(world)

    assert len(whispers_in(world, chat_id)) == 1


def test_reply_that_leaves_by_itself_is_not_whispered(world):
    switch_on(world, mode="auto")

    chat_id = world.client_says(QUESTION)
    world.work_until(lambda: world.b24.delivered(chat_id))

    assert not Delivery.objects.filter(kind="whisper").exists()
    assert whispers_in(world, chat_id) == []


def test_newer_draft_takes_the_place_of_the_older_one(world):
    switch_on(world)
    chat_id = world.client_says(QUESTION)
    suggested(world)
    [first] = whispers_in(world, chat_id)

    world.client_says("А в пятницу какой режим работы?", chat_id=chat_id)
    suggested(world, 2)

    [second] = whispers_in(world, chat_id)
    assert second.id > first.id
    world.work()
    assert Delivery.objects.filter(kind="whisper").count() == 3  # two drafts, one removal
    assert world.b24.delivered(chat_id) == []


def test_another_version_is_a_whisper_of_its_own(world):
    switch_on(world)
    chat_id = world.client_says(QUESTION)
    suggested(world)

    operator.ask_again(Dialog.objects.get(), operator_id=7, steer="короче")
    suggested(world, 2)

    assert Suggestion.objects.count() == 2
    assert len(whispers_in(world, chat_id)) == 1
    sent = Delivery.objects.filter(kind="whisper", payload__has_key="suggestion")
    assert sorted(sent.values_list("payload__suggestion", flat=True)) == sorted(
        Suggestion.objects.values_list("pk", flat=True)
    )


def test_draft_goes_when_a_colleague_has_answered(world):
    switch_on(world)
    chat_id = world.client_says(QUESTION)
    suggested(world)

    world.b24.operator_writes(chat_id, 7, "С 9 до 18")
    world.b24.wait_deliveries()
    world.work_until(lambda: not whispers_in(world, chat_id))

    assert world.b24.delivered(chat_id) == ["С 9 до 18"]


def test_draft_answered_before_it_left_is_not_whispered_any_more(world):
    switch_on(world)
    chat_id = world.client_says(QUESTION)
    world.on_model_call(lambda: world.b24.go_down("drop"))
    world.work()
    assert Delivery.objects.filter(kind="whisper").exclude(state="sent").exists()

    world.b24.come_up()
    world.b24.operator_writes(chat_id, 7, "С 9 до 18")
    world.b24.wait_deliveries()
    world.work_until(lambda: not Delivery.objects.filter(state__in=Delivery.OPEN).exists())

    assert whispers_in(world, chat_id) == []
    assert world.b24.delivered(chat_id) == ["С 9 до 18"]


# ---- a whisper is nobody's answer


def test_whisper_is_no_answer_of_the_bot_and_no_word_of_the_conversation(world):
    switch_on(world)
    chat_id = world.client_says(QUESTION)
    suggested(world)
    dialog = Dialog.objects.get()
    newest = dialog.newest_message_id
    Message.objects.filter(author="bot").delete()
    Dialog.objects.update(history_loaded=False)  # the history is read anew

    world.client_says("Спасибо, а в субботу?", chat_id=chat_id)
    suggested(world, 2)

    run = Run.objects.order_by("-id").first()
    texts = [row.text for row in Message.objects.filter(external_id__in=run.message_ids)]
    assert texts == [QUESTION, "Спасибо, а в субботу?"]
    assert not Message.objects.filter(author__in=["bot", "operator"]).exists()
    assert Dialog.objects.get().newest_message_id > newest
    assert operator.last_message(dialog).text == "Спасибо, а в субботу?"


def test_colleagues_note_does_not_silence_the_automatic_reply(world):
    """An operator's own whisper while the model thinks is no answer to the client."""
    world.configure(mode="auto", knowledge=[HOURS])
    chat_id = world.client_says(QUESTION)
    world.on_model_call(
        lambda: world.b24.operator_writes(chat_id, 7, "спросить у склада", whisper=True)
    )

    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert Dialog.objects.get().owner == "bot"
    assert Run.objects.get().reason == "auto"
    assert len(world.b24.delivered(chat_id)) == 1


def test_system_note_after_the_question_is_no_answer_either(world):
    """«Lead created» stands below the client's words in the history of a first contact."""
    world.configure(mode="auto", knowledge=[HOURS])
    chat_id = world.client_says(QUESTION)
    world.b24.operator_writes(chat_id, 7, "клиент уже звонил", whisper=True)

    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert Run.objects.get().reason == "auto"
    assert len(world.b24.delivered(chat_id)) == 1


# ---- the test that unlocks it


@pytest.fixture
def admin(world):
    return Visitor(world.portal)


def try_out(world, admin, do):
    """The test goes into the client's chat; then the administrator says what he saw there."""
    admin.post("lines/22/whisper/", {"do": "send"})
    world.work()
    return admin.post("lines/22/whisper/", {"do": do})


def unlocked():
    return Line.objects.get(line_id=22).whisper_tested_at is not None


def stage_of(answer):
    return answer.context["row"]["whisper_test"].stage


def test_passed_test_unlocks_the_switch_and_the_next_draft_is_whispered(world, admin):
    world.configure(mode="suggest", knowledge=[HOURS])
    chat_id = world.client_says("Здравствуйте!")
    suggested(world)
    before = unlocked()

    try_out(world, admin, "kept")
    switched = admin.post(
        "lines/22/",
        {"line-22-mode": "suggest", "line-22-delay_seconds": 0, "line-22-whisper": "on"},
    )
    world.client_says(QUESTION, chat_id=chat_id)
    suggested(world, 2)

    assert (before, unlocked(), switched.status_code) == (False, True, 200)
    [draft] = whispers_in(world, chat_id)  # the test itself is gone again
    assert Suggestion.objects.order_by("-id").first().text in draft.text
    assert world.b24.delivered(chat_id) == []


@pytest.mark.parametrize("portal_options", [{"whispers_leak": True}], ids=["leaking-portal"])
def test_portal_that_shows_whispers_to_clients_keeps_the_switch_locked(world, admin):
    """Even when the administrator has not looked properly: the portal itself tells."""
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    suggested(world)

    answer = try_out(world, admin, "kept")

    assert len(world.b24.delivered(chat_id)) == 1  # it did reach the client
    assert (stage_of(answer), unlocked()) == ("leaked", False)
    locked = admin.post(
        "lines/22/",
        {"line-22-mode": "suggest", "line-22-delay_seconds": 0, "line-22-whisper": "on"},
    )
    assert locked.status_code == 422
    assert "Переподключить" in admin.get("lines/").content.decode()  # what to do


def test_person_who_saw_it_as_a_client_locks_and_switches_off(world, admin):
    switch_on(world)
    world.client_says("Здравствуйте!")
    suggested(world)

    answer = try_out(world, admin, "leaked")

    assert (stage_of(answer), unlocked()) == ("leaked", False)
    assert not store.load(world.portal)[0].line(22).whisper


def test_test_that_the_portal_refused_says_why_and_what_to_do(world, admin):
    world.configure(mode="suggest")
    chat_id = world.client_says("Здравствуйте!")
    suggested(world)
    world.b24.finish_session(chat_id)  # bots have left the chat

    answer = try_out(world, admin, "kept")

    assert (stage_of(answer), unlocked()) == ("refused", False)
    assert "Диалог в Битрикс24 закрыт" in answer.content.decode()
    assert "как клиент" in answer.content.decode()


def test_new_bot_must_be_tested_again(world, admin):
    world.configure(mode="suggest")
    world.client_says("Здравствуйте!")
    suggested(world)
    try_out(world, admin, "kept")
    portal_tasks.bind_now(world.portal)  # the same bot: what is proven stays proven
    same = unlocked()

    portal = world.portal
    portal.bot_id = 999  # uninstalled meanwhile: today's bot is another one
    portal.save(update_fields=["bot_id"])
    portal_tasks.bind_now(world.portal)

    assert (same, unlocked()) == (True, False)
