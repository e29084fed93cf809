"""What the host's pages call models and their fields.

Kept here and not in the models: there every better word would be a migration.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.apps import apps
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

MODELS: Mapping[str, tuple[Promise, Promise]] = {
    "portals.Portal": (_("portal"), _("portals")),
    "portals.AppRegistration": (_("app registration"), _("app registrations")),
    "portals.Grant": (_("access"), _("accesses")),
    "portals.Line": (_("open line"), _("open lines")),
    "assistant.Run": (_("run"), _("runs")),
    "assistant.Delivery": (_("delivery"), _("deliveries")),
    "assistant.Dialog": (_("dialog"), pgettext_lazy("a list of them", "dialogs")),
    "assistant.Spending": (_("spending"), _("spending")),
    "assistant.Circuit": (_("break of a model server"), _("breaks of model servers")),
    "django_ox.OxTask": (_("background task"), _("background tasks")),
    "django_ox.OxSchedule": (_("schedule"), _("schedules")),
}
FIELDS: Mapping[str, Promise] = {
    "active": _("works"),
    "app_version": _("version of the app"),
    "attempts": _("attempts"),
    "auto_stopped": _("automatic replies stopped"),
    "band": _("confidence in words"),
    "bindings": _("what is bound"),
    "bot_api": _("interface of bots"),
    "bot_id": _("number of the bot"),
    "calls": _("calls"),
    "client_waits_since": _("client waits since"),
    "code": _("code"),
    "completion_tokens": _("tokens of answers"),
    "confidence": _("confidence"),
    "config_revision": _("revision of settings"),
    "connected": _("connected"),
    "connector": _("messenger"),
    "cost": _("cost"),
    "created_at": _("created"),
    "currency": _("currency"),
    "day": _("day"),
    "dead_reason": _("why it ended"),
    "decision": _("decision"),
    "dialog": _("dialog"),
    "domain": _("address"),
    "down_since": _("does not answer since"),
    "due_at": _("due"),
    "enqueued_at": _("enqueued"),
    "expires_at": _("valid until"),
    "failures": _("failures"),
    "finished_at": _("finished"),
    "handed_over": _("handed over"),
    "heard_at": _("heard"),
    "how": _("way of answering"),
    "installed_at": _("installed"),
    "is_admin": _("administrator"),
    "key": _("key"),
    "kind": _("kind"),
    "language": _("language"),
    "last_call_at": _("last call"),
    "last_error": _("last problem"),
    "last_error_at": _("last problem at"),
    "last_event_at": _("last event"),
    "last_message_at": _("last message"),
    "leased_until": _("in work until"),
    "licence": _("licence"),
    "line_id": _("number of the line"),
    "member_id": _("member_id of the portal"),
    "model": _("model"),
    "newest_message_id": _("newest message"),
    "not_before": _("not before"),
    "oauth_url": _("authorization server"),
    "open_seconds": _("length of the break, s"),
    "open_until": _("break until"),
    "operator_id": _("number of the operator"),
    "owner": _("led by"),
    "paused": _("paused"),
    "portal": _("portal"),
    "problem": _("problem"),
    "problem_code": _("code of the problem"),
    "prompt_tokens": _("tokens of questions"),
    "prompt_version": _("version of the prompt"),
    "provider": _("provider"),
    "public_id": _("public number"),
    "purpose": _("purpose"),
    "quarantined_at": _("in quarantine since"),
    "queue_name": _("queue"),
    "quiet_until": _("quiet until"),
    "registration": _("app registration"),
    "renewed_at": _("renewed"),
    "rest_calls": _("requests to the portal"),
    "run": _("run"),
    "scope": _("permissions"),
    "seen_at": _("seen"),
    "sent_at": _("sent"),
    "session_epoch": _("count of ended sessions"),
    "started_at": _("started"),
    "state": _("state"),
    "state_changed_at": _("state changed"),
    "state_reason": _("reason of the state"),
    "status": _("state"),
    "steps_ms": _("milliseconds by steps"),
    "task_path": _("task"),
    "time_zone": _("time zone"),
    "title": _("title"),
    "topic": _("topic"),
    "trigger": _("cause"),
    "uninstalled_at": _("uninstalled"),
    "user_id": _("number of the user"),
    "user_name": pgettext_lazy("of a person", "Name"),
}
"""Equal names mean equal things in all models."""
FROM_DJANGO = (_("- Select an option -"),)
"""What Django's own pages say in English only, for our translators."""


def speak() -> None:
    """Called once, when all models are known."""
    for label, (one, many) in MODELS.items():
        model = apps.get_model(label)
        model._meta.verbose_name, model._meta.verbose_name_plural = one, many
        for field in model._meta.fields:
            if field.name in FIELDS:
                field.verbose_name = FIELDS[field.name]
