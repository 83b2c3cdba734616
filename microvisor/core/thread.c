/* Threads: making, starting, stopping, ending. */
#include "core/thread.h"

#include "core/syscall.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

struct bind {
    struct thread *thread;
    struct sched *sched;
};

static void bind_here(void *argument)
{
    const struct bind *bind = argument;
    struct thread *thread = bind->thread;
    struct sched *before = thread->own_sched;

    sched_unready(thread);
    if (thread->state == THREAD_CALLING && before)
        sched_end_loan(thread->reply_at, before);
    list_remove(&thread->sched_link);
    thread->own_sched = bind->sched;
    if (thread->sched == before)
        thread->sched = bind->sched;
    if (bind->sched)
        list_append(&bind->sched->bound, &thread->sched_link);
    if (thread == this_cpu()->current)
        this_cpu()->reschedule = 1;
    else
        sched_ready(thread, false);
}

void thread_bind_sched(struct thread *thread, struct sched *sched)
{
    struct bind bind = {thread, sched};
    cross_call(thread->object.home, bind_here, &bind);
}

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct thread *thread = container_of(object, struct thread, object);
    struct task *task = object->owner;

    list_init(&thread->ready_link);
    list_init(&thread->queue_link);
    list_init(&thread->timed_link);
    list_init(&thread->sched_link);
    thread->task = task;
    thread->fault_endpoint = (uint32_t)request->a2;
    thread->state = THREAD_INACTIVE;
    thread->attention = ATTENTION_UNTIMED;
    thread->ipc_cpu = object->home;
    thread->deadline = DEADLINE_NEVER;
    thread->slice_left = SLICE_MS * tsc_khz;
    thread->buffer = quota_alloc_pages(&task->quota, 0);
    if (!thread->buffer)
        return STATUS_NO_QUOTA;
    enum septum_status status = task_map_kernel_page(task, request->a1, thread->buffer);
    if (status != STATUS_OK)
        return status;
    thread->buffer_address = request->a1;
    spinlock_acquire(&mapping_lock);
    task->host_cpus |= 1ull << object->home;
    spinlock_release(&mapping_lock);
    thread_bind_sched(thread, request->sched);
    return STATUS_OK;
}

void thread_start(struct thread *thread, uint64_t rip, uint64_t rsp, uint64_t argument)
{
    memset(&thread->registers, 0, sizeof(thread->registers));
    thread->registers.rip = rip;
    thread->registers.rsp = rsp;
    thread->registers.rdi = argument;
    thread->registers.rflags = processor_user_rflags(0);
    thread->resume = RESUME_IRET;
    thread->state = THREAD_READY;
    thread->attention &= ~(uint64_t)ATTENTION_STOP;
    thread->stopped_by_fault = 0;
    sched_ready(thread, false);
}

_Static_assert(offsetof(struct registers, rflags) == offsetof(struct thread_registers, rflags) &&
                   sizeof(struct registers) == offsetof(struct thread_registers, fs_base),
               "one order of registers");

void thread_read_registers(const struct thread *thread, struct thread_registers *to)
{
    memcpy(to, &thread->registers, sizeof(thread->registers));
    to->fs_base = thread->x86.fs_base;
}

enum septum_status thread_write_registers(struct thread *thread,
                                          const struct thread_registers *from)
{
    struct thread_registers new;
    memcpy(&new, from, sizeof(new));
    if (thread->object.home != this_cpu()->number) /* only its own CPU can load it */
        new.fs_base = thread->x86.fs_base;
    if (new.rip >= SEPTUM_USER_END || new.fs_base >= SEPTUM_USER_END)
        return STATUS_BAD_ARGUMENT;
    memcpy(&thread->registers, &new, sizeof(thread->registers));
    thread->registers.rflags = processor_user_rflags(new.rflags);
    if (new.fs_base != thread->x86.fs_base)
        processor_set_fs_base(thread, new.fs_base);
    thread->resume = RESUME_IRET;
    return STATUS_OK;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* If it is the one that runs here, nobody runs from now on; but not in the middle of a system call of
 * its own. */
static bool end(struct object *object)
{
    struct thread *thread = container_of(object, struct thread, object);
    struct cpu *cpu = this_cpu();

    thread->attention |= ATTENTION_STOP;
    if (cpu->current == thread) {
        cpu->reschedule = 1;
        if (cpu->busy)
            return false;
    }
    ipc_cancel(thread, STATUS_INTERRUPTED);
    ipc_drop_callers(thread);
    if (thread->vcpu)
        vcpu_abort(thread, STATUS_INTERRUPTED);
    if (thread->bound)
        notification_unbind(thread->bound);
    if (thread->serves)
        thread->serves->server = NULL;
    sched_unready(thread);
    list_remove(&thread->timed_link);
    list_remove(&thread->sched_link);
    thread->state = THREAD_INACTIVE;
    processor_thread_end(thread);
    if (cpu->current == thread)
        cpu->current = cpu->idle;
    return true;
}

static void release(struct object *object)
{
    struct thread *thread = container_of(object, struct thread, object);
    if (thread->buffer_address)
        task_unmap_kernel_page(thread->task, thread->buffer_address);
    if (thread->buffer)
        quota_free_pages(&object->owner->quota, thread->buffer, 0);
}

const struct object_kind thread_kind = OBJECT_KIND(thread, create, end, release);
