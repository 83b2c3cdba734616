/* How lwIP is built: one thread, no sockets, bounded memory. */
#ifndef NET_SERVER_LWIPOPTS_H
#define NET_SERVER_LWIPOPTS_H

#include <stdint.h>

#define NO_SYS               1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN         0
#define LWIP_SOCKET          0
#define LWIP_RAW             0
#define LWIP_STATS           0
#define LWIP_TIMERS          1

/* Memory: all of it is in the program's image. */
#define MEM_ALIGNMENT                  8
#define MEM_SIZE                       131072
#define MEMP_NUM_PBUF                  48
#define MEMP_NUM_UDP_PCB               52 /* two for each network with DHCP, DHCP clients, names, tasks */
#define MEMP_NUM_TCP_PCB               72
#define MEMP_NUM_TCP_PCB_LISTEN        24
#define MEMP_NUM_TCP_SEG               192
#define MEMP_NUM_REASSDATA             2
#define MEMP_NUM_ARP_QUEUE             8
#define MEMP_NUM_ND6_QUEUE             8
#define PBUF_POOL_SIZE                 48
#define PBUF_POOL_BUFSIZE              1600
#define IP_REASS_MAX_PBUFS             8
#define IPV6_FRAG_COPYHEADER           1 /* pointers are larger than what it would overwrite */

#define LWIP_IPV4                      1
#define LWIP_IPV6                      1
#define LWIP_ARP                       1
#define LWIP_ETHERNET                  1
#define LWIP_ICMP                      1
#define LWIP_UDP                       1
#define LWIP_TCP                       1
#define LWIP_DHCP                      1
#define LWIP_AUTOIP                    0
#define LWIP_IGMP                      0
#define LWIP_IPV6_MLD                  0
#define LWIP_IPV6_DHCP6                0
#define LWIP_DNS                       1 /* keeps the servers that DHCP names: dns_getserver */
#define IP_FORWARD                     0
#define LWIP_IPV6_FORWARD              0
#define DHCP_DOES_ARP_CHECK            0
#define LWIP_NETIF_HOSTNAME            1
#define LWIP_NETIF_EXT_STATUS_CALLBACK 0
#define LWIP_NETIF_STATUS_CALLBACK     1

#define TCP_MSS                        1460
#define TCP_WND                        (4 * TCP_MSS)
#define TCP_SND_BUF                    (8 * TCP_MSS)
#define TCP_SND_QUEUELEN               32
#define SO_REUSE                       1 /* of tasks' sockets alone */
#define TCP_LISTEN_BACKLOG             1
#define TCP_DEFAULT_LISTEN_BACKLOG     8

/* What is not for the network in which it came in is thrown away: host.c. */
struct pbuf;
struct netif;
int host_refuses(struct pbuf *frame, struct netif *netif);
int host_refuses6(struct pbuf *frame, struct netif *netif);
#define LWIP_HOOK_IP4_INPUT(p, inp) host_refuses(p, inp)
#define LWIP_HOOK_IP6_INPUT(p, inp) host_refuses6(p, inp)

/* httpd: files come from pages.c; the port is set before each httpd_init. */
extern uint16_t pages_port;
#define HTTPD_SERVER_PORT                           pages_port
#define HTTPD_TCP_PRIO                              TCP_PRIO_NORMAL /* before sockets of tasks */
#define HTTPD_FSDATA_FILE                           "no_files.h"
#define LWIP_HTTPD_CUSTOM_FILES                     1
#define LWIP_HTTPD_DYNAMIC_HEADERS                  0
#define LWIP_HTTPD_SSI                              0
#define LWIP_HTTPD_CGI                              0
#define LWIP_HTTPD_SUPPORT_POST                     0
#define LWIP_HTTPD_SUPPORT_V09                      0
#define LWIP_HTTPD_SUPPORT_11_KEEPALIVE             0
#define LWIP_HTTPD_KILL_OLD_ON_CONNECTIONS_EXCEEDED 1
#define HTTPD_USE_MEM_POOL                          1
#define MEMP_NUM_PARALLEL_HTTPD_CONNS               12
#define HTTPD_MAX_RETRIES                           4

#endif
