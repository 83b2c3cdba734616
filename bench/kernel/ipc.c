/* What a system call and a message cost. Deadlines are finite and far, as a careful client's are. */
#include "bench.h"

TEST(null_syscall, "the least that a system call costs")
{
    struct measurement m;
    measure_begin(&m);
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t rax = SYSCALL_inspect, rdi = INSPECT_NULL;
        __asm__ volatile("syscall"
                         : "+a"(rax), "+D"(rdi)
                         :
                         : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
    }
    measure_end(&m, "null_syscall", ROUNDS, "inspect, selector 0; stub and loop included");
}

/* in[0]: endpoint. Answers empty messages for ever. */
static void null_server(struct worker *worker)
{
    uint64_t tag = 0, badge, target = worker->in[0], deadline = far_deadline();
    message_wait(target, deadline);
    for (;;)
        ipc_reply_wait_0(target, &tag, &badge, deadline);
}

static void word_server(struct worker *worker)
{
    uint64_t tag = 4, badge, target = worker->in[0], deadline = far_deadline(), w[4] = {1, 2, 3, 4};
    message_wait(target, deadline);
    for (;;)
        ipc_reply_wait_4(target, &tag, &badge, w, deadline);
}

/* in[0]: endpoint, in[1]: four words or none, in[2]: rounds. Calls; out[0] = ticks. */
static void client(struct worker *worker)
{
    uint64_t tag = worker->in[1] ? TAG(0, 4, 0) : 0, w[4] = {1, 2, 3, 4};
    uint64_t endpoint = worker->in[0], rounds = worker->in[2], deadline = far_deadline();
    uint64_t before = ticks();
    if (worker->in[1]) {
        for (uint64_t i = 0; i < rounds; i++)
            ipc_call_4(endpoint, &tag, w, deadline);
    } else {
        for (uint64_t i = 0; i < rounds; i++)
            ipc_call_0(endpoint, &tag, deadline);
    }
    worker->out[0] = ticks() - before;
}

/* The client is a child, too: the first task holds ports in use, which makes its switches slower. */
static void roundtrip(struct child_task *client_task, struct child_task *server_task, bool words,
                      const char *name, const char *comment)
{
    cap_slot_t endpoint = endpoint_new(0);
    task_give(client_task, endpoint, RIGHT_SEND | RIGHT_RECEIVE, 0);
    if (server_task != client_task)
        task_give(server_task, endpoint, RIGHT_RECEIVE, 0);
    worker_go(server_task, 0, PRIORITY_HIGH, words ? word_server : null_server, endpoint);
    struct measurement m;
    uint64_t spent = 0;
    for (unsigned pass = 0; pass < 2; pass++) { /* the first warms up */
        struct worker *worker = worker_new(client_task, 0, PRIORITY_HIGH, client);
        worker->in[0] = endpoint;
        worker->in[1] = words;
        worker->in[2] = pass ? ROUNDS : WARM_UP;
        measure_begin(&m);
        worker_start(worker);
        worker_join(worker);
        spent = worker->out[0];
    }
    m.ticks = ticks() - spent; /* the loop's own, without its worker's beginning and end */
    measure_end(&m, name, ROUNDS, comment);
}

TEST(ipc_roundtrip_cross_space, "call and reply between two tasks, empty message")
{
    struct child_task one, two;
    task_new(&one);
    task_new(&two);
    roundtrip(&one, &two, false, "ipc_roundtrip_cross_space",
              "call + reply-wait between two tasks, empty message, both user loops included");
}

TEST(ipc_roundtrip_4_words, "the same with four words each way")
{
    struct child_task one, two;
    task_new(&one);
    task_new(&two);
    roundtrip(&one, &two, true, "ipc_roundtrip_4_words", "the same with four message words each way");
}

TEST(ipc_roundtrip_same_space, "call and reply between two threads of one task")
{
    struct child_task task;
    task_new(&task);
    roundtrip(&task, &task, false, "ipc_roundtrip_same_space", "between two threads of one task");
}

TEST(notification_raise, "raising a notification that nobody waits for")
{
    struct measurement m;
    cap_slot_t notification = notification_new(0);
    measure_begin(&m);
    for (unsigned i = 0; i < ROUNDS; i++)
        syscall_raw(IPC_RAX(IPC_SEND), notification, 0, 1, 0, 0, 0, 0);
    measure_end(&m, "notification_raise", ROUNDS, "nobody waits; stub and loop included");
}
