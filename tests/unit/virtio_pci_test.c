/*
 * virtio over PCI: what a driver finds and does, and what a bad one tries.
 * links: vmm-server/devices/virtio_pci.c vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/pci.c vmm-server/devices/msix.c vmm-server/bus.c vmm-server/guest_memory.c lib/print.c
 */
#include "pci_machine.h"

#include "devices/virtio_console.h"
#include "devices/virtio_pci.h"

#define SLOT       3u
#define MEMORY     0xe0000000ull
#define PORTS      0xc000u
#define RINGS      0x100000u
#define DATA       0x110000u
#define QUEUE_SIZE 8u

enum { COMMON = 0, ISR = 0x1000, DEVICE = 0x2000, NOTIFY = 0x3000, TABLE = 0x4000, WAITS = 0x5000 };
enum { RECEIVE = 0, TRANSMIT = 1 };

static struct virtio_pci pci;
static struct virtio_console console;
static char output[256];
static size_t output_count;

static size_t far_write(struct character_backend *backend, const void *data, size_t size_bytes)
{
    (void)backend;
    CHECK(output_count + size_bytes < sizeof output);
    memcpy(output + output_count, data, size_bytes);
    output[output_count += size_bytes] = 0;
    return size_bytes;
}

static size_t far_read(struct character_backend *backend, void *data, size_t size_bytes)
{
    (void)backend, (void)data, (void)size_bytes;
    return 0;
}

static struct character_backend backend = {far_write, far_read};

static uint64_t get(unsigned offset, unsigned size_bytes)
{
    uint64_t value = 0;
    CHECK(bus_read(&machine_addresses, MEMORY + offset, size_bytes, &value));
    return value;
}

static void set(unsigned offset, unsigned size_bytes, uint64_t value)
{
    CHECK(bus_write(&machine_addresses, MEMORY + offset, size_bytes, value));
}

/* As firmware leaves the function: its ranges have places, and it may reach memory. */
static void begin(void)
{
    machine_begin();
    pci = (struct virtio_pci){0};
    output_count = 0;
    virtio_console_init(&console, &machine_host, &backend, virtio_pci_line(&pci));
    CHECK(virtio_pci_attach(&pci, &console.device, &machine_pci, SLOT, NULL));
    config_write(SLOT, 0, 0x20, 4, MEMORY);
    config_write(SLOT, 0, 0x18, 4, PORTS);
    config_write(SLOT, 0, 4, 2, 7);
}

static void set_queue(unsigned queue)
{
    uint64_t place = RINGS + queue * 0x1000;
    set(COMMON + 22, 2, queue);
    EXPECT(get(COMMON + 24, 2), VIRTIO_QUEUE_SIZE_MAX);
    set(COMMON + 24, 2, QUEUE_SIZE);
    set(COMMON + 32, 4, (uint32_t)place);
    set(COMMON + 36, 4, 0);
    set(COMMON + 40, 8, place + 0x400);
    set(COMMON + 48, 8, place + 0x800);
    set(COMMON + 28, 2, 1);
    EXPECT(get(COMMON + 28, 2), 1);
}

/* 3.1.1, with VERSION_1 alone. */
static void drive(void)
{
    set(COMMON + 20, 1, 0);
    set(COMMON + 20, 1, 1);
    set(COMMON + 20, 1, 3);
    set(COMMON + 8, 4, 1);
    set(COMMON + 12, 4, 1);
    set(COMMON + 20, 1, 11);
    EXPECT(get(COMMON + 20, 1), 11);
    set_queue(RECEIVE);
    set_queue(TRANSMIT);
    set(COMMON + 20, 1, 15);
}

/* Chain n of the queue is its descriptor n. */
static void offer(unsigned n, const char *text)
{
    uint8_t *ring = machine_ram + RINGS + TRANSMIT * 0x1000;
    uint64_t address = DATA + n * 64;
    uint32_t size_bytes = (uint32_t)strlen(text);
    uint16_t index = (uint16_t)(n + 1);
    memcpy(machine_ram + address, text, size_bytes);
    memset(ring + n * 16, 0, 16);
    memcpy(ring + n * 16, &address, 8);
    memcpy(ring + n * 16 + 8, &size_bytes, 4);
    memcpy(ring + 0x400 + 4 + n * 2, &(uint16_t){(uint16_t)n}, 2);
    memcpy(ring + 0x400 + 2, &index, 2);
}

static void enable_msix(void)
{
    unsigned at = config_read(SLOT, 0, 0x34, 1);
    while (at && config_read(SLOT, 0, at, 1) != 0x11)
        at = config_read(SLOT, 0, at + 1, 1);
    CHECK(at != 0);
    EXPECT(config_read(SLOT, 0, at + 2, 2), 2); /* two queues and the configuration */
    EXPECT(config_read(SLOT, 0, at + 4, 4), TABLE | 4);
    EXPECT(config_read(SLOT, 0, at + 8, 4), WAITS | 4);
    for (unsigned n = 0; n < 3; n++) {
        set(TABLE + n * 16, 8, 0xfee00000);
        set(TABLE + n * 16 + 8, 4, 0x40 + n);
        set(TABLE + n * 16 + 12, 4, 0);
    }
    config_write(SLOT, 0, at + 2, 2, 0x8000);
}

TEST(virtio_pci_identity,
     "vendor, device, and capabilities for each part; notifications by ports come first")
{
    static const uint8_t expected[][2] = {{1, 4}, {3, 4}, {4, 4}, {2, 2}, {2, 4}, {5, 0}};
    unsigned at, n = 0;
    begin();
    EXPECT(config_read(SLOT, 0, 0, 4), 0x10431af4);
    EXPECT(config_read(SLOT, 0, 0x2c, 4), 0x11001af4);
    CHECK(config_read(SLOT, 0, 8, 1) >= 1);
    for (at = config_read(SLOT, 0, 0x34, 1); at; at = config_read(SLOT, 0, at + 1, 1)) {
        if (config_read(SLOT, 0, at, 1) != 9)
            continue;
        CHECK(n < sizeof expected / sizeof *expected);
        EXPECT(config_read(SLOT, 0, at + 3, 1), expected[n][0]);
        EXPECT(config_read(SLOT, 0, at + 4, 1), expected[n][1]);
        if (expected[n][0] == 2)
            EXPECT(config_read(SLOT, 0, at + 16, 4), 4);
        n++;
    }
    EXPECT(n, sizeof expected / sizeof *expected);
}

TEST(virtio_pci_common, "features, queues and status are those of the device")
{
    begin();
    EXPECT(get(COMMON + 18, 2), 2);
    set(COMMON + 0, 4, 1);
    EXPECT(get(COMMON + 4, 4), 1);
    set(COMMON + 0, 4, 7);
    EXPECT(get(COMMON + 4, 4), 0);
    set(COMMON + 22, 2, 9);
    EXPECT(get(COMMON + 24, 2), 0);
    set(COMMON + 24, 2, 4);
    set(COMMON + 28, 2, 1);
    EXPECT(get(COMMON + 28, 2), 0);
    drive();
    EXPECT(get(COMMON + 32, 8), RINGS + 0x1000);
    EXPECT(get(COMMON + 30, 2), TRANSMIT);
    set(COMMON + 32, 4, 0); /* an enabled queue keeps its place, and stays */
    set(COMMON + 28, 2, 0);
    EXPECT(get(COMMON + 32, 8), RINGS + 0x1000);
    EXPECT(get(COMMON + 28, 2), 1);
    set(COMMON + 20, 1, 0);
    EXPECT(get(COMMON + 28, 2), 0);
    EXPECT(get(COMMON + 24, 2), VIRTIO_QUEUE_SIZE_MAX);
}

TEST(virtio_pci_notifies,
     "both places for notifications ring the queue; INTx rises, and its status is read once")
{
    begin();
    drive();
    offer(0, "by port ");
    CHECK(bus_write(&machine_ports, PORTS + TRANSMIT * 4, 2, TRANSMIT));
    offer(1, "by memory");
    set(NOTIFY + TRANSMIT * 4, 2, TRANSMIT);
    CHECK(strcmp(output, "by port by memory") == 0);
    EXPECT(intx[0], 1);
    EXPECT(get(ISR, 1), 1);
    EXPECT(intx[0], 0);
    EXPECT(get(ISR, 1), 0);
    CHECK(bus_write(&machine_ports, PORTS + 7 * 4, 2, 7)); /* no such queue */
    EXPECT(message_count, 0);
}

TEST(virtio_pci_messages, "with MSI-X each queue sends its vector, and there is no INTx")
{
    begin();
    enable_msix();
    drive();
    EXPECT(get(COMMON + 26, 2), 0xffff);
    set(COMMON + 26, 2, 3); /* there are 0 to 2 */
    EXPECT(get(COMMON + 26, 2), 0xffff);
    offer(0, "a");
    set(NOTIFY + TRANSMIT * 4, 2, TRANSMIT);
    EXPECT(message_count, 0);
    set(COMMON + 26, 2, 2);
    EXPECT(get(COMMON + 26, 2), 2);
    offer(1, "b");
    set(NOTIFY + TRANSMIT * 4, 2, TRANSMIT);
    EXPECT(message_count, 1);
    EXPECT(messages[0].data, 0x42);
    set(COMMON + 16, 2, 0);
    virtio_config_changed(&console.device);
    EXPECT(message_count, 2);
    EXPECT(messages[1].data, 0x40);
    EXPECT(intx[0], 0);
    EXPECT(get(ISR, 1), 0);
    set(TABLE + 2 * 16 + 12, 4, 1);
    offer(2, "c");
    set(NOTIFY + TRANSMIT * 4, 2, TRANSMIT);
    EXPECT(message_count, 2);
    EXPECT(get(WAITS, 8), 4);
    set(TABLE + 2 * 16 + 12, 4, 0);
    EXPECT(message_count, 3);
    set(COMMON + 20, 1, 0); /* a reset forgets vectors */
    EXPECT(get(COMMON + 16, 2), 0xffff);
}

TEST(virtio_pci_sizes,
     "a BAR's size is a power of two, and each capability's range lies in its BAR")
{
    begin();
    unsigned ranges = 0;
    for (unsigned at = config_read(SLOT, 0, 0x34, 1); at; at = config_read(SLOT, 0, at + 1, 1)) {
        unsigned bar = 0x10 + config_read(SLOT, 0, at + 4, 1) * 4;
        if (config_read(SLOT, 0, at, 1) != 9 || config_read(SLOT, 0, at + 3, 1) > 4)
            continue;
        uint32_t place = config_read(SLOT, 0, bar, 4);
        config_write(SLOT, 0, bar, 4, 0xffffffff);
        uint32_t size_bytes = ~(config_read(SLOT, 0, bar, 4) & ~(place & 1 ? 3u : 15u)) + 1;
        config_write(SLOT, 0, bar, 4, place);
        EXPECT(size_bytes & (size_bytes - 1), 0);
        CHECK(config_read(SLOT, 0, at + 8, 4) + config_read(SLOT, 0, at + 12, 4) <= size_bytes);
        ranges++;
    }
    EXPECT(ranges, 5);
}

TEST(virtio_pci_window, "configuration space reaches the BAR's parts, and nothing beyond them")
{
    unsigned at;
    begin();
    for (at = config_read(SLOT, 0, 0x34, 1); config_read(SLOT, 0, at + 3, 1) != 5;)
        at = config_read(SLOT, 0, at + 1, 1);
    config_write(SLOT, 0, at + 4, 1, 4);
    config_write(SLOT, 0, at + 8, 4, COMMON + 18);
    config_write(SLOT, 0, at + 12, 4, 2);
    EXPECT(config_read(SLOT, 0, at + 16, 2), 2);
    config_write(SLOT, 0, at + 8, 4, COMMON + 20);
    config_write(SLOT, 0, at + 12, 4, 1);
    config_write(SLOT, 0, at + 16, 1, 3);
    EXPECT(get(COMMON + 20, 1), 3);
    config_write(SLOT, 0, at + 12, 4, 3);
    config_write(SLOT, 0, at + 16, 1, 7);
    EXPECT(get(COMMON + 20, 1), 3);
    config_write(SLOT, 0, at + 12, 4, 4);
    config_write(SLOT, 0, at + 8, 4, 0xfffffff0);
    config_write(SLOT, 0, at + 16, 4, 7);
    config_read(SLOT, 0, at + 16, 4);
    config_write(SLOT, 0, at + 4, 1, 2);
    config_write(SLOT, 0, at + 8, 4, 0);
    config_write(SLOT, 0, at + 16, 4, 7);
    EXPECT(get(COMMON + 20, 1), 3);
}

TEST(virtio_pci_bus_reset, "a reset of the bus resets the device")
{
    begin();
    enable_msix();
    drive();
    pci_bus_reset(&machine_pci);
    EXPECT(console.device.status, 0);
    CHECK(!msix_send(&pci.msix, 0));
    EXPECT(machine_addresses.count, 0);
}

TEST(virtio_pci_hostile,
     "random accesses to all of it end in no more than a device that waits for its reset")
{
    begin();
    enable_msix();
    for (unsigned i = 0; i < 60000; i++) {
        static const unsigned parts[] = {COMMON, COMMON, ISR, DEVICE, NOTIFY, TABLE, WAITS, 0x6000};
        unsigned offset = parts[unit_random() % 8] + unit_random() % 64;
        unsigned size = 1u << unit_random() % 4;
        uint64_t value = unit_random() % 4 ? unit_random() % 16 : unit_random(), read;
        if (i % 1000 == 0)
            drive();
        if (unit_random() % 8 == 0)
            value = RINGS + (unit_random() % 64 << 8);
        if (unit_random() % 3)
            bus_write(&machine_addresses, MEMORY + offset, size, value);
        else
            bus_read(&machine_addresses, MEMORY + offset, size, &read);
        bus_write(&machine_ports, PORTS + unit_random() % 32, 2, value);
        machine_ram[RINGS + unit_random() % 0x2000] = (uint8_t)unit_random();
        output_count = 0;
    }
    set(COMMON + 20, 1, 0);
    memset(machine_ram, 0, sizeof machine_ram);
    drive();
    offer(0, "again");
    set(NOTIFY + TRANSMIT * 4, 2, TRANSMIT);
    CHECK(strcmp(output, "again") == 0);
}
