"""Calling REST methods: authorization, limits, faults, envelopes and `batch`."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from integrations.bitrix24.local_portal.php import (
    as_map,
    decode_form,
    listed,
    number,
    scalar,
    truth,
)
from integrations.bitrix24.local_portal.state import Chat, RestError, User, World

BATCH_LIMIT = 50  # settings/how-to-call-rest-api/batch
OPERATING_WINDOW_SECONDS = 600  # limits
REFERENCE = re.compile(r"\$(result|error|total|next|time)((?:\[[^\]]*\])+)", re.IGNORECASE)


@dataclass(slots=True)
class Call:
    """One method call: who calls, and what with."""

    rest: Rest
    world: World
    name: str
    params: dict[str, Any]
    user: User

    def get(self, *names: str) -> Any:
        """The first parameter of these names that was sent, in the case given or in lower case."""
        for name in names:
            for spelling in (name, name.lower(), name.upper()):
                if spelling in self.params:
                    return self.params[spelling]
        return None

    def text(self, *names: str) -> str:
        value = self.get(*names)
        return "" if value is None else scalar(value)

    def int(self, *names: str) -> int:
        return number(self.get(*names))

    def flag(self, *names: str) -> bool:
        return truth(self.get(*names))

    def map(self, *names: str) -> dict[str, Any]:
        return as_map(self.get(*names))

    def line_chat(self, *names: str, code: str = "CHAT_ID") -> Chat:
        """The open-line chat whose id was sent. Raises RestError."""
        value = self.get(*names)
        if not value:
            raise RestError(code, "Chat ID can't be empty")
        chat = self.world.chat_of(value)
        if chat is None or not chat.is_line:
            raise RestError("CHAT_TYPE", "Chat is not an open line")
        return chat


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a classic list."""

    result: Any
    total: int | None = None
    next: int | None = None


Run = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Method:
    """One REST method: the scope that opens it, and whether only an administrator may call it."""

    name: str
    run: Run
    scope: str = ""
    admin: bool = False
    employees_only: bool = False


class Table(dict[str, Method]):
    """Methods by name; `@table("crm.item.get", scope="crm")` adds one."""

    def __call__(self, *names: str, **about: Any) -> Callable[[Run], Run]:
        def remember(run: Run) -> Run:
            for name in names:
                self[name] = Method(name, run, **about)
            return run

        return remember

    def find(self, name: str) -> Method | None:
        """Classic names in any case, names of controllers only as they are documented."""
        return self.get(name.lower()) or self.get(name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP. `drop` closes the connection without an answer instead."""

    status: int
    body: dict[str, Any]
    drop: bool = False


@dataclass(slots=True)
class Fault:
    """Something that goes wrong with the next calls of a method (`*` = any)."""

    method: str
    times: int
    status: int = 500
    error: str = "INTERNAL_SERVER_ERROR"
    description: str = ""
    after_executing: bool = False
    drop: bool = False


@dataclass(frozen=True, slots=True)
class Logged:
    """One REST call in the log; `params` without tokens."""

    method: str
    params: Mapping[str, Any]
    status: int
    error: str
    at: float
    user_id: int
    in_batch: bool = False


@dataclass(slots=True)
class Bucket:
    """Leaky bucket: every request adds one, `rate` drain per second, above `burst` it overflows."""

    rate: float
    burst: float
    level: float = 0.0
    at: float = field(default_factory=time.monotonic)

    def add(self) -> bool:
        now = time.monotonic()
        self.level = max(0.0, self.level - (now - self.at) * self.rate)
        self.at = now
        if self.level + 1 > self.burst:
            return False
        self.level += 1
        return True


class Rest:
    """The `/rest/` tree of a portal. Thread-safe."""

    def __init__(self, world: World, methods: Table) -> None:
        options = world.options
        self._world = world
        self._methods = methods
        self._guard = threading.Lock()
        self._bucket = (
            Bucket(options.rate, options.burst or 50.0) if options.rate is not None else None
        )
        self._operating: dict[str, deque[tuple[float, float]]] = {}
        self._blocked: dict[str, float] = {}
        self.faults: list[Fault] = []
        self.log: deque[Logged] = deque(maxlen=options.log_size)
        self.requests = 0
        self.calls = 0

    # ------------------------------------------------------------------ one HTTP request

    def answer(self, name: str, params: dict[str, Any], bearer: str) -> Answer:
        """Answer one HTTP request. `bearer` wins over `auth` in the parameters."""
        started = time.time()
        access_token = bearer or scalar(params.pop("auth", "") or params.pop("access_token", ""))
        params.pop("access_token", None)
        fault = self.fault_for(name)
        with self._guard:
            self.requests += 1
            full = self._bucket is not None and not self._bucket.add()
        user: User | None = None
        try:
            if fault is not None and not fault.after_executing:
                return self._broken(fault, name, params)
            if full:
                raise RestError("QUERY_LIMIT_EXCEEDED", "Too many requests", 503)
            with self._world.lock:
                user = self._authorize(access_token)
                if name.lower() == "batch":
                    body = self._batch(user, params)
                else:
                    body = self._envelope(self._execute(user, name, params))
        except RestError as error:
            self._log(name, params, error.status, error.code, user)
            return Answer(error.status, self._error(error))
        if fault is not None:
            return self._broken(fault, name, params)
        self._log(name, params, 200, "", user)
        body["time"] = self._time(started, name)
        return Answer(200, body)

    @staticmethod
    def _envelope(result: Any) -> dict[str, Any]:
        if not isinstance(result, Listed):
            return {"result": result}
        body: dict[str, Any] = {"result": result.result}
        if result.next is not None:
            body["next"] = result.next
        if result.total is not None:
            body["total"] = result.total
        return body

    @staticmethod
    def _error(error: RestError) -> dict[str, Any]:
        return {"error": error.code, "error_description": error.description, **error.extra}

    def _log(
        self,
        name: str,
        params: Mapping[str, Any],
        status: int,
        error: str,
        user: User | None,
        *,
        in_batch: bool = False,
    ) -> None:
        entry = Logged(name, params, status, error, time.time(), user.id if user else 0, in_batch)
        with self._guard:
            self.log.append(entry)

    # ------------------------------------------------------------------ who calls

    def _authorize(self, access_token: str) -> User:
        """Source: settings/oauth, _includes/system-errors"""
        world = self._world
        switches = world.switches
        if switches.portal_deleted:
            raise RestError("PORTAL_DELETED", "Portal was deleted", 500)
        if switches.rest_plan_off:
            raise RestError("ACCESS_DENIED", "REST is available only on commercial plans", 403)
        if not access_token:
            raise RestError("NO_AUTH_FOUND", "Wrong authorization data", 401)
        grant = world.authority.find(access_token)
        if grant is None or grant.member_id != world.options.member_id:
            raise RestError("invalid_token", "Unable to get application by token", 401)
        if grant.dead or world.installation.state == "absent":
            raise RestError("ERROR_OAUTH", "Application not installed", 401)
        if grant.expires_at < time.time():
            raise RestError("expired_token", "The access token provided has expired.", 401)
        if switches.payment_required:
            raise RestError("PAYMENT_REQUIRED", "Payment required", 401)
        user = world.users.get(grant.user_id)
        if user is None or not user.active:
            raise RestError("authorization_error", "Unable to authorize user", 401)
        if not user.app_access:
            raise RestError("user_access_error", "The user does not have access", 403)
        return user

    # ------------------------------------------------------------------ one method

    def _execute(self, user: User, name: str, params: dict[str, Any]) -> Any:
        world = self._world
        found = self.find(name)
        if found is None:
            raise RestError("ERROR_METHOD_NOT_FOUND", "Method not found!", 404)
        if found.scope and found.scope not in world.options.scopes:
            raise RestError(
                "insufficient_scope",
                "The request requires higher privileges than provided by the access token",
                403,
            )
        if found.employees_only and user.kind != "employee":
            raise RestError("allowed_only_intranet_user", "Allowed only for intranet users", 403)
        if found.admin and not user.admin:
            raise RestError("ACCESS_DENIED", "Access denied!", 403)
        self._check_operating(found.name)
        started = time.monotonic()
        try:
            self.calls += 1
            return found.run(Call(self, world, found.name, params, user))
        finally:
            self._count_operating(found.name, time.monotonic() - started)

    def find(self, name: str) -> Method | None:
        """A method that exists here: the portal may be old, or a test may have switched it off."""
        found = self._methods.find(name)
        if found is None or found.name in self._world.switches.missing_methods:
            return None
        if self._world.options.legacy_bots and found.name.startswith("imbot.v2."):
            return None
        return found

    # ------------------------------------------------------------------ operating time

    def exhaust(self, method: str, seconds: float) -> None:
        """Block one method as if its time budget was used up."""
        with self._guard:
            self._blocked[method] = time.time() + seconds

    def _check_operating(self, name: str) -> None:
        """Source: limits"""
        limit = self._world.options.operating_limit_seconds
        blocked = self._blocked.get(name, 0.0) > time.time()
        if blocked or (limit is not None and self._used(name) > limit):
            raise RestError(
                "OPERATION_TIME_LIMIT", "Method is blocked due to operation time limit.", 429
            )

    def _count_operating(self, name: str, seconds: float) -> None:
        spent = self._operating.setdefault(name, deque(maxlen=10_000))
        spent.append((time.time(), seconds))

    def _used(self, name: str) -> float:
        spent = self._operating.get(name, deque())
        since = time.time() - OPERATING_WINDOW_SECONDS
        while spent and spent[0][0] < since:
            spent.popleft()
        return sum(seconds for _, seconds in spent)

    def _time(self, started: float, name: str) -> dict[str, Any]:
        world = self._world
        finished = time.time()
        spent = self._operating.get(name)
        return {
            "start": started,
            "finish": finished,
            "duration": finished - started,
            "processing": finished - started,
            "date_start": world.iso(started),
            "date_finish": world.iso(finished),
            "operating_reset_at": math.ceil(finished) + OPERATING_WINDOW_SECONDS,
            "operating": round(spent[-1][1], 6) if spent else 0,
        }

    # ------------------------------------------------------------------ faults

    def fault_for(self, name: str, *, any_method: bool = True) -> Fault | None:
        """Use up one planned fault of a method, or None."""
        names = {name.lower(), "*"} if any_method else {name.lower()}
        with self._guard:
            for fault in self.faults:
                if fault.times > 0 and fault.method.lower() in names:
                    fault.times -= 1
                    return fault
            return None

    def _broken(self, fault: Fault, name: str, params: Mapping[str, Any]) -> Answer:
        self._log(name, params, 0 if fault.drop else fault.status, fault.error, None)
        body = {"error": fault.error, "error_description": fault.description}
        return Answer(fault.status, body, drop=fault.drop)

    # ------------------------------------------------------------------ batch

    def _batch(self, user: User, params: dict[str, Any]) -> dict[str, Any]:
        """Source: settings/how-to-call-rest-api/batch"""
        commands = as_map(params.get("cmd"))
        halt = truth(params.get("halt"))
        maps: dict[str, dict[str, Any]] = {
            "result": {},
            "result_error": {},
            "result_total": {},
            "result_next": {},
            "result_time": {},
        }
        for index, (key, command) in enumerate(commands.items()):
            started = time.time()
            name, _, query = scalar(command).partition("?")
            name = name.strip()
            inner: dict[str, Any] = {}
            try:
                if index >= BATCH_LIMIT:
                    raise RestError("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
                if name.lower() == "batch":
                    raise RestError(
                        "ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage"
                    )
                inner = _substituted(decode_form(query), maps)
                envelope = self._envelope(self._execute(user, name, inner))
            except RestError as error:
                maps["result_error"][key] = self._error(error)
                self._log(name, inner, error.status, error.code, user, in_batch=True)
                if halt:
                    break
                continue
            maps["result"][key] = envelope["result"]
            for extra in ("total", "next"):
                if extra in envelope:
                    maps[f"result_{extra}"][key] = envelope[extra]
            maps["result_time"][key] = self._time(started, name)
            self._log(name, inner, 200, "", user, in_batch=True)
        return {"result": {name: listed(values) for name, values in maps.items()}}


def _substituted(value: Any, maps: Mapping[str, Mapping[str, Any]]) -> Any:
    """`$result[key][field]` in every value and key, after decoding; unknown references vanish."""
    if isinstance(value, dict):
        return {
            scalar(_substituted(key, maps)): _substituted(inner, maps)
            for key, inner in value.items()
        }
    if not isinstance(value, str) or "$" not in value:
        return value
    whole = REFERENCE.fullmatch(value)
    if whole is not None:
        return _referred(whole, maps)
    return REFERENCE.sub(lambda match: scalar(_referred(match, maps)), value)


def _referred(match: re.Match[str], maps: Mapping[str, Mapping[str, Any]]) -> Any:
    kind = match.group(1).lower()
    place: Any = maps["result" if kind == "result" else f"result_{kind}"]
    for key in re.findall(r"\[([^\]]*)\]", match.group(2)):
        name = unquote(key)
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, list) and name.isdigit() and int(name) < len(place):
            place = place[int(name)]
        else:
            return ""
    return "" if isinstance(place, Mapping | list) and not place else place
