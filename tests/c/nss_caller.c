/* The caller's side of the interface: every size of a buffer, with guard pages around it; every limit and start of initgroups. */
#include "nss.h"

static struct module direct;
static char *room;
static const size_t ROOM = 65536;

/* Memory between two pages that may not be touched. */
static void make_room(void)
{
    char *whole = mmap(NULL, ROOM + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(whole != MAP_FAILED, "mmap");
    room = whole + 4096;
    MUST(!mprotect(room, ROOM, PROT_READ | PROT_WRITE), "mprotect");
}

/* A call with a buffer of `size` bytes; returns the status. `inside` says whether what came back lies in the buffer. */
typedef int (*call)(char *buffer, size_t size, int *error);
static struct passwd pw;
static struct group gr;
static struct spwd sp;
static const char *name;
static unsigned id;
static int pw_name(char *b, size_t n, int *e) { return direct.getpwnam(name, &pw, b, n, e); }
static int pw_uid(char *b, size_t n, int *e) { return direct.getpwuid(id, &pw, b, n, e); }
static int gr_name(char *b, size_t n, int *e) { return direct.getgrnam(name, &gr, b, n, e); }
static int gr_gid(char *b, size_t n, int *e) { return direct.getgrgid(id, &gr, b, n, e); }
static int sp_name(char *b, size_t n, int *e) { return direct.getspnam(name, &sp, b, n, e); }
static int pw_list(char *b, size_t n, int *e) { return direct.getpwent(&pw, b, n, e); }
static int gr_list(char *b, size_t n, int *e) { return direct.getgrent(&gr, b, n, e); }
static int sp_list(char *b, size_t n, int *e) { return direct.getspent(&sp, b, n, e); }

static void lies_in(const char *string, const char *buffer, size_t size)
{
    MUST(string >= buffer && string + strlen(string) < buffer + size, "a string outside the buffer");
}
static void pw_inside(const char *b, size_t n)
{
    lies_in(pw.pw_name, b, n), lies_in(pw.pw_passwd, b, n), lies_in(pw.pw_gecos, b, n), lies_in(pw.pw_dir, b, n), lies_in(pw.pw_shell, b, n);
}
static void gr_inside(const char *b, size_t n)
{
    lies_in(gr.gr_name, b, n), lies_in(gr.gr_passwd, b, n);
    MUST((uintptr_t)gr.gr_mem % sizeof(char *) == 0, "members not aligned");
    char **member = gr.gr_mem;
    for (; MUST((char *)(member + 1) <= b + n, "members outside the buffer"), *member; member++)
        lies_in(*member, b, n);
}
static void sp_inside(const char *b, size_t n)
{
    lies_in(sp.sp_namp, b, n), lies_in(sp.sp_pwdp, b, n);
}

/* ERANGE exactly while it is too small, from then on SUCCESS, and not one byte outside: the buffer ends at the guard page, and what is
   before it keeps its pattern. `slack`: alignment may cost that much. */
static size_t every_size(const char *what, call ask, void (*inside)(const char *, size_t), size_t slack, void (*restart)(void))
{
    size_t needed = 0;
    for (size_t size = 0; size <= (needed ? needed + slack + 64 : ROOM - 64); size++) {
        for (int at_end = 0; at_end < 2; at_end++) {
            char *buffer = at_end ? room + ROOM - size : room + 32;
            memset(at_end ? buffer - 32 : room, 0x5a, at_end ? size + 32 : size + 64);
            memset(&pw, 0x5a, sizeof pw), memset(&gr, 0x5a, sizeof gr), memset(&sp, 0x5a, sizeof sp);
            int error = 12345;
            if (restart)
                restart();
            int status = ask(buffer, size, &error);
            /* A busy machine: later. */
            for (int tries = 0; status == UNAVAIL && tries < 100; tries++) {
                error = 12345;
                if (restart)
                    restart();
                status = ask(buffer, size, &error);
            }
            for (int i = 1; i <= 32; i++)
                MUST(buffer[-i] == 0x5a && (at_end || buffer[size + i - 1] == 0x5a), "%s, %zu bytes: written outside", what, size);
            if (status == SUCCESS) {
                needed = needed ? needed : size;
                MUST(error == 12345, "%s, %zu bytes: errno %d on success", what, size, error);
                inside(buffer, size);
            } else {
                MUST(status == TRYAGAIN && error == ERANGE, "%s, %zu bytes: status %d, errno %d", what, size, status, error);
                MUST(!needed || size < needed + slack, "%s: %zu bytes were enough, %zu are not", what, needed, size);
                MUST(pw.pw_uid == 0x5a5a5a5a && gr.gr_gid == 0x5a5a5a5a, "%s, %zu bytes: a struct was filled", what, size);
            }
        }
    }
    MUST(needed, "%s: never enough", what);
    printf("%s: %zu bytes are enough\n", what, needed);
    return needed;
}

static void again_pw(void) { direct.setpwent(0); }
static void again_gr(void) { direct.setgrent(0); }
static void again_sp(void) { direct.setspent(0); }

/* A group with many members and one with none come by the test's arguments. */
static const char *full_group, *empty_group;
static unsigned full_gid;

static void buffers(void)
{
    direct = module();
    make_room();
    struct login *login = &logins[1];
    name = login->name, id = login->uid;
    size_t exact = every_size("getpwnam_r", pw_name, pw_inside, 0, NULL);
    MUST(exact == strlen(pw.pw_name) + strlen(pw.pw_passwd) + strlen(pw.pw_gecos) + strlen(pw.pw_dir) + strlen(pw.pw_shell) + 5,
         "passwd needs %zu bytes", exact);
    MUST(every_size("getpwuid_r", pw_uid, pw_inside, 0, NULL) == exact, "another size by uid");
    every_size("getspnam_r", sp_name, sp_inside, 0, NULL);
    every_size("getpwent_r", pw_list, pw_inside, 0, again_pw);
    every_size("getgrent_r", gr_list, gr_inside, 8, again_gr);
    every_size("getspent_r", sp_list, sp_inside, 0, again_sp);
    name = full_group, id = full_gid;
    every_size("getgrnam_r", gr_name, gr_inside, 8, NULL);
    every_size("getgrgid_r", gr_gid, gr_inside, 8, NULL);
    name = empty_group;
    every_size("getgrnam_r of an empty group", gr_name, gr_inside, 8, NULL);
    MUST(!gr.gr_mem[0], "members in an empty group");
}

/* An entry that did not fit comes again, and none is left out or doubled. */
static void lists_with_small_buffers(void)
{
    direct = module();
    make_room();
    static char seen[1024][33];
    int count = 0, status, error;
    direct.setpwent(0);
    for (size_t size = 0;; size = (size * 7 + 13) % 400) {
        char *buffer = room + ROOM - size;
        if ((status = direct.getpwent(&pw, buffer, size, &error)) == SUCCESS) {
            pw_inside(buffer, size);
            for (int i = 0; i < count; i++)
                MUST(strcmp(seen[i], pw.pw_name), "%s comes twice", pw.pw_name);
            strcpy(seen[count++], pw.pw_name);
        } else if (status == NOTFOUND || (status == TRYAGAIN && error != ERANGE)) {
            break;
        }
    }
    MUST(status == NOTFOUND && count == login_count, "status %d after %d of %d", status, count, login_count);
}

static const char *member_of_many;
static gid_t all[4096];
static int all_count;

/* One call with this start, this size and this limit; `primary` and what is in the array already must not come again. */
static void groups_with(long start, long size, long limit, gid_t primary)
{
    gid_t *array = malloc((size ? size : 1) * sizeof *array);
    for (long i = 0; i < size; i++)
        /* Some that the login is in, some that it is not. */
        array[i] = i < start ? (i % 2 ? all[i % all_count] : 900000 + (gid_t)i) : 0xdeadbeef;
    long filled = start, room = size;
    int error = 12345;
    int status = direct.initgroups(member_of_many, primary, &filled, &room, &array, limit, &error);
    for (int tries = 0; status == UNAVAIL && tries < 100; tries++)
        status = direct.initgroups(member_of_many, primary, &filled, &room, &array, limit, &error);
    MUST(status == SUCCESS, "start %ld size %ld limit %ld: status %d errno %d", start, size, limit, status, error);
    MUST(room >= size && filled >= start && filled <= room, "start %ld size %ld limit %ld: %ld of %ld", start, size, limit, filled, room);
    MUST(limit <= 0 || filled <= (limit > start ? limit : start), "start %ld limit %ld: %ld gids", start, limit, filled);
    MUST(limit <= 0 || room <= (limit > size ? limit : size), "start %ld size %ld limit %ld: grown to %ld", start, size, limit, room);
    long expected = start;
    for (int i = 0; i < all_count; i++) {
        int there = all[i] == primary;
        for (long k = 0; k < start; k++)
            there |= array[k] == all[i];
        expected += !there;
    }
    if (limit > 0 && expected > limit)
        expected = limit > start ? limit : start;
    MUST(filled == expected, "start %ld size %ld limit %ld: %ld gids, expected %ld", start, size, limit, filled, expected);
    for (long i = start; i < filled; i++) {
        int known = 0;
        for (int k = 0; k < all_count; k++)
            known |= array[i] == all[k];
        MUST(known && array[i] != primary, "gid %u was added", array[i]);
        for (long k = 0; k < i; k++)
            MUST(array[k] != array[i], "gid %u comes twice", array[i]);
    }
    for (long i = 0; i < start; i++)
        MUST(array[i] == (i % 2 ? all[i % all_count] : 900000 + (gid_t)i), "gid %ld was changed", i);
    free(array);
}

static void initgroups_dyn(void)
{
    direct = module();
    long filled = 0, size = 0;
    gid_t *array = NULL;
    int error;
    for (int tries = 0; direct.initgroups(member_of_many, (gid_t)-1, &filled, &size, &array, -1, &error) != SUCCESS; tries++)
        MUST(tries < 100, "groups: errno %d", error);
    all_count = (int)filled;
    memcpy(all, array, filled * sizeof *array);
    free(array);
    printf("%d groups\n", all_count);
    MUST(all_count > 40, "only %d groups", all_count);
    for (long limit = -1; limit <= all_count + 2; limit++)
        for (long start = 0; start <= all_count + 2; start += start < 4 ? 1 : 9)
            for (long room = start; room <= start + 17; room += 17)
                groups_with(start, room, limit, limit % 2 ? all[0] : 1);
    /* And through libc: getgrouplist(3) says how many there are when the array is too small. */
    gid_t few[2];
    int count = 2, right = all_count;
    struct passwd *entry = getpwnam(member_of_many);
    MUST(entry, "no %s", member_of_many);
    MUST(getgrouplist(member_of_many, entry->pw_gid, few, &count) == -1 && count == right, "getgrouplist: %d of %d", count, right);
}

int main(int argc, char **argv)
{
    static const struct test tests[] = {
        {"buffers", buffers}, {"lists-with-small-buffers", lists_with_small_buffers}, {"initgroups", initgroups_dyn}, {0},
    };
    read_truth();
    if (argc == 6) {
        full_group = argv[2];
        full_gid = (unsigned)atol(argv[3]);
        empty_group = argv[4];
        member_of_many = argv[5];
    }
    return run_test(tests, argc, argv);
}
