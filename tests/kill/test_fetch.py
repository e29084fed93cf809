"""A worker dies while it fetches events: what it stored or not, each question is answered once."""

from __future__ import annotations

from django.utils import timezone

from bx_gpt_app.assistant.models import Event
from bx_gpt_app.inbox.models import Hearing
from bx_gpt_app.portals.tasks import rebind
from tests.kill.helpers import ask, assert_each_has_one_answer, wait_until


def test_killed_worker_that_fetches_loses_and_repeats_nothing(world, workers):
    portal = world.portal
    portal.fetches_events = True
    portal.save(update_fields=["fetches_events"])
    rebind.call(portal.pk)
    world.model.set(latency_ms=300)
    first = workers.start()
    chats = [ask(world, number) for number in range(1, 6)]

    wait_until(lambda: Event.objects.filter(kind="message").exists(), 30, world)
    first.kill()
    chats.append(ask(world, 6))
    Hearing.objects.update(busy_until=timezone.now())  # in life its claim ends after 45 seconds
    workers.start()
    wait_until(lambda: all(map(world.b24.delivered, chats)), 40, world)

    assert_each_has_one_answer(world, chats)
    assert not Event.objects.filter(done_at__isnull=True).exists()
