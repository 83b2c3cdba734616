/* Septum itself as a port of its networks: lwIP's network interfaces. */
#ifndef NET_SERVER_HOST_H
#define NET_SERVER_HOST_H

#include "switch.h"

/* lwIP's beginning; then for each network that has an address of Septum's, with the MAC address of its card, or NULL. */
void hosts_init(void);
void host_start(struct network *network, const uint8_t *mac);
/* lwIP's timers: what is due. Returns when it wants to be called again. */
uint64_t hosts_poll(void);

/* lwIP's interface in a network; NULL: Septum has no address there. */
struct netif *host_netif(const struct network *network);
/* Whose frame lwIP is handling; NULL: none. */
const struct network *host_asking(void);
/* The address in a network in text ("10.0.2.15"), empty: none yet. */
void host_address(const struct network *network, char *text, size_t size_bytes);

#endif
