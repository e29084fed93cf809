"""What it costs: by day, line, model and prompt version; limits; the same as a table file."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import date, timedelta
from typing import Any

from django.db.models import QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import spending, statistics
from bx_gpt_app.assistant.config import LimitsConfig, PortalConfig
from bx_gpt_app.assistant.evaluation import PURPOSE as TEST_CASES
from bx_gpt_app.assistant.models import Spending
from bx_gpt_app.assistant.reasons import LIMITS
from bx_gpt_app.assistant.rehearsal import PURPOSE
from bx_gpt_app.common.amounts import SIGNS
from bx_gpt_app.portals.models import Portal
from bx_gpt_app.screens import charts
from bx_gpt_app.screens.forms import LimitsForm
from bx_gpt_app.screens.frame import Frame
from bx_gpt_app.screens.settings import departures, downloads
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
    sums = statistics.money(rows)
    currency = _main_currency(config, sums)
    context = {
        "period": period,
        "periods": [(code, _("%(n)s days") % {"n": days}) for code, days in PERIODS.items()],
        "stats": _stats(rows, PERIODS[period], currency),
        "chart": _chart(rows, since, today, currency, config.limits),
        "left_out": money_of(
            {code: sums[code] for code in sums if code not in (currency, *config.limits.rates)}
        ),
        "uncounted": _uncounted(frame.portal, config),
        "tables": _tables(frame.portal, rows),
        "form": form or LimitsForm(initial=_limits(config.limits)),
        "used": _used(frame.portal, config),
        "cheaper": config.llm.cheaper is not None,
        "departures": departures.rows(frame.portal),
        "empty": not rows.exists(),
    }
    return page(request, frame, "costs", context, said=said, status=status)


def _limits(limits: LimitsConfig) -> dict[str, Any]:
    values: dict[str, Any] = {
        name: bare(value) if isinstance(value, float) else value
        for name, value in limits.model_dump().items()
    }
    values["rates"] = [f"{code} {bare(rate)}" for code, rate in limits.rates.items()]
    return values


def _main_currency(config: PortalConfig, sums: dict[str, float]) -> str:
    """The currency that sums are shown in: that of the limits, if anything was paid in it."""
    wanted = spending.limit_currency(config)
    return wanted if wanted in sums else next(iter(sums), wanted)


def _uncounted(portal: Portal, config: PortalConfig) -> str:
    """What this month's limits of money could not count, in words; empty when they count all."""
    if config.limits.daily_cost is None and config.limits.monthly_cost is None:
        return ""
    month = statistics.spending_day().replace(day=1)
    spent = statistics.money(Spending.objects.filter(portal=portal, day__gte=month))
    found = spending.without_rate(spent, config)
    return money_of(found) if found else ""


def _stats(rows: QuerySet[Spending], days: int, main: str) -> list[dict[str, str]]:
    total = rows.aggregate(
        calls=Sum("calls"), a=Sum("prompt_tokens"), b=Sum("completion_tokens"), masked=Sum("masked")
    )
    calls, tokens = total["calls"] or 0, (total["a"] or 0) + (total["b"] or 0)
    cost = statistics.money(rows)
    paid = rows.filter(currency=main).aggregate(calls=Sum("calls"))["calls"] or 0
    return [
        {
            "title": _("Spent"),
            "value": money_of(cost),
            "hint": _("%(sum)s a day") % {"sum": money(cost[main] / days, main)}
            if main in cost
            else "",
        },
        {
            "title": _("Model calls"),
            "value": number(calls),
            "hint": _("%(n)s a day") % {"n": number(calls / days)},
        },
        {
            "title": _("One call on average"),
            "value": money(cost[main] / paid, main) if main in cost and paid else "—",
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
        TEST_CASES: _("Test cases"),
    }.get(purpose, purpose)


def _chart(
    rows: QuerySet[Spending], since: date, today: date, currency: str, limits: LimitsConfig
) -> dict[str, Any] | None:
    """Money by day and purpose, in one currency; tokens when no price is known."""
    sums = list(
        rows.values("day", "purpose", "currency").annotate(
            money=Sum("cost"), a=Sum("prompt_tokens"), b=Sum("completion_tokens")
        )
    )
    if not sums:
        return None
    of_money = any(row["money"] for row in sums)
    values: dict[tuple[date, str], float] = defaultdict(float)
    for row in sums:
        values[row["day"], row["purpose"]] += (
            spending.in_one_currency({row["currency"]: row["money"]}, currency, limits)
            if of_money
            else row["a"] + row["b"]
        )
    purposes = sorted({row["purpose"] for row in sums}, key=lambda one: one != "reply")[:4]
    days = [since + timedelta(days=n) for n in range((today - since).days + 1)]
    step = max(1, len(days) // 14)
    points = [
        charts.Point(
            label=date_format(day, "j E"),
            short=str(day.day) if place % step == 0 else "",
            values=tuple(float(values[day, purpose]) for purpose in purposes),
        )
        for place, day in enumerate(days)
    ]
    unit = SIGNS.get(currency, currency) if of_money else _("tokens")
    title = _("By day, %(unit)s") % {"unit": unit}
    return charts.stacked(
        id="spending",
        title=title,
        point_title=_("Day"),
        series=[purpose_title(purpose) for purpose in purposes],
        points=points,
        text=lambda value: money(value, currency) if of_money else number(value),
        axis=lambda value: number(value, 0 if value == int(value) else 2),
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


def _used(portal: Portal, config: PortalConfig) -> list[dict[str, Any]]:
    """A bar for each limit that is set, in the colour of how full it is."""
    bars = []
    for budget in spending.portal_budgets(portal, config):
        spent, limit, currency = budget.spent, budget.limit, budget.currency
        bars.append(
            {
                "id": f"limit-{budget.what}",
                "label": str(LIMITS[budget.what]).capitalize(),
                "value": min(spent, limit),
                "max": limit or 1,
                "text": _("%(spent)s of %(limit)s, %(percent)s")
                % {
                    "spent": money(spent, currency) if currency else number(spent),
                    "limit": money(limit, currency) if currency else number(limit),
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
def export_departures(request: HttpRequest, frame: Frame) -> HttpResponse:
    return downloads.ticket_for(frame, "departures")


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
                downloads.harmless(lines.get(row.line_id, "")),
                downloads.harmless(row.model),
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


downloads.FILES["spending"] = _file
