"""Bindings, placements, robots, users and options."""

from __future__ import annotations

from typing import Any

import pytest

from integrations.bitrix24.local_portal import LocalPortal
from tests.local_portal.conftest import Application, Caller


def test_binding_twice_is_an_error_and_unbinding_counts(
    admin: Caller, application: Application
) -> None:
    binding = {"event": "onCrmLeadAdd", "handler": f"{application.url}/events/"}
    assert admin("event.bind", **binding) is True

    assert admin.answer("event.bind", **binding)[1] == {
        "error": "ERROR_CORE",
        "error_description": "Unable to set event handler: Handler already binded",
    }
    assert admin("event.get") == [
        {
            "event": "ONCRMLEADADD",
            "handler": binding["handler"],
            "auth_type": "0",
            "offline": 0,
        }
    ]
    assert admin("event.unbind", **binding) == {"count": 1}
    assert admin("event.get") == []


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"event": "ONNOTHING", "handler": "https://a.ru/"}, "ERROR_EVENT_NOT_FOUND"),
        ({"event": "ONCRMLEADADD", "handler": "ftp://a.ru/"}, "ERROR_UNSUPPORTED_PROTOCOL"),
        ({"event": "ONCRMLEADADD", "handler": "https:///x"}, "ERROR_WRONG_HANDLER_URL"),
    ],
)
def test_wrong_bindings_are_refused(admin: Caller, params: dict[str, Any], error: str) -> None:
    assert admin.error("event.bind", **params) == (400, error)


def test_event_test_comes_back_with_what_was_sent(
    admin: Caller, application: Application, portal: LocalPortal
) -> None:
    admin("event.bind", event="ONAPPTEST", handler=f"{application.url}/events/")
    admin("event.test", marker="m1")
    portal.wait_deliveries()

    form = application.last("ONAPPTEST")
    assert form["data"]["QUERY"] == {"marker": "m1"}
    assert form["auth"]["refresh_token"]


def test_events_are_posted_once_even_when_nobody_listens(
    admin: Caller, portal: LocalPortal
) -> None:
    admin("event.bind", event="ONCRMLEADADD", handler="http://127.0.0.1:9/events/")
    portal.add_item(1, {"title": "x"})
    assert portal.wait_deliveries()

    assert [(one.event, one.status) for one in portal.deliveries] == [("ONCRMLEADADD", None)]
    assert portal.stats()["events_failed"] == 1


def test_placements_are_bound_listed_and_unbound(admin: Caller) -> None:
    binding = {"PLACEMENT": "IM_SIDEBAR", "HANDLER": "https://ai.example.ru/placement/"}
    options = {"iconName": "fa-magic", "context": "LINES"}
    titles = {"ru": {"TITLE": "ИИ-помощник"}}
    assert admin("placement.bind", **binding, OPTIONS=options, LANG_ALL=titles) is True

    row = admin("placement.get")[0]

    assert (row["placement"], row["options"], row["title"]) == (
        "IM_SIDEBAR",
        options,
        "ИИ-помощник",
    )
    assert admin.error("placement.bind", **binding, OPTIONS=options) == (400, "ERROR_CORE")
    assert admin("placement.unbind", **binding) == {"count": 1}
    assert admin("placement.get") == []


@pytest.mark.parametrize(
    ("code", "options", "expected"),
    [
        ("IM_SIDEBAR", {}, (200, "ERROR_ARGUMENT")),
        ("IM_SIDEBAR", {"iconName": "fa-x", "context": "MOON"}, (400, "INVALID_ERROR_CONTEXT")),
        ("MOON_TAB", {}, (400, "ERROR_PLACEMENT_NOT_FOUND")),
        ("PAGE_BACKGROUND_WORKER", {}, (200, "EMPTY_ERROR_HANDLER_URL")),
    ],
)
def test_wrong_placements_are_refused_some_with_200(
    admin: Caller, code: str, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    answer = admin.error("placement.bind", PLACEMENT=code, HANDLER="https://a.ru/", OPTIONS=options)

    assert answer == expected


def test_only_administrators_bind_widgets_and_robots(operator: Caller) -> None:
    assert operator.error("placement.bind", PLACEMENT="IM_SIDEBAR") == (403, "ACCESS_DENIED")
    assert operator.error("bizproc.robot.list") == (403, "ACCESS_DENIED")


def robot(application: Application, **fields: Any) -> dict[str, Any]:
    return {
        "CODE": "ai_reply",
        "HANDLER": f"{application.url}/b24/default/robot/ai_reply/",
        "NAME": {"ru": "ИИ"},
        "USE_SUBSCRIPTION": "Y",
        "AUTH_USER_ID": 1,
        **fields,
    }


def test_robot_is_called_and_its_answer_kept_once(
    admin: Caller, application: Application, portal: LocalPortal
) -> None:
    admin("bizproc.robot.add", **robot(application))
    run = portal.run_robot("ai_reply", {"text": "Когда?", "tags": ["a", "b"]}, "DYNAMIC_128_1")
    portal.wait_deliveries()

    call = application.received[-1]
    assert call.path == "/b24/default/robot/ai_reply/"
    assert "event" not in call.form
    assert call.form["document_id"]["2"] == "DYNAMIC_128_1"
    assert call.form["document_type"]["2"] == "DYNAMIC_128"
    assert call.form["properties"]["tags"] == {"0": "a", "1": "b"}
    assert call.form["auth"]["application_token"] == portal.application_token
    token = call.form["event_token"]
    assert admin("bizproc.event.send", EVENT_TOKEN=token, RETURN_VALUES={"reply": "Завтра"})
    assert admin("bizproc.event.send", EVENT_TOKEN=token, RETURN_VALUES={"reply": "Нет"})
    assert run.returned == {"reply": "Завтра"}
    assert run.answers == 2
    assert admin.error("bizproc.event.send", EVENT_TOKEN="x") == (403, "ACCESS_DENIED")


def test_robots_are_added_once_updated_and_deleted(admin: Caller, application: Application) -> None:
    admin("bizproc.robot.add", **robot(application))

    assert admin.error("bizproc.robot.add", **robot(application)) == (
        400,
        "ERROR_ACTIVITY_ALREADY_INSTALLED",
    )
    wrong = robot(application, CODE="other", PROPERTIES={"1x": {"Name": "x"}})
    assert admin.error("bizproc.robot.add", **wrong) == (400, "ERROR_ACTIVITY_VALIDATION_FAILURE")
    assert admin("bizproc.robot.update", CODE="ai_reply", FIELDS={"NAME": "Имя"}) is True
    assert admin("bizproc.robot.list") == ["ai_reply"]
    assert admin("bizproc.robot.delete", CODE="ai_reply") is True
    gone = admin.error("bizproc.robot.update", CODE="ai_reply", FIELDS={"NAME": "Имя"})
    assert gone == (400, "ERROR_ACTIVITY_NOT_FOUND")


def test_users_are_employees_only(
    portal: LocalPortal, admin: Caller, operator: Caller, bot_id: int
) -> None:
    portal.client_writes("Здравствуйте")
    portal.dismiss(8)

    assert [one["ID"] for one in admin("user.get")] == ["1", "7", "9"]
    assert admin("user.get", FILTER={"ID": 7})[0]["NAME"] == "Ольга"
    assert [one["ID"] for one in admin("user.get", FILTER={"ACTIVE": False})] == ["8"]
    assert (admin("user.admin"), operator("user.admin")) == (True, False)
    assert operator("user.current")["ID"] == "7"


def test_options_are_kept_per_app_and_per_user(admin: Caller, operator: Caller) -> None:
    admin("app.option.set", options={"public_id": "p1"})
    operator("user.option.set", options={"theme": "dark"})

    assert operator("app.option.get", option="public_id") == "p1"
    assert operator("user.option.get") == {"theme": "dark"}
    assert admin("user.option.get") == []
    assert operator.error("app.option.set", options={}) == (403, "ACCESS_DENIED")
