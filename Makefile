# Tasks of a developer; CONTRIBUTING.md explains them. `make environment` first.
PYTHON := .venv/bin/python
BIN := .venv/bin

.PHONY: environment lint format test faults docs check ci

environment:  ## Make .venv with all that lint, tests and docs need.
	uv venv --allow-existing .venv
	uv pip install --python $(PYTHON) --constraints constraints.txt --editable '.[demo,evaluate,test,lint,docs]'

lint:  ## Style, types and import contracts, in seconds.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format:  ## Format, and mend what ruff can mend.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test:  ## What the README's test command runs.
	$(PYTHON) -m pytest -n 4 --dist loadfile -m "not faults and not slow"

faults:  ## Tests that kill, hang or flood processes, brokers and disks.
	$(PYTHON) -m pytest -n 4 --dist loadfile -m "faults and not slow"

docs:  ## Build the docs site into site/, with warnings as errors.
	$(BIN)/mkdocs build --strict

check: lint docs test faults  ## All of it: do this before a pull request.
	.ci/never

ci:  ## What continuous integration runs, in environments of its own.
	.ci/run
