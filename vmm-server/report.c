#include "report.h"

#include "pc/chips.h"
#include "exit.h"
#include "vcpu_thread.h"

#include "string.h"
#include "task.h"

#define CODE_BYTES 16u
#define CR0_PE     1ull
#define CR0_PG     (1ull << 31)
#define EFER_LMA   (1ull << 10)
#define CS_LONG    (1u << 13)
#define RFLAGS_VM  (1ull << 17)

static const char *const register_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
                                               "rsi", "rdi", "r8",  "r9",  "r10", "r11",
                                               "r12", "r13", "r14", "r15"};
static const char *const segment_names[VCPU_SEGMENT_COUNT] = {"es", "cs", "ss",   "ds",
                                                              "fs", "gs", "ldtr", "tr"};

size_t report_code(struct vcpu *vcpu, uint8_t *code, size_t size_bytes)
{
    const struct vcpu_state *state = vcpu->state;
    bool wide = state->efer & EFER_LMA && state->segment[VCPU_CS].attributes & CS_LONG;
    uint64_t base = wide ? 0 : state->segment[VCPU_CS].base, event, gpa;
    for (size_t n = 0; n < size_bytes; n++)
        if (!execute_translate(&vcpu->world, base + vcpu->rip + n, VCPU_ACCESS_READ, &gpa,
                               &event) ||
            !guest_memory_read(&vcpu->machine->memory, gpa, &code[n], 1))
            return n;
    return size_bytes;
}

static const char *mode_of(const struct vcpu_state *state)
{
    if (state->efer & EFER_LMA)
        return state->segment[VCPU_CS].attributes & CS_LONG ? "64-bit mode" : "compatibility mode";
    if (!(state->cr0 & CR0_PE))
        return "real mode";
    if (state->rflags & RFLAGS_VM)
        return "virtual-8086 mode";
    return state->cr0 & CR0_PG ? "protected mode with paging" : "protected mode without paging";
}

static void report_registers(const struct vcpu_state *state)
{
    for (unsigned i = 0; i < 16; i += 4)
        task_print("  %3s %016lx  %3s %016lx  %3s %016lx  %3s %016lx\n", register_names[i],
                   state->gpr[i], register_names[i + 1], state->gpr[i + 1], register_names[i + 2],
                   state->gpr[i + 2], register_names[i + 3], state->gpr[i + 3]);
    task_print("  cr0 %lx  cr2 %lx  cr3 %lx  cr4 %lx  efer %lx  rflags %lx\n", state->cr0,
               state->cr2, state->cr3, state->cr4, state->efer, state->rflags);
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++)
        task_print("  %4s %04x  base %lx  limit %x  attributes %x\n", segment_names[i],
                   state->segment[i].selector, state->segment[i].base, state->segment[i].limit,
                   state->segment[i].attributes);
    task_print("  gdtr base %lx  limit %x  idtr base %lx  limit %x\n", state->gdtr.base,
               state->gdtr.limit, state->idtr.base, state->idtr.limit);
}

static void report_bytes(struct vcpu *vcpu)
{
    uint8_t code[CODE_BYTES];
    char text[CODE_BYTES * 3 + 1] = "";
    size_t n = report_code(vcpu, code, sizeof code);
    for (size_t i = 0; i < n; i++)
        print_buffer(text + 3 * i, 4, " %02x", code[i]);
    if (n)
        task_print("  code at RIP:%s\n", text);
    else
        task_print("  code at RIP: there is no memory, or it is not mapped\n");
}

/* Which interrupts the guest waits for, and what its devices wait for. */
static void report_devices(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    const struct plan_partition *partition = &machine->start->partition;
    local_apic_dump(&vcpu->apic, &task_log);
    ioapic_dump(&machine->ioapic, &task_log);
    if (machine->pc)
        chips_dump(machine, &task_log);
    if (partition->console == PLAN_CONSOLE_UART)
        uart_dump(&machine->uart, &task_log);
    if (partition->console == PLAN_CONSOLE_VIRTIO)
        virtio_dump(&machine->virtio_console.device, &task_log);
    if (partition->random)
        virtio_dump(&machine->random.device, &task_log);
    for (unsigned n = 0; n < machine->disk_count; n++)
        virtio_dump(&machine->disks[n]->device, &task_log);
    for (unsigned n = 0; n < machine->card_count; n++)
        virtio_dump(&machine->cards[n]->device, &task_log);
}

void report(struct vcpu *vcpu, const char *what, const char *cure)
{
    vcpu_need(vcpu, EXECUTE_GROUPS | VCPU_GROUP_TABLES);
    task_print("the guest can't go on: %s\n", what);
    task_print("vCPU %u was at RIP 0x%lx in %s; its exit: %s\n", vcpu->number, vcpu->rip,
               mode_of(vcpu->state), exit_name(vcpu->reason));
    if (cure)
        task_print("what can be done: %s\n", cure);
    report_registers(vcpu->state);
    report_bytes(vcpu);
    report_devices(vcpu);
}
