/*
 * `septum`, the host tool: checks and shows partition files, makes boot bundles and images, runs
 * them in an emulator.
 *
 * No file calls one below it: main, run, show, machine, devices, iso, bundle, load, formats,
 * terminal, streams, process, tell.
 */
#ifndef SEPTUM_H
#define SEPTUM_H

#include "partition/files.h"
#include "partition/parse.h"
#include "partition/plan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The status with which the tool ends. */
enum { END_GOOD = 0, END_FAILED = 1, END_USAGE = 2 };

#define EXPECTS_MAX 32u

/* A line that is waited for: --expect. */
struct expect {
    char partition[PLAN_NAME_MAX];
    const char *text;
    bool seen;
};

/* The command line. */
struct options {
    const char *file;
    const char *output; /* -o */
    const char *words;  /* --options: more words for the kernel */
    uint32_t cpus;      /* 0: as the file says */
    uint64_t memory_bytes;
    double timeout_s; /* 0: none */
    bool bochs, iommu, headless, print_command, debug;
    struct expect expects[EXPECTS_MAX];
    unsigned expect_count;
};

/* ---- tell.c: words to the person ------------------------------------------------------------ */

/* One line on standard error, "septum: ..." before it. */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and the tool ends with END_FAILED. */
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *allocate(size_t size_bytes);

/* ---- process.c: programs that the tool starts ----------------------------------------------- */

#define ARGUMENTS_MAX 96u

/* A command line that grows. */
struct command {
    char *words[ARGUMENTS_MAX];
    unsigned count;
};
void command_add(struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As a shell would take it. */
void command_print(const struct command *command, FILE *file);
/* Starts it in a folder (NULL: this one) with these descriptors as its standard ones (-1:
 * /dev/null). It is killed when this process ends, however that comes. */
int command_start(const struct command *command, const char *folder, int input, int output,
                  int error);
/* Runs it to its end; if that is not good, shows what it said and gives up. `what`: "making the
 * image". */
void command_run(const struct command *command, const char *what);
/* The path of a program, or NULL. */
char *program_find(const char *name);
/* A folder for this run's files, below $TMPDIR; folder_remove takes it away with all that is in
 * it, as does the end of the tool. */
char *folder_make(void);
void folder_remove(char *folder);

/* ---- load.c: partition files, and the files that they name ---------------------------------- */

/* A whole file in memory. */
struct content {
    uint8_t *data;
    size_t size_bytes;
};
bool content_read(const char *path, struct content *content);
/* Parses a file and shows its errors on standard error. False: there were some. */
bool plan_load(const char *path, const struct partition_machine *machine, struct plan *plan);
/* What build/FLAVOUR/NAME is called from here. Gives up if it is not there. */
char *build_path(const struct options *options, const char *name);
/* Where a partition's file is; the caller frees it. */
char *plan_file_path(const struct plan_file *file);
/* A value of the stamps that set-up leaves, or NULL. */
char *setup_value(const char *name);

/* ---- formats.c ------------------------------------------------------------------------------ */

/* What is wrong with the content of a partition's file, as the rest of a sentence that begins with its path, without the
 * full stop; NULL: nothing. */
const char *format_problem(const struct plan_partition *partition, enum plan_file_kind kind,
                           const struct content *content);
/* What a bzImage needs to unpack itself: up to this address there must be memory. */
uint64_t format_linux_needs(const struct content *kernel);

/* ---- bundle.c ------------------------------------------------------------------------------- */

/* The boot bundle of a plan: lib/archive.h. Gives up with a sentence if a file can't be read. */
void bundle_make(const struct options *options, const struct plan *plan, struct content *bundle);

/* ---- iso.c ---------------------------------------------------------------------------------- */

/* A CD image that boots the kernel with the bundle and these words. */
void iso_make(const struct options *options, const struct content *bundle, const char *words,
              const char *output);

/* ---- machine.c: the emulator ---------------------------------------------------------------- */

/* What the emulator is to have. */
struct machine {
    uint32_t cpus;
    uint64_t memory_bytes;
    const char *words; /* the kernel's command line */
    const char *how;   /* for people: "KVM", "TCG, AMD-V emulated" */
    const char *why;   /* why not KVM, with the cure; or NULL */
};

/* Of the plan's and the options'; the bundle must fit beside the guests. */
void machine_choose(struct machine *machine, const struct options *options, const struct plan *plan,
                    size_t bundle_bytes);
/* How much of its memory guests can have. */
uint64_t machine_guest_bytes(uint64_t memory_bytes, size_t bundle_bytes);
/* QEMU; the bundle is at a path that it can open. */
void machine_qemu(struct machine *machine, const struct options *options, const struct plan *plan,
                  const char *bundle_path, struct command *command);
/* Bochs, with its files in `folder`; its serial port is the terminal `port`. */
void machine_bochs(struct machine *machine, const struct plan *plan, const char *image,
                   const char *folder, const char *port, struct command *command);

/* ---- devices.c: the emulator's disks and network cards --------------------------------------- */

/* Gives up, with the cure, if a disk's image is not there, or if the file needs what this emulator has not. */
void devices_check(const struct plan *plan, bool bochs);
/* iommu: they are behind one. */
void devices_qemu(const struct plan *plan, bool iommu, struct command *command);
/* Lines of its configuration; `folder` takes a file that they name. */
void devices_bochs(const struct plan *plan, const char *folder, FILE *file);
/* How many network cards the plan's uplinks need. */
unsigned devices_cards(const struct plan *plan);
/* Where things can be reached from this PC, for people. */
void devices_tell(const struct plan *plan);

/* ---- streams.c: the framed serial line ------------------------------------------------------ */

struct streams;
struct streams *streams_new(struct expect *expects, unsigned expect_count, FILE *output);
/* Bytes of the line. Whole lines of all consoles are written as "NAME| line", and compared with
 * the expects. */
void streams_take(struct streams *streams, const uint8_t *data, size_t size_bytes);
/* The line has ended: writes what has no end. */
void streams_end(struct streams *streams);
bool streams_all_seen(const struct streams *streams);

/* ---- terminal.c ----------------------------------------------------------------------------- */

/* Both ends of the tool are a terminal. */
bool terminal_there(void);
/* From here on the terminal is in raw mode; a guardian process restores it, however this one
 * ends, and passes its status on. Returns in the process that shall go on. */
void terminal_guard(void);
/* Before the last words to the person; does nothing if the terminal is as it was. */
void terminal_restore(void);

/* ---- the commands: main.c, show.c, run.c ---------------------------------------------------- */

int show(const struct options *options);
/* The table of words, as docs/partition-file.md has it. */
int schema(void);
int run(const struct options *options);

#endif
