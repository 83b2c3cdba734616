/*
 * The DHCP server's answers, to good and to malformed requests.
 * links: net-server/dhcp_server.c lib/print.c
 */
#include "unit_test.h"

#include "net-server/dhcp_server.h"
#include "net-server/frame.h"

enum {
    DISCOVER = 1,
    OFFER = 2,
    REQUEST = 3,
    DECLINE = 4,
    ACK = 5,
    NAK = 6,
    RELEASE = 7,
    INFORM = 8
};
#define OWN       0x0a000001u /* 10.0.0.1/24 */
#define MASK      0xffffff00u
#define FIRST     0x0a000064u
#define BROADCAST 0xffffffffu

static struct dhcp_server server;
static uint8_t reply[DHCP_REPLY_MAX];
static uint32_t to;

/* A request in memory of its own size, so that the sanitizer sees a byte read too far. */
static uint8_t *packet;
static size_t packet_bytes;

static void begin(uint8_t type, uint8_t card)
{
    free(packet);
    packet = calloc(1, 243);
    packet_bytes = 243;
    packet[0] = 1;
    packet[1] = 1;
    packet[2] = 6;
    write_be32(packet + 4, 0x11223344);
    packet[28] = 2;
    packet[33] = card;
    write_be32(packet + 236, 0x63825363);
    packet[240] = 53;
    packet[241] = 1;
    packet[242] = type;
}

static void option(uint8_t code, uint32_t value)
{
    packet = realloc(packet, packet_bytes + 6);
    packet[packet_bytes] = code;
    packet[packet_bytes + 1] = 4;
    write_be32(packet + packet_bytes + 2, value);
    packet_bytes += 6;
}

static size_t ask(uint32_t now_s)
{
    memset(reply, 0xee, sizeof reply);
    return dhcp_server_answer(&server, packet, packet_bytes, now_s, reply, &to);
}

/* The value of an option in the reply; 0: it is not there. */
static uint32_t answer_option(uint8_t code)
{
    const uint8_t *at = reply + 240;
    while (at < reply + sizeof reply && *at != 255) {
        if (*at == code)
            return at[1] == 1 ? at[2] : read_be32(at + 2);
        at += 2 + at[1];
    }
    return 0;
}

/* Does this text stand among the reply's options? */
static bool holds(size_t size_bytes, const char *text)
{
    for (size_t at = 240; at + strlen(text) <= size_bytes; at++)
        if (memcmp(reply + at, text, strlen(text)) == 0)
            return true;
    return false;
}

static uint32_t yours(void)
{
    return read_be32(reply + 16);
}

static void start(void)
{
    CHECK(dhcp_server_start(&server, OWN, MASK, 0));
}

/* The whole way of a new card to its address. */
static uint32_t obtain(uint8_t card, uint32_t now_s)
{
    begin(DISCOVER, card);
    if (ask(now_s) == 0)
        return 0;
    EXPECT(answer_option(53), OFFER);
    uint32_t address = yours();
    begin(REQUEST, card);
    option(50, address);
    option(54, OWN);
    CHECK(ask(now_s) != 0);
    EXPECT(answer_option(53), ACK);
    EXPECT(yours(), address);
    return address;
}

TEST(net_dhcp_gives_an_address,
     "a card gets an address with mask, name server and lease time; the same again later")
{
    start();
    EXPECT(obtain(1, 100), FIRST);
    EXPECT(to, BROADCAST);
    EXPECT(reply[0], 2);
    EXPECT(read_be32(reply + 4), 0x11223344);
    EXPECT(reply[28], 2);
    EXPECT(reply[33], 1);
    EXPECT(answer_option(54), OWN);
    EXPECT(answer_option(1), MASK);
    EXPECT(answer_option(6), OWN);
    EXPECT(answer_option(3), 0);
    EXPECT(answer_option(51), DHCP_LEASE_SECONDS);
    EXPECT(obtain(2, 100), FIRST + 1);
    EXPECT(obtain(1, 200), FIRST);
    EXPECT(obtain(1, 100000), FIRST);
}

TEST(net_dhcp_router, "a router is named if the network has one")
{
    CHECK(dhcp_server_start(&server, OWN, MASK, 0x0a0000fe));
    obtain(1, 1);
    EXPECT(answer_option(3), 0x0a0000fe);
}

TEST(net_dhcp_boot_file,
     "what firmware is to boot is told in the message's field and as options, in "
     "an offer and an agreement; where nothing is served, nothing is told")
{
    static const char url[] = "http://10.0.0.1/files/linux.ipxe";
    start();
    strcpy(server.boot_file, url);
    begin(DISCOVER, 1);
    size_t size_bytes = ask(1);
    EXPECT(read_be32(reply + 20), OWN);
    CHECK(strcmp((const char *)reply + 108, url) == 0);
    CHECK(holds(size_bytes, "\103\040http://10.0.0.1/files/linux.ipxe"));
    CHECK(holds(size_bytes, "\102\01010.0.0.1"));
    CHECK(holds(size_bytes, "\257\003\260\001\001"));
    EXPECT(answer_option(51), DHCP_LEASE_SECONDS);
    start();
    obtain(1, 1);
    EXPECT(read_be32(reply + 20), 0);
    EXPECT(reply[108], 0);
    EXPECT(answer_option(66), 0);
    EXPECT(answer_option(67), 0);
}

TEST(net_dhcp_longest, "the longest URL has room in the field and behind all other options")
{
    CHECK(dhcp_server_start(&server, 0xfefefefe, MASK, 0xfefefefd));
    memset(server.boot_file, 'x', DHCP_URL_MAX - 1);
    begin(DISCOVER, 1);
    size_t size_bytes = ask(1);
    CHECK(size_bytes > DHCP_REPLY_LEAST && size_bytes <= DHCP_REPLY_MAX);
    EXPECT(reply[size_bytes - 1], 255);
    EXPECT(reply[size_bytes - 7], 'x');
    EXPECT(reply[108 + DHCP_URL_MAX - 1], 0);
    EXPECT(read_be32(reply + 236), 0x63825363);
}

TEST(net_dhcp_renews, "a card that has its address renews it, and is answered there; one that asks "
                      "for a foreign one is refused, to all")
{
    start();
    uint32_t address = obtain(1, 100);
    begin(REQUEST, 1);
    write_be32(packet + 12, address);
    CHECK(ask(2000) != 0);
    EXPECT(answer_option(53), ACK);
    EXPECT(to, address);
    begin(REQUEST, 1);
    write_be32(packet + 12, address + 1);
    CHECK(ask(2000) != 0);
    EXPECT(answer_option(53), NAK);
    EXPECT(to, BROADCAST);
    EXPECT(yours(), 0);
    /* After a change of networks. */
    begin(REQUEST, 3);
    option(50, 0xc0a80005);
    CHECK(ask(2000) != 0);
    EXPECT(answer_option(53), NAK);
    /* It has taken another server's offer. */
    begin(REQUEST, 1);
    option(50, address);
    option(54, OWN + 7);
    EXPECT(ask(2000), 0);
}

TEST(net_dhcp_inform, "a card with an address of its own is told the rest, and gets no lease")
{
    start();
    begin(INFORM, 1);
    write_be32(packet + 12, 0x0a000005);
    CHECK(ask(1) != 0);
    EXPECT(answer_option(53), ACK);
    EXPECT(yours(), 0);
    EXPECT(answer_option(51), 0);
    EXPECT(answer_option(6), OWN);
    EXPECT(to, 0x0a000005);
    /* What it says of itself does not send answers elsewhere. */
    write_be32(packet + 12, 0xc0a80001);
    CHECK(ask(1) != 0);
    EXPECT(to, BROADCAST);
    EXPECT(obtain(2, 1), FIRST);
}

TEST(net_dhcp_runs_out, "no address is with two cards at once; when there is none left there is no "
                        "answer, until leases end")
{
    static bool taken[DHCP_LEASES_MAX];
    start();
    memset(taken, 0, sizeof taken);
    for (unsigned card = 0; card < DHCP_LEASES_MAX; card++) {
        uint32_t address = obtain((uint8_t)card, 10);
        CHECK(address - FIRST < DHCP_LEASES_MAX && !taken[address - FIRST]);
        taken[address - FIRST] = true;
    }
    EXPECT(obtain(200, 10), 0);
    EXPECT(obtain(5, 2000), FIRST + 5);
    CHECK(obtain(200, 10 + DHCP_LEASE_SECONDS) != 0);
    CHECK(obtain(5, 10 + DHCP_LEASE_SECONDS) == FIRST + 5);
}

TEST(net_dhcp_offer_ends, "an offer that nobody takes is free again after some seconds")
{
    CHECK(dhcp_server_start(&server, 0x0a000001, 0xfffffffc, 0));
    EXPECT(server.count, 2);
    begin(DISCOVER, 1);
    CHECK(ask(10) != 0);
    EXPECT(yours(), 0x0a000002);
    begin(DISCOVER, 2);
    EXPECT(ask(11), 0);
    CHECK(ask(11 + DHCP_OFFER_SECONDS) != 0);
    EXPECT(yours(), 0x0a000002);
}

TEST(net_dhcp_small_networks,
     "its own address, the network's and the broadcast address are never handed out")
{
    for (unsigned bits = 16; bits <= 30; bits++)
        for (uint32_t own = 1; own < 70; own++) {
            uint32_t mask = ~0u << (32 - bits), hosts = ~mask;
            if (own >= hosts)
                continue;
            CHECK(dhcp_server_start(&server, 0x0a000000 + own, mask, 0));
            for (unsigned card = 0; card < 80; card++) {
                begin(DISCOVER, (uint8_t)card);
                if (ask(1) == 0)
                    break;
                CHECK(yours() != 0x0a000000 + own && (yours() & ~mask) != 0);
                CHECK((yours() & ~mask) != hosts && (yours() & mask) == 0x0a000000);
            }
        }
    CHECK(!dhcp_server_start(&server, OWN, 0xfffffffe, 0));
    CHECK(!dhcp_server_start(&server, OWN, 0xffffffff, 0));
}

static bool only_card_1(const void *context, const uint8_t *mac)
{
    CHECK(context == &server);
    return mac[5] == 1;
}

TEST(net_dhcp_strangers, "where only known cards get addresses, invented ones get no answer")
{
    start();
    server.known = only_card_1;
    server.context = &server;
    EXPECT(obtain(2, 1), 0);
    EXPECT(obtain(1, 1), FIRST);
}

TEST(net_dhcp_malformed, "what is no request gets no answer: too short, other hardware, relayed, "
                         "cut options, answers, unknown types")
{
    start();
    for (size_t n = 0; n < 243; n++) {
        begin(DISCOVER, 1);
        packet_bytes = n;
        packet = realloc(packet, n ? n : 1);
        EXPECT(ask(1), 0);
    }
    static const struct {
        uint16_t at;
        uint8_t value;
    } bad[] = {{0, 2},   {1, 6},     {2, 16},  {24, 1},        {236, 0},       {28, 1},
               {241, 5}, {241, 255}, {242, 0}, {242, DECLINE}, {242, RELEASE}, {242, 99}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(DISCOVER, 1);
        packet[bad[i].at] = bad[i].value;
        EXPECT(ask(1), 0);
    }
}

TEST(net_dhcp_random, "whatever is sent, answers are whole, and no byte beyond the request is read")
{
    start();
    unsigned answers = 0;
    for (unsigned round = 0; round < 50000; round++) {
        begin((uint8_t)(unit_random() % 9), (uint8_t)unit_random());
        for (unsigned i = 0; i < unit_random() % 5; i++)
            option((uint8_t)unit_random(), (uint32_t)unit_random());
        for (unsigned i = 0; i < unit_random() % 4; i++)
            packet[unit_random() % packet_bytes] = (uint8_t)unit_random();
        size_t n = ask(round / 10);
        if (n == 0)
            continue;
        answers++;
        EXPECT(n, DHCP_REPLY_LEAST);
        CHECK(answer_option(54) == OWN);
    }
    CHECK(answers > 1000);
}
