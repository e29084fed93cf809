"""Which addresses may be reached, by whatever way they are given."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from integrations.bitrix24.client import exchange
from integrations.net import AddressGuard, ForbiddenAddress, HostNotFound, open_session
from tests.bitrix24.portal_stand import Answer, open_stand

PUBLIC = "93.184.216.34"


def guard_knowing(*addresses: str, allow_private: bool = False) -> AddressGuard:
    return AddressGuard(allow_private, resolver=lambda host: list(addresses))


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.bitrix24.ru/rest/",
        "ftp://acme.bitrix24.ru/",
        "//acme.bitrix24.ru/",
        "",
        "https://",
        "https://user:secret@acme.bitrix24.ru/",
        "https://user@acme.bitrix24.ru/",
        "https://acme.bitrix24.ru:99999/",
        "https://acme.bitrix24.ru\\@127.0.0.1/",
        "https://acme.bitrix24.ru/ a",
        "https://acme.bitrix24.ru/\r\nHost: x",
        "https://[::1/",
        "https://exa mple.com/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f000001/",
        "https://0x7f.1/",
        "https://127.1/",
    ],
)
def test_addresses_of_a_wrong_form_are_refused_even_if_dns_would_know_them(url):
    with pytest.raises(ForbiddenAddress):
        guard_knowing(PUBLIC).check(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:db8::1",
    ],
)
def test_hosts_that_lead_to_our_own_network_are_refused(address):
    with pytest.raises(ForbiddenAddress):
        guard_knowing(address).check("https://portal.example.ru/rest/")
    with pytest.raises(ForbiddenAddress):
        guard_knowing(PUBLIC, address).check_host("portal.example.ru")


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://[::1]/", "https://[::ffff:7f00:1]/"]
)
def test_private_addresses_written_out_are_refused_without_dns(url):
    guard = AddressGuard(resolver=lambda host: pytest.fail("DNS was asked"))

    with pytest.raises(ForbiddenAddress):
        guard.check_form(url)


@pytest.mark.parametrize(
    "url",
    ["https://acme.bitrix24.ru/rest/", "https://портал.рф:8443/sub/rest/", f"https://{PUBLIC}/"],
)
def test_public_hosts_pass(url):
    guard_knowing(PUBLIC, "2606:2800:220:1::1").check(url)


def test_private_networks_pass_when_the_operator_allows_them_but_metadata_never_does():
    guard_knowing("10.0.0.5", allow_private=True).check("http://box.local:8080/rest/")
    guard_knowing("127.0.0.1", allow_private=True).check("http://localhost:1234/")
    with pytest.raises(ForbiddenAddress):
        guard_knowing("169.254.169.254", allow_private=True).check("http://metadata/")


def test_an_unknown_host_is_told_apart_from_a_forbidden_one():
    def unknown(host: str) -> list[str]:
        raise socket.gaierror

    with pytest.raises(HostNotFound, match=r"nowhere\.example\.ru"):
        AddressGuard(resolver=unknown).check("https://nowhere.example.ru/")


def test_dns_is_asked_once_a_minute_at_most():
    asked = []
    guard = AddressGuard(resolver=lambda host: asked.append(host) or [PUBLIC])

    for _ in range(5):
        guard.check_host("acme.bitrix24.ru")

    assert guard.resolve("ACME.bitrix24.ru", 443) == [PUBLIC]
    assert asyncio.run(guard.resolve_async("acme.bitrix24.ru", 443)) == [PUBLIC]
    assert asked == ["acme.bitrix24.ru"]


def test_refusals_are_not_remembered_as_permission():
    guard = guard_knowing("10.0.0.1")

    for _ in range(2):
        with pytest.raises(ForbiddenAddress):
            guard.check_host("evil.example.ru")


def test_a_session_refuses_to_connect_to_a_private_address():
    with (
        open_stand() as stand,
        open_session(2, guard=guard_knowing("127.0.0.1")) as session,
        pytest.raises(ForbiddenAddress),
    ):
        session.get(f"https://evil.example.ru:{stand.url.rpartition(':')[2]}/")


def test_a_name_that_changes_its_address_after_the_check_gains_nothing():
    """DNS rebinding: what was checked is what is connected to."""
    answers = [[PUBLIC], ["127.0.0.1"]]
    guard = AddressGuard(resolver=lambda host: answers.pop(0))
    guard.check("https://evil.example.ru/")
    guard.forget("evil.example.ru")

    with open_session(2, guard=guard) as session, pytest.raises(ForbiddenAddress):
        session.get("https://evil.example.ru/", timeout=1)


def test_a_redirect_does_not_lead_around_the_guard():
    with open_stand() as stand:
        guard = AddressGuard(True, resolver=lambda host: ["127.0.0.1"])
        stand.script["/go"] = Answer({}, 302, {"Location": "http://169.254.169.254/latest/"})
        with open_session(2, guard=guard) as session, pytest.raises(ForbiddenAddress):
            session.get(f"{stand.url}/go")


def test_the_second_address_is_tried_when_the_first_does_not_answer():
    with open_stand() as stand:
        port = stand.url.rpartition(":")[2]
        guard = AddressGuard(True, resolver=lambda host: ["127.0.0.99", "127.0.0.1"])
        stand.script["/x"] = Answer({"fine": True})
        with open_session(2, guard=guard) as session:
            assert session.get(f"http://two.example.ru:{port}/x").json() == {"fine": True}


def test_a_host_that_cannot_be_reached_is_an_error_of_requests():
    guard = AddressGuard(True, resolver=lambda host: ["127.0.0.1"])
    with open_session(2, guard=guard) as session, pytest.raises(requests.ConnectionError):
        session.get("http://closed.example.ru:1/")


def test_sessions_keep_no_cookies_and_ignore_the_environment(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with open_stand() as stand, open_session(2, guard=AddressGuard(True)) as session:
        stand.script["/c"] = Answer({}, headers={"Set-Cookie": "PHPSESSID=1; Path=/"})

        session.get(f"{stand.url}/c")
        session.get(f"{stand.url}/c")

        assert "Cookie" not in stand.asked[1].headers
        assert stand.connections == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A file with the key and certificate of `box.example.ru`, which is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box.example.ru")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("box.example.ru")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "box.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + signed.public_bytes(Encoding.PEM))
    return str(file)


@pytest.mark.parametrize(
    ("host", "trusted", "fine"),
    [
        ("box.example.ru", True, True),
        ("box.example.ru", False, False),
        ("evil.example.ru", True, False),
    ],
    ids=["own authority", "unknown authority", "another host's certificate"],
)
def test_certificates_are_checked_against_the_name_although_addresses_are_dialled(
    certificate, host, trusted, fine
):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    guard = AddressGuard(True, resolver=lambda name: ["127.0.0.1"])
    bundle = certificate if trusted else None
    with open_stand(tls) as stand, open_session(2, guard=guard, ca_bundle=bundle) as session:
        stand.script["profile"] = Answer({"result": "fine"})
        url = f"https://{host}:{stand.url.rpartition(':')[2]}/rest/profile"

        answer, failure = exchange(session, "POST", url, body=b"{}", name="profile")

    if fine:
        assert answer
        assert answer.body == {"result": "fine"}
    else:
        assert failure
        assert not failure.outcome_unknown
        assert stand.asked == []


def test_debug_logs_of_the_library_show_no_query(caplog):
    with (
        caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"),
        open_stand() as stand,
        open_session(2, guard=AddressGuard(True)) as session,
    ):
        stand.script["/oauth/token/"] = Answer({})
        session.get(f"{stand.url}/oauth/token/?client_secret=canary-secret")

    assert "/oauth/token/" in caplog.text
    assert "canary-secret" not in caplog.text
