"""What came of labelled cases: one result each, and the numbers made of all of them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import JsonValue

from integrations.llm.question import OUT_OF_FORM
from integrations.llm.values import Frozen, Usage, plain

Verdict = Literal["right", "wrong", "missed", "invented", "rightly_empty"]


class Check(Frozen):
    """One expectation and whether it was met."""

    what: str
    ok: bool
    expected: JsonValue = None
    got: JsonValue = None
    verdict: Verdict | Literal[""] = ""
    """Of a field: wrong = not the expected value, invented = a value where none was expected."""


class CaseResult(Frozen):
    number: int
    label: str
    checks: tuple[Check, ...]
    how: str
    repaired: bool = False
    reason: str = ""
    usage: Usage = Usage()
    latency_ms: int = 0
    named_by_model: int = 0
    refused_by_evidence: int = 0
    accepted: int = 0
    without_evidence: int = 0
    """Accepted values that the client's words do not carry: must be 0."""
    reply: str = ""
    """After the checks, as a client would get it."""

    @property
    def score(self) -> float:
        """Share of satisfied expectations; 1 for a case that expects nothing."""
        return sum(check.ok for check in self.checks) / len(self.checks) if self.checks else 1.0

    @property
    def understood(self) -> bool:
        return self.how not in (*OUT_OF_FORM, "failed")

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok)

    @property
    def passed(self) -> bool:
        return not self.failed

    def in_words(self) -> str:
        """The line of the report."""
        mark = "ok  " if self.passed else "FAIL"
        why = "; ".join(_miss(check) for check in self.failed)
        if not self.understood:
            why = "; ".join(filter(None, [f"model: {self.reason or self.how}", why]))
        seconds = self.latency_ms / 1000
        line = f"{mark} {self.score:.2f} {seconds:5.1f} s  {self.number:>3} {self.label}"
        return f"{line}  — {why}" if why else line


def _miss(check: Check) -> str:
    if check.what.startswith("reply_contains"):
        return f"{check.what}: not in the reply"
    return f"{check.what}: expected {_short(check.expected)}, got {_short(check.got)}"


def _short(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "nothing" if value is None else plain(value)[:60]


class FieldScore(Frozen):
    right: int = 0
    wrong: int = 0
    missed: int = 0
    invented: int = 0

    @property
    def precision(self) -> float | None:
        """None: no value was given."""
        given = self.right + self.wrong + self.invented
        return self.right / given if given else None

    @property
    def recall(self) -> float | None:
        """None: no value was expected."""
        expected = self.right + self.wrong + self.missed
        return self.right / expected if expected else None

    @property
    def f1(self) -> float | None:
        both = 2 * self.right + 2 * self.wrong + self.missed + self.invented
        return 2 * self.right / both if both else None


class Report(Frozen):
    """All results and the numbers made of them."""

    results: tuple[CaseResult, ...]
    model: str = ""

    @property
    def score(self) -> float:
        """Mean of the cases' scores."""
        return statistics.fmean(one.score for one in self.results) if self.results else 0.0

    @property
    def passed(self) -> int:
        """Cases of which every expectation was met."""
        return sum(one.passed for one in self.results)

    @property
    def all_fields(self) -> FieldScore:
        """All fields counted together."""
        scores = self.by_field.values()
        return FieldScore(
            **{key: sum(getattr(one, key) for one in scores) for key in FieldScore.model_fields}
        )

    @property
    def by_field(self) -> dict[str, FieldScore]:
        verdicts: dict[str, Counter[str]] = {}
        for check in self._checks():
            if check.verdict:
                name = check.what.removeprefix("fields.")
                verdicts.setdefault(name, Counter())[check.verdict] += 1
        return {
            name: FieldScore(**{key: count[key] for key in FieldScore.model_fields})
            for name, count in verdicts.items()
        }

    @property
    def topic_accuracy(self) -> float | None:
        return self._share("topic")

    @property
    def needs_human_accuracy(self) -> float | None:
        return self._share("needs_human")

    @property
    def invented_rate(self) -> float | None:
        """Of the accepted values: those where none was expected or that the client never wrote."""
        accepted = sum(one.accepted for one in self.results)
        invented = sum(check.verdict == "invented" for check in self._checks())
        invented += sum(one.without_evidence for one in self.results)
        return invented / accepted if accepted else None

    @property
    def refused_rate(self) -> float | None:
        """Of the values the model named: those refused because the client wrote no such."""
        named = sum(one.named_by_model for one in self.results)
        return sum(one.refused_by_evidence for one in self.results) / named if named else None

    @property
    def by_step(self) -> dict[str, dict[str, int]]:
        """Step of the ladder (or plain, failed) → answers, of them understood, at the first try."""
        steps: dict[str, dict[str, int]] = {}
        for one in self.results:
            step = steps.setdefault(one.how, {"answers": 0, "understood": 0, "at_first_try": 0})
            step["answers"] += 1
            step["understood"] += one.understood
            step["at_first_try"] += one.understood and not one.repaired
        return steps

    @property
    def understood_rate(self) -> float:
        understood = sum(one.understood for one in self.results)
        return understood / len(self.results) if self.results else 0.0

    @property
    def usage(self) -> Usage:
        return sum((one.usage for one in self.results), Usage())

    @property
    def cost(self) -> dict[str, float]:
        """Money by currency; empty when no price is known."""
        return dict(self.usage.costs)

    def latency_ms(self, share: float) -> int:
        """Percentile of the answers' times, `share` from 0 to 1."""
        times = sorted(one.latency_ms for one in self.results)
        return times[min(len(times) - 1, int(len(times) * share))] if times else 0

    def as_document(self) -> dict[str, Any]:
        """Plain data for a file."""
        usage = self.usage
        return {
            "score": round(self.score, 4),
            "model": self.model,
            "cases": len(self.results),
            "topic_accuracy": self.topic_accuracy,
            "needs_human_accuracy": self.needs_human_accuracy,
            "fields": {
                name: {
                    **score.model_dump(),
                    "precision": score.precision,
                    "recall": score.recall,
                    "f1": score.f1,
                }
                for name, score in self.by_field.items()
            },
            "invented_rate": self.invented_rate,
            "refused_rate": self.refused_rate,
            "understood_rate": self.understood_rate,
            "steps": self.by_step,
            "tokens": {
                "prompt": usage.prompt_tokens,
                "completion": usage.completion_tokens,
                "estimated": usage.estimated,
            },
            "cost": self.cost,
            "latency_ms": {"p50": self.latency_ms(0.5), "p95": self.latency_ms(0.95)},
            "results": [
                {**one.model_dump(mode="json"), "score": round(one.score, 4)}
                for one in self.results
            ],
        }

    def in_words(self) -> list[str]:
        """The summary, line by line."""
        usage = self.usage
        lines = [
            f"Score {self.score:.3f} over {len(self.results)} cases, model {self.model}",
            f"Topic accuracy {_percent(self.topic_accuracy)}, "
            f"needs_human accuracy {_percent(self.needs_human_accuracy)}",
        ]
        if self.by_field:
            lines.append(
                f"{'field':<20} {'precision':>9} {'recall':>9} {'F1':>9}   "
                "right wrong missed invented"
            )
        for name, one in sorted(self.by_field.items()):
            numbers = [_percent(one.precision), _percent(one.recall), _percent(one.f1)]
            lines.append(
                f"{name:<20} " + " ".join(f"{number:>9}" for number in numbers) + "   "
                f"{one.right:>5} {one.wrong:>5} {one.missed:>6} {one.invented:>8}"
            )
        lines.append(
            f"Invented values {_percent(self.invented_rate)} of the accepted; "
            f"{_percent(self.refused_rate)} of the model's values were refused for want of evidence"
        )
        steps = "; ".join(
            f"{name}: {step['understood']} of {step['answers']} understood, "
            f"{step['at_first_try']} at the first try"
            for name, step in sorted(self.by_step.items())
        )
        lines.append(f"Valid answers {_percent(self.understood_rate)} ({steps})")
        cost = ", ".join(f"{amount:.4f} {currency}" for currency, amount in self.cost.items())
        lines.append(
            f"Tokens {usage.prompt_tokens} + {usage.completion_tokens}"
            f"{' (estimated)' if usage.estimated else ''}, cost {cost or 'unknown'}, "
            f"latency p50 {self.latency_ms(0.5)} ms, p95 {self.latency_ms(0.95)} ms"
        )
        return lines

    def _checks(self) -> Iterator[Check]:
        for one in self.results:
            yield from one.checks

    def _share(self, what: str) -> float | None:
        found = [check.ok for check in self._checks() if check.what == what]
        return sum(found) / len(found) if found else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
