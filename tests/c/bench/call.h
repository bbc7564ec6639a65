/* One look-up at one of three levels: the module's symbol ("direct"), glibc's dispatch to it alone ("dispatch", __nss_configure_lookup), or
   whatever /etc/nsswitch.conf says ("nsswitch"). No allocation, and every answer says whether it is the right one. */
#pragma once
#include "data.h"
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DIE(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(2))

extern int __nss_configure_lookup(const char *, const char *);

struct module {
    enum nss_status (*getpwnam)(const char *, struct passwd *, char *, size_t, int *);
    enum nss_status (*getpwuid)(uid_t, struct passwd *, char *, size_t, int *);
    enum nss_status (*getgrnam)(const char *, struct group *, char *, size_t, int *);
    enum nss_status (*initgroups)(const char *, gid_t, long *, long *, gid_t **, long, int *);
    enum nss_status (*setpwent)(int);
    enum nss_status (*getpwent)(struct passwd *, char *, size_t, int *);
    enum nss_status (*endpwent)(void);
};

static struct module module;
static int direct, constant, entries;

/* One key of a series: 32 bytes, read in order, so that the series itself costs next to nothing. */
struct key {
    char name[16];
    uint32_t uid, groups;
    uint64_t pad;
};

struct buffers {
    char *text;
    size_t size;
    gid_t *gids;
    long gids_size;
};

static inline uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC_RAW, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *symbol(void *library, const char *service, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "_nss_%s_%s", service, name);
    void *found = library ? dlsym(library, full) : NULL;
    return found;
}

/* level: direct, dispatch or nsswitch. */
static inline void choose(const char *level, const char *service)
{
    constant = !strcmp(service, "empty") || !strcmp(service, "absent");
    direct = !strcmp(level, "direct");
    if (direct) {
        char path[64];
        /* glibc 2.34 took the module `files` into libc itself. */
        snprintf(path, sizeof path, !strcmp(service, "files") ? "libc.so.6" : "libnss_%s.so.2", service);
        void *library = dlopen(path, RTLD_NOW);
        if (!library)
            DIE("%s", dlerror());
        module.getpwnam = symbol(library, service, "getpwnam_r");
        module.getpwuid = symbol(library, service, "getpwuid_r");
        module.getgrnam = symbol(library, service, "getgrnam_r");
        module.initgroups = symbol(library, service, "initgroups_dyn");
        module.setpwent = symbol(library, service, "setpwent");
        module.getpwent = symbol(library, service, "getpwent_r");
        module.endpwent = symbol(library, service, "endpwent");
        if (!module.getpwnam)
            DIE("no symbols of %s", service);
    } else if (!strcmp(level, "dispatch")) {
        __nss_configure_lookup("passwd", service);
        __nss_configure_lookup("group", service);
        __nss_configure_lookup("initgroups", service);
    }
}

static inline struct buffers buffers(void)
{
    struct buffers all = {malloc(1 << 20), 1 << 20, malloc(1024 * sizeof(gid_t)), 1024};
    if (!all.text || !all.gids)
        DIE("out of memory");
    /* Touched now, not in the loop. */
    memset(all.text, 1, all.size);
    memset(all.gids, 1, 1024 * sizeof(gid_t));
    return all;
}

/* The right answer is 1; "no such" is 0; -1 is an error, -2 a wrong answer. */
static inline int passwd_answer(int failed, const struct passwd *entry, const struct key *key)
{
    if (failed)
        return -1;
    if (!entry)
        return 0;
    /* Number, first byte and length tell any two logins apart; the whole record is compared before the clock starts (verify). */
    return constant || (entry->pw_uid == key->uid && entry->pw_name[0] == key->name[0] && entry->pw_dir[0] == '/') ? 1 : -2;
}

static inline int by_name(const struct key *key, struct buffers *to)
{
    struct passwd entry, *found = NULL;
    int error = 0;
    if (direct) {
        enum nss_status status = module.getpwnam(key->name, &entry, to->text, 1024, &error);
        return passwd_answer(status != NSS_STATUS_SUCCESS && status != NSS_STATUS_NOTFOUND, status == NSS_STATUS_SUCCESS ? &entry : NULL, key);
    }
    error = getpwnam_r(key->name, &entry, to->text, 1024, &found);
    return passwd_answer(error, found, key);
}

static inline int by_uid(const struct key *key, struct buffers *to)
{
    struct passwd entry, *found = NULL;
    int error = 0;
    if (direct) {
        enum nss_status status = module.getpwuid(key->uid, &entry, to->text, 1024, &error);
        return passwd_answer(status != NSS_STATUS_SUCCESS && status != NSS_STATUS_NOTFOUND, status == NSS_STATUS_SUCCESS ? &entry : NULL, key);
    }
    error = getpwuid_r(key->uid, &entry, to->text, 1024, &found);
    return passwd_answer(error, found, key);
}

static inline int groups(const struct key *key, struct buffers *to)
{
    long count = 1;
    if (direct) {
        int error = 0;
        to->gids[0] = key->uid;
        if (!module.initgroups)
            return -1;
        enum nss_status status = module.initgroups(key->name, key->uid, &count, &to->gids_size, &to->gids, -1, &error);
        if (status != NSS_STATUS_SUCCESS && status != NSS_STATUS_NOTFOUND)
            return -1;
    } else {
        int room = 1024;
        if (getgrouplist(key->name, key->uid, to->gids, &room) < 0)
            return -1;
        count = room;
    }
    if (constant)
        return 1;
    return count == (long)key->groups ? 1 : count == 1 ? 0 : -2;
}

static inline int largest(const struct key *key, struct buffers *to)
{
    struct group entry, *found = NULL;
    int error = 0;
    if (direct) {
        enum nss_status status = module.getgrnam(key->name, &entry, to->text, to->size, &error);
        if (status != NSS_STATUS_SUCCESS && status != NSS_STATUS_NOTFOUND)
            return -1;
        found = status == NSS_STATUS_SUCCESS ? &entry : NULL;
    } else if (getgrnam_r(key->name, &entry, to->text, to->size, &found)) {
        return -1;
    }
    if (!found)
        return 0;
    if (constant)
        return 1;
    /* Exactly as many members: the last is there, and then the end. */
    return found->gr_gid == LARGEST && found->gr_mem[big(entries) - 1] && !found->gr_mem[big(entries)] ? 1 : -2;
}

typedef int ask(const struct key *, struct buffers *);
