/*
 * The terminal in raw mode, and the guardian that restores it. The guardian is this process; the
 * tool goes on in a child. If the child crashes or is killed, the guardian restores the terminal.
 * If the guardian is killed, the child is told by a signal, and restores it.
 */
#include "septum.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct termios before;
static bool raw_mode;

bool terminal_there(void)
{
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
}

void terminal_restore(void)
{
    static const char reset[] = "\033[0m\r\n";
    if (!raw_mode)
        return;
    raw_mode = false;
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    ssize_t written = write(STDOUT_FILENO, reset, sizeof reset - 1);
    (void)written;
}

static pid_t child;

static void pass_on(int signal)
{
    kill(child, signal);
}

static _Noreturn void guard(void)
{
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    terminal_restore();
    if (WIFSIGNALED(status))
        give_up("ended by signal %d; the emulator has ended with it", WTERMSIG(status));
    exit(WEXITSTATUS(status));
}

void terminal_guard(void)
{
    struct termios raw;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        give_up("this terminal can't be set up. Use --headless.");
    pid_t parent = getpid();
    raw_mode = true; /* for both: each restores it, whoever ends first */
    child = fork();
    if (child < 0)
        give_up("no process can be started. End other programs.");
    if (child > 0) {
        signal(SIGINT, SIG_IGN);
        signal(SIGQUIT, SIG_IGN);
        signal(SIGTERM, pass_on);
        signal(SIGHUP, pass_on);
        guard();
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(END_FAILED);
    raw = before;
    cfmakeraw(&raw);
    tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    atexit(terminal_restore);
}
