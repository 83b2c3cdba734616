/*
 * The calls of a hostile task. Each begins as one that makes sense (or would, had not the calls
 * before it done what they did); then, often, an argument is spoilt. So a good part succeeds, and
 * what fails fails deep inside.
 */
#include "hostile.h"

struct call {
    uint64_t rax;
    uint64_t a[6]; /* rdi rsi rdx r10 r8 r9 */
    uint64_t rbx;
};

typedef void template(struct hostile_page *page, struct call *call);

static uint64_t free_slot(struct hostile_page *page)
{
    return SLOT_FREE + hostile_below(page, SLOT_FREE_END - SLOT_FREE);
}

static uint64_t scratch(struct hostile_page *page)
{
    return hostile_below(page, SCRATCH_PAGES) * SEPTUM_PAGE_SIZE;
}

static uint64_t target(struct hostile_page *page)
{
    return TARGET_ADDRESS + hostile_below(page, TARGET_PAGES) * SEPTUM_PAGE_SIZE;
}

/* Mostly a poll or soon; rarely a deadline of long ago, or none. */
static uint64_t some_deadline(struct hostile_page *page)
{
    switch (hostile_below(page, 32)) {
    case 0: return hostile_value(page);
    case 1: return 1;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7: return ticks() + hostile_below(page, 50000);
    default: return DEADLINE_POLL;
    }
}

static uint64_t soon(struct hostile_page *page)
{
    return ticks() + 100000 + hostile_below(page, 100000);
}

static void set(struct call *call, uint64_t rax, uint64_t a0, uint64_t a1, uint64_t a2, uint64_t a3,
                uint64_t a4, uint64_t a5, uint64_t rbx)
{
    *call = (struct call){rax, {a0, a1, a2, a3, a4, a5}, rbx};
}

/* ---- ipc ------------------------------------------------------------------------------------- */

static void ipc_raise(struct hostile_page *page, struct call *call)
{
    static const uint8_t slots[] = {SLOT_NOTIFICATION, SLOT_BOUND, SLOT_FAR_NOTIFICATION};
    set(call, IPC_RAX(IPC_SEND), slots[hostile_below(page, 3)], hostile_value(page),
        hostile_random(page), 0, 0, 0, DEADLINE_POLL);
}

static void ipc_take_bits(struct hostile_page *page, struct call *call)
{
    set(call, IPC_RAX(IPC_WAIT),
        hostile_below(page, 2)   ? SLOT_NOTIFICATION
        : hostile_below(page, 2) ? SLOT_BOUND
                                 : 0,
        0, 0, 0, 0, 0, some_deadline(page));
}

static void ipc_call_server(struct hostile_page *page, struct call *call)
{
    set(call, IPC_RAX(IPC_CALL), hostile_below(page, 2) ? SLOT_ENDPOINT : SLOT_SEND_ONLY,
        TAG(hostile_below(page, 16), hostile_below(page, 64), 0), hostile_random(page), 1, 2, 3,
        soon(page));
}

static void some_item(struct hostile_page *page, struct map_item *item)
{
    static const uint8_t spaces[] = {SPACE_PHYSICAL, SPACE_HOST,       SPACE_HOST,
                                     SPACE_PORT,     SPACE_CAPABILITY, SPACE_GUEST};
    uint64_t from = spaces[hostile_below(page, 5)];
    uint64_t to = from == SPACE_PHYSICAL ? SPACE_HOST : from;
    uint64_t rights = from == SPACE_CAPABILITY ? hostile_below(page, 256) : hostile_below(page, 8);
    *item =
        (struct map_item){.how = MAP_HOW(from, to, rights, 0),
                          .source = from == SPACE_PHYSICAL ? page->scratch_physical + scratch(page)
                                    : from == SPACE_HOST   ? SCRATCH_ADDRESS + scratch(page)
                                    : from == SPACE_PORT   ? FIRST_PORT + hostile_below(page, PORTS)
                                                           : hostile_below(page, SLOT_FREE_END),
                          .offset = hostile_below(page, 16) * (from >= SPACE_PORT ? 1 : 4096),
                          .count = 1 + hostile_below(page, 4),
                          .badge = hostile_below(page, 4) ? 0 : hostile_value(page)};
    if (hostile_below(page, 4) == 0)
        ((uint64_t *)item)[hostile_below(page, 5)] = hostile_value(page);
}

static void ipc_with_items(struct hostile_page *page, struct call *call)
{
    uint64_t count = 1 + hostile_below(page, 5);
    for (unsigned i = 0; i < MESSAGE_ITEMS_MAX; i++)
        some_item(page, &thread_buffer()->items[i]);
    ipc_call_server(page, call);
    call->a[1] = TAG(hostile_below(page, 16), hostile_below(page, 64), count);
}

static void ipc_any_endpoint(struct hostile_page *page, struct call *call)
{
    static const uint8_t slots[] = {SLOT_ENDPOINT,     SLOT_SILENT, SLOT_SEND_ONLY, SLOT_NO_RIGHTS,
                                    SLOT_FAR_ENDPOINT, SLOT_PEER,   SLOT_PEER};
    set(call, IPC_RAX(hostile_below(page, 4)), slots[hostile_below(page, 7)], hostile_random(page),
        hostile_random(page), 0, 0, 0, some_deadline(page));
}

static void ipc_saved_reply(struct hostile_page *page, struct call *call)
{
    set(call, IPC_RAX(IPC_SEND), free_slot(page), TAG(1, 4, 0), 1, 2, 3, 4, DEADLINE_POLL);
}

static void spoil_state(struct hostile_page *page)
{
    uint8_t *state = (uint8_t *)VCPU_ADDRESS;
    for (uint64_t n = hostile_below(page, 6); n; n--)
        *(uint64_t *)(state + hostile_below(page, sizeof(struct vcpu_state) / 8) * 8) =
            hostile_value(page);
}

static void ipc_run_vcpu(struct hostile_page *page, struct call *call)
{
    uint64_t event = hostile_below(page, 4) ? 0 : hostile_random(page) & 0xffffffff00f00fff;
    if (page->has_vcpu)
        spoil_state(page);
    set(call, IPC_RAX(IPC_CALL), hostile_below(page, 16) ? SLOT_VCPU : SLOT_FAR_VCPU,
        TAG(hostile_below(page, 17), 3, 0), event, hostile_below(page, 2048), hostile_value(page),
        0, ticks() + hostile_below(page, 30000));
}

/* ---- create ---------------------------------------------------------------------------------- */

static void create_any(struct hostile_page *page, struct call *call)
{
    uint64_t type = 1 + hostile_below(page, OBJECT_REPLY), a0 = 0, a1 = 0, a2 = 0;
    switch (type) {
    case OBJECT_TASK: a0 = 8 + hostile_below(page, 30), a1 = 64; break;
    case OBJECT_THREAD:
        a0 = SLOT_SCHED, a1 = target(page), a2 = hostile_below(page, 2) ? SLOT_ENDPOINT : 0;
        break;
    case OBJECT_VCPU: a1 = target(page); break;
    case OBJECT_INTERRUPT:
        a0 = hostile_below(page, 2) ? INTERRUPT_MSI : hostile_below(page, 32);
        break;
    case OBJECT_SCHED:
        a0 = SLOT_SCHED, a1 = hostile_below(page, 12);
        a2 = (100 + hostile_below(page, 900)) | (uint64_t)(1000 + hostile_below(page, 9000)) << 32;
        break;
    default: a0 = hostile_below(page, page->cpu_count);
    }
    set(call, SYSCALL_create, free_slot(page), type,
        hostile_below(page, 8) ? SLOT_TASK : SLOT_CHILD, a0, a1, a2, 0);
}

static void create_cheap(struct hostile_page *page, struct call *call)
{
    set(call, SYSCALL_create, free_slot(page),
        hostile_below(page, 2) ? OBJECT_ENDPOINT : OBJECT_NOTIFICATION, SLOT_TASK, 0, 0, 0, 0);
}

/* ---- map and unmap --------------------------------------------------------------------------- */

static void map_memory(struct hostile_page *page, struct call *call)
{
    bool physical = hostile_below(page, 2);
    uint64_t count = 1 + hostile_below(page, 4), rights = MAP_READ | hostile_below(page, 8);
    set(call, SYSCALL_map, hostile_below(page, 2) ? SLOT_TASK : SLOT_CHILD,
        MAP_HOW(physical ? SPACE_PHYSICAL : SPACE_HOST, SPACE_HOST, rights, 0),
        (physical ? page->scratch_physical : SCRATCH_ADDRESS) + scratch(page), target(page), count,
        0, 0);
}

static void map_other_space(struct hostile_page *page, struct call *call)
{
    uint64_t offset = scratch(page);
    switch (hostile_below(page, 4)) {
    case 0:
        set(call, SYSCALL_map, SLOT_TASK, MAP_HOW(SPACE_PHYSICAL, SPACE_GUEST, MAP_RIGHTS, 0),
            page->scratch_physical + offset, offset, 1, 0, 0);
        break;
    case 1:
        set(call, SYSCALL_map, SLOT_CHILD, MAP_HOW(SPACE_PHYSICAL, SPACE_PHYSICAL, MAP_READ, 0),
            page->scratch_physical + offset, page->scratch_physical + offset, 1, 0, 0);
        break;
    case 2:
        set(call, SYSCALL_map, SLOT_TASK, MAP_HOW(SPACE_PHYSICAL, SPACE_DMA, MAP_READ, 0),
            page->scratch_physical + offset, offset, 1, 0, 0);
        break;
    default: {
        uint64_t port = FIRST_PORT + hostile_below(page, PORTS);
        uint64_t space = hostile_below(page, 2) ? SPACE_PORT : SPACE_GUEST_PORT;
        set(call, SYSCALL_map, hostile_below(page, 2) ? SLOT_CHILD : SLOT_TASK,
            MAP_HOW(SPACE_PORT, space, MAP_READ | MAP_WRITE, 0), port, port, 1, 0, 0);
    }
    }
}

static void map_capability(struct hostile_page *page, struct call *call)
{
    set(call, SYSCALL_map, hostile_below(page, 4) ? SLOT_TASK : SLOT_CHILD,
        MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, hostile_below(page, 128), 0),
        1 + hostile_below(page, SLOT_FREE - 1), free_slot(page), 1 + hostile_below(page, 2),
        hostile_below(page, 3) ? 0 : hostile_value(page), 0);
}

static void unmap_slots(struct hostile_page *page, struct call *call)
{
    set(call, SYSCALL_unmap, SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, free_slot(page),
        1 + hostile_below(page, 8), 0, 0, 0);
}

static void unmap_memory(struct hostile_page *page, struct call *call)
{
    static const uint8_t spaces[] = {SPACE_HOST, SPACE_PHYSICAL, SPACE_GUEST, SPACE_PORT};
    uint64_t space = spaces[hostile_below(page, 4)], self = hostile_below(page, 2) ? UNMAP_SELF : 0;
    uint64_t base = target(page), count = 1 + hostile_below(page, 16);
    if (space == SPACE_PHYSICAL)
        base = page->scratch_physical + scratch(page), self = 0;
    else if (space == SPACE_GUEST)
        base = scratch(page);
    else if (space == SPACE_PORT)
        base = FIRST_PORT + hostile_below(page, PORTS), count = 1, self = 0;
    set(call, SYSCALL_unmap, hostile_below(page, 4) ? SLOT_TASK : SLOT_CHILD, space | self, base,
        count, 0, 0, 0);
}

/* ---- control, schedule, inspect -------------------------------------------------------------- */

static void control_thread(struct hostile_page *page, struct call *call)
{
    uint64_t operation = hostile_below(page, 8), a0 = 0;
    uint64_t thread = hostile_below(page, 8) ? SLOT_VICTIM : SLOT_SERVER;
    struct thread_registers *registers = &thread_buffer()->registers;
    switch (operation) {
    case CONTROL_THREAD_START: a0 = (uint64_t)hostile_victim; break;
    case CONTROL_THREAD_WRITE_REGISTERS:
        registers->rip = (uint64_t)hostile_victim;
        registers->rflags = hostile_random(page);
        registers->fs_base = 0;
        if (hostile_below(page, 4) == 0)
            ((uint64_t *)registers)[hostile_below(page, 19)] = hostile_value(page);
        break;
    case CONTROL_THREAD_SET_FAULT_ENDPOINT:
        a0 = hostile_below(page, 2) ? SLOT_ENDPOINT : hostile_below(page, SLOT_COUNT);
        break;
    case CONTROL_THREAD_BIND_NOTIFICATION:
        a0 = hostile_below(page, 2) ? SLOT_BOUND : hostile_below(page, SLOT_FREE);
        thread = hostile_below(page, 2) ? SLOT_THREAD : SLOT_VICTIM;
        break;
    case CONTROL_THREAD_SAVE_REPLY: thread = 0, a0 = free_slot(page); break;
    default: break;
    }
    set(call, SYSCALL_control, thread, operation, a0,
        SCRATCH_ADDRESS + SCRATCH_PAGES * SEPTUM_PAGE_SIZE - 64, (uint64_t)page, 0, 0);
}

static void control_vcpu(struct hostile_page *page, struct call *call)
{
    if (page->has_vcpu && hostile_below(page, 2))
        spoil_state(page);
    set(call, SYSCALL_control, hostile_below(page, 16) ? SLOT_VCPU : SLOT_FAR_VCPU,
        hostile_below(page, 6), hostile_below(page, 2) ? 1ull << hostile_below(page, 12) : 2047, 0,
        0, 0, 0);
}

static void control_interrupt(struct hostile_page *page, struct call *call)
{
    set(call, SYSCALL_control, hostile_below(page, 2) ? SLOT_MSI : SLOT_LINE,
        hostile_below(page, 5), hostile_below(page, 4) ? SLOT_NOTIFICATION : SLOT_FAR_NOTIFICATION,
        hostile_random(page), hostile_below(page, 5), 0, 0);
}

static void schedule_any(struct hostile_page *page, struct call *call)
{
    uint64_t operation = hostile_below(page, 3);
    if (operation == SCHEDULE_YIELD)
        set(call, SYSCALL_schedule, 0, operation, 0, 0, 0, 0, 0);
    else if (operation == SCHEDULE_SET) /* on what it has derived, mostly */
        set(call, SYSCALL_schedule, hostile_below(page, 32) ? free_slot(page) : SLOT_SCHED,
            operation, hostile_below(page, 14),
            (100 + hostile_below(page, 900)) | (uint64_t)(1000 + hostile_below(page, 9000)) << 32,
            0, 0, 0);
    else
        set(call, SYSCALL_schedule, hostile_below(page, 2) ? SLOT_SCHED : free_slot(page),
            operation, SLOT_VICTIM, 0, 0, 0, 0);
}

static void inspect_any(struct hostile_page *page, struct call *call)
{
    static const uint8_t objects[] = {0,          0,         SLOT_ENDPOINT, SLOT_TASK,
                                      SLOT_SCHED, SLOT_TASK, SLOT_TASK,     SLOT_TASK,
                                      SLOT_TASK,  SLOT_TASK, SLOT_VICTIM,   0};
    uint64_t selector = hostile_below(page, 12);
    set(call, SYSCALL_inspect, selector,
        hostile_below(page, 8) ? objects[selector] : hostile_below(page, SLOT_COUNT),
        hostile_below(page, 8), hostile_value(page), 0, 0, 0);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static template *const templates[] = {
    ipc_raise,       ipc_raise,      ipc_take_bits,  ipc_take_bits,    ipc_call_server,
    ipc_call_server, ipc_with_items, ipc_with_items, ipc_any_endpoint, ipc_any_endpoint,
    ipc_saved_reply, ipc_run_vcpu,   ipc_run_vcpu,   create_any,       create_any,
    create_cheap,    map_memory,     map_memory,     map_other_space,  map_capability,
    map_capability,  unmap_slots,    unmap_slots,    unmap_slots,      unmap_memory,
    unmap_memory,    control_thread, control_thread, control_vcpu,     control_interrupt,
    schedule_any,    schedule_any,   inspect_any,    inspect_any,
};

/* Spoils a call, or not. */
static void mutate(struct hostile_page *page, struct call *call)
{
    uint64_t dice = hostile_below(page, 64);
    if (dice < 12) {
        call->a[hostile_below(page, 6)] = hostile_value(page);
    } else if (dice < 14) {
        for (unsigned i = 0; i < 6; i++)
            call->a[i] = hostile_value(page);
    } else if (dice == 14) {
        call->rax |= hostile_value(page) << 8;
    }
    /* A wait without end is for the watcher's watchdog to notice: not too often. */
    if ((call->rax & 0xff) == SYSCALL_ipc && call->rbx > ticks() + 1000000 &&
        hostile_below(page, 16))
        call->rbx = ticks() + 20000;
    /* Bochs's AMD-V ends the machine where VMRUN's rule 10 is broken (docs/vcpu.md). */
    if ((call->rax & 0xff) == SYSCALL_control && call->a[1] == CONTROL_VCPU_VIOLATE && call->a[2] == 10)
        call->a[2] = 0;
}

void hostile_calls(void *argument)
{
    struct hostile_page *page = argument;
    while (page->made < page->calls) {
        struct call call;
        templates[hostile_below(page, sizeof templates / sizeof templates[0])](page, &call);
        mutate(page, &call);
        hostile_call(page, call.rax, call.a, call.rbx);
    }
    for (;;)
        ipc(IPC_WAIT, 0, 0, NULL, DEADLINE_NEVER);
}

/* ---- the other threads ----------------------------------------------------------------------- */

static struct message server_call(struct hostile_page *page, uint64_t rax, uint64_t a0, uint64_t a1,
                                  uint64_t a2, uint64_t rbx)
{
    const uint64_t a[6] = {a0, a1, a2, 0, 0, 0};
    return hostile_call(page, rax, a, rbx);
}

/* What the server does with a request before it answers; its label says what. False: nothing is
 * left to answer. */
static bool serve(struct hostile_page *page, const struct message *m)
{
    switch (TAG_LABEL(m->tag) % 16) {
    case 1: server_call(page, SYSCALL_control, 0, CONTROL_THREAD_DROP_REPLY, 0, 0); return false;
    case 2:
        return server_call(page, SYSCALL_control, 0, CONTROL_THREAD_SAVE_REPLY, free_slot(page), 0)
                   .status != STATUS_OK;
    case 3: /* a call to itself */
        server_call(page, IPC_RAX(IPC_CALL), SLOT_ENDPOINT, 0, 0, ticks() + 50000);
        return true;
    case 4: /* too late, perhaps */
        server_call(page, IPC_RAX(IPC_WAIT), 0, 0, 0, ticks() + 150000);
        return true;
    default: return true;
    }
}

void hostile_server(void *argument)
{
    struct hostile_page *page = argument;
    struct message m = {.status = STATUS_CALLER_GONE};
    for (;;) {
        thread_buffer()->windows[SPACE_HOST] =
            (struct receive_window){TARGET_ADDRESS, TARGET_PAGES};
        thread_buffer()->windows[SPACE_CAPABILITY] =
            (struct receive_window){SLOT_FREE, SLOT_FREE_END - SLOT_FREE};
        thread_buffer()->windows[SPACE_PORT] = (struct receive_window){FIRST_PORT, PORTS};
        if (m.status == STATUS_OK && TAG_ORIGIN(m.tag) != ORIGIN_MESSAGE)
            server_call(page, SYSCALL_control, 0, CONTROL_THREAD_DROP_REPLY, 0, 0); /* a fault */
        else if (m.status == STATUS_OK && serve(page, &m)) {
            some_item(page, &thread_buffer()->items[0]);
            m = server_call(page, IPC_RAX(IPC_REPLY_WAIT), SLOT_ENDPOINT,
                            TAG(7, hostile_below(page, 64), hostile_below(page, 8) == 0), 1,
                            ticks() + 1000000);
            continue;
        }
        m = server_call(page, IPC_RAX(IPC_WAIT), SLOT_ENDPOINT, 0, 0, ticks() + 1000000);
        if (m.status == STATUS_BAD_CAPABILITY) /* its endpoint is gone: not all calls shall be in vain */
            ipc(IPC_WAIT, 0, 0, NULL, ticks() + 100000);
    }
}

/* What the thread to play with does: sleeps, uses its vector registers, divides by zero at last. */
void hostile_victim(void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 20; i++) {
        ipc(IPC_WAIT, 0, 0, NULL, ticks() + 5000);
        __asm__ volatile("fldz\n\tfstp %%st(0)" ::: "memory");
    }
    __asm__ volatile("divl %0" : : "r"(0u) : "rax", "rdx");
    for (;;)
        ipc(IPC_WAIT, 0, 0, NULL, DEADLINE_NEVER);
}
