/* Programs that the tool starts, and the folder for their files. */
#include "septum.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

void command_add(struct command *command, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (command->count + 1 == ARGUMENTS_MAX ||
        vasprintf(&command->words[command->count++], format, list) < 0)
        abort();
    va_end(list);
}

void command_print(const struct command *command, FILE *file)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    for (unsigned i = 0; i < command->count; i++) {
        const char *word = command->words[i];
        bool quote = word[0] == 0 || word[strspn(word, plain)] != 0;
        fprintf(file, "%s%s", i ? " " : "", quote ? "'" : "");
        for (; *word; word++)
            fputs(*word == '\'' ? "'\\''" : (char[]){*word, 0}, file);
        fputs(quote ? "'" : "", file);
    }
    fputs("\n", file);
}

static void use(int from, int as, int flags)
{
    int fd = from >= 0 ? from : open("/dev/null", flags);
    if (fd >= 0)
        dup2(fd, as);
}

int command_start(const struct command *command, const char *folder, int input, int output,
                  int error)
{
    pid_t parent = getpid(), child = fork();
    if (child < 0)
        give_up("no process can be started: %s. End other programs.", strerror(errno));
    if (child > 0)
        return child;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The keys of the terminal are not for it. */
    setpgid(0, 0);
    if (getppid() != parent)
        _exit(127);
    use(input, 0, O_RDONLY);
    use(output, 1, O_WRONLY);
    use(error, 2, O_WRONLY);
    if (folder && chdir(folder) != 0)
        _exit(127);
    execvp(command->words[0], command->words);
    fprintf(stderr, "%s: %s\n", command->words[0], strerror(errno));
    _exit(127);
}

void command_run(const struct command *command, const char *what)
{
    int said = memfd_create("said", MFD_CLOEXEC), status;
    pid_t child = command_start(command, NULL, -1, said, said);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        close(said);
        return;
    }
    char text[1024];
    ssize_t size = pread(said, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = 0;
    command_print(command, stderr);
    give_up("%s failed: %s", what, text);
}

char *program_find(const char *name)
{
    const char *path = getenv("PATH");
    char *list = strdup(path ? path : "/usr/bin:/bin"), *rest = list, *found = NULL;
    for (char *folder; !found && (folder = strsep(&rest, ":"));) {
        if (asprintf(&found, "%s/%s", folder, name) < 0)
            abort();
        if (access(found, X_OK) != 0) {
            free(found);
            found = NULL;
        }
    }
    free(list);
    return found;
}

/* Folders that there are; those that are left when the tool ends go with it. */
static char *folders[4];
enum { FOLDERS_MAX = sizeof folders / sizeof *folders };

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

void folder_remove(char *folder)
{
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    for (unsigned i = 0; i < FOLDERS_MAX; i++)
        if (folders[i] == folder)
            folders[i] = NULL;
    free(folder);
}

static void remove_folders(void)
{
    for (unsigned i = 0; i < FOLDERS_MAX; i++)
        if (folders[i])
            folder_remove(folders[i]);
}

char *folder_make(void)
{
    const char *top = getenv("TMPDIR");
    char *folder;
    static bool prepared;
    if (asprintf(&folder, "%s/septum-XXXXXX", top && top[0] ? top : "/tmp") < 0)
        abort();
    if (!mkdtemp(folder))
        give_up("%s can't be made: %s. Set TMPDIR to a folder with room.", folder, strerror(errno));
    if (!prepared)
        atexit(remove_folders);
    prepared = true;
    for (unsigned i = 0; i < FOLDERS_MAX; i++)
        if (!folders[i]) {
            folders[i] = folder;
            return folder;
        }
    abort();
}
