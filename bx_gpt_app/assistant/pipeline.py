"""The story of a message: heard → known → asked → judged → decided → written down → delivered.

`work` is what a woken worker does with one dialog. Every step leaves a row behind before the next
begins, so a process that dies between any two lines is continued by another one: paid answers are
not asked for again, acts are repeated under their own key. No network call runs inside a
transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from bx_gpt_app.assistant import leases, notices, spending, store, tasks, thinking, whispers
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.context import gather, read_outside
from bx_gpt_app.assistant.decide import Situation, decide, find_stop_word
from bx_gpt_app.assistant.deliver import STALE_REPLY, deliver
from bx_gpt_app.assistant.fill import propose_values
from bx_gpt_app.assistant.knowledge import count_uses, note_unanswered
from bx_gpt_app.assistant.leases import Lease, LeaseLost
from bx_gpt_app.assistant.listen import has_news, listen
from bx_gpt_app.assistant.models import Delivery, Dialog, Run, Suggestion
from bx_gpt_app.assistant.people import call_operators
from bx_gpt_app.assistant.probing import probe_again
from bx_gpt_app.assistant.returns import fail_call, finish_call, plan_robot_result
from bx_gpt_app.common.logs import log_context
from bx_gpt_app.flow import Context, Decision, Judgement
from bx_gpt_app.portals.clients import client_for, lose_access, note_failure
from bx_gpt_app.portals.lines import is_open
from bx_gpt_app.portals.models import Portal
from integrations.bitrix24.errors import AccessLost, LimitExceeded, Unavailable
from integrations.llm.gateway import Result
from integrations.llm.question import OUT_OF_FORM
from integrations.llm.values import Answer, Author, Band, CheckedReply

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=90)
"""How long a client's question waits for a model that does not answer before a person is called."""
RETRY_SECONDS = (1.0, 3.0, 8.0, 15.0, 30.0)
TOO_MANY_ATTEMPTS = 5


@dataclass
class Passage:
    """One worker's passage through one dialog: what it holds in its hands."""

    lease: Lease
    dialog: Dialog
    portal: Portal
    config: PortalConfig
    revision: int
    steps_ms: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            spent = round((time.monotonic() - started) * 1000)
            self.steps_ms[name] = self.steps_ms.get(name, 0) + spent


class Later(Exception):
    """Nothing more can be done now; the dialog is looked at again after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"again in {seconds:.1f} s")
        self.seconds = seconds


def work(dialog_id: int) -> None:
    """Do what is due in a dialog, then in the portal's next one. Harmless when nothing is."""
    while True:
        lease = leases.take(dialog_id)
        if lease is None:
            return
        with log_context(portal=lease.portal_id, dialog=dialog_id), leases.keeper.holding(lease):
            try:
                due_at = lease.release(_pass(lease))
                if due_at and due_at > timezone.now():
                    tasks.wake_at(dialog_id, due_at)
            except LeaseLost:
                logger.warning("lease lost")
                return
        # What became due while this lane was busy, this very dialog included.
        following = leases.next_due(lease.portal_id)
        if following is None:
            return
        dialog_id = following


def _pass(lease: Lease) -> datetime | None:
    """One passage; returns when the dialog is due again, None when it waits for news only."""
    dialog = Dialog.objects.select_related("portal__registration").get(pk=lease.dialog_id)
    portal = dialog.portal
    if not portal.works:
        return timezone.now()  # stays due: it is taken again once the portal works
    config, revision = store.load(portal)
    passage = Passage(lease, dialog, portal, config, revision)
    try:
        return _go_on(passage)
    except Later as later:
        return _in(later.seconds)
    except LimitExceeded as error:
        return _in(error.retry_in or 1.0)
    except Unavailable as error:
        note_failure(portal, error, down=True)
        return _in(max(error.retry_in or 0.0, _backoff(passage)))
    except AccessLost as error:
        lose_access(portal, error)
        return timezone.now()
    except LeaseLost:
        raise
    except Exception as error:
        # A bug or a row nobody thought of: this dialog waits for a person, the others go on.
        logger.exception("passage failed")
        return _quarantine_after_many(passage, error)


def _go_on(passage: Passage) -> datetime | None:
    """Listen, finish what was begun, answer what waits, deliver."""
    dialog = passage.dialog
    with passage.step("listen"):
        listen(dialog, passage.lease, passage.config)
    come_back = deliver(dialog, passage.lease, passage.portal, passage.config)
    for run in _runs_to_make(passage):
        _answer(passage, run)
        with passage.step("deliver"):
            come_back = deliver(dialog, passage.lease, passage.portal, passage.config)
        _note_steps(passage, run)
    if _drafts_leave(passage):
        come_back = deliver(dialog, passage.lease, passage.portal, passage.config)
    _close_runs(dialog)
    finish_call(dialog, passage.lease)
    if dialog.attempts:
        passage.lease.write(attempts=0, problem="")
    return min(filter(None, [come_back, dialog.quiet_until]), default=None)


def _drafts_leave(passage: Passage) -> bool:
    """Drafts inside the chat that are answered or replaced by now."""
    if not passage.config.line(passage.dialog.line_id).whisper:
        return False
    with transaction.atomic():
        passage.lease.hold()
        return whispers.plan_removals(passage.dialog)


# ---- which runs ----


def _runs_to_make(passage: Passage) -> Iterator[Run]:
    """Unfinished ones first (an operator's wish, a crash), then the client's waiting question."""
    dialog = passage.dialog
    unfinished = Run.objects.filter(
        dialog=dialog, state__in=[Run.State.THINKING, Run.State.ANSWERED]
    ).order_by("id")
    for run in unfinished:
        if run.trigger == "message" and run.newest_message_id < dialog.newest_message_id:
            _supersede(run)
        else:
            yield run
    if dialog.quiet_until and dialog.quiet_until <= timezone.now():
        yield _start_run(passage)


def _start_run(passage: Passage) -> Run:
    dialog = passage.dialog
    prompt = passage.portal.prompts.filter(active=True).first()
    with transaction.atomic():
        passage.lease.hold()
        return Run.objects.create(
            portal=passage.portal,
            dialog=dialog,
            trigger="message" if dialog.kind == Dialog.Kind.CHAT else dialog.kind,
            newest_message_id=dialog.newest_message_id,
            prompt_version=prompt,
            config_revision=passage.revision,
            heard_at=dialog.client_waits_since,
        )


def _supersede(run: Run) -> None:
    run.state, run.reason, run.finished_at = (
        Run.State.SUPERSEDED,
        "client_wrote_again",
        timezone.now(),
    )
    run.save(update_fields=["state", "reason", "finished_at"])


# ---- one run ----


def _answer(passage: Passage, run: Run) -> None:
    with log_context(run=run.pk):
        dialog, config = passage.dialog, passage.config
        if dialog.kind == Dialog.Kind.CHAT and config.line(dialog.line_id).mode == "off":
            _decided(passage, run, None, None, Decision(act="skip", reason="line_is_off"))
            return
        if _is_paused(passage, run):
            _decided(passage, run, None, None, Decision(act="skip", reason="suggestions_paused"))
            return
        with passage.step("read"):
            run.rest_calls += read_outside(
                dialog, passage.lease, client_for(passage.portal), config
            )
        chosen = run.newest_message_id if run.trigger == Run.CHOSEN else None
        context = gather(dialog, passage.portal, config, up_to=chosen)
        if not context.client_texts:
            _decided(passage, run, None, None, Decision(act="skip", reason="nothing_to_answer"))
            return
        budget = spending.budget(passage.portal, config, dialog)
        if run.state == Run.State.THINKING:
            problem = _think(passage, run, context, budget)
            if problem:
                _give_up(passage, run, context, *problem)
                return
            if run.state == Run.State.SUPERSEDED:
                return
        judgement = thinking.judge(
            Answer.model_validate(run.answer),
            config,
            context,
            region=passage.portal.region,
            canary=run.canary,
            plain_text=run.how in OUT_OF_FORM,
        )
        with passage.step("listen"):
            if has_news(dialog):
                listen(dialog, passage.lease, config)
        if run.trigger == "message" and dialog.newest_message_id > run.newest_message_id:
            if dialog.quiet_until:  # the client went on writing: the next run answers all of it
                _supersede(run)
                return
            decision = Decision(act="skip", reason="person_answered_first")
        elif run.trigger in Run.ASKED:
            decision = Decision(act="suggest", reason="asked_by_operator", say=judgement.reply.text)
        else:
            decision = decide(judgement, config, _situation(passage, context, budget))
        _decided(passage, run, context, judgement, decision)


def _think(
    passage: Passage, run: Run, context: Context, budget: spending.Budget
) -> tuple[str, str] | None:
    """Ask the model and save its answer the moment it is there. A reason when there is none.

    Raises: Later, to try again while the client's patience lasts.
    """
    if budget.is_over:
        return "budget", budget.what
    if _too_many_calls(passage):
        a_caller_waits = passage.dialog.kind in (Dialog.Kind.HOOK, Dialog.Kind.ROBOT)
        if a_caller_waits and _in(5.0) > _patient_until(passage, run):
            return "too_many_questions", ""
        raise Later(5.0)
    saving = budget.wants_cheaper_model and passage.config.llm.cheaper is not None
    try:
        providers = thinking.routes(passage.portal, passage.config, saving=saving)
    except thinking.NoModel:
        return "no_model", ""
    run.saving = budget.what if saving else ""
    Run.objects.filter(pk=run.pk).update(attempts=F("attempts") + 1)
    run.attempts += 1
    with passage.step("model"):
        result = thinking.ask(
            passage.config,
            providers,
            context,
            steer=run.steer,
            deadline_seconds=_deadline_seconds(passage, run),
        )
    if result.probe_due:
        probe_again.enqueue(passage.portal.pk)
    if result.answer is None and not result.text:
        _pay(passage, run, result)
        until = _patient_until(passage, run)
        shortest = RETRY_SECONDS[min(run.attempts, len(RETRY_SECONDS)) - 1]
        if result.retry_in is not None and _in(shortest) < until:
            wished = min(result.retry_in, 30.0)
            raise Later(max(shortest, wished) if _in(wished) < until else shortest)
        return result.reason or "model_failed", _failure_in_words(result, passage.portal.language)
    _keep_answer(passage, run, context, result)
    thinking.keep_learned(passage.portal, passage.config, result)
    return None


def _pay(passage: Passage, run: Run, result: Result) -> None:
    """Servers charge for answers that nobody could use, too."""
    if not result.bills:
        return
    with transaction.atomic():
        passage.lease.hold()
        _charge(passage, run, result)
        run.save(
            update_fields=[
                "prompt_tokens", "completion_tokens", "cost", "currency", "other_costs", "saving",
            ]
        )  # fmt: skip


def _charge(passage: Passage, run: Run, result: Result) -> None:
    """What a question cost, on the run and in the portal's books. Inside the caller's transaction,
    so that it is counted once."""
    run.prompt_tokens += result.usage.prompt_tokens
    run.completion_tokens += result.usage.completion_tokens
    before = {run.currency: run.cost} if run.cost is not None else {}
    costs = {**run.other_costs, **before}
    for currency, amount in result.usage.costs.items():
        costs[currency] = costs.get(currency, 0.0) + amount
    if costs:
        # The currency of the server that answered comes first; they are never added up.
        last = result.bills[-1].usage.currency
        run.currency = last if last in costs else next(iter(costs))
        run.cost = costs.pop(run.currency)
        run.other_costs = costs
    number = run.prompt_version.number if run.prompt_version else 0
    spending.record_calls(
        passage.portal,
        result.bills,
        purpose=run.purpose,
        dialog=passage.dialog,
        prompt_number=number,
    )
    notices.watch_budget(passage.portal, passage.config)


def _keep_answer(passage: Passage, run: Run, context: Context, result: Result) -> None:
    """Paid work is never done twice: the answer is saved before anything is made of it."""
    answer = result.answer or Answer(reply=result.text, confidence=0.0)
    run.answer = answer.model_dump(mode="json")
    run.state = Run.State.ANSWERED
    run.provider, run.model, run.how = result.provider_kind, result.model, result.how
    run.masked = dict(result.masked_counts)
    run.sources = [{"key": source.key, "title": source.title} for source in context.sources]
    run.message_ids = [turn.message_id for turn in context.conversation if turn.message_id]
    run.canary = result.canary
    with transaction.atomic():
        passage.lease.hold()
        still = Run.objects.filter(pk=run.pk, state=Run.State.THINKING).exists()
        if not still:  # the operator called it off while the model was writing: paid, not shown
            run.state, run.reason = Run.State.SUPERSEDED, "cancelled_by_operator"
        _charge(passage, run, result)
        run.save()


def _give_up(passage: Passage, run: Run, context: Context, reason: str, detail: str) -> None:
    """No answer from any model: never silence. What the client wrote is still read for data."""
    config, dialog = passage.config, passage.dialog
    judgement = Judgement(
        answer=Answer(needs_human=True),
        reply=CheckedReply(text="", band=Band.UNSURE),
        values=thinking.values_found_locally(config, context, passage.portal.region),
        needs_human=True,
    )
    bot_holds = dialog.owner == Dialog.Owner.BOT and not dialog.handed_over
    if dialog.kind != Dialog.Kind.CHAT:
        decision = Decision(act="return", reason=reason, detail=detail)
    elif run.trigger in Run.ASKED:  # a person waits for it and sees it: nobody else is told
        decision = Decision(act="suggest", reason=reason, detail=detail)
    elif (
        config.line(dialog.line_id).mode == "auto"
        and bot_holds
        and not dialog.auto_stopped
        and not _asked_long_ago(context)
        and reason != "not_understood"  # an answer out of form sends nothing by itself
    ):
        decision = Decision(
            act="hand_over",
            reason=reason,
            detail=detail,
            say=config.reply.handoff_message,
            to_person=True,
        )
    else:
        decision = Decision(act="suggest", reason=reason, detail=detail, to_person=bot_holds)
    run.state = Run.State.FAILED
    _decided(passage, run, context, judgement, decision)


# ---- written down ----


def _decided(
    passage: Passage,
    run: Run,
    context: Context | None,
    judgement: Judgement | None,
    decision: Decision,
) -> None:
    """All that follows from a decision, in one transaction: suggestion, values, deliveries."""
    dialog, config = passage.dialog, passage.config
    failed = run.state == Run.State.FAILED
    run.state = Run.State.FAILED if failed else Run.State.DECIDED
    run.finished_at = timezone.now() if failed else None
    run.decision, run.reason = decision.act, decision.reason[:40]
    run.reason_detail = decision.detail[:300]
    if judgement:
        run.values = [value.model_dump(mode="json") for value in judgement.values]
        run.topic, run.confidence = judgement.topic or "", judgement.confidence
        run.band, run.reply = judgement.reply.band, judgement.reply.text
        run.doubts = [doubt.model_dump() for doubt in judgement.reply.doubts]
    with transaction.atomic():
        passage.lease.hold()
        run.save()
        suggestion = None
        if judgement and judgement.reply.text and decision.act in ("send", "suggest", "hand_over"):
            suggestion = _suggest(passage, run, judgement, decision)
        _plan_message(passage, run, suggestion, decision)  # first: the client waits, the CRM not
        if judgement and context:
            if run.trigger != Run.CHOSEN:  # the client may have corrected himself since
                propose_values(passage.portal, dialog, run, judgement, config)
            count_uses(passage.portal, judgement.reply.sources)
            note_unanswered(run, context, judgement)
        ready = suggestion and suggestion.state == Suggestion.State.READY
        if suggestion and ready and run.trigger != Run.CHOSEN:
            whispers.plan(dialog, run, suggestion, config)
        if decision.to_person:
            call_operators(dialog, run)
        if dialog.kind == Dialog.Kind.ROBOT:
            plan_robot_result(passage.portal, dialog, run)
        if run.trigger in Run.ASKED:  # the client's own question, if any, still waits
            passage.lease.write(rev=F("rev") + 1)
        else:
            passage.lease.write(quiet_until=None, client_waits_since=None, rev=F("rev") + 1)
    dialog.refresh_from_db()
    told = {"decision": decision.act, "reason": decision.reason}
    if run.saving:
        told |= {"saving": run.saving, "model": run.model}
    logger.info("decided", extra=told)


def _suggest(passage: Passage, run: Run, judgement: Judgement, decision: Decision) -> Suggestion:
    if run.trigger == "message":
        Suggestion.objects.filter(
            dialog=passage.dialog, state__in=[Suggestion.State.READY, Suggestion.State.INSERTED]
        ).update(state=Suggestion.State.CLOSED, closed_reason="newer", closed_at=timezone.now())
    sending = decision.act == "send"
    return Suggestion.objects.create(
        portal=passage.portal,
        dialog=passage.dialog,
        run=run,
        text=judgement.reply.text,
        band=judgement.reply.band,
        doubts=run.doubts,
        sources=list(judgement.reply.sources),
        answered_message_id=run.newest_message_id,
        state=Suggestion.State.SENDING if sending else Suggestion.State.READY,
    )


def _plan_message(
    passage: Passage, run: Run, suggestion: Suggestion | None, decision: Decision
) -> None:
    """The words for the client, if any: the reply itself or the hand-over text."""
    if decision.act not in ("send", "hand_over") or not decision.say:
        return
    delay = passage.config.line(passage.dialog.line_id).delay_seconds
    is_reply = decision.act == "send"
    Delivery.objects.create(
        portal=passage.portal,
        dialog=passage.dialog,
        run=run,
        suggestion=suggestion if is_reply else None,
        kind=Delivery.Kind.MESSAGE,
        payload={
            "text": decision.say,
            "automatic": True,
            "answers": run.newest_message_id,
            "after_message_id": passage.dialog.newest_message_id,
        },
        not_before=timezone.now() + timedelta(seconds=delay if is_reply else 0),
    )


def _note_steps(passage: Passage, run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(
        steps_ms={**run.steps_ms, **passage.steps_ms}, rest_calls=run.rest_calls
    )


def _close_runs(dialog: Dialog) -> None:
    """Decided runs end when nothing of theirs is left in the outbox."""
    Run.objects.filter(dialog=dialog, state=Run.State.DECIDED).exclude(
        deliveries__state__in=Delivery.OPEN
    ).update(state=Run.State.DONE, finished_at=timezone.now())


# ---- small judgements ----


def _situation(passage: Passage, context: Context, budget: spending.Budget) -> Situation:
    dialog, config = passage.dialog, passage.config
    line = config.line(dialog.line_id)
    return Situation(
        kind=dialog.kind,
        mode=line.mode,
        owner=dialog.owner,
        handed_over=dialog.handed_over,
        auto_stopped=dialog.auto_stopped,
        blocked=dialog.blocked,
        asked_long_ago=_asked_long_ago(context),
        file_unread=_only_a_file(dialog),
        working_hours_only=line.working_hours_only,
        line_open=is_open(passage.portal, dialog.line_id),
        stop_word=find_stop_word(context.client_texts, config.reply.stop_words),
        tight_limit="" if budget.allows_auto else budget.what,
    )


def _asked_long_ago(context: Context) -> bool:
    """A client who is answered hours late by a machine is worse off than with a person's reply."""
    asked = [turn.at for turn in context.conversation if turn.author is Author.CLIENT and turn.at]
    return bool(asked) and timezone.now() - asked[-1] > STALE_REPLY


def _deadline_seconds(passage: Passage, run: Run) -> float | None:
    """A waiting automation step must hear from us before its own time is over."""
    if passage.dialog.kind != Dialog.Kind.ROBOT:
        return None
    return max((_patient_until(passage, run) - timezone.now()).total_seconds(), 1.0)


def _is_paused(passage: Passage, run: Run) -> bool:
    """The operator switched suggestions off in this chat; an automatic reply is another matter."""
    dialog = passage.dialog
    if not dialog.suggestions_off or run.trigger != "message":
        return False
    goes_by_itself = (
        passage.config.line(dialog.line_id).mode == "auto"
        and dialog.owner == Dialog.Owner.BOT
        and not dialog.auto_stopped
    )
    return not goes_by_itself


def _patient_until(passage: Passage, run: Run) -> datetime:
    """A client's patience, or the time that the waiting automation step leaves us."""
    until = (run.heard_at or run.started_at) + PATIENCE
    if passage.dialog.kind == Dialog.Kind.ROBOT:
        event = passage.dialog.events.filter(kind="robot").first()
        told = event.payload.get("give_up_at") if event else None
        if told:
            until = min(until, datetime.fromisoformat(told))
    return until


def _only_a_file(dialog: Dialog) -> bool:
    """The client's last message is a picture or a voice note: nobody here has looked into it."""
    last = dialog.messages.filter(author=Author.CLIENT, deleted=False).last()
    return last is not None and last.files > 0 and not last.text.strip()


def _too_many_calls(passage: Passage) -> bool:
    since = timezone.now() - timedelta(minutes=1)
    recent = Run.objects.filter(
        portal=passage.portal, started_at__gte=since, attempts__gt=0
    ).count()
    return recent >= passage.config.limits.requests_per_minute


def _failure_in_words(result: Result, language: str) -> str:
    return result.failures[-1].in_words(language)[:300] if result.failures else ""


def _in(seconds: float) -> datetime:
    return timezone.now() + timedelta(seconds=seconds)


def _backoff(passage: Passage) -> float:
    attempts = passage.dialog.attempts + 1
    passage.lease.write(attempts=attempts)
    return RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]


def _quarantine_after_many(passage: Passage, error: Exception) -> datetime | None:
    attempts = passage.dialog.attempts + 1
    problem = f"{type(error).__name__} in our own code; the host's log has the details"
    if attempts < TOO_MANY_ATTEMPTS:
        passage.lease.write(attempts=attempts, problem=problem)
        return _in(RETRY_SECONDS[attempts - 1])
    with transaction.atomic():
        passage.lease.write(attempts=attempts, problem=problem, quarantined_at=timezone.now())
        fail_call(passage.dialog)
    return None
