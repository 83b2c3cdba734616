/* Root's first thread: from the boot information to the loop in which it supervises. */
#include "message.h"
#include "audit.h"
#include "monitor.h"
#include "picture.h"
#include "service.h"
#include "serial.h"
#include "thread.h"

uint64_t kernel_began;

/* The machine ends, where the one who started it asked for that; else it stands still. */
static _Noreturn void end(enum root_end how)
{
    server_flush();
    console_use(NULL, 0, 0);
    if (option("debug-exit"))
        machine_end(how);
    for (;;)
        sleep_until(DEADLINE_NEVER);
}

static _Noreturn void give_up(const char *why)
{
    if (why)
        say("root: %s\n", why);
    say("root: nothing was started\n");
    end(ROOT_END_REFUSED);
}

static void begin(const void *argument)
{
    boot = argument;
    kernel_began = ticks() - boot->kernel_boot_instructions;
    thread_self()->buffer = (struct message_buffer *)boot->message_buffer;
    thread_self()->self = BOOT_SLOT_THREAD;
    if (boot->magic != BOOT_INFO_MAGIC || boot->abi_version != SEPTUM_ABI_VERSION)
        give_up("the kernel has another version than this bundle: make the bundle anew");
    memory_init(boot, CAP_SLOTS_MAX);
    pool_take(&memory.slots, ROOT_SLOT_END - BOOT_SLOT_FREE, 1);
    if (sys_create(ROOT_SLOT_NOTIFICATION, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, 0, 0, 0) !=
            STATUS_OK ||
        sys_create(ROOT_SLOT_ENDPOINT, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0) != STATUS_OK ||
        sys_create(ROOT_SLOT_SCHED, OBJECT_SCHED, BOOT_SLOT_TASK, BOOT_SLOT_SCHED, PRIORITY_ROOT,
                   0) != STATUS_OK ||
        sys_schedule(ROOT_SLOT_SCHED, SCHEDULE_BIND, BOOT_SLOT_THREAD, 0) != STATUS_OK ||
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, ROOT_SLOT_NOTIFICATION, 0,
                    0, 0)
                .status != STATUS_OK)
        give_up("there is too little kernel memory: use a larger pool=SIZE on the kernel's command "
                "line");
}

/* One turn: waits for something to happen, and does what there is to do. */
static void serve(void)
{
    uint64_t clock = supervise_clock(), monitor = monitor_clock();
    if (usage_sample())
        status_write();
    uint64_t picture = picture_clock();
    uint64_t deadline = clock < monitor ? clock : monitor;
    deadline = picture < deadline ? picture : deadline;
    uint64_t events = console_input_waits() ? events_wait(deadline) : ROOT_BIT_CONSOLE;
    if (events & ROOT_BIT_RECEPTION)
        supervise_notices();
    if (events & ROOT_BIT_DMA_FAULT)
        confine_faults();
    if (events & ROOT_BIT_CONSOLE)
        monitor_input();
}

void program_start(const void *argument)
{
    begin(argument);
    const char *problem = direct_map();
    if (!problem)
        problem = bundle_open();
    if (problem)
        give_up(problem);
    if (!plan_load())
        give_up(NULL);
    calendar_read();
    reception_start();
    server_start();
    partitions_init();
    status_make();
    confine_start();
    services_start();
    supervise_start();
    audit_plant();
    if (audit() != 0) {
        partitions_end_all();
        give_up("what was started would not be isolated: it is stopped again");
    }
    bool failed = false;
    while (!supervise_all_ended(&failed))
        serve();
    say("all partitions have ended\n");
    if (audit() != 0)
        failed = true;
    end(failed ? ROOT_END_FAILED : ROOT_END_GOOD);
}
