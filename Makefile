# make run     set up, migrate, start the API and a worker on 127.0.0.1:8000
# make test    set up, check format, lint and types, and run every test
# Others: setup, check, format, docs, answers, clean.

.PHONY: run test setup check format docs answers clean
.DEFAULT_GOAL := run

STAMP := .venv/.ready
BIN := .venv/bin

run: $(STAMP)
	@exec $(BIN)/cellgate serve

test: check
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -q -n 2 $(ARGS)

setup: $(STAMP)

check: $(STAMP)
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy

format: $(STAMP)
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: $(STAMP)
	@$(BIN)/python scripts/settings_page > docs/settings.md

answers: $(STAMP)
	@$(BIN)/python scripts/record_answers

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt scripts/setup
	@scripts/setup
	@touch $@
