/* Values: from tokens to fields. */
#include "parser.h"

#include "print.h"
#include "string.h"

#define MIB (UINT64_C(1) << 20)

struct unit {
    const char *suffix;
    uint64_t factor;
};
static const struct unit sizes[] = {
    {"K", UINT64_C(1) << 10}, {"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30}, {0}};
static const struct unit times[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {0}};

static bool missing(struct parser *parser, const char *what, const char *example)
{
    parser_complain_missing(parser, "`%s` needs %s on its line. Write it as in `%s %s`.",
                            parser->word, what, parser->word, example);
    return false;
}

/* Digits and no more, up to 10^15; *rest becomes what follows them. */
bool value_read_digits(const char *text, uint64_t *value, const char **rest)
{
    const char *c = text;
    for (*value = 0; *c >= '0' && *c <= '9'; c++) {
        *value = *value * 10 + (uint64_t)(*c - '0');
        if (*value > UINT64_C(1000000000000000))
            return false;
    }
    *rest = c;
    return c != text;
}

static bool read_unit(const char *text, const struct unit *units, uint64_t *value)
{
    const char *suffix;
    if (!value_read_digits(text, value, &suffix))
        return false;
    for (; units->suffix; units++)
        if (strcmp(units->suffix, suffix) == 0 && *value <= UINT64_MAX / units->factor) {
            *value *= units->factor;
            return true;
        }
    return false;
}

static bool in_range(struct parser *parser, const struct schema_row *row, uint64_t value)
{
    char low[32], high[32];
    if (value >= row->low && value <= row->high)
        return true;
    if (row->kind == VALUE_SIZE || row->kind == VALUE_RATE) {
        schema_print_size(row->low, low, sizeof low);
        schema_print_size(row->high, high, sizeof high);
    } else {
        print_buffer(low, sizeof low, "%lu", row->low);
        print_buffer(high, sizeof high, "%lu", row->high);
    }
    parser_complain(parser, &parser->token.place, "%s %s is too %s. Give at %s %s.", parser->word,
                    parser->token.text, value < row->low ? "little" : "much",
                    value < row->low ? "least" : "most", value < row->low ? low : high);
    return false;
}

static bool read_number(struct parser *parser, const struct schema_row *row, uint32_t *field)
{
    uint64_t value;
    const char *rest;
    if (!parser_has_value(parser))
        return missing(parser, "a number", row->initial ? row->initial : "1");
    if (!value_read_digits(parser->token.text, &value, &rest) || *rest) {
        parser_complain(parser, &parser->token.place,
                        "`%s` is no number. Write digits alone, from %lu to %lu.",
                        parser->token.text, row->low, row->high);
        return false;
    }
    if (!in_range(parser, row, value))
        return false;
    *field = (uint32_t)value;
    parser_next(parser);
    return true;
}

static bool is_none(struct parser *parser)
{
    if (!parser_has_value(parser) || strcmp(parser->token.text, "none") != 0)
        return false;
    parser_next(parser);
    return true;
}

static bool read_index(struct parser *parser, const struct schema_row *row, uint32_t *field)
{
    *field = PLAN_DISK_NONE;
    return is_none(parser) || read_number(parser, row, field);
}

static bool read_rate(struct parser *parser, const struct schema_row *row, uint64_t *field)
{
    uint64_t value = 0;
    if (!parser_has_value(parser))
        return missing(parser, "a rate", "10M");
    if (!is_none(parser)) {
        if (!read_unit(parser->token.text, sizes, &value)) {
            parser_complain(parser, &parser->token.place,
                            "`%s` is no rate. Write how much in a second, such as 10M, or `none`.",
                            parser->token.text);
            return false;
        }
        if (!in_range(parser, row, value))
            return false;
        parser_next(parser);
    }
    *field = value;
    return true;
}

static bool read_size(struct parser *parser, const struct schema_row *row, uint64_t *field)
{
    uint64_t value;
    const char *rest;
    const char *text = parser->token.text;
    if (!parser_has_value(parser))
        return missing(parser, "a size", "128M");
    if (!read_unit(text, sizes, &value)) {
        if (value_read_digits(text, &value, &rest) && !*rest)
            parser_complain(parser, &parser->token.place,
                            "%s has no unit. Write %sM for MiB, or %sG for GiB.", text, text, text);
        else
            parser_complain(parser, &parser->token.place,
                            "`%s` is no size. Write a whole number with M or G behind it, such as "
                            "128M.",
                            text);
        return false;
    }
    if (!in_range(parser, row, value))
        return false;
    if (value % MIB) {
        parser_complain(parser, &parser->token.place,
                        "%s is no whole number of MiB. Give %luM or %luM.", text, value / MIB,
                        value / MIB + 1);
        return false;
    }
    *field = value;
    parser_next(parser);
    return true;
}

/* One of `0`, `0-1`. */
static bool read_cpu_range(struct parser *parser, const struct schema_row *row, uint64_t *mask)
{
    uint64_t first, last;
    const char *rest;
    const struct token *token = &parser->token;
    bool good = value_read_digits(token->text, &first, &rest);
    last = first;
    if (good && *rest == '-')
        good = value_read_digits(rest + 1, &last, &rest);
    if (!good || *rest) {
        parser_complain(parser, &token->place,
                        "`%s` names no CPUs. Write their numbers, such as 0, or 0-1, or 0 2.",
                        token->text);
    } else if (last < first) {
        parser_complain(parser, &token->place,
                        "the range %s goes backwards. Write the smaller number first.",
                        token->text);
    } else if (last > row->high) {
        parser_complain(parser, &token->place,
                        "CPU %lu is too high a number. The CPUs are 0 to %lu.", last, row->high);
    } else {
        for (uint64_t cpu = first; cpu <= last; cpu++) {
            if (*mask >> cpu & 1) {
                parser_complain(parser, &token->place, "CPU %lu is named twice. Name it once.",
                                cpu);
                return false;
            }
            *mask |= 1ull << cpu;
        }
        return true;
    }
    return false;
}

static bool read_cpus(struct parser *parser, const struct schema_row *row, uint64_t *field)
{
    uint64_t mask = 0;
    if (!parser_has_value(parser))
        return missing(parser, "CPUs", "0-1");
    /* A list: it ends with the first word that does not begin with a digit. */
    do {
        if (!read_cpu_range(parser, row, &mask))
            return false;
        parser_next(parser);
    } while (parser_has_value(parser) && parser->token.text[0] >= '0' &&
             parser->token.text[0] <= '9');
    *field = mask;
    return true;
}

static bool read_time(struct parser *parser, uint64_t *us)
{
    if (!parser_has_value(parser))
        return missing(parser, "a share of time", "5ms per 10ms");
    if (!read_unit(parser->token.text, times, us)) {
        parser_complain(parser, &parser->token.place,
                        "`%s` is no time. Write a whole number with us, ms or s behind it, such as "
                        "5ms.",
                        parser->token.text);
        return false;
    }
    return true;
}

static bool read_share(struct parser *parser, const struct schema_row *row, uint32_t *field)
{
    uint64_t budget, period;
    struct plan_place place = parser->token.place;
    if (parser_has_value(parser) && strcmp(parser->token.text, "none") == 0) {
        field[0] = field[1] = 0;
        parser_next(parser);
        return true;
    }
    if (!read_time(parser, &budget))
        return false;
    parser_next(parser);
    if (!parser_has_value(parser) || strcmp(parser->token.text, "per") != 0)
        return missing(parser, "`per` and a period", "5ms per 10ms");
    parser_next(parser);
    if (!read_time(parser, &period))
        return false;
    if (period < row->low || period > row->high)
        parser_complain(parser, &parser->token.place,
                        "the period %s can't be kept. Give one from 100us to 10s.",
                        parser->token.text);
    else if (budget == 0)
        parser_complain(parser, &place, "a share of no time would never run. Give at least 1us.");
    else if (budget > period)
        parser_complain(parser, &place,
                        "the share is longer than its period of %s. Give at most %s, or write "
                        "`share none` for no limit.",
                        parser->token.text, parser->token.text);
    else {
        field[0] = (uint32_t)budget;
        field[1] = (uint32_t)period;
        parser_next(parser);
        return true;
    }
    return false;
}

static void print_words(const char *const *words, char *text, size_t size_bytes)
{
    size_t used = 0;
    text[0] = 0;
    for (unsigned i = 0; words[i]; i++) {
        print_buffer(text + used, size_bytes - used, "%s`%s`",
                     i == 0         ? ""
                     : words[i + 1] ? ", "
                                    : " or ",
                     words[i]);
        used += strlen(text + used);
    }
}

bool value_read_choice(struct parser *parser, const char *const *words, uint32_t *field)
{
    char all[128];
    if (!parser_has_value(parser))
        return missing(parser, "a word", words[1]);
    for (unsigned i = 0; words[i]; i++)
        if (strcmp(parser->token.text, words[i]) == 0) {
            *field = i;
            parser_next(parser);
            return true;
        }
    const char *near = nearest_word(parser->token.text, words);
    print_words(words, all, sizeof all);
    if (near)
        parser_complain(parser, &parser->token.place, "`%s` does not know `%s`. Did you mean `%s`?",
                        parser->word, parser->token.text, near);
    else
        parser_complain(parser, &parser->token.place, "`%s` does not know `%s`. Write %s.",
                        parser->word, parser->token.text, all);
    return false;
}

static bool read_policy(struct parser *parser, struct plan_policy *policy)
{
    uint32_t action, limit = 0;
    if (!value_read_choice(parser, schema_actions, &action))
        return false;
    if (parser_has_value(parser) && parser->token.text[0] >= '0' && parser->token.text[0] <= '9') {
        const struct schema_row limits = {.low = 1, .high = 1000, .kind = VALUE_NUMBER};
        if (action != PLAN_ACTION_RESTART) {
            parser_complain(parser, &parser->token.place,
                            "`%s` takes no number. Take it away, or write `restart %s`.",
                            schema_actions[action], parser->token.text);
            return false;
        }
        if (!read_number(parser, &limits, &limit))
            return false;
    }
    *policy = (struct plan_policy){action, limit};
    return true;
}

bool value_read_path(struct parser *parser, char *field)
{
    if (!parser_has_value(parser))
        return missing(parser, "a path",
                       parser->block == BLOCK_FILE ? "\"shared.conf\"" : "\"vmlinuz\"");
    if (!parser->token.text[0]) {
        parser_complain(parser, &parser->token.place,
                        "the path is empty. Name a file, or leave `%s` out.", parser->word);
        return false;
    }
    if (!parser_join(parser, parser->token.place.file, parser->token.text, field)) {
        parser_complain(parser, &parser->token.place,
                        "this path is longer than %u characters. Move the file or shorten its "
                        "name.",
                        PARTITION_PATH_LONGEST);
        return false;
    }
    return true;
}

static bool read_path(struct parser *parser, char *field)
{
    if (!value_read_path(parser, field))
        return false;
    parser_next(parser);
    return true;
}

static bool read_paths(struct parser *parser, struct plan *plan)
{
    if (plan->machine_disk_count == PLAN_CARDS_MAX) {
        parser_complain(
            parser, &parser->statement,
            "this is one disk more than the %u that the emulator can have. Take one away.",
            PLAN_CARDS_MAX);
        return false;
    }
    if (!read_path(parser, plan->machine_disks[plan->machine_disk_count]))
        return false;
    plan->machine_disk_count++;
    return true;
}

static bool read_text(struct parser *parser, char *field)
{
    if (!parser_has_value(parser) || parser->token.kind != TOKEN_TEXT)
        return missing(parser, "a text in double quotes", "\"console=hvc0 quiet\"");
    memcpy(field, parser->token.text, PLAN_COMMAND_LINE_MAX);
    parser_next(parser);
    return true;
}

bool value_read_name(struct parser *parser, char *name)
{
    const char *text = parser->token.text;
    if (!parser_has_value(parser))
        return missing(parser, "a name", "web");
    bool good = text[0] >= 'a' && text[0] <= 'z';
    for (const char *c = text; *c; c++)
        good &= (*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '-';
    if (!good) {
        parser_complain(parser, &parser->token.place,
                        "`%s` is no name. Use lower-case letters, digits and -, a letter first.",
                        text);
        return false;
    }
    if (strlen(text) >= PLAN_NAME_MAX) {
        parser_complain(parser, &parser->token.place,
                        "the name `%s` has %lu characters. Use at most %u.", text, strlen(text),
                        PLAN_NAME_MAX - 1);
        return false;
    }
    memcpy(name, text, strlen(text) + 1);
    parser_next(parser);
    return true;
}

/* Names of partitions: kept until all are known. They end with the line. */
static bool read_names(struct parser *parser)
{
    if (parser->in_default) {
        parser_complain(parser, &parser->statement,
                        "`talk-to` can't stand in `default partition`. Write it in each "
                        "partition.");
        return false;
    }
    if (!parser_has_value(parser))
        return missing(parser, "the name of a partition", "db");
    do {
        if (parser->talk_count == TALKS_MAX) {
            parser_complain(parser, &parser->token.place,
                            "this is more than %u names behind `talk-to` in all. Name each pair "
                            "once: it holds both ways.",
                            TALKS_MAX);
            return false;
        }
        struct talk *talk = &parser->talks[parser->talk_count];
        talk->partition = (uint32_t)(parser->partition - parser->plan->partitions);
        talk->place = parser->token.place;
        if (!value_read_name(parser, talk->name))
            return false;
        parser->talk_count++;
    } while (parser_has_value(parser) && !parser_is_word_here(parser));
    return true;
}

bool value_read(struct parser *parser, const struct schema_row *row, void *object)
{
    void *field = (char *)object + row->offset;
    switch (row->kind) {
    case VALUE_NUMBER: return read_number(parser, row, field);
    case VALUE_SIZE: return read_size(parser, row, field);
    case VALUE_CPUS: return read_cpus(parser, row, field);
    case VALUE_SHARE: return read_share(parser, row, field);
    case VALUE_CHOICE: return value_read_choice(parser, row->choices, field);
    case VALUE_POLICY: return read_policy(parser, field);
    case VALUE_PATH: return read_path(parser, field);
    case VALUE_TEXT: return read_text(parser, field);
    case VALUE_NAMES: return read_names(parser);
    case VALUE_INDEX: return read_index(parser, row, field);
    case VALUE_RATE: return read_rate(parser, row, field);
    case VALUE_MAC:
    case VALUE_HOST:
    case VALUE_IP: return address_read(parser, row, field);
    case VALUE_FORWARD: return address_read(parser, row, object);
    case VALUE_MODULE: return boot_read_module(parser, row, object);
    case VALUE_ORDER: return boot_read_order(parser, row, field);
    case VALUE_SERVE:
    case VALUE_SERVED: return served_read(parser, row, object);
    case VALUE_PATHS: return read_paths(parser, object);
    default: return true;
    }
}
