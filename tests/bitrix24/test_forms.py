"""PHP's forms, there and back."""

from __future__ import annotations

import pytest
from django.http import QueryDict

from integrations.bitrix24 import forms


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a=1", {"a": "1"}),
        ("data%5BFIELDS%5D%5BID%5D=7", {"data": {"FIELDS": {"ID": "7"}}}),
        ("data[FIELDS][ID]=7&data[FIELDS][X]=", {"data": {"FIELDS": {"ID": "7", "X": ""}}}),
        ("l[]=a&l[]=b", {"l": {"0": "a", "1": "b"}}),
        ("l[5]=a&l[]=b", {"l": {"5": "a", "6": "b"}}),
        ("t=%D0%9F+%2B7", {"t": "П +7"}),
        ("a=1&a=2", {"a": "2"}),
        ("a=1&a[b]=2", {"a": {"b": "2"}}),
        ("a[b]=2&a=1", {"a": "1"}),
        ("a[b=1", {"a[b": "1"}),
        ("a[b]c=1", {"a[b]c": "1"}),
        ("bad=%FF%FE", {"bad": "\ufffd\ufffd"}),
        ("nul=a%00b", {"nul": "ab"}),
        ("", {}),
    ],
)
def test_a_form_is_read_by_phps_rules(body, expected):
    assert forms.parse_form(body.encode()) == expected


def test_a_querydict_is_read_like_the_bytes_it_came_from():
    assert forms.parse_form(QueryDict("d[a][0]=1&d[a][1]=2&l[]=x&l[]=y")) == {
        "d": {"a": {"0": "1", "1": "2"}},
        "l": {"0": "x", "1": "y"},
    }


@pytest.mark.parametrize(
    "body",
    ["a" + "[x]" * 10 + "=1", "&".join(f"k{i}=1" for i in range(5_001))],
    ids=["too deep", "too many"],
)
def test_hostile_forms_are_refused(body):
    with pytest.raises(forms.MalformedForm):
        forms.parse_form(body.encode())


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/x-www-form-urlencoded", b"a[b]=1", {"a": {"b": "1"}}),
        ("application/json; charset=utf-8", b'{"a":{"b":1}}', {"a": {"b": 1}}),
        ("", b' {"a":true}', {"a": True}),
        ("application/json", b"", {}),
        ("application/json", rb'{"a":"x\u0000y\ud800z"}', {"a": "xy\ufffdz"}),
    ],
)
def test_form_and_json_bodies_are_both_read(content_type, body, expected):
    assert forms.parse_body(content_type, body) == expected


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b'"x"', b"\xff{", b'{"a":' * 2000 + b"1" + b"}" * 2000]
)
def test_json_that_is_no_sane_object_is_refused(body):
    with pytest.raises(forms.MalformedForm):
        forms.parse_body("application/json", body)


def test_encoding_is_what_php_does_and_survives_the_way_back():
    data = {
        "event": "X",
        "d": {"t": True, "f": False, "n": None, "l": ["+7 999", {"k": 1}], "e": {}, "z": []},
    }

    body = forms.encode_form(data)

    assert b"%2B7+999" in body
    assert forms.parse_form(body) == {
        "event": "X",
        "d": {"t": "1", "f": "0", "n": "", "l": {"0": "+7 999", "1": {"k": "1"}}},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], []),
        ({}, []),
        ("", []),
        (None, []),
        ({"0": "a", "1": "b"}, ["a", "b"]),
        ({"10": "k", "2": "b"}, ["b", "k"]),
        ({"id": 1}, [{"id": 1}]),
        ("a", ["a"]),
        (("a",), ["a"]),
    ],
)
def test_a_list_is_made_of_whatever_stands_for_one(value, expected):
    assert forms.as_list(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [([], {}), ("", {}), (None, {}), (["a"], {"0": "a"}), ({1: 2}, {"1": 2})]
)
def test_phps_empty_array_is_an_empty_dict(value, expected):
    assert forms.as_dict(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("7", 7),
        (" 7 ", 7),
        (7, 7),
        (7.0, 7),
        ("7.00", 7),
        ("-1", -1),
        (True, 1),
        ("", None),
        ("7a", None),
        (7.5, None),
        (None, None),
        ("9" * 30, None),
        ([], None),
        ("²", None),
    ],
)
def test_numbers_come_as_text_too(value, expected):
    assert forms.int_of(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Y", True),
        ("1", True),
        (True, True),
        (1, True),
        ("true", True),
        ("N", False),
        ("0", False),
        ("", False),
        (None, False),
        (0, False),
        ([], False),
    ],
)
def test_yes_has_many_spellings(value, expected):
    assert forms.flag_of(value) is expected


def test_keys_of_all_spellings_meet():
    for key in ("chatId", "CHAT_ID", "chat_id", "chatid"):
        assert forms.folded({key: 1}) == {"chatid": 1}
