# The commands of the product; each sets up what it needs. Python is found by tools/find-python.

VENV := .venv
PY := $(VENV)/bin/python
MANAGE := $(PY) manage.py
DEV_STAMP := $(VENV)/.dev
RUN_STAMP := $(VENV)/.run
PICTURES_STAMP := $(VENV)/.pictures

.PHONY: help run web worker test lint types bench demo-env migrate static locale clean test-local-llm pictures

help:
	@echo "make run     the whole product with a demo portal on http://127.0.0.1:$${PORT:-8000}/demo/"
	@echo "make web     the web process      make worker  a worker process"
	@echo "make test    all tests            make lint    format, lint, types, migrations"
	@echo "make test-local-llm   the gateway against real local models (minutes of building, once)"
	@echo "make pictures   docs/screens and docs/marketplace, drawn from the real product"
	@echo "make bench   the benchmark        make locale  translations after a change of texts"

$(VENV)/bin/python:
	@python=$$(sh tools/find-python) && "$$python" -m venv $(VENV)

$(RUN_STAMP): requirements.txt | $(VENV)/bin/python
	@echo "Installing dependencies (once, about a minute)…"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(DEV_STAMP): requirements.txt requirements-dev.txt requirements-names.txt | $(VENV)/bin/python
	@echo "Installing dependencies for tests (once, about a minute)…"
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(RUN_STAMP)

.env: | $(VENV)/bin/python
	@$(PY) -m tools.make_env

# The whole product in one go, with everything on loopback allowed, for a first look.
run: $(RUN_STAMP) .env
	@export DEMO="$${DEMO:-on}" ALLOW_PRIVATE_NETWORK="$${ALLOW_PRIVATE_NETWORK:-on}" \
		LOG_JSON="$${LOG_JSON:-off}" LOG_LEVEL="$${LOG_LEVEL:-WARNING}"; exec $(PY) -m tools.run all

web: $(RUN_STAMP) .env
	@exec $(PY) -m tools.run web

worker: $(RUN_STAMP) .env
	@exec $(PY) -m tools.run worker

test: $(DEV_STAMP)
	@$(PY) -m tools.test

lint: $(DEV_STAMP)
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@DJANGO_SETTINGS_MODULE=tests.settings $(MANAGE) makemigrations --check --dry-run
	@DJANGO_SETTINGS_MODULE=tests.production_settings $(MANAGE) check --deploy --fail-level WARNING

bench: $(RUN_STAMP)
	@$(PY) -m tools.bench

locale: $(DEV_STAMP)
	@$(PY) -m tools.translations

test-local-llm: $(DEV_STAMP)
	@$(PY) -m tools.local_llm test

$(PICTURES_STAMP): requirements-pictures.txt $(DEV_STAMP)
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-pictures.txt
	@touch $@

pictures: $(PICTURES_STAMP)
	@$(PY) -m tools.pictures
