/*
 * Device interrupts as notifications: an IOAPIC line that is level-triggered (COM1's transmitter)
 * and one that is edge-triggered (the PIT), acknowledgement, storms; MSI vectors.
 */
#include "kit.h"
#include "port.h"

#define COM1_GSI    4u
#define COM1_IER    0x3f9
#define COM1_IIR    0x3fa
#define COM1_MCR    0x3fc
#define COM1_LSR    0x3fd
#define IER_THRE    2u
#define MCR_OUT2    8u /* lets the UART's interrupt out */

#define PIT_GSI     2u /* the PIT's ISA interrupt 0 is there on every PC with an IOAPIC */
#define PIT_DATA    0x40
#define PIT_CONTROL 0x43

#define DRIVER_BIT  0x100ull

static uint64_t interrupt_create(cap_slot_t *slot, uint64_t source, unsigned cpu)
{
    return create_status(slot, OBJECT_INTERRUPT, BOOT_SLOT_TASK, source, cpu, 0);
}

static uint64_t interrupt_bind(cap_slot_t interrupt, cap_slot_t notification, uint64_t mode)
{
    return sys_control(interrupt, CONTROL_INTERRUPT_BIND, notification, DRIVER_BIT, mode, 0).status;
}

static uint64_t interrupt_ack(cap_slot_t interrupt)
{
    return sys_control(interrupt, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0).status;
}

/* ---- COM1: its transmitter is empty, so the line is active as long as IER says so ------------ */

static void uart_raise(void)
{
    while (!(port_read8(COM1_LSR) & 0x20))
        ;
    port_write8(COM1_MCR, port_read8(COM1_MCR) | MCR_OUT2);
    port_write8(COM1_IER, 0);
    port_write8(COM1_IER, IER_THRE);
}

static void uart_quiet(void)
{
    port_write8(COM1_IER, 0);
    port_read8(COM1_IIR);
}

static void expect_interrupt(cap_slot_t notification)
{
    struct message m = message_wait(notification, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_NOTIFICATION);
    EXPECT(m.w[0], DRIVER_BIT);
}

static cap_slot_t uart_interrupt(cap_slot_t notification, unsigned cpu)
{
    cap_slot_t interrupt;
    uart_quiet();
    EXPECT_OK(interrupt_create(&interrupt, COM1_GSI, cpu));
    EXPECT_OK(interrupt_bind(interrupt, notification, INTERRUPT_LEVEL));
    return interrupt;
}

TEST(interrupt_level_line,
     "a level-triggered line raises its bits, and again after each acknowledgement")
{
    cap_slot_t notification = notification_new(0), interrupt = uart_interrupt(notification, 0);
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_STATUS(message_wait(notification, DEADLINE_POLL).status, STATUS_TIMEOUT);
        uart_raise();
        expect_interrupt(notification);
        uart_quiet();
        EXPECT_OK(interrupt_ack(interrupt));
    }
}

TEST(interrupt_masked_until_ack, "a level-triggered line that stays active comes once until it is "
                                 "acknowledged, and at once after that")
{
    cap_slot_t notification = notification_new(0), interrupt = uart_interrupt(notification, 0);
    uart_raise();
    expect_interrupt(notification);
    EXPECT_STATUS(message_wait(notification, ticks() + A_WHILE).status, STATUS_TIMEOUT);
    EXPECT_OK(interrupt_ack(interrupt));
    expect_interrupt(notification);
    uart_quiet();
    EXPECT_OK(interrupt_ack(interrupt));
    EXPECT_STATUS(message_wait(notification, ticks() + A_WHILE).status, STATUS_TIMEOUT);
}

static void driver(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    worker->out[0] = m.w[0];
    uart_quiet();
    worker->step = 1;
}

TEST(interrupt_preempts, "an interrupt's driver of high priority preempts a thread that spins")
{
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, driver, notification);
    uart_interrupt(notification, 0);
    uart_raise();
    for (uint64_t limit = far_deadline(); !worker->step && ticks() < limit;)
        ;
    EXPECT(worker->step, 1);
    EXPECT(worker->out[0], DRIVER_BIT);
}

TEST(interrupt_driver_in_child,
     "a driver task with its ports and its interrupt handles a device alone")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t notification = notification_new(0), interrupt = uart_interrupt(notification, 0);
    uint64_t how = MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0);
    EXPECT_OK(sys_map(task.task, how, 0x3f8, 0x3f8, 8, 0));
    task_give(&task, notification, RIGHT_RECEIVE, 0);
    task_give(&task, interrupt, RIGHT_CONTROL, 0);
    struct worker *worker = worker_go(&task, 0, PRIORITY_HIGH, driver, notification);
    uart_raise();
    worker_join(worker);
    EXPECT(worker->out[0], DRIVER_BIT);
}

TEST(interrupt_bound_notification,
     "an interrupt ends a server's wait through its bound notification")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    EXPECT_OK(sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0, 0, 0)
                  .status);
    uart_interrupt(notification, 0);
    uart_raise();
    struct message m = message_wait(endpoint, far_deadline());
    uart_quiet();
    EXPECT_OK(m.status);
    EXPECT(m.w[0], DRIVER_BIT);
}

TEST(interrupt_unbind, "an unbound interrupt raises nothing; it can be bound anew")
{
    cap_slot_t notification = notification_new(0), interrupt = uart_interrupt(notification, 0);
    EXPECT_OK(sys_control(interrupt, CONTROL_INTERRUPT_UNBIND, 0, 0, 0, 0).status);
    uart_raise();
    EXPECT_STATUS(message_wait(notification, ticks() + A_WHILE).status, STATUS_TIMEOUT);
    uart_quiet();
    EXPECT_OK(interrupt_bind(interrupt, notification, INTERRUPT_LEVEL));
    uart_raise();
    expect_interrupt(notification);
    uart_quiet();
}

TEST(interrupt_destroyed, "a destroyed interrupt raises nothing, and its line can be taken again")
{
    cap_slot_t notification = notification_new(0), interrupt = uart_interrupt(notification, 0);
    EXPECT_STATUS(interrupt_create(NULL, COM1_GSI, 0), STATUS_BUSY);
    slot_clear(interrupt);
    uart_raise();
    EXPECT_STATUS(message_wait(notification, ticks() + A_WHILE).status, STATUS_TIMEOUT);
    uart_quiet();
    uart_interrupt(notification, 0);
    uart_raise();
    expect_interrupt(notification);
    uart_quiet();
}

TEST(interrupt_notification_destroyed,
     "when its notification ends, an interrupt's line falls silent")
{
    cap_slot_t notification = notification_new(0), interrupt = uart_interrupt(notification, 0);
    slot_clear(notification);
    uart_raise();
    spin_ticks(A_WHILE);
    uart_quiet();
    notification = notification_new(0);
    EXPECT_OK(interrupt_bind(interrupt, notification, INTERRUPT_LEVEL));
    uart_raise();
    expect_interrupt(notification);
    uart_quiet();
}

TEST_SMP(interrupt_other_cpu, "an interrupt of another CPU wakes a driver there")
{
    cap_slot_t notification = notification_new(1);
    struct worker *worker = worker_go(NULL, 1, PRIORITY_HIGH, driver, notification);
    thread_await_state(worker->thread.thread, THREAD_RECEIVING);
    uart_interrupt(notification, 1);
    uart_raise();
    worker_join(worker);
    EXPECT(worker->out[0], DRIVER_BIT);
}

TEST_SMP(interrupt_bind_wrong_cpu, "an interrupt and its notification live on one CPU: WRONG_CPU")
{
    cap_slot_t interrupt;
    EXPECT_OK(interrupt_create(&interrupt, COM1_GSI, 0));
    EXPECT_STATUS(interrupt_bind(interrupt, notification_new(1), INTERRUPT_LEVEL),
                  STATUS_WRONG_CPU);
}

/* ---- the PIT: an edge each period ------------------------------------------------------------ */

static void pit_start(uint16_t divisor)
{
    port_write8(PIT_CONTROL, 0x34); /* counter 0, both bytes, rate generator */
    port_write8(PIT_DATA, (uint8_t)divisor);
    port_write8(PIT_DATA, (uint8_t)(divisor >> 8));
}

static void pit_stop(void)
{
    port_write8(PIT_CONTROL, 0x30); /* one-shot, and no count given */
}

TEST(interrupt_edge_line,
     "an edge-triggered line raises its bits at every edge that is acknowledged")
{
    cap_slot_t notification = notification_new(0), interrupt;
    EXPECT_OK(interrupt_create(&interrupt, PIT_GSI, 0));
    EXPECT_OK(interrupt_bind(interrupt, notification, 0));
    pit_start(11932); /* 100 a second */
    for (unsigned i = 0; i < 5; i++) {
        expect_interrupt(notification);
        EXPECT_OK(interrupt_ack(interrupt));
    }
    pit_stop();
}

static uint64_t storms(void)
{
    return counter(0, COUNTER_interrupt_storms);
}

TEST(interrupt_storm_contained,
     "an edge that comes again and again unacknowledged is masked, until the "
     "acknowledgement")
{
    cap_slot_t notification = notification_new(0), interrupt;
    EXPECT_OK(interrupt_create(&interrupt, PIT_GSI, 0));
    EXPECT_OK(interrupt_bind(interrupt, notification, 0));
    uint64_t before = storms();
    pit_start(597); /* 2,000 a second */
    for (uint64_t limit = ticks() + boot->tsc_khz * 20000; storms() == before && ticks() < limit;)
        message_wait(notification, ticks() + A_WHILE);
    EXPECT(storms(), before + 1);
    while (message_wait(notification, DEADLINE_POLL).status == STATUS_OK)
        ;
    uint64_t taken = counter(0, COUNTER_interrupts);
    EXPECT_STATUS(message_wait(notification, ticks() + microseconds(20000)).status, STATUS_TIMEOUT);
    EXPECT(counter(0, COUNTER_interrupts), taken);
    EXPECT_OK(interrupt_ack(interrupt));
    expect_interrupt(notification);
    pit_stop();
}

/* ---- refusals -------------------------------------------------------------------------------- */

TEST(interrupt_create_refusals, "making an interrupt checks the line, the CPU, and RIGHT_MACHINE")
{
    EXPECT_STATUS(interrupt_create(NULL, boot->gsi_count, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(interrupt_create(NULL, UINT32_MAX, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(interrupt_create(NULL, INTERRUPT_MSI + 1, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(interrupt_create(NULL, INTERRUPT_MSI_OF(0x10000ull), 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(interrupt_create(NULL, COM1_GSI, BOOT_CPUS_MAX), STATUS_BAD_ARGUMENT);
    cap_slot_t weak = capability_copy(BOOT_SLOT_TASK, RIGHTS_ALL & ~RIGHT_MACHINE, 0);
    EXPECT_STATUS(create_status(NULL, OBJECT_INTERRUPT, weak, COM1_GSI, 0, 0), STATUS_BAD_RIGHTS);
    cap_slot_t owner;
    EXPECT_OK(interrupt_create(&owner, COM1_GSI, 0));
    EXPECT_STATUS(interrupt_create(NULL, COM1_GSI, 0), STATUS_BUSY);
}

TEST(interrupt_bind_refusals,
     "binding an interrupt checks the notification, the bits, the mode, and BUSY")
{
    cap_slot_t notification = notification_new(0), interrupt;
    EXPECT_OK(interrupt_create(&interrupt, COM1_GSI, 0));
    cap_slot_t send_only = capability_copy(notification, RIGHT_SEND, 0);
    cap_slot_t weak = capability_copy(interrupt, RIGHT_INSPECT, 0);
    EXPECT_STATUS(interrupt_bind(interrupt, 0, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(interrupt_bind(interrupt, BOOT_SLOT_TASK, 0), STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(interrupt_bind(interrupt, send_only, 0), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(interrupt_bind(interrupt, notification, 4), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_control(interrupt, CONTROL_INTERRUPT_BIND, notification, 0, 0, 0).status,
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(interrupt_ack(weak), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(sys_control(interrupt, 77, 0, 0, 0, 0).status, STATUS_BAD_ARGUMENT);
    EXPECT_OK(interrupt_bind(interrupt, notification, INTERRUPT_LEVEL));
    EXPECT_STATUS(interrupt_bind(interrupt, notification, INTERRUPT_LEVEL), STATUS_BUSY);
}

/* ---- MSI ------------------------------------------------------------------------------------- */

TEST(interrupt_msi_info,
     "an MSI interrupt has an address of the local APICs and a vector of its own")
{
    uint64_t seen[4] = {0};
    for (unsigned i = 0; i < 32; i++) {
        cap_slot_t interrupt;
        EXPECT_OK(interrupt_create(&interrupt, INTERRUPT_MSI, 0));
        struct message m = sys_control(interrupt, CONTROL_INTERRUPT_MSI_INFO, 0, 0, 0, 0);
        EXPECT_OK(m.status);
        EXPECT(m.w[0] & 0xfff00003, 0xfee00000);
        unsigned vector = m.w[1] & 0xff;
        if (boot->interrupts_remapped) { /* the entry of CPU 0 and the vector */
            EXPECT(m.w[0] & 0x10, 0x10);
            EXPECT(m.w[1], 0);
            vector = m.w[0] >> 5 & 0x7fff;
        } else {
            EXPECT(m.w[0] >> 12 & 0xff, boot->apic_id[0]);
            EXPECT(m.w[1] & ~0xffull, 0); /* fixed delivery, edge */
        }
        EXPECT_BETWEEN(vector, 32, 0xef);
        EXPECT(seen[vector / 64] >> vector % 64 & 1, 0);
        seen[vector / 64] |= 1ull << vector % 64;
    }
}

TEST(interrupt_msi_vectors_end, "when a CPU's vectors are used up, one more says NOT_SUPPORTED")
{
    uint64_t status = STATUS_OK, made = 0;
    while ((status = interrupt_create(NULL, INTERRUPT_MSI, 0)) == STATUS_OK)
        made++;
    EXPECT_STATUS(status, STATUS_NOT_SUPPORTED);
    CHECK(made >= 64);
}

TEST(interrupt_msi_info_of_line, "an IOAPIC line has no MSI message: BAD_ARGUMENT")
{
    cap_slot_t interrupt;
    EXPECT_OK(interrupt_create(&interrupt, COM1_GSI, 0));
    EXPECT_STATUS(sys_control(interrupt, CONTROL_INTERRUPT_MSI_INFO, 0, 0, 0, 0).status,
                  STATUS_BAD_ARGUMENT);
}
