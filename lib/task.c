#include "task.h"

#include "protocol/console.h"
#include "protocol/root.h"
#include "protocol/service.h"

#include "message.h"
#include "string.h"

#define LINE_MAX 240u
#define DOOR_MS  1000u

const struct task_start *task;

static size_t heap_used;

static struct {
    struct ring ring;
    unsigned channel;
    uint32_t lock;
    uint64_t lost_lines;
    size_t length;
    char line[LINE_MAX + 1];
} log;

static void log_write(struct sink *sink, const char *text, size_t size_bytes);
struct sink task_log = {log_write};

void task_init(const void *argument)
{
    const struct task_start *start = argument;
    if (start->magic != TASK_START_MAGIC || start->abi_version != SEPTUM_ABI_VERSION)
        thread_finish();
    task = start;
    thread_self()->buffer = (struct message_buffer *)start->threads[0].buffer;
    thread_self()->self = TASK_SLOT_THREAD;
    log.channel = task_channel_find(TASK_CHANNEL_LOG);
    if (log.channel == start->channel_count)
        log.channel = task_channel_find(TASK_CHANNEL_CONSOLE);
    if (log.channel < start->channel_count)
        ring_join_writer(&log.ring,
                         (char *)start->channels[log.channel].address + CONSOLE_OUTPUT_OFFSET,
                         CONSOLE_OUTPUT_BYTES);
}

void task_ready(void)
{
    message_send(TASK_SLOT_ROOT, TAG(ROOT_READY, 0, 0), NULL, DEADLINE_NEVER);
}

_Noreturn void task_finish(bool well)
{
    const uint64_t w[4] = {well ? ROOT_GUEST_POWER_OFF : ROOT_GUEST_REFUSED, 0, 0, 0};
    message_send(TASK_SLOT_ROOT, TAG(ROOT_GUEST_ENDED, 1, 0), w, DEADLINE_NEVER);
    for (;;)
        message_wait(TASK_SLOT_NOTIFICATION, DEADLINE_NEVER);
}

uint64_t task_thread_start(unsigned n, void (*function)(void *argument), void *argument)
{
    if (n == 0 || n >= task->thread_count)
        return STATUS_BAD_ARGUMENT;
    uint64_t top = task->threads[n].stack_base + THREAD_STACK_BYTES - sizeof(struct thread_context);
    *(struct thread_context *)top = (struct thread_context){
        .buffer = (struct message_buffer *)task->threads[n].buffer,
        .function = function,
        .argument = argument,
        .self = TASK_SLOT_THREAD + n,
    };
    return sys_control(TASK_SLOT_THREAD + n, CONTROL_THREAD_START, (uint64_t)thread_entry, top, top,
                       0)
        .status;
}

void *task_allocate(size_t size_bytes, size_t alignment)
{
    size_t begin = (heap_used + alignment - 1) & ~(alignment - 1);
    if (begin < heap_used || begin > task->heap_bytes || size_bytes > task->heap_bytes - begin)
        return NULL;
    heap_used = begin + size_bytes;
    return (char *)task->heap_base + begin;
}

unsigned task_channel_find(enum task_channel_kind kind)
{
    unsigned i = 0;
    while (i < task->channel_count && task->channels[i].kind != kind)
        i++;
    return i;
}

/* On our CPU a call is shorter than bits, which the scheduler passes on. A server that is gone, or does not answer, finds
 * the bits when it is there again. */
static bool call_door(unsigned channel)
{
    uint32_t cpu = task->threads[thread_self()->self - TASK_SLOT_THREAD].cpu;
    return task->channels[channel].door == cpu + 1 &&
           message_call(TASK_SLOT_DOOR + channel, TAG(SERVICE_RING, 0, 0), NULL,
                        ticks() + DOOR_MS * task->tsc_khz)
                   .status == STATUS_OK;
}

void task_channel_ring(unsigned channel)
{
    if (call_door(channel))
        return;
    notification_signal(TASK_SLOT_CHANNEL + channel, task->channels[channel].ring_bits);
}

/* A whole line or nothing, so that lines of several threads and of several moments stay whole. */
static bool log_put(const char *line, size_t size_bytes)
{
    return ring_room(&log.ring) >= size_bytes &&
           ring_write(&log.ring, line, size_bytes) == size_bytes;
}

static void log_line(void)
{
    char lost[48];
    log.line[log.length++] = '\n';
    if (log.lost_lines) {
        print_buffer(lost, sizeof lost, "(%lu lines were lost here)\n", log.lost_lines);
        if (log_put(lost, strlen(lost)))
            log.lost_lines = 0;
    }
    if (log.lost_lines || !log_put(log.line, log.length))
        log.lost_lines++;
    log.length = 0;
}

static void log_write(struct sink *sink, const char *text, size_t size_bytes)
{
    (void)sink;
    if (log.channel >= task->channel_count)
        return;
    while (__atomic_exchange_n(&log.lock, 1, __ATOMIC_ACQUIRE))
        sys_schedule(0, SCHEDULE_YIELD, 0, 0);
    for (size_t i = 0; i < size_bytes; i++) {
        if (text[i] != '\n')
            log.line[log.length++] = text[i];
        if (text[i] == '\n' || log.length == LINE_MAX)
            log_line();
    }
    __atomic_store_n(&log.lock, 0, __ATOMIC_RELEASE);
    if (ring_writer_must_ring(&log.ring))
        task_channel_ring(log.channel);
}

void task_print(const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    print_buffer_list(text, sizeof text, format, list);
    va_end(list);
    task_log.write(&task_log, text, strlen(text));
}
