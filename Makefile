# SPDX-License-Identifier: BSD-2-Clause
# plait: see README.md. `make` needs no root; `make deps` is the one place that installs packages.
#
#   make                 build/plait-local and build/plait-remote, a line a file; V=1 shows the commands
#   make SAN=1           the same under ASan + UBSan, in build-san/
#   make CC=clang WERROR=1
#   make check           unit tests under ASan + UBSan
#   make check-net       the real daemons in network namespaces (root)
#   make check-sim       both daemons in random households, under a clock of their own
#   make check-docs      does everything that the pages name exist?
#   make check-cross     arm64 and armhf: built, and partly run, on this machine
#   make coverage        which lines run in the unit tests and in the simulator
#   make fuzz            every libFuzzer target for FUZZ_SECONDS
#   make bench           speed and memory, printed as a table (root)
#   make figures         what plait promises, and whether it is kept: 8 minutes of a quiet machine (root)
#   make test            all that a user's machine should pass (root)
#   make demo            two lines on one machine, and what plait makes of them (root)

VERSION := 0.1
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
BUILD ?= $(if $(SAN),build-san,build)
PKGS := libevent_core libcares libmnl libssl libcrypto inih jansson

COMMA := ,
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith -Wvla -Wformat=2
# What this compiler can do for its machine: it is asked flag by flag, once, and the answer kept beside the objects.
HARDEN_WISHES := -fstack-protector-strong -fstack-clash-protection -fcf-protection -mbranch-protection=standard \
	-ftrivial-auto-var-init=zero
HARDEN := @$(BUILD)/harden-$(notdir $(firstword $(CC))) -fPIE
HARDEN_FILE := $(patsubst @%,%,$(filter @%,$(HARDEN)))
OPT := $(if $(SAN),-O1 -fno-omit-frame-pointer -fsanitize=address$(COMMA)undefined -fno-sanitize-recover=undefined,-O2 -D_FORTIFY_SOURCE=3)

CFLAGS ?= -g
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARN) $(if $(WERROR),-Werror) $(HARDEN) $(OPT) $(CFLAGS) -MMD -MP \
	-DPLAIT_VERSION='"$(VERSION)"' -DPLAIT_LIBDIR='"$(PREFIX)/lib/plait"' -DPLAIT_SYSCONFDIR='"$(SYSCONFDIR)"'
ALL_LDFLAGS = $(LDFLAGS) -pie -Wl,-z,relro,-z,now,-z,noexecstack $(if $(SAN),-fsanitize=address$(COMMA)undefined)
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

# `$(call run,CC,$@) command` says the short line, or with V=1 the command, and with -s nothing.
SILENT := $(findstring s,$(firstword -$(MAKEFLAGS)))
run = $(if $(V),,@$(if $(SILENT),,printf '  %-4s %s\n' $(1) $(2);))

# A floor is compiled with its own and the lower include paths only, and archived on its own.
# Relay and tunnel are one floor, and do not know each other.
FLOORS := base sys session relay tunnel host
INC_base := -Icommon/base
INC_sys := $(INC_base) -Icommon/sys $(PKG_CFLAGS)
INC_session := $(INC_sys) -Icommon/session
INC_relay := $(INC_session) -Icommon/relay
INC_tunnel := $(INC_session) -Icommon/tunnel
INC_host := $(INC_relay) -Icommon/tunnel -Icommon/host
# Archives in link order, top down, for what sits on each floor.
LIB_base := $(BUILD)/libbase.a
LIB_sys := $(BUILD)/libsys.a $(LIB_base)
LIB_session := $(BUILD)/libsession.a $(LIB_sys)
LIB_relay := $(BUILD)/librelay.a $(LIB_session)
LIB_tunnel := $(BUILD)/libtunnel.a $(LIB_session)
LIB_host := $(BUILD)/libhost.a $(BUILD)/libtunnel.a $(LIB_relay)

# A proxy has folders of rooms, all of which it may use.
src = $(wildcard $(1)/*.c $(1)/*/*.c)
obj = $(patsubst %.c,$(BUILD)/%.o,$(call src,$(1)))
proxy_inc = $(INC_host) $(patsubst %/,-I%,$(1)-proxy/ $(wildcard $(1)-proxy/*/))

all: $(BUILD)/plait-local $(BUILD)/plait-remote

.SECONDEXPANSION:

$(BUILD)/plait-%: $$(call obj,$$*-proxy) $(LIB_host)
	$(call run,LD,$@) $(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIBS)

define floor
$(BUILD)/common/$(1)/%.o: common/$(1)/%.c | deps-present $(HARDEN_FILE)
	@mkdir -p $$(@D)
	$$(call run,CC,$$<) $$(CC) $$(ALL_CFLAGS) $$(INC_$(1)) -c -o $$@ $$<
$(BUILD)/lib$(1).a: $$(call obj,common/$(1))
	@rm -f $$@
	$$(call run,AR,$$@) $$(AR) rcs $$@ $$^
endef
$(foreach f,$(FLOORS),$(eval $(call floor,$(f))))

define proxy
$(BUILD)/$(1)-proxy/%.o: $(1)-proxy/%.c | deps-present $(HARDEN_FILE)
	@mkdir -p $$(@D)
	$$(call run,CC,$$<) $$(CC) $$(ALL_CFLAGS) $$(call proxy_inc,$(1)) -c -o $$@ $$<
endef
$(foreach p,local remote,$(eval $(call proxy,$(p))))

# Where things are installed is compiled into these: another PREFIX than last time makes them anew.
KNOW_WHERE := common/host/options local-proxy/config local-proxy/main remote-proxy/config remote-proxy/main local-proxy/answers remote-proxy/answers
$(KNOW_WHERE:%=$(BUILD)/%.o): $(BUILD)/where
$(BUILD)/where: FORCE
	@mkdir -p $(@D)
	@echo '$(VERSION) $(PREFIX) $(SYSCONFDIR)' | cmp -s - $@ || echo '$(VERSION) $(PREFIX) $(SYSCONFDIR)' >$@

# Asked with a function in it: some compilers object only when they have code to protect.
$(BUILD)/harden-%: | deps-present
	@mkdir -p $(@D)
	@for flag in $(HARDEN_WISHES); do \
		echo 'int main(void) { return 0; }' | $(CC) -Werror $$flag -S -o $@.new -xc - 2>/dev/null && echo $$flag; \
	done >$@.flags; rm -f $@.new; mv $@.flags $@

deps-present:
	@pkg-config --exists $(PKGS) || { echo "plait: libraries are missing; run 'make deps' as root" >&2; exit 1; }

include tests/tests.mk

# What a fresh Debian 12 lacks, from the one list conf/packages.debian; asks nothing. DEPS names its sections.
DEPS ?= build test
deps:
	@conf/install-packages $(DEPS)

SBINDIR := $(PREFIX)/sbin
LIBDIR := $(PREFIX)/lib/plait
UNITDIR := /lib/systemd/system
CONFDIR := $(SYSCONFDIR)/plait
SYSCTLDIR := $(SYSCONFDIR)/sysctl.d
SCRIPTS := nftables tproxy redirect common.sh tunnel-nftables tunnel-iptables tunnel.sh words.sh
SIDES := plait-local plait-remote
INSTALLED := $(SIDES:%=$(SBINDIR)/%) $(SCRIPTS:%=$(LIBDIR)/%) $(SIDES:%=$(CONFDIR)/%.conf.example) \
	$(CONFDIR)/plait-closed.nft.example $(SIDES:%=$(UNITDIR)/%.service) $(SYSCTLDIR)/60-plait.conf
FILL := sed -e 's|@SBINDIR@|$(SBINDIR)|g; s|@LIBDIR@|$(LIBDIR)|g; s|@SYSCONFDIR@|$(SYSCONFDIR)|g' \
	-e 's|/usr/local/lib/plait|$(LIBDIR)|g; s|/etc/plait|$(CONFDIR)|g'

# A config that is in use is never touched: only *.conf.example is written.
install: all
	install -d $(sort $(dir $(addprefix $(DESTDIR),$(INSTALLED))))
	install -m 755 $(SIDES:%=$(BUILD)/%) $(DESTDIR)$(SBINDIR)
	install -m 755 $(addprefix iptables/,$(filter-out %.sh,$(SCRIPTS))) $(DESTDIR)$(LIBDIR)
	install -m 644 $(addprefix iptables/,$(filter %.sh,$(SCRIPTS))) $(DESTDIR)$(LIBDIR)
	install -m 644 conf/60-plait.conf $(DESTDIR)$(SYSCTLDIR)
	install -m 644 conf/plait-closed.nft $(DESTDIR)$(CONFDIR)/plait-closed.nft.example
	$(foreach s,$(SIDES),$(FILL) conf/$(s).service >$(DESTDIR)$(UNITDIR)/$(s).service && \
		$(FILL) conf/$(s).conf >$(DESTDIR)$(CONFDIR)/$(s).conf.example &&) :

# Rules of a gateway that still runs go first; keys and configs stay.
uninstall:
	$(if $(DESTDIR),,@for s in $(filter-out %.sh,$(SCRIPTS)); do [ ! -x $(LIBDIR)/$$s ] || $(LIBDIR)/$$s down; done)
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	-@rmdir --ignore-fail-on-non-empty $(DESTDIR)$(LIBDIR) $(DESTDIR)$(CONFDIR) 2>/dev/null

# Seconds of each fuzz target in `make test`; `make fuzz` by itself takes FUZZ_SECONDS.
TEST_FUZZ_SECONDS ?= 5

# Everything that a user's machine should pass; ALSO names more. A sub-make, because the packages change what pkg-config says.
test: deps
	@FUZZ_SECONDS=$(TEST_FUZZ_SECONDS) tests/all "$(MAKE)" check check-sim check-docs check-vectors check-install fuzz $(ALSO)
	@echo "test: everything passed"

# Both compilers, without a warning.
check-clang:
	@$(MAKE) --no-print-directory CC=clang WERROR=1 BUILD=build-clang all tools

demo:
	@echo "demo: two poor lines, and what plait makes of them, in network namespaces that are gone afterwards: downloads, uploads, calls."
	@echo "demo: three to four minutes; before them, the packages that are missing are installed and plait is built: on a new machine, five more."
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all tools
	@PLAIT_BUILD=$(abspath $(BUILD)) PLAIT_TOOLS=$(abspath $(BUILD)) PYTHONDONTWRITEBYTECODE=1 python3 tests/demo/demo.py

# Debian's own 6.1 kernel in an emulated machine.
test-kernel:
	@conf/install-packages build test kernel
	@$(MAKE) --no-print-directory all
	@tests/kernel/run $(BUILD)

check-install:
	@tests/install $(MAKE)

check-docs:
	@tests/docs

coverage:
	@tests/coverage

.PHONY: deps install uninstall test demo test-kernel check-install check-docs coverage check-clang

clean:
	rm -rf build build-san build-sim build-coverage-unit build-coverage-sim build-fuzz build-install build-clang build-cross

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

.PHONY: all clean deps-present FORCE

# An object is kept though only a test names it.
.SECONDARY:
