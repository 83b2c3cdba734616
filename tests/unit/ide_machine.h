/* An IDE controller, and a driver of it in the test. */
#ifndef IDE_MACHINE_H
#define IDE_MACHINE_H

#include "disk_machine.h"

#include "devices/ide_internal.h"

#define MASTER 0xc000u /* the bus master's ports */
#define TABLE  0x8000u /* physical regions */

static struct ide ide;
static bool is_master;
static const struct pci_bar *master_bar;
static struct pci_bar kept_bar;

/* ---- The PCI bus, as far as the controller sees it ------------------------------------------------- */

void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                       void *device)
{
    EXPECT(identity->class_code, 0x010180);
    EXPECT(identity->vendor, 0x8086);
    EXPECT(identity->device, 0x7010);
    function->device = device;
}

void pci_function_add_bar(struct pci_function *function, unsigned number, const struct pci_bar *bar)
{
    EXPECT(function, &ide.function);
    EXPECT(number, 4);
    kept_bar = *bar;
    master_bar = &kept_bar;
}

bool pci_bus_add(struct pci_bus *bus, struct pci_function *function, unsigned slot, unsigned number)
{
    const struct bus_range range = {MASTER, master_bar->size_bytes, master_bar->operations,
                                    master_bar->device, master_bar->name};
    (void)bus;
    EXPECT(function, &ide.function);
    CHECK(slot == 1 && number == 1);
    return bus_add(&ports, &range);
}

bool pci_function_is_master(const struct pci_function *function)
{
    EXPECT(function, &ide.function);
    return is_master;
}

/* ---- The driver -------------------------------------------------------------------------------------- */

/* Places: a disk of all sectors, a small one, a CD-ROM. */
#define CD_SECTORS_HERE 400u
static inline void start_ide(void)
{
    start_board();
    is_master = true;
    ide_init(&ide, &host, ram + BUFFERS, &lines[0].line, &lines[1].line);
    const struct device_peer first = start_server(0, SECTORS_MAX, BLOCK_VOLUME_FLUSH);
    const struct device_peer second = start_server(1, 2016, BLOCK_VOLUME_READ_ONLY);
    const struct device_peer third = start_server(2, CD_SECTORS_HERE, BLOCK_VOLUME_READ_ONLY);
    ide_add_drive(&ide, 0, IDE_DISK, &first);
    ide_add_drive(&ide, 1, IDE_DISK, &second);
    ide_add_drive(&ide, 2, IDE_CDROM, &third);
    CHECK(ide_attach(&ide, &ports));
    CHECK(ide_attach_function(&ide, NULL, 1, 1));
}

static inline void select_drive(unsigned place, uint8_t bits)
{
    out(place < 2 ? 0x1f6 : 0x176, 1, 0xa0u | bits | (place & 1) << 4);
}

static inline uint16_t base_of(unsigned place)
{
    return place < 2 ? 0x1f0 : 0x170;
}

/* A command with a 28-bit address. */
static inline void command28(unsigned place, uint8_t code, uint32_t lba, uint8_t count)
{
    uint16_t base = base_of(place);
    select_drive(place, (uint8_t)(0x40 | lba >> 24));
    out(base + 2, 1, count);
    out(base + 3, 1, lba & 0xff);
    out(base + 4, 1, lba >> 8 & 0xff);
    out(base + 5, 1, lba >> 16 & 0xff);
    out(base + 7, 1, code);
}

static inline void command48(unsigned place, uint8_t code, uint64_t lba, uint16_t count)
{
    uint16_t base = base_of(place);
    select_drive(place, 0x40);
    out(base + 2, 1, count >> 8);
    out(base + 3, 1, lba >> 24 & 0xff);
    out(base + 4, 1, lba >> 32 & 0xff);
    out(base + 5, 1, lba >> 40 & 0xff);
    out(base + 2, 1, count & 0xff);
    out(base + 3, 1, lba & 0xff);
    out(base + 4, 1, lba >> 8 & 0xff);
    out(base + 5, 1, lba >> 16 & 0xff);
    out(base + 7, 1, code);
}

static inline uint8_t status_of(unsigned place)
{
    return (uint8_t)in(base_of(place) + 7, 1);
}

/* As REP INS of 16 bits does; how many accesses to the device it took. */
static inline unsigned read_words(unsigned place, void *data, unsigned words)
{
    uint8_t *to = data;
    unsigned calls = 0;
    while (words) {
        unsigned n = bus_read_string(&ports, base_of(place), 2, to, words);
        CHECK(n >= 1 && n <= words);
        to += n * 2, words -= n, calls++;
    }
    return calls;
}

static inline unsigned write_words(unsigned place, const void *data, unsigned words)
{
    const uint8_t *from = data;
    unsigned calls = 0;
    while (words) {
        unsigned n = bus_write_string(&ports, base_of(place), 2, from, words);
        CHECK(n >= 1 && n <= words);
        from += n * 2, words -= n, calls++;
    }
    return calls;
}

/* Region n of the table. */
static inline void region(unsigned n, uint32_t address, uint32_t bytes, bool last)
{
    const uint32_t words[2] = {address, (bytes & 0xffff) | (last ? 0x80000000u : 0)};
    memcpy(ram + TABLE + n * 8, words, sizeof words);
}

static inline uint16_t master_of(unsigned place)
{
    return place < 2 ? MASTER : MASTER + 8;
}

static inline void start_master(unsigned place, bool to_memory)
{
    out(master_of(place) + 4, 4, TABLE);
    out(master_of(place) + 2, 1, 6);
    out(master_of(place), 1, 1u | (to_memory ? 8 : 0));
}

static inline uint8_t stop_master(unsigned place)
{
    uint8_t status = (uint8_t)in(master_of(place) + 2, 1);
    out(master_of(place), 1, 0);
    return status;
}

/* A packet; `limit` bytes in a block, or by DMA. */
static inline void packet(unsigned place, const uint8_t bytes[12], uint16_t limit, bool dma)
{
    uint16_t base = base_of(place);
    select_drive(place, 0);
    out(base + 1, 1, dma);
    out(base + 4, 1, limit & 0xff);
    out(base + 5, 1, limit >> 8);
    out(base + 7, 1, 0xa0);
    EXPECT(status_of(place) & 0x89, 0x08);
    EXPECT(in(base + 2, 1), 1);
    write_words(place, bytes, 6);
}

/* Fetches a packet's answer by blocks; how many bytes. */
static inline unsigned fetch(unsigned place, uint8_t *data)
{
    uint16_t base = base_of(place);
    unsigned total = 0;
    while (status_of(place) & 0x08) {
        EXPECT(in(base + 2, 1), 2);
        unsigned bytes = in(base + 4, 1) | in(base + 5, 1) << 8;
        read_words(place, data + total, (bytes + 1) / 2);
        total += bytes;
    }
    EXPECT(in(base + 2, 1), 3);
    return total;
}

/* The same with the error expected, as key << 16 | code << 8 | qualifier; 0: none. */
static inline uint32_t sense(unsigned place)
{
    const uint8_t bytes[12] = {0x03, 0, 0, 0, 18};
    uint8_t data[64];
    packet(place, bytes, 64, false);
    EXPECT(fetch(place, data), 18);
    return (uint32_t)data[2] << 16 | data[12] << 8 | data[13];
}

#endif
