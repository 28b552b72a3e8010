# make demo   the environment, a network trained on real images, its report      make test   the environment and the whole suite
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup web page demo test check test-all lint parity bench bench-accuracy docs wheel wheel-test clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The first interpreter that is new enough; `make setup PYTHON=...` chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
RUN := runs/demo-$(shell date +%Y%m%d-%H%M%S)
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8

help:
	@echo "make demo       install into $(VENV), train on the embedded images, evaluate, write the report"
	@echo "make test       install, lint, types, layers and the whole suite: what CI runs"
	@echo "make check      lint, types, layers and the fast tests"
	@echo "make test-all   every variant and every fault, without a time limit"
	@echo "make parity     every network against torchvision's and timm's, in an environment of its own"
	@echo "make web        the studio's page (takes Node.js, or gets it as a Python package)"
	@echo "make setup      the environment alone        make docs        API pages under docs/api"
	@echo "make bench      beside peers (hours)         make wheel-test  the wheel in an empty environment"

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "striate needs Python 3.11 or newer; none was found. Install one, or: make setup PYTHON=/path/to/python3"; exit 2; }
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "$(PYTHON) cannot create environments. On Debian and Ubuntu: apt install python3-venv"; exit 2; }
	@echo "installing into $(VENV) (a few minutes the first time)"
	@$(PIP) install -qq -c constraints.txt -e '.[dev]'
	@touch $@

# The studio's page. Without Node.js, and without a way to it, all else works: see the remark it prints.
web: setup
	@$(BIN)/python tools/studio_page.py

page: setup
	@$(BIN)/python tools/studio_page.py --if-possible

demo: setup page
	$(BIN)/striate train demo:fashion --budget 90s --out $(RUN)
	$(BIN)/striate evaluate $(RUN)/model.safetensors demo:fashion
	@echo "the report: $(CURDIR)/$(RUN)/report.html"
	@echo "the studio: $(BIN)/striate studio"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(PYTEST) -m "not slow"

test: lint page
	@tools/browser.sh
	@tools/ort_web.sh
	$(PYTEST)

test-all: lint page
	@tools/browser.sh
	@tools/ort_web.sh
	STRIATE_TEST_ALL=1 $(PYTEST)

# Beside the project's own environment, whose packages it reads: these two alone are new, without what they would bring along.
PARITY := .venv-parity
PURELIB := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'

$(PARITY)/installed: $(VENV)/installed Makefile
	@rm -rf $(PARITY) && $(BIN)/python -m venv $(PARITY)
	@$(BIN)/python $(PURELIB) > "$$($(PARITY)/bin/python $(PURELIB))/project.pth"
	@$(PARITY)/bin/python -m pip --disable-pip-version-check install -qq --no-deps torchvision==0.28.0 timm==1.0.31
	@touch $@

parity: setup $(PARITY)/installed
	$(PARITY)/bin/python -m pytest tests/parity

# Full data sets: downloaded where there is a network, else `make bench MNIST=mnist:FOLDER FASHION=fashion:FOLDER`. PHOTOS: a folder of
# any photos, which JPEGs of stated size are made of; without it, what needs photos is left out.
# IMAGENET: photos whose names hold their wnids, by which what predicts is judged.
MNIST ?= mnist:
FASHION ?= fashion:
PHOTOS ?=
IMAGENET ?=

# Side by side with peers, some hours on two cores; a stopped one goes on where it was. See benchmarks/README.md.
bench: setup
	$(BIN)/python -m benchmarks.train_small $(FASHION) --model fashion_cnn --calibrate-epochs
	$(BIN)/python -m benchmarks.train_small $(FASHION) --model fashion_cnn
	$(BIN)/python -m benchmarks.train_small $(MNIST) --model lenet5 --calibrate-epochs
	$(BIN)/python -m benchmarks.train_small $(MNIST) --model lenet5
	$(BIN)/python -m benchmarks.train_large $(if $(PHOTOS),--photos $(PHOTOS))
	$(if $(PHOTOS),$(BIN)/python -m benchmarks.input --photos $(PHOTOS) --waiting,@echo "benchmarks.input needs photos: make bench PHOTOS=FOLDER")
	$(BIN)/python -m benchmarks.scale
	$(if $(IMAGENET),$(BIN)/python -m benchmarks.infer --imagenet $(IMAGENET),@echo "benchmarks.infer needs labelled photos: make bench IMAGENET=FOLDER")

bench-accuracy: setup
	$(BIN)/python -m benchmarks.accuracy $(MNIST) --model lenet5 --out runs/bench/lenet5
	$(BIN)/python -m benchmarks.accuracy $(FASHION) --model fashion_cnn --out runs/bench/fashion_cnn
	$(BIN)/striate train $(MNIST) --model lenet5 --recipe mlp --out runs/bench/lenet5-plain
	$(BIN)/striate train $(MNIST) --model mlp --out runs/bench/mlp-plain
	$(BIN)/python -m benchmarks.shift $(MNIST) runs/bench/mlp-plain runs/bench/lenet5-plain

docs: setup
	$(BIN)/python tools/api_pages.py docs/api

wheel: setup web
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation

wheel-test: wheel
	tools/wheel_test.sh "$(PYTHON)" dist/*.whl

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
