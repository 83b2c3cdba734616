/* A field's value as one would write it in a partition file. */
#include "schema.h"

#include "print.h"
#include "string.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

void schema_print_size(uint64_t bytes, char *text, size_t size_bytes)
{
    if (bytes && bytes % GIB == 0)
        print_buffer(text, size_bytes, "%luG", bytes / GIB);
    else if (bytes % MIB == 0)
        print_buffer(text, size_bytes, "%luM", bytes / MIB);
    else
        print_buffer(text, size_bytes, "%luK", bytes / KIB);
}

static void print_time(uint32_t us, char *text, size_t size_bytes)
{
    if (us % 1000000 == 0)
        print_buffer(text, size_bytes, "%us", us / 1000000);
    else if (us % 1000 == 0)
        print_buffer(text, size_bytes, "%ums", us / 1000);
    else
        print_buffer(text, size_bytes, "%uus", us);
}

static void print_cpus(uint64_t mask, char *text, size_t size_bytes)
{
    size_t used = 0;
    text[0] = 0;
    for (unsigned first = 0; first < 64; first++) {
        unsigned last = first;
        if (!(mask >> first & 1))
            continue;
        while (last < 63 && mask >> (last + 1) & 1)
            last++;
        const char *blank = used ? " " : "";
        if (last > first)
            print_buffer(text + used, size_bytes - used, "%s%u-%u", blank, first, last);
        else
            print_buffer(text + used, size_bytes - used, "%s%u", blank, first);
        used += strlen(text + used);
        first = last;
    }
}

/* In quotes, as the lexer reads it. */
static void print_text(const char *value, char *text, size_t size_bytes)
{
    size_t used = 0;
    text[used++] = '"';
    for (; *value && used + 4 < size_bytes; value++) {
        if (*value == '"' || *value == '\\')
            text[used++] = '\\';
        text[used++] = *value;
    }
    text[used++] = '"';
    text[used] = 0;
}

static void print_rate(uint64_t bytes, char *text, size_t size_bytes)
{
    print_buffer(text, size_bytes, "none");
    if (bytes)
        schema_print_size(bytes, text, size_bytes);
}

static void print_mac(uint64_t mac, char *text, size_t size_bytes)
{
    for (unsigned i = 0; i < 6; i++)
        print_buffer(text + 3 * i, size_bytes - 3 * i, i < 5 ? "%02lx:" : "%02lx",
                     mac >> (40 - 8 * i) & 0xff);
}

static void print_ip(uint32_t ip, char *text, size_t size_bytes)
{
    print_buffer(text, size_bytes, "%u.%u.%u.%u", ip >> 24, ip >> 16 & 0xff, ip >> 8 & 0xff,
                 ip & 0xff);
}

/* `field`: enum plan_host, address, mask. */
static void print_host(const uint32_t *field, char *text, size_t size_bytes)
{
    print_buffer(text, size_bytes, field[0] == PLAN_HOST_DHCP ? "dhcp" : "none");
    if (field[0] != PLAN_HOST_STATIC)
        return;
    print_ip(field[1], text, size_bytes);
    size_t used = strlen(text);
    print_buffer(text + used, size_bytes - used, "/%u", 32 - (unsigned)__builtin_ctz(field[2]));
}

const char *schema_example(const struct schema_row *row)
{
    return row->example ? row->example : schema_forms[row->kind].example;
}

static void print_order(const char *order, char *text, size_t size_bytes)
{
    text[0] = 0;
    for (; *order; order++)
        for (unsigned i = 0; schema_orders[i]; i++)
            if (schema_order_letters[i] == *order)
                print_buffer(text + strlen(text), size_bytes - strlen(text), "%s%s",
                             text[0] ? " " : "", schema_orders[i]);
}

void schema_print(const struct schema_row *row, const void *object, char *text, size_t size_bytes)
{
    const void *field = (const char *)object + row->offset;
    const uint32_t *number = field;
    const struct plan_policy *policy = field;
    char period[24];
    switch (row->kind) {
    case VALUE_NUMBER: print_buffer(text, size_bytes, "%u", *number); break;
    case VALUE_SIZE: schema_print_size(*(const uint64_t *)field, text, size_bytes); break;
    case VALUE_CPUS: print_cpus(*(const uint64_t *)field, text, size_bytes); break;
    case VALUE_SHARE:
        print_buffer(text, size_bytes, "none");
        if (number[0] == 0)
            break;
        print_time(number[0], text, size_bytes);
        print_time(number[1], period, sizeof period);
        print_buffer(text + strlen(text), size_bytes - strlen(text), " per %s", period);
        break;
    case VALUE_CHOICE: print_buffer(text, size_bytes, "%s", row->choices[*number]); break;
    case VALUE_POLICY:
        print_buffer(text, size_bytes, "%s", schema_actions[policy->action]);
        if (policy->restart_limit)
            print_buffer(text + strlen(text), size_bytes - strlen(text), " %u",
                         policy->restart_limit);
        break;
    case VALUE_INDEX:
        print_buffer(text, size_bytes, "none");
        if (*number != PLAN_DISK_NONE)
            print_buffer(text, size_bytes, "%u", *number);
        break;
    case VALUE_RATE: print_rate(*(const uint64_t *)field, text, size_bytes); break;
    case VALUE_MAC: print_mac(*(const uint64_t *)field, text, size_bytes); break;
    case VALUE_HOST: print_host(number, text, size_bytes); break;
    case VALUE_IP:
        print_buffer(text, size_bytes, "none");
        if (*number)
            print_ip(*number, text, size_bytes);
        break;
    case VALUE_ORDER: print_order(field, text, size_bytes); break;
    case VALUE_PATH:
    case VALUE_SERVED:
    case VALUE_TEXT: print_text(field, text, size_bytes); break;
    default: text[0] = 0;
    }
}
