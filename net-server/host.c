/*
 * lwIP's side of a network: its frames go to the switch like those of any port, and come from there.
 *
 * Septum has one address in each network that the partition file gives it one, and hears in each network only what is
 * sent to that address: nobody can reach by one network what it serves in another.
 */
#include "host.h"

#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/init.h"
#include "lwip/ip6_addr.h"
#include "lwip/netif.h"
#include "lwip/prot/tcp.h"
#include "lwip/tcp.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "pages.h"
#include "services.h"
#include "socket_lwip.h"
#include "string.h"
#include "syscall.h"
#include "task.h"

#define HOST_MTU 1500u

static struct host {
    struct port port; /* first: the switch knows it by this */
    struct netif netif;
    uint32_t shown_address; /* in the log */
} hosts[PLAN_NETWORKS_MAX];
static uint32_t host_count;

/* ---- what lwIP wants of its surroundings ---------------------------------------------------------------- */

u32_t sys_now(void)
{
    return (u32_t)(switch_clock.now / (switch_clock.per_second / 1000));
}

void lwip_failed(const char *message, const char *file, int line)
{
    task_print("lwIP: %s (%s:%d)\n", message, file, line);
    __builtin_trap();
}

/* For port numbers and identifiers: what time it is to the tick, well stirred (SplitMix64). */
uint32_t lwip_random(void)
{
    static uint64_t state;
    state += ticks() * 0x9e3779b97f4a7c15ull + 1;
    uint64_t value = (state ^ state >> 30) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ value >> 27) * 0x94d049bb133111ebull;
    return (uint32_t)(value ^ value >> 31);
}

char *strchr(const char *text, int letter)
{
    for (;; text++) {
        if (*text == (char)letter)
            return (char *)text;
        if (*text == 0)
            return NULL;
    }
}

/* ---- frames --------------------------------------------------------------------------------------------- */

static err_t link_output(struct netif *netif, struct pbuf *data)
{
    struct host *host = netif->state;
    struct frame frame;
    frame_begin(&frame);
    for (const struct pbuf *at = data; at; at = at->next)
        if (!frame_add(&frame, at->payload, at->len))
            return ERR_BUF;
    switch_send(&host->port, &frame);
    return ERR_OK;
}

static bool deliver(struct port *port, struct frame *frame)
{
    struct host *host = (struct host *)port;
    struct pbuf *data = pbuf_alloc(PBUF_RAW, (u16_t)frame->size_bytes, PBUF_POOL);
    if (!data)
        return false;
    struct frame_cursor cursor = frame_at(frame, 0);
    for (struct pbuf *at = data; at; at = at->next)
        frame_copy(&cursor, at->payload, at->len);
    if (host->netif.input(data, &host->netif) != ERR_OK)
        pbuf_free(data);
    return true;
}

/* By TCP the status page is reached, and what sockets of this network's tasks there are. */
static bool tcp_refused(struct host *host, const uint8_t *segment, uint32_t size_bytes)
{
    uint16_t port = size_bytes < TCP_HLEN ? 0 : read_be16(segment + 2);
    return port == 0 || (port != host->port.network->plan->http_port &&
                         !socket_lwip_has_port(&host->netif, port));
}

static int refuse(struct pbuf *data)
{
    pbuf_free(data);
    return 1;
}

/* Called by lwIP for each IPv4 packet, before it looks which interface's address it is sent to. */
int host_refuses(struct pbuf *data, struct netif *netif)
{
    const struct ip_hdr *ip = data->payload;
    if (data->len < IP_HLEN)
        return refuse(data);
    ip4_addr_t to = {ip->dest.addr};
    if (!ip4_addr_cmp(&to, netif_ip4_addr(netif)) && !ip4_addr_isbroadcast(&to, netif) &&
        !ip4_addr_ismulticast(&to) && !ip4_addr_isany_val(*netif_ip4_addr(netif)))
        return refuse(data);
    uint32_t header = IPH_HL_BYTES(ip);
    if (IPH_PROTO(ip) == IP_PROTO_TCP &&
        (header > data->len ||
         tcp_refused(netif->state, (const uint8_t *)data->payload + header, data->len - header)))
        return refuse(data);
    return 0;
}

int host_refuses6(struct pbuf *data, struct netif *netif)
{
    const struct ip6_hdr *ip = data->payload;
    if (data->len < IP6_HLEN)
        return refuse(data);
    ip6_addr_t to;
    ip6_addr_copy_from_packed(to, ip->dest);
    ip6_addr_assign_zone(&to, IP6_UNKNOWN, netif);
    if (!ip6_addr_ismulticast(&to) && netif_get_ip6_addr_match(netif, &to) < 0)
        return refuse(data);
    if (IP6H_NEXTH(ip) == IP6_NEXTH_TCP &&
        tcp_refused(netif->state, (const uint8_t *)data->payload + IP6_HLEN, data->len - IP6_HLEN))
        return refuse(data);
    return 0;
}

/* ---- starting ------------------------------------------------------------------------------------------- */

static err_t init_netif(struct netif *netif)
{
    const struct host *host = netif->state;
    netif->name[0] = 's';
    netif->name[1] = 'e';
    netif->hostname = "septum";
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->linkoutput = link_output;
    netif->mtu = HOST_MTU;
    netif->hwaddr_len = ETHERNET_ADDRESS_BYTES;
    memcpy(netif->hwaddr, host->port.mac, ETHERNET_ADDRESS_BYTES);
    netif->flags =
        NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static void address_changed(struct netif *netif)
{
    struct host *host = netif->state;
    const struct plan_network *plan = host->port.network->plan;
    if (netif_ip4_addr(netif)->addr == host->shown_address)
        return;
    host->shown_address = netif_ip4_addr(netif)->addr;
    if (host->shown_address && plan->http_port)
        task_print("network \"%s\": Septum is %s; its status page is at port %u\n", plan->name,
                   ip4addr_ntoa(netif_ip4_addr(netif)), plan->http_port);
    else if (host->shown_address)
        task_print("network \"%s\": Septum is %s\n", plan->name,
                   ip4addr_ntoa(netif_ip4_addr(netif)));
}

void hosts_init(void)
{
    lwip_init();
}

/* Locally administered, unicast; the same at each start. */
static void make_address(const struct plan_network *plan, uint8_t *mac)
{
    mac[0] = 0x06;
    mac[1] = 'S';
    write_be32(mac + 2, switch_hash(plan->name, strlen(plan->name)));
}

void host_start(struct network *network, const uint8_t *mac)
{
    const struct plan_network *plan = network->plan;
    struct host *host = &hosts[host_count];
    host->port = (struct port){.name = "septum", .one_address = true, .deliver = deliver};
    if (mac)
        memcpy(host->port.mac, mac, ETHERNET_ADDRESS_BYTES);
    else
        make_address(plan, host->port.mac);
    if (!port_join(&host->port, network)) {
        task_print("network \"%s\": there is no place for Septum's own address\n", plan->name);
        return;
    }
    host_count++;
    bool fixed = plan->host == PLAN_HOST_STATIC;
    ip4_addr_t address = {lwip_htonl(fixed ? plan->address : 0)};
    ip4_addr_t mask = {lwip_htonl(fixed ? plan->mask : 0)};
    ip4_addr_t gateway = {lwip_htonl(fixed ? plan->gateway : 0)};
    struct netif *netif = &host->netif;
    netif_add(netif, &address, &mask, &gateway, host, init_netif, ethernet_input);
    netif_set_status_callback(netif, address_changed);
    if (plan->uplink != PLAN_DISK_NONE)
        netif_set_default(netif);
    netif_create_ip6_linklocal_address(netif, 1);
    netif_set_ip6_autoconfig_enabled(netif, 1);
    netif_set_up(netif);
    if (plan->host == PLAN_HOST_DHCP && dhcp_start(netif) != ERR_OK)
        task_print("network \"%s\": there is no memory for a DHCP client\n", plan->name);
    if (plan->http_port)
        pages_serve((uint16_t)plan->http_port);
    if (plan->dhcp && fixed)
        services_start(network, netif);
}

uint64_t hosts_poll(void)
{
    if (host_count == 0)
        return UINT64_MAX;
    sys_check_timeouts();
    uint64_t sleep_ms = sys_timeouts_sleeptime();
    return switch_clock.now + sleep_ms * (switch_clock.per_second / 1000) + 1;
}

struct netif *host_netif(const struct network *network)
{
    for (uint32_t i = 0; i < host_count; i++)
        if (hosts[i].port.network == network)
            return &hosts[i].netif;
    return NULL;
}

const struct network *host_asking(void)
{
    const struct netif *netif = ip_current_input_netif();
    return netif ? ((const struct host *)netif->state)->port.network : NULL;
}

void host_address(const struct network *network, char *text, size_t size_bytes)
{
    text[0] = 0;
    for (uint32_t i = 0; i < host_count; i++)
        if (hosts[i].port.network == network && netif_ip4_addr(&hosts[i].netif)->addr)
            ip4addr_ntoa_r(netif_ip4_addr(&hosts[i].netif), text, (int)size_bytes);
}
