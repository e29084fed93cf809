"""The host's view of portals: how each of them fares, and what the host may do with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, F, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext

from bx_gpt_app.assistant import lines, statistics, store
from bx_gpt_app.assistant.admin import ReadOnly
from bx_gpt_app.assistant.config import (
    ConfigProblems,
    PortalConfig,
    as_document,
    check_config,
    read_yaml,
)
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Spending
from bx_gpt_app.portals.bindings import missing_scopes
from bx_gpt_app.portals.models import Grant, Line, Portal
from bx_gpt_app.portals.tasks import leave, rebind
from bx_gpt_app.screens.settings.page import money_of
from bx_gpt_app.screens.settings.transfer import changed_lines

if TYPE_CHECKING:
    _Inline = admin.TabularInline[Any, Portal]
else:
    _Inline = admin.TabularInline

PARTS: Mapping[str, Promise] = {
    "prompt": gettext_lazy("Prompt"),
    "topics": gettext_lazy("Topics"),
    "fields": gettext_lazy("Fields that are looked for"),
    "mappings": gettext_lazy("Where fields go in the CRM"),
    "crm": gettext_lazy("Writing into the CRM"),
    "reply": gettext_lazy("Replies"),
    "knowledge": gettext_lazy("Knowledge base"),
    "privacy": gettext_lazy("Personal data"),
    "limits": gettext_lazy("Limits"),
    "llm": gettext_lazy("Model, without its key"),
    "channels": gettext_lazy("Letters and web forms"),
    "language": gettext_lazy("Language of replies"),
}
"""What can be pushed. Lines and their modes stay: every portal numbers its own."""


class PushForm(forms.Form):
    """Which configuration, and which parts of it."""

    source = forms.ModelChoiceField(
        label=gettext_lazy("From the portal"),
        queryset=Portal.objects.exclude(state=Portal.State.GONE).order_by("domain"),
        required=False,
    )
    text = forms.CharField(
        label=gettext_lazy("Or a configuration file"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 12, "cols": 100, "spellcheck": "false"}),
    )
    parts = forms.MultipleChoiceField(
        label=gettext_lazy("Parts"),
        choices=list(PARTS.items()),
        widget=forms.CheckboxSelectMultiple,
        initial=["prompt", "topics", "fields", "mappings"],
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if bool(data.get("source")) == bool(data.get("text", "").strip()):
            raise forms.ValidationError(_("Choose a portal or paste a file: one of both."))
        if data.get("source"):
            data["config"] = store.load_whole(data["source"])
            return data
        try:
            data["config"] = read_yaml(data["text"])
        except ConfigProblems as error:
            raise forms.ValidationError(list(error.problems)) from None
        return data


def with_parts(current: PortalConfig, source: PortalConfig, parts: list[str]) -> PortalConfig:
    """`current` with these parts of `source`, never a key. Raises: ConfigProblems."""
    document, given = as_document(current), as_document(source.without_secrets())
    for name in parts:
        document[name] = given[name]
    return check_config(document)


class EraseForm(forms.Form):
    """The portal's address, typed by hand: erasing cannot be undone."""

    typed = forms.CharField(
        label=gettext_lazy("Address of the portal"), widget=forms.TextInput({"autocomplete": "off"})
    )

    def __init__(self, *args: Any, portal: Portal, **options: Any) -> None:
        super().__init__(*args, **options)
        self._portal = portal

    def clean_typed(self) -> str:
        typed = str(self.cleaned_data["typed"]).strip()
        if typed != self._portal.domain:
            raise forms.ValidationError(_("This is not the address of the portal."))
        return typed


class GrantInline(_Inline):
    model = Grant
    extra = 0
    can_delete = False
    fields = readonly_fields = (
        "kind", "user_id", "user_name", "is_admin", "expires_at", "renewed_at", "dead_reason",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class LineInline(_Inline):
    model = Line
    extra = 0
    can_delete = False
    fields = readonly_fields = ("line_id", "title", "active", "connected", "seen_at")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.enable_nav_sidebar = False  # the lists need the width
admin.site.site_header = admin.site.site_title = gettext_lazy("AI colleague: host")
admin.site.index_title = gettext_lazy("All portals of this server")


@admin.register(Portal)
class PortalAdmin(ReadOnly):
    list_display = ("domain", "how_it_is", "heard", "queue", "errors", "month", "stuck")
    ordering = ("domain",)
    list_filter = ("state", "paused", "registration")
    search_fields = ("domain", "member_id", "public_id")
    list_select_related = ("registration",)
    actions = ("pause", "resume", "rebind", "end_sessions", "erase", "push")
    inlines = (GrantInline, LineInline)
    fields = (
        "domain", "state", "state_reason", "state_changed_at", "paused", "last_event_at",
        "last_call_at", "down_since", "last_error", "last_error_at", "permissions", "bound",
        "bot_id", "bot_api", "licence", "app_version", "language", "time_zone", "registration",
        "member_id", "public_id", "session_epoch", "installed_at", "uninstalled_at",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Portal]:
        """With what the list shows: one query for all portals."""
        now = timezone.now()
        yesterday, month = now - timedelta(days=1), statistics.spending_day().replace(day=1)
        due = Dialog.objects.filter(portal=OuterRef("pk"), due_at__lte=now, quarantined_at=None)
        runs = Run.objects.filter(portal=OuterRef("pk"), started_at__gte=yesterday)
        stuck = Dialog.objects.filter(portal=OuterRef("pk"), quarantined_at__isnull=False)
        broken = Delivery.objects.filter(
            portal=OuterRef("pk"), state__in=(Delivery.State.FAILED, Delivery.State.UNSURE)
        )
        spent = Spending.objects.filter(portal=OuterRef("pk"), day__gte=month)
        portals: QuerySet[Portal] = (
            super()
            .get_queryset(request)
            .annotate(
                due_count=_one(due, Count("pk")),
                due_since=_one(due, Min("due_at")),
                run_count=_one(runs, Count("pk")),
                failed_count=_one(runs, Count("pk", filter=Q(state=Run.State.FAILED))),
                stuck_count=Coalesce(_one(stuck, Count("pk")), 0),
                broken_count=Coalesce(_one(broken, Count("pk")), 0),
                month_tokens=_one(spent, Sum(F("prompt_tokens") + F("completion_tokens"))),
            )
        )
        return portals

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def how_it_is(self, row: Portal) -> str:
        """In short: what follows from the state is on the portal's own page."""
        state = row.get_state_display().partition(":")[0]
        return f"{state}, {_('paused')}" if row.paused else state

    @admin.display(description=gettext_lazy("last event"), ordering="last_event_at")
    def heard(self, row: Portal) -> str:
        return _ago(row.last_event_at)

    @admin.display(description=gettext_lazy("permissions"))
    def permissions(self, row: Portal) -> str:
        missing = missing_scopes(row)
        told = ", ".join(row.scope)
        return f"{told}; {_('missing:')} {', '.join(missing)}" if missing else told

    @admin.display(description=gettext_lazy("what is bound"))
    def bound(self, row: Portal) -> str:
        counts = Counter(name.partition(" ")[0] for name in row.bindings.get("bound") or [])
        words = {
            "event": _("events"),
            "placement": _("panels"),
            "robot": _("robots"),
            "bot": _("bot"),
        }
        parts = [f"{words.get(kind, kind)}: {count}" for kind, count in counts.items()]
        refused = [f"{name} ({why})" for name, why in row.bindings.get("failed") or []]
        if refused:
            parts.append(f"{_('refused:')} {', '.join(refused)}")
        return "; ".join(parts)

    @admin.display(description=gettext_lazy("queue"))
    def queue(self, row: Any) -> str:
        if not row.due_count:
            return "0"
        age = timesince(row.due_since, depth=1)
        return _("%(n)s, oldest %(age)s") % {"n": row.due_count, "age": age}

    @admin.display(description=gettext_lazy("failed, 24 h"))
    def errors(self, row: Any) -> str:
        if not row.run_count:
            return "—"
        share = round(100 * (row.failed_count or 0) / row.run_count)
        return f"{row.failed_count or 0} / {row.run_count} ({share} %)"

    @admin.display(description=gettext_lazy("spent this month"))
    def month(self, row: Any) -> str:
        since = statistics.spending_day().replace(day=1)
        rows = Spending.objects.filter(portal=row, day__gte=since)
        return money_of(statistics.money(rows)) if row.month_tokens else "—"

    @admin.display(description=gettext_lazy("quarantine"))
    def stuck(self, row: Any) -> str:
        """Dialogs and deliveries that wait for a person, with the lists where they are repeated."""
        places = (
            ("assistant_dialog", row.stuck_count, pgettext("a list of them", "dialogs")),
            ("assistant_delivery", row.broken_count, _("deliveries")),
        )
        shown = [
            (f"{reverse(f'admin:{name}_changelist')}?stuck=1&portal__id__exact={row.pk}", what, n)
            for name, n, what in places
            if n
        ]
        return format_html_join(", ", '<a href="{}">{}: {}</a>', shown) if shown else "0"

    # ---- acts ----

    @admin.action(description=gettext_lazy("Pause: stop all work"), permissions=["act"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        self._noted(request, queryset, _("Paused."))
        self._said(request, _bare(queryset).update(paused=True))

    @admin.action(description=gettext_lazy("Resume"), permissions=["act"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        self._noted(request, queryset, _("Resumed."))
        self._said(request, _bare(queryset).update(paused=False))

    @admin.action(description=gettext_lazy("Bind anew: bot, events, panels"), permissions=["act"])
    def rebind(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        active = _bare(queryset).filter(state=Portal.State.ACTIVE)
        self._noted(request, active, _("Bound anew."))
        ids = list(active.values_list("pk", flat=True))
        for pk in ids:
            rebind.enqueue(pk)
        self._said(request, len(ids))

    @admin.action(description=gettext_lazy("End all sessions of its users"), permissions=["act"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        self._noted(request, queryset, _("Sessions ended."))
        self._said(request, _bare(queryset).update(session_epoch=F("session_epoch") + 1))

    @admin.action(description=gettext_lazy("Erase its data…"), permissions=["act"])
    def erase(self, request: HttpRequest, queryset: QuerySet[Portal]) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, _("Erase one portal at a time."), messages.ERROR)
            return None
        return redirect("admin:portals_portal_erase", queryset.get().pk)

    @admin.action(description=gettext_lazy("Push a configuration…"), permissions=["act"])
    def push(self, request: HttpRequest, queryset: QuerySet[Portal]) -> HttpResponse:
        ids = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True))
        return HttpResponseRedirect(f"{reverse('admin:portals_portal_push')}?to={ids}")

    def _noted(self, request: HttpRequest, portals: QuerySet[Portal], what: str) -> None:
        """Who did it and when, on the portal's page of history."""
        for portal in portals:
            self.log_change(request, portal, what)

    def _said(self, request: HttpRequest, count: int) -> None:
        said = ngettext("Done for %(n)s portal.", "Done for %(n)s portals.", count)
        self.message_user(request, said % {"n": count}, messages.SUCCESS)

    # ---- pages of their own ----

    def get_urls(self) -> list[URLPattern]:
        site = self.admin_site.admin_view
        return [
            path("<int:pk>/erase/", site(self.erase_page), name="portals_portal_erase"),
            path("push/", site(self.push_page), name="portals_portal_push"),
            *super().get_urls(),
        ]

    def erase_page(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Everything the portal entrusted to us goes, once its address is typed in."""
        portal = Portal.objects.filter(pk=pk).first()
        if portal is None or not self.has_act_permission(request):
            return redirect("admin:portals_portal_changelist")
        form = EraseForm(request.POST or None, portal=portal)
        if request.method == "POST" and form.is_valid():
            leave(portal, clean=True)
            self.log_change(request, portal, _("Data erased."))
            self.message_user(request, _("The data of %(portal)s is erased.") % {"portal": portal})
            return redirect("admin:portals_portal_changelist")
        counts = [
            (_("dialogs"), Dialog.objects.filter(portal=portal).count()),
            (_("snippets"), portal.snippets.count()),
            (_("prompt versions"), portal.prompts.count()),
        ]
        context = {**self._context(request, _("Erase the data of a portal")), "portal": portal}
        return TemplateResponse(
            request, "admin/portals/erase.html", {**context, "form": form, "counts": counts}
        )

    def push_page(self, request: HttpRequest) -> HttpResponse:
        """Choose, look at the difference portal by portal, then apply."""
        numbers = [part for part in request.GET.get("to", "").split(",") if part.isdigit()]
        portals = list(Portal.objects.filter(pk__in=numbers).exclude(state=Portal.State.GONE))
        if not portals or not self.has_act_permission(request):
            return redirect("admin:portals_portal_changelist")
        form = PushForm(request.POST or None)
        previews: list[dict[str, Any]] = []
        if request.method == "POST" and form.is_valid():
            previews = [_preview(portal, form) for portal in portals]
            if request.POST.get("apply"):
                done = self._apply(request, previews)
                self._said(request, done)
                return redirect("admin:portals_portal_changelist")
        context = {
            **self._context(request, _("Push a configuration")),
            "form": form,
            "portals": portals,
            "previews": previews,
            "applicable": any(preview["changes"] for preview in previews),
        }
        return TemplateResponse(request, "admin/portals/push.html", context)

    def _apply(self, request: HttpRequest, previews: list[dict[str, Any]]) -> int:
        """Only portals whose own box is ticked, and whose configuration stays sound."""
        done = 0
        for preview in previews:
            portal = preview["portal"]
            if preview["config"] is None or f"portal_{portal.pk}" not in request.POST:
                continue
            if store.save(portal, preview["config"], by=f"host: {request.user}"):
                lines.carry_out_modes.enqueue(portal.pk)
                self.log_change(request, portal, _("Configuration pushed."))
                done += 1
        return done

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "—"
    return _("%(age)s ago") % {"age": timesince(moment, depth=1)}


def _one(rows: QuerySet[Any], aggregate: Any) -> Subquery:
    """An aggregate over the rows of one portal, as a column."""
    return Subquery(rows.order_by().values("portal").annotate(one=aggregate).values("one")[:1])


def _bare(queryset: QuerySet[Portal]) -> QuerySet[Portal]:
    """The same rows without the list's columns, which an UPDATE cannot carry."""
    return Portal.objects.filter(pk__in=list(queryset.values_list("pk", flat=True)))


def _preview(portal: Portal, form: PushForm) -> dict[str, Any]:
    current = store.load_whole(portal)
    try:
        new = with_parts(current, form.cleaned_data["config"], form.cleaned_data["parts"])
    except ConfigProblems as error:
        return {"portal": portal, "config": None, "problems": error.problems, "changes": []}
    return {
        "portal": portal,
        "config": new,
        "problems": (),
        "changes": changed_lines(current, new),
    }
