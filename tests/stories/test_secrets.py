"""What must not be in the log: tokens, keys, and what clients say."""

from __future__ import annotations

import logging

from bx_gpt_app.assistant.models import Run
from bx_gpt_app.common.logs import JsonLines
from bx_gpt_app.portals.models import Grant


def test_log_of_a_whole_dialog_has_neither_texts_nor_tokens(world, caplog):
    caplog.set_level(logging.INFO)
    world.configure(
        mode="auto",
        llm={"base_url": world.model.url, "model": "demo-rules-1", "api_key": "sk-canary"},
    )
    tokens = [str(grant.access_token) for grant in Grant.objects.all()]

    world.client_says("Меня зовут Канарейка, телефон +7 916 123-45-67")
    world.b24.expire_access_tokens()
    world.work_until(lambda: Run.objects.filter(state__in=["done", "failed"]).exists())

    tokens += [str(grant.refresh_token) for grant in Grant.objects.all()]
    log = "\n".join(JsonLines().format(record) for record in caplog.records)
    assert "bitrix24 call" in log
    for secret in (
        "Канарейк",
        "916 123",
        "9161234567",
        "sk-canary",
        world.b24.application_token,
        *tokens,
    ):
        assert secret not in log
