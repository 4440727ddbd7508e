# The two commands of this project are `make demo` and `make test`. All the set-up they need happens by itself.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help venv hosts demo demo-down test test-full lint unit simulate mutations bench matrix artifacts clean changelog reference package

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONPATH := $(CURDIR):$(CURDIR)/tools:$(CURDIR)/tests:$(CURDIR)/collections

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# One stamp per interpreter and set of requirements: a newer Python or a changed pin builds the environment again.
$(STAMP): requirements.txt demo/load/requirements.txt demo/mes/requirements.txt tools/find-python
	@python=$${PYTHON:-$$(tools/find-python)} && [ -n "$$python" ] \
	  && echo "Setting up $(VENV) with $$($$python --version) ($$python) ..." \
	  && rm -rf $(VENV) && "$$python" -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r demo/load/requirements.txt -r demo/mes/requirements.txt
	@$(BIN)/ansible --version | sed -n 1p
	@touch $@

venv: $(STAMP) ## the virtual environment, with the newest usable Python

hosts:
	@molecule/hosts/setup
	@molecule/hosts/image trixie

demo: venv hosts ## seven real hosts, the whole estate, real orders, a summary
	@$(BIN)/python -m demo up

demo-down: venv ## remove the demo hosts and everything on them
	@$(BIN)/python -m demo down

test: venv ## lint, unit tests and every Molecule scenario
	@$(BIN)/python tools/run.py

test-full: venv ## the same with every cell: hours, see docs/contributing.md
	@MESOPS_TEST=full $(BIN)/python tools/run.py

lint: venv
	@$(BIN)/python tools/run.py lint

unit: venv
	@$(BIN)/python tools/run.py unit

simulate: venv ## play stories that seeds draw: SEEDS=100000, from FIRST=0; SEED=4711 tells one at length
	@$(BIN)/python -m simulations --seeds $(or $(SEEDS),10000) --first $(or $(FIRST),0) $(if $(SEED),--seed $(SEED))

mutations: venv ## take back one mend of the rollouts at a time, and show the story that finds it
	@$(BIN)/python -m simulations.mutations --seeds $(or $(SEEDS),3000)

bench: venv hosts ## measure, and write docs/benchmarks.md; PART=rollouts measures only that
	@$(BIN)/python -m bench $(PART)

matrix: venv hosts ## every ansible-core on every Debian, and docs/matrix.md; CORE=2.19 SUITE=trixie tries one cell
	@molecule/hosts/image bookworm
	@$(BIN)/python tools/matrix.py $(CORE) $(SUITE)

artifacts: venv ## fill a directory with the upstream archives, for machines without internet: DIR=/srv/artifacts
	@$(BIN)/ansible-playbook playbooks/artifacts.yml -e artifacts_directory=$(or $(DIR),~/.cache/mesops/artifacts)

reference: venv ## docs/reference/, from what roles, modules, filters and playbooks say of themselves
	@$(BIN)/python tools/reference.py

package: venv ## the Galaxy archive, in dist/
	@$(BIN)/python tools/package.py build

clean: ## remove what the commands above made in this checkout
	@rm -rf $(VENV) .cache build dist demo/dist .mypy_cache .ruff_cache .pytest_cache
