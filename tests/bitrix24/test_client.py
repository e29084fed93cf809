"""One portal, called over real sockets: results, refusals, repeats, moving, batches, pages."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import responses

from integrations.bitrix24 import errors
from integrations.bitrix24.client import (
    MAX_ANSWER_BYTES,
    Command,
    UnsafeBatchValue,
    is_inert,
)
from integrations.bitrix24.limiter import Bucket, MemoryLimiter, Priority
from integrations.net import AddressGuard, ForbiddenAddress
from tests.bitrix24.conftest import OneToken
from tests.bitrix24.portal_stand import Answer, open_stand, refusal, result


def test_a_call_sends_json_with_the_token_in_the_body_and_returns_the_result(client, stand):
    stand.result("crm.item.get", {"item": {"id": 77}})

    told = client.call("crm.item.get", {"id": 77, "name": "Пётр", "empty": None, "yes": True})

    asked = stand.asked[0]
    assert told == {"item": {"id": 77}}
    assert asked.verb == "POST"
    assert asked.path == "/rest/crm.item.get"
    assert asked.query == {}
    assert asked.body == {"id": 77, "name": "Пётр", "empty": None, "yes": True, "auth": "access-1"}
    assert asked.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_an_empty_result_is_a_result(client, stand, value):
    stand.result("some.method", value)

    assert client.call("some.method") == value


def test_a_webhook_has_no_token(make_client, stand):
    stand.result("profile", {})

    make_client(endpoint=f"{stand.url}/rest/1/abcdef", tokens=OneToken("")).call("profile")

    assert stand.asked[0].path == "/rest/1/abcdef/profile"
    assert stand.asked[0].body == {}


@pytest.mark.parametrize("method", ["", "a/b", "../x", "a?b=1", "a b"])
def test_a_method_that_is_no_name_is_not_called(client, stand, method):
    with pytest.raises(ValueError, match="name"):
        client.call(method)
    assert stand.asked == []


def test_an_endpoint_on_a_private_network_is_refused_when_that_is_not_allowed(make_client):
    with pytest.raises(ForbiddenAddress):
        make_client(guard=AddressGuard())


@pytest.mark.parametrize("code", ["expired_token", "invalid_token", "NO_AUTH_FOUND"])
def test_a_refused_token_is_renewed_once_and_the_call_repeated(client, stand, tokens, code):
    stand.script["profile"] = [refusal(code, 401), result({"ID": "1"})]

    assert client.call("profile") == {"ID": "1"}
    assert tokens.renewed == ["access-1"]
    assert [one.body["auth"] for one in stand.asked] == ["access-1", "access-2"]


@pytest.mark.parametrize(
    ("code", "kind"), [("expired_token", errors.TokenExpired), ("invalid_token", errors.AccessLost)]
)
def test_a_second_refusal_of_a_fresh_token_is_the_end(client, stand, tokens, code, kind):
    stand.error("profile", code, 401)

    with pytest.raises(kind):
        client.call("profile", repeatable=True)

    assert tokens.renewed == ["access-1"]
    assert len(stand.asked) == 2


@pytest.mark.parametrize(
    "code",
    [
        "insufficient_scope",
        "PAYMENT_REQUIRED",
        "authorization_error",
        "user_access_error",
        "APPLICATION_NOT_FOUND",
        "ACCESS_DENIED",
    ],
)
def test_other_401s_do_not_renew_the_token(client, stand, tokens, code):
    stand.error("profile", code, 401)

    with pytest.raises(errors.Bitrix24Error):
        client.call("profile", repeatable=True)

    assert tokens.renewed == []
    assert len(stand.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(drop=True),
        Answer(b"<html>502</html>", 502),
        Answer({"error": "INTERNAL_SERVER_ERROR", "error_description": ""}, 500),
        Answer(b"", 200),
        Answer({}, 200),
        Answer(b"x" * (MAX_ANSWER_BYTES + 1), 200),
    ],
    ids=["dropped", "html", "500", "empty", "no result", "too long"],
)
def test_a_lost_answer_is_unknown_for_a_write_and_repeated_for_a_read(client, stand, slept, answer):
    stand.script["crm.item.add"] = [answer, result("never asked for")]
    with pytest.raises(errors.Unavailable) as caught:
        client.call("crm.item.add", {"fields": {}})
    assert caught.value.outcome_unknown
    assert len(stand.asked) == 1

    stand.script["crm.item.get"] = [answer, answer, result(7)]
    assert client.call("crm.item.get", repeatable=True) == 7
    assert len(stand.asked) == 4
    assert len(slept) == 2
    assert all(0 < pause < 1 for pause in slept)


def test_repeats_end_after_two(client, stand):
    stand.script["profile"] = Answer(drop=True)

    with pytest.raises(errors.Unavailable):
        client.call("profile", repeatable=True)

    assert len(stand.asked) == 3


def test_a_portal_that_is_not_there_was_certainly_not_asked(make_client, stand):
    client = make_client(endpoint="http://127.0.0.1:1/rest/")

    with pytest.raises(errors.Unavailable) as caught:
        client.call("crm.item.add")

    assert not caught.value.outcome_unknown


def test_a_refusal_after_a_lost_attempt_says_so(client, stand):
    stand.script["send"] = [Answer(drop=True), refusal("SENDING_FAILED")]

    with pytest.raises(errors.CallRejected) as caught:
        client.call("send", repeatable=True)

    assert caught.value.after_retry


def test_an_unknown_outcome_stays_unknown_when_the_repeat_cannot_connect(client, stand):
    stand.script["send"] = [Answer(drop=True), Answer(b"", 404)]

    with pytest.raises(errors.Unavailable) as caught:
        client.call("send", repeatable=True)

    assert caught.value.outcome_unknown


def test_a_closed_portal_is_not_hammered(client, stand, slept):
    stand.error("profile", "PORTAL_DELETED", 500)

    with pytest.raises(errors.Unavailable) as caught:
        client.call("profile", repeatable=True)

    assert caught.value.retry_in == 6 * 3600
    assert len(stand.asked) == 1


def test_too_fast_is_repeated_once_for_live_calls_after_a_pause_of_everybody(
    make_client, stand, slept
):
    now = [1000.0]
    limiter = MemoryLimiter(Bucket(100, 100), clock=lambda: now[0])

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    client = make_client(limiter=limiter, sleep=sleep)
    stand.script["profile"] = [refusal("QUERY_LIMIT_EXCEEDED", 503), result(1)]

    assert client.call("profile") == 1
    assert 1 <= sum(slept) <= 1.6

    stand.script["profile"] = refusal("QUERY_LIMIT_EXCEEDED", 503)
    with pytest.raises(errors.LimitExceeded):
        client.call("profile", priority=Priority.BACKGROUND)
    assert len(stand.asked) == 3


def test_a_method_without_time_is_left_alone_until_its_reset(make_client, stand):
    client = make_client(limiter=MemoryLimiter(Bucket(100, 100)))
    stand.script["crm.item.list"] = Answer(
        {"error": "OPERATION_TIME_LIMIT", "time": {"operating_reset_at": time.time() + 300}}, 429
    )

    for _ in range(2):
        with pytest.raises(errors.LimitExceeded) as caught:
            client.call("crm.item.list", repeatable=True)
        assert caught.value.retry_in == pytest.approx(300, abs=5)
    assert stand.methods == ["crm.item.list"]


def test_a_long_wait_gives_the_thread_back(make_client, stand, slept):
    limiter = MemoryLimiter(Bucket(rate=0.1, burst=1), clock=lambda: 1000.0)
    client = make_client(limiter=limiter)
    stand.result("profile", 1)
    client.call("profile")

    with pytest.raises(errors.LimitExceeded) as caught:
        client.call("profile")

    assert caught.value.retry_in == pytest.approx(10)
    assert slept == []
    assert len(stand.asked) == 1


def test_a_short_wait_is_waited_for(make_client, stand):
    client = make_client(limiter=MemoryLimiter(Bucket(rate=20, burst=1)), sleep=time.sleep)
    stand.result("profile", 1)
    started = time.monotonic()

    for _ in range(3):
        client.call("profile")

    assert 0.1 <= time.monotonic() - started < 1


def test_what_a_method_has_used_of_its_time_is_told_to_the_limiter(make_client, stand):
    limiter = MemoryLimiter()
    stand.script["crm.item.list"] = Answer(
        {"result": [], "time": {"operating": 400.5, "operating_reset_at": time.time() + 100}}
    )

    make_client(limiter=limiter).call("crm.item.list")

    assert limiter.acquire("crm.item.list", priority=Priority.BACKGROUND) > 90


# --- the portal moves ----------------------------------------------------------------------------


def test_a_changed_domain_is_followed_once_with_the_whole_post(make_client, stand):
    moved = []
    with open_stand() as new:
        new.result("crm.item.get", "from the new one")
        stand.script["crm.item.get"] = Answer(
            b"", 302, {"Location": f"{new.url}/rest/crm.item.get"}
        )
        client = make_client(on_moved=moved.append)

        assert client.call("crm.item.get", {"id": 1}) == "from the new one"
        assert client.call("crm.item.get", {"id": 2}) == "from the new one"

        assert [one.verb for one in new.asked] == ["POST", "POST"]
        assert new.asked[0].body == {"id": 1, "auth": "access-1"}
        assert moved == [f"{new.url}/rest/"]
        assert client.endpoint == f"{new.url}/rest/"
        assert len(stand.asked) == 1


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/",
        "/login/",
        "http://169.254.169.254/rest/profile",
        "https://nowhere.invalid/rest/profile",
        "ftp://x/rest/profile",
        "http://u:p@127.0.0.1/rest/profile",
    ],
)
def test_a_redirect_that_is_no_move_is_not_followed(make_client, stand, location):
    moved = []
    stand.script["profile"] = Answer(b"", 302, {"Location": location})

    with pytest.raises(errors.Unavailable):
        make_client(on_moved=moved.append).call("profile")

    assert moved == []
    assert len(stand.asked) == 1


def test_a_move_from_https_to_plain_http_is_not_followed(make_client):
    url = "https://acme.bitrix24.ru/rest/profile"
    guard = AddressGuard(True, resolver=lambda host: ["93.184.216.34"])
    with responses.RequestsMock() as web:
        web.post(url, status=302, headers={"Location": url.replace("https", "http")})

        with pytest.raises(errors.Unavailable, match="plain http"):
            make_client(endpoint="https://acme.bitrix24.ru/rest/", guard=guard).call("profile")


def test_a_new_host_that_is_no_portal_is_not_believed(make_client, stand):
    moved = []
    with open_stand() as new:
        new.script["profile"] = Answer(b"<html>", 200)
        stand.script["profile"] = Answer(b"", 302, {"Location": f"{new.url}/rest/profile"})

        with pytest.raises(errors.Unavailable):
            make_client(on_moved=moved.append).call("profile")

    assert moved == []


# --- batches and pages ---------------------------------------------------------------------------


def test_a_batch_is_one_request_with_encoded_commands(client, stand):
    stand.result(
        "batch",
        {
            "result": {"a": {"item": {"id": 7}}},
            "result_error": {"b": {"error": "ACCESS_DENIED", "error_description": "no"}},
            "result_total": [],
            "result_next": [],
            "result_time": {"a": {"duration": 0.1, "operating": 2}},
        },
    )

    reply = client.batch(
        {
            "a": Command(
                "crm.item.get", {"entityTypeId": 1, "q": "a=b&c+d", "filter": {"=imol": "x|1"}}
            ),
            "b": Command("profile"),
        }
    )

    assert stand.asked[0].body["cmd"] == {
        "a": "crm.item.get?entityTypeId=1&q=a%3Db%26c%2Bd&filter%5B%3Dimol%5D=x%7C1",
        "b": "profile?",
    }
    assert stand.asked[0].body["halt"] == 0
    assert reply.get("a") == {"item": {"id": 7}}
    assert isinstance(reply.errors["b"], errors.AccessDenied)
    assert reply.errors["b"].method == "profile"
    with pytest.raises(errors.AccessDenied):
        reply.get("b")


def test_empty_maps_of_a_batch_come_as_lists(client, stand):
    stand.result("batch", {"result": [], "result_error": [], "result_time": []})

    reply = client.batch({"a": Command("profile")})

    assert reply.results == {}
    with pytest.raises(errors.CallRejected, match="not executed"):
        reply.get("a")


def test_a_token_refused_for_a_whole_batch_is_renewed(client, stand, tokens):
    stand.script["batch"] = [refusal("expired_token", 401), result({"result": {"a": 1}})]

    assert client.batch({"a": Command("profile")}).get("a") == 1
    assert tokens.renewed == ["access-1"]


@pytest.mark.parametrize(
    ("text", "inert"),
    [
        ("Сколько стоит за $100?", True),
        ("$ result", True),
        ("$result[a][item]", False),
        ("до $RESULT[a]", False),
        ("$next[a]", False),
        ("$total", False),
        ("$time", False),
        ("x$error[b]", False),
    ],
)
def test_references_are_recognised_and_never_put_into_a_batch(client, stand, text, inert):
    assert is_inert(text) is inert
    if not inert:
        for params in ({"fields": {"a": [text]}}, {text: 1}):
            with pytest.raises(UnsafeBatchValue) as caught:
                client.batch({"a": Command("profile"), "b": Command("crm.item.update", params)})
            assert text not in str(caught.value)
        assert stand.asked == []


def test_a_batch_has_a_limit_and_an_empty_one_asks_nothing(client, stand):
    with pytest.raises(ValueError, match="50"):
        client.batch({str(i): Command("profile") for i in range(51)})
    assert client.batch({}).results == {}
    assert stand.asked == []


def test_all_pages_are_read(client, stand):
    def page(asked):
        start = asked.body["start"]
        rows = list(range(start, min(start + 50, 120)))
        return result(rows, total=120, **({"next": start + 50} if start + 50 < 120 else {}))

    stand.script["crm.status.list"] = page

    assert list(client.pages("crm.status.list", {"filter": {}})) == list(range(120))
    assert [one.body["start"] for one in stand.asked] == [0, 50, 100]


@pytest.mark.parametrize("following", [0, "0", -1, "x", None, 50])
def test_pages_end_even_when_the_portal_says_nonsense(client, stand, following):
    stand.script["crm.item.list"] = [
        result({"items": [1]}, next=following),
        result({"items": []}, next=50),
    ]

    assert list(client.pages("crm.item.list", key="items")) == [1]


# --- threads, speed, secrets ---------------------------------------------------------------------


def test_a_hundred_threads_share_one_client(client, stand):
    stand.script["echo"] = lambda asked: result(asked.body["n"])
    start = threading.Barrier(100)

    def call(n):
        start.wait()
        return [client.call("echo", {"n": n * 10 + i}) for i in range(5)]

    with ThreadPoolExecutor(100) as pool:
        told = list(pool.map(call, range(100)))

    assert told == [[n * 10 + i for i in range(5)] for n in range(100)]
    assert stand.connections <= 100


def test_our_own_part_of_a_call_is_under_a_millisecond_and_a_half(client, stand, monkeypatch):
    stand.result("profile", {"ID": "1"})
    client.call("profile")
    spent = []
    send = client._session.send

    def timed(*args, **kwargs):
        started = time.thread_time()
        try:
            return send(*args, **kwargs)
        finally:
            spent.append(time.thread_time() - started)

    monkeypatch.setattr(client._session, "send", timed)
    started = time.thread_time()
    for _ in range(200):
        client.call("profile")
    own = (time.thread_time() - started - sum(spent)) / 200

    assert own < 0.0015


CANARIES = ["canary-token-one", "canary-token-two", "canary-client-text", "canaryPhone"]


@pytest.mark.parametrize(
    "answer",
    [
        refusal("expired_token", 401, "token canary-token-one"),
        refusal("ERROR_CORE", 400, "value canary-client-text is bad for auth=canary-token-one"),
        refusal("canary-client-text canary-token-one", 400),
        refusal("QUERY_LIMIT_EXCEEDED", 503, "canary-token-one"),
        Answer(b"<html>canary-token-one canary-client-text</html>", 500),
        Answer(b"", 302, {"Location": "/login?auth=canary-token-one"}),
        Answer(drop=True),
        result({"fine": "canary-client-text"}),
    ],
)
def test_no_secret_and_no_text_of_a_client_is_ever_logged_or_raised(
    make_client, stand, caplog, answer
):
    stand.script["crm.item.update"] = answer
    stand.script["batch"] = answer
    one, other = (make_client(tokens=OneToken("canary-token-one")) for _ in range(2))
    values = {"fields": {"TITLE": "canary-client-text", "fm": {"n0": {"value": "canaryPhone"}}}}
    told = []

    with caplog.at_level(logging.DEBUG):
        for logger in ("integrations.bitrix24", "urllib3.connectionpool"):
            caplog.set_level(logging.DEBUG, logger=logger)
        for ask in (
            lambda: one.call("crm.item.update", values, repeatable=True),
            lambda: other.batch({"a": Command("crm.item.update", values)}),
        ):
            try:
                ask()
            except errors.Bitrix24Error as error:
                told += [f"{e!r} {e} {e.__dict__}" for e in chain_of(error)]

    lines = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert any("crm.item.update" in line for line in lines)
    for line in [*lines, *told]:
        assert not any(canary in line for canary in CANARIES), line


def chain_of(error):
    """The error and everything that hangs on to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_call_is_logged_with_names_instead_of_values(client, stand, caplog):
    stand.error("crm.item.get", "NOT_FOUND")
    with (
        caplog.at_level(logging.INFO, logger="integrations.bitrix24"),
        pytest.raises(errors.NotFound),
    ):
        client.call("crm.item.get", {"id": 77, "entityTypeId": 1})

    record = caplog.records[-1].__dict__
    assert record["method"] == "crm.item.get"
    assert record["portal"] == client.host
    assert record["status"] == 400
    assert record["code"] == "NOT_FOUND"
    assert record["params"] == ["entityTypeId", "id"]
    assert 0 <= record["ms"] < 5000
