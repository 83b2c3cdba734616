/*
 * Files of lwIP's web server. Those that a network serves (files.c) are sent as they lie. Others are made when they are
 * asked for, in one of a few buffers, which is free again when the last connection that sends it has ended. A page not
 * older than PAGE_FRESH_MS is served again as it is, and so is an older one while all buffers are busy.
 */
#include "pages.h"

#include "lwip/apps/fs.h"
#include "lwip/apps/httpd.h"

#include "files.h"
#include "host.h"
#include "screens.h"
#include "status_text.h"
#include "string.h"
#include "task.h"

enum { PAGE_BUFFERS = 3, PAGE_BYTES = 49152, PAGE_FRESH_MS = 250, SNAPSHOT_TRIES = 4 };

enum page_kind { PAGE_NONE, PAGE_JSON, PAGE_METRICS };

static struct {
    enum page_kind kind;
    uint32_t users;
    uint64_t made_at;
    size_t size_bytes;
    char text[PAGE_BYTES];
} buffers[PAGE_BUFFERS];

static const struct network_start *start;
static const struct network *networks;
static struct system_status snapshot;
static uint16_t served[PLAN_NETWORKS_MAX];

/* The port of the next httpd_init (lwipopts.h). */
uint16_t pages_port;

/* page.S: page.html with its header. */
extern const char page_begin[], page_end[];

static const char not_found[] =
    "HTTP/1.1 404 Not Found\r\nServer: Septum\r\nContent-Type: text/plain\r\nConnection: close\r\n"
    "\r\nThere is /, /status.json and /metrics, and /screen/NAME.png of a partition with a "
    "screen.\n";

static const char screen_later[] =
    "HTTP/1.1 503 Service Unavailable\r\nServer: Septum\r\nContent-Type: text/plain\r\n"
    "Retry-After: 1\r\nRefresh: 1\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    "The picture is being made: ask again in a second.\n";

static const char headers[] =
    "HTTP/1.1 200 OK\r\nServer: Septum\r\nContent-Type: %s\r\nCache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\nConnection: close\r\nContent-Length: %8lu\r\n\r\n";
enum { HEADERS_MAX = 256 };

void pages_init(const struct network_start *what, const struct network *all_networks)
{
    start = what;
    networks = all_networks;
    screens_init(what);
    files_init(what);
}

void pages_serve(uint16_t port)
{
    for (unsigned i = 0; i < PLAN_NETWORKS_MAX; i++) {
        if (served[i] == port)
            return;
        if (served[i])
            continue;
        served[i] = port;
        pages_port = port;
        httpd_init();
        return;
    }
}

/* Root's page, copied while root does not write it. */
static void take_snapshot(void)
{
    const struct system_status *shared = (const struct system_status *)start->system_address;
    for (unsigned i = 0; shared && i < SNAPSHOT_TRIES; i++) {
        uint32_t before = __atomic_load_n(&shared->sequence, __ATOMIC_ACQUIRE);
        memcpy(&snapshot, shared, sizeof snapshot);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(before & 1) && __atomic_load_n(&shared->sequence, __ATOMIC_RELAXED) == before)
            return;
    }
}

static void make(unsigned number, enum page_kind kind)
{
    struct status_facts facts = {
        .system = &snapshot, .networks = networks, .network_count = start->network_count};
    for (uint32_t i = 0; i < facts.network_count; i++)
        host_address(&networks[i], facts.addresses[i], ADDRESS_TEXT_MAX);
    take_snapshot();
    /* The header comes before the text whose length it says: it has a fixed size. */
    const char *type =
        kind == PAGE_JSON ? "application/json" : "text/plain; version=0.0.4; charset=utf-8";
    char *at = buffers[number].text;
    print_buffer(at, HEADERS_MAX, headers, type, 0ul);
    size_t header_bytes = strlen(at);
    struct text text = {.begin = at + header_bytes, .size_bytes = PAGE_BYTES - header_bytes - 1};
    if (kind == PAGE_JSON)
        status_json(&text, &facts);
    else
        status_metrics(&text, &facts);
    if (text.full) {
        text.used = 0;
        text_put(&text, kind == PAGE_JSON ? "{\"error\":\"there is too much to show\"}\n"
                                          : "# there is too much to show\n");
    }
    char first = at[header_bytes];
    print_buffer(at, HEADERS_MAX, headers, type, (unsigned long)text.used);
    at[header_bytes] = first;
    buffers[number].kind = kind;
    buffers[number].made_at = switch_clock.now;
    buffers[number].size_bytes = header_bytes + text.used;
}

/* A buffer with such a page; PAGE_BUFFERS: all are busy with another. */
static unsigned find(enum page_kind kind)
{
    unsigned free = PAGE_BUFFERS, old = PAGE_BUFFERS;
    uint64_t fresh = switch_clock.per_second / 1000 * PAGE_FRESH_MS;
    for (unsigned i = 0; i < PAGE_BUFFERS; i++) {
        if (buffers[i].kind == kind && switch_clock.now - buffers[i].made_at < fresh)
            return i;
        if (buffers[i].users == 0)
            free = i;
        else if (buffers[i].kind == kind)
            old = i;
    }
    if (free == PAGE_BUFFERS)
        return old;
    make(free, kind);
    return free;
}

static void give(struct fs_file *file, const char *data, size_t size_bytes)
{
    memset(file, 0, sizeof *file);
    file->data = data;
    file->len = file->index = (int)size_bytes;
    file->flags = FS_FILE_FLAGS_HEADER_INCLUDED;
}

/* False: there is no such screen. */
static bool open_screen(struct fs_file *file, const char *name)
{
    const char *data = NULL;
    size_t size_bytes = 0;
    take_snapshot();
    switch (screens_find(&snapshot, name, &data, &size_bytes)) {
    case SCREEN_READY: give(file, data, size_bytes); return true;
    case SCREEN_LATER: give(file, screen_later, sizeof screen_later - 1); return true;
    default: return false;
    }
}

/* False: there is no such file in the network that asks. */
static bool open_served(struct fs_file *file, const char *name)
{
    const struct network *network = host_asking();
    const char *data;
    size_t size_bytes;
    if (!network || !files_find((uint32_t)(network - networks), name, &data, &size_bytes))
        return false;
    give(file, data, size_bytes);
    return true;
}

/* lwIP's fs.c declares them so for itself. */
int fs_open_custom(struct fs_file *file, const char *name);
void fs_close_custom(struct fs_file *file);

/* Called by lwIP for the path of each request; 0: there is no such file. */
int fs_open_custom(struct fs_file *file, const char *name)
{
    enum page_kind kind = strcmp(name, "/status.json") == 0 ? PAGE_JSON
                          : strcmp(name, "/metrics") == 0   ? PAGE_METRICS
                                                            : PAGE_NONE;
    if (strcmp(name, "/index.html") == 0) {
        give(file, page_begin, (size_t)(page_end - page_begin));
        return 1;
    }
    if (strcmp(name, "/404.html") == 0) {
        give(file, not_found, sizeof not_found - 1);
        return 1;
    }
    if (kind == PAGE_NONE)
        return open_served(file, name) || open_screen(file, name);
    unsigned number = find(kind);
    if (number == PAGE_BUFFERS)
        return 0;
    buffers[number].users++;
    give(file, buffers[number].text, buffers[number].size_bytes);
    return 1;
}

void fs_close_custom(struct fs_file *file)
{
    screens_release(file->data);
    for (unsigned i = 0; i < PAGE_BUFFERS; i++)
        if (file->data == buffers[i].text && buffers[i].users)
            buffers[i].users--;
}
