/*
 * The watcher: starts hostile tasks, restarts those that have killed or hung themselves, and looks
 * at what is left. Words of the command line: calls=N (in all), seed=N.
 */
#include "world.h"

#include "serial.h"

#define CALLS_A_LIFE   3000u /* then a task is replaced by a fresh one */
#define WORLDS_MAX     3u
#define LOOK_TICKS     400000u
#define PATIENCE       40u /* looks without any progress, then it is given up */
#define SHARE_OF_CALLS 30u /* per cent that must succeed */

static uint64_t totals[SYSCALL_COUNT][STATUS_SLOTS];
static uint64_t exits[EXIT_COUNT];
static uint64_t lives, hangs, deaths;

static const char *const call_names[] = {
#define SYSCALL(number, name, arguments, errors, meaning) [number] = #name,
#include <syscalls.def>
#undef SYSCALL
};

static const char *const call_errors[] = {
#define SYSCALL(number, name, arguments, errors, meaning) [number] = #errors,
#include <syscalls.def>
#undef SYSCALL
};

/* ---- one life after another ------------------------------------------------------------------ */

/* What a world's page says, once: it may change any time. */
static uint64_t collect(const struct world *world)
{
    uint64_t made = 0;
    for (unsigned call = 0; call < SYSCALL_COUNT; call++) {
        for (unsigned status = 0; status < STATUS_SLOTS; status++) {
            uint32_t count = *(volatile uint32_t *)&world->page->table[call][status];
            if (count > 10 * CALLS_A_LIFE) /* a task may write nonsense into its report */
                continue;
            totals[call][status] += count;
            made += count;
            if (count)
                testing_returned(call, status);
        }
    }
    for (unsigned i = 0; i < EXIT_COUNT; i++)
        exits[i] += *(volatile uint32_t *)&world->page->exits[i];
    return made;
}

struct stage {
    struct world worlds[WORLDS_MAX];
    uint64_t seen[WORLDS_MAX]; /* progress at the last look */
    unsigned patience[WORLDS_MAX];
    unsigned count;
    void (*begin)(void *page);
};

static void begin_life(struct stage *stage, unsigned i)
{
    unsigned peer = (i + 1) % stage->count;
    cap_slot_t peers_endpoint =
        stage->count > 1 && stage->worlds[peer].alive ? stage->worlds[peer].endpoint : 0;
    world_create(&stage->worlds[i], i % boot->cpu_count, test_random() >> 1, CALLS_A_LIFE,
                 stage->begin, peers_endpoint, i == 0);
    stage->seen[i] = 0;
    stage->patience[i] = PATIENCE;
    lives++;
}

/* Looks at a world; if its life is over, gathers what it did. The number of calls gathered. */
static uint64_t look(struct stage *stage, unsigned i)
{
    struct world *world = &stage->worlds[i];
    uint64_t made = world->page->made;
    bool runs = world_runs(world);
    if (made < CALLS_A_LIFE && runs && (made != stage->seen[i] || --stage->patience[i])) {
        if (made != stage->seen[i])
            stage->patience[i] = PATIENCE;
        stage->seen[i] = made;
        return 0;
    }
    deaths += made < CALLS_A_LIFE && !runs;
    hangs += made < CALLS_A_LIFE && runs;
    world_audit(world, stage->worlds, stage->count);
    made = collect(world);
    world_destroy(world);
    return made;
}

static void run_stage(unsigned count, void (*begin)(void *page), uint64_t calls)
{
    static struct stage stage;
    uint64_t made = 0, told = 0;
    stage = (struct stage){.count = count, .begin = begin};
    while (made < calls) {
        for (unsigned i = 0; i < count; i++)
            if (!stage.worlds[i].alive)
                begin_life(&stage, i);
        sleep_ticks(LOOK_TICKS);
        for (unsigned i = 0; i < count; i++)
            made += look(&stage, i);
        test_alive();
        if (made - told > calls / 20) { /* a sign of life for who waits for the end */
            serial_print("EVENT %lu calls\n", made);
            told = made;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        if (stage.worlds[i].alive) {
            world_audit(&stage.worlds[i], stage.worlds, count);
            world_destroy(&stage.worlds[i]);
        }
    }
}

static uint64_t calls_wanted(void)
{
    return option_number("calls", 20000);
}

TEST(hostile_one_task, "a task that makes random calls does no harm")
{
    run_stage(1, hostile_calls, calls_wanted() * 4 / 10);
}

TEST(hostile_three_tasks, "three tasks that make random calls, and call each other, do no harm")
{
    run_stage(3, hostile_calls, calls_wanted() * 5 / 10);
}

TEST_VM(hostile_guests, "guests of random code and state, and their VMM, do no harm")
{
    run_stage(1, hostile_guests, calls_wanted() / 10);
}

TEST_WITH(hostile_guests_two_cpus, TEST_NEEDS_TWO_CPUS | TEST_NEEDS_VMX | TEST_NEEDS_SVM,
          "hostile guests on two CPUs, beside tasks of random calls, do no harm")
{
    run_stage(2, hostile_guests, calls_wanted() / 10);
}

/* ---- what came of it ------------------------------------------------------------------------- */

/* Is `status` named in the list of a call's errors? */
static bool listed(const char *errors, const char *status)
{
    size_t length = strlen(status);
    for (; *errors; errors++)
        if (strncmp(errors, status, length) == 0 &&
            (errors[length] == 0 || errors[length] == ' ' || errors[length] == '|') &&
            errors[-1] == ' ')
            return true;
    return false;
}

static void print_call(unsigned call)
{
    char line[400];
    size_t length = 0;
    for (unsigned status = 0; status < STATUS_COUNT; status++) {
        if (!totals[call][status])
            continue;
        print_buffer(line + length, sizeof line - length, " %s=%lu", status_name(status),
                     totals[call][status]);
        length += strlen(line + length);
    }
    line[length] = 0;
    serial_print("EVENT table %s:%s\n", call_names[call], line);
    for (unsigned status = 1; status < STATUS_COUNT; status++)
        if (listed(call_errors[call], status_name(status)) && !totals[call][status])
            serial_print("EVENT not reached: %s %s\n", call_names[call], status_name(status));
}

TEST(hostile_table, "a good part of the random calls succeed, and none returns an undefined status")
{
    uint64_t made = 0, succeeded = 0;
    for (unsigned call = 0; call < SYSCALL_COUNT; call++) {
        print_call(call);
        for (unsigned status = 0; status < STATUS_SLOTS; status++) {
            made += totals[call][status];
            if (status >= STATUS_COUNT)
                EXPECT(totals[call][status], 0);
            else if (status && !listed(call_errors[call], status_name(status)))
                EXPECT(totals[call][status], 0);
        }
        succeeded += totals[call][STATUS_OK];
    }
    serial_print("EVENT %lu calls, %lu successful; %lu lives, %lu ended by themselves, %lu hung\n",
                 made, succeeded, lives, deaths, hangs);
    for (unsigned i = 0; i < EXIT_COUNT; i++)
        if (exits[i])
            serial_print("EVENT exit reason %u: %lu\n", i, exits[i]);
    if (made > 10000)
        CHECK(succeeded * 100 >= made * SHARE_OF_CALLS);
}

void program_start(const void *boot_info)
{
    testing_run(boot_info);
}
