"""What can go wrong when talking to Bitrix24, sorted by what to do next.

Bitrix24Error
├── Unavailable          no answer, 5xx, not Bitrix24     try again later
│   └── LimitExceeded    too fast, time used up           try again after retry_in
├── TokenExpired         the hour is over                 refresh, repeat once
│   └── InvalidToken     token not known                  refresh, repeat once; then it is lost
├── AccessLost           not paid, removed, dead grant    stop; ask the portal's admin
└── CallRejected         wrong value, no rights           do not repeat: bug or setting
    ├── MethodMissing    old portal or module not there   do without it
    ├── ScopeMissing     permission not granted           tell the admin which
    ├── NotFound         the item is gone                 stop for this item
    └── AccessDenied     the token's user may not         stop for this user
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

LostState = Literal["suspended", "broken", "gone"]
"""suspended: not paid; broken: needs a new authorization; gone: the app was removed."""

PORTAL_DELETED_RETRY_SECONDS = 6 * 3600.0
"""On a self-hosted portal it only means "closed for maintenance" (_includes/system-errors)."""

_TOKEN_LIKE = re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{20,}(?![\w-])", re.ASCII)
_NAMED_SECRET = re.compile(
    r"(?i)\b(auth|access_token|refresh_token|client_secret|application_token|code|token)=[^&\s\"']+"
)


class Bitrix24Error(Exception):
    """`code` is the portal's own (lower or upper case as sent), `status` the HTTP status."""

    def __init__(
        self, message: str, *, code: str = "", status: int | None = None, method: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.method = method
        self.after_retry = False
        """True when the call had been sent before and nobody knows what became of that."""


class Unavailable(Bitrix24Error):
    """No usable answer. With `outcome_unknown` a write may have happened: look before repeating."""

    def __init__(
        self,
        message: str,
        *,
        retry_in: float | None = None,
        outcome_unknown: bool = False,
        code: str = "",
        status: int | None = None,
        method: str = "",
    ) -> None:
        super().__init__(message, code=code, status=status, method=method)
        self.retry_in = retry_in
        self.outcome_unknown = outcome_unknown


class LimitExceeded(Unavailable):
    """Refused before it was executed, so a repeat after `retry_in` seconds is safe."""

    def __init__(
        self,
        message: str,
        *,
        retry_in: float,
        per_method: bool = False,
        code: str = "",
        status: int | None = None,
        method: str = "",
    ) -> None:
        super().__init__(message, retry_in=retry_in, code=code, status=status, method=method)
        self.per_method = per_method


class TokenExpired(Bitrix24Error):
    pass


class InvalidToken(TokenExpired):
    pass


class AccessLost(Bitrix24Error):
    def __init__(
        self,
        message: str,
        *,
        state: LostState,
        code: str = "",
        status: int | None = None,
        method: str = "",
    ) -> None:
        super().__init__(message, code=code, status=status, method=method)
        self.state = state


class CallRejected(Bitrix24Error):
    pass


class MethodMissing(CallRejected):
    pass


class ScopeMissing(CallRejected):
    pass


class NotFound(CallRejected):
    pass


class AccessDenied(CallRejected):
    pass


class _Told:
    """What is known about one refusal, in the form that all makers below take."""

    def __init__(
        self, text: str, code: str, status: int | None, method: str, wait: float | None
    ) -> None:
        self.text, self.code, self.status, self.method, self.wait = text, code, status, method, wait

    def plain(self, kind: type[Bitrix24Error]) -> Bitrix24Error:
        return kind(self.text, code=self.code, status=self.status, method=self.method)

    def lost(self, state: LostState) -> Bitrix24Error:
        return AccessLost(
            self.text, state=state, code=self.code, status=self.status, method=self.method
        )

    def unavailable(self, *, retry_in: float | None, outcome_unknown: bool) -> Bitrix24Error:
        return Unavailable(
            self.text,
            retry_in=self.wait if self.wait is not None else retry_in,
            outcome_unknown=outcome_unknown,
            code=self.code,
            status=self.status,
            method=self.method,
        )

    def limit(self, *, retry_in: float, per_method: bool) -> Bitrix24Error:
        return LimitExceeded(
            self.text,
            retry_in=max(self.wait if self.wait is not None else retry_in, 0.1),
            per_method=per_method,
            code=self.code,
            status=self.status,
            method=self.method,
        )


def _denied(told: _Told) -> Bitrix24Error:
    # One code for two things: a plan without REST, and the rights of the user.
    words = told.text.casefold()
    if any(mark in words for mark in ("commercial plan", "paid plan", "коммерческ")):
        return told.lost("suspended")
    return told.plain(AccessDenied)


type _Maker = Callable[[_Told], Bitrix24Error]

_BY_CODE: dict[str, _Maker] = {
    "expired_token": lambda told: told.plain(TokenExpired),
    "invalid_token": lambda told: told.plain(InvalidToken),
    "no_auth_found": lambda told: told.plain(InvalidToken),
    "authorization_error": lambda told: told.lost("broken"),
    "user_access_error": lambda told: told.lost("broken"),
    "invalid_grant": lambda told: told.lost("broken"),
    "invalid_client": lambda told: told.lost("broken"),
    "wrong_client": lambda told: told.lost("broken"),
    "payment_required": lambda told: told.lost("suspended"),
    "overload_limit": lambda told: told.lost("suspended"),
    "application_not_found": lambda told: told.lost("gone"),
    "not_installed": lambda told: told.lost("gone"),
    "error_oauth": lambda told: told.lost("gone"),
    "insufficient_scope": lambda told: told.plain(ScopeMissing),
    "invalid_scope": lambda told: told.plain(ScopeMissing),
    "error_method_not_found": lambda told: told.plain(MethodMissing),
    "not_found": lambda told: told.plain(NotFound),
    "owner_not_found": lambda told: told.plain(NotFound),
    "not found": lambda told: told.plain(NotFound),
    "access_denied": _denied,
    "access denied.": _denied,
    "access denied": _denied,
    "access_error": lambda told: told.plain(AccessDenied),
    "invalid_credentials": lambda told: told.plain(AccessDenied),
    "allowed_only_intranet_user": lambda told: told.plain(AccessDenied),
    "query_limit_exceeded": lambda told: told.limit(retry_in=1.0, per_method=False),
    "operation_time_limit": lambda told: told.limit(retry_in=60.0, per_method=True),
    "portal_deleted": lambda told: told.unavailable(
        retry_in=PORTAL_DELETED_RETRY_SECONDS, outcome_unknown=False
    ),
    "connection_error": lambda told: told.unavailable(retry_in=5.0, outcome_unknown=False),
    "internal_server_error": lambda told: told.unavailable(retry_in=None, outcome_unknown=True),
    "error_unexpected_answer": lambda told: told.unavailable(retry_in=None, outcome_unknown=True),
}


def error_from(
    status: int | None,
    body: Any,
    *,
    method: str,
    retry_after: float | None = None,
    secrets: Iterable[str] = (),
) -> Bitrix24Error:
    """The error for an answer that is not a result.

    `body` is the decoded JSON, or anything else when the answer was not JSON. `secrets` are
    strings of the request that the portal might repeat in its text; they are masked.
    Source: _includes/system-errors, error-codes, limits, settings/oauth/error-codes.
    """
    if not isinstance(body, Mapping) or not ("error" in body or "error_description" in body):
        return _not_bitrix24(status, method=method, retry_after=retry_after)
    secrets = list(secrets)
    code, description = _code_and_text(body)
    # some methods put a whole sentence where the code belongs
    safe_code = masked(code, secrets, limit=60)
    shown = ": ".join(part for part in (safe_code, masked(description, secrets)) if part)
    told = _Told(
        f"{method}: {shown or 'refused without a reason'}",
        safe_code,
        status,
        method,
        retry_after if retry_after is not None else _reset_in(body),
    )
    maker = _BY_CODE.get(code.casefold()) or (
        None if code else _BY_CODE.get(description.casefold().rstrip("."))
    )
    if maker:
        return maker(told)
    if status == 429:
        return told.limit(retry_in=1.0, per_method=False)
    if status is not None and status >= 500 and code.casefold() != "error_core":
        return told.unavailable(retry_in=None, outcome_unknown=True)
    return told.plain(CallRejected)


def _not_bitrix24(status: int | None, *, method: str, retry_after: float | None) -> Bitrix24Error:
    told = _Told(
        f"{method}: the answer is not Bitrix24's (HTTP {status})", "", status, method, retry_after
    )
    if status == 429:
        return told.limit(retry_in=1.0, per_method=False)
    refused_before = status is not None and 300 <= status < 500
    return told.unavailable(retry_in=None, outcome_unknown=not refused_before)


def _code_and_text(body: Mapping[str, Any]) -> tuple[str, str]:
    error = body.get("error")
    if isinstance(error, Mapping):  # REST 3.0
        return str(error.get("code") or ""), str(error.get("message") or "")
    description = body.get("error_description") or body.get("error_message") or ""
    return "" if error is None else str(error).strip(), str(description)


def _reset_in(body: Mapping[str, Any]) -> float | None:
    timing = body.get("time")
    reset_at = timing.get("operating_reset_at") if isinstance(timing, Mapping) else None
    reset_at = body.get("operating_reset_at") if reset_at is None else reset_at
    try:
        seconds = float(reset_at) - time.time() if reset_at is not None else None
    except (TypeError, ValueError):
        return None
    return min(max(seconds, 0.1), 3600.0) if seconds is not None else None


def masked(text: str, secrets: Iterable[str] = (), *, limit: int = 200) -> str:
    """The text without tokens and without `secrets`, in one line of at most `limit` characters."""
    for secret in sorted({one for one in secrets if len(one) >= 3}, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _NAMED_SECRET.sub(lambda match: f"{match[1]}=***", text)
    text = _TOKEN_LIKE.sub("***", text)
    return " ".join(text.split())[:limit]
