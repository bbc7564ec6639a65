/* Programs that run on while generations of the snapshot come and go: every answer is right, at once, and they hold no more than they may. Those that
   have no end of their own go on until SIGTERM. */
#include "nss.h"
#include <stdatomic.h>

#define SNAPSHOT "/run/identityd/snapshot/"

static volatile sig_atomic_t ending;
static void end(int signal)
{
    (void)signal;
    ending = 1;
}

/* What of the snapshot is mapped, and how many mappings there are in all. One thread asks. */
struct held {
    int controls, bases, deltas, all;
};
static struct held held(void)
{
    static char text[1 << 20];
    struct held held = {0};
    size_t length = 0;
    ssize_t more;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    MUST(fd >= 0, "maps: %s", strerror(errno));
    while ((more = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)more;
    close(fd);
    text[length] = 0;
    for (char *line = text, *next; (next = strchr(line, '\n')); line = next + 1, held.all++) {
        *next = 0;
        char *file = strstr(line, SNAPSHOT);
        if (!file)
            continue;
        file += strlen(SNAPSHOT);
        held.controls += !strncmp(file, "control", 7);
        held.bases += !strncmp(file, "base.", 5);
        held.deltas += !strncmp(file, "delta.", 6);
    }
    return held;
}

static int most_bases, most_deltas;
static void holds_at_most(int generations, const char *who)
{
    struct held now = held();
    MUST(now.controls <= generations && now.bases <= generations && now.deltas <= generations,
         "%s holds %d control pages, %d bases, %d deltas", who, now.controls, now.bases, now.deltas);
    most_bases = now.bases > most_bases ? now.bases : most_bases;
    most_deltas = now.deltas > most_deltas ? now.deltas : most_deltas;
}

/* The first number behind this word of /proc/self/status, in kB. */
static long status_kib(const char *word)
{
    char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    char *found = strstr(text, word);
    MUST(found, "no %s in the status", word);
    return atol(found + strlen(word));
}

/* Right at the first try: while there is a snapshot, "could not be found out" is no answer. */
static void right(int which)
{
    const struct login *login = &logins[which % login_count];
    struct passwd entry, *result = &entry;
    char buffer[1024];
    int answer = which & 1 ? by_uid(login) : by_name(login);
    MUST(answer == 1, "%s: %s", login->name, strerror(errno));
    int error = getpwnam_r("nobody-of-ours", &entry, buffer, sizeof buffer, &result);
    MUST(!error && !result, "somebody who is not there: %s", result ? "found" : strerror(error));
}

/* Looks up now and then. Between two look-ups tens of generations go by; after each only one is held. */
static void now_and_then(void)
{
    static char before[65536], after[65536];
    long anonymous = 0;
    int round, mappings = 0;
    for (round = 0; !ending || round <= 10; round++) {
        for (int i = 0; i < 3; i++)
            right(round * 3 + i);
        holds_at_most(1, "a program that looks up now and then");
        if (round == 5) {
            descriptors(before, sizeof before);
            anonymous = status_kib("RssAnon:");
            mappings = held().all;
        }
        usleep(150000);
    }
    right(0);
    descriptors(after, sizeof after);
    MUST(!strcmp(before, after), "before: %s\nafter: %s", before, after);
    /* With a delta, or just after a fold without one. */
    MUST(held().all <= mappings + 1, "%d mappings, then %d", mappings, held().all);
    MUST(status_kib("RssAnon:") - anonymous < 64, "grown by %ld kB", status_kib("RssAnon:") - anonymous);
    printf("%d rounds\n", round);
}

static atomic_long looked;
static void *bursts(void *seed)
{
    for (int i = (int)(intptr_t)seed; !ending; i++) {
        for (int k = 0; k < 20; k++)
            right(i + k);
        looked += 20;
        /* Long: five hundred that never rest would take the processors from everybody else. */
        usleep(500000 + (unsigned)i * 7919 % 1000000);
    }
    return NULL;
}

static void start_threads(pthread_t *threads, int count)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (int i = 0; i < count; i++)
        MUST(!pthread_create(&threads[i], &attributes, bursts, (void *)(intptr_t)(i * 31)), "pthread_create");
}

/* How long calls of libc took, wait for a processor and all: each power of two of nanoseconds in eight parts. */
static unsigned long took[64 * 8], calls;
static int part_of(uint64_t ns)
{
    int power = 63 - __builtin_clzll(ns | 8);
    return power * 8 + (int)(ns >> (power - 3) & 7);
}

static double up_to_us(double share)
{
    unsigned long below = 0;
    int part = 0;
    while (part < 64 * 8 - 1 && (double)(below += took[part]) < share * (double)calls)
        part++;
    return (double)((8ull + (unsigned)part % 8 + 1) << (part / 8 - 3)) / 1000;
}

/* Looks up without a pause; every answer right at the first try, and how long they took. */
static void without_a_pause(void)
{
    double begun = now_ms(), waited = waited_ms();
    for (int i = 0; !ending; i++) {
        struct passwd entry, *result = &entry;
        struct timespec before, after;
        char buffer[1024];
        int answer = 1;
        clock_gettime(CLOCK_MONOTONIC, &before);
        if (i % 3 == 0)
            answer = by_name(&logins[i % login_count]);
        else if (i % 3 == 1)
            answer = by_uid(&logins[i % login_count]);
        else
            answer = getpwnam_r("nobody-of-ours", &entry, buffer, sizeof buffer, &result) ? -1 : 1;
        clock_gettime(CLOCK_MONOTONIC, &after);
        MUST(answer == 1, "%s: %s", logins[i % login_count].name, strerror(errno));
        MUST(i % 3 != 2 || !result, "found somebody who is not there");
        took[part_of((uint64_t)((after.tv_sec - before.tv_sec) * 1000000000ll + after.tv_nsec - before.tv_nsec))]++;
        calls++;
    }
    printf("%lu calls in %.1f s, of which %.1f s without a processor; up to %.2f us: 50 %%, %.2f us: 99 %%, %.2f us: 99.9 %%, %.1f us: 99.99 %%, %.0f us: all\n",
           calls, (now_ms() - begun) / 1000, (waited_ms() - waited) / 1000, up_to_us(.5), up_to_us(.99), up_to_us(.999), up_to_us(.9999), up_to_us(1));
}

/* All of them at once: a generation waits for its last reader, and no third one comes meanwhile. */
static void five_hundred_threads(void)
{
    static pthread_t threads[500];
    start_threads(threads, 500);
    while (!ending) {
        holds_at_most(2, "a program with 500 threads");
        usleep(10000);
    }
    for (int i = 0; i < 500; i++)
        pthread_join(threads[i], NULL);
    right(0);
    holds_at_most(1, "the same when they have ended");
    printf("%ld look-ups, at most %d bases and %d deltas\n", looked, most_bases, most_deltas);
}

/* Children come in the middle of look-ups, exchanges and releases of their parent, and live on through generations of their own. A child of the moment in
   which a generation was being released keeps what was not yet unmapped: nobody can tell it what was. */
static void forking_server(void)
{
    pthread_t threads[2];
    int children = 0;
    start_threads(threads, 2);
    for (; !ending; children++) {
        pid_t child[4];
        for (int i = 0; i < 4; i++) {
            child[i] = fork();
            if (child[i] == 0) {
                signal(SIGTERM, SIG_DFL);
                alarm(60);
                for (int k = 0; k < 5; k++) {
                    right(children + i + k);
                    holds_at_most(3, "a child");
                    usleep(4000);
                }
                _exit(0);
            }
            right(children + i);
        }
        holds_at_most(2, "a server that forks");
        for (int i = 0; i < 4; i++)
            ended_well(child[i], "child of the server");
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("%d children\n", children * 4);
}

/* Room for the program and little more: not for a base. */
static rlim_t room(void)
{
    return ((rlim_t)status_kib("VmSize:") + 512) * 1024;
}

static void mapped_in_the_end(void)
{
    for (int i = 0; held().bases != 1; i++) {
        look(i);
        MUST(i < 600, "not mapped although it can be");
        usleep(50000);
    }
    right(0);
}

static void over_the_socket(void)
{
    for (int i = 0; i < 200; i++)
        look(i);
    MUST(held().bases == 0, "the base was mapped: this shows nothing");
}

/* Whoever locks his memory and may lock no more of it cannot map: the socket answers. */
static void too_little_to_lock(void)
{
    module(); /* loaded, and nothing mapped */
    MUST(!setresgid(65534, 65534, 65534) && !setresuid(65534, 65534, 65534), "setresuid: %s", strerror(errno));
    struct rlimit little = {room(), room()};
    MUST(!setrlimit(RLIMIT_MEMLOCK, &little), "setrlimit: %s", strerror(errno));
    MUST(!mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall: %s", strerror(errno));
    over_the_socket();
    munlockall();
    mapped_in_the_end();
}

static void too_little_address_space(void)
{
    module();
    struct rlimit all, little;
    getrlimit(RLIMIT_AS, &all);
    little = all;
    little.rlim_cur = room();
    MUST(!setrlimit(RLIMIT_AS, &little), "setrlimit: %s", strerror(errno));
    over_the_socket();
    MUST(!setrlimit(RLIMIT_AS, &all), "setrlimit: %s", strerror(errno));
    mapped_in_the_end();
    /* What is mapped stays, and the next generation is the socket's again. */
    little.rlim_cur = room();
    MUST(!setrlimit(RLIMIT_AS, &little), "setrlimit: %s", strerror(errno));
    for (int i = 0; i < 100; i++) {
        look(i);
        holds_at_most(2, "a program without room for another base");
        usleep(10000);
    }
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"now-and-then", now_and_then},
        {"without-a-pause", without_a_pause},
        {"five-hundred-threads", five_hundred_threads},
        {"forking-server", forking_server},
        {"too-little-to-lock", too_little_to_lock},
        {"too-little-address-space", too_little_address_space},
        {0},
    };
    signal(SIGTERM, end);
    read_truth();
    return run_test(tests, argc, argv);
}
