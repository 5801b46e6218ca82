# `make demo` and `make test` do all the set-up on a machine with Python 3.11 or newer, make and git.

PYTHON ?= python3
CACHE := .cache
UV := $(CACHE)/uv/bin/uv
# The interpreter of this machine is used; nothing is downloaded in its place.
export UV_PYTHON_DOWNLOADS := never
export UV_PYTHON ?= $(shell $(PYTHON) -c 'import sys; print(sys.executable)')

# Some environments say that Python should not keep what it has compiled: then every server that a test starts would
# compile all its libraries again, which takes longer than all else that it does at its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check setup lint types unit docs lock bench clean

demo: setup
	.venv/bin/python -m hayhooks.demo

test: setup
	.venv/bin/python .ci/check.py

setup: .venv/.ready

# The pinned tool is kept in the project, so that the machine's own Python stays as it is.
$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hayhooks needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(CACHE)/uv
	$(CACHE)/uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'

.venv/.ready: $(UV) pyproject.toml uv.lock
	$(UV) sync --quiet --locked
	@touch $@

lint: setup
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/codespell

types: setup
	.venv/bin/mypy

unit: setup
	.venv/bin/pytest -n 2 --dist worksteal

lock: $(UV)
	$(UV) lock --upgrade
	for client in tests/clients/*.in; do \
	  $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --no-annotate --no-header \
	    $$client --output-file $${client%.in}.txt || exit 1; \
	done

bench: setup
	.venv/bin/python -m bench run

clean:
	rm -rf .venv $(CACHE) .mypy_cache .ruff_cache .pytest_cache
