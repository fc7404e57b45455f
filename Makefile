# What people and CI run. `make` alone explains itself.

PREFIX ?= $(HOME)/.local
CARGO_TARGET_DIR ?= $(CURDIR)/target
export CARGO_TARGET_DIR

arch := $(shell uname -m)
musl := $(arch)-unknown-linux-musl
binary := $(CARGO_TARGET_DIR)/minidock

.PHONY: help deps deps-build build install demo test bench fuzz lint clean

help:
	@echo 'make demo      build, then pull, load and run containers from a registry on loopback'
	@echo 'make test      all tests'
	@echo 'make bench     against tar, umoci and others; BENCH="unpack --runs 9" chooses, see tests/bench'
	@echo 'make fuzz      look for inputs that break a parser, FUZZ_SECONDS (300) each; needs cargo-fuzz'
	@echo 'make build     the static release binary, $(binary)'
	@echo 'make install   put it into $(PREFIX)/bin (PREFIX=DIR for another place)'
	@echo 'make lint      format, clippy, rustdoc, and licences where cargo-deny is installed'
	@echo 'make deps      install what the others need (they do it themselves)'

deps:
	@fixtures/deps.sh all

deps-build:
	@fixtures/deps.sh build

# Static, so that it runs on any distribution: against musl wherever rustup can provide it. Its place in memory is fixed when it
# is linked: moving 14,000 addresses at each start would take longer than half of all else that happens before a container
# exists, and 300 KiB of each supervisor. Heap, stack and shared pages are still where the kernel puts them at random.
build: deps-build
	@set -e; \
	if [ -d "$$(rustc --print sysroot)/lib/rustlib/$(musl)" ] || rustup target add $(musl); then \
		cargo rustc --release --locked --target $(musl) --bin minidock -- -C relocation-model=static; \
		install -D $(CARGO_TARGET_DIR)/$(musl)/release/minidock $(binary); \
	else \
		echo 'no $(musl) target can be had: linking the GNU C library statically instead'; \
		RUSTFLAGS='-C target-feature=+crt-static' \
			cargo build --release --locked --target $(arch)-unknown-linux-gnu; \
		install -D $(CARGO_TARGET_DIR)/$(arch)-unknown-linux-gnu/release/minidock $(binary); \
	fi
	@echo "built $(binary), $$(($$(wc -c <$(binary)) / 1024)) KiB"

install: build
	install -D $(binary) $(DESTDIR)$(PREFIX)/bin/minidock

demo: deps build
	fixtures/demo.sh $(binary)

test: deps
	cargo test --workspace --locked

# Static where it can be, like minidock: what starts in milliseconds is measured against a part of this program.
bench: build
	target=; \
	if [ -d "$$(rustc --print sysroot)/lib/rustlib/$(musl)" ]; then target='--target $(musl)'; fi; \
	cargo run --release --locked $$target --package minidock-bench -- --minidock $(binary) $(BENCH)

# What is found is left in tests/fuzz/artifacts; new corpus files go where git does not see them. The compiler's own
# instrumentation is behind a nightly flag, which RUSTC_BOOTSTRAP lets the stable one take.
FUZZ_SECONDS ?= 300
FUZZ_TARGETS ?= gzip tar layers archive manifest config names
fuzz:
	@set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p $(CARGO_TARGET_DIR)/fuzz-corpus/$$target; \
		CARGO_TARGET_DIR=$(CARGO_TARGET_DIR)/fuzz RUSTC_BOOTSTRAP=1 \
			cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target \
			$(CARGO_TARGET_DIR)/fuzz-corpus/$$target tests/fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=16384 -timeout=20 -rss_limit_mb=1024; \
	done

lint: deps-build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked
	@if command -v cargo-deny >/dev/null; then \
		cargo deny --locked check bans licenses sources; \
	else \
		echo 'cargo-deny is not installed: licences, bans and sources were not checked'; \
	fi

clean:
	cargo clean
