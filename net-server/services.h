/* What Septum serves in a network that has `dhcp`: addresses, and names by way of a network with an uplink. */
#ifndef NET_SERVER_SERVICES_H
#define NET_SERVER_SERVICES_H

#include "switch.h"

struct netif;
void services_start(const struct network *network, struct netif *netif);

#endif
