/* Many at once: forks, threads, cancellation, signals. Every answer is held against the database. */
#include "nss.h"

/* Parent and children look up different logins at the same time; a shared connection would give one the other's answer. */
static void fork_storm(void)
{
    look(0);
    for (int round = 0; round < 25; round++) {
        pid_t children[8];
        for (int child = 0; child < 8; child++) {
            children[child] = fork();
            if (children[child] == 0) {
                for (int i = 0; i < 20; i++)
                    look(round * 131 + child * 17 + i);
                _exit(0);
            }
        }
        for (int i = 0; i < 20; i++)
            look(round * 37 + i);
        for (int child = 0; child < 8; child++)
            ended_well(children[child], "child of the storm");
    }
}

static volatile int going = 1;

static void *look_ups(void *seed)
{
    for (int i = (int)(intptr_t)seed; going; i++)
        look(i);
    return NULL;
}

static struct module direct;

static void *lists(void *unused)
{
    (void)unused;
    struct passwd entry;
    char buffer[1024];
    int error;
    while (going) {
        while (direct.getpwent(&entry, buffer, sizeof buffer, &error) == SUCCESS)
            MUST(entry.pw_uid >= 1000, "listed uid %u", entry.pw_uid);
        direct.endpwent();
    }
    return NULL;
}

/* Children are forked while other threads are in the middle of a look-up and of a list: they inherit no lock and no half-read answer. */
static void fork_in_mid_call(void)
{
    direct = module();
    /* glibc 2.36 reads nsswitch.conf and loads modules at the first look-up, under a lock (nss_module_list_lock) that stays locked in a child forked meanwhile. */
    look(0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        MUST(!pthread_create(&threads[i], NULL, i < 2 ? look_ups : lists, (void *)(intptr_t)(i * 7)), "pthread_create");
    for (int i = 0; i < 200; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(10);
            for (int k = 0; k < 4; k++)
                look(i * 11 + k);
            list(&direct);
            _exit(0);
        }
        ended_well(child, "child forked in mid-call");
    }
    going = 0;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* Cancelled in the module itself: libc's own part of a look-up leaves a descriptor (connect(2) to nscd, nscd/nscd_helper.c), and in
   getpwent_r a lock, when it is cancelled there. */
static void *until_cancelled(void *seed)
{
    struct passwd entry;
    char buffer[1024];
    int error;
    for (int i = (int)(intptr_t)seed;; i++) {
        const struct login *login = &logins[i % login_count];
        if (direct.getpwnam(login->name, &entry, buffer, sizeof buffer, &error) == SUCCESS)
            MUST(is(login, &entry), "%s: got %s", login->name, entry.pw_name);
        pthread_testcancel();
    }
    return NULL;
}

static void *list_until_cancelled(void *unused)
{
    (void)unused;
    struct passwd entry;
    char buffer[1024];
    int error;
    for (;;) {
        while (direct.getpwent(&entry, buffer, sizeof buffer, &error) == SUCCESS)
            pthread_testcancel();
        direct.endpwent();
    }
    return NULL;
}

static void cancel(void)
{
    static char before[65536], after[65536];
    direct = module();
    look(0);
    descriptors(before, sizeof before);
    for (int i = 0; i < 400; i++) {
        pthread_t thread;
        MUST(!pthread_create(&thread, NULL, i & 1 ? until_cancelled : list_until_cancelled, (void *)(intptr_t)i), "pthread_create");
        usleep(200 + i % 13 * 150);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
        look(i);
    }
    descriptors(after, sizeof after);
    MUST(!strcmp(before, after), "descriptors before: %s\nafter: %s", before, after);
    list(&direct);
}

static void *list_and_look(void *seed)
{
    struct passwd entry, *result;
    struct group group, *group_result;
    char buffer[4096];
    for (int i = 0; i < 6; i++) {
        int found = 0;
        while (getpwent_r(&entry, buffer, sizeof buffer, &result) == 0 && found++ < 400)
            MUST(result->pw_name[0] && (result->pw_uid < 1000 || result->pw_dir[0] == '/' || result->pw_uid == 65534), "bad entry");
        while (getgrent_r(&group, buffer, sizeof buffer, &group_result) == 0 && found++ < 800)
            MUST(group_result->gr_name[0], "bad group");
        for (int k = 0; k < 40; k++)
            look((int)(intptr_t)seed * 40 + k);
        if (i % 3 == 0)
            setpwent();
        if (i % 3 == 1)
            endpwent();
    }
    return NULL;
}

/* One place in the list for all of them, as getpwent(3) has it: nobody crashes, nobody gets half of an entry, look-ups are right. */
static void enumerate(void)
{
    pthread_t threads[16];
    for (int i = 0; i < 16; i++)
        MUST(!pthread_create(&threads[i], NULL, list_and_look, (void *)(intptr_t)i), "pthread_create");
    for (int i = 0; i < 16; i++)
        pthread_join(threads[i], NULL);
    int local = 0, ours = 0;
    setpwent();
    for (struct passwd *entry; (entry = getpwent());)
        entry->pw_uid < 1000 || entry->pw_uid == 65534 ? local++ : ours++;
    endpwent();
    MUST(ours == login_count && local > 10, "%d of %d logins, %d local", ours, login_count, local);
}

static void nothing(int signal)
{
    (void)signal;
}

static volatile sig_atomic_t handled;
static void look_in_handler(int signal)
{
    (void)signal;
    handled++;
}

/* A signal every 200 µs, without SA_RESTART: no call gives up because of it. */
static void signals(void)
{
    struct sigaction action = {.sa_handler = nothing};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {0};
    sigset_t before, after;
    look(0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 3000; i++)
        look(i);
    action.sa_handler = look_in_handler;
    sigaction(SIGALRM, &action, NULL);
    while (handled < 20)
        look(handled);
    setitimer(ITIMER_REAL, &never, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < SIGRTMAX; signal++)
        MUST(sigismember(&before, signal) == sigismember(&after, signal), "the signal mask has changed");
    struct sigaction kept;
    sigaction(SIGPIPE, NULL, &kept);
    MUST(kept.sa_handler == SIG_DFL, "SIGPIPE has a handler");
}

static void *few(void *seed)
{
    for (int i = 0; i < 10; i++)
        look((int)(intptr_t)seed + i);
    return NULL;
}

/* Hundreds of threads, with small stacks. */
static void threads(void)
{
    static pthread_t many[300];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (int i = 0; i < 300; i++)
        MUST(!pthread_create(&many[i], &attributes, few, (void *)(intptr_t)i), "pthread_create");
    for (int i = 0; i < 300; i++)
        pthread_join(many[i], NULL);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"fork-storm", fork_storm}, {"fork-in-mid-call", fork_in_mid_call}, {"cancel", cancel}, {"enumerate", enumerate},
        {"signals", signals},       {"threads", threads},                   {0},
    };
    read_truth();
    return run_test(tests, argc, argv);
}
