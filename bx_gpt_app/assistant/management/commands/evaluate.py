"""Runs a portal's prompt against labelled cases and says how good it is."""

from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from bx_gpt_app.assistant import evaluation, store
from bx_gpt_app.assistant.cases import Case, CasesProblems, read_cases
from bx_gpt_app.assistant.portal_cases import case_of
from bx_gpt_app.assistant.report import CaseResult, Report
from bx_gpt_app.common.files import UnreadableFile, read_text
from bx_gpt_app.portals.find import PortalNotFound, find_portal
from bx_gpt_app.portals.models import Portal

WRONG_INPUT = 2
BELOW_MINIMUM = 1
BAR_WIDTH = 24

HELP = """\
Ask the portal's model about labelled cases and judge the answers as in a real dialog, without
touching chats or CRM. The calls are paid for like any other.

CASES is a YAML list (- reads standard input); without it the portal's own test cases are asked,
those of its settings under "Prompts":

  - text: Здравствуйте, это Анна, +7 916 123-45-67. Когда придёт мастер?
    expect: {topic: service, fields: {name: Анна, phone: "+79161234567", email: null},
             needs_human: false, reply_contains: мастер, reply_max_length: 400}
  - messages: [Нужен котёл, {author: operator, text: "Какой?"}, газовый]
    now: 2026-03-10T12:00
    expect: {topic: sales}

Each of topic, needs_human, reply_max_length, every named field and every text of reply_contains is
one expectation. A field's value is compared in its normal form; null means that it must stay
empty; fields that are not named are not judged. Messages may also be written as models are
spoken to: {role: user, content: …} and {role: assistant, content: …}. The score of a case is the
share of its expectations that are met, the score of the run is the mean over its cases.

Exit code: 0; 1 when the score is below --min-score; 2 when nothing could be run.
"""


class Command(BaseCommand):
    help = HELP

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **options)
        parser.formatter_class = RawDescriptionHelpFormatter
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("member_id", metavar="MEMBER_ID")
        parser.add_argument(
            "cases",
            metavar="CASES",
            nargs="?",
            help="YAML file, or - for standard input; without it the portal's own cases",
        )
        parser.add_argument("--app", default="", help="code of the app registration")
        parser.add_argument("--min-score", type=float, help="from 0 to 1")
        parser.add_argument("--limit", type=int, help="only the first N cases")
        parser.add_argument("--json", metavar="PATH", help="write all results there; - prints them")

    def handle(self, *args: Any, **options: Any) -> None:
        least, limit = options["min_score"], options["limit"]
        if least is not None and not 0 <= least <= 1:
            raise CommandError("--min-score must be from 0 to 1.", returncode=WRONG_INPUT)
        if limit is not None and limit < 1:
            raise CommandError("--limit must be 1 or more.", returncode=WRONG_INPUT)
        report = self._report(options)
        if options["json"]:
            self._write(report, options["json"])
        if options["json"] != "-":
            self.stdout.write("")
            for line in report.in_words():
                self.stdout.write(line)
        if least is not None and report.score < least:
            raise CommandError(
                f"The score {report.score:.3f} is below {least:g}.", returncode=BELOW_MINIMUM
            )

    def _report(self, options: dict[str, Any]) -> Report:
        try:
            portal = find_portal(options["member_id"], options["app"])
            config, _revision = store.load(portal)
            if options["cases"] is None:
                cases = _stored(portal)
            else:
                cases = read_cases(_text_of(options["cases"]), config)
            cases = cases[: options["limit"]]
            show = _Lines(self, quiet=options["json"] == "-")
            try:
                return evaluation.run(portal, config, cases, progress=show)
            finally:
                show.finish()
        except CasesProblems as error:
            lines = "\n".join(error.problems)
            raise CommandError(
                f"The cases are wrong, nothing was run:\n{lines}", returncode=WRONG_INPUT
            ) from None
        except (PortalNotFound, evaluation.CannotEvaluate) as error:
            raise CommandError(str(error), returncode=WRONG_INPUT) from None

    def _write(self, report: Report, path: str) -> None:
        text = json.dumps(report.as_document(), ensure_ascii=False, indent=2)
        if path == "-":
            self.stdout.write(text)
            return
        try:
            Path(path).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(
                f"{path} cannot be written: {error.strerror}.", returncode=WRONG_INPUT
            ) from None


def _stored(portal: Portal) -> list[Case]:
    cases = [case_of(row) for row in portal.cases.all()]
    if not cases:
        raise CasesProblems(["The portal has no test cases of its own: name a file."])
    return cases


def _text_of(path: str) -> str:
    try:
        return read_text(path)
    except UnreadableFile as error:
        raise CasesProblems([str(error)]) from None


class _Lines:
    """A line per case in the order of the file, each as soon as those before it have theirs; on a
    terminal a bar below them."""

    def __init__(self, command: BaseCommand, *, quiet: bool) -> None:
        self._command = command
        self._quiet = quiet
        self._bar = command.stdout.isatty() and command.stderr.isatty()
        self._waiting: dict[int, CaseResult] = {}
        self._next = 1

    def __call__(self, result: CaseResult, done: int, total: int) -> None:
        self._wipe()
        self._waiting[result.number] = result
        while self._next in self._waiting:
            self._print(self._next)
            self._next += 1
        if self._bar and done < total:
            filled = BAR_WIDTH * done // total
            bar = "█" * filled + "░" * (BAR_WIDTH - filled)
            self._command.stderr.write(f"{bar} {done}/{total}", ending="")
            self._command.stderr.flush()

    def finish(self) -> None:
        """Wipe the bar away; after Ctrl-C also tell what was paid for and had to wait."""
        self._wipe()
        for number in sorted(self._waiting):
            self._print(number)

    def _print(self, number: int) -> None:
        result = self._waiting.pop(number)
        if not self._quiet:
            self._command.stdout.write(result.in_words())
            self._command.stdout.flush()

    def _wipe(self) -> None:
        if self._bar:
            self._command.stderr.write("\r\x1b[K", ending="")
            self._command.stderr.flush()
