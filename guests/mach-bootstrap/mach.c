#include "mach.h"

#include <stdarg.h>

/*
 * The names of types in messages, and a descriptor of data inside the message: name, bits of an item, number of
 * items.
 */
enum {
    TYPE_BOOLEAN = 0,
    TYPE_INTEGER = 2,
    TYPE_CHARACTER = 8,
    TYPE_STRING = 12,
    TYPE_PORT_NAME = 15
};
enum { INLINE = 1 << 28, LONG_FORM = 1 << 29, COMPLEX = 1u << 31 };
#define TYPE(name, bits, number) \
    ((uint32_t)(name) | (uint32_t)(bits) << 8 | (uint32_t)(number) << 16 | INLINE)

/* Numbers of the kernel's calls: the order of the routines in its interfaces. */
enum {
    TASK_CREATE = 2007,
    TASK_TERMINATE = 2008,
    THREAD_SET_STATE = 2018,
    THREAD_CREATE = 2061,
    THREAD_RESUME = 2063
};
enum { DEVICE_OPEN = 2800, DEVICE_WRITE_INBAND = 2803 };
enum { PORT_ALLOCATE = 3204, PORT_INSERT_RIGHT = 3215, PORT_EXTRACT_RIGHT = 3216 };

enum {
    HEADER_BYTES = 24,
    DEVICE_WRITE = 2,
    DEVICE_NAME_BYTES = 128,
    LINE_BYTES = 128,
    RIGHT_RECEIVE = 1
};
enum {
    STATE_FLAVOR = 1,
    STATE_WORDS = 17,
    STATE_EDI = 4,
    STATE_ESI = 5,
    STATE_EBX = 8,
    STATE_EAX = 11
};
enum { STATE_EIP = 12, STATE_UESP = 15 };

extern void thread_entry(void);

static port_t reply_port, console;

void message_begin(struct message *message, uint32_t bits, port_t remote, port_t local, uint32_t id)
{
    message->bits = bits;
    message->size_bytes = HEADER_BYTES;
    message->remote = remote;
    message->local = local;
    message->sequence = 0;
    message->id = id;
}

static void put_word(struct message *message, uint32_t word)
{
    message->body[(message->size_bytes - HEADER_BYTES) / 4] = word;
    message->size_bytes += 4;
}

static void put(struct message *message, uint32_t type, uint32_t value)
{
    put_word(message, type);
    put_word(message, value);
}

/* Characters, and what is missing to whole words. */
static void put_text(struct message *message, const char *text, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i += 4) {
        uint32_t word = 0;
        for (uint32_t j = 0; j < 4 && i + j < bytes; j++)
            word |= (uint32_t)(uint8_t)text[i + j] << 8 * j;
        put_word(message, word);
    }
}

void message_put(struct message *message, uint32_t value)
{
    put(message, TYPE(TYPE_INTEGER, 32, 1), value);
}

uint32_t message_send(struct message *message)
{
    return mach_msg(message, OPTION_SEND, message->size_bytes, 0, 0, 0, 0);
}

uint32_t message_receive(struct message *message, port_t from)
{
    return mach_msg(message, OPTION_RECEIVE, 0, sizeof *message, from, 0, 0);
}

uint32_t message_call(struct message *message)
{
    return mach_msg(message, OPTION_SEND | OPTION_RECEIVE, message->size_bytes, sizeof *message,
                    message->local, 0, 0);
}

/* A failure is a mistake of this program or of the machine below: there is nobody to handle it. */
static void stop_if(uint32_t code, const char *where)
{
    if (!code)
        return;
    if (console)
        say("MACH-GUEST failed: %s, code %x", where, code);
    task_terminate(mach_task_self());
}

static void begin(struct message *message, port_t remote, uint32_t id)
{
    message_begin(message, BITS(COPY_SEND, MAKE_SEND_ONCE), remote, reply_port, id);
}

/*
 * The kernel's reply: an integer that is its code, then what it gives. Returns the word of the first of that.
 */
static uint32_t call_kernel(struct message *message, const char *where)
{
    stop_if(message_call(message), where);
    stop_if(message->body[1], where);
    return message->body[3];
}

void kernel_start(port_t device_master)
{
    static const char name[8] = "console";
    struct message message;
    reply_port = mach_reply_port();
    begin(&message, device_master, DEVICE_OPEN);
    put(&message, TYPE(TYPE_INTEGER, 32, 1), DEVICE_WRITE);
    /*
     * One item of 128 characters has more bits than a short descriptor can say: name and size, then the number.
     */
    put_word(&message, INLINE | LONG_FORM);
    put(&message, TYPE_STRING | 8 * DEVICE_NAME_BYTES << 16, 1);
    put_text(&message, name, sizeof name);
    message.size_bytes += DEVICE_NAME_BYTES - sizeof name;
    console = call_kernel(&message, "device_open");
}

port_t task_create(void)
{
    struct message message;
    begin(&message, mach_task_self(), TASK_CREATE);
    put(&message, TYPE(TYPE_BOOLEAN, 32, 1), true); /* with a copy of this task's memory */
    return call_kernel(&message, "task_create");
}

void task_terminate(port_t task)
{
    struct message message;
    begin(&message, task, TASK_TERMINATE);
    message_call(&message);
}

void thread_start(port_t task, void (*function)(uint32_t, uint32_t, uint32_t), void *stack_end,
                  uint32_t a, uint32_t b, uint32_t c)
{
    struct message message;
    begin(&message, task, THREAD_CREATE);
    port_t thread = call_kernel(&message, "thread_create");
    uint32_t state[STATE_WORDS] = {[STATE_EAX] = (uint32_t)function,
                                   [STATE_EBX] = a,
                                   [STATE_ESI] = b,
                                   [STATE_EDI] = c,
                                   [STATE_EIP] = (uint32_t)thread_entry,
                                   [STATE_UESP] = (uint32_t)stack_end};
    begin(&message, thread, THREAD_SET_STATE);
    put(&message, TYPE(TYPE_INTEGER, 32, 1), STATE_FLAVOR);
    put_word(&message, TYPE(TYPE_INTEGER, 32, STATE_WORDS));
    for (unsigned i = 0; i < STATE_WORDS; i++)
        put_word(&message, state[i]);
    call_kernel(&message, "thread_set_state");
    begin(&message, thread, THREAD_RESUME);
    call_kernel(&message, "thread_resume");
}

port_t port_allocate(port_t task)
{
    struct message message;
    begin(&message, task, PORT_ALLOCATE);
    put(&message, TYPE(TYPE_INTEGER, 32, 1), RIGHT_RECEIVE);
    return call_kernel(&message, "mach_port_allocate");
}

void port_insert_send(port_t task, port_t name, port_t port)
{
    struct message message;
    begin(&message, task, PORT_INSERT_RIGHT);
    message.bits |= COMPLEX;
    put(&message, TYPE(TYPE_PORT_NAME, 32, 1), name);
    put(&message, TYPE(COPY_SEND, 32, 1), port);
    call_kernel(&message, "mach_port_insert_right");
}

port_t port_extract_send(port_t task, port_t name)
{
    struct message message;
    begin(&message, task, PORT_EXTRACT_RIGHT);
    put(&message, TYPE(TYPE_PORT_NAME, 32, 1), name);
    put(&message, TYPE(TYPE_INTEGER, 32, 1), MAKE_SEND);
    return call_kernel(&message, "mach_port_extract_right");
}

static char *write_number(char *at, char *end, uint32_t number, uint32_t base)
{
    char digits[12];
    unsigned count = 0;
    do {
        uint32_t digit = number % base;
        digits[count++] = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
        number /= base;
    } while (number);
    while (count && at < end)
        *at++ = digits[--count];
    return at;
}

/* %s, %u and %x; what is longer than a line is cut. */
void say(const char *text, ...)
{
    struct message message;
    char line[LINE_BYTES];
    char *at = line, *end = line + sizeof line - 2;
    va_list arguments;
    va_start(arguments, text);
    for (; *text && at < end; text++) {
        if (*text != '%') {
            *at++ = *text;
        } else if (*++text == 's') {
            for (const char *word = va_arg(arguments, const char *); *word && at < end; word++)
                *at++ = *word;
        } else {
            at = write_number(at, end, va_arg(arguments, uint32_t), *text == 'x' ? 16 : 10);
        }
    }
    va_end(arguments);
    *at++ = '\r';
    *at++ = '\n';
    uint32_t bytes = (uint32_t)(at - line);
    begin(&message, console, DEVICE_WRITE_INBAND);
    put(&message, TYPE(TYPE_INTEGER, 32, 1), 0); /* mode */
    put(&message, TYPE(TYPE_INTEGER, 32, 1), 0); /* record */
    put_word(&message, TYPE(TYPE_CHARACTER, 8, bytes));
    put_text(&message, line, bytes);
    if (message_call(&message) || message.body[1])
        task_terminate(mach_task_self());
}
