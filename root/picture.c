/*
 * Pictures of guests' screens, for the monitor and for the status page. A VMM writes its own into memory that it shares
 * with root; root believes nothing of it: sizes are checked, letters are filtered, and the file goes to the network
 * server as bytes.
 */
#include "picture.h"

#include "monitor.h"
#include "service.h"
#include "string.h"

/* How long a VMM may take to make one. */
#define ANSWER_MS 5000u
#define LOOK_MS   10u

static struct sink *const out = &console_sink;

uint64_t picture_shared;

/* The one that is being made. */
static struct {
    struct partition *partition; /* NULL: none */
    uint64_t lives, sequence, deadline;
    bool for_server;
} pending;

/* The number of what the network server has asked for. */
static uint32_t wanted;

static const char *ask(struct partition *partition, bool for_server)
{
    if (partition->plan->board != PLAN_BOARD_PC)
        return "it has no screen: only a board `pc` has one";
    if (partition->state != PARTITION_RUNNING || !partition->picture)
        return "it does not run";
    if (pending.partition || partition->status->command_done != partition->command->sequence)
        return "another command is being carried out: try again in a moment";
    partition_command(partition, VMM_COMMAND_SCREENSHOT, 0);
    pending.partition = partition;
    pending.lives = partition->lives;
    pending.sequence = partition->command->sequence;
    pending.deadline = ticks() + milliseconds(ANSWER_MS);
    pending.for_server = for_server;
    return NULL;
}

const char *picture_show(struct partition *partition)
{
    return ask(partition, false);
}

/* ---- on the monitor ------------------------------------------------------------------------------------------ */

/* Lines of a text screen. What could give a terminal orders (ECMA-48's two sets of controls) is left out. */
static void show_text(const struct vmm_picture *picture)
{
    uint32_t size_bytes = picture->text_bytes;
    unsigned char before = 0;
    for (uint32_t i = 0; i < size_bytes && i < sizeof picture->text; i++) {
        unsigned char byte = ((const volatile unsigned char *)picture->text)[i];
        bool is_control = byte < ' ' || byte == 0x7f || (before == 0xc2 && byte < 0xa0);
        print(out, "%c", is_control && byte != '\n' ? '?' : byte);
        before = byte;
    }
}

/* A small picture, two of its rows to a line: the upper half of a cell in one colour, the lower in the other. */
static void show_small(const struct vmm_picture *picture)
{
    for (unsigned row = 0; row + 1 < VMM_SMALL_ROWS; row += 2) {
        uint8_t last[6] = {0};
        for (unsigned column = 0; column < VMM_SMALL_COLUMNS; column++) {
            uint8_t now[6];
            memcpy(now, picture->small[row][column], 3);
            memcpy(now + 3, picture->small[row + 1][column], 3);
            if (column == 0 || memcmp(now, last, sizeof now) != 0)
                print(out, "\x1b[38;2;%u;%u;%u;48;2;%u;%u;%um", now[0], now[1], now[2], now[3],
                      now[4], now[5]);
            memcpy(last, now, sizeof last);
            print(out, "\xe2\x96\x80");
        }
        print(out, "\x1b[0m\n");
    }
}

static void show(const struct partition *partition)
{
    const struct vmm_picture *picture = partition->picture;
    uint32_t kind = picture->kind;
    print(out, "%s: %s, %u x %u pixels\n", partition->plan->name,
          kind == VMM_PICTURE_TEXT       ? "text"
          : kind == VMM_PICTURE_GRAPHICS ? "graphics"
                                         : "the screen is dark",
          picture->width, picture->height);
    if (kind == VMM_PICTURE_TEXT)
        show_text(picture);
    else if (kind == VMM_PICTURE_GRAPHICS)
        show_small(picture);
    if (picture_shared)
        print(out, "As a picture: /screen/%s.png at the status page\n", partition->plan->name);
}

/* ---- for the network server ------------------------------------------------------------------------------------ */

void picture_make(void)
{
    bool has_screen = false, has_page = false;
    for (unsigned i = 0; i < plan.partition_count; i++)
        has_screen |= plan.partitions[i].board == PLAN_BOARD_PC;
    for (unsigned i = 0; i < plan.network_count; i++)
        has_page |= plan.networks[i].http_port != 0;
    if (!has_screen || !has_page)
        return;
    uint64_t physical = frames_take(VMM_PICTURE_FILE_BYTES / SEPTUM_PAGE_SIZE, 1);
    if (physical == POOL_NONE)
        return;
    memset(direct(physical), 0, VMM_PICTURE_FILE_BYTES);
    picture_shared = physical;
}

static void give(const struct partition *partition)
{
    uint32_t size_bytes = partition ? partition->picture->file_bytes : 0;
    if (size_bytes > VMM_PICTURE_FILE_BYTES)
        size_bytes = 0;
    if (size_bytes)
        memcpy(direct(picture_shared), (const char *)partition->picture + VMM_PICTURE_FILE,
               size_bytes);
    status_picture(wanted, size_bytes);
}

void picture_want(uint32_t number, uint32_t index)
{
    if (!picture_shared || number == wanted || pending.partition)
        return;
    wanted = number;
    if (index >= plan.partition_count || ask(&partitions[index], true))
        give(NULL);
}

/* ---- clock ----------------------------------------------------------------------------------------------------- */

static void end(bool good)
{
    const struct partition *partition = pending.partition;
    pending.partition = NULL;
    if (pending.for_server)
        give(good ? partition : NULL);
    else if (good)
        show(partition);
    else
        say("%s: its VMM has made no picture\n", partition->plan->name);
    console_flush();
}

uint64_t picture_clock(void)
{
    const struct partition *partition = pending.partition;
    if (!partition)
        return UINT64_MAX;
    if (partition->state != PARTITION_RUNNING || partition->lives != pending.lives ||
        partition->command->sequence != pending.sequence || ticks() > pending.deadline)
        end(false);
    else if (partition->status->command_done == pending.sequence)
        end(true);
    return pending.partition ? ticks() + milliseconds(LOOK_MS) : UINT64_MAX;
}
