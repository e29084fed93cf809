"""What the test cases say of a text, in words: the verdict, the numbers, each difference."""

from __future__ import annotations

from typing import Any

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from pydantic import JsonValue

from bx_gpt_app.assistant import comparison
from bx_gpt_app.assistant.cases import Case
from bx_gpt_app.assistant.comparison import Line, Side, Standing
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.fill import value_in_words
from bx_gpt_app.assistant.models import Evaluation
from bx_gpt_app.assistant.portal_cases import no_longer_known
from bx_gpt_app.assistant.reasons import in_words
from bx_gpt_app.assistant.report import CaseResult, Check, Report
from bx_gpt_app.screens.case_form import SPEAKERS
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings.page import link, money_of, percent, seconds
from integrations.llm.question import OUT_OF_FORM
from integrations.llm.values import Author, Usage

SHOWN_CHANGES = 6


def shown(frame: Frame, now: Standing, *, panel: bool = False) -> dict[str, Any]:
    """The block that says how things stand and asks again while a run goes on.

    `panel`: inside the step that publishes, where the list of cases is not below it.
    """
    left = now.wanted - now.answered
    rev = _revision(now)
    return {
        "checked": {
            "count": len(now.lines),
            "panel": panel,
            "running": now.is_running,
            "outdated": now.runs_another_text,
            "value": now.answered,
            "max": now.wanted,
            "verdict": verdict(now),
            "problem": _problem(now),
            "sides": _sides(now),
            "left": left,
            "left_text": _calls_in_words(now, left) if left else "",
            "changes": [row(one, now) for one in changed(now)[:SHOWN_CHANGES]] if panel else [],
            "more_changes": max(0, len(changed(now)) - SHOWN_CHANGES) if panel else 0,
            "cases_url": link(frame, "cases"),
            "run_url": link(frame, "cases-run"),
            "poll_url": f"{link(frame, 'cases-checked')}?rev={rev}{'&panel=1' if panel else ''}"
            if now.is_running
            else "",
        },
        "app": frame.portal.registration.code,
    }


def _revision(now: Standing) -> str:
    state = now.evaluation.state if now.evaluation else ""
    return f"{state}-{now.answered}-{now.wanted}"


def is_news(now: Standing, seen: str) -> bool:
    """Has anything changed since the page showed this revision?"""
    return _revision(now) != seen


def changed(now: Standing) -> list[Line]:
    """Cases that fare differently, the worse ones first."""
    return [*now.worse, *now.better]


def verdict(now: Standing) -> dict[str, str]:
    """One sentence for the whole comparison: kind of banner, title, text."""
    if not now.is_complete:
        return _unfinished(now)
    if now.draft is None:
        report = now.report("active")
        well = report.passed == len(now.lines)
        title = _of(report.passed, len(now.lines))
        text = _("The text in force answers every case as expected.") if well else ""
        return {"kind": "ok" if well else "warn", "title": title, "text": text}
    worse, better = len(now.worse), len(now.better)
    if worse:
        title = ngettext("It gets worse: %(n)s case", "It gets worse: %(n)s cases", worse) % {
            "n": worse
        }
        text = (
            ngettext("And better: %(n)s case.", "And better: %(n)s cases.", better) % {"n": better}
            if better
            else ""
        )
        return {"kind": "bad", "title": title, "text": text}
    if better:
        title = ngettext("It gets better: %(n)s case", "It gets better: %(n)s cases", better)
        return {"kind": "ok", "title": title % {"n": better}, "text": ""}
    return {
        "kind": "info",
        "title": _("Nothing changes"),
        "text": _("Every case fares as it does with the text in force."),
    }


def _unfinished(now: Standing) -> dict[str, str]:
    if now.is_running:
        return {"kind": "info", "title": _("The cases are being asked"), "text": ""}
    if not now.answered and now.evaluation:
        return {
            "kind": "info",
            "title": _("Something has changed since the last check"),
            "text": _("The text, topics, fields, the model or the knowledge: ask the cases again."),
        }
    if not now.answered:
        title = (
            _("The draft has not been checked yet")
            if now.draft
            else _("The cases have not been checked yet")
        )
    elif now.draft and now.score("draft") is None and now.score("active"):
        title = _("This draft has not been checked yet")
    else:
        title = _("Not everything is checked yet")
    return {"kind": "info", "title": title, "text": ""}


def obstacle(now: Standing) -> dict[str, str] | None:
    """What an admin must know and agree to before the draft comes into force; None: nothing."""
    if not now.lines or (now.is_complete and not now.worse):
        return None
    if not now.is_complete:
        return {
            "code": f"unchecked-{_text_code(now)}",
            "title": _("Put it in force unchecked?"),
            "text": _(
                "The test cases were not asked about this text, or not all of them: nobody knows "
                "yet what it changes."
            ),
        }
    worse = len(now.worse)
    text = ngettext(
        "%(n)s case is answered worse than with the text in force.",
        "%(n)s cases are answered worse than with the text in force.",
        worse,
    )
    return {
        "code": f"worse-{worse}-{_text_code(now)}",
        "title": _("Put it in force although it gets worse?"),
        "text": text % {"n": worse},
    }


def _text_code(now: Standing) -> str:
    """Agreeing to one text is not agreeing to another that somebody saved meanwhile."""
    return (now.draft or now.active).print[:16]


def _problem(now: Standing) -> str:
    run = now.evaluation
    if run is None or run.state != Evaluation.State.STOPPED or not run.problem or now.is_complete:
        return ""
    if run.problem == "budget":
        return in_words(run.problem, run.problem_detail)
    said = in_words(run.problem)
    return f"{said} ({run.problem_detail})" if run.problem_detail else said


def _calls_in_words(now: Standing, left: int) -> str:
    """How many calls a run would make, and what such calls have cost so far."""
    calls = ngettext("%(n)s call of the model", "%(n)s calls of the model", left) % {"n": left}
    sides = ("active", "draft") if now.draft else ("active",)
    results = [result for side in sides for result in now.report(side).results]
    if not results or not any(one.usage.costs for one in results):
        return calls
    spent = sum((one.usage for one in results), Usage()).costs
    likely = {currency: amount / len(results) * left for currency, amount in spent.items()}
    return _("%(calls)s, about %(sum)s") % {"calls": calls, "sum": money_of(likely)}


# ---- the numbers of both sides ----


def name_of(side: Side) -> str:
    if side.version is None:
        return _("in force")
    if side.version.draft:
        return _("v%(number)s, draft") % {"number": side.version.number}
    return _("v%(number)s, in force") % {"number": side.version.number}


def _short_name(side: Side) -> str:
    return f"v{side.version.number}" if side.version else _("in force")


def _sides(now: Standing) -> list[dict[str, Any]]:
    pairs = [("active", now.active), *([("draft", now.draft)] if now.draft else [])]
    shown_sides = []
    for which, side in pairs:
        report = now.report(which)
        if report.results:
            shown_sides.append({"name": name_of(side), **_numbers(report, now, side, which)})
    return shown_sides


def _numbers(report: Report, now: Standing, side: Side, which: str) -> dict[str, Any]:
    fields = report.all_fields
    before = side.version.score if which == "active" and side.version else None
    score = now.score(which)
    return {
        "passed": _of(report.passed, len(report.results)),
        "partly": len(report.results) < len(now.lines),
        # The settings around the text, or the model, may have changed since it was published.
        "before": score_in_words(before) if before and score and before != score else "",
        "topics": percent(report.topic_accuracy),
        "precision": percent(fields.precision),
        "recall": percent(fields.recall),
        "cost": money_of(report.cost) if report.cost else "—",
        "time": seconds(report.latency_ms(0.5) / 1000),
    }


def _of(passed: int, total: int) -> str:
    return _("%(passed)s of %(total)s") % {"passed": passed, "total": total}


def score_in_words(score: dict[str, int] | None) -> str:
    """A version's score as the history shows it: 23 of 25."""
    return _of(score["passed"], score["of"]) if score else ""


# ---- one case ----


def name_of_case(case: Case) -> str:
    return case.id or case.label


def row(line: Line, now: Standing) -> dict[str, Any]:
    sides = [(now.active, line.active), *([(now.draft, line.draft)] if now.draft else [])]
    asked = [one for one in line.case.turns if one.author is Author.CLIENT]
    return {
        "pk": line.row.pk,
        "title": line.row.title,
        "text": " ".join(asked[-1].text.split()),
        "turns": [{"who": SPEAKERS[said.author], "text": said.text} for said in line.case.messages],
        "expects": expectations(line.case, now.active.config),
        "gone": no_longer_known(line.case.expect, now.active.config),
        "change": line.change if line.change != "same" else "",
        "sides": [_result(side, result, now) for side, result in sides],
        "both_miss": all(result is not None and not result.passed for _side, result in sides),
        "asked": any(result is not None for _side, result in sides),
    }


def _result(side: Side, result: CaseResult | None, now: Standing) -> dict[str, Any]:
    if result is None:
        return {"name": _short_name(side), "state": "none"}
    return {
        "name": _short_name(side),
        "state": "ok" if result.passed else "bad",
        "misses": misses(result, now.active.config),
        "reply": result.reply,
        "took": seconds(result.latency_ms / 1000),
        "price": money_of(result.usage.costs) if result.usage.costs else "",
    }


def expectations(case: Case, config: PortalConfig) -> list[str]:
    """What a good answer has, a few words each."""
    expect = case.expect
    found = []
    if expect.names_topic:
        topic = _topic(expect.topic, config) if expect.topic else _("none")
        found.append(_("topic: %(topic)s") % {"topic": topic})
    names = [spec.name for spec in config.fields]
    gone = [name for name in expect.fields if name not in names]
    for name in (*(name for name in names if name in expect.fields), *gone):
        value = expect.fields[name]
        if value in (None, ""):
            found.append(_("%(field)s: empty") % {"field": _field(name, config)})
        else:
            found.append(f"{_field(name, config)}: {_value(value)}")
    if expect.needs_human is not None:
        found.append(_("a person is needed") if expect.needs_human else _("no person is needed"))
    found += [_("reply: “%(words)s”") % {"words": words} for words in expect.reply_contains]
    if expect.reply_max_length is not None:
        found.append(_("up to %(n)s characters") % {"n": expect.reply_max_length})
    return found


def misses(result: CaseResult, config: PortalConfig) -> list[str]:
    """What was not as expected, one sentence each."""
    found = [_miss(check, result, config) for check in result.failed]
    if result.how in OUT_OF_FORM:
        found.insert(0, _("The answer had no form: only its words could be used."))
    elif result.how == "failed":
        found.insert(0, in_words(result.reason or "model_failed"))
    return found


def _miss(check: Check, result: CaseResult, config: PortalConfig) -> str:
    if check.what == "topic":
        return _topic_miss(check, config)
    if check.what == "needs_human":
        return (
            _("A person was not called.")
            if check.expected
            else _("A person was called for nothing.")
        )
    if check.what == "reply_max_length":
        return _("The reply is longer: %(got)s characters instead of %(wanted)s.") % {
            "got": check.got,
            "wanted": check.expected,
        }
    if check.what.startswith("fields."):
        return _field_miss(check, config)
    return _("The reply does not say “%(words)s”.") % {"words": check.expected}


def _topic_miss(check: Check, config: PortalConfig) -> str:
    if not check.got:
        words = _("Topic: %(wanted)s was expected, none was recognised.")
    elif not check.expected:
        words = _("Topic: none was expected, it is %(got)s.")
    else:
        words = _("Topic: %(wanted)s was expected, it is %(got)s.")
    return words % {
        "wanted": _topic(str(check.expected or ""), config),
        "got": _topic(str(check.got or ""), config),
    }


def _field_miss(check: Check, config: PortalConfig) -> str:
    words = {
        "missed": _("%(field)s: %(wanted)s was expected, nothing was found."),
        "invented": _("%(field)s: it was to stay empty, it is %(got)s."),
    }.get(check.verdict, _("%(field)s: %(wanted)s was expected, it is %(got)s."))
    return words % {
        "field": capfirst(_field(check.what.removeprefix("fields."), config)),
        "wanted": _value(check.expected),
        "got": _value(check.got),
    }


def _topic(code: str, config: PortalConfig) -> str:
    topic = config.topic(code)
    return _("“%(name)s”") % {"name": topic.title} if topic else code


def _field(name: str, config: PortalConfig) -> str:
    spec = next((spec for spec in config.fields if spec.name == name), None)
    return (spec.description if spec else "") or name


def _value(value: JsonValue) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return value_in_words(value)


def of_portal(frame: Frame, *, panel: bool = False) -> tuple[Standing, dict[str, Any]]:
    now = comparison.standing(frame.portal)
    return now, shown(frame, now, panel=panel)
