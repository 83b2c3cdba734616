/* Between the parts of the sockets' service: sockets.c, what sockets are and what befalls them; socket_requests.c. */
#ifndef NET_SERVER_SOCKETS_INTERNAL_H
#define NET_SERVER_SOCKETS_INTERNAL_H

#include "sockets.h"

/* ---- sockets.c ------------------------------------------------------------------------------------------- */

/* Counts queued connections and names, so that none is taken for another. */
uint64_t sockets_count(void);
/* The service has a turn at `at`, in ticks, if not before. */
void sockets_want_turn(uint64_t at);
/* What the board shows of a socket now, of what this server knows; and how many wait to be accepted. */
void socket_show_state(struct socket *socket, bool peer_done);
void socket_show_waiting(const struct socket *listener);
/* A free place, its rings empty; NULL: all are taken. */
struct socket *socket_take(struct sockets_client *client, enum socket_kind kind,
                           enum socket_family family);
/* Its place is free; the transport goes in good order, or at once. */
void socket_release(struct socket *socket, bool at_once);
/* The client has broken a rule: it is dropped at its next turn, with this reason. */
void sockets_break(struct sockets_client *client, const char *fault);

/* ---- socket_requests.c ----------------------------------------------------------------------------------- */

/* Carries out what the client asks for, some of it; true: there is more. */
bool sockets_take_requests(struct sockets_client *client);
/* One that has no room for an answer has broken a rule. */
void sockets_answer(struct sockets_client *client, const struct socket_answer *answer);

#endif
