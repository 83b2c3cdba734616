/* The physical memory map: a short list of overlapping regions, looked at from all sides. */
#include "boot/boot.h"

#define REGIONS_MAX 192u

static struct region {
    paddr_t base, end;
    enum boot_memory_type type;
} regions[REGIONS_MAX];
static unsigned region_count;

void memory_add(paddr_t base, uint64_t size_bytes, enum boot_memory_type type)
{
    paddr_t end = base + size_bytes < base ? UINT64_MAX - PAGE_MASK : base + size_bytes;
    if (type == BOOT_MEMORY_RAM) {
        base = (base + PAGE_MASK) & ~PAGE_MASK;
        end &= ~PAGE_MASK;
    } else {
        base &= ~PAGE_MASK;
        end = (end + PAGE_MASK) & ~PAGE_MASK;
    }
    if (end <= base)
        return;
    if (region_count == REGIONS_MAX)
        boot_stop("The memory map has more than %u entries.", REGIONS_MAX);
    regions[region_count++] = (struct region){base, end, type};
}

uint64_t memory_ram_bytes(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < region_count; i++) {
        if (regions[i].type == BOOT_MEMORY_RAM)
            sum += regions[i].end - regions[i].base;
    }
    return sum;
}

/* The first byte at or above `at` from which [at, at + size) meets nothing but RAM. */
static paddr_t skip_taken(paddr_t at, uint64_t size_bytes, uint64_t alignment)
{
    for (unsigned i = 0; i < region_count;) {
        const struct region *r = &regions[i++];
        if (r->type != BOOT_MEMORY_RAM && r->base < at + size_bytes && r->end > at) {
            at = (r->end + alignment - 1) & ~(alignment - 1);
            i = 0;
        }
    }
    return at;
}

paddr_t memory_find(uint64_t size_bytes, uint64_t alignment, paddr_t above, paddr_t below)
{
    paddr_t best = 0;
    for (unsigned i = 0; i < region_count; i++) {
        const struct region *r = &regions[i];
        if (r->type != BOOT_MEMORY_RAM)
            continue;
        paddr_t at = r->base > above ? r->base : above;
        at = skip_taken((at + alignment - 1) & ~(alignment - 1), size_bytes, alignment);
        paddr_t end = r->end < below ? r->end : below;
        if (at < end && end - at >= size_bytes && at != 0 && (!best || at < best))
            best = at;
    }
    return best;
}

/* The type at an address, and where it may next change. */
static enum boot_memory_type type_at(paddr_t address, paddr_t *next)
{
    unsigned type = 0;
    for (unsigned i = 0; i < region_count; i++) {
        const struct region *r = &regions[i];
        if (r->base > address) {
            *next = r->base < *next ? r->base : *next;
        } else if (r->end > address) {
            *next = r->end < *next ? r->end : *next;
            type = r->type > type ? r->type : type;
        }
    }
    return type ? type : BOOT_MEMORY_DEVICE;
}

unsigned memory_ranges(struct boot_memory_range *ranges, unsigned max, paddr_t end)
{
    unsigned count = 0;
    for (paddr_t at = 0, next; at < end; at = next) {
        next = end;
        enum boot_memory_type type = type_at(at, &next);
        if (count && ranges[count - 1].type == type)
            ranges[count - 1].size_bytes += next - at;
        else if (count < max)
            ranges[count++] = (struct boot_memory_range){at, next - at, type};
        else
            boot_stop("The memory map has more than %u ranges.", max);
    }
    return count;
}
