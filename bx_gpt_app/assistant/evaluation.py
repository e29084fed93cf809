"""A portal's prompt against labelled cases: how often it is right, and what that costs.

The model is asked and its answer judged exactly as the pipeline does it; chats and CRM stay alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from decimal import Decimal
from time import sleep

from django.db import connection, transaction
from django.utils import timezone
from pydantic import JsonValue

from bx_gpt_app.assistant import spending, thinking
from bx_gpt_app.assistant.cases import Case, Expect
from bx_gpt_app.assistant.config import PortalConfig
from bx_gpt_app.assistant.context import SOURCES_FOR_MODEL, zone_of
from bx_gpt_app.assistant.knowledge import retrieve
from bx_gpt_app.assistant.models import PromptVersion
from bx_gpt_app.assistant.report import CaseResult, Check, Report, Verdict
from bx_gpt_app.flow import Context, Judgement
from bx_gpt_app.portals.models import Portal
from integrations.llm.gateway import Result
from integrations.llm.normalise import normalise
from integrations.llm.providers import Provider
from integrations.llm.question import OUT_OF_FORM, Bill
from integrations.llm.values import Answer, Author, Band, CheckedReply, FieldSpec, Turn, plain
from integrations.llm.words import fold

TRIES = 3
LONGEST_PAUSE_SECONDS = 30.0
CALLS_AT_ONCE = 32
"""However much the provider allows: more threads would only wait for the database."""
PURPOSE = "evaluate"


# ---- running ----


class CannotEvaluate(Exception):
    """One sentence that says why and what to do."""


Progress = Callable[[CaseResult, int, int], None]


def run(
    portal: Portal,
    config: PortalConfig,
    cases: Sequence[Case],
    *,
    progress: Progress | None = None,
) -> Report:
    """Ask the portal's model about every case, several at once, and judge the answers.

    `config` may be a draft that is not stored. `progress` is told each result, how many are done
    and of how many. What the calls cost is added to the portal's spending, purpose "evaluate".

    Raises: CannotEvaluate.
    """
    try:
        providers = thinking.routes(portal, config)
    except thinking.NoModel:
        raise CannotEvaluate(
            "The portal has no model: enter a key in its settings or set OPENAI_API_KEY."
        ) from None
    budget = spending.budget(portal, config)
    if budget.is_over:
        raise CannotEvaluate(f"The portal's limit '{budget.what}' is used up: raise it or wait.")
    contexts = [context_of(case, portal, config) for case in cases]
    found: dict[int, CaseResult] = {}
    at_once = min(providers[0].max_in_flight, CALLS_AT_ONCE, max(len(cases), 1))
    with ThreadPoolExecutor(at_once, thread_name_prefix="evaluate") as threads:
        asked = {
            threads.submit(ask, config, providers, context): number
            for number, context in enumerate(contexts)
        }
        try:
            for answered in as_completed(asked):
                number = asked[answered]
                result = answered.result()
                record(portal, result)
                found[number] = judge_case(
                    cases[number],
                    result,
                    config,
                    contexts[number],
                    number=number + 1,
                    region=portal.region,
                )
                if progress:
                    progress(found[number], len(found), len(cases))
        except BaseException:
            # Ctrl-C: what is not asked yet shall not be paid for.
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return Report(
        results=tuple(found[number] for number in range(len(cases))), model=providers[0].model
    )


def context_of(case: Case, portal: Portal, config: PortalConfig) -> Context:
    """What the pipeline would tell the model in a new dialog with these messages."""
    zone = zone_of(portal)
    now = case.now or timezone.now()
    now = now.replace(tzinfo=zone) if now.tzinfo is None else now.astimezone(zone)
    turns = tuple(
        Turn(author=said.author, text=said.text, message_id=number)
        for number, said in enumerate(case.turns, start=1)
    )
    questions = [turn.text for turn in turns if turn.author is Author.CLIENT][-3:]
    sources = retrieve(portal, " ".join(questions), limit=SOURCES_FOR_MODEL)
    return Context(
        conversation=turns,
        newest_message_id=len(turns),
        sources=tuple(sources),
        now=now,
        client_language=config.language,
        variables={
            "client_name": "",
            "company": portal.domain,
            "line": "",
            "language": config.language,
        },
    )


def ask(config: PortalConfig, providers: list[Provider], context: Context) -> Result:
    """Runs in a thread of its own; passing failures are tried again as the pipeline would."""
    bills: tuple[Bill, ...] = ()
    try:
        for attempt in range(1, TRIES + 1):
            result = thinking.ask(config, providers, context)
            bills += result.bills
            answered = result.answer is not None or bool(result.text)
            if answered or result.retry_in is None or attempt == TRIES:
                break
            sleep(min(result.retry_in, LONGEST_PAUSE_SECONDS))
        return result.model_copy(update={"bills": bills})
    finally:
        connection.close()


def record(portal: Portal, result: Result, version: PromptVersion | None = None) -> None:
    """Money was spent, whatever for."""
    with transaction.atomic():
        spending.record_calls(
            portal,
            result.bills,
            purpose=PURPOSE,
            prompt_number=version.number if version else 0,
        )


# ---- judging ----


def judge_case(
    case: Case,
    result: Result,
    config: PortalConfig,
    context: Context,
    *,
    number: int = 1,
    region: str = "RU",
) -> CaseResult:
    """What of a case's expectations an answer satisfies. Pure."""
    judgement = _judgement(result, config, context, region)
    accepted = {one.field: one for one in judgement.values if one.band is not Band.UNSURE}
    named = [name for name, value in judgement.answer.fields.items() if value not in (None, "", [])]
    refused = [one for one in judgement.values if one.band is Band.UNSURE and one.field in named]
    return CaseResult(
        number=number,
        label=case.label,
        checks=tuple(_checks(case.expect, judgement, config, context, region)),
        how=result.how,
        repaired=result.repaired,
        reason=result.reason,
        usage=result.usage,
        latency_ms=result.latency_ms,
        named_by_model=len(named),
        refused_by_evidence=len(refused),
        accepted=len(accepted),
        without_evidence=sum(
            not one.quote and case.expect.fields.get(name, "") is not None
            for name, one in accepted.items()
        ),
        reply=judgement.reply.text,
    )


def _judgement(result: Result, config: PortalConfig, context: Context, region: str) -> Judgement:
    """As the pipeline: plain text is a reply only; no answer still gives phones and e-mails."""
    if result.answer is None and not result.text:
        return Judgement(
            answer=Answer(needs_human=True),
            reply=CheckedReply(text="", band=Band.UNSURE),
            values=thinking.values_found_locally(config, context, region),
            needs_human=True,
        )
    return thinking.judge(
        result.answer or Answer(reply=result.text),
        config,
        context,
        region=region,
        canary=result.canary,
        plain_text=result.how in OUT_OF_FORM,
    )


def _checks(
    expect: Expect, judgement: Judgement, config: PortalConfig, context: Context, region: str
) -> Iterator[Check]:
    if expect.names_topic:
        yield Check(
            what="topic",
            ok=judgement.topic == expect.topic,
            expected=expect.topic,
            got=judgement.topic,
        )
    values = {one.field: one.value for one in judgement.values if one.band is not Band.UNSURE}
    specs = {spec.name: spec for spec in config.fields}
    for name, wanted in expect.fields.items():
        got = values.get(name)
        # A stored case may name a field that is no longer looked for.
        spec = specs.get(name) or FieldSpec(name=name)
        verdict = _verdict(spec, wanted, got, context, region)
        yield Check(
            what=f"fields.{name}",
            ok=verdict in ("right", "rightly_empty"),
            expected=wanted,
            got=got,
            verdict=verdict,
        )
    if expect.needs_human is not None:
        yield Check(
            what="needs_human",
            ok=judgement.needs_human == expect.needs_human,
            expected=expect.needs_human,
            got=judgement.needs_human,
        )
    reply = judgement.reply.text
    for words in expect.reply_contains:
        found = " ".join(fold(words).split()) in " ".join(fold(reply).split())
        yield Check(what=f"reply_contains {words!r}", ok=found, expected=words)
    if expect.reply_max_length is not None:
        yield Check(
            what="reply_max_length",
            ok=len(reply) <= expect.reply_max_length,
            expected=expect.reply_max_length,
            got=len(reply),
        )


def _verdict(
    spec: FieldSpec, wanted: JsonValue, got: JsonValue, context: Context, region: str
) -> Verdict:
    if wanted in (None, ""):
        return "rightly_empty" if got is None else "invented"
    if got is None:
        return "missed"
    same = any(_same(got, form) for form in _forms(spec, wanted, context, region))
    return "right" if same else "wrong"


def _forms(
    spec: FieldSpec, wanted: JsonValue, context: Context, region: str
) -> Iterator[JsonValue]:
    """The expected value as it was written, and in the normal form our own values have."""
    yield wanted
    texts = [*context.client_texts, plain(wanted)]
    raw = wanted if isinstance(wanted, dict | bool) else plain(wanted)
    normal = normalise(spec, raw, texts=texts, now=context.now, region=region)
    if normal is not None:
        yield normal.value


def _same(got: JsonValue, wanted: JsonValue) -> bool:
    if isinstance(got, dict) and not isinstance(wanted, dict):
        return _same(got.get("amount"), wanted)
    if isinstance(got, dict) and isinstance(wanted, dict):
        return all(_same(got.get(key), value) for key, value in wanted.items())
    numbers = [_number(got), _number(wanted)]
    if None not in numbers:
        return numbers[0] == numbers[1]
    return " ".join(fold(plain(got)).split()) == " ".join(fold(plain(wanted)).split())


def _number(value: JsonValue) -> Decimal | None:
    return Decimal(str(value)) if isinstance(value, int | float) else None
