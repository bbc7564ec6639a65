/* How long a written change takes until programs see it: seen N COUNT LIMIT_MS TOTAL_S COMMAND.
   COMMAND is run by /bin/sh with $NAME and $GECOS, and changes that login's full name. One process that has looked up before asks in a loop, and new processes, one
   after the other. It ends after COUNT changes, or after so many seconds. Prints the times in µs, sorted: from the start of the command, in the running one, in a new one, and how long the command took:
     "running P50 P99 WORST" "fresh P50 P99 WORST" "command P50 P99 WORST" "late NUMBER" "changes NUMBER" */
#include "call.h"
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;
static int logins;

static int shows(const char *name, const char *gecos)
{
    struct passwd entry, *found = NULL;
    char text[1024];
    return !getpwnam_r(name, &entry, text, sizeof text, &found) && found && !strcmp(found->pw_gecos, gecos);
}

static int smaller(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static void print(const char *what, double *all, int count)
{
    if (!count)
        return;
    qsort(all, (size_t)count, sizeof *all, smaller);
    printf("%s %.0f %.0f %.0f\n", what, all[count / 2], all[count * 99 / 100], all[count - 1]);
}

static pid_t start(char **argv)
{
    pid_t pid;
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ))
        DIE("cannot run %s", argv[0]);
    return pid;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "-fresh"))
        return !shows(argv[2], argv[3]);
    if (argc != 6)
        DIE("usage: seen N COUNT LIMIT_MS TOTAL_S COMMAND");
    logins = atoi(argv[1]);
    int count = atoi(argv[2]), late = 0, good = 0;
    double limit = atof(argv[3]) * 1000, *running = calloc((size_t)count, 8), *fresh = calloc((size_t)count, 8), *command = calloc((size_t)count, 8);
    uint64_t started = now_ns();
    for (int k = 0; k < count && (double)(now_ns() - started) < atof(argv[4]) * 1e9; k++) {
        char name[16], gecos[32];
        name_of((uint32_t)(((uint64_t)k * 7919 + 12345) % (uint32_t)logins), name);
        snprintf(gecos, sizeof gecos, "Changed %d %d", k, (int)getpid());
        setenv("NAME", name, 1), setenv("GECOS", gecos, 1);
        shows(name, gecos);
        char *write[] = {"/bin/sh", "-c", argv[5], NULL}, *again[] = {"/proc/self/exe", "-fresh", name, gecos, NULL};
        uint64_t begun = now_ns();
        pid_t writer = start(write), reader = 0;
        double in_running = 0, in_fresh = 0, written = 0, passed = 0;
        while ((!in_running || !in_fresh || !written) && passed < limit) {
            int status;
            if (!written && waitpid(writer, &status, WNOHANG) == writer) {
                written = (double)(now_ns() - begun) / 1000;
                if (status)
                    DIE("the command failed: %s", argv[5]);
            }
            if (!in_running && shows(name, gecos))
                in_running = (double)(now_ns() - begun) / 1000;
            if (!in_fresh && !reader)
                reader = start(again);
            if (reader && waitpid(reader, &status, WNOHANG) == reader) {
                reader = 0;
                if (!status)
                    in_fresh = (double)(now_ns() - begun) / 1000;
            }
            usleep(200);
            passed = (double)(now_ns() - begun) / 1000;
        }
        if (reader)
            waitpid(reader, NULL, 0);
        if (!written)
            waitpid(writer, NULL, 0);
        if (in_running && in_fresh)
            running[good] = in_running, fresh[good] = in_fresh, command[good] = written, good++;
        else
            late++;
        /* Nothing is gained by waiting in vain again and again. */
        if (late == 3)
            break;
    }
    print("running", running, good);
    print("fresh", fresh, good);
    print("command", command, good);
    printf("late %d\nchanges %d\n", late, good);
    return 0;
}
