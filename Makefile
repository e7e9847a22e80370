# Lighthouse is built, tested and measured from here; `make help` lists how.

CARGO  ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Naming the machine's own target keeps the flags below from build scripts and macros.
HOST   := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
# One file that needs no library: it runs anywhere, and takes a third less memory at rest.
STATIC := -C target-feature=+crt-static
BENCH  ?= ../shared/bench
PEER   ?= docker-registry-2.8

# Installs the Debian packages $(2) where the program $(1) is missing: as root, else it says how.
need = command -v $(1) >/dev/null || { \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
	else \
		echo "$(1) is missing; install it and try again: apt-get install $(2)" >&2; exit 1; \
	fi; }

.PHONY: all run test soak clients bench deny clean help tools

all: bin/registry ## Build bin/registry (the default)

# Cargo knows what is stale; the binary is replaced whole, so a running one is never written to.
.PHONY: bin/registry
bin/registry: tools
	RUSTFLAGS='$(STATIC)' $(CARGO) build --release --locked --target $(HOST) --bin registry
	@mkdir -p bin
	@if ! cmp -s $(TARGET)/$(HOST)/release/registry $@; then \
		cp $(TARGET)/$(HOST)/release/registry $@.new && mv -f $@.new $@; \
	fi

run: bin/registry ## Build, then serve config.yml
	bin/registry serve config.yml

# Installs $(2) where $(1) is missing and that is possible; what needs it is skipped elsewhere.
want = command -v $(1) >/dev/null || ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ] || { \
	apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); }

test: tools ## Check the format, lint, and run every test a fresh machine can run
	@$(call want,docker-registry,docker-registry)
	@$(call want,strace,strace)
	@$(call want,mkfs.xfs,xfsprogs)
	@$(call want,mkfs.btrfs,btrfs-progs)
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO) test --locked

soak: tools ## Fail every call of the disk, race and kill for long (as root; an hour or so)
	@$(call want,strace,strace)
	@$(call want,mkfs.xfs,xfsprogs)
	@$(call want,mkfs.btrfs,btrfs-progs)
	FAULTS=all RACE_ROUNDS=40 MODEL_STEPS=5000 \
		$(CARGO) test --locked --test registry -- --nocapture every_call_fails races seeded

clients: bin/registry ## Walk docker, containerd, podman and others through it (as root, Debian)
	tests/tools/install $(filter-out install kubo,$(notdir $(wildcard tests/tools/*)))
	tests/clients/run

deny: tools ## Check licenses, duplicates and sources of the dependencies
	@command -v cargo-deny >/dev/null || $(CARGO) install --quiet --locked cargo-deny
	$(CARGO) deny --locked check --hide-inclusion-graph bans licenses sources

bench: bin/registry ## Hold bin/registry against Debian's docker-registry (BENCH_ARGS=… for a part)
	@test -f $(BENCH)/compare.py || { \
		echo "the benchmark is not in $(BENCH); say where: make bench BENCH=…" >&2; exit 1; }
	@$(call need,docker-registry,docker-registry)
	@$(call need,wrk,wrk)
	@bench=$$(mktemp -d) && trap 'rm -rf "$$bench"' EXIT && \
	cp -r $(BENCH)/. "$$bench" && chmod -R u+w "$$bench" && \
	sed -i 's|"bin/registry"|"$(CURDIR)/bin/registry"|' "$$bench/peers.toml" && \
	$(CARGO) build --release --locked --quiet \
		--manifest-path "$$bench/loadgen/Cargo.toml" --target-dir "$$bench/loadgen/target" && \
	python3 "$$bench/compare.py" --work "$$bench/stores" $(BENCH_ARGS) lighthouse $(PEER)

clean: ## Remove what was built, and nothing that was pushed
	$(CARGO) clean
	rm -rf bin

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A dependency that speaks TLS compiles some C.
tools:
	@command -v $(CARGO) >/dev/null || { \
		echo "cargo is missing; install Rust and try again: https://rustup.rs" >&2; exit 1; }
	@$(call need,cc,gcc libc6-dev)
