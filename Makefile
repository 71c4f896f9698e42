# The first call makes .venv and installs what the target needs; later calls reuse it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
FAISS := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: demo test check bench format picture clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.user: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(FAISS)]"
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	@echo "Installing the development tools; llama-cpp-python is compiled once (about 5 minutes on 2 cores)."
	$(PIP) install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(FAISS),gguf,dev]"
# The CPU build of torch brings no Triton; its interpreter runs the GPU kernels in the tests. Other builds pin their own.
	$(BIN)/python -c "import triton" 2>/dev/null || $(PIP) install --quiet --disable-pip-version-check triton==3.9.0
	@touch $@

demo: $(VENV)/.user
	$(BIN)/loci demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2

# Exactly what CI runs.
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m pytest -n 0 -s -m slow tests/bench

# README's picture of the chat, those of a first visit, which tmux drives, and all of that visit as one film.
picture: $(VENV)/.dev
	$(BIN)/python tests/tui/picture.py docs/img/chat.svg
	$(BIN)/python tests/tui/tour.py docs/img/tour docs/img/session.svg

clean:
	rm -rf $(VENV) build dist *.egg-info
