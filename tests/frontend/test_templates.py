"""What the strict content policy and the translators rely on, without a browser."""

from __future__ import annotations

import json
import re

import pytest

from tests.frontend import samples
from tests.frontend.conftest import render, session
from tests.frontend.site import ROOT, STATIC

OURS = [
    path
    for folder in ("base", "components", "demo")
    for path in sorted((ROOT / "templates" / folder).glob("*.html"))
]
FORBIDDEN = re.compile(
    r"\sstyle=|\son[a-z]+=|\shx-on|<style|<script(?![^>]*(?:src=|application/json))|js:|javascript:"
)


def strings_of(html: str, block: str) -> dict[str, str]:
    found = re.search(rf'id="{block}">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    strings: dict[str, str] = json.loads(found[1])
    return strings


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_template_has_nothing_that_the_content_policy_forbids(path):
    assert FORBIDDEN.findall(path.read_text()) == []


def test_htmx_is_told_to_keep_no_history_and_to_swap_no_errors():
    html = render(
        "base/operator.html", draft=samples.make_draft(), values={}, operator={}, **session()
    )

    assert (
        """<meta name="htmx-config" content='{"history":false,"noSwap":[204,304,401,403,404,"5xx"]}'>"""
        in html
    )


@pytest.mark.parametrize("language", ["en", "ru"])
def test_every_text_that_the_scripts_show_is_translated_by_the_page(language):
    frame = strings_of(render("components/strings.html", language=language), "strings")
    demo = strings_of(render("demo/index.html", language=language, demo={}), "demo-strings")
    used = {
        key
        for name in ("frame", "operator")
        for key in re.findall(r"\bt\('(\w+)'", (STATIC / "js" / f"{name}.js").read_text())
    }
    used_in_demo = set(re.findall(r"\bstrings\.(\w+)", (STATIC / "js" / "demo.js").read_text()))

    assert used - set(frame) == set()
    assert used_in_demo - set(demo) == set()
    assert all(frame.values())
    assert all(demo.values())


def test_text_of_a_client_cannot_leave_its_place():
    evil = '</textarea><script src="/static/x.js"></script>"><img onerror=1>'
    html = render(
        "base/operator.html",
        operator=samples.make_operator(summary=evil),
        draft=samples.make_draft(
            text=evil, inserted=evil, notice=evil, doubts=[evil], band="check"
        ),
        values=samples.make_values(
            rows=[samples.make_value(text=evil, quote=evil, current=evil, title=evil)]
        ),
        **session(),
    )

    assert evil not in html
    assert "<img" not in html


def test_numbers_of_a_picture_are_not_written_in_russian():
    html = render("components/chart.html", language="ru", chart=samples.GUIDE["chart"])

    assert 'viewBox="0 0 14 16.0"' in html
    assert not re.search(r'(?:height|y|base)="\d+,\d', html)
