# The front door. `make` alone says what there is.

CARGO ?= cargo
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench availability malformed release install-tools build-tools test-tools cargo

help: ## show this list
	@echo 'graygate: an edge proxy that decides, for every request, which version of a service answers it'
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS=$$'\t' read -r target what; do printf '  make %-14s %s\n' "$$target" "$$what"; done

demo: cargo build-tools ## build, then run the proxy with sample documents and three upstreams
	$(CARGO) run --locked -- demo

test: cargo build-tools test-tools ## run every test
	$(CARGO) test --locked --no-fail-fast

lint: cargo build-tools ## check the format and the lints; warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

bench: cargo build-tools ## measure decisions, lists and parsing
	$(CARGO) bench --locked

availability: cargo build-tools ## measure what users notice of each fault of a gray version
	@mkdir -p loadtest/results
	GRAYGATE_AVAILABILITY=$(CURDIR)/loadtest/results/availability.md \
		$(CARGO) test --locked --test faults availability
	@cat loadtest/results/availability.md

malformed: cargo build-tools ## write what each malformed request gets
	GRAYGATE_MALFORMED=$(CURDIR)/loadtest/results/malformed.md \
		$(CARGO) test --locked --test edge nothing_malformed
	@cat loadtest/results/malformed.md

release: cargo build-tools ## build target/release/graygate
	$(CARGO) build --release --locked

install-tools: ## install the Debian packages that building, tests and load need, where they are missing
	@.ci/install-tools

# Only what the target at hand needs: nobody without a load generator is kept from the demo.
build-tools:
	@.ci/install-tools build

test-tools:
	@.ci/install-tools test

# Said before anything is installed: without a compiler the packages help nobody.
cargo:
	@command -v $(CARGO) >/dev/null || { \
		echo '$(CARGO) is not installed. Rust comes from https://rustup.rs:' >&2; \
		echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; \
		echo 'Open a new shell afterwards, or run: . "$$HOME/.cargo/env"' >&2; \
		exit 1; \
	}
