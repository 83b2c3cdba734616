/* Addresses for a network's cards (RFC 2131): what is answered to a request. Knows no sockets. */
#ifndef NET_SERVER_DHCP_SERVER_H
#define NET_SERVER_DHCP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DHCP_LEASES_MAX    64u
#define DHCP_LEASE_SECONDS 3600u
#define DHCP_OFFER_SECONDS 10u
#define DHCP_REPLY_LEAST   300u /* some clients take nothing shorter: RFC 1542, 2.1 */
#define DHCP_REPLY_MAX     400u
#define DHCP_URL_MAX       100u /* with the terminating zero */
#define DHCP_SERVER_PORT   67u
#define DHCP_CLIENT_PORT   68u

struct dhcp_lease {
    uint8_t mac[6];
    bool used; /* there was one: it stays its owner's as long as another needs it not */
    uint32_t expires_s;
};

/* All addresses: IPv4, host byte order. */
struct dhcp_server {
    uint32_t address, mask, gateway; /* Septum's own; gateway 0: none */
    uint32_t first, count;           /* what it hands out: lease n is first + n */
    struct dhcp_lease leases[DHCP_LEASES_MAX];
    char boot_file[DHCP_URL_MAX]; /* what firmware is to boot; empty: nothing is said of it */
    /* May this card have one? NULL: all may. */
    bool (*known)(const void *context, const uint8_t *mac);
    const void *context;
};

/* False: the network is too small. */
bool dhcp_server_start(struct dhcp_server *server, uint32_t address, uint32_t mask,
                       uint32_t gateway);
/* The answer to a request, at most DHCP_REPLY_MAX bytes, and where it goes; 0: there is none. now_s: a clock that
 * does not go backwards. */
size_t dhcp_server_answer(struct dhcp_server *server, const uint8_t *request, size_t size_bytes,
                          uint32_t now_s, uint8_t *reply, uint32_t *to);

#endif
