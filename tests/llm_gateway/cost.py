"""CPU and memory of the gateway per call, by hand: `python -m tests.llm_gateway.cost`.

Twenty conversations with real messages go on side by side: with every call one more message of the
client and one of ours are new, the rest of the conversation and 50 pieces of knowledge come again.
The server runs in a process of its own, so that only our side is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from integrations.llm.gateway import AnswerRequest, Gateway
from integrations.llm.values import Author, Source, Turn
from integrations.net import AddressGuard
from tests.llm_gateway.asking import make_provider, make_request
from tests.llm_gateway.scripted_server import Say, completion, serving

SNIPPETS = tuple(
    Source(key=f"k{number}", title=f"Статья {number}", text="Монтаж котла стоит 5 000 ₽. " * 40)
    for number in range(50)
)
MESSAGES = tuple(
    json.loads(line)["text"]
    for line in (Path(__file__).parents[1] / "fixtures/eval/ru_client_messages.jsonl").open()
)
CONVERSATIONS = 20
CALLS = 300
TURNS = 21
IN_FLIGHT = 100
MASKING = {"no masking": {}, "masking": {"mask": True}}
MASKING |= {"masking, names too": {"mask": True, "mask_names": True}}


def _request(call: int, run: str, **more: bool) -> AnswerRequest:
    """The next question of one of the conversations; below 0 it is one of their first."""
    age, conversation = divmod(call, CONVERSATIONS)
    turns = tuple(
        Turn(
            author=Author.BOT if number % 2 else Author.CLIENT,
            text=f"{MESSAGES[(conversation * 7 + number) % len(MESSAGES)]} {run}-{conversation}-{number}",
        )
        for number in range(2 * age + 2, 2 * age + 2 + TURNS)
    )
    return make_request(conversation=turns, sources=SNIPPETS, **more)


def _serve(pipe: Connection) -> None:
    with serving(Say(completion(), wait=float(pipe.recv()))) as server:
        pipe.send(server.base_url)
        pipe.recv()


def _measured(wait: float, in_flight: int, **more: bool) -> tuple[float, float, float]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(there,), daemon=True
    )
    process.start()
    here.send(wait)
    route = make_provider(here.recv(), max_in_flight=in_flight, max_input_chars=200_000)
    gateway = Gateway(address_guard=AddressGuard(allow_private=True))
    run = f"{in_flight}-{len(more)}"
    requests = [_request(call, run, **more) for call in range(-CONVERSATIONS, CALLS)]
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(lambda request: gateway.answer(request, [route]), requests[:CONVERSATIONS]))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cpu, clock = time.process_time(), time.perf_counter()
        asked = requests[CONVERSATIONS:]
        results = list(pool.map(lambda request: gateway.answer(request, [route]), asked))
        cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    assert all(result.reason == "ok" for result in results), results[0].failures
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    gateway.close()
    here.send(None)
    process.join(10)
    return cpu / CALLS * 1000, clock / CALLS * 1000, grown / 1024


def main() -> None:
    for name, wait, in_flight in (("one by one", 0.0, 1), ("100 in flight", 1.0, IN_FLIGHT)):
        for masking, more in MASKING.items():
            cpu, wall, grown = _measured(wait, in_flight, **more)
            sys.stdout.write(
                f"{name}, {masking}: CPU {cpu:.2f} ms, wall {wall:.2f} ms a call, "
                f"peak memory +{grown:.1f} MB, threads {threading.active_count()}\n"
            )


if __name__ == "__main__":
    main()
