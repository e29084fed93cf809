"""A whole world on loopback: a local portal, a local model, our web server, and a worker by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from django.utils import timezone
from django_ox.models import OxTask

from bx_gpt_app.assistant import tasks, thinking
from bx_gpt_app.assistant.models import Dialog
from bx_gpt_app.portals import tasks as portal_tasks
from bx_gpt_app.portals.install import Claim, install
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.portals.registrations import registration
from integrations.bitrix24.local_portal import LocalPortal, PortalOptions
from integrations.llm.local_model import LocalModel
from tests.factories import configure


@dataclass
class World:
    """Both ends of the product, and the worker in between, stepped by hand."""

    b24: LocalPortal
    model: LocalModel

    @property
    def portal(self) -> Portal:
        return Portal.objects.select_related("registration").get()

    def configure(self, **parts) -> None:
        configure(self.portal, **{"reply": {"debounce_seconds": 0}, **parts})
        portal_tasks.bind_now(self.portal)

    def client_says(self, text: str, chat_id: int | None = None, **who) -> int:
        chat_id, _message_id = self.b24.client_writes(text, chat_id=chat_id, **who)
        self.b24.wait_deliveries()
        return chat_id

    def work(self) -> None:
        """Everything that is due now, as a worker would do it."""
        for dialog_id in Dialog.objects.filter(due_at__isnull=False).values_list("pk", flat=True):
            tasks.wake.call(dialog_id)

    def work_until(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.describe()
            self.work()
            time.sleep(0.02)

    @property
    def requests(self) -> list[str]:
        """HTTP requests to the portal so far; a batch is one."""
        return [call.method for call in self.b24.rest_log if not call.in_batch]

    def on_model_call(self, act: Callable[[], object]) -> None:
        """Do something once, while the next answer of the model is on its way."""
        ask = thinking.ask

        def ask_and_act(*args, **kwargs):
            thinking.ask = ask
            act()
            self.b24.wait_deliveries()
            return ask(*args, **kwargs)

        thinking.ask = ask_and_act

    def lead(self) -> dict:
        """The lead of the only dialog."""
        return self.b24.item(1, int(Dialog.objects.get().items[0].removeprefix("LEAD_")))

    @staticmethod
    def multifield(item: dict, kind: str) -> list[str]:
        return [entry["value"] for entry in item["fm"] if entry["typeId"] == kind]

    def describe(self) -> str:
        dialogs = [
            (d.kind, d.key, d.owner, d.problem, d.due_at and d.due_at - timezone.now())
            for d in Dialog.objects.all()
        ]
        runs = [
            (run.state, run.decision, run.reason, run.reason_detail)
            for dialog in Dialog.objects.all()
            for run in dialog.runs.all()
        ]
        return f"dialogs {dialogs}\nruns {runs}\nlast calls {self.b24.rest_log[-5:]}"


@pytest.fixture
def model() -> Iterator[LocalModel]:
    with LocalModel() as server:
        yield server


@pytest.fixture
def portal_options() -> dict:
    """What is special about the portal of a story; a test parametrises it."""
    return {}


@pytest.fixture
def world(transactional_db, live_server, model, settings, portal_options) -> Iterator[World]:
    options = PortalOptions(
        app_base_url=live_server.url, app_code="default", rate=None, **portal_options
    )
    with LocalPortal(options) as b24:
        settings.PUBLIC_URL = live_server.url
        settings.B24_OAUTH_URL = [b24.oauth_url]
        settings.B24_CLIENT_ID = b24.options.client_id
        settings.B24_CLIENT_SECRET = b24.options.client_secret
        settings.OPENAI_BASE_URL = model.url
        settings.OPENAI_API_KEY = "demo"
        access_token, refresh_token = b24.issue_tokens(1)
        claim = Claim(
            member_id=b24.options.member_id, access_token=access_token, refresh_token=refresh_token,
            expires_in=3600, domain=b24.options.domain or "", server_endpoint="",
            application_token=b24.options.application_token,
        )  # fmt: skip
        install(registration("default"), claim)
        OxTask.objects.all().delete()  # binding is done by hand below, not by a worker
        portal_tasks.bind_now(Portal.objects.get())
        yield World(b24, model)
