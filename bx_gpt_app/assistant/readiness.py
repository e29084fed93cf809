"""May a line answer by itself? Counted from what operators did with its suggestions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.models import Suggestion
from bx_gpt_app.assistant.statistics import BY_PERSON, TAKEN
from bx_gpt_app.portals.models import Portal

REVIEWED_NEEDED = 30
UNEDITED_NEEDED = 0.8
LOOK_BACK = timedelta(days=30)


@dataclass(frozen=True)
class Readiness:
    """`reviewed` suggestions were taken or rated by people; `unedited` of them went out as they
    were."""

    reviewed: int = 0
    unedited: int = 0

    @property
    def share(self) -> float:
        return self.unedited / self.reviewed if self.reviewed else 0.0

    @property
    def percent(self) -> int:
        return int(self.share * 100)

    @property
    def is_ready(self) -> bool:
        return self.reviewed >= REVIEWED_NEEDED and self.share >= UNEDITED_NEEDED

    def in_words(self) -> str:
        if not self.reviewed:
            return _("Operators have not checked any suggestion on this line yet.")
        return _(
            "%(reviewed)s of %(needed)s checked by operators, without edits %(percent)s %% "
            "(%(wanted)s %% needed)"
        ) % {
            "reviewed": min(self.reviewed, REVIEWED_NEEDED),
            "needed": REVIEWED_NEEDED,
            "percent": self.percent,
            "wanted": int(UNEDITED_NEEDED * 100),
        }


def of_line(portal: Portal, line_id: int) -> Readiness:
    """The newest REVIEWED_NEEDED decisions of operators on a line; a bad mark counts as an edit."""
    made = Suggestion.objects.filter(
        portal=portal, dialog__line_id=line_id, created_at__gte=timezone.now() - LOOK_BACK
    ).filter(BY_PERSON)
    reviewed = made.filter(TAKEN) | made.exclude(rating=0)
    rows = reviewed.order_by("-id").values_list("text", "final_text", "rating", "state")
    counted = [_is_unedited(*row) for row in rows[:REVIEWED_NEEDED]]
    return Readiness(reviewed=len(counted), unedited=sum(counted))


def _is_unedited(text: str, final_text: str, rating: int, state: str) -> bool:
    if rating < 0:
        return False
    if state not in (Suggestion.State.SENT, Suggestion.State.INSERTED):
        return rating > 0
    return not final_text or final_text.strip() == text.strip()


def unseen(config: PortalConfig, *, delay_seconds: int, working_hours_only: bool) -> list[str]:
    """What will reach clients without a person having seen it, one sentence each."""
    topics = [topic.title for topic in config.topics if topic.auto and not topic.handoff]
    people = [topic.title for topic in config.topics if topic.handoff or not topic.auto]
    sentences = [
        _("Replies on these topics go out by themselves: %(topics)s.")
        % {"topics": ", ".join(topics)}
        if topics
        else _("No topic allows automatic replies: everything stays a suggestion."),
    ]
    if people:
        sentences.append(_("These stay with people: %(topics)s.") % {"topics": ", ".join(people)})
    sentences.append(
        _("Only replies that rest on the knowledge base or the CRM are sent (“Confident”).")
    )
    sentences.append(
        ngettext(
            "The reply waits %(n)s second, during which an operator can stop it.",
            "The reply waits %(n)s seconds, during which an operator can stop it.",
            delay_seconds,
        )
        % {"n": delay_seconds}
        if delay_seconds
        else _("The reply leaves at once: nobody can stop it before.")
    )
    sentences.append(
        _("Only in the line’s working hours.")
        if working_hours_only
        else _("Day and night, also outside working hours.")
    )
    sentences.append(
        _("When it is not sure, the client is told: “%(text)s”")
        % {"text": config.reply.handoff_message}
    )
    return sentences
