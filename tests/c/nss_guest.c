/* What the module does to its host program: descriptors, memory, the end of threads and of the process. */
#include "nss.h"

/* malloc that fails when it is told to. A program's own comes before libc's (glibc manual, "Replacing malloc"). */
extern void *__libc_malloc(size_t), *__libc_realloc(void *, size_t), *__libc_calloc(size_t, size_t);
static volatile int fails_after = INT_MAX;
static int refused(void)
{
    if (fails_after == INT_MAX || fails_after-- > 0)
        return 0;
    fails_after = 0;
    errno = ENOMEM;
    return 1;
}
void *malloc(size_t size) { return refused() ? NULL : __libc_malloc(size); }
void *realloc(void *old, size_t size) { return refused() ? NULL : __libc_realloc(old, size); }
void *calloc(size_t count, size_t size) { return refused() ? NULL : __libc_calloc(count, size); }

static void *look_and_end(void *seed)
{
    look((int)(intptr_t)seed);
    if ((intptr_t)seed & 1)
        pthread_exit(NULL);
    return NULL;
}

static void same_descriptors(void)
{
    static char before[65536], after[65536];
    gid_t gids[64];
    look(0);
    descriptors(before, sizeof before);
    for (int i = 0; i < 10000; i++) {
        look(i);
        if (i % 100 == 0) {
            int count = 64;
            getgrouplist(logins[i % login_count].name, logins[i % login_count].gid, gids, &count);
            pthread_t thread;
            MUST(!pthread_create(&thread, NULL, look_and_end, (void *)(intptr_t)(i / 100)), "pthread_create");
            pthread_join(thread, NULL);
            pid_t child = fork();
            if (child == 0) {
                closefrom(3);
                look(i);
                _exit(0);
            }
            ended_well(child, "child with closed descriptors");
        }
    }
    descriptors(after, sizeof after);
    MUST(!strcmp(before, after), "before: %s\nafter: %s", before, after);
}

static volatile int going = 1;
static void *look_ups(void *seed)
{
    for (int i = (int)(intptr_t)seed; going; i++)
        look(i);
    return NULL;
}

/* A daemon that closes all descriptors and opens its own: they are still its own, while other threads look up. */
static void own_descriptors(void)
{
    static char before[65536], after[65536];
    look(0);
    closefrom(0);
    look(1);
    MUST(fcntl(0, F_GETFD) < 0 && fcntl(1, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0, "0-2 were opened");
    int ends[20];
    for (int i = 0; i < 20; i += 2)
        if (pipe(&ends[i]))
            _exit(3);
    descriptors(before, sizeof before);
    pthread_t thread;
    if (pthread_create(&thread, NULL, look_ups, NULL))
        _exit(4);
    for (int i = 0; i < 2000; i++) {
        char byte = (char)i, back = 0;
        look(i);
        if (write(ends[i % 10 * 2 + 1], &byte, 1) != 1 || read(ends[i % 10 * 2], &back, 1) != 1 || back != byte)
            _exit(5);
    }
    going = 0;
    pthread_join(thread, NULL);
    descriptors(after, sizeof after);
    if (strcmp(before, after))
        _exit(6);
}

/* With no descriptor left the answer is "could not be found out". */
static void no_descriptor_left(void)
{
    struct module direct = module();
    struct passwd entry;
    char buffer[1024];
    int error = 0;
    look(0);
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
    int status = direct.getpwnam(logins[0].name, &entry, buffer, sizeof buffer, &error);
    MUST(status == UNAVAIL && error == EMFILE, "status %d, errno %d", status, error);
}

/* Numbers above FD_SETSIZE: an fd_set on the stack would be written past its end (CVE-2013-0288). */
static void many_descriptors(void)
{
    struct rlimit many = {4096, 4096};
    MUST(!setrlimit(RLIMIT_NOFILE, &many), "setrlimit: %s", strerror(errno));
    int highest = 0;
    for (int i = 0; i < 3000; i++)
        MUST((highest = dup(STDIN_FILENO)) >= 0, "dup: %s", strerror(errno));
    MUST(highest > 2000, "only %d", highest);
    for (int i = 0; i < 200; i++)
        look(i);
    struct module direct = module();
    list(&direct);
}

static int at_end;
static void from_atexit(void)
{
    look(2);
    at_end++;
    printf("from atexit: ok\n");
    fflush(stdout);
}
static void __attribute__((destructor)) from_destructor(void)
{
    if (at_end) {
        look(3);
        dprintf(STDOUT_FILENO, "from a destructor: ok\n");
    }
}
static pthread_key_t key;
static void from_thread_destructor(void *value)
{
    look((int)(intptr_t)value);
}
static void *with_a_destructor(void *value)
{
    pthread_setspecific(key, value);
    return NULL;
}

/* In the order of an exit: destructors of a thread, atexit handlers, destructors of the program, with other threads still at it. */
static void ends(void)
{
    pthread_key_create(&key, from_thread_destructor);
    for (int i = 1; i <= 100; i++) {
        pthread_t thread;
        MUST(!pthread_create(&thread, NULL, with_a_destructor, (void *)(intptr_t)i), "pthread_create");
        pthread_join(thread, NULL);
    }
    pthread_t thread;
    for (int i = 0; i < 4; i++)
        pthread_create(&thread, NULL, look_ups, (void *)(intptr_t)i);
    atexit(from_atexit);
    exit(0);
}

static int mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    int lines = 0, byte;
    while ((byte = fgetc(file)) != EOF)
        lines += byte == '\n';
    fclose(file);
    return lines;
}

/* Only ours holds the library here: libc has not loaded it yet. */
static void load_and_unload(void)
{
    int first = 0;
    for (int i = 0; i < 300; i++) {
        struct module direct = module();
        struct passwd entry;
        char buffer[1024];
        int error = 0;
        const struct login *login = &logins[i % login_count];
        MUST(direct.getpwnam(login->name, &entry, buffer, sizeof buffer, &error) == SUCCESS && is(login, &entry), "round %d", i);
        MUST(direct.getpwent(&entry, buffer, sizeof buffer, &error) == SUCCESS, "list in round %d", i);
        direct.endpwent();
        dlclose(direct.handle);
        void *again = dlopen(MODULE, RTLD_NOW | RTLD_NOLOAD);
        MUST(again, "the library went, and its mappings did not");
        dlclose(again);
        if (i == 9)
            first = mappings();
    }
    MUST(mappings() <= first, "%d mappings, then %d", first, mappings());
    look(0);
}

static void *on_a_small_stack(void *unused)
{
    (void)unused;
    gid_t gids[64];
    int count = 64;
    for (int i = 0; i < 20; i++)
        look(i);
    setpwent();
    MUST(getpwent(), "list");
    endpwent();
    MUST(getgrouplist(logins[0].name, logins[0].gid, gids, &count) >= 1, "groups");
    MUST(getgrgid(logins[0].gid), "group");
    return NULL;
}

static void *directly_on_the_smallest(void *handle)
{
    struct module direct = *(struct module *)handle;
    struct passwd entry;
    char buffer[512];
    int error = 0;
    long start = 1, size = 4;
    gid_t *gids = __libc_malloc(16);
    gids[0] = 1;
    MUST(direct.getpwnam(logins[0].name, &entry, buffer, sizeof buffer, &error) == SUCCESS, "look-up");
    MUST(direct.getpwent(&entry, buffer, sizeof buffer, &error) == SUCCESS, "list");
    direct.endpwent();
    int status = direct.initgroups(logins[0].name, 1, &start, &size, &gids, -1, &error);
    MUST(status == SUCCESS, "groups: %d", status);
    free(gids);
    return NULL;
}

/* 64 KiB through libc, the first look-up of the process and the loading of the module included; 16 KiB for the module alone. */
static void small_stacks(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    MUST(!pthread_create(&thread, &attributes, on_a_small_stack, NULL), "pthread_create");
    pthread_join(thread, NULL);
    struct module direct = module();
    pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
    MUST(!pthread_create(&thread, &attributes, directly_on_the_smallest, &direct), "pthread_create");
    pthread_join(thread, NULL);
}

/* From the n-th allocation on there is no memory, for each n: right, or could not be found out, never wrong and no crash. libc has read
   nsswitch.conf before: without memory for that, glibc 2.36 itself crashes (nss/nss_database.c), whatever the services are. */
static void ever_less_memory(void)
{
    int right = 0;
    look(0);
    for (int after = 0; after < 80; after++) {
        pid_t child = fork();
        if (child == 0) {
            gid_t gids[64] = {logins[0].gid};
            int count = 64;
            fails_after = after;
            int answer = -1;
            struct passwd entry, *result = NULL;
            char buffer[1024];
            if (getpwnam_r(logins[0].name, &entry, buffer, sizeof buffer, &result) == 0) {
                MUST(result && is(&logins[0], result), "wrong answer without memory");
                answer = 1;
            }
            getgrouplist(logins[0].name, logins[0].gid, gids, &count);
            MUST(gids[0] == logins[0].gid, "wrong groups without memory");
            setpwent();
            getpwent();
            endpwent();
            _exit(answer == 1 ? 0 : 7);
        }
        int status;
        waitpid(child, &status, 0);
        MUST(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 7), "status %x after %d", status, after);
        right += WEXITSTATUS(status) == 0;
    }
    MUST(right > 0, "never right");
}

/* The module alone needs none for a look-up, and says so for groups. */
static struct module no_malloc_at_all(void)
{
    struct module direct = module();
    struct passwd entry;
    char buffer[1024];
    int error = 0;
    long start = 0, size = 0;
    gid_t *gids = NULL;
    fails_after = 0;
    MUST(direct.getpwnam(logins[1].name, &entry, buffer, sizeof buffer, &error) == SUCCESS, "look-up");
    int status = direct.initgroups(logins[1].name, 1, &start, &size, &gids, -1, &error);
    MUST(status == TRYAGAIN && error == ENOMEM && start == 0 && size == 0 && !gids, "groups: %d, errno %d", status, error);
    MUST(direct.getpwent(&entry, buffer, sizeof buffer, &error) == SUCCESS, "a list needs malloc");
    direct.endpwent();
    struct rlimit little = {1, 1};
    setrlimit(RLIMIT_AS, &little);
    MUST(direct.getpwuid(logins[1].uid, &entry, buffer, sizeof buffer, &error) == SUCCESS, "look-up without address space");
    return direct;
}

static void no_memory(void)
{
    struct passwd entry;
    char buffer[1024];
    int error = 0;
    ever_less_memory();
    struct module direct = no_malloc_at_all();
    int status = direct.getpwent(&entry, buffer, sizeof buffer, &error);
    MUST(status == TRYAGAIN && error == ENOMEM, "a list without address space: %d, errno %d", status, error);
    fails_after = INT_MAX;
}

/* With a snapshot: what is mapped answers, lists as well; the generations that come cannot be mapped any more. */
static void no_memory_but_files(void)
{
    struct passwd entry;
    char buffer[1024];
    int error = 0;
    ever_less_memory();
    struct module direct = no_malloc_at_all();
    for (int i = 0; i < 300; i++) {
        const struct login *login = &logins[i % login_count];
        int status = direct.getpwnam(login->name, &entry, buffer, sizeof buffer, &error);
        MUST((status == SUCCESS && is(login, &entry)) || (status == UNAVAIL && (error == ETIMEDOUT || error == EAGAIN)), "%d, errno %d", status, error);
        usleep(2000);
    }
    fails_after = INT_MAX;
}

static void locked_memory(void)
{
    MUST(!mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall: %s", strerror(errno));
    for (int i = 0; i < 200; i++)
        look(i);
    setpwent();
    while (getpwent())
        ;
    endpwent();
}

/* A chroot without our socket and without /etc: could not be found out. */
static void in_a_chroot(void)
{
    struct module direct = module();
    struct passwd entry, *result = NULL;
    char buffer[1024];
    int error = 0;
    look(0);
    MUST(!mkdir("/tmp/empty", 0755) && !chroot("/tmp/empty") && !chdir("/"), "chroot: %s", strerror(errno));
    int status = direct.getpwnam(logins[0].name, &entry, buffer, sizeof buffer, &error);
    MUST(status == UNAVAIL && error == ECONNREFUSED, "status %d, errno %d", status, error);
    error = getpwnam_r(logins[0].name, &entry, buffer, sizeof buffer, &result);
    MUST(error && !result, "libc: %d", error);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"same-descriptors", same_descriptors},
        {"own-descriptors", own_descriptors},
        {"no-descriptor-left", no_descriptor_left},
        {"many-descriptors", many_descriptors},
        {"ends", ends},
        {"load-and-unload", load_and_unload},
        {"small-stacks", small_stacks},
        {"no-memory", no_memory},
        {"no-memory-but-files", no_memory_but_files},
        {"locked-memory", locked_memory},
        {"in-a-chroot", in_a_chroot},
        {0},
    };
    read_truth();
    return run_test(tests, argc, argv);
}
