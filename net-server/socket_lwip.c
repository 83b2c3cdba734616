/*
 * Sockets by lwIP's raw interface. Each pcb is bound to the interface of its client's network: it hears nothing of
 * another, and reaches none.
 *
 * lwIP frees a pcb by itself in three cases: it tells err (then it is gone already); both ends of the stream have passed
 * (then recv with no data is the last that it tells, and the pcb is let go of there); or it was closed by us.
 */
#include "socket_transport.h"

#include "lwip/dns.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

#include "host.h"
#include "socket_lwip.h"
#include "string.h"

_Static_assert(TCP_WND <= SOCKET_RING_BYTES, "what the window lets in has room in the ring");

/* ---- addresses ------------------------------------------------------------------------------------------- */

static struct netif *netif_of(const struct socket *socket)
{
    return host_netif(socket->client->network);
}

static void to_lwip(const struct socket_address *from, struct netif *netif, ip_addr_t *to)
{
    if (from->family == SOCKET_IPV4) {
        uint32_t word;
        memcpy(&word, from->octets, sizeof word);
        ip_addr_set_ip4_u32(to, word);
        return;
    }
    uint32_t words[4];
    memcpy(words, from->octets, sizeof words);
    IP_ADDR6(to, words[0], words[1], words[2], words[3]);
    ip6_addr_assign_zone(ip_2_ip6(to), IP6_UNKNOWN, netif);
}

static void from_lwip(const ip_addr_t *from, uint16_t port, struct socket_address *to)
{
    *to =
        (struct socket_address){.port = port, .family = IP_IS_V6(from) ? SOCKET_IPV6 : SOCKET_IPV4};
    if (IP_IS_V6(from))
        memcpy(to->octets, ip_2_ip6(from)->addr, 16);
    else
        memcpy(to->octets, &ip_2_ip4(from)->addr, 4);
}

static enum socket_error error_of(err_t error)
{
    switch (error) {
    case ERR_OK:
    case ERR_CLSD: return SOCKET_OK;
    case ERR_USE: return SOCKET_IN_USE;
    case ERR_RTE: return SOCKET_NO_ROUTE;
    case ERR_RST:
    case ERR_ABRT: return SOCKET_RESET;
    case ERR_MEM:
    case ERR_BUF: return SOCKET_NO_MEMORY;
    case ERR_TIMEOUT: return SOCKET_TIMED_OUT;
    default: return SOCKET_BAD_STATE;
    }
}

/* ---- what lwIP tells ------------------------------------------------------------------------------------- */

static void let_go(struct tcp_pcb *pcb)
{
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
}

static void tcp_failed(void *argument, err_t error)
{
    struct socket *socket = argument;
    bool begins = socket->use == SOCKET_CONNECTING;
    /* A connection that lwIP gives up ends by ERR_ABRT: the peer has not answered. */
    socket_over(socket, error == ERR_RST && begins    ? SOCKET_REFUSED
                        : error == ERR_ABRT && begins ? SOCKET_TIMED_OUT
                                                      : error_of(error));
}

static err_t tcp_received(void *argument, struct tcp_pcb *pcb, struct pbuf *data, err_t error)
{
    struct socket *socket = argument;
    (void)error;
    if (!data) {
        socket_peer_done(socket);
        if (!socket->ended)
            return ERR_OK;
        let_go(pcb);
        tcp_close(pcb);
        socket_over(socket, SOCKET_OK);
        return ERR_OK;
    }
    bool good = true;
    for (const struct pbuf *at = data; at && good; at = at->next)
        good = socket_received(socket, at->payload, at->len);
    pbuf_free(data);
    if (good)
        return ERR_OK;
    let_go(pcb);
    tcp_abort(pcb);
    socket_over(socket, SOCKET_RESET);
    return ERR_ABRT;
}

static err_t tcp_was_sent(void *argument, struct tcp_pcb *pcb, u16_t size_bytes)
{
    (void)pcb;
    socket_sent(argument, size_bytes);
    return ERR_OK;
}

static err_t tcp_is_connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    (void)pcb;
    (void)error;
    socket_connected(argument);
    return ERR_OK;
}

static void watch(struct tcp_pcb *pcb, struct socket *socket)
{
    tcp_arg(pcb, socket);
    tcp_recv(pcb, tcp_received);
    tcp_sent(pcb, tcp_was_sent);
    tcp_err(pcb, tcp_failed);
}

static err_t tcp_came_in(void *argument, struct tcp_pcb *pcb, err_t error)
{
    if (error != ERR_OK || !pcb)
        return ERR_VAL;
    struct socket *socket = socket_incoming(argument, pcb);
    if (!socket) {
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    /* It counts as waiting until the client takes it: lwIP leaves further ones unanswered, and they ask again. */
    tcp_backlog_delayed(pcb);
    watch(pcb, socket);
    return ERR_OK;
}

static void udp_received(void *argument, struct udp_pcb *pcb, struct pbuf *data,
                         const ip_addr_t *from, u16_t port)
{
    struct socket_address address;
    uint8_t bytes[SOCKET_DATAGRAM_MAX];
    (void)pcb;
    uint32_t size_bytes = data->tot_len;
    if (size_bytes <= sizeof bytes)
        pbuf_copy_partial(data, bytes, (u16_t)size_bytes, 0);
    pbuf_free(data);
    from_lwip(from, port, &address);
    socket_datagram_received(argument, &address, bytes, size_bytes);
}

/* ---- what sockets.c wants -------------------------------------------------------------------------------- */

enum socket_error transport_open(struct socket *socket)
{
    struct netif *netif = netif_of(socket);
    uint8_t type = socket->family == SOCKET_IPV6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4;
    if (!netif)
        return SOCKET_NO_ADDRESS;
    if (socket->kind == SOCKET_UDP) {
        struct udp_pcb *pcb = udp_new_ip_type(type);
        if (!pcb)
            return SOCKET_NO_MEMORY;
        udp_bind_netif(pcb, netif);
        udp_recv(pcb, udp_received, socket);
        socket->transport = pcb;
        return SOCKET_OK;
    }
    struct tcp_pcb *pcb = tcp_new_ip_type(type);
    if (!pcb)
        return SOCKET_NO_MEMORY;
    /* The status page goes before tasks when pcbs are short (HTTPD_TCP_PRIO). */
    tcp_setprio(pcb, TCP_PRIO_MIN);
    tcp_bind_netif(pcb, netif);
    ip_set_option(pcb, SOF_REUSEADDR); /* else an old connection keeps the port for minutes */
    watch(pcb, socket);
    socket->transport = pcb;
    return SOCKET_OK;
}

static bool is_ours(const ip_addr_t *address, struct netif *netif)
{
    if (ip_addr_isany(address))
        return true;
    return IP_IS_V6(address) ? netif_get_ip6_addr_match(netif, ip_2_ip6(address)) >= 0
                             : ip4_addr_cmp(ip_2_ip4(address), netif_ip4_addr(netif));
}

enum socket_error transport_bind(struct socket *socket, struct socket_address *address)
{
    ip_addr_t wanted;
    struct netif *netif = netif_of(socket);
    to_lwip(address, netif, &wanted);
    if (!is_ours(&wanted, netif))
        return SOCKET_NO_ADDRESS;
    err_t error = socket->kind == SOCKET_UDP ? udp_bind(socket->transport, &wanted, address->port)
                                             : tcp_bind(socket->transport, &wanted, address->port);
    if (error != ERR_OK)
        return error_of(error);
    address->port = socket->kind == SOCKET_UDP ? ((struct udp_pcb *)socket->transport)->local_port
                                               : ((struct tcp_pcb *)socket->transport)->local_port;
    return SOCKET_OK;
}

enum socket_error transport_listen(struct socket *socket)
{
    err_t error;
    struct tcp_pcb *pcb =
        tcp_listen_with_backlog_and_err(socket->transport, (u8_t)socket->backlog, &error);
    if (!pcb)
        return error_of(error);
    socket->transport = pcb;
    tcp_arg(pcb, socket);
    tcp_accept(pcb, tcp_came_in);
    return SOCKET_OK;
}

enum socket_error transport_connect(struct socket *socket, const struct socket_address *address)
{
    ip_addr_t to;
    to_lwip(address, netif_of(socket), &to);
    return error_of(tcp_connect(socket->transport, &to, address->port, tcp_is_connected));
}

void transport_accept(struct socket *socket, struct socket_address *peer)
{
    struct tcp_pcb *pcb = socket->transport;
    tcp_backlog_accepted(pcb);
    from_lwip(&pcb->remote_ip, pcb->remote_port, peer);
}

uint32_t transport_room(const struct socket *socket)
{
    const struct tcp_pcb *pcb = socket->transport;
    return tcp_sndqueuelen(pcb) + 4 > TCP_SND_QUEUELEN ? 0 : tcp_sndbuf(pcb);
}

bool transport_write(struct socket *socket, const void *data, uint32_t size_bytes)
{
    return tcp_write(socket->transport, data, (u16_t)size_bytes, TCP_WRITE_FLAG_COPY) == ERR_OK;
}

void transport_push(struct socket *socket)
{
    tcp_output(socket->transport);
}

bool transport_send(struct socket *socket, const struct socket_address *to, const void *data,
                    uint32_t size_bytes)
{
    ip_addr_t address;
    struct netif *netif = netif_of(socket);
    struct pbuf *frame = pbuf_alloc(PBUF_TRANSPORT, (u16_t)size_bytes, PBUF_RAM);
    if (!frame)
        return false;
    to_lwip(to, netif, &address);
    memcpy(frame->payload, data, size_bytes);
    err_t error = udp_sendto_if(socket->transport, frame, &address, to->port, netif);
    pbuf_free(frame);
    return error == ERR_OK;
}

void transport_read(struct socket *socket, uint32_t size_bytes)
{
    if (socket->transport)
        tcp_recved(socket->transport, (u16_t)size_bytes);
}

bool transport_end(struct socket *socket)
{
    return tcp_shutdown(socket->transport, 0, 1) == ERR_OK;
}

void transport_close(struct socket *socket)
{
    if (socket->kind == SOCKET_UDP) {
        udp_remove(socket->transport);
    } else {
        struct tcp_pcb *pcb = socket->transport;
        if (pcb->state != LISTEN)
            let_go(pcb);
        if (tcp_close(pcb) != ERR_OK)
            tcp_abort(pcb);
    }
    socket->transport = NULL;
}

void transport_abort(struct socket *socket)
{
    struct tcp_pcb *pcb = socket->transport;
    if (socket->kind == SOCKET_UDP || pcb->state == LISTEN) {
        transport_close(socket);
        return;
    }
    let_go(pcb);
    tcp_abort(pcb);
    socket->transport = NULL;
}

/* ---- names ----------------------------------------------------------------------------------------------- */

static void name_found(const char *name, const ip_addr_t *address, void *argument)
{
    struct socket_address told = {0};
    (void)name;
    if (address)
        from_lwip(address, 0, &told);
    socket_resolved((uint64_t)argument, address ? SOCKET_OK : SOCKET_NO_NAME, &told);
}

enum socket_error transport_resolve(const struct network *network, const char *name,
                                    enum socket_family family, uint64_t token,
                                    struct socket_address *address)
{
    ip_addr_t found;
    const ip_addr_t *server = dns_getserver(0);
    (void)network;
    if (!server || ip_addr_isany(server))
        return SOCKET_NO_NAME;
    err_t error = dns_gethostbyname_addrtype(name, &found, name_found, (void *)token,
                                             family == SOCKET_IPV6 ? LWIP_DNS_ADDRTYPE_IPV6
                                                                   : LWIP_DNS_ADDRTYPE_IPV4);
    if (error == ERR_OK)
        from_lwip(&found, 0, address);
    return error == ERR_OK           ? SOCKET_OK
           : error == ERR_INPROGRESS ? SOCKET_AGAIN
           : error == ERR_MEM        ? SOCKET_NO_MEMORY
                                     : SOCKET_NO_NAME;
}

/* ---- for host.c ------------------------------------------------------------------------------------------ */

static bool in_list(const struct tcp_pcb *pcb, uint8_t index, uint16_t port)
{
    for (; pcb; pcb = pcb->next)
        if (pcb->netif_idx == index && pcb->local_port == port)
            return true;
    return false;
}

bool socket_lwip_has_port(const struct netif *netif, uint16_t port)
{
    uint8_t index = netif_get_index(netif);
    for (const struct tcp_pcb_listen *pcb = tcp_listen_pcbs.listen_pcbs; pcb; pcb = pcb->next)
        if (pcb->netif_idx == index && pcb->local_port == port)
            return true;
    return in_list(tcp_active_pcbs, index, port) || in_list(tcp_tw_pcbs, index, port);
}
