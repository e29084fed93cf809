"""What administrators are told by the portal itself: that a limit of spending fills up, once.

A row for each administrator comes first, then the note. A note carries a tag, so one that is
repeated after a crash takes the place of the first: nobody sees two.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date, timedelta

from django.db import transaction
from django.db.models import F, QuerySet
from django.tasks import task
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from bx_gpt_app.assistant import spending
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Notice
from bx_gpt_app.assistant.reasons import LIMITS
from bx_gpt_app.common.amounts import money, number
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.portals.clients import client_for, lose_access
from bx_gpt_app.portals.models import Grant, Portal
from integrations.bitrix24.errors import AccessLost, Bitrix24Error, Unavailable
from integrations.bitrix24.notifications import notify

logger = logging.getLogger(__name__)

CLOSE, OVER = "close", "over"
RETRY_SECONDS = 60.0
TOO_MANY_ATTEMPTS = 8
STUCK_SECONDS = 120.0
"""A note found being sent for so long was begun by a process that died."""
KEPT = timedelta(days=70)
"""Longer than the longest period, so that a period is never told of again."""


def watch_budget(portal: Portal, config: PortalConfig) -> None:
    """Plan a note for each limit that has passed 80 % or is used up, once a period.

    Call it in the transaction that counts a call. Nothing is read when no limit is set.
    """
    full = [one for one in spending.portal_budgets(portal, config) if one.used >= spending.WARN_AT]
    if not full:
        return
    keys = {_key(one): one for one in full}
    told = Notice.objects.filter(portal=portal, key__in=keys).values_list("key", flat=True)
    new = [budget for key, budget in keys.items() if key not in set(told)]
    if new and _plan(portal, config, new):
        tell_admins.enqueue(portal.pk)


def _key(budget: spending.Budget) -> str:
    today = timezone.now().date()
    period = today if budget.what.startswith("daily") else today.replace(day=1)
    return f"{budget.what}:{OVER if budget.is_over else CLOSE}:{_period(period, budget)}"


def _period(first: date, budget: spending.Budget) -> str:
    # A limit that was raised is another one: it may fill up again in the same period.
    return f"{first.isoformat()}:{budget.limit:g}"


def _plan(portal: Portal, config: PortalConfig, budgets: Iterable[spending.Budget]) -> bool:
    admins = list(
        Grant.objects.filter(portal=portal, is_admin=True)
        .order_by("user_id")
        .values_list("user_id", flat=True)
        .distinct()
    )
    with translation.override("ru" if portal.language == "ru" else "en"):
        rows = [
            Notice(portal=portal, key=_key(budget), user_id=user_id, text=words(budget, config))
            for budget in budgets
            for user_id in admins
        ]
    Notice.objects.bulk_create(rows, ignore_conflicts=True)
    return bool(rows)


def words(budget: spending.Budget, config: PortalConfig) -> str:
    """What an administrator reads, in the active language."""
    figures = {
        "limit": LIMITS[budget.what],
        "percent": number(budget.used * 100),
        "spent": money(budget.spent, budget.currency) if budget.currency else number(budget.spent),
        "all": money(budget.limit, budget.currency) if budget.currency else number(budget.limit),
    }
    if budget.is_over:
        said = _("The AI assistant has used up its limit of %(limit)s: %(spent)s of %(all)s.")
        then = (
            _("Until tomorrow people answer.")
            if budget.what.startswith("daily")
            else _("Until the end of the month people answer.")
        )
    else:
        said = _(
            "The AI assistant has used %(percent)s %% of its limit of %(limit)s: "
            "%(spent)s of %(all)s."
        )
        then = (
            _(
                "At 90 %% the cheaper model answers, at 95 %% replies are only suggested, "
                "at 100 %% people answer."
            )
            if config.llm.cheaper
            else _("At 95 %% replies are only suggested, at 100 %% people answer.")
        )
    where = _("The limit is changed in the assistant’s settings, on the page “Costs”.")
    return f"{said} {then} {where}" % figures


def is_told(portal: Portal, what: str) -> bool:
    """Has an administrator been told in this period that this limit is used up?"""
    today = timezone.now().date()
    first = today if what.startswith("daily") else today.replace(day=1)
    return Notice.objects.filter(
        portal=portal,
        key__startswith=f"{what}:{OVER}:{first.isoformat()}",
        state=Notice.State.SENT,
    ).exists()


# ---- sent ----


@task(queue_name="background")
def tell_admins(portal_id: int) -> None:
    """Send what is planned for this portal. Harmless when it comes twice, late or never."""
    portal = Portal.objects.select_related("registration").filter(pk=portal_id).first()
    if portal is None or not portal.works:
        return
    for notice in _due().filter(portal=portal).order_by("pk"):
        try:
            _tell(portal, notice)
        except AccessLost as error:
            lose_access(portal, error)
            return


@task(queue_name="background")
def tell_everywhere() -> None:
    """Notes whose wake-up was lost or whose portal was down; old ones go."""
    for portal_id in _due().order_by().values_list("portal_id", flat=True).distinct():
        tell_admins.enqueue(portal_id)
    Notice.objects.filter(created_at__lt=timezone.now() - KEPT).delete()


def _due() -> QuerySet[Notice]:
    return Notice.objects.filter(
        state__in=(Notice.State.PLANNED, Notice.State.SENDING), not_before__lte=timezone.now()
    )


def _tell(portal: Portal, notice: Notice) -> None:
    """Raises: AccessLost."""
    later = timezone.now() + timedelta(seconds=STUCK_SECONDS)
    with transaction.atomic():
        mine = Notice.objects.filter(
            pk=notice.pk, state=notice.state, attempts=notice.attempts
        ).update(state=Notice.State.SENDING, attempts=F("attempts") + 1, not_before=later)
    if not mine:
        return
    attempts = notice.attempts + 1
    give_back_connection(for_long=True)
    try:
        notify(
            client_for(portal),
            notice.user_id,
            notice.text,
            tag=f"ai_colleague|{notice.key}|{notice.user_id}",
        )
    except AccessLost as error:
        _set(notice, Notice.State.PLANNED, problem=str(error), wait=RETRY_SECONDS)
        raise
    except Unavailable as error:
        _set(
            notice,
            Notice.State.FAILED if attempts >= TOO_MANY_ATTEMPTS else Notice.State.PLANNED,
            problem=str(error),
            wait=max(error.retry_in or 0.0, RETRY_SECONDS * attempts),
        )
    except Bitrix24Error as error:
        _set(notice, Notice.State.FAILED, problem=str(error))
        logger.warning("notice refused", extra={"portal": portal.pk, "code": error.code})
    else:
        _set(notice, Notice.State.SENT)


def _set(notice: Notice, state: str, *, problem: str = "", wait: float = 0.0) -> None:
    now = timezone.now()
    Notice.objects.filter(pk=notice.pk, state=Notice.State.SENDING).update(
        state=state,
        problem=problem[:300],
        not_before=now + timedelta(seconds=wait),
        sent_at=now if state == Notice.State.SENT else None,
    )
