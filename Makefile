# Every target does its own set-up; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

.venv/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.PHONY: setup
setup: .venv/.installed ## create .venv with the locked dependencies

.PHONY: demo
demo: setup ## a mesh on this machine; CHECK=1 stops after the checks
	$(BIN)/istiod-lite demo $(if $(CHECK),--check)

.PHONY: serve
serve: setup ## serve the bookinfo example
	$(BIN)/istiod-lite serve --files examples/bookinfo --plaintext

.PHONY: test
test: setup ## every test that needs only what setup installs
	$(BIN)/python -m pytest

.PHONY: test-kube
test-kube: setup ## what needs a real API server: KUBEBUILDER_ASSETS or KUBECONFIG
	$(BIN)/python -m pytest -m kube

.PHONY: test-browser
test-browser: setup ## the page in Chromium: CHROMIUM says where it is, ISTIOD_LITE_SCREENSHOTS keeps pictures
	$(BIN)/python -m pytest -m browser

PAGES := api commands metrics problems settings

.PHONY: check
check: setup ## lint, types, layers, generated files
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_protos.py --check
	set -e; for page in $(PAGES); do $(BIN)/python scripts/document_$$page.py --check; done

.PHONY: format
format: setup ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: setup ## repeatable benchmarks, as JSON lines
	$(BIN)/python -m tests.bench

.PHONY: protos
protos: setup ## regenerate controlplane/pb from api/protos
	$(BIN)/python scripts/generate_protos.py

.PHONY: docs
docs: setup ## regenerate the tables of docs/ that the code says
	set -e; for page in $(PAGES); do $(BIN)/python scripts/document_$$page.py; done

LOCK := $(BIN)/pip-compile --generate-hashes --no-emit-index-url --no-emit-find-links \
  --no-emit-options --no-header --no-annotate --allow-unsafe --strip-extras -q

.PHONY: lock
lock: setup ## resolve the dependencies anew: requirements.lock, and the image's parts of it
	$(LOCK) --upgrade --extra dev --extra lab -o requirements.lock pyproject.toml
	$(LOCK) -c requirements.lock -o requirements.runtime.lock pyproject.toml
	$(LOCK) -c requirements.lock --extra tracing -o requirements.tracing.lock pyproject.toml
	$(LOCK) -c requirements.lock --only-build-deps --build-deps-for wheel \
	  -o requirements.build.lock pyproject.toml

HELM ?= helm

.PHONY: chart
chart: setup ## lint the chart and render what tests compare; HELM says which helm
	$(HELM) lint charts/istiod-lite
	HELM="$(HELM)" $(BIN)/python scripts/render_chart.py

.PHONY: wheel
wheel: setup ## build the wheel into dist/
	$(BIN)/python -m hatchling build -t wheel

.PHONY: clean
clean: ## remove what the targets made
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
