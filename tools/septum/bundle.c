/*
 * The boot bundle, as lib/archive.h describes it: root's program, then a tar archive
 * (POSIX.1-2017, pax, "ustar Interchange Format") whose members' contents begin at pages. The same
 * files make the same bytes.
 */
#include "septum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512u
#define PAGE  4096u

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
    char type, link[100], magic[6], version[2], user[32], group[32], major[8], minor[8];
    char prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

static void append(struct content *bundle, const void *data, size_t size_bytes)
{
    uint8_t *grown = realloc(bundle->data, bundle->size_bytes + size_bytes);
    if (!grown)
        give_up("this machine has too little memory for the bundle. End other programs.");
    memcpy(grown + bundle->size_bytes, data, size_bytes);
    bundle->data = grown;
    bundle->size_bytes += size_bytes;
}

static void append_zeroes(struct content *bundle, size_t size_bytes)
{
    void *zeroes = allocate(size_bytes);
    append(bundle, zeroes, size_bytes);
    free(zeroes);
}

/* The name, in two parts at a slash if it is long. */
static void set_name(struct header *header, const char *name)
{
    size_t length = strlen(name);
    const char *tail = name;
    if (length > sizeof header->name) {
        tail = strchr(name + length - sizeof header->name - 1, '/');
        if (!tail || (size_t)(tail - name) > sizeof header->prefix)
            give_up("the path %s has a part that is too long. Shorten its last name to 99 "
                    "characters.",
                    name);
        memcpy(header->prefix, name, (size_t)(tail - name));
        tail++;
    }
    memcpy(header->name, tail, strlen(tail));
}

static void append_header(struct content *bundle, const char *name, size_t size_bytes)
{
    struct header header = {.mode = "0000644",
                            .uid = "0000000",
                            .gid = "0000000",
                            .mtime = "00000000000",
                            .type = '0',
                            .magic = "ustar",
                            .version = {'0', '0'}};
    unsigned sum = 0;
    set_name(&header, name);
    if (size_bytes >> 33)
        give_up("%s is larger than 8 GiB. Use a smaller file.", name);
    snprintf(header.size, sizeof header.size, "%011zo", size_bytes);
    memset(header.checksum, ' ', sizeof header.checksum);
    for (size_t i = 0; i < sizeof header; i++)
        sum += ((const uint8_t *)&header)[i];
    snprintf(header.checksum, sizeof header.checksum, "%06o", sum);
    append(bundle, &header, sizeof header);
}

static void append_member(struct content *bundle, const char *name, const void *data,
                          size_t size_bytes)
{
    size_t gap = (PAGE - (bundle->size_bytes + BLOCK) % PAGE) % PAGE;
    if (gap) {
        size_t pad = (gap - BLOCK) % PAGE;
        append_header(bundle, ".pad", pad);
        append_zeroes(bundle, pad);
    }
    append_header(bundle, name, size_bytes);
    append(bundle, data, size_bytes);
    append_zeroes(bundle, (BLOCK - size_bytes % BLOCK) % BLOCK);
}

static void append_file(struct content *bundle, const char *folder, const char *name,
                        const char *path)
{
    struct content content;
    char *member;
    if (!content_read(path, &content))
        give_up("%s can't be read: %s. Check the path.", path, strerror(errno));
    if (asprintf(&member, "%s/%s", folder, name) < 0)
        abort();
    append_member(bundle, member, content.data, content.size_bytes);
    free(member);
    free(content.data);
}

static void append_program(struct content *bundle, const struct options *options, const char *name)
{
    char *file, *path;
    if (asprintf(&file, "%s.elf", name) < 0)
        abort();
    path = build_path(options, file);
    append_file(bundle, "program", name, path);
    free(file);
    free(path);
}

#define NAMED_MAX (PLAN_PARTITIONS_MAX * PLAN_FILE_COUNT + PLAN_VOLUMES_MAX + PLAN_SERVED_MAX)

/* The paths of what is in the bundle already. */
struct named {
    char *paths[NAMED_MAX];
    unsigned count;
};

static void append_once(struct content *bundle, struct named *named, const struct plan_file *file)
{
    char *path = plan_file_path(file);
    for (unsigned i = 0; i < named->count; i++)
        if (strcmp(named->paths[i], path) == 0) {
            free(path);
            return;
        }
    named->paths[named->count++] = path;
    append_file(bundle, file->shipped ? "firmware" : "file", file->path, path);
}

/* Kernels, initrds, modules, firmware and images, each once. */
static void append_named_files(struct content *bundle, const struct plan *plan)
{
    struct named named = {0};
    struct plan_file file;
    for (unsigned i = 0; i < plan->partition_count; i++)
        for (unsigned n = 0; n < PLAN_FILE_COUNT; n++)
            if (plan_file(&plan->partitions[i], n, &file))
                append_once(bundle, &named, &file);
    for (unsigned i = 0; i < plan->volume_count; i++)
        if (plan->volumes[i].file[0]) {
            file = (struct plan_file){.path = plan->volumes[i].file};
            append_once(bundle, &named, &file);
        }
    for (unsigned i = 0; i < plan->served_count; i++) {
        file = (struct plan_file){.path = plan->served[i].file};
        append_once(bundle, &named, &file);
    }
    while (named.count)
        free(named.paths[--named.count]);
}

void bundle_make(const struct options *options, const struct plan *plan, struct content *bundle)
{
    char *root = build_path(options, "root.elf");
    char line[PLAN_PATH_MAX + 1];
    if (!content_read(root, bundle))
        give_up("%s can't be read: %s. Build it with `make`.", root, strerror(errno));
    free(root);
    append_zeroes(bundle, (PAGE - bundle->size_bytes % PAGE) % PAGE);
    snprintf(line, sizeof line, "%s\n", plan->files[0]);
    append_member(bundle, "partition.conf", line, strlen(line));
    for (unsigned i = 0; i < plan->file_count; i++)
        append_file(bundle, "conf", plan->files[i], plan->files[i]);
    append_program(bundle, options, "vmm-server");
    append_program(bundle, options, "console-server");
    if (plan->volume_count)
        append_program(bundle, options, "block-server");
    if (plan->network_count)
        append_program(bundle, options, "net-server");
    append_named_files(bundle, plan);
    append_zeroes(bundle, 2 * BLOCK);
}
