#include "boot/loader.h"

#include "layout.h"
#include "print.h"
#include "string.h"

#define PAGE             4096u
#define BIOS_BASE_MEMORY 0x413u
#define KIB              1024u

unsigned boot_memory_map(const struct guest_memory *memory, struct boot_range *ranges)
{
    unsigned n = 0;
    ranges[n++] = (struct boot_range){0, LAYOUT_BASE_END, BOOT_RAM};
    ranges[n++] = (struct boot_range){LAYOUT_BASE_END, LAYOUT_KERNEL, BOOT_RESERVED};
    ranges[n++] = (struct boot_range){LAYOUT_KERNEL, memory->regions[0].size_bytes, BOOT_RAM};
    for (unsigned i = 1; i < memory->count; i++)
        ranges[n++] =
            (struct boot_range){memory->regions[i].base,
                                memory->regions[i].base + memory->regions[i].size_bytes, BOOT_RAM};
    return n;
}

bool boot_room_take(struct boot_room *room, uint64_t size_bytes, const char *what,
                    uint64_t *address, struct boot_complaint *complaint)
{
    uint64_t begin = (room->next + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    if (begin > room->end || size_bytes > room->end - begin)
        return BOOT_REFUSE(
            complaint,
            "the guest's memory of %luM is too little for its kernel and %s: give it "
            "at least %luM",
            room->memory_bytes / MIB, what, (begin + size_bytes) / MIB + 1);
    *address = begin;
    room->next = begin + size_bytes;
    return true;
}

bool boot_room_put(struct boot_room *room, const struct boot_file *file, uint64_t *address,
                   struct boot_complaint *complaint)
{
    if (!file->data || file->size_bytes == 0)
        return BOOT_REFUSE(complaint, "\"%s\" is empty: make it anew", file->name);
    if (!boot_room_take(room, file->size_bytes, file->name, address, complaint))
        return false;
    memcpy(room->memory->regions[0].host + *address, file->data, file->size_bytes);
    return true;
}

void boot_write_bios_data(const struct guest_memory *memory)
{
    const uint16_t base_kib = LAYOUT_BASE_END / KIB;
    memcpy(memory->regions[0].host + BIOS_BASE_MEMORY, &base_kib, sizeof base_kib);
}

void boot_write_gdt(const struct guest_memory *memory, struct boot_entry *entry)
{
    const uint64_t code = entry->mode == BOOT_LONG ? 0x00af9b000000ffff : 0x00cf9b000000ffff;
    const uint64_t gdt[] = {0, 0, code, 0x00cf93000000ffff};
    memcpy(memory->regions[0].host + LAYOUT_GDT, gdt, sizeof gdt);
    entry->gdt = LAYOUT_GDT;
    entry->gdt_limit = sizeof gdt - 1;
}
