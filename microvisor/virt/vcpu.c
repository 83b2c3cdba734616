/* Virtual CPUs: which backend, making and ending one, `control`. */
#include "virt/vcpu_exit.h"

#include "core/cpu.h"
#include "core/cross.h"
#include "core/mapping.h"
#include "core/table.h"
#include "core/task.h"
#include "x86/fpu.h"
#include "x86/instructions.h"
#include "x86/processor.h"

const struct vcpu_ops *vcpu_ops;

/* ---- start ----------------------------------------------------------------------------------- */

const char *vcpu_init(void)
{
    bool vmx = cpuid(1, 0).c >> 5 & 1;
    bool svm = cpuid(0x80000000, 0).a >= 0x80000001 && cpuid(0x80000001, 0).c >> 2 & 1;
    const struct vcpu_ops *ops = vmx ? &vmx_ops : &svm_ops;
    const char *why = "the processor shows neither VT-x nor AMD-V: switch it on in the firmware's "
                      "set-up, or give the emulator a CPU model that has it (QEMU: -cpu "
                      "EPYC-v3,+svm,+npt)";

    vcpu_limits_init();
    if ((!vmx && !svm) || !ops->probe(&why))
        return why;
    vcpu_ops = ops;
    return NULL;
}

bool vcpu_init_cpu(struct cpu *cpu)
{
    return !vcpu_ops || vcpu_ops->cpu_enable(cpu);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* What can be undone without having been done. */
static void release(struct object *object)
{
    struct vcpu *vcpu = container_of(object, struct vcpu, object);
    struct quota *quota = &object->owner->quota;

    if (vcpu->state_address)
        task_unmap_kernel_page(object->owner, vcpu->state_address);
    if (vcpu->area)
        quota_free_pages(quota, vcpu->area, VCPU_AREA_ORDER);
    if (vcpu->fpu)
        fpu_free(quota, vcpu->fpu);
    if (vcpu->staged)
        quota_free_pages(quota, vcpu->staged, 0);
    if (vcpu->state)
        quota_free_pages(quota, vcpu->state, 0);
}

static enum septum_status fill(struct vcpu *vcpu, uint64_t state_address)
{
    struct task *owner = vcpu->object.owner;

    vcpu->fpu = fpu_alloc(&owner->quota);
    vcpu->staged = quota_alloc_pages(&owner->quota, 0);
    vcpu->state = quota_alloc_pages(&owner->quota, 0);
    vcpu->area = quota_alloc_pages(&owner->quota, VCPU_AREA_ORDER);
    if (!vcpu->fpu || !vcpu->staged || !vcpu->state || !vcpu->area)
        return STATUS_NO_QUOTA;
    spinlock_acquire(&mapping_lock);
    bool space = task_make_space(owner, SPACE_GUEST) == STATUS_OK &&
                 task_make_space(owner, SPACE_GUEST_PORT) == STATUS_OK;
    spinlock_release(&mapping_lock);
    if (!space)
        return STATUS_NO_QUOTA;
    return task_map_kernel_page(owner, state_address, vcpu->state);
}

/* On the home CPU. */
static void begin(void *argument)
{
    vcpu_ops->begin(argument);
    vcpu_reset(argument, VCPU_GROUP_ALL);
}

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct vcpu *vcpu = container_of(object, struct vcpu, object);
    struct task *owner = object->owner;

    enum septum_status status = fill(vcpu, request->a1);
    if (status != STATUS_OK)
        return status;
    vcpu->state_address = request->a1;
    cross_call(object->home, begin, vcpu);
    spinlock_acquire(&mapping_lock);
    owner->guest_cpus |= 1ull << object->home;
    spinlock_release(&mapping_lock);
    return STATUS_OK;
}

static bool end(struct object *object)
{
    struct vcpu *vcpu = container_of(object, struct vcpu, object);
    struct cpu *cpu = this_cpu();

    if (vcpu->runner)
        vcpu_abort(vcpu->runner, STATUS_PEER_GONE);
    fpu_sync(vcpu);
    if (cpu->x86.debug_vcpu == vcpu)
        cpu->x86.debug_vcpu = NULL;
    if (vcpu_ops->end)
        vcpu_ops->end(vcpu);
    return true;
}

const struct object_kind vcpu_kind = OBJECT_KIND(vcpu, create, end, release);

/* ---- control --------------------------------------------------------------------------------- */

/* Any CPU. The flag comes first: a guest that is entered after the test below has seen it. */
static enum septum_status force_exit(struct vcpu *vcpu)
{
    unsigned home = vcpu->object.home;

    vcpu_special_set(vcpu, SPECIAL_FORCED, SPECIAL_FORCED);
    if (home != this_cpu()->number &&
        __atomic_load_n(&cpus[home]->in_guest, __ATOMIC_SEQ_CST) == vcpu)
        processor_send_interrupt(home);
    return STATUS_OK;
}

static enum septum_status write_groups(struct thread *caller, struct vcpu *vcpu, uint64_t groups)
{
    uint32_t refused = groups > UINT32_MAX ? UINT32_MAX : vcpu_stage(vcpu, (uint32_t)groups);
    if (refused) {
        caller->registers.rdx = refused;
        return STATUS_BAD_ARGUMENT;
    }
    vcpu_apply(vcpu, (uint32_t)groups);
    return STATUS_OK;
}

enum septum_status vcpu_control(struct thread *caller, struct vcpu *vcpu, uint64_t operation,
                                uint64_t a0)
{
    if (operation > CONTROL_VCPU_VIOLATE)
        return STATUS_BAD_ARGUMENT;
    if (operation == CONTROL_VCPU_FORCE_EXIT)
        return force_exit(vcpu);
    if (vcpu->object.home != this_cpu()->number)
        return STATUS_WRONG_CPU;
    if (vcpu->runner)
        return STATUS_BUSY;
    switch (operation) {
    case CONTROL_VCPU_READ:
        if (a0 & ~(uint64_t)VCPU_GROUP_ALL)
            return STATUS_BAD_ARGUMENT;
        vcpu_show(vcpu, (uint32_t)a0);
        return STATUS_OK;
    case CONTROL_VCPU_WRITE: return write_groups(caller, vcpu, a0);
    case CONTROL_VCPU_READ_FPU:
        fpu_sync(vcpu);
        fpu_copy_out(vcpu->fpu, vcpu->state->fpu, sizeof(vcpu->state->fpu));
        return STATUS_OK;
    case CONTROL_VCPU_WRITE_FPU:
        fpu_sync(vcpu);
        return fpu_copy_in(vcpu->fpu, vcpu->state->fpu, sizeof(vcpu->state->fpu))
                   ? STATUS_OK
                   : STATUS_BAD_ARGUMENT;
    default:
        if (!vcpu_ops->violate)
            return STATUS_NOT_SUPPORTED;
        return vcpu_ops->violate(vcpu, (uint32_t)a0) ? STATUS_OK : STATUS_BAD_ARGUMENT;
    }
}
