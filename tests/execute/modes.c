/* The states in which instructions are compared. */
#include "compare.h"

#define CR0_PE      1ull
#define CR0_ET      16ull
#define CR0_NE      32ull
#define CR0_WP      (1ull << 16)
#define CR0_PG      (1ull << 31)
#define CR4_PSE     (1ull << 4)
#define CR4_PAE     (1ull << 5)
#define CR4_SMAP    (1ull << 21)
#define EFER_LONG   (1ull << 8 | 1ull << 10)
#define EFER_NXE    (1ull << 11)

#define RFLAGS_ONE  2ull
#define RFLAGS_IOPL (3ull << 12)
#define RFLAGS_VM   (1ull << 17)
#define RFLAGS_AC   (1ull << 18)
#define ARITHMETIC  0xcd5u /* CF PF AF ZF SF DF OF */

#define UNUSABLE    VCPU_SEGMENT_UNUSABLE
#define PRESENT     0x93u /* data, writable, accessed */
#define BIG         (1u << 14)
#define PAGES       (1u << 15)
#define LONG_CODE   (1u << 13)

enum entry_bits {
    ENTRY_PRESENT = 1,
    ENTRY_WRITABLE = 2,
    ENTRY_USER = 4,
    ENTRY_ACCESSED = 32,
    ENTRY_DIRTY = 64,
};

const char *const mode_names[MODE_COUNT] = {
    "real",     "virtual-8086", "protected 16",     "protected 32",     "paged 16",
    "paged 32", "PAE",          "compatibility 16", "compatibility 32", "long",
};

struct vm machine;
uint8_t copy[GUEST_PAGES * 4096];

static const uint8_t window_order[WINDOW_PAGES + 1] = {2, 0, 3, 1, 4};

unsigned pick(unsigned below)
{
    return (unsigned)(test_random() >> 20) % below;
}

void both_write(uint64_t at, const void *data, size_t size_bytes)
{
    CHECK(at + size_bytes <= sizeof copy);
    memcpy(machine.memory + at, data, size_bytes);
    memcpy(copy + at, data, size_bytes);
}

/* ---- Page tables ----------------------------------------------------------------------------- */

static unsigned entry_bytes(enum mode mode)
{
    return mode == MODE_PAGED_16 || mode == MODE_PAGED_32 || mode == MODE_VIRTUAL_8086 ? 4 : 8;
}

static unsigned levels(enum mode mode)
{
    return entry_bytes(mode) == 4 ? 2 : mode == MODE_PAE_32 ? 3 : 4;
}

static void put_entry(const struct trial *trial, unsigned table, unsigned index, uint64_t entry)
{
    unsigned size = entry_bytes(trial->mode);
    both_write(TABLES + table * 4096 + index * size, &entry, size);
}

/* Mostly a good page; every eighth one lacks something. */
static uint64_t window_rights(bool no_execute)
{
    uint64_t rights = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER;
    if (pick(8) == 0)
        rights &= ~(1ull << pick(3));
    if (pick(2))
        rights |= ENTRY_ACCESSED | (pick(2) ? ENTRY_DIRTY : 0);
    if (no_execute && pick(2))
        rights |= 1ull << 63;
    if (no_execute && pick(40) == 0)
        rights |= 1ull << 51; /* beyond the physical address */
    return rights;
}

/* The first 2 or 4 MiB by one page table: code and tables as they lie, the window in another order. */
static void make_tables(const struct trial *trial, bool no_execute)
{
    unsigned last = levels(trial->mode) - 1;
    uint64_t pointer = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER | ENTRY_ACCESSED;
    uint64_t code = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_ACCESSED | ENTRY_DIRTY |
                    (trial->level == 3 ? (uint64_t)ENTRY_USER : 0);
    for (unsigned i = 0; i < last; i++) {
        bool bare = i == 0 && trial->mode == MODE_PAE_32;
        put_entry(trial, i, 0,
                  (TABLES + (i + 1) * 4096) | (bare ? (uint64_t)ENTRY_PRESENT : pointer));
    }
    put_entry(trial, last, DESCRIPTORS / 4096, DESCRIPTORS | ENTRY_PRESENT | ENTRY_WRITABLE);
    for (unsigned i = 0; i < CODE_BYTES / 4096; i++)
        put_entry(trial, last, CODE / 4096 + i, (CODE + i * 4096) | code);
    for (unsigned i = 0; i <= WINDOW_PAGES; i++)
        put_entry(trial, last, WINDOW / 4096 + i,
                  (WINDOW + window_order[i] * 4096ull) | window_rights(no_execute));
}

static bool tables_equal(const struct trial *trial, uint8_t ignored)
{
    unsigned last = levels(trial->mode) - 1;
    const uint8_t *a = machine.memory + TABLES + last * 4096, *b = copy + TABLES + last * 4096;
    for (unsigned i = 0; i < 256; i++)
        if ((a[i] ^ b[i]) & ~(i % entry_bytes(trial->mode) ? 0u : ignored))
            return false;
    return true;
}

bool mode_memory_equal(const struct trial *trial, bool done)
{
    return memcmp(machine.memory + WINDOW, copy + WINDOW, WINDOW_BYTES + 4096) == 0 &&
           memcmp(machine.memory + DESCRIPTORS, copy + DESCRIPTORS, 4096) == 0 &&
           (!trial->paged || tables_equal(trial, done ? 0 : ENTRY_ACCESSED));
}

/* ---- Segments -------------------------------------------------------------------------------- */

static struct vcpu_segment plain_segment(uint64_t base, bool virtual)
{
    return (struct vcpu_segment){.selector = (uint16_t)(base >> 4),
                                 .base = base,
                                 .limit = 0xffff,
                                 .attributes = virtual ? 0xf3 : PRESENT};
}

/* Under the window, so that 16 bits reach it. */
static uint64_t low_base(void)
{
    return 0x8000 + pick(0x780) * 16;
}

/* What an emulator that looks at segments would refuse: read only, expand-down, short, none at all. */
static void spoil(struct vcpu_segment *segment, bool stack)
{
    switch (pick(stack ? 2 : 4)) {
    case 0:
        segment->limit = WINDOW + pick(WINDOW_BYTES) - (uint32_t)segment->base;
        segment->attributes &= ~PAGES;
        break;
    case 1:
        segment->limit = WINDOW + pick(WINDOW_BYTES) - (uint32_t)segment->base;
        segment->attributes = (segment->attributes & ~PAGES) | 4;
        break;
    case 2: segment->attributes &= ~2u; break;
    case 3: segment->attributes |= UNUSABLE; break;
    }
}

static void protected_segments(const struct trial *trial, struct vcpu_state *state)
{
    uint32_t level = trial->level << 5;
    bool big = pick(2);
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++) {
        struct vcpu_segment *segment = &state->segment[i];
        *segment = (struct vcpu_segment){.selector = (uint16_t)(0x10 | trial->level),
                                         .base = low_base(),
                                         .limit = 0xffffffff,
                                         .attributes = PRESENT | level | BIG | PAGES};
        if (pick(16) == 0)
            segment->base = 0xfffff000; /* linear addresses begin anew */
        if (i == VCPU_SS && !big)
            segment->attributes &= ~BIG;
        if (!vm_is_qemu() && /* which looks at no limits and types */
            i != VCPU_CS && pick(8) == 0)
            spoil(segment, i == VCPU_SS);
    }
    state->segment[VCPU_CS] =
        (struct vcpu_segment){.selector = (uint16_t)(8 | trial->level),
                              .base = trial->code_bytes == 2 ? CODE : 0,
                              .limit = trial->code_bytes == 2 ? 0xffff : 0xffffffff,
                              .attributes = 0x9b | level | (trial->code_bytes == 4 ? BIG : 0) |
                                            (trial->code_bytes == 2 ? 0 : PAGES)};
}

static void long_segments(const struct trial *trial, struct vcpu_state *state)
{
    protected_segments(trial, state);
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++) {
        state->segment[i].limit = 0xffffffff;
        state->segment[i].attributes = PRESENT | trial->level << 5 | BIG | PAGES;
    }
    state->segment[VCPU_CS].attributes = 0x9b | trial->level << 5 | LONG_CODE | PAGES;
    /* QEMU adds the base of ES, SS and DS if an instruction names them; the manual (SDM 1, 3.4.2.1): there is none. */
    for (unsigned i = VCPU_ES; i <= VCPU_DS && vm_is_qemu(); i++)
        state->segment[i].base = 0;
    for (unsigned i = VCPU_FS; i <= VCPU_GS; i++)
        if (pick(2))
            state->segment[i].base = 0x7fff00000000ull + ((uint64_t)pick(4096) << 12);
}

static void set_segments(const struct trial *trial, struct vcpu_state *state)
{
    bool plain = trial->mode <= MODE_VIRTUAL_8086;
    state->segment[VCPU_LDTR] = (struct vcpu_segment){
        .selector = 0x50, .base = LOCAL_DESCRIPTORS, .limit = 0x3f, .attributes = 0x82};
    state->segment[VCPU_TR] =
        (struct vcpu_segment){.selector = 0x58, .limit = 0x67, .attributes = 0x8b};
    state->gdtr = (struct vcpu_table){.base = DESCRIPTORS, .limit = DESCRIPTOR_COUNT * 8 - 1 - 40};
    state->idtr = (struct vcpu_table){.base = 0, .limit = 0x3ff};
    if (trial->mode == MODE_LONG)
        long_segments(trial, state);
    else if (!plain)
        protected_segments(trial, state);
    for (unsigned i = VCPU_ES; plain && i <= VCPU_GS; i++)
        state->segment[i] =
            plain_segment(i == VCPU_CS ? CODE : low_base(), trial->mode == MODE_VIRTUAL_8086);
}

/* Code that a far branch reaches begins where ours does. Gates and tasks are left out then: they lead anywhere. */
static uint64_t code_base(const struct trial *trial, uint64_t *type)
{
    if (*type < 16)
        *type = (unsigned[]){0, 2, 8, 10}[pick(4)];
    else if (pick(2))
        *type |= 8;
    if (vm_is_qemu()) /* which does not mark them as accessed */
        *type |= *type >> 4;
    return *type >= 0x18 ? (trial->code_bytes == 2 ? CODE : 0) : low_base();
}

static uint64_t system_type(void)
{
    return (unsigned[]){1, 2, 2, 2, 3, 9, 9, 11}[pick(8)];
}

/* Descriptors of all kinds, in both tables. In long mode that of a system segment has 16 bytes: the next is often 0. */
static void make_descriptors(const struct trial *trial)
{
    bool far = (trial->form->special & BRANCHES) != 0;
    bool system = (trial->form->special & SYSTEM) != 0;
    for (unsigned i = 1; i < DESCRIPTOR_COUNT; i++) {
        uint64_t base = low_base(), limit = pick(2) ? 0xfffff : pick(0x100000);
        uint64_t type = 0x10 | pick(16), level = pick(3) ? 3 * pick(2) : pick(4);
        if (pick(8) == 0)
            type &= 15;
        if (system && pick(4))
            type = system_type();
        if (far) {
            base = code_base(trial, &type);
            level = pick(4) ? trial->level : level;
        }
        /* 64-bit code, which has no base; with both sizes it is refused, but not by QEMU. Nor does a call go there from
         * another size. */
        bool wide = far && pick(2) && trial->code_bytes != 2 &&
                    (trial->form->extension != 3 || on_long(trial));
        wide = wide || (far && trial->form->extension == 3 && on_long(trial));
        bool big = pick(2) && !(wide && vm_is_qemu());
        uint64_t entry = (limit & 0xffff) | (base & 0xffffff) << 16 | type << 40 | level << 45 |
                         (uint64_t)(pick(8) != 0) << 47 | (limit >> 16) << 48 |
                         (uint64_t)(big << 2 | wide << 1) << 52 | (uint64_t)pick(2) << 55;
        uint64_t at = i < DESCRIPTOR_COUNT / 2 ? DESCRIPTORS + i * 8
                                               : LOCAL_DESCRIPTORS + (i - DESCRIPTOR_COUNT / 2) * 8;
        if (system && (i & 1) && pick(4))
            entry = 0;
        both_write(at, &entry, 8);
    }
}

/* ---- Modes ----------------------------------------------------------------------------------- */

static void set_control(struct trial *trial, struct vcpu_state *state)
{
    bool no_execute = false;
    state->cr0 = CR0_ET | CR0_NE | (trial->mode == MODE_REAL ? 0 : CR0_PE);
    state->cr2 = 0xdead0000;
    state->cr3 = state->cr4 = state->efer = 0;
    if (trial->paged) {
        state->cr3 = TABLES;
        state->cr0 |= CR0_PG | (pick(2) ? CR0_WP : 0);
        if (entry_bytes(trial->mode) == 8) {
            state->cr4 = CR4_PAE;
            no_execute = true;
            state->efer = EFER_NXE;
        } else {
            state->cr4 = CR4_PSE;
        }
        if (pick(4) == 0)
            state->cr4 |= CR4_SMAP;
        if (trial->mode >= MODE_COMPATIBILITY_16)
            state->efer |= EFER_LONG;
        make_tables(trial, no_execute);
    }
    memset(state->pdpte, 0, sizeof state->pdpte);
    if (trial->mode == MODE_PAE_32)
        state->pdpte[0] = (TABLES + 4096) | 1;
}

void mode_enter(struct trial *trial, struct vcpu_state *state)
{
    static const uint8_t sizes[MODE_COUNT] = {2, 2, 2, 4, 2, 4, 4, 2, 4, 8};
    trial->code_bytes = sizes[trial->mode];
    trial->paged = trial->mode == MODE_VIRTUAL_8086 || trial->mode >= MODE_PAGED_16;
    trial->level = trial->mode == MODE_REAL           ? 0
                   : trial->mode == MODE_VIRTUAL_8086 ? 3
                                                      : 3 * pick(2);
    set_control(trial, state);
    set_segments(trial, state);
    if (trial->form->group == GROUP_SEGMENT || (trial->form->special & FAR))
        make_descriptors(trial);
    state->rflags = RFLAGS_ONE | (test_random() & ARITHMETIC) | (pick(2) ? RFLAGS_IOPL : 0) |
                    (pick(2) ? RFLAGS_AC : 0);
    if (trial->mode == MODE_VIRTUAL_8086)
        state->rflags |= RFLAGS_VM;
    state->interruptibility = 0;
    state->activity = VCPU_ACTIVITY_ACTIVE;
}
