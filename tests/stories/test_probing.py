"""What the model's server can do is found out by trying, and looked at again in time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.assistant.models import Configuration
from bx_gpt_app.assistant.probing import probe_models, probe_new, probe_weekly


def test_probe_keeps_what_the_server_can_do(world):
    world.configure(mode="suggest")

    failed = probe_models(world.portal)

    kept = Configuration.objects.get().capabilities["main"]
    assert failed == {}
    assert (kept["shape"], kept["enforced"], kept["probed"]) == ("json_schema", True, True)


def test_server_that_is_down_is_told_and_changes_nothing(world):
    world.configure(mode="suggest")
    world.model.set(mode="error")

    assert probe_models(world.portal)["main"]
    assert Configuration.objects.get().capabilities == {}


def test_week_old_knowledge_is_looked_at_again(world):
    world.configure(mode="suggest")
    probe_models(world.portal)
    Configuration.objects.update(capabilities_at=timezone.now() - timedelta(days=8))
    OxTask.objects.all().delete()

    probe_weekly.call()

    assert OxTask.objects.get().task_path.endswith("probe_again")


def test_server_that_came_by_a_file_is_tried_soon_and_the_hosts_is_not(world):
    world.configure(mode="suggest")
    OxTask.objects.all().delete()
    probe_new.call()
    hosts = OxTask.objects.count()
    world.configure(llm={"base_url": world.model.url, "model": "demo-rules-1"})
    OxTask.objects.all().delete()
    probe_new.call()

    assert hosts == 0
    assert OxTask.objects.get().task_path.endswith("probe_again")


def test_every_place_has_abilities_of_its_own(world):
    world.configure(
        llm={
            "base_url": world.model.url,
            "model": "demo-rules-1",
            "fallback": {"base_url": world.model.url, "model": "second"},
            "cheaper": {"model": "third"},
        }
    )

    assert probe_models(world.portal) == {}
    assert set(Configuration.objects.get().capabilities) == {"main", "fallback", "cheaper"}


def test_command_tells_in_words_what_the_server_can_do(world, capsys):
    world.configure(mode="suggest")

    call_command("probe", world.portal.member_id)

    assert "main: " in capsys.readouterr().out


def test_command_says_what_is_wrong_with_the_server(world, capsys):
    world.configure(mode="suggest")
    world.model.set(mode="error")

    with pytest.raises(CommandError):
        call_command("probe", world.portal.member_id)

    assert "main: The model server" in capsys.readouterr().out
