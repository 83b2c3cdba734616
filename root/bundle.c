/* The boot bundle: root's own program, then an archive. */
#include "elf.h"
#include "root.h"

static struct archive archive;

const char *bundle_open(void)
{
    if (boot->module_base % SEPTUM_PAGE_SIZE)
        return "the boot loader did not put the bundle at the beginning of a page: use QEMU's "
               "-initrd "
               "or GRUB's module2";
    const uint8_t *module = direct(boot->module_base);
    const struct elf_header *root = elf_check(module, boot->module_size);
    uint64_t begin = root ? elf_end(root) + SEPTUM_PAGE_SIZE - 1 : UINT64_MAX;
    begin -= begin % SEPTUM_PAGE_SIZE;
    if (begin >= boot->module_size)
        return "there is no archive behind root's program: make the bundle with `septum run` or "
               "`septum iso`";
    archive = (struct archive){module + begin, boot->module_size - begin};
    return archive_check(&archive);
}

bool bundle_find(const char *name, struct archive_member *member)
{
    return archive_find(&archive, name, member);
}

uint64_t bundle_physical(const struct archive_member *member)
{
    return boot->module_base +
           (uint64_t)(member->data - (const uint8_t *)direct(boot->module_base));
}

bool bundle_holds(uint64_t physical, uint64_t size_bytes)
{
    uint64_t pages = (boot->module_size + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE;
    return physical >= boot->module_base &&
           elf_within(physical - boot->module_base, size_bytes, pages * SEPTUM_PAGE_SIZE);
}
