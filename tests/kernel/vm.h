/*
 * Tiny virtual machines for the tests of vCPUs.
 *
 *     struct vm vm;
 *     vm_create(&vm, 16);                       guest memory: 16 pages at guest-physical 0
 *     VM_LOAD(&vm, 0x1000, guest_hello);        a blob of guests/NAME.S
 *     vm_real_mode(&vm, 0x1000);                registers: real mode, at 0000:1000
 *     struct message exit = vm_run(&vm, 0, 0, 0, 0, DEADLINE_NEVER);
 *     EXPECT_OK(exit.status);
 *     EXPECT(vm_exit_reason(&exit), EXIT_HLT);
 *
 * The first task is the VMM: the guest's memory is in its SPACE_GUEST, so there is one machine at a
 * time (several vCPUs are fine). All of it is taken back after the test.
 */
#ifndef TESTS_KERNEL_VM_H
#define TESTS_KERNEL_VM_H

#include "kit.h"

#define VM_VCPUS_MAX 4u

struct vm {
    uint8_t *memory; /* the guest's memory in our space: guest-physical 0 is memory[0] */
    uint64_t physical, pages;
    unsigned vcpus;
    cap_slot_t vcpu[VM_VCPUS_MAX];
    struct vcpu_state *state[VM_VCPUS_MAX]; /* their state pages */
};

/* Memory at guest-physical 0 (all rights) and one vCPU on CPU 0, whose state is as INIT leaves it
 * and which subscribes to VCPU_GROUP_RIP for every exit. */
void vm_create(struct vm *vm, uint64_t pages);
/* One more vCPU, on that CPU; its index. */
unsigned vm_add_vcpu(struct vm *vm, unsigned cpu);
/* Maps more memory of ours into the guest. */
void vm_map(struct vm *vm, uint64_t guest_physical, uint64_t physical, uint64_t pages,
            unsigned rights);

/* Copies code or data into guest memory. VM_LOAD: the blob of GUEST(name) in guests/. */
void vm_load(struct vm *vm, uint64_t guest_physical, const void *from, uint64_t size_bytes);
#define VM_LOAD(vm, guest_physical, name)                                 \
    do {                                                                  \
        extern const char name[], name##_end[];                           \
        vm_load(vm, guest_physical, name, (uint64_t)(name##_end - name)); \
    } while (0)

/*
 * Register sets of vCPU 0 to begin with; they fill the state page and write all of it to the vCPU
 * with CONTROL_VCPU_WRITE. Paging modes build their tables at VM_TABLES (identity, the first GiB in
 * 2 MiB pages; PAE the same), a GDT at VM_GDT with the selectors below. RSP is VM_STACK.
 */
#define VM_TABLES 0x8000u /* 4 pages */
#define VM_GDT    0x7000u
#define VM_STACK  0x7000u
enum vm_selector { VM_CODE32 = 0x08, VM_DATA = 0x10, VM_CODE64 = 0x18, VM_TSS = 0x20 };
void vm_real_mode(struct vm *vm, uint16_t ip);
void vm_protected_mode(struct vm *vm, uint32_t eip); /* flat 32-bit, no paging */
void vm_paged_mode(struct vm *vm, uint32_t eip);     /* flat 32-bit, 4 MiB pages */
void vm_pae_mode(struct vm *vm, uint32_t eip);
void vm_long_mode(struct vm *vm, uint64_t rip);
/* The same for another vCPU: choose it first; vm_run and the modes then mean this one. */
void vm_select(struct vm *vm, unsigned vcpu);

/* Runs the selected vCPU. groups: what of the state page was changed (VCPU_GROUP_*); rip is used if
 * flags has VCPU_SET_RIP. The reply as it came. */
struct message vm_run(struct vm *vm, uint64_t flags, uint64_t event, uint64_t groups, uint64_t rip,
                      uint64_t deadline);
/* Runs it with nothing changed, on behind the instruction that exited last (whose length came with
 * it, or is given). */
struct message vm_continue(struct vm *vm, const struct message *exit, uint64_t length);

/* Runs with a far deadline and expects this exit with status OK. */
struct message vm_expect(struct vm *vm, uint64_t groups, enum vcpu_exit reason);

/* The parts of a reply. */
static inline enum vcpu_exit vm_exit_reason(const struct message *exit)
{
    return (enum vcpu_exit)(TAG_LABEL(exit->tag) & 0xff);
}

static inline enum vcpu_event_outcome vm_event_outcome(const struct message *exit)
{
    return (enum vcpu_event_outcome)(TAG_LABEL(exit->tag) >> 8 & 0xff);
}

static inline unsigned vm_instruction_length(const struct message *exit)
{
    return (unsigned)(exit->w[3] & 0xff);
}

static inline unsigned vm_interruptibility(const struct message *exit)
{
    return (unsigned)(exit->w[3] >> 8);
}

/* The state page of the selected vCPU. */
struct vcpu_state *vm_state(struct vm *vm);
/* CONTROL_VCPU_READ and _WRITE of the selected vCPU. */
void vm_read(struct vm *vm, uint64_t groups);
void vm_write(struct vm *vm, uint64_t groups);

static inline bool vm_is_svm(void)
{
    return boot->virtualization == BOOT_VIRT_SVM;
}

/* QEMU's own CPU: some intercepts of AMD-V are not done there. */
static inline bool vm_is_qemu(void)
{
    uint32_t a, b, c, d;
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "0"(0x40000000), "2"(0));
    return b == 0x54474354; /* "TCGT" */
}

#endif
