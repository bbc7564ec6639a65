/* Look-ups, timed:
     look time LEVEL SERVICE N OVER MS KIND…     p50 and p99 in nanoseconds of one call, best of five rounds, pinned to one processor
     look threads LEVEL SERVICE N OVER MS T…     calls a second of T threads that look up random names, best of three rounds; the numbers take turns
     look warm LEVEL SERVICE N OVER MS           asks for name, uid and groups once, for so long at most; prints how many logins it got through,
                                                 the seconds, and the p50 of an unknown name in µs
     look list LEVEL SERVICE N                   enumeration of passwd in milliseconds
   N logins exist (data.h), OVER of them are asked for. Not the expected answer voids the line: "KIND wrong", "KIND error_after_…_ms" or "KIND absent_after_…_ms".
   Where one call takes less than 20 µs, calls are timed in batches: reading the clock costs 25 ns. */
#include "call.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define ROUNDS 5
#define SAMPLES 65536
#define COLD 21
#define MOST_THREADS 64

static struct key *keys, *unknown, group_key = {.name = "largest", .uid = LARGEST};
static uint32_t over;

static struct key key_of(uint32_t i)
{
    struct key key = {.uid = uid_of(i), .groups = (uint32_t)groups_of(i, (uint32_t)entries)};
    name_of(i, key.name);
    return key;
}

static void shuffle(struct key *all, uint32_t count)
{
    for (uint32_t at = count; at > 1; at--) {
        uint32_t other = mixed(at * 2654435761u) % at;
        struct key held = all[at - 1];
        all[at - 1] = all[other], all[other] = held;
    }
}

static void make_keys(void)
{
    keys = malloc(over * sizeof *keys);
    unknown = malloc(over * sizeof *unknown);
    if (!keys || !unknown)
        DIE("out of memory");
    for (uint32_t k = 0; k < over; k++) {
        keys[k] = key_of((uint32_t)(((uint64_t)k * 7919 + 12345) % (uint32_t)entries));
        unknown[k] = key_of(NOBODY + k);
    }
}

static int smaller(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return a < b ? -1 : a > b;
}

static const char *trouble(int answer) { return answer == -2 ? "wrong" : answer == -1 ? "error" : answer ? "found" : "absent"; }

struct kind {
    const char *name;
    ask *call;
    const struct key *keys;
    uint32_t count;
    int expected;
};

static void time_kind(const struct kind *kind, uint64_t budget)
{
    static float took[SAMPLES];
    struct buffers to = buffers();
    uint32_t at = 0, batch = 1;
    uint64_t begun = now_ns(), first = UINT64_MAX;
    if (direct && kind->call == groups && !module.initgroups) {
        printf("%s not_in_the_module\n", kind->name);
        return;
    }
    /* The fastest of twenty calls says how long one takes; the first of all loads the module. */
    for (int i = 0; i < 20 && now_ns() - begun < 200000000; i++) {
        uint64_t asked = now_ns();
        int answer = kind->call(&kind->keys[at], &to);
        uint64_t took_ns = now_ns() - asked;
        if (answer != kind->expected && !(constant && answer >= 0)) {
            printf("%s %s_after_%.1f_ms\n", kind->name, trouble(answer), (double)took_ns / 1e6);
            return;
        }
        at = at + 1 < kind->count ? at + 1 : 0;
        first = took_ns < first ? took_ns : first;
    }
    while (batch < 256 && first * batch < 20000)
        batch *= 2;
    double best = 1e18, tail = 0;
    uint64_t calls = 0;
    for (int round = 0; round < ROUNDS; round++) {
        int samples = 0;
        uint64_t start = now_ns(), then = start, now;
        do {
            int wrong = 0, worst = 0;
            for (uint32_t i = 0; i < batch; i++) {
                int answer = kind->call(&kind->keys[at], &to);
                wrong |= answer ^ kind->expected;
                worst = answer < worst ? answer : worst;
                at = at + 1 < kind->count ? at + 1 : 0;
            }
            now = now_ns();
            if (wrong && !constant) {
                printf("%s %s\n", kind->name, worst == -1 ? "error" : "wrong");
                return;
            }
            took[samples++] = (float)(now - then) / (float)batch;
            then = now;
        } while (samples < SAMPLES && now - start < budget);
        calls += (uint64_t)samples * batch;
        qsort(took, (size_t)samples, sizeof *took, smaller);
        if (took[samples / 2] < best)
            best = took[samples / 2], tail = took[(size_t)samples * 99 / 100];
    }
    printf("%s %.1f %.1f %lu\n", kind->name, best, tail, calls);
    free(to.text), free(to.gids);
}

static atomic_int stop, running, failed;

/* A line of the cache each, or two threads would wait for each other to count. */
struct worker {
    _Alignas(128) pthread_t thread;
    uint32_t from;
    uint64_t calls;
};

static void *work(void *argument)
{
    struct worker *self = argument;
    struct buffers to = buffers();
    uint32_t at = self->from;
    atomic_fetch_add(&running, 1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        if (by_name(&keys[at], &to) != 1)
            failed = 1;
        at = at + 1 < over ? at + 1 : 0;
        self->calls++;
    }
    free(to.text), free(to.gids);
    return NULL;
}

/* Calls a second of so many at once. */
static double rate_of(int count, uint64_t budget)
{
    struct worker workers[MOST_THREADS] = {0};
    uint64_t calls = 0;
    stop = running = 0;
    for (int t = 0; t < count; t++) {
        workers[t] = (struct worker){.from = (uint32_t)((uint64_t)over * (uint32_t)t / (uint32_t)count)};
        if (pthread_create(&workers[t].thread, NULL, work, &workers[t]))
            DIE("no thread");
    }
    while (running < count)
        usleep(100);
    uint64_t before = 0, started = now_ns();
    for (int t = 0; t < count; t++)
        before += *(volatile uint64_t *)&workers[t].calls;
    usleep((useconds_t)(budget / 1000));
    for (int t = 0; t < count; t++)
        calls += *(volatile uint64_t *)&workers[t].calls;
    double seconds = (double)(now_ns() - started) / 1e9;
    stop = 1;
    for (int t = 0; t < count; t++)
        pthread_join(workers[t].thread, NULL);
    return (double)(calls - before) / seconds;
}

/* Three rounds, in each of which every number has its turn: the least disturbed counts. */
static void threads(int many, char **counts, uint64_t budget)
{
    double best[MOST_THREADS] = {0};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < many; i++) {
            int count = atoi(counts[i]);
            double rate = rate_of(count > MOST_THREADS ? MOST_THREADS : count, budget);
            best[i] = rate > best[i] ? rate : best[i];
        }
    }
    for (int i = 0; i < many; i++)
        printf(failed ? "threads%s wrong\n" : "threads%s %.0f\n", counts[i], best[i]);
}

/* Every field of the answer, against what data.h says. */
static int whole(const struct key *key, const struct passwd *entry)
{
    char home[64];
    home_of(key->name, home, sizeof home);
    return !strcmp(entry->pw_name, key->name) && entry->pw_uid == key->uid && entry->pw_gid == key->uid && !strcmp(entry->pw_dir, home) &&
           !strcmp(entry->pw_shell, "/bin/bash") && !strncmp(entry->pw_gecos, "Member ", 7);
}

static void warm(uint64_t budget)
{
    struct buffers to = buffers();
    uint64_t started = now_ns();
    uint32_t k = 0;
    for (; k < over && now_ns() - started < budget; k++) {
        struct passwd entry, *found = NULL;
        const struct key *key = &keys[k];
        int error = getpwnam_r(key->name, &entry, to.text, 1024, &found);
        if (error || !found || !whole(key, found))
            DIE("%s by name: %s", key->name, error ? strerror(error) : found ? "wrong answer" : "not found");
        error = getpwuid_r(key->uid, &entry, to.text, 1024, &found);
        if (error || !found || !whole(key, found))
            DIE("%u by uid: %s", key->uid, error ? strerror(error) : found ? "wrong answer" : "not found");
        if (groups(key, &to) != 1)
            DIE("%s: wrong groups", key->name);
    }
    double took = (double)(now_ns() - started) / 1e9;
    largest(&group_key, &to);
    /* Names that nobody asks for a second time: what a caching peer's "no such user" costs at first. */
    float first[COLD];
    for (uint32_t i = 0; i < COLD; i++) {
        struct key key = key_of(NOBODY + NOBODY / 2 + i);
        uint64_t asked = now_ns();
        if (by_name(&key, &to) != 0)
            DIE("%s: not the answer for an unknown name", key.name);
        first[i] = (float)(now_ns() - asked) / 1000;
    }
    qsort(first, COLD, sizeof *first, smaller);
    printf("warm %u %.3f %.1f\n", k, took, (double)first[COLD / 2]);
}

static void list(void)
{
    struct passwd entry, *found;
    char text[1024];
    double best = 1e18;
    uint64_t begun = now_ns();
    for (int round = 0; round < 5 && (round == 0 || now_ns() - begun < 2000000000u); round++) {
        uint64_t started = now_ns(), sum = 0, right = 0;
        long count = 0;
        int end;
        if (direct)
            module.setpwent(0);
        else
            setpwent();
        for (;;) {
            int error = 0;
            errno = 0;
            if (direct)
                end = module.getpwent(&entry, text, sizeof text, &error) == NSS_STATUS_SUCCESS ? 0 : error ? error : ENOENT;
            else
                end = getpwent_r(&entry, text, sizeof text, &found);
            /* glibc says ENOENT for UNAVAIL as for the end of the list; errno is what the module left. */
            if (end == ENOENT && errno)
                end = errno;
            if (end)
                break;
            if (entry.pw_uid >= FIRST_UID)
                count++, sum += entry.pw_uid;
        }
        if (direct)
            module.endpwent();
        else
            endpwent();
        for (long i = 0; i < entries; i++)
            right += uid_of((uint32_t)i);
        double took = (double)(now_ns() - started) / 1e6;
        if (count != entries || sum != right) {
            if (end != ENOENT)
                printf("list error_after_%ld_logins:_%s\n", count, strerror(end));
            else
                printf(count ? "list wrong\n" : "list nothing\n");
            return;
        }
        best = took < best ? took : best;
    }
    printf("list %.3f\n", best);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        DIE("usage: look time|threads|warm|list LEVEL SERVICE N [OVER MS …]");
    entries = atoi(argv[4]);
    over = argc > 5 ? (uint32_t)atoi(argv[5]) : 1;
    uint64_t budget = argc > 6 ? strtoull(argv[6], NULL, 10) * 1000000u : 0;
    if (!strcmp(argv[1], "time")) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(sched_getcpu(), &one);
        sched_setaffinity(0, sizeof one, &one);
    }
    choose(argv[2], argv[3]);
    make_keys();
    /* Not shuffled: the first so many of these are what is asked for afterwards. */
    if (!strcmp(argv[1], "warm"))
        return warm(budget), 0;
    shuffle(keys, over);
    if (!strcmp(argv[1], "list"))
        return list(), 0;
    if (!strcmp(argv[1], "threads")) {
        threads(argc - 7 > MOST_THREADS ? MOST_THREADS : argc - 7, argv + 7, budget);
        return 0;
    }
    for (int i = 7; i < argc; i++) {
        const struct kind kinds[] = {
            {"hot_name", by_name, keys, 1, 1}, {"name", by_name, keys, over, 1},     {"hot_uid", by_uid, keys, 1, 1},
            {"uid", by_uid, keys, over, 1},    {"miss", by_name, unknown, over, 0},  {"hot_groups", groups, keys, 1, 1},
            {"groups", groups, keys, over, 1}, {"largest", largest, &group_key, 1, 1},
        };
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            if (!strcmp(kinds[k].name, argv[i]))
                time_kind(&kinds[k], budget);
        fflush(stdout);
    }
    return 0;
}
