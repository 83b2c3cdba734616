/* CD images: GRUB, the kernel, the bundle. */
#include "septum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_file(const char *folder, const char *name, const void *data, size_t size_bytes)
{
    char *path;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        abort();
    FILE *file = fopen(path, "we");
    if (!file || fwrite(data, 1, size_bytes, file) != size_bytes || fclose(file) != 0)
        give_up("%s can't be written: %s. Make room there, or set TMPDIR.", path, strerror(errno));
    free(path);
}

/* The words one by one in quotes: GRUB's rescue parser knows no others, and takes no quotes
 * inside. */
static void print_words(FILE *file, const char *words)
{
    char *copy = strdup(words), *rest = copy;
    if (strpbrk(words, "\"'\\"))
        give_up("quotes and backslashes do not pass through GRUB: leave them out of --options");
    for (char *word; (word = strsep(&rest, " "));)
        if (word[0])
            fprintf(file, " '%s'", word);
    free(copy);
}

static void run_grub(const char *folder)
{
    /* No menu, no video, no search for file systems: it boots at once. */
    static const char *const modules[] = {"biosdisk", "iso9660", "multiboot2", "boot"};
    struct command command = {0};
    command_add(&command, "grub-mkimage");
    command_add(&command, "-O");
    command_add(&command, "i386-pc-eltorito");
    command_add(&command, "-p");
    command_add(&command, "/");
    command_add(&command, "-c");
    command_add(&command, "%s/grub.cfg", folder);
    command_add(&command, "-o");
    command_add(&command, "%s/tree/grub.img", folder);
    for (unsigned i = 0; i < sizeof modules / sizeof *modules; i++)
        command_add(&command, "%s", modules[i]);
    command_run(&command, "making the boot loader (`make setup-run` installs what it needs)");
}

static void run_xorriso(const char *folder, const char *output)
{
    static const char *const fixed[] = {"xorriso",
                                        "-as",
                                        "mkisofs",
                                        "-quiet",
                                        "-R",
                                        "-b",
                                        "grub.img",
                                        "-no-emul-boot",
                                        "-boot-load-size",
                                        "4",
                                        "-boot-info-table",
                                        "-o"};
    struct command command = {0};
    for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++)
        command_add(&command, "%s", fixed[i]);
    command_add(&command, "%s", output);
    command_add(&command, "%s/tree", folder);
    command_run(&command, "making the image (`make setup-run` installs what it needs)");
}

void iso_make(const struct options *options, const struct content *bundle, const char *words,
              const char *output)
{
    char *folder = folder_make(), *tree, *config = NULL, *path = build_path(options, "septum.elf");
    size_t config_bytes;
    struct content kernel;
    if (asprintf(&tree, "%s/tree", folder) < 0)
        abort();
    if (mkdir(tree, 0700) != 0 || !content_read(path, &kernel))
        give_up("%s: %s", path, strerror(errno));
    FILE *file = open_memstream(&config, &config_bytes);
    fprintf(file, "set root=cd\nmultiboot2 /septum.elf");
    print_words(file, words);
    fprintf(file, "\nmodule2 /bundle root\nboot\n");
    fclose(file);
    write_file(folder, "grub.cfg", config, config_bytes);
    write_file(tree, "septum.elf", kernel.data, kernel.size_bytes);
    write_file(tree, "bundle", bundle->data, bundle->size_bytes);
    run_grub(folder);
    run_xorriso(folder, output);
    folder_remove(folder);
    free(kernel.data);
    free(config);
    free(path);
    free(tree);
}
