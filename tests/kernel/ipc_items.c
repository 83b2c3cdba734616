/* Items: messages that delegate memory, ports and capabilities into the window a receiver has
 * opened. */
#include "kit.h"

#define WINDOW_PAGES 16u

/* in[0]: endpoint, in[1]: space, in[2]: window base, in[3]: window count. Opens the window, waits
 * once, keeps what arrived, answers, and so on. */
static struct map_item arrived[MESSAGE_ITEMS_MAX];

static void item_receiver(struct worker *worker)
{
    window_open((enum space_kind)worker->in[1], worker->in[2], worker->in[3]);
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (m.status == STATUS_OK) {
        worker->message = m;
        for (unsigned i = 0; i < TAG_ITEMS(m.tag); i++)
            arrived[i] = thread_buffer()->received[i];
        worker->step++;
        m = message_reply_wait(worker->in[0], TAG(1, 0, 0), NULL, DEADLINE_NEVER);
    }
    worker->message.status = m.status;
}

/* A receiving task with one window. */
struct receiver {
    struct child_task task;
    cap_slot_t endpoint;
    struct worker *worker;
    uint64_t base;
};

static void receiver_new(struct receiver *r, enum space_kind space, uint64_t base, uint64_t count)
{
    task_new(&r->task);
    r->endpoint = endpoint_new(0);
    task_give(&r->task, r->endpoint, RIGHT_RECEIVE, 0);
    r->base = base;
    r->worker = worker_new(&r->task, 0, PRIORITY_HIGH, item_receiver);
    r->worker->in[0] = r->endpoint;
    r->worker->in[1] = space;
    r->worker->in[2] = base;
    r->worker->in[3] = count;
    worker_start(r->worker);
}

static uint64_t call_with_item(const struct receiver *r, struct map_item item)
{
    thread_buffer()->items[0] = item;
    return message_call(r->endpoint, TAG(2, 0, 1), NULL, far_deadline()).status;
}

static void memory_receiver(struct receiver *r)
{
    /* Nothing is mapped behind the window, so that what goes too far is not refused for that. */
    receiver_new(r, SPACE_HOST, addresses_new(WINDOW_PAGES + 2, 1), WINDOW_PAGES);
}

static unsigned rights_at(const struct receiver *r, uint64_t address, uint64_t *frame)
{
    return table_rights(r->task.task, SPACE_HOST, address, frame);
}

TEST(item_maps_memory, "an item maps a page of the sender into the receiver's window")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical, frame;
    void *page = pages_new(1, 1, &physical);
    EXPECT_OK(call_with_item(
        &r, item_memory(SPACE_HOST, (uint64_t)page, SPACE_HOST, 0x3000, 1, MAP_READ | MAP_WRITE)));
    EXPECT(r.worker->step, 1);
    EXPECT(TAG_ITEMS(r.worker->message.tag), 1);
    EXPECT(rights_at(&r, r.base + 0x3000, &frame), MAP_READ | MAP_WRITE);
    EXPECT(frame, physical);
    EXPECT(rights_at(&r, r.base + 0x2000, NULL), 0);
    EXPECT(rights_at(&r, r.base + 0x4000, NULL), 0);
}

TEST(item_received_is_described, "the receiver finds in its buffer what arrived, and where")
{
    struct receiver r;
    memory_receiver(&r);
    void *pages = pages_new(3, 1, NULL);
    EXPECT_OK(call_with_item(
        &r, item_memory(SPACE_HOST, (uint64_t)pages, SPACE_HOST, 0x5000, 3, MAP_READ)));
    EXPECT(arrived[0].offset, r.base + 0x5000);
    EXPECT(arrived[0].count, 3);
    EXPECT(arrived[0].how >> 8 & 0xff, SPACE_HOST);
    EXPECT(arrived[0].how >> 16 & 0xff, MAP_READ);
}

TEST(item_from_physical,
     "an item may come from the frames that the sender holds by physical address")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical, frame;
    pages_new(2, 1, &physical);
    EXPECT_OK(call_with_item(
        &r, item_memory(SPACE_PHYSICAL, physical + 4096, SPACE_HOST, 0, 1, MAP_READ)));
    EXPECT(rights_at(&r, r.base, &frame), MAP_READ);
    EXPECT(frame, physical + 4096);
}

/* in[0]: endpoint, in[1]: where its window of four pages is. */
static void call_with_window(struct worker *worker)
{
    window_open(SPACE_HOST, worker->in[1], 4);
    worker->message = message_call(worker->in[0], TAG(1, 0, 0), NULL, far_deadline());
}

TEST(item_in_reply, "a reply's item lands in the caller's window")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct child_task task;
    task_new(&task);
    task_give(&task, endpoint, RIGHT_SEND, 0);
    uint64_t base = addresses_new(4, 1), physical;
    pages_new(1, 1, &physical);
    struct worker *caller = worker_new(&task, 0, PRIORITY_HIGH, call_with_window);
    caller->in[0] = endpoint;
    caller->in[1] = base;
    worker_start(caller);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    thread_buffer()->items[0] =
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0x1000, 1, MAP_READ);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(0, 0, 1), NULL, DEADLINE_POLL).status,
                  STATUS_TIMEOUT);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
    EXPECT(table_rights(task.task, SPACE_HOST, base + 0x1000, NULL), MAP_READ);
}

TEST(item_four_at_once, "one message carries four items")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical;
    pages_new(4, 1, &physical);
    for (uint64_t i = 0; i < 4; i++)
        thread_buffer()->items[i] =
            item_memory(SPACE_PHYSICAL, physical + i * 4096, SPACE_HOST, i * 0x2000, 1, MAP_READ);
    EXPECT_OK(message_call(r.endpoint, TAG(2, 0, 4), NULL, far_deadline()).status);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t frame = 0;
        EXPECT(rights_at(&r, r.base + i * 0x2000, &frame), MAP_READ);
        EXPECT(frame, physical + i * 4096);
    }
}

TEST(item_with_words, "items and sixty-three words travel in one message")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical;
    pages_new(1, 1, &physical);
    thread_buffer()->items[0] = item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 1, MAP_READ);
    EXPECT_OK(message_call(r.endpoint, TAG(9, 63, 1), NULL, far_deadline()).status);
    EXPECT(TAG_WORDS(r.worker->message.tag), 63);
    EXPECT(rights_at(&r, r.base, NULL), MAP_READ);
}

TEST(item_window_closed,
     "an item for a space without a window is refused, and no message is received")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical;
    pages_new(1, 1, &physical);
    EXPECT_STATUS(
        call_with_item(&r, item_memory(SPACE_PHYSICAL, physical, SPACE_GUEST, 0, 1, MAP_READ)),
        STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(call_with_item(&r, item_capability(r.endpoint, 0, RIGHT_SEND, 0)),
                  STATUS_BAD_ARGUMENT);
    EXPECT(r.worker->step, 0);
    EXPECT(thread_state(r.worker->thread.thread), THREAD_RECEIVING);
}

TEST(item_outside_window, "an item that does not lie in the window is refused, at every edge")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical;
    pages_new(2, 1, &physical);
    static const struct {
        uint64_t offset, count;
    } bad[] = {{WINDOW_PAGES * 4096, 1}, {(WINDOW_PAGES - 1) * 4096, 2}, {UINT64_MAX - 4095, 1},
               {0, WINDOW_PAGES + 1},    {0x8000000000000000, 1},        {0, 512}};
    for (unsigned i = 0; i < 6; i++)
        EXPECT_STATUS(call_with_item(&r, item_memory(SPACE_PHYSICAL, physical, SPACE_HOST,
                                                     bad[i].offset, bad[i].count, MAP_READ)),
                      STATUS_BAD_ARGUMENT);
    EXPECT_OK(call_with_item(&r, item_memory(SPACE_PHYSICAL, physical, SPACE_HOST,
                                             (WINDOW_PAGES - 1) * 4096, 1, MAP_READ)));
}

TEST(item_malformed, "items with no pages, too many, odd addresses or undefined spaces are refused")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical;
    pages_new(1, 1, &physical);
    const struct map_item bad[] = {
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 0, MAP_READ),
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 513, MAP_READ),
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, UINT64_MAX, MAP_READ),
        item_memory(SPACE_PHYSICAL, physical + 1, SPACE_HOST, 0, 1, MAP_READ),
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0x800, 1, MAP_READ),
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 1, 0),
        item_memory(SPACE_PHYSICAL, physical, SPACE_PORT, 0, 1, MAP_READ),
        item_memory(SPACE_KIND_COUNT, physical, SPACE_HOST, 0, 1, MAP_READ),
        item_memory(SPACE_PHYSICAL, physical, SPACE_KIND_COUNT, 0, 1, MAP_READ),
        item_memory(SPACE_PORT, 0, SPACE_HOST, 0, 1, MAP_READ),
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        EXPECT_STATUS(call_with_item(&r, bad[i]), STATUS_BAD_ARGUMENT);
    EXPECT(r.worker->step, 0);
}

TEST(item_source_not_held, "an item of memory that the sender does not hold is refused: NO_MAPPING")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t hole = addresses_new(2, 1);
    EXPECT_STATUS(call_with_item(&r, item_memory(SPACE_HOST, hole, SPACE_HOST, 0, 1, MAP_READ)),
                  STATUS_NO_MAPPING);
    for (uint32_t i = 0; i < boot->memory_range_count; i++)
        if (boot->memory[i].type == BOOT_MEMORY_KERNEL)
            EXPECT_STATUS(call_with_item(&r, item_memory(SPACE_PHYSICAL, boot->memory[i].base,
                                                         SPACE_HOST, 0, 1, MAP_READ)),
                          STATUS_NO_MAPPING);
    EXPECT(r.worker->step, 0);
}

TEST(item_rights_not_held,
     "an item with more rights than the sender's mapping is refused: BAD_RIGHTS")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, MAP_READ));
    EXPECT_STATUS(call_with_item(
                      &r, item_memory(SPACE_HOST, address, SPACE_HOST, 0, 1, MAP_READ | MAP_WRITE)),
                  STATUS_BAD_RIGHTS);
    EXPECT(rights_at(&r, r.base, NULL), 0);
    EXPECT_OK(call_with_item(&r, item_memory(SPACE_HOST, address, SPACE_HOST, 0, 1, MAP_READ)));
}

TEST(item_all_or_nothing, "when the second of two items is refused, the first is not mapped either")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical, hole = addresses_new(1, 1), used_before, used_after;
    pages_new(1, 1, &physical);
    used_before = sys_inspect(INSPECT_QUOTA, r.task.task, 0, 0).w[1];
    thread_buffer()->items[0] = item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 1, MAP_READ);
    thread_buffer()->items[1] = item_memory(SPACE_HOST, hole, SPACE_HOST, 0x1000, 1, MAP_READ);
    EXPECT_STATUS(message_call(r.endpoint, TAG(0, 0, 2), NULL, far_deadline()).status,
                  STATUS_NO_MAPPING);
    EXPECT(rights_at(&r, r.base, NULL), 0);
    EXPECT(r.worker->step, 0);
    used_after = sys_inspect(INSPECT_QUOTA, r.task.task, 0, 0).w[1];
    EXPECT(used_after, used_before);
}

TEST(item_place_taken, "an item does not replace what is mapped in the window already")
{
    struct receiver r;
    memory_receiver(&r);
    uint64_t physical, frame;
    pages_new(2, 1, &physical);
    EXPECT_OK(
        call_with_item(&r, item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 1, MAP_READ)));
    uint64_t status = call_with_item(
        &r, item_memory(SPACE_PHYSICAL, physical + 4096, SPACE_HOST, 0, 1, MAP_READ));
    EXPECT_STATUS(status, STATUS_BAD_ARGUMENT);
    EXPECT(rights_at(&r, r.base, &frame), MAP_READ);
    EXPECT(frame, physical);
}

TEST(item_no_quota, "an item that the receiver cannot pay for is refused: NO_QUOTA, nothing mapped")
{
    struct receiver r;
    receiver_new(&r, SPACE_HOST, 0x600000000000, WINDOW_PAGES); /* far off: it needs new tables */
    uint64_t physical;
    pages_new(1, 1, &physical);
    uint64_t status = STATUS_OK;
    for (uint64_t i = 0; i < 256 && status == STATUS_OK; i++)
        status = memory_map_at(r.task.task, SPACE_HOST, 0x400000000000 + (i << 30), physical, 1,
                               MAP_READ);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    EXPECT_STATUS(
        call_with_item(&r, item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0, 1, MAP_READ)),
        STATUS_NO_QUOTA);
    EXPECT(r.worker->step, 0);
    EXPECT(rights_at(&r, r.base, NULL), 0);
    EXPECT(thread_state(r.worker->thread.thread), THREAD_RECEIVING);
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static void capability_receiver(struct receiver *r, cap_slot_t first, unsigned count)
{
    receiver_new(r, SPACE_CAPABILITY, first, count);
}

/* in[0]: slot. Calls through it. */
static void use_capability(struct worker *worker)
{
    worker->message = message_call(worker->in[0], TAG(1, 0, 0), NULL, far_deadline());
    worker->step = 1;
}

TEST(item_capability, "an item gives a capability, with the rights and the badge that it says")
{
    struct receiver r;
    capability_receiver(&r, 400, 8);
    cap_slot_t service = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, service);
    EXPECT_OK(call_with_item(&r, item_capability(service, 3, RIGHT_SEND, 0xbad9e)));
    EXPECT(arrived[0].offset, 403);
    struct worker *client = worker_go(&r.task, 0, PRIORITY_HIGH, use_capability, 403);
    worker_join(client);
    EXPECT_OK(client->message.status);
    EXPECT(server->message.badge, 0xbad9e);
}

static void wait_on_capability(struct worker *worker)
{
    worker->message = message_wait(worker->in[0], DEADLINE_POLL);
}

TEST(item_capability_rights, "a capability given with RIGHT_SEND alone cannot be waited on")
{
    struct receiver r;
    capability_receiver(&r, 400, 8);
    cap_slot_t service = endpoint_new(0);
    EXPECT_OK(call_with_item(&r, item_capability(service, 0, RIGHT_SEND, 0)));
    struct worker *client = worker_go(&r.task, 0, PRIORITY_HIGH, wait_on_capability, 400);
    worker_join(client);
    EXPECT_STATUS(client->message.status, STATUS_BAD_RIGHTS);
}

TEST(item_capability_slot_taken, "a capability does not land on a slot that is in use: BAD_SLOT")
{
    struct receiver r;
    capability_receiver(&r, 400, 8);
    cap_slot_t service = endpoint_new(0);
    EXPECT_OK(call_with_item(&r, item_capability(service, 1, RIGHT_SEND, 0)));
    EXPECT_STATUS(call_with_item(&r, item_capability(service, 1, RIGHT_SEND, 0)), STATUS_BAD_SLOT);
}

TEST(item_capability_beyond_space, "a window beyond the capability space gives BAD_SLOT")
{
    struct receiver r;
    capability_receiver(&r, CAP_SLOTS_MAX - 1, 8);
    cap_slot_t service = endpoint_new(0);
    EXPECT_STATUS(call_with_item(&r, item_capability(service, 0, RIGHT_SEND, 0)), STATUS_BAD_SLOT);
    EXPECT_STATUS(call_with_item(&r, item_capability(service, 5, RIGHT_SEND, 0)), STATUS_BAD_SLOT);
}

TEST(item_capability_empty_source, "an empty slot cannot be given away")
{
    struct receiver r;
    capability_receiver(&r, 400, 8);
    uint64_t status = call_with_item(&r, item_capability(TEST_SLOTS_END - 1, 0, RIGHT_SEND, 0));
    EXPECT_STATUS(status, STATUS_NO_MAPPING);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void read_port(struct worker *worker)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "d"((uint16_t)worker->in[0]));
    worker->out[0] = value;
    worker->step = 1;
}

TEST(item_ports, "an item gives I/O ports: the receiver may use them, and no others")
{
    struct receiver r;
    receiver_new(&r, SPACE_PORT, 0x3f8, 8);
    struct map_item item = item_memory(SPACE_PORT, 0x3fd, SPACE_PORT, 5, 1, MAP_READ | MAP_WRITE);
    EXPECT_OK(call_with_item(&r, item));
    struct worker *user = worker_go(&r.task, 0, PRIORITY_HIGH, read_port, 0x3fd);
    worker_join(user);
    CHECK(user->out[0] != 0xff);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&r.task, endpoint, RIGHT_SEND, 0);
    struct worker *other = worker_new(&r.task, 0, PRIORITY_HIGH, read_port);
    other->in[0] = 0x3fc;
    worker_watch(other, endpoint);
    worker_start(other);
    struct message m = message_wait(endpoint, DEADLINE_POLL);
    EXPECT_OK(m.status);
    EXPECT(m.w[0], 13);
}
