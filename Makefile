# make run        builds the server and serves the demo application on http://127.0.0.1:8000
# make test       builds everything and passes every check: lint, types, documentation, sanitizers, fuzzing, tests
# make lint       ruff and mypy
# make docs       the documentation as a site in build/site; a link that leads nowhere fails
# make dist       the source distribution and a wheel of it in dist/, tried in an environment of its own
# make sanitize   the tests of the compiled core, built with the address and undefined-behaviour sanitizers
# make fuzz       mutated requests against h11, for FUZZ_SECONDS; WebSockets against wsproto, for a third of that; and
#                 what proxies say, and field sections of HTTP/2 against hpack, for a tenth each
# make load       a demo shop under locust, for LOAD_SECONDS
# make loadtest   pyserver, gunicorn and uvicorn under the same load, each demo shop on each for COMPARE_SECONDS, and then
#                 make cost; writes docs/load.md with its plots anew
# make cost       what one answer costs each of them in processor time; writes its part of docs/load.md anew
# make soak       good, bad, slow and aborted requests at once, for SOAK_SECONDS with each class of workers and poller
# make soak-asan  the same with the sanitizers
# make soak-tsan  the same with the thread sanitizer
# make clean      removes all that the others made
#
# make test PYTHON=python3.12      with another interpreter, after make clean
# make run BIND=127.0.0.1:9000     at another address

PYTHON ?= python3
BIND ?= 127.0.0.1:8000
WORKERS ?= 2
JOBS ?= 2
FUZZ_SECONDS ?= 30
LOAD_SECONDS ?= 20
COMPARE_SECONDS ?= 60
SOAK_SECONDS ?= 600

BIN := .venv/bin
SOURCES := setup.py pyproject.toml $(wildcard pyserver/*.pyx pyserver/*.pxd pyserver/*.h)
HTTP2_SERVERS := $(patsubst %,tests/http2/test_%.py,attacks conformance descriptors manners reload serving upgrade waiting_requests)
# The tests of the compiled core that start no server.
CORE_TESTS := $(wildcard tests/http tests/websocket tests/connection) tests/test_signals.py \
	$(filter-out $(HTTP2_SERVERS),$(wildcard tests/http2/test_*.py))
SOAK := SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -s -m soak tests/soak
# The directories of tests, those first that take longest; the checks of `make test`, the longest ones first as well.
PARTS := processes engine moving asgi settings arbiter dropin access others
OTHERS := $(filter-out $(PARTS),$(sort $(patsubst tests/%/,%,$(dir $(wildcard tests/*/test_*.py)))))
CHECKS := sanitize $(PARTS:%=test-%) fuzz lint docs
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: help run test lint docs dist sanitize fuzz load loadtest cost soak soak-asan soak-tsan clean

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

run: .venv/ready
	@echo
	@echo "  Open http://$(BIND)/ in a browser; Ctrl-C stops the server."
	@echo
	@$(BIN)/pyserver --workers $(WORKERS) --bind $(BIND) pyserver.demo:application

# What each shows is printed when it is done, for several are done at once.
test: .venv/ready-to-test
	@$(MAKE) --no-print-directory --keep-going --jobs $(JOBS) --output-sync=target FUZZ_SECONDS=10 $(CHECKS)

$(PARTS:%=test-%): test-%: .venv/ready-to-test
	$(BIN)/pytest -q $(if $(filter others,$*),$(wildcard tests/test_*.py) $(wildcard $(OTHERS:%=tests/%)),tests/$*)

lint: .venv/ready-to-test
	$(BIN)/ruff check
	$(BIN)/mypy

docs: .venv/ready-to-test
	@# The warning is about a version of mkdocs that pyproject.toml keeps out.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: .venv/ready-to-test
	rm -rf dist
	DIST=$(CURDIR)/dist $(BIN)/pytest -m packaging

sanitize: build/asan/environment
	env $$(cat $<) $(BIN)/pytest -q --capture=sys $(CORE_TESTS)

fuzz: build/asan/environment
	env $$(cat $<) $(BIN)/python tests/fuzz_http.py --seconds $(FUZZ_SECONDS)
	env $$(cat $<) $(BIN)/python tests/fuzz_websocket.py --seconds $$(($(FUZZ_SECONDS) / 3))
	env $$(cat $<) $(BIN)/python tests/fuzz_proxies.py --seconds $$(($(FUZZ_SECONDS) / 10))
	env $$(cat $<) $(BIN)/python tests/fuzz_hpack.py --seconds $$(($(FUZZ_SECONDS) / 10))

load: .venv/ready-to-load
	PATH=$(CURDIR)/$(BIN):$$PATH loadtests/run --run-time $(LOAD_SECONDS)s

loadtest: .venv/ready-to-load
	$(BIN)/python loadtests/compare.py load --seconds $(COMPARE_SECONDS)
	$(BIN)/python loadtests/compare.py cost

cost: .venv/ready-to-load
	$(BIN)/python loadtests/compare.py cost

soak: .venv/ready-to-test
	$(SOAK) tests/http2

soak-asan soak-tsan: soak-%: build/%/environment
	SOAK_ENVIRONMENT=$< $(SOAK)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache pyserver/*.so
	find pyserver tests loadtests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "pyserver needs Python 3.10 or newer; choose one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || \
		{ echo "Python's C headers are missing; on Debian: apt-get install python3-dev"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || \
		{ echo "a C compiler is missing; on Debian: apt-get install build-essential"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/ready: .venv/created $(SOURCES)
	$(PIP_INSTALL) --editable .
	@touch $@

.venv/ready-to-test: .venv/created $(SOURCES)
	$(PIP_INSTALL) --editable '.[test]'
	@touch $@ .venv/ready

.venv/ready-to-load: .venv/created $(SOURCES)
	$(PIP_INSTALL) --editable '.[load]'
	@touch $@ .venv/ready

# The variables under which Python runs the core that is built with sanitizers; none where there are no sanitizers.
# An interpreter without them has to load their library first. What it leaves behind at its end would be reported as
# leaks, hence detect_leaks=0; its own allocator would hide the bounds of small objects and who frees them, hence
# PYTHONMALLOC. The thread sanitizer knows the interpreter lock as what it is: a mutex and a condition of pthreads.
OPTIONS_asan := ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
OPTIONS_tsan := TSAN_OPTIONS=history_size=7:second_deadlock_stack=1
build/asan/environment build/tsan/environment: build/%/environment: \
		.venv/ready-to-test $(shell find pyserver -name '*.py' -o -name '*.py[ix]' -o -name '*.pxd' -o -name '*.h')
	@mkdir -p $(@D); : >$@.new; \
	library=$$(gcc -print-file-name=lib$*.so 2>/dev/null); \
	if [ -f "$$library" ] && [ -z "$$(LD_PRELOAD=$$library true 2>&1)" ]; then \
		CC=gcc PYSERVER_BUILD=$* $(PIP_INSTALL) --no-deps --upgrade --target $(@D)/site . && \
		echo "LD_PRELOAD=$$library $(OPTIONS_$*) PYTHONMALLOC=malloc PYTHONPATH=$(@D)/site" >$@.new; \
	else \
		echo "There is no gcc with lib$* here: the core is tested without it."; \
	fi && mv $@.new $@
