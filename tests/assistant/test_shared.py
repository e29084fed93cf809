"""What processes share through the database: places at model servers, and circuits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest
from django.conf import settings
from django.db import connection

from bx_gpt_app.assistant.circuit import DatabaseCircuit
from bx_gpt_app.assistant.models import ModelPlace
from bx_gpt_app.assistant.places import DatabasePlaces
from integrations.llm.failures import LONGEST_OPEN_SECONDS, OPEN_SECONDS, ModelFailed
from tests.kill.conftest import ROOT, database_url

SERVER = "https://models.example/v1|account"
KEY = f"{SERVER}|model"

HOLD_PLACES = """
import json, threading, time
from bx_gpt_app.assistant.places import DatabasePlaces
places, held = DatabasePlaces(), []
def work():
    with places.held({server!r}, 3, 30):
        began = time.time()
        time.sleep(0.1)
        held.append((began, time.time()))
threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(held))
"""

FAIL_FIVE_TIMES = """
import json
from bx_gpt_app.assistant.circuit import DatabaseCircuit
circuit = DatabaseCircuit()
before = circuit.allow({key!r})
[circuit.failure({key!r}) for _ in range(5)]
print(json.dumps([before, circuit.allow({key!r})]))
"""

TRY_ONCE = """
import json, time
from bx_gpt_app.assistant.circuit import DatabaseCircuit
print(json.dumps(DatabaseCircuit(clock=lambda: time.time() + {later}).allow({key!r})))
"""


def start(code: str) -> subprocess.Popen[str]:
    """Another process of the product, on the test's own database."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "bx_gpt_app.settings",
        "ENV_FILE": "/nonexistent",
        "SECRET_KEY": settings.SECRET_KEY,
        "ENCRYPTION_KEYS": ",".join(settings.ENCRYPTION_KEYS),
        "DATABASE_URL": database_url(),
    }
    return subprocess.Popen(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(process: subprocess.Popen[str]):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return json.loads(out)


@pytest.mark.django_db(transaction=True)
def test_two_processes_together_keep_to_the_places_of_a_server():
    processes = [start(HOLD_PLACES.format(server=SERVER)) for _ in range(2)]
    held = [stretch for process in processes for stretch in said(process)]

    edges = sorted([(began, 1) for began, _ in held] + [(ended, -1) for _, ended in held])
    at_once, most = 0, 0
    for _moment, step in edges:
        at_once += step
        most = max(most, at_once)
    assert len(held) == 12
    assert most == 3
    assert not ModelPlace.objects.filter(until__gt=0).exists(), "all places are free again"


@pytest.mark.django_db(transaction=True)
def test_a_circuit_opened_by_one_process_holds_back_the_others_and_lets_one_try():
    assert said(start(FAIL_FIVE_TIMES.format(key=KEY))) == [True, False]

    later = OPEN_SECONDS + 1
    mine = DatabaseCircuit()
    assert not mine.allow(KEY)
    assert 0 < mine.opens_in(KEY) <= OPEN_SECONDS
    child = start(TRY_ONCE.format(key=KEY, later=later))
    here = DatabaseCircuit(clock=lambda: time.time() + later)
    tried = [here.allow(KEY), said(child)]
    assert sorted(tried) == [False, True]


def test_calls_that_were_under_way_when_the_circuit_opened_do_not_prolong_it(db):
    now = [1000.0]
    workers = [DatabaseCircuit(clock=lambda: now[0]) for _ in range(8)]

    for worker in workers:
        worker.failure(KEY)
    now[0] += 2  # what a process has seen of a circuit it believes for a second

    assert [worker.allow(KEY) for worker in workers] == [False] * 8
    assert workers[0].opens_in(KEY) == OPEN_SECONDS - 2


def test_a_circuit_doubles_up_to_a_quarter_of_an_hour_and_closes_with_a_success(db):
    now = [1000.0]
    circuit = DatabaseCircuit(clock=lambda: now[0])
    circuit.failure(KEY, permanent=True)
    opened = []
    for _ in range(6):
        opened.append(circuit.opens_in(KEY))
        now[0] += opened[-1] + 1
        assert circuit.allow(KEY)
        circuit.failure(KEY)

    now[0] += LONGEST_OPEN_SECONDS + 1
    assert circuit.allow(KEY)
    circuit.success(KEY)

    assert opened == [60, 120, 240, 480, 900, 900]
    assert DatabaseCircuit(clock=lambda: now[0]).opens_in(KEY) == 0


def test_a_place_of_a_dead_process_is_free_after_its_deadline(db):
    now = [1000.0]
    dead = DatabasePlaces(clock=lambda: now[0])
    holding = dead.held(SERVER, 1, 45)
    holding.__enter__()
    other = DatabasePlaces(clock=lambda: now[0], sleep=lambda seconds: now.append(seconds))

    with pytest.raises(ModelFailed) as refused, other.held(SERVER, 1, 0.04):
        pytest.fail("there is no place")
    now[0] += 51
    with other.held(SERVER, 1, 45):
        took_over = ModelPlace.objects.get().until

    assert refused.value.failure.code == "busy"
    assert took_over > now[0]


@pytest.mark.django_db(transaction=True)
def test_a_place_that_gets_free_is_taken_by_whoever_waits():
    places = [DatabasePlaces(), DatabasePlaces()]  # two processes as far as the table is concerned
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with places[0].held(SERVER, 1, 10):
            inside.set()
            time.sleep(0.15)
            order.append("first")
        connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with places[1].held(SERVER, 1, 10):
        order.append("second")
    thread.join()

    assert order == ["first", "second"]
