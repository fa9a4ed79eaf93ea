# The distribution's interpreter if it is new enough: it is built with profile-guided optimisation, which those of version
# managers often lack, and that costs a third of the throughput (docs/performance.md).
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv/bin
STACK := $(VENV)/python -m tools.stack
COMPILE := $(VENV)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet

export PYTHONPATH := src

.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

.PHONY: venv
venv: ## make .venv from the locked requirements, if it is missing or old
	@$(PYTHON) -m tools.venv

.PHONY: up
up: venv ## start the whole system on this machine
	@$(STACK) up

.PHONY: down
down: venv ## stop it; the data stay
	@$(STACK) down

.PHONY: status
status: venv ## show what runs, and where
	@$(STACK) status

.PHONY: demo
demo: venv ## place two orders, one held and confirmed, and follow them through the logs
	@$(STACK) demo

.PHONY: logs
logs: venv ## show the log lines of one trace: make logs TRACE=<id>
	@$(STACK) logs "$(TRACE)"

.PHONY: trace
trace: venv ## draw what was done for one order: make trace TRACE=<id>, or the slowest of the last thousand
	@$(STACK) trace $(TRACE)

.PHONY: observe
observe: venv ## watch the running system with Prometheus and its alerts, until Ctrl-C
	@$(VENV)/python -m tools.observe $(ARGS)

.PHONY: ops
ops: venv ## the operator's tools: make ops ARGS="reconcile --json"
	@$(VENV)/python -m tools.ops $(ARGS)

.PHONY: test
test: venv ## run all tests in two processes, each on servers of its own
	@$(VENV)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: check
check: venv ## run the linters and the type checker, and promtool where it is installed
	@$(VENV)/ruff check
	@$(VENV)/ruff format --check
	@$(VENV)/mypy
	@$(VENV)/lint-imports
	@if command -v promtool > /dev/null; then \
		promtool check config deploy/prometheus/prometheus.yml && promtool test rules deploy/prometheus/rules_test.yml; \
	else echo "The rules of deploy/prometheus were not checked: make observe ARGS=--install brings promtool"; fi

.PHONY: secrets
secrets: venv ## draw the passwords of docker-compose.production.yml, and write them into .env
	@$(VENV)/python -m tools.production

.PHONY: loadtest
loadtest: venv ## send k6's load to the running system
	@$(VENV)/python -m tools.bench loadtest

.PHONY: postman
postman: venv ## run the Postman collection on the running system
	@$(VENV)/python -m tools.postman

.PHONY: bench
bench: venv ## measure what docs/performance.md reports, or compare with a commit: make bench AGAINST=e27211c
	@$(VENV)/python -m tools.bench $(if $(AGAINST),against $(AGAINST)) $(ARGS)

.PHONY: contracts
contracts: venv ## write docs/openapi.json, docs/asyncapi.json and deploy/grafana/dashboards again
	@$(VENV)/python -m tools.documents

.PHONY: tour
tour: venv ## run the commands of docs/tour.md on a new system and write down what they print
	@$(VENV)/python -m tools.tour

.PHONY: overload
overload: venv ## measure what more orders than it can take do to the system
	@$(VENV)/python -m tools.bench overload $(ARGS)

.PHONY: attacks
attacks: venv ## attack a new system in several ways, and see what they leave to a polite client: make attacks ARGS=lists
	@$(VENV)/python -m tools.bench attacks $(ARGS)

.PHONY: pages
pages: venv ## measure a page of a thousand orders against one of a million
	@$(VENV)/python -m tools.bench pages $(ARGS)

.PHONY: faults
faults: venv ## break the system and look whether anything is lost: make faults MINUTES=30 SEED=1
	@$(VENV)/python -m tools.faults $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: cluster-faults
cluster-faults: venv ## break the cluster in every way and measure how long nobody can order: make cluster-faults MINUTES=20
	@$(VENV)/python -m tools.cluster faults $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: cluster
cluster: venv ## start the system on servers that fail over, each in a network namespace: make cluster ARGS=status
	@$(VENV)/python -m tools.cluster $(if $(ARGS),$(ARGS),up)

.PHONY: soak
soak: venv ## send a million orders to the running system and look whether it grows: make soak ARGS="--orders 100000"
	@$(VENV)/python -m tools.bench soak $(ARGS)

.PHONY: lock
lock: venv ## resolve setup.cfg into requirements/*.txt again, and those of the generators of clients
	@$(COMPILE) --output-file requirements/runtime.txt setup.cfg
	@$(COMPILE) --extra dev --output-file requirements/dev.txt setup.cfg
	@$(COMPILE) --output-file tests/e2e/clients/requirements.txt tests/e2e/clients/requirements.in

.PHONY: clean
clean: $(if $(wildcard .local),venv) ## stop the system, delete its data and .venv
	@[ ! -e .local ] || $(STACK) clean
	@rm -rf .venv .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
