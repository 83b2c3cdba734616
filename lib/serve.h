/* How a server of one thread waits: for requests at its endpoint and bits of its notification, whichever comes. */
#ifndef LIB_SERVE_H
#define LIB_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

struct serve {
    /* Does a request of root's. True: *error is its answer, which goes out with the next wait; false: it is answered later. */
    bool (*request)(const struct message *message, unsigned *error);
    unsigned error;
    bool answer;
};

/* Once, before the first wait: the task's notification ends the waits of this thread. */
void serve_begin(struct serve *serve,
                 bool (*request)(const struct message *message, unsigned *error));
/* Answers the last request, and waits until the deadline. The bits of the notification that came; a client that calls
 * (SERVICE_RING) counts as its bit; 0 after a request and at the deadline. */
uint64_t serve_wait(struct serve *serve, uint64_t deadline);

#endif
