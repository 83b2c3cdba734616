/*
 * virtio with hostile and random rings: a broken rule ends the use of the device, and nothing else happens.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c lib/print.c
 */
#include "virtio_machine.h"

static void expect_failure(const char *why)
{
    offer(TRANSMIT, 0);
    ring(TRANSMIT);
    CHECK(failed());
    CHECK(strstr(text, why) != NULL);
    EXPECT(output_count, 0);
    CHECK(high);
    EXPECT(get(0x60) & 2, 2);
    ring(TRANSMIT); /* it stays quiet until its reset */
    EXPECT(output_count, 0);
    drive(0, 2);
    CHECK(!failed());
    describe(TRANSMIT, 0, DATA, 1, 0, 0);
    offer(TRANSMIT, 0);
    ring(TRANSMIT);
    EXPECT(output_count, 1);
}

TEST(virtio_hostile_chains,
     "loops, numbers and addresses beyond, wrong order and wrong tables end the device's use")
{
    start_console(0);
    describe(TRANSMIT, 0, DATA, 1, NEXT, 1);
    describe(TRANSMIT, 1, DATA, 1, NEXT, 0);
    expect_failure("a loop");
    start_console(0);
    describe(TRANSMIT, 0, DATA, 1, NEXT, SIZE);
    expect_failure("beyond its table");
    start_console(0);
    describe(TRANSMIT, 0, RAM_BASE + RAM_BYTES - 1, 2, 0, 0);
    expect_failure("outside the guest's memory");
    start_console(0);
    describe(TRANSMIT, 0, UINT64_MAX - 1, 16, 0, 0);
    expect_failure("outside the guest's memory");
    start_console(0);
    describe(TRANSMIT, 0, DATA, 0xffffffff, 0, 0);
    expect_failure("outside the guest's memory");
    start_console(0);
    describe(TRANSMIT, 0, DATA, 1, WRITE | NEXT, 1);
    describe(TRANSMIT, 1, DATA, 1, 0, 0);
    expect_failure("behind one to write");
    start_console(WITH_TABLES);
    describe(TRANSMIT, 0, DATA, 16, INDIRECT | NEXT, 1);
    expect_failure("with a successor");
    start_console(WITH_TABLES);
    describe(TRANSMIT, 0, DATA, 17, INDIRECT, 0);
    expect_failure("whole number");
    start_console(WITH_TABLES);
    describe(TRANSMIT, 0, 0, 16, INDIRECT, 0);
    expect_failure("table outside");
    start_console(WITH_TABLES);
    describe(TRANSMIT, 0, RAM_BASE + 4096, 128, INDIRECT, 0); /* the table is its own */
    expect_failure("in an indirect table");
    start_console(WITH_TABLES);
    *(struct descriptor *)data(0) = (struct descriptor){DATA, 1, NEXT, 0};
    describe(TRANSMIT, 0, DATA, 16, INDIRECT, 0);
    expect_failure("a loop");
}

TEST(virtio_hostile_indices, "an index that jumps, a head beyond the queue")
{
    start_console(0);
    describe(TRANSMIT, 0, DATA, 1, 0, 0);
    rings(TRANSMIT)->available.index = SIZE; /* and one more */
    expect_failure("more chains");
    start_console(0);
    rings(TRANSMIT)->available.index = 0x8000;
    expect_failure("more chains");
    start_console(0);
    offer(TRANSMIT, SIZE);
    expect_failure("head beyond");
}

TEST(virtio_quiet_log, "a driver that fails again and again does not fill the log")
{
    start_console(0);
    for (unsigned i = 0; i < 1000; i++) {
        rings(TRANSMIT)->available.index = 0x8000;
        ring(TRANSMIT);
        CHECK(failed());
        drive(0, 2);
    }
    CHECK(text_count < 1000);
}

/* Random tables, indices and register writes: the sanitizers and these checks watch. */
static void fuzz_step(void)
{
    uint64_t random = unit_random();
    unsigned queue = random & 1;
    struct rings *r = rings(queue);
    struct descriptor *descriptor = &r->descriptors[random >> 8 & 7];
    switch (random >> 1 & 15) {
    case 0: descriptor->address = unit_random(); break;
    case 1:
    case 2: descriptor->address = DATA + (random >> 32 & 0x7fff); break;
    case 3: descriptor->size_bytes = (uint32_t)(random >> 32); break;
    case 4: descriptor->size_bytes = random >> 32 & 0xff; break;
    case 5: descriptor->flags = random >> 32 & 7; break;
    case 6: descriptor->next = random >> 32 & 15; break;
    case 7: r->available.index += random >> 32 & 3; break;
    case 8: r->available.index = (uint16_t)(random >> 32); break;
    case 9: r->available.entries[random >> 16 & 7] = random >> 32 & 15; break;
    case 10: *descriptor = (struct descriptor){RAM_BASE + queue * 4096, 128, INDIRECT, 0}; break;
    case 11: set((random >> 16 & 0x3f) * 4, (uint32_t)(random >> 32) & 0xff); break;
    case 12: set(0x64, 3); break;
    default: ring(queue); break;
    }
}

TEST(virtio_fuzz,
     "random rings: nothing outside the guest's memory is touched, and a reset always helps")
{
    for (unsigned round = 0; round < 20000; round++) {
        start_console(unit_random() & (WITH_EVENTS | WITH_TABLES));
        if (unit_random() & 1) /* descriptors at random from the start */
            for (unsigned i = 0; i < 128; i++)
                ((uint64_t *)ram)[unit_random() & 1 ? i : i + 512] = unit_random();
        for (unsigned i = 0; i < 60; i++) {
            input = "some input";
            output_room = unit_random() & 63;
            output_count = 0;
            fuzz_step();
            virtio_console_input(&console);
            virtio_console_room(&console);
        }
        output_count = 0;
        output_room = 10;
        drive(0, 2);
        describe(TRANSMIT, 0, DATA, 1, 0, 0);
        offer(TRANSMIT, 0);
        ring(TRANSMIT);
        EXPECT(output_count, 1);
    }
}
