/* What it costs to hand on a page: in a message, and in the answer to a page fault. */
#include "bench.h"

/* The same frame goes to a new address each round: 512 of them, and again. */
#define PAGES 512u

/* in[0]: endpoint, in[1]: address of a range of PAGES pages. Accepts one page after the other. */
static void page_server(struct worker *worker)
{
    uint64_t deadline = far_deadline();
    window_open(SPACE_HOST, worker->in[1], PAGES);
    message_wait(worker->in[0], deadline);
    for (;;)
        message_reply_wait(worker->in[0], 0, NULL, deadline);
}

TEST(ipc_page_map, "a call that carries one 4 KiB page")
{
    struct child_task task;
    task_new_with_quota(&task, 256);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_RECEIVE, 0);
    uint64_t physical, address = addresses_new(PAGES, 1);
    pages_new(1, 1, &physical);
    struct worker *server = worker_new(&task, 0, PRIORITY_HIGH, page_server);
    server->in[0] = endpoint;
    server->in[1] = address;
    worker_start(server);

    struct map_item item = item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 1, MAP_READ);
    uint64_t spent = 0, calls = 0, deadline = far_deadline();
    struct measurement m;
    while (calls < ROUNDS) {
        measure_begin(&m);
        uint64_t before = ticks();
        for (uint64_t i = 0; i < PAGES; i++) {
            item.offset = i * SEPTUM_PAGE_SIZE;
            thread_buffer()->items[0] = item;
            EXPECT_OK(message_call(endpoint, TAG(0, 0, 1), NULL, deadline).status);
        }
        spent += ticks() - before;
        calls += PAGES;
        EXPECT_OK(sys_unmap(task.task, SPACE_HOST | UNMAP_SELF, address, PAGES));
    }
    m.ticks = ticks() - spent;
    measure_end(&m, "ipc_page_map", calls,
                "call and reply; tables included, one for 512 pages; the page is taken back unmeasured");
}

/* in[0]: address of PAGES pages. Touches one after the other; out[0] = ticks. */
static void toucher(struct worker *worker)
{
    uint64_t before = ticks();
    for (uint64_t i = 0; i < PAGES; i++)
        *(volatile const char *)(worker->in[0] + i * SEPTUM_PAGE_SIZE);
    worker->out[0] = ticks() - before;
}

/* in[0]: endpoint, in[1]: frame. A pager that maps the same frame wherever it is wanted. */
static void pager(struct worker *worker)
{
    uint64_t deadline = far_deadline();
    struct message m = message_wait(worker->in[0], deadline);
    for (;;) {
        thread_buffer()->items[0] =
            item_memory(SPACE_PHYSICAL, worker->in[1], SPACE_HOST,
                        m.w[0] & ~(SEPTUM_PAGE_SIZE - 1), 1, MAP_READ);
        m = message_reply_wait(worker->in[0], TAG(0, 0, 1), NULL, deadline);
    }
}

TEST(page_fault_roundtrip, "a page fault, a pager that maps one page, and on")
{
    struct child_task task;
    task_new_with_quota(&task, 256);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 1);
    uint64_t physical, address = addresses_new(PAGES, 1), spent = 0, faults = 0;
    pages_new(1, 1, &physical);
    struct worker *server = worker_new(NULL, 0, PRIORITY_HIGH, pager);
    server->in[0] = endpoint;
    server->in[1] = physical;
    worker_start(server);
    struct measurement m;
    while (faults < ROUNDS) {
        struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH - 1, toucher);
        worker->in[0] = address;
        EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_SET_FAULT_ENDPOINT, endpoint, 0,
                              0, 0)
                      .status);
        measure_begin(&m);
        worker_start(worker);
        worker_join(worker);
        spent += worker->out[0];
        faults += PAGES;
        EXPECT_OK(sys_unmap(task.task, SPACE_HOST | UNMAP_SELF, address, PAGES));
    }
    m.ticks = ticks() - spent;
    measure_end(&m, "page_fault_roundtrip", faults,
                "fault, message to a pager in another task, one page mapped by the reply, resumed");
}
