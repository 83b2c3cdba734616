/* `septum run`: from a partition file to an emulator that runs, until it ends. */
#include "septum.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "protocol/root.h"

#define PREFIX_KEY 1 /* Ctrl-A */
#define SAID_MAX   2000

/* An emulator that runs. */
struct session {
    const struct plan *plan;
    const struct options *options;
    pid_t emulator; /* 0: it has ended, with this status */
    int status;
    int serial_in, serial_out; /* to and from its serial port */
    int said;                  /* what it writes to standard error */
    int signals;
    double end;              /* when to give up; 0: never */
    struct streams *streams; /* headless */
    bool prefixed;           /* Ctrl-A was typed last */
    bool after_return;       /* the last byte shown was a carriage return */
    bool bochs;
    char *folder; /* Bochs's */
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- starting ------------------------------------------------------------------------------- */

static void start_qemu(struct session *session, struct machine *machine,
                       const struct content *bundle)
{
    /* In memory: there is nothing to clean up, however this ends. The emulator inherits the
     * descriptor. */
    int file = memfd_create("bundle", 0), to[2], from[2];
    struct command command = {0};
    char path[64];
    for (size_t done = 0; done < bundle->size_bytes;) {
        ssize_t size = write(file, bundle->data + done, bundle->size_bytes - done);
        if (size <= 0)
            give_up("there is too little memory for the bundle: %s. End other programs.",
                    strerror(errno));
        done += (size_t)size;
    }
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        give_up("no pipe can be made: %s", strerror(errno));
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    machine_qemu(machine, session->options, session->plan, path, &command);
    session->emulator = command_start(&command, NULL, to[0], from[1], session->said);
    close(to[0]);
    close(from[1]);
    close(file);
    session->serial_in = to[1];
    session->serial_out = from[0];
}

static void start_bochs(struct session *session, struct machine *machine,
                        const struct content *bundle)
{
    int master, slave;
    struct command command = {0};
    struct termios raw;
    char *image;
    session->folder = folder_make();
    if (openpty(&master, &slave, NULL, NULL, NULL) != 0)
        give_up("no pseudo-terminal can be made: %s", strerror(errno));
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    fcntl(master, F_SETFD, FD_CLOEXEC);
    fcntl(slave, F_SETFD, FD_CLOEXEC);
    if (asprintf(&image, "%s/septum.iso", session->folder) < 0)
        abort();
    tell("making the CD image that Bochs boots from");
    iso_make(session->options, bundle, machine->words, image);
    machine_bochs(machine, session->plan, image, session->folder, ttyname(slave), &command);
    session->emulator = command_start(&command, session->folder, -1, session->said, session->said);
    session->serial_in = session->serial_out = master;
    free(image);
}

/* ---- while it runs -------------------------------------------------------------------------- */

/* The kernel's lines end as in a file; a raw terminal wants a carriage return before. */
static void show_bytes(struct session *session, const uint8_t *data, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++) {
        if (data[i] == '\n' && !session->after_return)
            putchar('\r');
        putchar(data[i]);
        session->after_return = data[i] == '\r';
    }
    fflush(stdout);
}

/* False: the line has ended. */
static bool take_output(struct session *session)
{
    uint8_t data[65536];
    ssize_t size = read(session->serial_out, data, sizeof data);
    if (size <= 0)
        return size < 0 && errno == EINTR;
    if (session->streams)
        streams_take(session->streams, data, (size_t)size);
    else
        show_bytes(session, data, (size_t)size);
    return true;
}

static void send_key(struct session *session, uint8_t key)
{
    /* An emulator that does not read must not stop this loop. */
    struct pollfd ready = {.fd = session->serial_in, .events = POLLOUT};
    if (poll(&ready, 1, 1000) == 1 && write(session->serial_in, &key, 1) != 1)
        session->prefixed = false;
}

/* False: the person wants to end. */
static bool take_keys(struct session *session)
{
    uint8_t keys[256];
    ssize_t size = read(STDIN_FILENO, keys, sizeof keys);
    if (size <= 0)
        return size < 0 && errno == EINTR;
    for (ssize_t i = 0; i < size; i++) {
        if (!session->prefixed && keys[i] == PREFIX_KEY) {
            session->prefixed = true;
            continue;
        }
        if (session->prefixed && keys[i] == 'q')
            return false;
        if (session->prefixed)
            send_key(session, PREFIX_KEY);
        session->prefixed = false;
        send_key(session, keys[i]);
    }
    return true;
}

enum outcome { OUTCOME_SEEN, OUTCOME_ENDED, OUTCOME_QUIT, OUTCOME_LATE };

/* Until the emulator ends, the person ends it, all that was expected is seen, or time is up. */
static enum outcome follow(struct session *session)
{
    struct pollfd fds[3] = {{.fd = session->serial_out, .events = POLLIN},
                            {.fd = session->signals, .events = POLLIN},
                            {.fd = session->streams ? -1 : STDIN_FILENO, .events = POLLIN}};
    for (;;) {
        double left = session->end ? session->end - now() : 3600;
        if (left <= 0)
            return OUTCOME_LATE;
        if (poll(fds, 3, (int)(left * 1000) + 1) < 0)
            continue;
        if (fds[0].revents && !take_output(session))
            return OUTCOME_ENDED;
        if (session->streams && session->options->expect_count &&
            streams_all_seen(session->streams))
            return OUTCOME_SEEN;
        if (fds[2].revents && !take_keys(session))
            return OUTCOME_QUIT;
        struct signalfd_siginfo signal;
        if (fds[1].revents && read(session->signals, &signal, sizeof signal) == sizeof signal) {
            if (signal.ssi_signo != SIGCHLD)
                return OUTCOME_QUIT;
            /* It may be one that made the image. */
            if (waitpid(session->emulator, &session->status, WNOHANG) != session->emulator)
                continue;
            session->emulator = 0;
            /* Its last words are still in the line. */
            while (poll(fds, 1, 100) == 1 && take_output(session))
                ;
            return OUTCOME_ENDED;
        }
    }
}

/* ---- the end -------------------------------------------------------------------------------- */

/* What the emulator said, if it ended of itself and not as root wished. */
static void show_said(const struct session *session)
{
    char text[SAID_MAX];
    ssize_t size = pread(session->said, text, sizeof text - 1, 0);
    if (size > 0)
        fprintf(stderr, "%.*s", (int)size, text);
}

static int judge_end(struct session *session)
{
    int status = session->status;
    int value = WIFEXITED(status) && WEXITSTATUS(status) & 1 ? WEXITSTATUS(status) >> 1 : -1;
    if (value == ROOT_END_GOOD || (session->bochs && WIFEXITED(status)))
        return END_GOOD;
    if (value == ROOT_END_REFUSED)
        tell("nothing was started: the lines above say why");
    else if (value == ROOT_END_FAILED)
        tell("all partitions have ended, and not all of them well: the lines above say why");
    else {
        show_said(session);
        tell("the emulator has ended by itself (status %d): if its words above do not help, look "
             "at docs/quick-start.md",
             WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    }
    return END_FAILED;
}

static int judge_expects(const struct options *options, enum outcome outcome)
{
    int result = END_GOOD;
    for (unsigned i = 0; i < options->expect_count; i++) {
        const struct expect *expect = &options->expects[i];
        if (expect->seen)
            continue;
        tell("%s did not say '%s' %s", expect->partition, expect->text,
             outcome == OUTCOME_LATE    ? "in time: give it more with --timeout, or see above"
             : outcome == OUTCOME_ENDED ? "before the machine ended"
                                        : "before it was interrupted");
        result = END_FAILED;
    }
    return result;
}

static int finish(struct session *session, enum outcome outcome)
{
    /* Its line may end a moment before it does. */
    for (unsigned i = 0; i < 20 && outcome == OUTCOME_ENDED && session->emulator; i++) {
        if (waitpid(session->emulator, &session->status, WNOHANG) == session->emulator)
            session->emulator = 0;
        else
            usleep(50000);
    }
    if (session->emulator) {
        kill(session->emulator, SIGKILL);
        waitpid(session->emulator, &session->status, 0);
    }
    if (session->streams)
        streams_end(session->streams);
    terminal_restore();
    if (session->folder)
        folder_remove(session->folder);
    if (session->options->expect_count)
        return judge_expects(session->options, outcome);
    if (outcome == OUTCOME_ENDED)
        return judge_end(session);
    return END_GOOD;
}

/* ---- the command ---------------------------------------------------------------------------- */

static void check_expects(const struct options *options, const struct plan *plan)
{
    for (unsigned i = 0; i < options->expect_count; i++) {
        const char *name = options->expects[i].partition;
        bool known = strcmp(name, "system") == 0;
        for (unsigned j = 0; j < plan->partition_count; j++)
            known |= strcmp(plan->partitions[j].name, name) == 0;
        if (known)
            continue;
        tell("--expect: there is no partition `%s` in %s; the system log is `system`", name,
             options->file);
        exit(END_USAGE);
    }
}

/* Signals as bytes of a descriptor. */
static int catch_signals(void)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD};
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaddset(&wanted, signals[i]);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int print_command(const struct options *options, const struct plan *plan,
                         struct machine *machine)
{
    struct command command = {0};
    if (options->bochs)
        give_up("--print-command is about QEMU; what Bochs boots is made by `septum iso`");
    machine_qemu(machine, options, plan, "BUNDLE", &command);
    tell("%s%s%s", machine->how, machine->why ? ", because " : "",
         machine->why ? machine->why : "");
    command_print(&command, stdout);
    return END_GOOD;
}

static void show_start(const struct options *options, const struct machine *machine,
                       const struct plan *plan, size_t bundle_bytes, bool headless)
{
    if (machine->why)
        tell("KVM is not used: %s", machine->why);
    tell("%s: %u CPU%s, %lu MiB; boot bundle %zu MiB", machine->how, machine->cpus,
         machine->cpus == 1 ? "" : "s", (unsigned long)(machine->memory_bytes >> 20),
         bundle_bytes >> 20);
    devices_tell(plan);
    if (headless)
        return;
    (void)options;
    for (unsigned i = 0; i < plan->partition_count && i < 9; i++)
        fprintf(stderr, "%sCtrl-A %u %s", i ? ", " : "septum: keys: ", i + 1,
                plan->partitions[i].name);
    fprintf(stderr, ", Ctrl-A 0 system, Ctrl-A ? help, Ctrl-A q end\n");
}

int run(const struct options *options)
{
    static struct plan plan;
    struct session session = {.options = options, .plan = &plan, .bochs = options->bochs};
    struct partition_machine limits = {0};
    struct machine machine = {0};
    struct content bundle;
    bool headless = options->headless || options->expect_count || !terminal_there();
    char *words;
    if (!plan_load(options->file, &limits, &plan))
        return END_FAILED;
    check_expects(options, &plan);
    if (options->bochs && options->iommu)
        give_up("Bochs has no IOMMU. Run it in QEMU.");
    devices_check(&plan, options->bochs);
    bundle_make(options, &plan, &bundle);
    machine_choose(&machine, options, &plan, bundle.size_bytes);
    /* Again, against the machine that it will really have. */
    limits.cpus = machine.cpus;
    limits.memory_bytes = machine_guest_bytes(machine.memory_bytes, bundle.size_bytes);
    if (!plan_load(options->file, &limits, &plan))
        return END_FAILED;
    if (asprintf(&words, "debug-exit%s%s%s", headless ? " framed" : "", options->words ? " " : "",
                 options->words ? options->words : "") < 0)
        abort();
    machine.words = words;
    if (options->print_command)
        return print_command(options, &plan, &machine);
    show_start(options, &machine, &plan, bundle.size_bytes, headless);
    if (!headless)
        terminal_guard();
    session.signals = catch_signals();
    session.said = memfd_create("said", MFD_CLOEXEC);
    if (headless)
        session.streams =
            streams_new((struct expect *)options->expects, options->expect_count, stdout);
    if (options->timeout_s > 0)
        session.end = now() + options->timeout_s;
    if (options->bochs)
        start_bochs(&session, &machine, &bundle);
    else
        start_qemu(&session, &machine, &bundle);
    free(bundle.data);
    return finish(&session, follow(&session));
}
