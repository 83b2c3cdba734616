/* CPU use of the last second, from the kernel's account of scheduling contexts. */
#include "monitor.h"

#define SAMPLE_MS  1000u
#define CPUS_SHOWN 8u
#define ROWS       (TASKS_MAX + 1) /* the last one is root */

static struct {
    uint64_t used[BOOT_CPUS_MAX]; /* in all, when last looked at */
    uint64_t last[CPUS_SHOWN];    /* in the last period, by CPU */
    uint64_t id;                  /* of whose life */
    uint64_t total;               /* of all lives */
} rows[ROWS];
static uint64_t sampled_at, period;

/* One context: place is where its last reading is kept. */
static void read_sched(unsigned row, unsigned place, cap_slot_t sched)
{
    struct message m = sys_inspect(INSPECT_SCHED, sched, 0, 0);
    if (m.status != STATUS_OK)
        return;
    uint32_t cpu = (uint32_t)m.w[3];
    rows[row].total += m.w[0] - rows[row].used[place];
    if (cpu < CPUS_SHOWN)
        rows[row].last[cpu] += m.w[0] - rows[row].used[place];
    rows[row].used[place] = m.w[0];
}

bool usage_sample(void)
{
    uint64_t now = ticks();
    if (now - sampled_at < milliseconds(SAMPLE_MS))
        return false;
    period = now - sampled_at;
    sampled_at = now;
    for (unsigned row = 0; row < ROWS; row++) {
        const struct resident *task = row < TASKS_MAX ? &residents[row] : NULL;
        for (unsigned cpu = 0; cpu < CPUS_SHOWN; cpu++)
            rows[row].last[cpu] = 0;
        if (!task) {
            read_sched(row, 0, ROOT_SLOT_SCHED);
            read_sched(row, 1, ROOT_SLOT_RECEPTION_SCHED);
            continue;
        }
        if (!task->lives || task->id != rows[row].id)
            for (unsigned i = 0; i < BOOT_CPUS_MAX; i++)
                rows[row].used[i] = 0;
        rows[row].id = task->id;
        for (unsigned n = 0; task->lives && n < task->start->thread_count; n++)
            read_sched(row, n, task->slots + RESIDENT_SCHED + n);
    }
    return true;
}

uint64_t usage_total(const struct resident *task)
{
    return rows[task - residents].total;
}

static void show_row(struct sink *sink, const char *name, const uint64_t *used)
{
    print(sink, "%-16s", name);
    for (unsigned cpu = 0; cpu < boot->cpu_count && cpu < CPUS_SHOWN; cpu++) {
        uint64_t tenths = period ? used[cpu] * 1000 / period : 0;
        print(sink, "  %3lu.%lu%%", tenths / 10, tenths % 10);
    }
    print(sink, "\n");
}

void usage_show(struct sink *sink)
{
    uint64_t rest[CPUS_SHOWN];
    print(sink, "%-16s", "");
    for (unsigned cpu = 0; cpu < boot->cpu_count && cpu < CPUS_SHOWN; cpu++) {
        print(sink, "   CPU %u", cpu);
        rest[cpu] = period;
    }
    print(sink, "   of the last %lu ms\n", period / boot->tsc_khz);
    for (unsigned row = 0; row < ROWS; row++) {
        if (row < TASKS_MAX && !residents[row].lives)
            continue;
        show_row(sink, row < TASKS_MAX ? residents[row].name : "root", rows[row].last);
        for (unsigned cpu = 0; cpu < CPUS_SHOWN && cpu < boot->cpu_count; cpu++)
            rest[cpu] -= rows[row].last[cpu] < rest[cpu] ? rows[row].last[cpu] : rest[cpu];
    }
    show_row(sink, "idle, kernel", rest);
}
