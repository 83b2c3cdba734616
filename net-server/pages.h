/* The status page: what lwIP's web server serves. */
#ifndef NET_SERVER_PAGES_H
#define NET_SERVER_PAGES_H

#include "switch.h"

/* Once, before the others: what there is to show. */
void pages_init(const struct network_start *start, const struct network *networks);
/* At this port of all of Septum's addresses; whose network has another one is not let through to it (host.c). */
void pages_serve(uint16_t port);

#endif
