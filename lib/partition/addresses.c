/* Addresses of networks: Ethernet and IPv4. */
#include "parser.h"

#include "string.h"

/* "10.0.0.1", up to its end or to *rest. */
static bool read_ip(const char *text, uint32_t *ip, const char **rest)
{
    uint64_t part;
    for (unsigned i = 0; i < 4; i++) {
        if (!value_read_digits(text, &part, rest) || part > 255 || (i < 3 && **rest != '.'))
            return false;
        *ip = *ip << 8 | (uint32_t)part;
        text = *rest + 1;
    }
    return true;
}

static bool complain(struct parser *parser, const char *what, const char *example)
{
    if (parser_has_value(parser))
        parser_complain(parser, &parser->token.place, "`%s` is no %s. Write it as in `%s %s`.",
                        parser->token.text, what, parser->word, example);
    else
        parser_complain_missing(parser, "`%s` needs an %s on its line. Write it as in `%s %s`.",
                                parser->word, what, parser->word, example);
    return false;
}

static bool read_host(struct parser *parser, uint32_t *field)
{
    uint32_t ip = 0;
    uint64_t bits;
    const char *rest;
    const char *text = parser->token.text;
    if (!parser_has_value(parser))
        return complain(parser, "address", "10.0.0.1/24");
    field[0] = PLAN_HOST_NONE;
    field[1] = field[2] = 0;
    if (strcmp(text, "dhcp") == 0) {
        field[0] = PLAN_HOST_DHCP;
    } else if (strcmp(text, "none") != 0) {
        if (!read_ip(text, &ip, &rest) || *rest != '/' ||
            !value_read_digits(rest + 1, &bits, &rest) || *rest || bits < 8 || bits > 30)
            return complain(parser, "address with the length of its network, 8 to 30",
                            "10.0.0.1/24");
        uint32_t mask = UINT32_MAX << (32 - bits);
        if ((ip & ~mask) == 0 || (ip & ~mask) == ~mask || ip >> 24 == 0 || ip >> 24 >= 224 ||
            ip >> 24 == 127)
            return complain(parser, "address that a machine can have", "10.0.0.1/24");
        field[0] = PLAN_HOST_STATIC;
        field[1] = ip;
        field[2] = mask;
    }
    parser_next(parser);
    return true;
}

static bool read_gateway(struct parser *parser, uint32_t *field)
{
    uint32_t ip = 0;
    const char *rest;
    if (!parser_has_value(parser))
        return complain(parser, "address", "10.0.0.1");
    if (strcmp(parser->token.text, "none") != 0 &&
        (!read_ip(parser->token.text, &ip, &rest) || *rest || ip == 0))
        return complain(parser, "address", "10.0.0.1");
    *field = ip;
    parser_next(parser);
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

static bool read_mac(struct parser *parser, uint64_t *field)
{
    const char *text = parser->token.text;
    uint64_t mac = 0;
    bool good = parser_has_value(parser) && strlen(text) == 17;
    for (unsigned i = 0; good && i < 17; i++) {
        if (i % 3 == 2)
            good = text[i] == ':';
        else
            good = hex_digit(text[i]) >= 0;
        if (good && i % 3 != 2)
            mac = mac << 4 | (uint64_t)hex_digit(text[i]);
    }
    if (!good)
        return complain(parser, "Ethernet address", "02:00:00:00:00:01");
    if (mac >> 40 & 1 || mac == 0) {
        parser_complain(parser, &parser->token.place,
                        "%s is not the address of one card. Give one whose second digit is even, "
                        "such as 02:00:00:00:00:01.",
                        text);
        return false;
    }
    *field = mac;
    parser_next(parser);
    return true;
}

static bool read_port(const char *text, uint32_t *port)
{
    uint64_t value;
    const char *rest;
    if (!value_read_digits(text, &value, &rest) || *rest || value == 0 || value > 65535)
        return false;
    *port = (uint32_t)value;
    return true;
}

static bool read_forward(struct parser *parser, struct plan *plan)
{
    static const char example[] = "8080 10.0.2.20:80";
    struct plan_forward forward = {0};
    const char *rest;
    if (plan->machine_forward_count == PLAN_FORWARDS_MAX) {
        parser_complain(parser, &parser->statement,
                        "this is one `forward` more than the %u that there can be. Take one away.",
                        PLAN_FORWARDS_MAX);
        return false;
    }
    if (!parser_has_value(parser) || !read_port(parser->token.text, &forward.host_port))
        return complain(parser, "port, 1 to 65535", example);
    parser_next(parser);
    if (!parser_has_value(parser) || !read_ip(parser->token.text, &forward.address, &rest) ||
        *rest != ':' || !read_port(rest + 1, &forward.port))
        return complain(parser, "address with a port", example);
    parser_next(parser);
    plan->machine_forwards[plan->machine_forward_count++] = forward;
    return true;
}

bool address_read(struct parser *parser, const struct schema_row *row, void *field)
{
    switch (row->kind) {
    case VALUE_MAC: return read_mac(parser, field);
    case VALUE_HOST: return read_host(parser, field);
    case VALUE_FORWARD: return read_forward(parser, field);
    default: return read_gateway(parser, field);
    }
}
