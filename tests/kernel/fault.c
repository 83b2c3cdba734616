/* Page faults and exceptions: messages to a fault endpoint, and what happens without one. */
#include "kit.h"

#define PF_PRESENT 1u
#define PF_WRITE   2u
#define PF_USER    4u
#define PF_FETCH   16u

static uint64_t set_fault_endpoint(cap_slot_t thread, cap_slot_t endpoint)
{
    return sys_control(thread, CONTROL_THREAD_SET_FAULT_ENDPOINT, endpoint, 0, 0, 0).status;
}

/* in[0]: address. Reads it, then says so. */
static void read_address(struct worker *worker)
{
    worker->out[0] = *(volatile uint64_t *)worker->in[0];
    worker->step = 1;
}

static void write_address(struct worker *worker)
{
    *(volatile uint64_t *)worker->in[0] = worker->in[1];
    worker->step = 1;
}

static void execute_address(struct worker *worker)
{
    ((void (*)(void))worker->in[0])();
    worker->step = 1;
}

/* A worker that is about to touch `address`, with this fault endpoint. */
static struct worker *toucher_new(const struct child_task *task, void (*run)(struct worker *),
                                  uint64_t address, cap_slot_t endpoint)
{
    struct worker *worker = worker_new(task, 0, PRIORITY_HIGH, run);
    worker->in[0] = address;
    EXPECT_OK(set_fault_endpoint(worker->thread.thread, endpoint));
    worker_start(worker);
    return worker;
}

static struct message expect_page_fault(cap_slot_t endpoint, uint64_t address, uint64_t error)
{
    struct message m = message_wait(endpoint, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_PAGE_FAULT);
    EXPECT(m.w[0], address);
    EXPECT(m.w[1] & (PF_PRESENT | PF_WRITE | PF_USER | PF_FETCH), error);
    return m;
}

TEST(page_fault_is_a_message, "a page fault arrives with its address, error code, rip and rsp")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t address = addresses_new(1, 1);
    struct worker *worker = toucher_new(NULL, read_address, address + 0x123, endpoint);
    EXPECT(worker->step, 0);
    struct message m = expect_page_fault(endpoint, address + 0x123, PF_USER);
    EXPECT_BETWEEN(m.w[2], (uint64_t)read_address, (uint64_t)read_address + 64);
    EXPECT_BETWEEN(m.w[3], worker->thread.stack, worker->thread.stack + THREAD_STACK_BYTES);
    EXPECT(thread_state(worker->thread.thread), THREAD_CALLING);
}

TEST(page_fault_write_bit, "the error code of a write says so")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t address = addresses_new(1, 1);
    toucher_new(NULL, write_address, address, endpoint);
    expect_page_fault(endpoint, address, PF_USER | PF_WRITE);
}

TEST(page_fault_has_badge, "a fault bears the badge of the fault endpoint's capability")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 0xfa17);
    uint64_t address = addresses_new(1, 1);
    toucher_new(&task, read_address, address, endpoint);
    EXPECT(message_wait(endpoint, far_deadline()).badge, 0xfa17);
}

/* Answers the fault just received with one mapping, and polls for more. */
static struct message answer_with_page(cap_slot_t endpoint, uint64_t address, uint64_t physical,
                                       unsigned rights)
{
    thread_buffer()->items[0] = item_memory(SPACE_PHYSICAL, physical, SPACE_HOST,
                                            address & ~(SEPTUM_PAGE_SIZE - 1), 1, rights);
    return message_reply_wait(endpoint, TAG(0, 0, 1), NULL, DEADLINE_POLL);
}

TEST(page_fault_pager_maps, "a pager maps the page in its reply, and the thread goes on")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 1);
    uint64_t address = addresses_new(1, 1), physical;
    uint64_t *page = pages_new(1, 1, &physical);
    page[5] = 0x600d;
    struct worker *worker = toucher_new(&task, read_address, address + 40, endpoint);
    expect_page_fault(endpoint, address + 40, PF_USER);
    EXPECT_STATUS(answer_with_page(endpoint, address, physical, MAP_READ).status, STATUS_TIMEOUT);
    worker_join(worker);
    EXPECT(worker->out[0], 0x600d);
}

TEST(page_fault_again_without_mapping, "a reply that maps nothing lets the thread fault again")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t address = addresses_new(1, 1), physical;
    pages_new(1, 1, &physical);
    struct worker *worker = toucher_new(NULL, read_address, address, endpoint);
    expect_page_fault(endpoint, address, PF_USER);
    for (unsigned i = 0; i < 5; i++) {
        struct message m = message_reply_wait(endpoint, 0, NULL, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_ORIGIN(m.tag), ORIGIN_PAGE_FAULT);
    }
    EXPECT_STATUS(answer_with_page(endpoint, address, physical, MAP_READ).status, STATUS_TIMEOUT);
    worker_join(worker);
}

TEST(page_fault_read_then_write, "a read-only page faults again on a write, with the present bit")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t address = addresses_new(1, 1), physical;
    uint64_t *page = pages_new(1, 1, &physical);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, MAP_READ));
    struct worker *worker = toucher_new(NULL, write_address, address, endpoint);
    worker->in[1] = 0;
    expect_page_fault(endpoint, address, PF_USER | PF_WRITE | PF_PRESENT);
    EXPECT(page[0], 0);
}

TEST(page_fault_no_execute, "pages without MAP_EXECUTE cannot be executed")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint8_t *page = pages_new(1, 1, NULL);
    page[0] = 0xc3; /* ret */
    struct worker *worker = toucher_new(NULL, execute_address, (uint64_t)page, endpoint);
    struct message m = expect_page_fault(endpoint, (uint64_t)page, PF_USER | PF_PRESENT | PF_FETCH);
    EXPECT(m.w[2], (uint64_t)page);
    EXPECT(worker->step, 0);
}

TEST(page_fault_execute_right, "pages with MAP_EXECUTE can be executed, and not written")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t physical, address = addresses_new(1, 1);
    uint8_t *page = pages_new(1, 1, &physical);
    page[0] = 0xc3;
    EXPECT_OK(
        memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, MAP_READ | MAP_EXECUTE));
    struct worker *worker = toucher_new(NULL, execute_address, address, endpoint);
    worker_join(worker);
    EXPECT(worker->step, 1);
    toucher_new(NULL, write_address, address, endpoint);
    expect_page_fault(endpoint, address, PF_USER | PF_WRITE | PF_PRESENT);
}

TEST(page_fault_kernel_addresses, "the kernel's half is not there for user code")
{
    static const uint64_t addresses[] = {0xffffffff80000000, 0xffff800000000000, 0xffffffffffffff00,
                                         SEPTUM_USER_END, 0};
    for (unsigned i = 0; i < 5; i++) {
        cap_slot_t endpoint = endpoint_new(0);
        toucher_new(NULL, read_address, addresses[i], endpoint);
        struct message m = message_wait(endpoint, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_ORIGIN(m.tag), ORIGIN_PAGE_FAULT);
        EXPECT(m.w[0], addresses[i]);
    }
}

TEST(page_fault_without_endpoint, "a fault of a thread without a fault endpoint stops it")
{
    struct worker *worker = toucher_new(NULL, read_address, addresses_new(1, 1), 0);
    EXPECT(worker->step, 0);
    CHECK(thread_state(worker->thread.thread) & THREAD_STOPPED);
}

TEST(page_fault_empty_endpoint_slot,
     "a fault endpoint slot that is empty or no endpoint stops the thread")
{
    static const cap_slot_t slots[] = {BOOT_SLOT_TASK, TEST_SLOTS_END - 1, CAP_SLOTS_MAX - 1};
    for (unsigned i = 0; i < 3; i++) {
        struct worker *worker = toucher_new(NULL, read_address, addresses_new(1, 1), slots[i]);
        EXPECT(worker->step, 0);
        CHECK(thread_state(worker->thread.thread) & THREAD_STOPPED);
    }
}

TEST(page_fault_pager_dies, "when the pager is destroyed the faulting thread stops")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *pager = worker_go(NULL, 0, PRIORITY_HIGH + 1, wait_once, endpoint);
    struct worker *worker = toucher_new(NULL, read_address, addresses_new(1, 1), endpoint);
    EXPECT(pager->step, 1);
    slot_clear(pager->thread.thread);
    slot_clear(endpoint);
    thread_await_stopped(worker->thread.thread);
    EXPECT(worker->step, 0);
}

TEST(page_fault_map_no_quota,
     "a pager's mapping that its client cannot pay for is refused: NO_QUOTA")
{
    struct child_task task;
    task_new_with_quota(&task, 34);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 0);
    uint64_t physical;
    pages_new(1, 1, &physical);
    struct worker *worker = toucher_new(&task, read_address, addresses_new(1, 1), endpoint);
    EXPECT_OK(message_wait(endpoint, far_deadline()).status);
    /* Map pages a gigabyte apart until the tables' quota is gone. */
    uint64_t status = STATUS_OK;
    for (uint64_t i = 0; i < 64 && status == STATUS_OK; i++)
        status =
            memory_map_at(task.task, SPACE_HOST, 0x400000000000 + (i << 30), physical, 1, MAP_READ);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    thread_buffer()->items[0] =
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0x500000000000, 1, MAP_READ);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(0, 0, 1), NULL, DEADLINE_POLL).status,
                  STATUS_NO_QUOTA);
    EXPECT(worker->step, 0);
}

/* ---- exceptions ------------------------------------------------------------------------------ */

#define VECTOR_DIVIDE     0
#define VECTOR_BREAKPOINT 3
#define VECTOR_UNDEFINED  6
#define VECTOR_PROTECTION 13

static void divide_by_zero(struct worker *worker)
{
    uint32_t eax = 1, edx = 0;
    __asm__ volatile("divl %2" : "+a"(eax), "+d"(edx) : "r"(0u)); /* 2 bytes */
    worker->out[0] = eax;
    worker->step = 1;
}

static void undefined_instruction(struct worker *worker)
{
    __asm__ volatile("ud2");
    worker->step = 1;
}

static void breakpoint(struct worker *worker)
{
    __asm__ volatile("int3");
    worker->step = 1;
}

static void halt(struct worker *worker)
{
    __asm__ volatile("hlt");
    worker->step = 1;
}

static void foreign_interrupt(struct worker *worker)
{
    __asm__ volatile("int $0x80");
    worker->step = 1;
}

static struct message expect_exception(cap_slot_t endpoint, uint64_t vector, uint64_t error)
{
    struct message m = message_wait(endpoint, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_EXCEPTION);
    EXPECT(m.w[0], vector);
    EXPECT(m.w[1], error);
    EXPECT(m.w[2], thread_buffer()->registers.rip);
    EXPECT(m.w[3], thread_buffer()->registers.rsp);
    return m;
}

TEST(exception_is_a_message, "a division by zero arrives with vector 0 and all registers")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = toucher_new(NULL, divide_by_zero, 0, endpoint);
    expect_exception(endpoint, VECTOR_DIVIDE, 0);
    EXPECT(thread_buffer()->registers.rax, 1);
    EXPECT(thread_buffer()->registers.rdx, 0);
    EXPECT(worker->step, 0);
}

TEST(exception_handler_edits_registers,
     "a handler's reply writes registers back, and the thread goes on")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = toucher_new(NULL, divide_by_zero, 0, endpoint);
    expect_exception(endpoint, VECTOR_DIVIDE, 0);
    thread_buffer()->registers.rip += 2;
    thread_buffer()->registers.rax = 0x7777;
    EXPECT_STATUS(
        message_reply_wait(endpoint, TAG(REPLY_WITH_REGISTERS, 0, 0), NULL, DEADLINE_POLL).status,
        STATUS_TIMEOUT);
    worker_join(worker);
    EXPECT(worker->out[0], 0x7777);
}

TEST(exception_reply_without_label, "a reply with another label leaves the registers as they were")
{
    cap_slot_t endpoint = endpoint_new(0);
    toucher_new(NULL, undefined_instruction, 0, endpoint);
    struct message first = expect_exception(endpoint, VECTOR_UNDEFINED, 0);
    thread_buffer()->registers.rip += 2;
    struct message again = message_reply_wait(endpoint, TAG(0, 0, 0), NULL, far_deadline());
    EXPECT_OK(again.status);
    EXPECT(again.w[0], VECTOR_UNDEFINED);
    EXPECT(again.w[2], first.w[2]);
}

TEST(exception_reply_bad_rip,
     "a reply that would send a thread to a non-canonical address does not")
{
    cap_slot_t endpoint = endpoint_new(0);
    static const uint64_t bad[] = {SEPTUM_USER_END, 0x0000800000000000, 0xffffffff80000000};
    struct worker *worker = toucher_new(NULL, undefined_instruction, 0, endpoint);
    expect_exception(endpoint, VECTOR_UNDEFINED, 0);
    for (unsigned i = 0; i < 3; i++) {
        thread_buffer()->registers.rip = bad[i];
        struct message m =
            message_reply_wait(endpoint, TAG(REPLY_WITH_REGISTERS, 0, 0), NULL, far_deadline());
        if (m.status == STATUS_BAD_ARGUMENT) /* refused: still to be answered */
            continue;
        EXPECT_OK(m.status); /* or not taken over: the same instruction again */
        EXPECT(m.w[0], VECTOR_UNDEFINED);
    }
    EXPECT(worker->step, 0);
}

TEST(exception_breakpoint, "int3 arrives as vector 3, behind the instruction")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = toucher_new(NULL, breakpoint, 0, endpoint);
    struct message m = expect_exception(endpoint, VECTOR_BREAKPOINT, 0);
    EXPECT(*(const uint8_t *)(m.w[2] - 1), 0xcc);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    worker_join(worker);
}

TEST(exception_privileged_instruction, "hlt in user mode arrives as a general-protection exception")
{
    cap_slot_t endpoint = endpoint_new(0);
    toucher_new(NULL, halt, 0, endpoint);
    expect_exception(endpoint, VECTOR_PROTECTION, 0);
}

TEST(exception_software_interrupt, "int 0x80 arrives as a general-protection exception")
{
    cap_slot_t endpoint = endpoint_new(0);
    toucher_new(NULL, foreign_interrupt, 0, endpoint);
    struct message m = message_wait(endpoint, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_EXCEPTION);
    EXPECT(m.w[0], VECTOR_PROTECTION);
    EXPECT(m.w[1] & 7, 2); /* an IDT selector; QEMU 7.2 gets its index wrong */
}

TEST(exception_noncanonical_access,
     "an access to a non-canonical address is a general-protection exception")
{
    cap_slot_t endpoint = endpoint_new(0);
    toucher_new(NULL, read_address, 0x8000000000000000, endpoint);
    expect_exception(endpoint, VECTOR_PROTECTION, 0);
}

TEST(exception_without_endpoint, "an exception without a fault endpoint stops the thread")
{
    struct worker *worker = toucher_new(NULL, undefined_instruction, 0, 0);
    EXPECT(worker->step, 0);
    CHECK(thread_state(worker->thread.thread) & THREAD_STOPPED);
}

TEST(exception_resumed_by_control, "a thread stopped by an exception can be repaired and resumed")
{
    struct worker *worker = toucher_new(NULL, undefined_instruction, 0, 0);
    EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0, 0, 0, 0).status);
    thread_buffer()->registers.rip += 2;
    EXPECT_OK(
        sys_control(worker->thread.thread, CONTROL_THREAD_WRITE_REGISTERS, 0, 0, 0, 0).status);
    EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_RESUME, 0, 0, 0, 0).status);
    worker_join(worker);
    EXPECT(worker->step, 1);
}

TEST(exception_endpoint_changed, "the fault endpoint can be changed while the thread runs")
{
    cap_slot_t first = endpoint_new(0), second = endpoint_new(0);
    struct worker *worker = toucher_new(NULL, undefined_instruction, 0, first);
    expect_exception(first, VECTOR_UNDEFINED, 0);
    EXPECT_OK(set_fault_endpoint(worker->thread.thread, second));
    EXPECT_STATUS(message_reply_wait(first, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    expect_exception(second, VECTOR_UNDEFINED, 0);
}

TEST(exception_of_child_task, "an exception of another task arrives with its registers and badge")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 31337);
    struct worker *worker = toucher_new(&task, divide_by_zero, 0, endpoint);
    struct message m = expect_exception(endpoint, VECTOR_DIVIDE, 0);
    EXPECT(m.badge, 31337);
    thread_buffer()->registers.rip += 2;
    EXPECT_STATUS(
        message_reply_wait(endpoint, TAG(REPLY_WITH_REGISTERS, 0, 0), NULL, DEADLINE_POLL).status,
        STATUS_TIMEOUT);
    worker_join(worker);
}
