"""Whatever goes wrong: a page that people can read, JSON for programs, never an empty answer."""

from __future__ import annotations

import re

import pytest
from django.core.exceptions import BadRequest, PermissionDenied
from django.test import Client
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from bx_gpt_app import urls
from tests.factories import make_app

JSON = {"accept": "application/json"}
CYRILLIC = re.compile("[а-яё]")


def raising(error):
    @csrf_exempt
    def view(request):
        raise error

    return view


urlpatterns = [
    path("breaks", raising(RuntimeError("secret sk-canary"))),
    path("b24/default/breaks/", raising(RuntimeError("secret sk-canary"))),
    path("hooks/breaks/", raising(RuntimeError("secret sk-canary"))),
    path("forbids", raising(PermissionDenied("secret"))),
    path("refuses", raising(BadRequest("secret"))),
    *urls.urlpatterns,
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


@pytest.fixture
def web(db, settings) -> Client:
    """Shows what the world would see of an exception; cares about CSRF like a real one."""
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["testserver"]
    return Client(raise_request_exception=False, enforce_csrf_checks=True)


WRONG = [
    ("get", "/nosuch", {}, 404),
    ("get", "/healthz/", {}, 404),
    ("get", "/demo/", {}, 404),
    ("post", "/nosuch", {}, 404),
    ("get", "/b24/default/nosuch/", {}, 404),
    ("get", "/", {"host": "evil.example"}, 400),
    ("post", "/", {}, 405),
    ("delete", "/healthz", {}, 405),
    ("post", "/b24/default/oauth/callback/", {}, 405),
    ("post", "/admin/login/", {}, 403),
    ("get", "/breaks", {}, 500),
    ("get", "/forbids", {}, 403),
    ("get", "/refuses", {}, 400),
]


@pytest.mark.parametrize(("method", "url", "headers", "status"), WRONG)
def test_person_reads_a_page_in_his_language(web, method, url, headers, status):
    def ask(language):
        return getattr(web, method)(
            url, headers={"accept": "text/html,*/*", "accept-language": language, **headers}
        )

    english, russian = ask("en-GB,en;q=0.8"), ask("ru,en;q=0.5")

    assert (english.status_code, russian.status_code) == (status, status)
    assert english["Content-Type"].startswith("text/html")
    for answer, is_russian in ((english, False), (russian, True)):
        page = answer.content.decode()
        for tag in ("title", "h1"):
            told = re.search(rf"<{tag}>([^<]+)</{tag}>", page)
            assert told, page
            assert bool(CYRILLIC.search(told[1])) is is_russian
        assert re.search(r"<p>[^<]{20,}\.</p>", page)
        assert "secret" not in page


@pytest.mark.parametrize(("method", "url", "headers", "status"), WRONG)
def test_program_gets_json_with_the_same_status(web, method, url, headers, status):
    answer = getattr(web, method)(url, headers={**JSON, **headers})

    assert answer.status_code == status
    told = answer.json()
    assert set(told) == {"error", "error_description"}
    assert told["error_description"].endswith(".")
    assert "secret" not in str(told)


@pytest.mark.parametrize(
    "url", ["/b24/default/", "/b24/default/placement/", "/b24/default/install/", "/b24/none/"]
)
@pytest.mark.parametrize("body", ["{", "[1]", "{}", '{"AUTH_ID": 5}'])
def test_bad_json_at_a_door_is_answered_with_json(web, url, body):
    make_app()

    answer = web.post(url, body, content_type="application/json")

    assert answer.status_code in (400, 404)
    assert set(answer.json()) == {"error", "error_description"}


@pytest.mark.parametrize("url", ["/b24/default/", "/b24/default/install/"])
def test_bad_body_of_a_browser_is_answered_with_a_page(web, url):
    answer = web.post(
        url, "{", content_type="application/x-www-form-urlencoded", headers={"accept": "text/html"}
    )

    assert answer.status_code == 400
    assert "<h1>" in answer.content.decode()


@pytest.mark.parametrize(
    ("url", "status"),
    [("/b24/default/nosuch/", 404), ("/hooks/x/y/z/", 404), ("/hooks/breaks/", 500),
     ("/b24/default/breaks/", 500), ("/hooks/x/6f9619ff-8b86-d011-b42d-00c04fc964ff/", 405)],
)  # fmt: skip
def test_whoever_posts_to_the_addresses_of_machines_is_one(web, url, status):
    answer = web.post(url, {"a": "b"}, headers={"accept": "*/*"})

    assert answer.status_code == status
    assert answer.json()["error"]


def test_wrong_host_name_is_said_to_be_one(web):
    answer = web.get("/nosuch", headers={"host": "evil.example", **JSON})

    assert "name" in answer.json()["error_description"]
    assert "evil" not in answer.content.decode()


def test_refusal_of_a_method_still_names_those_that_are_taken(web):
    assert web.post("/", headers=JSON)["Allow"] == "GET, HEAD"


def test_body_that_is_too_large_is_told_so(web):
    answer = web.post("/b24/default/", "x" * 1_100_000, content_type="application/json")

    assert answer.status_code == 413
    assert answer.json()["error"] == "too_large"
