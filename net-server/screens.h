/* Pictures of guests' screens for the status page: root has them made, one at a time, and shows them to this server. */
#ifndef NET_SERVER_SCREENS_H
#define NET_SERVER_SCREENS_H

#include <stdbool.h>
#include <stddef.h>

struct network_start;
struct system_status;

enum screen_answer {
    SCREEN_NONE,  /* there is no such screen */
    SCREEN_LATER, /* it has been asked for: in a second or two it is there */
    SCREEN_READY
};

/* Once, before the others. */
void screens_init(const struct network_start *start);
/* Looks for the file /screen/NAME.png, with its header; `system` is the newest that is known. READY: it is held until
 * screens_release. Called by the page server for a request. */
enum screen_answer screens_find(const struct system_status *system, const char *path,
                                const char **data, size_t *size_bytes);
/* A connection has sent it, or has ended. Other data: nothing. */
void screens_release(const char *data);

#endif
