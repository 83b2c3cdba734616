/*
 * The task that GNU Mach starts first. It makes Mach work: tasks, threads and ports, messages in a ring of
 * tasks, and a ping-pong whose round trip is measured. The module's line is
 *
 *     mach-bootstrap ${host-port} ${device-port} $(task-create) $(task-resume)
 *
 * Mach puts the names of two of its ports into it; the second is what devices are opened with.
 */
#include "mach.h"

enum { WORKERS = 4, HOPS = 1000, PING = 1, TOKEN = 2, REPLY = 100, STACK_BYTES = 8192 };
enum { ROUND_BITS = 12, ROUNDS = 1 << ROUND_BITS };

void bootstrap_main(int count, char **words);

static uint8_t stack[STACK_BYTES]
    __attribute__((aligned(16))); /* of a task's second thread, or of a new task's first */

static uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static void stop(const char *what, uint32_t number)
{
    say("MACH-GUEST failed: %s %x", what, number);
    task_terminate(mach_task_self());
}

/* ---- ping-pong ----------------------------------------------------------------------------------- */

/*
 * Answers every call with its number plus one. Runs in a task or a thread of its own; it has no console, and
 * stops if a message is bad.
 */
static void serve(uint32_t port, uint32_t unused_b, uint32_t unused_c)
{
    struct message message;
    (void)unused_b;
    (void)unused_c;
    uint32_t code = message_receive(&message, port);
    while (!code) {
        uint32_t number = message.body[1];
        message_begin(&message, BITS(MOVE_SEND_ONCE, 0), message.remote, 0, message.id + REPLY);
        message_put(&message, number + 1);
        code = mach_msg(&message, OPTION_SEND | OPTION_RECEIVE, message.size_bytes, sizeof message,
                        port, 0, 0);
    }
    task_terminate(mach_task_self());
}

/* Ticks of a round trip to the server at this port, the mean of all. */
static uint32_t ping(port_t server)
{
    struct message message;
    port_t reply = mach_reply_port();
    uint32_t number = 0;
    uint64_t start = 0;
    for (unsigned i = 0; i < ROUNDS + 16; i++) {
        if (i == 16) /* by then everything is where it will be */
            start = ticks();
        message_begin(&message, BITS(COPY_SEND, MAKE_SEND_ONCE), server, reply, PING);
        message_put(&message, number);
        uint32_t code = message_call(&message);
        if (code || message.id != PING + REPLY || message.body[1] != number + 1)
            stop("a ping's answer, code", code);
        number = message.body[1];
    }
    uint32_t spent = (uint32_t)((ticks() - start) >> ROUND_BITS);
    say("MACH-GUEST %u calls answered", number);
    return spent;
}

/* ---- a ring of tasks ----------------------------------------------------------------------------- */

static uint32_t next_token(uint32_t token, uint32_t worker)
{
    return token * 31 + worker;
}

/*
 * A task of the ring: takes the token from `own`, works on it and passes it on, after the last hop to `home`.
 * Names of ports are those of its own space. The worker's number is in the message that its neighbour sends.
 */
static void work(uint32_t own, uint32_t next, uint32_t home)
{
    struct message message;
    while (!message_receive(&message, own)) {
        uint32_t token = message.body[1], hops = message.body[3], worker = message.body[5];
        token = next_token(token, worker);
        message_begin(&message, BITS(COPY_SEND, 0), hops > 1 ? next : home, 0, TOKEN);
        message_put(&message, token);
        message_put(&message, hops - 1);
        message_put(&message, (worker + 1) % WORKERS);
        if (message_send(&message))
            break;
    }
    task_terminate(mach_task_self());
}

static void ring(void)
{
    struct message message;
    port_t task[WORKERS], own[WORKERS], to[WORKERS];
    port_t self = mach_task_self(), home = port_allocate(self),
           to_home = port_extract_send(self, home);
    for (unsigned i = 0; i < WORKERS; i++) {
        task[i] = task_create();
        own[i] = port_allocate(task[i]);
        to[i] = port_extract_send(task[i], own[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        enum { NEXT = 0x1001, HOME = 0x1002 }; /* names that are free in a new task */
        port_insert_send(task[i], NEXT, to[(i + 1) % WORKERS]);
        port_insert_send(task[i], HOME, to_home);
        thread_start(task[i], work, stack + sizeof stack, own[i], NEXT, HOME);
    }
    message_begin(&message, BITS(COPY_SEND, 0), to[0], 0, TOKEN);
    message_put(&message, 1);
    message_put(&message, HOPS);
    message_put(&message, 0);
    uint32_t code = message_send(&message);
    if (!code)
        code = message_receive(&message, home);
    if (code)
        stop("the ring, code", code);
    uint32_t wanted = 1;
    for (unsigned i = 0; i < HOPS; i++)
        wanted = next_token(wanted, i % WORKERS);
    if (message.body[1] != wanted)
        stop("the token of the ring is", message.body[1]);
    say("MACH-GUEST ring of %u tasks, %u hops, token %x", WORKERS, HOPS, wanted);
    for (unsigned i = 0; i < WORKERS; i++)
        task_terminate(task[i]);
}

/* -------------------------------------------------------------------------------------------------- */

static port_t number_of(const char *word)
{
    port_t number = 0;
    for (; *word >= '0' && *word <= '9'; word++)
        number = number * 10 + (port_t)(*word - '0');
    return number;
}

static uint32_t trap_ticks(void)
{
    uint64_t start = ticks();
    for (unsigned i = 0; i < ROUNDS; i++)
        mach_thread_self();
    return (uint32_t)((ticks() - start) >> ROUND_BITS);
}

void bootstrap_main(int count, char **words)
{
    if (count < 3)
        task_terminate(mach_task_self());
    kernel_start(number_of(words[count - 1]));
    say("SEPTUM-GUEST-UP mach");
    ring();

    port_t self = mach_task_self(), other = task_create();
    port_t port = port_allocate(other);
    thread_start(other, serve, stack + sizeof stack, port, 0, 0);
    say("MACH-GUEST rpc between tasks: %u ticks", ping(port_extract_send(other, port)));
    task_terminate(other);

    port = port_allocate(self);
    thread_start(self, serve, stack + sizeof stack, port, 0, 0);
    say("MACH-GUEST rpc between threads: %u ticks", ping(port_extract_send(self, port)));
    say("MACH-GUEST mach_thread_self: %u ticks", trap_ticks());
    say("MACH-GUEST done");
    for (;;)
        message_receive(&(struct message){0}, port_allocate(self));
}
