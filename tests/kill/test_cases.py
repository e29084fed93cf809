"""A worker dies while a draft is tried on the portal's cases: another goes on where it was."""

from __future__ import annotations

from bx_gpt_app.assistant import comparison, evaluation, portal_cases
from bx_gpt_app.assistant.cases import Case
from bx_gpt_app.assistant.comparison import CALLS_AT_ONCE, standing
from bx_gpt_app.assistant.models import CaseAnswer, PromptVersion, Spending
from tests.kill.helpers import wait_until

CASES = 10


def test_killed_run_goes_on_and_pays_twice_only_for_calls_that_were_cut(world, workers):
    portal, model = world.portal, world.model
    cases = [
        Case.model_validate({"text": f"Сколько стоит доставка номер {n}?", "expect": {}})
        for n in range(CASES)
    ]
    portal_cases.add(portal, cases, origin="typed", by="x")
    PromptVersion.objects.create(portal=portal, number=9, text="Отвечайте коротко.", draft=True)
    model.set(latency_ms=400)
    first = workers.start()

    comparison.start(portal)
    wait_until(lambda: CaseAnswer.objects.count() >= CALLS_AT_ONCE, 30, world)
    first.kill()
    kept = set(CaseAnswer.objects.values_list("key", "asked_at"))
    assert len(kept) < 2 * CASES, "killed too late to show anything"
    workers.start()
    wait_until(lambda: not standing(portal).is_running, 40, world)

    assert standing(portal).is_complete
    assert kept <= set(CaseAnswer.objects.values_list("key", "asked_at"))
    assert model.calls <= 2 * CASES + CALLS_AT_ONCE
    spent = Spending.objects.filter(portal=portal, purpose=evaluation.PURPOSE)
    assert sum(row.calls for row in spent) == CaseAnswer.objects.count() == 2 * CASES
