/*
 * virtio: registers, queues, console and random devices.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c lib/print.c
 */
#include "virtio_machine.h"

/* ---- Registers ------------------------------------------------------------------------------- */

TEST(virtio_identity, "magic, version, device and vendor, and no shared memory")
{
    start_console(0);
    EXPECT(get(0), 0x74726976);
    EXPECT(get(4), 2);
    EXPECT(get(8), 3);
    EXPECT(get(0xb0), 0xffffffff);
    EXPECT(get(0xb4), 0xffffffff);
    EXPECT(window.size, 0x200);
    start_random(0);
    EXPECT(get(8), 4);
}

TEST(virtio_feature_choice,
     "features are accepted only if offered and with VERSION_1, and settled then")
{
    start_console(0);
    set(0x14, 0);
    EXPECT(get(0x10), 0x30000004);
    set(0x14, 1);
    EXPECT(get(0x10), 1);
    set(0x14, 2);
    EXPECT(get(0x10), 0);
    negotiate(0);
    EXPECT(get(0x70), 3);
    negotiate(VERSION_1 | 2);
    EXPECT(get(0x70), 3);
    negotiate(VERSION_1 | 1ull << 33);
    EXPECT(get(0x70), 3);
    negotiate(VERSION_1 | 4);
    EXPECT(get(0x70), 11);
    set(0x24, 0);
    set(0x20, 0xffffffff);
    EXPECT(console.device.driver_features, VERSION_1 | 4);
}

TEST(virtio_undefined_accesses, "other sizes, alignments and configuration bytes are refused")
{
    uint64_t value;
    start_console(0);
    EXPECT(window.operations->read(window.device, 0, 1, &value), false);
    EXPECT(window.operations->read(window.device, 2, 4, &value), false);
    EXPECT(window.operations->write(window.device, 0x70, 8, 0), false);
    EXPECT(window.operations->read(window.device, 0x10c, 1, &value), false);
    EXPECT(window.operations->read(window.device, 0x109, 4, &value), false);
    EXPECT(window.operations->read(window.device, 0x104, 4, &value), true);
    EXPECT(window.operations->write(window.device, 0x100, 1, 0), false);
    start_random(0);
    EXPECT(window.operations->read(window.device, 0x100, 1, &value), false);
}

TEST(virtio_queue_settings,
     "sizes, alignment and places of rings are checked when a queue becomes ready")
{
    static const struct {
        uint32_t offset, value;
    } bad[] = {{0x38, 0},
               {0x38, 3},
               {0x38, 512},
               {0x80, RAM_BASE + 8},
               {0x90, RAM_BASE + 1},
               {0xa0, RAM_BASE + 2},
               {0x80, 0x1000},
               {0x84, 1},
               {0x90, RAM_BASE + RAM_BYTES - 6},
               {0xa4, 0xffffffff},
               {0xa0, RAM_BASE + RAM_BYTES - 64}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        start_console(0);
        set(0x30, 0);
        set(0x44, 0);
        EXPECT(get(0x44), 0);
        set(bad[i].offset, bad[i].value);
        set(0x44, 1);
        EXPECT(get(0x44), 0);
        CHECK(failed());
        CHECK(strstr(text, "virtio-console") != NULL);
        set(0x70, 0);
        EXPECT(get(0x70), 0);
    }
    start_console(0);
    set(0x30, 7);
    EXPECT(get(0x34), 0);
    EXPECT(get(0x44), 0);
    set(0x44, 1);
    set(0x30, 0);
    set(0x80, 0); /* a ready queue keeps its place */
    EXPECT(console.device.queues[0].descriptors, RAM_BASE);
    CHECK(!failed());
}

TEST(virtio_not_before_ready,
     "nothing is taken before DRIVER_OK, after a reset or by a queue that is not")
{
    start_console(0);
    memcpy(data(0), "x", 1);
    negotiate(VERSION_1);
    set_queue(TRANSMIT);
    describe(TRANSMIT, 0, DATA, 1, 0, 0);
    offer(TRANSMIT, 0);
    ring(TRANSMIT);
    EXPECT(output_count, 0);
    set(0x70, 15);
    ring(TRANSMIT);
    EXPECT(output_count, 1);
    ring(RECEIVE);
    ring(99);
    set(0x70, 0);
    offer(TRANSMIT, 0);
    ring(TRANSMIT);
    EXPECT(output_count, 1);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

TEST(virtio_console_sends,
     "chains of buffers go out in order, and are given back with an interrupt")
{
    start_console(0);
    memcpy(data(0), "hello, world", 12);
    describe(TRANSMIT, 3, DATA, 5, NEXT, 1);
    describe(TRANSMIT, 1, DATA + 5, 0, NEXT, 6);
    describe(TRANSMIT, 6, DATA + 5, 7, 0, 0);
    offer(TRANSMIT, 3);
    ring(TRANSMIT);
    CHECK(strcmp(output, "hello, world") == 0);
    EXPECT(rings(TRANSMIT)->used.index, 1);
    EXPECT(rings(TRANSMIT)->used.entries[0].head, 3);
    EXPECT(rings(TRANSMIT)->used.entries[0].written, 0);
    CHECK(high);
    EXPECT(get(0x60), 1);
    set(0x64, 1);
    CHECK(!high);
    EXPECT(get(0x60), 0);
}

TEST(virtio_console_waits_for_room,
     "a full far end holds the buffer, and the rest follows in order")
{
    start_console(0);
    memcpy(data(0), "abcdefghij", 10);
    describe(TRANSMIT, 0, DATA, 4, NEXT, 1);
    describe(TRANSMIT, 1, DATA + 4, 6, 0, 0);
    offer(TRANSMIT, 0);
    offer(TRANSMIT, 0);
    output_room = 6;
    ring(TRANSMIT);
    EXPECT(rings(TRANSMIT)->used.index, 0);
    ring(TRANSMIT);
    EXPECT(output_count, 6);
    output_room = 6;
    virtio_console_room(&console);
    EXPECT(rings(TRANSMIT)->used.index, 1);
    output_room = 100;
    virtio_console_room(&console);
    CHECK(strcmp(output, "abcdefghijabcdefghij") == 0);
    EXPECT(rings(TRANSMIT)->used.index, 2);
    output_room = 1;
    offer(TRANSMIT, 0);
    ring(TRANSMIT);
    output_room = 100;
    drive(0, 2); /* a reset forgets what is held */
    virtio_console_room(&console);
    EXPECT(output_count, 21);
}

TEST(virtio_console_receives, "input goes into the guest's buffers, which wait for it")
{
    start_console(0);
    describe(RECEIVE, 0, DATA, 4, WRITE | NEXT, 1);
    describe(RECEIVE, 1, DATA + 4, 4, WRITE, 0);
    offer(RECEIVE, 0);
    ring(RECEIVE);
    EXPECT(rings(RECEIVE)->used.index, 0);
    input = "typed";
    virtio_console_input(&console);
    EXPECT(rings(RECEIVE)->used.index, 1);
    EXPECT(rings(RECEIVE)->used.entries[0].written, 5);
    CHECK(memcmp(data(0), "typed", 5) == 0);
    CHECK(high);
    input = "more than it has room for";
    virtio_console_input(&console);
    EXPECT(strlen(input), 25); /* nowhere to put it: it stays */
    offer(RECEIVE, 0);
    ring(RECEIVE);
    EXPECT(rings(RECEIVE)->used.entries[1].written, 8);
    EXPECT(strlen(input), 17);
}

TEST(virtio_console_emergency, "the emergency register writes a character, driver or not")
{
    start_console(0);
    set(0x70, 0);
    set(0x108, 'E');
    CHECK(strcmp(output, "E") == 0);
}

TEST(virtio_indirect, "an indirect table, also behind direct descriptors, if it was agreed on")
{
    struct descriptor *table = (struct descriptor *)data(0x1000);
    for (unsigned agreed = 0; agreed < 2; agreed++) {
        start_console(agreed ? WITH_TABLES : 0);
        memcpy(data(0), "abcdef", 6);
        table[0] = (struct descriptor){DATA + 2, 2, NEXT, 2};
        table[2] = (struct descriptor){DATA + 4, 2, 0, 0};
        describe(TRANSMIT, 0, DATA, 2, NEXT, 1);
        describe(TRANSMIT, 1, DATA + 0x1000, 48, INDIRECT, 0);
        offer(TRANSMIT, 0);
        ring(TRANSMIT);
        EXPECT(failed(), !agreed);
        CHECK(strcmp(output, agreed ? "abcdef" : "") == 0);
    }
}

TEST(virtio_event_index,
     "with the event index interrupts come when asked for, and doorbells are asked for at the end")
{
    start_console(WITH_EVENTS);
    struct rings *r = rings(TRANSMIT);
    describe(TRANSMIT, 0, DATA, 1, 0, 0);
    r->available.used_event = 2; /* tell me of the third */
    for (unsigned i = 1; i <= 4; i++) {
        offer(TRANSMIT, 0);
        ring(TRANSMIT);
        EXPECT(r->used.index, i);
        EXPECT(r->used.available_event, i);
        EXPECT(high, i == 3);
        set(0x64, 1);
    }
    r->available.used_event = 5;
    for (unsigned i = 0; i < 3; i++)
        offer(TRANSMIT, 0);
    ring(TRANSMIT); /* 5, 6 and 7 in one batch hold the sixth */
    CHECK(high);
}

TEST(virtio_no_interrupt_flag, "without it the driver's flag suppresses interrupts")
{
    start_console(0);
    describe(TRANSMIT, 0, DATA, 1, 0, 0);
    rings(TRANSMIT)->available.flags = 1;
    offer(TRANSMIT, 0);
    ring(TRANSMIT);
    EXPECT(rings(TRANSMIT)->used.index, 1);
    CHECK(!high);
}

TEST(virtio_index_wraps, "positions wrap at 65536 as the ring's do")
{
    start_console(WITH_EVENTS);
    describe(TRANSMIT, 0, DATA, 1, 0, 0);
    for (unsigned i = 0; i < 70000; i++) {
        rings(TRANSMIT)->available.used_event = (uint16_t)i;
        offer(TRANSMIT, 0);
        ring(TRANSMIT);
        CHECK(high);
        set(0x64, 3);
        output_count = 0;
        output_room = 10;
    }
    EXPECT(rings(TRANSMIT)->used.index, 70000 % 65536);
}

/* ---- Random bytes ---------------------------------------------------------------------------- */

TEST(virtio_random_fills, "buffers are filled, different each time, and a huge one only in part")
{
    uint8_t first[64];
    start_random(0);
    describe(0, 0, DATA, 64, WRITE, 0);
    offer(0, 0);
    ring(0);
    EXPECT(rings(0)->used.entries[0].written, 64);
    memcpy(first, data(0), 64);
    offer(0, 0);
    ring(0);
    CHECK(memcmp(first, data(0), 64) != 0);
    EXPECT(data(64)[0], 0);
    describe(0, 0, DATA, 0x8000, WRITE, 0);
    offer(0, 0);
    ring(0);
    EXPECT(rings(0)->used.entries[2].written, 4096);
    EXPECT(data(4096)[0], 0);
    describe(0, 0, DATA, 64, 0, 0); /* nothing to write to */
    offer(0, 0);
    ring(0);
    EXPECT(rings(0)->used.entries[3].written, 0);
}

/* ---- Registers that are read without an exit ------------------------------------------------- */

static uint8_t page[4096] __attribute__((aligned(4096)));
static unsigned shown, hidden;
static bool torn; /* the page had changed before it was hidden */
static uint8_t at_last[sizeof page];

static bool show(struct device_host *of, gpa_t gpa, const uint8_t *shows)
{
    (void)of;
    EXPECT(gpa, 0xd0000000);
    CHECK(!shows || shows == page);
    torn |= !shows && memcmp(page + 0x100, at_last + 0x100, 0x100) != 0;
    memcpy(at_last, page, sizeof page);
    *(shows ? &shown : &hidden) += 1;
    return true;
}

/* What the guest reads is what the device would tell it. */
static void expect_true_page(void)
{
    uint64_t value;
    for (uint32_t offset = 0; offset < 0x100; offset += 4)
        EXPECT(*(uint32_t *)(page + offset), get(offset));
    for (uint32_t offset = 0x100; offset < 0x200; offset++) {
        bool there = window.operations->read(window.device, offset, 1, &value);
        EXPECT(page[offset], there ? value & 0xff : 0);
    }
    for (uint32_t offset = 0x200; offset < sizeof page; offset++)
        EXPECT(page[offset], 0);
}

static void start_shown(void)
{
    shown = hidden = 0;
    torn = false;
    memset(page, 0, sizeof page);
    memset(at_last, 0, sizeof at_last);
    start_machine();
    host.show = show;
    virtio_console_init(&console, &host, &backend, &line);
    CHECK(virtio_mmio_attach(&console.device, NULL, 0xd0000000));
    virtio_mmio_show(&console.device, 0xd0000000, page);
    torn = false; /* it was nowhere to be seen */
    EXPECT(shown, 1);
}

TEST(virtio_page_is_true,
     "the page says what the device says after every write, whatever is written")
{
    start_shown();
    expect_true_page();
    drive(0, 2);
    expect_true_page();
    EXPECT(*(uint32_t *)(page + 0x70), 15);
    for (unsigned i = 0; i < 4000; i++) {
        uint64_t random = unit_random();
        uint32_t offset = random % 0x40 * 4;
        set(offset, random >> 32 & 1 ? (uint32_t)(random >> 40 & 3) : (uint32_t)(random >> 40));
        expect_true_page();
    }
}

TEST(virtio_page_interrupts, "an interrupt is seen in the page, and so is its acknowledge")
{
    start_shown();
    drive(0, 2);
    describe(RECEIVE, 0, DATA, 8, WRITE, 0);
    offer(RECEIVE, 0);
    ring(RECEIVE);
    EXPECT(*(uint32_t *)(page + 0x60), 0);
    input = "word";
    virtio_console_input(&console);
    CHECK(high);
    EXPECT(*(uint32_t *)(page + 0x60), 1);
    set(0x64, 1);
    EXPECT(*(uint32_t *)(page + 0x60), 0);
    CHECK(!high);
}

TEST(virtio_page_changes_unseen,
     "a configuration changes while nobody reads it, with its generation")
{
    start_shown();
    drive(0, 2);
    uint32_t generation = *(uint32_t *)(page + 0xfc);
    virtio_config_changed(&console.device);
    EXPECT(hidden, 2); /* and when it was first shown */
    EXPECT(shown, 2);
    EXPECT(*(uint32_t *)(page + 0xfc), generation + 1);
    EXPECT(*(uint32_t *)(page + 0x60), 2);
    CHECK(!torn);
    virtio_fail(&console.device, "of a test");
    EXPECT(*(uint32_t *)(page + 0x70) & 64, 64);
    EXPECT(shown, 3);
    expect_true_page();
    host.show = NULL;
}

TEST(chacha_vector, "the block function gives RFC 8439's block of section 2.3.2")
{
    static const uint8_t nonce[12] = {0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0};
    static const uint8_t expected[64] = {
        0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3,
        0x20, 0x71, 0xc4, 0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22,
        0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e, 0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa,
        0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2, 0xb5, 0x12, 0x9c, 0xd1,
        0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e};
    uint8_t key[32], block[64];
    for (unsigned i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    chacha_block(key, 1, nonce, block);
    CHECK(memcmp(block, expected, 64) == 0);
}

TEST(chacha_erases_its_key, "what was handed out does not follow from the state afterwards")
{
    static const uint8_t seed[32] = {7}, nonce[12];
    struct chacha generator;
    uint8_t bytes[200], block[64];
    chacha_seed(&generator, seed);
    chacha_fill(&generator, bytes, sizeof bytes);
    chacha_block(seed, 0, nonce, block);
    CHECK(memcmp(generator.key, block, 32) == 0); /* one way from the old key */
    CHECK(memcmp(bytes, block + 32, 32) == 0);
    chacha_block(seed, 2, nonce, block);
    CHECK(memcmp(bytes + 32 + 64, block, 64) == 0);
    CHECK(memcmp(generator.key, seed, 32) != 0);
}

TEST(chacha_seeds_differ, "two seeds gathered on this machine are not the same")
{
    uint8_t a[32], b[32];
    chacha_gather(a);
    chacha_gather(b);
    CHECK(memcmp(a, b, 32) != 0);
}
