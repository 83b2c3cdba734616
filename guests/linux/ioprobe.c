/*
 * Loads on a guest's disk and network, without a C library. Each command prints one line: IOPROBE command value...
 *
 *   ioprobe read FILE BYTES COUNT DEPTH [random]   COUNT direct reads of BYTES each, DEPTH at a time
 *   ioprobe write FILE BYTES COUNT DEPTH [random]  the same with writes of a known pattern
 *   ioprobe send ADDRESS PORT BYTES                sends so many bytes over TCP; waits for their receipt
 *   ioprobe receive PORT BYTES                     takes one connection and so many bytes of it, answers with one
 *   ioprobe datagrams ADDRESS PORT BYTES COUNT     sends so many by UDP, of BYTES each, as fast as it can
 *   ioprobe ping ADDRESS COUNT                     echo requests, each sent when the last one's answer has come
 *   ioprobe get ADDRESS PORT PATH COUNT            GET requests, each with a connection of its own, read to its end
 *   ioprobe records FILE                           appends numbered records of 512 bytes, each with fsync; prints
 *                                                  "RECORD n" when n is on the disk
 *   ioprobe check FILE                             the records of FILE are 0, 1, 2, ... without a gap: how many
 *
 * Ticks are those of RDTSC: instructions, where the emulator counts time by instructions.
 */
#include "plain.h"

enum { O_RDONLY = 0, O_RDWR = 2, O_CREAT = 0100, O_DIRECT = 040000 };
enum { DEPTH_MAX = 128, BYTES_MAX = 1 << 20, CHUNK = 65536, RECORD = 512, SEEK_END = 2 };

_Noreturn static void fail(const char *what, long status)
{
    put("IOPROBE failed: ");
    put(what);
    put_number((uint64_t)(status < 0 ? -status : status));
    end_line();
    finish(1);
}

static long must(long status, const char *what)
{
    if (status < 0)
        fail(what, status);
    return status;
}

/* ---- disk ------------------------------------------------------------------------------------ */

/* Linux's asynchronous I/O: include/uapi/linux/aio_abi.h. */
struct iocb {
    uint64_t data;
    uint32_t key, rw_flags;
    uint16_t opcode;
    int16_t priority;
    uint32_t file;
    uint64_t buffer, bytes;
    int64_t offset;
    uint64_t reserved;
    uint32_t flags, event_file;
};
struct io_event {
    uint64_t data, request;
    int64_t result, result2;
};

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static char *memory(uint64_t bytes)
{
    enum { READ_WRITE = 3, PRIVATE_ANONYMOUS_POPULATE = 0x8022 };
    long address =
        system_call6(SYS_mmap, 0, (long)bytes, READ_WRITE, PRIVATE_ANONYMOUS_POPULATE, -1, 0);
    if (address < 0 && address > -4096)
        fail("memory", address);
    return (char *)address;
}

static void disk(const char *path, bool writes, uint64_t bytes, uint64_t count, uint64_t depth,
                 bool random)
{
    static struct iocb requests[DEPTH_MAX];
    static struct io_event events[DEPTH_MAX];
    unsigned long context = 0;
    if (bytes == 0 || bytes > BYTES_MAX || bytes % RECORD || depth == 0 || depth > DEPTH_MAX)
        fail("sizes", 0);
    long file = must(
        system_call(SYS_open, (long)path, (writes ? O_RDWR : O_RDONLY) | O_DIRECT, 0, 0), "open");
    uint64_t places = (uint64_t)must(system_call(SYS_lseek, file, 0, SEEK_END, 0), "size") / bytes;
    char *buffers = memory(bytes * depth);
    must(system_call(SYS_io_setup, (long)depth, (long)&context, 0, 0), "io_setup");
    if (places == 0)
        fail("the file is too small", 0);
    uint64_t submitted = 0, done = 0;
    for (uint64_t slot = 0; slot < depth; slot++)
        events[slot].data = slot;
    uint64_t free_slots = depth;
    while (done < count) {
        struct iocb *batch[DEPTH_MAX];
        uint64_t n = 0;
        for (; n < free_slots && submitted < count; n++, submitted++) {
            uint64_t slot = events[n].data;
            uint64_t place = (random ? next_random() : submitted) % places;
            requests[slot] = (struct iocb){.data = slot,
                                           .opcode = writes,
                                           .file = (uint32_t)file,
                                           .buffer = (uint64_t)(buffers + slot * bytes),
                                           .bytes = bytes,
                                           .offset = (int64_t)(place * bytes)};
            batch[n] = &requests[slot];
        }
        for (uint64_t given = 0; given < n;)
            given += (uint64_t)must(system_call(SYS_io_submit, (long)context, (long)(n - given),
                                                (long)(batch + given), 0),
                                    "io_submit");
        long got = must(system_call(SYS_io_getevents, (long)context, 1, (long)depth, (long)events),
                        "io_getevents");
        for (long i = 0; i < got; i++)
            if (events[i].result != (int64_t)bytes)
                fail("a request", (long)events[i].result);
        done += (uint64_t)got;
        free_slots = (uint64_t)got;
    }
}

/* ---- records that must not be lost ------------------------------------------------------------- */

static void fill(uint64_t *record, uint64_t number)
{
    for (unsigned i = 0; i < RECORD / 8; i++)
        record[i] = number * 0x9e3779b97f4a7c15ull + i;
}

static void records(const char *path)
{
    static uint64_t record[RECORD / 8];
    long file = must(system_call(SYS_open, (long)path, O_RDWR | O_CREAT, 0644, 0), "open");
    uint64_t number = (uint64_t)must(system_call(SYS_lseek, file, 0, SEEK_END, 0), "size") / RECORD;
    for (;; number++) {
        fill(record, number);
        must(system_call(SYS_pwrite64, file, (long)record, RECORD, (long)(number * RECORD)),
             "write");
        must(system_call(SYS_fsync, file, 0, 0, 0), "fsync");
        put("RECORD");
        put_number(number);
        end_line();
    }
}

static uint64_t check(const char *path)
{
    static uint64_t record[RECORD / 8], wanted[RECORD / 8];
    long file = must(system_call(SYS_open, (long)path, O_RDONLY, 0, 0), "open");
    for (uint64_t number = 0;; number++) {
        long n = must(system_call(SYS_pread64, file, (long)record, RECORD, (long)(number * RECORD)),
                      "read");
        if (n != RECORD)
            return number;
        fill(wanted, number);
        for (unsigned i = 0; i < RECORD / 8; i++)
            if (record[i] != wanted[i])
                fail("record", (long)number);
    }
}

/* ---- network ------------------------------------------------------------------------------------ */

struct address {
    uint16_t family, port;
    uint32_t ip;
    uint64_t zero;
};

static uint16_t big_endian(uint64_t port)
{
    return (uint16_t)(port >> 8 | port << 8);
}

static uint32_t ip_of(const char *text)
{
    uint32_t ip = 0;
    for (unsigned i = 0; i < 4; i++) {
        ip |= (uint32_t)(number_of(text) & 255) << 8 * i;
        while (*text >= '0' && *text <= '9')
            text++;
        text += *text == '.';
    }
    return ip;
}

static long tcp_socket(void)
{
    enum { INET = 2, STREAM = 1 };
    return must(system_call(SYS_socket, INET, STREAM, 0, 0), "socket");
}

static void send_bytes(const char *host, uint64_t port, uint64_t bytes)
{
    struct address to = {2, big_endian(port), ip_of(host), 0};
    char *data = memory(CHUNK), answer;
    long stream = tcp_socket();
    must(system_call(SYS_connect, stream, (long)&to, sizeof to, 0), "connect");
    while (bytes) {
        uint64_t most = bytes < CHUNK ? bytes : CHUNK;
        bytes -= (uint64_t)must(system_call(SYS_write, stream, (long)data, (long)most, 0), "send");
    }
    if (must(system_call(SYS_read, stream, (long)&answer, 1, 0), "answer") != 1)
        fail("answer", 0);
}

static void datagrams(const char *host, uint64_t port, uint64_t bytes, uint64_t count)
{
    enum { INET = 2, DATAGRAMS = 2 };
    struct address to = {INET, big_endian(port), ip_of(host), 0};
    long door = must(system_call(SYS_socket, INET, DATAGRAMS, 0, 0), "socket");
    const char *data = memory(CHUNK);
    must(system_call(SYS_connect, door, (long)&to, sizeof to, 0), "connect");
    for (uint64_t n = 0; n < count; n++)
        must(system_call(SYS_write, door, (long)data, (long)bytes, 0), "send");
}

static void receive_bytes(uint64_t port, uint64_t bytes)
{
    struct address own = {2, big_endian(port), 0, 0};
    char *data = memory(CHUNK);
    long door = tcp_socket();
    int yes = 1;
    enum { SOCKET = 1, REUSE = 2 };
    system_call6(SYS_setsockopt, door, SOCKET, REUSE, (long)&yes, sizeof(int), 0);
    must(system_call(SYS_bind, door, (long)&own, sizeof own, 0), "bind");
    must(system_call(SYS_listen, door, 1, 0, 0), "listen");
    put("IOPROBE listening");
    end_line();
    long stream = must(system_call(SYS_accept, door, 0, 0, 0), "accept");
    while (bytes) {
        long n = must(system_call(SYS_read, stream, (long)data, CHUNK, 0), "receive");
        if (n == 0)
            fail("the connection ended early", 0);
        bytes -= (uint64_t)n;
    }
    must(system_call(SYS_write, stream, (long)data, 1, 0), "answer");
}

/* ICMP through a socket of its own kind (SOCK_RAW): what is received begins with the IPv4 header. */
static void ping(const char *host, uint64_t count)
{
    enum { INET = 2, RAW = 3, ICMP = 1, REQUEST = 8, ANSWER = 0, IP_BYTES = 20, MARK = 0x5e97 };
    struct echo {
        uint8_t type, code;
        uint16_t checksum, id, number;
        uint64_t data[7];
    } echo = {.type = REQUEST, .id = MARK};
    struct address to = {INET, 0, ip_of(host), 0};
    uint8_t answer[128];
    long stream = must(system_call(SYS_socket, INET, RAW, ICMP, 0), "socket");
    must(system_call(SYS_connect, stream, (long)&to, sizeof to, 0), "connect");
    for (uint64_t n = 0; n < count; n++) {
        const struct echo *got = (const struct echo *)(answer + IP_BYTES);
        uint32_t sum = REQUEST + MARK + (uint16_t)n;
        echo.number = (uint16_t)n;
        echo.checksum = (uint16_t) ~((sum >> 16) + (sum & 0xffff));
        must(system_call(SYS_write, stream, (long)&echo, sizeof echo, 0), "send");
        do
            must(system_call(SYS_read, stream, (long)answer, sizeof answer, 0), "answer");
        while (got->type != ANSWER || got->id != MARK || got->number != (uint16_t)n);
    }
}

static void get(const char *host, uint64_t port, const char *path, uint64_t count)
{
    struct address to = {2, big_endian(port), ip_of(host), 0};
    const char *const parts[] = {"GET ", path, " HTTP/1.0\r\n\r\n"};
    static const char right[] = "HTTP/1.";
    static char request[512];
    size_t bytes = 0;
    char *data = memory(CHUNK);
    for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++)
        for (const char *from = parts[i]; *from && bytes < sizeof request; from++)
            request[bytes++] = *from;
    for (uint64_t n = 0; n < count; n++) {
        long stream = tcp_socket(), got, all = 0;
        must(system_call(SYS_connect, stream, (long)&to, sizeof to, 0), "connect");
        must(system_call(SYS_write, stream, (long)request, (long)bytes, 0), "send");
        while ((got = must(system_call(SYS_read, stream, (long)data, CHUNK, 0), "receive")) != 0) {
            for (long i = 0; i < got && all + i < (long)sizeof right - 1; i++)
                if (data[i] != right[all + i])
                    fail("answer", all + i);
            all += got;
        }
        if (all < (long)sizeof right)
            fail("answer", all);
        must(system_call(SYS_close, stream, 0, 0, 0), "close");
    }
}

/* ---- the program -------------------------------------------------------------------------------- */

_Noreturn __attribute__((used)) static void ioprobe_main(uint64_t *stack)
{
    enum { WORDS = 7 };
    uint64_t count = stack[0], n[WORDS];
    const char *words[WORDS];
    for (unsigned i = 0; i < WORDS; i++) {
        words[i] = i < count ? (const char *)stack[1 + i] : "";
        n[i] = number_of(words[i]);
    }
    uint64_t start = ticks(), value = 0;
    bool counts = false;
    if (same(words[1], "read") || same(words[1], "write"))
        disk(words[2], same(words[1], "write"), n[3], n[4], n[5], same(words[6], "random"));
    else if (same(words[1], "records"))
        records(words[2]);
    else if (same(words[1], "check"))
        value = check(words[2]), counts = true;
    else if (same(words[1], "send"))
        send_bytes(words[2], n[3], n[4]);
    else if (same(words[1], "receive"))
        receive_bytes(n[2], n[3]);
    else if (same(words[1], "datagrams"))
        datagrams(words[2], n[3], n[4], n[5]);
    else if (same(words[1], "ping"))
        ping(words[2], n[3]);
    else if (same(words[1], "get"))
        get(words[2], n[3], words[4], n[5]);
    else {
        put("usage: ioprobe read|write FILE BYTES COUNT DEPTH [random], records|check FILE, ");
        put("send ADDRESS PORT BYTES, receive PORT BYTES, datagrams ADDRESS PORT BYTES COUNT, ");
        put("ping ADDRESS COUNT, get ADDRESS PORT PATH COUNT");
        end_line();
        finish(2);
    }
    put("IOPROBE ");
    put(words[1]);
    put_number(counts ? value : ticks() - start);
    end_line();
    finish(0);
}

PLAIN_START(ioprobe_main)
