/* Writes the data of the benchmark: fill passwd|group|ldif|names|groups N. `members` is "gid:uid" for each member of a shared group, `names` is "name
   uid" for each login, in an order that no file has. */
#include "data.h"
#include <stdlib.h>

struct members {
    uint32_t *of, *start;
};

/* Members by shared group, counted first and laid out then: a million logins need 12 MB. */
static struct members by_group(uint32_t n)
{
    uint32_t count = shared_groups(n);
    struct members all = {malloc(2ul * n * sizeof(uint32_t)), calloc(count + 2, sizeof(uint32_t))};
    if (!all.of || !all.start)
        exit(2);
    for (uint32_t i = 0; i < n; i++)
        all.start[first_group(i, n) + 2]++, all.start[second_group(i, n) + 2]++;
    for (uint32_t group = 2; group < count + 2; group++)
        all.start[group] += all.start[group - 1];
    for (uint32_t i = 0; i < n; i++) {
        all.of[all.start[first_group(i, n) + 1]++] = i;
        all.of[all.start[second_group(i, n) + 1]++] = i;
    }
    return all;
}

static void passwd(uint32_t n)
{
    char name[16];
    for (uint32_t i = 0; i < n; i++) {
        name_of(i, name);
        printf("%s:x:%u:%u:Member %u:/home/members/users/%s:/bin/bash\n", name, uid_of(i), uid_of(i), i, name);
    }
}

static void group(uint32_t n)
{
    struct members all = by_group(n);
    char name[16];
    printf("largest:x:%u:", LARGEST);
    for (uint32_t i = 0; i < big(n); i++)
        name_of(i, name), printf("%s%s", i ? "," : "", name);
    for (uint32_t group = 0; group < shared_groups(n); group++) {
        printf("\nshared%u:x:%u:", group, FIRST_SHARED + group);
        for (uint32_t at = all.start[group]; at < all.start[group + 1]; at++)
            name_of(all.of[at], name), printf("%s%s", at > all.start[group] ? "," : "", name);
    }
    putchar('\n');
    for (uint32_t i = 0; i < n; i++)
        name_of(i, name), printf("%s:x:%u:\n", name, uid_of(i));
}

/* RFC 2307: memberUid. */
static void ldif(uint32_t n)
{
    struct members all = by_group(n);
    char name[16];
    puts("dn: dc=bench\nobjectClass: dcObject\nobjectClass: organization\ndc: bench\no: bench\n\n"
         "dn: ou=people,dc=bench\nobjectClass: organizationalUnit\nou: people\n\n"
         "dn: ou=groups,dc=bench\nobjectClass: organizationalUnit\nou: groups\n");
    for (uint32_t i = 0; i < n; i++) {
        name_of(i, name);
        printf("dn: uid=%s,ou=people,dc=bench\nobjectClass: account\nobjectClass: posixAccount\nuid: %s\ncn: %s\nuidNumber: %u\n"
               "gidNumber: %u\ngecos: Member %u\nhomeDirectory: /home/members/users/%s\nloginShell: /bin/bash\n\n",
               name, name, name, uid_of(i), uid_of(i), i, name);
        printf("dn: cn=%s,ou=groups,dc=bench\nobjectClass: posixGroup\ncn: %s\ngidNumber: %u\n\n", name, name, uid_of(i));
    }
    printf("dn: cn=largest,ou=groups,dc=bench\nobjectClass: posixGroup\ncn: largest\ngidNumber: %u\n", LARGEST);
    for (uint32_t i = 0; i < big(n); i++)
        name_of(i, name), printf("memberUid: %s\n", name);
    for (uint32_t group = 0; group < shared_groups(n); group++) {
        printf("\ndn: cn=shared%u,ou=groups,dc=bench\nobjectClass: posixGroup\ncn: shared%u\ngidNumber: %u\n", group, group, FIRST_SHARED + group);
        for (uint32_t at = all.start[group]; at < all.start[group + 1]; at++)
            name_of(all.of[at], name), printf("memberUid: %s\n", name);
    }
    putchar('\n');
}

static void members(uint32_t n)
{
    struct members all = by_group(n);
    for (uint32_t i = 0; i < big(n); i++)
        printf("%u:%u\n", LARGEST, uid_of(i));
    for (uint32_t group = 0; group < shared_groups(n); group++)
        for (uint32_t at = all.start[group]; at < all.start[group + 1]; at++)
            printf("%u:%u\n", FIRST_SHARED + group, uid_of(all.of[at]));
}

static void names(uint32_t n)
{
    char name[16];
    for (uint32_t k = 0, i; k < n; k++) {
        i = (uint32_t)(((uint64_t)k * 7919 + 12345) % n);
        name_of(i, name), printf("%s %u\n", name, uid_of(i));
    }
}

int main(int argc, char **argv)
{
    uint32_t n = argc == 3 ? (uint32_t)atoi(argv[2]) : 0;
    if (!n || n >= NOBODY)
        return fputs("usage: fill passwd|group|members|ldif|names N\n", stderr), 2;
    if (!strcmp(argv[1], "passwd"))
        passwd(n);
    else if (!strcmp(argv[1], "group"))
        group(n);
    else if (!strcmp(argv[1], "members"))
        members(n);
    else if (!strcmp(argv[1], "ldif"))
        ldif(n);
    else
        names(n);
    return fflush(stdout) ? 2 : 0;
}
