"""`manage.py portal`: configuration in and out, hook tokens, erasure."""

from __future__ import annotations

import io
import json

import pytest
import yaml
from django.core.management import call_command
from django.core.management.base import CommandError
from django_ox.models import OxTask

from bx_gpt_app.assistant import store
from bx_gpt_app.assistant.config import check_config
from bx_gpt_app.assistant.models import Configuration, Dialog, Snippet
from bx_gpt_app.portals.models import Portal
from tests.factories import MEMBER_ID, configure, make_app, make_dialog, make_line, make_portal

pytestmark = pytest.mark.django_db

SECRET = "sk-canary-1234567890"


def portal_command(*arguments: str) -> str:
    out = io.StringIO()
    call_command("portal", *arguments, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def portal():
    portal = make_portal()
    configure(
        portal,
        mode="suggest",
        lines={"22": {"mode": "auto"}},
        llm={
            "base_url": "https://llm.example/v1",
            "api_key": SECRET,
            "extra_headers": {"X-Key": SECRET},
            "fallback": {"base_url": "https://two.example/v1", "api_key": SECRET},
        },
        prompt="Вы — помощник.\nПишите: коротко, «вежливо».\n\n  - да\n",
        fields=[
            {"name": "phone", "type": "phone"},
            {"name": "product", "type": "choice", "choices": ["да", "no", "1.5"]},
        ],
        mappings=[{"from": "phone", "entity": "lead", "to": "PHONE", "policy": "append"}],
        topics=[{"code": "sales", "title": "Цены: все", "description": "# не комментарий"}],
        knowledge=[
            {"title": "Режим", "text": "Пн–Пт\n9:00–18:00", "valid_until": "2031-01-01"},
            {"title": "Цены", "text": "yes", "topic": "sales", "internal": True},
        ],
    )
    return portal


@pytest.fixture
def exported(portal, tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(portal_command("export", MEMBER_ID), encoding="utf-8")
    return path


def changed(path, **parts):
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump({**document, **parts}, allow_unicode=True), encoding="utf-8")
    return str(path)


def test_import_of_an_export_changes_nothing(portal, exported):
    before = Configuration.objects.get(pk=portal.pk)
    snippets = list(Snippet.objects.values_list("pk", "stems"))

    text = portal_command("import", MEMBER_ID, str(exported))

    after = Configuration.objects.get(pk=portal.pk)
    assert "Nothing to change" in text
    assert (after.revision, after.api_key) == (before.revision, SECRET)
    assert list(Snippet.objects.values_list("pk", "stems")) == snippets
    assert portal_command("export", MEMBER_ID) == exported.read_text(encoding="utf-8")
    assert not OxTask.objects.exists()


def test_portal_that_was_never_configured_survives_its_own_export(tmp_path):
    make_portal()
    path = tmp_path / "f.yaml"
    path.write_text(portal_command("export", MEMBER_ID), encoding="utf-8")

    portal_command("import", MEMBER_ID, str(path))

    assert portal_command("export", MEMBER_ID) == path.read_text(encoding="utf-8")
    assert "Nothing to change" in portal_command("import", MEMBER_ID, str(path))


def test_no_command_shows_a_secret(portal, exported):
    shown = portal_command("show", MEMBER_ID) + portal_command("list") + exported.read_text()

    assert SECRET not in shown
    assert "access-1" not in shown
    assert "own key is set" in shown
    assert yaml.safe_load(exported.read_text())["llm"]["api_key"] is None


def test_import_says_what_changed_and_keeps_keys(portal, exported):
    text = portal_command("import", MEMBER_ID, changed(exported, prompt="Новый.", language="en"))

    assert text == "Changed: language, prompt.\n"
    config, _revision = store.load(portal)
    assert (config.prompt, config.language) == ("Новый.", "en")
    assert Configuration.objects.get(pk=portal.pk).api_key == SECRET


def test_import_says_which_key_is_not_carried_over_to_another_server(portal, exported):
    llm = yaml.safe_load(exported.read_text())["llm"]
    llm["base_url"] = "https://other.example/v1"
    llm["fallback"]["base_url"] = "https://two.example:8443/v1"

    text = portal_command("import", MEMBER_ID, changed(exported, llm=llm))

    assert text.splitlines()[1:] == [
        f"The stored key is for {old} and was not carried over to {new}: enter the new server's "
        "key in the portal's settings (Model) or as api_key in the file."
        for old, new in (
            ("https://llm.example", "https://other.example"),
            ("https://two.example", "https://two.example:8443"),
        )
    ]
    config, _revision = store.load(portal)
    row = Configuration.objects.get(pk=portal.pk)
    assert store.api_key_for(row, config.llm, fallback=False) == ""
    assert store.api_key_for(row, config.llm.fallback, fallback=True) == ""


@pytest.mark.parametrize(
    "base_url",
    ["https://llm.example/openai/v1", "https://LLM.example/v1", "https://llm.example:443/v1", None],
)
def test_key_stays_with_its_server_and_needs_no_words(portal, exported, base_url):
    llm = yaml.safe_load(exported.read_text())["llm"]

    text = portal_command("import", MEMBER_ID, changed(exported, llm={**llm, "base_url": base_url}))

    assert text == "Changed: llm.\n"
    config, _revision = store.load(portal)
    row = Configuration.objects.get(pk=portal.pk)
    key = store.api_key_for(row, config.llm, fallback=False)
    assert key == (SECRET if base_url else "")


def test_a_new_key_alone_is_a_change(portal, exported):
    llm = yaml.safe_load(exported.read_text())["llm"]

    text = portal_command("import", MEMBER_ID, changed(exported, llm={**llm, "api_key": "sk-new"}))

    assert text == "Changed: keys.\n"
    assert Configuration.objects.get(pk=portal.pk).api_key == "sk-new"


@pytest.mark.parametrize(
    ("parts", "tasks"),
    [
        ({"mode": "auto"}, 1),
        ({"lines": {"22": {"mode": "off"}}}, 1),
        ({"lines": {"22": {"mode": "auto", "delay_seconds": 5}}}, 0),
        ({"language": "en"}, 0),
    ],
)
def test_changed_modes_are_carried_out_on_the_portal(portal, exported, parts, tasks):
    make_line(portal)

    portal_command("import", MEMBER_ID, changed(exported, **parts))

    names = list(OxTask.objects.values_list("task_path", flat=True))
    assert names == ["bx_gpt_app.assistant.lines.carry_out_modes"] * tasks


def test_all_mistakes_are_told_at_once_and_nothing_is_changed(portal, exported):
    before = portal_command("export", MEMBER_ID)

    with pytest.raises(CommandError) as caught:
        portal_command(
            "import",
            MEMBER_ID,
            changed(exported, mode="loud", reply={"max_length": 0}, colour="red"),
        )

    told = str(caught.value)
    assert all(path in told for path in ("mode:", "reply.max_length:", "colour:"))
    assert portal_command("export", MEMBER_ID) == before


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"a: [", "line 1"), (b"\xff\xfe\x00", "UTF-8"), (b"- 1", "mapping")],
)
def test_what_is_no_configuration_is_refused(portal, tmp_path, content, told):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)

    with pytest.raises(CommandError, match=told):
        portal_command("import", MEMBER_ID, str(path))


def test_import_reads_standard_input(portal, exported, monkeypatch):
    changed(exported, language="en")
    monkeypatch.setattr("sys.stdin", io.StringIO(exported.read_text(encoding="utf-8")))

    portal_command("import", MEMBER_ID, "-")

    assert store.load(portal)[0].language == "en"


def test_hook_prints_one_json_line_and_ends_the_old_token(portal):
    first = json.loads(portal_command("hook", MEMBER_ID))

    text = portal_command("hook", MEMBER_ID)

    second = json.loads(text)
    assert text.count("\n") == 1
    assert set(second) == {"public_id", "token"}
    portal.refresh_from_db()
    assert portal.public_id == second["public_id"]
    assert portal.accepts_hook_token(second["token"])
    assert not portal.accepts_hook_token(first["token"])


def test_member_id_of_several_registrations_asks_which(portal):
    other = make_portal(registration=make_app("other"), domain="acme.bitrix24.com")

    with pytest.raises(CommandError, match="default, other"):
        portal_command("show", MEMBER_ID)

    assert other.domain in portal_command("show", MEMBER_ID, "--app", "other")


@pytest.mark.parametrize("deed", ["show", "export", "hook", "erase"])
def test_unknown_portal_is_one_sentence(db, deed):
    with pytest.raises(CommandError, match="portal list"):
        portal_command(deed, "f" * 32)


def test_list_names_every_portal():
    assert "no portals yet" in portal_command("list")
    make_portal(state=Portal.State.GONE)
    make_portal(registration=make_app("other"), domain="two.bitrix24.ru", paused=True)

    lines = portal_command("list").splitlines()

    assert len(lines) == 2
    assert "gone" in lines[0]
    assert "active, paused" in lines[1]


def test_show_tells_lines_and_their_modes(portal):
    make_line(portal, 22, connected=True)
    make_line(portal, 23)

    text = portal_command("show", MEMBER_ID)

    assert "line 22:         auto, connected, Сайт" in text
    assert "line 23:         suggest, not connected, Сайт" in text


def test_erase_wants_to_be_told_twice(portal):
    make_dialog(portal)
    with pytest.raises(CommandError, match="--yes"):
        portal_command("erase", MEMBER_ID)
    assert Dialog.objects.exists()

    portal_command("erase", MEMBER_ID, "--yes")

    assert not Dialog.objects.exists()
    assert not Snippet.objects.exists()
    assert store.load_whole(portal) == check_config({})
