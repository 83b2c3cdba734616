#include "services.h"

#include "lwip/dns.h"
#include "lwip/netif.h"
#include "lwip/udp.h"

#include "dhcp_server.h"
#include "dns_forward.h"
#include "files.h"
#include "print.h"
#include "string.h"
#include "task.h"

static struct service {
    const struct network *network;
    struct netif *netif;
    struct udp_pcb *dhcp, *dns;
    struct dhcp_server leases;
} services[PLAN_NETWORKS_MAX];
static uint32_t service_count;

static struct dns_forward forward;
static struct udp_pcb *upstream; /* by which questions go out */

static uint32_t seconds(void)
{
    return (uint32_t)(switch_clock.now / switch_clock.per_second);
}

static void send(struct udp_pcb *pcb, struct netif *netif, const void *data, size_t size_bytes,
                 const ip_addr_t *to, uint16_t port)
{
    struct pbuf *reply = pbuf_alloc(PBUF_TRANSPORT, (u16_t)size_bytes, PBUF_RAM);
    if (!reply)
        return;
    memcpy(reply->payload, data, size_bytes);
    if (netif)
        udp_sendto_if(pcb, reply, to, port, netif);
    else
        udp_sendto(pcb, reply, to, port);
    pbuf_free(reply);
}

/* ---- addresses ------------------------------------------------------------------------------------------- */

/* In a network of clients alone, only their cards get addresses: nobody can take them all with invented ones. */
static bool is_card(const void *context, const uint8_t *mac)
{
    const struct network *network = context;
    for (uint32_t i = 0; i < network->port_count; i++)
        if (network->ports[i]->one_address &&
            memcmp(network->ports[i]->mac, mac, ETHERNET_ADDRESS_BYTES) == 0)
            return true;
    return false;
}

static void dhcp_received(void *argument, struct udp_pcb *pcb, struct pbuf *data,
                          const ip_addr_t *from, u16_t port)
{
    struct service *service = argument;
    uint8_t request[1500], reply[DHCP_REPLY_MAX];
    uint32_t to;
    (void)from;
    u16_t size_bytes = pbuf_copy_partial(data, request, sizeof request, 0);
    pbuf_free(data);
    if (port != DHCP_CLIENT_PORT)
        return;
    size_t n = dhcp_server_answer(&service->leases, request, size_bytes, seconds(), reply, &to);
    if (n == 0)
        return;
    ip_addr_t address = IPADDR4_INIT(lwip_htonl(to));
    send(pcb, service->netif, reply, n, &address, DHCP_CLIENT_PORT);
}

/* ---- names ----------------------------------------------------------------------------------------------- */

static void question_received(void *argument, struct udp_pcb *pcb, struct pbuf *data,
                              const ip_addr_t *from, u16_t port)
{
    const struct service *service = argument;
    uint8_t message[DNS_MESSAGE_MAX];
    u16_t size_bytes = data->tot_len;
    if (size_bytes <= sizeof message)
        pbuf_copy_partial(data, message, sizeof message, 0);
    pbuf_free(data);
    if (size_bytes > sizeof message || !IP_IS_V4(from))
        return;
    const struct dns_question *question =
        dns_forward_ask(&forward, message, size_bytes, (uint32_t)(service - services),
                        ip_2_ip4(from)->addr, port, seconds(), (uint16_t)lwip_random());
    if (!question)
        return;
    const ip_addr_t *server = dns_getserver(0);
    if (server && !ip_addr_isany(server)) {
        send(upstream, NULL, message, size_bytes, server, DNS_PORT);
        return;
    }
    /* No network has told of a name server. */
    dns_forward_refuse(message);
    message[0] = (uint8_t)(question->asked_id >> 8);
    message[1] = (uint8_t)question->asked_id;
    send(pcb, service->netif, message, size_bytes, from, port);
}

static void answer_received(void *argument, struct udp_pcb *pcb, struct pbuf *data,
                            const ip_addr_t *from, u16_t port)
{
    uint8_t message[DNS_MESSAGE_MAX];
    u16_t size_bytes = data->tot_len;
    const ip_addr_t *server = dns_getserver(0);
    (void)argument;
    (void)pcb;
    if (size_bytes <= sizeof message)
        pbuf_copy_partial(data, message, sizeof message, 0);
    pbuf_free(data);
    if (size_bytes > sizeof message || port != DNS_PORT || !server || !ip_addr_cmp(from, server))
        return;
    const struct dns_question *question =
        dns_forward_answer(&forward, message, size_bytes, seconds());
    if (!question)
        return;
    const struct service *service = &services[question->network];
    ip_addr_t to = IPADDR4_INIT(question->address);
    send(service->dns, service->netif, message, size_bytes, &to, question->port);
}

/* ---- files ------------------------------------------------------------------------------------------------ */

static void name_boot_file(const struct plan_network *plan, struct dhcp_server *leases)
{
    char port[8] = "";
    if (!plan->boot_file[0])
        return;
    if (plan->http_port != 80)
        print_buffer(port, sizeof port, ":%u", plan->http_port);
    print_buffer(leases->boot_file, sizeof leases->boot_file,
                 "http://%u.%u.%u.%u%s" FILES_PATH "%s", plan->address >> 24,
                 plan->address >> 16 & 0xff, plan->address >> 8 & 0xff, plan->address & 0xff, port,
                 plan->boot_file);
}

/* ---- starting -------------------------------------------------------------------------------------------- */

static struct udp_pcb *listen(uint16_t port, struct netif *netif, udp_recv_fn received,
                              void *argument)
{
    struct udp_pcb *pcb = udp_new();
    if (!pcb || udp_bind(pcb, IP4_ADDR_ANY, port) != ERR_OK)
        return NULL;
    if (netif)
        udp_bind_netif(pcb, netif);
    udp_recv(pcb, received, argument);
    return pcb;
}

void services_start(const struct network *network, struct netif *netif)
{
    const struct plan_network *plan = network->plan;
    struct service *service = &services[service_count];
    *service = (struct service){.network = network, .netif = netif};
    if (!dhcp_server_start(&service->leases, plan->address, plan->mask, plan->gateway)) {
        task_print("network \"%s\": its mask leaves no addresses to hand out (dhcp)\n", plan->name);
        return;
    }
    name_boot_file(plan, &service->leases);
    if (plan->uplink == PLAN_DISK_NONE) {
        service->leases.known = is_card;
        service->leases.context = network;
    }
    if (!upstream)
        upstream = listen(0, NULL, answer_received, NULL);
    service->dhcp = listen(DHCP_SERVER_PORT, netif, dhcp_received, service);
    service->dns = listen(DNS_PORT, netif, question_received, service);
    if (!upstream || !service->dhcp || !service->dns)
        task_print("network \"%s\": there is no memory for its DHCP and DNS\n", plan->name);
    else
        service_count++;
}
