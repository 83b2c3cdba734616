/*
 * Questions for names, passed on and answered.
 * links: net-server/dns_forward.c
 */
#include "unit_test.h"

#include "net-server/dns_forward.h"
#include "net-server/frame.h"

static struct dns_forward forward;
static uint8_t message[600];

/* A question for www.NAME.de with an identifier; returns its size. */
static size_t ask_for(const char *name, uint16_t id)
{
    size_t length = strlen(name);
    memset(message, 0, sizeof message);
    write_be16(message, id);
    message[2] = 1;
    message[5] = 1;
    uint8_t *at = message + 12;
    *at++ = 3;
    memcpy(at, "www", 3);
    at += 3;
    *at++ = (uint8_t)length;
    memcpy(at, name, length);
    at += length;
    *at++ = 2;
    memcpy(at, "de", 2);
    at += 2;
    at[2] = 1;
    at[4] = 1;
    return (size_t)(at + 5 - message);
}

static size_t answer_for(const char *name, uint16_t id)
{
    size_t size_bytes = ask_for(name, id);
    message[2] |= 0x80;
    return size_bytes + 16;
}

static const struct dns_question *ask(const char *name, uint16_t id, uint32_t network,
                                      uint32_t now_s, uint16_t random)
{
    size_t n = ask_for(name, id);
    return dns_forward_ask(&forward, message, n, network, 0x0500000a, 4000, now_s, random);
}

static const struct dns_question *answer(const char *name, uint16_t id, uint32_t now_s)
{
    size_t n = answer_for(name, id);
    return dns_forward_answer(&forward, message, n, now_s);
}

TEST(net_dns_there_and_back,
     "a question goes out with an identifier of ours, and its answer back once, with the asker's")
{
    memset(&forward, 0, sizeof forward);
    CHECK(ask("debian", 7, 2, 10, 0x1234) != NULL);
    EXPECT(read_be16(message), 0x1234);
    const struct dns_question *question = answer("dEBian", 0x1234, 11);
    CHECK(question != NULL);
    EXPECT(read_be16(message), 7);
    EXPECT(question->address, 0x0500000a);
    EXPECT(question->port, 4000);
    EXPECT(question->network, 2);
    CHECK(answer("debian", 0x1234, 11) == NULL);
}

TEST(net_dns_false_answers,
     "answers that nobody asked for, to another question, or too late, go nowhere")
{
    memset(&forward, 0, sizeof forward);
    CHECK(ask("debian", 7, 2, 10, 0x1234) != NULL);
    CHECK(answer("debian", 0x1235, 11) == NULL);
    CHECK(answer("other", 0x1234, 11) == NULL);
    size_t n = ask_for("debian", 0x1234);
    CHECK(dns_forward_answer(&forward, message, n, 11) == NULL);
    CHECK(answer("debian", 0x1234, 10 + DNS_PATIENCE_S) == NULL);
    CHECK(answer("debian", 0x1234, 11) != NULL);
}

TEST(net_dns_shares,
     "one network can't take all places, and identifiers of waiting questions differ")
{
    memset(&forward, 0, sizeof forward);
    for (unsigned i = 0; i < DNS_NETWORK_SHARE; i++) {
        CHECK(ask("debian", 7, 0, 10, 0x1234) != NULL);
        for (unsigned other = 0; other < i; other++)
            CHECK(answer("x", 0, 10) == NULL);
    }
    CHECK(ask("debian", 7, 0, 10, 0x1234) == NULL);
    CHECK(ask("debian", 8, 1, 10, 0x1234) != NULL);
    uint16_t last = read_be16(message);
    EXPECT(answer("debian", last, 10)->network, 1);
    unsigned back = 0;
    for (unsigned id = 0; id < 0x10000; id++)
        back += answer("debian", (uint16_t)id, 10) != NULL;
    EXPECT(back, DNS_NETWORK_SHARE);
    CHECK(ask("debian", 7, 0, 10, 0x1234) != NULL);
}

TEST(net_dns_malformed,
     "what is no whole question with one name is not passed on, and no byte beyond it is read")
{
    unsigned passed = 0;
    memset(&forward, 0, sizeof forward);
    for (unsigned round = 0; round < 60000; round++) {
        size_t n = ask_for("debian", 7);
        for (unsigned i = 0; i < unit_random() % 3; i++)
            message[unit_random() % n] = (uint8_t)unit_random();
        if (unit_random() % 3 == 0)
            n = unit_random() % (n + 1);
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, message, n);
        const struct dns_question *question =
            dns_forward_ask(&forward, exact, n, 0, 1, 2, round * 10, (uint16_t)round);
        if (question)
            CHECK(n >= 17 && (message[2] & 0xf8) == 0 && message[4] == 0 && message[5] == 1);
        passed += question != NULL;
        dns_forward_answer(&forward, exact, n, round * 10);
        free(exact);
    }
    CHECK(passed > 10000);
}

TEST(net_dns_refuses, "without a name server the answer is SERVFAIL to the same question")
{
    ask_for("debian", 7);
    dns_forward_refuse(message);
    EXPECT(read_be16(message), 7);
    EXPECT(read_be16(message + 2), 0x8102);
    EXPECT(read_be16(message + 4), 1);
}
