"""What a prompt does to the portal's test cases: the draft beside the active text, case by case.

Every answer is a row under a key that stands for all it depends on (`key_of`), written the moment
it arrives. So a run that is stopped, or whose process dies, goes on where it was; nothing is paid
for twice but a call that was cut in the middle; a published draft brings its answers along; and
whether an answer still holds is a look-up. Chats and the CRM are never touched.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, Q
from django.tasks import task
from django.utils import timezone
from pydantic import ValidationError

from bx_gpt_app.assistant import evaluation, spending, store, thinking
from bx_gpt_app.assistant.cases import Case
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.leases import EXTEND_SECONDS, LEASE_SECONDS, database_now
from bx_gpt_app.assistant.models import CaseAnswer, Evaluation, PortalCase, PromptVersion, Run
from bx_gpt_app.assistant.portal_cases import case_of
from bx_gpt_app.assistant.report import CaseResult, Report
from bx_gpt_app.common.database import give_back_connection
from bx_gpt_app.common.logs import log_context
from bx_gpt_app.flow import Context
from bx_gpt_app.portals.models import Portal
from integrations.llm.gateway import Result
from integrations.llm.providers import Provider

logger = logging.getLogger(__name__)

CALLS_AT_ONCE = 4
"""Trying a prompt must leave room for the clients who are waiting."""
PASSAGE_SECONDS = 15.0
"""Then the thread is given back, so that a worker that is told to end need not wait long."""
FAILURES_IN_A_ROW = 3
OF_THE_CASE = ("refused", "too_big", "contract")
"""Failures that say something of the prompt or the case; any other says something of the server."""


# ---- what an answer depends on ----


@dataclass(frozen=True)
class Side:
    """A text with all the settings it answers under. `version` is None for the built-in text."""

    config: PortalConfig
    version: PromptVersion | None
    print: str

    def key(self, case: Case) -> str:
        return _hash([self.print, case.document])


def side_of(portal: Portal, config: PortalConfig, version: PromptVersion | None) -> Side:
    llm = config.llm
    influences = {
        "prompt": config.prompt,
        "topics": [topic.model_dump(mode="json") for topic in config.topics],
        "fields": [spec.model_dump(mode="json") for spec in config.fields],
        "language": config.language,
        "reply": [config.reply.max_length, config.reply.contacts],
        "privacy": config.privacy.model_dump(mode="json"),
        "model": [
            llm.base_url or settings.OPENAI_BASE_URL,
            llm.model or settings.OPENAI_MODEL,
            llm.temperature,
            llm.max_input_chars,
            llm.mask_personal_data,
        ],
        "knowledge": _knowledge_state(portal),
    }
    return Side(config, version, _hash(influences))


def _knowledge_state(portal: Portal) -> list[str]:
    valid = Q(valid_until__isnull=True) | Q(valid_until__gte=timezone.localdate())
    state = portal.snippets.aggregate(
        changed=Max("updated_at"), all=Count("pk"), valid=Count("pk", filter=valid)
    )
    return [str(state[name]) for name in ("changed", "all", "valid")]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


# ---- how things stand ----


@dataclass(frozen=True)
class Line:
    """One case and what came of it; None: not asked under the present settings."""

    row: PortalCase
    case: Case
    active: CaseResult | None
    draft: CaseResult | None

    @property
    def change(self) -> str:
        """worse, better or same; empty while one of both is missing."""
        if self.active is None or self.draft is None:
            return ""
        if self.draft.score == self.active.score:
            return "same"
        return "better" if self.draft.score > self.active.score else "worse"


@dataclass(frozen=True)
class Standing:
    """All cases under the active settings and, when there is one, under the draft."""

    lines: tuple[Line, ...]
    active: Side
    draft: Side | None
    evaluation: Evaluation | None

    @property
    def is_running(self) -> bool:
        return self.evaluation is not None and self.evaluation.state == Evaluation.State.RUNNING

    @property
    def runs_another_text(self) -> bool:
        """The draft was changed after the run began: what it brings is not about this text."""
        tried = self.evaluation.draft if self.evaluation else ""
        return self.is_running and tried != (self.draft.config.prompt if self.draft else "")

    @property
    def wanted(self) -> int:
        """Answers that a whole comparison needs."""
        return len(self.lines) * (2 if self.draft else 1)

    @cached_property
    def answered(self) -> int:
        return sum((one.active is not None) + (one.draft is not None) for one in self.lines)

    @property
    def is_complete(self) -> bool:
        return bool(self.lines) and self.answered == self.wanted

    @property
    def worse(self) -> list[Line]:
        return [one for one in self.lines if one.change == "worse"]

    @property
    def better(self) -> list[Line]:
        return [one for one in self.lines if one.change == "better"]

    def report(self, side: str) -> Report:
        """The numbers of one side ("active" or "draft"), of what is answered."""
        results = (getattr(one, side) for one in self.lines)
        return Report(results=tuple(result for result in results if result is not None))

    def score(self, side: str) -> dict[str, int] | None:
        """Cases passed of all; None before all of them were asked."""
        report = self.report(side)
        if not self.lines or len(report.results) < len(self.lines):
            return None
        return {"passed": report.passed, "of": len(self.lines)}


def standing(portal: Portal, *, draft: str | None = None) -> Standing:
    """How the portal's cases fare now. `draft` is a text to hold against the active one; None: the
    portal's own draft."""
    config, _revision = store.load(portal)
    rows = list(portal.cases.all())
    active, other = _sides(portal, config, draft)
    cases = [case_of(row) for row in rows]
    known = _known(portal, [side.key(case) for side in (active, other) if side for case in cases])
    return Standing(
        lines=tuple(
            Line(
                row=row,
                case=case,
                active=known.get(active.key(case)),
                draft=known.get(other.key(case)) if other else None,
            )
            for row, case in zip(rows, cases, strict=True)
        ),
        active=active,
        draft=other,
        evaluation=Evaluation.objects.filter(pk=portal.pk).first(),
    )


def _sides(portal: Portal, config: PortalConfig, draft: str | None) -> tuple[Side, Side | None]:
    version = portal.prompts.filter(draft=True).first()
    text = (version.text if version else "") if draft is None else draft
    active = side_of(portal, config, portal.prompts.filter(active=True).first())
    if not text or text == config.prompt:
        return active, None
    return active, side_of(portal, config.model_copy(update={"prompt": text}), version)


def _known(portal: Portal, keys: Iterable[str]) -> dict[str, CaseResult]:
    found = {}
    rows = CaseAnswer.objects.filter(portal=portal, key__in=list(keys))
    for key, result in rows.values_list("key", "result"):
        try:
            found[key] = CaseResult.model_validate(result)
        except ValidationError:
            continue  # written by another version of the product: asked again
    return found


# ---- starting and stopping ----


def start(portal: Portal, *, anew: bool = False) -> None:
    """Ask what is not answered yet, in the background. `anew` forgets the answers first.

    A run that is under way goes over to the present draft.
    """
    with transaction.atomic():
        Portal.objects.select_for_update().get(pk=portal.pk)
        now = standing(portal)
        if anew:
            keys = [
                side.key(one.case) for one in now.lines for side in (now.active, now.draft) if side
            ]
            CaseAnswer.objects.filter(portal=portal, key__in=keys).delete()
        Evaluation.objects.update_or_create(
            portal=portal,
            defaults={
                "draft": now.draft.config.prompt if now.draft else "",
                "state": Evaluation.State.RUNNING,
                "problem": "",
                "problem_detail": "",
                "started_at": timezone.now(),
                "finished_at": None,
                "leased_until": None,
                "lease": "",
            },
        )
        go_on.enqueue(portal.pk)


def stop(portal: Portal) -> None:
    """No further calls. Answers that are on their way are paid for, so they are still kept."""
    Evaluation.objects.filter(pk=portal.pk, state=Evaluation.State.RUNNING).update(
        state=Evaluation.State.STOPPED, finished_at=timezone.now()
    )


def abandoned() -> list[int]:
    """Portals whose run nobody works on: its process died, or its wake-up was lost."""
    return list(_takeable().values_list("pk", flat=True))


def _takeable() -> Any:
    return _unleased().filter(portal__state=Portal.State.ACTIVE, portal__paused=False)


def _unleased() -> Any:
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=database_now())
    return Evaluation.objects.filter(free, state=Evaluation.State.RUNNING)


def _take(portal_id: int) -> str:
    """The token of a lease; empty when there is nothing to do or somebody else does it."""
    if not _takeable().filter(pk=portal_id).exists():
        return ""
    token = uuid.uuid4().hex
    until = database_now() + timedelta(seconds=LEASE_SECONDS)
    # On the row's own columns alone: whoever comes second sees what the first one wrote.
    won = _unleased().filter(pk=portal_id).update(lease=token, leased_until=until)
    return token if won else ""


# ---- running ----


class Pause(Exception):
    """No further call makes sense before somebody did something; `code` is a reason's."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


@dataclass(frozen=True)
class Question:
    """One case that one side has not answered yet."""

    side: Side
    case: Case
    number: int


@task(queue_name="background")
def go_on(portal_id: int) -> None:
    """Ask what the portal's run still lacks. Harmless when it comes twice, late or never."""
    token = _take(portal_id)
    if not token:
        return
    portal = Portal.objects.select_related("registration").get(pk=portal_id)
    with log_context(portal=portal_id):
        try:
            outcome = _Passage(portal, token).go()
        except Pause as pause:
            _end(portal_id, token, Evaluation.State.STOPPED, pause.code, pause.detail)
        except Exception:
            logger.exception("test cases failed")
            _end(portal_id, token, Evaluation.State.STOPPED, "internal")
        else:
            if outcome == "more" and _hand_on(portal_id, token):
                go_on.enqueue(portal_id)
            if outcome == "done" and _end(portal_id, token, Evaluation.State.DONE):
                _note_score(portal)


def _ours(portal_id: int, token: str) -> Any:
    return Evaluation.objects.filter(pk=portal_id, lease=token, state=Evaluation.State.RUNNING)


def _hand_on(portal_id: int, token: str) -> bool:
    return bool(_ours(portal_id, token).update(lease="", leased_until=None))


def _end(portal_id: int, token: str, state: str, problem: str = "", detail: str = "") -> bool:
    """Write the end of a run, if it is still ours and nobody stopped it."""
    return bool(
        _ours(portal_id, token).update(
            state=state,
            problem=problem[:40],
            problem_detail=detail[:300],
            finished_at=timezone.now(),
            lease="",
            leased_until=None,
        )
    )


def _note_score(portal: Portal) -> None:
    """A version that was published without a run gets its score with the first one."""
    now = standing(portal)
    score = now.score("active")
    if score and now.active.version:
        PromptVersion.objects.filter(pk=now.active.version.pk, score__isnull=True).update(
            score=score
        )


class _Passage:
    """One worker's passage through a portal's run: asks a few cases at once, keeps every answer."""

    def __init__(self, portal: Portal, token: str) -> None:
        self.portal, self.token = portal, token
        self.failures = 0
        self.config, _revision = store.load(portal)
        try:
            self.providers: list[Provider] = thinking.routes(portal, self.config)
        except thinking.NoModel:
            raise Pause("no_model") from None

    def go(self) -> Literal["done", "more", "not ours"]:
        """Ask for PASSAGE_SECONDS, or until nothing is missing or somebody stopped it.

        Raises: Pause, after the answers that were on their way are kept.
        """
        waiting = deque(self._missing())
        flying: dict[Future[Result], tuple[Question, Context]] = {}
        at_once = min(self.providers[0].max_in_flight, CALLS_AT_ONCE)
        until = time.monotonic() + PASSAGE_SECONDS
        pause: Pause | None = None
        ours = True
        with ThreadPoolExecutor(at_once, thread_name_prefix="cases") as threads:
            while True:
                goes_on = ours and pause is None and time.monotonic() < until
                try:
                    while goes_on and waiting and len(flying) < at_once and self._may_ask():
                        question = waiting.popleft()
                        config = question.side.config
                        context = evaluation.context_of(question.case, self.portal, config)
                        asked = threads.submit(evaluation.ask, config, self.providers, context)
                        flying[asked] = question, context
                except Pause as found:
                    pause = found
                    continue
                if not flying and not (goes_on and waiting):
                    break
                for answered in self._wait(flying):
                    question, context = flying.pop(answered)
                    try:
                        if not self._keep(question, context, answered.result()):
                            waiting.append(question)
                    except Pause as found:
                        pause = pause or found
                ours = ours and self._still_ours()
        if pause and ours:
            raise pause
        return "not ours" if not ours else "more" if waiting else "done"

    def _missing(self) -> Iterator[Question]:
        """Case by case, both sides of one after the other: a stopped run compares what it has."""
        run = Evaluation.objects.get(pk=self.portal.pk)
        sides = [side for side in _sides(self.portal, self.config, run.draft) if side]
        cases = [case_of(row) for row in self.portal.cases.all()]
        known = _known(self.portal, [side.key(case) for side in sides for case in cases])
        for number, case in enumerate(cases, start=1):
            for side in sides:
                if side.key(case) not in known:
                    yield Question(side, case, number)

    def _may_ask(self) -> bool:
        """Within the portal's calls a minute, live ones included.

        Raises: Pause when its money or tokens are used up.
        """
        budget = spending.budget(self.portal, self.config)
        if budget.is_over:
            raise Pause("budget", budget.what)
        since = timezone.now() - timedelta(minutes=1)
        live = Run.objects.filter(portal=self.portal, started_at__gte=since, attempts__gt=0)
        tried = CaseAnswer.objects.filter(portal=self.portal, asked_at__gte=since)
        return live.count() + tried.count() < self.config.limits.requests_per_minute

    @staticmethod
    def _wait(flying: Collection[Future[Result]]) -> Iterable[Future[Result]]:
        give_back_connection()
        if not flying:
            time.sleep(EXTEND_SECONDS)
            return ()
        return wait(flying, timeout=EXTEND_SECONDS, return_when=FIRST_COMPLETED).done

    def _still_ours(self) -> bool:
        until = database_now() + timedelta(seconds=LEASE_SECONDS)
        return bool(_ours(self.portal.pk, self.token).update(leased_until=until))

    def _keep(self, question: Question, context: Context, result: Result) -> bool:
        """Save a paid answer at once. False: there was none, the case waits for another try.

        Raises: Pause when no other try makes sense now.
        """
        failure = _servers_fault(result)
        judged = evaluation.judge_case(
            question.case,
            result,
            question.side.config,
            context,
            number=question.number,
            region=self.portal.region,
        )
        with transaction.atomic():
            # A portal that was erased meanwhile gets no new rows.
            if Evaluation.objects.select_for_update().filter(pk=self.portal.pk).exists():
                evaluation.record(self.portal, result, question.side.version)
                if failure is None:
                    CaseAnswer.objects.get_or_create(
                        portal=self.portal,
                        key=question.side.key(question.case),
                        defaults={"result": judged.model_dump(mode="json")},
                    )
        if failure is None:
            self.failures = 0
            return True
        self.failures += 1
        if result.retry_in is None or self.failures >= FAILURES_IN_A_ROW:
            raise failure
        return False


def _servers_fault(result: Result) -> Pause | None:
    """Why there is no answer, when neither the prompt nor the case can do anything about it."""
    if result.answer is not None or result.text:
        return None
    deciding = next((one for one in result.failures[::-1] if one.code == result.reason), None)
    if deciding is not None and deciding.kind in OF_THE_CASE:
        return None
    return Pause(result.reason or "model_failed", deciding.detail if deciding else "")
