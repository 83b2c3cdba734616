/* The state of the system as JSON and in Prometheus' text format. */
#ifndef NET_SERVER_STATUS_TEXT_H
#define NET_SERVER_STATUS_TEXT_H

#include "client.h"
#include "protocol/status.h"

#define ADDRESS_TEXT_MAX 16u

struct status_facts {
    const struct system_status *system; /* a private copy */
    const struct network *networks;
    uint32_t network_count;
    char addresses[PLAN_NETWORKS_MAX][ADDRESS_TEXT_MAX]; /* Septum's; empty: none */
};

/* Text in memory; what does not fit sets `full`. */
struct text {
    char *begin;
    size_t used, size_bytes;
    bool full;
};
void text_put(struct text *text, const char *words);

void status_json(struct text *text, const struct status_facts *facts);
void status_metrics(struct text *text, const struct status_facts *facts);

#endif
