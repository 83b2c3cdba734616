#include "boot/multiboot_image.h"

#include "layout.h"
#include "print.h"
#include "string.h"

static bool refuse_addresses(const struct multiboot_image *image, struct boot_complaint *complaint)
{
    return BOOT_REFUSE(complaint,
                       "the multiboot header of \"%s\" makes no sense: its addresses do not go "
                       "together, or tell of more than the file has: build it anew",
                       image->file->name);
}

/* Multiboot 0.6.96, 3.1.3: from load_address on comes what begins so far before the header in the file. */
static bool place_by_addresses(struct multiboot_image *image, const struct guest_memory *memory,
                               struct boot_complaint *complaint)
{
    uint64_t before = (uint64_t)image->header_address - image->load_address;
    if (image->load_address > image->header_address || before > image->header || !image->has_entry)
        return refuse_addresses(image, complaint);
    uint64_t offset = image->header - before, there = image->file->size_bytes - offset;
    uint64_t load = image->load_end ? (uint64_t)image->load_end - image->load_address : there;
    uint64_t end = image->load_address + load;
    if ((image->load_end && image->load_end < image->load_address) || load > there)
        return refuse_addresses(image, complaint);
    if (image->bss_end > end)
        end = image->bss_end;
    if (end > memory->regions[0].size_bytes)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" wants memory up to 0x%lx, and the guest has 0x%lx "
                           "bytes: give it more",
                           image->file->name, end, memory->regions[0].size_bytes);
    uint8_t *place = memory->regions[0].host + image->load_address;
    memcpy(place, (const uint8_t *)image->file->data + offset, load);
    memset(place + load, 0, end - image->load_address - load);
    image->low = image->load_address;
    image->high = end;
    return true;
}

/* How far from its own addresses a kernel goes that can be anywhere. */
static bool choose_shift(const struct multiboot_image *image, const struct elf_kernel *kernel,
                         uint64_t memory_end, uint64_t *shift, struct boot_complaint *complaint)
{
    uint64_t mask = image->alignment ? image->alignment - 1 : 0, size = kernel->high - kernel->low;
    uint64_t lowest = image->lowest > LAYOUT_KERNEL ? image->lowest : LAYOUT_KERNEL;
    uint64_t end = image->highest < memory_end ? image->highest + 1 : memory_end;
    if (image->alignment & mask)
        return refuse_addresses(image, complaint);
    lowest = (lowest + mask) & ~mask;
    if (end < lowest || size > end - lowest)
        return BOOT_REFUSE(
            complaint,
            "the kernel \"%s\" wants %lu bytes between 0x%lx and 0x%lx, and the guest "
            "has no such memory: give it more",
            image->file->name, size, image->lowest, image->highest);
    uint64_t to = image->preference == 2 ? (end - size) & ~mask : lowest;
    *shift = to - kernel->low;
    return true;
}

static bool place_elf(struct multiboot_image *image, const struct guest_memory *memory,
                      struct boot_complaint *complaint)
{
    struct elf_kernel kernel;
    uint64_t memory_end = memory->regions[0].size_bytes, shift = 0;
    if (!elf_open(image->file, &kernel, complaint))
        return false;
    bool fits = kernel.low >= image->lowest && kernel.high <= memory_end &&
                kernel.high - 1 <= image->highest;
    if (image->relocatable && (image->preference || !fits) &&
        !choose_shift(image, &kernel, memory_end, &shift, complaint))
        return false;
    if (!elf_place(&kernel, memory, shift, complaint))
        return false;
    image->low = kernel.low + shift;
    image->high = kernel.high + shift;
    if (!image->has_entry)
        image->entry = kernel.entry;
    image->entry += shift;
    return true;
}

bool multiboot_place(struct multiboot_image *image, const struct guest_memory *memory,
                     struct boot_complaint *complaint)
{
    return image->has_addresses ? place_by_addresses(image, memory, complaint)
                                : place_elf(image, memory, complaint);
}

void multiboot_rooms(const struct multiboot_image *image, const struct guest_memory *memory,
                     uint64_t memory_bytes, struct multiboot_rooms *rooms)
{
    uint64_t end = memory->regions[0].size_bytes;
    uint64_t begin = image->high > LAYOUT_KERNEL ? image->high : LAYOUT_KERNEL;
    rooms->modules = (struct boot_room){memory, begin, end, memory_bytes};
    if (image->low > LAYOUT_KERNEL && image->low - LAYOUT_KERNEL > end - begin)
        rooms->modules = (struct boot_room){memory, LAYOUT_KERNEL, image->low, memory_bytes};
    rooms->low = (struct boot_room){memory, LAYOUT_BOOT_PARAMS, LAYOUT_BASE_END, memory_bytes};
    rooms->told = image->low >= LAYOUT_BASE_END ? &rooms->low : &rooms->modules;
}
