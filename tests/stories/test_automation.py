"""Robots, e-mails, web forms, and the app's own life on a portal."""

from __future__ import annotations

import time

import pytest

from bx_gpt_app.assistant.models import Dialog, FieldValue, Run, Suggestion
from bx_gpt_app.portals.models import Grant, Portal


def test_waiting_robot_gets_the_answer_and_the_lead_is_filled(world):
    world.configure(mode="suggest")
    lead_id = world.b24.add_item(1, {"title": "Заявка"})

    robot = world.b24.run_robot(
        "ai_reply", {"text": "Это Иван Петров, +7 916 123-45-67, нужен котёл"}, f"LEAD_{lead_id}"
    )
    world.work_until(lambda: robot.returned is not None)

    assert robot.returned["reply"]
    assert robot.returned["needs_human"] in ("Y", "N")
    assert robot.returned["error"] == ""
    assert world.multifield(world.b24.item(1, lead_id), "PHONE") == ["+79161234567"]


def test_robot_is_answered_also_when_the_model_is_down(world, monkeypatch):
    from datetime import timedelta

    from bx_gpt_app.assistant import pipeline

    monkeypatch.setattr(pipeline, "PATIENCE", timedelta(0))
    world.configure(mode="suggest")
    world.model.set(mode="error")
    lead_id = world.b24.add_item(1, {"title": "Заявка"})

    robot = world.b24.run_robot("ai_reply", {"text": "Здравствуйте"}, f"LEAD_{lead_id}")
    world.work_until(lambda: robot.returned is not None, seconds=30)

    assert robot.returned["error"]


def test_incoming_letter_is_read_and_its_values_go_to_the_lead(world):
    world.configure(mode="suggest", channels={"email": True})
    lead_id = world.b24.add_item(1, {"title": "Письмо"})

    world.b24.incoming_email(
        1,
        lead_id,
        subject="Вопрос",
        html="<p>Добрый день! Мой телефон <b>8 916 123 45 67</b>.</p><blockquote>+7 900 000-00-00</blockquote>",
        sender="ivan@example.ru",
    )
    world.work_until(lambda: Run.objects.filter(state="done").exists())

    assert Run.objects.get().reason == "letter_or_form"
    assert Suggestion.objects.get().state == "ready"
    assert world.multifield(world.b24.item(1, lead_id), "PHONE") == ["+79161234567"]


def test_web_form_is_read_when_forms_are_listened_to(world):
    world.configure(mode="suggest", channels={"form": True})
    lead_id = world.b24.add_item(1, {"title": "Форма"})

    world.b24.submitted_form(
        1, lead_id, {"Телефон": "+7 916 123-45-67", "Вопрос": "Сколько стоит котёл?"}
    )
    world.work_until(lambda: FieldValue.objects.filter(state="written").exists())

    assert world.multifield(world.b24.item(1, lead_id), "PHONE") == ["+79161234567"]


def test_letters_are_not_read_unless_wanted(world):
    world.configure(mode="suggest")
    lead_id = world.b24.add_item(1, {"title": "Письмо"})

    world.b24.incoming_email(
        1, lead_id, subject="Вопрос", html="<p>Здравствуйте</p>", sender="a@b.ru"
    )
    world.b24.wait_deliveries()
    world.work()

    assert not Dialog.objects.exists()


def test_update_of_the_app_binds_everything_again(world):
    world.configure(mode="auto")
    world.b24.update_app(new_application_token=True)
    world.b24.wait_deliveries()

    portal = Portal.objects.get()
    assert portal.is_signed_by(world.b24.application_token)


def test_uninstall_stops_work_and_takes_the_secrets(world):
    world.configure(mode="auto")
    chat_id = world.client_says("Здравствуйте!")

    world.b24.uninstall(clean=False)
    world.b24.wait_deliveries()
    world.work()

    assert Portal.objects.get().state == "gone"
    assert not Grant.objects.exists()
    assert world.b24.delivered(chat_id) == []


@pytest.mark.parametrize("clean", [True, False], ids=["with its data", "data kept"])
def test_reinstalled_portal_works_again(world, clean):
    world.configure(mode="auto")
    world.b24.uninstall(clean=clean)
    world.b24.wait_deliveries()

    reply = world.b24.install("server")
    world.b24.wait_deliveries()

    assert reply.status == 200
    portal = Portal.objects.get()
    assert (portal.state, portal.is_signed_by(world.b24.application_token)) == ("active", True)


def test_line_with_another_bot_is_left_alone_until_an_administrator_chooses_it(world):
    world.configure(mode="off")
    world.b24.world.lines[23].settings.update({"WELCOME_BOT_ENABLE": "Y", "WELCOME_BOT_ID": "99"})

    world.configure(mode="suggest")
    left_alone = world.b24.world.lines[23].settings["WELCOME_BOT_ID"]
    world.configure(mode="suggest", lines={"23": {"mode": "suggest"}})
    chosen = world.b24.world.lines[23].settings["WELCOME_BOT_ID"]
    world.configure(mode="off")

    assert str(left_alone) == "99"
    assert str(chosen) == str(world.portal.bot_id)
    assert str(world.b24.world.lines[23].settings["WELCOME_BOT_ID"]) == "99"


@pytest.mark.parametrize(
    "trouble", [{"mode": "error"}, {"latency_ms": 20_000}], ids=["down", "slow"]
)
def test_waiting_step_hears_from_us_before_its_time_is_over(world, trouble):
    world.configure(mode="suggest")
    world.model.set(**trouble)
    lead_id = world.b24.add_item(1, {"title": "Заявка"})
    started = time.monotonic()

    robot = world.b24.run_robot(
        "ai_reply", {"text": "Здравствуйте"}, f"LEAD_{lead_id}", timeout_seconds=12
    )
    world.work_until(lambda: robot.returned is not None, seconds=12)

    assert time.monotonic() - started < 12
    assert robot.returned["error"]
