#include "pc/pc.h"

#include "machine.h"
#include "pc/display.h"
#include "string.h"
#include "task.h"

bool pc_init(struct machine *machine, struct acpi_machine *acpi)
{
    struct pc *pc = task_allocate(sizeof *pc, _Alignof(struct pc));
    (void)acpi;
    if (!pc)
        return false;
    machine->pc = pc;
    memset(pc, 0, sizeof *pc);
    pc->machine = machine;
    isa_lines_init(&pc->lines, &machine->ioapic);
    if (!chips_init(machine) || !pc_pci_init(machine) || !storage_init(machine))
        return false;
    pc->display = display_init(machine);
    return pc->display != NULL;
}
