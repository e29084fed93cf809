"""What happens with a judged answer. Pure: a table of guards, each with its reason.

The reason codes are the vocabulary of "why did it say nothing"; screens put them into words.
"""

from __future__ import annotations

from dataclasses import dataclass

from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.flow import Decision, Judgement
from integrations.llm.values import Band


@dataclass(frozen=True)
class Situation:
    """What matters besides the answer itself."""

    mode: str
    owner: str
    handed_over: bool = False
    auto_stopped: bool = False
    blocked: bool = False
    asked_long_ago: bool = False
    line_open: bool = True
    working_hours_only: bool = False
    stop_word: str = ""
    file_unread: bool = False
    tight_limit: str = ""
    """The limit of spending that is so full that nothing goes out by itself any more."""
    kind: str = "chat"


def decide(judgement: Judgement, config: PortalConfig, situation: Situation) -> Decision:
    """Send, suggest, hand over or return, with the reason in one code and its detail."""
    if situation.kind == "item":
        return Decision(act="suggest", reason="letter_or_form", say=judgement.reply.text)
    if situation.kind != "chat":
        return Decision(act="return", reason="asked_by_caller", say=judgement.reply.text)
    if situation.mode == "off":
        return Decision(act="skip", reason="line_is_off")
    bot_holds = situation.owner == "bot" and not situation.handed_over
    if situation.mode == "suggest":
        # The client must not sit with a silent bot: the first message calls the operators.
        return Decision(
            act="suggest", reason="mode_suggest", say=judgement.reply.text, to_person=bot_holds
        )
    why_not = _why_not_automatic(judgement, config, situation)
    if why_not is None:
        return Decision(act="send", reason="auto", say=_signed(judgement.reply.text, config))
    reason, detail = why_not
    if reason in ("needs_human", "topic_for_people", "stop_word", "refused") and bot_holds:
        return Decision(
            act="hand_over",
            reason=reason,
            detail=detail,
            say=config.reply.handoff_message,
            to_person=True,
        )
    return Decision(
        act="suggest",
        reason=reason,
        detail=detail,
        say=judgement.reply.text,
        to_person=bot_holds,
    )


def _why_not_automatic(
    judgement: Judgement, config: PortalConfig, situation: Situation
) -> tuple[str, str] | None:
    """The first guard that keeps the reply from going out by itself."""
    topic = config.topic(judgement.topic)
    doubts = ", ".join(f"{doubt.kind}: {doubt.text}" for doubt in judgement.reply.doubts)[:300]
    guards: tuple[tuple[bool, str, str], ...] = (
        (situation.owner != "bot" or situation.handed_over, "person_in_dialog", ""),
        (situation.auto_stopped, "stopped_in_chat", ""),
        (situation.blocked, "messenger_closed", ""),
        (situation.asked_long_ago, "asked_long_ago", ""),
        (bool(situation.tight_limit), "budget_close", situation.tight_limit),
        (bool(situation.stop_word), "stop_word", situation.stop_word),
        (situation.file_unread, "file_not_read", ""),
        (judgement.plain_text, "plain_text_only", ""),
        (judgement.needs_human, "needs_human", ""),
        (bool(topic and topic.handoff), "topic_for_people", judgement.topic or ""),
        (bool(topic and not topic.auto), "topic_not_automatic", judgement.topic or ""),
        (
            situation.working_hours_only and not situation.line_open,
            "outside_working_hours",
            "",
        ),
        (not judgement.reply.text, "empty_reply", ""),
        (judgement.reply.band is not Band.CONFIDENT, "reply_in_doubt", doubts),
        (
            judgement.confidence < config.reply.min_confidence,
            "low_confidence",
            f"{judgement.confidence:.2f} < {config.reply.min_confidence:.2f}",
        ),
    )
    return next(((reason, detail) for holds, reason, detail in guards if holds), None)


def _signed(text: str, config: PortalConfig) -> str:
    return f"{text}\n{config.reply.signature}" if config.reply.signature else text


def find_stop_word(texts: tuple[str, ...], stop_words: list[str]) -> str:
    """The first of the admin's words that stands in one of the client's texts."""
    lowered = " ".join(texts).casefold()
    return next((word for word in stop_words if word.strip() and word.casefold() in lowered), "")
