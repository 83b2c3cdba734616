/*
 * Threads of a program: each has a stack whose top holds what it must know about itself.
 */
#ifndef LIB_THREAD_H
#define LIB_THREAD_H

#include "syscall.h"

#define THREAD_STACK_BYTES 16384u /* also the alignment: a thread finds its context by its rsp */

struct thread_context {
    struct message_buffer *buffer; /* this thread's message buffer */
    void (*function)(void *argument);
    void *argument;
    uint64_t self; /* slot of a capability to this thread, in its own task; 0: it has none */
    volatile uint64_t finished; /* set when the function has returned */
    uint64_t reserved[3];
};
_Static_assert(sizeof(struct thread_context) == 64, "CONTEXT_BYTES of start.S");

/* The context of the thread that asks. */
static inline struct thread_context *thread_self(void)
{
    uint64_t rsp;
    __asm__ volatile("mov %%rsp, %0" : "=r"(rsp));
    return (struct thread_context *)((rsp | (THREAD_STACK_BYTES - 1)) + 1 -
                                     sizeof(struct thread_context));
}

/* The message buffer of the thread that asks. */
static inline struct message_buffer *thread_buffer(void)
{
    return thread_self()->buffer;
}

/* Ends the thread that asks: it says so in its context and stops. */
_Noreturn void thread_finish(void);

/* Where threads begin (start.S), and what that calls. */
void thread_entry(void);
_Noreturn void thread_run(struct thread_context *context);

/* What the program provides: where its first thread begins. */
void program_start(const void *argument);

#endif
