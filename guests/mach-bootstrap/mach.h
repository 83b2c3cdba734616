/*
 * What of GNU Mach 1.8 this task uses: traps, messages, and calls to the kernel, which are messages too.
 * Written from "The GNU Mach Reference Manual" (chapters Inter Process Communication, Virtual Memory Interface,
 * Threads and Tasks, Device Interface).
 */
#ifndef GUESTS_MACH_BOOTSTRAP_MACH_H
#define GUESTS_MACH_BOOTSTRAP_MACH_H

#include <stdbool.h>
#include <stdint.h>

typedef uint32_t port_t; /* the name of a right in this task's port space */

enum { MESSAGE_WORDS = 96 };

struct message {
    uint32_t bits, size_bytes;
    port_t remote, local;
    uint32_t sequence, id;
    uint32_t body[MESSAGE_WORDS]; /* pairs of type descriptor and data, by `put` */
};

/* What a message does with the rights of its two ports, and of those in its body. */
enum { MOVE_SEND_ONCE = 18, COPY_SEND = 19, MAKE_SEND = 20, MAKE_SEND_ONCE = 21 };
#define BITS(remote, local) ((uint32_t)(remote) | (uint32_t)(local) << 8)

enum { OPTION_SEND = 1, OPTION_RECEIVE = 2 };

/* ---- traps (start.S); mach_msg returns 0 or a code of Mach's ------------------------------------- */
uint32_t mach_msg(struct message *message, uint32_t options, uint32_t send_bytes,
                  uint32_t receive_bytes, port_t receive_from, uint32_t timeout_ms, port_t notify);
port_t mach_reply_port(void);
port_t mach_thread_self(void);
port_t mach_task_self(void);

/* ---- messages ------------------------------------------------------------------------------------ */
/* Begins a message without a body: 24 bytes. */
void message_begin(struct message *message, uint32_t bits, port_t remote, port_t local,
                   uint32_t id);
/* Adds an integer to the body. */
void message_put(struct message *message, uint32_t value);
uint32_t message_send(struct message *message);
uint32_t message_receive(struct message *message, port_t from);
/* Sends, and receives from the message's local port into the same place. */
uint32_t message_call(struct message *message);

/* ---- calls to the kernel; every failure ends the task with a line that says where ------------------ */
void kernel_start(port_t device_master);
port_t task_create(void);
void task_terminate(port_t task);
/* A new thread of a task at function(a, b, c), with this stack; the function must not return. */
void thread_start(port_t task, void (*function)(uint32_t, uint32_t, uint32_t), void *stack_end,
                  uint32_t a, uint32_t b, uint32_t c);
/* A new port of a task: its name in that task's space. */
port_t port_allocate(port_t task);
/*
 * Gives a task a send right to a port that this task can receive from; there it has the same name as `name`
 * says.
 */
void port_insert_send(port_t task, port_t name, port_t port);
/* Makes a send right to a port that the task receives from; returns its name in this task's space. */
port_t port_extract_send(port_t task, port_t name);
/* Text on Mach's console, with a new line. */
void say(const char *text, ...);

#endif
