/* `septum show`: a partition file with all that it does not say; and the table of words for the
 * manual. */
#include "septum.h"

#include "partition/schema.h"

#include <string.h>

#define VALUE_BYTES (2 * PLAN_COMMAND_LINE_MAX + 8)

static void show_row(const struct schema_row *row, const void *object, unsigned indent)
{
    char value[VALUE_BYTES];
    schema_print(row, object, value, sizeof value);
    printf("%*s%s%s%s %s", indent, "", row->word, row->second ? " " : "",
           row->second ? row->second : "", value);
}

/* A word of a partition that says nothing is left out: an initrd that there is not. */
static bool says_nothing(const struct schema_row *row, const void *object)
{
    const char *text = (const char *)object + row->offset;
    return (row->kind == VALUE_PATH || row->kind == VALUE_TEXT || row->kind == VALUE_SERVED) &&
           text[0] == 0;
}

/* In the block of `boot`: does the word go with its kind? */
static bool goes_with(const struct schema_row *row, const void *object)
{
    return row->block != BLOCK_BOOT ||
           schema_row_applies(row, ((const struct plan_partition *)object)->boot);
}

/* A number of the machine's that the file does not say, and that the tool finds. */
static bool is_unsaid(const struct schema_row *row, const void *object)
{
    const void *field = (const char *)object + row->offset;
    return row->block == BLOCK_MACHINE &&
           ((row->kind == VALUE_NUMBER && *(const uint32_t *)field == 0) ||
            (row->kind == VALUE_SIZE && *(const uint64_t *)field == 0));
}

static void show_names(const struct plan *plan, const struct plan_partition *partition)
{
    if (!partition->may_talk_to)
        return;
    printf("    talk-to");
    for (unsigned i = 0; i < plan->partition_count; i++)
        if (partition->may_talk_to >> i & 1)
            printf(" %s", plan->partitions[i].name);
    printf("\n");
}

static void show_block(const struct plan *plan, enum schema_block block, const void *object,
                       unsigned indent);

static void show_uses(const struct plan *plan, const struct plan_partition *partition, bool disks)
{
    for (unsigned i = 0; i < (disks ? partition->disk_count : partition->card_count); i++) {
        if (partition->boot == PLAN_BOOT_PROGRAM) {
            printf("    network %s\n", plan->networks[partition->cards[i].network].name);
            continue;
        }
        if (disks && partition->disks[i].kind != PLAN_DISK_HARD) {
            printf("    %s %s\n", partition->disks[i].kind == PLAN_DISK_CDROM ? "cdrom" : "floppy",
                   plan->volumes[partition->disks[i].volume].name);
            continue;
        }
        if (disks)
            printf("    disk %s {\n", plan->volumes[partition->disks[i].volume].name);
        else
            printf("    network %s {\n", plan->networks[partition->cards[i].network].name);
        show_block(plan, disks ? BLOCK_DISK : BLOCK_CARD,
                   disks ? (const void *)&partition->disks[i] : &partition->cards[i], 8);
        printf("    }\n");
    }
}

static void show_forwards(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->machine_forward_count; i++) {
        const struct plan_forward *forward = &plan->machine_forwards[i];
        printf("    forward %u %u.%u.%u.%u:%u\n", forward->host_port, forward->address >> 24,
               forward->address >> 16 & 0xff, forward->address >> 8 & 0xff, forward->address & 0xff,
               forward->port);
    }
}

static void show_modules(const struct plan_partition *partition, unsigned indent)
{
    const struct schema_row text = {.kind = VALUE_TEXT};
    char value[2 * PLAN_PATH_MAX + 8];
    for (unsigned i = 0; i < partition->module_count; i++) {
        schema_print(&text, partition->modules[i].file, value, sizeof value);
        printf("%*smodule %s", indent, "", value);
        schema_print(&text, partition->modules[i].text, value, sizeof value);
        printf(" %s\n", value);
    }
}

static void show_served(const struct plan *plan, const struct plan_network *network)
{
    const struct schema_row text = {.kind = VALUE_TEXT};
    char value[2 * PLAN_PATH_MAX + 8];
    for (unsigned i = 0; i < plan->served_count; i++) {
        const struct plan_served *served = &plan->served[i];
        if (served->network != network - plan->networks)
            continue;
        schema_print(&text, served->file, value, sizeof value);
        printf("    serve \"%s\" %s\n", served->name, value);
    }
}

/* What is not one field. False: it is. */
static bool show_many(const struct plan *plan, const struct schema_row *row, const void *object,
                      unsigned indent)
{
    switch (row->kind) {
    case VALUE_NAMES: show_names(plan, object); return true;
    case VALUE_CDROM:
    case VALUE_FLOPPY: return true; /* shown with the disks */
    case VALUE_DISK:
    case VALUE_CARD: show_uses(plan, object, row->kind == VALUE_DISK); return true;
    case VALUE_PATHS:
        for (unsigned i = 0; i < plan->machine_disk_count; i++)
            printf("    disk \"%s\"\n", plan->machine_disks[i]);
        return true;
    case VALUE_FORWARD: show_forwards(plan); return true;
    case VALUE_MODULE: show_modules(object, indent); return true;
    case VALUE_SERVE: show_served(plan, object); return true;
    default: return false;
    }
}

static void show_block(const struct plan *plan, enum schema_block block, const void *object,
                       unsigned indent)
{
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        if (row->block != block || !goes_with(row, object) || says_nothing(row, object) ||
            is_unsaid(row, object) || show_many(plan, row, object, indent))
            continue;
        show_row(row, object, indent);
        if (row->opens && *(const uint32_t *)((const char *)object + row->offset)) {
            printf(" {\n");
            show_block(plan, row->opens, object, indent + 4);
            printf("%*s}", indent, "");
        }
        printf("\n");
    }
}

static void show_named(const struct plan *plan, const char *word, enum schema_block block,
                       const char *name, const void *object)
{
    printf("%s%s%s {\n", word, name ? " " : "", name ? name : "");
    show_block(plan, block, object, 4);
    printf("}\n");
}

int show(const struct options *options)
{
    static struct plan plan;
    const struct partition_machine machine = {0};
    if (!plan_load(options->file, &machine, &plan))
        return END_FAILED;
    printf("# %s, with all that holds where it says nothing. Paths are seen from here.\n",
           plan.files[0]);
    for (unsigned i = 0; i < plan.volume_count; i++)
        show_named(&plan, "volume", BLOCK_VOLUME, plan.volumes[i].name, &plan.volumes[i]);
    for (unsigned i = 0; i < plan.network_count; i++)
        show_named(&plan, "network", BLOCK_NETWORK, plan.networks[i].name, &plan.networks[i]);
    for (unsigned i = 0; i < plan.partition_count; i++) {
        bool is_task = plan.partitions[i].boot == PLAN_BOOT_PROGRAM;
        show_named(&plan, is_task ? "task" : "partition", is_task ? BLOCK_TASK : BLOCK_PARTITION,
                   plan.partitions[i].name, &plan.partitions[i]);
    }
    for (unsigned i = 0; i < plan.server_count; i++)
        show_named(&plan, "server", BLOCK_SERVER, plan.servers[i].name, &plan.servers[i]);
    show_named(&plan, "machine", BLOCK_MACHINE, NULL, &plan);
    return END_GOOD;
}

/* What may follow a word, as the manual has it. */
static void show_syntax(const struct schema_row *row)
{
    for (unsigned i = 0; row->choices && row->choices[i]; i++)
        printf("%s`%s`", i ? ", " : "", row->choices[i]);
    if (!row->choices)
        printf("%s", schema_forms[row->kind].syntax);
    if (row->kind == VALUE_NUMBER)
        printf(", %lu to %lu", (unsigned long)row->low, (unsigned long)row->high);
    if (row->kind == VALUE_INDEX)
        printf("; %lu to %lu", (unsigned long)row->low, (unsigned long)row->high);
    if (row->kind == VALUE_SIZE || row->kind == VALUE_RATE) {
        char low[32], high[32];
        schema_print_size(row->low, low, sizeof low);
        schema_print_size(row->high, high, sizeof high);
        printf(", %s to %s", low, high);
    }
    if (row->opens)
        printf("%s`{` ... `}`", row->kind == VALUE_NONE ? "" : " ");
}

/* The kinds of boot that a word goes with. */
static void show_kinds(const struct schema_row *row)
{
    const char *before = "";
    for (unsigned kind = 0; schema_boots[kind] && row->block == BLOCK_BOOT; kind++)
        if (schema_row_applies(row, kind)) {
            printf("%s`%s`", before, schema_boots[kind]);
            before = ", ";
        }
    if (*before)
        printf(": ");
}

int schema(void)
{
    for (enum schema_block block = BLOCK_FILE; block < BLOCK_COUNT; block++) {
        printf("%s### %s\n\n| word | value | if not said | meaning |\n|---|---|---|---|\n",
               block == BLOCK_FILE ? "" : "\n",
               block == BLOCK_FILE ? "Outside of all blocks" : schema_block_names[block]);
        for (unsigned i = 0; i < schema_row_count; i++) {
            const struct schema_row *row = &schema_rows[i];
            if (row->block != block)
                continue;
            printf("| `%s%s%s` | ", row->word, row->second ? " " : "",
                   row->second ? row->second : "");
            show_syntax(row);
            printf(" | %s%s%s | ", row->initial ? "`" : "",
                   row->initial    ? row->initial
                   : row->required ? "must be said"
                                   : "",
                   row->initial ? "`" : "");
            show_kinds(row);
            printf("%s |\n", row->sentence);
        }
    }
    return END_GOOD;
}
