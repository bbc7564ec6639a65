/* What a new process pays:
     fresh load LIBRARY COUNT          dlopen of a module in a new process, µs
     fresh first NAME COUNT            the first getpwnam of a new process, through nsswitch.conf, µs
     fresh run COUNT PROGRAM …         a whole process, from posix_spawn to its end, µs
     fresh own FOLDER N COUNT          makes so many files there, each of another owner
   The first three print p50 and p99. The children of the first two are this program again; they write their time into a pipe. */
#include "call.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static int smaller(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static int child(char **argv)
{
    struct passwd entry, *found = NULL;
    char text[1024];
    uint64_t begun = now_ns();
    int good = !strcmp(argv[1], "-load") ? dlopen(argv[2], RTLD_NOW) != NULL
                                         : !getpwnam_r(argv[2], &entry, text, sizeof text, &found) && found;
    double took = (double)(now_ns() - begun) / 1000;
    return !good || write(3, &took, sizeof took) != sizeof took;
}

static double spawn(char **argv, int pipe)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (pipe >= 0)
        posix_spawn_file_actions_adddup2(&actions, pipe, 3);
    else
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int status;
    uint64_t begun = now_ns();
    if (posix_spawn(&pid, argv[0], &actions, NULL, argv, environ) || waitpid(pid, &status, 0) != pid || status)
        DIE("%s failed", argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    return (double)(now_ns() - begun) / 1000;
}

/* Owners among those that `look warm` asks for first. */
static int own(const char *folder, uint32_t n, uint32_t count)
{
    char path[256];
    for (uint32_t k = 0; k < count; k++) {
        uint32_t i = (uint32_t)(((uint64_t)k * 7919 + 12345) % n);
        snprintf(path, sizeof path, "%s/%u", folder, k);
        int file = open(path, O_CREAT | O_WRONLY, 0600);
        if (file < 0 || fchown(file, uid_of(i), uid_of(i)))
            DIE("cannot make %s", path);
        close(file);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && !strcmp(argv[1], "own"))
        return own(argv[2], (uint32_t)atoi(argv[3]), (uint32_t)atoi(argv[4]));
    if (argc >= 3 && argv[1][0] == '-')
        return child(argv);
    if (argc < 4)
        DIE("usage: fresh load LIBRARY COUNT | fresh first NAME COUNT | fresh run COUNT PROGRAM …");
    int run = !strcmp(argv[1], "run"), count = atoi(argv[run ? 2 : 3]), ends[2];
    double *took = malloc((size_t)count * sizeof *took);
    char *again[] = {"/proc/self/exe", !strcmp(argv[1], "load") ? "-load" : "-first", argv[2], NULL};
    if (!took || pipe2(ends, 0))
        DIE("no pipe");
    /* Some that are not counted: the page cache. One alone is too slow for that to matter. */
    for (int i = count == 1 ? 0 : count < 10 ? -1 : -3; i < count; i++) {
        double all = spawn(run ? argv + 3 : again, run ? -1 : ends[1]), inside;
        if (!run && read(ends[0], &inside, sizeof inside) != sizeof inside)
            DIE("the child said nothing");
        if (i >= 0)
            took[i] = run ? all : inside;
    }
    qsort(took, (size_t)count, sizeof *took, smaller);
    printf("%.1f %.1f\n", took[count / 2], took[(size_t)count * 99 / 100]);
    return 0;
}
