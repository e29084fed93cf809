"""CPU and memory of the gateway per call, by hand: `python -m tests.llm_gateway.cost`.

The server runs in a process of its own, so that only our side is measured.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection

from integrations.llm.gateway import Gateway
from integrations.llm.values import Author, Source, Turn
from integrations.net import AddressGuard
from tests.llm_gateway.asking import make_provider, make_request
from tests.llm_gateway.scripted_server import Say, completion, serving

SNIPPETS = tuple(
    Source(key=f"k{number}", title=f"Статья {number}", text="Монтаж котла стоит 5 000 ₽. " * 40)
    for number in range(50)
)
TURNS = tuple(
    Turn(author=Author.CLIENT if number % 2 else Author.BOT, text="Подскажите цену " * 8)
    for number in range(21)
)
CALLS = 300
IN_FLIGHT = 100


def _serve(pipe: Connection) -> None:
    with serving(Say(completion(), wait=float(pipe.recv()))) as server:
        pipe.send(server.base_url)
        pipe.recv()


def _measured(wait: float, in_flight: int, *, mask: bool) -> tuple[float, float, float]:
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(there,), daemon=True
    )
    process.start()
    here.send(wait)
    route = make_provider(here.recv(), max_in_flight=in_flight, max_input_chars=200_000)
    gateway = Gateway(address_guard=AddressGuard(allow_private=True))
    request = make_request(conversation=TURNS, sources=SNIPPETS, mask=mask)
    gateway.answer(request, [route])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, clock = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(in_flight) as pool:
        results = list(pool.map(lambda _: gateway.answer(request, [route]), range(CALLS)))
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    assert all(result.reason == "ok" for result in results), results[0].failures
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    gateway.close()
    here.send(None)
    process.join(10)
    return cpu / CALLS * 1000, clock / CALLS * 1000, grown / 1024


def main() -> None:
    for name, wait, in_flight in (("one by one", 0.0, 1), ("100 in flight", 1.0, IN_FLIGHT)):
        for mask in (False, True):
            cpu, wall, grown = _measured(wait, in_flight, mask=mask)
            sys.stdout.write(
                f"{name}, masking {mask}: CPU {cpu:.2f} ms, wall {wall:.2f} ms a call, "
                f"peak memory +{grown:.1f} MB, threads {threading.active_count()}\n"
            )


if __name__ == "__main__":
    main()
