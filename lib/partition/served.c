/* The files that networks serve: `serve` and `boot-file`. */
#include "parser.h"

#include "string.h"

/* Nothing that a URL writes otherwise. */
static bool is_good_name(const char *name)
{
    for (const char *c = name; *c; c++)
        if (!(*c >= 'a' && *c <= 'z') && !(*c >= 'A' && *c <= 'Z') && !(*c >= '0' && *c <= '9') &&
            *c != '.' && *c != '-' && *c != '_')
            return false;
    return name[0] && name[0] != '.' && strlen(name) < PLAN_SERVED_NAME_MAX;
}

static bool missing(struct parser *parser, const struct schema_row *row)
{
    parser_complain_missing(parser, "`%s` needs %s on its line. Write it as in `%s %s`.", row->word,
                            schema_forms[row->kind].name, row->word, schema_example(row));
    return false;
}

static bool read_name(struct parser *parser, const struct schema_row *row, char *name)
{
    if (!parser_has_value(parser))
        return missing(parser, row);
    if (!is_good_name(parser->token.text)) {
        parser_complain(
            parser, &parser->token.place,
            "no file can be served by this name. Use letters, digits, `.`, `-` and `_`, "
            "no `.` first, and at most %u of them.",
            PLAN_SERVED_NAME_MAX - 1);
        return false;
    }
    memcpy(name, parser->token.text, strlen(parser->token.text) + 1);
    parser_next(parser);
    return true;
}

static bool read_file(struct parser *parser, const struct schema_row *row,
                      const struct plan_network *network)
{
    struct plan *plan = parser->plan;
    if (plan->served_count == PLAN_SERVED_MAX) {
        parser_complain(parser, &parser->statement,
                        "this is one `serve` more than the %u that there can be in all. Take one "
                        "away.",
                        PLAN_SERVED_MAX);
        return false;
    }
    struct plan_served *served = &plan->served[plan->served_count];
    struct plan_place place = parser->token.place;
    served->network = (uint32_t)(network - plan->networks);
    served->place = parser->statement;
    if (!read_name(parser, row, served->name))
        return false;
    for (const struct plan_served *other = plan->served; other < served; other++)
        if (other->network == served->network && strcmp(other->name, served->name) == 0) {
            parser_complain(parser, &place,
                            "it serves a file of this name already. Choose another name.");
            return false;
        }
    if (!parser_has_value(parser))
        return missing(parser, row);
    if (!value_read_path(parser, served->file))
        return false;
    parser_next(parser);
    plan->served_count++;
    return true;
}

bool served_read(struct parser *parser, const struct schema_row *row, struct plan_network *network)
{
    if (row->kind == VALUE_SERVED)
        return read_name(parser, row, network->boot_file);
    return read_file(parser, row, network);
}

void served_check(struct parser *parser, const struct plan_network *network)
{
    const struct plan *plan = parser->plan;
    const char *names[PLAN_SERVED_MAX + 1] = {0};
    unsigned count = 0;
    bool there = false;
    for (const struct plan_served *at = plan->served; at < plan->served + plan->served_count;
         at++) {
        const char *problem = NULL;
        if (at->network != network - plan->networks)
            continue;
        names[count++] = at->name;
        there |= strcmp(at->name, network->boot_file) == 0;
        if (parser->reader->check_image)
            problem = parser->reader->check_image(parser->reader, at->file, PARTITION_IMAGE_ANY);
        if (problem)
            parser_complain(parser, &at->place, "serve: %s", problem);
    }
    if (count && !network->http_port)
        parser_complain(parser, &network->place,
                        "`serve` needs a port of Septum's web server. Add: http 80");
    if (!network->boot_file[0])
        return;
    const char *near = nearest_word(network->boot_file, names);
    if (!there && near)
        parser_complain(parser, &network->place,
                        "its `boot-file` is no file that it serves. Did you mean \"%s\"?", near);
    else if (!there)
        parser_complain(parser, &network->place,
                        "its `boot-file` is no file that it serves. Add: serve \"%s\" \"PATH\"",
                        network->boot_file);
    else if (!network->dhcp)
        parser_complain(parser, &network->place,
                        "`boot-file` is told by DHCP. Add: dhcp yes, or take it away.");
}
