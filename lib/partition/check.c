/* What a file as a whole must hold: names that exist, CPUs and memory that suffice. */
#include "parser.h"

#include "print.h"
#include "string.h"

#define MILLION 1000000ull

/* A list of names in a message. */
struct owners {
    char text[384];
    size_t used;
    unsigned count;
};

static void begin(struct parser *parser, const struct plan_partition *partition)
{
    print_buffer(parser->subject, sizeof parser->subject, "%s \"%s\": ", parser_kind(partition),
                 partition->name);
}

static void add_owner(struct parser *parser, struct owners *owners,
                      const struct plan_partition *owner, const struct plan_place *seen_from)
{
    char line[PLAN_PATH_MAX + 16];
    parser_print_line(parser, &owner->place, seen_from, line, sizeof line);
    print_buffer(owners->text + owners->used, sizeof owners->text - owners->used, "%s\"%s\" (%s)",
                 owners->count ? ", " : "", owner->name, line);
    owners->used += strlen(owners->text + owners->used);
    owners->count++;
}

/* Where a partition says something; if only defaults say it, where the partition begins. */
static const struct plan_place *place_of(const struct parser *parser, unsigned partition,
                                         const char *word)
{
    bool is_task = parser->plan->partitions[partition].boot == PLAN_BOOT_PROGRAM;
    const struct schema_row *row = find_row(is_task ? BLOCK_TASK : BLOCK_PARTITION, word, NULL);
    if (!row)
        row = find_row(BLOCK_BOOT, word, NULL);
    if (!row) /* of a card's block */
        return &parser->plan->partitions[partition].place;
    const struct plan_place *place = &parser->places[partition][row - schema_rows];
    return place->line ? place : &parser->plan->partitions[partition].place;
}

/* ---- names ---------------------------------------------------------------------------------- */

static void complain_of_talk(struct parser *parser, const struct talk *talk)
{
    const char *names[PLAN_PARTITIONS_MAX + 1] = {0};
    for (unsigned i = 0; i < parser->plan->partition_count; i++)
        names[i] = parser->plan->partitions[i].name;
    const char *near = nearest_word(talk->name, names);
    if (near)
        parser_complain(parser, &talk->place,
                        "there is no partition `%s` to talk to. Did you mean `%s`?", talk->name,
                        near);
    else
        parser_complain(parser, &talk->place,
                        "there is no partition `%s` to talk to. Name one that this file describes.",
                        talk->name);
}

static void check_talk(struct parser *parser, const struct talk *talk)
{
    struct plan *plan = parser->plan;
    uint32_t other = 0;
    while (other < plan->partition_count && strcmp(plan->partitions[other].name, talk->name) != 0)
        other++;
    begin(parser, &plan->partitions[talk->partition]);
    if (other == plan->partition_count) {
        complain_of_talk(parser, talk);
    } else if (other == talk->partition) {
        parser_complain(parser, &talk->place,
                        "it needs no leave to talk to itself. Take this name away.");
    } else {
        plan->partitions[talk->partition].may_talk_to |= 1ull << other;
        plan->partitions[other].may_talk_to |= 1ull << talk->partition;
    }
}

/* ---- CPUs ----------------------------------------------------------------------------------- */

static void check_cpus(struct parser *parser, unsigned n, uint32_t cpus)
{
    const struct plan_partition *partition = &parser->plan->partitions[n];
    unsigned highest = 63 - (unsigned)__builtin_clzll(partition->cpu_mask);
    begin(parser, partition);
    if (highest >= cpus)
        parser_complain(parser,
                        place_of(parser, n, partition->boot == PLAN_BOOT_PROGRAM ? "cpu" : "cpus"),
                        "CPU %u is not there: this machine has %u. Name others, or give it more "
                        "(machine { cpus %u }, or --cpus %u).",
                        highest, cpus, highest + 1, highest + 1);
}

/* Is there a core of which `one` has a thread and `other` another? */
static bool find_core(const struct plan_partition *one, const struct plan_partition *other,
                      const uint32_t *cores, unsigned *a, unsigned *b)
{
    for (*a = 0; *a < PLAN_CPUS_MAX; ++*a)
        for (*b = 0; *b < PLAN_CPUS_MAX; ++*b)
            if (*a != *b && one->cpu_mask >> *a & 1 && other->cpu_mask >> *b & 1 &&
                cores[*a] == cores[*b])
                return true;
    return false;
}

/* Reports the first partition whose threads of a core are shared with one before it, without leave. */
static void check_cores(struct parser *parser, unsigned n, const uint32_t *cores)
{
    const struct plan *plan = parser->plan;
    const struct plan_partition *partition = &plan->partitions[n];
    const char *word = partition->boot == PLAN_BOOT_PROGRAM ? "cpu" : "cpus";
    for (unsigned i = 0; i < n; i++) {
        const struct plan_partition *other = &plan->partitions[i];
        unsigned own = 0, its = 0;
        if ((partition->share_core && other->share_core) ||
            !find_core(partition, other, cores, &own, &its))
            continue;
        struct owners owners = {0};
        add_owner(parser, &owners, other, place_of(parser, n, word));
        begin(parser, partition);
        parser_complain(parser, place_of(parser, n, word),
                        "CPU %u and CPU %u, on which %s %s runs, are threads of one core: each can "
                        "learn of the other's work. Give it CPUs of other cores, or write "
                        "`share-core yes` in both.",
                        own, its, parser_kind(other), owners.text);
        return;
    }
}

static void print_percent(uint64_t millionths, char *text, size_t size_bytes)
{
    uint64_t tenths = millionths / 1000;
    if (tenths % 10)
        print_buffer(text, size_bytes, "%lu.%lu %%", tenths / 10, tenths % 10);
    else
        print_buffer(text, size_bytes, "%lu %%", tenths / 10);
}

static uint64_t share_of(const struct plan_partition *partition)
{
    return partition->budget_us ? partition->budget_us * MILLION / partition->period_us : 0;
}

/* Reports the first partition that takes more of a CPU than those before it leave. */
static bool check_shares(struct parser *parser, unsigned cpu)
{
    const struct plan *plan = parser->plan;
    uint64_t left = MILLION;
    struct owners owners = {0};
    for (unsigned i = 0; i < plan->partition_count; i++) {
        const struct plan_partition *partition = &plan->partitions[i];
        uint64_t share = partition->cpu_mask >> cpu & 1 ? share_of(partition) : 0;
        if (share > left) {
            char wanted[24], there[24];
            const struct plan_place *place = place_of(parser, i, "share");
            print_percent(share, wanted, sizeof wanted);
            print_percent(left, there, sizeof there);
            for (unsigned j = 0; j < i; j++)
                if (plan->partitions[j].cpu_mask >> cpu & 1 && plan->partitions[j].budget_us)
                    add_owner(parser, &owners, &plan->partitions[j], place);
            begin(parser, partition);
            parser_complain(parser, place,
                            "it wants %s of CPU %u, of which %s is left after partition%s %s. Give "
                            "it at most that, or another CPU.",
                            wanted, cpu, there, owners.count > 1 ? "s" : "", owners.text);
            return false;
        }
        left -= share;
    }
    return true;
}

/* ---- memory --------------------------------------------------------------------------------- */

static void check_memory(struct parser *parser, uint64_t memory_bytes)
{
    const struct plan *plan = parser->plan;
    uint64_t left = memory_bytes;
    for (unsigned i = 0; i < plan->partition_count; i++) {
        const struct plan_partition *partition = &plan->partitions[i];
        if (partition->memory_bytes <= left) {
            left -= partition->memory_bytes;
            continue;
        }
        char wanted[24], there[24];
        struct owners owners = {0};
        const struct plan_place *place = place_of(parser, i, "memory");
        schema_print_size(partition->memory_bytes, wanted, sizeof wanted);
        schema_print_size(left >> 20 << 20, there, sizeof there);
        for (unsigned j = 0; j < i; j++)
            add_owner(parser, &owners, &plan->partitions[j], place);
        begin(parser, partition);
        if (i)
            parser_complain(parser, place,
                            "memory %s, but this machine has %s left after partition%s %s. Give "
                            "it at most that, or the machine more (machine { memory }, or "
                            "--memory).",
                            wanted, there, i > 1 ? "s" : "", owners.text);
        else
            parser_complain(parser, place,
                            "memory %s, but this machine has %s for guests. Give it at most that, "
                            "or the machine more (machine { memory }, or --memory).",
                            wanted, there);
        return;
    }
}

/* ---- boards --------------------------------------------------------------------------------- */

static void check_console(struct parser *parser, unsigned n)
{
    const struct plan_partition *partition = &parser->plan->partitions[n];
    if (partition->console != PLAN_CONSOLE_VGA || partition->board == PLAN_BOARD_PC)
        return;
    begin(parser, partition);
    parser_complain(parser, place_of(parser, n, "console"),
                    "console vga is the screen of a board `pc`, and its board is `lean`. Write "
                    "`board pc`, or another console.");
}

/* ---- files ---------------------------------------------------------------------------------- */

static void check_files(struct parser *parser, unsigned n)
{
    const struct plan_partition *partition = &parser->plan->partitions[n];
    struct plan_file file;
    begin(parser, partition);
    for (unsigned i = 0; i < PLAN_FILE_COUNT && parser->reader->check_file; i++) {
        if (!plan_file(partition, i, &file))
            continue;
        const char *problem = parser->reader->check_file(parser->reader, partition, &file);
        if (problem)
            parser_complain(parser, place_of(parser, n, file.word), "%s: %s", file.word, problem);
    }
}

void check_plan(struct parser *parser, const struct partition_machine *machine)
{
    struct plan *plan = parser->plan;
    const struct plan_place start = {0, 1, 1};
    uint32_t cpus = machine->cpus ? machine->cpus : plan->cpus ? plan->cpus : 64;
    uint32_t in_a_row[PLAN_CPUS_MAX];
    const uint32_t *cores = machine->cores ? machine->cores : in_a_row;
    for (unsigned i = 0; i < PLAN_CPUS_MAX; i++)
        in_a_row[i] = i / plan->threads;
    uint64_t memory_bytes = machine->memory_bytes;
    if (!memory_bytes)
        memory_bytes =
            plan->memory_bytes ? plan->memory_bytes - PARTITION_RESERVE_BYTES : UINT64_MAX;
    parser->subject[0] = 0;
    if (plan->partition_count == 0 && parser->errors->count == 0)
        parser_complain(parser, &start,
                        "there is no partition in this file. Add one, such as: partition web { "
                        "boot linux { kernel \"vmlinuz\" } }");
    for (unsigned i = 0; i < parser->talk_count; i++)
        check_talk(parser, &parser->talks[i]);
    for (unsigned i = 0; i < plan->partition_count; i++)
        check_cpus(parser, i, cpus);
    for (unsigned i = 0; i < plan->partition_count; i++)
        check_cores(parser, i, cores);
    for (unsigned i = 0; i < plan->partition_count; i++) {
        check_console(parser, i);
        begin(parser, &plan->partitions[i]);
        boot_check(parser, i);
        check_files(parser, i);
    }
    services_check(parser, machine);
    for (unsigned cpu = 0; cpu < 64; cpu++)
        if (!check_shares(parser, cpu))
            break;
    check_memory(parser, memory_bytes);
}
