/*
 * What runs in a VMM's place in tests of root: a program that does what a compromised VMM would. What it does
 * is the command line of its partition, word by word.
 */
#include "message.h"
#include "protocol/console.h"
#include "protocol/root.h"
#include "protocol/service.h"
#include "protocol/vmm.h"
#include "service.h"
#include "string.h"
#include "task.h"

#define ODD_LABEL 77u

static const struct vmm_start *vmm;

static void tell(enum root_message what, uint64_t word)
{
    const uint64_t w[4] = {word, 0, 0, 0};
    message_send(TASK_SLOT_ROOT, TAG(what, 1, 0), w, DEADLINE_NEVER);
}

static void ready(void)
{
    tell(ROOT_READY, 0);
}

static void wait_for_ever(void)
{
    for (;;)
        message_wait(TASK_SLOT_NOTIFICATION, DEADLINE_NEVER);
}

/* ---- ends ------------------------------------------------------------------------------------------ */

static void power_off(void)
{
    tell(ROOT_GUEST_ENDED, ROOT_GUEST_POWER_OFF);
    wait_for_ever();
}

static void reboot(void)
{
    tell(ROOT_GUEST_ENDED, ROOT_GUEST_REBOOT);
    wait_for_ever();
}

static void panic(void)
{
    tell(ROOT_GUEST_ENDED, ROOT_GUEST_PANIC);
    wait_for_ever();
}

static void refuse(void)
{
    tell(ROOT_GUEST_ENDED, ROOT_GUEST_REFUSED);
    wait_for_ever();
}

static void odd_end(void)
{
    tell(ROOT_GUEST_ENDED, 1ull << 40);
    wait_for_ever();
}

/* ---- deaths: each in a function with a name that the report must show -------------------------------- */

static void __attribute__((noinline)) die_writing(void)
{
    __asm__ volatile("movl $1, (%0)" : : "r"(0x18ul) : "memory");
}

static void __attribute__((noinline)) die_reading(void)
{
    (void)*(volatile uint32_t *)0x7000000000;
}

static void __attribute__((noinline)) die_jumping(void)
{
    ((void (*)(void))0x10)();
}

static void __attribute__((noinline)) die_by_instruction(void)
{
    __asm__ volatile("ud2");
}

static void __attribute__((noinline)) die_writing_text(void)
{
    *(volatile uint8_t *)die_writing_text = 0;
}

static void die_by_port(void)
{
    __asm__ volatile("outb %0, %1" : : "a"((uint8_t)'X'), "Nd"((uint16_t)0x3f8));
}

/* Gives up what root would hear of it, and faults. */
static void die_silently(void)
{
    sys_unmap(0, SPACE_CAPABILITY | UNMAP_SELF, TASK_SLOT_FAULT, 1);
    die_writing();
}

static void stop_itself(void)
{
    sys_control(TASK_SLOT_THREAD, CONTROL_THREAD_STOP, 0, 0, 0, 0);
}

/* ---- attacks ---------------------------------------------------------------------------------------- */

static void flood(void)
{
    for (;;)
        tell((enum root_message)ODD_LABEL, 0);
}

static void flood_by_calls(void)
{
    for (;;)
        message_call(TASK_SLOT_ROOT, TAG(ODD_LABEL, 4, 0), NULL, DEADLINE_NEVER);
}

/* Every shape of a message that there is: words, items, labels; to both of its endpoints. */
static void malformed(void)
{
    struct message_buffer *buffer = thread_buffer();
    for (unsigned i = 0; i < 30; i++) {
        buffer->items[0] =
            item_memory(SPACE_HOST, vmm->memory_address, SPACE_HOST, 0, 512, MAP_RIGHTS);
        buffer->items[1] = item_capability(TASK_SLOT_SELF, i, RIGHTS_ALL, i);
        buffer->items[2] = (struct map_item){UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0};
        message_send(i & 1 ? TASK_SLOT_FAULT : TASK_SLOT_ROOT, TAG(i * 0x10001u, 63, i & 3), NULL,
                     ticks() + task->tsc_khz);
    }
    task_print("malformed messages are sent\n");
    wait_for_ever();
}

/* Makes objects and maps its memory over and over, until its quota is used up. */
static void eat_quota(void)
{
    uint64_t made = 0, mapped = 0, status = STATUS_OK;
    for (uint64_t slot = TASK_SLOT_FREE; slot < task->slots_end && status == STATUS_OK; slot++)
        made +=
            (status = sys_create(slot, OBJECT_NOTIFICATION, TASK_SLOT_SELF, 0, 0, 0)) == STATUS_OK;
    for (uint64_t at = 1ull << 40; at < 1ull << 46; at += 1ull << 39) {
        status = sys_map(TASK_SLOT_SELF, MAP_HOW(SPACE_HOST, SPACE_HOST, MAP_READ, 0),
                         vmm->memory_address + SEPTUM_PAGE_SIZE, at, 1, 0);
        if (status != STATUS_OK)
            break;
        mapped++;
    }
    task_print("quota eaten: %lu objects, %lu mappings, then status %lu\n", made, mapped, status);
    wait_for_ever();
}

/* Tries to map what it does not have, over what it has, and beyond everything. */
static void map_garbage(void)
{
    unsigned refused = 0, done = 0;
    uint64_t random = 88172645463325252ull;
    for (unsigned i = 0; i < 2000; i++) {
        random ^= random << 13, random ^= random >> 7,
            random ^= random << 17; /* Marsaglia's xorshift */
        uint64_t how = MAP_HOW(random & 7, random >> 3 & 7, random >> 6 & 255, random >> 14 & 3);
        uint64_t status = sys_map(i & 1 ? 0 : TASK_SLOT_SELF, how, random >> 20 & ~0xfffull,
                                  random << 9 & ~0xfffull, random >> 60, 0);
        done += status == STATUS_OK;
        refused += status != STATUS_OK;
    }
    task_print("garbage: %u maps refused, %u done\n", refused, done);
    wait_for_ever();
}

/* Writes over all that it shares with others. */
static void scribble(void)
{
    for (unsigned n = 0; n < task->channel_count; n++)
        for (uint64_t at = 0; at < task->channels[n].size_bytes; at += 4)
            *(volatile uint32_t *)(task->channels[n].address + at) = 0xdeadbeef;
    memset((void *)vmm->status_address, 0xff, sizeof(struct vmm_status));
    for (unsigned n = 0; n < task->channel_count; n++)
        task_channel_ring(n);
    wait_for_ever();
}

static void spin(void)
{
    for (;;)
        __asm__ volatile("" ::: "memory");
}

/* ---- a good one -------------------------------------------------------------------------------------- */

/* Carries out root's commands, says each heartbeat, and gives back what is typed at its console. */
static void live(void)
{
    struct vmm_status *status = (struct vmm_status *)vmm->status_address;
    const struct vmm_command *command = (const struct vmm_command *)vmm->command_address;
    unsigned channel = task_channel_find(TASK_CHANNEL_CONSOLE);
    struct ring input = {0}, output = {0};
    if (channel < task->channel_count) {
        char *memory = (char *)task->channels[channel].address;
        ring_join_reader(&input, memory + CONSOLE_INPUT_OFFSET, CONSOLE_INPUT_BYTES);
        ring_join_writer(&output, memory + CONSOLE_OUTPUT_OFFSET, CONSOLE_OUTPUT_BYTES);
    }
    status->state = VMM_RUNNING;
    if (output.shared) {
        ring_write(&output, "hello\n", 6);
        task_channel_ring(channel);
    }
    for (uint64_t beat = 0;; beat++) {
        char line[64];
        size_t n = output.shared ? ring_read(&input, line, sizeof line) : 0;
        if (n) {
            ring_write(&output, line, n);
            task_channel_ring(channel);
        }
        if (command->sequence != status->command_done) {
            if (command->command == VMM_COMMAND_PAUSE)
                status->state = VMM_PAUSED;
            if (command->command == VMM_COMMAND_RESUME)
                status->state = VMM_RUNNING;
            if (command->command == VMM_COMMAND_DIE)
                die_writing();
            status->command_done = command->sequence;
        }
        if (beat % 10 == 0)
            task_print("heartbeat %lu\n", beat / 10);
        status->entries += 3;
        status->exits[EXIT_HLT].count += 2;
        status->exits[EXIT_HLT].ticks += 2000;
        status->exits[EXIT_IO].count++;
        status->exits[EXIT_IO].ticks += 1500;
        if (output.shared)
            ring_reader_waits(&input);
        message_wait(TASK_SLOT_NOTIFICATION, ticks() + 20 * task->tsc_khz);
    }
}

/* Rings the servers of its disks and cards until each has counted to three, and looks at what they wrote. A channel that
 * says three at once has something of the life before. */
static void call_servers(void)
{
    for (unsigned n = 0; n < task->channel_count; n++) {
        const struct task_channel *channel = &task->channels[n];
        volatile uint64_t *word = (volatile uint64_t *)channel->address;
        if (channel->kind != TASK_CHANNEL_BLOCK && channel->kind != TASK_CHANNEL_NETWORK)
            continue;
        if (*word >= 3)
            task_print("the channel of %s was not emptied\n", channel->name);
        for (uint64_t count = *word; count < 3; count = *word) {
            task_channel_ring(n);
            while (*word == count)
                message_wait(TASK_SLOT_NOTIFICATION, ticks() + 100 * task->tsc_khz);
        }
        task_print("%s has counted to %lu, and written %c\n", channel->name, *word,
                   ((const char *)vmm->memory_address)[vmm->memory_bytes - 1]);
    }
}

/* Says at each server's door what is root's to say, with and without things to give. */
static void abuse_doors(void)
{
    struct message_buffer *buffer = thread_buffer();
    unsigned answered = 0, refused = 0;
    for (unsigned n = 0; n < task->channel_count; n++)
        for (unsigned i = 0; task->channels[n].door && i < 9; i++) {
            const uint64_t w[4] = {i / 3, 0, UINT64_MAX, 0};
            memset(&buffer->words[4], 0xff, sizeof(struct service_attach));
            buffer->items[0] =
                item_memory(SPACE_HOST, vmm->memory_address, SPACE_HOST, 0, 16, MAP_RIGHTS);
            buffer->items[1] = item_capability(TASK_SLOT_NOTIFICATION, 0, RIGHT_SEND, 0);
            struct message reply = message_call(
                TASK_SLOT_DOOR + n, TAG(i / 3 + 1, 4 + sizeof(struct service_attach) / 8, i % 3), w,
                ticks() + 1000 * task->tsc_khz);
            bool good = reply.status == STATUS_OK && TAG_LABEL(reply.tag) == SERVICE_OK;
            answered += good, refused += !good;
        }
    task_print("doors: %u answered, %u refused\n", answered, refused);
}

static const struct {
    const char *word;
    void (*act)(void);
} acts[] = {
    {"abuse-doors", abuse_doors},
    {"call-servers", call_servers},
    {"ready", ready},
    {"power-off", power_off},
    {"reboot", reboot},
    {"panic", panic},
    {"refuse", refuse},
    {"odd-end", odd_end},
    {"die-writing", die_writing},
    {"die-reading", die_reading},
    {"die-jumping", die_jumping},
    {"die-by-instruction", die_by_instruction},
    {"die-writing-text", die_writing_text},
    {"die-by-port", die_by_port},
    {"die-silently", die_silently},
    {"stop-itself", stop_itself},
    {"flood", flood},
    {"flood-by-calls", flood_by_calls},
    {"malformed", malformed},
    {"eat-quota", eat_quota},
    {"map-garbage", map_garbage},
    {"scribble", scribble},
    {"spin", spin},
    {"live", live},
};

static void act(const char *word, size_t length)
{
    for (unsigned i = 0; i < sizeof acts / sizeof *acts; i++)
        if (strlen(acts[i].word) == length && strncmp(acts[i].word, word, length) == 0)
            acts[i].act();
}

void program_start(const void *argument)
{
    task_init(argument);
    if (strcmp(task->name, "block-server") == 0 || strcmp(task->name, "net-server") == 0)
        service_run();
    vmm = (const struct vmm_start *)task->role;
    task_print("the stand-in does: %s\n", vmm->partition.command_line);
    for (const char *at = vmm->partition.command_line; *at;) {
        size_t length = 0;
        while (at[length] > ' ')
            length++;
        act(at, length);
        at += length + (at[length] != 0);
    }
    wait_for_ever();
}
