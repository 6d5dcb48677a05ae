# One command per need; `make help` lists them. Everything a target needs is installed by tests/support/scripts/install, which says so first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run demo test load acceptance acceptance-fresh lint sqlx tools check-deploy clean-data

export CARGO_TERM_COLOR ?= auto
target := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
scripts := tests/support/scripts
AREA ?= all
SCENARIO ?= assign
OPTIONS ?=

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

run: ## Install what is missing, build, and run the whole of Hilo on this machine (data in .hilo/; Ctrl-C stops it)
	@$(scripts)/run

demo: ## Three customers, two agents, real mail in and out, printed from what arrived (a private stack unless one runs)
	@$(scripts)/install demo
	@$(scripts)/phase build -- cargo build --locked -p hilo
	@$(target)/debug/hilo demo

test: ## Every test, on real PostgreSQL, nats-server, Dovecot and SMTP
	@$(scripts)/phase install -- $(scripts)/install test
	@$(scripts)/phase contracts -- .hilo/tools/venv/bin/buf lint proto
	@$(scripts)/phase deploy -- deploy/check
	@$(scripts)/phase tests -- cargo test --workspace --locked --no-fail-fast
	@$(scripts)/phase demo -- $(target)/debug/hilo demo --private

load: ## Measure a scenario with release binaries (SCENARIO=assign, burst, cycles, …; OPTIONS="--for 30"; tests/README.md)
	@$(scripts)/install run
	@$(scripts)/phase build -- cargo build --release --locked -p hilo -p hilo-load
	@$(target)/release/hilo-load $(SCENARIO) $(OPTIONS)

acceptance: ## Check every promised line with release binaries on private stacks (AREA=path, main, whatsapp or routing; all without it)
	@$(scripts)/install test
	@$(scripts)/phase build -- cargo build --release --locked -p hilo -p hilo-acceptance
	@$(scripts)/phase engine -- cargo build --release --locked -p hilo-routing --example engine_bench
	@$(target)/release/hilo-acceptance $(AREA)

acceptance-fresh: ## Record the rows that need a fresh machine (needs root; see tests/README.md)
	@$(scripts)/phase build -- cargo build --release --locked -p hilo -p hilo-acceptance
	@$(target)/release/hilo-acceptance fresh

lint: ## Formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

sqlx: ## Write each service's .sqlx anew after a change of SQL or migrations
	@$(scripts)/install run
	@for service in email-ingest whatsapp-ingest attention-state history; do $(scripts)/sqlx-prepare $$service || exit 1; done

tools: ## Install everything any target needs, build nothing
	@$(scripts)/install test

check-deploy: ## Render deploy/ and validate it offline
	@$(scripts)/install test
	@deploy/check

clean-data: ## Delete the local data in .hilo/ (asks first; installed tools stay)
	@$(scripts)/clean-data
