/* Questions for names on their way to a name server elsewhere, and the answers back. Knows no sockets. */
#ifndef NET_SERVER_DNS_FORWARD_H
#define NET_SERVER_DNS_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_PORT          53u
#define DNS_MESSAGE_MAX   512u /* RFC 1035, 4.2.1 */
#define DNS_QUESTIONS_MAX 32u
#define DNS_PATIENCE_S    5u
#define DNS_NETWORK_SHARE 12u /* of one network, at once */

struct dns_question {
    bool waits;
    uint16_t id, asked_id; /* ours, and the asker's */
    uint16_t port;
    uint32_t address; /* the asker's, as the network has it */
    uint32_t network; /* which */
    uint32_t asked_s;
    uint32_t question_hash; /* of the question section: the answer has the same */
};

struct dns_forward {
    struct dns_question questions[DNS_QUESTIONS_MAX];
};

/* A question from a network: puts `random` in as its identifier and keeps it. NULL: it is none, or there are too many. */
const struct dns_question *dns_forward_ask(struct dns_forward *forward, uint8_t *message,
                                           size_t size_bytes, uint32_t network, uint32_t address,
                                           uint16_t port, uint32_t now_s, uint16_t random);
/* An answer: puts the asker's identifier in, and says whose it is (valid until the next call). NULL: nobody asked so. */
const struct dns_question *dns_forward_answer(struct dns_forward *forward, uint8_t *message,
                                              size_t size_bytes, uint32_t now_s);
/* Makes a question into the answer that there is none now (SERVFAIL). */
void dns_forward_refuse(uint8_t *message);

#endif
