"""`python -m tools.bench`: drives portals × dialogs × messages and prints one table of figures."""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tools.bench import figures, frames
from tools.bench.figures import Column, Exchange
from tools.bench.sides import Portal
from tools.bench.stage import Stage

FIRST = "Здравствуйте! Я Иван Петров, телефон +7 916 {number:07d}. Какой у вас режим работы?"
LATER = "Моя почта client{number}@example.ru. А в пятницу какой у вас режим работы?"
PIECES = ("Здравствуйте", "у меня вопрос", "хочу узнать про доставку", "по Москве", "сколько дней?")

SETTLE_SECONDS = 60.0
LOOK_SECONDS = 0.25
EVENTS_PER_SECOND = 50.0
EVENTS_SECONDS = 10.0
QUIET_SECONDS = 1.0
WRITING_AT_ONCE = 15
IN_FLIGHT_LATENCY_MS = 8000.0
IN_FLIGHT_RATE = 60.0
FRAMES = 500
POLL_SECONDS = 4.0
FRAMES_SECONDS = 12.0
KILL_RATE = 4.0
KILL_LATENCY_MS = 1000.0
CONCURRENCY = 100
MANY = 130
"""Threads of the worker that is to hold more than 100 calls."""

Chat = tuple[Portal, int]


@dataclass
class Wishes:
    """What the command line asked for."""

    portals: int
    dialogs: int
    messages: int
    rate: float
    latency_ms: float
    kill: int
    quick: bool


@dataclass
class Recorder:
    """Reads what has been said in the portals since it was made."""

    stage: Stage
    _since: dict[str, int] = field(default_factory=dict)
    told: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for portal in self.stage.portals:
            known = portal.ask("messages")
            self._since[portal.member_id] = known[-1]["id"] if known else 0
            self.told[portal.member_id] = []

    def look(self) -> list[Exchange]:
        for portal in self.stage.portals:
            fresh = portal.ask("messages", since=self._since[portal.member_id])
            if fresh:
                self._since[portal.member_id] = fresh[-1]["id"]
                self.told[portal.member_id] += fresh
        return figures.exchanges(self.told)

    def wait_settled(self) -> list[Exchange]:
        """Until there is nothing left to do in any dialog, or time is over."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not self.stage.is_idle():
            time.sleep(LOOK_SECONDS)
        return self.look()

    def outcome(self, found: list[Exchange]) -> dict[str, str]:
        """One reply is due to every question, none is due twice."""
        lost = sum(not one.replied_at for one in found)
        twice = sum(max(0, len(one.replied_at) - 1) for one in found)
        twice += figures.repeated_keys(self.told)
        return {"messages": str(len(found)), "lost": str(lost), "duplicated": str(twice)}

    def clients_messages(self) -> int:
        return sum(one["kind"] == "client" for told in self.told.values() for one in told)


def paced(rate: float, acts: Iterable[Callable[[], object]]) -> None:
    """Do the acts at so many a second; a late one does not make the next ones later."""
    started = time.monotonic()
    for number, act in enumerate(acts):
        pause = started + number / rate - time.monotonic()
        if pause > 0:
            time.sleep(pause)
        act()


class Bench:
    """The phases; each returns one column of the table."""

    def __init__(self, stage: Stage, wishes: Wishes) -> None:
        self._stage = stage
        self._wishes = wishes
        self._number = itertools.count(1)
        self._chats: list[Chat] = []

    def _new_dialog(self, portal: Portal) -> Chat:
        chat = portal, portal.client_writes(FIRST.format(number=next(self._number)))
        self._chats.append(chat)
        return chat

    def _next_question(self, chat: Chat) -> None:
        portal, chat_id = chat
        portal.client_writes(LATER.format(number=next(self._number)), chat_id)

    def _rest_requests(self) -> int:
        return sum(portal.rest_requests() for portal in self._stage.portals)

    def _event_seconds(self, since: float) -> list[float]:
        """How long the portals waited for our answers to events posted since a moment."""
        return [
            one["seconds"]
            for portal in self._stage.portals
            for one in portal.ask("deliveries", last=5000)
            if one["at"] >= since
        ]

    def replies(self) -> Column:
        """Overhead at a steady rate: one message per dialog at a time, quiet time 0."""
        stage, wishes = self._stage, self._wishes
        stage.start_worker(concurrency=CONCURRENCY)
        self._warm_up()
        self._chats.clear()
        recorder, cpu = Recorder(stage), figures.cpu_seconds(stage.our_processes())
        requests = [self._rest_requests()]
        rounds = [time.time()]
        everywhere = [
            stage.portals[n % wishes.portals] for n in range(wishes.portals * wishes.dialogs)
        ]
        paced(wishes.rate, (partial(self._new_dialog, portal) for portal in everywhere))
        found = recorder.wait_settled()
        requests.append(self._rest_requests())
        for _ in range(wishes.messages - 1):
            rounds.append(time.time())
            paced(wishes.rate, (partial(self._next_question, chat) for chat in list(self._chats)))
            found = recorder.wait_settled()
        requests.append(self._rest_requests())
        spent = figures.cpu_seconds(stage.our_processes()) - cpu
        count, dialogs = len(found), len(self._chats)
        later = (requests[2] - requests[1]) / max(count - dialogs, 1)
        column = Column(f"replies at {wishes.rate:g}/s", recorder.outcome(found))
        column.cells |= {
            "messages/s": f"{_per_second(found, rounds):.1f}",
            "overhead p50 / p95 / p99, ms": figures.in_ms(self._overheads(found)),
            "event request p50 / p95 / p99, ms": figures.in_ms(self._event_seconds(rounds[0])),
            "REST requests per message, first / later": (
                f"{(requests[1] - requests[0]) / dialogs:.2f} / {later:.2f}"
            ),
            "CPU seconds per message": f"{spent / max(count, 1):.3f}",
            "peak memory web / worker, MB": self._memory(),
        }
        return column

    def _warm_up(self) -> None:
        """Imports, connections and caches of fresh processes are not what is measured."""
        recorder = Recorder(self._stage)
        for portal in self._stage.portals:
            self._new_dialog(portal)
        recorder.wait_settled()

    def _overheads(self, found: list[Exchange]) -> Iterator[float]:
        for one in found:
            if one.replied_at:
                yield one.replied_at[0] - one.asked_at - self._wishes.latency_ms / 1000

    def events(self) -> Column:
        """Requests for events at a high rate: clients write in short pieces, several at once.

        Lost is here what was written and is not among our messages. How many replies follow is the
        quiet time's affair.
        """
        stage = self._stage
        stage.configure(debounce_seconds=QUIET_SECONDS)
        recorder, began, known = Recorder(stage), time.time(), stage.messages_heard()
        seconds = EVENTS_SECONDS / (2 if self._wishes.quick else 1)
        pieces = itertools.islice(self._pieces(), int(EVENTS_PER_SECOND * seconds))
        paced(
            EVENTS_PER_SECOND,
            (partial(portal.client_writes, text, chat_id) for (portal, chat_id), text in pieces),
        )
        took = time.time() - began
        found = recorder.wait_settled()
        waited, heard = self._event_seconds(began), stage.messages_heard() - known
        column = Column(f"events at {EVENTS_PER_SECOND:g}/s")
        column.cells |= {
            "messages": str(recorder.clients_messages()),
            "events/s": f"{len(waited) / took:.0f}",
            "event request p50 / p95 / p99, ms": figures.in_ms(waited),
            "peak memory web / worker, MB": self._memory(),
            "replies": str(sum(len(one.replied_at) for one in found)),
            "lost": str(recorder.clients_messages() - heard),
            "duplicated": str(figures.repeated_keys(recorder.told)),
        }
        stage.configure(debounce_seconds=0)
        stage.stop_worker()
        return column

    def _pieces(self) -> Iterator[tuple[Chat, str]]:
        """Some clients write piece by piece at the same time, then the next ones do."""
        for first in itertools.count(0, WRITING_AT_ONCE):
            group = [self._chats[(first + n) % len(self._chats)] for n in range(WRITING_AT_ONCE)]
            for piece in PIECES:
                for chat in dict.fromkeys(group):
                    yield chat, piece

    def frames(self) -> Column:
        """Operators open their frames; then 500 stay open and poll while nothing happens."""
        stage = self._stage
        opened = [frames.open_frame(portal, chat_id) for portal, chat_id in self._chats]
        web = figures.family(stage.web.pid)
        seconds = FRAMES_SECONDS / (3 if self._wishes.quick else 1)
        frames.poll(opened, count=FRAMES, every=POLL_SECONDS, seconds=1)
        cpu, began = figures.cpu_seconds(web), time.monotonic()
        polled = frames.poll(opened, count=FRAMES, every=POLL_SECONDS, seconds=seconds)
        took = time.monotonic() - began
        busy = (figures.cpu_seconds(web) - cpu) / took
        column = Column(f"{FRAMES} open frames")
        column.cells |= {
            "first page p50 / p95 / p99, ms": figures.in_ms(one.opened_in for one in opened),
            "polls/s": f"{len(polled.seconds) / took:.0f}",
            "poll p50 / p95 / p99, ms": figures.in_ms(polled.seconds),
            "polls with news": f"{polled.statuses.get(200, 0)}",
            "polls refused": f"{sum(polled.statuses.values()) - _good(polled.statuses)}",
            "web CPU, % of one core": f"{busy * 100:.0f}",
        }
        return column

    def in_flight(self) -> Column:
        """More than a hundred slow model calls at once in one fresh worker."""
        stage = self._stage
        stage.model.set_latency(IN_FLIGHT_LATENCY_MS)
        stage.start_worker(concurrency=MANY)
        recorder = Recorder(stage)
        wanted = 40 if self._wishes.quick else MANY
        everywhere = [stage.portals[n % len(stage.portals)] for n in range(wanted)]
        calls = [(time.monotonic(), stage.model.calls())]
        paced(IN_FLIGHT_RATE, (partial(self._new_dialog, portal) for portal in everywhere))
        deadline = time.monotonic() + SETTLE_SECONDS
        while calls[-1][1] - calls[0][1] < wanted and time.monotonic() < deadline:
            time.sleep(0.05)
            calls.append((time.monotonic(), stage.model.calls()))
        found = recorder.wait_settled()
        column = Column("slow model", recorder.outcome(found))
        column.cells |= {
            "peak memory web / worker, MB": self._memory(),
            "model calls in flight": str(_most_in_flight(calls)),
        }
        stage.stop_worker()
        stage.model.set_latency(self._wishes.latency_ms)
        return column

    def kills(self) -> Column:
        """The worker dies by SIGKILL again and again while it has messages in hand."""
        stage, times = self._stage, self._wishes.kill
        stage.model.set_latency(KILL_LATENCY_MS)
        recorder = Recorder(stage)
        chance = random.Random(times)  # noqa: S311 - moments, not secrets
        stage.start_worker(concurrency=CONCURRENCY)
        turn = itertools.cycle(stage.portals)
        for _ in range(times):
            calls = stage.model.calls()
            deadline = time.monotonic() + SETTLE_SECONDS / 4
            while stage.model.calls() == calls and time.monotonic() < deadline:
                self._new_dialog(next(turn))
                time.sleep(1 / KILL_RATE)
            moment = time.monotonic() + chance.uniform(0.0, 2 * KILL_LATENCY_MS / 1000)
            while time.monotonic() < moment:
                self._new_dialog(next(turn))
                time.sleep(1 / KILL_RATE)
            stage.kill_worker()
            stage.start_worker(concurrency=CONCURRENCY)
        found = recorder.wait_settled()
        column = Column("kill -9", recorder.outcome(found))
        column.cells["workers killed"] = str(times)
        stage.stop_worker()
        return column

    def _memory(self) -> str:
        web, worker = self._stage.memory()
        return f"{web:.0f} / {worker:.0f}"


def _per_second(found: list[Exchange], rounds: list[float]) -> float:
    """Replies by the time from a round's first question to its last reply; pauses do not count."""
    replies, busy = 0, 0.0
    for began, ended in zip(rounds, [*rounds[1:], time.time()], strict=True):
        replied = [
            one.replied_at[0] for one in found if one.replied_at and began <= one.asked_at < ended
        ]
        replies += len(replied)
        busy += max(replied, default=began) - began
    return replies / busy if busy else 0.0


def _good(statuses: Mapping[int, int]) -> int:
    return statuses.get(200, 0) + statuses.get(204, 0)


def _most_in_flight(calls: list[tuple[float, int]]) -> int:
    """Every call takes exactly the set latency: those begun within any such span were together."""
    span, most = IN_FLIGHT_LATENCY_MS / 1000 * 0.95, 0
    for at, count in calls:
        before = max((c for moment, c in calls if moment <= at - span), default=calls[0][1])
        most = max(most, count - before)
    return most


def wishes(arguments: list[str]) -> Wishes:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    number, fraction = {"type": int}, {"type": float}
    for name, default, kind, text in (
        ("portals", 7, number, "portals of one app"),
        ("dialogs", 6, number, "dialogs in each portal"),
        ("messages", 3, number, "messages in each dialog"),
        ("rate", 10.0, fraction, "clients' messages a second"),
        ("latency-ms", 300.0, fraction, "how long the model thinks"),
        ("kill", 10, number, "how many times a worker is killed; 0 leaves it out"),
    ):
        variable = f"BENCH_{name.replace('-', '_').upper()}"
        parser.add_argument(
            f"--{name}", default=kind["type"](os.environ.get(variable, default)), help=text, **kind
        )
    parser.add_argument("--quick", action="store_true", help="a look in half a minute")
    found = Wishes(**vars(parser.parse_args(arguments)))
    if found.quick:
        found.portals, found.dialogs, found.messages = 2, 6, 2
        found.kill = min(found.kill, 2)
    return found


def main() -> int:
    wanted = wishes(sys.argv[1:])
    # A polite end from outside takes all processes of the stage with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    columns: list[Column] = []
    with Stage(
        portals=wanted.portals,
        latency_ms=wanted.latency_ms,
        database_url=os.environ.get("DATABASE_URL", ""),
    ) as stage:
        bench = Bench(stage, wanted)
        for name, phase in (
            ("replies", bench.replies),
            ("events", bench.events),
            ("open frames", bench.frames),
            ("slow model", bench.in_flight),
            ("kill -9", bench.kills),
        ):
            if name == "kill -9" and not wanted.kill:
                continue
            began = time.monotonic()
            columns.append(phase())
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        print(
            f"\n{stage.engine}; {wanted.portals} portals × {wanted.dialogs} dialogs × "
            f"{wanted.messages} messages; the model thinks {wanted.latency_ms:g} ms; "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
        )
    print(figures.table(columns))
    bad = ("lost", "duplicated", "polls refused")
    broken = any(column.cells.get(row, "0") != "0" for column in columns for row in bad)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
