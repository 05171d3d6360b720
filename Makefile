# The targets are CI's steps, under the same names; `make check` runs them all.
# Needs: cargo (Rust 1.89 or newer), and for the tests Node 20 or newer with npm and Python 3.10 or newer. `make setup` installs the
# rest.

CLIENT := clients/typescript
PYTHON_CLIENT := clients/python
AJV    := tests/ajv
JOSE   := tests/jose
HOOKS  := tests/webhooks
OTHERS := tests/generators
PEERS  := benches/peers
COHERENCE := tests/coherence
UPSTASH := tests/upstash
NEXT   := tests/next
SINKS  := tests/sinks
MIGRATION := examples/migration
SHOP   := examples/shop
CONSOLE := ./console
CARGO  ?= cargo
# The tests wait for servers more than they compute: more of them at once than there are cores.
TEST_THREADS ?= 8

# What the targets need besides cargo and node; scripts/setup says what an item can be.
FOR_LINT   := cargo-deny@0.20.2 cargo-machete@0.9.2 scripts/lychee.txt
FOR_DOCS   := mdbook@0.5.4 scripts/lychee.txt
FOR_CLIENT := $(CLIENT) $(CLIENT)/test/react18 $(AJV)
FOR_COHERENCE := redis-server $(COHERENCE)
FOR_CONSOLE := chromium nginx $(CLIENT) $(CONSOLE)
FOR_SHOP   := redis-server chromium $(SHOP)
FOR_OTHERS := $(OTHERS) $(OTHERS)/generators.txt
FOR_PYTHON := tests/python/clients.txt tests/python/sseclient-py.txt
FOR_PYTHON_CLIENT := redis-server openssl $(PYTHON_CLIENT)/python-client.txt $(PYTHON_CLIENT)/typecheck
FOR_OPENAPI := tests/openapi/openapi.txt
FOR_UPSTASH := $(UPSTASH) $(UPSTASH)/upstash.txt
FOR_BROKERS := redis-server tests/brokers/valkey-8.txt tests/brokers/redis-6.2.txt $(FOR_UPSTASH)
FOR_TESTS  := redis-server chromium nginx haproxy caddy prometheus $(FOR_UPSTASH) $(FOR_PYTHON) $(FOR_PYTHON_CLIENT) $(FOR_OPENAPI) $(FOR_CLIENT) $(FOR_OTHERS) $(JOSE) $(HOOKS) $(COHERENCE) $(CONSOLE) $(SINKS) $(MIGRATION)
FOR_FUZZ   := cargo-fuzz@0.13.2
FOR_BENCH  := redis-server nginx libnginx-mod-nchan $(PEERS)/nats-server.txt $(PEERS)

# How the Python client's checks run: with the packages of target/python, and nothing installed.
PYTHON_PATH := PYTHONPATH=$(CURDIR)/target/python/python-client:src
IN_PYTHON   := $(PYTHON_PATH) python3 -m

SETUP := CARGO="$(CARGO)" scripts/setup

.DEFAULT_GOAL := help
# A missing toolchain gets a sentence, not a "not found".
ifeq ($(shell command -v $(firstword $(CARGO)) 2>/dev/null),)
ifneq ($(filter-out help clean,$(or $(MAKECMDGOALS),help)),)
$(error cargo is missing: install Rust 1.89 or newer from https://rustup.rs)
endif
endif

# Steps share target/ and node_modules/: `make -j` takes one after another all the same.
.NOTPARALLEL:

# No target is a file.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## this list
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))

##@ Build and run

run: release ## build and start the daemon on the in-process broker
	target/release/tidings serve

example-shop: release build-client setup-shop ## build and start the shop of examples/shop; BROKER=redis://127.0.0.1:6379 PORT=7480
	cd $(SHOP) && exec node --import tsx run/start.ts

build: ## the debug binary, target/debug/tidings
	$(CARGO) build --locked

release: ## the release binary, target/release/tidings
	$(CARGO) build --locked --release

build-client: setup-client ## the TypeScript client, clients/typescript/dist
	cd $(CLIENT) && npm run build

##@ Check a change

setup: ## install what lint and the tests need, and say what that is first
	@$(SETUP) $(FOR_LINT) $(FOR_TESTS)

check: setup first-tries lint test ## everything that CI does
	@cat target/second-tries 2>/dev/null || true

first-tries:
	@rm -f target/second-tries

lint: setup-lint build ## formatting, clippy, documentation, dependencies, generated files, links of the documents
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings
	$(CARGO) clippy --locked --no-default-features --features cache-redis -- -D warnings
	$(CARGO) clippy --locked --no-default-features --features server -- -D warnings
	$(CARGO) clippy --locked --no-default-features --features server,file -- -D warnings
	$(CARGO) clippy --locked --no-default-features --features server,redis -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	CARGO="$(CARGO)" scripts/lint-dependencies
	target/debug/tidings schema export --out schemas --check
	target/debug/tidings codegen typescript --out $(CLIENT)/src/generated --check
	target/debug/tidings codegen protocol --out $(CLIENT)/src/generated --check
	target/debug/tidings codegen openapi --out schemas --check
	target/debug/tidings codegen asyncapi --out schemas --check
	scripts/imports --check
	target/python/lychee/bin/lychee --offline --include-fragments --no-progress --quiet $$(git ls-files '*.md')

test: setup-test test-rust test-ajv test-generators test-openapi test-client test-python-client test-console test-coherence test-sinks test-migration ## all tests, with real Redis servers, real sockets, a real browser

test-rust: build ## the Rust tests alone
	RUST_TEST_THREADS=$(TEST_THREADS) scripts/again $@ $(CARGO) test --locked --no-fail-fast

check-brokers: setup-brokers ## the tests of the brokers over Redis 6.2 and 7.0, Valkey 8, profiles of other servers, and Upstash's REST interface; ARGS=valkey
	TEST_THREADS=$(TEST_THREADS) CARGO="$(CARGO)" scripts/check-brokers $(ARGS)

test-ajv: build setup-client ## the daemon's verdicts beside those of an independent validator
	node $(AJV)/check.mjs

test-generators: build setup-generators ## code generators of other projects over the exported schemas and the OpenAPI and AsyncAPI documents, and their lint
	node $(OTHERS)/check.mjs

test-openapi: build setup-openapi ## the daemon beside its OpenAPI document, fuzzed by schemathesis; ARGS="--include-path /v1/events"
	PYTHONPATH=$(CURDIR)/target/python/openapi python3 tests/openapi/check.py $(ARGS)

test-client: build setup-client ## the TypeScript client's build, types, package and tests
	cd $(CLIENT) && $(CURDIR)/scripts/again $@ npm run check

test-python-client: build setup-python-client ## the Python client: types, lint, and tests; ARGS="-k resume"
	cd $(PYTHON_CLIENT) && $(IN_PYTHON) ruff format --check && $(IN_PYTHON) ruff check --quiet
	cd $(PYTHON_CLIENT) && $(IN_PYTHON) mypy && $(PYTHON_PATH) node typecheck/node_modules/pyright/index.js --pythonpath $$(command -v python3)
	cd $(PYTHON_CLIENT) && $(PYTHON_PATH) $(CURDIR)/scripts/again $@ python3 -m pytest --numprocesses $(TEST_THREADS) $(ARGS)

test-console: build setup-console ## whether console/dist is what the sources build; the console in a browser; screenshots in target/console
	cd $(CONSOLE) && $(CURDIR)/scripts/again $@ npm run check

test-next: build-client build setup-next ## the adapter for Next.js: an application built once and run twice, beside a control; takes 3 minutes
	cd $(NEXT) && node --test --test-reporter=spec check.test.mjs

test-walk: build setup-client ## docs/live-page.md done as it stands there with Vite in a browser; npm from the registry; takes a minute
	@$(SETUP) chromium
	node --test --test-reporter=spec tests/walk/walk.test.mjs

test-coherence: build-client build build-coherence setup-coherence ## the short form of `make coherence`: planted bugs, and the near caches under a few faults
	cd $(COHERENCE) && $(CURDIR)/scripts/again $@ node --test short.test.mjs

test-sinks: build setup-test ## sinks beside Cloudflare KV as miniflare runs it, with the example Worker
	cd $(SINKS) && $(CURDIR)/scripts/again $@ node --test --test-reporter=spec check.test.mjs

test-migration: build build-client setup-test ## the commands of docs/migration.md, step by step, while it counts what every reader gets
	cd $(MIGRATION) && $(CURDIR)/scripts/again $@ node --test --test-reporter=spec check.test.mjs

test-shop: build build-client ## the shop of examples/shop, with a customer and a clerk in a browser, while its parts are killed
	@$(SETUP) $(FOR_SHOP)
	target/debug/tidings codegen typescript --config $(SHOP)/tidings.toml --schemas $(SHOP)/types --out $(SHOP)/shared/generated --check
	cd $(SHOP) && npm run check

##@ Change files

fmt: ## format the Rust code
	$(CARGO) fmt

generate: build setup-python-client ## write the generated files: schemas/ with the documents of the interface, and the clients' types
	target/debug/tidings schema export --out schemas
	target/debug/tidings codegen typescript --out $(CLIENT)/src/generated
	target/debug/tidings codegen protocol --out $(CLIENT)/src/generated
	target/debug/tidings codegen openapi --out schemas
	target/debug/tidings codegen asyncapi --out schemas
	target/debug/tidings codegen typescript --schemas $(CLIENT)/test/own --config $(CLIENT)/test/own/tidings.toml --out $(CLIENT)/test/own
	target/debug/tidings codegen typescript --config $(SHOP)/tidings.toml --schemas $(SHOP)/types --out $(SHOP)/shared/generated
	target/debug/tidings schema export --schemas $(CLIENT)/test/own --out target/python/own-schemas
	cd $(PYTHON_CLIENT) && $(IN_PYTHON) tidings_client.codegen --schemas ../../schemas --out src/tidings_client/types.py
	cd $(PYTHON_CLIENT) && $(IN_PYTHON) tidings_client.codegen --schemas ../../target/python/own-schemas --out test/own_types.py

console: setup-console ## build the console, console/dist; then build the daemon, which embeds it
	cd $(CONSOLE) && npm run build

record: release ## record `tail --forward-to`, `top` and `doctor` at a terminal again, into docs/command-line.md
	@$(SETUP) tmux redis-server
	TIDINGS_BIN=$(CURDIR)/target/release/tidings scripts/record

docs: setup-docs ## the site of the documents, target/site/index.html, with a search; each link within it is checked
	scripts/site

clean: ## remove what was built, and the npm packages
	$(CARGO) clean
	rm -rf $(PYTHON_CLIENT)/typecheck/node_modules $(CLIENT)/node_modules $(CLIENT)/test/react18/node_modules $(CLIENT)/dist $(AJV)/node_modules $(OTHERS)/node_modules $(JOSE)/node_modules $(HOOKS)/node_modules $(COHERENCE)/node_modules $(CONSOLE)/node_modules $(NEXT)/node_modules $(NEXT)/.next $(SHOP)/node_modules $(PEERS)/node_modules

##@ Long suites and benchmarks

# How long `make soak` breaks things, at least once each: make soak MINUTES=60
MINUTES ?= 15

soak: setup-test build ## the long form of the fault suite, in rounds with other seeds; MINUTES=15
	CARGO="$(CARGO)" scripts/soak $(MINUTES)

# What `make conformance` runs, all without: make conformance CASES="6.* 7.*"
CASES ?=

conformance: ## the WebSocket suite Autobahn|Testsuite; needs Python 2.7, takes minutes; CASES="6.* 7.*" for a part
	$(CARGO) build --locked --example conformance-echo
	python3 tests/conformance/check.py $(CASES)

# How long `make fuzz` runs each target, and which, all without: make fuzz SECONDS=600 TARGET="jwt grants"
SECONDS ?= 60
TARGET  ?=

fuzz: ## the fuzz targets, each for SECONDS=60 after a build of minutes; TARGET="jwt grants" for some of them
	@$(SETUP) $(FOR_FUZZ)
	CARGO="$(CARGO)" scripts/fuzz $(SECONDS) $(TARGET)

million: setup-test ## one million events to 100 subscribers through Redis; takes minutes
	TIDINGS_TEST_EVENTS=1000000 TIDINGS_TEST_SUBSCRIBERS=100 $(CARGO) test --locked --release --test it -- --nocapture every_subscriber_has_every_event

# What `make bench` measures, all where nothing is named, and how often: make bench BENCH="backlog idle" ROUNDS=5
BENCH  ?=
ROUNDS ?= 3

# What `make coherence` compares, under which faults, all where nothing is named: make coherence SYSTEMS="tidings" FAULTS="cut stop"
SYSTEMS ?=
FAULTS  ?=
SEED    ?=

coherence: build-client build build-coherence setup-coherence ## count stale reads of the near caches and of others under faults; takes 15 minutes; SYSTEMS= FAULTS= SEED=
	cd $(COHERENCE) && SYSTEMS="$(SYSTEMS)" FAULTS="$(FAULTS)" SEED="$(SEED)" node run.mjs

setup-bench: ## install what the benchmark compares tidings with
	@$(SETUP) $(FOR_BENCH)

bench: setup-bench ## measure tidings beside its peers; takes an hour; BENCH="backlog idle" for a part, ROUNDS=3
	ulimit -n $$(ulimit -Hn) && $(CARGO) bench --locked --bench fanout -- --rounds $(ROUNDS) $(BENCH)

bench-report: ## write the last measurements into docs/performance.md
	$(CARGO) bench --locked --bench fanout -- report

bench-console: release setup-console ## the console beside 10,000 events a second: its frames, and the daemon's deliveries with and without it; ROUNDS=5
	cd $(CONSOLE) && TIDINGS_BIN=$(CURDIR)/target/release/tidings CONSOLE_BENCH=1 ROUNDS=$(ROUNDS) npx vitest run

bench-micro: ## measure single parts; ONLY=index for those with that in their name
	$(CARGO) bench --locked --bench micro -- $(ONLY)

bench-tags: ## the memory of the near cache in Rust over 10 million tags; takes a minute
	$(CARGO) bench --locked --bench tags

# Parts of `make setup`, for the targets that need no more.
setup-lint:
	@$(SETUP) $(FOR_LINT)

setup-docs:
	@$(SETUP) $(FOR_DOCS)

setup-test:
	@$(SETUP) $(FOR_TESTS)

setup-client:
	@$(SETUP) $(FOR_CLIENT)

build-coherence:
	$(CARGO) build --locked --example coherence-cache

setup-brokers:
	@$(SETUP) $(FOR_BROKERS)

setup-coherence:
	@$(SETUP) $(FOR_COHERENCE)

setup-next:
	@$(SETUP) $(NEXT)

setup-console:
	@$(SETUP) $(FOR_CONSOLE)

setup-shop:
	@$(SETUP) $(SHOP)

setup-generators:
	@$(SETUP) $(FOR_OTHERS)

setup-python-client:
	@$(SETUP) $(FOR_PYTHON_CLIENT)

setup-openapi:
	@$(SETUP) $(FOR_OPENAPI)
