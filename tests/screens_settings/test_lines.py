"""Modes of lines: a lock that opens by facts, a question before it, and a button that stops it all."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.assistant import deliver, leases, store
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Suggestion
from bx_gpt_app.assistant.readiness import of_line
from tests.factories import configure, make_dialog, make_line, make_message
from tests.screens_settings.conftest import text_of
from tests.screens_settings.rows import make_run, make_suggestion, reviewed_line


def config(portal):
    return store.load(portal)[0]


def post_line(admin, line_id=22, *, agreed=False, **values):
    data = {f"line-{line_id}-mode": "auto", f"line-{line_id}-delay_seconds": "20"}
    data |= {f"line-{line_id}-{name}": value for name, value in values.items()}
    return admin.post(f"lines/{line_id}/", {**data, **({"agreed": line_id} if agreed else {})})


def waiting_reply(portal, chat_id=500, state=Delivery.State.PLANNED):
    dialog = make_dialog(portal, chat_id)
    make_message(dialog, "Где заказ?")
    run = make_run(dialog, decision=Run.Decision.SEND, reason="auto", state=Run.State.DECIDED)
    suggestion = make_suggestion(run, state=Suggestion.State.SENDING)
    return Delivery.objects.create(
        portal=portal, dialog=dialog, run=run, suggestion=suggestion, kind=Delivery.Kind.MESSAGE,
        state=state, payload={"text": "Едет", "automatic": True, "answers": dialog.newest_message_id},
        not_before=timezone.now(),
    )  # fmt: skip


def test_mode_of_a_line_is_saved_and_carried_out(portal, admin):
    answer = post_line(admin, 23, mode="suggest")

    assert answer.status_code == 200
    assert config(portal).line(23).mode == "suggest"
    assert config(portal).line(22).mode == "suggest"
    assert OxTask.objects.filter(task_path__contains="carry_out_modes").count() == 1


def test_automatic_mode_asks_first_and_lists_what_goes_out_unseen(portal, admin):
    answer = post_line(admin)

    words = text_of(answer)
    assert config(portal).line(22).mode == "suggest"
    assert "Доставка" in words
    assert "Жалоба" in words
    assert "20" in words
    assert answer.context["asks"]["not_ready"]


def test_line_that_is_not_ready_becomes_automatic_only_with_consent(portal, admin):
    post_line(admin, agreed=True, working_hours_only="on")

    line = config(portal).line(22)
    assert (line.mode, line.delay_seconds, line.working_hours_only) == ("auto", 20, True)


def test_consent_for_one_line_is_none_for_another(portal, admin):
    admin.post("lines/22/", {"line-22-mode": "auto", "line-22-delay_seconds": "0", "agreed": "23"})

    assert config(portal).line(22).mode == "suggest"


@pytest.mark.parametrize(
    ("unedited", "edited", "ready"), [(25, 5, True), (24, 5, False), (23, 7, False), (60, 0, True)]
)
def test_readiness_wants_thirty_checked_and_four_of_five_unedited(portal, unedited, edited, ready):
    make_line(portal, 30)
    reviewed_line(portal, line_id=30, unedited=unedited, edited=edited)

    found = of_line(portal, 30)

    assert found.is_ready is ready
    assert found.reviewed == min(30, unedited + edited)


def test_bad_mark_and_replies_sent_by_itself_make_no_line_ready(portal):
    make_line(portal, 31)
    dialog = make_dialog(portal, 700, line_id=31)
    run = make_run(dialog, decision=Run.Decision.SEND)
    make_suggestion(run, state=Suggestion.State.SENT)
    by_person = make_run(dialog)
    make_suggestion(by_person, state=Suggestion.State.SENT, rating=-1)

    found = of_line(portal, 31)

    assert (found.reviewed, found.unedited) == (1, 0)


def test_delay_out_of_its_bounds_is_told_at_the_field(portal, admin):
    answer = post_line(admin, mode="suggest", delay_seconds="500")

    assert answer.status_code == 422
    assert (
        "delay_seconds"
        in next(r for r in answer.context["rows"] if r["line"].line_id == 22)["form"].errors
    )


def test_whisper_is_locked_until_it_was_tested(portal, admin):
    locked = post_line(admin, mode="suggest", whisper="on")
    portal.lines.filter(line_id=22).update(whisper_tested_at=timezone.now())
    post_line(admin, mode="suggest", whisper="on")

    assert locked.status_code == 422
    assert config(portal).line(22).whisper


def test_whisper_cannot_be_said_to_be_seen_before_it_was_sent(portal, admin):
    untested = admin.post("lines/22/whisper/", {"do": "kept"})
    admin.post("lines/22/whisper/", {"do": "send"})
    admin.post("lines/22/whisper/", {"do": "send"})
    on_its_way = admin.post("lines/22/whisper/", {"do": "kept"})

    assert "ещё раз" in text_of(untested)
    assert "ещё раз" in text_of(on_its_way)
    assert portal.lines.get(line_id=22).whisper_tested_at is None
    assert Delivery.objects.filter(portal=portal, kind=Delivery.Kind.WHISPER).count() == 1


def occupy(portal, line_id=23, why="other_bot"):
    portal.bindings = {**portal.bindings, "failed": [[f"line {line_id}", why]]}
    portal.save(update_fields=["bindings"])
    configure(portal, mode="suggest", lines={"22": {"mode": "suggest"}})


def test_line_of_another_bot_says_so_and_is_no_fault_of_the_connection(portal, admin):
    occupy(portal)

    row = next(r for r in admin.get("lines/").context["rows"] if r["line"].line_id == 23)
    overview = admin.get("").context["steps"]

    assert (row["occupied"], row["refused"]) == (True, "")
    assert overview[0]["state"] == "done"
    assert admin.get("connection/").context["bound"]["failed"] == []


@pytest.mark.parametrize(("do", "mode"), [("take", "suggest"), ("leave", "off")])
def test_line_of_another_bot_is_taken_over_or_left(portal, admin, do, mode):
    occupy(portal)

    answer = admin.post("lines/23/taken/", {"do": do})

    assert config(portal).lines["23"].mode == mode
    assert not next(r for r in answer.context["rows"] if r["line"].line_id == 23)["occupied"]
    assert OxTask.objects.filter(task_path__contains="carry_out_modes").count() == 1


def test_saving_a_line_of_another_bot_asks_before_it_takes_it(portal, admin):
    occupy(portal)

    asked = post_line(admin, 23, mode="suggest")
    before = "23" in config(portal).lines
    post_line(admin, 23, mode="suggest", agreed=True)

    assert asked.context["asks"]["occupied"]
    assert not before
    assert config(portal).lines["23"].mode == "suggest"


def test_line_that_the_portal_refused_says_what_it_refused(portal, admin):
    occupy(portal, why="CONFIG_WRONG_USER_PERMISSION")

    row = next(r for r in admin.get("lines/").context["rows"] if r["line"].line_id == 23)

    assert not row["occupied"]
    assert row["refused"]


def test_stop_button_is_on_every_page_while_a_line_is_automatic(portal, admin):
    assert "settings/stop/" not in admin.get("costs/").content.decode()

    configure(portal, lines={"22": {"mode": "auto"}})

    assert "settings/stop/" in admin.get("costs/").content.decode()
    assert "settings/stop/" in admin.get("log/").content.decode()


def test_stop_button_turns_every_line_and_holds_waiting_replies_back(portal, admin):
    configure(
        portal,
        mode="auto",
        lines={"22": {"mode": "auto", "delay_seconds": 20}, "23": {"mode": "off"}},
    )
    waiting, leaving = waiting_reply(portal), waiting_reply(portal, 501, Delivery.State.SENDING)

    answer = admin.post("stop/")

    after = config(portal)
    waiting.refresh_from_db()
    leaving.refresh_from_db()
    assert (after.mode, after.line(22).mode, after.line(23).mode) == ("suggest", "suggest", "off")
    assert after.line(22).delay_seconds == 20
    assert (waiting.state, waiting.problem_code) == ("cancelled", "mode_changed")
    assert Suggestion.objects.get(pk=waiting.suggestion_id).state == "ready"
    assert Run.objects.get(pk=waiting.run_id).reason == "mode_changed"
    assert leaving.state == "sending"
    assert "1" in json.loads(answer["HX-Trigger"])["toast"]["text"]


def test_stop_counts_for_a_reply_whose_settings_were_read_before(portal, admin):
    """The worker read the settings when it began; the stop was pressed while the model thought."""
    configure(portal, lines={"22": {"mode": "auto"}})
    old = config(portal)
    admin.post("stop/")
    reply = waiting_reply(portal)
    Dialog.objects.filter(pk=reply.dialog_id).update(due_at=timezone.now())
    lease = leases.take(reply.dialog_id)
    assert lease is not None

    deliver.deliver(reply.dialog, lease, portal, old)

    reply.refresh_from_db()
    assert (reply.state, reply.problem_code) == ("cancelled", "mode_changed")


def test_reply_that_was_taken_back_meanwhile_is_not_sent(portal):
    configure(portal, lines={"22": {"mode": "auto"}})
    reply = waiting_reply(portal)
    Dialog.objects.filter(pk=reply.dialog_id).update(due_at=timezone.now())
    lease = leases.take(reply.dialog_id)
    Delivery.objects.filter(pk=reply.pk).update(state=Delivery.State.CANCELLED)

    went_on = deliver._attempt(reply, reply.dialog, lease, portal, store.load(portal)[0])

    reply.refresh_from_db()
    assert went_on
    assert (reply.state, reply.attempts) == ("cancelled", 0)


def test_empty_state_says_how_a_line_appears(portal, admin):
    portal.lines.all().delete()

    assert "appears here by itself" in text_of(
        admin.get("lines/")
    ) or "появится здесь сама" in text_of(admin.get("lines/"))


def test_settings_of_replies_are_saved_for_all_lines(portal, admin):
    answer = admin.post(
        "lines/replies/",
        {
            "mode": "off", "language": "en", "max_length": "400", "debounce_seconds": "3",
            "min_confidence": "0.7", "handoff_message": "Зову коллегу", "signature": "",
            "stop_words": "суд\nжалоба", "contacts": "+7 495 000-00-00", "form": "on",
        },
    )  # fmt: skip

    after = config(portal)
    assert answer.status_code == 200
    assert (after.mode, after.language, after.reply.stop_words) == ("off", "en", ["суд", "жалоба"])
    assert (after.channels.email, after.channels.form) == (False, True)


def test_automatic_mode_for_new_lines_is_not_begun_by_the_way(portal, admin):
    same = {
        "language": "ru", "max_length": "400", "debounce_seconds": "3", "min_confidence": "0.7",
        "handoff_message": "Зову коллегу",
    }  # fmt: skip

    begun = admin.post("lines/replies/", {**same, "mode": "auto"})
    before = config(portal).mode
    configure(portal, mode="auto")
    kept = admin.post("lines/replies/", {**same, "mode": "auto"})

    assert (begun.status_code, before) == (422, "suggest")
    assert (kept.status_code, config(portal).mode) == (200, "auto")
