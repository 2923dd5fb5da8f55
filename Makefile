# All of this needs no more than Python 3.11 and make. The folder .venv is made by these rules and is theirs:
# what goes into it is pinned in constraints.txt, and it follows when that file or pyproject.toml changes.

PYTHON ?= python3
ARGS ?=
# How many tests run at once: half as many again as there are processors, since some wait for a clock.
# ARGS="-n 0 --pdb" is how to look into one.
AT_ONCE = -n $(shell $(PYTHON) -c 'import os; print(min(6, os.cpu_count() * 3 // 2))') --dist worksteal
VENV := .venv
BIN := $(VENV)/bin
PINNED := --constraint constraints.txt
EXTRAS := -e '.[service,redis,client,frameworks]'
LEAST := (3, 11)
JAVASCRIPT := clients/javascript
# The tests start these programs hundreds of times; each would compile them anew.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run demo todo test slow cluster lint format types imports wheel javascript coverage bench bench-cluster faults soak mutants check lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: $(VENV)/ready ## serve on SQLite in ./data; prints its address and, the first time, the admin's password
	@$(BIN)/caveats-service serve $(ARGS)

demo: $(VENV)/ready ## the main job as a narrated tour
	@$(BIN)/python examples/demo.py $(ARGS)

todo: $(VENV)/ready ## a to-do list with sign-ins and links to share, in two processes, with a service of its own; Ctrl-C ends it
	@$(BIN)/python examples/todo/run.py $(ARGS)

test: $(VENV)/with-test ## all tests that need no other program and no second; ARGS="-k scope" goes to pytest
	$(BIN)/pytest -m "not wheel and not slow" --ignore=tests/cluster $(AT_ONCE) $(ARGS)

slow: $(VENV)/with-test tests/web/node_modules ## the tests that take a while: processes, faults, proxies, pages in a Chromium, PostgreSQL
	$(BIN)/pytest -m slow --ignore=tests/cluster $(AT_ONCE) $(ARGS)

cluster: $(VENV)/with-test ## several nodes on a PostgreSQL, in real processes, and their faults
	$(BIN)/pytest tests/cluster $(ARGS)

lint: $(VENV)/with-lint ## ruff, format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/with-lint ## let ruff mend what it can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(VENV)/with-lint ## mypy, strict
	$(BIN)/mypy
	$(if $(wildcard typing_tests),$(BIN)/mypy typing_tests)

imports: $(VENV)/with-lint ## who may import whom
	$(BIN)/lint-imports

wheel: $(VENV)/with-test ## build the wheel and the sdist into dist, and test both as installed
	rm -rf dist
	$(BIN)/python -m hatchling build --directory dist
	$(BIN)/pytest -m wheel tests/test_wheel.py $(ARGS)

javascript: $(VENV)/ready ## the JavaScript client: its types and its tests; needs Node 20 or newer
	@command -v npm >/dev/null || { echo "There is no npm: the JavaScript client needs Node 20 or newer."; exit 1; }
	@echo "Fetching what the tests of the JavaScript client need, from the lock file."
	@cd $(JAVASCRIPT) && npm ci --no-fund --no-audit --loglevel=error >/dev/null
	@echo "Checking its types."
	@cd $(JAVASCRIPT) && npm run --silent types && npx --no-install tsc --project ../../tests/web/tsconfig.json
	@echo "Running its tests."
	@cd $(JAVASCRIPT) && npm test --silent $(ARGS)

mutants: $(VENV)/with-test $(VENV)/with-mutation ## change the core line by line: do the tests notice? ARGS="--show keys" names a room
	@$(BIN)/python -m tests.mutation $(ARGS)

coverage: $(VENV)/with-test ## the library's own tests leave no branch of it untested
	$(BIN)/coverage run -m pytest -q tests/caveats
	$(BIN)/coverage report --fail-under=100

bench: $(VENV)/with-bench ## one table: library and service beside their peers; ARGS=--strict minds the bars
	@$(BIN)/python -m benchmarks $(ARGS)

bench-cluster: $(VENV)/with-bench ## the same for several nodes on PostgreSQL; needs that and Redis
	@$(BIN)/python -m benchmarks.cluster $(ARGS)

faults: $(VENV)/with-test ## kill -9 the service again and again, and look for what was lost
	$(BIN)/python tests/faults/kill9.py $(ARGS)

soak: $(VENV)/with-test ## two nodes and three apps under load while all goes wrong in turn; ARGS="--minutes 60 --seed 7"
	$(BIN)/python -m tests.faults.soak $(ARGS)

check: lint types imports test javascript slow coverage wheel demo faults ## everything but the benchmarks

clean: ## remove .venv and all that can be made again; ./data stays
	rm -rf $(VENV) dist build .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What looks through the pages in `make slow`. Where there is no npm, the tests that need it say so.
tests/web/node_modules: tests/web/package-lock.json
	@if command -v npm >/dev/null; then cd tests/web && npm ci --loglevel=error >/dev/null && touch node_modules; fi

# Setting up: `ready` is the packages with all their extras, `with-x` adds the dependency group x.

$(VENV)/ready: pyproject.toml constraints.txt
	@$(NEW_ENOUGH)
	@echo "Setting up $(VENV): about 60 packages are fetched and installed, once. It takes a minute or two."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "  a virtual environment"; $(PYTHON) -m venv --clear $(VENV); }
	@$(call INSTALL,pip itself,pip)
	@$(call INSTALL,what builds the package,--group build)
	@$(call INSTALL,Caveats and all that it uses,--no-build-isolation $(EXTRAS))
	@touch $@

$(VENV)/with-%: $(VENV)/ready
	@echo "Setting up $(VENV) for '$*': its packages are fetched and installed, once. It takes up to a minute."
	@$(call INSTALL,the packages of '$*',--group $*)
	@touch $@

# $(call INSTALL,what it is,arguments of pip): says what, and on a terminal counts the packages while pip is silent. What
# pip says is shown where it fails, its last lines alone.
define INSTALL
echo "  $(1) ..."; terminal=; [ ! -t 1 ] || terminal=1; \
TERMINAL="$$terminal" COMMAND="$(BIN)/python -m pip --disable-pip-version-check install $(PINNED) $(2) 2>&1" awk 'BEGIN { \
  while ((ENVIRON["COMMAND"] | getline line) > 0) { \
    last[++lines % 20] = line; \
    split(line, word, " "); \
    if (word[1] == "Collecting") said = "    packages found: " ++count ", now " word[2]; \
    else if (word[1] == "Installing") said = "    installing"; \
    else continue; \
    if (ENVIRON["TERMINAL"]) { printf "\r%-76s\r", substr(said, 1, 76); fflush(); } \
  } \
  if (ENVIRON["TERMINAL"]) printf "%76s\r", ""; \
  if (close(ENVIRON["COMMAND"]) == 0) exit 0; \
  for (at = lines > 20 ? lines - 19 : 1; at <= lines; at++) print last[at % 20]; \
  exit 1 }' || { \
  echo "Setting up $(VENV) did not work; what pip says is above. The same command tries again."; exit 1; }
endef

define NEW_ENOUGH
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < $(LEAST))' || { \
  echo "Caveats needs Python 3.11 or newer; $(PYTHON) is not that. Name another: make PYTHON=python3.12 ..."; \
  exit 1; }
endef

# Versions only, so that they can be had from any index; `caveats` itself is editable and stays out.
lock: ## pin the newest versions that fit, in constraints.txt
	@$(NEW_ENOUGH)
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; python="$$folder/bin/python"; \
	$(PYTHON) -m venv "$$folder"; \
	"$$python" -m pip install --quiet --upgrade pip; \
	"$$python" -m pip install --quiet $(EXTRAS) --group build --group test --group lint --group bench --group mutation; \
	{ echo '# Made by `make lock`: every version that the checks run with.'; \
	  "$$python" -m pip freeze --all --exclude-editable --exclude setuptools; } > constraints.txt
