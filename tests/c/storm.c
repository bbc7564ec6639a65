/* One process of the storm: threads that look up, each answer held against the history that the writer publishes (tests/tests/storm.rs says
   what is right). Arguments: threads, answers to get, seconds to last. Prints one line of figures; ends with 1 at the first wrong answer. */
#include "nss.h"
#include <malloc.h>
#include <stdatomic.h>

/* The history, shared with the writer (tests/c/storm_writer.py). Times are nanoseconds of CLOCK_MONOTONIC. */
#define HISTORY "/tmp/history"
#define SUBJECTS 48
#define VERSIONS 8192
struct version {
    _Atomic uint64_t begun;   /* before the transaction began */
    _Atomic uint64_t visible; /* identityd had confirmed it; 0: not yet */
    _Atomic uint64_t state;
};
struct subject {
    _Atomic uint64_t versions; /* how many there are: a version is counted before its transaction begins */
    uint64_t kind, id;
    char name[40];
    struct version version[VERSIONS];
};
static const struct subject *subjects;
/* GECOS: state n is the gecos "v<n>". COMES_AND_GOES: 1 there, 0 deleted. GROUP: 1 with the second member, 0 without. NEVER: no such login. */
enum { GECOS, COMES_AND_GOES, GROUP, NEVER };

static struct module direct;
/* Calls of libc and, `how` 2 and 3, of the module without libc between: so that a lock of libc, held by a thread that has no processor, is
   told from a wait in the module. */
static atomic_ulong answered, unavailable, calls, slow, module_slow, longest_us, longest_module_us, longest_wall_us;
static unsigned long wanted;
static uint64_t until;

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

/* Whether a version of this state was true at some moment between `from` and `to`: begun before the call ended, and its successor not
   confirmed before the call began. */
static int was_true(const struct subject *subject, uint64_t state, uint64_t from, uint64_t to)
{
    uint64_t count = atomic_load(&subject->versions);
    for (uint64_t i = count; i-- > 0;) {
        uint64_t until = i + 1 < count ? atomic_load(&subject->version[i + 1].visible) : 0;
        if (until && until < from)
            return 0; /* and all before it are older */
        if (atomic_load(&subject->version[i].state) == state && atomic_load(&subject->version[i].begun) <= to)
            return 1;
    }
    return 0;
}

static __attribute__((noreturn)) void wrong(const struct subject *subject, const char *what, long long state, uint64_t from, uint64_t to)
{
    uint64_t count = atomic_load(&subject->versions);
    dprintf(STDERR_FILENO, "WRONG %s: %s, state %lld, call %lu..%lu\n", subject->name, what, state, from, to);
    for (uint64_t i = count > 4 ? count - 4 : 0; i < count; i++)
        dprintf(STDERR_FILENO, "  version %lu: state %lu begun %lu visible %lu\n", i, subject->version[i].state, subject->version[i].begun,
                subject->version[i].visible);
    _exit(1);
}

static void note_maximum(atomic_ulong *place, unsigned long value)
{
    unsigned long before = atomic_load(place);
    while (before < value && !atomic_compare_exchange_weak(place, &before, value))
        ;
}

static unsigned long long own_wait(int schedstat)
{
    char text[96];
    unsigned long long ran = 0, waited = 0;
    ssize_t length = pread(schedstat, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = 0;
    return sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited : 0;
}

static int passwd_ask(const struct subject *subject, int how, struct passwd *entry, char *buffer, size_t size, struct passwd **result)
{
    int error = 0, status;
    if (how < 2)
        return how ? getpwuid_r((uid_t)subject->id, entry, buffer, size, result) : getpwnam_r(subject->name, entry, buffer, size, result);
    status = how & 1 ? direct.getpwuid((uid_t)subject->id, entry, buffer, size, &error)
                     : direct.getpwnam(subject->name, entry, buffer, size, &error);
    *result = status == SUCCESS ? entry : NULL;
    return status == SUCCESS || status == NOTFOUND ? 0 : error;
}

/* Returns the state that was answered: -1 for "could not be found out". */
static long long passwd_of(const struct subject *subject, int how)
{
    struct passwd entry, *result = NULL;
    char buffer[1024], home[80];
    if (passwd_ask(subject, how, &entry, buffer, sizeof buffer, &result))
        return -1;
    if (!result)
        return 0;
    snprintf(home, sizeof home, "/home/members/users/%s", subject->name);
    if (strcmp(result->pw_name, subject->name) || result->pw_uid != subject->id || result->pw_gid != subject->id ||
        strcmp(result->pw_dir, home) || strcmp(result->pw_shell, "/bin/bash"))
        return -2;
    return subject->kind == GECOS && result->pw_gecos[0] == 'v' ? atoll(result->pw_gecos + 1) : 1;
}

static long long group_of(const struct subject *subject, int how)
{
    struct group entry, *result = NULL;
    char buffer[2048];
    int error = how ? getgrgid_r((gid_t)subject->id, &entry, buffer, sizeof buffer, &result)
                    : getgrnam_r(subject->name, &entry, buffer, sizeof buffer, &result);
    if (error)
        return -1;
    if (!result || result->gr_gid != subject->id || strcmp(result->gr_name, subject->name))
        return -2;
    /* Members in order: always `always`, and sometimes `sometimes`. */
    if (!result->gr_mem[0] || strcmp(result->gr_mem[0], "always"))
        return -2;
    if (!result->gr_mem[1])
        return 0;
    return !strcmp(result->gr_mem[1], "sometimes") && !result->gr_mem[2] ? 1 : -2;
}

/* libc's getgrouplist(3) cannot say "could not be found out", so the module is asked directly. */
static long long groups_of(const struct subject *subject)
{
    long start = 0, size = 0;
    gid_t *gids = NULL;
    int error = 0, status = direct.initgroups("sometimes", (gid_t)-1, &start, &size, &gids, -1, &error);
    long long state = status == SUCCESS ? 0 : status == UNAVAIL ? -1 : -2;
    for (long i = 0; i < start; i++)
        state |= gids[i] == subject->id;
    free(gids);
    return state;
}

static void *storm(void *seed)
{
    unsigned random = (unsigned)(intptr_t)seed * 2654435761u + 1;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", gettid());
    int schedstat = open(path, O_RDONLY | O_CLOEXEC);
    while (atomic_load(&answered) < wanted || now_ns() < until) {
        random = random * 1664525 + 1013904223;
        const struct subject *subject = &subjects[(random >> 8) % SUBJECTS];
        int how = random >> 20 & 3;
        unsigned long long waited = own_wait(schedstat);
        uint64_t from = now_ns();
        long long state = subject->kind != GROUP ? passwd_of(subject, how) : how & 2 ? groups_of(subject) : group_of(subject, how);
        uint64_t to = now_ns();
        unsigned long wall = (unsigned long)((to - from) / 1000);
        atomic_fetch_add(&calls, 1);
        note_maximum(&longest_wall_us, wall);
        unsigned long own = (unsigned long)((own_wait(schedstat) - waited) / 1000);
        unsigned long net = wall > own ? wall - own : 0;
        note_maximum(how < 2 ? &longest_us : &longest_module_us, net);
        if (net > 250000) {
            atomic_fetch_add(how < 2 ? &slow : &module_slow, 1);
            /* Those through libc wait for its lock and would bury what else is said. */
            if (how >= 2)
                fprintf(stderr, "slow: %s how %d state %lld wall %lu us, of it waiting for a processor %lu us\n", subject->name, how, state, wall, own);
        }
        if (state == -1) {
            atomic_fetch_add(&unavailable, 1);
            /* 128 threads that ask a daemon that is not there, without a pause, would keep the processors from its start. */
            usleep(20000);
            continue;
        }
        if (state == -2)
            wrong(subject, "another's entry, or part of one", state, from, to);
        if (subject->kind == NEVER ? state != 0 : !was_true(subject, (uint64_t)state, from, to))
            wrong(subject, subject->kind == GROUP ? (how & 2 ? "initgroups" : "group") : "passwd", state, from, to);
        atomic_fetch_add(&answered, 1);
    }
    close(schedstat);
    return NULL;
}

static long resident_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = -1;
    fclose(file);
    return resident * 4;
}

static void all_threads(int threads, unsigned long answers, unsigned long milliseconds)
{
    pthread_t thread[256];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    wanted = atomic_load(&answered) + answers;
    until = now_ns() + milliseconds * 1000000;
    for (int i = 0; i < threads; i++)
        MUST(!pthread_create(&thread[i], &attributes, storm, (void *)(intptr_t)(i + getpid() * 16)), "pthread_create");
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
}

int main(int argc, char **argv)
{
    static char before[65536], after[65536];
    MUST(argc == 4, "storm THREADS ANSWERS SECONDS");
    int threads = atoi(argv[1]);
    unsigned long answers = strtoul(argv[2], NULL, 10), seconds = strtoul(argv[3], NULL, 10);
    int file = open(HISTORY, O_RDONLY);
    subjects = mmap(NULL, SUBJECTS * sizeof *subjects, PROT_READ, MAP_SHARED, file, 0);
    MUST(subjects != MAP_FAILED, "mmap: %s", strerror(errno));
    close(file);
    direct = module();
    /* The first tenth makes libc and malloc what they stay. */
    all_threads(threads, answers / 10, seconds * 100);
    descriptors(before, sizeof before);
    long resident = resident_kib();
    size_t used = mallinfo2().uordblks;
    all_threads(threads, answers - answers / 10, seconds * 900);
    descriptors(after, sizeof after);
    MUST(!strcmp(before, after), "descriptors before: %s\nafter: %s", before, after);
    printf("calls %lu answered %lu unavailable %lu slow %lu module_slow %lu longest_us %lu longest_module_us %lu "
           "longest_wall_us %lu resident_growth_kib %ld malloc_growth %ld\n",
           calls, answered, unavailable, slow, module_slow, longest_us, longest_module_us, longest_wall_us, resident_kib() - resident, (long)(mallinfo2().uordblks - used));
    return 0;
}
