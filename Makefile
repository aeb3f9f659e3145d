# `make` alone lists what there is. PYTHON, DATASET, DATA and ARGS can be set; V=1 shows what pip does.

PYTHON  ?= python3
DATASET ?= online-retail
DATA    ?=
ARGS    ?=
V       ?=

VENV  := .venv
BIN   := $(VENV)/bin
PIP   := $(BIN)/python -m pip install $(if $(V),,-qq) --disable-pip-version-check -c constraints.txt

# one torch thread per process and no look-ups on the network: tests give the same results everywhere
TEST_ENV := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=1 MPLBACKEND=Agg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo replay test lint format bench-floors bench-quality bench-ablation bench-drift peers docs dashboards clean distclean

help:  ## list the targets
	@echo "Meander, a streaming recommender that follows its users as their interests drift"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter of the first installation; 3.11 or newer is needed."

install: $(VENV)/.installed  ## install into .venv what running needs, once

demo: $(VENV)/.installed  ## the whole loop on Online Retail: broker, five consumers, a live view, a report
	$(BIN)/meander demo $(ARGS)

replay: $(VENV)/.installed  ## the same handlers in one process, no broker: DATASET=online-retail|ml-100k DATA=DIR
	$(BIN)/meander replay --dataset $(DATASET) $(if $(DATA),--path $(DATA)) $(ARGS)

test: $(VENV)/.installed-dev lint  ## ruff, mypy and all tests; Apache Kafka's too where KAFKA_HOME is set
	$(TEST_ENV) $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-dev  ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev  ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-floors: $(VENV)/.installed  ## hit rates of whole replays against their floors, as JSON; DATA=DIR adds ml-100k there (half an hour)
	$(BIN)/python benchmarks/floors.py $(if $(DATA),--ml-100k $(DATA)) $(ARGS)

bench-quality: $(VENV)/.installed  ## Meander beside what one would build instead, as JSON: DATASET, DATA=DIR, ARGS=--no-repeats
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quality.py --dataset $(DATASET) $(if $(DATA),--path $(DATA)) $(ARGS)

bench-ablation: $(VENV)/.installed  ## what each feature of the blend is worth, left out, as JSON: DATASET, DATA=DIR, ARGS=--no-repeats
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/ablation.py --dataset $(DATASET) $(if $(DATA),--path $(DATA)) $(ARGS)

bench-drift: $(VENV)/.installed  ## drift, gate, rollback, policies and refreshes, into runs/bench-drift, hours; DATA=DIR adds ml-100k
	@mkdir -p runs/bench-drift
	@for log in online-retail $(if $(DATA),ml-100k); do \
		where="--dataset $$log"; if [ $$log = ml-100k ]; then where="$$where --path $(DATA)"; fi; \
		for name in drift reaction gate rollback; do \
			what="$$where"; if [ $$name = gate ]; then what="$$where --parts candidates planted --kinds relabelled"; fi; \
			echo "benchmarks/$$name.py $$what" && OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$name.py $$what \
				> runs/bench-drift/$$name-$$log.json || exit 1; done; done
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/gate.py --parts forgetting planted --kinds tastes population category segment arrivals none \
		> runs/bench-drift/gate-made.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/population.py --seeds 0,1,2,3,4,5,6,7,8,9 --events 62000 \
		> runs/bench-drift/population.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/policies.py --log tastes --log category --log users --events 12000 \
		--seeds 0,1,2,3,4 --policies drift,matched,blind --out runs/policies-planted > runs/bench-drift/policies-planted.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/policies.py --log online-retail --log online-retail-new \
		$(if $(DATA),--log ml-100k --path $(DATA)) > runs/bench-drift/policies.json
	$(BIN)/python benchmarks/refresh.py > runs/bench-drift/refresh.json

peers: .venv-peers/.installed  ## install into .venv-peers what bench-quality can be run against, once: ALS and SASRec of others

docs: $(VENV)/.installed  ## write docs/topics.md and docs/settings.md anew from the code
	$(BIN)/python docs/generate.py

dashboards: $(VENV)/.installed-dev  ## write Grafana's dashboards anew from the code
	$(BIN)/python -m deploy.grafana.generate

clean:  ## remove caches and builds
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean  ## remove the virtual environments and everything that runs left in runs/, too
	rm -rf $(VENV) .venv-peers runs

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Meander needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
		echo "Name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); echo "On Debian and Ubuntu, python3 -m venv needs: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV), once: about 2 minutes, longer where torch must be downloaded (V=1 shows pip at work) ..."
	@$(PIP) --editable '.[embedded]'
	@touch $@
	@echo "Installed."

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) what the tests need, once: about 2 minutes, or 15 s after an installation ..."
	@$(PIP) --editable '.[embedded,dev]'
	@touch $(VENV)/.installed $@
	@echo "Installed."

# RecTools wants another numpy than Meander, so it has a virtual environment of its own
.venv-peers/.installed: benchmarks/peers.txt
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install $(if $(V),,-qq) --disable-pip-version-check -r $<
	@touch $@
