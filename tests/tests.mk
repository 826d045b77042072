# SPDX-License-Identifier: BSD-2-Clause
# tests.mk: how the tests are built and run. A unit test links only the floor it tests: tests/unit/FLOOR/test_NOUN.c.
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
UNIT_BIN := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

define unit_floor
$(BUILD)/unit/$(1)/%: tests/unit/$(1)/%.c $$(LIB_$(1))
	@mkdir -p $$(@D)
	$$(call run,TEST,$$@) $$(CC) $$(ALL_CFLAGS) $$(INC_$(1)) -Itests/unit -o $$@ $$< $$(LIB_$(1)) $$(ALL_LDFLAGS) $$(if $$(filter base,$(1)),,$$(LIBS)) -lcmocka
endef
USES_local_client := client_retry sources pool upstream dial control_conn vps vps_choice revoke
USES_remote_inner_addrs := policy
USES_local_vps := revoke
room_obj = $(foreach room,$(2),$(filter %/$(room).o,$(call obj,$(1)-proxy)))
# The rooms of a proxy are tested one by one: a test links the .c it is named after and what USES_local_NOUN adds.
define unit_proxy
$(BUILD)/unit/$(1)/test_%: tests/unit/$(1)/test_%.c $$$$(call room_obj,$(1),$$$$* $$$$(USES_$(1)_$$$$*)) $$(LIB_host)
	@mkdir -p $$(@D)
	$$(call run,TEST,$$@) $$(CC) $$(ALL_CFLAGS) $$(call proxy_inc,$(1)) -Itests/unit -o $$@ $$(filter %.c %.o,$$^) $$(LIB_host) $$(ALL_LDFLAGS) $$(LIBS) -lcmocka
endef
# A proxy as a whole, all but its main.c, spoken to by what the other .c files beside the test make.
define unit_whole
$(BUILD)/unit/whole_$(1)/%.o: tests/unit/whole_$(1)/%.c | $(HARDEN_FILE)
	@mkdir -p $$(@D)
	$$(call run,CC,$$<) $$(CC) $$(ALL_CFLAGS) $$(call proxy_inc,$(1)) -Itests/unit -c -o $$@ $$<
$(BUILD)/unit/whole_$(1)/test_%: $(BUILD)/unit/whole_$(1)/test_%.o \
		$$(patsubst tests/%.c,$(BUILD)/%.o,$$(filter-out tests/unit/whole_$(1)/test_%,$$(wildcard tests/unit/whole_$(1)/*.c))) \
		$$(filter-out %/main.o,$$(call obj,$(1)-proxy)) $$(LIB_host)
	$$(call run,TEST,$$@) $$(CC) -o $$@ $$(filter %.o,$$^) $$(LIB_host) $$(ALL_LDFLAGS) $$(LIBS) -lcmocka
endef
# The emulator's arithmetic, by a clock of the test's.
$(BUILD)/unit/emulator/%: tests/unit/emulator/%.c $(wildcard tests/emulator/*.h) tests/emulator/direction.c tests/emulator/strip.c | $(HARDEN_FILE)
	@mkdir -p $(@D)
	$(call run,TEST,$@) $(CC) $(ALL_CFLAGS) -Itests/emulator -o $@ $(filter %.c,$^) $(ALL_LDFLAGS) -lcmocka -lm

$(foreach f,$(FLOORS),$(eval $(call unit_floor,$(f))))
$(foreach p,local remote,$(eval $(call unit_proxy,$(p))))
$(eval $(call unit_whole,remote))
unit-bins: $(UNIT_BIN)
unit-base: $(filter $(BUILD)/unit/base/%,$(UNIT_BIN))
unit-run: all unit-bins
	@tests/unit/run $(UNIT_BIN)

check:
	@$(MAKE) --no-print-directory SAN=1 WERROR=1 unit-run

# For other machines than this one; where tests/cross could not try, it says NOT TRIED and ends with 77.
check-cross:
	@tests/cross || [ $$? = 77 ]

.PHONY: check unit-bins unit-base unit-run check-cross

# The test bed: a link emulator, namespaces raised by tests/net/topology.py, and load generators for the figures, of TCP and of UDP. Root.
TOOLS := $(BUILD)/emulator $(BUILD)/loadgen $(BUILD)/dgram
TOOL_FLAGS = -std=c11 -D_GNU_SOURCE $(WARN) $(if $(WERROR),-Werror) $(OPT) $(CFLAGS) $(ALL_LDFLAGS)

$(BUILD)/emulator: $(wildcard tests/emulator/*.c tests/emulator/*.h)
	@mkdir -p $(@D)
	$(call run,LD,$@) $(CC) $(TOOL_FLAGS) -o $@ $(filter %.c,$^) -lm

$(BUILD)/loadgen: $(wildcard tests/bench/*.c tests/bench/*.h)
	@mkdir -p $(@D)
	$(call run,LD,$@) $(CC) $(TOOL_FLAGS) -o $@ $(filter %.c,$^)

$(BUILD)/dgram: $(wildcard tests/dgram/*.c tests/dgram/*.h)
	@mkdir -p $(@D)
	$(call run,LD,$@) $(CC) $(TOOL_FLAGS) -o $@ $(filter %.c,$^)

# One end of a tunnel alone, made of the code that is tested.
$(BUILD)/tunnel_driver: tests/net/tunnel_driver.c $(LIB_tunnel)
	$(call run,LD,$@) $(CC) $(ALL_CFLAGS) $(INC_tunnel) -o $@ $< $(LIB_tunnel) $(ALL_LDFLAGS) $(LIBS)

tools: $(TOOLS)


tunnel-driver: $(BUILD)/tunnel_driver

PYTEST ?= pytest-3
# Several modules at a time, by tests/net/run. T='names' runs what pytest's -k finds, here and now.
NET_JOBS ?= 4
NET_BUILD := $(if $(SAN),build-san,build)
NET_ENV = PLAIT_BUILD=$(NET_BUILD) PYTEST=$(PYTEST) NET_JOBS=$(NET_JOBS)
check-net: all tunnel-driver
	@$(MAKE) --no-print-directory SAN= tools
	@$(NET_ENV) $(if $(T),$(PYTEST) -q -p no:cacheprovider -k '$(T)' tests/net,tests/net/run)

.PHONY: tools tunnel-driver check-net

# Vectors: made by plait's own code, kept in the repository, read by an independent decoder in Python.
VECTORS := aes256 chacha20
$(BUILD)/vectors: tests/vectors/make.c $(LIB_tunnel)
	$(call run,LD,$@) $(CC) $(ALL_CFLAGS) $(INC_tunnel) -o $@ $< $(LIB_tunnel) $(ALL_LDFLAGS) $(LIBS)

vectors: $(BUILD)/vectors
	@for v in $(VECTORS); do $< $$v > tests/vectors/$$v.json || exit 1; done

check-vectors: $(BUILD)/vectors
	@for v in $(VECTORS); do $< $$v | cmp - tests/vectors/$$v.json || exit 1; done
	@$(PYTEST) -q -p no:cacheprovider tests/vectors

# Fuzzing: each tests/fuzz/fuzz_NAME.c runs for FUZZ_SECONDS from its corpus in tests/fuzz/corpus/NAME.
FUZZ_SECONDS ?= 20
FUZZ_BIN := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
# What of a proxy a target needs, and so whose headers.
FUZZ_OF_nat = $(BUILD)/remote-proxy/udp/inner_addrs.o $(BUILD)/remote-proxy/tcp/policy.o
FUZZ_OF_state = $(BUILD)/local-proxy/wan/quota.o
FUZZ_INC = $(INC_host) $(if $(findstring remote-,$(FUZZ_OF_$*)),$(call proxy_inc,remote)) $(if $(findstring local-,$(FUZZ_OF_$*)),$(call proxy_inc,local))
$(BUILD)/fuzz/%: tests/fuzz/fuzz_%.c $$(FUZZ_OF_$$*) $(LIB_host)
	@mkdir -p $(@D)
	$(call run,FUZZ,$@) $(CC) $(ALL_CFLAGS) $(FUZZ_INC) -Itests/fuzz -fsanitize=fuzzer -o $@ $(filter %.c %.o,$^) $(LIB_host) $(ALL_LDFLAGS) $(LIBS)
fuzz-bins: $(FUZZ_BIN)

fuzz:
	@$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang HARDEN=-fPIE fuzz-bins \
		OPT='-O1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined'
	@tests/fuzz/run $(FUZZ_SECONDS) $(patsubst tests/fuzz/fuzz_%.c,build-fuzz/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

.PHONY: vectors check-vectors fuzz fuzz-bins

# SAVE=1 appends the tables to docs/benchmarks.md; REPS=1 for a quick look; B='connect chaos' for some of them.
B ?= connect chaos cpu aggregate
bench: all tools $(BUILD)/tunnel_driver
	@for b in $(B); do python3 tests/bench/$$b.py $(if $(SAVE),--save) $(if $(REPS),--reps $(REPS)) || exit 1; done

# Eight minutes on a quiet machine: what is promised, and whether it is kept. R='stall call' for some rows, SAVE=1 to keep the table.
figures: all tools $(BUILD)/tunnel_driver
	@PLAIT_BUILD=$(abspath $(BUILD)) PLAIT_TOOLS=$(abspath $(BUILD)) python3 tests/bench/figures.py $(if $(SAVE),--save) $(R:%=--row %)

.PHONY: bench figures

# The simulator: both daemons in one process, under a clock of its own (docs/simulator.md). Each daemon is linked into
# one object in which only its main is visible; what tests/sim has another one of is left out of it.
SIM_LEFT_OUT := sys/tun sys/sysctl host/daemon host/instance host/guard host/script_run host/script_ask host/hook host/admin host/memo
SIM_FLOORS = $(filter-out $(SIM_LEFT_OUT:%=$(BUILD)/common/%.o),$(foreach f,$(FLOORS),$(call obj,common/$(f))))
$(BUILD)/sim/plait_%.o: $$(call obj,$$*-proxy) $(SIM_FLOORS)
	@mkdir -p $(@D)
	$(call run,LD,$@) $(LD) -r -o $@.all $^ && $(OBJCOPY) --redefine-sym main=plait_$*_main --keep-global-symbol=plait_$*_main $@.all $@ && rm $@.all
$(BUILD)/sim/%.o: tests/sim/%.c $(wildcard tests/sim/*.h) | $(HARDEN_FILE)
	@mkdir -p $(@D)
	$(call run,CC,$<) $(CC) $(ALL_CFLAGS) $(INC_host) -c -o $@ $<
$(BUILD)/sim/sim: $(patsubst tests/sim/%.c,$(BUILD)/sim/%.o,$(wildcard tests/sim/*.c)) $(BUILD)/sim/plait_local.o $(BUILD)/sim/plait_remote.o $(LIB_sys)
	$(call run,LD,$@) $(CC) -o $@ $(filter %.o,$^) $(LIB_sys) $(ALL_LDFLAGS) $(LIBS)
OBJCOPY ?= objcopy

# `make sim SEEDS=10000` lives through so many households, from FIRST on; check-sim through a hundred, and random ones for SIM_SECONDS.
SEEDS ?= 200
FIRST ?= 1
SIM_SECONDS ?= 20
sim-bin:
	@$(MAKE) --no-print-directory BUILD=build-sim OPT=-O1 SAN= build-sim/sim/sim
sim: sim-bin
	@SIM_JOBS=$$(nproc) build-sim/sim/sim $(FIRST) $(SEEDS)
# Those in which a number was used twice, before a session had its keys for itself.
SIM_FOUND := 137 221 243 267
check-sim: sim-bin
	@SIM_JOBS=$$(nproc) build-sim/sim/sim 1 100
	@for seed in $(SIM_FOUND); do build-sim/sim/sim $$seed 1 || exit 1; done
	@SIM_JOBS=$$(nproc) SIM_SECONDS=$(SIM_SECONDS) build-sim/sim/sim $$(od -An -N4 -tu4 /dev/urandom) 1000000

.PHONY: sim sim-bin check-sim
