/*
 * What words there are in a partition file: one table for the parser, for `septum show` and for
 * docs/partition-file.md.
 */
#ifndef LIB_PARTITION_SCHEMA_H
#define LIB_PARTITION_SCHEMA_H

#include "plan.h"

#include <stdbool.h>
#include <stddef.h>

/* Where a word may stand. */
enum schema_block {
    BLOCK_NONE,
    BLOCK_FILE, /* outside of all blocks */
    BLOCK_PARTITION,
    BLOCK_BOOT,
    BLOCK_DISK, /* a partition's disk, and network card */
    BLOCK_CARD,
    BLOCK_VOLUME,
    BLOCK_NETWORK,
    BLOCK_SERVER,
    BLOCK_MACHINE,
    BLOCK_TASK, /* fills a struct plan_partition */
    BLOCK_COUNT
};

/* What follows a word, and the field that it fills. */
enum schema_kind {
    VALUE_NONE,
    VALUE_NUMBER,  /* uint32_t */
    VALUE_SIZE,    /* uint64_t, bytes */
    VALUE_CPUS,    /* uint64_t, a bit for each */
    VALUE_SHARE,   /* two uint32_t: budget and period, in microseconds */
    VALUE_CHOICE,  /* uint32_t: index of schema_row.choices */
    VALUE_POLICY,  /* struct plan_policy */
    VALUE_PATH,    /* char[PLAN_PATH_MAX] */
    VALUE_TEXT,    /* char[PLAN_COMMAND_LINE_MAX] */
    VALUE_NAME,    /* char[PLAN_NAME_MAX] */
    VALUE_NAMES,   /* partitions: plan_partition.may_talk_to, when all are known */
    VALUE_INDEX,   /* uint32_t, or PLAN_DISK_NONE */
    VALUE_RATE,    /* uint64_t, bytes a second; 0: no limit */
    VALUE_MAC,     /* uint64_t */
    VALUE_HOST,    /* uint32_t: enum plan_host, and two for address and mask */
    VALUE_IP,      /* uint32_t; 0: none */
    VALUE_DISK,    /* a volume: the next of plan_partition.disks */
    VALUE_CDROM,   /* the same, as a CD-ROM */
    VALUE_FLOPPY,  /* the same, as a floppy */
    VALUE_CARD,    /* a network: the next of plan_partition.cards */
    VALUE_PATHS,   /* the next of plan.machine_disks */
    VALUE_FORWARD, /* the next of plan.machine_forwards */
    VALUE_MODULE,  /* the next of plan_partition.modules */
    VALUE_ORDER,   /* plan_partition.boot_order */
    VALUE_SERVE,   /* the next of plan.served */
    VALUE_SERVED,  /* char[PLAN_SERVED_NAME_MAX] */
    VALUE_COUNT
};

struct schema_row {
    enum schema_block block;
    const char *word;
    const char *second; /* a word that follows it and belongs to it, or NULL */
    enum schema_kind kind;
    size_t offset;              /* of the field in the block's struct */
    uint64_t low, high;         /* VALUE_NUMBER, VALUE_SIZE, VALUE_CPUS */
    const char *const *choices; /* VALUE_CHOICE; ends with NULL */
    enum schema_block opens;    /* a block follows */
    uint32_t boots;             /* BLOCK_BOOT: the kinds that it goes with, SCHEMA_BOOT of each */
    bool required;              /* must be said */
    bool repeats;               /* may be said again in the same block */
    const char *initial;        /* what holds if it is not said, as one would write it, or NULL */
    const char *example;        /* of its value, where schema_forms has no good one, or NULL */
    const char *sentence;       /* for the manual */
};

extern const struct schema_row schema_rows[];
extern const unsigned schema_row_count;
#define SCHEMA_ROWS_MAX 112u

/* The kinds of boot, as one writes them, by enum plan_boot; NULL ends them. */
extern const char *const schema_boots[];
#define SCHEMA_BOOT(kind) (1u << (kind))
/* Does the word go with what a partition boots? Always, if it is not of BLOCK_BOOT. */
static inline bool schema_row_applies(const struct schema_row *row, uint32_t boot)
{
    return row->block != BLOCK_BOOT || (row->boots >> boot & 1);
}

/* What `order` knows, and the letter of each in plan_partition.boot_order. */
extern const char *const schema_orders[];
extern const char schema_order_letters[];

/* How a kind of value is called ("a size") and written ("128M"). */
struct schema_form {
    const char *name, *example, *syntax;
};
extern const struct schema_form schema_forms[VALUE_COUNT];

/* A value of a row, as one would write it. */
const char *schema_example(const struct schema_row *row);

/* What a block is called in messages: "partition". */
extern const char *const schema_block_names[BLOCK_COUNT];

/* The actions of a policy. */
extern const char *const schema_actions[];

/* A field's value as one would write it in the file. `object`: the struct of the row's block. */
void schema_print(const struct schema_row *row, const void *object, char *text, size_t size_bytes);
/* A number of bytes, as one would write it. */
void schema_print_size(uint64_t bytes, char *text, size_t size_bytes);

#endif
