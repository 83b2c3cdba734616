/* Work on other CPUs: lock-free stacks in struct cpu, an inter-processor interrupt to empty them. */
#include "core/cross.h"

#include "x86/processor.h"

/* Who finds the stack empty sends the interrupt; it stands for all that come until it is taken. */
static void push(unsigned cpu, enum cross_kind kind, struct cross_post *post)
{
    struct cross_post **stack = &cpus[cpu]->posts[kind];
    struct cross_post *head = __atomic_load_n(stack, __ATOMIC_RELAXED);
    do {
        post->next = head;
    } while (!__atomic_compare_exchange_n(stack, &head, post, true, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
    if (!head)
        processor_send_interrupt(cpu);
}

/* What has come, oldest first: a post is a step of a protocol. */
static struct cross_post *take(enum cross_kind kind)
{
    struct cross_post **stack = &this_cpu()->posts[kind], *queue = NULL;
    if (!__atomic_load_n(stack, __ATOMIC_RELAXED))
        return NULL;
    struct cross_post *post = __atomic_exchange_n(stack, NULL, __ATOMIC_ACQUIRE);
    while (post) {
        struct cross_post *next = post->next;
        post->next = queue;
        queue = post;
        post = next;
    }
    return queue;
}

/* Its memory may go with it, and while it runs it can be posted again. */
static void run_all(struct cross_post **queue)
{
    while (*queue) {
        struct cross_post *post = *queue;
        *queue = post->next;
        __atomic_store_n(&post->queued, 0, __ATOMIC_RELEASE);
        post->run(post);
    }
}

void cross_post(unsigned cpu, struct cross_post *post)
{
    if (!__atomic_exchange_n(&post->queued, 1, __ATOMIC_ACQ_REL))
        push(cpu, CROSS_ORDERLY, post);
}

void cross_call_poll(void)
{
    struct cross_post *urgent = take(CROSS_URGENT);
    run_all(&urgent);
}

void cross_quiescent(void)
{
    struct cross_post *waiting = take(CROSS_QUIESCE);
    run_all(&waiting);
}

/* Work that itself waits for another CPU comes back here and goes on with the queue, in order. */
void cross_interrupt(void)
{
    struct cpu *cpu = this_cpu();
    struct cross_post **last = &cpu->accepted;

    cross_call_poll();
    while (*last)
        last = &(*last)->next;
    *last = take(CROSS_ORDERLY);
    run_all(&cpu->accepted);
    if (!cpu->busy)
        cross_quiescent();
    else if (__atomic_load_n(&cpu->posts[CROSS_QUIESCE], __ATOMIC_RELAXED))
        cpu->reschedule = 1; /* leave the kernel soon, and answer there */
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct call {
    struct cross_post post;
    void (*run)(void *argument);
    void *argument;
    uint32_t done;
};

static void run_call(struct cross_post *post)
{
    struct call *call = container_of(post, struct call, post);
    call->run(call->argument);
    __atomic_store_n(&call->done, 1, __ATOMIC_RELEASE); /* the caller's stack frame may go with it */
}

/* Calls every CPU of the mask, with a `struct call` for each, and does work meanwhile. */
static void call_cpus(uint64_t mask, enum cross_kind kind, void (*run)(void *), void *argument,
                      struct call *calls, void (*work)(void))
{
    uint64_t self = 1ull << this_cpu()->number;
    unsigned count = 0;

    for (uint64_t left = mask & ~self; left; left &= left - 1) {
        calls[count] = (struct call){{.run = run_call}, run, argument, 0};
        push((unsigned)__builtin_ctzll(left), kind, &calls[count++].post);
    }
    if (mask & self)
        run(argument);
    while (count--) {
        while (!__atomic_load_n(&calls[count].done, __ATOMIC_ACQUIRE)) {
            work();
            __builtin_ia32_pause();
        }
    }
}

void cross_wait(void)
{
    this_cpu()->busy++;
    cross_interrupt();
    this_cpu()->busy--;
}

void cross_call(unsigned cpu, void (*run)(void *), void *argument)
{
    struct call call;
    call_cpus(1ull << cpu, CROSS_ORDERLY, run, argument, &call, cross_wait);
}

static void pass(void *argument)
{
    (void)argument;
    ledger_quiescent();
}

void cross_quiesce(void)
{
    struct call calls[CPUS_MAX];
    call_cpus(cpus_online(), CROSS_QUIESCE, pass, NULL, calls, cross_interrupt);
}

void cross_call_urgent(uint64_t cpu_mask, void (*run)(void *), void *argument)
{
    struct call calls[CPUS_MAX];
    call_cpus(cpu_mask, CROSS_URGENT, run, argument, calls, cross_call_poll);
}
