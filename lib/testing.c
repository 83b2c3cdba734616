/* The test framework: which tests run, what surrounds each, and the guardian that reports hangs. */
#include "testing.h"

#include "option.h"
#include "serial.h"

extern const struct test_case tests_start[], tests_end[];
uint64_t testing_call(void (*function)(void));
_Noreturn void testing_abort(void);

const struct boot_info *boot;
uint64_t test_seed;
cap_slot_t guardian_endpoint, guardian_sched, main_sched;

#define TESTS_MAX   1024u
#define END_PASSED  0x10u
#define END_FAILED  0x11u
#define FAILURE_MAX 400u

/* The state of the test that runs. */
static struct {
    const struct test_case *test;
    uint64_t random;
    volatile uint32_t failed;
    char failure[FAILURE_MAX];
    const char *skip_reason;
    struct memory memory; /* the pools before the test */
    uint64_t quota_before;
    volatile uint64_t started_ticks; /* 0: no test runs */
} current;

static struct thread_context *first_thread;

/* ---- names and options ----------------------------------------------------------------------- */

const char *status_name(uint64_t status)
{
    static const char *const names[] = {
#define ERROR(number, name, meaning) [number] = #name,
#include <errors.def>
#undef ERROR
    };
    return status < STATUS_COUNT ? names[status] : "an undefined status";
}

static const char *const call_names[] = {
#define SYSCALL(number, name, arguments, errors, meaning) [number] = #name,
#include <syscalls.def>
#undef SYSCALL
};

uint64_t option_number(const char *name, uint64_t otherwise)
{
    char text[24];
    if (!option_find(boot->command_line, name, text, sizeof text))
        return otherwise;
    uint64_t value = 0;
    for (const char *at = text; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

uint64_t test_random(void)
{
    /* xorshift64* (Vigna 2016) */
    current.random ^= current.random >> 12;
    current.random ^= current.random << 25;
    current.random ^= current.random >> 27;
    return current.random * 0x2545f4914f6cdd1dull;
}

static void seed_random(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325ull; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3ull;
    current.random = (hash ^ test_seed * 0x9e3779b97f4a7c15ull) | 1;
}

/* ---- coverage -------------------------------------------------------------------------------- */

static uint64_t returned[SYSCALL_COUNT]; /* bit n: status n */

void testing_returned(uint64_t number, uint64_t status)
{
    if (number < SYSCALL_COUNT && status < STATUS_COUNT)
        __atomic_fetch_or(&returned[number], 1ull << status, __ATOMIC_RELAXED);
}

static void print_coverage(void)
{
    for (unsigned call = 0; call < SYSCALL_COUNT; call++) {
        uint64_t set = returned[call];
        for (unsigned status = 0; status < STATUS_COUNT; status++)
            if (set >> status & 1)
                serial_print("COVER %s %s\n", call_names[call], status_name(status));
    }
}

/* ---- failing --------------------------------------------------------------------------------- */

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
{
    if (!__atomic_exchange_n(&current.failed, 1, __ATOMIC_SEQ_CST)) {
        char text[300];
        va_list list;
        va_start(list, format);
        print_buffer_list(text, sizeof text, format, list);
        va_end(list);
        print_buffer(current.failure, FAILURE_MAX, "%s:%d: %s", file, line, text);
    }
    if (thread_self() == first_thread)
        testing_abort();
    thread_finish();
}

_Noreturn void test_skip(const char *reason)
{
    current.skip_reason = reason;
    testing_abort();
}

void test_stop_if_failed(void)
{
    if (current.failed)
        testing_abort();
}

void test_alive(void)
{
    current.started_ticks = ticks();
}

/* ---- the guardian ---------------------------------------------------------------------------- */

/* How long a test may take. Bochs's clock counts instructions, and it shows no hypervisor. */
static uint64_t test_limit_ticks(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    bool emulated_time = (ecx >> 31) == 0;
    return emulated_time ? 20000000000ull : boot->tsc_khz * 90000;
}

static void report_fault(const struct message *m)
{
    const char *kind = TAG_ORIGIN(m->tag) == ORIGIN_PAGE_FAULT  ? "page fault at"
                       : TAG_ORIGIN(m->tag) == ORIGIN_EXCEPTION ? "exception"
                                                                : "message";
    serial_print("EVENT unexpected %s 0x%lx, error 0x%lx, rip 0x%lx, rsp 0x%lx, badge %lu, in %s\n",
                 kind, m->w[0], m->w[1], m->w[2], m->w[3], m->badge,
                 current.test ? current.test->name : "no test");
}

/* Gives up on a boot: the runner makes the running test's failure of it, and boots again behind
 * it. */
static void guardian(void *unused)
{
    (void)unused;
    uint64_t limit = test_limit_ticks();
    for (;;) {
        struct message m = message_wait(guardian_endpoint, ticks() + limit / 8);
        if (m.status == STATUS_OK) {
            report_fault(&m);
            machine_end(END_FAILED);
        }
        uint64_t started = current.started_ticks;
        if (m.status != STATUS_TIMEOUT)
            serial_print("EVENT the guardian's wait returned %s\n", status_name(m.status));
        if (started && ticks() - started > limit) {
            serial_print("EVENT the test %s takes too long\n", current.test->name);
            machine_end(END_FAILED);
        }
    }
}

static void must(uint64_t status, const char *what)
{
    if (status == STATUS_OK)
        return;
    serial_print("EVENT set-up: %s: %s\n", what, status_name(status));
    machine_end(END_FAILED);
}

static void start_guardian(void)
{
    static struct child_thread thread;
    guardian_sched = slot_take();
    guardian_endpoint = slot_take();
    main_sched = slot_take();
    must(sys_create(guardian_endpoint, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0), "endpoint");
    must(sys_create(guardian_sched, OBJECT_SCHED, BOOT_SLOT_TASK, BOOT_SLOT_SCHED,
                    PRIORITY_GUARDIAN, 0),
         "guardian's sched");
    must(sys_create(main_sched, OBJECT_SCHED, BOOT_SLOT_TASK, BOOT_SLOT_SCHED, PRIORITY_MAIN, 0),
         "main sched");
    must(child_thread_create(&thread, BOOT_SLOT_TASK, guardian_sched, 0), "guardian");
    must(child_thread_start(&thread, guardian, NULL), "guardian's start");
    must(
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_SET_FAULT_ENDPOINT, guardian_endpoint, 0, 0, 0)
            .status,
        "fault endpoint");
    must(sys_schedule(main_sched, SCHEDULE_BIND, BOOT_SLOT_THREAD, 0), "main thread's sched");
}

/* ---- around a test --------------------------------------------------------------------------- */

uint64_t quota_used(void)
{
    struct message m = sys_inspect(INSPECT_QUOTA, BOOT_SLOT_TASK, 0, 0);
    return m.w[1] + m.w[2];
}

/* Pages of the capability space stay once they are used: use them all before anything is
 * measured. */
static void warm_up_slots(void)
{
    for (cap_slot_t slot = BOOT_SLOT_FREE; slot < TEST_SLOTS_END; slot += 32) {
        if (sys_create(slot, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, 0, 0, 0) == STATUS_OK)
            sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, slot, 1);
    }
}

/* The same with what lies behind a space: made when something first comes into it. */
static void warm_up_spaces(void)
{
    uint64_t frame = frames_take(1, 1);
    const uint64_t how = MAP_HOW(SPACE_PORT, SPACE_GUEST_PORT, MAP_READ | MAP_WRITE, 0);
    if (memory_map_at(BOOT_SLOT_TASK, SPACE_GUEST, 0, frame, 1, MAP_READ) == STATUS_OK)
        sys_unmap(BOOT_SLOT_TASK, SPACE_GUEST | UNMAP_SELF, 0, 1);
    if (memory_map_at(BOOT_SLOT_TASK, SPACE_DMA, 0, frame, 1, MAP_READ) == STATUS_OK)
        sys_unmap(BOOT_SLOT_TASK, SPACE_DMA | UNMAP_SELF, 0, 1);
    if (sys_map(BOOT_SLOT_TASK, how, 0x80, 0x80, 1, 0) == STATUS_OK)
        sys_unmap(BOOT_SLOT_TASK, SPACE_GUEST_PORT | UNMAP_SELF, 0x80, 1);
    frames_give(frame, 1);
}

void testing_init(const void *boot_info)
{
    boot = boot_info;
    first_thread = thread_self();
    first_thread->buffer = (struct message_buffer *)boot->message_buffer;
    first_thread->self = BOOT_SLOT_THREAD;
    test_seed = option_number("seed", 1);
    warm_up_slots();
    memory_init(boot, TEST_SLOTS_FIRST);
    warm_up_spaces();
    start_guardian();
    memory.slots = (struct pool){0};
    pool_give(&memory.slots, TEST_SLOTS_FIRST, TEST_SLOTS_END - TEST_SLOTS_FIRST);
}

static void before_test(const struct test_case *test)
{
    current.test = test;
    current.failed = 0;
    current.skip_reason = NULL;
    current.memory = memory;
    seed_random(test->name);
    current.quota_before = quota_used();
    current.started_ticks = ticks();
}

/* Takes back everything that came from what was free before the test. */
static void take_back_all(void)
{
    const struct memory *was = &current.memory;
    sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, TEST_SLOTS_FIRST,
              TEST_SLOTS_END - TEST_SLOTS_FIRST);
    for (unsigned i = 0; i < was->frames.ranges; i++)
        sys_unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, was->frames.free[i].base * SEPTUM_PAGE_SIZE,
                  was->frames.free[i].count);
    for (unsigned i = 0; i < was->addresses.ranges; i++)
        sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF,
                  was->addresses.free[i].base * SEPTUM_PAGE_SIZE, was->addresses.free[i].count);
    sys_unmap(BOOT_SLOT_TASK, SPACE_PORT, 0, 65536);
    sys_unmap(BOOT_SLOT_TASK, SPACE_GUEST | UNMAP_SELF, 0, 1ull << 34);
    sys_unmap(BOOT_SLOT_TASK, SPACE_DMA | UNMAP_SELF, 0, 1ull << 34);
    memory = *was;
}

static void after_test(void)
{
    sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, 0, 0, 0, 0);
    sys_control(0, CONTROL_THREAD_DROP_REPLY, 0, 0, 0, 0);
    sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_SET_FAULT_ENDPOINT, guardian_endpoint, 0, 0, 0);
    sys_schedule(main_sched, SCHEDULE_SET, PRIORITY_MAIN, 0);
    sys_schedule(main_sched, SCHEDULE_BIND, BOOT_SLOT_THREAD, 0);
    message_wait(0, DEADLINE_POLL); /* ends what was lent to the first thread */
    memset(thread_buffer()->windows, 0, sizeof thread_buffer()->windows);
    take_back_all();
    if (current.failed)
        return;
    /* Another CPU may still be at the last steps of taking an object apart. */
    uint64_t now = quota_used(), until = ticks() + 10000000;
    while (now != current.quota_before && ticks() < until) {
        sys_schedule(0, SCHEDULE_YIELD, 0, 0);
        now = quota_used();
    }
    if (now != current.quota_before) {
        current.failed = 1;
        print_buffer(current.failure, FAILURE_MAX,
                     "%s:%lu: expected %lu pages of kernel memory in use after the test, got %lu",
                     current.test->file, current.test->line, current.quota_before, now);
    }
}

/* ---- the run --------------------------------------------------------------------------------- */

static bool machine_has(uint64_t needs)
{
    uint64_t backend = boot->virtualization == BOOT_VIRT_VMX   ? TEST_NEEDS_VMX
                       : boot->virtualization == BOOT_VIRT_SVM ? TEST_NEEDS_SVM
                                                               : 0;
    uint64_t wanted = needs & (TEST_NEEDS_VMX | TEST_NEEDS_SVM);
    return (!(needs & TEST_NEEDS_TWO_CPUS) || boot->cpu_count >= 2) &&
           (!(needs & TEST_NEEDS_DEBUG) || boot->debug) &&
           (!(needs & TEST_NEEDS_IOMMU) || boot->dma_confined) && (!wanted || (wanted & backend));
}

_Noreturn void testing_end(unsigned passed, unsigned failed, unsigned skipped)
{
    current.started_ticks = 0;
    print_coverage();
    serial_print("TEST end %u %u %u\n", passed, failed, skipped);
    machine_end(failed ? END_FAILED : END_PASSED);
}

_Noreturn void testing_run(const void *boot_info)
{
    testing_init(boot_info);
    char pattern[128] = "*", after[128] = "";
    option_find(boot->command_line, "test", pattern, sizeof pattern);
    bool started = !option_find(boot->command_line, "after", after, sizeof after);
    unsigned passed = 0, failed = 0, skipped = 0;
    serial_print("EVENT seed %lu\n", test_seed);
    for (const struct test_case *test = tests_start; test < tests_end; test++) {
        if (!started) {
            started = strcmp(test->name, after) == 0;
            continue;
        }
        if (!glob_match(pattern, test->name) || !machine_has(test->needs))
            continue;
        serial_print("TEST start %s\n", test->name);
        before_test(test);
        testing_call(test->run);
        after_test();
        if (current.failed) {
            serial_print("TEST fail %s %s\n", test->name, current.failure);
            failed++;
        } else if (current.skip_reason) {
            serial_print("TEST skip %s %s\n", test->name, current.skip_reason);
            skipped++;
        } else {
            serial_print("TEST pass %s\n", test->name);
            passed++;
        }
    }
    testing_end(passed, failed, skipped);
}
