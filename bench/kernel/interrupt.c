/* From a device's line to the first instruction of its driver. */
#include "bench.h"

#include "port.h"

#define COM1 0x3f8u
#define COM1_GSI 4u
#define IER (COM1 + 1)
#define IIR (COM1 + 2)
#define MCR (COM1 + 4)
#define IER_THRE 2u
#define MCR_OUT2 8u

/* in[0]: notification, in[1]: endpoint, in[2]: interrupt. Notes when it runs; acknowledges when told that
 * the device is quiet. out[0]: ticks from the victim's last instruction, in all. */
static void driver(struct worker *worker)
{
    struct worker *victim = (struct worker *)worker->in[3];
    for (;;) {
        message_wait(worker->in[0], DEADLINE_NEVER);
        worker->out[0] += ticks() - victim->out[0];
        worker->step++;
        message_wait(worker->in[1], DEADLINE_NEVER);
        sys_control(worker->in[2], CONTROL_INTERRUPT_ACK, 0, 0, 0, 0);
    }
}

/* in[0]: endpoint, in[1]: rounds, in[2]: notification of the end. Raises the line; what comes next is the
 * driver. */
static void victim(struct worker *worker)
{
    port_write8(IER, 0);
    port_write8(MCR, port_read8(MCR) | MCR_OUT2);
    for (uint64_t i = 0; i < worker->in[1]; i++) {
        worker->out[0] = ticks();
        port_write8(IER, IER_THRE);
        port_write8(IER, 0);
        port_read8(IIR);
        message_send(worker->in[0], 0, NULL, DEADLINE_NEVER);
    }
    notification_signal(worker->in[2], 1);
}

TEST(interrupt_to_user, "a level-triggered line preempts another task; its driver waits for it")
{
    struct child_task task;
    task_new(&task);
    EXPECT_OK(sys_map(task.task, MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0), COM1,
                      COM1, 8, 0));
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0), interrupt;
    cap_slot_t end = notification_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 0);
    task_give(&task, end, RIGHT_SEND, 0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, driver);
    struct worker *other = worker_new(&task, 0, PRIORITY_LOW, victim);
    EXPECT_OK(create_status(&interrupt, OBJECT_INTERRUPT, BOOT_SLOT_TASK, COM1_GSI, 0, 0));
    port_write8(IER, 0);
    port_read8(IIR);
    EXPECT_OK(sys_control(interrupt, CONTROL_INTERRUPT_BIND, notification, 1, INTERRUPT_LEVEL, 0)
                  .status);
    worker->in[0] = notification;
    worker->in[1] = endpoint;
    worker->in[2] = interrupt;
    worker->in[3] = (uint64_t)other;
    other->in[0] = endpoint;
    other->in[1] = ROUNDS;
    other->in[2] = end;
    worker_start(worker);
    struct measurement m;
    measure_begin(&m);
    worker_start(other);
    /* Asleep until then: the timer of one who looks from time to time would be in the figure. */
    EXPECT_OK(message_wait(end, ticks() + 10000 * boot->tsc_khz).status);
    worker_join(other);
    CHECK(worker->step >= ROUNDS);
    m.ticks = ticks() - worker->out[0];
    measure_end(&m, "interrupt_to_user", worker->step,
                "from the instruction that raises the line, in another task, to the driver's first");
}

TEST(boot_figures, "what the kernel counted while it booted")
{
    figure("kernel_boot_instructions", boot->kernel_boot_instructions, "instructions",
           "entry to the first user instruction, calibration apart");
    figure("kernel_boot_instructions.calibration", boot->calibration_ticks, "instructions",
           "waiting for the clock");
}
