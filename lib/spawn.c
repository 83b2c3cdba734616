/* Children of a first task. */
#include "spawn.h"

#include "string.h"

#define STACK_PAGES (THREAD_STACK_BYTES / SEPTUM_PAGE_SIZE)

extern char image_text_start[], image_text_end[], image_rodata_start[], image_rodata_end[];
extern char image_data_start[], image_data_end[];

_Noreturn void thread_finish(void)
{
    struct thread_context *self = thread_self();
    self->finished = 1;
    if (self->self)
        sys_control(self->self, CONTROL_THREAD_STOP, 0, 0, 0, 0);
    for (;;) /* no capability to itself: it sleeps */
        ipc(IPC_WAIT, 0, 0, NULL, DEADLINE_NEVER);
}

_Noreturn void thread_run(struct thread_context *context)
{
    context->function(context->argument);
    thread_finish();
}

/* Maps a part of the parent's own image at the same place in the child. */
static uint64_t share(cap_slot_t task, const char *start, const char *end, unsigned rights)
{
    uint64_t pages = (uint64_t)(end - start) / SEPTUM_PAGE_SIZE;
    if (pages == 0)
        return STATUS_OK;
    return sys_map(task, MAP_HOW(SPACE_HOST, SPACE_HOST, rights, CACHE_INHERIT), (uint64_t)start,
                   (uint64_t)start, pages, 0);
}

static uint64_t map_private_data(struct child_task *child)
{
    uint64_t pages = (uint64_t)(image_data_end - image_data_start) / SEPTUM_PAGE_SIZE;
    uint64_t frames;
    void *copy = memory_take(pages, 1, &frames);
    if (!copy)
        return STATUS_NO_QUOTA;
    memcpy(copy, image_data_start, pages * SEPTUM_PAGE_SIZE);
    uint64_t status = memory_map_at(child->task, SPACE_HOST, (uint64_t)image_data_start, frames,
                                    pages, MAP_READ | MAP_WRITE);
    sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, (uint64_t)copy, pages);
    address_give((uint64_t)copy, pages);
    if (status == STATUS_OK)
        child->data_frames = frames;
    else
        frames_give(frames, pages);
    return status;
}

uint64_t child_create(struct child_task *child, uint64_t quota_pages, uint64_t slots,
                      enum child_data data)
{
    child->task = slot_take();
    child->data_frames = POOL_NONE;
    uint64_t status = sys_create(child->task, OBJECT_TASK, BOOT_SLOT_TASK, quota_pages, slots, 0);
    if (status != STATUS_OK) {
        slot_give(child->task);
        return status;
    }
    status = share(child->task, image_text_start, image_text_end, MAP_READ | MAP_EXECUTE);
    if (status == STATUS_OK)
        status = share(child->task, image_rodata_start, image_rodata_end, MAP_READ);
    if (status == STATUS_OK)
        status = data == CHILD_DATA_PRIVATE
                     ? map_private_data(child)
                     : share(child->task, image_data_start, image_data_end, MAP_READ | MAP_WRITE);
    if (status != STATUS_OK)
        child_destroy(child);
    return status;
}

void child_destroy(struct child_task *child)
{
    uint64_t pages = (uint64_t)(image_data_end - image_data_start) / SEPTUM_PAGE_SIZE;
    sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, child->task, 1);
    slot_give(child->task);
    if (child->data_frames != POOL_NONE)
        frames_give(child->data_frames, pages);
}

uint64_t child_give(const struct child_task *child, cap_slot_t target, cap_slot_t source,
                    unsigned rights, uint64_t badge)
{
    return sys_map(child->task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0), source,
                   target, 1, badge);
}

uint64_t child_thread_create(struct child_thread *thread, cap_slot_t task, cap_slot_t sched,
                             cap_slot_t fault_endpoint)
{
    *thread = (struct child_thread){0};
    void *stack = memory_take(STACK_PAGES, STACK_PAGES, &thread->stack_frames);
    if (!stack)
        return STATUS_NO_QUOTA;
    thread->stack = (uint64_t)stack;
    uint64_t status = STATUS_OK;
    if (task != BOOT_SLOT_TASK)
        status = memory_map_at(task, SPACE_HOST, thread->stack, thread->stack_frames, STACK_PAGES,
                               MAP_READ | MAP_WRITE);
    thread->buffer = address_take(1, 1);
    thread->thread = slot_take();
    if (status == STATUS_OK)
        status =
            sys_create(thread->thread, OBJECT_THREAD, task, sched, thread->buffer, fault_endpoint);
    if (status != STATUS_OK) {
        child_thread_destroy(thread);
        return status;
    }
    thread->context = (struct thread_context *)(thread->stack + THREAD_STACK_BYTES) - 1;
    thread->context->buffer = (struct message_buffer *)thread->buffer;
    thread->context->self = task == BOOT_SLOT_TASK ? thread->thread : 0;
    return STATUS_OK;
}

uint64_t child_thread_start(struct child_thread *thread, void (*function)(void *), void *argument)
{
    thread->context->function = function;
    thread->context->argument = argument;
    thread->context->finished = 0;
    return sys_control(thread->thread, CONTROL_THREAD_START, (uint64_t)thread_entry,
                       (uint64_t)thread->context, (uint64_t)thread->context, 0)
        .status;
}

void child_thread_destroy(struct child_thread *which)
{
    const struct child_thread copy = *which, *thread = &copy; /* it may lie in the thread's stack */
    sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, thread->thread, 1);
    memory_give((void *)thread->stack, thread->stack_frames, STACK_PAGES);
    address_give(thread->buffer, 1);
    slot_give(thread->thread);
}
