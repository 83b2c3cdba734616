/*
 * virtio-blk: drivers and servers that break the rules, and random ones.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c vmm-server/devices/virtio_block.c
 *        vmm-server/disk.c lib/print.c lib/ring.c
 */
#include "virtio_block_machine.h"

TEST(virtio_block_hostile_chains,
     "loops, jumping indices and addresses outside the guest end the device's use")
{
    start_disk(ALL_FLAGS, 0);
    request(0, 0, IN, 0, 0, 512);
    describe(0, 1, DATA, 512, WRITE | NEXT, 1);
    ring(0);
    CHECK(failed());
    start_disk(ALL_FLAGS, 0);
    request(0, 0, IN, 0, 0, 512);
    describe(0, 1, RAM_BASE + RAM_BYTES - 256, 512, WRITE | NEXT, 2);
    ring(0);
    CHECK(failed());
    start_disk(ALL_FLAGS, 0);
    request(0, 0, IN, 0, 0, 512);
    rings(0)->available.index = 0x4000;
    ring(0);
    CHECK(failed());
    EXPECT(ring_filled(&requests), 0);
}

TEST(virtio_block_hostile_server,
     "answers to nothing, half answers and jumping positions harm nothing")
{
    struct block_completion wrong = {5, 0, 0};
    start_disk(ALL_FLAGS, 0);
    ring_write(&completions, &wrong, sizeof wrong);
    wrong.id = 1000;
    ring_write(&completions, &wrong, sizeof wrong);
    virtio_block_attend(&disk);
    CHECK(strstr(text, "does not have") != NULL);
    EXPECT(ask(IN, 0, 512), 0);
    for (unsigned i = 0; i < 1000; i++) {
        ring_write(&completions, &wrong, sizeof wrong);
        virtio_block_attend(&disk);
    }
    CHECK(text_count < 1000);
    ring_write(&completions, &wrong, 5);
    virtio_block_attend(&disk); /* and it comes back */
    EXPECT(disk.disk.completions.broken, true);
    start_disk(ALL_FLAGS, 0);
    completions.shared->written += 1u << 20;
    request(0, 0, IN, 0, 0, 512);
    ring(0);
    EXPECT(disk.disk.completions.broken, true);
    start_disk(ALL_FLAGS, 0);
    requests.shared->read += 100;
    request(0, 0, IN, 0, 0, 512);
    ring(0);
    EXPECT(disk.disk.requests.broken, true);
    EXPECT(rings(0)->used.index, 0);
}

/* ---- Random -------------------------------------------------------------------------------------- */

static void fuzz_driver(uint64_t random)
{
    unsigned queue = random >> 4 & 1;
    if (disturb(queue, random >> 8 & 31, random))
        return;
    switch (random & 15) {
    case 8:
    case 9:
        request(queue, random >> 8 & 7, random >> 16 & 15, random >> 24 & 63, random >> 32 & 0x3fff,
                (random >> 48 & 7) * 512);
        break;
    default: ring(queue); break;
    }
}

static void fuzz_server(uint64_t random)
{
    switch (random & 7) {
    case 0:
    case 1: server_run(); break;
    case 2:
        if (server_take())
            server_answer(&taken[(taken_count - 1) % 200], random >> 8 & 7);
        break;
    case 3:
        server_begin(volume->generation + 1);
        taken_count = 0;
        break;
    case 4: ring_reader_waits(&requests); break;
    default: virtio_block_attend(&disk); break;
    }
}

TEST(virtio_block_fuzz,
     "random drivers and restarts: the server sees good requests alone, and a reset always helps")
{
    for (unsigned round = 0; round < 4000; round++) {
        start_disk(ALL_FLAGS, unit_random() & (WITH_EVENTS | WITH_TABLES));
        disk.part_sectors = 1 + (uint32_t)unit_random() % 8;
        for (unsigned i = 0; i < 80; i++) {
            fuzz_driver(unit_random());
            fuzz_server(unit_random());
            if (failed())
                drive(disk.device.features, 2);
        }
        set(0x70, 0);
        server_begin(volume->generation + 1);
        virtio_block_attend(&disk);
        EXPECT(held, 0);
        EXPECT(disk.disk.first, 0xff);
        drive(disk.device.features, 2);
        EXPECT(ask(IN, 1, 512), 0);
    }
}
