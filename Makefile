# The targets are CI's steps, under the same names; `make check` runs them all.
# Needs: cargo (Rust 1.89 or newer), node 20 or newer with npm. Redis and Chromium, which only the tests need, are
# installed from Debian's packages where they are missing.

CLIENT := clients/typescript
AJV    := tests/ajv
PEERS  := benches/peers
CARGO  ?= cargo
# The tests wait for servers more than they compute: more of them at once than there are cores.
TEST_THREADS ?= 8

.DEFAULT_GOAL := help
# A missing toolchain gets a sentence, not a "not found".
ifeq ($(shell command -v $(firstword $(CARGO)) 2>/dev/null),)
ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
$(error cargo is missing: install Rust 1.89 or newer from https://rustup.rs)
endif
endif

.PHONY: help run build release test test-rust test-client test-ajv soak million lint fmt generate check setup setup-client setup-bench bench bench-report bench-micro clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

run: release ## build and start the daemon on the in-process broker
	target/release/tidings serve

build: ## the debug binary
	$(CARGO) build --locked

release: ## the release binary, target/release/tidings
	$(CARGO) build --locked --release

check: lint test ## everything that CI does

test: setup test-rust test-ajv test-client ## all tests, with real Redis servers, real sockets, a real browser

test-rust: build
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked

test-ajv: build setup-client
	node $(AJV)/check.mjs

test-client: build setup-client
	cd $(CLIENT) && npm run check

# How long `make soak` breaks things, at least once each: make soak MINUTES=60
MINUTES ?= 15

soak: setup build ## the long form of the fault suite, rounds of it with other seeds, and a table of figures (15 minutes)
	CARGO="$(CARGO)" scripts/soak $(MINUTES)

million: ## one million events to 100 subscribers through Redis (minutes)
	TIDINGS_TEST_EVENTS=1000000 TIDINGS_TEST_SUBSCRIBERS=100 $(CARGO) test --locked --release --test it -- --nocapture every_subscriber_has_every_event

# What `make bench` measures, all where nothing is named, and how often: make bench BENCH="backlog idle" ROUNDS=5
BENCH  ?=
ROUNDS ?= 3

bench: setup-bench ## measure tidings beside the floor and its peers (20 minutes); BENCH="backlog idle" for some of it
	ulimit -n $$(ulimit -Hn) && $(CARGO) bench --locked --bench fanout -- --rounds $(ROUNDS) $(BENCH)

bench-report: ## write what was measured last into docs/performance.md
	$(CARGO) bench --locked --bench fanout -- report

bench-micro: ## what the parts of an event's way cost, each by itself; ONLY=index those whose name has that
	$(CARGO) bench --locked --bench micro -- $(ONLY)

lint: build ## formatting, clippy, documentation, generated files
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) check --locked --no-default-features
	$(CARGO) check --locked --no-default-features --features server
	$(CARGO) check --locked --no-default-features --features server,file
	$(CARGO) check --locked --no-default-features --features server,redis
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	target/debug/tidings schema export --out schemas --check
	target/debug/tidings codegen typescript --out $(CLIENT)/src/generated --check
	target/debug/tidings codegen protocol --out $(CLIENT)/src/generated --check
	scripts/imports --check

fmt: ## format the Rust code
	$(CARGO) fmt

generate: build ## write the generated files: schemas/ and the client's types
	target/debug/tidings schema export --out schemas
	target/debug/tidings codegen typescript --out $(CLIENT)/src/generated
	target/debug/tidings codegen protocol --out $(CLIENT)/src/generated
	target/debug/tidings codegen typescript --schemas $(CLIENT)/test/own --out $(CLIENT)/test/own

setup: setup-client ## install what the tests need
	scripts/setup redis-server chromium

setup-client: $(CLIENT)/node_modules/.package-lock.json $(AJV)/node_modules/.package-lock.json

setup-bench: $(PEERS)/node_modules/.package-lock.json ## install what the benchmark compares tidings with
	scripts/setup redis-server nginx libnginx-mod-nchan nats-server

%/node_modules/.package-lock.json: %/package-lock.json
	scripts/setup npm
	cd $* && npm ci --no-audit --no-fund

clean: ## remove what was built
	$(CARGO) clean
	rm -rf $(CLIENT)/node_modules $(CLIENT)/dist $(AJV)/node_modules $(PEERS)/node_modules
