"""Binding everything, again and again."""

from __future__ import annotations

import pytest

from integrations.bitrix24 import errors
from integrations.bitrix24.placements import EVENTS, bind_everything, wanted_for
from tests.bitrix24.portal_stand import Answer, refusal, result
from tests.bitrix24.test_crm_calls import batch_of

WANTED = wanted_for("https://ai.example.ru/b24/default/", robot_user_id=1)
URL = "https://ai.example.ru/b24/default/events/"


class Bindings:
    """What a portal remembers, with the refusals it gives."""

    def __init__(self, stand):
        batch_of(stand)
        self.events, self.placements, self.robots = [], [], {}
        self.refused = {}
        for name in ("event", "placement"):
            for verb in ("get", "bind", "unbind"):
                stand.script[f"{name}.{verb}"] = getattr(self, f"{name}_{verb}")
        for verb in ("list", "add", "update", "delete"):
            stand.script[f"bizproc.robot.{verb}"] = getattr(self, f"robot_{verb}")

    def event_get(self, asked):
        return result(
            [
                {"event": name, "handler": url, "auth_type": "0", "offline": 0}
                for name, url in self.events
            ]
        )

    def event_bind(self, asked):
        row = (asked.body["event"], asked.body["handler"])
        if row[0] in self.refused:
            return refusal(self.refused[row[0]])
        if row in self.events:
            return refusal("ERROR_CORE", 400, "Unable to set event handler: Handler already binded")
        self.events.append(row)
        return result(True)

    def event_unbind(self, asked):
        self.events.remove((asked.body["event"], asked.body["handler"]))
        return result({"count": 1})

    def placement_get(self, asked):
        return result(
            [
                {
                    "placement": row["PLACEMENT"],
                    "handler": row["HANDLER"],
                    "options": row.get("OPTIONS", []),
                    "langAll": row["LANG_ALL"],
                }
                for row in self.placements
            ]
        )

    def placement_bind(self, asked):
        if asked.body["PLACEMENT"] in self.refused:
            return Answer(
                {"error": self.refused[asked.body["PLACEMENT"]], "error_description": ""}, 200
            )
        self.placements.append(asked.body)
        return result(True)

    def placement_unbind(self, asked):
        self.placements = [
            row
            for row in self.placements
            if (row["PLACEMENT"], row["HANDLER"])
            != (asked.body["PLACEMENT"], asked.body["HANDLER"])
        ]
        return result({"count": 1})

    def robot_list(self, asked):
        return result(list(self.robots))

    def robot_add(self, asked):
        self.robots[asked.body["CODE"]] = asked.body
        return result(True)

    def robot_update(self, asked):
        self.robots[asked.body["CODE"]].update(asked.body["FIELDS"])
        return result(True)

    def robot_delete(self, asked):
        del self.robots[asked.body["CODE"]]
        return result(True)


@pytest.fixture
def bindings(stand):
    return Bindings(stand)


def test_everything_is_bound_in_two_requests_and_a_second_run_changes_nothing(
    client, stand, bindings
):
    first = bind_everything(client, WANTED)
    requests = [one for one in stand.asked if one.verb == "POST"]
    before = (list(bindings.events), list(bindings.placements), list(bindings.robots))
    second = bind_everything(client, WANTED)

    assert len(requests) == 2
    assert len(first.done) == len(EVENTS) + len(WANTED.placements) + 1
    assert first.failed == first.already == first.removed == ()
    assert second.failed == second.removed == ()
    assert second.done == ("robot ai_reply",)
    assert len(second.already) == len(first.done) - 1
    assert (bindings.events, bindings.placements, list(bindings.robots)) == before
    sidebar = next(row for row in bindings.placements if row["PLACEMENT"] == "IM_SIDEBAR")
    assert sidebar["OPTIONS"] == {
        "iconName": "fa-magic",
        "context": "LINES",
        "role": "USER",
        "color": "AZURE",
    }
    menu = next(row for row in bindings.placements if row["PLACEMENT"] == "IM_CONTEXT_MENU")
    assert menu["OPTIONS"] == {"context": "LINES", "role": "USER"}
    assert menu["LANG_ALL"]["ru"]["TITLE"] == "ИИ: подсказать ответ"
    assert menu["LANG_ALL"]["en"]["TITLE"] == "AI: suggest a reply"
    assert bindings.robots["ai_reply"]["USE_SUBSCRIPTION"] == "Y"
    assert (
        bindings.robots["ai_reply"]["FILTER"]["INCLUDE"]["4"]["1"]
        == "Bitrix\\Crm\\Integration\\BizProc\\Document\\Dynamic"
    )


def test_our_old_address_is_taken_away_but_never_a_bots_events(client, bindings):
    old = "https://old.example.ru/b24/default/events/"
    bindings.events = [("ONCRMLEADADD", old), ("ONCRMQUOTEADD", URL), ("ONIMBOTV2MESSAGEADD", old)]
    bindings.placements = [{"PLACEMENT": "LEFT_MENU", "HANDLER": old, "LANG_ALL": []}]
    bindings.robots = {"gone": {}}

    report = bind_everything(client, WANTED)

    assert set(report.removed) == {
        "event ONCRMLEADADD",
        "event ONCRMQUOTEADD",
        "placement LEFT_MENU",
        "robot gone",
    }
    assert ("ONIMBOTV2MESSAGEADD", old) in bindings.events
    assert ("ONCRMLEADADD", old) not in bindings.events
    assert ("ONCRMLEADADD", URL) in bindings.events
    assert list(bindings.robots) == ["ai_reply"]


def test_a_page_with_an_old_title_is_bound_anew(client, bindings):
    bind_everything(client, WANTED)
    bindings.placements[0]["LANG_ALL"] = {"ru": {"TITLE": "Старое"}}

    report = bind_everything(client, WANTED)

    assert report.removed == ("placement IM_SIDEBAR",)
    assert "placement IM_SIDEBAR" in report.done
    assert len(bindings.placements) == len(WANTED.placements)


def test_what_the_portal_refuses_is_reported_and_the_rest_is_bound(client, stand, bindings):
    bindings.refused = {
        "ONCRMDEALADD": "ERROR_EVENT_NOT_FOUND",
        "IM_TEXTAREA": "ERROR_PLACEMENT_NOT_FOUND",
    }
    for verb in ("list", "add"):
        stand.error(f"bizproc.robot.{verb}", "ERROR_METHOD_NOT_FOUND", 404)

    report = bind_everything(client, WANTED)

    assert set(report.failed) == {
        ("event ONCRMDEALADD", "ERROR_EVENT_NOT_FOUND"),
        ("placement IM_TEXTAREA", "ERROR_PLACEMENT_NOT_FOUND"),
        ("robot ai_reply", "ERROR_METHOD_NOT_FOUND"),
    }
    assert len(report.done) == len(EVENTS) - 1 + len(WANTED.placements) - 1


def test_bound_already_is_a_success(client, stand, bindings):
    bindings.events = [(name, URL) for name in EVENTS]
    stand.result("event.get", [])

    report = bind_everything(client, WANTED)

    assert {f"event {name}" for name in EVENTS} <= set(report.already)
    assert report.failed == ()


def test_a_portal_that_does_not_answer_is_an_error(client, stand):
    stand.error("batch", "PAYMENT_REQUIRED", 401)

    with pytest.raises(errors.AccessLost):
        bind_everything(client, WANTED)
