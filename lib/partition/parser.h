/*
 * Between the parts of the parser: parse.c (statements), values.c (what follows a word), words.c
 * (which words are meant), check.c (what must fit together).
 */
#ifndef LIB_PARTITION_PARSER_H
#define LIB_PARTITION_PARSER_H

#include "lexer.h"
#include "parse.h"
#include "schema.h"

#define TALKS_MAX 128u
#define USES_MAX  (PLAN_PARTITIONS_MAX * PLAN_CARDS_MAX * 2)

/* See parse.c. */
struct scope;

/* A `talk-to`, until all names are known. */
struct talk {
    uint32_t partition;
    struct plan_place place;
    char name[PLAN_NAME_MAX];
};

/* A partition's `disk`, `cdrom`, `floppy` or `network`, until all names are known. */
struct use {
    uint32_t partition, number; /* of its disks or cards */
    bool is_disk;
    struct plan_place place;
    char name[PLAN_NAME_MAX];
};

struct parser {
    struct plan *plan;
    struct partition_reader *reader;
    struct partition_errors *errors;
    struct lexer *lexer;
    struct token token;               /* the next one */
    struct token kept_token;          /* and while defaults are read */
    struct plan_place statement;      /* where the word of the present statement stands */
    char word[2 * PLAN_NAME_MAX];     /* and the word itself */
    char subject[PLAN_NAME_MAX + 16]; /* `partition "web": `, or empty */
    struct plan_partition defaults;
    struct plan_partition *partition; /* the one that is being read, or NULL */
    bool in_default;
    uint32_t boot_failed;    /* bit n: something was wrong in how partition n boots */
    enum schema_block block; /* that is being read */
    bool broken_off;         /* the end of a block is missing, which was reported */
    uint32_t block_column;   /* where the outermost block's word stands */
    struct scope *file_scope;
    unsigned depth; /* of includes */
    struct plan_place included_at[PLAN_FILES_MAX];
    /* Where each word of each partition stands, line 0: it doesn't; the last: of `default
     * partition`. */
    struct plan_place places[PLAN_PARTITIONS_MAX + 1][SCHEMA_ROWS_MAX];
    struct talk talks[TALKS_MAX];
    unsigned talk_count;
    struct use uses[USES_MAX];
    unsigned use_count;
};

/* Reports one error. The text ends with its cure. */
void parser_complain(struct parser *parser, const struct plan_place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, of something that is missing behind the statement's word: if a token stands there
 * that can't be one, then that is the error. */
void parser_complain_missing(struct parser *parser, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "line 6", with the file if it is another than that of `seen_from`. */
void parser_print_line(const struct parser *parser, const struct plan_place *place,
                       const struct plan_place *seen_from, char *text, size_t size_bytes);
void parser_next(struct parser *parser);
/* Does the next token stand on the line of the statement's word, and is it a value? */
bool parser_has_value(const struct parser *parser);
/* Is the next token a word of the block that is being read? */
bool parser_is_word_here(const struct parser *parser);

/* The block behind a statement, into `object`; *failed: something in it was wrong. */
bool parser_read_block(struct parser *parser, enum schema_block block, void *object,
                       const struct plan_place *opened, bool *failed);
/* "partition" or "task": how the file calls it. */
const char *parser_kind(const struct plan_partition *partition);
/* Sets all fields of a block to what holds if nothing is said. */
void parser_fill_defaults(struct parser *parser, enum schema_block block, void *object);

/* A path as the file of number `file` means it: relative to that file's folder. False: it is too
 * long. */
bool parser_join(const struct parser *parser, uint32_t file, const char *path, char *joined);

/* ---- words.c -------------------------------------------------------------------------------- */

/* The row of a word, BLOCK_NONE: in any block; second: NULL: whatever it is. NULL: there is
 * none. */
const struct schema_row *find_row(enum schema_block block, const char *word, const char *second);
/* The nearest of some words to one that is not known, or NULL: none is near. NULL ends the list. */
const char *nearest_word(const char *word, const char *const *words);
/* The nearest word of a block (BLOCK_BOOT: of a kind of boot), or second word of one of its words. */
const char *nearest_in_block(enum schema_block block, uint32_t boot, const char *first,
                             const char *word);

/* ---- values.c ------------------------------------------------------------------------------- */

/* Takes the values of a row from the parser and sets the field of `object`. False: an error was
 * reported. */
bool value_read(struct parser *parser, const struct schema_row *row, void *object);
/* A path at the next token, which stays. */
bool value_read_path(struct parser *parser, char *path);
/* The next token as a number of a few digits that ends there or at *rest. */
bool value_read_digits(const char *text, uint64_t *value, const char **rest);
/* One of some words, as its number; NULL ends them. */
bool value_read_choice(struct parser *parser, const char *const *words, uint32_t *field);
/* A name of a partition or server, from the next token. */
bool value_read_name(struct parser *parser, char *name);

/* ---- addresses.c ---------------------------------------------------------------------------- */

/* As value_read, of the kinds VALUE_MAC, VALUE_HOST, VALUE_IP and VALUE_FORWARD. */
bool address_read(struct parser *parser, const struct schema_row *row, void *field);

/* ---- boot.c --------------------------------------------------------------------------------- */

/* The statement `boot`, at its kind. */
bool boot_read(struct parser *parser, const struct schema_row *row,
               struct plan_partition *partition, bool *failed);
/* The word at the parser goes with other kinds of boot. */
void boot_complain_of_word(struct parser *parser, const struct schema_row *row, uint32_t boot);
/* As value_read, of the kinds VALUE_MODULE and VALUE_ORDER. */
bool boot_read_module(struct parser *parser, const struct schema_row *row,
                      struct plan_partition *partition);
bool boot_read_order(struct parser *parser, const struct schema_row *row, char *order);
/* What must hold together of how partition n boots. */
void boot_check(struct parser *parser, unsigned n);

/* ---- served.c ------------------------------------------------------------------------------- */

/* As value_read, of the kinds VALUE_SERVE and VALUE_SERVED. */
bool served_read(struct parser *parser, const struct schema_row *row, struct plan_network *network);
/* What must hold together of the files that a network serves; the subject is set. */
void served_check(struct parser *parser, const struct plan_network *network);

/* ---- services.c ----------------------------------------------------------------------------- */

/* The statements `volume`, `network` and `server` at the name behind the word. */
bool services_read_volume(struct parser *parser, bool *failed);
bool services_read_network(struct parser *parser, bool *failed);
bool services_read_server(struct parser *parser, bool *failed);
/* `disk`, `cdrom`, `floppy` or `network` of a partition. */
bool services_read_use(struct parser *parser, const struct schema_row *row, bool *failed);
/* Is it the name of a server? */
bool services_is_server(const char *name);
/* What volumes and networks must hold, and the disks and cards that use them; adds the servers that they need. */
void services_check(struct parser *parser, const struct partition_machine *machine);
/* The settings of a server, in plan.servers; made if it is not there. */
struct plan_server *services_server(struct parser *parser, const char *name);

/* ---- check.c -------------------------------------------------------------------------------- */

/* What all must hold together, and on this machine. */
void check_plan(struct parser *parser, const struct partition_machine *machine);

#endif
