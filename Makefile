# The two commands of the README are `make demo` and `make test`.

CARGO ?= cargo
ARGS ?=

# What is built static is built for this machine by name, so that build scripts and procedural macros,
# which can't be static, are left as they are.
TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')

# Faults for tests of crashes, of the tests themselves, and of what fuzzing found.
FAULTS := quorate/failpoints,quorate/planted,quorate/fuzzing

.PHONY: demo test static short faults simulation jepsen soak bench scale build fmt image

## A cluster that outlives its leader and a container; ARGS=--once to end by itself.
demo: build
	target/release/quorate demo $(ARGS)

## Everything that has to hold; nothing is skipped where CI is set. What is compiled without a feature is seen by clippy
## with another one.
test:
	@.ci/prepare test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked --features $(FAULTS) -- -D warnings
	$(CARGO) clippy --workspace --test simulation --locked --features quorate/simulation -- -D warnings
	$(MAKE) static
	@# Tests wait a lot: there are more of them than processors.
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "$(CARGO) nextest run"; \
		NEXTEST_TEST_THREADS=$${NEXTEST_TEST_THREADS:-$$(($$(nproc) * 3 / 2))} \
			.ci/cargo nextest run --no-fail-fast $(ARGS); \
	else \
		echo "$(CARGO) test (cargo-nextest, which is not installed, gives tests that measure the machine for themselves)"; \
		.ci/cargo test --no-fail-fast $(ARGS); \
	fi
	$(MAKE) short
	.ci/planted
	$(MAKE) simulation

## The programs as the tests have them, and the one that tests bring into containers.
static:
	.ci/cargo build --bins --tests
	mkdir -p target/static
	strip --strip-debug -o target/static/quorate target/$(TARGET)/debug/quorate

## A few fault sets with every workload, against managers built as the tests are.
short:
	.ci/cargo build --bins --tests
	target/$(TARGET)/debug/jepsen matrix --quick --store target/jepsen

## Crashes between any two steps, and bugs planted to see that they are caught.
faults:
	.ci/cargo test --no-fail-fast --test failpoints --test planted --test fuzzed
	.ci/planted

## The whole cluster on a simulated clock, network and disk; SEEDS=3000 for more, SEED=17 for one.
simulation:
	RUSTFLAGS="--cfg tokio_unstable" SEEDS=$(SEEDS) FROM=$(FROM) SEED=$(SEED) TICKS=$(TICKS) \
		$(CARGO) test --profile simulation --workspace --features quorate/simulation --test simulation --locked \
		-- --nocapture $(ARGS)

## Quorate and etcd, measured in turn on this machine.
bench: build
	@.ci/prepare bench
	$(CARGO) build --release --locked --package quorate-bench
	target/release/quorate-bench $(ARGS)

## What 5,000 runner sessions cost three managers, and how long changes take then; ARGS=--help says more.
scale: build
	$(CARGO) build --release --locked --package quorate-bench
	target/release/quorate-bench scale $(ARGS)

## Every fault set with every workload against real managers, and a table. Linux, best as root: see jepsen/README.md.
jepsen: build
	$(CARGO) build --release --locked --package jepsen
	target/release/jepsen matrix $(ARGS)

## The matrix and a thousand other simulations, again and again, until something does not hold or it is stopped.
soak: build
	$(CARGO) build --release --locked --package jepsen
	@from=$${FROM:-10000}; while target/release/jepsen matrix $(ARGS) && \
		$(MAKE) --no-print-directory simulation SEEDS=1000 FROM=$$from ARGS=seeds; do \
		from=$$((from + 1000)); \
	done; exit 1

build:
	$(CARGO) build --release --locked

fmt:
	$(CARGO) fmt --all

## The image quorate:latest, from a static binary that is left in dist/.
image:
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --bin quorate --target $(TARGET)
	mkdir -p dist
	cp target/$(TARGET)/release/quorate config/docker/Dockerfile dist/
	strip --strip-debug dist/quorate
	docker build --tag quorate:latest dist
