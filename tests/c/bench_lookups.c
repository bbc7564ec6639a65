/* Look-ups of one kind, timed one by one: bench_lookups HOW SERVICE COUNT KIND NAMES. HOW: nsswitch (as /etc/nsswitch.conf has it), configure
   (__nss_configure_lookup to SERVICE alone), direct (the module's symbols). KIND: name, uid, groups, miss. NAMES is a file of "name uid gid"
   lines. Prints p50 and p99 in microseconds. */
#include "nss.h"

extern int __nss_configure_lookup(const char *, const char *);

struct account {
    char name[33], missing[33];
    unsigned uid, gid;
};
static struct account *accounts;
static int account_count;

static int smaller(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

/* 1: found, 0: not found; anything else ends the program. */
static int libc_call(const char *kind, const struct account *account)
{
    struct passwd entry, *result = NULL;
    char buffer[1024];
    gid_t gids[64];
    int count = 64, error;
    if (!strcmp(kind, "groups"))
        return getgrouplist(account->name, account->gid, gids, &count) >= 1;
    error = !strcmp(kind, "uid") ? getpwuid_r(account->uid, &entry, buffer, sizeof buffer, &result)
                                 : getpwnam_r(*kind == 'm' ? account->missing : account->name, &entry, buffer, sizeof buffer, &result);
    MUST(!error, "%s: %s", account->name, strerror(error));
    return result != NULL;
}

static int direct_call(const struct module *direct, const char *kind, const struct account *account)
{
    struct passwd entry;
    char buffer[1024];
    int error, status;
    if (!strcmp(kind, "groups")) {
        static gid_t *gids;
        static long size = 64;
        long start = 0;
        gids = gids ? gids : malloc(size * sizeof *gids);
        status = direct->initgroups(account->name, account->gid, &start, &size, &gids, -1, &error);
    } else {
        status = !strcmp(kind, "uid")
                     ? direct->getpwuid(account->uid, &entry, buffer, sizeof buffer, &error)
                     : direct->getpwnam(*kind == 'm' ? account->missing : account->name, &entry, buffer, sizeof buffer, &error);
    }
    MUST(status == SUCCESS || status == NOTFOUND, "%s: status %d", account->name, status);
    return status == SUCCESS;
}

int main(int argc, char **argv)
{
    MUST(argc == 6, "usage");
    const char *how = argv[1], *service = argv[2], *kind = argv[4];
    int count = atoi(argv[3]), is_direct = !strcmp(how, "direct");
    accounts = calloc(20000, sizeof *accounts);
    FILE *file = fopen(argv[5], "r");
    MUST(file, "no %s", argv[5]);
    struct account *account = accounts;
    while (account_count < 20000 && fscanf(file, "%32s %u %u", account->name, &account->uid, &account->gid) == 3) {
        snprintf(account->missing, sizeof account->missing, "no.%s", account->name);
        account++, account_count++;
    }
    struct module direct = {0};
    if (is_direct)
        direct = module();
    if (!strcmp(how, "configure")) {
        __nss_configure_lookup("passwd", service);
        __nss_configure_lookup("group", service);
        __nss_configure_lookup("initgroups", service);
    }
    double *took = malloc(count * sizeof *took);
    int expected = *kind != 'm';
    /* The first tenth warms the caches, of the processor and of identityd, and is not counted. */
    for (int i = -count / 10; i < count; i++) {
        /* 7919 is prime: in no order that a file or a cache has. */
        const struct account *one = &accounts[(size_t)(i + count) * 7919 % account_count];
        double begun = now_ms();
        int found = is_direct ? direct_call(&direct, kind, one) : libc_call(kind, one);
        double ended = now_ms();
        MUST(found == expected, "%s: %s", one->name, found ? "found" : "not found");
        if (i >= 0)
            took[i] = (ended - begun) * 1000;
    }
    qsort(took, count, sizeof *took, smaller);
    printf("%.2f %.2f\n", took[count / 2], took[count * 99 / 100]);
    return 0;
}
