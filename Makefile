# May First identity: build, install, test, try out. `make help` lists what there is.

SHELL   := /bin/sh
TARGET  := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
export CARGO_TARGET_DIR := $(TARGET)
CARGO   ?= cargo
DESTDIR ?=

# Debian's library folder of this machine: /usr/lib/x86_64-linux-gnu. The C library is there, compiler or not.
MULTIARCH = $(shell ldd /bin/sh | sed -n 's|.*=> .*/lib/\([^/]*\)/libc\.so.*|\1|p')
LIBDIR    = $(DESTDIR)/usr/lib/$(MULTIARCH)

# What a bare Debian 12 lacks. libpam.so.0 is on every Debian (pam_mayfirst/build.rs); libc6-dev brings libcrypt-dev, which identityd links; SQLite is compiled from its crate with gcc.
BUILD_PACKAGES := ca-certificates gcc libc6-dev libcrypt-dev
# tests/prepare builds the root of the test machines with it.
TEST_PACKAGES  := mmdebstrap

RELEASE   := $(TARGET)/release
MODULE    := $(TARGET)/module/libnss_mayfirst.so
GENERATED := $(TARGET)/generated

say = @printf '\n==> %s\n' '$(1)'

.PHONY: help deps test-deps build install deb uninstall check unit model fuzz sanitize test storm lasting crash million fleet directories bulk login-storm bench up down clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@printf '\nDESTDIR=DIR installs below DIR. FROM=DIR gives `make up` your own passwd, shadow and group files.\n'

deps: ## install the Debian packages that building needs (root)
	@sh packaging/packages $(BUILD_PACKAGES)

test-deps: deps
	@sh packaging/packages $(TEST_PACKAGES)

build: ## compile the daemon, the tool and both modules
	@command -v $(CARGO) >/dev/null || { echo 'make: cargo is not in PATH. Install Rust 1.95 or newer, or add ~/.cargo/bin to PATH.' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'make: no C compiler. Run: make deps' >&2; exit 1; }
	$(call say,identityd and identityctl and pam_mayfirst)
	$(CARGO) build --locked --release -p identityd -p pam_mayfirst
	$(call say,libnss_mayfirst alone and without std)
	$(CARGO) build --locked --profile module -p nss_mayfirst --features module
	@sh nss_mayfirst/check $(MODULE)
	$(call say,man pages and shell completions)
	@sh packaging/generate $(RELEASE)/identityctl $(GENERATED)

install: ## install what was built, below DESTDIR
	@test -f $(MODULE) && test -d $(GENERATED) || { echo 'make: nothing built yet. Run: make build' >&2; exit 1; }
	install -D -m 0755 $(RELEASE)/identityd $(DESTDIR)/usr/sbin/identityd.new
	install -D -m 0755 $(RELEASE)/identityctl $(DESTDIR)/usr/bin/identityctl.new
	strip --strip-debug $(DESTDIR)/usr/sbin/identityd.new $(DESTDIR)/usr/bin/identityctl.new
	mv -f $(DESTDIR)/usr/sbin/identityd.new $(DESTDIR)/usr/sbin/identityd
	mv -f $(DESTDIR)/usr/bin/identityctl.new $(DESTDIR)/usr/bin/identityctl
	install -D -m 0644 $(MODULE) $(LIBDIR)/libnss_mayfirst.so.2.new
	strip --strip-unneeded $(LIBDIR)/libnss_mayfirst.so.2.new
	mv -f $(LIBDIR)/libnss_mayfirst.so.2.new $(LIBDIR)/libnss_mayfirst.so.2
	install -D -m 0644 $(RELEASE)/libpam_mayfirst.so $(LIBDIR)/security/pam_mayfirst.so.new
	strip --strip-unneeded $(LIBDIR)/security/pam_mayfirst.so.new
	mv -f $(LIBDIR)/security/pam_mayfirst.so.new $(LIBDIR)/security/pam_mayfirst.so
	@sh packaging/install-files '$(DESTDIR)' $(GENERATED)

deb: build ## make a Debian package, target/identityd_VERSION_ARCH.deb
	@sh packaging/deb '$(TARGET)'

uninstall: ## remove what install put there (configuration and the directory stay)
	@sh packaging/install-files --remove '$(DESTDIR)' '$(LIBDIR)'

check: ## format, clippy and rustdoc, warnings are errors
	$(call say,format)
	$(CARGO) fmt --all --check
	$(call say,lints)
	$(CARGO) clippy --locked --workspace --release --all-targets -- -D warnings
	$(call say,documentation)
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --release --lib --no-deps

unit: ## tests inside the crates
	$(call say,unit tests)
	$(CARGO) test --locked --workspace --exclude tests --release

model: ## check the hand-over of the snapshot with every order of its threads (loom)
	$(call say,model of the hand-over)
	RUSTFLAGS='--cfg loom' $(CARGO) test --locked -p nss_mayfirst --release --target-dir '$(TARGET)/loom' snapshot::model

FUZZ_TARGETS := snapshot_reader control packed wire
SECONDS      ?= 60

fuzz: ## feed arbitrary files, records and frames to their readers under AddressSanitizer (SECONDS=60 for each; needs cargo-fuzz and g++)
	$(call say,fuzzing)
	@cd schema/fuzz && for target in $(FUZZ_TARGETS); do \
	    mkdir -p '$(TARGET)/fuzz-corpus/'$$target && \
	    CARGO_TARGET_DIR='$(TARGET)/fuzz' RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run --fuzz-dir . -s address $$target '$(TARGET)/fuzz-corpus/'$$target corpus/$$target \
	        -- -max_total_time=$(SECONDS) -print_final_stats=1 || exit 1; \
	done

# The machine's triple: build scripts are not instrumented then. Leaks are not looked for: the module keeps its mappings and its seats as long as the process lives, and the tests end their threads in the middle.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

sanitize: ## unit tests of schema and of the NSS module, its hand-over among them, under AddressSanitizer and ThreadSanitizer (needs rust-src)
	@test -e "$$(rustc --print sysroot)/lib/rustlib/src/rust/library/std" || { echo 'make: ThreadSanitizer needs the source of std. Run: rustup component add rust-src' >&2; exit 1; }
	$(call say,AddressSanitizer)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 $(CARGO) test --locked -p schema -p nss_mayfirst --release --target $(HOST) --target-dir '$(TARGET)/asan'
	$(call say,ThreadSanitizer)
	RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=thread $(CARGO) test -Zbuild-std --locked -p nss_mayfirst --release --target $(HOST) --target-dir '$(TARGET)/tsan' -- --test-threads 1

# The Debian of the test machines is downloaded and unpacked while the compiler works.
test: test-deps ## all of it: format, lints, documentation, unit tests, end-to-end tests
	@mkdir -p '$(TARGET)'; prepare=; \
	if [ "$$(id -u)" = 0 ]; then tests/prepare >'$(TARGET)/prepare.log' 2>&1 & prepare=$$!; fi; \
	trap '[ -z "$$prepare" ] || kill "$$prepare" 2>/dev/null' EXIT; trap 'exit 130' INT TERM HUP; \
	$(MAKE) --no-print-directory build && $(MAKE) --no-print-directory check || exit 1; \
	[ -z "$$prepare" ] || { wait "$$prepare"; code=$$?; prepare=; cat '$(TARGET)/prepare.log'; exit "$$code"; }
	$(call say,unit tests and end-to-end tests)
	@tests/run

storm: test-deps build ## a minute of look-ups without a pause while logins change and identityd is killed every second
	@tests/prepare && KEEP=yes tests/stage
	STORM=200000 $(CARGO) test --locked --release --workspace --test storm -- --nocapture

lasting: test-deps build ## programs that live long while 500 generations of the snapshot pass under each (GENERATIONS=N)
	@tests/prepare && KEEP=yes tests/stage
	GENERATIONS=$(or $(GENERATIONS),500) $(CARGO) test --locked --release --workspace --test snapshot_lasting -- --nocapture --test-threads 1

crash: test-deps build ## kill identityd 3,000 times while logins change, two times in three with all in memory lost (KILLS=N)
	@tests/prepare && KEEP=yes tests/stage
	KILLS=$(or $(KILLS),3000) $(CARGO) test --locked --release --workspace --test snapshot_power_loss -- --nocapture killed_at_any_moment

million: test-deps build ## a directory of a million logins: published, right, restarted; prints what it took (LOGINS=N)
	@tests/prepare && KEEP=yes tests/stage
	LOGINS=$(or $(LOGINS),1000000) $(CARGO) test --locked --release --workspace --test snapshot_large -- --nocapture

fleet: test-deps build ## 20 hosts on one MariaDB, and on one slapd: from a write to every host, and what idle hosts cost
	@tests/prepare && KEEP=yes tests/stage
	FLEET=docs/benchmarks $(CARGO) test --locked --release --workspace --test fleet -- --nocapture --test-threads 1

directories: test-deps build ## 100,000 logins in SQLite, MariaDB and slapd: time and memory of a full reading, look-ups meanwhile (LOGINS=10000)
	@tests/prepare && KEEP=yes tests/stage
	DIRECTORIES=docs/benchmarks $(CARGO) test --locked --release --workspace --test directories -- --nocapture

bulk: test-deps build ## 100,000 rows of MariaDB changed at once, seen by libc (BULK=N)
	@tests/prepare && KEEP=yes tests/stage
	BULK=$(or $(BULK),100000) $(CARGO) test --locked --release --workspace --test mysql -- --nocapture a_bulk_change

login-storm: test-deps build ## 32 logins by ssh at once while MariaDB, slapd or SQLite's file is away (PEOPLE=N)
	@tests/prepare && KEEP=yes tests/stage
	PEOPLE=$(or $(PEOPLE),32) $(CARGO) test --locked --release --workspace --test offline_storm -- --nocapture --test-threads 1

bench: test-deps build ## measure this and its peers, write docs/benchmarks (30 minutes; SIZES="1000" PEERS="files sss" for a part)
	@tests/prepare && KEEP=yes tests/stage && PACKAGES=tests/packages.bench TEST_ROOT='$(or $(BENCH_ROOT),$(TARGET)/bench-root)' tests/prepare
	$(CARGO) build --locked --release -p tests --bins
	$(if $(SIZES)$(PEERS),,BENCH=docs/benchmarks $(CARGO) test --locked --release --workspace --test bench -- --nocapture)
	TEST_ROOT='$(or $(BENCH_ROOT),$(TARGET)/bench-root)' TEST_SCRATCH='$(TARGET)/bench-scratch' $(RELEASE)/bench docs/benchmarks

up: ## on a bare Debian: install, wire, start, import the sample (or FROM=DIR), show it
	@packaging/up $(if $(FROM),'$(FROM)')

down: ## put the machine back as make up found it
	@CONFIRM='$(CONFIRM)' packaging/down

clean: ## remove what was compiled
	$(CARGO) clean
