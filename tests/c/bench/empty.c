/* The least that an NSS module can do, as the floor of the benchmark: one constant answer, copied into the caller's buffer as the interface demands.
   Compiled twice, with EXPORT(name) as _nss_empty_name and FOUND as 1, and as _nss_absent_name and 0: the floor for names that are unknown. */
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static const char record[] = "bagemiz\0x\0Member 0\0/home/members/users/bagemiz\0/bin/bash";

static enum nss_status passwd(struct passwd *to, char *buffer, size_t size, int *error)
{
    if (!FOUND)
        return NSS_STATUS_NOTFOUND;
    if (size < sizeof record)
        return *error = ERANGE, NSS_STATUS_TRYAGAIN;
    memcpy(buffer, record, sizeof record);
    *to = (struct passwd){buffer, buffer + 8, 100000, 100000, buffer + 10, buffer + 19, buffer + 47};
    return NSS_STATUS_SUCCESS;
}

enum nss_status EXPORT(getpwnam_r)(const char *name, struct passwd *to, char *buffer, size_t size, int *error)
{
    (void)name;
    return passwd(to, buffer, size, error);
}

enum nss_status EXPORT(getpwuid_r)(uid_t uid, struct passwd *to, char *buffer, size_t size, int *error)
{
    (void)uid;
    return passwd(to, buffer, size, error);
}

static enum nss_status group(struct group *to, char *buffer, size_t size, int *error)
{
    if (!FOUND)
        return NSS_STATUS_NOTFOUND;
    if (size < sizeof record + 16)
        return *error = ERANGE, NSS_STATUS_TRYAGAIN;
    char **members = (char **)(((size_t)buffer + 7) & ~7ul);
    members[0] = NULL;
    memcpy(members + 1, record, 16);
    *to = (struct group){(char *)(members + 1), (char *)(members + 1) + 8, 100000, members};
    return NSS_STATUS_SUCCESS;
}

enum nss_status EXPORT(getgrnam_r)(const char *name, struct group *to, char *buffer, size_t size, int *error)
{
    (void)name;
    return group(to, buffer, size, error);
}

enum nss_status EXPORT(getgrgid_r)(gid_t gid, struct group *to, char *buffer, size_t size, int *error)
{
    (void)gid;
    return group(to, buffer, size, error);
}

enum nss_status EXPORT(initgroups_dyn)(const char *name, gid_t gid, long *start, long *size, gid_t **gids, long limit, int *error)
{
    (void)name, (void)gid, (void)limit, (void)error;
    if (!FOUND || *start + 2 > *size)
        return NSS_STATUS_NOTFOUND;
    (*gids)[(*start)++] = 70000;
    (*gids)[(*start)++] = 70001;
    return NSS_STATUS_SUCCESS;
}
