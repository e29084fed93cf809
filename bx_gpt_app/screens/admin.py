"""The host's view of portals: how each of them fares, and what the host may do with it."""

from __future__ import annotations

from datetime import timedelta
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
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

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
from bx_gpt_app.portals.models import Grant, Line, Portal
from bx_gpt_app.portals.tasks import leave, rebind
from bx_gpt_app.screens.settings.page import money_of
from bx_gpt_app.screens.settings.transfer import changed_lines

if TYPE_CHECKING:
    _Inline = admin.TabularInline[Any, Portal]
else:
    _Inline = admin.TabularInline

PARTS = (
    "prompt", "topics", "fields", "mappings", "crm", "reply", "knowledge", "privacy", "limits",
    "llm", "channels", "language",
)  # fmt: skip
"""What can be pushed. Lines and their modes stay: every portal numbers its own."""


class PushForm(forms.Form):
    """Which configuration, and which parts of it."""

    source = forms.ModelChoiceField(
        label="From the portal",
        queryset=Portal.objects.exclude(state=Portal.State.GONE).order_by("domain"),
        required=False,
    )
    text = forms.CharField(
        label="Or a configuration file",
        required=False,
        widget=forms.Textarea(attrs={"rows": 12, "cols": 100, "spellcheck": "false"}),
    )
    parts = forms.MultipleChoiceField(
        label="Parts",
        choices=[(name, name) for name in PARTS],
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
        label="Address of the portal", widget=forms.TextInput({"autocomplete": "off"})
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


@admin.register(Portal)
class PortalAdmin(ReadOnly):
    list_display = (
        "domain", "registration", "how_it_is", "last_event_at", "queue", "errors", "month", "stuck",
    )  # fmt: skip
    list_filter = ("state", "paused", "registration")
    search_fields = ("domain", "member_id", "public_id")
    list_select_related = ("registration",)
    actions = ("pause", "resume", "rebind", "end_sessions", "erase", "push")
    inlines = (GrantInline, LineInline)
    fields = (
        "domain", "member_id", "public_id", "registration", "state", "state_reason",
        "state_changed_at", "paused", "scope", "licence", "app_version", "language", "time_zone",
        "bot_id", "bot_api", "bindings", "session_epoch", "installed_at", "uninstalled_at",
        "last_event_at", "last_call_at", "down_since", "last_error", "last_error_at",
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

    @admin.display(description="state")
    def how_it_is(self, row: Portal) -> str:
        return (
            f"{row.get_state_display()}, {_('paused')}" if row.paused else row.get_state_display()
        )

    @admin.display(description="queue")
    def queue(self, row: Any) -> str:
        if not row.due_count:
            return "0"
        return _("%(n)s, oldest %(age)s") % {"n": row.due_count, "age": timesince(row.due_since)}

    @admin.display(description="failed, 24 h")
    def errors(self, row: Any) -> str:
        if not row.run_count:
            return "—"
        share = round(100 * (row.failed_count or 0) / row.run_count)
        return f"{row.failed_count or 0} / {row.run_count} ({share} %)"

    @admin.display(description="spent this month")
    def month(self, row: Any) -> str:
        since = statistics.spending_day().replace(day=1)
        rows = Spending.objects.filter(portal=row, day__gte=since)
        return money_of(statistics.money(rows)) if row.month_tokens else "—"

    @admin.display(description="quarantine")
    def stuck(self, row: Any) -> int:
        return int(row.stuck_count + row.broken_count)

    # ---- acts ----

    @admin.action(description="Pause: stop all work", permissions=["act"])
    def pause(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        self._said(request, _bare(queryset).update(paused=True))

    @admin.action(description="Resume", permissions=["act"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        self._said(request, _bare(queryset).update(paused=False))

    @admin.action(description="Bind anew: bot, events, panels", permissions=["act"])
    def rebind(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        active = _bare(queryset).filter(state=Portal.State.ACTIVE)
        ids = list(active.values_list("pk", flat=True))
        for pk in ids:
            rebind.enqueue(pk)
        self._said(request, len(ids))

    @admin.action(description="End all sessions of its users", permissions=["act"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[Portal]) -> None:
        self._said(request, _bare(queryset).update(session_epoch=F("session_epoch") + 1))

    @admin.action(description="Erase its data…", permissions=["act"])
    def erase(self, request: HttpRequest, queryset: QuerySet[Portal]) -> HttpResponse | None:
        if queryset.count() != 1:
            self.message_user(request, _("Erase one portal at a time."), messages.ERROR)
            return None
        return redirect("admin:portals_portal_erase", queryset.get().pk)

    @admin.action(description="Push a configuration…", permissions=["act"])
    def push(self, request: HttpRequest, queryset: QuerySet[Portal]) -> HttpResponse:
        ids = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True))
        return HttpResponseRedirect(f"{reverse('admin:portals_portal_push')}?to={ids}")

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
                done += 1
        return done

    def _context(self, request: HttpRequest, title: str) -> dict[str, Any]:
        return {**self.admin_site.each_context(request), "title": title, "opts": self.opts}


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
