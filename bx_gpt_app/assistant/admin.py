"""The host's view of the work: runs, deliveries, stuck dialogs, spending. Read only but for
repeats.

No client's words, tokens or keys are shown here: who runs the server need not read the chats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from bx_gpt_app.assistant import quarantine
from bx_gpt_app.assistant.models import Circuit, Delivery, Dialog, Run, Spending
from bx_gpt_app.assistant.reasons import STEPS, delivery_in_words, in_words, problem_in_words

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = admin.ModelAdmin


class ReadOnly(_Admin):
    """Rows that are facts: looked at, never edited by hand."""

    actions_on_bottom = True

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """With the list's own name above it: "select a … to view" bends no Russian word."""
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        return super().changelist_view(request, {**title, **(extra_context or {})})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_act_permission(self, request: HttpRequest) -> bool:
        """Acts need the right to change rows, which these lists themselves give to nobody."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))


class InQuarantine(admin.SimpleListFilter):
    title = gettext_lazy("quarantine")
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", _("in quarantine"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Dialog]) -> QuerySet[Dialog]:
        return queryset.filter(quarantined_at__isnull=False) if self.value() else queryset


class Undelivered(admin.SimpleListFilter):
    """The dead letters of all portals: refused, or nobody knows how they ended."""

    title = gettext_lazy("quarantine")
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", _("not delivered"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        return queryset.filter(state__in=quarantine.BROKEN) if self.value() else queryset


CAUSES: Mapping[str, Promise] = {
    "message": gettext_lazy("the client’s message"),
    "regenerate": gettext_lazy("the operator’s wish"),
    "chosen": gettext_lazy("a message that the operator chose"),
    "hook": gettext_lazy("hook call"),
    "robot": gettext_lazy("automation"),
    "item": gettext_lazy("CRM item"),
}
BANDS: Mapping[str, Promise] = {
    "confident": gettext_lazy("Confident"),
    "check": gettext_lazy("Check this"),
    "unsure": gettext_lazy("Not sure"),
}


@admin.register(Run)
class RunAdmin(ReadOnly):
    ordering = ("-id",)
    list_display = (
        "id",
        "portal",
        "started_at",
        "state",
        "decision",
        "why",
        "model",
        "tokens",
        "cost",
    )
    list_filter = ("state", "decision", "how", ("portal", admin.RelatedOnlyFieldListFilter))
    search_fields = ("=id", "portal__domain", "reason", "model")
    date_hierarchy = "started_at"
    list_select_related = ("portal",)
    show_full_result_count = False
    fields = (
        "portal", "dialog", "cause", "state", "decision", "why", "topic", "confidence", "in_band",
        "provider", "model", "how", "prompt_tokens", "completion_tokens", "cost", "currency",
        "attempts", "heard_at", "started_at", "finished_at", "steps", "rest_calls",
        "prompt_version", "config_revision", "newest_message_id",
    )  # fmt: skip

    @admin.display(description=gettext_lazy("why"))
    def why(self, row: Run) -> str:
        return in_words(row.reason, row.reason_detail if row.state == Run.State.FAILED else "")

    @admin.display(description=gettext_lazy("cause"))
    def cause(self, row: Run) -> str:
        return str(CAUSES.get(row.trigger, row.trigger))

    @admin.display(description=gettext_lazy("confidence in words"))
    def in_band(self, row: Run) -> str:
        return str(BANDS.get(row.band, row.band))

    @admin.display(description=gettext_lazy("time by steps"))
    def steps(self, row: Run) -> str:
        return ", ".join(f"{STEPS.get(name, name)}: {ms}" for name, ms in row.steps_ms.items())

    @admin.display(description=gettext_lazy("tokens"))
    def tokens(self, row: Run) -> int:
        return row.prompt_tokens + row.completion_tokens


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    list_display = ("id", "portal", "kind", "state", "why", "attempts", "created_at", "sent_at")
    ordering = ("-id",)
    list_filter = (
        Undelivered,
        "state",
        "kind",
        "problem_code",
        ("portal", admin.RelatedOnlyFieldListFilter),
    )
    search_fields = ("=id", "portal__domain", "problem_code")
    list_select_related = ("portal",)
    show_full_result_count = False
    actions = ("repeat",)
    fields = (
        "portal", "dialog", "run", "kind", "key", "state", "why", "problem_code", "attempts",
        "not_before", "created_at", "sent_at", "operator_id",
    )  # fmt: skip

    @admin.display(description=gettext_lazy("why"))
    def why(self, row: Delivery) -> str:
        return delivery_in_words(row.problem_code, row.problem)

    @admin.action(description=gettext_lazy("Repeat those that failed"), permissions=["act"])
    def repeat(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        done = quarantine.retry_deliveries(queryset)
        said = ngettext(
            "%(n)s delivery is planned again.", "%(n)s deliveries are planned again.", done
        )
        self.message_user(request, said % {"n": done}, messages.SUCCESS)


@admin.register(Dialog)
class DialogAdmin(ReadOnly):
    list_display = (
        "id",
        "portal",
        "kind",
        "line_id",
        "owner",
        "due_at",
        "attempts",
        "why",
        "quarantined_at",
    )
    ordering = ("-id",)
    list_filter = (InQuarantine, "kind", "owner", ("portal", admin.RelatedOnlyFieldListFilter))
    search_fields = ("=id", "=key", "portal__domain")
    list_select_related = ("portal",)
    show_full_result_count = False
    actions = ("repeat",)
    fields = (
        "portal", "kind", "key", "line_id", "connector", "owner", "handed_over", "auto_stopped",
        "due_at", "quiet_until", "leased_until", "attempts", "why", "quarantined_at",
        "client_waits_since", "last_message_at", "created_at",
    )  # fmt: skip

    @admin.display(description=gettext_lazy("problem"))
    def why(self, row: Dialog) -> str:
        return problem_in_words(row.problem)

    @admin.action(
        description=gettext_lazy("Take out of quarantine and repeat"), permissions=["act"]
    )
    def repeat(self, request: HttpRequest, queryset: QuerySet[Dialog]) -> None:
        done = quarantine.retry_dialogs(queryset)
        said = ngettext(
            "%(n)s dialog is looked at again.", "%(n)s dialogs are looked at again.", done
        )
        self.message_user(request, said % {"n": done}, messages.SUCCESS)


@admin.register(Spending)
class SpendingAdmin(ReadOnly):
    list_display = (
        "day",
        "portal",
        "model",
        "purpose",
        "calls",
        "prompt_tokens",
        "completion_tokens",
        "cost",
        "currency",
    )
    list_filter = ("purpose", "model", ("portal", admin.RelatedOnlyFieldListFilter))
    date_hierarchy = "day"
    list_select_related = ("portal",)


@admin.register(Circuit)
class CircuitAdmin(ReadOnly):
    """Model servers that get a break now."""

    list_display = ("key", "failures", "open_until", "open_seconds")
