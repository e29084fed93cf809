"""What it costs: by day, line, model and prompt version; limits; the same as a table file."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from typing import Any

from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import spending, statistics
from bx_gpt_app.assistant.config import LimitsConfig, PortalConfig
from bx_gpt_app.assistant.models import Spending
from bx_gpt_app.assistant.reasons import LIMITS
from bx_gpt_app.assistant.rehearsal import PURPOSE
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens import charts
from bx_gpt_app.screens.forms import LimitsForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings import downloads
from bx_gpt_app.screens.settings.page import (
    admin_act,
    admin_view,
    bare,
    config_of,
    money,
    money_of,
    number,
    page,
    percent,
    save,
)

PERIODS = {"7": 7, "14": 14, "30": 30, "90": 90}
DEFAULT_PERIOD = "30"
CSV_HEAD = (
    "day", "line", "model", "prompt", "purpose", "calls", "prompt_tokens", "completion_tokens",
    "cost", "currency",
)  # fmt: skip


@admin_view
def costs(request: HttpRequest, frame: Frame) -> HttpResponse:
    return _page(request, frame)


def _page(
    request: HttpRequest,
    frame: Frame,
    *,
    form: LimitsForm | None = None,
    said: str = "",
    status: int = 200,
) -> HttpResponse:
    config = config_of(frame)
    period = request.GET.get("days", DEFAULT_PERIOD)
    period = period if period in PERIODS else DEFAULT_PERIOD
    today = statistics.spending_day()
    since = today - timedelta(days=PERIODS[period] - 1)
    rows = Spending.objects.filter(portal=frame.portal, day__gte=since)
    currency = next(iter(statistics.money(rows)), "RUB")
    context = {
        "period": period,
        "periods": [(code, _("%(n)s days") % {"n": days}) for code, days in PERIODS.items()],
        "stats": _stats(rows, PERIODS[period]),
        "chart": _chart(rows, since, today, currency),
        "tables": _tables(frame.portal, rows),
        "form": form or LimitsForm(initial=_limits(config.limits)),
        "used": _used(frame.portal, config.limits, currency),
        "currency": currency,
        "empty": not rows.exists(),
    }
    return page(request, frame, "costs", context, said=said, status=status)


def _limits(limits: LimitsConfig) -> dict[str, Any]:
    return {name: bare(value) for name, value in limits.model_dump().items()}


def _stats(rows: QuerySet[Spending], days: int) -> list[dict[str, str]]:
    total = rows.aggregate(
        calls=Sum("calls"), a=Sum("prompt_tokens"), b=Sum("completion_tokens"), masked=Sum("masked")
    )
    calls, tokens = total["calls"] or 0, (total["a"] or 0) + (total["b"] or 0)
    cost = statistics.money(rows)
    main = next(iter(cost), "")
    return [
        {
            "title": _("Spent"),
            "value": money_of(cost),
            "hint": _("%(sum)s a day") % {"sum": money(cost[main] / days, main)} if main else "",
        },
        {
            "title": _("Model calls"),
            "value": number(calls),
            "hint": _("%(n)s a day") % {"n": number(calls / days)},
        },
        {
            "title": _("One call on average"),
            "value": money(cost[main] / calls, main) if main and calls else "—",
            "hint": _("%(n)s tokens") % {"n": number(tokens / calls)} if calls else "",
        },
        {
            "title": _("Tokens"),
            "value": number(tokens),
            "hint": _("in %(a)s, out %(b)s")
            % {"a": number(total["a"] or 0), "b": number(total["b"] or 0)},
        },
        {
            "title": _("Personal details hidden"),
            "value": number(total["masked"] or 0),
            "hint": _("before text left for the model"),
        },
    ]


def purpose_title(purpose: str) -> str:
    return {
        "reply": _("Replies"),
        "extract": _("Extraction"),
        PURPOSE: _("Trials"),
    }.get(purpose, purpose)


def _chart(
    rows: QuerySet[Spending], since: date, today: date, currency: str
) -> dict[str, Any] | None:
    """Money by day and purpose; tokens when no price is known."""
    sums = list(
        rows.values("day", "purpose").annotate(
            money=Sum("cost"), a=Sum("prompt_tokens"), b=Sum("completion_tokens")
        )
    )
    if not sums:
        return None
    of_money = any(row["money"] for row in sums)
    purposes = sorted({row["purpose"] for row in sums}, key=lambda one: one != "reply")[:4]
    values = {
        (row["day"], row["purpose"]): row["money"] if of_money else row["a"] + row["b"]
        for row in sums
    }
    days = [since + timedelta(days=n) for n in range((today - since).days + 1)]
    step = max(1, len(days) // 14)
    points = [
        charts.Point(
            label=date_format(day, "j E"),
            short=str(day.day) if place % step == 0 else "",
            values=tuple(float(values.get((day, purpose), 0)) for purpose in purposes),
        )
        for place, day in enumerate(days)
    ]
    title = _("By day, %(unit)s") % {"unit": currency if of_money else _("tokens")}
    return charts.stacked(
        id="spending",
        title=title,
        point_title=_("Day"),
        series=[purpose_title(purpose) for purpose in purposes],
        points=points,
        text=lambda value: money(value, currency) if of_money else number(value),
    )


def _tables(portal: Portal, rows: QuerySet[Spending]) -> list[dict[str, Any]]:
    lines = {str(line.line_id): str(line) for line in portal.lines.all()}
    lines["0"] = _("Without a line")
    return [
        _table(_("By line"), rows, "line_id", lambda name: lines.get(name, f"№ {name}")),
        _table(_("By model"), rows, "model", lambda name: name or "—"),
        _table(
            _("By prompt version"),
            rows,
            "prompt_number",
            lambda name: f"v{name}" if name != "0" else _("built-in"),
        ),
        _table(_("By purpose"), rows, "purpose", purpose_title),
    ]


def _table(title: str, rows: QuerySet[Spending], column: str, say: Any) -> dict[str, Any]:
    return {
        "title": title,
        "rows": [
            {
                "name": say(row.name),
                "calls": number(row.calls),
                "tokens": number(row.tokens),
                "cost": money(row.cost, row.currency) if row.cost else "—",
            }
            for row in statistics.spent_by(rows, column)
        ],
    }


def _used(portal: Portal, limits: LimitsConfig, currency: str) -> list[dict[str, Any]]:
    """A bar for each limit that is set, in the colour of how full it is."""
    bars = []
    for name in ("daily_cost", "monthly_cost", "daily_tokens", "monthly_tokens"):
        limit = getattr(limits, name)
        if limit is None:
            continue
        one = {other: None for other in LimitsConfig.model_fields if other != "requests_per_minute"}
        only = limits.model_copy(update={**one, name: limit})
        budget = spending.budget(portal, PortalConfig(limits=only))
        spent = budget.used * limit
        of_money = name.endswith("cost")
        bars.append(
            {
                "id": f"limit-{name}",
                "label": str(LIMITS[name]).capitalize(),
                "value": min(spent, limit),
                "max": limit or 1,
                "text": _("%(spent)s of %(limit)s, %(percent)s")
                % {
                    "spent": money(spent, currency) if of_money else number(spent),
                    "limit": money(limit, currency) if of_money else number(limit),
                    "percent": percent(budget.used),
                },
                "kind": "bad" if budget.is_over else "warn" if budget.is_close else "",
                "close": budget.is_close,
                "over": budget.is_over,
            }
        )
    return bars


@admin_act
def limits(request: HttpRequest, frame: Frame) -> HttpResponse:
    form = LimitsForm(request.POST)
    if form.is_valid():
        places = {f"limits.{name}": name for name in form.fields}
        if save(frame, form, places, limits=form.cleaned_data):
            return _page(request, frame, said=_("Saved"))
    return _page(request, frame, form=form, status=422)


@admin_act
def export(request: HttpRequest, frame: Frame) -> HttpResponse:
    period = request.GET.get("days", DEFAULT_PERIOD)
    return downloads.ticket_for(
        frame, "spending", days=PERIODS.get(period, PERIODS[DEFAULT_PERIOD])
    )


def _file(portal: Portal, options: dict[str, Any]) -> downloads.File:
    since = statistics.spending_day() - timedelta(days=int(options["days"]) - 1)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";")
    writer.writerow(CSV_HEAD)
    lines = {line.line_id: str(line) for line in portal.lines.all()}
    for row in Spending.objects.filter(portal=portal, day__gte=since).order_by("day", "pk"):
        writer.writerow(
            [
                row.day.isoformat(),
                _harmless(lines.get(row.line_id, "")),
                _harmless(row.model),
                row.prompt_number or "",
                row.purpose,
                row.calls,
                row.prompt_tokens,
                row.completion_tokens,
                f"{row.cost:.6f}",
                row.currency,
            ]
        )
    # The mark tells Excel that it is UTF-8.
    return "spending.csv", "text/csv; charset=utf-8", b"\xef\xbb\xbf" + text.getvalue().encode()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet does not take for a formula."""
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


downloads.FILES["spending"] = _file
