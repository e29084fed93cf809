"""What we hang into a portal: event handlers, pages in its interface, robots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from integrations.bitrix24.client import BATCH_SIZE, BatchReply, Command, PortalClient
from integrations.bitrix24.errors import Bitrix24Error, CallRejected, LimitExceeded, Unavailable
from integrations.bitrix24.forms import as_dict, as_list, flag_of, text_of

EVENTS = (
    "ONAPPINSTALL",
    "ONAPPUPDATE",
    "ONAPPUNINSTALL",
    "ONAPPPAYMENT",
    "ONAPPTEST",
    "ONCRMACTIVITYADD",
    "ONCRMLEADADD",
    "ONCRMDEALADD",
    "ONCRMLEADUSERFIELDADD",
    "ONCRMLEADUSERFIELDUPDATE",
    "ONCRMLEADUSERFIELDDELETE",
    "ONCRMLEADUSERFIELDSETENUMVALUES",
    "ONCRMDEALUSERFIELDADD",
    "ONCRMDEALUSERFIELDUPDATE",
    "ONCRMDEALUSERFIELDDELETE",
    "ONCRMDEALUSERFIELDSETENUMVALUES",
)
"""Events of the application and of CRM. A bot's events are never bound by hand."""

_BOT_EVENTS = ("ONIMBOT", "ONIMCOMMAND")
_TITLES = {"ru": "ИИ-помощник", "en": "AI assistant"}
_MESSAGE_TITLES = {"ru": "ИИ: подсказать ответ", "en": "AI: suggest a reply"}
"""An item of a message's menu says what it does."""


@dataclass(frozen=True)
class WantedPlacement:
    code: str
    handler: str
    titles: Mapping[str, str]
    """Language -> title."""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class WantedRobot:
    """`definition` is what bizproc.robot.add takes besides CODE and HANDLER."""

    code: str
    handler: str
    definition: Mapping[str, Any]


@dataclass(frozen=True)
class WantedBindings:
    """Everything that should be bound; what else our application has bound is taken away."""

    events_url: str
    events: tuple[str, ...] = EVENTS
    placements: tuple[WantedPlacement, ...] = ()
    robots: tuple[WantedRobot, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """As a report names them."""
        return frozenset(
            (
                *(f"event {name}" for name in self.events),
                *(f"placement {one.code}" for one in self.placements),
                *(f"robot {one.code}" for one in self.robots),
            )
        )


@dataclass(frozen=True)
class BindReport:
    """`failed` names what the portal refused and its code; the rest of the product works on."""

    done: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()


def wanted_for(base_url: str, *, robot_user_id: int) -> WantedBindings:
    """The bindings of this product. `base_url` is `https://host/b24/<app>/`.

    `robot_user_id` is the employee whose token robots bring along.
    """
    base = base_url.rstrip("/")
    page = f"{base}/placement/"
    for_lines = {"context": "LINES", "role": "USER"}
    messenger = {"iconName": "fa-magic", "color": "AZURE", **for_lines}
    cards = ("LEAD", "DEAL", "CONTACT", "COMPANY")
    return WantedBindings(
        events_url=f"{base}/events/",
        placements=(
            WantedPlacement("IM_SIDEBAR", page, _TITLES, messenger),
            WantedPlacement("IM_TEXTAREA", page, _TITLES, messenger),
            # A menu's item has neither icon nor colour (api-reference/widgets/im/context-menu).
            WantedPlacement("IM_CONTEXT_MENU", page, _MESSAGE_TITLES, for_lines),
            *(WantedPlacement(f"CRM_{card}_DETAIL_TAB", page, _TITLES) for card in cards),
        ),
        robots=(
            WantedRobot(
                "ai_reply", f"{base}/robot/ai_reply/", ai_reply_robot(user_id=robot_user_id)
            ),
        ),
    )


def ai_reply_robot(*, user_id: int) -> dict[str, Any]:
    """The robot that analyses a text and gives the results to the next steps.

    USE_SUBSCRIPTION is explicit: the documentation and the portal disagree on its default.
    Source: api-reference/bizproc/bizproc-robot/bizproc-robot-add.
    """
    return {
        "AUTH_USER_ID": user_id,
        "USE_SUBSCRIPTION": "Y",
        "NAME": {"ru": "ИИ: разобрать текст", "en": "AI: analyse a text"},
        "DESCRIPTION": {
            "ru": "Определяет тему, извлекает данные и готовит ответ",
            "en": "Finds the topic, extracts data and drafts a reply",
        },
        "PROPERTIES": {
            "text": {"Name": {"ru": "Текст", "en": "Text"}, "Type": "text", "Required": "Y"},
            "update_crm": {
                "Name": {"ru": "Заполнить карточку", "en": "Fill in the card"},
                "Type": "bool",
                "Default": "Y",
            },
        },
        "RETURN_PROPERTIES": {
            "reply": {"Name": {"ru": "Ответ", "en": "Reply"}, "Type": "text"},
            "topic": {"Name": {"ru": "Тема", "en": "Topic"}, "Type": "string"},
            "confidence": {"Name": {"ru": "Уверенность", "en": "Confidence"}, "Type": "double"},
            "needs_human": {
                "Name": {"ru": "Нужен человек", "en": "Needs a person"},
                "Type": "bool",
            },
            "error": {"Name": {"ru": "Ошибка", "en": "Error"}, "Type": "string"},
        },
        "FILTER": {
            "INCLUDE": [
                ["crm", "CCrmDocumentLead"],
                ["crm", "CCrmDocumentDeal"],
                ["crm", "CCrmDocumentContact"],
                ["crm", "CCrmDocumentCompany"],
                ["crm", "Bitrix\\Crm\\Integration\\BizProc\\Document\\Dynamic"],
            ]
        },
    }


def bind_everything(client: PortalClient, wanted: WantedBindings) -> BindReport:
    """Makes the portal's bindings what is wanted; running it again changes nothing.

    Needs an administrator's token. Two requests when there is much to do, one when nothing is.
    Raises: AccessLost, Unavailable, … when the portal as a whole does not answer; what single
    bindings fail with is in the report.
    Source: api-reference/events/event-bind, api-reference/widgets/placement-bind.
    """
    present = client.batch(
        {
            "events": Command("event.get"),
            "placements": Command("placement.get"),
            "robots": Command("bizproc.robot.list"),
        },
        repeatable=True,
    )
    steps = [
        *_event_steps(wanted, _rows(present, "events")),
        *_placement_steps(wanted, _rows(present, "placements")),
        *_robot_steps(wanted, present.results.get("robots")),
    ]
    already = [step.what for step in steps if step.command is None]
    done, removed, failed = [], [], []
    todo = [step for step in steps if step.command]
    for start in range(0, len(todo), BATCH_SIZE):
        part = todo[start : start + BATCH_SIZE]
        commands = {f"s{i}": step.command for i, step in enumerate(part) if step.command}
        reply = client.batch(commands, repeatable=True)
        for i, step in enumerate(part):
            error = reply.errors.get(f"s{i}")
            if step.removes:
                if not error:
                    removed.append(step.what)
            elif error is None:
                done.append(step.what)
            elif _is_bound_already(error):
                already.append(step.what)
            else:
                failed.append((step.what, _why(error)))
    return BindReport(tuple(done), tuple(already), tuple(removed), tuple(failed))


@dataclass(frozen=True)
class _Step:
    what: str
    command: Command | None
    """None: it is there already."""
    removes: bool = False


def _rows(reply: BatchReply, key: str) -> list[dict[str, Any]]:
    return [as_dict(row) for row in as_list(reply.results.get(key))]


def _event_steps(wanted: WantedBindings, rows: list[dict[str, Any]]) -> Iterator[_Step]:
    bound = {
        (text_of(row.get("event")).upper(), text_of(row.get("handler")))
        for row in rows
        if not flag_of(row.get("offline"))
    }
    for name in wanted.events:
        is_bound = (name, wanted.events_url) in bound
        bind = Command("event.bind", {"event": name, "handler": wanted.events_url})
        yield _Step(f"event {name}", None if is_bound else bind)
    for name, handler in sorted(bound):
        is_ours = name in wanted.events and handler == wanted.events_url
        if handler and not is_ours and not name.startswith(_BOT_EVENTS):
            unbind = Command("event.unbind", {"event": name, "handler": handler})
            yield _Step(f"event {name}", unbind, removes=True)


def _placement_steps(wanted: WantedBindings, rows: list[dict[str, Any]]) -> Iterator[_Step]:
    bound = {
        (text_of(row.get("placement")).upper(), text_of(row.get("handler"))): row for row in rows
    }
    places = {(one.code, one.handler): one for one in wanted.placements}
    for (code, handler), row in bound.items():
        place = places.get((code, handler))
        if place is None or not _looks_as_wanted(place, row):
            unbind = Command("placement.unbind", {"PLACEMENT": code, "HANDLER": handler})
            yield _Step(f"placement {code}", unbind, removes=True)
    for key, place in places.items():
        is_bound = key in bound and _looks_as_wanted(place, bound[key])
        yield _Step(f"placement {place.code}", None if is_bound else _bind_placement(place))


def _looks_as_wanted(place: WantedPlacement, row: Mapping[str, Any]) -> bool:
    """Old portals do not tell options and titles; then they are taken for right."""
    options, titles = as_dict(row.get("options")), as_dict(row.get("langAll"))
    return all(
        text_of(options.get(key, value)) == value for key, value in place.options.items()
    ) and all(
        text_of(as_dict(titles.get(lang)).get("TITLE", title)) == title
        for lang, title in place.titles.items()
    )


def _bind_placement(place: WantedPlacement) -> Command:
    return Command(
        "placement.bind",
        {
            "PLACEMENT": place.code,
            "HANDLER": place.handler,
            "TITLE": next(iter(place.titles.values()), ""),
            "LANG_ALL": {lang: {"TITLE": title} for lang, title in place.titles.items()},
            "OPTIONS": dict(place.options),
        },
    )


def _robot_steps(wanted: WantedBindings, listed: Any) -> Iterator[_Step]:
    present = {text_of(as_dict(one).get("CODE")) or text_of(one) for one in as_list(listed)}
    for robot in wanted.robots:
        fields = {"HANDLER": robot.handler, **robot.definition}
        if robot.code in present:
            command = Command("bizproc.robot.update", {"CODE": robot.code, "FIELDS": fields})
        else:
            command = Command("bizproc.robot.add", {"CODE": robot.code, **fields})
        yield _Step(f"robot {robot.code}", command)
    for code in sorted(present - {robot.code for robot in wanted.robots} - {""}):
        yield _Step(f"robot {code}", Command("bizproc.robot.delete", {"CODE": code}), removes=True)


def _is_bound_already(error: Bitrix24Error) -> bool:
    """The wording differs between versions; the code of events is the generic one."""
    words = str(error).casefold()
    return isinstance(error, CallRejected) and (
        "already binded" in words or "already bound" in words or "already installed" in words
    )


def _why(error: Bitrix24Error) -> str:
    if isinstance(error, LimitExceeded | Unavailable):
        return "unavailable"
    return error.code or type(error).__name__
