/*
 * The parser. There is one rule: a statement is a word, its values on the same line, and for some
 * words a block of statements in braces. What words there are is said by the table of schema.c.
 *
 * After an error it goes on with the next line, the next word that it knows, or the end of the
 * block, so that one mistake is one message, and none hides another.
 */
#include "parser.h"

#include "print.h"
#include "string.h"

/* Each costs some of root's small stack. */
#define INCLUDE_DEPTH_MAX 4u

/* A block while it is read: where each of its words stood first. */
struct scope {
    enum schema_block block;
    void *object;
    struct plan_place opened;
    struct plan_place first[SCHEMA_ROWS_MAX]; /* line 0: not yet */
    bool failed;                              /* something in it was wrong */
};

static struct parser the_parser;

/* ---- errors --------------------------------------------------------------------------------- */

void parser_complain(struct parser *parser, const struct plan_place *place, const char *format, ...)
{
    char message[PARTITION_MESSAGE_MAX];
    va_list list;
    print_buffer(message, sizeof message, "%s:%u:%u: %s", parser->plan->files[place->file],
                 place->line, place->column, parser->subject);
    size_t used = strlen(message);
    va_start(list, format);
    print_buffer_list(message + used, sizeof message - used, format, list);
    va_end(list);
    parser->errors->count++;
    parser->errors->report(parser->errors, message);
}

void parser_complain_missing(struct parser *parser, const char *format, ...)
{
    char text[PARTITION_MESSAGE_MAX / 2];
    va_list list;
    if (parser->token.kind == TOKEN_BAD) {
        parser_complain(parser, &parser->token.place, "%s", parser->token.problem);
        return;
    }
    va_start(list, format);
    print_buffer_list(text, sizeof text, format, list);
    va_end(list);
    parser_complain(parser, &parser->statement, "%s", text);
}

void parser_print_line(const struct parser *parser, const struct plan_place *place,
                       const struct plan_place *seen_from, char *text, size_t size_bytes)
{
    if (place->file == seen_from->file)
        print_buffer(text, size_bytes, "line %u", place->line);
    else
        print_buffer(text, size_bytes, "%s:%u", parser->plan->files[place->file], place->line);
}

/* ---- tokens --------------------------------------------------------------------------------- */

void parser_next(struct parser *parser)
{
    lexer_next(parser->lexer, &parser->token);
}

bool parser_has_value(const struct parser *parser)
{
    return (parser->token.kind == TOKEN_WORD || parser->token.kind == TOKEN_TEXT) &&
           parser->token.place.line == parser->statement.line;
}

bool parser_is_word_here(const struct parser *parser)
{
    return parser->token.kind == TOKEN_WORD &&
           find_row(parser->block, parser->token.text, NULL) != NULL;
}

/* After an error: to where the next statement begins. Blocks on the way are passed over. */
static void recover(struct parser *parser)
{
    unsigned depth = 0;
    while (parser->token.kind != TOKEN_END) {
        bool new_line = parser->token.place.line != parser->statement.line;
        if (parser->token.kind == TOKEN_OPEN)
            depth++;
        else if (depth == 0 &&
                 (new_line || parser->token.kind == TOKEN_CLOSE || parser_is_word_here(parser)))
            return;
        else if (parser->token.kind == TOKEN_CLOSE && --depth == 0) {
            parser_next(parser);
            return;
        }
        parser_next(parser);
    }
}

/* ---- words ---------------------------------------------------------------------------------- */

/* Which words of BLOCK_BOOT hold. */
static uint32_t boot_of(const struct scope *scope)
{
    return scope->block == BLOCK_BOOT ? ((const struct plan_partition *)scope->object)->boot : 0;
}

static void complain_of_word(struct parser *parser, const struct scope *scope)
{
    const struct token *token = &parser->token;
    const char *near = nearest_in_block(scope->block, boot_of(scope), NULL, token->text);
    const struct schema_row *elsewhere = find_row(BLOCK_NONE, token->text, NULL);
    if (token->kind == TOKEN_BAD)
        parser_complain(parser, &token->place, "%s", token->problem);
    else if (token->kind == TOKEN_OPEN)
        parser_complain(parser, &token->place,
                        "no block can stand here. Take it away, or put a word before it.");
    else if (token->kind == TOKEN_TEXT || (token->text[0] >= '0' && token->text[0] <= '9'))
        parser_complain(parser, &token->place,
                        "`%s` is one value too many. Take it away, or put a word before it.",
                        token->text);
    else if (elsewhere && elsewhere->block == BLOCK_FILE)
        parser_complain(parser, &token->place,
                        "`%s` stands outside of all blocks. Move it there, or close this block "
                        "with } before it.",
                        token->text);
    else if (elsewhere)
        parser_complain(parser, &token->place, "`%s` stands in a block `%s`. Move it there.",
                        token->text, schema_block_names[elsewhere->block]);
    else if (near)
        parser_complain(parser, &token->place, "the word `%s` is not known. Did you mean `%s`?",
                        token->text, near);
    else
        parser_complain(parser, &token->place,
                        "the word `%s` is not known. `septum words` lists those that are.",
                        token->text);
}

/* The row of the word at the parser, which is passed over with its second word; NULL: error. */
static const struct schema_row *read_word(struct parser *parser, const struct scope *scope)
{
    const struct schema_row *row = NULL;
    if (parser->token.kind == TOKEN_WORD)
        row = find_row(scope->block, parser->token.text, NULL);
    if (!row) {
        complain_of_word(parser, scope);
        return NULL;
    }
    if (!schema_row_applies(row, boot_of(scope))) {
        boot_complain_of_word(parser, row, boot_of(scope));
        parser_next(parser);
        return NULL;
    }
    print_buffer(parser->word, sizeof parser->word, "%s", row->word);
    parser_next(parser);
    if (!row->second)
        return row;
    const char *example = row->second;
    if (!parser_has_value(parser)) {
        parser_complain_missing(parser,
                                "`%s` needs another word on its line. Write it as in `%s %s`.",
                                parser->word, parser->word, example);
        return NULL;
    }
    row = find_row(scope->block, parser->word, parser->token.text);
    if (!row) {
        const char *near =
            nearest_in_block(scope->block, boot_of(scope), parser->word, parser->token.text);
        parser_complain(parser, &parser->token.place, "`%s %s` is not known. Did you mean `%s %s`?",
                        parser->word, parser->token.text, parser->word, near ? near : example);
        return NULL;
    }
    print_buffer(parser->word, sizeof parser->word, "%s %s", row->word, row->second);
    parser_next(parser);
    return row;
}

/* ---- defaults ------------------------------------------------------------------------------- */

void parser_fill_defaults(struct parser *parser, enum schema_block block, void *object)
{
    struct lexer *outer = parser->lexer;
    struct plan_place statement = parser->statement;
    enum schema_block outer_block = parser->block;
    parser->block = block;
    parser->kept_token = parser->token;
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        struct lexer lexer;
        if (row->block != block || !row->initial)
            continue;
        lexer_begin(&lexer, 0, row->initial, strlen(row->initial));
        parser->lexer = &lexer;
        parser->statement.line = 1;
        parser_next(parser);
        value_read(parser, row, object);
    }
    parser->lexer = outer;
    parser->block = outer_block;
    parser->statement = statement;
    parser->token = parser->kept_token;
}

/* ---- statements and blocks ------------------------------------------------------------------ */

static void read_block(struct parser *parser, struct scope *scope);
static bool read_include(struct parser *parser);

static bool note_first(struct parser *parser, struct scope *scope, const struct schema_row *row,
                       const struct plan_place *place)
{
    struct plan_place *first = &scope->first[row - schema_rows];
    char line[PLAN_PATH_MAX + 16];
    if (first->line && !row->repeats) {
        parser_print_line(parser, first, place, line, sizeof line);
        parser_complain(parser, place, "`%s` is said twice, first in %s. Take one away.",
                        parser->word, line);
        return false;
    }
    *first = *place;
    if (scope->block == BLOCK_PARTITION || scope->block == BLOCK_BOOT || scope->block == BLOCK_TASK)
        parser->places[parser->partition ? parser->partition - parser->plan->partitions
                                         : PLAN_PARTITIONS_MAX][row - schema_rows] = *place;
    return true;
}

/* Is everything said that must be? What a kind of boot needs is looked for when all is known: boot_check. */
static void check_required(struct parser *parser, const struct scope *scope)
{
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        if (row->block != scope->block || row->block == BLOCK_BOOT || !row->required ||
            scope->first[i].line || parser->in_default)
            continue;
        if (row->opens == BLOCK_BOOT && parser->defaults.boot != PLAN_BOOT_NONE)
            continue;
        if (row->opens == BLOCK_BOOT)
            parser_complain(parser, &scope->opened,
                            "nothing says how it boots. Add: boot linux { kernel \"PATH\" }");
        else
            parser_complain(parser, &scope->opened, "`%s` has no `%s`. Add: %s %s",
                            schema_block_names[scope->block], row->word, row->word,
                            schema_example(row));
    }
}

/* The block behind a statement, into `object`. */
bool parser_read_block(struct parser *parser, enum schema_block block, void *object,
                       const struct plan_place *opened, bool *failed)
{
    struct scope scope = {.block = block, .object = object, .opened = *opened};
    enum schema_block outer = parser->block;
    if (parser->token.kind != TOKEN_OPEN) {
        parser_complain_missing(parser, "`%s` needs a block. Write { behind it, and } at its end.",
                                parser->word);
        return false;
    }
    parser_next(parser);
    parser->block = block;
    read_block(parser, &scope);
    parser->block = outer;
    if (parser->token.kind != TOKEN_CLOSE) {
        if (!parser->broken_off)
            parser_complain(parser, opened, "its block is not closed. Put a } at its end.");
        parser->broken_off = true;
        return false;
    }
    parser_next(parser);
    if (!scope.failed)
        check_required(parser, &scope);
    *failed |= scope.failed;
    return true;
}

static bool check_name(struct parser *parser, const char *name, const struct plan_place *place)
{
    char line[PLAN_PATH_MAX + 16];
    if (services_is_server(name) || strcmp(name, "system") == 0) {
        parser_complain(parser, place, "the name `%s` is Septum's own. Choose another.", name);
        return false;
    }
    for (unsigned i = 0; i < parser->plan->partition_count; i++) {
        const struct plan_partition *other = &parser->plan->partitions[i];
        if (strcmp(other->name, name) == 0) {
            parser_print_line(parser, &other->place, place, line, sizeof line);
            parser_complain(parser, place,
                            "there is a %s of this name already, in %s. Choose another name.",
                            parser_kind(other), line);
            return false;
        }
    }
    if (parser->plan->partition_count == PLAN_PARTITIONS_MAX) {
        parser_complain(parser, place,
                        "this is one partition more than the %u that there can be. "
                        "Take one away.",
                        PLAN_PARTITIONS_MAX);
        return false;
    }
    return true;
}

const char *parser_kind(const struct plan_partition *partition)
{
    return partition->boot == PLAN_BOOT_PROGRAM ? "task" : "partition";
}

/* What stands at the name behind `partition` or `task` begins as `model`. */
static bool read_partition(struct parser *parser, const struct plan_partition *model, bool *failed)
{
    struct plan_place place = parser->statement, name_place = parser->token.place;
    char name[PLAN_NAME_MAX];
    bool is_task = model->boot == PLAN_BOOT_PROGRAM;
    if (!value_read_name(parser, name))
        return false;
    print_buffer(parser->subject, sizeof parser->subject, "%s \"%s\": ", parser_kind(model), name);
    if (!check_name(parser, name, &name_place))
        return false;
    unsigned n = parser->plan->partition_count++;
    struct plan_partition *partition = &parser->plan->partitions[n];
    parser->partition = partition;
    *partition = *model;
    memcpy(partition->name, name, sizeof name);
    partition->place = place;
    memset(parser->places[n], 0, sizeof parser->places[n]);
    if (!is_task)
        memcpy(parser->places[n], parser->places[PLAN_PARTITIONS_MAX], sizeof parser->places[n]);
    bool good = parser_read_block(parser, is_task ? BLOCK_TASK : BLOCK_PARTITION, partition, &place,
                                  failed);
    if (is_task)
        partition->cpu_mask = 1ull << partition->cpu;
    return good;
}

static bool read_task(struct parser *parser, bool *failed)
{
    static struct plan_partition model;
    memset(&model, 0, sizeof model);
    model.boot = PLAN_BOOT_PROGRAM;
    model.console = PLAN_CONSOLE_VIRTIO;
    parser_fill_defaults(parser, BLOCK_TASK, &model);
    return read_partition(parser, &model, failed);
}

static bool read_default(struct parser *parser, bool *failed)
{
    struct plan_place place = parser->statement;
    print_buffer(parser->subject, sizeof parser->subject, "default partition: ");
    parser->in_default = true;
    bool good = parser_read_block(parser, BLOCK_PARTITION, &parser->defaults, &place, failed);
    parser->in_default = false;
    return good;
}

static bool read_machine(struct parser *parser, bool *failed)
{
    struct plan_place place = parser->statement;
    print_buffer(parser->subject, sizeof parser->subject, "machine: ");
    return parser_read_block(parser, BLOCK_MACHINE, parser->plan, &place, failed);
}

/* One statement outside of all blocks. */
static bool read_file_statement(struct parser *parser, const struct schema_row *row, bool *failed)
{
    parser->block_column = parser->statement.column;
    bool good;
    if (row->kind == VALUE_PATH)
        good = read_include(parser);
    else if (row->kind == VALUE_NONE && row->opens == BLOCK_PARTITION)
        good = read_default(parser, failed);
    else
        switch (row->opens) {
        case BLOCK_SERVER: good = services_read_server(parser, failed); break;
        case BLOCK_VOLUME: good = services_read_volume(parser, failed); break;
        case BLOCK_NETWORK: good = services_read_network(parser, failed); break;
        case BLOCK_MACHINE: good = read_machine(parser, failed); break;
        case BLOCK_TASK: good = read_task(parser, failed); break;
        default: good = read_partition(parser, &parser->defaults, failed);
        }
    parser->partition = NULL;
    parser->broken_off = false;
    return good;
}

static bool read_statement(struct parser *parser, struct scope *scope)
{
    parser->statement = parser->token.place;
    struct plan_place place = parser->statement;
    if (scope->block == BLOCK_FILE)
        parser->subject[0] = 0;
    const struct schema_row *row = read_word(parser, scope);
    if (!row || !note_first(parser, scope, row, &place))
        return false;
    if (scope->block == BLOCK_FILE)
        return read_file_statement(parser, row, &scope->failed);
    if (row->kind == VALUE_DISK || row->kind == VALUE_CDROM || row->kind == VALUE_FLOPPY ||
        row->kind == VALUE_CARD)
        return services_read_use(parser, row, &scope->failed);
    if (row->opens == BLOCK_BOOT)
        return boot_read(parser, row, scope->object, &scope->failed);
    return value_read(parser, row, scope->object);
}

/* A word that begins something new at the margin: the block before it was not closed. */
static bool is_broken_off(const struct parser *parser)
{
    return parser->block != BLOCK_FILE && parser->token.kind == TOKEN_WORD &&
           parser->token.place.column <= parser->block_column && !parser_is_word_here(parser) &&
           find_row(BLOCK_FILE, parser->token.text, NULL);
}

/* Statements up to the end of the block or of the file. */
static void read_block(struct parser *parser, struct scope *scope)
{
    while (parser->token.kind != TOKEN_END && !is_broken_off(parser)) {
        if (parser->token.kind == TOKEN_CLOSE && scope->block != BLOCK_FILE)
            return;
        if (parser->token.kind == TOKEN_CLOSE) {
            parser->subject[0] = 0;
            parser_complain(parser, &parser->token.place,
                            "there is no block that this } could close. Take it away.");
            parser_next(parser);
        } else if (!read_statement(parser, scope)) {
            scope->failed = true;
            if (!parser->broken_off)
                recover(parser);
            else if (scope->block != BLOCK_FILE)
                return; /* the word that stands here belongs outside, also if there is one like it here */
        }
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

bool parser_join(const struct parser *parser, uint32_t file, const char *path, char *joined)
{
    const char *from = parser->plan->files[file];
    size_t folder = 0, length = strlen(path);
    for (size_t i = 0; from[i] && path[0] != '/'; i++)
        if (from[i] == '/')
            folder = i + 1;
    if (folder + length > PARTITION_PATH_LONGEST)
        return false;
    memcpy(joined, from, folder);
    memcpy(joined + folder, path, length + 1);
    return true;
}

/* Reads a file whose path is the next one of plan->files. False: it is not there. */
static bool read_file(struct parser *parser)
{
    const char *text;
    size_t size_bytes;
    uint32_t file = parser->plan->file_count;
    struct lexer lexer;
    if (!parser->reader->read(parser->reader, parser->plan->files[file], &text, &size_bytes))
        return false;
    parser->plan->file_count++;
    lexer_begin(&lexer, file, text, size_bytes);
    parser->lexer = &lexer;
    parser_next(parser);
    parser->block = BLOCK_FILE;
    read_block(parser, parser->file_scope);
    return true;
}

static bool is_new_file(struct parser *parser, const char *path, const struct plan_place *place)
{
    char line[PLAN_PATH_MAX + 16];
    for (uint32_t i = 0; i < parser->plan->file_count; i++) {
        if (strcmp(parser->plan->files[i], path) != 0)
            continue;
        parser_print_line(parser, &parser->included_at[i], place, line, sizeof line);
        if (i == 0)
            parser_complain(parser, place,
                            "%s is the file that everything begins with. Take this line away.",
                            path);
        else
            parser_complain(parser, place, "%s is included already, in %s. Take one away.", path,
                            line);
        return false;
    }
    return true;
}

static bool read_include(struct parser *parser)
{
    struct plan *plan = parser->plan;
    struct plan_place place = parser->token.place;
    char *path = plan->files[plan->file_count % PLAN_FILES_MAX];
    if (plan->file_count == PLAN_FILES_MAX) {
        parser_complain(parser, &place,
                        "this is one file more than the %u that there can be. Put two together.",
                        PLAN_FILES_MAX);
        return false;
    }
    if (!value_read_path(parser, path) || !is_new_file(parser, path, &place))
        return false;
    if (parser->depth == INCLUDE_DEPTH_MAX) {
        parser_complain(parser, &place,
                        "files are included %u deep at most. Include this one further up.",
                        INCLUDE_DEPTH_MAX);
        return false;
    }
    parser->included_at[plan->file_count] = place;
    /* The path is the last token that was read of this file. */
    struct lexer *outer = parser->lexer;
    parser->depth++;
    bool found = read_file(parser);
    parser->depth--;
    parser->lexer = outer;
    parser->subject[0] = 0;
    if (!found)
        parser_complain(parser, &place,
                        "%s is not there. Check the path: it begins in the folder of this file.",
                        path);
    parser_next(parser);
    return true;
}

bool partition_parse(struct plan *plan, const char *path, struct partition_reader *reader,
                     const struct partition_machine *machine, struct partition_errors *errors)
{
    struct parser *parser = &the_parser;
    struct scope file_scope = {.block = BLOCK_FILE};
    memset(plan, 0, sizeof *plan);
    memset(parser, 0, sizeof *parser);
    parser->plan = plan;
    parser->reader = reader;
    parser->errors = errors;
    parser->file_scope = &file_scope;
    errors->count = 0;
    services_server(parser, "console");
    parser_fill_defaults(parser, BLOCK_PARTITION, &parser->defaults);
    parser_fill_defaults(parser, BLOCK_BOOT, &parser->defaults);
    parser_fill_defaults(parser, BLOCK_MACHINE, plan);
    print_buffer(plan->files[0], sizeof plan->files[0], "%s", path);
    const struct plan_place start = {0, 1, 1};
    if (strlen(path) > PARTITION_PATH_LONGEST)
        parser_complain(parser, &start, "this path is longer than %u characters. Shorten it.",
                        PARTITION_PATH_LONGEST);
    else if (!read_file(parser))
        parser_complain(parser, &start, "this file is not there. Check its path.");
    else
        check_plan(parser, machine);
    return errors->count == 0;
}
