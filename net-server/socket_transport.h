/*
 * What sockets.c wants of TCP, UDP and DNS. socket_lwip.c does it by lwIP; a unit test by itself. All is done at once:
 * what happens later is told by the second half of sockets.h, never from within one of these.
 */
#ifndef NET_SERVER_SOCKET_TRANSPORT_H
#define NET_SERVER_SOCKET_TRANSPORT_H

#include "sockets.h"

/* Sets socket->transport, by kind, family and the client's network. */
enum socket_error transport_open(struct socket *socket);
/* *address: wanted, then had. */
enum socket_error transport_bind(struct socket *socket, struct socket_address *address);
enum socket_error transport_listen(struct socket *socket);
enum socket_error transport_connect(struct socket *socket, const struct socket_address *address);
/* The client takes a connection that waited: from whom it is. Another may wait in its place. */
void transport_accept(struct socket *socket, struct socket_address *peer);
/* How much transport_write would take now. */
uint32_t transport_room(const struct socket *socket);
/* False: there is no memory for it now. */
bool transport_write(struct socket *socket, const void *data, uint32_t size_bytes);
/* What was written may go out. */
void transport_push(struct socket *socket);
/* False: it can't go there. */
bool transport_send(struct socket *socket, const struct socket_address *to, const void *data,
                    uint32_t size_bytes);
/* The client has read so much: the window opens. */
void transport_read(struct socket *socket, uint32_t size_bytes);
/* After the last byte: the end of the stream. False: not now. */
bool transport_end(struct socket *socket);
/* Gives up socket->transport: in good order, or at once. */
void transport_close(struct socket *socket);
void transport_abort(struct socket *socket);
/* SOCKET_AGAIN: socket_resolved will tell. */
enum socket_error transport_resolve(const struct network *network, const char *name,
                                    enum socket_family family, uint64_t token,
                                    struct socket_address *address);

#endif
