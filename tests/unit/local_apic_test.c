/* The local APIC: registers, priorities, messages, x2APIC, paravirtual EOI.
 * links: vmm-server/devices/local_apic.c vmm-server/devices/local_apic_registers.c lib/print.c */
#include "local_apic_machine.h"

/* ---- Registers ------------------------------------------------------------------------------- */

TEST(apic_after_reset, "registers as 11.4.7.1 has them")
{
    local_apic_init(apic, 0, &operations, NULL);
    EXPECT(get_msr(0x1b), 0xfee00900);
    EXPECT(get(VERSION), 0x00050014);
    EXPECT(get(SVR), 0xff);
    EXPECT(get(DFR), 0xffffffff);
    EXPECT(get(LDR), 0);
    EXPECT(get(TPR), 0);
    for (uint32_t offset = LVT_TIMER; offset <= LVT_ERROR; offset += 16)
        EXPECT(get(offset), MASKED);
    EXPECT(get(INITIAL), 0);
    EXPECT(get(CURRENT), 0);
    EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
    local_apic_init(&apics[1], 1, &operations, NULL);
    EXPECT(apics[1].base_msr, 0xfee00800);
    EXPECT(get_of(&apics[1], ID), 1u << 24);
}

TEST(apic_reserved_bits, "reserved and read-only bits stay as they are")
{
    start();
    set(ID, 0xff000000);
    EXPECT(get(ID), 0);
    set(VERSION, 0);
    EXPECT(get(VERSION), 0x00050014);
    set(TPR, 0xffffffff);
    EXPECT(get(TPR), 0xff);
    set(LDR, 0xffffffff);
    EXPECT(get(LDR), 0xff000000);
    set(DFR, 0);
    EXPECT(get(DFR), 0x0fffffff);
    set(LVT_TIMER, 0xffffffff);
    EXPECT(get(LVT_TIMER), 0x000700ff);
    set(LVT_LINT0, 0xffffffff);
    EXPECT(get(LVT_LINT0), 0x0001a7ff);
    set(LVT_ERROR, 0xffffffff);
    EXPECT(get(LVT_ERROR), 0x000100ff);
    set(DIVIDE, 0xffffffff);
    EXPECT(get(DIVIDE), 0xb);
    set(SVR, 0xffffffff);
    EXPECT(get(SVR), 0x3ff);
}

TEST(apic_page_offsets,
     "only aligned offsets of the page are there; reserved registers are an error of the guest's")
{
    uint32_t value;
    start();
    EXPECT(local_apic_read(apic, 0x21, &value, now), false);
    EXPECT(local_apic_read(apic, 0x24, &value, now), false);
    EXPECT(local_apic_write(apic, 0x1000, 0, now), false);
    EXPECT(get(0x3f0), 0);
    set(ESR, 0);
    EXPECT(get(ESR), 0x80);
    set(ESR, 0);
    EXPECT(get(ESR), 0);
}

TEST(apic_base_transitions, "the mode changes of figure 11-27 and no others")
{
    static const uint64_t modes[] = {0, 0x800, 0xc00};
    static const bool allowed[3][3] = {{1, 1, 0}, {1, 1, 1}, {1, 0, 1}};
    for (unsigned from = 0; from < 3; from++) {
        for (unsigned to = 0; to < 3; to++) {
            start();
            if (from != 1)
                set_msr(0x1b, 0xfee00100 | modes[from]);
            EXPECT(local_apic_write_msr(apic, 0x1b, 0xfee00100 | modes[to], now),
                   allowed[from][to]);
            EXPECT(get_msr(0x1b), 0xfee00100 | modes[allowed[from][to] ? to : from]);
        }
    }
    start();
    EXPECT(local_apic_write_msr(apic, 0x1b, 0xfee00500, now), false);
    EXPECT(local_apic_write_msr(apic, 0x1b, 0xfed00900, now), false);
    EXPECT(local_apic_write_msr(apic, 0x1b, 0xfee00901, now), false);
}

TEST(apic_disabled, "a disabled APIC has no page, takes nothing and starts anew")
{
    uint32_t value;
    start();
    local_apic_raise(apic, 0x50, false);
    set_msr(0x1b, 0xfee00100);
    EXPECT(local_apic_read(apic, ID, &value, now), false);
    EXPECT(local_apic_pending(apic), -1);
    local_apic_raise(apic, 0x51, false);
    struct apic_message nmi = {.delivery = APIC_NMI, .destination = APIC_BROADCAST};
    local_apic_deliver(all, APICS, NULL, &nmi);
    EXPECT(local_apic_events(apic), 0);
    EXPECT(local_apic_events(&apics[1]), APIC_EVENT_NMI);
    set_msr(0x1b, 0xfee00900);
    EXPECT(get(SVR), 0xff);
    set(SVR, 0x1ff);
    EXPECT(local_apic_pending(apic), -1);
}

TEST(apic_software_disable,
     "disabling by SVR masks the entries, refuses fixed interrupts and holds those there")
{
    start();
    set(LVT_ERROR, 0x40);
    local_apic_raise(apic, 0x50, false);
    set(SVR, 0xff);
    EXPECT(get(LVT_ERROR), MASKED | 0x40);
    set(LVT_ERROR, 0x41);
    EXPECT(get(LVT_ERROR), MASKED | 0x41);
    EXPECT(local_apic_pending(apic), -1);
    local_apic_raise(apic, 0x60, false);
    struct apic_message nmi = {.delivery = APIC_NMI};
    local_apic_signal(apic, &nmi);
    EXPECT(local_apic_events(apic), APIC_EVENT_NMI);
    set(SVR, 0x1ff);
    EXPECT(local_apic_pending(apic), 0x50);
}

/* ---- Priorities ------------------------------------------------------------------------------ */

TEST(apic_priorities, "the highest class goes first, and interrupts only a lower class")
{
    start();
    local_apic_raise(apic, 0x41, false);
    local_apic_raise(apic, 0x52, false);
    EXPECT(get(IRR + 0x20), 1u << 1 | 1u << 0x12);
    accept_pending(0x52);
    EXPECT(get(ISR + 0x20), 1u << 0x12);
    EXPECT(get(PPR), 0x50);
    EXPECT(local_apic_pending(apic), -1);
    local_apic_raise(apic, 0x5f, false); /* the same class waits */
    EXPECT(local_apic_pending(apic), -1);
    local_apic_raise(apic, 0x60, false);
    accept_pending(0x60);
    EXPECT(get(PPR), 0x60);
    set(EOI, 0);
    EXPECT(get(PPR), 0x50);
    set(EOI, 0);
    accept_pending(0x5f);
    set(EOI, 0);
    accept_pending(0x41);
    set(EOI, 0);
    EXPECT(get(PPR), 0);
    set(EOI, 0); /* one too many harms nothing */
    EXPECT(ended_count, 0);
}

TEST(apic_task_priority,
     "the task priority holds back its class and those below; CR8 is its upper half")
{
    start();
    local_apic_raise(apic, 0x55, false);
    set(TPR, 0x50);
    EXPECT(local_apic_pending(apic), -1);
    EXPECT(local_apic_cr8(apic), 5);
    EXPECT(get(PPR), 0x50);
    local_apic_set_cr8(apic, 4);
    EXPECT(get(TPR), 0x40);
    EXPECT(local_apic_pending(apic), 0x55);
    set(TPR, 0x47);
    EXPECT(get(PPR), 0x47);
    local_apic_accept(apic, 0x55);
    EXPECT(get(PPR), 0x50);
}

TEST(apic_handed_out,
     "a vector that waits with the processor is requested anew by who raises it meanwhile")
{
    start();
    local_apic_raise(apic, 0x55, false);
    local_apic_hand_out(apic, 0x55);
    EXPECT(get(IRR + 0x20), 0);
    kicks[0] = 0;
    local_apic_raise(apic, 0x55, false);
    EXPECT(kicks[0], 1);
    local_apic_hand_back(apic, 0x55, true);
    EXPECT(get(ISR + 0x20), 1u << 0x15);
    EXPECT(get(IRR + 0x20), 1u << 0x15);
    EXPECT(local_apic_pending(apic), -1);
    set(EOI, 0);
    accept_pending(0x55);
    set(EOI, 0);
    EXPECT(local_apic_pending(apic), -1);
}

TEST(apic_handed_back, "a vector that the processor did not take is requested as before, once")
{
    start();
    for (unsigned again = 0; again < 2; again++) {
        local_apic_raise(apic, 0x55, false);
        local_apic_hand_out(apic, 0x55);
        if (again)
            local_apic_raise(apic, 0x55, false);
        local_apic_hand_back(apic, 0x55, false);
        EXPECT(get(ISR + 0x20), 0);
        accept_pending(0x55);
        set(EOI, 0);
        EXPECT(local_apic_pending(apic), -1);
    }
}

TEST(apic_level, "the end of a level-triggered interrupt is told to the IOAPIC, an edge's is not")
{
    start();
    local_apic_raise(apic, 0x70, true);
    EXPECT(get(TMR + 0x30), 1u << 16);
    accept_pending(0x70);
    set(EOI, 0);
    EXPECT(ended_count, 1);
    EXPECT(ended, 0x70);
    local_apic_raise(apic, 0x70, false);
    EXPECT(get(TMR + 0x30), 0);
    accept_pending(0x70);
    set(EOI, 0);
    EXPECT(ended_count, 1);
}

TEST(apic_one_kick, "a request kicks once until it is taken")
{
    start();
    local_apic_raise(apic, 0x70, false);
    local_apic_raise(apic, 0x70, false);
    EXPECT(kicks[0], 1);
    accept_pending(0x70);
    local_apic_raise(apic, 0x70, false);
    EXPECT(kicks[0], 2);
}

/* ---- Messages -------------------------------------------------------------------------------- */

TEST(apic_destinations_xapic, "physical, flat, cluster and broadcast destinations in xAPIC mode")
{
    start();
    struct apic_message message = {.destination = 2, .vector = 0x40};
    for (unsigned i = 0; i < APICS; i++)
        EXPECT(local_apic_matches(&apics[i], &message), i == 2);
    message.destination = APIC_BROADCAST;
    for (unsigned i = 0; i < APICS; i++)
        EXPECT(local_apic_matches(&apics[i], &message), true);
    message.logical = true;
    message.destination = 0x5;
    for (unsigned i = 0; i < APICS; i++)
        EXPECT(local_apic_matches(&apics[i], &message), i == 0 || i == 2);
    for (unsigned i = 0; i < APICS; i++) {
        set_of(&apics[i], DFR, 0x0fffffff);
        set_of(&apics[i], LDR, (i / 2 << 4 | 1u << i % 2) << 24);
    }
    message.destination = 0x13; /* cluster 1, both */
    for (unsigned i = 0; i < APICS; i++)
        EXPECT(local_apic_matches(&apics[i], &message), i >= 2);
    message.destination = 0x02;
    for (unsigned i = 0; i < APICS; i++)
        EXPECT(local_apic_matches(&apics[i], &message), i == 1);
}

TEST(apic_destinations_x2apic, "x2APIC: 32-bit IDs, and logical IDs derived from them")
{
    struct local_apic big;
    local_apic_init(&big, 0x123, &operations, NULL);
    CHECK(local_apic_write_msr(&big, 0x1b, 0xfee00c00, now));
    EXPECT(big.ldr, 0x00120008);
    struct apic_message message = {.destination = 0x123};
    EXPECT(local_apic_matches(&big, &message), true);
    message.destination = 0x23;
    EXPECT(local_apic_matches(&big, &message), false);
    message.logical = true;
    message.destination = 0x0012000c;
    EXPECT(local_apic_matches(&big, &message), true);
    message.destination = 0x00120007;
    EXPECT(local_apic_matches(&big, &message), false);
    message.destination = 0x00020008;
    EXPECT(local_apic_matches(&big, &message), false);
}

TEST(apic_command_register, "the ICR's fields become a message, once, when its low half is written")
{
    start();
    set(ICR2, 0x03000000);
    EXPECT(sent_count, 0);
    set(ICR, 0x4041); /* assert, physical, fixed */
    EXPECT(sent_count, 1);
    EXPECT(get_of(&apics[3], IRR + 0x20), 2);
    EXPECT(kicks[3], 1);
    EXPECT(get(ICR), 0x4041);
    EXPECT(get(ICR2), 0x03000000);
    set(ICR2, 0xff000000);
    set(ICR, 0xc842); /* to all, logical; the level bit is INIT's alone */
    for (unsigned i = 0; i < APICS; i++) {
        EXPECT(get_of(&apics[i], IRR + 0x20) & 4, 4);
        EXPECT(get_of(&apics[i], TMR + 0x20), 0);
    }
}

TEST(apic_shorthands, "self, all, all but self")
{
    static const unsigned expected[] = {1, 15, 14};
    for (unsigned shorthand = 1; shorthand <= 3; shorthand++) {
        start();
        set(ICR, shorthand << 18 | 0x4050);
        for (unsigned i = 0; i < APICS; i++)
            EXPECT(get_of(&apics[i], IRR + 0x20) != 0, expected[shorthand - 1] >> i & 1);
    }
}

TEST(apic_lowest_priority, "lowest priority picks one of the lowest class, spread by vector")
{
    start();
    set(TPR, 0x20);
    set_of(&apics[2], TPR, 0x20);
    unsigned got[APICS] = {0};
    for (unsigned vector = 0x40; vector < 0x60; vector++) {
        struct apic_message message = {.destination = 0xf,
                                       .logical = true,
                                       .delivery = APIC_LOWEST,
                                       .vector = (uint8_t)vector};
        memset(kicks, 0, sizeof kicks);
        local_apic_deliver(all, APICS, NULL, &message);
        EXPECT(kicks[0] + kicks[1] + kicks[2] + kicks[3], 1);
        for (unsigned i = 0; i < APICS; i++)
            got[i] += kicks[i];
    }
    EXPECT(got[0], 0);
    EXPECT(got[1], 16);
    EXPECT(got[2], 0);
    EXPECT(got[3], 16);
}

TEST(apic_startup,
     "INIT and SIPI reach the run loop; INIT cancels an older SIPI, a de-assert does nothing")
{
    start();
    set(ICR2, 0x01000000);
    set(ICR, 0x8500); /* INIT level de-assert */
    EXPECT(local_apic_events(&apics[1]), 0);
    set(ICR, 0xc500);
    EXPECT(local_apic_events(&apics[1]), APIC_EVENT_INIT);
    set(ICR, 0x4699);
    EXPECT(apics[1].startup_vector, 0x99);
    EXPECT(local_apic_events(&apics[1]), APIC_EVENT_STARTUP);
    set(ICR, 0x4699);
    set(ICR, 0x4500);
    EXPECT(local_apic_events(&apics[1]), APIC_EVENT_INIT);
    set(ICR, 0x4500);
    set(ICR, 0x4698);
    EXPECT(local_apic_events(&apics[1]), APIC_EVENT_INIT | APIC_EVENT_STARTUP);
    EXPECT(local_apic_events(&apics[1]), 0);
    EXPECT(kicks[1], 6);
    set(ICR, 0x4400);
    set(ICR, 0x4700);
    EXPECT(local_apic_events(&apics[1]), APIC_EVENT_NMI | APIC_EVENT_EXTINT);
}

TEST(apic_errors, "illegal vectors are noted, reported once written, and raise the error interrupt")
{
    start();
    set(LVT_ERROR, 0xe0);
    set(ICR, 1u << 18 | 5);
    EXPECT(sent_count, 0);
    EXPECT(get(ESR), 0);
    set(ESR, 0);
    EXPECT(get(ESR), 0x20);
    accept_pending(0xe0);
    set(EOI, 0);
    local_apic_raise(apic, 15, false);
    EXPECT(local_apic_pending(apic), 0xe0);
    set(ESR, 0);
    EXPECT(get(ESR), 0x40);
    set(LVT_ERROR, 3); /* an illegal vector of its own */
    local_apic_raise(apic, 15, false);
    set(ESR, 0);
    EXPECT(get(ESR), 0x40);
}

/* ---- x2APIC ---------------------------------------------------------------------------------- */

TEST(apic_x2apic_access, "MSRs are there in x2APIC mode alone, the page in xAPIC mode alone")
{
    uint64_t value;
    uint32_t word;
    start();
    EXPECT(local_apic_read_msr(apic, 0x802, &value, now), false);
    EXPECT(local_apic_write_msr(apic, 0x80b, 0, now), false);
    start_x2apic();
    EXPECT(local_apic_read(apic, ID, &word, now), false);
    EXPECT(local_apic_write(apic, EOI, 0, now), false);
    EXPECT(get_msr(0x802), 0);
    EXPECT(get_msr(0x803), 0x00050014);
    EXPECT(get_msr(0x80d), 1);
    EXPECT(get_msr(0x80f), 0x1ff);
}

TEST(apic_x2apic_faults,
     "registers that are not there, or that way, fault, and so do reserved bits")
{
    static const uint8_t readable[] = {0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x28, 0x30, 0x32,
                                       0x33, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3e};
    static const uint8_t writable[] = {0x08, 0x0b, 0x0f, 0x28, 0x30, 0x32, 0x33,
                                       0x34, 0x35, 0x36, 0x37, 0x38, 0x3e, 0x3f};
    uint64_t value;
    start_x2apic();
    for (uint32_t i = 0; i < 0x40; i++) {
        bool can_read = (i >= 0x10 && i < 0x28) || memchr(readable, (int)i, sizeof readable);
        bool can_write = memchr(writable, (int)i, sizeof writable) != NULL;
        EXPECT(local_apic_read_msr(apic, 0x800 + i, &value, now), can_read);
        EXPECT(local_apic_write_msr(apic, 0x800 + i, 0, now), can_write);
        if (i != 0x30)
            EXPECT(local_apic_write_msr(apic, 0x800 + i, 1ull << 32, now), false);
    }
    EXPECT(local_apic_write_msr(apic, 0x80b, 1, now), false);
    EXPECT(local_apic_write_msr(apic, 0x828, 1, now), false);
    EXPECT(local_apic_write_msr(apic, 0x808, 0x100, now), false);
    EXPECT(local_apic_write_msr(apic, 0x80f, 0x1000, now), false);
    EXPECT(local_apic_write_msr(apic, 0x832, 0x80000, now), false);
    EXPECT(local_apic_write_msr(apic, 0x830, 1 << 16, now), false);
    EXPECT(local_apic_write_msr(apic, 0x83e, 4, now), false);
}

TEST(apic_x2apic_messages, "one 64-bit ICR, 32-bit destinations, the self-IPI register")
{
    start_x2apic();
    for (unsigned i = 0; i < APICS; i++)
        CHECK(local_apic_write_msr(&apics[i], 0x80f, 0x1ff, now));
    set_msr(0x830, 2ull << 32 | 0x4041);
    EXPECT(kicks[2], 1);
    EXPECT(get_msr(0x830), 2ull << 32 | 0x4041);
    set_msr(0x830, 0xaull << 32 | 0x4842); /* logical: 1 and 3 */
    EXPECT(kicks[1], 1);
    EXPECT(kicks[3], 1);
    EXPECT(kicks[2], 1);
    set_msr(0x83f, 0x77);
    EXPECT(sent_count, 2);
    accept_pending(0x77);
    set_msr(0x80b, 0);
    set_msr(0x83f, 3);
    set_msr(0x828, 0);
    EXPECT(get_msr(0x828), 0x20);
}

TEST(apic_init_keeps_mode, "INIT keeps ID and x2APIC mode, and resets the rest")
{
    start_x2apic();
    set_msr(0x808, 0x40);
    local_apic_raise(apic, 0x60, false);
    local_apic_reset(apic, true);
    EXPECT(get_msr(0x1b), 0xfee00d00);
    EXPECT(get_msr(0x808), 0);
    EXPECT(get_msr(0x80d), 1);
    EXPECT(get_msr(0x80f), 0xff);
    EXPECT(get_msr(0x823), 0);
    local_apic_reset(apic, false);
    EXPECT(get_msr(0x1b), 0xfee00900);
}

/* ---- Paravirtual EOI ------------------------------------------------------------------------- */

TEST(apic_pv_eoi, "a single edge interrupt is ended by the guest's clearing of its word")
{
    uint32_t word = 0;
    start();
    local_apic_set_pv_eoi(apic, &word);
    local_apic_raise(apic, 0x50, false);
    accept_pending(0x50);
    EXPECT(word, 1);
    EXPECT(local_apic_pending(apic), -1);
    EXPECT(get(ISR + 0x20), 1u << 16);
    EXPECT(word, 1);
    word = 0;
    EXPECT(get(ISR + 0x20), 0);
    local_apic_raise(apic, 0x51, false);
    accept_pending(0x51);
    word = 0;
    local_apic_raise(apic, 0x40, false);
    EXPECT(local_apic_pending(apic), 0x40);
    EXPECT(get(PPR), 0);
}

TEST(apic_pv_eoi_not_armed, "not for level-triggered, nested or followed interrupts")
{
    uint32_t word = 0;
    start();
    local_apic_set_pv_eoi(apic, &word);
    local_apic_raise(apic, 0x50, true);
    accept_pending(0x50);
    EXPECT(word, 0);
    set(EOI, 0);
    local_apic_raise(apic, 0x50, false);
    local_apic_raise(apic, 0x40, false);
    accept_pending(0x50);
    EXPECT(word, 0); /* another waits */
    set(EOI, 0);
    accept_pending(0x40);
    EXPECT(word, 1);
    local_apic_raise(apic, 0x60, false);
    accept_pending(0x60);
    EXPECT(word, 0); /* nested */
}

TEST(apic_pv_eoi_disarmed, "a new request takes the word back, and the guest's EOI counts once")
{
    uint32_t word = 0;
    start();
    local_apic_set_pv_eoi(apic, &word);
    local_apic_raise(apic, 0x50, false);
    accept_pending(0x50);
    local_apic_raise(apic, 0x41, false);
    EXPECT(local_apic_pending(apic), -1);
    EXPECT(word, 0);
    set(EOI, 0);
    EXPECT(local_apic_pending(apic), 0x41);
    accept_pending(0x41);
    EXPECT(word, 1);
    set(EOI, 0); /* it may ignore the word */
    EXPECT(word, 0);
    EXPECT(get(PPR), 0);
    local_apic_raise(apic, 0x50, false);
    accept_pending(0x50);
    local_apic_set_pv_eoi(apic, NULL);
    EXPECT(word, 0);
    EXPECT(get(PPR), 0x50);
}

TEST(apic_pv_eoi_waiting,
     "a vector that waits with the processor is ended by the word too, unless it was not taken")
{
    uint32_t word = 0;
    start();
    local_apic_set_pv_eoi(apic, &word);
    local_apic_raise(apic, 0x50, false);
    local_apic_hand_out(apic, 0x50);
    EXPECT(word, 1);
    word = 0; /* taken and ended without an exit */
    local_apic_hand_back(apic, 0x50, true);
    EXPECT(local_apic_pending(apic), -1);
    EXPECT(get(ISR + 0x20), 0);
    local_apic_raise(apic, 0x50, false);
    local_apic_hand_out(apic, 0x50);
    local_apic_hand_back(apic, 0x50, false);
    EXPECT(word, 0);
    EXPECT(local_apic_pending(apic), 0x50);
    local_apic_hand_out(apic, 0x50);
    local_apic_raise(apic, 0x61, false); /* meanwhile */
    local_apic_hand_back(apic, 0x50, true);
    EXPECT(local_apic_pending(apic), 0x61);
    EXPECT(word, 0);
    EXPECT(get(ISR + 0x20), 1u << 16);
    local_apic_hand_out(apic, 0x61);
    EXPECT(word, 0); /* nested */
}

TEST(apic_pv_eoi_other_bits, "only the lowest bit of the word is touched")
{
    uint32_t word = 0xfffffffe;
    start();
    local_apic_set_pv_eoi(apic, &word);
    local_apic_raise(apic, 0x50, false);
    accept_pending(0x50);
    EXPECT(word, 0xffffffff);
    local_apic_reset(apic, true);
    EXPECT(word, 0xfffffffe);
}
