/* What the torture programs of the NSS module share: the truth, look-ups that are held against it, the module's own symbols. */
#ifndef NSS_H
#define NSS_H
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <pwd.h>
#include <shadow.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MODULE "libnss_mayfirst.so.2"
/* enum nss_status of glibc's nss.h */
enum { TRYAGAIN = -2, UNAVAIL = -1, NOTFOUND = 0, SUCCESS = 1 };

static __attribute__((noreturn, format(printf, 1, 2), unused)) void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vdprintf(STDERR_FILENO, format, arguments);
    va_end(arguments);
    dprintf(STDERR_FILENO, "\n");
    _exit(1);
}
#define MUST(condition, ...) ((condition) ? (void)0 : fail(__VA_ARGS__))

static __attribute__((unused)) double now_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

/* Milliseconds that this thread was ready and had no processor (proc(5), schedstat): on a busy machine not the module's fault. */
static __attribute__((unused)) double waited_ms(void)
{
    unsigned long long ran = 0, waited = 0;
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", gettid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0)
        return 0;
    text[length] = 0;
    return sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited / 1e6 : 0;
}

/* The logins as the database has them: "name uid gid home" a line. */
#define TRUTH "/tmp/truth"
struct login {
    char name[33], home[256];
    unsigned uid, gid;
};
static struct login logins[1024];
static int login_count;

static __attribute__((unused)) void read_truth(void)
{
    FILE *file = fopen(TRUTH, "r");
    MUST(file, "no " TRUTH);
    struct login *login = logins;
    while (login_count < 1024 && fscanf(file, "%32s %u %u %255s", login->name, &login->uid, &login->gid, login->home) == 4)
        login++, login_count++;
    fclose(file);
    MUST(login_count > 1, TRUTH " is empty");
}

static int is(const struct login *login, const struct passwd *entry)
{
    return !strcmp(entry->pw_name, login->name) && entry->pw_uid == login->uid && entry->pw_gid == login->gid &&
           !strcmp(entry->pw_dir, login->home);
}

/* Through libc. 1: right; -1: could not be found out; anything else ends the program. */
static __attribute__((unused)) int by_name(const struct login *login)
{
    struct passwd entry, *result = NULL;
    char buffer[1024];
    int error = getpwnam_r(login->name, &entry, buffer, sizeof buffer, &result);
    if (error)
        return -1;
    MUST(result, "%s: not found, and it exists", login->name);
    MUST(is(login, result), "%s: got %s uid %u gid %u", login->name, result->pw_name, result->pw_uid, result->pw_gid);
    return 1;
}

static __attribute__((unused)) int by_uid(const struct login *login)
{
    struct passwd entry, *result = NULL;
    char buffer[1024];
    int error = getpwuid_r(login->uid, &entry, buffer, sizeof buffer, &result);
    if (error)
        return -1;
    MUST(result, "%u: not found, and it exists", login->uid);
    MUST(is(login, result), "%u: got %s uid %u gid %u", login->uid, result->pw_name, result->pw_uid, result->pw_gid);
    return 1;
}

/* Looks up this login. On a busy machine an answer may be too late, so UNAVAIL is tried again; whatever comes must be right. */
static __attribute__((unused)) void look(int which)
{
    const struct login *login = &logins[which % login_count];
    int answer = -1;
    for (int tries = 0; answer != 1; tries++) {
        answer = which & 1 ? by_uid(login) : by_name(login);
        MUST(answer == 1 || ((errno == ETIMEDOUT || errno == EAGAIN) && tries < 500), "%s: %s", login->name, strerror(errno));
        if (answer != 1)
            usleep(20000);
    }
}

/* The module without libc between: the answers that libc does not tell its caller. */
struct module {
    void *handle;
    int (*getpwnam)(const char *, struct passwd *, char *, size_t, int *);
    int (*getpwuid)(uid_t, struct passwd *, char *, size_t, int *);
    int (*getgrnam)(const char *, struct group *, char *, size_t, int *);
    int (*getgrgid)(gid_t, struct group *, char *, size_t, int *);
    int (*getspnam)(const char *, struct spwd *, char *, size_t, int *);
    int (*setpwent)(int), (*endpwent)(void), (*setgrent)(int), (*endgrent)(void), (*setspent)(int), (*endspent)(void);
    int (*getpwent)(struct passwd *, char *, size_t, int *);
    int (*getgrent)(struct group *, char *, size_t, int *);
    int (*getspent)(struct spwd *, char *, size_t, int *);
    int (*initgroups)(const char *, gid_t, long *, long *, gid_t **, long, int *);
};

static void *symbol(void *handle, const char *name)
{
    char whole[64];
    snprintf(whole, sizeof whole, "_nss_mayfirst_%s", name);
    void *found = dlsym(handle, whole);
    MUST(found, "no %s in " MODULE, whole);
    return found;
}

static __attribute__((unused)) struct module module(void)
{
    void *h = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
    MUST(h, "%s", dlerror());
    return (struct module){
        h,
        symbol(h, "getpwnam_r"), symbol(h, "getpwuid_r"), symbol(h, "getgrnam_r"), symbol(h, "getgrgid_r"), symbol(h, "getspnam_r"),
        symbol(h, "setpwent"), symbol(h, "endpwent"), symbol(h, "setgrent"), symbol(h, "endgrent"), symbol(h, "setspent"),
        symbol(h, "endspent"), symbol(h, "getpwent_r"), symbol(h, "getgrent_r"), symbol(h, "getspent_r"),
        symbol(h, "initgroups_dyn"),
    };
}

/* Reads the whole list of logins: as many as there are. */
static __attribute__((unused)) void list(const struct module *direct)
{
    struct passwd entry;
    char buffer[1024];
    for (int tries = 0;; tries++) {
        int error = 0, status, count = 0;
        direct->setpwent(0);
        while ((status = direct->getpwent(&entry, buffer, sizeof buffer, &error)) == SUCCESS)
            count++;
        direct->endpwent();
        if (status == NOTFOUND && count == login_count)
            return;
        MUST(status == UNAVAIL && (error == ETIMEDOUT || error == EAGAIN) && tries < 100, "list: status %d, errno %d after %d of %d", status, error, count, login_count);
    }
}

/* The open descriptors and what they are, as one text. */
static __attribute__((unused)) void descriptors(char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat data;
        if (fstat(fd, &data) == 0 && used < size)
            used += snprintf(text + used, size - used, "%d=%lx:%lx ", fd, (long)data.st_dev, (long)data.st_ino);
    }
}

/* Waits for a child that must have ended well. */
static __attribute__((unused)) void ended_well(pid_t child, const char *what)
{
    int status;
    MUST(child > 0, "fork: %s", strerror(errno));
    MUST(waitpid(child, &status, 0) == child, "waitpid: %s", strerror(errno));
    MUST(status == 0, "%s: %s %d", what, WIFSIGNALED(status) ? "killed by signal" : "exit code",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* A test by its name. */
struct test {
    const char *name;
    void (*run)(void);
};
static __attribute__((unused)) int run_test(const struct test *tests, int argc, char **argv)
{
    for (; tests->name; tests++)
        if (argc > 1 && !strcmp(tests->name, argv[1])) {
            tests->run();
            printf("%s: ok\n", argv[1]);
            return 0;
        }
    fprintf(stderr, "no such test: %s\n", argc > 1 ? argv[1] : "");
    return 2;
}
#endif
