"""Every refusal of the portal, sorted by what to do next."""

from __future__ import annotations

import time

import pytest

from integrations.bitrix24 import errors
from integrations.bitrix24.errors import error_from, masked

TOKEN = "a1b2c3d4e5f6a7b8c9d0e1f2"

CASES = [
    (401, {"error": "expired_token", "error_description": "expired"}, errors.TokenExpired),
    (401, {"error": "EXPIRED_TOKEN"}, errors.TokenExpired),
    (401, {"error": "invalid_token"}, errors.InvalidToken),
    (401, {"error": "NO_AUTH_FOUND"}, errors.InvalidToken),
    (401, {"error": "authorization_error"}, errors.AccessLost),
    (403, {"error": "user_access_error"}, errors.AccessLost),
    (403, {"error": "insufficient_scope"}, errors.ScopeMissing),
    (401, {"error": "insufficient_scope"}, errors.ScopeMissing),
    (403, {"error": "INVALID_CREDENTIALS"}, errors.AccessDenied),
    (401, {"error": "APPLICATION_NOT_FOUND"}, errors.AccessLost),
    (
        401,
        {"error": "ERROR_OAUTH", "error_description": "Application not installed"},
        errors.AccessLost,
    ),
    (401, {"error": "PAYMENT_REQUIRED"}, errors.AccessLost),
    (403, {"error": "ACCESS_DENIED", "error_description": "Access denied!"}, errors.AccessDenied),
    (
        401,
        {
            "error": "ACCESS_DENIED",
            "error_description": "REST is available only on commercial plans",
        },
        errors.AccessLost,
    ),
    (403, {"error": "WRONG_AUTH_TYPE"}, errors.CallRejected),
    (503, {"error": "QUERY_LIMIT_EXCEEDED"}, errors.LimitExceeded),
    (429, {"error": "QUERY_LIMIT_EXCEEDED"}, errors.LimitExceeded),
    (429, {"error": "TOO_MANY_REQUESTS"}, errors.LimitExceeded),
    (429, {"error": "OPERATION_TIME_LIMIT"}, errors.LimitExceeded),
    (503, {"error": "OVERLOAD_LIMIT"}, errors.AccessLost),
    (500, {"error": "PORTAL_DELETED"}, errors.Unavailable),
    (403, {"error": "PORTAL_DELETED"}, errors.Unavailable),
    (410, {"error": "PORTAL_DELETED"}, errors.Unavailable),
    (500, {"error": "INTERNAL_SERVER_ERROR"}, errors.Unavailable),
    (401, {"error": "CONNECTION_ERROR"}, errors.Unavailable),
    (404, {"error": "ERROR_METHOD_NOT_FOUND"}, errors.MethodMissing),
    (400, {"error": "NOT_FOUND"}, errors.NotFound),
    (400, {"error": "", "error_description": "Not found"}, errors.NotFound),
    (400, {"error": "", "error_description": "Access denied."}, errors.AccessDenied),
    (400, {"error": "Access denied."}, errors.AccessDenied),
    (400, {"error": "Communication type is not defined"}, errors.CallRejected),
    (400, {"error": 0, "error_description": "bad"}, errors.CallRejected),
    (400, {"error": "100", "error_description": "bad"}, errors.CallRejected),
    (200, {"error": ""}, errors.CallRejected),
    (200, {"error": "ERROR_ARGUMENT", "argument": "iconName"}, errors.CallRejected),
    (500, {"error": "ERROR_CORE", "error_description": "x"}, errors.CallRejected),
    (403, {"error": "allowed_only_intranet_user"}, errors.AccessDenied),
    (400, {"error": "invalid_grant"}, errors.AccessLost),
    (200, {"error": "wrong_client"}, errors.AccessLost),
    (401, {"error": "NOT_INSTALLED"}, errors.AccessLost),
    (400, {"error": {"code": "BITRIX_REST_V3_EXCEPTION_X", "message": "m"}}, errors.CallRejected),
    (502, None, errors.Unavailable),
    (403, None, errors.Unavailable),
    (200, [], errors.Unavailable),
    (None, None, errors.Unavailable),
]


@pytest.mark.parametrize(("status", "body", "kind"), CASES)
def test_an_answer_becomes_the_error_that_says_what_to_do(status, body, kind):
    error = error_from(status, body, method="crm.item.get")

    assert type(error) is kind
    assert error.status == status
    assert error.method == "crm.item.get"


@pytest.mark.parametrize(
    ("code", "state"),
    [
        ("PAYMENT_REQUIRED", "suspended"),
        ("OVERLOAD_LIMIT", "suspended"),
        ("invalid_grant", "broken"),
        ("authorization_error", "broken"),
        ("invalid_client", "broken"),
        ("NOT_INSTALLED", "gone"),
        ("APPLICATION_NOT_FOUND", "gone"),
    ],
)
def test_lost_access_says_how_it_was_lost(code, state):
    error = error_from(401, {"error": code}, method="m")

    assert isinstance(error, errors.AccessLost)
    assert error.state == state


@pytest.mark.parametrize(
    ("status", "body", "unknown"),
    [
        (500, {"error": "INTERNAL_SERVER_ERROR"}, True),
        (503, {"error": "SOMETHING"}, True),
        (504, None, True),
        (200, "not json", True),
        (404, None, False),
        (500, {"error": "PORTAL_DELETED"}, False),
        (503, {"error": "QUERY_LIMIT_EXCEEDED"}, False),
    ],
)
def test_it_is_known_whether_a_write_may_have_happened(status, body, unknown):
    error = error_from(status, body, method="m")

    assert isinstance(error, errors.Unavailable)
    assert error.outcome_unknown is unknown


def test_a_time_limit_names_when_the_method_may_be_called_again():
    reset = {"time": {"operating_reset_at": time.time() + 300}}
    error = error_from(429, {"error": "OPERATION_TIME_LIMIT", **reset}, method="m")

    assert isinstance(error, errors.LimitExceeded)
    assert error.per_method
    assert 290 < (error.retry_in or 0) <= 300


def test_retry_after_is_believed():
    error = error_from(503, {"error": "QUERY_LIMIT_EXCEEDED"}, method="m", retry_after=7)

    assert isinstance(error, errors.LimitExceeded)
    assert error.retry_in == 7


@pytest.mark.parametrize(
    "text",
    [
        f"Token {TOKEN} is bad",
        f"auth={TOKEN}&x=1",
        "GET /?client_secret=short",
        "refresh_token=abc",
        "the value canary",
    ],
)
def test_texts_of_the_portal_lose_their_secrets(text):
    shown = masked(text, ["canary"])

    assert "***" in shown
    assert not any(secret in shown for secret in (TOKEN, "short", "=abc", "canary"))


def test_codes_and_field_names_stay_readable():
    text = (
        'Invalid value for field "Дата визита" UF_CRM_1747309727 (CRM_FIELD_ERROR_VALUE_NOT_VALID)'
    )

    assert masked(text) == text
    assert len(masked("слово " * 100)) == 200
