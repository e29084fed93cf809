"""The log answers «why»; the quarantine is emptied by people."""

from __future__ import annotations

import inspect
import re

import pytest
from django.utils import translation

from bx_gpt_app.assistant import decide, deliver, operator, pipeline, reasons
from bx_gpt_app.assistant.models import Delivery, Dialog, Event, Run
from tests.factories import make_dialog, make_message
from tests.screens_settings.conftest import text_of
from tests.screens_settings.rows import make_run


def broken(portal, chat_id=600, **values) -> Delivery:
    dialog = make_dialog(portal, chat_id)
    defaults = {
        "kind": Delivery.Kind.OPERATOR_MESSAGE, "state": Delivery.State.FAILED,
        "problem_code": "SENDING_FAILED", "problem": "sending failed", "attempts": 1,
    }  # fmt: skip
    return Delivery.objects.create(portal=portal, dialog=dialog, **{**defaults, **values})


def test_why_there_was_no_answer_is_two_clicks_away(portal, admin):
    run = Run.objects.get(portal=portal, reason="topic_for_people")
    first = admin.get("").content.decode()
    second = admin.get("log/").content.decode()

    third = text_of(admin.get(f"log/{run.pk}/"))

    assert 'href="/b24/default/settings/log/"' in first
    assert f'href="/b24/default/settings/log/{run.pk}/"' in second
    with translation.override("ru"):
        assert str(reasons.DECISIONS["topic_for_people"]).rstrip(".") in third


def test_log_is_filtered_by_decision_reason_line_day_and_words(portal, admin):
    def found(**query):
        return admin.get("log/", **query).context["page"].paginator.count

    everything = found()
    assert found(decision="hand_over") == 1
    assert found(decision="failed") == 1
    assert found(reason="low_confidence") == 1
    assert found(line="23") == 0
    assert found(q="дельфин") == 2
    assert (
        0
        < found(day=admin.get("log/").context["rows"][0]["run"].started_at.strftime("%Y-%m-%d"))
        < everything
    )
    assert found(day="31.12.99x") == everything


def test_phones_of_clients_are_hidden_in_the_log(portal, admin):
    run = Run.objects.filter(portal=portal, dialog__client_name="Анна Петрова").first()

    pages = [text_of(admin.get("log/")), text_of(admin.get(f"log/{run.pk}/"))]

    assert not any("916 123" in page or "9161234567" in page for page in pages)


def test_every_reason_the_pipeline_can_give_has_words():
    source = "".join(inspect.getsource(module) for module in (decide, pipeline, deliver))
    codes = set(re.findall(r'reason="([a-z_]+)"', source))
    codes |= set(re.findall(r'\n\s+"([a-z_]+)",\n\s+"",', source))
    codes |= set(re.findall(r'return "([a-z_]+)"', inspect.getsource(deliver.why_unwanted)))
    codes |= set(re.findall(r'\), "([a-z_]+)", ', inspect.getsource(decide)))
    codes |= set(
        re.findall(r'(?:_stop_automatic|_cancel)\([^")]*"([a-z_]+)"\)', inspect.getsource(operator))
    )

    assert len(codes) > 12
    assert {code for code in codes if reasons.in_words(code).endswith(code)} == set()


@pytest.mark.parametrize("language", ["ru", "en"])
def test_reason_with_a_detail_is_a_sentence(language):
    with translation.override(language):
        assert "(" in reasons.in_words("stop_word", "суд")
        assert "daily_cost" not in reasons.in_words("budget", "daily_cost")
        assert "300" not in reasons.in_words("reply_in_doubt", "price: 300 ₽, zzz: x")
        assert reasons.in_words("auth") != "auth"
        assert reasons.in_words("") == ""


def test_refused_act_is_planned_again_under_its_own_key(portal, admin):
    act = broken(portal)
    key = act.key

    admin.post("log/quarantine/act/", {"do": "retry", "delivery": act.pk})
    again = admin.post("log/quarantine/act/", {"do": "retry", "delivery": act.pk})

    act.refresh_from_db()
    assert (act.state, act.key, act.attempts, act.problem_code) == ("planned", key, 1, "")
    assert Dialog.objects.get(pk=act.dialog_id).due_at is not None
    assert again.status_code == 404


def test_all_acts_with_the_same_problem_are_repeated_together(portal, admin):
    same = [broken(portal, 601), broken(portal, 602)]
    other = broken(portal, 603, problem_code="ACCESS_DENIED")

    admin.post("log/quarantine/act/", {"do": "retry_alike", "delivery": same[0].pk})

    states = [Delivery.objects.get(pk=act.pk).state for act in (*same, other)]
    assert states == ["planned", "planned", "failed"]


def test_act_is_closed_with_a_reason_only(portal, admin):
    act = broken(portal)

    admin.post("log/quarantine/act/", {"do": "close", "delivery": act.pk, "note": " "})
    act.refresh_from_db()
    before = act.state
    admin.post(
        "log/quarantine/act/", {"do": "close", "delivery": act.pk, "note": "ответили по телефону"}
    )

    act.refresh_from_db()
    assert before == "failed"
    assert (act.state, act.problem) == ("cancelled", "ответили по телефону")


def test_stuck_dialog_is_looked_at_again_or_given_up(portal, admin):
    stuck = Dialog.objects.get(portal=portal, quarantined_at__isnull=False)
    admin.post("log/quarantine/act/", {"do": "retry", "dialog": stuck.pk})
    stuck.refresh_from_db()
    retried = (stuck.quarantined_at, stuck.attempts, stuck.due_at is not None)

    Dialog.objects.filter(pk=stuck.pk).update(quarantined_at="2026-01-01T00:00Z")
    Event.objects.create(portal=portal, dialog=stuck, source_key="x", kind="message")
    run = make_run(stuck, state=Run.State.THINKING)
    admin.post("log/quarantine/act/", {"do": "close", "dialog": stuck.pk, "note": "старое"})

    stuck.refresh_from_db()
    run.refresh_from_db()
    assert retried == (None, 0, True)
    assert (stuck.quarantined_at, stuck.due_at, stuck.problem) == (None, None, "старое")
    assert stuck.events.filter(done_at__isnull=True).count() == 0
    assert (run.state, run.reason) == ("superseded", "closed_by_admin")


def test_badge_of_the_menu_counts_what_waits(portal, admin):
    make_message(make_dialog(portal, 610), "x")
    items = admin.get("").context["nav_items"]

    assert next(item["badge"] for item in items if "/log/" in item["url"]) == 2
