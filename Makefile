# `make` tells what there is. The work is done by cargo and by integration-tests/tools.

TOOLS := integration-tests/tools
export PATH := $(CURDIR)/.tools/bin:$(PATH):$(HOME)/.cargo/bin
# 0: tear the demo down once it was seen running.
DEMO_KEEP ?= 1
# Each binary by its own build: built together, features of one would reach the others.
BINARIES := edgeio-root edgeio-cluster edgeio-bridge edgeio-worker edgeio-cli

.PHONY: help demo tools test chaos fuzz bench build fmt lint contract clean-tools

help: ## Tell what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Run root, cluster, bridge and worker here and deploy an example (DEMO_KEEP=0: tear down, exit)
	@$(TOOLS)/get-tools demo
	@DEMO_KEEP=$(DEMO_KEEP) $(TOOLS)/demo

tools: ## Get nats-server and grpcurl into .tools/bin
	@$(TOOLS)/get-tools demo

test: ## Check everything: format, lints, contract, dependencies, docs, tests on real parts
	@$(TOOLS)/run-tests

chaos: ## Break the real stack for longer than `make test` does (CHAOS="kills" for a part; EDGEIO_CHAOS_* set counts and seed)
	@$(TOOLS)/run-chaos $(CHAOS)

fuzz: ## Search for input that breaks a parser, 20 s each (FUZZ="manifest bus" for some, FUZZ_SECONDS for longer; needs a nightly Rust)
	@$(TOOLS)/run-fuzz $(FUZZ)

bench: ## Measure: floors, one deployment hop by hop, footprint (BENCH="floors --rounds 3" for a part)
	@$(TOOLS)/get-tools bench
	@$(TOOLS)/start-docker
	@$(MAKE) --no-print-directory build
	cargo run --release --locked -p edgeio-integration-tests --bin edgeio-bench -- $(BENCH)

build: ## Build the release binaries into target/release
	@set -e; for p in $(BINARIES); do echo "== $$p"; cargo build --release --locked -p $$p; done

fmt: ## Format the Rust files
	@cargo fmt --all

lint: ## Lint code, contract and dependencies
	@$(TOOLS)/get-tools test
	cargo clippy --workspace --all-targets -- -D warnings
	buf lint proto
	cargo deny --log-level error check bans licenses sources

contract: ## Renew the committed image of the contract after a compatible change of the .proto files
	@$(TOOLS)/get-tools test
	@$(TOOLS)/update-contract

clean-tools: ## Remove what was downloaded (.tools)
	@$(TOOLS)/stop-docker
	rm -rf .tools
