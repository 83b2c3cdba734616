/* Loads programs from the bundle. */
#include "elf.h"
#include "root.h"
#include "string.h"

static uint64_t pages_of(uint64_t from, uint64_t to)
{
    return (to - from + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE;
}

static void load_segment(struct resident *task, const struct archive_member *file,
                         const struct elf_segment *segment)
{
    uint64_t in_page = segment->address % SEPTUM_PAGE_SIZE;
    uint64_t base = segment->address - in_page, end = segment->address + segment->memory_bytes;
    unsigned rights = MAP_READ | (segment->flags & ELF_SEGMENT_WRITE ? MAP_WRITE : 0) |
                      (segment->flags & ELF_SEGMENT_EXECUTE ? MAP_EXECUTE : 0);

    if (segment->file_bytes > segment->memory_bytes || end < segment->address ||
        end > PROGRAM_END || !elf_within(segment->offset, segment->file_bytes, file->size_bytes)) {
        task_fail(task, "a segment of its program lies outside the file, or above 256 MiB");
    } else if (rights == MAP_RIGHTS) {
        task_fail(task, "a segment of its program is both writable and executable");
    } else if (rights & MAP_WRITE) {
        char *data = task_add_memory_at(task, base, pages_of(base, end), rights);
        if (data)
            memcpy(data + in_page, file->data + segment->offset, segment->file_bytes);
    } else if (segment->offset % SEPTUM_PAGE_SIZE == in_page &&
               segment->file_bytes == segment->memory_bytes) {
        task_add_bundle(task, bundle_physical(file) + segment->offset - in_page, base,
                        pages_of(base, end), rights);
    } else {
        task_fail(task,
                  "a segment of its program is not aligned in the file: link it with lib/user.ld");
    }
}

void program_load(struct resident *task, const struct archive_member *file)
{
    const struct elf_header *elf = elf_check(file->data, file->size_bytes);
    if (!elf) {
        task_fail(task,
                  "its program in the bundle is no static x86-64 ELF file: make the bundle anew");
        return;
    }
    for (unsigned i = 0; i < elf->segment_count; i++) {
        const struct elf_segment *segment = elf_segment(elf, i);
        if (segment->type == ELF_SEGMENT_LOAD && segment->memory_bytes)
            load_segment(task, file, segment);
    }
    task->entry = elf->entry;
}
