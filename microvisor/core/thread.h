/* Threads. All fields belong to the thread's home CPU unless said otherwise. */
#pragma once

#include "core/cross.h"
#include "core/sched.h"
#include "core/task.h"
#include "x86/processor_types.h"

/* Where the CPU goes on with this thread. */
enum thread_resume {
    RESUME_SYSRET, /* registers of the system-call ABI, results in rax rdi rsi rdx r10 r8 r9 */
    RESUME_IRET,   /* all registers */
    RESUME_VCPU,   /* enter the guest again */
};

/* Reasons to leave the fast path: `attention`. */
enum thread_attention {
    ATTENTION_NOTIFIED = 1, /* the bound notification has bits */
    ATTENTION_STOP = 2,     /* stopped by control, or its task is being destroyed */
    ATTENTION_BOOSTED = 4,  /* runs at a waiter's priority */
    ATTENTION_TIMEOUT = 8,  /* a vCPU call's deadline has passed */
    ATTENTION_QUEUED = 16,  /* on a ready queue */
    ATTENTION_FAULT = 32,   /* waits for the answer to a fault message */
    ATTENTION_UNTIMED = 64, /* not on cpu->timed: a wait must put it there first */
};

struct thread {
    struct registers registers; /* user registers; offset 0 for entry.S */
    struct object object;
    struct task *task;
    struct message_buffer *buffer; /* kernel address of the pinned page */
    uint64_t buffer_address;       /* user address */
    uint32_t state;     /* enum thread_state of the ABI */
    uint32_t resume;    /* enum thread_resume */
    uint64_t attention; /* enum thread_attention; 0: fit for the fast path */
    uint32_t fault_endpoint; /* slot in the task's space */

    struct thread *reply_to;     /* whom this thread may answer: the one-shot reply right */
    struct thread *reply_at;     /* who holds the right to answer this thread */
    struct capability *reply_slot; /* or in which slot it was saved */

    struct sched *own_sched;
    struct sched *sched; /* runs on this now: own, or lent by the caller */
    uint32_t boost;      /* priority lent by waiters + 1, 0: none */
    uint32_t ready_priority;

    uint64_t slice_left; /* ticks of its turn among equals */
    uint64_t deadline;   /* TSC; of the present wait */
    struct endpoint *endpoint;   /* queued at, or receiving from */
    uint64_t badge;      /* of the capability used for the present send */
    uint32_t call_shape;   /* IPC_SEND or IPC_CALL of the present send, or a fault's */
    uint32_t fault;        /* enum tag_origin while a fault message is under way */
    uint64_t fault_words[2]; /* the others are its registers: rip, rsp */
    uint32_t ipc_cpu;      /* the CPU that may change the ipc under way: home, or the endpoint's */
    uint32_t stopped_by_fault; /* a fault that had nobody to go to */

    struct notification *bound;
    struct endpoint *serves; /* the endpoint of its last receive: lending finds the server here */
    struct vcpu *vcpu; /* the call under way */

    struct list ready_link;
    struct list queue_link;  /* endpoint: senders or receivers; notification: waiters */
    struct list timed_link; /* cpu->timed, perhaps needlessly */
    struct list sched_link;
    struct cross_post post;  /* for cross-CPU sends and replies */
    struct processor_thread x86;
};

/* In an ipc that has not ended. */
static inline bool thread_waits(const struct thread *thread)
{
    return thread->state >= THREAD_SENDING && thread->state <= THREAD_RECEIVING;
}

/* Binds it to a context of its CPU; NULL: to none, then it does not run. On any CPU. */
void thread_bind_sched(struct thread *thread, struct sched *sched);

/* User registers as `control` and exception messages have them. Writing checks a copy of them; on another
 * CPU it leaves the FS base. */
void thread_read_registers(const struct thread *thread, struct thread_registers *to);
enum septum_status thread_write_registers(struct thread *thread,
                                          const struct thread_registers *from);

/* On its home CPU. */
void thread_start(struct thread *thread, uint64_t rip, uint64_t rsp, uint64_t argument);
