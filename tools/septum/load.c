/* Partition files and what they name, from the disk. */
#include "septum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool content_read(const char *path, struct content *content)
{
    struct stat status;
    size_t done = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        errno = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
        close(fd);
        return false;
    }
    content->size_bytes = (size_t)status.st_size;
    content->data = allocate(content->size_bytes + 1);
    while (done < content->size_bytes) {
        ssize_t size = read(fd, content->data + done, content->size_bytes - done);
        if (size <= 0)
            break;
        done += (size_t)size;
    }
    close(fd);
    if (done == content->size_bytes)
        return true;
    free(content->data);
    errno = EIO;
    return false;
}

/* The folder in which this program lies: build/. */
static const char *build_folder(void)
{
    static char path[4096];
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 1);
    if (size <= 0)
        give_up("/proc/self/exe can't be read: mount /proc");
    path[size] = 0;
    *strrchr(path, '/') = 0;
    return path;
}

/* ---- what a partition file names ------------------------------------------------------------ */

/* The memory that it takes to start this kernel, with the initrd at the end of it. */
static const char *check_memory(const struct plan_partition *partition,
                                const struct content *kernel)
{
    static char text[PLAN_PATH_MAX + 256];
    struct stat status;
    uint64_t needed = format_linux_needs(kernel);
    if (partition->initrd[0] && stat(partition->initrd, &status) == 0)
        needed += (uint64_t)status.st_size;
    if (needed <= partition->memory_bytes)
        return NULL;
    unsigned long least = (needed + (1u << 20) - 1) >> 20;
    snprintf(text, sizeof text,
             "%s needs %lu MiB to start, and the partition has %lu. Give it at least: memory %luM",
             partition->kernel, least, (unsigned long)(partition->memory_bytes >> 20), least);
    return text;
}

static const char *guests_hint(const char *path)
{
    if (strstr(path, "build/release/") || strstr(path, "build/debug/"))
        return "; `make` builds the examples that are here";
    return strstr(path, "build/guests/") ? "; `make guests` makes the guests that are here" : "";
}

char *plan_file_path(const struct plan_file *file)
{
    char *path;
    if (asprintf(&path, file->shipped ? "%s/firmware/%s" : "%.0s%s", build_folder(), file->path) <
        0)
        abort();
    return path;
}

/* Why a file can't be used. The text is valid until the next call. */
static const char *check_file(struct partition_reader *reader,
                              const struct plan_partition *partition, const struct plan_file *file)
{
    static char text[PLAN_PATH_MAX + 256];
    struct content content;
    char *path = plan_file_path(file);
    (void)reader;
    if (!content_read(path, &content)) {
        if (file->shipped)
            snprintf(text, sizeof text, "%s is not there. `make firmware` brings it.", path);
        else
            snprintf(text, sizeof text, "%s can't be read: %s. Check the path%s.", path,
                     strerror(errno), guests_hint(path));
        free(path);
        return text;
    }
    const char *problem = format_problem(partition, file->kind, &content);
    if (problem)
        snprintf(text, sizeof text, "%s %s.", path, problem);
    const char *result = problem ? text : NULL;
    if (!problem && file->kind == PLAN_FILE_KERNEL && partition->boot == PLAN_BOOT_LINUX)
        result = check_memory(partition, &content);
    free(content.data);
    free(path);
    return result;
}

static const char *check_image(struct partition_reader *reader, const char *path,
                               enum partition_image image)
{
    static char text[PLAN_PATH_MAX + 256];
    struct stat status;
    (void)reader;
    if (stat(path, &status) != 0)
        snprintf(text, sizeof text, "%s can't be read: %s. Check the path%s.", path,
                 strerror(errno), guests_hint(path));
    else if (image == PARTITION_IMAGE_ANY && (!S_ISREG(status.st_mode) || status.st_size == 0))
        snprintf(text, sizeof text, "%s is empty, or no file. Name another.", path);
    else if (image == PARTITION_IMAGE_ANY)
        return NULL;
    else if (!S_ISREG(status.st_mode) || status.st_size == 0 || status.st_size % 512)
        snprintf(text, sizeof text,
                 "%s is no disk image: its size is no whole number of sectors of 512 bytes.", path);
    else if (image == PARTITION_IMAGE_FLOPPY && status.st_size != PLAN_FLOPPY_BYTES &&
             status.st_size != PLAN_FLOPPY_BYTES / 2)
        snprintf(text, sizeof text,
                 "%s is no image of a floppy: those have %u bytes, or half of that. Fill it up: "
                 "truncate -s %u %s",
                 path, PLAN_FLOPPY_BYTES, PLAN_FLOPPY_BYTES, path);
    else
        return NULL;
    return text;
}

/* ---- partition files ------------------------------------------------------------------------ */

static bool read_file(struct partition_reader *reader, const char *path, const char **text,
                      size_t *size_bytes)
{
    struct content content;
    (void)reader;
    if (!content_read(path, &content))
        return false;
    *text = (const char *)content.data;
    *size_bytes = content.size_bytes;
    return true;
}

static void report(struct partition_errors *errors, const char *message)
{
    (void)errors;
    fprintf(stderr, "%s\n", message);
}

bool plan_load(const char *path, const struct partition_machine *machine, struct plan *plan)
{
    struct partition_reader reader = {read_file, check_file, check_image};
    struct partition_errors errors = {report, 0};
    return partition_parse(plan, path, &reader, machine, &errors);
}

/* ---- what was built ------------------------------------------------------------------------- */

char *build_path(const struct options *options, const char *name)
{
    char *path;
    if (asprintf(&path, "%s/%s/%s", build_folder(), options->debug ? "debug" : "release", name) < 0)
        abort();
    if (access(path, R_OK) != 0)
        give_up("%s is not there: build it with `make`", path);
    return path;
}

char *setup_value(const char *name)
{
    static const char *const stamps[] = {"test", "run"};
    char *path, *value = NULL;
    for (unsigned i = 0; i < 2 && !value; i++) {
        struct content content;
        if (asprintf(&path, "%s/setup/%s.stamp", build_folder(), stamps[i]) < 0)
            abort();
        if (content_read(path, &content)) {
            char *rest = (char *)content.data;
            for (char *line; !value && (line = strsep(&rest, "\n"));)
                if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == '=')
                    value = strdup(line + strlen(name) + 1);
            free(content.data);
        }
        free(path);
    }
    return value;
}
