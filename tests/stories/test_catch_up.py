"""Events that never came: the history is read, and nothing is heard twice."""

from __future__ import annotations

from bx_gpt_app.assistant.models import Event, Message
from bx_gpt_app.inbox.catch_up import catch_up


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
