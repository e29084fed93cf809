"""The POST that opens our page in the portal."""

from __future__ import annotations

import pytest

from integrations.bitrix24.crm import ItemRef
from integrations.bitrix24.frames import NotAFramePost, parse_frame_post
from tests.bitrix24.conftest import form

QUERY = {"DOMAIN": "acme.bitrix24.ru", "PROTOCOL": "1", "LANG": "ru", "APP_SID": "dd8c"}


def test_a_frame_is_read_from_query_and_body():
    frame = parse_frame_post(QUERY, form("frame_post"))

    assert frame.domain == "acme.bitrix24.ru"
    assert frame.protocol == "https"
    assert (frame.lang, frame.app_sid) == ("ru", "dd8c")
    assert frame.access_token == "6061e726" * 3
    assert frame.refresh_token == "50e00aa3" * 3
    assert frame.member_id == "0123456789abcdef0123456789abcdef"
    assert frame.server_endpoint == "https://oauth.bitrix24.tech/rest/"
    assert frame.scope[:2] == ("crm", "im")
    assert frame.placement == "IM_SIDEBAR"
    assert frame.dialog_id == "chat112"
    assert frame.item_ref is None
    assert "6061e726" not in repr(frame)
    assert "51ab" not in repr(frame)


def test_an_old_portal_leaves_most_of_it_out():
    frame = parse_frame_post({}, {"AUTH_ID": "t", "member_id": "m1"})

    assert frame.domain == ""
    assert frame.placement == "DEFAULT"
    assert frame.options == {}
    assert frame.expires_in == 3600


@pytest.mark.parametrize(
    ("placement", "options", "dialog_id", "item"),
    [
        ("DEFAULT", "", "", None),
        ("DEFAULT", "[]", "", None),
        ("DEFAULT", "{broken", "", None),
        ("DEFAULT", '"text"', "", None),
        ("DEFAULT", {"dialogId": "chat5"}, "chat5", None),
        ("IM_TEXTAREA", '{"dialogId":"7"}', "7", None),
        ("IM_TEXTAREA", '{"dialogId":"sg5"}', "sg5", None),
        ("IM_TEXTAREA", '{"dialogId":"chat1;drop"}', "", None),
        ("CRM_LEAD_DETAIL_TAB", '{"ID":"77"}', "", ItemRef(1, 77)),
        ("CRM_DYNAMIC_183_DETAIL_TAB", '{"ID":5}', "", ItemRef(183, 5)),
        ("CRM_SMART_INVOICE_DETAIL_TAB", '{"ID":"3"}', "", ItemRef(31, 3)),
        ("CRM_DEAL_DETAIL_ACTIVITY", '{"entityTypeId":2,"entityId":"8"}', "", ItemRef(2, 8)),
        ("DEFAULT", '{"entityTypeId":1,"entityId":77}', "", ItemRef(1, 77)),
        ("CRM_LEAD_DETAIL_TAB", '{"ID":"x"}', "", None),
        ("CRM_NONSENSE_DETAIL_TAB", '{"ID":"5"}', "", None),
        ("LEFT_MENU", '{"ID":"5"}', "", None),
    ],
)
def test_where_the_page_was_opened(placement, options, dialog_id, item):
    body = {**form("frame_post"), "PLACEMENT": placement, "PLACEMENT_OPTIONS": options}

    frame = parse_frame_post(QUERY, body)

    assert frame.dialog_id == dialog_id
    assert frame.item_ref == item


@pytest.mark.parametrize(
    ("options", "message_id"),
    [
        ('{"dialogId":"chat5","messageId":"90101"}', 90101),
        ('{"dialogId":"chat5"}', None),
        ('{"messageId":"-1"}', None),
        ('{"messageId":"x"}', None),
        (f'{{"messageId":"{2**63}"}}', None),
    ],
)
def test_message_whose_menu_the_page_was_opened_from(options, message_id):
    placed = {"PLACEMENT": "IM_CONTEXT_MENU", "PLACEMENT_OPTIONS": options}

    frame = parse_frame_post(QUERY, {**form("frame_post"), **placed})

    assert frame.message_id == message_id


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ({}, {}),
        (QUERY, {"member_id": "m"}),
        (QUERY, {"AUTH_ID": "t"}),
        (QUERY, {"AUTH_ID": "t", "member_id": "a/b"}),
        (QUERY, {"AUTH_ID": "t" * 3000, "member_id": "m"}),
        ({"DOMAIN": "evil.ru/path"}, {"AUTH_ID": "t", "member_id": "m"}),
        ({"DOMAIN": "a b"}, {"AUTH_ID": "t", "member_id": "m"}),
    ],
)
def test_other_posts_are_refused(query, body):
    with pytest.raises(NotAFramePost):
        parse_frame_post(query, body)
