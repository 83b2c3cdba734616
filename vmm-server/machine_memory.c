/*
 * A guest's memory in its physical space: RAM at the start, and what devices put before it while it runs
 * (device_host.map). The tables of guest_memory.h always say the same as the kernel's: both change under the machine's
 * lock, and who has seen one without the other takes the lock and looks again.
 */
#include "machine.h"

#include "layout.h"
#include "task.h"

#include <stddef.h>

#define LARGE_PAGE                       (2 * MIB)
#define RIGHTS_READ                      (MAP_READ | MAP_EXECUTE)

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static uint64_t map(const void *host, gpa_t gpa, uint64_t size_bytes, unsigned rights)
{
    return sys_map(TASK_SLOT_SELF, MAP_HOW(SPACE_HOST, SPACE_GUEST, rights, CACHE_INHERIT),
                   (uint64_t)host, gpa, size_bytes / SEPTUM_PAGE_SIZE, 0);
}

static void unmap(gpa_t gpa, uint64_t size_bytes)
{
    sys_unmap(TASK_SLOT_SELF, SPACE_GUEST | UNMAP_SELF, gpa, size_bytes / SEPTUM_PAGE_SIZE);
}

/* ---- RAM ---------------------------------------------------------------------------------------------- */

/* Largest pieces first: the VMM's memory may consist of several, and a map takes one. */
static bool map_ram(uint8_t *host, gpa_t gpa, uint64_t size_bytes)
{
    while (size_bytes) {
        uint64_t part = size_bytes;
        while (map(host, gpa, part, MAP_RIGHTS) != STATUS_OK) {
            part = part / 2 & ~(LARGE_PAGE - 1);
            if (part == 0)
                return false;
        }
        host += part, gpa += part, size_bytes -= part;
    }
    return true;
}

static bool add_ram(struct machine *machine, uint64_t host, gpa_t gpa, uint64_t size_bytes)
{
    unsigned n = machine->memory.count++;
    machine->memory.regions[n].base = gpa;
    machine->memory.regions[n].size_bytes = size_bytes;
    machine->memory.regions[n].host = (uint8_t *)host;
    return map_ram((uint8_t *)host, gpa, size_bytes);
}

bool machine_memory_init(struct machine *machine)
{
    const struct vmm_start *start = machine->start;
    bool pc = start->partition.board == PLAN_BOARD_PC;
    uint64_t low_end = pc ? LAYOUT_PC_LOW_END : LAYOUT_LOW_END;
    uint64_t low = start->memory_bytes < low_end ? start->memory_bytes : low_end;
    if (pc) {
        machine->memory.windows =
            task_allocate(sizeof *machine->memory.windows, _Alignof(struct guest_windows));
        if (!machine->memory.windows)
            return false;
    }
    machine->step.page_limit = pc ? EXECUTE_STEP_PAGES : EXECUTE_STEP_PAGES_FEW;
    machine->step.scratch =
        task_allocate(machine->step.page_limit * SEPTUM_PAGE_SIZE, SEPTUM_PAGE_SIZE);
    return machine->step.scratch && add_ram(machine, start->memory_address, 0, low) &&
           (low == start->memory_bytes || add_ram(machine, start->memory_address + low,
                                                  LAYOUT_HIGH_BASE, start->memory_bytes - low));
}

/* ---- windows -------------------------------------------------------------------------------------------- */

/* A guest may execute what this task may. */
static uint64_t map_window(const uint8_t *host, gpa_t gpa, uint64_t size_bytes, bool writable)
{
    unsigned rights = RIGHTS_READ | (writable ? MAP_WRITE : 0);
    uint64_t status = map(host, gpa, size_bytes, rights);
    if (status == STATUS_BAD_RIGHTS)
        status = map(host, gpa, size_bytes, rights & ~(unsigned)MAP_EXECUTE);
    return status;
}

bool machine_memory_map(struct device_host *host, gpa_t gpa, uint64_t size_bytes, uint8_t *memory,
                        bool writable)
{
    struct machine *machine = CONTAINER(host, struct machine, host);
    if ((gpa | size_bytes | (uintptr_t)memory) % SEPTUM_PAGE_SIZE ||
        !guest_memory_cover(&machine->memory, gpa, size_bytes, memory, writable))
        return false;
    unmap(gpa, size_bytes);
    if (!memory || map_window(memory, gpa, size_bytes, writable) == STATUS_OK)
        return true;
    unmap(gpa, size_bytes);
    /* What was there before is gone. If even that has no room, the guest's first access there ends it. */
    guest_memory_cover(&machine->memory, gpa, size_bytes, NULL, false);
    task_print("the kernel has no memory left to map %lu bytes at 0x%lx for the guest: it finds "
               "nothing there; this is an error of root's quota\n",
               size_bytes, gpa);
    return false;
}

bool machine_memory_show(struct device_host *host, gpa_t gpa, const uint8_t *page)
{
    struct machine *machine = CONTAINER(host, struct machine, host);
    if (machine->memory.windows || (gpa | (uintptr_t)page) % SEPTUM_PAGE_SIZE ||
        guest_memory_at(&machine->memory, gpa, 1, false))
        return false;
    unmap(gpa, SEPTUM_PAGE_SIZE);
    return !page || map(page, gpa, SEPTUM_PAGE_SIZE, MAP_READ) == STATUS_OK;
}

bool machine_memory_lend(gpa_t gpa, const uint8_t *page, bool writable)
{
    return map(page, gpa, SEPTUM_PAGE_SIZE, MAP_READ | (writable ? MAP_WRITE : 0)) == STATUS_OK;
}

void machine_memory_take_back(gpa_t gpa)
{
    unmap(gpa, SEPTUM_PAGE_SIZE);
}

bool machine_memory_settles(struct vcpu *vcpu, gpa_t gpa, bool write)
{
    struct machine *machine = vcpu->machine;
    if (!machine->memory.windows || !guest_memory_at(&machine->memory, gpa, 1, write))
        return false;
    lock_take(&machine->lock);
    uint32_t changes = guest_memory_changes(&machine->memory);
    bool there = guest_memory_at(&machine->memory, gpa, 1, write) != NULL;
    lock_give(&machine->lock);
    bool seen = vcpu->settled.valid && vcpu->settled.gpa == gpa && vcpu->settled.changes == changes;
    vcpu->settled.valid = there;
    vcpu->settled.gpa = gpa;
    vcpu->settled.changes = changes;
    return there && !seen;
}
