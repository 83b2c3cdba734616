/*
 * The files that net-server gives by HTTP: which path leads to which bytes, and in which network.
 * links: net-server/files.c lib/print.c
 */
#include "unit_test.h"

#include "net-server/files.h"
#include "protocol/network.h"

enum { PAGE = 4096, FILES = 3 };
static struct network_start start;
static struct {
    _Alignas(PAGE) char before[PAGE];
    char file[PAGE];
} memory[FILES];
static const char *data;
static size_t size_bytes;

static void serve(uint32_t network, const char *name, uint64_t bytes)
{
    struct network_file *file = &start.files[start.file_count];
    memset(memory[start.file_count].before, 0xee, PAGE);
    memset(memory[start.file_count].file, 'a' + (int)start.file_count, PAGE);
    strcpy(file->name, name);
    file->network = network;
    file->address = (uint64_t)memory[start.file_count].file;
    file->size_bytes = bytes;
    start.file_count++;
}

static void begin(void)
{
    memset(&start, 0, sizeof start);
    serve(0, "kernel", 1000);
    serve(1, "kernel", 20);
    serve(1, "linux.ipxe", 1);
    files_init(&start);
}

static bool found(uint32_t network, const char *path)
{
    data = NULL;
    size_bytes = 0;
    return files_find(network, path, &data, &size_bytes);
}

/* Of the file that was found. */
static bool is_file(unsigned number, const char *length)
{
    const char *file = memory[number].file;
    const char *end = file - 4;
    return data + size_bytes == file + start.files[number].size_bytes &&
           data > memory[number].before && data < end && memcmp(end, "\r\n\r\n", 4) == 0 &&
           strncmp(data, "HTTP/1.1 200 OK\r\n", 17) == 0 && data[-1] == (char)0xee &&
           memcmp(end - strlen(length), length, strlen(length)) == 0;
}

TEST(net_files_found, "a file is sent from where it lies, behind a header that tells its length")
{
    begin();
    CHECK(found(0, "/files/kernel"));
    CHECK(is_file(0, "Content-Length: 1000"));
    CHECK(found(1, "/files/linux.ipxe"));
    CHECK(is_file(2, "Content-Length: 1"));
    EXPECT(memory[0].file[0], 'a');
}

TEST(net_files_networks, "a network has its own files alone, even if another's has the same name")
{
    begin();
    CHECK(found(1, "/files/kernel"));
    CHECK(is_file(1, "Content-Length: 20"));
    CHECK(!found(0, "/files/linux.ipxe"));
    CHECK(!found(2, "/files/kernel"));
    CHECK(!found(UINT32_MAX, "/files/kernel"));
}

TEST(net_files_unknown, "no other path leads to a file")
{
    static const char *const paths[] = {"",
                                        "/",
                                        "kernel",
                                        "/kernel",
                                        "/files",
                                        "/files/",
                                        "/files/kerne",
                                        "/files/kernels",
                                        "/files/KERNEL",
                                        "/files//kernel",
                                        "/files/./kernel",
                                        "/files/../files/kernel",
                                        "/files/%6bernel",
                                        "/files/kernel?",
                                        "/files/kernel/",
                                        "//files/kernel",
                                        "/FILES/kernel",
                                        "http://10.0.0.1/files/kernel"};
    begin();
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
        CHECK(!found(0, paths[i]));
}

TEST(net_files_none, "where nothing is served, nothing is found")
{
    memset(&start, 0, sizeof start);
    files_init(&start);
    CHECK(!found(0, "/files/"));
    CHECK(!found(0, "/files/kernel"));
}

TEST(net_files_largest, "the longest header, of the longest name and the largest file, has room")
{
    char path[PLAN_SERVED_NAME_MAX + 16] = FILES_PATH;
    memset(&start, 0, sizeof start);
    serve(0, "x", 536870912);
    memset(start.files[0].name, 'x', PLAN_SERVED_NAME_MAX - 1);
    files_init(&start);
    strcat(path, start.files[0].name);
    CHECK(found(0, path));
    CHECK(is_file(0, "Content-Length: 536870912"));
}
