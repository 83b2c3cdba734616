/* Tiny virtual machines for the tests of vCPUs. */
#include "vm.h"

#define CR0_PE   1ull
#define CR0_ET   16ull
#define CR0_PG   (1ull << 31)
#define CR4_PSE  16ull
#define CR4_PAE  32ull
#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

/* Segment attributes: see struct vcpu_segment. */
#define ATTRIBUTES_CODE16 0x9bu
#define ATTRIBUTES_DATA16 0x93u
#define ATTRIBUTES_CODE32 0xc09bu
#define ATTRIBUTES_CODE64 0xa09bu
#define ATTRIBUTES_DATA32 0xc093u
#define ATTRIBUTES_TSS    0x8bu
#define ATTRIBUTES_LDT    0x82u

static unsigned selected;

void vm_create(struct vm *vm, uint64_t pages)
{
    *vm = (struct vm){.pages = pages};
    selected = 0;
    vm->memory = pages_new(pages, pages >= 512 ? 512 : 1, &vm->physical);
    vm_map(vm, 0, vm->physical, pages, MAP_RIGHTS);
    vm_add_vcpu(vm, 0);
}

unsigned vm_add_vcpu(struct vm *vm, unsigned cpu)
{
    unsigned index = vm->vcpus++;
    CHECK(index < VM_VCPUS_MAX);
    uint64_t address = addresses_new(1, 1);
    EXPECT_OK(create_status(&vm->vcpu[index], OBJECT_VCPU, BOOT_SLOT_TASK, cpu, address, 0));
    vm->state[index] = (struct vcpu_state *)address;
    for (unsigned i = 0; i < 64; i++)
        vm->state[index]->subscription[i] = VCPU_GROUP_RIP;
    return index;
}

void vm_map(struct vm *vm, uint64_t guest_physical, uint64_t physical, uint64_t pages,
            unsigned rights)
{
    (void)vm;
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_GUEST, guest_physical, physical, pages, rights));
}

void vm_load(struct vm *vm, uint64_t guest_physical, const void *from, uint64_t size_bytes)
{
    CHECK(guest_physical + size_bytes <= vm->pages * SEPTUM_PAGE_SIZE);
    memcpy(vm->memory + guest_physical, from, size_bytes);
}

void vm_select(struct vm *vm, unsigned vcpu)
{
    CHECK(vcpu < vm->vcpus);
    selected = vcpu;
}

struct vcpu_state *vm_state(struct vm *vm)
{
    return vm->state[selected];
}

void vm_read(struct vm *vm, uint64_t groups)
{
    EXPECT_OK(sys_control(vm->vcpu[selected], CONTROL_VCPU_READ, groups, 0, 0, 0).status);
}

void vm_write(struct vm *vm, uint64_t groups)
{
    EXPECT_OK(sys_control(vm->vcpu[selected], CONTROL_VCPU_WRITE, groups, 0, 0, 0).status);
}

/* ---- modes ----------------------------------------------------------------------------------- */

static struct vcpu_segment segment(uint16_t selector, uint64_t base, uint32_t limit,
                                   uint32_t attributes)
{
    return (struct vcpu_segment){
        .selector = selector, .base = base, .limit = limit, .attributes = attributes};
}

/* Segments, tables and control registers that all modes have in common. */
static struct vcpu_state *common(struct vm *vm, uint64_t rip, struct vcpu_segment code,
                                 struct vcpu_segment data)
{
    struct vcpu_state *state = vm_state(vm);
    vm_read(vm, VCPU_GROUP_ALL);
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = 0;
    state->gpr[4] = VM_STACK;
    state->rip = rip;
    state->rflags = 2;
    state->interruptibility = 0;
    state->activity = VCPU_ACTIVITY_ACTIVE;
    state->cr0 = CR0_PE | CR0_ET;
    state->cr3 = state->cr4 = state->efer = 0;
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i] = data;
    state->segment[VCPU_CS] = code;
    state->segment[VCPU_LDTR] = segment(0, 0, 0xffff, ATTRIBUTES_LDT);
    state->segment[VCPU_TR] = segment(0, 0, 0xffff, ATTRIBUTES_TSS);
    state->gdtr = (struct vcpu_table){.base = VM_GDT, .limit = 0x2f};
    state->idtr = (struct vcpu_table){.base = 0, .limit = 0x3ff};
    return state;
}

static void write_gdt(struct vm *vm)
{
    static const uint64_t gdt[] = {0,
                                   0x00cf9b000000ffff, /* VM_CODE32 */
                                   0x00cf93000000ffff, /* VM_DATA */
                                   0x00af9b000000ffff, /* VM_CODE64 */
                                   0x00008b000000ffff,
                                   0}; /* VM_TSS: at 0 */
    vm_load(vm, VM_GDT, gdt, sizeof gdt);
}

void vm_real_mode(struct vm *vm, uint16_t ip)
{
    struct vcpu_state *state = common(vm, ip, segment(0, 0, 0xffff, ATTRIBUTES_CODE16),
                                      segment(0, 0, 0xffff, ATTRIBUTES_DATA16));
    state->cr0 = CR0_ET;
    vm_write(vm, VCPU_GROUP_ALL & ~VCPU_GROUP_INSTRUCTION);
}

static struct vcpu_state *flat(struct vm *vm, uint32_t eip)
{
    write_gdt(vm);
    return common(vm, eip, segment(VM_CODE32, 0, 0xffffffff, ATTRIBUTES_CODE32),
                  segment(VM_DATA, 0, 0xffffffff, ATTRIBUTES_DATA32));
}

void vm_protected_mode(struct vm *vm, uint32_t eip)
{
    flat(vm, eip);
    vm_write(vm, VCPU_GROUP_ALL & ~VCPU_GROUP_INSTRUCTION);
}

void vm_paged_mode(struct vm *vm, uint32_t eip)
{
    struct vcpu_state *state = flat(vm, eip);
    uint32_t *directory = (uint32_t *)(vm->memory + VM_TABLES);
    CHECK(vm->pages * SEPTUM_PAGE_SIZE >= VM_TABLES + 0x1000);
    for (uint32_t i = 0; i < 256; i++)
        directory[i] = i << 22 | 0xe7; /* present, writable, user, accessed, dirty, 4 MiB */
    state->cr3 = VM_TABLES;
    state->cr4 = CR4_PSE;
    state->cr0 |= CR0_PG;
    vm_write(vm, VCPU_GROUP_ALL & ~VCPU_GROUP_INSTRUCTION);
}

/* A page directory of 512 entries of 2 MiB: the first GiB. */
static void write_directory(struct vm *vm, uint64_t at)
{
    CHECK(vm->pages * SEPTUM_PAGE_SIZE >= at + 0x1000);
    for (uint64_t i = 0; i < 512; i++)
        ((uint64_t *)(vm->memory + at))[i] = i << 21 | 0xe7;
}

void vm_pae_mode(struct vm *vm, uint32_t eip)
{
    struct vcpu_state *state = flat(vm, eip);
    write_directory(vm, VM_TABLES + 0x1000);
    *(uint64_t *)(vm->memory + VM_TABLES) = (VM_TABLES + 0x1000) | 1;
    state->pdpte[0] = (VM_TABLES + 0x1000) | 1;
    state->pdpte[1] = state->pdpte[2] = state->pdpte[3] = 0;
    state->cr3 = VM_TABLES;
    state->cr4 = CR4_PAE;
    state->cr0 |= CR0_PG;
    vm_write(vm, VCPU_GROUP_ALL & ~VCPU_GROUP_INSTRUCTION);
}

void vm_long_mode(struct vm *vm, uint64_t rip)
{
    write_gdt(vm);
    struct vcpu_state *state = common(vm, rip, segment(VM_CODE64, 0, 0xffffffff, ATTRIBUTES_CODE64),
                                      segment(VM_DATA, 0, 0xffffffff, ATTRIBUTES_DATA32));
    write_directory(vm, VM_TABLES + 0x2000);
    *(uint64_t *)(vm->memory + VM_TABLES) = (VM_TABLES + 0x1000) | 0x27;
    *(uint64_t *)(vm->memory + VM_TABLES + 0x1000) = (VM_TABLES + 0x2000) | 0x27;
    state->cr3 = VM_TABLES;
    state->cr4 = CR4_PAE;
    state->efer = EFER_LME | EFER_LMA;
    state->cr0 |= CR0_PG;
    vm_write(vm, VCPU_GROUP_ALL & ~VCPU_GROUP_INSTRUCTION);
}

/* ---- running --------------------------------------------------------------------------------- */

struct message vm_run(struct vm *vm, uint64_t flags, uint64_t event, uint64_t groups, uint64_t rip,
                      uint64_t deadline)
{
    const uint64_t w[4] = {event, groups, rip, 0};
    return ipc(IPC_CALL, vm->vcpu[selected], TAG(flags, 3, 0), w, deadline);
}

struct message vm_continue(struct vm *vm, const struct message *exit, uint64_t length)
{
    uint64_t known = vm_instruction_length(exit);
    return vm_run(vm, VCPU_SET_RIP, 0, 0, exit->w[2] + (known ? known : length), far_deadline());
}

struct message vm_expect(struct vm *vm, uint64_t groups, enum vcpu_exit reason)
{
    struct message exit = vm_run(vm, 0, 0, groups, 0, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), reason);
    return exit;
}
