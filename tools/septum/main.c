/* The command line of `septum`. */
#include "septum.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_TIMEOUT_S 600

struct verb {
    const char *name, *arguments, *summary, *help;
    int (*act)(const struct options *options);
    const char *allowed; /* options that it takes, each with a blank behind it */
};

static int check(const struct options *options);
static int iso(const struct options *options);
static int words(const struct options *options);

static const struct verb verbs[] = {
    {"check", "FILE [--iommu]", "check a partition file",
     "Reads the file, all that it includes, and looks at the kernels and initrds that it names.\n"
     "Ends with 0 if all is well, and says nothing unless there is something to know; else shows\n"
     "every mistake, and ends with 1.\n\n"
     "  --iommu               for a machine with an Intel IOMMU, which confines what devices "
     "reach\n",
     check, "--iommu "},
    {"show", "FILE", "show a partition file with all defaults",
     "Prints what the file means, with every setting that it leaves out. The output is a "
     "partition\n"
     "file again.\n",
     show, ""},
    {"run", "FILE [OPTIONS]", "run a partition file in an emulator",
     "Makes a boot bundle of the file and starts it in QEMU: with KVM where nested virtualization\n"
     "works, else with AMD-V emulated. In a terminal, Ctrl-A ? shows the keys, and Ctrl-A q ends.\n"
     "Without a terminal each line is printed as `NAME| line`.\n\n"
     "  --bochs               in Bochs, which emulates Intel's VT-x, instead\n"
     "  --iommu               with an Intel IOMMU: what devices reach is confined (docs/dma.md)\n"
     "  --cpus N              CPUs of the emulated machine (default: as the file says or needs)\n"
     "  --memory SIZE         its memory, such as 768M (default: the same)\n"
     "  --headless            without a terminal\n"
     "  --expect 'NAME: TEXT' end with 0 as soon as partition NAME (or `system`, the system log) "
     "has\n"
     "                        written a line that contains TEXT; may be given again: then all\n"
     "                        must have been seen. Implies --headless, and a time-out\n"
     "  --timeout SECONDS     end after this time; with --expect, 600 if not given\n"
     "  --print-command       print how QEMU would be started (BUNDLE: the boot bundle), and end\n"
     "  --options WORDS       more words for the kernel's command line: docs/boot.md\n"
     "  --debug               the debug build\n\n"
     "Ends with 0 if all that was expected was seen, or if all partitions have ended well; with 1 "
     "if\n"
     "not; with 2 if the command line is wrong.\n",
     run,
     "--bochs --iommu --cpus --memory --headless --expect --timeout --print-command --options "
     "--debug "},
    {"iso", "FILE -o IMAGE", "make a CD image that boots a partition file",
     "The image boots by BIOS, through GRUB, on an emulator or a PC with VT-x or AMD-V. The "
     "consoles\n"
     "are on the first serial port, 115200 baud.\n\n"
     "  -o IMAGE              where the image goes\n"
     "  --options WORDS       more words for the kernel's command line: docs/boot.md\n"
     "  --debug               the debug build\n",
     iso, "-o --options --debug "},
    {"words", "", "list the words of partition files, as the manual has them", "", words, ""},
};
enum { VERB_COUNT = sizeof verbs / sizeof *verbs };

/* Does the file give a server of this kind a device that reads and writes memory by itself? */
static bool has_device(const struct plan *plan, enum plan_device device)
{
    bool disks = false;
    for (unsigned i = 0; i < plan->volume_count; i++)
        disks |= plan->volumes[i].disk != PLAN_DISK_NONE;
    return device == PLAN_DEVICE_DISKS ? disks
                                       : device == PLAN_DEVICE_NETWORKS && devices_cards(plan);
}

static int check(const struct options *options)
{
    static struct plan plan;
    const struct partition_machine machine = {0};
    if (!plan_load(options->file, &machine, &plan))
        return END_FAILED;
    for (unsigned i = 0; i < plan.server_count && !options->iommu; i++)
        if (has_device(&plan, plan.servers[i].device))
            tell("DMA NOT CONFINED: %s-server, trusted by all partitions (docs/caveats.md)",
                 plan.servers[i].device == PLAN_DEVICE_DISKS ? "block" : "net");
    return END_GOOD;
}

static int iso(const struct options *options)
{
    static struct plan plan;
    const struct partition_machine machine = {0};
    struct content bundle;
    if (!plan_load(options->file, &machine, &plan))
        return END_FAILED;
    bundle_make(options, &plan, &bundle);
    iso_make(options, &bundle, options->words ? options->words : "", options->output);
    free(bundle.data);
    tell("%s: made", options->output);
    return END_GOOD;
}

static int words(const struct options *options)
{
    (void)options;
    return schema();
}

/* ---- help ----------------------------------------------------------------------------------- */

static void print_overview(FILE *file)
{
    fprintf(file, "septum: runs partition files (docs/partition-file.md)\n\n");
    for (unsigned i = 0; i < VERB_COUNT; i++)
        fprintf(file, "  septum %-5s %-15s %s\n", verbs[i].name, verbs[i].arguments,
                verbs[i].summary);
    fprintf(file, "  septum help  [COMMAND]       more about a command\n");
}

static const struct verb *find_verb(const char *name)
{
    for (unsigned i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static _Noreturn void usage(const struct verb *verb, const char *problem, const char *what)
{
    tell("%s%s%s", problem, what ? what : "", what ? "`" : "");
    if (verb)
        tell("usage: septum %s %s; `septum help %s` says more", verb->name, verb->arguments,
             verb->name);
    else
        tell("`septum help` lists the commands");
    exit(END_USAGE);
}

static int help(const char *topic)
{
    const struct verb *verb = topic ? find_verb(topic) : NULL;
    if (topic && !verb)
        usage(NULL, "there is no command `", topic);
    if (!topic)
        print_overview(stdout);
    else
        printf("septum %s %s: %s\n\n%s", verb->name, verb->arguments, verb->summary, verb->help);
    return END_GOOD;
}

/* ---- options -------------------------------------------------------------------------------- */

static uint64_t read_number(const struct verb *verb, const char *text, bool is_size)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    unsigned shift = strcasecmp(end, "M") == 0 ? 20 : strcasecmp(end, "G") == 0 ? 30 : 0;
    if (end == text || text[0] == '-' || (*end && !(is_size && shift)) || value == 0 ||
        value > (is_size ? 1 << 20 : 64))
        usage(verb,
              is_size ? "a size such as 768M is expected, not `"
                      : "a number from 1 to 64 is "
                        "expected, not `",
              text);
    return is_size ? (uint64_t)value << (shift ? shift : 20) : value;
}

static void add_expect(const struct verb *verb, struct options *options, const char *text)
{
    const char *colon = strchr(text, ':');
    if (options->expect_count == EXPECTS_MAX)
        usage(verb, "that is too often --expect", NULL);
    struct expect *expect = &options->expects[options->expect_count++];
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof expect->partition)
        usage(verb, "--expect wants 'NAME: TEXT', not `", text);
    memcpy(expect->partition, text, (size_t)(colon - text));
    expect->text = colon + 1 + (colon[1] == ' ');
    if (!expect->text[0])
        usage(verb, "--expect has no text in `", text);
}

/* Takes one option with its value, if it has one; returns how many words these are. */
static int take_option(const struct verb *verb, struct options *options, const char *name,
                       const char *value)
{
    char padded[64];
    snprintf(padded, sizeof padded, "%s ", name);
    if (!strstr(verb->allowed, padded))
        usage(verb, "there is no option `", name);
    bool *const flags[] = {&options->bochs, &options->iommu, &options->headless,
                           &options->print_command, &options->debug};
    static const char *const flag_names[] = {"--bochs", "--iommu", "--headless", "--print-command",
                                             "--debug"};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flag_names[i]) == 0) {
            *flags[i] = true;
            return 1;
        }
    if (!value)
        usage(verb, "a value is missing behind `", name);
    if (strcmp(name, "--cpus") == 0) {
        options->cpus = (uint32_t)read_number(verb, value, false);
    } else if (strcmp(name, "--memory") == 0) {
        options->memory_bytes = read_number(verb, value, true);
    } else if (strcmp(name, "--expect") == 0) {
        add_expect(verb, options, value);
    } else if (strcmp(name, "--options") == 0) {
        options->words = value;
    } else if (strcmp(name, "-o") == 0) {
        options->output = value;
    } else {
        char *end;
        options->timeout_s = strtod(value, &end);
        if (end == value || *end || !(options->timeout_s > 0 && options->timeout_s < 1e7))
            usage(verb, "--timeout wants seconds, not `", value);
    }
    return 2;
}

int main(int argc, char **argv)
{
    static struct options options;
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name || strcmp(name, "-h") == 0) {
        print_overview(name ? stdout : stderr);
        return name ? END_GOOD : END_USAGE;
    }
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    const struct verb *verb = find_verb(name);
    if (!verb)
        usage(NULL, "there is no command `", name);
    for (int i = 2; i < argc;) {
        if (strcmp(argv[i], "--help") == 0)
            return help(name);
        if (argv[i][0] == '-' && argv[i][1]) {
            i += take_option(verb, &options, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        } else if (options.file || !verb->arguments[0]) {
            usage(verb, "one argument too many: `", argv[i]);
        } else {
            options.file = argv[i++];
        }
    }
    if (!options.file && verb->arguments[0])
        usage(verb, "a partition file is missing", NULL);
    if (verb->act == iso && !options.output)
        usage(verb, "-o IMAGE is missing", NULL);
    if (options.expect_count && options.timeout_s == 0)
        options.timeout_s = DEFAULT_TIMEOUT_S;
    return verb->act(&options);
}
