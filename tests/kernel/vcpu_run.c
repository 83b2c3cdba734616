/* vCPUs: how a call ends that the guest does not end: deadlines, notifications, forced exits. */
#include "vcpu_spin.h"

/* ---- deadlines ------------------------------------------------------------------------------- */

TEST_VM(vcpu_deadline,
        "a guest that spins ends its call at the deadline, not before, and goes on in the next")
{
    struct vm vm;
    prepare_spin(&vm);
    uint64_t deadline = ticks() + microseconds(20000);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, deadline);
    CHECK(ticks() >= deadline);
    expect_no_exit(&reply, STATUS_TIMEOUT);
    CHECK(reply.w[2] >= CODE && reply.w[2] < CODE + 16);
    uint32_t count = word(&vm, DATA);
    CHECK(count > 0);
    reply = vm_run(&vm, 0, 0, 0, 0, ticks() + microseconds(20000));
    expect_no_exit(&reply, STATUS_TIMEOUT);
    CHECK(word(&vm, DATA) > count);
}

TEST_VM(vcpu_deadline_poll, "a call with deadline 0 is over before the guest runs")
{
    struct vm vm;
    prepare_spin(&vm);
    struct message reply = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, DEADLINE_POLL);
    expect_no_exit(&reply, STATUS_TIMEOUT);
    EXPECT(word(&vm, DATA), 0);
    EXPECT(vm_state(&vm)->entries, 0);
}

TEST_VM(vcpu_deadline_past, "a call whose deadline has passed comes back soon")
{
    struct vm vm;
    prepare_spin(&vm);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, ticks() - 1);
    expect_no_exit(&reply, STATUS_TIMEOUT);
}

TEST_VM(vcpu_deadline_not_left,
        "a deadline of a call that ended by an exit does not end a later one")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_cpuid_loop);
    vm_protected_mode(&vm, CODE);
    uint64_t deadline = ticks() + microseconds(20000);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, deadline);
    EXPECT(vm_exit_reason(&exit), EXIT_CPUID);
    VM_LOAD(&vm, CODE, guest_spin);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, deadline + microseconds(3000));
    EXPECT_STATUS(exit.status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline + microseconds(3000));
}

/* ---- notifications --------------------------------------------------------------------------- */

static cap_slot_t bind_notification(void)
{
    cap_slot_t notification = notification_new(0);
    EXPECT_OK(sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0, 0, 0)
                  .status);
    return notification;
}

/* The call was ended by these bits, which came with the reply and are gone. */
static void expect_bits(const struct message *reply, uint64_t bits)
{
    expect_no_exit(reply, STATUS_INTERRUPTED);
    EXPECT(reply->w[0], bits);
    EXPECT_STATUS(message_wait(0, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

static void raise_later(struct worker *worker)
{
    await_entry(worker);
    EXPECT_OK(notification_signal(worker->in[0], 0x83));
}

TEST_VM(vcpu_interrupted_before,
        "bits of the bound notification end a call before the guest runs, and come with its reply")
{
    struct vm vm;
    prepare_spin(&vm);
    cap_slot_t notification = bind_notification();
    EXPECT_OK(notification_signal(notification, 5));
    struct message reply = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_bits(&reply, 5);
    EXPECT(vm_state(&vm)->entries, 0);
    reply = vm_run(&vm, 0, 0, 0, 0, ticks() + microseconds(100));
    EXPECT_STATUS(reply.status, STATUS_TIMEOUT);
}

TEST_VM(vcpu_interrupted_during, "bits raised while the guest runs end the call")
{
    struct vm vm;
    prepare_spin(&vm);
    cap_slot_t notification = bind_notification();
    struct worker *worker = meddler_go(&vm, 0, raise_later, notification);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_bits(&reply, 0x83);
    CHECK(vm_state(&vm)->entries > 0);
    worker_join(worker);
}

TEST_SMP(vcpu_interrupted_from_afar, "bits raised on another CPU end the call")
{
    struct vm vm;
    if (boot->virtualization == BOOT_VIRT_NONE)
        return;
    prepare_spin(&vm);
    cap_slot_t notification = bind_notification();
    struct worker *worker = meddler_go(&vm, 1, raise_later, notification);
    struct message reply = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_bits(&reply, 0x83);
    worker_join(worker);
}

/* in[0]: notification, in[1]: rounds; waits for worker->step, then for a growing while, then raises. */
static void kick(struct worker *worker)
{
    for (uint64_t i = 1; i <= worker->in[1]; i++) {
        while (worker->step < i)
            __builtin_ia32_pause();
        work(1 + i * 3 % 1500);
        EXPECT_OK(notification_signal(worker->in[0], i));
    }
}

TEST_SMP(vcpu_no_kick_lost, "a bit raised at any moment around an entry ends that call or the next")
{
    struct vm vm;
    if (boot->virtualization == BOOT_VIRT_NONE)
        return;
    prepare_spin(&vm);
    cap_slot_t notification = bind_notification();
    struct worker *worker = worker_new(NULL, 1, PRIORITY_HIGH, kick);
    worker->in[0] = notification;
    worker->in[1] = 1000;
    worker_start(worker);
    for (uint64_t i = 1; i <= 1000; i++) {
        worker->step = i;
        struct message reply = vm_run(&vm, i & 1 ? VCPU_SET_RIP : 0, 0, 0, CODE, far_deadline());
        expect_bits(&reply, i);
    }
    worker_join(worker);
}

/* ---- forced exits ---------------------------------------------------------------------------- */

static void force_later(struct worker *worker)
{
    await_entry(worker);
    force(worker->in[0]);
}

TEST_VM(vcpu_forced_before, "a forced exit asked for before a call ends that call, and no other")
{
    struct vm vm;
    prepare_spin(&vm);
    force(vm.vcpu[0]);
    force(vm.vcpu[0]);
    struct message reply = vm_expect(&vm, 0, EXIT_FORCED);
    EXPECT(reply.w[2], CODE);
    reply = vm_run(&vm, 0, 0, 0, 0, ticks() + microseconds(100));
    EXPECT_STATUS(reply.status, STATUS_TIMEOUT);
}

TEST_VM(vcpu_forced_during, "a forced exit ends a call whose guest runs")
{
    struct vm vm;
    prepare_spin(&vm);
    struct worker *worker = meddler_go(&vm, 0, force_later, vm.vcpu[0]);
    vm_expect(&vm, 0, EXIT_FORCED);
    worker_join(worker);
}

TEST_SMP(vcpu_forced_from_afar, "a forced exit can be asked for on another CPU")
{
    struct vm vm;
    if (boot->virtualization == BOOT_VIRT_NONE)
        return;
    prepare_spin(&vm);
    struct worker *worker = meddler_go(&vm, 1, force_later, vm.vcpu[0]);
    vm_expect(&vm, 0, EXIT_FORCED);
    worker_join(worker);
}
