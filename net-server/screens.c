#include "screens.h"

#include "protocol/network.h"
#include "protocol/status.h"
#include "string.h"
#include "switch.h"
#include "task.h"

#define PATH       "/screen/"
#define ENDING     ".png"
#define FRESH_MS   2000u
#define HEADER_MAX 256u

static const struct network_start *start;

/* The one picture that there is. */
static struct {
    uint32_t asked;     /* the number of the last request */
    uint32_t partition; /* its */
    uint64_t seen_at;   /* when it was first seen to be there; 0: not yet */
    uint32_t users;
    const char *data; /* header and file, while users hold it */
} picture;

static const char header[] =
    "HTTP/1.1 200 OK\r\nServer: Septum\r\nContent-Type: image/png\r\nCache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: %u\r\n\r\n";

static const struct system_status *shared(void)
{
    return (const struct system_status *)start->system_address;
}

void screens_init(const struct network_start *what)
{
    start = what;
    /* An earlier life of this server has asked before. */
    if (start->picture_address)
        picture.asked = __atomic_load_n(&shared()->picture_done, __ATOMIC_ACQUIRE);
}

/* The place in the plan of the partition that a path names; PLAN_PARTITIONS_MAX: none with a screen. Partitions come first. */
static uint32_t partition_of(const struct system_status *system, const char *path)
{
    size_t name_bytes = strlen(path);
    if (name_bytes <= sizeof PATH + sizeof ENDING - 2 ||
        strncmp(path, PATH, sizeof PATH - 1) != 0 ||
        strcmp(path + name_bytes - (sizeof ENDING - 1), ENDING) != 0)
        return PLAN_PARTITIONS_MAX;
    name_bytes -= sizeof PATH + sizeof ENDING - 2;
    for (uint32_t i = 0; i < system->task_count && i < PLAN_PARTITIONS_MAX; i++) {
        const struct status_task *task = &system->tasks[i];
        if (task->screen && name_bytes < sizeof task->name && task->name[name_bytes] == 0 &&
            strncmp(task->name, path + sizeof PATH - 1, name_bytes) == 0)
            return i;
    }
    return PLAN_PARTITIONS_MAX;
}

static void ask(uint32_t partition)
{
    struct network_server_status *status = (struct network_server_status *)start->status_address;
    picture.asked++;
    picture.partition = partition;
    picture.seen_at = 0;
    status->picture_partition = partition;
    __atomic_store_n(&status->picture_wanted, picture.asked, __ATOMIC_RELEASE);
}

/* The header goes to the end of the page before the file. */
static void hold(uint32_t file_bytes)
{
    char text[HEADER_MAX];
    print_buffer(text, sizeof text, header, file_bytes);
    size_t text_bytes = strlen(text);
    picture.data = (const char *)start->picture_address - text_bytes;
    memcpy((char *)picture.data, text, text_bytes);
}

enum screen_answer screens_find(const struct system_status *system, const char *path,
                                const char **data, size_t *size_bytes)
{
    uint32_t partition = partition_of(system, path);
    if (!start->picture_address)
        return SCREEN_NONE;
    /* Before root has told of anything, nobody knows which screens there are. */
    if (!system->version && strncmp(path, PATH, sizeof PATH - 1) == 0)
        return SCREEN_LATER;
    if (partition == PLAN_PARTITIONS_MAX)
        return SCREEN_NONE;
    bool done = __atomic_load_n(&shared()->picture_done, __ATOMIC_ACQUIRE) == picture.asked;
    uint32_t file_bytes = shared()->picture_bytes;
    bool is_it = done && picture.partition == partition && file_bytes;
    if (is_it && picture.seen_at == 0)
        picture.seen_at = switch_clock.now;
    if (is_it && (picture.users ||
                  switch_clock.now - picture.seen_at < switch_clock.per_second / 1000 * FRESH_MS)) {
        if (picture.users++ == 0)
            hold(file_bytes);
        *data = picture.data;
        *size_bytes = (size_t)((const char *)start->picture_address - picture.data) + file_bytes;
        return SCREEN_READY;
    }
    if (done && picture.users == 0)
        ask(partition);
    return SCREEN_LATER;
}

void screens_release(const char *data)
{
    if (picture.users && data == picture.data)
        picture.users--;
}
