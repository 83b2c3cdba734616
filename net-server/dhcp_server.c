/*
 * State:    a lease for each card, kept for it after its end as long as nobody else needs the address.
 * Features: DISCOVER, REQUEST (all four kinds), INFORM; mask, router, DNS server, lease time; what
 *           firmware is to boot, both in the message's own field and as an option.
 * Missing:  relays, DECLINE and RELEASE (a card's address is its own anyway), options in sname and file.
 * Spec:     RFC 2131, RFC 2132.
 */
#include "dhcp_server.h"

#include "frame.h"
#include "print.h"
#include "string.h"

enum {
    AT_OPERATION = 0,
    AT_HARDWARE = 1,
    AT_HARDWARE_BYTES = 2,
    AT_ID = 4,
    AT_FLAGS = 10,
    AT_CLIENT = 12,
    AT_YOURS = 16,
    AT_NEXT = 20,
    AT_RELAY = 24,
    AT_MAC = 28,
    AT_FILE = 108,
    AT_COOKIE = 236,
    AT_OPTIONS = 240,
};
enum { OPERATION_REQUEST = 1, OPERATION_REPLY = 2, HARDWARE_ETHERNET = 1 };
enum {
    OPTION_PAD = 0,
    OPTION_MASK = 1,
    OPTION_ROUTER = 3,
    OPTION_DNS = 6,
    OPTION_WANTED = 50,
    OPTION_LEASE = 51,
    OPTION_TYPE = 53,
    OPTION_SERVER = 54,
    OPTION_BOOT_SERVER = 66,
    OPTION_BOOT_FILE = 67,
    OPTION_IPXE = 175,          /* options of iPXE's own (its src/include/ipxe/dhcp.h), of which */
    OPTION_IPXE_NO_PROXY = 176, /* 1: there is no ProxyDHCP server */
    OPTION_END = 255,
};
enum {
    TYPE_DISCOVER = 1,
    TYPE_OFFER = 2,
    TYPE_REQUEST = 3,
    TYPE_ACK = 5,
    TYPE_NAK = 6,
    TYPE_INFORM = 8
};
#define COOKIE    0x63825363u
#define BROADCAST 0xffffffffu
#define FIRST_OFFSET \
    100u /* in a network that is large enough: what is below is for addresses in files */

bool dhcp_server_start(struct dhcp_server *server, uint32_t address, uint32_t mask,
                       uint32_t gateway)
{
    uint32_t hosts = ~mask; /* with the network's own number, without the broadcast address */
    *server = (struct dhcp_server){.address = address, .mask = mask, .gateway = gateway};
    if (hosts < 3)
        return false;
    uint32_t skip = hosts > FIRST_OFFSET + DHCP_LEASES_MAX ? FIRST_OFFSET : 1;
    server->first = (address & mask) + skip;
    server->count = hosts - skip < DHCP_LEASES_MAX ? hosts - skip : DHCP_LEASES_MAX;
    return true;
}

/* ---- requests -------------------------------------------------------------------------------------------- */

struct dhcp_request {
    const uint8_t *mac;
    uint32_t client;         /* the address that it has already */
    uint32_t wanted, server; /* 0: not said */
    uint8_t type;
};

static bool read_options(const uint8_t *at, const uint8_t *end, struct dhcp_request *request)
{
    while (at < end && *at != OPTION_END) {
        if (*at == OPTION_PAD) {
            at++;
            continue;
        }
        if (end - at < 2 || end - at - 2 < at[1])
            return false;
        if (at[0] == OPTION_TYPE && at[1] == 1)
            request->type = at[2];
        if (at[0] == OPTION_WANTED && at[1] == 4)
            request->wanted = read_be32(at + 2);
        if (at[0] == OPTION_SERVER && at[1] == 4)
            request->server = read_be32(at + 2);
        at += 2 + at[1];
    }
    return request->type != 0;
}

static bool read_request(const uint8_t *data, size_t size_bytes, struct dhcp_request *request)
{
    if (size_bytes < AT_OPTIONS || data[AT_OPERATION] != OPERATION_REQUEST ||
        data[AT_HARDWARE] != HARDWARE_ETHERNET || data[AT_HARDWARE_BYTES] != 6 ||
        read_be32(data + AT_RELAY) != 0 || read_be32(data + AT_COOKIE) != COOKIE ||
        data[AT_MAC] & 1)
        return false;
    *request = (struct dhcp_request){.mac = data + AT_MAC, .client = read_be32(data + AT_CLIENT)};
    return read_options(data + AT_OPTIONS, data + size_bytes, request);
}

/* ---- leases ---------------------------------------------------------------------------------------------- */

static bool is_mine(const struct dhcp_server *server, uint32_t address)
{
    return address - server->first < server->count;
}

static bool is_free(const struct dhcp_server *server, uint32_t number, uint32_t now_s)
{
    return server->first + number != server->address &&
           (!server->leases[number].used ||
            (int32_t)(now_s - server->leases[number].expires_s) >= 0);
}

/* The card's lease; else the address that it wishes, if that is free; else a free one that nobody had, else one that
 * somebody had. NULL: there is none. */
static struct dhcp_lease *lease_for(struct dhcp_server *server, const uint8_t *mac, uint32_t wanted,
                                    uint32_t now_s)
{
    struct dhcp_lease *unused = NULL, *old = NULL;
    for (uint32_t i = 0; i < server->count; i++) {
        struct dhcp_lease *lease = &server->leases[i];
        if (lease->used && memcmp(lease->mac, mac, sizeof lease->mac) == 0)
            return lease;
        if (!is_free(server, i, now_s))
            continue;
        if (!lease->used && !unused)
            unused = lease;
        if (!old || (int32_t)(old->expires_s - lease->expires_s) > 0)
            old = lease;
    }
    if (is_mine(server, wanted) && is_free(server, wanted - server->first, now_s))
        return &server->leases[wanted - server->first];
    return unused ? unused : old;
}

static void lend(struct dhcp_lease *lease, const uint8_t *mac, uint32_t until_s)
{
    bool longer = lease->used && memcmp(lease->mac, mac, sizeof lease->mac) == 0 &&
                  (int32_t)(lease->expires_s - until_s) > 0;
    memcpy(lease->mac, mac, sizeof lease->mac);
    lease->expires_s = longer ? lease->expires_s : until_s;
    lease->used = true;
}

/* ---- replies --------------------------------------------------------------------------------------------- */

static uint8_t *put_option(uint8_t *at, uint8_t option, uint32_t value)
{
    at[0] = option;
    at[1] = 4;
    write_be32(at + 2, value);
    return at + 6;
}

static uint8_t *put_text(uint8_t *at, uint8_t option, const char *text)
{
    size_t size_bytes = strlen(text);
    at[0] = option;
    at[1] = (uint8_t)size_bytes;
    memcpy(at + 2, text, size_bytes);
    return at + 2 + size_bytes;
}

/* What firmware boots, and from where: RFC 2131, table 3; RFC 2132, 9.4 and 9.5. */
static uint8_t *put_boot_file(const struct dhcp_server *server, uint8_t *reply, uint8_t *at)
{
    char address[16];
    print_buffer(address, sizeof address, "%u.%u.%u.%u", server->address >> 24,
                 server->address >> 16 & 0xff, server->address >> 8 & 0xff, server->address & 0xff);
    write_be32(reply + AT_NEXT, server->address);
    memcpy(reply + AT_FILE, server->boot_file, strlen(server->boot_file));
    at = put_text(at, OPTION_BOOT_SERVER, address);
    at = put_text(at, OPTION_BOOT_FILE, server->boot_file);
    /* Nobody else answers in this network: without this iPXE waits busily for two seconds for who might. */
    const uint8_t alone[] = {OPTION_IPXE, 3, OPTION_IPXE_NO_PROXY, 1, 1};
    memcpy(at, alone, sizeof alone);
    return at + sizeof alone;
}

static size_t write_reply(const struct dhcp_server *server, const uint8_t *request, uint8_t type,
                          uint32_t yours, uint8_t *reply)
{
    memset(reply, 0, DHCP_REPLY_MAX);
    reply[AT_OPERATION] = OPERATION_REPLY;
    reply[AT_HARDWARE] = HARDWARE_ETHERNET;
    reply[AT_HARDWARE_BYTES] = 6;
    memcpy(reply + AT_ID, request + AT_ID, 4);
    memcpy(reply + AT_FLAGS, request + AT_FLAGS, 2);
    if (type == TYPE_ACK)
        memcpy(reply + AT_CLIENT, request + AT_CLIENT, 4);
    write_be32(reply + AT_YOURS, yours);
    memcpy(reply + AT_MAC, request + AT_MAC, 16);
    write_be32(reply + AT_COOKIE, COOKIE);
    uint8_t *at = reply + AT_OPTIONS;
    *at++ = OPTION_TYPE;
    *at++ = 1;
    *at++ = type;
    at = put_option(at, OPTION_SERVER, server->address);
    if (type != TYPE_NAK) {
        at = put_option(at, OPTION_MASK, server->mask);
        at = put_option(at, OPTION_DNS, server->address);
        if (server->gateway)
            at = put_option(at, OPTION_ROUTER, server->gateway);
        if (yours)
            at = put_option(at, OPTION_LEASE, DHCP_LEASE_SECONDS);
        if (server->boot_file[0])
            at = put_boot_file(server, reply, at);
    }
    *at++ = OPTION_END;
    size_t size_bytes = (size_t)(at - reply);
    return size_bytes < DHCP_REPLY_LEAST ? DHCP_REPLY_LEAST : size_bytes;
}

static size_t answer_discover(struct dhcp_server *server, const uint8_t *data,
                              const struct dhcp_request *request, uint32_t now_s, uint8_t *reply)
{
    struct dhcp_lease *lease = lease_for(server, request->mac, request->wanted, now_s);
    if (!lease)
        return 0;
    lend(lease, request->mac, now_s + DHCP_OFFER_SECONDS);
    return write_reply(server, data, TYPE_OFFER, server->first + (uint32_t)(lease - server->leases),
                       reply);
}

/* RFC 2131, 4.3.2: the address is in `wanted` while the card has none, else in `client`. */
static size_t answer_request(struct dhcp_server *server, const uint8_t *data,
                             const struct dhcp_request *request, uint32_t now_s, uint8_t *reply)
{
    uint32_t address = request->client ? request->client : request->wanted;
    if (request->server && request->server != server->address)
        return 0; /* it has taken another's offer */
    struct dhcp_lease *lease = lease_for(server, request->mac, address, now_s);
    if (!lease || server->first + (uint32_t)(lease - server->leases) != address)
        return write_reply(server, data, TYPE_NAK, 0, reply);
    lend(lease, request->mac, now_s + DHCP_LEASE_SECONDS);
    return write_reply(server, data, TYPE_ACK, address, reply);
}

size_t dhcp_server_answer(struct dhcp_server *server, const uint8_t *data, size_t size_bytes,
                          uint32_t now_s, uint8_t *reply, uint32_t *to)
{
    struct dhcp_request request;
    *to = BROADCAST;
    if (!read_request(data, size_bytes, &request) ||
        (server->known && !server->known(server->context, request.mac)))
        return 0;
    size_t reply_bytes = 0;
    switch (request.type) {
    case TYPE_DISCOVER: return answer_discover(server, data, &request, now_s, reply);
    case TYPE_REQUEST: reply_bytes = answer_request(server, data, &request, now_s, reply); break;
    case TYPE_INFORM: reply_bytes = write_reply(server, data, TYPE_ACK, 0, reply); break;
    default: return 0;
    }
    /* A card that has its address hears what is sent to it; a refusal goes to all (4.1). */
    if (reply_bytes && request.client && reply[AT_OPTIONS + 2] == TYPE_ACK &&
        (request.client & server->mask) == (server->address & server->mask))
        *to = request.client;
    return reply_bytes;
}
