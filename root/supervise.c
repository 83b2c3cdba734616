/* What becomes of tasks: notices, deaths and their reports, the policies of the partition file. */
#include "message.h"
#include "audit.h"
#include "service.h"
#include "string.h"
#include "thread.h"

#define CLOCK_MS 1000u
/* A partition that lived shorter than this is not started again at once: it shall not keep root busy. */
#define SHORT_LIFE_MS 1000u
#define PAUSE_MS      100u
/* A server that did not answer took root's time; it gets no more of it for a while. */
#define DEAF_PAUSE_MS 5000u

static uint64_t next_check;
static enum { AUDIT_NOT_YET, AUDIT_DUE, AUDIT_DONE } audit_due;

/* ---- reports ------------------------------------------------------------------------------------------ */

static const char *const exceptions[32] = {
    [0] = "division error",
    [1] = "debug exception",
    [3] = "breakpoint",
    [4] = "overflow",
    [5] = "bound exceeded",
    [6] = "an instruction that the processor does not have",
    [7] = "no memory for FPU registers",
    [12] = "stack fault",
    [13] = "general protection fault",
    [16] = "x87 error",
    [17] = "misaligned access",
    [19] = "SIMD floating-point error",
};

static void describe(const struct notice *notice, char *text, size_t size_bytes)
{
    uint64_t error = notice->w[1], vector = notice->w[0];
    if (notice->origin == ORIGIN_PAGE_FAULT)
        print_buffer(text, size_bytes, "it %s 0x%lx, %s",
                     error & 16  ? "jumped to"
                     : error & 2 ? "wrote to"
                                 : "read from",
                     notice->w[0], error & 1 ? "which it may not" : "where nothing is mapped");
    else if (vector < 32 && exceptions[vector])
        print_buffer(text, size_bytes, "exception %lu: %s, error code 0x%lx", vector,
                     exceptions[vector], error);
    else
        print_buffer(text, size_bytes, "exception %lu, error code 0x%lx", vector, error);
}

static bool is_stopped(const struct resident *task, unsigned thread)
{
    struct message m = sys_inspect(INSPECT_THREAD, task->slots + RESIDENT_THREAD + thread, 0, 0);
    return m.status == STATUS_OK && m.w[0] & THREAD_STOPPED &&
           (m.w[0] & THREAD_STATE_MASK) != THREAD_INACTIVE;
}

/* Which thread a notice is about, or which had a fault that it could not tell. All are stopped. */
static bool is_guilty(const struct resident *task, unsigned thread, const struct notice *notice)
{
    struct message m = sys_inspect(INSPECT_THREAD, task->slots + RESIDENT_THREAD + thread, 0, 0);
    return m.status == STATUS_OK &&
           (notice && notice->origin != ORIGIN_MESSAGE ? m.w[1] == notice->w[2]
                                                       : (m.w[2] & 255) != 0);
}

static void show_registers(const struct resident *task, unsigned thread)
{
    char place[96];
    if (sys_control(task->slots + RESIDENT_THREAD + thread, CONTROL_THREAD_READ_REGISTERS, 0, 0, 0,
                    0)
            .status != STATUS_OK)
        return;
    const struct thread_registers r = thread_buffer()->registers;
    symbol_name(&task->program, r.rip, place, sizeof place);
    say("  at %s, thread %u, in %s\n", place, thread, task->program.name);
    say("  rax %016lx rbx %016lx rcx %016lx rdx %016lx\n", r.rax, r.rbx, r.rcx, r.rdx);
    say("  rsi %016lx rdi %016lx rbp %016lx rsp %016lx\n", r.rsi, r.rdi, r.rbp, r.rsp);
    say("  r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", r.r8, r.r9, r.r10, r.r11);
    say("  r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", r.r12, r.r13, r.r14, r.r15);
    say("  rip %016lx flags %08lx\n", r.rip, r.rflags);
    symbol_trace(task, r.rsp, &console_sink);
}

static struct partition *partition_of(const struct resident *task)
{
    return task->index < PLAN_PARTITIONS_MAX ? &partitions[task->index] : NULL;
}

static void report_death(struct resident *task, const char *cause, const struct notice *notice)
{
    const struct partition *partition = partition_of(task);
    say("%s: %s died: %s\n", task->name,
        !partition                       ? "this server"
        : partition_is_native(partition) ? "this task"
                                         : "its VMM",
        cause);
    task_halt(task);
    for (unsigned n = 0; n < task->start->thread_count; n++)
        if (is_guilty(task, n, notice)) {
            show_registers(task, n);
            return;
        }
}

/* ---- policies ------------------------------------------------------------------------------------------- */

static const char *const event_names[PLAN_EVENT_COUNT] = {
    [PLAN_ON_POWER_OFF] = "its guest has powered off", [PLAN_ON_REBOOT] = "its guest reboots",
    [PLAN_ON_PANIC] = "its guest can't go on",         [PLAN_ON_VMM_DEATH] = "its VMM has died",
    [PLAN_ON_FAILURE] = "it could not be started",
};

static const char *event_name(const struct partition *partition, enum plan_event event)
{
    if (!partition_is_native(partition))
        return event_names[event];
    return event == PLAN_ON_VMM_DEATH ? "it has died"
           : event == PLAN_ON_FAILURE ? "it can't be started, or can't go on"
                                      : "it has ended";
}

static void follow_policy(struct partition *partition, enum plan_event event)
{
    const struct plan_policy *policy = &partition->plan->on[event];
    uint32_t *restarts = &partition->restarts[event];
    const char *name = partition->plan->name;
    partition->failed = event != PLAN_ON_POWER_OFF && event != PLAN_ON_REBOOT;
    if (policy->action == PLAN_ACTION_LEAVE) {
        say("%s: %s; it is left as it is\n", name, event_name(partition, event));
        task_halt(partition->task);
        partition->state = PARTITION_LEFT;
    } else if (policy->action == PLAN_ACTION_RESTART &&
               (policy->restart_limit == 0 || *restarts < policy->restart_limit)) {
        bool short_lived = ticks() - partition->started_at < milliseconds(SHORT_LIFE_MS);
        ++*restarts;
        if (policy->restart_limit)
            say("%s: %s; it is started again (%u of %u)\n", name, event_name(partition, event),
                *restarts, policy->restart_limit);
        else
            say("%s: %s; it is started again\n", name, event_name(partition, event));
        partition_end(partition, PARTITION_WAITING);
        partition->restart_at = ticks() + (short_lived ? milliseconds(PAUSE_MS) : 0);
    } else {
        say("%s: %s; it is stopped%s\n", name, event_name(partition, event),
            policy->action == PLAN_ACTION_RESTART
                ? ", because it was started again as often as the "
                  "file allows"
                : "");
        partition_end(partition, PARTITION_OFF);
    }
}

static bool may_restart(const struct plan_policy *policy, uint32_t *restarts)
{
    return policy->action == PLAN_ACTION_RESTART &&
           (policy->restart_limit == 0 || *restarts < policy->restart_limit) && ++*restarts;
}

static void console_died(void)
{
    static uint32_t restarts;
    server_end();
    if (may_restart(&plan_server_of(PLAN_DEVICE_SERIAL)->on_death, &restarts)) {
        server_start();
        say("console: started again; consoles go on, but what was on the way to the line is "
            "lost\n");
    } else {
        say("console: it is not started again; guests' consoles are not shown any more\n");
    }
}

/* The next one is started by the clock: one that can't live shall not keep root busy. */
static void service_died(struct service *service)
{
    uint64_t now = ticks(), pause = 0;
    if (service->failure)
        pause = DEAF_PAUSE_MS;
    else if (now - service->started_at < milliseconds(SHORT_LIFE_MS))
        pause = PAUSE_MS;
    service_end(service);
    service->waits = may_restart(&service->wanted->on_death, &service->restarts);
    service->restart_at = now + milliseconds(pause);
    if (!service->waits)
        say("%s: it is not started again; its disks or networks stand still\n", service->program);
}

static void task_died(struct resident *task, const char *cause, const struct notice *notice)
{
    struct partition *partition = partition_of(task);
    struct service *service = service_of(task);
    if (service)
        service_cut_off(service);
    else if (!partition)
        server_end_output();
    report_death(task, cause, notice);
    if (partition)
        follow_policy(partition, PLAN_ON_VMM_DEATH);
    else if (service)
        service_died(service);
    else
        console_died();
}

/* Those that did not do what root asked of them, and those that are to be started again. Returns when the next is. */
static uint64_t look_at_services(uint64_t now)
{
    uint64_t next = UINT64_MAX;
    for (struct service *service = services; service < services + SERVICES; service++) {
        if (service->task && service->failure)
            task_died(service->task, service->failure, NULL);
        if (service->waits && service->restart_at <= now) {
            service_start(service);
            if (service->task)
                say("%s: started again, in %lu us; its clients go on\n", service->program,
                    (ticks() - service->started_at) * 1000 / boot->tsc_khz);
        } else if (service->waits && service->restart_at < next) {
            next = service->restart_at;
        }
        if (service->failure)
            next = now;
    }
    return next;
}

/* ---- notices -------------------------------------------------------------------------------------------- */

/* Said once; and then what the VMMs have made of their guests' memory is looked at, too. */
static void all_ready(void)
{
    if (audit_due != AUDIT_NOT_YET)
        return;
    for (unsigned i = 0; i < plan.partition_count; i++)
        if (partitions[i].state == PARTITION_RUNNING && !partitions[i].ready)
            return;
    say("all partitions run, %lu ticks after the kernel began\n", ticks() - kernel_began);
    audit_due = AUDIT_DUE;
}

static void guest_ended(struct partition *partition, uint64_t how)
{
    static const enum plan_event events[] = {
        [ROOT_GUEST_POWER_OFF] = PLAN_ON_POWER_OFF,
        [ROOT_GUEST_REBOOT] = PLAN_ON_REBOOT,
        [ROOT_GUEST_PANIC] = PLAN_ON_PANIC,
        [ROOT_GUEST_REFUSED] = PLAN_ON_FAILURE,
    };
    bool is_known = partition_is_native(partition)
                        ? how == ROOT_GUEST_POWER_OFF || how == ROOT_GUEST_REFUSED
                        : how >= ROOT_GUEST_POWER_OFF && how <= ROOT_GUEST_REFUSED;
    if (!is_known)
        task_died(partition->task, "it told root of an end that there is not", NULL);
    else
        follow_policy(partition, events[how]);
}

static void take_notice(const struct notice *notice)
{
    char cause[128];
    struct resident *task = resident_of(notice->id);
    struct partition *partition = task ? partition_of(task) : NULL;
    if (!task || (partition && partition->state != PARTITION_RUNNING))
        return;
    if (notice->origin != ORIGIN_MESSAGE) {
        describe(notice, cause, sizeof cause);
        task_died(task, cause, notice);
    } else if (notice->flood) {
        task_died(task, "it floods root with messages", NULL);
    } else if (partition && notice->label == ROOT_READY) {
        partition->ready = true;
        say("%s: runs\n", task->name);
        all_ready();
    } else if (partition && notice->label == ROOT_GUEST_ENDED) {
        guest_ended(partition, notice->w[0]);
    } else if (notice->label != ROOT_READY && !task->warned) {
        task->warned = true;
        say("%s: it sends messages that root does not know (label %u)\n", task->name,
            notice->label);
    }
}

void supervise_notices(void)
{
    struct notice notice;
    while (reception_take(&notice))
        take_notice(&notice);
}

/* ---- the clock ------------------------------------------------------------------------------------------- */

void supervise_launch(struct partition *partition)
{
    const char *problem = partition_start(partition);
    if (!problem)
        return;
    say("%s: %s\n", partition->plan->name, problem);
    follow_policy(partition, PLAN_ON_FAILURE);
}

/* Threads that stopped without telling: a task can give up its capability to tell. */
static void look_at(struct resident *task)
{
    struct partition *partition = partition_of(task);
    if (!task->lives || (partition && partition->state != PARTITION_RUNNING))
        return;
    for (unsigned n = 0; n < task->start->thread_count; n++)
        if (is_stopped(task, n)) {
            task_died(task, "one of its threads has stopped for good", NULL);
            return;
        }
}

static void audit_or_stop(void)
{
    audit_due = AUDIT_DONE;
    if (audit_in_slices() == 0)
        return;
    say("root: partitions are not isolated: all are stopped\n");
    for (unsigned i = 0; i < plan.partition_count; i++)
        partitions[i].failed = true;
    partitions_end_all();
}

uint64_t supervise_clock(void)
{
    uint64_t now = ticks();
    uint64_t services_next = look_at_services(now);
    if (now >= next_check) {
        next_check = now + milliseconds(CLOCK_MS);
        reception_push();
        for (unsigned i = 0; i < TASKS_MAX; i++)
            look_at(&residents[i]);
        if (audit_due == AUDIT_DUE)
            audit_or_stop();
    }
    uint64_t next = next_check < services_next ? next_check : services_next;
    for (unsigned i = 0; i < plan.partition_count; i++) {
        struct partition *partition = &partitions[i];
        if (partition->state == PARTITION_WAITING && partition->restart_at <= now)
            supervise_launch(partition);
        if (partition->state == PARTITION_WAITING && partition->restart_at < next)
            next = partition->restart_at;
    }
    return next;
}

void supervise_start(void)
{
    next_check = ticks() + milliseconds(CLOCK_MS);
    for (unsigned i = 0; i < plan.partition_count; i++)
        if (plan.partitions[i].autostart)
            supervise_launch(&partitions[i]);
}

bool supervise_all_ended(bool *failed)
{
    *failed = false;
    for (unsigned i = 0; i < plan.partition_count; i++) {
        if (partitions[i].state != PARTITION_OFF || partitions[i].by_hand)
            return false;
        *failed |= partitions[i].failed;
    }
    return true;
}
