/* The monitor's commands. */
#include "monitor.h"

#include "audit.h"
#include "picture.h"
#include "service.h"
#include "string.h"
#include "thread.h"

#define LINE_MAX  120u
#define WORDS_MAX 8u
/* How long a VMM may take to do as it is told. */
#define ANSWER_MS 1000u
#define LOOK_MS   10u

static struct sink *const out = &console_sink;

static struct {
    char line[LINE_MAX + 1];
    size_t length;
} input;

/* A command that a VMM has not yet carried out. */
static struct {
    struct partition *partition;
    uint64_t lives, sequence, deadline;
    const char *done;
} awaited;

/* ---- words about a partition ------------------------------------------------------------------------- */

const char *partition_state_word(const struct partition *partition)
{
    switch (partition->state) {
    case PARTITION_OFF: return "off";
    case PARTITION_LEFT: return "left";
    case PARTITION_WAITING: return "to restart";
    default: break;
    }
    if (!partition->ready)
        return "starting";
    return partition->status && partition->status->state == VMM_PAUSED ? "paused" : "running";
}

static uint64_t seconds_up(const struct partition *partition)
{
    return partition->state == PARTITION_OFF
               ? 0
               : (ticks() - partition->started_at) / boot->tsc_khz / 1000;
}

static void show_cpus(uint64_t mask)
{
    for (unsigned cpu = 0, n = 0; cpu < 64; cpu++)
        if (mask >> cpu & 1)
            print(out, n++ ? ",%u" : "%u", cpu);
}

static void command_list(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition, (void)count, (void)words;
    print(out, "%-16s %-11s %8s %6s %6s %8s\n", "NAME", "STATE", "MEMORY", "VCPUS", "LIVES", "UP");
    for (unsigned i = 0; i < plan.partition_count; i++) {
        const struct partition *p = &partitions[i];
        print(out, "%-16s %-11s %7luM %6u %6lu %6lu s\n", p->plan->name, partition_state_word(p),
              p->plan->memory_bytes >> 20, p->plan->vcpu_count, p->lives, seconds_up(p));
    }
    if (server_task())
        print(out, "%-16s %-11s\n", server_task()->name, "running");
    servers_list(out);
}

static const char *action_name(const struct plan_policy *policy)
{
    static const char *const names[] = {"stop", "restart", "leave"};
    return policy->action < 3 ? names[policy->action] : "?";
}

static void show_memory(const struct resident *task, bool is_partition)
{
    uint64_t own = 0, guest = 0, bundle = 0;
    for (unsigned i = 0; i < task->extent_count; i++) {
        const struct extent *extent = &task->extents[i];
        uint64_t bytes = extent->pages * SEPTUM_PAGE_SIZE;
        *(extent->kind == EXTENT_GUEST    ? &guest
          : extent->kind == EXTENT_BUNDLE ? &bundle
                                          : &own) += bytes;
    }
    struct message quota = sys_inspect(INSPECT_QUOTA, task->slots + RESIDENT_TASK, 0, 0);
    print(out, "  memory       ");
    if (is_partition)
        print(out, "guest %lu KiB, VMM ", guest >> 10);
    print(out, "%lu KiB, seen in the bundle %lu KiB\n", own >> 10, bundle >> 10);
    if (quota.status == STATUS_OK)
        print(out, "  kernel       %lu of %lu KiB used\n", quota.w[1] * 4, quota.w[0] * 4);
}

static void show_threads(const struct resident *task)
{
    static const char *const states[] = {"not started", "runs", "sends", "calls", "waits", "wakes"};
    char place[96];
    for (unsigned n = 0; n < task->start->thread_count; n++) {
        struct message m = sys_inspect(INSPECT_THREAD, task->slots + RESIDENT_THREAD + n, 0, 0);
        uint64_t state = m.w[0] & THREAD_STATE_MASK;
        if (m.status != STATUS_OK || state >= sizeof states / sizeof *states)
            continue;
        symbol_name(&task->program, m.w[1], place, sizeof place);
        print(out, "  thread %u     CPU %lu, %s%s, at %s\n", n, m.w[3], states[state],
              m.w[0] & THREAD_STOPPED && state ? ", stopped" : "", place);
    }
}

static void show_native(const struct partition *partition)
{
    const struct plan_partition *p = partition->plan;
    print(out, "%s: %s, for %lu s, life %lu\n  program      %s\n  CPU          %u, priority %u, ",
          p->name, partition_state_word(partition), seconds_up(partition), partition->lives,
          p->kernel, p->cpu, p->priority);
    if (p->budget_us)
        print(out, "%u us in each %u us\n", p->budget_us, p->period_us);
    else
        print(out, "no limit\n");
    for (unsigned i = 0; i < p->card_count; i++)
        print(out, "  network      %s\n", plan.networks[p->cards[i].network].name);
    print(out, "  on           end %s (%u) death %s (%u) failure %s (%u)\n",
          action_name(&p->on[PLAN_ON_POWER_OFF]), partition->restarts[PLAN_ON_POWER_OFF],
          action_name(&p->on[PLAN_ON_VMM_DEATH]), partition->restarts[PLAN_ON_VMM_DEATH],
          action_name(&p->on[PLAN_ON_FAILURE]), partition->restarts[PLAN_ON_FAILURE]);
    if (!partition->task->lives)
        return;
    show_memory(partition->task, false);
    show_threads(partition->task);
}

static void show_partition(struct partition *partition)
{
    static const char *const events[PLAN_EVENT_COUNT] = {"power-off", "reboot", "panic",
                                                         "vmm-death", "failure"};
    const struct plan_partition *p = partition->plan;
    print(out, "%s: %s, for %lu s, life %lu\n  vCPUs        %u on CPU ", p->name,
          partition_state_word(partition), seconds_up(partition), partition->lives, p->vcpu_count);
    show_cpus(p->cpu_mask);
    print(out, ", priority %u, ", p->priority);
    if (p->budget_us)
        print(out, "%u us in each %u us\n", p->budget_us, p->period_us);
    else
        print(out, "no limit\n");
    print(out, "  kernel file  %s\n  initrd       %s\n  command line %s\n", p->kernel,
          p->initrd[0] ? p->initrd : "none", p->command_line);
    print(out, "  on          ");
    for (unsigned event = 0; event < PLAN_EVENT_COUNT; event++)
        print(out, " %s %s (%u)", events[event], action_name(&p->on[event]),
              partition->restarts[event]);
    print(out, "\n");
    if (!partition->task->lives)
        return;
    show_memory(partition->task, true);
    print(out, "  VM entries   %lu\n", partition->status->entries);
    show_threads(partition->task);
}

static void say_names(void);

static void command_info(struct partition *partition, unsigned count, char *const *words)
{
    const struct service *service = count ? service_named(words[0]) : NULL;
    partition = count ? partition_named(words[0]) : NULL;
    if (partition && partition_is_native(partition)) {
        show_native(partition);
    } else if (partition) {
        show_partition(partition);
    } else if (service) {
        server_show(out, service);
        if (service->task) {
            show_memory(service->task, false);
            show_threads(service->task);
        }
    } else {
        if (count)
            print(out, "There is neither partition nor server %s. ", words[0]);
        else
            print(out, "info whom? ");
        say_names();
    }
}

static void command_exits(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    if (!partition->task->lives) {
        print(out, "%s is off\n", partition->plan->name);
        return;
    }
    print(out, "%-24s %12s %12s\n", "EXIT", "COUNT", "TICKS EACH");
    for (unsigned reason = 0; reason < EXIT_COUNT; reason++) {
        uint64_t n = partition->status->exits[reason].count;
        uint64_t spent = partition->status->exits[reason].ticks;
        if (n)
            print(out, "%-24s %12lu %12lu\n", exit_name(reason), n, spent / n);
    }
}

/* ---- commands that change something ----------------------------------------------------------------- */

static bool runs(const struct partition *partition)
{
    if (partition->state == PARTITION_RUNNING)
        return true;
    print(out, "%s does not run: it is %s\n", partition->plan->name,
          partition_state_word(partition));
    return false;
}

static void await(struct partition *partition, enum vmm_command_code code, uint64_t argument,
                  const char *done)
{
    if (!runs(partition))
        return;
    partition_command(partition, code, argument);
    awaited.partition = partition;
    awaited.lives = partition->lives;
    awaited.sequence = partition->command->sequence;
    awaited.deadline = ticks() + milliseconds(ANSWER_MS);
    awaited.done = done;
}

static void command_pause(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    await(partition, VMM_COMMAND_PAUSE, 0, "is paused");
}

static void command_resume(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    await(partition, VMM_COMMAND_RESUME, 0, "runs again");
}

static void command_power(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    await(partition, VMM_COMMAND_POWER_BUTTON, 0, "is asked to shut down");
}

static bool number(const char *word, uint64_t *value)
{
    for (*value = 0; *word >= '0' && *word <= '9'; word++)
        *value = *value * 10 + (uint64_t)(*word - '0');
    return *word == 0;
}

static void command_nmi(struct partition *partition, unsigned count, char *const *words)
{
    uint64_t vcpu = 0;
    if (count > 1 && (!number(words[1], &vcpu) || vcpu >= partition->plan->vcpu_count))
        print(out, "%s has vCPUs 0 to %u\n", partition->plan->name,
              partition->plan->vcpu_count - 1);
    else
        await(partition, VMM_COMMAND_NMI, vcpu, "has an NMI");
}

static void command_die(struct partition *partition, unsigned count, char *const *words)
{
    uint64_t reason = 0;
    if (!boot->debug)
        print(out, "only debug kernels have that\n");
    else if (count > 1 && !number(words[1], &reason))
        print(out, "%s is no number of an exit's reason\n", words[1]);
    else if (runs(partition))
        partition_command(partition, VMM_COMMAND_DIE, reason);
}

static void command_stop(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    partition_end(partition, PARTITION_OFF);
    partition->by_hand = true;
    print(out, "%s is off\n", partition->plan->name);
}

static void command_start(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    if (partition->task->lives) {
        print(out, "%s is not off: it is %s\n", partition->plan->name,
              partition_state_word(partition));
        return;
    }
    memset(partition->restarts, 0, sizeof partition->restarts);
    supervise_launch(partition);
}

static void command_reset(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    partition_end(partition, PARTITION_OFF);
    supervise_launch(partition);
}

static void command_memory(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition, (void)count, (void)words;
    struct message quota = sys_inspect(INSPECT_QUOTA, BOOT_SLOT_TASK, 0, 0);
    print(out, "free %lu KiB, in %u pieces\n", pool_count(&memory.frames) * 4,
          memory.frames.ranges);
    print(out, "kernel memory: %lu KiB, %lu KiB used by root, %lu KiB given to tasks\n",
          quota.w[0] * 4, quota.w[1] * 4, quota.w[2] * 4);
    print(out, "capability slots: %lu free\n", pool_count(&memory.slots));
}

static void command_derail(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition;
    struct service *service = count ? service_named(words[0]) : NULL;
    const struct partition *native = count ? partition_named(words[0]) : NULL;
    struct resident *task = service ? service->task : count ? NULL : server_task();
    if (native && partition_is_native(native) && native->task->lives)
        task = native->task;
    if (!boot->debug)
        print(out, "only debug kernels have that\n");
    else if (!task)
        print(out, "no such server or task runs\n");
    else
        task_derail(task);
}

static void command_screenshot(struct partition *partition, unsigned count, char *const *words)
{
    (void)count, (void)words;
    const char *problem = picture_show(partition);
    if (problem)
        print(out, "there is no picture of %s: %s\n", partition->plan->name, problem);
}

static void command_top(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition, (void)count, (void)words;
    usage_show(out);
}

static void command_audit(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition, (void)count, (void)words;
    audit_in_slices();
}

static void command_trace(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition;
    if (!trace_command(out, count, words))
        print(out,
              "trace, trace off, or trace on and any of: calls switches interrupts faults exits "
              "revocations\n");
}

static void command_help(struct partition *partition, unsigned count, char *const *words);

static const struct command {
    const char *word, *arguments, *meaning;
    enum { NOBODY, ANYONE, A_GUEST } names; /* its first word: a partition, or one with a guest */
    void (*run)(struct partition *partition, unsigned count, char *const *words);
} commands[] = {
    {"list", "", "all partitions, and how they are", NOBODY, command_list},
    {"info", "NAME", "all about one, or about a server", NOBODY, command_info},
    {"pause", "NAME", "its guest stands still", A_GUEST, command_pause},
    {"resume", "NAME", "and goes on", A_GUEST, command_resume},
    {"power", "NAME", "presses its power button", A_GUEST, command_power},
    {"reset", "NAME", "ends it and starts it again", ANYONE, command_reset},
    {"stop", "NAME", "ends it at once", ANYONE, command_stop},
    {"start", "NAME", "starts one that is off", ANYONE, command_start},
    {"exits", "NAME", "why its guest called its VMM: how often, how long", A_GUEST, command_exits},
    {"nmi", "NAME [VCPU]", "a non-maskable interrupt", A_GUEST, command_nmi},
    {"die", "NAME [REASON]", "for tests: its VMM faults at an exit", A_GUEST, command_die},
    {"derail", "[SERVER]", "for tests: a server or a task faults", NOBODY, command_derail},
    {"screenshot", "NAME", "what its screen shows", A_GUEST, command_screenshot},
    {"top", "", "who used the CPUs in the last second", NOBODY, command_top},
    {"memory", "", "what is free", NOBODY, command_memory},
    {"audit", "", "proves that partitions share nothing", NOBODY, command_audit},
    {"trace", "[on|off]", "what the kernel did last", NOBODY, command_trace},
    {"help", "", "this list", NOBODY, command_help},
};
#define COMMANDS (sizeof commands / sizeof *commands)

static void command_help(struct partition *partition, unsigned count, char *const *words)
{
    (void)partition, (void)count, (void)words;
    for (unsigned i = 0; i < COMMANDS; i++)
        print(out, "  %-10s %-14s %s\n", commands[i].word, commands[i].arguments,
              commands[i].meaning);
}

/* ---- lines -------------------------------------------------------------------------------------------- */

/* Words that begin alike are taken for mistyped ones. */
static const char *nearest(const char *word)
{
    const char *best = NULL;
    size_t most = 0;
    for (unsigned i = 0; i < COMMANDS; i++) {
        size_t same = 0;
        while (word[same] && word[same] == commands[i].word[same])
            same++;
        if (same > most) {
            most = same;
            best = commands[i].word;
        }
    }
    return best;
}

static void say_names(void)
{
    print(out, "The partitions are:");
    for (unsigned i = 0; i < plan.partition_count; i++)
        print(out, " %s", plan.partitions[i].name);
    print(out, "\n");
}

static void run_command(const struct command *command, unsigned count, char *const *words)
{
    struct partition *partition = NULL;
    if (command->names && count == 0) {
        print(out, "%s whom? ", command->word);
        say_names();
        return;
    }
    if (command->names)
        partition = partition_named(words[0]);
    if (command->names && !partition) {
        print(out, "There is no partition %s. ", words[0]);
        say_names();
        return;
    }
    if (command->names == A_GUEST && partition_is_native(partition))
        print(out, "%s is a task: it has no guest\n", words[0]);
    else
        command->run(partition, count, words);
}

static void run_line(char *line)
{
    char *words[WORDS_MAX];
    unsigned count = 0;
    while (*line && count < WORDS_MAX) {
        while (*line == ' ')
            *line++ = 0;
        if (*line)
            words[count++] = line;
        while (*line && *line != ' ')
            line++;
    }
    while (*line == ' ')
        *line++ = 0;
    if (count == 0)
        return;
    for (unsigned i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].word, words[0]) == 0) {
            run_command(&commands[i], count - 1, words + 1);
            return;
        }
    const char *near = nearest(words[0]);
    if (near)
        print(out, "There is no command %s. Did you mean %s? `help` lists all.\n", words[0], near);
    else
        print(out, "There is no command %s. `help` lists all.\n", words[0]);
}

static void end_line(void)
{
    char line[LINE_MAX + 1];
    memcpy(line, input.line, sizeof line);
    input.length = 0;
    input.line[0] = 0;
    print(out, "\n");
    run_line(line);
    console_prompt("septum> ");
}

static void take_key(char key)
{
    if (key == '\r' || key == '\n') {
        end_line();
    } else if ((key == '\b' || key == 0x7f) && input.length) {
        input.line[--input.length] = 0;
        print(out, "\b \b");
    } else if (key >= ' ' && key < 0x7f && input.length < LINE_MAX) {
        input.line[input.length++] = key;
        input.line[input.length] = 0;
        print(out, "%c", key);
    }
}

void monitor_input(void)
{
    char keys[64];
    size_t n;
    console_typed(input.line);
    while ((n = console_input(keys, sizeof keys)) > 0)
        for (size_t i = 0; i < n; i++)
            take_key(keys[i]);
    console_flush();
}

uint64_t monitor_clock(void)
{
    struct partition *partition = awaited.partition;
    if (!partition)
        return UINT64_MAX;
    if (partition->state != PARTITION_RUNNING || partition->lives != awaited.lives) {
        awaited.partition = NULL;
    } else if (partition->status->command_done == awaited.sequence) {
        say("%s %s\n", partition->plan->name, awaited.done);
        awaited.partition = NULL;
    } else if (ticks() > awaited.deadline) {
        say("%s: its VMM does not answer; `stop %s` ends it\n", partition->plan->name,
            partition->plan->name);
        awaited.partition = NULL;
    }
    return awaited.partition ? ticks() + milliseconds(LOOK_MS) : UINT64_MAX;
}
