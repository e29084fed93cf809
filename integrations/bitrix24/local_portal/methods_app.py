"""Methods about the application itself: users, scopes, options, events, placements, robots."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from integrations.bitrix24.local_portal.events import EVENT_SCOPES
from integrations.bitrix24.local_portal.php import as_list, as_map, number
from integrations.bitrix24.local_portal.rest import Call, Listed, Table
from integrations.bitrix24.local_portal.state import (
    EventBinding,
    PlacementBinding,
    RestError,
    User,
    World,
)

TABLE = Table()
PAGE = 50


# ---------------------------------------------------------------------- users


def _user_object(user: User) -> dict[str, Any]:
    return {
        "ID": str(user.id),
        "ACTIVE": user.active,
        "NAME": user.name,
        "LAST_NAME": user.last_name,
        "SECOND_NAME": "",
        "EMAIL": user.email,
        "WORK_POSITION": user.work_position,
        "PERSONAL_GENDER": user.gender,
        "PERSONAL_PHOTO": "",
        "UF_DEPARTMENT": [1],
        "USER_TYPE": "employee",
        "TIME_ZONE": "Europe/Moscow",
    }


@TABLE("profile")
def profile(call: Call) -> Any:
    user = call.user
    return {
        "ID": str(user.id),
        "ADMIN": user.admin,
        "NAME": user.name,
        "LAST_NAME": user.last_name,
        "PERSONAL_GENDER": user.gender,
        "PERSONAL_PHOTO": "",
        "TIME_ZONE": "Europe/Moscow",
        "TIME_ZONE_OFFSET": call.world.options.utc_offset_hours * 3600,
    }


@TABLE("user.admin")
def user_admin(call: Call) -> Any:
    return call.user.admin


@TABLE("user.current", scope="user_brief")
def user_current(call: Call) -> Any:
    return _user_object(call.user)


@TABLE("user.get", "user.search", scope="user_brief")
def user_get(call: Call) -> Any:
    """Employees only; dismissed ones with `ACTIVE: false`. Source: api-reference/user/user-get"""
    filter_ = {key.upper(): value for key, value in call.map("FILTER").items()}
    if "ID" not in filter_ and call.get("ID") is not None:
        filter_["ID"] = call.get("ID")
    active = filter_.get("ACTIVE", True) not in (False, "false", "N", "0", 0)
    wanted = {number(one) for one in as_list(filter_.get("ID"))}
    people = [
        _user_object(user)
        for user in call.world.users.values()
        if user.kind == "employee" and user.active == active and (not wanted or user.id in wanted)
    ]
    return page(people, call)


def page(rows: list[Any], call: Call) -> Listed:
    """Fifty rows from `start`, with the total and the next offset."""
    start = max(0, call.int("start"))
    following = start + PAGE if len(rows) > start + PAGE else None
    return Listed(rows[start : start + PAGE], total=len(rows), next=following)


@TABLE("im.notify.system.add", scope="im")
def im_notify_system_add(call: Call) -> Any:
    """Source: api-reference/chats/notifications/im-notify-system-add"""
    world, user_id, text = call.world, call.int("USER_ID"), call.text("MESSAGE").strip()
    if user_id <= 0:
        raise RestError("USER_ID_EMPTY", "User ID can't be empty")
    if not text:
        raise RestError("MESSAGE_EMPTY", "Message can't be empty")
    if user_id not in world.users:
        return False
    tag = call.text("TAG")
    for number_, old in list(world.notifications.items()):
        if tag and old["tag"] == tag:
            del world.notifications[number_]
    note_id = world.next_id("notification")
    world.notifications[note_id] = {"user_id": user_id, "text": text, "tag": tag}
    world.touch()
    return note_id


# ---------------------------------------------------------------------- the application


@TABLE("scope")
def scope(call: Call) -> Any:
    return [*call.world.options.scopes]


@TABLE("method.get")
def method_get(call: Call) -> Any:
    """Source: api-reference/common/system/method-get"""
    found = call.rest.find(call.text("name"))
    granted = ("", *call.world.options.scopes)
    return {
        "isExisting": found is not None,
        "isAvailable": found is not None and found.scope in granted,
    }


@TABLE("feature.get")
def feature_get(call: Call) -> Any:
    known = {"rest_offline_extended": "Y", "rest_auth_connector": "Y"}
    return {"value": known.get(call.text("CODE"), "N")}


@TABLE("app.info")
def app_info(call: Call) -> Any:
    world = call.world
    return {
        "ID": 1,
        "CODE": world.options.client_id,
        "VERSION": world.installation.version,
        "STATUS": world.options.status,
        "INSTALLED": world.installation.state == "installed",
        "PAYMENT_EXPIRED": "Y" if world.switches.payment_required else "N",
        "DAYS": None,
        "LANGUAGE_ID": world.options.language,
        "LICENSE": world.options.licence,
        "LICENSE_TYPE": "pro100",
        "LICENSE_FAMILY": "pro",
    }


@TABLE("server.time")
def server_time(call: Call) -> Any:
    return call.world.iso(call.world.now())


@TABLE("app.option.get")
def app_option_get(call: Call) -> Any:
    return _option(call, call.world.app_settings)


@TABLE("app.option.set", admin=True)
def app_option_set(call: Call) -> Any:
    call.world.app_settings.update(call.map("options"))
    return True


@TABLE("user.option.get")
def user_option_get(call: Call) -> Any:
    return _option(call, call.world.user_settings.get(call.user.id, {}))


@TABLE("user.option.set")
def user_option_set(call: Call) -> Any:
    call.world.user_settings.setdefault(call.user.id, {}).update(call.map("options"))
    return True


def _option(call: Call, stored: dict[str, Any]) -> Any:
    name = call.text("option")
    return stored.get(name, "") if name else dict(stored)


# ---------------------------------------------------------------------- events


@TABLE("events")
def events(call: Call) -> Any:
    scopes = call.world.options.scopes
    wanted = call.text("SCOPE")
    return [
        name
        for name, needed in EVENT_SCOPES.items()
        if needed in ("", *scopes) and (not wanted or needed == wanted)
    ]


@TABLE("event.bind")
def event_bind(call: Call) -> Any:
    """Source: api-reference/events/event-bind"""
    world = call.world
    name = call.text("event").upper()
    offline = call.text("event_type") == "offline"
    if not name:
        raise RestError("ERROR_ARGUMENT", "Argument 'EVENT' is null or empty", argument="EVENT")
    if EVENT_SCOPES.get(name) not in ("", *world.options.scopes):
        raise RestError("ERROR_EVENT_NOT_FOUND", "Event not found")
    if offline and not call.user.admin:
        raise RestError("ACCESS_DENIED", "Access denied!", 403)
    handler = "" if offline else checked_handler(call.text("handler"))
    author = call.int("auth_type")
    if not call.user.admin:
        if author and author != call.user.id:
            raise RestError("ACCESS_DENIED", "Access denied!", 403)
        author = call.user.id
    for binding in world.bindings:
        if (binding.event, binding.handler, binding.auth_user_id) == (name, handler, author):
            raise RestError("ERROR_CORE", "Unable to set event handler: Handler already binded")
    number_ = world.next_id("handler")
    world.bindings.append(EventBinding(number_, name, handler, author, offline))
    world.touch()
    return True


@TABLE("event.unbind")
def event_unbind(call: Call) -> Any:
    world = call.world
    name, handler = call.text("event").upper(), call.text("handler")
    gone = [
        binding
        for binding in world.bindings
        if binding.event == name
        and binding.handler == handler
        and (call.get("auth_type") is None or call.int("auth_type") == binding.auth_user_id)
    ]
    world.bindings = [binding for binding in world.bindings if binding not in gone]
    world.touch()
    return {"count": len(gone)}


@TABLE("event.get")
def event_get(call: Call) -> Any:
    return [
        {"event": binding.event, "connector_id": "", "offline": 1}
        if binding.offline
        else {
            "event": binding.event,
            "handler": binding.handler,
            "auth_type": str(binding.auth_user_id),
            "offline": 0,
        }
        for binding in call.world.bindings
        if call.user.admin or binding.auth_user_id == call.user.id
    ]


@TABLE("event.test")
def event_test(call: Call) -> Any:
    call.world.events.bound(
        "ONAPPTEST", {"QUERY": call.params}, user_id=call.user.id, with_refresh=True
    )
    return True


def checked_handler(url: str) -> str:
    """A handler's address. A real portal also refuses hosts without a dot; this one is local."""
    if not url:
        raise RestError("ERROR_WRONG_HANDLER_URL", "Handler URL is empty")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise RestError("ERROR_UNSUPPORTED_PROTOCOL", "Unsupported event handler protocol")
    if not parts.hostname:
        raise RestError("ERROR_WRONG_HANDLER_URL", "Wrong handler URL")
    return url


# ---------------------------------------------------------------------- placements

CHAT_PLACEMENTS = {"IM_TEXTAREA", "IM_SIDEBAR", "IM_CONTEXT_MENU", "IM_NAVIGATION"}
NEED_ICON = {"IM_TEXTAREA", "IM_SIDEBAR", "IM_NAVIGATION"}
CONTEXTS = {"ALL", "USER", "CHAT", "LINES", "CRM"}


def placement_codes(world: World) -> dict[str, str]:
    """Placements of this portal by the scope each needs."""
    kinds = ["LEAD", "DEAL", "CONTACT", "COMPANY"]
    kinds += [f"DYNAMIC_{smart.entity_type_id}" for smart in world.options.smart_types]
    codes = dict.fromkeys((*CHAT_PLACEMENTS, "IMMOBILE_CONTEXT_MENU"), "im")
    for kind in kinds:
        for tail in ("DETAIL_TAB", "DETAIL_ACTIVITY", "DETAIL_TOOLBAR", "LIST_MENU"):
            codes[f"CRM_{kind}_{tail}"] = "crm"
    return codes | {
        "CONTACT_CENTER": "contact_center",
        "LEFT_MENU": "placement",
        "REST_APP_URI": "placement",
        "PAGE_BACKGROUND_WORKER": "placement",
        "DEFAULT": "placement",
    }


@TABLE("placement.list", scope="placement")
def placement_list(call: Call) -> Any:
    granted = call.world.options.scopes
    return [code for code, scope_ in placement_codes(call.world).items() if scope_ in granted]


@TABLE("placement.bind", scope="placement", admin=True)
def placement_bind(call: Call) -> Any:
    """Source: api-reference/widgets/placement-bind"""
    world = call.world
    code = call.text("PLACEMENT").upper()
    if not code:
        raise RestError(
            "ERROR_ARGUMENT", "Argument 'PLACEMENT' is null or empty", argument="PLACEMENT"
        )
    if placement_codes(world).get(code) not in world.options.scopes:
        raise RestError("ERROR_PLACEMENT_NOT_FOUND", "Placement not found")
    handler = checked_handler(call.text("HANDLER"))
    options = _checked_options(code, call.map("OPTIONS"))
    known = [one for one in world.placements if one.placement == code]
    if code in {"REST_APP_URI", "PAGE_BACKGROUND_WORKER"} and known:
        raise RestError("ERROR_PLACEMENT_MAX_COUNT", "Placement max count", 200)
    if any(one.handler == handler for one in known):
        raise RestError("ERROR_CORE", "Unable to set placement handler: Handler already binded")
    languages = {
        name: {"TITLE": "", "DESCRIPTION": "", "GROUP_NAME": "", **as_map(texts)}
        for name, texts in call.map("LANG_ALL").items()
    }
    title = call.text("TITLE") or languages.get("ru", {}).get("TITLE", "")
    world.placements.append(
        PlacementBinding(
            code, handler, title, call.text("DESCRIPTION"), options, languages, call.int("USER_ID")
        )
    )
    world.touch()
    return True


def _checked_options(code: str, options: dict[str, Any]) -> dict[str, Any]:
    if code in NEED_ICON and not options.get("iconName"):
        raise RestError(
            "ERROR_ARGUMENT", "Argument 'iconName' is null or empty", 200, argument="iconName"
        )
    if code == "PAGE_BACKGROUND_WORKER" and not options.get("errorHandlerUrl"):
        raise RestError("EMPTY_ERROR_HANDLER_URL", "Error handler URL is empty", 200)
    if code in CHAT_PLACEMENTS:
        contexts = set(str(options.get("context", "ALL")).split(";"))
        if not contexts <= CONTEXTS:
            raise RestError("INVALID_ERROR_CONTEXT", "Invalid context")
        if options.get("role", "USER") not in {"USER", "ADMIN"}:
            raise RestError("INVALID_ERROR_ROLE", "Invalid role")
    return options


@TABLE("placement.get", scope="placement", admin=True)
def placement_get(call: Call) -> Any:
    return [
        {
            "placement": one.placement,
            "userId": one.user_id,
            "handler": one.handler,
            "options": one.options,
            "title": one.title,
            "description": one.description,
            "langAll": one.lang_all,
        }
        for one in call.world.placements
    ]


@TABLE("placement.unbind", scope="placement", admin=True)
def placement_unbind(call: Call) -> Any:
    world = call.world
    code, handler = call.text("PLACEMENT").upper(), call.text("HANDLER")
    gone = [
        one for one in world.placements if one.placement == code and handler in ("", one.handler)
    ]
    world.placements = [one for one in world.placements if one not in gone]
    world.touch()
    return {"count": len(gone)}


# ---------------------------------------------------------------------- robots

ROBOT_CODE = re.compile(r"[a-zA-Z0-9._-]+")
PROPERTY_CODE = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*")


def _checked_robot(fields: dict[str, Any]) -> dict[str, Any]:
    for list_name in ("PROPERTIES", "RETURN_PROPERTIES"):
        for code, about in as_map(fields.get(list_name)).items():
            if not PROPERTY_CODE.fullmatch(code):
                raise RestError(
                    "ERROR_ACTIVITY_VALIDATION_FAILURE", f"Wrong property key ({code})!"
                )
            names = {str(key).upper(): value for key, value in as_map(about).items()}
            if not names.get("NAME"):
                raise RestError(
                    "ERROR_ACTIVITY_VALIDATION_FAILURE", f"Empty property NAME ({code})!"
                )
    if "HANDLER" in fields:
        checked_handler(str(fields["HANDLER"]))
    return fields


@TABLE("bizproc.robot.add", "bizproc.activity.add", scope="bizproc", admin=True)
def robot_add(call: Call) -> Any:
    """Source: api-reference/bizproc/bizproc-robot/bizproc-robot-add"""
    fields = {key.upper(): value for key, value in call.params.items()}
    code = str(fields.get("CODE") or "")
    if not code:
        raise RestError("ERROR_ACTIVITY_VALIDATION_FAILURE", "Empty activity code!")
    if not ROBOT_CODE.fullmatch(code):
        raise RestError("ERROR_ACTIVITY_VALIDATION_FAILURE", "Wrong activity code!")
    if not fields.get("NAME"):
        raise RestError("ERROR_ACTIVITY_VALIDATION_FAILURE", "Empty activity NAME!")
    checked_handler(str(fields.get("HANDLER") or ""))
    _checked_robot(fields)
    if code in call.world.robots:
        raise RestError("ERROR_ACTIVITY_ALREADY_INSTALLED", "Activity or Robot already installed!")
    call.world.robots[code] = fields
    call.world.touch()
    return True


@TABLE("bizproc.robot.update", "bizproc.activity.update", scope="bizproc", admin=True)
def robot_update(call: Call) -> Any:
    robot = _robot(call)
    fields = {key.upper(): value for key, value in call.map("FIELDS").items()}
    fields.pop("CODE", None)
    if not fields:
        raise RestError("ERROR_ACTIVITY_VALIDATION_FAILURE", "No fields to update")
    robot.update(_checked_robot(fields))
    call.world.touch()
    return True


@TABLE("bizproc.robot.delete", "bizproc.activity.delete", scope="bizproc", admin=True)
def robot_delete(call: Call) -> Any:
    _robot(call)
    del call.world.robots[call.text("CODE")]
    call.world.touch()
    return True


@TABLE("bizproc.robot.list", "bizproc.activity.list", scope="bizproc", admin=True)
def robot_list(call: Call) -> Any:
    return [*call.world.robots]


def _robot(call: Call) -> dict[str, Any]:
    robot = call.world.robots.get(call.text("CODE"))
    if robot is None:
        raise RestError("ERROR_ACTIVITY_NOT_FOUND", "Activity or Robot not found!")
    return robot


@TABLE("bizproc.event.send", scope="bizproc")
def event_send(call: Call) -> Any:
    """True even when nobody waits any more. Source: api-reference/bizproc/bizproc-robot"""
    run = call.world.robot_runs.get(call.text("EVENT_TOKEN"))
    if run is None:
        raise RestError("ACCESS_DENIED", "Access denied!", 403)
    run.answers += 1
    if run.returned is None:
        run.returned = call.map("RETURN_VALUES")
        run.log.append(call.text("LOG_MESSAGE"))
    call.world.touch()
    return True


@TABLE("bizproc.activity.log", scope="bizproc")
def activity_log(call: Call) -> Any:
    run = call.world.robot_runs.get(call.text("EVENT_TOKEN"))
    if run is None:
        raise RestError("ACCESS_DENIED", "Access denied!", 403)
    if not call.text("LOG_MESSAGE"):
        raise RestError("ERROR_EMPTY_LOG_MESSAGE", "Empty log message")
    run.log.append(call.text("LOG_MESSAGE"))
    return True
