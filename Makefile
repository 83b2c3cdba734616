# Septum: one non-recursive Makefile.  `make help` lists the targets.
#
# What is built where (FLAVOUR is release or debug; with CC=clang: clang-release, clang-debug):
#   build/FLAVOUR/septum.elf        the microvisor       from microvisor/
#   build/FLAVOUR/lib/libseptum.a   the user library     from lib/
#   build/FLAVOUR/DIR/NAME.elf      a user program       from DIR/NAME/ (see PROGRAMS)
#   build/septum                    the host tool        from tools/septum/
#   build/unit/COMPILER/NAME_test   a host unit test     from tests/unit/NAME_test.c
#
# The debug flavour defines SEPTUM_DEBUG=1 and adds microvisor/check/.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
SHELL := /bin/bash

ifeq ($(origin CC),default)
CC := gcc
endif
LD      ?= ld
AR      := ar
NM      := nm
PYTHON  ?= /usr/bin/python3
B       := build
COMPILER := $(if $(findstring clang,$(CC)),clang-,)
FLAVOURS := release debug

# V=1 shows the commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' '$(1)' '$(2)';)

# ---------------------------------------------------------------------------------------------
# Set-up.  Nothing is compiled before the tools are there; a stamp keeps that from costing time.
# ---------------------------------------------------------------------------------------------
SETUP_RUN  := $(B)/setup/run.stamp
SETUP_TEST := $(B)/setup/test.stamp
SETUP_FILES := $(wildcard tools/setup/* tools/bochs/*)

$(SETUP_RUN): $(SETUP_FILES)
	$(Q)tools/setup/setup run $@
$(SETUP_TEST): $(SETUP_FILES)
	$(Q)tools/setup/setup test $@

# Goals that need the test tools set them up first, so that there is one apt-get line, not two.
ifneq ($(filter setup setup-test test test-% bench bench-% mutants soak docs docs-check lines clang-check,$(MAKECMDGOALS)),)
$(SETUP_RUN): | $(SETUP_TEST)
endif

# ---------------------------------------------------------------------------------------------
# Flags
# ---------------------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wvla
COMMON_FLAGS := -std=c17 -O2 -g -ffreestanding -mgeneral-regs-only -fno-pic -fno-pie \
    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
    -fno-strict-aliasing -ffile-prefix-map=$(CURDIR)=. $(WARNINGS)
# Indirect branches of the kernel go through the thunks of microvisor/x86/kpti.S.
THUNK_FLAGS  := $(if $(COMPILER),-mretpoline-external-thunk,-mindirect-branch=thunk-extern \
    -mindirect-branch-register)
KERNEL_FLAGS := $(COMMON_FLAGS) -mno-red-zone -mcmodel=kernel $(THUNK_FLAGS) -Imicrovisor
USER_FLAGS   := $(COMMON_FLAGS) -Imicrovisor/abi -Ilib -Iprotocol -I.
FLAGS_release := -fomit-frame-pointer
FLAGS_debug   := -fno-omit-frame-pointer -DSEPTUM_DEBUG=1
LINK_FLAGS := -static -nostdlib --build-id=none -z noexecstack -z max-page-size=4096

# What a guest's exit or request needs lies in several files of a program: release builds of these are optimized as a
# whole. Objects of lib/ hold ordinary code besides, for the others.
WHOLE := vmm-server block-server net-server
WHOLE_FLAGS := -flto=1 -flto-partition=one -ffat-lto-objects -finline-limit=400 \
    --param max-inline-insns-single=200
# $(1) the flavour, $(2) a folder: the flags, if its objects are to be part of such a program; clang goes without.
whole_flags = $(if $(COMPILER),,$(if $(filter release,$(1)),$(if $(filter lib $(WHOLE),$(2)),$(WHOLE_FLAGS))))

top_folder = $(firstword $(subst /, ,$(1)))
sources = $(sort $(shell find $(1) \( -name '*.c' -o -name '*.S' \) -print 2>/dev/null))

# ---------------------------------------------------------------------------------------------
# What there is to build.  A program whose folder holds no main.c yet is left out.
# ---------------------------------------------------------------------------------------------
ASM_OFFSETS    := $(wildcard microvisor/x86/asm_offsets.c)
KERNEL_SCRIPT  := $(wildcard microvisor/kernel.ld)
KERNEL_SOURCES_debug   := $(filter-out $(ASM_OFFSETS),$(call sources,microvisor))
KERNEL_SOURCES_release := $(filter-out microvisor/check/%,$(KERNEL_SOURCES_debug))
LIB_SOURCES    := $(call sources,lib)
USER_SCRIPT    := $(wildcard lib/user.ld)
PROGRAMS       := $(foreach p,root console-server block-server net-server vmm-server tests/kernel tests/hostile tests/execute tests/stand-in bench/kernel examples/echo examples/greet tests/rogue,$(if $(wildcard $(p)/main.c),$(p)))

# These never return to a caller in C, so they need not preserve registers (gcc only).
FLAGS_OF_ipc_fast.c := $(if $(findstring clang,$(CC)),,-ffixed-rbp $(foreach r,rbx r12 r13 r14 r15,-fcall-used-$(r)))
FLAGS_OF_vmx_run.c := $(FLAGS_OF_ipc_fast.c)
FLAGS_OF_svm_run.c := $(FLAGS_OF_ipc_fast.c)

# Zydis, of its source in the cache: the decoder alone, without formatter and libc. Into one object.
ZYDIS = $(shell sed -n 's/^ZYDIS=//p' $(SETUP_RUN) $(SETUP_TEST) 2>/dev/null | tail -n 1)
ZYDIS_FLAGS = -isystem $(ZYDIS)/include -DZYAN_NO_LIBC -DZYDIS_STATIC_BUILD -DZYCORE_STATIC_BUILD \
    -DZYDIS_DISABLE_ENCODER -DZYDIS_DISABLE_FORMATTER -DZYDIS_DISABLE_KNC
FLAGS_OF_execute_decode.c = $(ZYDIS_FLAGS)
FLAGS_OF_execute_operands.c = $(ZYDIS_FLAGS)
ZYDIS_SOURCES := Decoder DecoderData SharedData Register Mnemonic
# $(1) the compiler with its flags
compile_zydis = mkdir -p $@.parts && for f in $(ZYDIS_SOURCES); do \
    $(1) -w -Os $(ZYDIS_FLAGS) -I$(ZYDIS)/src -c $(ZYDIS)/src/$$f.c -o $@.parts/$$f.o || exit 1; done && \
    $(LD) -r -o $@ $(ZYDIS_SOURCES:%=$@.parts/%.o)

# lwIP, likewise: what net-server/lwip/lwipopts.h turns on. Its headers are seen by the sources that face it.
LWIP = $(shell sed -n 's/^LWIP=//p' $(SETUP_RUN) $(SETUP_TEST) 2>/dev/null | tail -n 1)
LWIP_FLAGS = -isystem net-server/lwip -isystem $(LWIP)/src/include -iquote $(LWIP)/src/apps/http
LWIP_USERS := host.c services.c pages.c socket_lwip.c
$(foreach f,$(LWIP_USERS),$(eval FLAGS_OF_$(f) = $$(LWIP_FLAGS)))
LWIP_SOURCES := $(addprefix core/,def dns inet_chksum init ip mem memp netif pbuf stats \
    sys tcp tcp_in tcp_out timeouts udp $(addprefix ipv4/,dhcp etharp icmp ip4 ip4_addr ip4_frag) \
    $(addprefix ipv6/,ethip6 icmp6 inet6 ip6 ip6_addr ip6_frag mld6 nd6)) netif/ethernet apps/http/httpd apps/http/fs
compile_lwip = rm -rf $@.parts && mkdir -p $@.parts && for f in $(LWIP_SOURCES); do \
    $(1) -w -Werror=implicit-function-declaration $(LWIP_FLAGS) -c $(LWIP)/src/$$f.c -o $@.parts/$$(basename $$f).o || exit 1; done && \
    $(LD) -r -o $@ $@.parts/*.o

# $(1) flavour, $(2) its folder
define flavour_rules
KERNEL_OBJECTS_$(1) := $$(KERNEL_SOURCES_$(1):%=$(2)/%.o)
LIB_OBJECTS_$(1)    := $$(LIB_SOURCES:%=$(2)/%.o)
OFFSETS_$(1)        := $$(if $$(ASM_OFFSETS),$(2)/gen/asm_offsets.h)

$(2)/microvisor/%.c.o: microvisor/%.c Makefile | $(SETUP_RUN)
	$$(call say,CC,$$@)mkdir -p $$(@D) && \
	$(CC) $(KERNEL_FLAGS) $(FLAGS_$(1)) $$(FLAGS_OF_$$(<F)) -I$(2)/gen -MMD -MP -c $$< -o $$@
$(2)/microvisor/%.S.o: microvisor/%.S Makefile $$(OFFSETS_$(1)) | $(SETUP_RUN)
	$$(call say,AS,$$@)mkdir -p $$(@D) && \
	$(CC) $(KERNEL_FLAGS) $(FLAGS_$(1)) -I$(2)/gen -MMD -MP -c $$< -o $$@
$(2)/%.c.o: %.c Makefile | $(SETUP_RUN)
	$$(call say,CC,$$@)mkdir -p $$(@D) && \
	$(CC) $(USER_FLAGS) -I$$(call top_folder,$$<) $(FLAGS_$(1)) $$(call whole_flags,$(1),$$(call top_folder,$$<)) \
	    $$(FLAGS_OF_$$(<F)) -MMD -MP -c $$< -o $$@
$(2)/%.S.o: %.S Makefile | $(SETUP_RUN)
	$$(call say,AS,$$@)mkdir -p $$(@D) && \
	$(CC) $(USER_FLAGS) $(FLAGS_$(1)) -MMD -MP -c $$< -o $$@

# Structure offsets for assembly: `.ascii "->NAME VALUE"` lines become #defines.
$(2)/gen/asm_offsets.h: microvisor/x86/asm_offsets.c Makefile | $(SETUP_RUN)
	$$(call say,GEN,$$@)mkdir -p $$(@D) && \
	$(CC) $(KERNEL_FLAGS) $(FLAGS_$(1)) -MMD -MP -MT $$@ -MF $$@.d -S $$< -o $$@.s && \
	sed -n 's/.*"->\([A-Za-z_][A-Za-z0-9_]*\) *[$$$$#]*\(-\?[0-9][0-9]*\).*/#define \1 \2/p' \
	    $$@.s > $$@ && test -s $$@

$(2)/septum.elf: $$(KERNEL_OBJECTS_$(1)) $(KERNEL_SCRIPT) tools/link_kernel.py Makefile
	$$(call say,LINK,$$@)$(PYTHON) tools/link_kernel.py --output $$@ --script $(KERNEL_SCRIPT) \
	    --ld '$(LD) $(LINK_FLAGS)' --cc '$(CC)' --nm '$(NM)' $$(KERNEL_OBJECTS_$(1))

$(2)/lib/zydis.o: Makefile | $(SETUP_RUN)
	$$(call say,CC,$$@)$$(call compile_zydis,$(CC) $(COMMON_FLAGS) -Ilib)

$(2)/net-server/page.S.o: net-server/page.html

$(2)/lib/lwip.o: Makefile $(wildcard net-server/lwip/*.h net-server/lwip/*/*.h) | $(SETUP_RUN)
	$$(call say,CC,$$@)$$(call compile_lwip,$(CC) $(COMMON_FLAGS) -Ilib)

$(2)/lib/libseptum.a: $$(LIB_OBJECTS_$(1)) Makefile
	$$(call say,AR,$$@)mkdir -p $$(@D) && rm -f $$@ && $(AR) rcs $$@ $$(LIB_OBJECTS_$(1))

$$(foreach p,$(PROGRAMS),$$(eval $$(call program_rule,$(2),$$(p))))

BUILT_$(1) := $(if $(KERNEL_SCRIPT),$(2)/septum.elf) $(if $(USER_SCRIPT),$(PROGRAMS:%=$(2)/%.elf))
-include $$(KERNEL_OBJECTS_$(1):.o=.d) $$(LIB_OBJECTS_$(1):.o=.d) $$(OFFSETS_$(1):=.d)
endef

# What a program shares with another: the kit of the kernel's tests.
SHARED_bench/kernel := tests/kernel/kit.c tests/kernel/vm.c
SHARED_tests/hostile := tests/kernel/kit.c
SHARED_tests/execute := tests/kernel/kit.c tests/kernel/vm.c $(wildcard vmm-server/cpu/execute*.c)
LIBRARIES_tests/execute := zydis.o
LIBRARIES_vmm-server := zydis.o
LIBRARIES_net-server := lwip.o

# $(1) the flavour, $(2) the program's folder
link_program = $(if $(call whole_flags,$(1),$(2)),$(CC) $(COMMON_FLAGS) $(WHOLE_FLAGS) \
    -no-pie $(LINK_FLAGS:--%=-Xlinker --%) -Xlinker -Map=$$@.map, $(LD) $(LINK_FLAGS) -Map=$$@.map) -T lib/user.ld

# $(1) the flavour's folder, $(2) the program's folder
define program_rule
$(1)/$(2).elf: $(patsubst %,$(1)/%.o,$(call sources,$(2)) $(SHARED_$(2))) $(LIBRARIES_$(2):%=$(1)/lib/%) $(1)/lib/libseptum.a lib/user.ld Makefile
	$$(call say,LINK,$$@)$(call link_program,$(notdir $(1)),$(2)) -o $$@ $$(filter %.o,$$^) $(1)/lib/libseptum.a
-include $(patsubst %,$(1)/%.d,$(call sources,$(2)))
endef

$(foreach f,$(FLAVOURS),$(eval $(call flavour_rules,$(f),$(B)/$(COMPILER)$(f))))

BUILT := $(foreach f,$(FLAVOURS),$(BUILT_$(f)))

# ---------------------------------------------------------------------------------------------
# The host tool, build/septum: it shares the parser of partition files with root.
# -MD, because -idirafter makes system headers of ours.
# ---------------------------------------------------------------------------------------------
HOST_SOURCES := $(call sources,tools/septum lib/partition) lib/print.c
HOST_OBJECTS := $(HOST_SOURCES:%=$(B)/$(COMPILER)host/%.o)
HOST_FLAGS := -std=gnu17 -D_GNU_SOURCE -O2 -g $(WARNINGS) -idirafter lib -idirafter protocol -idirafter . \
    -idirafter microvisor/abi
HOST_TOOL := $(B)/$(COMPILER)septum
$(B)/$(COMPILER)host/%.c.o: %.c Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(HOST_FLAGS) -MD -MP -c $< -o $@
$(HOST_TOOL): $(HOST_OBJECTS) Makefile
	$(call say,LINK,$@)$(CC) $(HOST_OBJECTS) -lutil -o $@
-include $(HOST_OBJECTS:.o=.d)

# ---------------------------------------------------------------------------------------------
# Host unit tests: sources named in the test's `links:` comment (`zydis` is the library), under the sanitizers.
# ---------------------------------------------------------------------------------------------
UNIT_TESTS     := $(sort $(wildcard tests/unit/*_test.c))
UNIT_COMPILERS := gcc clang
UNIT_FLAGS := -std=gnu17 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer -Wall -Wextra -Werror -Imicrovisor -Imicrovisor/abi -Itests/unit -idirafter lib -idirafter protocol -idirafter vmm-server -idirafter net-server -idirafter . \
    -DSEPTUM_DEBUG=1 -DSEPTUM_UNIT_TEST=1
# "tests/unit/x_test.c:microvisor/core/x.c" for every source that a test names
UNIT_LINKS := $(if $(UNIT_TESTS),$(shell awk 'FNR == 1 { on = 0 } /links:/ { on = 1; sub(/.*links:/, "") } \
    on { l = $$0; sub(/\*\/.*/, "", l); n = split(l, w, /[ \t*]+/); \
    for (i = 1; i <= n; i++) if (w[i] != "") print FILENAME ":" w[i] } on && /\*\// { on = 0 }' $(UNIT_TESTS)))
unit_sources = $(1) $(patsubst $(1):%,%,$(filter $(1):%,$(UNIT_LINKS)))
UNIT_BINARIES := $(foreach c,$(UNIT_COMPILERS),$(UNIT_TESTS:tests/unit/%.c=$(B)/unit/$(c)/%))

# $(1) compiler
define unit_rules
# -MD, because -idirafter makes system headers of ours.
$(B)/unit/$(1)/%.c.o: %.c Makefile | $(SETUP_TEST)
	$$(call say,CC,$$@)mkdir -p $$(@D) && $(1) $(UNIT_FLAGS) $$(FLAGS_OF_$$(<F)) -MD -MP -c $$< -o $$@
$(B)/unit/$(1)/%.S.o: %.S Makefile | $(SETUP_TEST)
	$$(call say,AS,$$@)mkdir -p $$(@D) && $(1) -MD -MP -c $$< -o $$@
$(B)/unit/$(1)/zydis.o: Makefile | $(SETUP_TEST)
	$$(call say,CC,$$@)$$(call compile_zydis,$(1) -std=gnu17)
$$(foreach t,$(UNIT_TESTS),$$(eval $$(call unit_rule,$(1),$$(t))))
endef
define unit_rule
$(B)/unit/$(1)/$(patsubst tests/unit/%.c,%,$(2)): $(patsubst %,$(B)/unit/$(1)/%.o,$(call unit_sources,$(2)))
	$$(call say,LINK,$$@)$(1) $(UNIT_FLAGS) $$^ -o $$@
-include $(patsubst %,$(B)/unit/$(1)/%.d,$(call unit_sources,$(2)))
endef
$(foreach c,$(UNIT_COMPILERS),$(eval $(call unit_rules,$(c))))

# ---------------------------------------------------------------------------------------------
# Every header compiles alone.
# ---------------------------------------------------------------------------------------------
HEADERS := $(sort $(shell find microvisor lib protocol root console-server block-server net-server vmm-server -name '*.h' 2>/dev/null))
$(B)/headers/microvisor/%.h.ok: microvisor/%.h Makefile | $(SETUP_RUN)
	$(call say,CHECK,$<)mkdir -p $(@D) && echo '#include "$<"' | \
	$(CC) $(KERNEL_FLAGS) $(FLAGS_debug) -I. -MMD -MP -MT $@ -MF $@.d -fsyntax-only -x c - && touch $@
$(B)/headers/%.h.ok: %.h Makefile | $(SETUP_RUN)
	$(call say,CHECK,$<)mkdir -p $(@D) && echo '#include "$<"' | \
	$(CC) $(USER_FLAGS) -I$(call top_folder,$<) $(if $(findstring /lwip/,$<),$(LWIP_FLAGS)) $(FLAGS_debug) -MMD -MP -MT $@ -MF $@.d -fsyntax-only -x c - && touch $@
-include $(HEADERS:%=$(B)/headers/%.ok.d)

# ---------------------------------------------------------------------------------------------
# Targets.  A line `target: ... ## text` is what `make help` shows.
# ---------------------------------------------------------------------------------------------
.PHONY: all release debug setup setup-run setup-test test test-unit test-kernel test-system test-execute bench \
    bench-check mutants soak docs docs-check guests guests-zoo firmware run clean help check-headers lines clang-check

all: $(BUILT) $(HOST_TOOL) firmware ## build the kernel, the user programs and the host tool, both flavours (CC=clang: with clang)

release: $(BUILT_release) ## build the release flavour alone

debug: $(BUILT_debug) ## build the debug flavour alone

setup: setup-run setup-test ## get all tools (idempotent; says what it does and why)

setup-run: ## get what `make run` needs
	$(Q)tools/setup/setup run $(SETUP_RUN)

setup-test: ## get what `make test` needs besides: Bochs, QEMU 10, test tools
	$(Q)tools/setup/setup test $(SETUP_TEST)

# MACHINE=, TEST=, FLAVOUR=, SEED= narrow a run down; an empty one means all.
RUN_OPTIONS = $(if $(MACHINE),--machine '$(MACHINE)') $(if $(TEST),--test '$(TEST)') \
    $(if $(FLAVOUR),--flavour '$(FLAVOUR)') $(if $(SEED),--seed '$(SEED)') $(if $(VERBOSE),--verbose)

test: $(BUILT) $(HOST_TOOL) guests guests-zoo $(UNIT_BINARIES) check-headers clang-check | $(SETUP_TEST) ## run every test; the last line is the count
	$(Q)$(PYTHON) tests/run.py --kind unit,system,kernel,hostile,execute $(RUN_OPTIONS)

test-unit: $(UNIT_BINARIES) | $(SETUP_TEST) ## run the host unit tests (gcc and clang, sanitizers)
	$(Q)$(PYTHON) tests/run.py --kind unit $(RUN_OPTIONS)

test-kernel: $(BUILT) | $(SETUP_TEST) ## run the kernel tests (MACHINE=vmx-1 TEST='ipc_*' FLAVOUR=debug SEED=1)
	$(Q)$(PYTHON) tests/run.py --kind kernel $(RUN_OPTIONS)

test-execute: $(BUILT) | $(SETUP_TEST) ## compare the VMM's execution of instructions with the machines' own (MACHINE=qemu-1 SEED=1)
	$(Q)$(PYTHON) tests/run.py --kind execute $(RUN_OPTIONS)

test-system: $(BUILT) $(HOST_TOOL) guests guests-zoo | $(SETUP_TEST) ## run the host-side tests (pytest)
	$(Q)$(PYTHON) tests/run.py --kind system $(RUN_OPTIONS)

$(B)/bench/count.so: bench/plugin/count.c bench/plugin/qemu_plugin.h Makefile | $(SETUP_TEST)
	$(call say,CC,$@)mkdir -p $(@D) && gcc -std=c17 -O2 $(WARNINGS) -shared -fPIC -o $@ $<
BENCH_NEEDS := $(BUILT_release) $(B)/bench/count.so guests guests-zoo

bench: $(BENCH_NEEDS) | $(SETUP_TEST) ## measure; writes build/bench/*.txt and prints the same
	$(Q)$(PYTHON) bench/run.py

bench-check: $(BENCH_NEEDS) | $(SETUP_TEST) ## compare build/bench with bench/limits.txt (measures first if need be)
	$(Q)$(PYTHON) bench/run.py --check

mutants: $(BUILT) $(UNIT_BINARIES) | $(SETUP_TEST) ## plant faults and show that a named test catches each (MUTANT=GLOB)
	$(Q)$(PYTHON) tools/mutants.py $(if $(MUTANT),--mutant '$(MUTANT)')

soak: $(BUILT) $(UNIT_BINARIES) | $(SETUP_TEST) ## long hostile runs (SEED=N BUDGET=20m); resumes where it stopped
	$(Q)$(PYTHON) tests/soak.py $(if $(SEED),--seed '$(SEED)') $(if $(BUDGET),--budget '$(BUDGET)') \
	    $(if $(MACHINE),--machine '$(MACHINE)')

docs: $(BENCH_NEEDS) $(HOST_TOOL) | $(SETUP_TEST) ## write measured figures, generated tables and a picture of the status page into docs/
	$(Q)$(PYTHON) bench/run.py --if-stale >/dev/null
	$(Q)$(PYTHON) tools/docs.py
	$(Q)$(PYTHON) tools/status_picture.py

docs-check: $(BENCH_NEEDS) $(HOST_TOOL) | $(SETUP_TEST) ## fail if docs/ quotes figures that differ from the measured ones
	$(Q)$(PYTHON) bench/run.py --if-stale >/dev/null
	$(Q)$(PYTHON) tools/docs.py --check

# ---------------------------------------------------------------------------------------------
# Linux guests: Debian's kernels, and an initramfs for each.  A kind that set-up has not fetched is left out.
# ---------------------------------------------------------------------------------------------
GUESTS_CACHE = $(shell sed -n 's/^GUESTS=//p' $(SETUP_RUN) $(SETUP_TEST) 2>/dev/null | tail -n 1)
GUEST_KINDS := cloud generic 6.12 686 686-pae
GUEST_PROBES := $(B)/guests/linux/probe $(B)/guests/linux/ioprobe
$(GUEST_PROBES): $(B)/guests/linux/%: guests/linux/%.c guests/linux/plain.h Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) -std=c17 -O2 $(WARNINGS) -ffreestanding -fno-stack-protector \
	    -fcf-protection=none -static -nostdlib -Wl,--build-id=none,-z,noexecstack -s -o $@ $<

# Tiny guests: one C file each, in the clothes of a bzImage.
TINY_GUESTS := $(patsubst guests/tiny/%.c,%,$(filter-out guests/tiny/tiny.c,$(wildcard guests/tiny/*.c)))
TINY_FLAGS := -std=gnu17 -O2 $(WARNINGS) -ffreestanding -fpie -fvisibility=hidden -mgeneral-regs-only \
    -mno-red-zone -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables
$(B)/guests/tiny/%.elf: guests/tiny/%.c guests/tiny/tiny.c guests/say.c guests/say.h guests/tiny/head.S $(wildcard guests/tiny/*.h) guests/tiny/tiny.ld Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(TINY_FLAGS) -static-pie -nostdlib -Wl,--build-id=none \
	    -Wl,-z,noexecstack,-z,norelro,--no-dynamic-linker,--no-warn-rwx-segments,-z,text -Wl,-T,guests/tiny/tiny.ld -o $@ $(filter %.c %.S,$^)
$(B)/guests/tiny/%: $(B)/guests/tiny/%.elf
	$(call say,OBJCPY,$@)objcopy -O binary -j .setup $< $@.setup && objcopy -O binary -j .payload $< $@.payload && \
	    cat $@.setup $@.payload > $@ && rm -f $@.setup $@.payload

# The real-time guest, likewise.
METRONOME := $(B)/guests/metronome/metronome
$(METRONOME).elf: $(wildcard guests/metronome/*) guests/say.c guests/say.h Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(TINY_FLAGS) -static-pie -nostdlib -Wl,--build-id=none \
	    -Wl,-z,noexecstack,-z,norelro,--no-dynamic-linker,--no-warn-rwx-segments,-z,text -Wl,-T,guests/metronome/metronome.ld -o $@ $(filter %.c %.S,$^)
$(METRONOME): $(METRONOME).elf
	$(call say,OBJCPY,$@)objcopy -O binary -j .setup $< $@.setup && objcopy -O binary -j .payload $< $@.payload && \
	    cat $@.setup $@.payload > $@ && rm -f $@.setup $@.payload

# The task that GNU Mach starts first: a 32-bit program, loaded as a multiboot module.
MACH_BOOTSTRAP := $(B)/guests/mach/mach-bootstrap
$(MACH_BOOTSTRAP): $(wildcard guests/mach-bootstrap/*) Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) -m32 -std=gnu17 -O2 $(WARNINGS) -ffreestanding -fno-pic -mgeneral-regs-only \
	    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -static -no-pie -nostdlib \
	    -Wl,--build-id=none,-z,noexecstack,-Ttext-segment=0x8048000 -o $@ $(filter %.c %.S,$^)

# A kernel that says what its boot loader told it: ELF32 and ELF64 with all heads, and an image with a multiboot head.
TOLD := $(addprefix $(B)/guests/told/,told-32 told-64 told-image)
TOLD_FLAGS := -m32 -std=gnu17 -O2 $(WARNINGS) -ffreestanding -fno-pic -fno-pie -mgeneral-regs-only -fno-stack-protector \
    -fcf-protection=none -fno-asynchronous-unwind-tables -static -nostdlib \
    -Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments -Wl,-T,guests/told/told.ld
TOLD_SOURCES := guests/told/head.S guests/told/told.c
$(B)/guests/told/told-32: $(TOLD_SOURCES) guests/told/told.ld Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(TOLD_FLAGS) -o $@ $(TOLD_SOURCES)
$(B)/guests/told/told-64: $(B)/guests/told/told-32
	$(call say,OBJCPY,$@)objcopy -O elf64-x86-64 $< $@
$(B)/guests/told/told-image: $(TOLD_SOURCES) guests/told/told.ld Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(TOLD_FLAGS) -DADDRESSES -o $@.elf $(TOLD_SOURCES) && objcopy -O binary $@.elf $@

# A 32-bit kernel that switches tasks by hardware.
TASKS := $(B)/guests/tasks/tasks
$(TASKS): guests/tasks/head.S guests/tasks/tasks.c guests/told/told.ld lib/port.h Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(TOLD_FLAGS) -o $@ $(filter %.c %.S,$^)

# Kernels with a 16-bit entry alone: a zImage and a bzImage of protocol 2.00, a zImage of 2.01, a bzImage of 2.02.
REAL := $(addprefix $(B)/guests/real/,zimage-200 bzimage-200 zimage-201 bzimage-202)
REAL_FLAGS := -m16 -march=i386 -std=gnu17 -Os $(WARNINGS) -ffreestanding -fno-pic -fno-pie -mgeneral-regs-only \
    -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -static -nostdlib \
    -Wl,--build-id=none,-z,noexecstack,--no-warn-rwx-segments -Wl,-T,guests/real/real.ld -DPAYLOAD=0x8000
$(REAL): $(B)/guests/real/%: guests/real/head.S guests/real/real.c guests/real/real.ld Makefile | $(SETUP_RUN)
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(REAL_FLAGS) -DVERSION=0x$(lastword $(subst -, ,$*)) -DHIGH=$(if $(filter bz%,$*),1,0) \
	    -o $@.elf guests/real/head.S guests/real/real.c && objcopy -O binary $@.elf $@

.PRECIOUS: $(B)/guests/tiny/%.elf
guests: $(GUEST_PROBES) $(TINY_GUESTS:%=$(B)/guests/tiny/%) $(METRONOME) $(MACH_BOOTSTRAP) $(TOLD) $(TASKS) $(REAL) firmware | $(SETUP_RUN) ## make the Linux guests' kernels and initramfs (build/guests/linux)
	$(Q)for kind in $(GUEST_KINDS); do \
	    [ ! -f "$(GUESTS_CACHE)/$$kind/release" ] || $(PYTHON) guests/linux/build.py --kind $$kind \
	        --guests "$(GUESTS_CACHE)" --probes $(B)/guests/linux --output $(B)/guests/linux || exit 1; done
	$(Q)$(PYTHON) guests/linux/disk.py --debian "$(GUESTS_CACHE)/debian" --output $(B)/guests/linux/web-and-db.img
	$(Q)$(PYTHON) guests/linux/boot_disk.py --debian "$(GUESTS_CACHE)/debian" --efi $(B)/firmware/grub-efi.bin --linux $(B)/guests/linux \
	    --output $(B)/guests/linux/boot.img

# Firmware for guests: SeaBIOS, its VGA BIOS, OVMF.
FIRMWARE_CACHE = $(shell sed -n 's/^FIRMWARE=//p' $(SETUP_RUN) $(SETUP_TEST) 2>/dev/null | tail -n 1)
firmware: | $(SETUP_RUN) ## copy the guests' firmware, which set-up unpacks (build/firmware)
	$(Q)mkdir -p $(B)/firmware && cp -u "$(FIRMWARE_CACHE)"/*.bin $(B)/firmware/

# Systems other than Linux: fetched when they are wanted.
SETUP_ZOO := $(B)/setup/zoo.stamp
$(SETUP_ZOO): $(SETUP_FILES)
	$(Q)tools/setup/setup zoo $@
guests-zoo: $(SETUP_ZOO) ## get other systems from Debian's packages: GNU Mach, Xen, U-Boot, iPXE, memtest86+, GRUB (build/guests/zoo)
	$(Q)mkdir -p $(B)/guests/zoo && cd $(B)/guests/zoo && for file in $$(sed -n 's/^ZOO=//p' ../../../$(SETUP_ZOO))/*; do \
	    cp -u "$$file" .; done

run: $(BUILT_release) $(HOST_TOOL) guests | $(SETUP_RUN) ## run two Debian systems with disks and a network: configs/web-and-db.conf
	@$(HOST_TOOL) run configs/web-and-db.conf

check-headers: $(HEADERS:%=$(B)/headers/%.ok) ## check that every header compiles alone

lines: | $(SETUP_TEST) ## count the kernel's lines of code, by cloc
	$(Q)$(PYTHON) tools/kernel_size.py --lines

clang-check: | $(SETUP_TEST) ## build everything with clang too
	$(Q)$(MAKE) --no-print-directory CC=clang all check-headers

clean: ## remove what was built (the cache of downloads stays)
	rm -rf $(B)

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
