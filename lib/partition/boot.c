/* `boot` and the words of its block, each of which goes with some kinds of boot only. */
#include "parser.h"

#include "print.h"
#include "string.h"

static void *field_of(const struct schema_row *row, struct plan_partition *partition)
{
    return (char *)partition + row->offset;
}

/* What was said for another kind, in `default partition`, does not hold for this one. */
static void forget_other_kind(struct plan_partition *partition, uint32_t before)
{
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        if (row->block == BLOCK_BOOT && schema_row_applies(row, before) &&
            !schema_row_applies(row, partition->boot) && row->kind != VALUE_MODULE &&
            row->kind != VALUE_ORDER)
            *(char *)field_of(row, partition) = 0;
    }
}

/* A word that must be said in the block of this kind, or NULL. */
static const struct schema_row *required_row(uint32_t boot)
{
    for (unsigned i = 0; i < schema_row_count; i++)
        if (schema_rows[i].block == BLOCK_BOOT && schema_rows[i].required &&
            schema_row_applies(&schema_rows[i], boot))
            return &schema_rows[i];
    return NULL;
}

bool boot_read(struct parser *parser, const struct schema_row *row,
               struct plan_partition *partition, bool *failed)
{
    struct plan_place place = parser->statement;
    uint32_t before = partition->boot;
    if (!value_read(parser, row, partition))
        return false;
    forget_other_kind(partition, before);
    if (partition->boot == PLAN_BOOT_NONE ||
        (parser->token.kind != TOKEN_OPEN && !required_row(partition->boot)))
        return true;
    bool mistaken = false;
    bool good = parser_read_block(parser, BLOCK_BOOT, partition, &place, &mistaken);
    if ((mistaken || !good) && parser->partition)
        parser->boot_failed |= 1u << (parser->partition - parser->plan->partitions);
    *failed |= mistaken;
    return good;
}

void boot_complain_of_word(struct parser *parser, const struct schema_row *row, uint32_t boot)
{
    char words[160] = "";
    unsigned kind = (unsigned)__builtin_ctz(row->boots);
    for (unsigned i = 0; i < schema_row_count; i++)
        if (schema_rows[i].block == BLOCK_BOOT && schema_row_applies(&schema_rows[i], boot)) {
            size_t used = strlen(words);
            print_buffer(words + used, sizeof words - used, "%s`%s`", used ? ", " : "",
                         schema_rows[i].word);
        }
    parser_complain(parser, &parser->token.place,
                    "`%s` does not go with `boot %s`, which takes %s. Take it away, or write "
                    "`boot %s`.",
                    row->word, schema_boots[boot], words, schema_boots[kind]);
}

static bool missing(struct parser *parser, const struct schema_row *row)
{
    parser_complain_missing(parser, "`%s` needs %s on its line. Write it as in `%s %s`.", row->word,
                            schema_forms[row->kind].name, row->word, schema_example(row));
    return false;
}

bool boot_read_module(struct parser *parser, const struct schema_row *row,
                      struct plan_partition *partition)
{
    struct plan_module *module = &partition->modules[partition->module_count];
    if (parser->in_default) {
        parser_complain(parser, &parser->statement,
                        "`module` can't stand in `default partition`. Write it in each "
                        "partition.");
        return false;
    }
    if (partition->module_count == PLAN_MODULES_MAX) {
        parser_complain(parser, &parser->statement,
                        "this is one `module` more than the %u that a kernel can have. Take one "
                        "away.",
                        PLAN_MODULES_MAX);
        return false;
    }
    if (!parser_has_value(parser))
        return missing(parser, row);
    if (!value_read_path(parser, module->file))
        return false;
    parser_next(parser);
    module->text[0] = 0;
    if (parser_has_value(parser) && parser->token.kind == TOKEN_TEXT) {
        if (strlen(parser->token.text) >= sizeof module->text) {
            parser_complain(parser, &parser->token.place,
                            "the text of this module has %lu characters. Use at most %u.",
                            strlen(parser->token.text), PLAN_MODULE_TEXT_MAX - 1);
            return false;
        }
        memcpy(module->text, parser->token.text, strlen(parser->token.text) + 1);
        parser_next(parser);
    }
    partition->module_count++;
    return true;
}

/* Words up to the end of the line, each once. */
bool boot_read_order(struct parser *parser, const struct schema_row *row, char *order)
{
    unsigned count = 0;
    if (!parser_has_value(parser))
        return missing(parser, row);
    memset(order, 0, sizeof((struct plan_partition *)0)->boot_order);
    do {
        uint32_t which;
        struct plan_place place = parser->token.place;
        if (!value_read_choice(parser, schema_orders, &which))
            return false;
        for (unsigned i = 0; i < count; i++) {
            if (order[i] != schema_order_letters[which])
                continue;
            parser_complain(parser, &place, "`%s` is named twice. Name it once.",
                            schema_orders[which]);
            return false;
        }
        order[count++] = schema_order_letters[which];
    } while (parser_has_value(parser) && !parser_is_word_here(parser));
    return true;
}

void boot_check(struct parser *parser, unsigned n)
{
    struct plan_partition *partition = &parser->plan->partitions[n];
    const struct plan_place *places = parser->places[n];
    const struct schema_row *row = required_row(partition->boot);
    const struct plan_place *boot = &places[find_row(BLOCK_PARTITION, "boot", NULL) - schema_rows];
    const struct plan_place *test =
        &places[find_row(BLOCK_PARTITION, "test-device", NULL) - schema_rows];
    if (!boot->line)
        boot = &partition->place;
    if (!test->line)
        test = &partition->place;
    if (row && !*(const char *)field_of(row, partition) && !(parser->boot_failed >> n & 1))
        parser_complain(parser, boot, "`boot %s` has no `%s`. Add: %s %s",
                        schema_boots[partition->boot], row->word, row->word, schema_example(row));
    if (partition->boot == PLAN_BOOT_UEFI && partition->board != PLAN_BOARD_PC)
        parser_complain(parser, boot,
                        "UEFI firmware needs PCI and a PC's other devices. Add to this partition: "
                        "board pc");
    if (partition->boot == PLAN_BOOT_LINUX && partition->entry == PLAN_ENTRY_16 &&
        partition->board != PLAN_BOARD_PC)
        parser_complain(parser, boot,
                        "the 16-bit entry needs a BIOS, which a `pc` has. Add to this partition: "
                        "board pc");
    if (partition->test_device && partition->board != PLAN_BOARD_PC)
        parser_complain(parser, test,
                        "only a `pc` has the test device. Add: board pc, or take it away.");
}
