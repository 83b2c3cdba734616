/* Which TCP ports of Septum's belong to native tasks. */
#ifndef NET_SERVER_SOCKET_LWIP_H
#define NET_SERVER_SOCKET_LWIP_H

#include <stdbool.h>
#include <stdint.h>

struct netif;
/* Has a task a socket with this port in this interface's network, or had one a moment ago? */
bool socket_lwip_has_port(const struct netif *netif, uint16_t port);

#endif
